"""The tracks that the `moov` and `moof` boxes of an MP4 file describe (ISO/IEC 14496-12, clause 8)."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from operator import mul
from typing import Literal

TrackKind = Literal["video", "audio", "other"]
Sides = tuple[int, int]

# Boxes inside one `moov` or `moof`; a real one has some 30 a track. More are not looked at.
_MAX_BOXES = 20_000
# Tracks of one movie; the rest is not looked at.
_MAX_TRACKS = 64
# Entries of all tables of one movie; an hour of frames of differing length at 24 a second has 86,400. The rest is not
# looked at.
_MAX_ENTRIES = 200_000
# Bytes of an edit list: a thousand cuts.
_MAX_EDITS = 20_000
# Seconds; longer is no video but a broken number.
_MAX_SECONDS = 366 * 86_400
# Handlers (8.4.3).
_KINDS: dict[bytes, TrackKind] = {b"vide": "video", b"soun": "audio"}
# Lengths that say nothing: live writers leave them, and 8.2.2 has all ones for "cannot be determined".
_UNKNOWN_LENGTHS = frozenset({0, 0xFFFF_FFFF, 0xFFFF_FFFF_FFFF_FFFF})
_NOTHING = memoryview(b"")


@dataclass(frozen=True)
class Track:
    """One track of a movie.

    Attributes:
        kind: `video`, `audio` or `other` (times, subtitles, chapters).
        number: The file's own number of the track.
        seconds: Length as shown, edit list included; None where unknown.
        codec: Four characters of the sample description, e.g. `avc1` or `hvc1`.
        stored: Width and height in pixels as they are coded.
        shown: Width and height in pixels as a player shows them, after rotation.
        samples: Frames or packets of sound.
        picture_of_chapter: Whether it only illustrates the chapters of another track.
    """

    kind: TrackKind
    number: int = 0
    seconds: float | None = None
    codec: str | None = None
    stored: Sides | None = None
    shown: Sides | None = None
    samples: int = 0
    picture_of_chapter: bool = False
    clock: int = field(default=0, repr=False)  # ticks a second
    last_chunk: int = field(default=-1, repr=False)  # byte at which its last chunk begins


@dataclass(frozen=True)
class Movie:
    """What a movie is, as its boxes say.

    Attributes:
        tracks: All tracks in file order, at most 64.
        length: Seconds, as the movie's head gives them; a track may be shorter.
        fragmented: Whether the samples are described in fragments behind the head.
        sample_durations: Ticks of a sample by track number, where a fragment says nothing else.
    """

    tracks: tuple[Track, ...] = ()
    length: float | None = None
    fragmented: bool = False
    sample_durations: Mapping[int, int] = field(default_factory=dict[int, int], repr=False)

    @property
    def picture(self) -> Track | None:
        """The first track of moving pictures."""
        return next((one for one in self.tracks if one.kind == "video" and not one.picture_of_chapter), None)

    @property
    def sound(self) -> Track | None:
        """The first track of sound."""
        return next((one for one in self.tracks if one.kind == "audio"), None)

    @property
    def seconds(self) -> float | None:
        """Length of the pictures, else of the sound, else what the movie's head says."""
        main = self.picture or self.sound
        return (main.seconds if main else None) or self.length

    @property
    def width(self) -> int | None:
        """Pixels as shown, i.e. after rotation."""
        return self.picture.shown[0] if self.picture and self.picture.shown else None

    @property
    def height(self) -> int | None:
        """Pixels as shown."""
        return self.picture.shown[1] if self.picture and self.picture.shown else None

    @property
    def codec(self) -> str | None:
        """Codec of the moving pictures."""
        return self.picture.codec if self.picture else None

    @property
    def last_chunk(self) -> int:
        """Byte of the file at which the last chunk of pictures or sound begins; -1 where there is none."""
        return max((one.last_chunk for one in self.tracks if one.kind != "other"), default=-1)


def parse_moov(moov: memoryview) -> Movie:
    """Read the body of a `moov` box. What cannot be read is unknown, never an error."""
    try:
        return _movie(moov)
    except (struct.error, LookupError, ValueError, OverflowError):
        return Movie()


