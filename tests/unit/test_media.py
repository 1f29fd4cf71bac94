"""What an asset is shows in its content; what hostile content shows is nothing at all."""

from __future__ import annotations

import base64
import hashlib
import io
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_genvideo.errors import InvalidRequestError
from prefect_genvideo.media.inspect import MediaInfo, asset_kind, inspect_bytes, inspect_file, sniff, split_data_url
from tests.fixtures.expected import refusing
from tests.media.recipes import MP3, image, tone, wav

av = pytest.importorskip("av")
Image = pytest.importorskip("PIL.Image")


def clip(form: str, width: int = 64, height: int = 48, frames: int = 10) -> bytes:
    """A real clip of `frames` frames at 10 frames a second."""
    out = io.BytesIO()
    with av.open(out, "w", format=form) as container:
        stream = container.add_stream("mpeg4" if form != "webm" else "libvpx", rate=10)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for _ in range(frames):
            container.mux(stream.encode(av.VideoFrame(width, height, "yuv420p")))
        container.mux(stream.encode(None))
    return out.getvalue()


def test_facts_and_hash() -> None:
    """Of a picture."""
    data = image("PNG")
    assert inspect_bytes(data) == MediaInfo(
        "image", "image/png", len(data), 320, 200, None, hashlib.sha256(data).hexdigest()
    )


@pytest.mark.parametrize(
    ("head", "media_type"),
    [
        (b"II*\0", "image/tiff"),
        (b"MM\0*", "image/tiff"),
        (b"\0\0\0\x18ftypheic", "image/heic"),
        (b"\0\0\0\x18ftypavif", "image/avif"),
        (b"\0\0\0\x18ftypM4A ", "audio/mp4"),
        (b"\0\0\0\x18ftypisom", "video/mp4"),
        (b"\0\0\0\x08wide", "video/quicktime"),
        (b"\0\0\0\x08free\0\0\0\x18ftypisom", "video/mp4"),
        (b"\0\0\0\x08skip\0\0\0\x18ftypM4A ", "audio/mp4"),
        (b"\0\0\0\x20mdat", "video/quicktime"),
        (b"ID3\x03", "audio/mpeg"),
        (b"\xff\xf3\x84\xc4", "audio/mpeg"),
        (b"\xff\xf1\x50\x80", "audio/aac"),
        (b"OggS", "audio/ogg"),
        (b"fLaC", "audio/flac"),
        (b"RIFF\0\0\0\0AVI ", "video/x-msvideo"),
        (b"FLV\x01", "video/x-flv"),
        (b"\xff\xff\xff\xff", None),
        (b"RIFF\0\0\0\0CDDA", None),
        (b"BM is the beginning of a letter", None),
        (b"#EXTM3U\nfile:///etc/passwd", None),
        (b"<svg>", None),
        (b"hello", None),
        (b"", None),
    ],
)
def test_kinds_by_their_first_bytes(head: bytes, media_type: str | None) -> None:
    """What is no image, video or audio is nothing."""
    assert sniff(head) == media_type


def test_the_name_does_not_matter(tmp_path: Path) -> None:
    """A PNG called .mp4 is a PNG."""
    path = tmp_path / "video.mp4"
    path.write_bytes(image("PNG"))
    info = inspect_file(path)
    assert (info.kind, info.size) == ("image", path.stat().st_size)
    assert inspect_file(str(path), digest=False).sha256 == ""


@pytest.mark.parametrize("name", ["missing.png", ".", "a\0b", "~no-such-user/x", "x" * 5000, "text.png", "empty.png"])
def test_a_file_that_is_none_is_an_invalid_request(name: str, tmp_path: Path) -> None:
    """Never an OSError or a ValueError."""
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "empty.png").touch()
    path = name if name.startswith("~") or "\0" in name else str(tmp_path / name)
    with pytest.raises(InvalidRequestError):
        inspect_file(path)


def test_a_pipe_is_not_waited_for() -> None:
    """Only regular files are opened."""
    with refusing(reason="no regular file"):
        inspect_file("/dev/zero")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("https://e.com/a", "http"),
        ("HTTP://e.com/a", "http"),
        ("s3://b/k", "s3"),
        ("S3://b/k", "s3"),
        ("data:image/png;base64,AA==", "data"),
        ("Data:,x", "data"),
        ("cat.jpg", "local"),
        ("/tmp/cat.jpg", "local"),
        ("C:\\cat.jpg", "local"),
        ("file:///cat.jpg", "local"),
        ("", "local"),
    ],
)
def test_how_an_asset_is_fetched(text: str, kind: str) -> None:
    """By its scheme, in either case."""
    assert asset_kind(text) == kind


def test_data_urls() -> None:
    """Base64 or percent-encoded, with or without parameters."""
    packed = base64.b64encode(b"\xff\xd8\xff").decode()
    assert split_data_url(f"data:image/jpeg;base64,{packed}") == ("image/jpeg", b"\xff\xd8\xff")
    assert split_data_url(f"DATA:Image/PNG;x=y;BASE64,{packed}") == ("image/png", b"\xff\xd8\xff")
    assert split_data_url("data:text/plain,a%20b") == ("text/plain", b"a b")
    assert split_data_url("data:;base64,QQ%3D%3D") == ("", b"A")


