"""Local clips opened with PyAV, bounded and guarded, so that a hostile file costs an error and no more.

PyAV's types are partial; its objects are `Any` here and in the modules beside, and nowhere else.
"""

from __future__ import annotations

import struct
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import Any

from prefect_genvideo.errors import DownloadError, InvalidRequestError
from prefect_genvideo.media._decoders import DEMUXERS, attached, opened
from prefect_genvideo.media._kinds import sniff
from prefect_genvideo.media.mp4 import read_mp4

MAX_SECONDS = 3600
"""Longest clip taken, in seconds. Two frames a year apart would otherwise be a year of film."""

# Pixels of a frame: 8K in any shape.
_MAX_PIXELS = 8192 * 4608
# Of a decoder. Frame threads cost a few frames of memory each.
_THREADS = 4
# Nothing else reaches FFmpeg: a playlist dressed up as a video would make it open other files.
_DEMUXERS = {kind: name for kind, name in DEMUXERS.items() if name in ("mov", "matroska")}

_MISSING = '{0} is needed for this and not installed: pip install "prefect-genvideo[media]".'

# Corners of the display matrix (a, b, c, d) → FFmpeg filters that turn the frame upright, degrees clockwise.
_TURNS: dict[tuple[int, int, int, int], tuple[str, int]] = {
    (1, 0, 0, 1): ("", 0),
    (0, 1, -1, 0): ("transpose=clock", 90),
    (-1, 0, 0, -1): ("hflip,vflip", 180),
    (0, -1, 1, 0): ("transpose=cclock", 270),
    (-1, 0, 0, 1): ("hflip", 0),
    (1, 0, 0, -1): ("vflip", 0),
    (0, 1, 1, 0): ("transpose=cclock_flip", 90),
    (0, -1, -1, 0): ("transpose=clock_flip", 270),
}


@dataclass(frozen=True)
class Clip:
    """An open clip: PyAV's container, its picture stream and its sound stream or None."""

    container: Any
    video: Any
    audio: Any

    @property
    def fps(self) -> Fraction:
        """Frames per second, between 1 and 120; 24 where the file does not say."""
        rate = self.video.average_rate or self.video.guessed_rate or Fraction(24)
        return min(max(Fraction(rate), Fraction(1)), Fraction(120))

    @property
    def pixel_aspect(self) -> Fraction:
        """Width of a pixel over its height; 1 where it is unknown or absurd."""
        aspect = self.video.codec_context.sample_aspect_ratio
        return Fraction(aspect) if aspect and Fraction(1, 4) <= aspect <= 4 else Fraction(1)

    def packets(self) -> Iterator[Any]:
        """Every packet of picture and sound in file order, the empty ones that flush a decoder last.

        Raises:
            DownloadError: A packet is cut off.
        """
        for packet in self.container.demux([stream for stream in (self.video, self.audio) if stream is not None]):
            if packet.is_corrupt:
                raise damaged("a packet is cut off")
            yield packet

    def frames(self) -> Iterator[Any]:
        """The displayed frames in order, from where the container stands.

        Raises:
            DownloadError: A frame cannot be decoded whole.
        """
        for frame in self.container.decode(self.video):
            yield checked_frame(frame)


def load_pyav() -> Any:
    """Return the `av` module.

    Raises:
        InvalidRequestError: PyAV is not installed.
    """
    try:
        import_module("av.filter")
        return import_module("av")
    except ImportError:
        raise InvalidRequestError(_MISSING.format("PyAV"), reason="PyAV is missing") from None


