"""Formats of a batch's file: bytes become rows of plain values, each with the number a person would give it."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal, TypeVar, cast

from prefect_genvideo.batch._encoding import decode
from prefect_genvideo.batch.model import ROW_FIELDS, ManifestLimits, Numbering, closest_name, problem, unusable
from prefect_genvideo.errors import counted, printable
from prefect_genvideo.models import Problem
from prefect_genvideo.plain_yaml import parse_yaml

T = TypeVar("T")
Format = Literal["jsonl", "json", "csv", "yaml"]

_SUFFIXES: Mapping[str, Format] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".yaml": "yaml",
    ".yml": "yaml",
}
# Columns of a CSV file: a spreadsheet's empty ones are many, and each is looked up among the fields.
_MAX_COLUMNS = 500
# How a cell is read, by its field; all others are texts.
_LISTS = frozenset({"images", "videos", "audios", "tags", "fallback"})
_OBJECTS = frozenset({"options", "vars"})
_NUMBERS = frozenset({"duration", "timeout"})
# What APIs call these fields; a table written after their documents has such columns.
_APIS_WORDS: Mapping[str, str] = {"ratio": "aspect_ratio", "seconds": "duration"}
_NUMBER = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,15})?")
# What a file without an extension begins with when it is YAML; else it is CSV.
_YAML_START = re.compile(r"(?:---|%YAML|- |-$|#|[\w\"' .-]+:(?:\s|$))")


@dataclass(frozen=True)
class RawRow:
    """A row as it was read; `fields` may still be anything."""

    number: int
    fields: Any
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class Table:
    """A file as it was read."""

    rows: Sequence[RawRow]
    numbering: Numbering = "row"
    defaults: Mapping[str, Any] = field(default_factory=dict[str, Any])


def read_table(name: str, data: bytes, limits: ManifestLimits) -> Table:
    """Return the rows of a file.

    Args:
        name: The file's name; its extension decides the format, else the content does.
        data: The whole file.
        limits: Most rows and values, and bytes of YAML.

    Raises:
        InvalidRequestError: It cannot be read as a whole. What is wrong with one row is a problem of that row.
    """
    text = decode(name, data)
    form = _SUFFIXES.get(PurePosixPath(name).suffix.lower()) or _guessed(text)
    if form == "yaml" and len(data) > limits.max_yaml_bytes:
        raise unusable(name, f"may have at most {limits.max_yaml_bytes} bytes of YAML; larger ones are better JSONL")
    try:
        if form in ("json", "jsonl"):
            # Before it is read. Texts hold these too; of a file without malice hardly every eleventh character is one.
            _bound(text.count(",") + text.count("[") + text.count("{"), limits.max_values, "values")
        return _READERS[form](text, limits)
    except (ValueError, RecursionError) as error:
        why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        label = "CSV" if form == "csv" else form.upper()
        raise unusable(name, f"cannot be read as {label}: {why}") from None


def _bound(count: int, most: int, what: str) -> None:
    """Refuse a file of more than memory should hold."""
    if count > most:
        raise ValueError(f"it holds more than the allowed {most} {what}; split it")


def _guessed(text: str) -> Format:
    lines = [line for line in text[:65_536].splitlines() if line.strip()][:2]
    first = lines[0].strip() if lines else ""
    if first.startswith("["):
        return "json"
    if first.startswith("{"):
        return "jsonl" if _is_row(first) else "json"
    return "yaml" if _YAML_START.match(first) else "csv"


def _is_row(line: str) -> bool:
    try:
        value = _json(line)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and "rows" not in value


# JSON


def _json(text: str) -> Any:
    """Strict JSON. Numbers that are none become NaN, which the check of the rows names with their field."""
    return json.loads(
        text,
        object_pairs_hook=_object,
        parse_int=lambda digits: int(digits) if len(digits) <= 40 else math.nan,
        parse_constant=lambda _: math.nan,
    )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        twice = _twice([name for name, _ in pairs])
        raise ValueError(f"the name {str(twice)[:80]!a} stands twice in one object")
    return made


def _twice(names: Sequence[T]) -> T | None:
    """The first name that occurs a second time; None where none does."""
    seen = set[T]()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def _from_jsonl(text: str, limits: ManifestLimits) -> Table:
    rows = list[RawRow]()
    for number, line in enumerate(io.StringIO(text), 1):
        if not line.strip():
            continue
        try:
            rows.append(RawRow(number, _json(line)))
        except (ValueError, RecursionError) as error:
            why = "nested too deeply" if isinstance(error, RecursionError) else str(error)
            rows.append(RawRow(number, {}, (problem("(line)", line.strip(), f"must be a JSON object: {why}"),)))
        _bound(len(rows), limits.max_rows, "rows")
    return Table(rows, "line")


def _from_document(document: Any, limits: ManifestLimits) -> Table:
    """A list of rows, or an object with `rows` and perhaps `defaults`."""
    root = cast("dict[str, Any]", document) if isinstance(document, dict) else {"rows": document}
    other = [name for name in root if name not in {"rows", "defaults"}]
    rows: Any = root.get("rows")
    defaults: Any = root.get("defaults") or {}
    if other or not isinstance(rows, list) or not isinstance(defaults, dict):
        found = f", not {', '.join(printable(name)[:40] for name in other[:5])}" if other else ""
        raise ValueError(
            f"it must be a list of rows, or have `rows` (a list) and perhaps `defaults` (an object){found}"
        )
    items = cast("list[Any]", rows)
    _bound(len(items), limits.max_rows, "rows")
    numbered = [RawRow(number, item) for number, item in enumerate(items, 1)]
    return Table(numbered, "row", cast("dict[str, Any]", defaults))


# CSV


def _from_csv(text: str, limits: ManifestLimits) -> Table:
    lines = _csv_lines(text)
    header = next(lines, None)
    if header is None or isinstance(header[1], str):
        raise ValueError(f"the header cannot be read: {header[1] if header else 'there is none'}")
    columns = _columns(header[1])
    rows, filled = list[RawRow](), 0
    for number, cells in lines:
        if isinstance(cells, str):
            limit = f"the file cannot be read from here on: {cells}"
            rows.append(RawRow(number, {}, (problem("(line)", "", limit),)))
        elif any(cell.strip() for cell in cells):
            rows.append(_csv_row(number, cells, columns))
            filled += len(cells) - cells.count("")
        _bound(filled, limits.max_values, "values")
        _bound(len(rows), limits.max_rows, "rows")
    return Table(rows, "line")


def _csv_lines(text: str) -> Iterator[tuple[int, list[str] | str]]:
    """Rows with the line each begins on; the last one is a text when the reader had to give up there."""
    first = text.lstrip()[:65_536].splitlines()[0]
    # Spreadsheets of half of Europe write semicolons. Names of columns hold none of the three.
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    while True:
        start = reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield start, str(error)
            return
        if cells is None:
            return
        if cells:
            yield start, cells


def _columns(header: list[str]) -> list[tuple[str, str]]:
    """(where it goes, name) of each column: a field of the row, or a name below `vars` or `options`."""
    if len(header) > _MAX_COLUMNS:
        raise ValueError(f"it has more than {_MAX_COLUMNS} columns")
    columns = [_column(title.strip()) for title in header]
    twice = _twice([column for column in columns if column[1]])
    if twice:
        raise ValueError(f"two columns are called {twice[1][:80]!a}")
    return columns


def _column(title: str) -> tuple[str, str]:
    plain = re.sub(r"[\s_-]+", "_", title.lower())
    if plain in ROW_FIELDS:
        return "", plain
    for where in ("vars", "options"):
        if plain.startswith(f"{where}."):
            return where, title.partition(".")[2].strip()
    meant = _APIS_WORDS.get(plain) or closest_name(plain, ROW_FIELDS, 0.8)
    if meant:
        # Taken for a variable, a misspelt column would change what is paid for without a word.
        hint = f"did you mean {meant}? A variable is called vars.{printable(title)[:80]}"
        raise ValueError(f"the column {title[:80]!a} is no field; {hint}")
    return "vars", title


def _csv_row(number: int, cells: list[str], columns: list[tuple[str, str]]) -> RawRow:
    problems = list[Problem]()
    fields: dict[str, Any] = {}
    inner: dict[str, dict[str, Any]] = {"vars": {}, "options": {}}
    if any(cell.strip() for cell in cells[len(columns) :]):
        problems.append(
            problem("(line)", counted(len(cells), "cell"), f"the header has {len(columns)}; is a quote missing?")
        )
    for (where, name), cell in zip(columns, cells, strict=False):
        text = cell.strip()
        if not text:
            continue
        if not name:
            problems.append(problem("(line)", text, "this cell's column has no name"))
        elif where:
            inner[where][name] = text if where == "vars" else _scalar(text)
        else:
            try:
                fields[name] = _typed(name, text)
            except (ValueError, RecursionError) as error:
                problems.append(problem(name, text, str(error) if type(error) is ValueError else "must be valid JSON"))
    for where, values in inner.items():
        if values:
            fields[where] = {**fields.get(where, {}), **values}
    return RawRow(number, fields, tuple(problems))


def _typed(name: str, text: str) -> Any:
    """The value of a cell by what its field takes."""
    if name in _NUMBERS:
        return _scalar(text) if _NUMBER.fullmatch(text) else text
    if name in _LISTS:
        if not text.startswith("["):
            return [part.strip() for part in text.split("|") if part.strip()]
        return _json(text)
    if name in _OBJECTS:
        value = _json(text) if text.startswith("{") else None
        if not isinstance(value, dict):
            raise ValueError("must be a JSON object")
        return cast("dict[str, Any]", value)
    return text


def _scalar(text: str) -> Any:
    """A number or truth value where the text is one, else the text."""
    if text in {"true", "false", "TRUE", "FALSE"}:
        return text.lower() == "true"
    if not _NUMBER.fullmatch(text):
        return text
    return float(text) if "." in text else int(text)


_READERS: Mapping[Format, Callable[[str, ManifestLimits], Table]] = {
    "jsonl": _from_jsonl,
    "json": lambda text, limits: _from_document(_json(text), limits),
    "csv": _from_csv,
    "yaml": lambda text, limits: _from_document(parse_yaml(text), limits),
}
