"""Sources of a bill: charges from an account's log or a file, and the ledger's records that they are held against."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any, cast

import anyio.to_thread
from pydantic import TypeAdapter, ValidationError

from prefect_genvideo.errors import DestinationError, InvalidRequestError, counted, shown
from prefect_genvideo.finance.bill import Bill, Charge, charges_of, make_bill
from prefect_genvideo.ledger.listing import every_record
from prefect_genvideo.ledger.record import LedgerRecord, key_of_task
from prefect_genvideo.ledger.store import Ledger
from prefect_genvideo.models import Problem
from prefect_genvideo.pipeline.money import log_once, quota_per_unit
from prefect_genvideo.pipeline.pipeline import Pipeline
from prefect_genvideo.prices.amounts import Money
from prefect_genvideo.providers.money import NotTold

# A month of a large account; more is another kind of file.
_MAX_BYTES, _MAX_ROWS = 64 * 1024 * 1024, 500_000
# Problems that one error names.
_MAX_PROBLEMS = 50

NAMES: Mapping[str, tuple[str, ...]] = {
    "task_id": ("task_id", "task id", "taskid", "task", "id", "任务id"),
    "amount": ("amount", "cost", "fee", "price", "charge", "金额", "费用"),
    "currency": ("currency", "币种"),
    "at": ("time", "created_at", "at", "date", "charged_at", "时间"),
    "model": ("model", "model_name", "product", "模型"),
}
"""Names that a column may have, in any case; the first one that is there counts."""
_MOMENT = TypeAdapter(datetime)
# Commas are read where they part thousands; `1,5` is half of something or fifteen, nobody can tell.
_THOUSANDS = re.compile(r"-?[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?")


async def records_in(ledger: Ledger, since: datetime | None = None) -> tuple[list[LedgerRecord], list[str]]:
    """Return every record of a ledger, and what could not be read, in words.

    Args:
        ledger: Whose records.
        since: Only those written since then, by the store's clock.

    Raises:
        DestinationError: The store cannot be listed.
    """
    records, troubles = list[LedgerRecord](), list[str]()
    async for found in every_record(ledger, since):
        if isinstance(found, DestinationError):
            troubles.append(str(found))
        else:
            records.append(found.record)
    return _each_task_once(records), troubles


def _each_task_once(records: list[LedgerRecord]) -> list[LedgerRecord]:
    """Without what stands twice: a run may die after a given-up task's own record and before its key's next claim."""
    keys = {(record.account, record.key) for record in records}
    return [record for record in records if (record.account, _own_key(record)) not in keys]


def _own_key(record: LedgerRecord) -> str:
    """Key of the record of its own that a given-up task has beside this one; empty for this one itself."""
    over = record.task_id is not None and record.state in ("rejected", "failed")
    aside = key_of_task(record.provider, record.task_id or "") if over else ""
    return "" if aside == record.key else aside


async def account_records(pipeline: Pipeline) -> tuple[list[LedgerRecord], list[str]]:
    """Return the records of a pipeline's account, and what could not be read; raises as `records_in`."""
    records, troubles = await records_in(pipeline.ledger)
    return [record for record in records if record.account == pipeline.client.account], troubles


async def bill_of(
    pipeline: Pipeline, records: list[LedgerRecord], month: str, *, bill_file: str = "", currency: str = ""
) -> Bill:
    """Hold a month's bill against the ledger.

    Args:
        pipeline: Account and destination.
        records: Of the account, see `account_records`.
        month: e.g. `2026-11`.
        bill_file: Exported by hand; empty: the account's log.
        currency: Of rows of the file that name none.

    Raises:
        InvalidRequestError: The file cannot be read.
    """
    client = pipeline.client
    made = partial(make_bill, records, month=month, provider=client.name, account=client.account)
    if bill_file:
        charges = await anyio.to_thread.run_sync(read_bill_file, bill_file, currency)
        return made(charges, source=Path(bill_file).name)
    log = await log_once(client)
    if isinstance(log, NotTold):
        return made([], source=f"nothing: the log is not told ({log.reason})")
    charges = charges_of(log, records, await quota_per_unit(client), client.unit)
    source = f"log, of which {counted(log.unread, 'row')} cannot be read" if log.unread else "log"
    return made(charges, source=source, covers_from=log.oldest if log.truncated else None)


def read_bill_file(path: str, currency: str = "") -> list[Charge]:
    """Read a bill that was exported by hand.

    Args:
        path: CSV with a head, or a JSON list of objects; UTF-8, or GB 18030 as Chinese consoles write it.
        currency: Of rows that name none.

    Returns:
        One charge a task and currency: what several rows say of it is added up, refunds as they are signed.

    Raises:
        InvalidRequestError: It cannot be read, or rows lack a task id or an amount; all of them are named.
    """
    rows, charges, problems = _rows(path), list[Charge](), list[Problem]()
    for number, row in enumerate(rows, start=1):
        fields = {str(name).strip().lower(): value for name, value in row.items()}
        found = {field: _first(fields, names) for field, names in NAMES.items()}
        try:
            charges.append(_charge(found, currency))
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            field = str(fault["loc"][-1]) if fault["loc"] else "at"
            problems.append(Problem(f"row {number}: {field}", shown(fault["input"]), fault["msg"], path))
        except ValueError as error:
            problems.append(Problem(f"row {number}", "(not given)", str(error), path))
    if problems:
        told = f"{counted(len(problems), 'row')} of the bill cannot be read:"
        raise InvalidRequestError(told, problems=problems[:_MAX_PROBLEMS])
    return _added_up(charges)


def _added_up(charges: list[Charge]) -> list[Charge]:
    """One charge a task and currency, at the time of its first row."""
    found = dict[tuple[str | None, str], Charge]()
    for charge in charges:
        name = (charge.task_id, charge.amount.currency)
        first = found.get(name)
        found[name] = charge if first is None else replace(first, amount=first.amount + charge.amount)
    return list(found.values())


def _first(fields: Mapping[str, Any], names: Sequence[str]) -> str:
    return next((str(fields[name]).strip() for name in names if fields.get(name) not in (None, "")), "")


def _charge(found: Mapping[str, str], currency: str) -> Charge:
    if not found["task_id"]:
        raise ValueError("a task id is wanted")
    amount = found["amount"]
    amount = amount.replace(",", "") if _THOUSANDS.fullmatch(amount) else amount
    money = Money.model_validate({"amount": amount, "currency": found["currency"] or currency})
    at = _MOMENT.validate_python(found["at"]) if found["at"] else None
    if at is not None and at.tzinfo is None:
        at = at.replace(tzinfo=timezone.utc)
    return Charge(money, at, found["model"][:200], found["task_id"][:1024])


def _rows(path: str) -> list[Mapping[str, Any]]:
    try:
        with Path(path).expanduser().open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        if len(data) > _MAX_BYTES:
            raise ValueError(f"larger than {_MAX_BYTES} bytes")
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError:
            text = data.decode("gb18030")
        is_json = text.lstrip().startswith("[")  # its numbers are kept as they are written
        rows = json.loads(text, parse_float=str, parse_int=str) if is_json else list(csv.DictReader(io.StringIO(text)))
        if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in cast("list[Any]", rows)):
            raise ValueError("not a list of objects")
        found = cast("list[Mapping[str, Any]]", rows)
        if len(found) > _MAX_ROWS:
            raise ValueError(f"more than {_MAX_ROWS} rows")
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        problem = Problem("file", shown(path), f"a CSV file with a head, or a JSON list: {why}")
        raise InvalidRequestError("The bill cannot be read.", problems=[problem]) from None
    return found
