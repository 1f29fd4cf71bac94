"""Proof that a stream of bytes is a whole MP4 file, in constant memory.

An MP4 file is a row of boxes, each headed by its length. Walking the heads shows a cut file that no header, status
or file name would show.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from prefect_genvideo.errors import DownloadError

_HEAD = 8
_LONG_HEAD = 16
_TO_THE_END = 0
_LONG_SIZE = 1
_REQUIRED = ("ftyp", "moov", "mdat")
_MAX_FTYP = 4096


class BoxWalker:
    """Walks the top-level boxes of an MP4 file that arrives in pieces.

    Feed every byte in order, then call `finish`. Both raise `DownloadError` (retryable: the bytes are at fault, not
    the video) as soon as it is certain that the bytes are no whole MP4 file.
    """

    def __init__(self) -> None:
        self._head = bytearray()
        self._left = 0
        self._open_ended = False
        self._seen: set[str] = set()
        self.size = 0

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes.

        Raises:
            DownloadError: The first box is not `ftyp`, or a box has an impossible length or name.
        """
        self.size += len(chunk)
        position = 0
        while position < len(chunk) and not self._open_ended:
            if self._left:
                step = min(self._left, len(chunk) - position)
                self._left -= step
                position += step
            else:
                step = self._wanted() - len(self._head)
                self._head += chunk[position : position + step]
                position += step
                self._open_box()

    def finish(self) -> None:
        """Say that there are no more bytes.

        Raises:
            DownloadError: The file ends inside a box, or has no `ftyp`, `moov` or `mdat` box.
        """
        if self._head or self._left:
            raise _broken(f"it ends inside a box, after {self.size} bytes")
        missing = [name for name in _REQUIRED if name not in self._seen]
        if missing:
            raise _broken(f"it has no {' and no '.join(missing)} box")

    def _wanted(self) -> int:
        if len(self._head) >= _HEAD and int.from_bytes(self._head[:4], "big") == _LONG_SIZE:
            return _LONG_HEAD
        return _HEAD

    def _open_box(self) -> None:
        """Read the head once it is complete, and know how much to skip."""
        if len(self._head) < self._wanted():
            return
        head, taken = bytes(self._head), len(self._head)
        name, size = head[4:8], int.from_bytes(head[:4], "big")
        if size == _LONG_SIZE:
            size = int.from_bytes(head[8:16], "big")
        if not self._seen and (name != b"ftyp" or not taken <= size <= _MAX_FTYP):
            raise _broken("it does not begin with an ftyp box")
        if not all(0x20 <= byte < 0x7F or byte == 0xA9 for byte in name):
            raise _broken(f"there is no box at byte {self.size - taken}")
        if size == _TO_THE_END:
            self._open_ended = True
        elif size < taken:
            raise _broken(f"a box has the impossible length {size}")
        self._seen.add(name.decode("latin-1"))
        self._head.clear()
        self._left = max(size - taken, 0)


def _broken(why: str) -> DownloadError:
    return DownloadError(f"The bytes are not a whole MP4 file: {why}.", reason="not a whole MP4")


MAX_MOOV = 8 * 1024 * 1024
"""A larger `moov` belongs to hours of video; it is passed over rather than held in memory."""
_LONG_SIZE_FIELD = b"\0\0\0\1"
_NESTED = {b"trak", b"mdia", b"minf", b"stbl", b"mvex"}


@dataclass(frozen=True)
class Movie:
    """What a movie is.

    Attributes:
        seconds: Length.
        width: Pixels as shown, i.e. after rotation.
        height: Pixels as shown.
        codec: Four characters of the sample description, e.g. `avc1` or `hvc1`.
    """

    seconds: float | None = None
    width: int | None = None
    height: int | None = None
    codec: str | None = None


class MovieReader:
    """Picks the `moov` box out of a stream of chunks."""

    def __init__(self) -> None:
        self._head = bytearray()
        self._skip = 0
        self._moov = bytearray()
        self._wanted = 0
        self._done = False

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the file."""
        rest = memoryview(chunk)
        while rest and not self._done:
            if self._wanted:
                rest = self._collect(rest)
            elif self._skip:
                step = min(self._skip, len(rest))
                self._skip -= step
                rest = rest[step:]
            else:
                rest = self._read_head(rest)

    def movie(self) -> Movie:
        """What has been found; every field is None when there was no readable `moov`."""
        try:
            return _parse(bytes(self._moov)) if self._moov and not self._wanted else Movie()
        except (struct.error, IndexError, ValueError):
            return Movie()

    def _collect(self, rest: memoryview) -> memoryview:
        step = min(self._wanted, len(rest))
        self._moov += rest[:step]
        self._wanted -= step
        self._done = not self._wanted
        return rest[step:]

    def _read_head(self, rest: memoryview) -> memoryview:
        step = self._head_size() - len(self._head)
        self._head += rest[:step]
        if len(self._head) == self._head_size():
            self._open_box(bytes(self._head))
            self._head.clear()
        return rest[step:]

    def _head_size(self) -> int:
        return _LONG_HEAD if len(self._head) >= _HEAD and self._head.startswith(_LONG_SIZE_FIELD) else _HEAD

    def _open_box(self, head: bytes) -> None:
        body = int.from_bytes(head[8:] or head[:4], "big") - len(head)
        self._done = body < 0  # open-ended or broken: the box walker judges, here nothing more is to be found
        if head[4:8] == b"moov" and body <= MAX_MOOV:
            self._wanted = max(body, 0)
        else:
            self._skip = max(body, 0)


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 0
    while position + _HEAD <= len(data):
        size, name = struct.unpack_from(">I4s", data, position)
        head = _HEAD
        if size == 1:
            size, head = struct.unpack_from(">Q", data, position + _HEAD)[0], _LONG_HEAD
        if size < head:
            return
        yield name, data[position + head : position + size]
        position += size


def _leaves(data: bytes) -> dict[bytes, bytes]:
    """Every box below, containers opened; the first of a name wins."""
    found: dict[bytes, bytes] = {}
    for name, body in _boxes(data):
        inner = _leaves(body) if name in _NESTED else {name: body}
        found = inner | found
    return found


def _parse(moov: bytes) -> Movie:
    top = _leaves(moov)
    seconds = _seconds(top.get(b"mvhd", b""), top.get(b"mehd", b""))
    for name, body in _boxes(moov):
        track = _leaves(body) if name == b"trak" else {}
        if track.get(b"hdlr", b"")[8:12] == b"vide":
            width, height = _sides(track.get(b"tkhd", b""))
            codec = track.get(b"stsd", b"")[12:16].decode("ascii", "replace").strip() or None
            return Movie(seconds, width, height, codec)
    return Movie(seconds)


def _seconds(mvhd: bytes, mehd: bytes) -> float | None:
    if not mvhd:
        return None
    scale, duration = struct.unpack_from(">IQ", mvhd, 20) if mvhd[0] == 1 else struct.unpack_from(">II", mvhd, 12)
    if not duration and mehd:  # a fragmented file says its length there
        duration = struct.unpack_from(">Q" if mehd[0] == 1 else ">I", mehd, 4)[0]
    return round(duration / scale, 3) if scale and duration else None


def _sides(tkhd: bytes) -> tuple[int | None, int | None]:
    if len(tkhd) < 84:
        return None, None
    width, height = (value >> 16 for value in struct.unpack(">II", tkhd[-8:]))
    turned = tkhd[-44:-40] == b"\0\0\0\0" and tkhd[-28:-24] == b"\0\0\0\0"
    if turned:
        width, height = height, width
    return width or None, height or None
