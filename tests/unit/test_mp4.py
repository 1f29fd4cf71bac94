"""A file is whole when its top-level boxes are, in whatever pieces it arrives."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_genvideo.errors import DownloadError
from prefect_genvideo.media.mp4 import BoxWalker


def box(name: bytes, content: bytes = b"", *, long: bool = False, size: int | None = None) -> bytes:
    length = (len(content) + (16 if long else 8)) if size is None else size
    head = (1).to_bytes(4, "big") + name + length.to_bytes(8, "big") if long else length.to_bytes(4, "big") + name
    return head + content


FTYP = box(b"ftyp", b"isom\0\0\0\0")
MOOV = box(b"moov", b"m" * 50)
MDAT = box(b"mdat", b"d" * 500)
WHOLE = FTYP + MOOV + MDAT


def walk(data: bytes, step: int = 10**9) -> BoxWalker:
    walker = BoxWalker()
    for at in range(0, len(data), step):
        walker.feed(data[at : at + step])
    walker.finish()
    return walker


@pytest.mark.parametrize(
    "data",
    [
        WHOLE,
        FTYP + MDAT + MOOV,
        FTYP + box(b"free") + MOOV + box(b"mdat", b"d" * 99, long=True),
        FTYP + MOOV + box(b"moof", b"x") + MDAT + box(b"moof", b"x") + MDAT + box(b"mfra"),
        FTYP + MOOV + box(b"mdat", b"d" * 77, size=0),
        FTYP + MOOV + MDAT + box(b"\xa9xyz", b"1"),
    ],
    ids=["plain", "moov-last", "long-mdat", "fragmented", "to-the-end", "old-name"],
)
@pytest.mark.parametrize("step", [1, 3, 8, 10**9])
def test_whole_files_pass(data: bytes, step: int) -> None:
    """In any order of boxes and any size of pieces."""
    assert walk(data, step).size == len(data)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "no ftyp and no moov and no mdat"),
        (FTYP, "no moov and no mdat"),
        (FTYP + MOOV, "no mdat"),
        (FTYP + MDAT, "no moov"),
        (MOOV + FTYP + MDAT, "does not begin with an ftyp"),
        (b"<html>denied</html>", "does not begin with an ftyp"),
        (box(b"ftyp", size=7) + MOOV, "does not begin with an ftyp"),
        (box(b"ftyp", size=2**31) + MOOV, "does not begin with an ftyp"),
        (FTYP + MOOV + box(b"mdat", size=3), "impossible length"),
        (FTYP + MOOV + box(b"mdat", long=True, size=9), "impossible length"),
        (FTYP + MOOV + MDAT + b"\0\0\0", "ends inside a box"),
        (FTYP + MOOV + MDAT + b"\0" * 8, "no box at byte"),
        (WHOLE[:-1], "ends inside a box"),
    ],
)
@pytest.mark.parametrize("step", [1, 10**9])
def test_broken_files_do_not(data: bytes, match: str, step: int) -> None:
    """The error says what is wrong and may be tried again."""
    with pytest.raises(DownloadError, match=match) as caught:
        walk(data, step)
    assert (caught.value.reason, caught.value.retryable) == ("not a whole MP4", True)


@given(cut=st.integers(0, len(WHOLE) - 1), step=st.integers(1, 64))
def test_no_cut_file_passes(cut: int, step: int) -> None:
    """Wherever it was cut."""
    with pytest.raises(DownloadError):
        walk(WHOLE[:cut], step)


@given(data=st.binary(max_size=200), step=st.integers(1, 50))
def test_random_bytes_never_raise_anything_else(data: bytes, step: int) -> None:
    """A walker meets what a stranger sends."""
    with pytest.raises(DownloadError):
        walk(data, step)
