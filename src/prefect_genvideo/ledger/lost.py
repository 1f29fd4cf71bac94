"""Creates whose answers were lost: asking the provider for their tasks, and keeping what it says for a person.

Only a task that the provider ties to this very create is taken up. Whatever else is found is evidence; no machine frees
a key by it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from prefect_genvideo.errors import redact
from prefect_genvideo.ledger.listing import every_record
from prefect_genvideo.ledger.record import LedgerRecord, holder_is_gone
from prefect_genvideo.ledger.store import Entry, Ledger, LedgerConflictError
from prefect_genvideo.models import VideoRequest
from prefect_genvideo.prices.facts import MoneyFacts, Posting
from prefect_genvideo.providers.lost import FoundCreate, LostCreate

if TYPE_CHECKING:
    from prefect_genvideo.providers.base import VideoClient


# Clocks of a store and of this machine differ by seconds or, where one is wrong, by a time zone.
_SLACK = timedelta(hours=26)
# Why an intent without an answer became `unknown`.
_LEFT = "the run that sent it ended before its answer was recorded"


async def settle_intent(ledger: Ledger, entry: Entry, stale_after: float, *, watched: float = 0.0) -> Entry:
    """Settle an intent that was left behind: free where its last create is proven to have made nothing, else unknown.

    Args:
        ledger: Where it is recorded.
        entry: The intent.
        stale_after: Seconds without a sign of life from which its holder counts as gone; at once where it is known.
        watched: Seconds for which the caller has seen the very same record; no clock can be wrong about these.

    Returns:
        The record as it is now. Still an intent: its holder is at work. Anything else: it has come back meanwhile.

    Raises:
        DestinationError: The store failed.
    """
    record = entry.record
    gone = watched > stale_after or holder_is_gone(record)
    if not gone and await ledger.quiet_for(record, stale_after) <= stale_after:
        return entry
    try:
        if not record.refused:
            # It was sent after the last sign of life, or not at all.
            sent_at = record.sent_at or record.updated_at
            return await ledger.move(
                entry, "unknown", reason=_LEFT, sent_at=sent_at, gave_up_at=datetime.now(timezone.utc)
            )
        # Exactly this record: a holder that has come back may be sending by now.
        return await ledger.move(entry, "rejected", exact=True, unpaid=True, refused=False)
    except LedgerConflictError:
        return await ledger.read(record.key) or entry


def lost_create(record: LedgerRecord, request: VideoRequest | None = None, **known: Any) -> LostCreate:
    """Return what a record knows of its lost create.

    Args:
        record: In the state `unknown`.
        request: What was sent; what the record has of it by default.
        **known: Further attributes of `LostCreate`.
    """
    return LostCreate(
        request=request or VideoRequest(model=record.model),
        sent_at=record.sent_at or record.created_at,
        gave_up_at=record.gave_up_at or record.updated_at,
        claim=record.claim,
        request_id=record.request_id,
        clock_ahead=record.clock_ahead,
        **known,
    )


async def take_up(
    client: VideoClient, ledger: Ledger, held: Entry, lost: LostCreate, say: Callable[[str], None]
) -> Entry:
    """Ask the provider for the task of a lost create. One that it names is taken up; else its evidence is kept.

    Args:
        client: The account's.
        ledger: Where the create is recorded.
        held: Its record, in the state `unknown`.
        lost: What is known of it.
        say: Takes messages for people.

    Returns:
        The record as it is now: `submitted` with the task, or `unknown` with the evidence.

    Raises:
        GenVideoError: The provider could not be asked, or the store failed.
    """
    found = await client.find_created(lost)
    if found.outcome == "found" and found.certainty == "by mark":
        found = await _held_against(ledger, client, held.record, found)
    if found.outcome == "found" and len(found.task_ids) == 1:
        task_id = found.task_ids[0]
        say(f"{client.title} names task {task_id} for the lost create of key {held.record.key!r}: {found.evidence}")
        return await ledger.move(
            held,
            "submitted",
            task_id=task_id,
            submitted_at=lost.sent_at,
            reason=None,
            request_id=held.record.request_id or found.request_id,
            money=_booked(held.record, found),
        )
    if not found.evidence:
        return held
    return await ledger.move(held, "unknown", money=_booked(held.record, found))


async def _held_against(ledger: Ledger, client: VideoClient, record: LedgerRecord, found: FoundCreate) -> FoundCreate:
    """What was found by a mark, unless the task may be another record's: marks are few, and two claims may share one.

    Read after the provider was asked: what is created in between has a record by now.
    """
    model = VideoRequest(model=record.model)
    mark, doubt = client.marked(model, record.claim), ""
    async for one in every_record(ledger, record.created_at - _SLACK):
        if not isinstance(one, Entry):
            doubt = "a record that cannot be read may have it"
        elif one.record.key == record.key or one.record.provider != record.provider:
            continue
        elif one.record.task_id in found.task_ids:
            doubt = f"key {one.record.key!r} has it"
        elif one.record.state in ("intent", "unknown") and client.marked(model, one.record.claim) == mark:
            doubt = f"the create of key {one.record.key!r}, whose task is not known, bears the same mark"
    return replace(found, outcome="ambiguous", evidence=f"{found.evidence}; {doubt}") if doubt else found


def told_of(record: LedgerRecord) -> str:
    """Return what is known of a lost create, as sentences for an error; empty where nothing is."""
    facts = record.money
    said = [f"The provider's id of the call: {record.request_id}."] if record.request_id else []
    if facts is not None and facts.evidence:
        said.append(f"What it shows: {facts.evidence}")
    return "".join(f"{sentence} " for sentence in said)


def _booked(record: LedgerRecord, found: FoundCreate) -> MoneyFacts:
    facts = record.money or MoneyFacts()
    update: dict[str, Any] = {
        "evidence": redact(found.evidence, 2000) or None,
        "candidates": found.rows,
        "read_at": datetime.now(timezone.utc),
        "reads": facts.reads + 1,
    }
    if found.quota is not None:
        update["charge"] = Posting(quota=found.quota, identity=found.request_id)
    return facts.model_copy(update=update)
