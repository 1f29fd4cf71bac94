"""Frames as a player shows them: upright, square pixels, one size, one colour space."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import Any

from prefect_genvideo.film.source import load_pyav, turn

# ITU-T H.273 matrix coefficients → the names of FFmpeg's scale filter. Anything else is not known.
_MATRICES = {1: "bt709", 4: "fcc", 5: "bt601", 6: "smpte170m", 7: "smpte240m", 9: "bt2020", 10: "bt2020"}
_UNTAGGED = "bt601"
_FULL_RANGE = 2
_FLAGS = "lanczos+accurate_rnd+full_chroma_int+full_chroma_inp"
_RGB = "rgb24"


def matrix_name(colorspace: int) -> str | None:
    """FFmpeg's name of a colour matrix; None for an untagged or unknown one."""
    return _MATRICES.get(int(colorspace))


class Lens:
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
        self._ends: tuple[Any, Any] | None = None

    def __call__(self, frame: Any) -> Any:
        """Return the frame as it is displayed. Its time is not kept."""
        shape = (frame.width, frame.height, frame.format.name, int(frame.colorspace), int(frame.color_range))
        if self._ends is None or shape != self._shape:
            # A stream may change its shape on the way; filters are made for one.
            self._shape, self._ends = shape, self._graph(frame)
        source, sink = self._ends
        source.push(frame)
        return sink.pull()

    def _graph(self, frame: Any) -> tuple[Any, Any]:
        graph = load_pyav().filter.Graph()
        ends = [
            graph.add("buffer", f"video_size={frame.width}x{frame.height}:pix_fmt={frame.format.name}:time_base=1/1")
        ]
        for step in self._steps(frame):
            name, _, options = step.partition("=")
            ends.append(graph.add(name, options or None))
        ends.append(graph.add("buffersink"))
        for one, other in pairwise(ends):
            one.link_to(other)
        graph.configure()
        self._kept = graph
        return ends[0], ends[-1]

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
        converts = self._matrix is not None and known is not None and known != self._matrix
        if not converts and not full and frame.format.name == self._pix_fmt:
            return ""
        target = self._matrix if converts or not known else known
        return f"{source}:out_range=limited:out_color_matrix={target or _UNTAGGED}"


def fit(ratio: tuple[Fraction, Fraction], size: tuple[int, int], *, even: bool) -> tuple[int, int]:
    """The largest sides of that ratio inside `size`, even where chroma is halved. Off by a rounding: the whole size."""
    scale = min(Fraction(size[0]) / ratio[0], Fraction(size[1]) / ratio[1])
    step = 2 if even else 1
    sides = [max(step, min(whole, round(part * scale / step) * step)) for part, whole in zip(ratio, size, strict=True)]
    near = all(whole - side <= step for side, whole in zip(sides, size, strict=True))
    return size if near else (sides[0], sides[1])
