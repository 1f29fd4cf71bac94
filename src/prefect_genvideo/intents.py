"""What becomes of an intent whose holder has not come back."""

from __future__ import annotations

from datetime import datetime, timezone

from prefect_genvideo.ledger import Entry, Ledger, LedgerConflictError
from prefect_genvideo.records import holder_is_gone

_LEFT = "the run that sent it ended before its answer was recorded"


async def settle_intent(ledger: Ledger, entry: Entry, stale_after: float) -> Entry:
    """Settle an intent that was left behind: free where its last create is proven to have made nothing, else unknown.

    Args:
        ledger: Where it is recorded.
        entry: The intent.
        stale_after: Seconds without a sign of life from which its holder counts as gone; at once where it is known.

    Returns:
        The record as it is now. Still an intent: its holder is at work. Anything else: it has come back meanwhile.

    Raises:
        DestinationError: The store failed.
    """
    record = entry.record
    age = (datetime.now(timezone.utc) - record.updated_at).total_seconds()
    if age <= stale_after and not holder_is_gone(record):
        return entry
    try:
        if not record.refused:
            return await ledger.move(entry, "unknown", reason=_LEFT)
        # Exactly this record: a holder that has come back may be sending by now.
        freed = await ledger.move(entry, "rejected", exact=True, refused=False)
    except LedgerConflictError:
        return await ledger.read(record.key) or entry
    await ledger.unspend(freed.record)
    return freed
