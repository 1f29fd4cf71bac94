"""Contact sheets: the covers of a batch in one picture, each with a caption."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from prefect_genvideo.errors import InvalidRequestError
from prefect_genvideo.media.clip import load_pillow
from prefect_genvideo.media.text import font_of, readable, wrap
from prefect_genvideo.media.thumbnail import picture_sides, saved, thumbnail

MAX_CELLS = 120
"""Cells of a sheet; the last one says how many more there are."""

# Cells in a row where nobody says otherwise.
_COLUMNS = 6
# Pixels of a cell's width: below, no caption can be read; above, a sheet of 120 cells fills the memory.
_CELL_RANGE = (64, 640)
# Pixels; a JPEG has at most 65,535.
_MAX_HEIGHT = 60_000
# Pixels that are decoded for one sheet: the covers of 120 videos of 1080p. What is beyond is a grey cell.
_MAX_PIXELS = 250_000_000
# Lines below a picture, lines in a cell without one, and characters of either.
_CAPTION_LINES = 2
_REASON_LINES = 6
_MAX_TEXT = 300
_PAPER, _INK, _GREY, _PALE = (24, 24, 27), (228, 228, 231), (63, 63, 70), (212, 212, 216)


@dataclass(frozen=True)
class _Grid:
    columns: int
    rows: int
    width: int
    box: int
    line: int
    pad: int

    @property
    def height(self) -> int:
        return self.box + _CAPTION_LINES * self.line + 2 * self.pad

    def place(self, number: int) -> tuple[int, int]:
        row, column = divmod(number, self.columns)
        return self.pad + column * (self.width + self.pad), self.pad + row * (self.height + self.pad)


def contact_sheet(
    pictures: Sequence[tuple[bytes | None, str]],
    *,
    columns: int | None = None,
    cell: int = 320,
) -> bytes:
    r"""Draw covers with captions into one JPEG, at most 120 cells of it.

    Args:
        pictures: Pairs of a picture (any format that Pillow reads) and a caption. Without a picture the cell is grey
            and shows the lines of the caption behind its first one, e.g. `"7 · failed\nmoderation"`; a picture that
            cannot be read counts as none. Characters that no installed font has are drawn as `…`.
        columns: Cells in a row; None: up to six.
        cell: Width of a cell in pixels, 64 to 640.

    Returns:
        The JPEG; about 10 kB a cell.

    Raises:
        InvalidRequestError: There are no pictures, a number is out of range, or Pillow is missing.
    """
    load_pillow()
    if not pictures:
        raise InvalidRequestError("A contact sheet needs at least one picture.", reason="no pictures")
    if not _CELL_RANGE[0] <= cell <= _CELL_RANGE[1] or (columns is not None and columns < 1):
        text = "A contact sheet has cells of 64 to 640 pixels and at least one column."
        raise InvalidRequestError(text, reason="out of range")
    shown = list(pictures)
    if len(shown) > MAX_CELLS:
        rest = len(shown) - (MAX_CELLS - 1)
        shown = [*shown[: MAX_CELLS - 1], (None, f"\n… and {rest} more")]
    return _drawn(shown, _grid(shown, columns, cell))


def _grid(shown: list[tuple[bytes | None, str]], columns: int | None, cell: int) -> _Grid:
    found = (picture_sides(data) for data, _ in shown if data)
    ratios = sorted(sides[1] / sides[0] for sides in found if sides)
    ratio = ratios[len(ratios) // 2] if ratios else 9 / 16
    # Upright videos get higher cells, so that they are no stripes between bars.
    box = round(cell * min(max(ratio, 0.5), 1.25))
    line, pad = max(11, cell // 16), max(3, cell // 40)
    height = box + _CAPTION_LINES * line + 3 * pad
    wanted = min(columns or _COLUMNS, len(shown))
    wide = max(wanted, math.ceil(len(shown) * height / _MAX_HEIGHT))
    return _Grid(wide, math.ceil(len(shown) / wide), cell, box, line, pad)


def _drawn(shown: list[tuple[bytes | None, str]], grid: _Grid) -> bytes:
    from PIL import Image, ImageDraw

    size = (grid.pad + grid.columns * (grid.width + grid.pad), grid.pad + grid.rows * (grid.height + grid.pad))
    sheet = Image.new("RGB", size, _PAPER)
    draw = ImageDraw.Draw(sheet)
    left_pixels = _MAX_PIXELS
    for number, (data, caption) in enumerate(shown):
        left, top = grid.place(number)
        title, _, reason = caption[:_MAX_TEXT].partition("\n")
        wide, high = (picture_sides(data) if data else None) or (0, 0)
        left_pixels -= wide * high
        picture = thumbnail(data, (grid.width, grid.box), enlarge=True) if data and left_pixels >= 0 else None
        if picture is None:
            draw.rectangle((left, top, left + grid.width - 1, top + grid.box - 1), fill=_GREY)
            _lines(draw, reason or "no picture", (left + grid.pad, top + grid.pad), grid, _REASON_LINES)
        else:
            at = (left + (grid.width - picture.width) // 2, top + (grid.box - picture.height) // 2)
            sheet.paste(picture, at)
            title = f"{title} {reason}" if reason else title
        _lines(draw, title, (left, top + grid.box + grid.pad), grid, _CAPTION_LINES)
    return saved(sheet, "JPEG", quality=82)


def _lines(draw: Any, text: str, at: tuple[int, int], grid: _Grid, limit: int) -> None:
    font = font_of(max(9, grid.line - 4))
    width = grid.width - 2 * (grid.pad if limit == _REASON_LINES else 0)
    limit = min(limit, max(1, (grid.box - grid.pad) // grid.line))
    lines = wrap(readable(text, font), font, width)
    if len(lines) > limit:
        lines = [*lines[: limit - 1], f"{lines[limit - 1][:-1]}…"]
    for number, line in enumerate(lines):
        fill = _PALE if limit == _REASON_LINES else _INK
        draw.text((at[0], at[1] + number * grid.line), line, font=font, fill=fill)
