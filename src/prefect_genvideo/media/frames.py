"""Single frames of a clip as pictures: the first, the last, a cover."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

from prefect_genvideo.errors import DownloadError, InvalidRequestError
from prefect_genvideo.media.clip import Clip, damaged, displayed_size, load_pillow, load_pyav, open_clip, turn
from prefect_genvideo.media.thumbnail import saved

MAX_PICTURE = 30_000_000
"""Bytes. Both providers take reference pictures below 30 MB."""

# Frames, and pixels of them together, in which a cover is looked for: 3 s at 24 a second, in 4K.
_COVER_FRAMES = 72
_COVER_PIXELS = _COVER_FRAMES * 3840 * 2160
# Mean luma, 0-255, below which a frame is black.
_BLACK = 14
# Sides in pixels of the small copy of which the light is measured.
_SAMPLE = 32


def last_frame(path: str | Path) -> bytes:
    """Return the last displayed frame, upright and in full resolution: what the next shot begins with.

    It is a PNG, which loses nothing; one of 30 MB or more comes as a JPEG instead, for the providers' limit.

    Only the end of the clip is decoded: from the last keyframe on, and all of it only where that gives no frame.
    Frames that an edit list hides do not count. Untagged colours are read as BT.601, as FFmpeg writes them, so that a
    chain of shots does not drift.

    Args:
        path: A local clip.

    Raises:
        InvalidRequestError: It is no video that is known here, or PyAV or Pillow is missing.
        DownloadError: It is cut off or damaged.
    """
    load_pillow()
    for from_start in (False, True):
        with open_clip(path) as clip:
            frame = _last(clip, from_start)
            if frame is not None:
                return _encoded(_image(frame, clip))
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
        best, brightest, pixels = None, -1.0, 0
        for number, frame in enumerate(clip.frames()):
            light = _light(frame)
            pixels += frame.width * frame.height
            if light > brightest:
                best, brightest = frame, light
            if light > _BLACK or number >= _COVER_FRAMES or pixels > _COVER_PIXELS:
                break
        if best is None:
            raise damaged("it has no frames")
        image = _image(best, clip)
    image.thumbnail((side, side))
    return saved(image, "JPEG", quality=85)


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
    return FrameFitter(displayed_size(frame, aspect), "rgb24", aspect)(frame).to_image()


def _light(frame: Any) -> float:
    """Mean luma, 0-255."""
    small = FrameFitter((_SAMPLE, _SAMPLE), "rgb24", Fraction(1))(frame).to_image().convert("L").tobytes()
    return sum(small) / len(small)


def _encoded(image: Any) -> bytes:
    # Level 1 is several times faster than the default and a tenth larger.
    tries: list[tuple[str, dict[str, int]]] = [("PNG", {"compress_level": 1})]
    tries += [("JPEG", {"quality": quality, "subsampling": 0}) for quality in (95, 85, 60)]
    for kind, options in tries:
        data = saved(image, kind, **options)
        if len(data) < MAX_PICTURE:
            return data
    raise InvalidRequestError("The frame does not fit into 30 MB.", reason="frame too large")


# ITU-T H.273 matrix coefficients → the names of FFmpeg's scale filter. Anything else is not known.
_MATRICES = {1: "bt709", 4: "fcc", 5: "bt601", 6: "smpte170m", 7: "smpte240m", 9: "bt2020", 10: "bt2020"}
# What FFmpeg writes where nothing is said.
_UNTAGGED = "bt601"
# FFmpeg's number for luma from 0 to 255.
_FULL_RANGE = 2
# The best of FFmpeg's scalers: a chain of shots must not lose sharpness or colour.
_FLAGS = "lanczos+accurate_rnd+full_chroma_int+full_chroma_inp"
_RGB = "rgb24"


def matrix_name(colorspace: int) -> str | None:
    """FFmpeg's name of a colour matrix; None for an untagged or unknown one."""
    return _MATRICES.get(int(colorspace))


