"""Frames of MP3 and AAC (ISO/IEC 11172-3, 13818-3 and -7): formats without a magic word, often behind a tag or junk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO

# Bytes in which the first frame must begin, behind a tag or junk.
_SEARCHED = 64 * 1024
# Frames that must follow one another before bytes count as sound.
_CHAIN = 4
# Tags that are passed over.
_MAX_TAGS = 8
# Kilobits a second by index: MPEG-1 layer III, and layer III of MPEG-2 and 2.5.
_RATES = (
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)
# Samples a second by index, by version: 2.5, reserved, 2, 1.
_CLOCKS = ((11_025, 12_000, 8_000), (), (22_050, 24_000, 16_000), (44_100, 48_000, 32_000))
_MPEG_1 = 3
_SHORTEST_AAC = 7


@dataclass(frozen=True)
class SoundFile:
    """Where the sound of a file without a container begins.

    Attributes:
        media_type: `audio/mpeg`, `audio/aac` or, behind a tag, `audio/flac`.
        declared: Seconds that the first frame of an MP3 declares (the `Xing` or `Info` tag of encoders); None where it
            does not.
    """

    media_type: str
    declared: float | None = None


@dataclass(frozen=True)
class _Frame:
    media_type: str
    form: tuple[int, ...]  # what all frames of a file share
    length: int  # bytes; 0 where the head does not say
    clock: int = 0
    samples: int = 0


def frame_type(head: bytes) -> str | None:
    """Return the media type of the frame that begins here; None where none does."""
    frame = _frame(head)
    return frame.media_type if frame else None


def find_sound(file: BinaryIO) -> SoundFile | None:
    """Find the first frames behind ID3v2 tags (id3.org, ID3v2.4.0, 3.1) or junk.

    Args:
        file: Read from its beginning; left anywhere.

    Returns:
        What is there; None where no frames follow one another within 64 KiB.
    """
    position = _behind_tags(file)
    file.seek(position)
    data = file.read(_SEARCHED)
    if data.startswith(b"fLaC"):
        return SoundFile("audio/flac")
    at = data.find(b"\xff")
    while at >= 0:
        # AAC's marks are short: it must stand where it belongs, not somewhere in junk.
        frame = _chain(data, at, near=at == 0 and position > 0)
        if frame and (frame.media_type != "audio/aac" or at == 0):
            return SoundFile(frame.media_type, _declared(data[at:], frame))
        at = data.find(b"\xff", at + 1)
    return None


def _behind_tags(file: BinaryIO) -> int:
    position = 0
    for _ in range(_MAX_TAGS):
        file.seek(position)
        head = file.read(10)
        if head[:3] != b"ID3" or len(head) < 10:
            break
        length = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
        position += 10 + length + (10 if head[5] & 0x10 else 0)
    return position


def _chain(data: bytes, start: int, *, near: bool) -> _Frame | None:
    """The first of frames that follow one another; `near` a tag, fewer will do where the file ends."""
    first, at = None, start
    for number in range(_CHAIN):
        frame = _frame(data[at : at + 8])
        if frame is None or (first and frame.form != first.form) or not frame.length:
            return first if near and number and at >= len(data) else None
        first, at = first or frame, at + frame.length
    return first


def _frame(head: bytes) -> _Frame | None:
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    return _aac_frame(head) if head[1] & 0xF6 == 0xF0 else _mp3_frame(head)


def _aac_frame(head: bytes) -> _Frame | None:
    length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5 if len(head) >= 6 else _SHORTEST_AAC
    return _Frame("audio/aac", (head[1], head[2]), length) if length >= _SHORTEST_AAC else None


def _mp3_frame(head: bytes) -> _Frame | None:
    version, rate, clock = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3
    # Layer III alone; version 1, rate 15 and clock 3 are reserved.
    if head[1] & 0x06 != 0x02 or not _CLOCKS[version] or rate == 15 or clock == 3:
        return None
    first = version == _MPEG_1
    samples, hertz = 1152 if first else 576, _CLOCKS[version][clock]
    bits = _RATES[0 if first else 1][rate] * 1000
    # A bit rate of 0 leaves the length open.
    length = samples // 8 * bits // hertz + (head[2] >> 1 & 1) if bits else 0
    return _Frame("audio/mpeg", (version, clock), length, hertz, samples)


def _declared(data: bytes, frame: _Frame) -> float | None:
    """Seconds by the frame count of a `Xing` or `Info` tag, which stands where the side information ends."""
    if frame.media_type != "audio/mpeg":
        return None
    mono = data[3] >> 6 == 3
    at = 4 + ((17 if mono else 32) if frame.samples == 1152 else (9 if mono else 17))
    tag = data[at : at + 12]
    if tag[:4] not in (b"Xing", b"Info") or len(tag) < 12 or not tag[7] & 1:
        return None
    return int.from_bytes(tag[8:12], "big") * frame.samples / frame.clock or None
