"""Proof that a stream of bytes is a whole MP4 file, in constant memory.

An MP4 file is a row of boxes, each headed by its length. Walking the heads shows a cut file that no header, status
or file name would show.
"""

from __future__ import annotations

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
