"""Go through what crashes, deadlines and lost links left behind: fetch what is ready, report the rest."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timezone

import anyio
from pydantic import BaseModel

from prefect_genvideo.errors import GenVideoError, TaskLostError
from prefect_genvideo.ledger.create import settle_intent
from prefect_genvideo.ledger.record import LedgerRecord
from prefect_genvideo.ledger.store import Entry
from prefect_genvideo.models import NO_REASON
from prefect_genvideo.pipeline.pipeline import Pipeline


class ReconciledRow(BaseModel):
    """What became of one unfinished record.

    Attributes:
        outcome: `saved` (fetched now), `failed` (the provider ended it), `waiting` (still on its way), `unknown` (a
            person decides), `rejected` (nothing was made, the key is free), `other` (of another provider or account),
            `trouble` (could not be told or saved).
        age: Seconds since the record was made.
        detail: Why, or what to do.
    """

    key: str
    provider: str
    model: str
    task_id: str | None = None
    outcome: str
    detail: str = ""
    uri: str | None = None
    age: float = 0.0


@dataclass
class Reconciled:
    """All rows of one reconciliation, in key order."""

    rows: list[ReconciledRow] = field(default_factory=list[ReconciledRow])

    @property
    def counts(self) -> dict[str, int]:
        """How many rows ended in each outcome."""
        return dict(Counter(row.outcome for row in self.rows))


async def reconcile(pipeline: Pipeline, *, at_once: int = 8) -> Reconciled:
    """Bring every unfinished record of this provider and account as far as it can go now.

    Args:
        pipeline: Account and destination.
        at_once: Records worked on at the same time.

    Returns:
        One row for every unfinished record in the ledger, those of others included.

    Raises:
        DestinationError: The ledger cannot be listed.
    """
    report, limiter = Reconciled(), anyio.CapacityLimiter(at_once)

    async def one(found: Entry | GenVideoError) -> None:
        async with limiter:
            report.rows.append(await _one(pipeline, found))

    broken: GenVideoError | None = None
    async with anyio.create_task_group() as group:
        try:
            async for found in pipeline.ledger.entries(unfinished_only=True):
                group.start_soon(one, found)
        except GenVideoError as error:  # raised inside, the group would wrap it
            broken = error
    if broken is not None:
        raise broken
    report.rows.sort(key=lambda row: row.key)
    return report


async def _one(pipeline: Pipeline, found: Entry | GenVideoError) -> ReconciledRow:
    if isinstance(found, GenVideoError):
        return ReconciledRow(key="?", provider="?", model="?", outcome="trouble", detail=str(found))
    record = found.record
    if record.provider != pipeline.client.name or record.account != pipeline.client.account:
        return _row(record, "other", f"made with another account ({record.provider} {record.account})")
    if record.state == "unknown":
        return _row(record, "unknown", f"{record.reason}; genvideo ledger adopt KEY TASK_ID, or release KEY")
    try:
        return await (_settle_intent if record.state == "intent" else _fetch)(pipeline, found)
    except GenVideoError as error:
        return _row(record, "trouble", str(error))


async def _settle_intent(pipeline: Pipeline, entry: Entry) -> ReconciledRow:
    settled = (await settle_intent(pipeline.ledger, entry, pipeline.policy.stale_after)).record
    if settled.state == "rejected":
        return _row(settled, "rejected", f"nothing was made, the key is free: {settled.reason}")
    if settled.state != "unknown":
        return _row(settled, "waiting", "a run is sending it right now")
    pipeline.announce("generation.unknown", settled)
    return _row(settled, "unknown", f"{settled.reason}; genvideo ledger adopt KEY TASK_ID, or release KEY")


async def _fetch(pipeline: Pipeline, entry: Entry) -> ReconciledRow:
    record = entry.record
    try:
        now = await pipeline.client.get(record.task_id or "")
    except TaskLostError as error:
        return _row(record, "unknown", f"the provider does not know the task: {error.reason or error}")
    if not now.is_terminal:
        return _row(record, "waiting", f"{now.state}{f', {now.progress} %' if now.progress is not None else ''}")
    if now.state == "failed":
        return await _record_failure(pipeline, entry, now.reason or NO_REASON)
    stored = await pipeline.finish(now, entry)
    return _row(record, "saved", f"{stored.size:,} bytes").model_copy(update={"uri": stored.uri})


async def _record_failure(pipeline: Pipeline, entry: Entry, reason: str) -> ReconciledRow:
    moved = await pipeline.ledger.move(entry, "failed", reason=reason, finished_at=datetime.now(timezone.utc))
    pipeline.announce("generation.failed", moved.record)
    return _row(entry.record, "failed", reason)


def _row(record: LedgerRecord, outcome: str, detail: str) -> ReconciledRow:
    return ReconciledRow(
        key=record.key,
        provider=record.provider,
        model=record.model,
        task_id=record.task_id,
        outcome=outcome,
        detail=detail,
        age=(datetime.now(timezone.utc) - record.created_at).total_seconds(),
    )
