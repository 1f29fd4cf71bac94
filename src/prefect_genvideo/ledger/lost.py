"""Creates whose answers were lost: asking the provider for their tasks, and keeping what it says for a person.

Only a task that the provider ties to this very create is taken up. Whatever else is found is evidence; no machine frees
a key by it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
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


CLOCKS_APART = timedelta(hours=26)
"""What the clocks of a store, a provider and this machine may differ by: where one is wrong, by a time zone."""
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


@dataclass(frozen=True)
class Others:
    """Records of which one may have a task that was found by a mark: marks are few, and two claims may share one.

    They are read after the provider was asked: what is created in between has a record by now.

    Attributes:
        holders: Provider, key and task of records that have one.
        open: Provider, key and claim of creates whose tasks are not known for certain.
        whole: Whether every record could be read.
    """

    holders: frozenset[tuple[str, str, str]]
    open: frozenset[tuple[str, str, str]]
    whole: bool

    @classmethod
    async def read(cls, ledger: Ledger, records: Iterable[LedgerRecord]) -> Others:
        """Read what was written since the first of these records was made.

        Args:
            ledger: Whose records.
            records: Of lost creates.

        Raises:
            DestinationError: The store cannot be listed.
        """
        holders, creates, whole = set[tuple[str, str, str]](), set[tuple[str, str, str]](), True
        async for one in every_record(ledger, min(record.created_at for record in records) - CLOCKS_APART):
            if not isinstance(one, Entry):
                whole = False
                continue
            if one.record.task_id is not None:
                holders.add((one.record.provider, one.record.key, one.record.task_id))
            if one.record.state in ("intent", "unknown"):
                creates.add((one.record.provider, one.record.key, one.record.claim))
        return cls(frozenset(holders), frozenset(creates), whole)

    def doubt(self, client: VideoClient, record: LedgerRecord, found: FoundCreate) -> str:
        """Return why the task that was found may be another record's; empty where it is not.

        Args:
            client: Knows the marks.
            record: Of the lost create.
            found: The task.
        """
        if not self.whole:
            return "a record that cannot be read may have it"
        request = VideoRequest(model=record.model)
        mark = client.marked(request, record.claim)
        has_it = {key for provider, key, task in self.holders if provider == record.provider and task in found.task_ids}
        alike = {
            key
            for provider, key, claim in self.open
            if provider == record.provider and client.marked(request, claim) == mark
        }
        if others := has_it - {record.key}:
            return f"key {min(others)!r} has it"
        if others := alike - {record.key}:
            return f"the create of key {min(others)!r}, whose task is not known, bears the same mark"
        return ""


async def take_up(
    client: VideoClient, ledger: Ledger, held: Entry, lost: LostCreate, say: Callable[[str], None]
) -> Entry:
    """Ask the provider for the task of a lost create, and keep what it says; see `keep`.

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
    others = await Others.read(ledger, [held.record]) if found.is_by_mark else None
    return await keep(client, ledger, held, lost, found, say, others)


async def keep(
    client: VideoClient,
    ledger: Ledger,
    held: Entry,
    lost: LostCreate,
    found: FoundCreate,
    say: Callable[[str], None],
    others: Others | None = None,
) -> Entry:
    """Keep what the provider says of a lost create: a task that it names is taken up, else its evidence stands.

    Args:
        client: The account's.
        ledger: Where the create is recorded.
        held: Its record, in the state `unknown`.
        lost: What is known of it.
        found: What the provider says.
        say: Takes messages for people.
        others: Other records, read after the provider was asked; wanted for what was found by a mark.

    Returns:
        The record as it is now: `submitted` with the task, or `unknown` with the evidence.

    Raises:
        DestinationError: The store failed.
    """
    if found.is_by_mark:
        doubt = others.doubt(client, held.record, found) if others is not None else "the ledger was not read"
        if doubt:
            found = replace(found, outcome="ambiguous", evidence=f"{found.evidence}; {doubt}")
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


def told_of(record: LedgerRecord) -> str:
    """Return what is known of a lost create, as sentences for an error; empty where nothing is."""
    facts = record.money
    said = [f"The provider's id of the call: {record.request_id}."] if record.request_id else []
    if facts is not None and facts.evidence:
        said.append(f"The provider shows: {facts.evidence}")
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
