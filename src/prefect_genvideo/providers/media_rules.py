"""Limits on the reference assets themselves: kind, bytes, sides, seconds, frame rate.

A fact that is not known is not held against the asset: links are taken on trust, and some facts need PyAV.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator

from prefect_genvideo.media.inspect import MediaInfo
from prefect_genvideo.providers.rules import Broken, Check, Wanted

# Seconds; containers round to their own clock.
_ROUNDING = 0.01
# Frames per second; 23.976 is what people call 24.
_RATE_ROUNDING = 0.05


def media_kind(lists: str, kind: str) -> Check:
    """Every asset of the list is of this kind.

    Args:
        lists: `images`, `videos`, `audios` or `frames`.
        kind: `image`, `video` or `audio`.
    """
    return _each(lists, lambda info: info.kind == kind, lambda info: info.media_type)


def media_types(lists: str, allowed: Container[str]) -> Check:
    """Every asset of the list has one of these media types.

    Args:
        lists: `images`, `videos`, `audios` or `frames`.
        allowed: MIME types, as told from the content.
    """
    return _each(lists, lambda info: info.media_type in allowed, lambda info: info.media_type)


def bytes_below(lists: str, limit: int, *, inclusive: bool = False) -> Check:
    """Every asset of the list is smaller than the limit.

    Args:
        lists: `images`, `videos`, `audios` or `frames`.
        limit: Bytes.
        inclusive: Whether the limit itself is allowed.
    """
    most = limit if inclusive else limit - 1
    return _each(lists, lambda info: info.size <= most, lambda info: f"{info.size} bytes")


def pixels_between(lists: str, low: int, high: int) -> Check:
    """Width times height is within both ends, where known.

    Args:
        lists: `images`, `videos` or `frames`.
        low: Pixels.
        high: Pixels.
    """
    return _each(
        lists,
        lambda info: not info.width or not info.height or low <= info.width * info.height <= high,
        _sides,
    )


def sides_between(lists: str, low: int, high: int) -> Check:
    """Both sides are within both ends, where known.

    Args:
        lists: `images`, `videos` or `frames`.
        low: Pixels.
        high: Pixels.
    """
    return _each(
        lists,
        lambda info: all(low <= side <= high for side in (info.width, info.height) if side),
        _sides,
    )


def sides_ratio_between(lists: str, low: float, high: float) -> Check:
    """Width over height is within both ends, where known.

    Args:
        lists: `images`, `videos` or `frames`.
        low: Width over height.
        high: Width over height.
    """
    return _each(
        lists, lambda info: not info.width or not info.height or low <= info.width / info.height <= high, _sides
    )


def seconds_together(lists: str, low: float, high: float) -> Check:
    """All assets of the list last so long together; the lower end counts only when every length is known.

    Args:
        lists: `videos` or `audios`.
        low: Seconds.
        high: Seconds.
    """

    def check(wanted: Wanted) -> Iterator[Broken]:
        known = [info.seconds for info in wanted.of(lists).values() if info.seconds is not None]
        total = sum(known)
        complete = 0 < len(known) == len(getattr(wanted.request, lists))
        if total > high + _ROUNDING or (complete and total < low - _ROUNDING):
            yield lists, f"{total:.2f} s together"

    return check


def seconds_each(lists: str, low: float, high: float) -> Check:
    """Every asset of the list lasts so long, where known.

    Args:
        lists: `videos` or `audios`.
        low: Seconds.
        high: Seconds.
    """
    return _each(
        lists,
        lambda info: info.seconds is None or low - _ROUNDING <= info.seconds <= high + _ROUNDING,
        lambda info: f"{info.seconds:.2f} s",
    )


def rate_between(lists: str, low: float, high: float) -> Check:
    """Every video of the list has so many frames a second, where known.

    Args:
        lists: `videos`.
        low: Frames per second.
        high: Frames per second.
    """
    return _each(
        lists,
        lambda info: info.fps is None or low - _RATE_ROUNDING <= info.fps <= high + _RATE_ROUNDING,
        lambda info: f"{info.fps:.2f} fps",
    )


def _sides(info: MediaInfo) -> str:
    return f"{info.width}x{info.height}"


def _each(lists: str, fine: Callable[[MediaInfo], bool], show: Callable[[MediaInfo], str]) -> Check:
    def check(wanted: Wanted) -> Iterator[Broken]:
        for field, info in wanted.of(lists).items():
            if not fine(info):
                yield field, show(info)

    return check
