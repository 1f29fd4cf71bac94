"""The film's picture track: packets copied, or frames encoded."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from prefect_genvideo.errors import InvalidRequestError
from prefect_genvideo.media._join_plan import Plan
from prefect_genvideo.media.clip import Clip, checked_frame, damaged
from prefect_genvideo.media.frames import FrameFitter, matrix_name

_ENCODER = "libx264"
# Visually lossless; the encoder's own keyframes stay, one more is forced at every seam.
_OPTIONS = {"preset": "veryfast", "crf": "18", "forced-idr": "1"}
# FFmpeg's picture types: a keyframe, and whatever the encoder finds best.
_FORCED_KEYFRAME = 1
_FREE_CHOICE = 0
# FFmpeg's number for luma from 16 to 235.
_LIMITED_RANGE = 1
_HALF = Fraction(1, 2)
# Decoders with an encoder of the same name.
_KNOWN_BY_NAME = ("h264", "hevc")


class FilmTrack(ABC):
    """A track of the film, which is fed with the packets of one clip after the other."""

    @abstractmethod
    def begin(self, number: int, clip: Clip) -> None:
        """Start with the next clip.

        Args:
            number: Its place in the film, from 0.
            clip: The open clip.
        """

    @abstractmethod
    def feed(self, packet: Any) -> Iterator[Any]:
        """Take a packet of the clip, and give those of the film that are ready."""

    def end(self) -> Iterator[Any]:
        """Give what is left of the clip; of copied packets nothing is."""
        return iter(())

    def flush(self) -> Iterator[Any]:
        """Give what is left of the film; of copied packets nothing is."""
        return iter(())


class CopiedVideo(FilmTrack):
    """Moves packets onto the film's clock. No frame is touched, dropped or shown twice."""

    def __init__(self, out: Any, plan: Plan, clip: Clip) -> None:
        context = clip.video.codec_context
        # Only these decoders have an encoder of the same name, which PyAV looks up by default.
        options = {} if context.codec.name in _KNOWN_BY_NAME else {"opaque": True}
        self._track = out.add_stream_from_template(clip.video, **options)
        self._base = plan.time_base
        self._track.time_base = self._base
        if context.codec_tag == "hvc1":
            self._track.codec_context.codec_tag = "hvc1"
        self._plan = plan
        self._last: int | None = None
        self._shift = Fraction(0)

    def begin(self, number: int, clip: Clip) -> None:
        """Start with the next clip."""
        self._clip_base = Fraction(clip.video.time_base)
        self._shift = self._plan.seams[number] - self._plan.shots[number].start

    def feed(self, packet: Any) -> Iterator[Any]:
        """Give the packet its time in the film."""
        if not packet.size or packet.pts is None or packet.dts is None:
            return
        pts, dts = self._ticks(packet.pts), self._ticks(packet.dts)
        if self._last is not None and dts <= self._last:
            # Clips that reorder differently overlap in decode times alone; those only have to rise.
            dts = self._last + 1
        if dts > pts:
            raise damaged("a packet is shown before it is decoded")
        duration = self._ticks(packet.pts + packet.duration) - pts if packet.duration else 0
        self._last = dts
        packet.stream, packet.time_base = self._track, self._base
        packet.pts, packet.dts, packet.duration = pts, dts, duration
        yield packet

    def _ticks(self, ticks: int) -> int:
        return round((ticks * self._clip_base + self._shift) / self._base)


class EncodedVideo(FilmTrack):
    """Encodes H.264 in the size and at the rate of the first clip; every clip begins with a keyframe.

    Each source frame fills the film's frames from its own time to that of the next one, so that a clip at the film's
    rate keeps every frame once, and one at another rate is thinned or stretched evenly.
    """

    def __init__(self, out: Any, plan: Plan) -> None:
        first = plan.shots[0]
        self._plan = plan
        self._fps = first.fps
        self._size = (max(2, first.size[0] // 2 * 2), max(2, first.size[1] // 2 * 2))
        self._track = encoder(out, _ENCODER, "H.264", rate=self._fps, options=dict(_OPTIONS))
        self._track.width, self._track.height = self._size
        self._track.pix_fmt = "yuv420p"
        self._tag(plan.colours)
        self._matrix = matrix_name(plan.colours[0]) if plan.colours else None
        self._start = Fraction(0)
        self._written = 0

    def begin(self, number: int, clip: Clip) -> None:
        """Start with the next clip."""
        shot = self._plan.shots[number]
        self._base = Fraction(clip.video.time_base)
        self._start, self._offset = shot.start, round(self._plan.seams[number] * self._fps)
        self._until = round(self._plan.seams[number + 1] * self._fps)
        self._fitter = FrameFitter(self._size, "yuv420p", clip.pixel_aspect, self._matrix)
        self._held: Any = None
        self._untimed = shot.start
        self._fresh = True

    def feed(self, packet: Any) -> Iterator[Any]:
        """Encode what the packet completes."""
        for frame in packet.decode():
            checked_frame(frame)
            time = self._untimed if frame.pts is None else frame.pts * self._base
            self._untimed = time + 1 / self._fps
            if time < self._start:
                continue
            if self._held is not None:
                slot = self._offset + math.floor((time - self._start) * self._fps + _HALF)
                yield from self._write(min(slot, self._until))
            self._held = frame

    def end(self) -> Iterator[Any]:
        """Encode the clip's last frame, up to the seam."""
        if self._held is not None:
            yield from self._write(self._until)

    def flush(self) -> Iterator[Any]:
        """Get out of the encoder what it held back."""
        yield from self._track.encode(None)

    def _write(self, until: int) -> Iterator[Any]:
        if self._written >= until:
            return
        frame = self._fitter(self._held)
        while self._written < until:
            frame.pts, frame.time_base = self._written, 1 / self._fps
            # A decoded frame remembers its type, and the encoder would obey it.
            frame.pict_type = _FORCED_KEYFRAME if self._fresh else _FREE_CHOICE
            self._fresh = False
            self._written += 1
            yield from self._track.encode(frame)

    def _tag(self, colours: tuple[int, ...] | None) -> None:
        context = self._track.codec_context
        context.color_range = _LIMITED_RANGE
        if colours is not None:
            context.colorspace, _, context.color_primaries, context.color_trc = colours


def encoder(out: Any, name: str, title: str, **options: Any) -> Any:
    """Add an encoded track.

    Args:
        out: PyAV's container of the film.
        name: FFmpeg's name of the encoder.
        title: The codec's name, for the error.
        options: As for `add_stream` of PyAV.

    Raises:
        InvalidRequestError: This build of PyAV cannot encode that.
    """
    try:
        return out.add_stream(name, **options)
    except ValueError as error:
        text = f"The installed PyAV has no {title} encoder ({type(error).__name__})."
        raise InvalidRequestError(text, reason="no encoder") from None
