"""Files as cameras, phones, editors and text-to-speech services write them, and broken ones: each made by a recipe.

`python -m tests.media.recipes FOLDER` writes them all, to be shown to ffprobe, exiftool or a player.
"""

from __future__ import annotations

import io
import struct
import sys
import tempfile
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import av
from PIL import Image

_pyav = cast("Any", av)  # its types are incomplete
_RATE = 48_000
_SOUNDS = {"mp4": "aac", "mov": "aac", "ipod": "aac", "3gp": "aac", "webm": "libopus", "matroska": "aac"}


@lru_cache(maxsize=64)
def film(form: str = "mp4", *, pictures: float = 2.0, sound: float = 0.0, flags: str = "", size: int = 96) -> bytes:
    """A film of moving grey.

    Args:
        form: FFmpeg's muxer.
        pictures: Seconds of pictures at 12 a second; none for 0.
        sound: Seconds of a tone; none for 0.
        flags: `movflags` of the muxer.
        size: Width in pixels; the height is two thirds of it.
    """
    with tempfile.NamedTemporaryFile() as out:
        _encode(out.name, form, pictures, sound, flags, size)
        return Path(out.name).read_bytes()


def _encode(path: str, form: str, pictures: float, sound: float, flags: str, size: int) -> None:
    with _pyav.open(path, "w", format=form, options={"movflags": flags} if flags else {}) as container:
        video = container.add_stream("libvpx" if form == "webm" else "libx264", rate=12) if pictures else None
        audio = container.add_stream(_SOUNDS.get(form, ""), rate=_RATE, layout="mono") if sound else None
        if video:
            video.width, video.height, video.pix_fmt, video.gop_size = size, size * 2 // 3, "yuv420p", 12
            for number in range(round(pictures * 12)):
                frame = _pyav.VideoFrame.from_image(Image.new("RGB", (size, size * 2 // 3), (number * 9 % 256,) * 3))
                frame.pts, frame.time_base = number, Fraction(1, 12)
                container.mux(video.encode(frame))
            container.mux(video.encode(None))
        if audio:
            _tone(container, audio, sound, _RATE)


@lru_cache(maxsize=64)
def tone(form: str, codec: str, *, seconds: float = 2.05, rate: int = 24_000) -> bytes:
    """A file of sound alone.

    Args:
        form: FFmpeg's muxer.
        codec: FFmpeg's encoder.
        seconds: Length.
        rate: Samples a second.
    """
    out = io.BytesIO()
    with _pyav.open(out, "w", format=form) as container:
        _tone(container, container.add_stream(codec, rate=rate, layout="mono"), seconds, rate)
    return out.getvalue()


def _tone(container: Any, stream: Any, seconds: float, rate: int) -> None:
    resampler = _pyav.AudioResampler(format=stream.format.name, layout="mono", rate=rate)
    fifo = _pyav.AudioFifo()
    left, place = round(seconds * rate), 0
    while left > 0:
        frame = _pyav.AudioFrame("s16", "mono", min(1024, left))
        wave = struct.pack(
            f"<{frame.samples}h", *(3000 if (place + at) // 50 % 2 else -3000 for at in range(frame.samples))
        )
        frame.planes[0].update(wave.ljust(frame.planes[0].buffer_size, b"\0"))
        frame.sample_rate, frame.pts, frame.time_base = rate, place, Fraction(1, rate)
        for piece in resampler.resample(frame):
            fifo.write(piece)
        left, place = left - frame.samples, place + frame.samples
    step = stream.codec_context.frame_size or 1024
    while (piece := fifo.read(step, True)) is not None:
        container.mux(stream.encode(piece))
    container.mux(stream.encode(None))


def wav(*, riff: int | None = None, data: int | None = None, form: bytes = b"RIFF", behind: bytes = b"") -> bytes:
    """2.05 s of 24 kHz sound as text-to-speech services stream it: lengths are written before they are known.

    Args:
        riff: Length of the whole in the head; None is the true one.
        data: Length of the samples in the head; None is the true one.
        form: `RIFF` or `RF64`, which says the lengths in a box of 64-bit numbers.
        behind: A further chunk after the samples.
    """
    samples = struct.pack("<h", 1000) * 49_200
    sizes = b"ds64" + struct.pack("<IQQQI", 28, len(samples) + 72, len(samples), 49_200, 0) if form == b"RF64" else b""
    shape = b"fmt " + struct.pack("<IHHIIHH", 16, 1, 1, 24_000, 48_000, 2, 16)
    body = (
        b"WAVE" + sizes + shape + b"data" + struct.pack("<I", len(samples) if data is None else data) + samples + behind
    )
    return form + struct.pack("<I", len(body) if riff is None else riff) + body


def image(form: str, size: tuple[int, int] = (320, 200), mode: str = "RGB", **options: Any) -> bytes:
    """A picture with something to see, by Pillow."""
    out = io.BytesIO()
    picture = Image.effect_noise(size, 60) if size[0] < 2000 else Image.new("L", size)
    picture.convert(mode).save(out, form, **options)
    return out.getvalue()


def tag(*, picture: bytes = b"") -> bytes:
    """An ID3v2.3 tag, with a cover picture or with padding alone."""
    frame = (
        b"APIC" + struct.pack(">IH", len(picture) + 14, 0) + b"\0image/jpeg\0\3\0" + picture if picture else b"\0" * 300
    )
    length = bytes(len(frame) >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\3\0\0" + length + frame


def _changed(data: bytes, *, at: int, to: bytes) -> bytes:
    return data[:at] + to + data[at + len(to) :]


def _os2_bitmap() -> bytes:
    pixels = b"\x40" * (320 * 3 * 200)
    return (
        b"BM" + struct.pack("<IHHI", 26 + len(pixels), 0, 0, 26) + struct.pack("<IHHHH", 12, 320, 200, 1, 24) + pixels
    )


def _scaled_webp() -> bytes:
    data = image("WEBP", quality=50)
    (width,) = struct.unpack("<H", data[26:28])
    return _changed(data, at=26, to=struct.pack("<H", width | 0x4000))


def _noise(data: bytes, after: bytes) -> bytes:
    """A file whose content behind a word is noise, the rest as it was."""
    at = data.index(after) + len(after)
    return data[:at] + bytes((31 * number + 7) % 251 for number in range(len(data) - at))


def _noisy_film() -> bytes:
    data = film(flags="faststart")
    return _noise(data, b"mdat")


def _noisy_png() -> bytes:
    data = image("PNG")
    at = data.index(b"IDAT")
    length = int.from_bytes(data[at - 4 : at], "big")
    return _changed(data, at=at + 4, to=bytes(length))


def _init_segment() -> bytes:
    data = film(flags="frag_keyframe+empty_moov")
    return data[: data.index(b"moof") - 4]


def _branded(major: bytes, *others: bytes) -> bytes:
    """A film under another brand; its `ftyp` keeps its length."""
    data = film()
    brands = (b"".join(others) + b"free" * 4)[: int.from_bytes(data[:4], "big") - 16]
    return _changed(_changed(data, at=8, to=major), at=16, to=brands)


MP3 = "mp3", "libmp3lame"

RECIPES: dict[str, Callable[[], bytes]] = {
    # films
    "plain.mp4": lambda: film(sound=2.0),
    "longer-sound.mp4": lambda: film(pictures=2.0, sound=2.5),
    "fragmented.mp4": lambda: film(pictures=5.0, sound=5.0, flags="frag_keyframe+empty_moov"),
    "fragmented-first-in-head.mp4": lambda: film(pictures=5.0, flags="frag_keyframe"),
    "moov-first.mp4": lambda: film(flags="faststart"),
    "padded.mp4": lambda: film() + b"\0" * 62,
    "plain.mov": lambda: film("mov", sound=2.0),
    "plain.m4v": lambda: film("ipod"),
    "plain.3gp": lambda: film("3gp"),
    "plain.webm": lambda: film("webm", sound=2.0),
    "plain.mkv": lambda: film("matroska"),
    "other-brand.mp4": lambda: _branded(b"XAVC", b"isom"),
    "unknown-brand.mp4": lambda: _branded(b"zzzz", b"yyyy"),
    # sound in the containers of films
    "sound-only.mp4": lambda: film(pictures=0, sound=2.5),
    "sound-only.mov": lambda: film("mov", pictures=0, sound=2.5),
    "sound-only.webm": lambda: film("webm", pictures=0, sound=2.5),
    "sound.m4a": lambda: film("ipod", pictures=0, sound=2.5),
    # sound
    "plain.wav": wav,
    "streamed-ff.wav": lambda: wav(riff=0xFFFFFFFF, data=0xFFFFFFFF),
    "streamed-zero.wav": lambda: wav(riff=0, data=0),
    "streamed-7f.wav": lambda: wav(riff=0x7FFFFFFF, data=0x7FFFFFDB),
    "rf64.wav": lambda: wav(riff=0xFFFFFFFF, data=0xFFFFFFFF, form=b"RF64"),
    "chunk-behind.wav": lambda: wav(behind=b"LIST" + struct.pack("<I", 400_000) + bytes(400_000)),
    "plain.mp3": lambda: tone(*MP3),
    "junk-before.mp3": lambda: bytes(3000) + tone(*MP3)[tone(*MP3).index(b"\xff\xf3") :],
    "cover.mp3": lambda: tag(picture=image("JPEG")) + tone(*MP3)[tone(*MP3).index(b"\xff\xf3") :],
    "plain.aac": lambda: tone("adts", "aac"),
    "tagged.aac": lambda: tag() + tone("adts", "aac"),
    "plain.ogg": lambda: tone("ogg", "libopus"),
    "plain.flac": lambda: tone("flac", "flac"),
    # pictures
    "plain.png": lambda: image("PNG"),
    "plain.jpg": lambda: image("JPEG"),
    "progressive.jpg": lambda: image("JPEG", progressive=True, icc_profile=b"p" * 200_000),
    "filled.jpg": lambda: image("JPEG")[:2] + b"\xff" * 50 + image("JPEG")[2:],
    "plain.webp": lambda: image("WEBP"),
    "scaled.webp": _scaled_webp,
    "wide.gif": lambda: image("GIF", (40_000, 3), "P"),
    "plain.bmp": lambda: image("BMP"),
    "top-down.bmp": lambda: _changed(image("BMP"), at=22, to=struct.pack("<i", -200)),
    "os2.bmp": _os2_bitmap,
    "plain.tif": lambda: image("TIFF"),
    "big.tif": lambda: image("TIFF", big_tiff=True),
    "motorola.tif": lambda: image("TIFF", mode="I;16B"),
    # broken
    "cut-before-moov.mp4": lambda: film()[: film().index(b"moov") - 4],
    "cut-inside.mp4": lambda: film(flags="faststart")[:-200],
    "cut.webm": lambda: film("webm")[:-200],
    "init-segment.mp4": _init_segment,
    "noise.mp4": _noisy_film,
    "raw-photograph.cr3": lambda: _branded(b"crx ", b"crx ", b"isom"),
    "unknown-tracks.mp4": lambda: _branded(b"zzzz", b"yyyy").replace(b"avc1", b"zzzz"),
    "tag-alone.mp3": lambda: tag(picture=image("JPEG")),
    "head.png": lambda: image("PNG")[:60],
    "cut.png": lambda: image("PNG")[:-500],
    "noise.png": _noisy_png,
    "head.jpg": lambda: image("JPEG")[: image("JPEG").index(b"\xff\xda")],
    "cut.jpg": lambda: image("JPEG")[:-500],
    "cut.webp": lambda: image("WEBP")[:-50],
    "cut.flac": lambda: tone("flac", "flac")[:80],
}


def main(folder: str) -> None:
    """Write every file into a folder."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, recipe in RECIPES.items():
        (Path(folder) / name).write_bytes(recipe())


if __name__ == "__main__":
    main(sys.argv[1])