class Fragments:
    """Adds up what the `moof` boxes of a fragmented movie hold.

    Args:
        movie: What the movie's head says.
    """

    def __init__(self, movie: Movie | None = None) -> None:
        self._movie = movie or Movie()
        self._clock = {track.number: track for track in self._movie.tracks}
        # Of each track: ticks at which its fragments begin and end, and their samples.
        self._found: dict[int, tuple[int, int, int]] = {}

    def add(self, moof: memoryview) -> None:
        """Take the body of the next `moof` box; one that cannot be read adds nothing."""
        try:
            boxes = _Boxes()
            for name, traf in boxes.inside(moof):
                if name == b"traf":
                    self._add_track(boxes.by_name(traf), list(boxes.all_of(traf, b"trun")))
        except (struct.error, LookupError, ValueError, OverflowError):
            return

    def added_to(self, movie: Movie) -> Movie:
        """The movie with the lengths and samples that its fragments make."""
        return replace(movie, tracks=tuple(self._longer(track) for track in movie.tracks)) if self._found else movie

    def _longer(self, track: Track) -> Track:
        start, end, samples = self._found.get(track.number, (0, 0, 0))
        if not samples:
            return track
        ticks = end if track.samples else end - start
        return replace(track, seconds=_seconds(ticks, track.clock), samples=track.samples + samples)

    def _add_track(self, boxes: dict[bytes, memoryview], runs: list[memoryview]) -> None:
        tfhd = boxes[b"tfhd"]
        flags, number = struct.unpack_from(">II", tfhd)
        if number not in self._clock:
            return
        at = 8 + (8 if flags & 0x1 else 0) + (4 if flags & 0x2 else 0)
        usual = struct.unpack_from(">I", tfhd, at)[0] if flags & 0x8 else self._movie.sample_durations.get(number, 0)
        known = self._clock[number]
        before = round((known.seconds or 0) * known.clock) if known.samples else 0
        first, end, samples = self._found.get(number, (-1, before, 0))
        if tfdt := boxes.get(b"tfdt"):
            end = struct.unpack_from(">Q" if tfdt[0] == 1 else ">I", tfdt, 4)[0]
        first = end if first < 0 else first
        for run in runs:
            count, ticks = _run(run, usual)
            end, samples = end + ticks, samples + count
        self._found[number] = (first, end, samples)


