"""Empty objects beside the records that answer two questions by a listing: what is unfinished, what a day has cost."""

from __future__ import annotations

from collections.abc import Callable

from prefect_genvideo.errors import DestinationError
from prefect_genvideo.ledger.record import LedgerRecord, Spent, file_name
from prefect_genvideo.storage.base import ObjectStore

FOLDER = "_ledger"
"""Folder of the ledger below the store's prefix."""
OPEN = f"{FOLDER}/_open"
"""Markers of unfinished records, one a key."""
_DAYS = f"{FOLDER}/_days"


class Markers:
    """Writes and reads the markers of one ledger.

    Args:
        store: Where the ledger is.
        on_trouble: Called with a message when a marker could not be removed, which costs nothing but a look.
    """

    def __init__(self, store: ObjectStore, on_trouble: Callable[[str], None]) -> None:
        self._store = store
        self._on_trouble = on_trouble

    async def open(self, idempotency_key: str) -> None:
        """Mark a record as unfinished; raises `DestinationError`."""
        await self._store.put(f"{OPEN}/{file_name(idempotency_key)}", b"", content_type="application/json")

    async def close(self, idempotency_key: str) -> None:
        """Take the mark off a finished record. A marker too many costs one read while reconciling, no more."""
        try:
            await self._store.delete(f"{OPEN}/{file_name(idempotency_key)}")
        except DestinationError as error:
            self._on_trouble(f"Ledger marker of {idempotency_key!r} stays: {error}")

    async def count(self, record: LedgerRecord) -> None:
        """Count a create for its day and account; raises `DestinationError`."""
        await self._store.put(_day_marker(record), b"", content_type="application/json")

    async def uncount(self, record: LedgerRecord) -> None:
        """Take a create that made nothing out of its day's count. Best effort: a count too high is the safe side."""
        try:
            await self._store.delete(_day_marker(record))
        except DestinationError as error:
            self._on_trouble(f"A refused create still counts for its day: {error}")

    async def spent(self, day: str, account: str) -> Spent:
        """What was sent on a day for an account, as far as this store knows.

        Args:
            day: UTC day, `2026-11-22`.
            account: Fingerprint of the account.
        """
        total = Spent(0, 0.0)
        async for info in self._store.list(f"{_DAYS}/{day}/{account}/"):
            seconds = info.key.rpartition("~")[2].removesuffix("s")
            total += Spent(1, float(seconds) if seconds.replace(".", "", 1).isdigit() else 0.0)
        return total


def _day_marker(record: LedgerRecord) -> str:
    # What budgets need is in the name, so that one listing counts a thousand creates.
    name = file_name(record.key).removesuffix(".json")
    return f"{_DAYS}/{record.created_at:%Y-%m-%d}/{record.account}/{name}~{record.seconds or 0:g}s"
