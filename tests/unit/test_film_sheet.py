"""Contact sheets: the covers of a night's batch in one bounded picture."""

from __future__ import annotations

import io
import struct
import time
import tracemalloc
import zlib
from functools import cache
from typing import Any

import pytest
from PIL import Image, ImageFont

from prefect_genvideo.errors import InvalidRequestError
from prefect_genvideo.media import contact_sheet, thumbnail
from prefect_genvideo.media.contact_sheet import MAX_CELLS
from prefect_genvideo.media.text import readable, wrap
from tests.media.recipes import image


def jpeg(colour: tuple[int, int, int], size: tuple[int, int] = (320, 180)) -> bytes:
    target = io.BytesIO()
    Image.new("RGB", size, colour).save(target, "JPEG")
    return target.getvalue()


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    assert image.format == "JPEG"
    return image


def colour_at(image: Image.Image, at: tuple[int, int]) -> tuple[Any, ...]:
    value = image.getpixel(at)
    assert isinstance(value, tuple)
    return value


def brightest(image: Image.Image) -> int:
    return max(image.convert("L").tobytes())


def near(colour: tuple[Any, ...], expected: tuple[int, int, int]) -> bool:
    return all(abs(one - other) < 16 for one, other in zip(colour, expected, strict=True))


def test_covers_in_rows() -> None:
    """Each cell shows its cover; a failed row is grey and has its reason written into it."""
    red, blue = jpeg((220, 30, 30)), jpeg((30, 30, 220))
    sheet = opened(
        contact_sheet([(red, "1 · saved"), (None, "2 · failed\nmoderation"), (blue, "3 · saved")], columns=2)
    )
    assert sheet.size == (8 + 2 * 328, 8 + 2 * (180 + 2 * 20 + 16 + 8))
    assert near(colour_at(sheet, (160, 150)), (220, 30, 30))
    assert near(colour_at(sheet, (160, 420)), (30, 30, 220))
    grey = sheet.crop((340, 100, 650, 180))
    assert near(colour_at(grey, (5, 70)), (63, 63, 70))
    assert brightest(sheet.crop((336, 8, 650, 60))) > 150


def test_a_sheet_is_bounded() -> None:
    """A thousand rows: 120 cells, the last of which says how many more there are."""
    picture = jpeg((30, 220, 30), (1280, 720))
    data = contact_sheet([(picture, f"{n} · saved") for n in range(1000)], cell=64)
    sheet = opened(data)
    assert len(data) < 500_000
    assert sheet.width < 6 * 80
    rows = MAX_CELLS // 6
    height = (sheet.height - 3) // rows
    last = sheet.crop((sheet.width - 67, sheet.height - height, sheet.width - 3, sheet.height - height + 30))
    assert near(colour_at(last, (60, 28)), (63, 63, 70))
    assert brightest(last) > 130
    tall = opened(contact_sheet([(jpeg((1, 1, 1), (90, 160)), "")] * 120, columns=1, cell=640))
    assert max(tall.size) < 65_500


def test_upright_covers_get_higher_cells() -> None:
    """A batch of 9:16 videos is not shown as stripes."""
    assert opened(contact_sheet([(jpeg((9, 9, 9), (90, 160)), "1")])).height > 400


def test_broken_covers_are_no_covers() -> None:
    """A cover that cannot be read must not take the sheet away."""
    sheet = opened(contact_sheet([(b"no picture", "1"), (b"\xff\xd8\xff", "2"), (bomb(), "3"), (b"", "")]))
    for column in range(4):
        assert near(colour_at(sheet, (300 + column * 328, 170)), (63, 63, 70))


def png(width: int, height: int, *behind: bytes) -> bytes:
    """A black PNG that is small whatever its size, with further chunks before its pixels."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    packer = zlib.compressobj()
    pixels = b"".join(packer.compress(bytes(1 + width)) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    others = b"".join(chunk(one[:4], one[4:]) for one in behind)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + others + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@cache
def bomb() -> bytes:
    """177 million pixels in 170 kB; a second of work, so not made where it is not used."""
    return png(13_300, 13_300)


# An animation whose first frame is announced out of order, and larger than the picture.
BROKEN_APNG = png(
    40, 30, b"acTL" + struct.pack(">II", 2, 0), b"fcTL" + struct.pack(">IIIIIHHBB", 7, 99, 99, 0, 0, 1, 1, 0, 0)
)


@pytest.mark.parametrize("given", [None, BROKEN_APNG, b"", b"GIF89a", jpeg((1, 2, 3), (64, 64))[:-40]])
def test_a_strangers_picture_is_an_image_or_none(given: bytes | None) -> None:
    """177 million pixels in 170 kB (here None) are refused by their header; what is broken raises nothing."""
    picture = bomb() if given is None else given
    tracemalloc.start()
    began = time.process_time()
    try:
        assert thumbnail(picture, (64, 64)) is None
        assert time.process_time() - began < 5
        assert tracemalloc.get_traced_memory()[1] < 10_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF"])
def test_pictures_are_fitted(form: str) -> None:
    """Every format that a provider may send; a small one stays small unless it is wanted larger."""
    data = image(form, (320, 200))
    assert thumbnail(data, (64, 64)).size == (64, 40)
    assert (thumbnail(data, (640, 640)).size, thumbnail(data, (640, 640)).mode) == ((320, 200), "RGB")
    assert thumbnail(data, (640, 640), enlarge=True).size == (640, 400)


def test_a_sheet_has_a_budget_of_pixels() -> None:
    """Covers of 8K are shown as far as a minute's work goes, the rest is grey."""
    cover = png(6000, 6000)
    began = time.process_time()
    sheet = opened(contact_sheet([(cover, str(number)) for number in range(24)], cell=64))
    assert time.process_time() - began < 60
    assert near(colour_at(sheet, (30, 30)), (0, 0, 0))
    assert near(colour_at(sheet, (sheet.width - 12, sheet.height - 40)), (63, 63, 70))


def test_words_that_no_font_has() -> None:
    """Without a font for them, Chinese words become one sign each run instead of a row of empty boxes."""
    latin = ImageFont.load_default(16)
    assert readable("3 · failed: 内容违规 (x)", latin) == "3 · failed: … (x)"
    lines = wrap("a prompt of many words and 一个没有空格的很长的句子", latin, 90)
    assert len(lines) > 2
    assert all(latin.getlength(line) <= 90 for line in lines)
    assert contact_sheet([(None, "7 · 失败\n" + "内容违规" * 200)], cell=64)


@pytest.mark.parametrize(
    "wishes", [{"cell": 8}, {"cell": 10_000}, {"columns": 0}], ids=["too small", "too large", "no columns"]
)
def test_impossible_sheets(wishes: dict[str, int]) -> None:
    """Sizes have bounds, and nothing is no sheet."""
    with pytest.raises(InvalidRequestError):
        contact_sheet([(None, "x")], **wishes)
    with pytest.raises(InvalidRequestError):
        contact_sheet([])
