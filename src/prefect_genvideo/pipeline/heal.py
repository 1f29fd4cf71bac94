"""Lost creates, looked for once more: by the id of their call, or by elimination where nothing else uses the key.

The log is read first and the ledger then: what another run creates in between would else look like nobody's.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from prefect_genvideo.errors import GenVideoError
from prefect_genvideo.ledger.listing import every_record
from prefect_genvideo.ledger.lost import lost_create, take_up
from prefect_genvideo.ledger.record import LedgerRecord
from prefect_genvideo.ledger.store import Entry
from prefect_genvideo.pipeline.money import request_of
from prefect_genvideo.pipeline.pipeline import Pipeline
from prefect_genvideo.providers.money import AccountLog, NotTold

# Seconds by which the clock of another machine may be off; ours and the provider's are measured against each other.
_OTHER_CLOCK, _OWN_CLOCK = 120.0, 5.0


@dataclass
class _Known:
    """What the ledger knows of an account's creates.

    Attributes:
        request_ids: Of creates whose answers came.
        task_ids: Of their tasks.
        lost: Creates without a task, by model: lost ones, and those that are under way.
        complete: Whether every record could be read.
    """

    request_ids: set[str] = field(default_factory=set[str])
    task_ids: set[str] = field(default_factory=set[str])
    lost: Counter[str] = field(default_factory=Counter[str])
    complete: bool = True


async def heal(pipeline: Pipeline, lost: Sequence[Entry], log: AccountLog | NotTold) -> list[Entry]:
    """Look for the tasks of lost creates. What is certain is taken up; else the evidence stands in the record.

    Args:
        pipeline: Account and destination.
        lost: Records in the state `unknown`.
        log: The account's log, read after these records and before all others.

    Returns:
        The records as they are now, in the same order.
    """
    if isinstance(log, AccountLog):
        known = await _known(pipeline)
        return [await _one(pipeline, entry, log, known) for entry in lost]
    pipeline.say(f"{pipeline.client.title} does not tell the account's log ({log.reason}).")
    return [await _one(pipeline, entry, None, _Known(complete=False)) for entry in lost]


async def _one(pipeline: Pipeline, entry: Entry, log: AccountLog | None, known: _Known) -> Entry:
    record = entry.record
    create = lost_create(
        record,
        request_of(record),
        log=log,
        clock_doubt=_OWN_CLOCK if _is_ours(record) else _OTHER_CLOCK,
        known_request_ids=frozenset(known.request_ids - {record.request_id}),
        known_task_ids=frozenset(known.task_ids),
        lost_alike=max(known.lost[record.model], 1),
        key_is_ours=pipeline.key_is_ours and known.complete,
    )
    try:
        return await take_up(pipeline.client, pipeline.ledger, entry, create, pipeline.say)
    except GenVideoError as error:
        pipeline.say(f"The lost create of key {record.key!r} could not be looked for: {error}")
        return entry


async def _known(pipeline: Pipeline) -> _Known:
    known = _Known()
    async for found in every_record(pipeline.ledger):
        if not isinstance(found, Entry):
            known.complete = False
            continue
        record = found.record
        if (record.provider, record.account) != (pipeline.client.name, pipeline.client.account):
            continue
        if record.task_id is not None:
            known.task_ids.add(record.task_id)
            known.request_ids |= {record.request_id} if record.request_id else set[str]()
        elif record.state in ("unknown", "intent"):
            known.lost[record.model] += 1
    return known


def _is_ours(record: LedgerRecord) -> bool:
    """Whether this machine's clock wrote when it was sent, or the provider's clock was measured against that one."""
    return record.clock_ahead is not None or record.holder.rpartition(":")[0] == socket.gethostname()
