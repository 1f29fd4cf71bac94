"""The plan of a film: what each clip is, and which of its tracks are copied and which are encoded.

Every clip is read through once, packet by packet, without decoding more than its first frame.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from fractions import Fraction
from itertools import accumulate
from pathlib import Path
from typing import Any

from prefect_genvideo.errors import InvalidRequestError
from prefect_genvideo.media.clip import MAX_SECONDS, Clip, checked_frame, damaged, displayed_size, open_clip, turn
from prefect_genvideo.media.frames import matrix_name

# Codecs whose packets an MP4 holds as they are, and whose clips can follow one another.
_COPIED_VIDEO = ("h264", "hevc", "av1", "vp9")
_COPIED_AUDIO = ("aac", "mp3")
# Ticks per second of a film's clock.
_SMALLEST_SCALE = 10_000
_LARGEST_SCALE = 1_000_000
# Where no clock holds the times of all clips exactly: that of MPEG, to which every usual frame rate is near.
_COMMON_SCALE = 90_000
# Seconds without sound at a seam that are not heard; beyond, silence is encoded.
_SILENCE_LIMIT = Fraction(1, 10)

MAX_ENCODED_PIXELS = 400_000_000_000
"""Pixels of all frames of a film that is encoded: two hours of 1080p at 24 frames a second."""

LABEL = "AIGC"
"""Name of the metadata that marks generated content (China's GB 45438-2025): it must survive every transformation."""

# A film of films has several.
_LABELS = re.compile(rf"{LABEL}(-\d{{1,4}})?", re.IGNORECASE)

# Metadata that speaks of one file's form, not of its content.
_OF_THE_FILE = frozenset({"major_brand", "minor_version", "compatible_brands", "encoder"})
# Bounds of what is taken over from one clip: entries, and characters of each.
_MOST_WORDS = 100
_LONGEST_WORDS = 64 * 1024


@dataclass(frozen=True)
class Look:
    """What two picture tracks must share to be one track. The first field that differs is the reason given."""

    codec: str
    size: tuple[int, int]
    pixel_format: str
    pixel_aspect: Fraction
    orientation: tuple[str, int]
    colours: tuple[int, ...]
    parameter_sets: object


@dataclass(frozen=True)
class Sound:
    """What two sound tracks must share to be one track, and where the sound lies (`span`, seconds in the clip)."""

    codec: str
    sample_rate: int
    layout: str
    parameters: bytes
    packet_samples: int
    span: tuple[Fraction, Fraction] = field(compare=False)


@dataclass(frozen=True)
class Shot:
    """One clip of the film; times in seconds on the clip's own clock.

    Attributes:
        path: The file.
        look: Its pictures.
        sound: Its sound, or None.
        size: Pixels as displayed.
        fps: Frames per second.
        time_base: Seconds per tick of the pictures.
        start: When the first wanted frame is displayed.
        end: When the last frame has been displayed.
        frames: Displayed frames.
        obstacle: Why its pictures cannot be copied; empty when they can.
        metadata: The file's own words, e.g. the label of generated content.
    """

    path: Path
    look: Look
    sound: Sound | None
    size: tuple[int, int]
    fps: Fraction
    time_base: Fraction
    start: Fraction
    end: Fraction
    frames: int
    obstacle: str
    metadata: dict[str, str]

    @property
    def lead(self) -> Fraction:
        """Seconds of sound before the first frame: what a decoder of AAC needs to warm up."""
        return max(Fraction(0), self.start - self.sound.span[0]) if self.sound else Fraction(0)


@dataclass(frozen=True)
class Plan:
    """How the film is made.

    Attributes:
        shots: The clips in order.
        seams: Film time at which every clip begins, and at last the film's end: one more than there are clips.
        video_reason: Why the pictures are encoded; empty when they are copied.
        audio_reason: Why the sound is encoded; empty when it is copied or there is none.
    """

    shots: list[Shot]
    seams: list[Fraction]
    video_reason: str
    audio_reason: str

    @property
    def sound(self) -> Sound | None:
        """The first sound of the film: what an encoded track is like."""
        return next((shot.sound for shot in self.shots if shot.sound), None)

    @property
    def metadata(self) -> dict[str, str]:
        """What all clips say of themselves, the first one first; a label that differs stands beside it as `AIGC-2`."""
        merged: dict[str, str] = {}
        labels: list[str] = []
        for shot in self.shots:
            for name, words in shot.metadata.items():
                if _LABELS.fullmatch(name):
                    labels += [words] if words not in labels else []
                else:
                    merged.setdefault(name, words)
        numbered = {LABEL if number == 1 else f"{LABEL}-{number}": words for number, words in enumerate(labels, 1)}
        return {**merged, **numbered}

    @property
    def time_base(self) -> Fraction:
        """Seconds per tick in which the times of all clips are whole, or a 90,000th."""
        scale = math.lcm(*(shot.time_base.denominator for shot in self.shots))
        # At a seam the decode times of clips that reorder differently are moved by single ticks: those must be short.
        scale *= -(-_SMALLEST_SCALE // scale)
        return Fraction(1, scale if scale <= _LARGEST_SCALE else _COMMON_SCALE)

    @property
    def colours(self) -> tuple[int, ...] | None:
        """Matrix, range, primaries and transfer of the first clip that names a matrix."""
        return next((shot.look.colours for shot in self.shots if matrix_name(shot.look.colours[0])), None)


def plan_film(paths: Sequence[str | Path]) -> Plan:
    """Read all clips through and decide what is copied.

    Raises:
        InvalidRequestError: There are no clips, one is no video, or the film must be encoded and is too long for that.
        DownloadError: A clip is cut off or damaged.
    """
    if isinstance(paths, (str, Path)) or not paths:
        raise InvalidRequestError("A film needs a list of at least one clip.", reason="no clips")
    shots = [scan(path) for path in paths]
    obstacle = _video_obstacle(shots)
    lengths = [shot.end - shot.start for shot in shots]
    if obstacle:
        # An encoded clip has whole frames of the film's rate.
        fps = shots[0].fps
        lengths = [max(1, round(length * fps)) / fps for length in lengths]
        if sum(lengths) * fps * shots[0].size[0] * shots[0].size[1] > MAX_ENCODED_PIXELS:
            text = f"The film is too long to be encoded again, as it must be: {obstacle}."
            raise InvalidRequestError(text, reason="film too long")
    seams = [*accumulate(lengths, initial=Fraction(0))]
    return Plan(shots, seams, obstacle, _audio_obstacle(shots))


def scan(path: str | Path) -> Shot:
    """Read one clip through, packet by packet.

    Raises:
        InvalidRequestError: It is no video that is known here, or longer than an hour.
        DownloadError: It is cut off or damaged.
    """
    file = Path(path).expanduser()
    with open_clip(file) as clip:
        pictures, sounds, frame = _Pictures(clip), _Sounds(clip), None
        for packet in clip.packets():
            if packet.stream is not clip.video:
                sounds.add(packet)
                continue
            pictures.add(packet)
            # The first frame tells what the file's head does not: the format, the colours, the orientation.
            frame = frame or next(map(checked_frame, packet.decode()), None)
        if frame is None or not pictures.frames:
            raise damaged("it has no frames")
        if pictures.end - pictures.start > MAX_SECONDS:
            raise InvalidRequestError(f"{file.name} is longer than an hour.", reason="clip too long")
        return Shot(
            path=file,
            look=_look(clip, frame),
            sound=sounds.facts(),
            size=displayed_size(frame, clip.pixel_aspect),
            fps=clip.fps,
            time_base=Fraction(clip.video.time_base),
            start=pictures.start,
            end=pictures.end,
            frames=pictures.frames,
            obstacle=pictures.obstacle,
            metadata=_words(clip.container.metadata),
        )


class _Pictures:
    """Gathers the times of the picture packets, and what stands against copying them."""

    def __init__(self, clip: Clip) -> None:
        self._base = Fraction(clip.video.time_base)
        self._usual = 1 / clip.fps
        self._first: int | None = None
        self._last_decode: int | None = None
        self._earliest = 0
        self._last = (0, 0)
        self.frames = 0
        self.obstacle = ""

    def add(self, packet: Any) -> None:
        if packet.size and (packet.pts is None or packet.dts is None):
            self._object("a packet has no time")
        if packet.pts is None:
            return
        self._check(packet)
        if packet.is_discard:
            return
        this = (packet.pts, packet.duration or 0)
        self._last = max(self._last, this) if self.frames else this
        self._earliest = min(self._earliest, packet.pts) if self.frames else packet.pts
        self.frames += 1

    @property
    def start(self) -> Fraction:
        return self._earliest * self._base

    @property
    def end(self) -> Fraction:
        return self._last[0] * self._base + (self._last[1] * self._base or self._usual)

    def _check(self, packet: Any) -> None:
        if self._first is None:
            self._first = packet.pts
            if not packet.is_keyframe:
                self._object("it does not begin with a keyframe")
        if packet.is_discard:
            self._object("an edit list hides some of its frames")
        elif packet.pts < self._first:
            self._object("it begins with an open group of pictures")
        if packet.dts is not None:
            if self._last_decode is not None and packet.dts <= self._last_decode:
                self._object("its decode times do not rise")
            self._last_decode = packet.dts
        if packet.has_sidedata("new_extradata"):
            self._object("its codec parameters change on the way")

    def _object(self, why: str) -> None:
        self.obstacle = self.obstacle or why


class _Sounds:
    """Gathers where the sound lies."""

    def __init__(self, clip: Clip) -> None:
        self._stream = clip.audio
        self._base = Fraction(clip.audio.time_base) if clip.audio else Fraction(1)
        self._first: int | None = None
        self._end = 0
        self._longest = 0

    def add(self, packet: Any) -> None:
        if packet.pts is None or packet.is_discard:
            return
        duration = packet.duration or 0
        self._first = packet.pts if self._first is None else min(self._first, packet.pts)
        self._end = max(self._end, packet.pts + duration)
        self._longest = max(self._longest, duration)

    def facts(self) -> Sound | None:
        if self._stream is None or self._first is None:
            return None
        context = self._stream.codec_context
        return Sound(
            codec=context.codec.canonical_name,
            sample_rate=context.sample_rate,
            layout=context.layout.name,
            parameters=bytes(context.extradata or b""),
            packet_samples=round(self._longest * self._base * context.sample_rate),
            span=(self._first * self._base, self._end * self._base),
        )


def _words(metadata: dict[str, str]) -> dict[str, str]:
    """The file's own words in a form that can be written again, whatever bytes they were read from."""
    clean = {key: value.encode("utf-8", "replace").decode() for key, value in metadata.items()}
    kept = {key: value for key, value in clean.items() if key not in _OF_THE_FILE and len(value) <= _LONGEST_WORDS}
    # The label first: the law wants it kept, whatever else there is.
    return dict(sorted(kept.items(), key=lambda item: not _LABELS.fullmatch(item[0]))[:_MOST_WORDS])


def _look(clip: Clip, frame: Any) -> Look:
    context = clip.video.codec_context
    codec = context.codec.canonical_name
    tags = (frame.colorspace, frame.color_range, context.color_primaries, context.color_trc)
    return Look(
        codec=codec,
        size=(context.width, context.height),
        pixel_format=frame.format.name,
        pixel_aspect=clip.pixel_aspect,
        orientation=turn(frame),
        colours=tuple(int(tag) for tag in tags),
        parameter_sets=parameter_sets(codec, bytes(context.extradata or b"")),
    )


def parameter_sets(codec: str, extradata: bytes) -> object:
    """What a decoder needs before the first frame, in a form that can be compared.

    For H.264 these are the length of a packet's size fields, the SPS and the PPS (ISO/IEC 14496-15, 5.3.3.1); the
    optional bytes behind them, which some writers leave out, do not count.

    Args:
        codec: FFmpeg's name of the codec.
        extradata: The stream's configuration record.

    Returns:
        For H.264, what counts of the record; for others, the record.
    """
    if codec != "h264" or len(extradata) < 7 or extradata[0] != 1:
        return extradata
    sets: list[bytes] = []
    position = 5
    for mask in (31, 255):
        count = extradata[position] & mask if position < len(extradata) else 0
        position += 1
        for _ in range(count):
            length = int.from_bytes(extradata[position : position + 2], "big")
            sets.append(extradata[position + 2 : position + 2 + length])
            position += 2 + length
    return (extradata[4] & 3, *sets)


def _video_obstacle(shots: list[Shot]) -> str:
    for number, shot in enumerate(shots, 1):
        if shot.look.codec not in _COPIED_VIDEO:
            return f"clip {number}: {shot.look.codec} is not copied"
        if shot.obstacle:
            return f"clip {number}: {shot.obstacle}"
        if what := _difference(shots[0].look, shot.look):
            return f"clip {number} differs from the first one in its {what}"
    return ""


def _audio_obstacle(shots: list[Shot]) -> str:
    first = next((shot.sound for shot in shots if shot.sound), None)
    if first is None:
        return ""
    if first.codec not in _COPIED_AUDIO or not first.packet_samples:
        return f"sound in {first.codec} is not copied"
    for number, shot in enumerate(shots, 1):
        if shot.sound is None:
            return f"clip {number} has no sound and others have"
        if what := _difference(first, shot.sound):
            return f"the sound of clip {number} differs in its {what}"
        late = shot.sound.span[0] - shot.start > _SILENCE_LIMIT
        if late or (number < len(shots) and shot.end - shot.sound.span[1] > _SILENCE_LIMIT):
            return f"clip {number}: its sound does not last as long as its pictures"
    return ""


def _difference(one: Look | Sound, other: Look | Sound) -> str:
    differing = (
        field.name for field in fields(one) if field.compare and getattr(one, field.name) != getattr(other, field.name)
    )
    return next(differing, "").replace("_", " ")
