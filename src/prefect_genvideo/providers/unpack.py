"""Bodies that come compressed although none was asked for (RFC 9110, 8.4.1), unpacked in small pieces."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Iterator

PIECE = 256 * 1024
"""Bytes unpacked at a time: a body that unpacks to a thousand times its size costs this much memory, no more."""

CODINGS = frozenset({"gzip", "x-gzip", "deflate"})
"""Values of `Content-Encoding` that can be undone here."""

# Bytes by which a body may be longer than what it unpacks to: headers and names of files. One that is longer by far is
# made of empty pieces, and would never end.
_MOST_FOR_NOTHING = 1024 * 1024
_GZIP_MAGIC = b"\x1f\x8b"
# The low four bits of the first byte of a zlib stream (RFC 1950, 2.2).
_ZLIB_MARK = 8


class BrokenCodingError(Exception):
    """The body is not in the coding that its header names, or was cut."""


async def unpacked(chunks: AsyncIterator[bytes], coding: str) -> AsyncIterator[bytes]:
    """Undo a content coding.

    Args:
        chunks: The body as it comes off the wire.
        coding: `gzip`, `x-gzip` or `deflate`.

    Yields:
        The content, in pieces of at most `PIECE` bytes.

    Raises:
        BrokenCodingError: The bytes are in no such coding, end too early, or unpack to next to nothing.
    """
    head, unpacker, packed, content = b"", None, 0, 0
    async for chunk in chunks:
        new, packed = chunk, packed + len(chunk)
        if packed > 2 * content + len(chunk) + _MOST_FOR_NOTHING:
            raise BrokenCodingError
        if unpacker is None:
            head += chunk
            if len(head) < len(_GZIP_MAGIC):
                continue
            new, unpacker = head, _Unpacker(coding, head)
        for piece in unpacker.pieces(new):
            content += len(piece)
            yield piece
    if head and (unpacker is None or not unpacker.whole):
        raise BrokenCodingError


class _Unpacker:
    """Unpacks one body by what its first bytes show, where they show it."""

    def __init__(self, coding: str, head: bytes) -> None:
        if coding == "deflate":
            # RFC 9110, 8.4.1.2, notes that some send it without the wrapper of zlib.
            self._form = zlib.MAX_WBITS if head[0] & 0x0F == _ZLIB_MARK else -zlib.MAX_WBITS
        else:
            self._form = zlib.MAX_WBITS | 16
        # Some servers name a coding and send the file as it is.
        self._plain = coding != "deflate" and not head.startswith(_GZIP_MAGIC)
        self._stream = zlib.decompressobj(self._form)

    @property
    def whole(self) -> bool:
        return self._plain or self._stream.eof

    def pieces(self, data: bytes) -> Iterator[bytes]:
        if self._plain:
            yield data
            return
        while data:
            if self._stream.eof:  # members may follow one another, and padding the last one (RFC 1952, 2.2)
                if not data.strip(b"\0"):
                    return
                self._stream = zlib.decompressobj(self._form)
            try:
                piece = self._stream.decompress(data, PIECE)
            except zlib.error:
                raise BrokenCodingError from None
            data = self._stream.unconsumed_tail or self._stream.unused_data
            if piece:
                yield piece
