"""Where a bill comes from, and what it is held against: an account's log or a file, and the records of a ledger."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from pathlib import Path

import anyio.to_thread

from prefect_genvideo.errors import DestinationError, counted
from prefect_genvideo.finance.bill import Bill, charges_of, make_bill
from prefect_genvideo.finance.bill_file import read_bill_file
from prefect_genvideo.ledger.listing import every_record
from prefect_genvideo.ledger.record import LedgerRecord, key_of_task
from prefect_genvideo.ledger.store import Ledger
from prefect_genvideo.pipeline.money import log_once, quota_per_unit
from prefect_genvideo.pipeline.pipeline import Pipeline
from prefect_genvideo.providers.money import NotTold


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
    return [record for record in records if (record.account, _aside(record)) not in keys]


def _aside(record: LedgerRecord) -> str:
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
