"""Looks for lost creates: by the task or call that an answer named, by elimination where the key is ours.

The log is read first and the ledger then: what another run creates in between would else look like nobody's.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from functools import partial

from prefect_genvideo.errors import GenVideoError, redact
from prefect_genvideo.ledger.listing import every_record, unfinished
from prefect_genvideo.ledger.lost import CLOCKS_APART, Others, keep, lost_create
from prefect_genvideo.ledger.record import LedgerRecord
from prefect_genvideo.ledger.store import Entry
from prefect_genvideo.pipeline.money import request_of
from prefect_genvideo.pipeline.pipeline import Pipeline
from prefect_genvideo.providers.lost import FoundCreate, LostCreate, Span
from prefect_genvideo.providers.money import AccountLog, NotTold

# Seconds by which the clock of another machine may be off; ours and the provider's are measured against each other.
_OTHER_CLOCK, _OWN_CLOCK = 120.0, 5.0


@dataclass
class _Known:
    """What the ledger knows of an account's creates.

    Attributes:
        request_ids: Of creates whose answers came.
        task_ids: Of their tasks.
        open: Creates whose charge cannot be told by an id: lost ones, those under way, and tasks adopted by hand.
        complete: Whether every record that was wanted could be read.
        whole: Whether all were wanted, not those of the log's time alone.
    """

    request_ids: set[str] = field(default_factory=set[str])
    task_ids: set[str] = field(default_factory=set[str])
    open: list[LedgerRecord] = field(default_factory=list[LedgerRecord])
    complete: bool = True
    whole: bool = True


async def find_lost_creates(pipeline: Pipeline, lost: Sequence[Entry], log: AccountLog | NotTold) -> list[Entry]:
    """Look for the tasks of lost creates. What is certain is taken up; else the evidence stands in the record.

    Args:
        pipeline: Account and destination.
        lost: Records in the state `unknown`.
        log: The account's log, read after these records and before all others.

    Returns:
        The records as they are now, in the same order.
    """
    lost = await _by_answers(pipeline, lost)
    if isinstance(log, AccountLog):
        known = await _known(pipeline, log)
        if not known.whole and await _some_by_elimination(pipeline, lost, log, known):
            known = await _known(pipeline)  # nothing is taken up by elimination that any record might claim
        look = _Look(pipeline, log, known)
    else:
        pipeline.say(f"{pipeline.client.title} does not tell the account's log ({log.reason}).")
        look = _Look(pipeline, None, _Known(complete=False))
    # All are asked for before the ledger is read for what was found: once, and not once for each.
    asked = [await _one(pipeline, entry, look.ask) if entry.record.state == "unknown" else entry for entry in lost]
    await look.read_others()
    return [await _one(pipeline, entry, look.keep) for entry in asked]


async def _by_answers(pipeline: Pipeline, lost: Sequence[Entry]) -> list[Entry]:
    """Take up tasks that answers named before they broke off.

    An id that is read out of a broken answer may be anything. It is the create's task where the provider knows it under
    this key as made in the create's own time, and no other record has it.
    """
    named = {entry.record.key: entry for entry in lost if await _is_known(pipeline, entry.record)}
    if named:
        try:
            holders = Counter[str | None]()
            async for found in every_record(pipeline.ledger):
                if not isinstance(found, Entry):  # whatever it is, it may have any of them
                    return list(lost)
                holders[found.record.task_id] += pipeline.paid_for(found.record)
        except GenVideoError:
            return list(lost)
        named = {key: entry for key, entry in named.items() if holders[entry.record.task_id] == 1}
    return [
        await _one(pipeline, entry, partial(_submitted, pipeline)) if entry.record.key in named else entry
        for entry in lost
    ]


async def _is_known(pipeline: Pipeline, record: LedgerRecord) -> bool:
    """Whether the provider knows the task that a broken answer named, as made in the create's time."""
    if record.task_id is None:
        return False
    try:
        task = await pipeline.client.get(record.task_id)
    except GenVideoError:  # it knows no such task, or cannot be asked now
        return False
    now = datetime.now(timezone.utc)
    ahead = (task.answered_at - now).total_seconds() if task.answered_at is not None else None
    span = lost_create(record, clock_doubt=_doubt(record)).span(now, ahead)
    return task.created_at is not None and span.holds(task.created_at)


async def _submitted(pipeline: Pipeline, entry: Entry) -> Entry:
    record = entry.record
    pipeline.say(f"{pipeline.client.title} knows task {record.task_id}, which the lost answer to {record.key!r} named.")
    sent_at = lost_create(record).sent_at
    return await pipeline.ledger.move(entry, "submitted", submitted_at=sent_at, reason=None)


async def _some_by_elimination(pipeline: Pipeline, lost: Sequence[Entry], log: AccountLog, known: _Known) -> bool:
    """Whether a create would be taken up that is not certain by its id alone."""
    for entry in lost:
        try:
            found = await pipeline.client.find_created(_create(pipeline, entry.record, log, known))
        except Exception:  # noqa: S112 - it is told of when it is looked for in earnest
            continue
        if found.outcome == "found" and found.certainty != "exact":
            return True
    return False


