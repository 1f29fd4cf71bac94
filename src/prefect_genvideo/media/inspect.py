"""Facts of reference assets: kind, bytes, seconds, pixels. Told from the content, never from a name.

Sides of images, and what is in an MP4, need nothing installed. The facts of other films and of sound, and a look at a
decoded frame, need PyAV and Pillow (`pip install "prefect-genvideo[media]"`); without them those facts are None and
their rules are not checked.
"""

from __future__ import annotations

import base64
import hashlib
import io
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Literal, cast
from urllib.parse import unquote_to_bytes

from prefect_genvideo.errors import DownloadError, InvalidRequestError
from prefect_genvideo.media._decoders import DEMUXERS, Streams, image_fault, streams_of
from prefect_genvideo.media._image_header import header_fault, image_sides
from prefect_genvideo.media._kinds import HEAD, matroska_cut, media_type_of, sniff
from prefect_genvideo.media._sound_frames import find_sound
from prefect_genvideo.media.mp4 import read_mp4

__all__ = ["MediaInfo", "MediaKind", "asset_kind", "inspect_bytes", "inspect_file", "sniff", "split_data_url"]

MediaKind = Literal["image", "video", "audio"]
AssetKind = Literal["http", "s3", "data", "asset", "local"]

# Bytes hashed at a time.
_CHUNK = 1024 * 1024
_DATA_URL = re.compile(r"\s*data:(?P<type>[^;,]*)(?P<params>(?:;[^;,]*)*),", re.IGNORECASE)
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_BLANKS = b" \t\r\n\f\v"
_ASSET_SCHEMES: tuple[tuple[str, AssetKind], ...] = (
    ("http://", "http"),
    ("https://", "http"),
    ("s3://", "s3"),
    ("data:", "data"),
    ("asset://", "asset"),
)


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
    """How an asset is fetched: `http`, `s3`, `data`, by the provider itself (`asset`), else from a `local` path."""
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
        raise InvalidRequestError("This is not a data URL (data:<media type>;base64,<content>).", reason="no data URL")
    media_type = head["type"].strip().lower()
    content = text[head.end() :].strip()
    if "base64" not in (part.strip().lower() for part in head["params"].split(";")):
        return media_type, unquote_to_bytes(content)
    try:
        packed = unquote_to_bytes(content) if "%" in content else content.encode("ascii")
        packed = packed.translate(_URL_SAFE, _BLANKS).rstrip(b"=")
        return media_type, base64.b64decode(packed + b"=" * (-len(packed) % 4), validate=True)
    except ValueError:  # also what base64 raises
        raise InvalidRequestError("The data URL's base64 content is broken.", reason="broken base64") from None


def inspect_bytes(data: bytes, *, digest: bool = True, check: bool = True) -> MediaInfo:
    """Return the facts of an asset in memory.

    Args:
        data: The whole content.
        digest: Whether to compute the SHA-256.
        check: As for `inspect_file`.

    Raises:
        InvalidRequestError: The content is empty, of no known kind, or broken.
    """
    return _inspect(io.BytesIO(data), len(data), "The content", digest, check)


def inspect_file(path: str | Path, *, digest: bool = True, check: bool = True) -> MediaInfo:
    """Return the facts of a local file. The file is never read whole into memory.

    Args:
        path: The file; a leading `~` is the home directory.
        digest: Whether to compute the SHA-256, which reads every byte.
        check: Whether to refuse what is cut off or cannot be decoded; without it, only its kind and size are told.

    Raises:
        InvalidRequestError: There is no such file, it cannot be read, is of no known kind, or broken.
    """
    try:
        found = Path(path).expanduser()
        if not found.is_file():
            what = "is a directory" if found.is_dir() else "does not exist or is not a regular file"
            raise InvalidRequestError(f"{path} {what}.", reason="no regular file")
        with found.open("rb") as file:
            return _inspect(file, found.stat().st_size, found.name, digest, check)
    except (OSError, ValueError, RuntimeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not a valid path"
        raise InvalidRequestError(f"{path} cannot be read: {why}.", reason="unreadable file") from None


def _inspect(file: BinaryIO, size: int, name: str, digest: bool, check: bool) -> MediaInfo:
    shown, found = sniff(file.read(HEAD)), media_type_of(file)
    if shown is None and found is None:
        raise _unknown(name, size)
    facts = _facts(file, found)
    if facts.fault and check:
        raise InvalidRequestError(f"{name} is no usable {found or shown}: {facts.fault}.", reason="broken file")
    facts = Streams() if facts.fault else facts
    sha256 = _sha256(file) if digest else ""
    # What it is shows in its tracks, not in its brand: `audio/webm` for WebM without pictures.
    named, _, form = (found or shown or "").partition("/")
    kind = cast(MediaKind, facts.kind or named)
    return MediaInfo(kind, f"{kind}/{form}", size, facts.width, facts.height, facts.seconds, sha256, facts.fps)


def _unknown(name: str, size: int) -> InvalidRequestError:
    if size == 0:
        return InvalidRequestError(f"{name} is empty.", reason="empty file")
    text = f"{name} is no image, video or audio that is known here."
    return InvalidRequestError(text, reason="unknown kind of file")


def _facts(file: BinaryIO, media_type: str | None) -> Streams:
    if media_type is None:
        return Streams(fault="there is no sound behind its tag")
    if media_type.startswith("image/"):
        return _image_facts(file, media_type)
    if DEMUXERS.get(media_type) == "mov":
        return _mp4_facts(file, media_type)
    if DEMUXERS.get(media_type) == "matroska" and matroska_cut(file):
        return Streams(fault="it is cut off")
    found = streams_of(file, media_type)
    if media_type == "audio/mpeg" and found.seconds:
        # The padding that an encoder adds counts for some judges and not for others; it is sent all the same.
        sound = find_sound(file)
        return replace(found, seconds=max(found.seconds, (sound and sound.declared) or 0))
    return found


def _image_facts(file: BinaryIO, media_type: str) -> Streams:
    sides = image_sides(file, media_type)
    fault = header_fault(file, media_type) or (image_fault(file, media_type, sides) if sides else "")
    return Streams("image", *(sides or (None, None)), fault=fault)


def _mp4_facts(file: BinaryIO, media_type: str) -> Streams:
    try:
        movie, _ = read_mp4(file)
    except DownloadError as error:
        return Streams(fault=f"it is cut off or damaged ({error.reason})")
    main = movie.picture or movie.sound
    if main is None and movie.tracks:
        return Streams(fault="it holds neither pictures nor sound")
    if main is not None and main.samples == 0:
        return Streams(fault="it is a head without any pictures or sound")
    found = streams_of(file, media_type)
    if main is None or found.fault:
        return found
    sides = main.stored or (None, None)
    return Streams("video" if movie.picture else "audio", *sides, movie.seconds, found.fps)


def _sha256(file: BinaryIO) -> str:
    file.seek(0)
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()
