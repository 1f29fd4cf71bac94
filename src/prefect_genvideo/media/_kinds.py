"""The media type that a file's bytes show: the magic word of its format, its tracks, or frames of sound."""

from __future__ import annotations

from typing import BinaryIO

from prefect_genvideo.errors import DownloadError
from prefect_genvideo.media._sound_frames import find_sound, frame_type
from prefect_genvideo.media.mp4 import read_mp4

# (offset, magic, media type); the first match wins.
_MAGIC: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (0, b"II*\x00", "image/tiff"),
    (0, b"MM\x00*", "image/tiff"),
    (0, b"II+\x00", "image/tiff"),
    (0, b"MM\x00+", "image/tiff"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"OggS", "audio/ogg"),
    (0, b"fLaC", "audio/flac"),
    (0, b"FLV\x01", "video/x-flv"),
    (4, b"moov", "video/quicktime"),
    (4, b"mdat", "video/quicktime"),
)
# Boxes that hold nothing and may stand before the first one that does.
_EMPTY_BOXES = frozenset({b"free", b"skip", b"wide", b"pnot"})
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}
# A wave file of more than 4 GiB is headed by one of the last two (EBU Tech 3306, ITU-R BS.2088).
_WAVES = (b"RIFF", b"RF64", b"BW64")
# Brands of ISO base media files (mp4ra.org). A brand that is not here counts as MP4 where the file says that it also
# follows one of `_BASE`, and as unknown otherwise.
_BRANDS = {
    b"qt  ": "video/quicktime",
    b"M4A ": "audio/mp4",
    b"M4B ": "audio/mp4",
    b"M4P ": "audio/mp4",
    b"F4A ": "audio/mp4",
    b"F4B ": "audio/mp4",
    b"M4V ": "video/x-m4v",
    b"M4VH": "video/x-m4v",
    b"M4VP": "video/x-m4v",
    b"heic": "image/heic",
    b"heix": "image/heic",
    b"mif1": "image/heif",
    b"msf1": "image/heif",
    b"avif": "image/avif",
    b"avis": "image/avif",
}
_BASE = (b"iso", b"mp4", b"mp7", b"avc1", b"hvc1", b"hev1", b"av01", b"dash", b"cmf", b"msdh", b"f4v", b"MSNV", b"mmp4")
# Brands whose files hold no film although they name one of `_BASE`: raw photographs, JPEG 2000, bought audio books.
_NO_FILM = (b"crx ", b"jp2", b"jpx", b"jpm", b"aax")
# Codecs of films and sound (mp4ra.org) that make a file of another brand an MP4.
_CODECS = frozenset(
    ["avc1", "avc3", "hvc1", "hev1", "av01", "vp08", "vp09", "mp4v", "mp4a", "ac-3", "ec-3", "Opus", "fLaC", "alac"]
)
# Of Matroska (RFC 9559): the file's head, and the segment that holds everything else.
_EBML = b"\x1aE\xdf\xa3"
# Bytes in which the segment of a Matroska file must begin.
_EBML_SEARCHED = 4096
_SEGMENT = b"\x18\x53\x80\x67"
# Length of an OS/2 or Windows bitmap's second header.
_BMP_HEADERS = frozenset({12, 16, 40, 52, 56, 64, 108, 124})

HEAD = 64
"""Bytes that `sniff` looks at."""


def sniff(head: bytes) -> str | None:
    """Return the media type that the first bytes show, or None. 64 bytes are enough."""
    if head[:4] in _WAVES:
        return _RIFF.get(head[8:12])
    if head[4:8] in _EMPTY_BOXES:
        # The next box tells, where it is near enough.
        rest = head[int.from_bytes(head[:4], "big") :]
        return _branded(rest) if rest[4:8] == b"ftyp" else "video/quicktime"
    if head[4:8] == b"ftyp":
        return _branded(head)
    if head[:4] == _EBML:
        return "video/x-matroska" if b"matroska" in head[:HEAD] else "video/webm"
    if head[:2] == b"BM":
        return "image/bmp" if int.from_bytes(head[14:18], "little") in _BMP_HEADERS else None
    found = next((kind for at, magic, kind in _MAGIC if head[at : at + len(magic)] == magic), None)
    return found or frame_type(head)


def media_type_of(file: BinaryIO) -> str | None:
    """Return the media type of a file, None where it is none that is known here.

    Args:
        file: Read from its beginning; left anywhere.
    """
    file.seek(0)
    head = file.read(HEAD)
    found = sniff(head)
    if found is None and head[4:8] == b"ftyp":
        return _by_tracks(file, head)
    if found is None or head.startswith(b"ID3"):
        sound = find_sound(file)
        return sound.media_type if sound else None
    return found


def matroska_cut(file: BinaryIO) -> bool:
    """Whether a Matroska or WebM file ends before its segment does (RFC 8794, 4 and 6); live ones do not say.

    Args:
        file: Left anywhere.
    """
    end = file.seek(0, 2)
    file.seek(0)
    head = file.read(_EBML_SEARCHED)
    at, length = _vint(head, 4)
    at += length or 0
    if head[at : at + 4] != _SEGMENT:
        return True
    at, length = _vint(head, at + 4)
    return length is not None and at + length > end


def _vint(data: bytes, at: int) -> tuple[int, int | None]:
    """Where the number at `at` ends, and its value: None for the reserved one that says "unknown"."""
    first = data[at] if at < len(data) else 0
    width = 9 - first.bit_length()
    value = int.from_bytes(data[at : at + width], "big") & ((1 << 7 * width) - 1)
    return at + width, None if value == (1 << 7 * width) - 1 else value


def _branded(head: bytes) -> str | None:
    """The type of an ISO base media file by its brands: the major one, then those it is compatible with."""
    major = head[8:12]
    if major in _BRANDS:
        return _BRANDS[major]
    if major[:2] == b"3g":
        return "video/3gpp2" if major[:3] == b"3g2" else "video/3gpp"
    if major.startswith(_NO_FILM):
        return None
    end = min(int.from_bytes(head[:4], "big"), len(head))
    others = [head[at : at + 4] for at in range(16, end - 3, 4)]
    return "video/mp4" if any(brand.startswith(_BASE) for brand in (major, *others)) else None


def _by_tracks(file: BinaryIO, head: bytes) -> str | None:
    """A file of a brand that is not known here is an MP4 where its tracks are those of one."""
    if head[8:12].startswith(_NO_FILM):
        return None
    try:
        movie, _ = read_mp4(file)
    except DownloadError:
        return None
    return "video/mp4" if any(track.codec in _CODECS for track in movie.tracks) else None
