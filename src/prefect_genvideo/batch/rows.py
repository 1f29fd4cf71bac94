"""The rows of a batch together: defaults filled in, keys told apart, problems gathered, growth and time bounded."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from typing import Any, cast

from prefect_genvideo.batch._row import Fault, Faults, RowBuilder, plain
from prefect_genvideo.batch.formats import RawRow, Table
from prefect_genvideo.batch.model import ROW_FIELDS, Manifest, ManifestLimits, RowProblem, near
from prefect_genvideo.errors import InvalidRequestError
from prefect_genvideo.models import Problem


class Reader:
    """Turns the rows of one table into a `Manifest`.

    Args:
        name: Name of the batch.
        table: The rows.
        defaults: For rows that do not set a field; the table's own defaults go first.
        today: Day of the templates' `today`.
        limits: How much all of it may become.

    Raises:
        InvalidRequestError: The defaults cannot be used at all.
    """

    def __init__(
        self, name: str, table: Table, *, defaults: Mapping[str, Any], today: date, limits: ManifestLimits
    ) -> None:
        self._table = table
        self._today = today
        self._limits = limits
        self._manifest = Manifest(name, [], [], table.numbering)
        self._keys: dict[str, int] = {}
        self._told = set[Problem]()
        self._unlisted = 0
        self._expanded = 0
        faults = Faults()
        own, size = self._fields(table.defaults, faults)
        given, more = self._fields(defaults, faults)
        self._defaults, self._default_size = _merged(given, own), size + more
        for fault in faults:
            self._report(0, None, fault)

    def read(self) -> Manifest:
        """Return the batch.

        Raises:
            InvalidRequestError: It expands to too much, or takes too long.
        """
        deadline = time.monotonic() + self._limits.seconds
        for position, raw in enumerate(self._table.rows, 1):
            if time.monotonic() > deadline:
                raise InvalidRequestError(
                    f"Checking the manifest takes longer than {self._limits.seconds:g} s; split it."
                )
            self._row(raw, position)
        return replace(self._manifest, unlisted=self._unlisted)

    def _row(self, raw: RawRow, position: int) -> None:
        faults = Faults(raw.problems)
        own, size = self._fields(raw.fields, faults)
        if raw.problems and not own:
            row = None  # nothing could be read of it; what is missing needs no mention
        else:
            fields = _merged(self._defaults, own)
            alternatives = fields.get("fallback")
            times = 1 + (min(len(cast("list[Any]", alternatives)), 99) if isinstance(alternatives, list) else 1)
            self._expand((size + self._default_size) * times)
            row = RowBuilder(fields, position, self._today, faults).build(raw.number)
            self._expand(len(row.request.prompt) if row else 0)
        key = row.key if row else None
        if row and key is not None and self._keys.setdefault(key, raw.number) != raw.number:
            first = f"{self._table.numbering} {self._keys[key]}"
            faults.note("key", key, f"must be of one row only; {first} has it too")
        for index, fault in enumerate(faults):
            name = re.split(r"[.\[]", fault.field)[0]
            inherited = name in self._defaults and name not in own and index not in faults.rendered and name != "key"
            self._report(0 if inherited else raw.number, None if inherited else key or _shown_key(own), fault)
        if row and not faults:
            self._manifest.rows.append(row)

    def _fields(self, given: Any, faults: Faults) -> tuple[dict[str, Any], int]:
        """The known fields that are set, as plain data; None is not set."""
        if not isinstance(given, Mapping):
            faults.note("(row)", type(given).__name__, "must be an object of fields")
            return {}, 1
        found: dict[str, Any] = {}
        total = 1
        for name, value in cast("Mapping[Any, Any]", given).items():
            if name not in ROW_FIELDS:
                meant = near(name, ROW_FIELDS) if isinstance(name, str) else None
                hint = f"did you mean {meant}?" if meant else "variables of your own go under `vars`"
                faults.note(str(name), value, f"is no field of a row; {hint}")
                continue
            if value is None:
                continue
            try:
                found[name], size = plain(name, value)
            except Fault as fault:
                faults.append(fault.problem)
                continue
            total += size
        return found, total

    def _expand(self, size: int) -> None:
        self._expanded += size
        if self._expanded > self._limits.max_expanded:
            raise InvalidRequestError("The manifest becomes too large with its defaults and templates; split it.")

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


def _shown_key(own: Mapping[str, Any]) -> str | None:
    key = own.get("key")
    return key[:80] if isinstance(key, str) and key.isprintable() else None
