"""Text drawn into pictures: a font that knows Chinese where one is installed, and lines that fit."""

from __future__ import annotations

import contextlib
import functools
from typing import Any

# Tried in this order; Pillow looks the names up in the font folders of the system. The first ones know Chinese.
_FONTS = (
    "NotoSansCJK-Regular.ttc", "NotoSansSC-Regular.otf", "SourceHanSansSC-Regular.otf", "wqy-microhei.ttc",
    "wqy-zenhei.ttc", "DroidSansFallbackFull.ttf", "DroidSansFallback.ttf", "PingFang.ttc", "Hiragino Sans GB.ttc",
    "STHeiti Light.ttc", "msyh.ttc", "simhei.ttf", "Arial Unicode.ttf", "DejaVuSans.ttf", "Arial.ttf",
)  # fmt: skip
# A code point that no font has a picture for.
_NO_GLYPH = "\U0010ffff"


@functools.lru_cache(maxsize=8)
def font_of(size: int) -> Any:
    """The first font of the list that is installed, else Pillow's own, at `size` pixels."""
    from PIL import ImageFont

    for name in _FONTS:
        with contextlib.suppress(OSError):
            return ImageFont.truetype(name, size)
    return ImageFont.load_default(size)


def wrap(text: str, font: Any, width: int) -> list[str]:
    """Break a text by words, and inside a word that is wider than a line, as Chinese sentences are.

    Args:
        text: Any text; runs of white space count as one blank.
        font: From `font_of`.
        width: Pixels of a line.

    Returns:
        The lines.
    """
    lines, line = list[str](), ""
    for word in text.split():
        joined = f"{line} {word}" if line else word
        if font.getlength(joined) <= width:
            line = joined
            continue
        if line and font.getlength(word) <= width:
            lines.append(line)
            line = word
            continue
        line = f"{line} " if line else ""
        for char in word:
            if line and font.getlength(line + char) > width:
                lines.append(line)
                line = ""
            line += char
    return [*lines, line] if line else lines


def readable(text: str, font: Any) -> str:
    """Return the text with each run of characters that the font cannot draw as one `…`, not as a row of empty boxes.

    Args:
        text: Any text.
        font: From `font_of`.
    """
    empty = bytes(font.getmask(_NO_GLYPH))
    result: list[str] = []
    for char in text:
        known = char.isascii() or char == "…" or bytes(font.getmask(char)) != empty
        if known or result[-1:] != ["…"]:
            result.append(char if known else "…")
    return "".join(result)
