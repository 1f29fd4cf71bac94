"""Decisions of a person about a key: adopting a task that was found at the provider, or releasing the key."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from prefect_genvideo.errors import InvalidRequestError
from prefect_genvideo.ledger.record import PAID, holder_is_gone
from prefect_genvideo.ledger.store import Entry, Ledger
from prefect_genvideo.models import Problem

# Seconds for which an intent is taken to be under way at another holder.
_FRESH = 180.0


async def adopt(ledger: Ledger, key: str, task_id: str, *, force: bool = False) -> Entry:
    """Tie a task that exists at the provider to a key, so that the next run or reconcile fetches its video.

    Args:
        ledger: Where the key is recorded.
        key: The idempotency key.
        task_id: The provider's id.
        force: Also when the record has another paid task, which would be given up.

    Raises:
        InvalidRequestError: The record has another task and `force` is off.
        DestinationError: There is no such record, or it has a video already.
    """
    entry = await ledger.existing(key)
    record = entry.record
    reason = f"adopted by hand; was {record.state}"
    # A lost create was paid for when it was sent, in the month of then.
    sent_at = record.sent_at if record.state in ("intent", "unknown") else None
    submitted_at = sent_at or datetime.now(timezone.utc)
    if record.state in PAID and record.task_id != task_id:
        entry = await release(ledger, key, force=force)
        reason += f" with task {record.task_id}"
    facts: dict[str, Any] = {"task_id": task_id, "reason": reason, "moderation": False, "submitted_at": submitted_at}
    if record.task_id != task_id and record.submitted_at is not None:
        await ledger.set_aside(record)
        facts |= {"money": None, "request_id": None}  # those of the task before
    charge = record.money.charge if record.money is not None else None
    if record.state == "unknown" and record.request_id is None and charge is not None:
        facts["request_id"] = charge.identity  # the charge that was found for the lost create is this task's
    return await ledger.move(entry, "submitted", **facts)


async def release(ledger: Ledger, key: str, *, force: bool = False) -> Entry:
    """Free a key, so that the next run may create (and pay) again.

    Args:
        ledger: Where the key is recorded.
        key: The idempotency key.
        force: Also when the record has a paid task, which would be given up, or is being sent right now.

    Raises:
        InvalidRequestError: The record has a task or is being sent, and `force` is off.
        DestinationError: There is no such record, or its video is saved.
    """
    entry = await ledger.existing(key)
    record, limit = entry.record, None
    age = await ledger.quiet_for(record, _FRESH) if record.state == "intent" else 0.0
    if record.state in PAID:
        limit = f"has the paid task {record.task_id}; reconcile fetches it. Give it up with force"
    elif record.state == "intent" and age < _FRESH and not holder_is_gone(record):
        limit = f"is being sent by {record.holder} since {max(age, 0):.0f} s; look again in {_FRESH:g} s, or use force"
    if limit is not None and not force:
        problem = Problem("key", key, limit, "prefect-genvideo ledger")
        raise InvalidRequestError("The key was not released.", problems=[problem])
    if record.state == "succeeded":
        entry = await ledger.move(entry, "submitted")
    return await ledger.move(entry, "rejected", give_up=force, reason=f"released by hand; was {record.state}")