def load_pillow() -> Any:
    """Return the `PIL.Image` module.

    Raises:
        InvalidRequestError: Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError:
        raise InvalidRequestError(_MISSING.format("Pillow"), reason="Pillow is missing") from None
    return Image


def require_media() -> None:
    """Refuse what cannot end well without the extra `media`, before it costs money.

    Raises:
        InvalidRequestError: PyAV or Pillow is not installed.
    """
    load_pyav()
    load_pillow()


def damaged(why: str) -> DownloadError:
    """The error for a clip whose bytes are at fault."""
    return DownloadError(f"The clip is damaged: {why}. Fetch it again.", reason="damaged clip")


def checked_frame(frame: Any) -> Any:
    """Return a decoded frame that is whole and no larger than 8K.

    Raises:
        DownloadError: The decoder marked it as corrupt.
        InvalidRequestError: It is too large.
    """
    if frame.is_corrupt:
        raise damaged("a frame cannot be decoded")
    check_size(frame.width, frame.height)
    return frame


def check_size(width: int, height: int) -> None:
    """Refuse frames that would fill the memory.

    Args:
        width: Pixels.
        height: Pixels.

    Raises:
        InvalidRequestError: There are no pixels, or more than 8K has.
    """
    if width < 1 or height < 1 or width * height > _MAX_PIXELS:
        text = f"A clip of {width}×{height} pixels cannot be handled; 8K is the limit."
        raise InvalidRequestError(text, reason="frames too large")


@contextmanager
def open_clip(path: str | Path) -> Generator[Clip]:
    """Open a local MP4, QuickTime, WebM or Matroska file; whatever FFmpeg finds wrong inside becomes our error.

    Raises:
        InvalidRequestError: There is no such file, it is no video of these kinds, has no picture, is too large, or
            PyAV is missing. Another request or another file is needed.
        DownloadError: It is such a video, but cut off or damaged. Fetching it again may help.
    """
    pyav = load_pyav()
    file = Path(path).expanduser()
    demuxer = _demuxer(file)
    try:
        # The absolute path cannot be taken for a protocol of FFmpeg, and the named demuxer opens nothing else.
        with closing(opened(pyav, str(file.resolve()), demuxer)) as container:
            yield _clip(container)
    except (pyav.error.FFmpegError, ValueError, ArithmeticError, OSError, LookupError) as error:
        raise damaged(type(error).__name__) from error


def turn(frame: Any) -> tuple[str, int]:
    """Return the filters that turn a frame upright (empty for none) and the degrees clockwise."""
    matrix = bytes(frame.side_data.get("DISPLAYMATRIX") or b"")
    if len(matrix) < 36:
        return "", 0
    a, b, _, c, d = struct.unpack("=5i", matrix[:20])
    return _TURNS.get((_sign(a), _sign(b), _sign(c), _sign(d)), ("", 0))


def displayed_size(frame: Any, pixel_aspect: Fraction) -> tuple[int, int]:
    """Pixels of a frame as a player shows it: square pixels, turned upright.

    Args:
        frame: A decoded frame.
        pixel_aspect: Width of its pixels over their height.

    Returns:
        Width and height.

    Raises:
        InvalidRequestError: There are no pixels, or more than 8K has.
    """
    width, height = max(1, round(frame.width * pixel_aspect)), int(frame.height)
    check_size(width, height)
    return (height, width) if turn(frame)[1] in (90, 270) else (width, height)


def _sign(value: int) -> int:
    # 16.16 fixed point; what is below a thousandth is rounding.
    return 0 if abs(value) < 66 else (1 if value > 0 else -1)


def _clip(container: Any) -> Clip:
    pictures = [stream for stream in container.streams.video if not attached(stream)]
    if not pictures:
        raise InvalidRequestError("The file has no video track.", reason="no video track")
    video = pictures[0]
    if video.codec_context is None or not video.time_base:
        raise InvalidRequestError("The video's codec is not known here.", reason="unknown codec")
    check_size(video.codec_context.width, video.codec_context.height)
    # Frame threads cost a few frames of memory each: bounded, whatever the machine has.
    video.codec_context.thread_count = _THREADS
    video.codec_context.thread_type = "AUTO"
    sounds = [stream for stream in container.streams.audio if stream.codec_context is not None]
    usable = bool(sounds) and sounds[0].codec_context.sample_rate > 0 and bool(sounds[0].time_base)
    return Clip(container, video, sounds[0] if usable else None)


def _demuxer(file: Path) -> str:
    try:
        if not file.is_file():
            raise InvalidRequestError(f"{file.name} does not exist or is not a regular file.", reason="no regular file")
        with file.open("rb") as content:
            demuxer = _DEMUXERS.get(sniff(content.read(64)) or "")
            if demuxer == "mov":
                # FFmpeg passes over a cut, and the last frame is then another one.
                read_mp4(content)
    except (OSError, ValueError) as error:
        text = f"{file.name} cannot be read: {type(error).__name__}."
        raise InvalidRequestError(text, reason="unreadable file") from None
    if demuxer is None:
        text = f"{file.name} is no MP4, QuickTime, WebM or Matroska video."
        raise InvalidRequestError(text, reason="unknown kind of file")
    return demuxer
