"""Markdown as the packaging tests see it: fenced blocks, tables, links and headings. Just what our own pages use."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.packaging.sources import ROOT

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[\w-]*)[^\n]*\n(?P<body>.*?)^(?P=indent)```$", re.M | re.S)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} +(.+?)(?: *\{#([\w-]+)\})?$", re.M)
_CODE = re.compile(r"`([^`]+)`")


@dataclass(frozen=True)
class Fence:
    """A fenced block.

    Attributes:
        line: Line of its first line of text, from 1.
    """

    language: str
    text: str
    line: int
    page: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def fences(path: Path, *languages: str) -> list[Fence]:
    """The fenced blocks of a page, of these languages or of all."""
    text = path.read_text(encoding="utf-8")
    found = [
        Fence(
            match["language"],
            re.sub(rf"^{match['indent']}", "", match["body"], flags=re.M),
            text.count("\n", 0, match.start("body")) + 1,
            path.name,
        )
        for match in _FENCE.finditer(text)
    ]
    return [fence for fence in found if not languages or fence.language in languages]


def first_hour() -> list[str]:
    """The README's lines from an empty folder to deployments that run, which `test_first_hour.py` runs."""
    (found,) = (fence for fence in fences(ROOT / "README.md", "sh") if "server start" in fence.text)
    return found.text.splitlines()


def without_fences(text: str) -> str:
    """A page's text without its code."""
    return _FENCE.sub("", text)


def tables(text: str) -> list[list[list[str]]]:
    """All tables, each as rows of cells without the header's rule."""
    found: list[list[list[str]]] = []
    for block in re.split(r"\n(?!\|)", "\n" + without_fences(text)):
        rows = [_cells(line) for line in block.split("\n") if line.startswith("|")]
        if rows:
            found.append([row for row in rows if not set("".join(row)) <= set("-: ")])
    return found


def table(text: str, name: str) -> list[dict[str, str]]:
    """The rows below the comment `<!-- name -->`, by the words of their header."""
    header, *rows = tables(text.partition(f"<!-- {name} -->")[2])[0]
    return [dict(zip(header, row, strict=True)) for row in rows]


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def codes(cell: str) -> list[str]:
    """The words of a cell that are set as code."""
    return _CODE.findall(cell)


def links(text: str) -> Iterator[str]:
    """Targets of links and pictures."""
    return (match[1] for match in _LINK.finditer(_CODE.sub("", without_fences(text))))


def anchors(text: str) -> set[str]:
    """What a link's fragment may name on this page."""
    return {given or slug(title) for title, given in _HEADING.findall(without_fences(text))}


def slug(title: str) -> str:
    """The anchor of a heading, as MkDocs and GitHub make it for plain words."""
    return re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", title.lower()).strip())
