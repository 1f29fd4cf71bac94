"""Small real videos: H.264 in MP4, the prompt burnt in, drawn with Pillow and encoded with PyAV."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import av
from PIL import Image, ImageDraw, ImageOps

from prefect_genvideo.media.text import font_of, wrap
from prefect_genvideo.media.thumbnail import picture_sides, saved, thumbnail

PREVIEW_SIDE = 320  # small to render, and large enough to be a first frame (SenseAudio wants 300 pixels)
"""Pixels of the short side of a preview."""
CHUNK = 256 * 1024
"""Bytes sent at a time."""
# Pixels of a reference's longer side before it is fitted into the clip.
_LARGEST_SIDE = 4096
_MAX_TEXT = 240
_TINY_SIDE = 32


@dataclass(frozen=True)
class ClipSpec:
    """What a clip shows. Equal specs give equal bytes.

    Attributes:
        text: Burnt in, shortened to 240 characters.
        label: Small line above it, e.g. the model.
        seconds: Length.
        width: Pixels, even.
        height: Pixels, even.
        fps: Frames per second.
        picture: SHA-256 of the background picture, or empty for a plain colour.
        picture_path: Where that picture lies.
    """

    text: str
    label: str
    seconds: float
    width: int
    height: int
    fps: int = 8
    picture: str = ""
    picture_path: Path | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Content:
    """Bytes that are sent: a rendered head, and filler that is made while it is sent.

    Attributes:
        head: The real bytes.
        filler: Bytes after them, never held in memory.
        etag: Strong entity tag with its quotes.
    """

    head: bytes
    filler: int
    etag: str

    @classmethod
    def of(cls, data: bytes) -> Content:
        """Bytes as they are, without filler."""
        return cls(data, 0, f'"{hashlib.sha256(data).hexdigest()[:32]}"')

    @property
    def size(self) -> int:
        """All bytes."""
        return len(self.head) + self.filler

    def chunks(self, start: int, stop: int) -> Iterator[bytes | memoryview]:
        """Bytes from `start` up to `stop`, in pieces of at most 256 KiB.

        Args:
            start: First byte.
            stop: Byte after the last one.
        """
        pattern = _pattern()
        while start < stop:
            if start < len(self.head):
                piece = self.head[start : min(stop, len(self.head), start + CHUNK)]
            else:
                offset = (start - len(self.head)) % CHUNK
                piece = pattern[offset : offset + min(stop - start, CHUNK)]
            yield piece
            start += len(piece)


def frame_size(resolution: str, ratio: str, picture: Path | None, full_size: bool) -> tuple[int, int]:
    """Pixels of a clip: `resolution` names the short side, `adaptive` takes the ratio of the picture.

    Anything that cannot be read counts as 720p and 16:9, as the real services fall back too.

    Args:
        resolution: e.g. `720p`.
        ratio: e.g. `16:9`, or `adaptive`.
        picture: What `adaptive` looks at.
        full_size: The asked size instead of a preview.
    """
    named = resolution.lower().removesuffix("p")
    short = int(named) if full_size and named.isdigit() else (720 if full_size else PREVIEW_SIDE)
    wide, high = 16.0, 9.0
    if ratio == "adaptive":
        wide, high = picture_sides(_bytes_of(picture)) or (wide, high)
    else:
        parts = ratio.split(":")
        if len(parts) == 2 and all(part.isdigit() and int(part) > 0 for part in parts):
            wide, high = float(parts[0]), float(parts[1])
    factor = min(max(wide / high, 0.25), 4.0)
    sides = (short * factor, short) if factor >= 1 else (short, short / factor)
    return round(sides[0] / 2) * 2, round(sides[1] / 2) * 2


def render_clip(spec: ClipSpec) -> bytes:
    """Encode the clip; `moov` comes first. Takes about 2 ms a frame for previews, 20 ms in 1080p."""
    base, total = _base(spec), max(1, round(spec.seconds * spec.fps))
    with tempfile.TemporaryDirectory() as folder:
        # The faststart pass reads the file again, which PyAV only does for a real one.
        path = Path(folder) / "clip.mp4"
        pyav = cast("Any", av)  # its types are incomplete
        flags = {"movflags": "+faststart", "brand": "mp42"}
        with pyav.open(str(path), "w", format="mp4", options=flags) as out:
            stream = out.add_stream("libx264", rate=spec.fps, options={"preset": "ultrafast", "crf": "28"})
            stream.width, stream.height, stream.pix_fmt = spec.width, spec.height, "yuv420p"
            stream.codec_context.thread_count = 1
            for number in range(total):
                out.mux(stream.encode(pyav.VideoFrame.from_image(_frame(base, spec, number, total))))
            out.mux(stream.encode(None))
        return path.read_bytes()


def render_cover(spec: ClipSpec) -> bytes:
    """The first frame as a JPEG."""
    frame = _frame(_base(spec), spec, 0, max(1, round(spec.seconds * spec.fps)))
    return saved(frame, "JPEG", quality=80)


def padded(clip: bytes, size: int) -> Content | None:
    """Make a clip exactly `size` bytes long by a `free` box behind it, or None if it does not fit.

    Args:
        clip: A whole MP4 file.
        size: Bytes wanted.
    """
    room = size - len(clip)
    if room < 8 and room != 0:
        return None
    header = b""
    if room >= 2**32:
        header = (1).to_bytes(4, "big") + b"free" + room.to_bytes(8, "big")
    elif room:
        header = room.to_bytes(4, "big") + b"free"
    digest = hashlib.sha256(clip).hexdigest()[:32]
    return Content(clip + header, room - len(header), f'"{digest}-{size}"')


class ClipCache:
    """Renders on demand, each clip once, and keeps the latest within a bound. Use it from worker threads.

    Args:
        limit: Bytes kept.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.rendered = 0
        self._lock = threading.Lock()
        self._kept: OrderedDict[object, bytes] = OrderedDict()
        self._busy: dict[object, threading.Lock] = {}

    def clip(self, spec: ClipSpec, size: int | None = None) -> Content:
        """The clip, padded to `size` bytes when that is given.

        Args:
            spec: What it shows.
            size: Bytes that it is to have; None = as it comes.
        """
        data = self._get(spec, lambda: render_clip(spec))
        if size is None:
            return Content.of(data)
        if content := padded(data, size):
            return content
        tiny = replace(spec, text="", label="", seconds=0.1, width=_TINY_SIDE, height=_TINY_SIDE, picture="")
        content = padded(self._get(tiny, lambda: render_clip(tiny)), size)
        if content is None:
            raise ValueError(f"no clip fits into {size} bytes")
        return content

    def cover(self, spec: ClipSpec) -> Content:
        """The cover picture of the clip."""
        return Content.of(self._get(("cover", spec), lambda: render_cover(spec)))

    def _get(self, key: object, make: Callable[[], bytes]) -> bytes:
        with self._lock:
            if (data := self._kept.get(key)) is not None:
                self._kept.move_to_end(key)
                return data
            busy = self._busy.setdefault(key, threading.Lock())
        with busy:
            data = self._kept.get(key)
            if data is None:
                data = make()
                self._keep(key, data)
        with self._lock:
            self._busy.pop(key, None)
        return data

    def _keep(self, key: object, data: bytes) -> None:
        with self._lock:
            self.rendered += 1
            self._kept[key] = data
            while len(self._kept) > 1 and sum(map(len, self._kept.values())) > self.limit:
                self._kept.popitem(last=False)


