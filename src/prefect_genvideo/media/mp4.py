"""Reads MP4 files (ISO/IEC 14496-12) in one pass: whether they are whole, and what is in them.

An MP4 file is a row of boxes, each headed by its length and its name. Walking the heads shows a cut file that no
header, status or file name would show; the `moov` box on the way names the tracks. Nothing is decoded, memory is
bounded, and the time grows with the number of bytes only.
"""

from __future__ import annotations

import re
import struct
from typing import BinaryIO

from prefect_genvideo.errors import DownloadError
from prefect_genvideo.media._mp4_tracks import Fragments, Movie, Track, parse_moov

__all__ = ["MAX_BOXES", "MAX_MOOV", "Movie", "Mp4Reader", "Track", "read_mp4"]

MAX_MOOV = 8 * 1024 * 1024
"""Bytes; a larger `moov` belongs to hours of video and is passed over rather than held in memory."""

MAX_BOXES = 50_000
"""Top-level boxes of one file. An hour in fragments of half a second has 14,400."""

# Bytes; a longer `moof` describes more samples than a fragment of video has.
_MAX_MOOF = 512 * 1024
# Bytes; the list of compatible brands is short.
_MAX_FTYP = 4096
# Bytes of a box's head: length and name, and a long length behind them.
_HEAD = 8
_LONG_HEAD = 16
# Values of the 32-bit length: the box reaches to the end of the file, the length stands behind the name.
_TO_THE_END = 0
_LONG_SIZE = 1
# Bytes that nothing more is read from: all there are.
_FOR_EVER = 2**63
# Bytes read at a time from a local file; most boxes are passed over.
_STEP = 16 * 1024
_HEAD_FORM = struct.Struct(">I4s")
# Four printable characters; QuickTime's own names begin with a copyright sign.
_NAME = re.compile(rb"[\x20-\x7e\xa9]{4}", re.DOTALL)
# Without these there is no movie.
_REQUIRED = (b"moov", b"mdat")
# Boxes whose content is read.
_READ = frozenset({b"moov", b"moof"})
FIRST_BOXES = frozenset({b"ftyp", b"styp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"uuid", b"pdin"})
"""What a film may begin with: MP4 with `ftyp`, QuickTime without, and either with a box that holds nothing."""

# Top-level boxes by name (ISO/IEC 14496-12, table 1, and QuickTime's). One of these that reaches beyond the end was
# cut; anything else behind a whole movie is surplus that happens to look like the head of a box: `<?xpacket`, `TAG…`.
_KNOWN = frozenset(
    b"ftyp moov mdat moof mfra free skip wide pnot udta uuid meta sidx ssix styp prft emsg pdin meco imda".split()
)
# What writers and proxies put behind a file.
_PADDING = b"\0 \t\r\n"


class Mp4Reader:
    """Reads an MP4 file that arrives in pieces.

    Feed every byte in order, then call `finish`. Bytes behind the last box that form no box themselves (padding, a
    line break, tags) are counted, not refused: players pass over them, and the video before them is whole.

    Attributes:
        size: Bytes so far.
        surplus: Bytes behind the last box; final after `finish`.
    """

    def __init__(self) -> None:
        self.size = 0
        self.surplus = 0
        self._head = bytearray()
        self._name = b""
        self._start = 0  # of the box that is open or was the last one
        self._left = 0
        self._kept: bytearray | None = None
        self._open_ended = False
        self._seen: set[bytes] = set()
        self._boxes = 0
        self._movie: Movie | None = None
        self._fragments = Fragments()

    @property
    def skippable(self) -> int:
        """Bytes ahead that need not be fed because nothing is read from them; see `skip`."""
        if self.surplus or self._open_ended:
            return _FOR_EVER
        return self._left if self._kept is None else 0

    def skip(self, count: int) -> None:
        """Pass over bytes of the file without feeding them.

        Args:
            count: Bytes, at most `skippable`.
        """
        self._left = max(0, self._left - count)
        self.size += count
        self.surplus = self.size - self._start if self.surplus else 0

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes.

        Raises:
            DownloadError: The first box is none of `FIRST_BOXES`, a box before the movie is complete has an impossible
                length or name, or there are more boxes than any video has.
        """
        position, end = 0, len(chunk)
        while position < end and not self._open_ended and not self.surplus:
            if self._left:
                position = self._pass(chunk, position)
                continue
            if not self._head:
                position = self._pass_small(chunk, position)
            position = self._read_head(chunk, position)
        self.size += end
        if self.surplus:
            self.surplus = self.size - self._start

    def finish(self) -> Movie:
        """Say that there are no more bytes.

        Returns:
            What the movie is; unknown facts are None.

        Raises:
            DownloadError: The file ends inside a box, has no `moov` or no `mdat` box, or points to bytes beyond
                its end.
        """
        if why := self._fault():
            raise _broken(why)
        if self._left:
            # A box of no known name that reaches beyond the end is surplus that looks like a head.
            self.surplus = self.size - self._start
        elif self._head:
            self.surplus = len(self._head)
        movie = self._movie or Movie()
        if movie.last_chunk >= self.size - self.surplus:
            raise _broken(f"its pictures lie beyond its end, after {self.size} bytes")
        return self._fragments.added_to(movie)

    def _fault(self) -> str:
        """Why the bytes so far are no whole file; empty when they are."""
        missing = [name.decode() for name in _REQUIRED if name not in self._seen]
        torn = bool(self._left or self._head)
        if missing and not torn:
            return f"it has no {' and no '.join(missing)} box"
        if missing or (self._left and self._name in _KNOWN) or (self._head and self._may_go_on()):
            return f"it ends inside a box, after {self.size} bytes"
        return ""

    def _pass(self, chunk: bytes, position: int) -> int:
        """Consume bytes of the open box."""
        step = min(self._left, len(chunk) - position)
        if self._kept is not None:
            self._kept += chunk[position : position + step]
        self._left -= step
        if not self._left:
            self._close_box()
        return position + step

    def _pass_small(self, chunk: bytes, position: int) -> int:
        """Pass over boxes that lie in the chunk and hold no facts: a hostile file has a row of a million."""
        end, boxes = len(chunk) - _HEAD, self._boxes
        while 0 < boxes < MAX_BOXES and position <= end:
            size, name = _HEAD_FORM.unpack_from(chunk, position)
            if size < _HEAD or position + size > len(chunk) or name in _READ or not _NAME.fullmatch(name):
                break
            position += size
            boxes += 1
            self._seen.add(name)
        self._boxes = boxes
        return position

    def _read_head(self, chunk: bytes, position: int) -> int:
        """Gather the bytes of a box's head."""
        step = self._wanted() - len(self._head)
        self._head += chunk[position : position + step]
        position = min(position + step, len(chunk))
        if len(self._head) >= self._wanted():
            self._open_box(self.size + position)
        return position

    def _wanted(self) -> int:
        long = len(self._head) >= _HEAD and int.from_bytes(self._head[:4], "big") == _LONG_SIZE
        return _LONG_HEAD if long else _HEAD

    def _open_box(self, position: int) -> None:
        """Read a head whose last byte lies before `position`, and know how much follows."""
        taken, name = len(self._head), bytes(self._head[4:8])
        self._start = position - taken
        size = int.from_bytes(self._head[8:16] if taken == _LONG_HEAD else self._head[:4], "big")
        if self._boxes >= MAX_BOXES:
            raise _broken(f"it has more than {MAX_BOXES} boxes")
        if wrong := self._wrong(name, size, taken):
            if not self._seen.issuperset(_REQUIRED):
                raise _broken(wrong)
            self.surplus = taken
        else:
            self._boxes += 1
            self._seen.add(name)
            self._name, self._left, self._open_ended = name, max(size - taken, 0), size == _TO_THE_END
            limit = {b"moov": MAX_MOOV, b"moof": _MAX_MOOF}.get(name, 0)
            self._kept = bytearray() if 0 < self._left <= limit else None
            if not self._left:
                self._close_box()
        self._head.clear()

    def _wrong(self, name: bytes, size: int, taken: int) -> str:
        """Why this is not the head of a box; empty when it is one."""
        if not self._boxes and (name not in FIRST_BOXES or (name == b"ftyp" and not taken <= size <= _MAX_FTYP)):
            return "it does not begin with a film's first box"
        if not _NAME.fullmatch(name):
            return f"there is no box at byte {self._start}"
        if size < taken and (size != _TO_THE_END or name not in _KNOWN):
            return f"a box has the impossible length {size}"
        return ""

    def _close_box(self) -> None:
        kept, self._kept = self._kept, None
        if not kept:
            return
        if self._name == b"moof":
            self._fragments.add(memoryview(kept))
        elif self._movie is None:
            self._movie = parse_moov(memoryview(kept))
            self._fragments = Fragments(self._movie)

    def _may_go_on(self) -> bool:
        """Whether a torn head at the end may be the next fragment's, cut; a movie in one piece is complete already."""
        fragmented = self._movie is not None and self._movie.fragmented
        return fragmented and bool(self._head.strip(_PADDING))


def read_mp4(file: BinaryIO) -> tuple[Movie, int]:
    """Read a local file's boxes, seeking over what holds no facts.

    Args:
        file: A seekable file, read from its beginning.

    Returns:
        What the movie is, and the bytes behind its last box.

    Raises:
        DownloadError: The file is no whole MP4.
    """
    end = file.seek(0, 2)
    file.seek(0)
    reader = Mp4Reader()
    while reader.size < end:
        if reader.skippable:
            reader.skip(min(reader.skippable, end - reader.size))
            file.seek(reader.size)
            continue
        chunk = file.read(_STEP)
        if not chunk:
            break
        reader.feed(chunk)
    return reader.finish(), reader.surplus


def _broken(why: str) -> DownloadError:
    return DownloadError(f"The bytes are not a whole MP4 file: {why}.", reason="not a whole MP4")