class _Look:
    """Asks the provider for lost creates, then keeps what it says of each."""

    def __init__(self, pipeline: Pipeline, log: AccountLog | None, known: _Known) -> None:
        self._pipeline, self._log, self._known = pipeline, log, known
        self._found: dict[str, tuple[LostCreate, FoundCreate]] = {}
        self._by_mark: list[LedgerRecord] = []
        self._others: Others | None = None

    async def ask(self, entry: Entry) -> Entry:
        """Ask for one; what is said is remembered."""
        create = _create(self._pipeline, entry.record, self._log, self._known)
        found = await self._pipeline.client.find_created(create)
        self._found[entry.record.key] = create, found
        if found.is_by_mark:
            self._by_mark.append(entry.record)
        return entry

    async def read_others(self) -> None:
        """Read the records that what was found by marks is held against."""
        if not self._by_mark:
            return
        try:
            self._others = await Others.read(self._pipeline.ledger, self._by_mark)
        except GenVideoError as error:  # without them nothing is taken up by its mark
            self._pipeline.say(f"The ledger could not be read for what it knows of other creates: {error}")

    async def keep(self, entry: Entry) -> Entry:
        """Keep what was said of one."""
        if entry.record.key not in self._found:
            return entry
        pipeline, (create, found) = self._pipeline, self._found[entry.record.key]
        return await keep(pipeline.client, pipeline.ledger, entry, create, found, pipeline.say, self._others)


async def _one(pipeline: Pipeline, entry: Entry, look: Callable[[Entry], Awaitable[Entry]]) -> Entry:
    try:
        return await look(entry)
    except Exception as error:  # whatever it is: the record stays as it is, a person decides, and the others go on
        told = str(error) if isinstance(error, GenVideoError) else redact(f"{type(error).__name__}: {error}")
        pipeline.say(f"The lost create of key {entry.record.key!r} could not be looked for: {told}")
        return entry


def _create(pipeline: Pipeline, record: LedgerRecord, log: AccountLog | None, known: _Known) -> LostCreate:
    """What is known of a lost create, and of those that it could be taken for."""
    create = lost_create(
        record,
        request_of(record),
        log=log,
        clock_doubt=_doubt(record),
        known_request_ids=frozenset(known.request_ids - {record.request_id}),
        known_task_ids=frozenset(known.task_ids),
        key_is_ours=pipeline.key_is_ours and known.complete,
    )
    if log is None:
        return create
    rivals = tuple(_span(other, log) for other in known.open if other.model == record.model and other.key != record.key)
    mine = create.span(log.read_at, log.clock_ahead)
    return replace(create, rivals=rivals, lost_alike=1 + sum(map(mine.meets, rivals)))


async def _known(pipeline: Pipeline, log: AccountLog | None = None) -> _Known:
    """What the ledger knows of other creates: all of it, or what may concern a log.

    A log holds a thousand rows, a ledger any number of records. Those that have ended before its oldest row was written
    are not read: whatever was created since was recorded since.
    """
    since = None
    if log is not None and log.oldest is not None:
        since = log.oldest - timedelta(seconds=log.clock_ahead or 0.0) - CLOCKS_APART
    known, seen = _Known(whole=since is None), set[str]()
    try:
        for records in (unfinished(pipeline.ledger), every_record(pipeline.ledger, since)):
            async for found in records:
                if not isinstance(found, Entry):
                    known.complete = False
                elif found.record.key not in seen:
                    seen.add(found.record.key)
                    _add(known, pipeline, found.record)
    except GenVideoError as error:  # what is exact by its id needs no other record
        pipeline.say(f"The ledger could not be read for what it knows of other creates: {error}")
        return _Known(complete=False)
    return known


def _add(known: _Known, pipeline: Pipeline, record: LedgerRecord) -> None:
    if not pipeline.paid_for(record):
        return
    if record.task_id is not None:
        known.task_ids.add(record.task_id)
    if record.request_id is not None and record.task_id is not None:
        known.request_ids.add(record.request_id)
    elif record.task_id is not None or record.state in ("unknown", "intent"):
        known.open.append(record)


def _span(record: LedgerRecord, log: AccountLog) -> Span:
    """When a create without a task may have reached the provider; one that is under way, from when it was sent.

    Its record was last written before that, or says when it was.
    """
    if record.state == "intent":
        sent_at = record.sent_at or record.updated_at
        record = record.model_copy(update={"sent_at": sent_at, "gave_up_at": log.read_at})
    return lost_create(record, clock_doubt=_doubt(record)).span(log.read_at, log.clock_ahead)


def _doubt(record: LedgerRecord) -> float:
    """Seconds by which its times may be off: few where our own clock wrote them, or the provider's was measured."""
    ours = record.clock_ahead is not None or record.holder.rpartition(":")[0] == socket.gethostname()
    return _OWN_CLOCK if ours else _OTHER_CLOCK
