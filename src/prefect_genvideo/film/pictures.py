"""Single frames of a clip as pictures: the first, the last, a cover."""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from prefect_genvideo.errors import DownloadError, InvalidRequestError
from prefect_genvideo.film.lens import Lens
from prefect_genvideo.film.source import Clip, damaged, displayed_size, load_pillow, open_clip

PictureFormat = Literal["png", "jpeg"]

MAX_PICTURE = 30_000_000
"""Bytes. Both providers take reference pictures below 30 MB."""

_COVER_FRAMES = 72
_BLACK = 14
_SAMPLE = 32


def first_frame(path: str | Path, *, format: PictureFormat = "png") -> bytes:
    """Return the first displayed frame, upright and in full resolution.

    Args:
        path: A local clip.
        format: `png` is lossless; one of 30 MB or more comes as a JPEG instead, for the providers' limit.

    Raises:
        InvalidRequestError: It is no video that is known here, or PyAV or Pillow is missing.
        DownloadError: It is cut off or damaged.
    """
    load_pillow()
    with open_clip(path) as clip:
        return _encoded(_image(next(_frames(clip)), clip), format)


def last_frame(path: str | Path, *, format: PictureFormat = "png") -> bytes:
    """Return the last displayed frame, upright and in full resolution: what the next shot begins with.

    Only the end of the clip is decoded: from the last keyframe on, and all of it only where that gives no frame.
    Frames that an edit list hides do not count. Untagged colours are read as BT.601, as FFmpeg writes them, so that a
    chain of shots does not drift.

    Args:
        path: A local clip.
        format: `png` is lossless; one of 30 MB or more comes as a JPEG instead, for the providers' limit.

    Raises:
        InvalidRequestError: It is no video that is known here, or PyAV or Pillow is missing.
        DownloadError: It is cut off or damaged.
    """
    load_pillow()
    for from_start in (False, True):
        with open_clip(path) as clip:
            frame = _last(clip, from_start)
            if frame is not None:
                return _encoded(_image(frame, clip), format)
    raise damaged("it has no frames")


def cover_of(path: str | Path, *, side: int = 1280) -> bytes:
    """Return a JPEG cover of a clip: its first frame that is not black, or the brightest of the first 72.

    Args:
        path: A local clip.
        side: Longest side in pixels; smaller clips are not enlarged.

    Raises:
        InvalidRequestError: It is no video that is known here, or PyAV or Pillow is missing.
        DownloadError: It is cut off or damaged.
    """
    load_pillow()
    with open_clip(path) as clip:
        best, brightest = None, -1.0
        for number, frame in enumerate(_frames(clip)):
            light = _light(frame)
            if light > brightest:
                best, brightest = frame, light
            if light > _BLACK or number >= _COVER_FRAMES:
                break
        image = _image(best, clip)
    image.thumbnail((side, side))
    return _saved(image, "JPEG", quality=85)


def look_alike(one: bytes, other: bytes) -> bool:
    """Whether two pictures show the same, but for what encoding does to them: 32×32 grey, mean difference below 3 %."""
    pillow = load_pillow()
    grey: list[bytes] = []
    for data in (one, other):
        with pillow.open(io.BytesIO(data)) as image:
            grey.append(image.convert("L").resize((_SAMPLE, _SAMPLE)).tobytes())
    return sum(abs(a - b) for a, b in zip(*grey, strict=True)) < 0.03 * 255 * _SAMPLE * _SAMPLE


def _frames(clip: Clip) -> Iterator[Any]:
    seen = False
    for frame in clip.frames():
        seen = True
        yield frame
    if not seen:
        raise damaged("it has no frames")


def _last(clip: Clip, from_start: bool) -> Any:
    """The frame with the greatest time; None when the end of the clip gave none or a broken one."""
    if not from_start:
        if not clip.video.duration:
            return None
        target = (clip.video.start_time or 0) + clip.video.duration
        try:
            clip.container.seek(max(0, min(target, 2**48)), stream=clip.video)
        except (OSError, ValueError):
            return None
    last = None
    try:
        for frame in clip.frames():
            if last is None or frame.pts is None or last.pts is None or frame.pts >= last.pts:
                last = frame
    except (DownloadError, ValueError):
        # Decoding from the middle may fail where decoding from the start does not.
        if from_start:
            raise
        return None
    return last


def _image(frame: Any, clip: Clip) -> Any:
    aspect = clip.pixel_aspect
    return Lens(displayed_size(frame, aspect), "rgb24", aspect)(frame).to_image()


def _light(frame: Any) -> float:
    """Mean luma, 0-255."""
    small = Lens((_SAMPLE, _SAMPLE), "rgb24", Fraction(1))(frame).to_image().convert("L").tobytes()
    return sum(small) / len(small)


def _encoded(image: Any, format: PictureFormat) -> bytes:
    if format not in ("png", "jpeg"):
        raise InvalidRequestError(f"A frame comes as png or jpeg, not as {format!r}.")
    if format == "png":
        # Level 1 is several times faster than the default and a tenth larger.
        data = _saved(image, "PNG", compress_level=1)
        if len(data) < MAX_PICTURE:
            return data
    for quality in (95, 85, 60):
        data = _saved(image, "JPEG", quality=quality, subsampling=0)
        if len(data) < MAX_PICTURE:
            return data
    raise InvalidRequestError("The frame does not fit into 30 MB.")


def _saved(image: Any, kind: str, **options: int) -> bytes:
    target = io.BytesIO()
    image.save(target, kind, **options)
    return target.getvalue()
