"""Seconds, sides and codec out of a stream, without a decoder."""

from __future__ import annotations

import pytest

from prefect_genvideo.media.mp4 import MAX_MOOV, Movie, MovieReader
from tests.fixtures.mp4 import FTYP, box, moov, mp4


def read(data: bytes, step: int = 65536) -> Movie:
    reader = MovieReader()
    for start in range(0, len(data), step):
        reader.feed(data[start : start + step])
    return reader.movie()


@pytest.mark.parametrize("step", [1, 7, 65536])
@pytest.mark.parametrize("moov_first", [False, True])
def test_the_box_is_found_wherever_it_is(step: int, moov_first: bool) -> None:
    """At the beginning, at the end, and torn into any pieces."""
    assert read(mp4(3000, moov_first=moov_first), step) == Movie(5.0, 1280, 720, "avc1")


def test_both_layouts_and_rotation_are_understood() -> None:
    """64-bit times; a phone's upright picture is stored lying and shown turned."""
    assert read(FTYP + moov(seconds=90_000.5, long=True)).seconds == 90_000.5
    turned = read(FTYP + moov(width=1920, height=1080, turned=True))
    assert (turned.width, turned.height) == (1080, 1920)


def test_boxes_with_long_lengths_are_passed_over() -> None:
    """A file beyond 4 GiB heads its `mdat` with a 64-bit length."""
    long = b"\0\0\0\1mdat" + (16 + 100).to_bytes(8, "big") + b"x" * 100
    assert read(FTYP + long + moov(), 5).seconds == 5.0


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html>no video</html>",
        FTYP,
        FTYP + box(b"moov", b""),
        FTYP + box(b"moov", box(b"mvhd", b"\0" * 3)),
        FTYP + box(b"moov", box(b"trak", box(b"tkhd", b"\0"))),
        FTYP + moov()[:-5],
        FTYP + b"\0\0\0\0moov" + b"x" * 50,
        FTYP + (MAX_MOOV + 9).to_bytes(4, "big") + b"moov" + b"x" * 100,
    ],
)
def test_what_cannot_be_read_is_unknown(data: bytes) -> None:
    """Never an error: the facts are decoration, the bytes are judged elsewhere."""
    assert read(data) == Movie()
