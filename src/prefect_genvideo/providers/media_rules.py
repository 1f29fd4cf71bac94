"""Limits on the reference assets themselves: kind, bytes, sides, seconds, frame rate.

A fact that is not known is not held against the asset: links are taken on trust, and some facts need PyAV.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass

from prefect_genvideo.media.inspect import MediaInfo
from prefect_genvideo.providers.rules import Broken, Check, Wanted

# Seconds; containers round to their own clock.
_ROUNDING = 0.01
# Bytes of the JSON around assets that travel inside a body.
_BODY_SLACK = 64 * 1024


@dataclass(frozen=True)
class Measure:
    """What of an asset a document limits.

    Attributes:
        known: Its values, as far as they are known.
        shown: The same for people.
        rounding: By how much a value may be off.
    """

    known: Callable[[MediaInfo], Iterable[float]]
    shown: Callable[[MediaInfo], str]
    rounding: float = 0.0


def _sides(info: MediaInfo) -> str:
    return f"{info.width}x{info.height}"


BYTES = Measure(lambda info: [info.size], lambda info: f"{info.size} bytes")
"""Size of the file."""
SIDES = Measure(lambda info: filter(None, (info.width, info.height)), _sides)
"""Width and height, in pixels."""
PIXELS = Measure(lambda info: [info.width * info.height] if info.width and info.height else [], _sides)
"""Width times height."""
SIDES_RATIO = Measure(lambda info: [info.width / info.height] if info.width and info.height else [], _sides)
"""Width over height."""
SECONDS = Measure(
    lambda info: [] if info.seconds is None else [info.seconds], lambda info: f"{info.seconds:.2f} s", _ROUNDING
)
"""Length."""
RATE = Measure(lambda info: [] if info.fps is None else [info.fps], lambda info: f"{info.fps:.2f} fps", 0.05)
"""Frames per second; 23.976 is what people call 24."""


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


def within(lists: str, measure: Measure, low: float, high: float) -> Check:
    """A measure of every asset of the list is within both ends, where known.

    Args:
        lists: `images`, `videos`, `audios` or `frames`.
        measure: e.g. `SECONDS`.
        low: In the measure's unit.
        high: In the measure's unit.
    """
    low, high = low - measure.rounding, high + measure.rounding
    return _each(lists, lambda info: all(low <= value <= high for value in measure.known(info)), measure.shown)


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


def fit_inline(limit: int, *lists: str) -> Check:
    """A body holds its text and these assets as base64, four bytes for every three.

    Args:
        limit: Bytes of the whole body.
        lists: Lists of assets that travel inside it.
    """

    def check(wanted: Wanted) -> Iterator[Broken]:
        packed = sum(-(-info.size // 3) * 4 for info in wanted.of(*lists).values())
        size = packed + len(wanted.request.prompt.encode("utf-8", "replace")) + _BODY_SLACK
        if size > limit:
            yield lists[0], f"{size} bytes as a request body"

    return check


def _each(lists: str, fine: Callable[[MediaInfo], bool], show: Callable[[MediaInfo], str]) -> Check:
    def check(wanted: Wanted) -> Iterator[Broken]:
        for field, info in wanted.of(lists).items():
            if not fine(info):
                yield field, show(info)

    return check
