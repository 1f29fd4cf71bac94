"""What an asset is shows in its content; what hostile content shows is nothing at all."""

from __future__ import annotations

import base64
import hashlib
import io
import sys
import wave
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_genvideo.errors import InvalidRequestError
from prefect_genvideo.media.inspect import MediaInfo, asset_kind, inspect_bytes, inspect_file, sniff, split_data_url

av = pytest.importorskip("av")
Image = pytest.importorskip("PIL.Image")


def image(form: str, width: int = 320, height: int = 200, **options: Any) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (width, height)).save(out, form, **options)
    return out.getvalue()


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


def wav(seconds: float) -> bytes:
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(1)
        file.setframerate(8000)
        file.writeframes(b"\x80" * int(8000 * seconds))
    return out.getvalue()


# 1152 samples a frame, 44.1 kHz, 128 kbit/s
MP3_FRAME = b"\xff\xfb\x90\xc4" + b"\0" * 413


@pytest.mark.parametrize(
    ("data", "media_type"),
    [
        (image("PNG"), "image/png"),
        (image("JPEG"), "image/jpeg"),
        (image("JPEG", progressive=True), "image/jpeg"),
        (image("WEBP"), "image/webp"),
        (image("WEBP", lossless=True), "image/webp"),
        (image("WEBP", exif=b"Exif\0\0"), "image/webp"),
        (image("GIF"), "image/gif"),
        (image("BMP"), "image/bmp"),
    ],
)
def test_sides_of_images(data: bytes, media_type: str) -> None:
    """Read from the header alone, without an image library."""
    assert inspect_bytes(data) == MediaInfo(
        "image", media_type, len(data), 320, 200, None, hashlib.sha256(data).hexdigest()
    )


def test_a_jpeg_with_a_large_profile_in_front() -> None:
    """The frame header may come late."""
    data = image("JPEG", icc_profile=b"p" * 200_000)
    assert inspect_bytes(data).width == 320


@pytest.mark.parametrize(
    ("form", "media_type"), [("mp4", "video/mp4"), ("mov", "video/quicktime"), ("webm", "video/webm")]
)
def test_pixels_and_seconds_of_videos(form: str, media_type: str) -> None:
    """With PyAV."""
    info = inspect_bytes(clip(form))
    assert (info.kind, info.media_type, info.width, info.height) == ("video", media_type, 64, 48)
    assert info.seconds == pytest.approx(1.0, abs=0.2)


@pytest.mark.parametrize(
    ("data", "media_type", "seconds"),
    [(wav(2.5), "audio/wav", 2.5), (MP3_FRAME * 100, "audio/mpeg", 100 * 1152 / 44100)],
)
def test_seconds_of_audio(data: bytes, media_type: str, seconds: float) -> None:
    """With tinytag."""
    info = inspect_bytes(data)
    assert (info.kind, info.media_type, info.width) == ("audio", media_type, None)
    assert info.seconds == pytest.approx(seconds, abs=0.05)


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
    with pytest.raises(InvalidRequestError, match="regular file"):
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
        b"RIFF\0\0\0\0WEBPJUNK" + b"\0" * 60,
        b"\x89PNG\r\n\x1a\n\0\0\0\rJUNK" + b"\0" * 60,
        b"\xff\xd8\xff\xd9" + b"\0" * 60,
        b"\xff\xd8\xff\xff\xff\xd0\xff\x01" + b"\xff\xe0\0\2" * 2000,
        b"RIFF\0\0\0\0AVI " + b"\0" * 60,
    ],
    ids=["tiff", "webp", "png", "jpeg-end", "jpeg-endless", "avi"],
)
def test_headers_that_tell_no_sides(data: bytes) -> None:
    """The kind is known, the rest is not."""
    info = inspect_bytes(data)
    assert (info.width, info.height, info.seconds) == (None, None, None)


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
    wav(1),
    MP3_FRAME * 9,
]


@given(whole=st.sampled_from(WHOLE), cut=st.integers(0, 3000), noise=st.binary(max_size=40), at=st.integers(0, 200))
def test_damaged_files_show_less_and_raise_nothing(whole: bytes, cut: int, noise: bytes, at: int) -> None:
    """Truncated, overwritten or both."""
    info = hostile((whole[:at] + noise + whole[at + len(noise) :])[:cut])
    assert info is None or all(fact is None or fact > 0 for fact in (info.width, info.height, info.seconds))


def test_a_decompression_bomb_is_a_pair_of_numbers() -> None:
    """Nothing is decoded, so four billion pixels cost nothing."""
    bomb = bytearray(image("PNG"))
    bomb[16:24] = (65_535).to_bytes(4, "big") * 2
    assert inspect_bytes(bytes(bomb)).width == 65_535


@pytest.mark.parametrize("head", [b"ID3\x04", b"\xff\xfb\x90\x00\xff"])
def test_junk_is_not_searched_for_ever(head: bytes) -> None:
    """Fifteen megabytes without a frame are given up soon."""
    assert inspect_bytes(head + b"\xff\0" * 7_000_000, digest=False).seconds is None


def test_a_playlist_in_disguise_opens_no_other_file() -> None:
    """FFmpeg is told the format; it does not guess one that refers elsewhere."""
    playlist = b"\0\0\0\x18ftypisom" + b"\n#EXTM3U\n#EXTINF:1,\nfile:///etc/hostname\n"
    assert inspect_bytes(playlist).seconds is None


@pytest.mark.parametrize(("module", "data"), [("av", clip("mp4")), ("tinytag", wav(1))])
def test_without_the_extra_the_facts_are_unknown(module: str, data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest is still told."""
    monkeypatch.setitem(sys.modules, module, None)
    info = inspect_bytes(data)
    assert (info.seconds, info.width, info.size) == (None, None, len(data))
