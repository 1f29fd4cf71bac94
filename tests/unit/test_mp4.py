"""A file is whole when its top-level boxes are, in whatever pieces it arrives."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_genvideo.errors import DownloadError
from prefect_genvideo.media.mp4 import MAX_BOXES, Mp4Reader


def box(name: bytes, content: bytes = b"", *, long: bool = False, size: int | None = None) -> bytes:
    length = (len(content) + (16 if long else 8)) if size is None else size
    head = (1).to_bytes(4, "big") + name + length.to_bytes(8, "big") if long else length.to_bytes(4, "big") + name
    return head + content


FTYP = box(b"ftyp", b"isom\0\0\0\0")
MOOV = box(b"moov", b"m" * 50)
MDAT = box(b"mdat", b"d" * 500)
WHOLE = FTYP + MOOV + MDAT


def walk(data: bytes, step: int = 10**9) -> Mp4Reader:
    reader = Mp4Reader()
    for at in range(0, len(data), step):
        reader.feed(data[at : at + step])
    reader.finish()
    return reader


@pytest.mark.parametrize(
    "data",
    [
        WHOLE,
        FTYP + MDAT + MOOV,
        FTYP + box(b"free") + MOOV + box(b"mdat", b"d" * 99, long=True),
        FTYP + MOOV + box(b"moof", b"x") + MDAT + box(b"moof", b"x") + MDAT + box(b"mfra"),
        FTYP + MOOV + box(b"mdat", b"d" * 77, size=0),
        FTYP + MOOV + MDAT + box(b"\xa9xyz", b"1"),
        box(b"free") + WHOLE,
        box(b"wide") + MDAT + MOOV,
        MOOV + MDAT,
    ],
    ids=["plain", "moov-last", "long-mdat", "fragmented", "to-the-end", "old-name", "free-first", "wide", "quicktime"],
)
@pytest.mark.parametrize("step", [1, 3, 8, 10**9])
def test_whole_files_pass(data: bytes, step: int) -> None:
    """In any order of boxes and any size of pieces."""
    reader = walk(data, step)
    assert (reader.size, reader.surplus) == (len(data), 0)


XMP = b"<?xpacket begin='' id='W5M0MpCehiHzreSzNTczkc9d'?><x:xmpmeta/><?xpacket end='w'?>"


@pytest.mark.parametrize(
    "surplus",
    [
        b"\0",
        b"\0" * 8,
        b"\0" * 62,
        b"\r\n",
        b"\n",
        b"TAG" + b"A title".ljust(125, b"\0"),
        XMP,
        b"</html>",
        b"\xff" * 99,
    ],
    ids=["zero", "head-of-zeros", "zeros", "crlf", "lf", "id3v1", "xmp", "html", "noise"],
)
@pytest.mark.parametrize("step", [1, 10**9])
@pytest.mark.parametrize("whole", [WHOLE, FTYP + MDAT + MOOV], ids=["moov-first", "moov-last"])
def test_bytes_behind_the_last_box_are_counted(surplus: bytes, step: int, whole: bytes) -> None:
    """Players pass over them; a video that is whole up to the end of its last box is whole."""
    reader = walk(whole + surplus, step)
    assert (reader.size, reader.surplus) == (len(whole) + len(surplus), len(surplus))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        FTYP,
        FTYP + MOOV,
        FTYP + MDAT,
        b"\xef\xbb\xbf" + WHOLE,
        b"\r\n" + WHOLE,
        box(b"abcd") + WHOLE,
        b"<html>denied</html>",
        box(b"ftyp", size=7) + MOOV,
        box(b"ftyp", size=2**31) + MOOV,
        FTYP + MOOV + box(b"mdat", size=3),
        FTYP + MOOV + box(b"mdat", long=True, size=9),
        FTYP + MOOV + b"\0" * 99,
        FTYP + MDAT + b"\r\n",
        WHOLE[:-1],
        WHOLE + box(b"moof", b"x" * 9)[:-1],
        WHOLE + box(b"mdat", b"x" * 9)[:-1],
        WHOLE + box(b"uuid", b"x" * 9)[:-1],
        WHOLE + box(b"free") * MAX_BOXES,
    ],
)
@pytest.mark.parametrize("step", [1, 10**9])
def test_broken_files_do_not(data: bytes, step: int) -> None:
    """Nothing that lacks a part, is cut inside one, or has more parts than any video."""
    if len(data) > 10_000 and step == 1:
        step = 1000
    with pytest.raises(DownloadError) as caught:
        walk(data, step)
    assert (caught.value.reason, caught.value.retryable) == ("not a whole MP4", True)


def test_a_torn_head_behind_fragments_is_a_cut() -> None:
    """Where the next fragment may follow, three bytes may be its beginning; zeros are none."""
    fragmented = FTYP + box(b"moov", box(b"mvex", b"\0" * 8)) + box(b"moof", b"x" * 9) + MDAT
    assert walk(fragmented + b"\0" * 5).surplus == 5
    with pytest.raises(DownloadError):
        walk(fragmented + b"\0\0\1")


def test_pictures_beyond_the_end_are_a_cut() -> None:
    """A file cut between two boxes shows it by what its tables point to."""
    sizes = box(b"stsz", struct.pack(">III", 0, 0, 1))
    places = box(b"stco", struct.pack(">III", 0, 1, len(WHOLE) + 999))
    track = box(b"hdlr", b"\0" * 8 + b"vide") + box(b"minf", box(b"stbl", sizes + places))
    assert walk(FTYP + MOOV + MDAT).size
    with pytest.raises(DownloadError):
        walk(FTYP + box(b"moov", box(b"trak", box(b"mdia", track))) + MDAT)


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