@pytest.mark.parametrize(
    "text", ["", "data:", "data:image/png;base64", "data:image/png;base64,A", "data:x;base64,ü", "data:x;base64,****"]
)
def test_broken_data_urls(text: str) -> None:
    """An invalid request, whatever is broken."""
    with pytest.raises(InvalidRequestError):
        split_data_url(text)


@pytest.mark.parametrize(
    "data",
    [
        b"II*\0" + b"\0" * 60,
        b"MM\0*\xff\xff\xff\xff" + b"\0" * 60,
        b"II*\0\x08\0\0\0\xff\xff" + b"\x01\x01\x03\0\x01\0\0\0\x01\0\0\0" * 65_535,
        b"II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0" + b"\xff" * 60,
        b"RIFF\x08\0\0\0WEBPJUNK" + b"\0" * 60,
        b"BM" + b"\0" * 12 + (40).to_bytes(4, "little") + b"\xff" * 40,
        b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0\0\0\x08free" * 100_000,
        image("AVIF"),
    ],
    ids=["tiff", "tiff-far", "tiff-many", "bigtiff-many", "webp", "bmp-negative", "heic", "avif"],
)
def test_headers_that_tell_no_sides(data: bytes) -> None:
    """The kind is known, the rest is not; never a guess."""
    info = inspect_bytes(data)
    assert (info.kind, info.width, info.height, info.seconds) == ("image", None, None, None)


@pytest.mark.parametrize(
    "data",
    [
        b"\x89PNG\r\n\x1a\n\0\0\0\rJUNK" + b"\0" * 60,
        b"\x89PNG\r\n\x1a\n" + b"\0\0\0\0tEXt\0\0\0\0" * 100_000,
        b"\xff\xd8\xff\xd9" + b"\0" * 60,
        b"\xff\xd8\xff\xe0\0",
        b"\xff\xd8\xff\xe0\0\0" * 9,
        b"\xff\xd8\xff" + b"\xe0\0\2\xff" * 500_000,
        b"\xff\xd8" + b"\xff" * 8_000_000,
        b"RIFF\0\0\0\0AVI " + b"\0" * 60,
        b"ID3\x04" + b"\xff\0" * 7_000_000,
        b"\xff\xfb\x90\x00\xff" + b"\xff\0" * 7_000_000,
        b"\xff\xfb\x90\x00" + b"\xff\xfb" * 4_000_000,
        b"\0\0\0\x18ftypisom" + b"\n#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n",
        b"\x1aE\xdf\xa3\x84webm" + b"\x18\x53\x80\x67\xff" + b"\xec\x80" * 2_000_000,
    ],
    ids=[
        "png",
        "png-chunks",
        "jpeg-end",
        "jpeg-torn",
        "jpeg-no-length",
        "jpeg-segments",
        "jpeg-fill",
        "avi",
        "id3",
        "mp3",
        "mp3-frames",
        "playlist",
        "webm-voids",
    ],
)
def test_junk_is_given_up_soon(data: bytes) -> None:
    """Millions of anything are not looked through, and no other file is opened."""
    began = time.process_time()
    with pytest.raises(InvalidRequestError):
        inspect_bytes(data, digest=False)
    assert time.process_time() - began < 5  # in a thread; 0.5 s at most where nothing else runs


def hostile(data: bytes) -> MediaInfo | None:
    try:
        return inspect_bytes(data, digest=False)
    except InvalidRequestError:
        return None


WHOLE = [
    image("PNG"),
    image("JPEG"),
    image("WEBP"),
    image("WEBP", lossless=True),
    image("GIF"),
    image("BMP"),
    clip("mp4"),
    wav(),
    tone(*MP3),
]


@given(
    number=st.integers(0, len(WHOLE) - 1),
    cut=st.one_of(st.integers(0, 3000), st.just(10**6)),
    noise=st.binary(max_size=40),
    at=st.integers(0, 200),
)
def test_damaged_files_show_less_and_raise_nothing(number: int, cut: int, noise: bytes, at: int) -> None:
    """Truncated, overwritten or both."""
    whole = WHOLE[number]
    info = hostile((whole[:at] + noise + whole[at + len(noise) :])[:cut])
    assert info is None or all(fact is None or fact > 0 for fact in (info.width, info.height, info.seconds))


def test_a_decompression_bomb_is_a_pair_of_numbers() -> None:
    """Nothing is decoded, so four billion pixels cost nothing."""
    bomb = bytearray(image("PNG"))
    bomb[16:24] = (65_535).to_bytes(4, "big") * 2
    assert inspect_bytes(bytes(bomb)).width == 65_535


@pytest.mark.parametrize(("data", "kind"), [(clip("webm"), "video"), (wav(), "audio")])
def test_without_the_extra_the_facts_are_unknown(data: bytes, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest is still told; an MP4 needs no package at all."""
    monkeypatch.setitem(sys.modules, "av", None)
    info = inspect_bytes(data)
    assert (info.kind, info.seconds, info.width, info.size) == (kind, None, None, len(data))
    film = inspect_bytes(clip("mp4"))
    assert (film.seconds, film.width, film.height) == (1.0, 64, 48)
