"""Checked copies of plain values: what JSON can express and every store can hold."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import PurePath
from typing import Any, Final, cast

from prefect_genvideo.batch.model import problem

# What a value weighs beside its characters: a quarter of the bytes that it and its name take in Python.
_VALUE: Final = 32
# Values of one field, and how deep they may stand in one another: no vendor takes as much.
_MAX_VALUES: Final = 10_000
_MAX_DEPTH: Final = 24
# 64 bits are what every JSON reader and store takes.
_MAX_INT: Final = 2**63


class UnstorableError(ValueError):
    """A value that no row can hold."""

    def __init__(self, path: str, value: Any, limit: str) -> None:
        super().__init__(limit)
        self.problem = problem(path, value, limit)


class Copy:
    """A copy of JSON-like data.

    Args:
        field: The row's field that it is from.
        value: Anything.

    Attributes:
        value: The copy; dates and paths have become texts, tuples lists.
        weight: Its characters, and 32 for each value.

    Raises:
        UnstorableError: It holds what JSON cannot, or what nobody can store: NaN, numbers beyond 64 bits, half
            characters; or it is very large.
    """

    def __init__(self, field: str, value: Any) -> None:
        self.weight = 0
        self._field = field
        self._left = _MAX_VALUES
        self.value = self._copied(field, value, 0)

    def _copied(self, path: str, value: Any, depth: int) -> Any:
        self._left -= 1
        if self._left < 0:
            raise UnstorableError(self._field, "(large)", f"must hold at most {_MAX_VALUES} values")
        if depth > _MAX_DEPTH:
            raise UnstorableError(path, "(nested)", f"must not be nested deeper than {_MAX_DEPTH}")
        self.weight += _VALUE
        if isinstance(value, Mapping):
            return {
                self._text(path, name): self._copied(f"{path}.{name}" if depth < 2 else path, item, depth + 1)
                for name, item in cast("Mapping[Any, Any]", value).items()
            }
        if isinstance(value, list | tuple):
            items = enumerate(cast("list[Any]", value))
            return [self._copied(f"{path}[{index}]" if depth < 2 else path, item, depth + 1) for index, item in items]
        return self._single(path, value)

    def _single(self, path: str, value: Any) -> Any:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return self._text(path, value)
        if isinstance(value, int | float):
            if not abs(value) < _MAX_INT:  # so that NaN does not pass
                raise UnstorableError(path, "(number)", "must be a finite number within 64 bits")
            return value
        if isinstance(value, date | PurePath):
            return value.isoformat() if isinstance(value, date) else str(value)
        limit = "must be text, a number, true, false, null, a list or an object"
        raise UnstorableError(path, type(value).__name__, limit)

    def _text(self, path: str, value: Any) -> str:
        if not isinstance(value, str):
            raise UnstorableError(path, value, "names must be texts")
        if "\0" in value or not (value.isascii() or value.encode(errors="ignore").decode() == value):
            raise UnstorableError(path, value, "must be text without NUL and half characters (lone surrogates)")
        self.weight += len(value)
        return value
