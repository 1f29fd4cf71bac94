"""How much of a thing is billed: seconds, frames, and the tokens that pixels and frames make.

Tokens by the formula of Volcengine's Ark: width x height x frames / 1024, 24 frames a second. Recorded bills fit
`floor(width * height * (24 * seconds + 1) / 1024)`; the document's own formula has no `+ 1`.
"""

from __future__ import annotations

import re
from decimal import Decimal

FRAMES_PER_SECOND = Decimal(24)
"""Of every model of the Seedance family."""

_RESOLUTION = re.compile(r"(?:^|[-_ ])([0-9]{3,4}p|[248]k)(?:$|[-_ ])", re.IGNORECASE)

# Width and height by resolution and aspect ratio, of the model generations in use: 2.x first, then older ones.
_SIZES: dict[str, dict[str, tuple[tuple[int, int], ...]]] = {
    "480p": {
        "16:9": ((864, 496), (854, 480), (864, 480)),
        "4:3": ((752, 560), (736, 544)),
        "1:1": ((640, 640),),
        "21:9": ((992, 432), (960, 416)),
    },
    "720p": {
        "16:9": ((1280, 720), (1248, 704)),
        "4:3": ((1112, 834), (1120, 832)),
        "1:1": ((960, 960),),
        "21:9": ((1470, 630), (1504, 640)),
    },
    "1080p": {
        "16:9": ((1920, 1080), (1920, 1088)),
        "4:3": ((1664, 1248),),
        "1:1": ((1440, 1440),),
        "21:9": ((2206, 946), (2176, 928)),
    },
    "4k": {
        "16:9": ((3840, 2160),),
        "4:3": ((3326, 2494),),
        "1:1": ((2880, 2880),),
        "21:9": ((4398, 1886),),
    },
}
# The same picture turned by a right angle.
_TURNED = {"9:16": "16:9", "3:4": "4:3", "9:21": "21:9"}


def resolution_in(model: str) -> str | None:
    """Return the resolution that a model's name ends in or holds, e.g. `720p` of `sd-2-fast-720p`."""
    found = _RESOLUTION.search(model)
    return found[1].lower() if found else None


def pixels_of(resolution: str | None, aspect_ratio: str | None) -> tuple[int, int, int] | None:
    """Return the pixels of one frame: the fewest, the usual number, and the most that are known.

    Args:
        resolution: e.g. `720p`.
        aspect_ratio: e.g. `16:9`; any other word, e.g. `adaptive`, means all that the resolution has.

    Returns:
        None for a resolution that no table has.
    """
    by_ratio = _SIZES.get((resolution or "").lower())
    if by_ratio is None:
        return None
    ratio = _TURNED.get(aspect_ratio or "", aspect_ratio or "")
    sizes = by_ratio.get(ratio) or tuple(size for group in by_ratio.values() for size in group)
    areas = [width * height for width, height in sizes]
    return min(areas), areas[0], max(areas)


def frames_of(seconds: Decimal, frames_per_second: Decimal) -> Decimal:
    """Return the frames of a clip: one more than the seconds hold, as recorded bills have it.

    Args:
        seconds: Length of the clip.
        frames_per_second: Frames of a second.
    """
    return seconds * frames_per_second + 1
