"""Width and height from the head of an image, without decoding it.

A few header bytes decide; nothing is decompressed, so that a decompression bomb is just a pair of numbers.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import BinaryIO

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
