"""A clip as a small moving picture, for pages that show pictures and no videos."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

from prefect_genvideo.errors import DownloadError
from prefect_genvideo.media.clip import Clip, displayed_size, load_pillow, open_clip
from prefect_genvideo.media.frames import FrameFitter
from prefect_genvideo.media.thumbnail import saved

PREVIEW_LIMIT = 150_000
"""Bytes. As base64 in a data URL that is 200 kB, which a page carries easily."""

# Pixels of the longer side; smaller clips are not enlarged.
_SIDE = 320
# Pictures a second, and of them together: the first six seconds.
_RATE = 6
_PICTURES = 36
# Pixels that are decoded at most: six seconds of 1080p at 30 a second.
_PIXELS = 1920 * 1080 * 180
# WebP quality and which pictures are kept, tried in this order until the result fits.
_TRIES = ((60, 1), (40, 1), (40, 2), (20, 2), (20, 4))
# Of WebP's effort, 0-6: above it costs more time than it saves bytes.
_EFFORT = 2


def moving_preview(path: str | Path, *, limit: int = PREVIEW_LIMIT) -> bytes | None:
    """Return the first seconds of a clip as an animated WebP without sound.

    Args:
        path: A local clip.
        limit: Bytes of the result at most.

    Returns:
        The picture; None when there is no second picture, or it does not fit however coarse it is.

    Raises:
        InvalidRequestError: It is no video that is known here, or PyAV or Pillow is missing.
        DownloadError: It is cut off or damaged before its second picture.
    """
    load_pillow()
    with open_clip(path) as clip:
        pictures = _pictures(clip)
    for quality, step in _TRIES:
        kept = pictures[::step]
        if len(kept) > 1 and len(data := _animated(kept, quality, step * 1000 // _RATE)) <= limit:
            return data
    return None


def _pictures(clip: Clip) -> list[Any]:
    """Pictures at an even rate, small; those before a damaged frame where there is one."""
    pictures: list[Any] = []
    fitter, pixels, aspect = None, 0, clip.pixel_aspect
    try:
        for number, frame in enumerate(clip.frames()):
            pixels += frame.width * frame.height
            if len(pictures) >= _PICTURES or pixels > _PIXELS:
                break
            if Fraction(number) / clip.fps < Fraction(len(pictures), _RATE):
                continue
            fitter = fitter or FrameFitter(_small(displayed_size(frame, aspect)), "rgb24", aspect)
            pictures.append(fitter(frame).to_image())
    except DownloadError:
        if len(pictures) < 2:
            raise
    return pictures


def _small(size: tuple[int, int]) -> tuple[int, int]:
    scale = min(1.0, _SIDE / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _animated(pictures: list[Any], quality: int, each: int) -> bytes:
    return saved(
        pictures[0],
        "WEBP",
        save_all=True,
        append_images=pictures[1:],
        duration=each,  # milliseconds
        loop=0,  # for ever
        quality=quality,
        method=_EFFORT,
    )