class _Boxes:
    """Looks into boxes, at no more of them than a movie has."""

    def __init__(self) -> None:
        self._left = _MAX_BOXES
        self._entries = _MAX_ENTRIES

    def entries(self, table: memoryview, form: str, width: int) -> tuple[int, ...]:
        """The numbers of a table that is headed by version, flags and the number of its entries.

        Args:
            table: Body of the box.
            form: Fields of an entry, as `struct` writes them.
            width: Bytes of an entry.
        """
        if len(table) < 8:
            return ()
        count = min(struct.unpack_from(">I", table, 4)[0], (len(table) - 8) // width, self._entries)
        self._entries -= count
        return struct.unpack(">" + form * count, table[8 : 8 + count * width])

    def inside(self, body: memoryview) -> Iterator[tuple[bytes, memoryview]]:
        """Name and body of each box in a box."""
        position, end = 0, len(body)
        while position + 8 <= end:
            self._left -= 1
            if self._left < 0:
                raise ValueError("too many boxes")
            size, name = struct.unpack_from(">I4s", body, position)
            head = 8
            if size == 1:
                size, head = struct.unpack_from(">Q", body, position + 8)[0], 16
            if size < head:
                return
            yield name, body[position + head : position + size]
            position += size

    def by_name(self, body: memoryview) -> dict[bytes, memoryview]:
        """The boxes in a box; the first of a name wins."""
        found: dict[bytes, memoryview] = {}
        for name, inner in self.inside(body):
            found.setdefault(name, inner)
        return found

    def all_of(self, body: memoryview, wanted: bytes) -> Iterator[memoryview]:
        """Every box of one name in a box.

        Args:
            body: The box that is looked into.
            wanted: The name.
        """
        return (inner for name, inner in self.inside(body) if name == wanted)


def _movie(moov: memoryview) -> Movie:
    boxes = _Boxes()
    top = boxes.by_name(moov)
    mvex = boxes.by_name(top.get(b"mvex", _NOTHING))
    clock, length = _clock(top.get(b"mvhd", _NOTHING), 12)
    if not length and b"mehd" in mvex:  # a fragmented file says its length there
        mehd = mvex[b"mehd"]
        length = struct.unpack_from(">Q" if mehd[0] == 1 else ">I", mehd, 4)[0]
    usual: dict[int, int] = {}
    for trex in boxes.all_of(top.get(b"mvex", _NOTHING), b"trex"):
        number, _, ticks = struct.unpack_from(">III", trex, 4)
        usual[number] = ticks
    tracks: list[Track] = []
    illustrating: set[int] = set()
    for trak in boxes.all_of(moov, b"trak"):
        if len(tracks) < _MAX_TRACKS:
            inner = boxes.by_name(trak)
            illustrating |= _chapters(boxes, inner.get(b"tref", _NOTHING))
            tracks.append(_track(boxes, inner, clock))
    marked = (replace(track, picture_of_chapter=track.number in illustrating) for track in tracks)
    return Movie(tuple(marked), _seconds(length, clock), b"mvex" in top, usual)


def _track(boxes: _Boxes, trak: dict[bytes, memoryview], movie_clock: int) -> Track:
    mdia = boxes.by_name(trak.get(b"mdia", _NOTHING))
    stbl = boxes.by_name(boxes.by_name(mdia.get(b"minf", _NOTHING)).get(b"stbl", _NOTHING))
    kind = _KINDS.get(bytes(mdia.get(b"hdlr", _NOTHING)[8:12]), "other")
    clock, ticks = _clock(mdia.get(b"mdhd", _NOTHING), 12)
    if ticks in _UNKNOWN_LENGTHS:
        numbers = boxes.entries(stbl.get(b"stts", _NOTHING), "II", 8)
        ticks = sum(map(mul, numbers[0::2], numbers[1::2]))
    seconds = _seconds(ticks, clock)
    edited = _edited(boxes, boxes.by_name(trak.get(b"edts", _NOTHING)).get(b"elst", _NOTHING), movie_clock)
    if seconds and edited:
        seconds = min(seconds, edited)
    tkhd, stsd = trak.get(b"tkhd", _NOTHING), stbl.get(b"stsd", _NOTHING)
    codec = bytes(stsd[12:16]).decode("ascii", "replace").strip() or None
    return Track(
        kind,
        _number(tkhd),
        seconds,
        codec,
        _sides(struct.unpack_from(">HH", stsd, 40)) if kind == "video" and len(stsd) >= 44 else None,
        _shown(tkhd) if kind == "video" else None,
        _samples(stbl),
        clock=clock,
        last_chunk=_last_chunk(boxes, stbl),
    )


def _clock(head: memoryview, at: int) -> tuple[int, int]:
    """Ticks a second and length in ticks, from an `mvhd` or `mdhd` box; zeros where there is none."""
    if not head:
        return 0, 0
    long = head[0] == 1  # 64-bit times: two of them come first
    clock, ticks = struct.unpack_from(">IQ" if long else ">II", head, at + 8 if long else at)
    return clock, 0 if ticks in _UNKNOWN_LENGTHS else ticks


def _seconds(ticks: int, clock: int) -> float | None:
    return round(ticks / clock, 6) if clock and 0 < ticks <= _MAX_SECONDS * clock else None


def _edited(boxes: _Boxes, elst: memoryview, clock: int) -> float | None:
    """Seconds that an edit list shows; None where it does not say."""
    if not elst:
        return None
    elst = elst[:_MAX_EDITS]
    numbers = boxes.entries(elst, "QqI", 20) if elst[0] == 1 else boxes.entries(elst, "IiI", 12)
    shown = zip(numbers[0::3], numbers[1::3], strict=True)
    return _seconds(sum(length for length, begin in shown if begin >= 0), clock)


def _number(tkhd: memoryview) -> int:
    if len(tkhd) < 24:
        return 0
    return struct.unpack_from(">I", tkhd, 20 if tkhd[0] == 1 else 12)[0]


def _sides(sides: Sides) -> Sides | None:
    return sides if min(sides) > 0 else None


def _shown(tkhd: memoryview) -> Sides | None:
    if len(tkhd) < 84:
        return None
    width, height = (value >> 16 for value in struct.unpack_from(">II", tkhd, len(tkhd) - 8))
    # A matrix whose diagonal is empty swaps the axes.
    turned = not any(tkhd[-44:-40]) and not any(tkhd[-28:-24])
    return _sides((height, width) if turned else (width, height))


def _samples(stbl: dict[bytes, memoryview]) -> int:
    sizes = stbl.get(b"stsz") or stbl.get(b"stz2") or _NOTHING
    return struct.unpack_from(">I", sizes, 8)[0] if len(sizes) >= 12 else 0


def _last_chunk(boxes: _Boxes, stbl: dict[bytes, memoryview]) -> int:
    if not _samples(stbl):
        return -1
    wide = stbl.get(b"co64")
    offsets = boxes.entries(wide, "Q", 8) if wide else boxes.entries(stbl.get(b"stco", _NOTHING), "I", 4)
    return max(offsets, default=-1)


def _chapters(boxes: _Boxes, tref: memoryview) -> set[int]:
    """Numbers of the tracks that illustrate this one."""
    found = bytes(boxes.by_name(tref).get(b"chap", _NOTHING))[: 4 * _MAX_TRACKS]
    return set(struct.unpack(f">{len(found) // 4}I", found[: len(found) // 4 * 4]))


def _run(trun: memoryview, usual: int) -> tuple[int, int]:
    """Samples of a track run, and their ticks."""
    flags, count = struct.unpack_from(">II", trun)
    if not flags & 0x100:
        return count, count * usual
    fields = sum(1 for flag in (0x100, 0x200, 0x400, 0x800) if flags & flag)
    at = 8 + (4 if flags & 0x1 else 0) + (4 if flags & 0x4 else 0)
    count = min(count, (len(trun) - at) // (4 * fields))
    return count, sum(struct.unpack(f">{count * fields}I", trun[at : at + 4 * count * fields])[0::fields])
