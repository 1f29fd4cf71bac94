"""What odd files are, held against the judges: every figure is what ffprobe 5.1 says of the recipe's file."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_genvideo.errors import InvalidRequestError
from prefect_genvideo.media.inspect import inspect_bytes, inspect_file
from tests.media.recipes import RECIPES

Sides = tuple[int, int] | None

FILM, PICTURE = (96, 64), (320, 200)

# Media type, seconds of the pictures or else of the sound, sides as stored.
KNOWN: dict[str, tuple[str, float | None, Sides]] = {
    "plain.mp4": ("video/mp4", 2.0, FILM),
    "longer-sound.mp4": ("video/mp4", 2.0, FILM),
    "fragmented.mp4": ("video/mp4", 5.0, FILM),
    "fragmented-first-in-head.mp4": ("video/mp4", 5.0, FILM),
    "moov-first.mp4": ("video/mp4", 2.0, FILM),
    "padded.mp4": ("video/mp4", 2.0, FILM),
    "plain.mov": ("video/quicktime", 2.0, FILM),
    "plain.m4v": ("video/x-m4v", 2.0, FILM),
    "plain.3gp": ("video/3gpp", 2.0, FILM),
    "plain.webm": ("video/webm", 2.008, FILM),
    "plain.mkv": ("video/x-matroska", 2.0, FILM),
    "other-brand.mp4": ("video/mp4", 2.0, FILM),
    "unknown-brand.mp4": ("video/mp4", 2.0, FILM),
    "sound-only.mp4": ("audio/mp4", 2.5, None),
    "sound-only.mov": ("audio/quicktime", 2.5, None),
    "sound-only.webm": ("audio/webm", 2.508, None),
    "sound.m4a": ("audio/mp4", 2.5, None),
    "plain.wav": ("audio/wav", 2.05, None),
    "streamed-ff.wav": ("audio/wav", 2.05, None),
    "streamed-zero.wav": ("audio/wav", 2.05, None),
    "streamed-7f.wav": ("audio/wav", 2.05, None),
    "rf64.wav": ("audio/wav", 2.05, None),
    "chunk-behind.wav": ("audio/wav", 2.05, None),
    "plain.mp3": ("audio/mpeg", 2.112, None),
    "junk-before.mp3": ("audio/mpeg", 2.112, None),
    "cover.mp3": ("audio/mpeg", 2.112, None),
    "plain.aac": ("audio/aac", 2.1335, None),
    "tagged.aac": ("audio/aac", 2.1335, None),
    "plain.ogg": ("audio/ogg", 2.0565, None),
    "plain.flac": ("audio/flac", 2.05, None),
    "plain.png": ("image/png", None, PICTURE),
    "plain.jpg": ("image/jpeg", None, PICTURE),
    "progressive.jpg": ("image/jpeg", None, PICTURE),
    "filled.jpg": ("image/jpeg", None, PICTURE),
    "plain.webp": ("image/webp", None, PICTURE),
    "scaled.webp": ("image/webp", None, PICTURE),
    "wide.gif": ("image/gif", None, (40_000, 3)),
    "plain.bmp": ("image/bmp", None, PICTURE),
    "top-down.bmp": ("image/bmp", None, PICTURE),
    "os2.bmp": ("image/bmp", None, PICTURE),
    "plain.tif": ("image/tiff", None, PICTURE),
    "big.tif": ("image/tiff", None, PICTURE),  # exiftool's figure: ffprobe does not read BigTIFF
    "motorola.tif": ("image/tiff", None, PICTURE),
}
BROKEN = sorted(set(RECIPES) - set(KNOWN))
NEEDS_THE_EXTRA = {"noise.mp4", "noise.png", "cut.flac"}
NOTHING_WE_KNOW = {"raw-photograph.cr3", "unknown-tracks.mp4"}


@pytest.mark.parametrize("name", KNOWN)
def test_a_file_is_what_its_tracks_are(name: str, tmp_path: Path) -> None:
    """Kind, length within a tenth of a second, and sides: the name does not matter, nor does the brand."""
    media_type, seconds, sides = KNOWN[name]
    path = tmp_path / "file"
    path.write_bytes(RECIPES[name]())
    info = inspect_file(path)
    assert (info.kind, info.media_type) == (media_type.partition("/")[0], media_type)
    assert info.seconds == (None if seconds is None else pytest.approx(seconds, abs=0.1))
    assert (info.width, info.height) == (sides or (None, None))


@pytest.mark.parametrize("name", BROKEN)
def test_broken_is_refused_before_it_is_paid_for(name: str) -> None:
    """Cut anywhere, a head without a body, or noise in the right clothes."""
    with pytest.raises(InvalidRequestError) as caught:
        inspect_bytes(RECIPES[name]())
    assert caught.value.reason == ("unknown kind of file" if name in NOTHING_WE_KNOW else "broken file")


@pytest.mark.parametrize("name", BROKEN)
def test_without_the_extra_what_is_cut_is_still_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what needs a decoder or a demuxer passes."""
    content = RECIPES[name]()
    for module in ("av", "PIL"):
        monkeypatch.setitem(sys.modules, module, None)
    if name in NEEDS_THE_EXTRA:
        assert inspect_bytes(content).size == len(content)
        return
    with pytest.raises(InvalidRequestError):
        inspect_bytes(content)


@pytest.mark.parametrize("name", sorted(set(BROKEN) - NOTHING_WE_KNOW))
def test_what_is_only_carried_is_not_judged(name: str) -> None:
    """An upload asks what a file is; whether it can be used is asked before a request is made of it."""
    info = inspect_bytes(RECIPES[name](), check=False)
    assert info.kind in {"image", "video", "audio"}
    assert (info.width, info.seconds) == (None, None)


@given(
    name=st.sampled_from(sorted(RECIPES)),
    holes=st.lists(st.tuples(st.integers(0, 4000), st.binary(min_size=1, max_size=8)), max_size=4),
    cut=st.one_of(st.none(), st.integers(0, 5000)),
)
def test_damaged_files_raise_nothing_else(name: str, holes: list[tuple[int, bytes]], cut: int | None) -> None:
    """Facts that are positive, or our own error."""
    content = bytearray(RECIPES[name]())
    for at, noise in holes:
        content[at : at + len(noise)] = noise
    try:
        info = inspect_bytes(bytes(content[:cut]), digest=False)
    except InvalidRequestError:
        return
    assert all(fact is None or fact > 0 for fact in (info.width, info.height, info.seconds, info.fps))
