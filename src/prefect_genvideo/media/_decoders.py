"""What only a demuxer or decoder can tell of a local file: PyAV for films and sound, Pillow for images.

Both come with the extra `media`; without them the facts are unknown. Each is told the format that the bytes show: a
playlist dressed up as a video must not make FFmpeg open other files.
"""

from __future__ import annotations

import importlib
from contextlib import closing
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal

DEMUXERS = {
    "video/mp4": "mov",
    "video/x-m4v": "mov",
    "video/quicktime": "mov",
    "video/3gpp": "mov",
    "video/3gpp2": "mov",
    "audio/mp4": "mov",
    "video/webm": "matroska",
    "video/x-matroska": "matroska",
    "video/x-msvideo": "avi",
    "video/x-flv": "flv",
    "audio/ogg": "ogg",
    "audio/flac": "flac",
    "audio/mpeg": "mp3",
    "audio/aac": "aac",
    "audio/wav": "wav",
}
"""FFmpeg's demuxer by media type."""

# Packets in which the first frame must come.
_PACKETS = 300
MAX_PIXELS = 40_000_000
"""Pixels of a frame or picture that is decoded for a look; 8K has 33 million. More would cost gigabytes."""
# Reads of a file before a search in junk is given up.
_MAX_READS = 20_000
# Of these Pillow does not know every form that is in use.
_UNCHECKED = ("image/bmp", "image/tiff")
PILLOW_NAMES = {
    "image/jpeg": "JPEG",
    "image/png": "PNG",
    "image/gif": "GIF",
    "image/webp": "WEBP",
    "image/bmp": "BMP",
    "image/tiff": "TIFF",
}
"""Pillow's parser by media type; no other is tried."""


@dataclass(frozen=True)
class Streams:
    """What is found in a file; every field is empty where it is unknown.

    Attributes:
        kind: `video` when there are moving pictures, else `audio` when there is sound.
        width: Pixels as stored.
        height: Pixels as stored.
        seconds: Length of the pictures, else of the file.
        fps: Frames per second, the average.
        fault: Why the file cannot be played.
    """

    kind: Literal["image", "video", "audio"] | None = None
    width: int | None = None
    height: int | None = None
    seconds: float | None = None
    fps: float | None = None
    fault: str = ""


def opened(pyav: Any, file: Any, demuxer: str) -> Any:
    """Open a file as what its bytes show that it is; words in it that are no UTF-8 are read all the same.

    Args:
        pyav: The `av` module.
        file: Its path, or what PyAV can read from.
        demuxer: FFmpeg's name of the format.
    """
    # Before version 19 PyAV fails on such words by default, since then it never does.
    words = {"metadata_errors": "replace"} if int(pyav.__version__.partition(".")[0]) < 19 else {}
    return pyav.open(file, "r", format=demuxer, **words)


def streams_of(file: BinaryIO, media_type: str) -> Streams:
    """Open a film or sound and decode its first frame.

    Args:
        file: Read from its beginning; left anywhere.
        media_type: As sniffed from the content.

    Returns:
        What was found; nothing without PyAV, or for a format that is not opened here.
    """
    demuxer = DEMUXERS.get(media_type)
    try:
        pyav: Any = importlib.import_module("av")
    except ImportError:
        return Streams()
    if demuxer is None:
        return Streams()
    file.seek(0)
    try:
        with closing(opened(pyav, _Patience(file), demuxer)) as container:
            return _streams(pyav, container)
    except (pyav.error.InvalidDataError, pyav.error.EOFError):
        return Streams(fault="it is damaged or cut off")
    except Exception:
        # PyAV's errors share no base below Exception, and a hostile file may raise any of them: facts unknown.
        return Streams()


def image_fault(file: BinaryIO, media_type: str, sides: tuple[int, int]) -> str:
    """Decode an image and say what is wrong with it.

    Args:
        file: Read from its beginning; left anywhere.
        media_type: As sniffed from the content.
        sides: Width and height in pixels.

    Returns:
        A fault; empty when there is none, without Pillow, for other formats, or for more pixels than 8K has.
    """
    name = PILLOW_NAMES.get(media_type)
    if name is None or media_type in _UNCHECKED or sides[0] * sides[1] > MAX_PIXELS:
        return ""
    try:
        importlib.import_module("PIL")
        pillow: Any = importlib.import_module("PIL.Image")
    except ImportError:
        return ""
    file.seek(0)
    try:
        with pillow.open(file, formats=(name,)) as image:
            image.draft("L", (64, 64))  # a JPEG is decoded at an eighth of its size
            image.load()
    except (pillow.UnidentifiedImageError, pillow.DecompressionBombError, MemoryError):
        return ""  # a form that Pillow does not know, e.g. a JPEG of 12 bits
    except Exception:
        # Pillow's parsers raise whatever a broken picture makes them trip over.
        return "it is damaged or cut off"
    return ""


def _streams(pyav: Any, container: Any) -> Streams:
    pictures = [one for one in container.streams.video if not attached(one)]
    sounds = list(container.streams.audio)
    if not pictures and not sounds:
        return Streams(fault="it holds neither pictures nor sound")
    main = (pictures or sounds)[0]
    seconds = _seconds(pyav, container, main)
    fault = "" if _plays(pyav, container, main) else "no frame of it can be decoded"
    if not pictures:
        return Streams("audio", seconds=seconds, fault=fault)
    fps = float(main.average_rate) if main.average_rate else None
    return Streams("video", main.width or None, main.height or None, seconds, fps, fault)


def _seconds(pyav: Any, container: Any, stream: Any) -> float | None:
    """Length of the stream, else of the file."""
    if (stream.duration or 0) > 0 and stream.time_base:
        return float(stream.duration * stream.time_base)
    return container.duration / pyav.time_base if (container.duration or 0) > 0 else None


def _plays(pyav: Any, container: Any, stream: Any) -> bool:
    """Whether a frame comes out of the first packets; true where there is no decoder to ask."""
    context = stream.codec_context
    if context is None or (getattr(context, "width", 0) or 0) * (getattr(context, "height", 0) or 0) > MAX_PIXELS:
        return True
    for number, packet in enumerate(container.demux(stream)):
        try:
            if packet.decode():
                return True
        except (pyav.error.InvalidDataError, pyav.error.EOFError):
            pass
        if number >= _PACKETS:
            break
    return False


def attached(stream: Any) -> bool:
    """Whether a video track is only a cover picture that is attached to the file."""
    disposition: Any = stream.disposition
    return bool(disposition & disposition.__class__.attached_pic)


class _Patience:
    """A file that can be read from only so often: in a file of junk, the search for a frame takes seconds."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left = _MAX_READS

    def read(self, size: int = -1) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise OSError("nothing within reach")
        return self._file.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()
