"""Texts and tables as Prefect's UI shows them: others' words as they are, links that open, keys that are allowed."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable, Sequence
from urllib.parse import quote

from prefect_genvideo.errors import printable
from prefect_genvideo.pipeline.play import PlayLink

Table = list[dict[str, str | int | float]]

# What GitHub's Markdown, which Prefect's UI reads, makes a link of without being asked.
_ADDRESS = re.compile(r"://|www\.|@|mailto:|xmpp:", re.IGNORECASE)
_MARKUP = re.compile(r"([\\`*_{}\[\]()<>#|!~&$])")
# At the beginning of a line: lists and underlined headings.
_BLOCK = re.compile(r"\A(\d*)([-+=.)])")
# Characters of a key that the head of an artifact's page still shows whole in a window of 1300 pixels.
_LONGEST_KEY = 32
_HASH = 8


def artifact_key(kind: str, name: str) -> str:
    """Return a key as Prefect wants it: lower-case letters, digits and dashes, at most 32.

    Names that differ have keys that differ: what a key cannot hold, e.g. Chinese, is stood for by a hash.

    Args:
        kind: What the artifact shows, e.g. `video`.
        name: Which one; runs of other characters become one dash.
    """
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    room = _LONGEST_KEY - len(kind) - 1
    if not name.isascii() or len(slug) > room or not slug:
        digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH]
        slug = f"{slug[: room - _HASH - 1].rstrip('-')}-{digest}".strip("-")
    return f"{kind}-{slug}"


def plain(text: str) -> str:
    """Return a stranger's text as Markdown that shows it and nothing else: no markup, link, picture or second line.

    Addresses become code, since GitHub's Markdown makes links even of those whose punctuation is escaped.
    """
    words = printable(" ".join(text.split())).split(" ")
    told = " ".join(code(word) if _ADDRESS.search(word) else _MARKUP.sub(r"\\\1", word) for word in words)
    return _BLOCK.sub(r"\1\\\2", told)


def code(text: str) -> str:
    """Text that is shown as it is and can be copied, e.g. an id."""
    return "`" + printable(text).replace("`", "'").replace("|", "¦") + "`"


def play(link: PlayLink | None, text: str = "play") -> str:
    """A link that plays a video; empty without one.

    Args:
        link: The link.
        text: What it says, a text of our own.
    """
    # What could be markup is percent-encoded.
    return f"[{text}]({quote(link.url, safe=':/?&=%~+,;@')})" if link else ""


def lives(*links: PlayLink | None) -> str:
    """A sentence on the life of a page's links; empty where they do not die."""
    hours = next((link.hours for link in links if link and link.hours), None)
    return f"Links on this page live for {hours:g} h." if hours else ""


def grid(head: Sequence[str], rows: Iterable[Sequence[str]], right: Collection[str] = ()) -> str:
    """A table in Markdown, of texts that are Markdown already.

    Args:
        head: Titles of the columns.
        rows: Cells, as many in each row as there are columns.
        right: Columns whose cells stand at the right, as numbers do.
    """
    line = [("---:" if title in right else "---") for title in head]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, line, *rows))


def cells(table: Table) -> Table:
    """Rows whose texts are printable and no links: one of Prefect's two UIs reads Markdown in cells."""
    return [
        {
            name: printable(value).replace("](", "] (") if isinstance(value, str) else value
            for name, value in row.items()
        }
        for row in table
    ]
