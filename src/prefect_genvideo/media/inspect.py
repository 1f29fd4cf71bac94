"""What a reference asset is: kind, bytes, seconds, pixels. Told from the content, never from a name.

Sizes and sides of images need nothing installed. Seconds and pixels of a video need PyAV, seconds of an audio file
tinytag (`pip install "prefect-genvideo[media]"`); without them those facts are None and their rules are not checked.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal, cast
from urllib.parse import unquote_to_bytes

from prefect_genvideo.errors import InvalidRequestError

MediaKind = Literal["image", "video", "audio"]
AssetKind = Literal["http", "s3", "data", "local"]

_CHUNK = 1024 * 1024
_DATA_URL = re.compile(r"\s*data:(?P<type>[^;,]*)(?P<params>(?:;[^;,]*)*),", re.IGNORECASE)
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_BLANKS = b" \t\r\n\f\v"
_ASSET_SCHEMES: tuple[tuple[str, AssetKind], ...] = (
    ("http://", "http"),
    ("https://", "http"),
    ("s3://", "s3"),
    ("data:", "data"),
)

# (offset, magic, media type); the first match wins.
_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (0, b"II*\x00", "image/tiff"),
    (0, b"MM\x00*", "image/tiff"),
    (0, b"\x1aE\xdf\xa3", "video/webm"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"OggS", "audio/ogg"),
    (0, b"fLaC", "audio/flac"),
    (0, b"FLV\x01", "video/x-flv"),
    (4, b"moov", "video/quicktime"),
    (4, b"mdat", "video/quicktime"),
    (4, b"wide", "video/quicktime"),
)
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}
_BRANDS = {
    b"qt  ": "video/quicktime",
    b"M4A ": "audio/mp4",
    b"M4B ": "audio/mp4",
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"mif1": "image/heif",
    b"msf1": "image/heif",
    b"avif": "image/avif",
    b"avis": "image/avif",
}
# Only the demuxer that the magic bytes name: a playlist dressed up as a video must not make FFmpeg open other files.
_DEMUXERS = {"video/mp4": "mov", "video/quicktime": "mov", "video/webm": "matroska"}
_BMP_HEADERS = frozenset({12, 40, 52, 56, 64, 108, 124})


@dataclass(frozen=True)
class MediaInfo:
    """The facts of one asset.

    Attributes:
        kind: `image`, `video` or `audio`.
        media_type: MIME type of the content, e.g. `image/jpeg`.
        size: Bytes.
        width: Pixels; None where unknown.
        height: Pixels; None where unknown.
        seconds: Length of a video or audio; None where unknown.
        fps: Frames per second of a video, the average; None where unknown.
        sha256: Hash of the content, hex; empty when it was not asked for.
    """

    kind: MediaKind
    media_type: str
    size: int
    width: int | None = None
    height: int | None = None
    seconds: float | None = None
    sha256: str = ""
    fps: float | None = None


def asset_kind(text: str) -> AssetKind:
    """How an asset string is to be fetched: `http`, `s3`, `data`, else it is a `local` path."""
    lowered = text[:8].lower()
    for scheme, kind in _ASSET_SCHEMES:
        if lowered.startswith(scheme):
            return kind
    return "data" if text[:64].lstrip()[:5].lower() == "data:" else "local"


def split_data_url(text: str) -> tuple[str, bytes]:
    """Return the declared media type (may be empty) and the bytes of a data URL.

    Taken as people make them: base64 with line breaks and blanks, in the URL-safe alphabet, percent-encoded, without
    its padding. The error shows nothing of the content.

    Raises:
        InvalidRequestError: It is no data URL, or its base64 is broken.
    """
    head = _DATA_URL.match(text)
    if head is None:
        raise InvalidRequestError("This is not a data URL (data:<media type>;base64,<content>).")
    media_type = head["type"].strip().lower()
    content = text[head.end() :].strip()
    if "base64" not in (part.strip().lower() for part in head["params"].split(";")):
        return media_type, unquote_to_bytes(content)
    try:
        packed = unquote_to_bytes(content) if "%" in content else content.encode("ascii")
        packed = packed.translate(_URL_SAFE, _BLANKS).rstrip(b"=")
        return media_type, base64.b64decode(packed + b"=" * (-len(packed) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequestError("The data URL's base64 content is broken.") from None


def inspect_bytes(data: bytes, *, digest: bool = True) -> MediaInfo:
    """Return the facts of an asset in memory.

    Args:
        data: The whole content.
        digest: Whether to compute the SHA-256.

    Raises:
        InvalidRequestError: The content is empty or of no known kind.
    """
    return _inspect(io.BytesIO(data), len(data), "The content", digest)


def inspect_file(path: str | Path, *, digest: bool = True) -> MediaInfo:
    """Return the facts of a local file. The file is never read whole into memory.

    Args:
        path: The file; a leading `~` is the home directory.
        digest: Whether to compute the SHA-256, which reads every byte.

    Raises:
        InvalidRequestError: There is no such file, it cannot be read, or it is of no known kind.
    """
    try:
        found = Path(path).expanduser()
        if not found.is_file():
            what = "is a directory" if found.is_dir() else "does not exist or is not a regular file"
            raise InvalidRequestError(f"{path} {what}.")
        with found.open("rb") as file:
            return _inspect(file, found.stat().st_size, found.name, digest)
    except (OSError, ValueError, RuntimeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not a valid path"
        raise InvalidRequestError(f"{path} cannot be read: {why}.") from None


def sniff(head: bytes) -> str | None:
    """Return the media type that the first bytes show, or None. 64 bytes are enough."""
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12])
    if head[4:8] == b"ftyp":
        return _BRANDS.get(head[8:12], "video/mp4")
    if head[:2] == b"BM":
        return "image/bmp" if int.from_bytes(head[14:18], "little") in _BMP_HEADERS else None
    found = next((kind for at, magic, kind in _MAGIC if head[at : at + len(magic)] == magic), None)
    return found or _mpeg_audio(head)


def _mpeg_audio(head: bytes) -> str | None:
    """MP3 and AAC have no magic word, only a frame whose reserved values must not occur."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    if head[1] & 0xF6 == 0xF0:
        return "audio/aac"
    layer_three = head[1] & 0x06 == 0x02 and head[1] & 0x18 != 0x08
    return "audio/mpeg" if layer_three and head[2] & 0xF0 != 0xF0 and head[2] & 0x0C != 0x0C else None


