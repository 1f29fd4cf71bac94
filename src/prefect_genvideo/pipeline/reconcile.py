"""Finishes what crashes, deadlines and lost links left behind: fetches what is ready, reports the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TypeVar

import anyio
from pydantic import BaseModel

from prefect_genvideo.errors import GenVideoError, TaskLostError, redact, shorten
from prefect_genvideo.ledger.allowances import settle_taken, sweep_allowances
from prefect_genvideo.ledger.listing import unfinished
from prefect_genvideo.ledger.lost import settle_intent, told_of
from prefect_genvideo.ledger.record import SETTLED, LedgerRecord
from prefect_genvideo.ledger.store import Entry, LedgerConflictError
from prefect_genvideo.models import NO_REASON, Generation
from prefect_genvideo.pipeline.lost_creates import find_lost_creates
from prefect_genvideo.pipeline.money import cost_after_end, cost_by_log, log_once, never_told
from prefect_genvideo.pipeline.pipeline import Pipeline
from prefect_genvideo.pipeline.wait import by_content, learn
from prefect_genvideo.prices.facts import Candidate
from prefect_genvideo.providers.money import AccountLog, NotTold

Told = TypeVar("Told")

NO_VIDEO_LIMIT = timedelta(days=7)
"""How long a task that is reported as done is asked for its link before it counts as ended without a video."""

TELL_AGAIN = timedelta(days=1)
"""How often people are told of an outcome that waits for them."""
# Characters of a prompt in a row.
_LONGEST_PROMPT = 300


class ReconciledRow(BaseModel):
    """What became of one unfinished record.

    Attributes:
        outcome: `saved` (fetched now), `failed` (the provider ended it), `waiting` (still on its way), `unknown` (a
            person decides), `rejected` (nothing was made, the key is free), `settled` (its cost is final now), `other`
            (of another provider or account), `trouble` (could not be told or saved).
        prompt: What the video shows.
        object_key: Key of a video that was saved now, relative to the store's prefix.
        age: Seconds since the record was made.
        detail: Why, or what to do.
        first: With `unknown`: nobody was told of it before.
        candidates: With `unknown`: charges or tasks that the provider shows and that may be its own.
    """

    key: str
    provider: str
    model: str
    task_id: str | None = None
    outcome: str
    detail: str = ""
    uri: str | None = None
    prompt: str = ""
    object_key: str | None = None
    age: float = 0.0
    first: bool = False
    candidates: tuple[Candidate, ...] = ()


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
    lost, owing = list[Entry](), list[Entry]()

    async def one(found: Entry | GenVideoError) -> None:
        async with limiter:
            told = found
            if isinstance(found, Entry) and pipeline.paid_for(found.record):
                if found.record.state in SETTLED:
                    return owing.append(found)
                if found.record.state == "intent":
                    told = await _apart(found.record, _left_behind(pipeline, found))
                # The provider is asked for what a crash left behind too, before a person is.
                if isinstance(told, Entry) and told.record.state == "unknown":
                    return lost.append(told)
            report.rows.append(told if isinstance(told, ReconciledRow) else await _one(pipeline, told))

    broken: GenVideoError | None = None
    async with anyio.create_task_group() as group:
        try:
            async for found in unfinished(pipeline.ledger, tidy=True):
                group.start_soon(one, found)
        except GenVideoError as error:  # raised inside, the group would wrap it
            broken = error
    if broken is not None:
        raise broken
    if lost or owing:
        log = await log_once(pipeline.client)
        # Those whose tasks the provider names are fetched, the others wait for a person.
        report.rows += [
            await _one(pipeline, entry) for entry in (await find_lost_creates(pipeline, lost, log) if lost else ())
        ]
        settled = [await _apart(entry.record, _owing(pipeline, entry, log)) for entry in owing]
        report.rows += filter(None, settled)
    report.rows.sort(key=lambda row: row.key)
    await _sweep(pipeline)
    return report


async def _sweep(pipeline: Pipeline) -> None:
    """Remove what killed processes left in the store. It costs a little storage, so no failure of it is one of ours."""
    try:
        await pipeline.ledger.reservations.sweep()
        await sweep_allowances(pipeline.ledger.store)
        removed = await pipeline.ledger.store.sweep()
    except GenVideoError as error:
        pipeline.say(f"What killed runs left in the store was not removed: {error}")
        return
    if removed:
        pipeline.say(f"Removed {removed} uploads and probes that killed runs had left in the store.")


async def _one(pipeline: Pipeline, found: Entry | GenVideoError) -> ReconciledRow:
    if isinstance(found, GenVideoError):
        return ReconciledRow(key="?", provider="?", model="?", outcome="trouble", detail=str(found))
    record = found.record
    if not pipeline.paid_for(record):
        return _row(record, "other", f"made with another account ({record.provider} {record.account})")
    if record.state == "unknown":
        return await _apart(record, _for_a_person(pipeline, found, record.reason))
    return await _apart(record, _fetch(pipeline, found))


async def _apart(record: LedgerRecord, work: Awaitable[Told]) -> Told | ReconciledRow:
    """Work on one record. Whatever it holds, the others' videos are paid for and wait."""
    try:
        return await work
    except GenVideoError as error:
        return _row(record, "trouble", str(error))
    except Exception as error:
        hint = "please report it with this record's key; the others went on"
        return _row(record, "trouble", redact(f"internal error, {type(error).__name__}: {error}; {hint}"))


