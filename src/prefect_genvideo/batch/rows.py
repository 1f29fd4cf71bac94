"""Checks the rows of a batch: fills in defaults, gathers all problems, bounds growth and time."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from typing import Any, Final, cast

from pydantic import ValidationError

from prefect_genvideo.batch._fields import Facts, Fault, Place, Row, faults_of, read_facts
from prefect_genvideo.batch._values import Copy, UnstorableError
from prefect_genvideo.batch.formats import RawRow, Table
from prefect_genvideo.batch.model import (
    REQUEST_FIELDS,
    ROW_FIELDS,
    Alternative,
    Manifest,
    ManifestLimits,
    ManifestRow,
    RowProblem,
    closest_name,
    problem,
    unusable,
)
from prefect_genvideo.errors import counted, printable
from prefect_genvideo.models import Problem

# In English, whatever the machine's locale.
_WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
# Fields of the request that templates may use; those that are templates themselves are none.
_SCOPE_FIELDS: Final = ("model", "provider", "duration", "aspect_ratio", "resolution", "timeout", "tags")
# Fields that are looked at one by one: looking for what a misspelt one means takes time.
_MAX_FIELDS: Final = 100


def read_rows(name: str, table: Table, *, today: date, limits: ManifestLimits) -> Manifest:
    """Return the rows of a table, checked.

    Args:
        name: Name of the batch.
        table: The rows and their defaults.
        today: Day of the templates' `today`.
        limits: How much all of it may become, and how long that may take.

    Raises:
        InvalidRequestError: It expands to too much, or takes too long.
    """
    return _Reader(name, table, today, limits).read()


class _Reader:
    """What is known while the rows of one table are read."""

    def __init__(self, name: str, table: Table, today: date, limits: ManifestLimits) -> None:
        self._table = table
        self._today = today
        self._limits = limits
        self._manifest = Manifest(name, [], [], table.numbering)
        self._keys: dict[str, int] = {}
        self._told = set[Problem]()
        self._unlisted = 0
        self._expanded = 0
        faults = list[Fault]()
        self._defaults, self._default_size = self._fields(table.defaults, faults)
        for fault in faults:
            self._report(0, None, fault.problem)

    def read(self) -> Manifest:
        deadline = time.monotonic() + self._limits.seconds
        for position, raw in enumerate(self._table.rows, 1):
            if time.monotonic() > deadline:
                raise unusable(self._manifest.name, f"takes longer than {self._limits.seconds:g} s to check; split it")
            self._row(raw, position)
        return replace(self._manifest, unlisted=self._unlisted)

    def _row(self, raw: RawRow, position: int) -> None:
        faults = [Fault(found) for found in raw.problems]
        own, size = self._fields(raw.fields, faults)
        row, key = None, None
        if own or not raw.problems:  # else nothing could be read of it; what is missing needs no mention
            fields = _merged(self._defaults, own)
            self._expand((size + self._default_size) * (1 + _alternatives(fields)))
            row, key = self._checked(fields, raw.number, position, faults)
        for fault in faults:
            self._tell(fault, raw.number, key, own)
        if row and not faults:
            self._expand(len(row.request.prompt))
            self._manifest.rows.append(row)

    def _tell(self, fault: Fault, number: int, key: str | None, own: Mapping[str, Any]) -> None:
        """Report a fault of a row; what it has from the defaults alone is told of them."""
        name = re.split(r"[.\[]", fault.problem.field)[0]
        if name in self._defaults and name not in own and not fault.of_row:
            self._report(0, None, fault.problem)
        else:
            named = own.get("key")
            self._report(number, key or (printable(named)[:80] if isinstance(named, str) else None), fault.problem)

    def _checked(
        self, fields: Mapping[str, Any], number: int, position: int, faults: list[Fault]
    ) -> tuple[ManifestRow | None, str | None]:
        """The row, or None when anything of it is broken; and its key as far as known."""
        facts = read_facts(fields, faults)
        wanted = {name: fields[name] for name in REQUEST_FIELDS if name in fields}
        place = Place(number, self._table.numbering, wanted, self._scope(fields, facts, position), self._keys)
        given = {name: fields[name] for name in ("provider", "key", "fallback") if name in fields}
        try:
            row = Row.model_validate({**wanted, **given}, context=place)
        except ValidationError as error:
            faults += faults_of(error, place.changes)
            return None, place.key
        fallback = tuple(Alternative(other.on, other.request(), other.provider) for other in row.fallback)
        made = ManifestRow(number, row.key, row.request(), row.provider, facts.due, fallback, facts.tags, facts.vars)
        return made, place.key

    def _scope(self, fields: Mapping[str, Any], facts: Facts, position: int) -> dict[str, Any]:
        """The variables of a row's templates; the row's own go before those of the same name."""
        day = facts.due.date() if facts.due else self._today
        known = {name: fields[name] for name in _SCOPE_FIELDS if name in fields}
        due = {"due": facts.due} if facts.due else {}
        computed = {"row": position, "today": self._today, "date": day, "weekday": _WEEKDAYS[day.weekday()]}
        return {**computed, **known, **due, "vars": facts.vars, **facts.vars}

    def _fields(self, given: Any, faults: list[Fault]) -> tuple[dict[str, Any], int]:
        """The known fields that are set, as plain data, and their size; None is not set."""
        if not isinstance(given, Mapping):
            faults.append(Fault(problem("(row)", type(given).__name__, "must be an object of fields")))
            return {}, 0
        known = cast("Mapping[Any, Any]", given)
        if len(known) > _MAX_FIELDS:
            faults.append(
                Fault(problem("(row)", counted(len(known), "field"), f"must have at most {_MAX_FIELDS} fields"))
            )
            return {}, 0
        found: dict[str, Any] = {}
        total = 0
        for name, value in known.items():
            if name not in ROW_FIELDS:
                meant = closest_name(name, ROW_FIELDS) if isinstance(name, str) else None
                hint = f"did you mean {meant}?" if meant else "variables of your own go under `vars`"
                faults.append(Fault(problem(str(name), value, f"is no field of a row; {hint}")))
                continue
            if value is None:
                continue
            try:
                copy = Copy(name, value)
            except UnstorableError as error:
                faults.append(Fault(error.problem))
                continue
            found[name] = copy.value
            total += copy.weight
        return found, total

    def _expand(self, size: int) -> None:
        self._expanded += size
        if self._expanded > self._limits.max_expanded:
            raise unusable(self._manifest.name, "becomes too large with its defaults and templates; split it")

    def _report(self, number: int, key: str | None, fault: Problem) -> None:
        if number == 0:
            if fault in self._told:
                return
            self._told.add(fault)
        if len(self._manifest.problems) < self._limits.max_problems:
            self._manifest.problems.append(RowProblem(number, key, fault))
        else:
            self._unlisted += 1


def _merged(defaults: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The row's fields over the defaults; `vars` and `options` name by name."""
    merged = {**defaults, **own}
    for name in ("vars", "options"):
        sides = defaults.get(name), own.get(name)
        if all(isinstance(side, dict) for side in sides):
            merged[name] = {**cast("dict[str, Any]", sides[0]), **cast("dict[str, Any]", sides[1])}
    return merged


def _alternatives(fields: Mapping[str, Any]) -> int:
    """How often a row stands for another request, as far as that can be told before it is checked."""
    fallback = fields.get("fallback")
    return min(len(cast("list[Any]", fallback)), 99) if isinstance(fallback, list) else 1