def _inspect(file: BinaryIO, size: int, name: str, digest: bool) -> MediaInfo:
    media_type = sniff(file.read(64))
    if media_type is None:
        what = "is empty" if size == 0 else "is no image, video or audio that is known here"
        raise InvalidRequestError(f"{name} {what}.")
    width, height, seconds, fps = _facts(file, media_type)
    kind: MediaKind = "image" if media_type[:5] == "image" else "video" if media_type[:5] == "video" else "audio"
    return MediaInfo(kind, media_type, size, width, height, seconds, _sha256(file) if digest else "", fps)


# Width, height, seconds, frames per second.
_Facts = tuple[int | None, int | None, float | None, float | None]


def _facts(file: BinaryIO, media_type: str) -> _Facts:
    if media_type.startswith("image/"):
        width, height = image_sides(file, media_type) or (None, None)
        return width, height, None, None
    file.seek(0)
    if media_type.startswith("video/"):
        return _video_facts(file, media_type)
    return None, None, _audio_seconds(file), None


def _video_facts(file: BinaryIO, media_type: str) -> _Facts:
    try:
        import av
    except ImportError:
        return None, None, None, None
    demuxer = _DEMUXERS.get(media_type)
    if demuxer is None:
        return None, None, None, None
    try:
        with closing(av.open(file, "r", format=demuxer)) as container:
            seconds = container.duration / av.time_base if container.duration else None
            if not container.streams.video:
                return None, None, seconds, None
            stream = container.streams.video[0]
            fps = float(stream.average_rate) if stream.average_rate else None
            return stream.width or None, stream.height or None, seconds, fps
    except Exception:
        # PyAV's errors share no base below Exception, and a hostile file may raise any of them: facts unknown.
        return None, None, None, None


def _audio_seconds(file: BinaryIO) -> float | None:
    try:
        from tinytag import TinyTag
    except ImportError:
        return None
    try:
        return TinyTag.get(file_obj=cast(BinaryIO, _Patience(file)), tags=False).duration or None
    except Exception:
        # A hostile file raises whatever its parser trips over: seconds unknown.
        return None


class _Patience:
    """A file that can be read from only so often: in a file of junk, the search for an MP3 frame takes seconds."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left = 20_000

    def read(self, size: int = -1) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise OSError("no audio within reach")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


def _sha256(file: BinaryIO) -> str:
    file.seek(0)
    digest = hashlib.sha256()
    for chunk in _chunks(file):
        digest.update(chunk)
    return digest.hexdigest()


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(_CHUNK):
        yield chunk


Sides = tuple[int, int]

# Start-of-frame markers; C4, C8 and CC in their midst are tables, not frames.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_BARE = frozenset({0x01, *range(0xD0, 0xD9)})
_JPEG_SEGMENTS = 1000


def image_sides(file: BinaryIO, media_type: str) -> Sides | None:
    """Return (width, height) in pixels.

    Args:
        file: The image, read from its beginning; left anywhere.
        media_type: As sniffed from the content, e.g. `image/png`.

    Returns:
        Both sides, or None when the header is cut, absurd or of another format.
    """
    reader = _READERS.get(media_type)
    if reader is None:
        return None
    file.seek(0)
    try:
        sides = reader(file)
    except (struct.error, IndexError):
        return None
    return sides if sides and min(sides) > 0 else None


def _png(file: BinaryIO) -> Sides | None:
    head = file.read(24)
    return struct.unpack(">II", head[16:24]) if head[12:16] == b"IHDR" else None


def _gif(file: BinaryIO) -> Sides | None:
    return struct.unpack("<HH", file.read(10)[6:10])


def _bmp(file: BinaryIO) -> Sides | None:
    width, height = struct.unpack("<ii", file.read(26)[18:26])
    return abs(width), abs(height)


def _webp(file: BinaryIO) -> Sides | None:
    head = file.read(30)
    form = head[12:16]
    if form == b"VP8 ":
        width, height = struct.unpack("<HH", head[26:30])
        return width & 0x3FFF, height & 0x3FFF
    if form == b"VP8L":
        bits = struct.unpack("<I", head[21:25])[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if form == b"VP8X" and len(head) == 30:
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    return None


def _jpeg(file: BinaryIO) -> Sides | None:
    file.seek(2)
    for _ in range(_JPEG_SEGMENTS):
        if file.read(1) != b"\xff":
            return None
        marker = file.read(1)[0]
        while marker == 0xFF:
            marker = file.read(1)[0]
        if marker in _JPEG_BARE:
            continue
        length = struct.unpack(">H", file.read(2))[0]
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack(">HH", file.read(5)[1:5])
            return width, height
        file.seek(length - 2, 1)
    return None


_READERS: dict[str, Callable[[BinaryIO], Sides | None]] = {
    "image/png": _png,
    "image/gif": _gif,
    "image/bmp": _bmp,
    "image/webp": _webp,
    "image/jpeg": _jpeg,
}
