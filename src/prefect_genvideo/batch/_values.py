"""Plain values: what JSON can express and every store can hold, copied and weighed."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import PurePath
from typing import Any, Final, cast

from prefect_genvideo.batch.model import problem

# Values in values: deeper ones serve no vendor, and every step through them recurses.
_MAX_DEPTH: Final = 24
# 64 bits are what every JSON reader and store takes.
_MAX_INT: Final = 2**63


class UnstorableError(ValueError):
    """A value that no row can hold."""

    def __init__(self, path: str, value: Any, limit: str) -> None:
        super().__init__(limit)
        self.problem = problem(path, value, limit)


def plain(path: str, value: Any, depth: int = 0) -> tuple[Any, int]:
    """Return a copy of JSON-like data and its size in characters and values.

    Raises:
        UnstorableError: It holds what JSON cannot, or what nobody can store: NaN, numbers beyond 64 bits, half
            characters.
    """
    if value is None or isinstance(value, bool):
        return value, 1
    if isinstance(value, str):
        return _text(path, value), 1 + len(value)
    if isinstance(value, int | float):
        if not abs(value) < _MAX_INT:  # so that NaN does not pass
            raise UnstorableError(path, "(number)", "must be a finite number within 64 bits")
        return value, 1
    if isinstance(value, date | PurePath):
        return value.isoformat() if isinstance(value, date) else str(value), 1
    if depth >= _MAX_DEPTH:
        raise UnstorableError(path, "(nested)", f"must not be nested deeper than {_MAX_DEPTH}")
    if isinstance(value, Mapping):
        items = [
            (_text(path, name), *plain(f"{path}.{name}" if depth < 2 else path, item, depth + 1))
            for name, item in cast("Mapping[Any, Any]", value).items()
        ]
        return {name: item for name, item, _ in items}, 1 + sum(len(name) + size for name, _, size in items)
    if isinstance(value, list | tuple):
        made = [plain(f"{path}[{i}]", item, depth + 1) for i, item in enumerate(cast("list[Any]", value))]
        return [item for item, _ in made], 1 + sum(size for _, size in made)
    raise UnstorableError(path, type(value).__name__, "must be text, a number, true, false, null, a list or an object")


def _text(path: str, value: Any) -> str:
    if not isinstance(value, str):
        raise UnstorableError(path, value, "names must be texts")
    if "\0" in value or not (value.isascii() or value.encode(errors="ignore").decode() == value):
        raise UnstorableError(path, value, "must be text without NUL and half characters (lone surrogates)")
    return value
