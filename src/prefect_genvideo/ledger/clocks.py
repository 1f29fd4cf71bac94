"""How old a record is, where the clocks of who wrote it, of the store and of this machine need not agree."""

from __future__ import annotations

from datetime import datetime, timezone

from prefect_genvideo.ledger.record import LedgerRecord
from prefect_genvideo.storage.base import ObjectStore


async def quiet_for(store: ObjectStore, path: str, record: LedgerRecord, believed: float) -> float:
    """Seconds since a record was written; below 0 where it was written "in the future" and the store has no clock.

    By clocks that differ, a write may lie in the future, or seem long ago when it was just made. So where ours does not
    say "a moment ago", the store is asked, which has dated the write and its answer by one clock, its own.

    Args:
        store: Where the record is.
        path: Its object key.
        record: As it was read.
        believed: Seconds up to which our own clock will do: to take a record for younger than it is costs a wait only.

    Raises:
        DestinationError: The store failed.
    """
    age = -_ahead(record)
    by_store = None if 0 <= age <= believed else await store.age(path)
    return age if by_store is None else by_store


def dated_ahead(record: LedgerRecord) -> str:
    """What to tell of a record from the future, as the end of a sentence; empty where it is from the past."""
    ahead = _ahead(record)
    return f"; its record is dated {ahead:,.0f} s ahead of this machine's clock: check both clocks" if ahead > 1 else ""


def _ahead(record: LedgerRecord) -> float:
    return (record.updated_at - datetime.now(timezone.utc)).total_seconds()
