"""Bounded reading of strangers' JSON, and the few kinds of values that are passed on."""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn, cast

MAX_DEPTH = 32
"""Deepest nesting of a body."""
MAX_VALUES = 20_000
"""Most values of a body, names not counted."""
MAX_TEXT = 4_000
"""Longest text that is passed on, in characters; the longest prompt that an event may bring."""
MAX_TEXTS = 12
"""Most texts of a list that is passed on; as many as an event may name assets."""
# A bucket's name and an object's key in S3, in bytes; other stores allow less.
_MAX_KEY = 1024
# JSON's numbers are doubles to most senders; a larger integer has been rounded somewhere.
_MAX_INTEGER = 2**53
_KEPT_CONTROLS = "\n\t"

Record = Mapping[str, Any]
Kind = Callable[[Any], Any]
"""What a value becomes; None: it is not passed on."""


class UnreadableError(ValueError):
    """A body that is no JSON object within the bounds. The message names the bound, never the content."""


def parse(body: bytes) -> Record:
    """Return the JSON object that a body is.

    Raises:
        UnreadableError: It is none, or is nested too deeply or too large in count.
    """
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_no_constant)
    except RecursionError:
        raise UnreadableError(f"nested deeper than {MAX_DEPTH}") from None
    except ValueError:
        raise UnreadableError("no JSON in UTF-8") from None
    if not isinstance(value, dict):
        raise UnreadableError("no JSON object")
    if _count(value, 1) > MAX_VALUES:
        raise UnreadableError(f"more than {MAX_VALUES} values")
    return cast("Record", value)


def _no_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _count(value: Any, depth: int) -> int:
    """Values in a value, itself among them."""
    if depth > MAX_DEPTH:
        raise UnreadableError(f"nested deeper than {MAX_DEPTH}")
    if not isinstance(value, dict | list):
        return 1
    parts = cast("Iterable[Any]", value.values() if isinstance(value, dict) else value)
    return 1 + sum(_count(part, depth + 1) for part in parts)


def at(*paths: str) -> Callable[[Record], Any]:
    """Return a reader of the first of several dotted paths that holds something.

    Args:
        paths: e.g. `s3.bucket.name`.
    """

    def take(record: Record) -> Any:
        for path in paths:
            found: Any = record
            for name in path.split("."):
                found = cast("Record", found).get(name) if isinstance(found, Mapping) else None
            if found not in (None, ""):
                return found
        return None

    return take


def text(value: Any) -> str | None:
    """A text without control characters other than line ends and tabs; none that is longer than `MAX_TEXT`."""
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        return None
    # A lone surrogate is no text to any database, and PostgreSQL refuses the character NUL.
    return "".join(char for char in value if char in _KEPT_CONTROLS or unicodedata.category(char) not in ("Cc", "Cs"))


def identifier(value: Any) -> str | None:
    """An identifier: one line of at most 1,024 bytes without control characters. Numbers are taken as they print."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _MAX_INTEGER:
        return str(value)
    if not isinstance(value, str) or not value or text(value) != value or "\n" in value or "\t" in value:
        return None
    return value if len(value.encode()) <= _MAX_KEY else None


def number(value: Any) -> int | float | None:
    """A finite number. Some senders write sizes as texts of digits."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if math.isfinite(value) and abs(value) <= _MAX_INTEGER else None


def plain(value: Any) -> str | int | float | bool | list[str] | None:
    """A text, a number, a truth value or a list of at most `MAX_TEXTS` texts; anything else is not passed on."""
    if isinstance(value, str | bool):
        return value if isinstance(value, bool) else text(value)
    if isinstance(value, list):
        items = [text(item) for item in cast("list[Any]", value)[: MAX_TEXTS + 1]]
        kept = [item for item in items if item is not None]
        return kept if len(kept) == len(items) <= MAX_TEXTS else None
    return number(value)