class FrameFitter:
    """Turns frames upright and fits them into one size, with black bars where the ratio differs.

    Args:
        size: Width and height of the result in pixels; even numbers for `yuv420p`.
        pix_fmt: `rgb24` or `yuv420p`.
        pixel_aspect: Width of the source's pixels over their height.
        matrix: Colour matrix of a YUV result; None leaves the colours as they are.
    """

    def __init__(self, size: tuple[int, int], pix_fmt: str, pixel_aspect: Fraction, matrix: str | None = None) -> None:
        self._size = size
        self._pix_fmt = pix_fmt
        self._aspect = pixel_aspect
        self._matrix = matrix
        self._shape: tuple[Any, ...] = ()
        self._graph: Any = None

    def __call__(self, frame: Any) -> Any:
        """Return the frame as it is displayed. Its time is not kept."""
        shape = (frame.width, frame.height, frame.format.name, int(frame.colorspace), int(frame.color_range))
        if shape != self._shape:
            # A stream may change its shape on the way; filters are made for one.
            self._shape, self._graph = shape, self._filters(frame)
        self._graph.vpush(frame)
        return self._graph.vpull()

    def _filters(self, frame: Any) -> Any:
        graph = load_pyav().filter.Graph()
        nodes = [
            graph.add("buffer", f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:time_base=1/1")
        ]
        for step in self._steps(frame):
            name, _, options = step.partition("=")
            nodes.append(graph.add(name, options or None))
        graph.link_nodes(*nodes, graph.add("buffersink")).configure()
        return graph

    def _steps(self, frame: Any) -> list[str]:
        filters = turn(frame)[0]
        steps = filters.split(",") if filters else []
        aspect = 1 / self._aspect if "transpose" in filters else self._aspect
        width, height = (frame.height, frame.width) if "transpose" in filters else (frame.width, frame.height)
        inner = fit((width * aspect, Fraction(height)), self._size, even=self._pix_fmt != _RGB)
        colours = self._colours(frame)
        if colours or inner != (width, height) or frame.format.name != self._pix_fmt:
            steps.append(f"scale={inner[0]}:{inner[1]}:flags={_FLAGS}{colours}")
        steps.append(f"format={self._pix_fmt}")
        if inner != self._size:
            left, top = ((whole - part) // 4 * 2 for whole, part in zip(self._size, inner, strict=True))
            steps.append(f"pad={self._size[0]}:{self._size[1]}:{left}:{top}:black")
        return [*steps, "setsar=1"]

    def _colours(self, frame: Any) -> str:
        """Options of the scale filter: empty when nothing about the colours is to change."""
        known = matrix_name(frame.colorspace)
        full = int(frame.color_range) == _FULL_RANGE or frame.format.name.startswith("yuvj")
        source = f":in_range={'full' if full else 'limited'}:in_color_matrix={known or _UNTAGGED}"
        if self._pix_fmt == _RGB:
            return source
        target = self._matrix or known
        converts = known not in (None, target)
        if not converts and not full and frame.format.name == self._pix_fmt:
            return ""
        return f"{source}:out_range=limited:out_color_matrix={target or _UNTAGGED}"


def fit(ratio: tuple[Fraction, Fraction], size: tuple[int, int], *, even: bool) -> tuple[int, int]:
    """Return the largest sides of a ratio inside a frame; where they are off by a rounding, the whole frame.

    Args:
        ratio: Width and height of the picture, in any unit.
        size: Width and height of the frame in pixels.
        even: Whether both sides must be even, because chroma is halved.
    """
    scale = min(Fraction(size[0]) / ratio[0], Fraction(size[1]) / ratio[1])
    step = 2 if even else 1
    sides = [max(step, min(whole, round(part * scale / step) * step)) for part, whole in zip(ratio, size, strict=True)]
    near = all(whole - side <= step for side, whole in zip(sides, size, strict=True))
    return size if near else (sides[0], sides[1])
