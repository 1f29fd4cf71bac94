"""Sides of images, and whether they are cut, by their headers: nothing is decoded, and every walk has an end."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import BinaryIO

Sides = tuple[int, int]

# Start-of-frame markers; C4, C8 and CC in their midst are tables, not frames.
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Markers without a length and a body.
_JPEG_BARE = frozenset({0x01, *range(0xD0, 0xD9)})
# The marker before pixels, and the one after the last of them.
_JPEG_SCAN, _JPEG_END = 0xDA, b"\xff\xd9"
# Segments of a JPEG before its pixels, chunks of a PNG, entries of a TIFF's directory.
_JPEG_SEGMENTS = 1000
_PNG_CHUNKS = 20_000
_TIFF_ENTRIES = 1000
# Length of the header of OS/2 1.x, whose sides have 16 bits.
_OS2_HEADER = 12
# Bytes read at a time.
_STEP = 1024 * 1024
# Tags and types of TIFF 6.0, sections 2 and 8; type 16 is BigTIFF's.
_TIFF_SIDES = (256, 257)
_TIFF_TYPES = {3: "H", 4: "I", 16: "Q"}


def image_sides(file: BinaryIO, media_type: str) -> Sides | None:
    """Return (width, height) in pixels as they are stored.

    Args:
        file: The image, read from its beginning; left anywhere.
        media_type: As sniffed from the content, e.g. `image/png`.

    Returns:
        Both sides, or None when the header is cut, absurd or of a format that is not read here (HEIC, AVIF).
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


def header_fault(file: BinaryIO, media_type: str) -> str:
    """Say what shows that the image is cut; empty where nothing does.

    Args:
        file: The image; left anywhere.
        media_type: As sniffed from the content.
    """
    judge = _WHOLE.get(media_type)
    try:
        return "" if judge is None or judge(file) else "it is cut off"
    except (struct.error, IndexError):
        return "it is cut off"


def _png(file: BinaryIO) -> Sides | None:
    head = file.read(24)
    return struct.unpack(">II", head[16:24]) if head[12:16] == b"IHDR" else None


def _png_whole(file: BinaryIO) -> bool:
    size, position, pixels = file.seek(0, 2), 8, False
    for _ in range(_PNG_CHUNKS):
        file.seek(position)
        head = file.read(8)
        position += 12 + int.from_bytes(head[:4], "big")
        if len(head) < 8 or position > size:
            return False
        pixels = pixels or head[4:] == b"IDAT"
        if head[4:] == b"IEND":
            return pixels
    return False


def _bmp(file: BinaryIO) -> Sides | None:
    head = file.read(26)
    if int.from_bytes(head[14:18], "little") == _OS2_HEADER:
        return struct.unpack("<HH", head[18:22])
    width, height = struct.unpack("<ii", head[18:26])
    return width, abs(height)


def _webp(file: BinaryIO) -> Sides | None:
    head = file.read(30)
    form = head[12:16]
    if form == b"VP8 ":
        # The two bits above are a hint for scaling (RFC 6386, 9.1).
        width, height = struct.unpack("<HH", head[26:30])
        return width & 0x3FFF, height & 0x3FFF
    if form == b"VP8L":
        bits = struct.unpack("<I", head[21:25])[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if form == b"VP8X" and len(head) == 30:
        return int.from_bytes(head[24:27], "little") + 1, int.from_bytes(head[27:30], "little") + 1
    return None


def _webp_whole(file: BinaryIO) -> bool:
    size = file.seek(0, 2)
    file.seek(4)
    # Some writers leave out the byte that pads an odd length.
    return int.from_bytes(file.read(4), "little") + 8 <= size + 1


def _jpeg_whole(file: BinaryIO) -> bool:
    """Whether a scan begins and the end marker comes after it: what is in between, only a decoder can judge."""
    sides, scan = _jpeg_walk(file, to_scan=True)
    if sides is None or not scan:
        return False
    file.seek(scan)
    last = b""
    while chunk := file.read(_STEP):
        if _JPEG_END in last + chunk:
            return True
        last = chunk[-1:]
    return False


def _jpeg_walk(file: BinaryIO, *, to_scan: bool = False) -> tuple[Sides | None, int]:
    """The sides, and the byte at which the first scan's header begins (0 where none was reached)."""
    sides = None
    file.seek(2)
    for _ in range(_JPEG_SEGMENTS):
        marker = file.read(2)
        if marker == b"\xff\xff":  # fill bytes may stand before a marker
            file.seek(-1, 1)
            continue
        if len(marker) < 2 or marker[0] != 0xFF:
            break
        if marker[1] in _JPEG_BARE:
            continue
        start = file.tell()
        if marker[1] == _JPEG_SCAN:
            return sides, start
        length = struct.unpack(">H", file.read(2))[0]
        if marker[1] in _JPEG_FRAMES:
            height, width = struct.unpack(">HH", file.read(5)[1:5])
            sides = width, height
            if not to_scan:
                break
        file.seek(start + length)
    return sides, 0


def _tiff(file: BinaryIO) -> Sides | None:
    """Sides of the first image, by the tags of its directory (TIFF 6.0, section 2; BigTIFF has wider fields)."""
    head = file.read(16)
    order, big = "<" if head[:2] == b"II" else ">", head[2:4] in (b"+\0", b"\0+")
    (place,) = struct.unpack(f"{order}Q", head[8:16]) if big else struct.unpack(f"{order}I", head[4:8])
    if place >= file.seek(0, 2):
        return None
    file.seek(place)
    (count,) = struct.unpack(f"{order}Q", file.read(8)) if big else struct.unpack(f"{order}H", file.read(2))
    found: dict[int, int] = {}
    for _ in range(min(count, _TIFF_ENTRIES)):
        entry = file.read(20 if big else 12)
        tag, form = struct.unpack(f"{order}HH", entry[:4])
        if tag in _TIFF_SIDES and form in _TIFF_TYPES:
            (found[tag],) = struct.unpack_from(order + _TIFF_TYPES[form], entry, 12 if big else 8)
    return (found[256], found[257]) if len(found) == 2 else None


_READERS: dict[str, Callable[[BinaryIO], Sides | None]] = {
    "image/png": _png,
    "image/gif": lambda file: struct.unpack("<HH", file.read(10)[6:10]),
    "image/bmp": _bmp,
    "image/webp": _webp,
    "image/jpeg": lambda file: _jpeg_walk(file)[0],
    "image/tiff": _tiff,
}
_WHOLE: dict[str, Callable[[BinaryIO], bool]] = {
    "image/png": _png_whole,
    "image/jpeg": _jpeg_whole,
    "image/webp": _webp_whole,
}
