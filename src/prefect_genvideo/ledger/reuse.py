"""Opt-in reuse across runs: the same request within an age limit is the same video."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from prefect_genvideo.ledger.store import Ledger

_GONE = ("rejected", "failed")


async def content_key(ledger: Ledger, fingerprint: str, hours: float, *, now: datetime | None = None) -> str:
    """Return the key that all runs share which want this request and accept a video of at most `hours`.

    Time is cut into windows as long as the age limit. Within one, the ledger lets only one run pay. A run looks into
    the window before its own too, so that a video just older than a window's begin is found while it is young enough.

    Args:
        ledger: Where the videos are recorded.
        fingerprint: SHA-256 (hex) of the request, assets by content.
        hours: Oldest video that is accepted, counted from when it was asked for.
        now: The present moment, a seam for tests.
    """
    limit, moment = timedelta(hours=hours), now or datetime.now(timezone.utc)
    window = int(moment.timestamp() // limit.total_seconds())
    before = f"content-{fingerprint[:24]}-{hours:g}h-{window - 1}"
    held = await ledger.read(before)
    if held is not None and held.record.state not in _GONE and moment - held.record.created_at < limit:
        return before
    return f"content-{fingerprint[:24]}-{hours:g}h-{window}"
