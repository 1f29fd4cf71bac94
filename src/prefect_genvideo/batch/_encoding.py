"""Decoding of a batch's file: UTF-8, and an error that names the encoding of everything else."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from itertools import islice
from typing import Final

from prefect_genvideo.batch.model import unusable
from prefect_genvideo.errors import shorten

# Byte order marks.
_UTF8_MARK: Final = b"\xef\xbb\xbf"
_UTF16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")
# What a spreadsheet program saves unless told otherwise: workbooks of today (a ZIP archive) and of before 2007.
_WORKBOOKS: Final = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0")
# Two letters and more of the scripts that UTF-8 writes in two bytes each, as GBK does Chinese.
_WORD: Final = re.compile("[\u0080-\u07ff]{2,}")
_THREE_BYTES: Final = re.compile("[\u0800-\U0010ffff]")
_CHINESE: Final = re.compile("[\u4e00-\u9fff]+")
# Enough words to know a file by.
_WORDS: Final = 1_000
# Bytes behind a wrong one that are tried in another encoding.
_SAMPLE: Final = 4_096


def decode(name: str, data: bytes) -> str:
    """Return the text of a file.

    Args:
        name: The file's name, for the error.
        data: The whole file.

    Raises:
        InvalidRequestError: It is not UTF-8, most likely not meant as UTF-8, no text, or empty.
    """
    if data.startswith(_WORKBOOKS):
        raise unusable(name, "is a workbook or an archive, no text; save its sheet as CSV in UTF-8")
    looks = " (it looks like UTF-16)" if data.startswith(_UTF16_MARKS) else ""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        looks = looks or (" (it looks like GBK)" if _is_chinese(data[error.start : error.start + _SAMPLE]) else "")
        told = f"is not UTF-8{looks}: byte 0x{data[error.start]:02x} on line {line}; save it with the encoding UTF-8"
        raise unusable(name, told) from None
    if "\0" in text:
        raise unusable(name, f"holds NUL bytes, so it is no text in UTF-8{looks}")
    if not text.strip():
        raise unusable(name, "is empty")
    if not text.isascii() and not data.startswith(_UTF8_MARK):
        _refuse_gbk(name, text)
    return text


def _refuse_gbk(name: str, text: str) -> None:
    """Refuse a text whose bytes happen to be UTF-8 and were meant as GBK: it would be paid for as nonsense.

    `一只猫` in GBK is `һֻè` in UTF-8: three letters of three scripts in one word, which nobody writes.
    """
    if _THREE_BYTES.search(text):
        return  # real Chinese in UTF-8, dashes, currency: not what GBK's pairs of bytes become
    for word in islice(_WORD.finditer(text), _WORDS):
        meant = _in_gbk(word[0])
        if meant and _is_nonsense(word[0], text[max(0, word.start() - 1) : word.start()]):
            line = text.count("\n", 0, word.start()) + 1
            raise unusable(
                name,
                f"is most likely GBK: line {line} reads {shorten(word[0], 20)} in UTF-8 and {shorten(meant, 20)} in "
                "GBK; save it with the encoding UTF-8; with a byte order mark it is taken as UTF-8 without a question",
            )


def _in_gbk(word: str) -> str | None:
    try:
        meant = word.encode().decode("gbk")
    except UnicodeDecodeError:
        return None
    return meant if _CHINESE.fullmatch(meant) else None


def _is_chinese(data: bytes) -> bool:
    # The common characters: with all of GBK's, half of `schön` in Windows' encoding is one too.
    text = data.decode("gb2312", errors="replace")
    return sum(map(len, _CHINESE.findall(text))) > text.count("\ufffd")


def _is_nonsense(word: str, before: str) -> bool:
    """Whether letters of several scripts stand side by side, a mark has no letter, or a character is none."""
    if any(unicodedata.category(char) in {"Cc", "Cn"} for char in word):
        return True
    return len(set(_scripts(word))) > 1 or (unicodedata.category(word[0]) == "Mn" and not before.isalpha())


def _scripts(word: str) -> Iterator[str]:
    for char in word:
        script = unicodedata.name(char, "").partition(" ")[0]
        # A decomposed letter's accent is COMBINING, and goes with every script.
        if unicodedata.category(char)[0] in "LM" and script not in {"COMBINING", "MODIFIER"}:
            yield script