async def _owing(pipeline: Pipeline, entry: Entry, log: AccountLog | NotTold) -> ReconciledRow | None:
    """Read the cost of a record that has ended again, by the log where it tells of it.

    One whose cost may still change is looked at again the next time, and not spoken of.
    """
    record = entry.record
    told = await cost_by_log(pipeline.client, record, log) if isinstance(log, AccountLog) else {}
    told = told or await cost_after_end(pipeline.client, record) or never_told(pipeline.client, record, log)
    try:
        # By one of several reconcilers alone: who writes the final cost corrects what it counts to caps.
        now = (await pipeline.ledger.move(entry, record.state, exact=True, **told)).record if told else record
    except LedgerConflictError:
        return None
    if now.money is None or not now.money.final:
        return None
    await settle_taken(pipeline.ledger, now)
    return _row(now, "settled", f"cost {now.money.spent or 'not known'}")


async def _left_behind(pipeline: Pipeline, entry: Entry) -> Entry | ReconciledRow:
    """Settle an intent; one whose fate is not known comes back as the record that it is now."""
    entry = await settle_intent(pipeline.ledger, entry, pipeline.policy.stale_after)
    settled = entry.record
    if settled.state == "rejected":
        return _row(settled, "rejected", f"nothing was made, the key is free: {settled.reason}")
    if settled.state != "unknown":
        return _row(settled, "waiting", f"a run is sending it right now{settled.dated_ahead}")
    return entry


async def _for_a_person(pipeline: Pipeline, entry: Entry, reason: str | None) -> ReconciledRow:
    """Report what a machine must not decide. An event tells of it at once and then once a day."""
    record, now = entry.record, datetime.now(timezone.utc)
    why = f"{(reason or 'nothing is known').rstrip('.')}. {told_of(record)}"
    row = _row(record, "unknown", f"{why}Decide: genvideo ledger adopt KEY TASK_ID, or release KEY")
    if record.told_at is not None and timedelta(0) <= now - record.told_at < TELL_AGAIN:
        return row
    # Written first, and by one of several reconcilers alone: who cannot write does not tell.
    await pipeline.ledger.move(entry, record.state, exact=True, told_at=now)
    pipeline.announce("generation.unknown", record)
    return row.model_copy(update={"first": record.told_at is None})


async def _fetch(pipeline: Pipeline, entry: Entry) -> ReconciledRow:
    record = entry.record
    if _asked_lately(record):
        return _row(record, "waiting", f"reported as done without a link, last asked at {record.asked_at:%H:%M} UTC")
    try:
        now = await pipeline.client.get(record.task_id or "")
    except TaskLostError as error:
        return await _for_a_person(pipeline, entry, f"the provider does not know the task: {error.reason or error}")
    if _lacks_link(now):
        now = await by_content(pipeline.client, now) or now
    if now.state == "succeeded":
        return await _saved(pipeline, entry, now)
    if now.state == "failed":
        return await _ended(pipeline, entry, now, now.reason or NO_REASON)
    if _lacks_link(now):
        return await _without_video(pipeline, entry, now)
    return _row(record, "waiting", f"{now.state}{f', {now.progress} %' if now.progress is not None else ''}")


def _lacks_link(now: Generation) -> bool:
    """Whether a task is reported as done and cannot be fetched."""
    return now.state == "running" and bool(now.reason)


async def _ended(pipeline: Pipeline, entry: Entry, now: Generation, reason: str) -> ReconciledRow:
    await pipeline.fail(entry, reason, moderation=now.moderation, generation=now)
    return _row(entry.record, "failed", reason)


async def _saved(pipeline: Pipeline, entry: Entry, now: Generation) -> ReconciledRow:
    if entry.record.state == "submitted":
        await learn(pipeline.ledger.durations, entry.record, now)
    stored = await pipeline.save(entry, now)
    return _row(entry.record, "saved", f"{stored.size:,} bytes").model_copy(
        update={"uri": stored.uri, "object_key": pipeline.ledger.store.relative_key(stored.key)}
    )


async def _without_video(pipeline: Pipeline, entry: Entry, now: Generation) -> ReconciledRow:
    """A task that is reported as done and has no link: asked again with growing gaps, given up only after days."""
    record, moment = entry.record, datetime.now(timezone.utc)
    since = record.no_video_since or moment
    # By the slower one of two clocks: a paid task is not given up because this machine's has leapt ahead.
    if min(moment, now.answered_at or moment) - since > NO_VIDEO_LIMIT:
        reason = f"ended without a video: no link came in {NO_VIDEO_LIMIT.days} days ({now.reason})"
        return await _ended(pipeline, entry, now, reason)
    await pipeline.ledger.move(entry, record.state, reason=now.reason, no_video_since=since, asked_at=moment)
    return _row(record, "waiting", f"reported as done without a link; it is asked again: {now.reason}")


def _asked_lately(record: LedgerRecord) -> bool:
    """Whether a task that is done and has no link was asked about so lately that another answer is not to be expected.

    The gap grows with the time since the provider first said so: a link that is an hour late is not a minute away.
    """
    if record.no_video_since is None or record.asked_at is None:
        return False
    gap = min((record.asked_at - record.no_video_since) / 4, NO_VIDEO_LIMIT / 4)
    # Asked "in the future", by another machine's clock, says nothing about how lately.
    return timedelta(0) <= datetime.now(timezone.utc) - record.asked_at < gap


def _row(record: LedgerRecord, outcome: str, detail: str) -> ReconciledRow:
    return ReconciledRow(
        key=record.key,
        provider=record.provider,
        model=record.model,
        task_id=record.task_id,
        outcome=outcome,
        detail=detail,
        prompt=shorten(str(record.request.get("prompt") or ""), _LONGEST_PROMPT),
        age=(datetime.now(timezone.utc) - record.created_at).total_seconds(),
        candidates=record.money.candidates if record.money is not None and outcome == "unknown" else (),
    )
