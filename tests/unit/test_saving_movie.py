"""Seconds, sides and codec out of a stream, without a decoder."""

from __future__ import annotations

import struct
import time
import tracemalloc

import pytest

from prefect_genvideo.media.mp4 import MAX_MOOV, Movie, Mp4Reader, Track
from tests.fixtures.mp4 import FTYP, box, moov, mp4

MDAT = box(b"mdat", b"x" * 20)


Facts = tuple[float | None, int | None, int | None, str | None]


def read(data: bytes, step: int = 65536) -> Movie:
    reader = Mp4Reader()
    for start in range(0, len(data), step):
        reader.feed(data[start : start + step])
    return reader.finish()


def facts(movie: Movie) -> Facts:
    return movie.seconds, movie.width, movie.height, movie.codec


@pytest.mark.parametrize("step", [1, 7, 65536])
@pytest.mark.parametrize("moov_first", [False, True])
def test_the_box_is_found_wherever_it_is(step: int, moov_first: bool) -> None:
    """At the beginning, at the end, and torn into any pieces."""
    assert facts(read(mp4(3000, moov_first=moov_first), step)) == (5.0, 1280, 720, "avc1")


def test_both_layouts_and_rotation_are_understood() -> None:
    """64-bit times; a phone's upright picture is stored lying and shown turned."""
    assert read(FTYP + moov(seconds=90_000.5, long=True) + MDAT).seconds == 90_000.5
    turned = read(FTYP + moov(width=1920, height=1080, turned=True) + MDAT)
    assert (turned.width, turned.height) == (1080, 1920)


def test_boxes_with_long_lengths_are_passed_over() -> None:
    """A file beyond 4 GiB heads its `mdat` with a 64-bit length."""
    long = b"\0\0\0\1mdat" + (16 + 100).to_bytes(8, "big") + b"x" * 100
    assert read(FTYP + long + moov(), 5).seconds == 5.0


@pytest.mark.parametrize(
    "body",
    [
        b"",
        box(b"mvhd", b"\0" * 3),
        box(b"trak", box(b"tkhd", b"\0")),
        b"\0" * (MAX_MOOV + 1),
    ],
)
def test_what_cannot_be_read_is_unknown(body: bytes) -> None:
    """Never an error: the facts are decoration, the bytes are judged elsewhere."""
    assert facts(read(FTYP + box(b"moov", body) + MDAT))[1:3] == (None, None)


def fragment(number: int, *, start: int | None, ticks: list[int]) -> bytes:
    """A `moof` with one run of samples, each with its own duration."""
    time = b"" if start is None else box(b"tfdt", struct.pack(">IQ", 1 << 24, start))
    run = box(b"trun", struct.pack(f">II{len(ticks)}I", 0x100, len(ticks), *ticks))
    return box(b"moof", box(b"traf", box(b"tfhd", struct.pack(">II", 0, number)) + time + run)) + MDAT


def fragmented(*fragments: bytes) -> bytes:
    """A head without samples (track 7, 1,000 ticks a second), and its fragments."""
    mdhd = box(b"mdhd", struct.pack(">5I", 0, 0, 0, 1000, 0))
    media = box(b"mdia", mdhd + box(b"hdlr", b"\0" * 8 + b"vide" + b"\0" * 13))
    tkhd = box(b"tkhd", struct.pack(">4I", 0, 0, 0, 7) + b"\0" * 68)
    return FTYP + box(b"moov", box(b"trak", tkhd + media) + box(b"mvex", b"")) + b"".join(fragments)


def test_a_fragmented_movie_is_as_long_as_all_its_fragments() -> None:
    """Its head says nothing, or speaks of the first one; times that start late are no part of the length."""
    three = [fragment(7, start=at, ticks=[500, 500, 500]) for at in (9000, 10_500, 12_000)]
    movie = read(fragmented(*three))
    assert (movie.seconds, movie.fragmented, movie.tracks[0].samples) == (4.5, True, 9)
    untimed = [fragment(7, start=None, ticks=[400])] * 3 + [fragment(8, start=None, ticks=[9000])]
    assert read(fragmented(*untimed), 11).seconds == pytest.approx(1.2)
    assert read(fragmented(box(b"moof", box(b"traf", b"")), MDAT)).seconds is None


def nested(depth: int) -> bytes:
    inner = b""
    for _ in range(depth):
        inner = box(b"trak", inner)
    return inner


def with_tables(name: bytes, entries: int) -> bytes:
    table = box(name, struct.pack(">II", 0, entries) + b"\0\0\0\1" * 2 * entries)
    sizes = box(b"stsz", struct.pack(">III", 0, 0, entries))
    return box(b"trak", box(b"mdia", box(b"minf", box(b"stbl", sizes + table))))


ROW = box(b"udta", b"") * 40_000
HOSTILE = {
    "nested": nested(3000),
    "row": ROW,
    "rows": box(b"trak", ROW) * 20,
    "tracks": box(b"trak", moov()) * 300,
    "times": with_tables(b"stts", 900_000),
    "chunks": with_tables(b"stco", 40_000) * 20,
    "edits": box(b"trak", box(b"edts", box(b"elst", struct.pack(">II", 0, 600_000) + b"\0\0\0\1" * 1_800_000))),
}


@pytest.mark.parametrize("body", HOSTILE.values(), ids=HOSTILE)
def test_hostile_boxes_cost_little(body: bytes) -> None:
    """Nested boxes, rows of them and tables of any size: looked at in place, once, and not all of them."""
    data = FTYP + box(b"moov", body) + MDAT
    began = time.process_time()
    movie = read(data)
    assert time.process_time() - began < 2  # 0.04 s where nothing else runs
    assert len(movie.tracks) <= 64
    tracemalloc.start()
    try:
        read(data)
        assert tracemalloc.get_traced_memory()[1] < 40_000_000
    finally:
        tracemalloc.stop()


def test_a_row_of_small_boxes_is_passed_over() -> None:
    """Forty thousand of them between the parts of a film, in pieces of any size."""
    data = FTYP + moov() + box(b"free", b"") * 20_000 + MDAT + box(b"abcd", b"") * 20_000
    for step in (13, 65_536, len(data)):
        began = time.process_time()
        assert facts(read(data, step)) == (5.0, 1280, 720, "avc1")
        assert time.process_time() - began < 5


def test_chapter_pictures_are_no_film() -> None:
    """A talking book's track of chapter pictures leaves it a book."""
    sound = Track("audio", 1, 5.0, "mp4a")
    pictures = Track("video", 2, 5.0, "jpeg", (320, 240), (320, 240), picture_of_chapter=True)
    assert Movie((pictures, sound)).picture is None
    assert Movie((pictures, sound)).sound == sound