def _base(spec: ClipSpec) -> Image.Image:
    size = (spec.width, spec.height)
    image = _picture(spec.picture_path, size) if spec.picture else None
    if image is None:
        hue = hashlib.sha256(spec.text.encode()).digest()[0]
        dark, light = (
            f"hsl({int((hue + turn) % 256 / 256 * 360)},45%,{light}%)" for turn, light in ((0, 18), (40, 48))
        )
        image = ImageOps.colorize(cast("Any", Image.linear_gradient("L")).resize(size), dark, light)
    if min(size) > _TINY_SIDE:
        _write(image, spec)
    return image


def _write(image: Image.Image, spec: ClipSpec) -> None:
    short = min(image.size)
    font, small, margin = font_of(max(11, short // 13)), font_of(max(9, short // 20)), max(4, short // 20)
    draw = ImageDraw.Draw(image, "RGBA")
    lines = wrap(spec.text[:_MAX_TEXT], font, image.width - 2 * margin)
    step = max(12, round(short / 10))
    lines = lines[: max(1, (image.height - 4 * margin) // step - 1)]
    top = image.height - 2 * margin - step * len(lines)
    draw.rectangle((0, top - margin - step, image.width, image.height), fill=(0, 0, 0, 130))
    draw.text((margin, top - step), spec.label, font=small, fill=(255, 255, 255, 190))
    for number, line in enumerate(lines):
        draw.text((margin, top + number * step), line, font=font, fill=(255, 255, 255, 255))


def _frame(base: Image.Image, spec: ClipSpec, number: int, total: int) -> Image.Image:
    image = base.copy()
    draw = ImageDraw.Draw(image)
    share, unit = (number + 1) / total, max(2, min(image.size) // 45)
    x = round(unit * 4 + (image.width - unit * 8) * number / max(1, total - 1))
    draw.ellipse((x - 3 * unit, 2 * unit, x + 3 * unit, 8 * unit), fill=(250, 204, 21))
    draw.rectangle((0, image.height - unit, round(image.width * share), image.height), fill=(250, 204, 21))
    return image


def _picture(path: Path | None, size: tuple[int, int]) -> Image.Image | None:
    # A broken reference must not take the clip away: the demo goes on with a plain background.
    image = thumbnail(_bytes_of(path), (_LARGEST_SIDE, _LARGEST_SIDE))
    return None if image is None else ImageOps.fit(image, size)


def _bytes_of(path: Path | None) -> bytes:
    with contextlib.suppress(OSError):
        return path.read_bytes() if path is not None else b""
    return b""


@functools.lru_cache(maxsize=1)
def _pattern() -> memoryview:
    """Filler for any place: one chunk of noise twice, so that every slice of a chunk is at hand."""
    noise = hashlib.shake_256(b"prefect-genvideo").digest(CHUNK)
    return memoryview(noise + noise)
