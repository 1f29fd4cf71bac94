"""The film's sound track: packets copied, or samples encoded."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from prefect_genvideo.media._join_plan import Plan, Sound
from prefect_genvideo.media._join_video import FilmTrack, encoder
from prefect_genvideo.media.clip import Clip, load_pyav

_ENCODER = "aac"
# Sample format that the encoder takes.
_FORMAT = "fltp"
# Samples in a packet of AAC.
_PACKET = 1024
# Bits per second.
_BIT_RATE = {"mono": 96_000, "stereo": 192_000}
# Samples per second that are kept; sound of another rate is resampled to the last of them.
_RATES = (44_100, 48_000)
# Below this, a sample's time is off by rounding; above it, sound is missing or there twice.
_JITTER = Fraction(1, 50)


class CopiedSound(FilmTrack):
    """Moves packets onto the film's clock, without gaps.

    A clip's sound seldom ends with its pictures, and begins with a packet that warms up the decoder. At a seam the
    old clip's packets end where the new clip's first one begins; what is left is at most half a packet (11 ms), by
    which the new clip's sound is moved. The next seam counts anew, so that nothing adds up.
    """

    def __init__(self, out: Any, plan: Plan, clip: Clip) -> None:
        self._track = out.add_stream_from_template(clip.audio)
        self._rate = clip.audio.codec_context.sample_rate
        self._track.time_base = Fraction(1, self._rate)
        self._plan = plan
        self._end: int | None = None

    def begin(self, number: int, clip: Clip) -> None:
        """Start with the next clip."""
        plan = self._plan
        self._base = Fraction(clip.audio.time_base)
        self._offset = plan.seams[number] - plan.shots[number].start
        self._final = number == len(plan.shots) - 1
        lead = Fraction(0) if self._final else plan.shots[number + 1].lead
        self._until = (plan.seams[number + 1] - lead) * self._rate
        self._shift: int | None = None

    def feed(self, packet: Any) -> Iterator[Any]:
        """Give the packet its time in the film, or leave it out at a seam."""
        if not packet.size or packet.pts is None or packet.is_discard:
            return
        usual = self._plan.shots[0].sound.packet_samples if self._plan.shots[0].sound else _PACKET
        position = round((packet.pts * self._base + self._offset) * self._rate)
        if self._shift is None:
            self._shift = self._first_shift(position, usual)
        if self._shift is None:
            return
        position += self._shift
        half = 0 if self._final else usual // 2
        if position >= self._until - half:
            return
        # The last packet of a clip may be declared shorter than what a decoder makes of it.
        duration = round(packet.duration * self._base * self._rate) if self._final and packet.duration else usual
        self._end = position + duration
        packet.stream, packet.time_base = self._track, Fraction(1, self._rate)
        packet.pts = packet.dts = position
        packet.duration = duration
        yield packet

    def _first_shift(self, position: int, usual: int) -> int | None:
        """Samples by which this clip's sound moves; None while its packets lie before the seam."""
        if self._end is None:
            return 0
        gap = position - self._end
        if gap < -(usual // 2):
            return None
        return -gap if gap <= usual // 2 else 0


class EncodedSound(FilmTrack):
    """Encodes AAC without a gap: every clip gets exactly the samples of its pictures, silence where it has none."""

    def __init__(self, out: Any, plan: Plan, first: Sound) -> None:
        self._pyav = load_pyav()
        self._plan = plan
        self._rate = first.sample_rate if first.sample_rate in _RATES else 48_000
        one = all(shot.sound is None or shot.sound.layout == "mono" for shot in plan.shots)
        self._layout = "mono" if one else "stereo"
        self._track = encoder(out, _ENCODER, "AAC", rate=self._rate, layout=self._layout)
        self._track.bit_rate = _BIT_RATE[self._layout]
        self._ready = self._pyav.AudioFifo()
        self._taken = 0
        self._sent = 0

    def begin(self, number: int, clip: Clip) -> None:
        """Start with the next clip."""
        plan = self._plan
        self._base = Fraction(clip.audio.time_base) if clip.audio else Fraction(1)
        self._offset = plan.seams[number] - plan.shots[number].start
        self._until = round(plan.seams[number + 1] * self._rate)
        self._resampler = self._pyav.AudioResampler(format=_FORMAT, layout=self._layout, rate=self._rate)
        # Where the clip's next resampled sample belongs; None before there was one.
        self._next: int | None = None

    def feed(self, packet: Any) -> Iterator[Any]:
        """Encode what the packet brings."""
        for frame in packet.decode():
            if frame.pts is not None:
                at = round((frame.pts * frame.time_base + self._offset) * self._rate)
                if self._next is None or abs(at - self._next) > _JITTER * self._rate:
                    self._next = at
            frame.pts = None
            for piece in self._resampler.resample(frame):
                yield from self._place(piece)

    def end(self) -> Iterator[Any]:
        """Fill up to the seam."""
        if self._next is not None:
            for piece in self._resampler.resample(None):
                yield from self._place(piece)
        yield from self._silence(self._until)

    def flush(self) -> Iterator[Any]:
        """Encode the rest, and get out what the encoder held back."""
        yield from self._encode(partial=True)
        yield from self._track.encode(None)

    def _place(self, frame: Any) -> Iterator[Any]:
        """Put samples where they belong: silence before them if they are late, a cut if they reach over an edge."""
        at = self._taken if self._next is None else self._next
        self._next = at + int(frame.samples)
        yield from self._silence(min(at, self._until))
        skip = max(0, self._taken - at)
        keep = min(frame.samples - skip, self._until - self._taken)
        if keep > 0:
            frame.pts = None
            cutter = self._pyav.AudioFifo()
            cutter.write(frame)
            if skip:
                cutter.read(skip)
            yield from self._take(cutter.read(keep))

    def _silence(self, until: int) -> Iterator[Any]:
        while self._taken < until:
            frame = self._pyav.AudioFrame(_FORMAT, self._layout, min(_PACKET, until - self._taken))
            for plane in frame.planes:
                plane.update(bytes(plane.buffer_size))
            frame.sample_rate = self._rate
            yield from self._take(frame)

    def _take(self, frame: Any) -> Iterator[Any]:
        # A queue holds samples of one clock only. A frame that needed no resampling still has its file's.
        frame.pts, frame.time_base = None, Fraction(1, self._rate)
        self._taken += frame.samples
        self._ready.write(frame)
        yield from self._encode(partial=False)

    def _encode(self, *, partial: bool) -> Iterator[Any]:
        while (frame := self._ready.read(_PACKET, partial)) is not None:
            frame.pts, frame.time_base = self._sent, Fraction(1, self._rate)
            self._sent += frame.samples
            yield from self._track.encode(frame)
