"""The steps of one video under its ledger record: prepare, create, wait, save. No Prefect inside.

Tasks and flows wrap these; a batch calls them directly, one task run a video.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import anyio
import anyio.to_thread

from prefect_genvideo.errors import (
    GenerationFailedError,
    GenVideoError,
    InvalidRequestError,
    TaskLostError,
    TransientError,
    UnknownOutcomeError,
)
from prefect_genvideo.ledger.account import AccountThrottle
from prefect_genvideo.ledger.budget import BudgetGuard
from prefect_genvideo.ledger.create import CreatePolicy, Creator, Submission
from prefect_genvideo.ledger.record import LedgerRecord, shown
from prefect_genvideo.ledger.store import Entry, Ledger, LedgerConflictError, Sleep
from prefect_genvideo.models import Generation, Problem, StoredVideo, VideoRequest
from prefect_genvideo.pipeline.assets import Staged
from prefect_genvideo.pipeline.names import render_key
from prefect_genvideo.pipeline.wait import FixedInterval, NextGap, Waiter, Watch
from prefect_genvideo.polling import Backoff, History, Schedule, history_key

if TYPE_CHECKING:
    from prefect_genvideo.providers.base import VideoClient

T = TypeVar("T")
Say = Callable[[str], None]
Event = Literal[
    "generation.submitted", "generation.succeeded", "generation.failed", "generation.unknown", "video.saved"
]
Announce = Callable[[Event, LedgerRecord], None]
Progress = Callable[[int, int | None], Awaitable[None]]


def _silent(*told: object) -> None:
    del told


@dataclass(frozen=True)
class Pipeline:
    """Everything the steps need: one account, one destination, and how patient to be.

    Attributes:
        client: The provider's client; whoever made it closes it.
        ledger: The records beside the videos; its store takes the videos too.
        key_template: Where a video goes below the store's prefix.
        policy: How patiently creates are tried.
        throttle: Shared by all who send for the account in one run; None: this one stands alone.
        budget: Caps on what this run and the day may cost.
        poll_interval: Fixed seconds between questions; None is the learned schedule.
        timeout: Seconds a generation may take once it has started.
        say: Takes messages for people.
        announce: Told of everything that automations may want to react to.
        sleep: Seam for tests.
        clock: Monotonic clock of the waits, a seam for tests.
    """

    client: VideoClient
    ledger: Ledger
    key_template: str
    policy: CreatePolicy = field(default_factory=CreatePolicy)
    throttle: AccountThrottle | None = None
    budget: BudgetGuard | None = None
    poll_interval: float | None = None
    timeout: float | None = 3600
    say: Say = _silent
    announce: Announce = _silent
    sleep: Sleep = anyio.sleep
    clock: Callable[[], float] = time.monotonic

    async def check(self, request: VideoRequest, staged: Staged | None = None) -> None:
        """Raise `InvalidRequestError` with every documented rule that the request breaks."""
        if request.assets():  # files among them take their time
            problems = await anyio.to_thread.run_sync(self.problems, request, staged)
        else:
            problems = self.problems(request)
        if problems:
            self._refuse(problems)

    def problems(self, request: VideoRequest, staged: Staged | None = None) -> list[Problem]:
        """Every documented rule that the request breaks, and every asset that cannot be used."""
        unusable = list(staged.problems) if staged else []
        named = {problem.field for problem in unusable}
        broken = self.client.validate(request, staged.media if staged else None)
        return unusable + [problem for problem in broken if problem.field not in named]

    def _refuse(self, problems: Sequence[Problem]) -> None:
        broken = "a rule is" if len(problems) == 1 else f"{len(problems)} rules are"
        raise InvalidRequestError(
            f"{self.client.title} would refuse this request, {broken} broken; nothing was sent.",
            problems=problems,
            provider=self.client.name,
        )

    def fingerprint(self, request: VideoRequest, identities: Mapping[str, str]) -> str:
        """SHA-256 of what is wanted of this provider, defaults of the model filled in."""
        known = dict(identities)
        for name, asset in request.assets().items():
            link = self.client.link_identity(asset)
            if link is not None and not known.get(name, "").startswith("sha256:"):
                known[name] = link
        wanted = self.client.effective(request).fingerprint(known)
        return hashlib.sha256(f"{self.client.name}:{wanted}".encode()).hexdigest()

    def draft(self, key: str, request: VideoRequest, identities: Mapping[str, str], **facts: Any) -> LedgerRecord:
        """The intent to record before the create of `request` under `key`."""
        full = self.client.effective(request)
        return LedgerRecord(
            key=key,
            provider=self.client.name,
            model=full.model,
            account=self.client.account,
            fingerprint=self.fingerprint(request, identities),
            request=shown(full.model_dump(mode="json", exclude_defaults=True)),
            seconds=full.duration,
            resolution=full.resolution,
            posts=1,
            **facts,
        )

    async def find(self, draft: LedgerRecord) -> Submission | None:
        """The task that this key has already, so that nothing needs to be uploaded or sent; raises as `create`."""
        held = await self.ledger.read(draft.key)
        if held is None or held.record.state == "rejected":
            return None
        return await self._creator().resume(held, draft)

    async def create(self, request: VideoRequest, draft: LedgerRecord, *, looked: bool = False) -> Submission:
        """The one task of the key: recorded or new. See `Creator.submit` for what it takes and raises."""
        await self.check(request)
        for warning in self.client.warnings(request):
            self.say(f"{self.client.title} may refuse this request: {warning}")
        try:
            submission = await self._creator().submit(request, draft, looked=looked)
        except UnknownOutcomeError as error:
            self.announce("generation.unknown", draft.model_copy(update={"state": "unknown", "reason": error.reason}))
            raise
        if not submission.reused:
            self.announce("generation.submitted", submission.entry.record)
        return submission

    def _creator(self) -> Creator:
        return Creator(
            self.client,
            self.ledger,
            policy=self.policy,
            throttle=self.throttle,
            budget=self.budget,
            say=self.say,
            sleep=self.sleep,
        )

    async def wait(self, task_id: str, entry: Entry | None = None, watch: Watch | None = None) -> Generation:
        """Wait until the provider has ended the task, and record how it ended; raises as `follow`."""
        generation = await self.follow(task_id, entry, watch)
        if generation.video_url is not None:
            await self._record(entry, "succeeded", **_outcome(generation))
        return generation

    async def follow(self, task_id: str, entry: Entry | None = None, watch: Watch | None = None) -> Generation:
        """Wait until the provider has ended the task. Success is recorded by whoever called: `wait`, or the save.

        Returns:
            The succeeded generation; without a link when its video is saved already.

        Raises:
            GenerationFailedError: It ended without a video. The record is `failed`.
            GenerationTimeoutError: The deadline passed. The record stays, a later run resumes.
            TaskLostError: The provider does not know the id. The record stays, a person decides.
        """
        if entry is not None and await self.kept(entry) is not None:
            return _ended(entry.record)
        began = entry.record.submitted_at if entry else None
        age = (datetime.now(timezone.utc) - began).total_seconds() if began else 0.0
        schedule = await self._schedule(task_id, entry)
        waiter = Waiter(self.client, schedule, timeout=self.timeout, clock=self.clock, sleep=self.sleep, watch=watch)
        try:
            generation = await waiter.wait(task_id, age=age if age > 2 * self.client.poll_floor else 0.0)
        except GenerationFailedError as error:
            failed = await self._record(entry, "failed", reason=error.reason, finished_at=datetime.now(timezone.utc))
            self._tell("generation.failed", failed)
            raise
        except TaskLostError as error:
            await self._record(entry, None, reason=f"the provider does not know the task: {error.reason or error}")
            raise
        await self._succeeded(generation, entry, seen_until_end=waiter.saw_unfinished)
        return generation.model_copy(update={"idempotency_key": entry.record.key if entry else None})

    async def kept(self, entry: Entry | None) -> StoredVideo | None:
        """The saved video of a record, if the store still has it as it was proved; no provider is asked."""
        stored = entry.record.stored if entry else None
        if stored is None:
            return None
        store = self.ledger.store
        there = await store.head(store.relative_key(stored.key))
        same = there is not None and there.size == stored.size and (stored.etag in (None, there.etag))
        return stored.model_copy(update={"reused": True}) if same else None

    async def _succeeded(self, generation: Generation, entry: Entry | None, *, seen_until_end: bool = False) -> None:
        if entry is not None:
            await self._learn(generation, entry, seen_until_end)
            self.announce(
                "generation.succeeded",
                entry.record.model_copy(update={"state": "succeeded", **_outcome(generation)}),
            )

    async def finish(self, generation: Generation, entry: Entry) -> StoredVideo:
        """Record and save a generation that was found succeeded without having been waited for."""
        if entry.record.state == "submitted":
            await self._succeeded(generation, entry)
        return await self.save(generation, entry, flow_run=entry.record.flow_run_id)

    def _tell(self, event: Event, entry: Entry | None) -> None:
        if entry is not None:
            self.announce(event, entry.record)

    async def _record(self, entry: Entry | None, state: Any, **facts: Any) -> Entry | None:
        """Move the record if there is one; one that another run has moved further already is left as it is."""
        if entry is None:
            return None
        try:
            return await self.ledger.move(entry, state or entry.record.state, **facts)
        except LedgerConflictError:
            return await self.ledger.read(entry.record.key)

    async def _schedule(self, task_id: str, entry: Entry | None) -> NextGap:
        if self.poll_interval is not None:
            return FixedInterval(self.poll_interval)
        history = await self.ledger.durations.of(_bucket(entry.record)) if entry else History()
        return Schedule(history, floor=self.client.poll_floor, task_id=task_id)

    async def _learn(self, generation: Generation, entry: Entry, seen_until_end: bool) -> None:
        """Add the duration to the history: by the provider's own clock, else by ours when we saw the end come."""
        if entry.record.submitted_at is None:
            return
        if generation.finished_at is not None and generation.created_at is not None:
            seconds = (generation.finished_at - generation.created_at).total_seconds()
        elif seen_until_end:
            seconds = (datetime.now(timezone.utc) - entry.record.submitted_at).total_seconds()
        else:
            return
        await self.ledger.durations.learn(_bucket(entry.record), seconds)

    async def save(
        self,
        generation: Generation,
        entry: Entry | None = None,
        *,
        request: Mapping[str, Any] | None = None,
        flow_run: str | None = None,
        progress: Progress | None = None,
        fresh: bool = False,
    ) -> StoredVideo:
        """Stream the video into the store, prove it, write its manifest, and record where it is.

        Args:
            generation: The succeeded generation.
            entry: Its record.
            request: For the manifest; the record's when not given.
            flow_run: For the manifest.
            progress: Sees the bytes.
            fresh: The generation has just been paid for by us, so no earlier save is looked for.

        Raises:
            DownloadError: It did not come whole. The record is `succeeded`, a later run saves it.
            DestinationError: The store refused or failed.
        """
        from prefect_genvideo.pipeline.save import SaveJob, save_generation

        kept = await self.kept(entry)
        if kept is not None:
            return kept
        record = entry.record if entry else None
        key = (record.video_key if record else None) or self._video_key(generation, record)
        job = SaveJob(
            generation=generation,
            key=key,
            model=record.model if record else str(generation.raw.get("model") or "unknown"),
            request=request or (record.request if record else {}),
            idempotency_key=record.key if record else generation.idempotency_key,
            flow_run=flow_run,
            fresh=fresh,
        )
        try:
            stored = await save_generation(
                self.client,
                self.ledger.store,
                job,
                progress=progress,
                fetch_cover=self.client.fetch_picture,
                sleep=self.sleep,
            )
        except GenVideoError:
            if record is not None and record.state == "submitted":
                await self._record(entry, "succeeded", **_outcome(generation))
            raise
        # One write for both facts: until it is made, `submitted` already leads a later run to the same video.
        outcome = _outcome(generation) if record is not None and record.state == "submitted" else {}
        saved = await self._record(entry, "saved", stored=stored, video_key=key, **outcome)
        self._tell("video.saved", saved)
        return stored

    def _video_key(self, generation: Generation, record: LedgerRecord | None) -> str:
        """Name of the video; from facts that do not change when it is saved again later."""
        began = (record.created_at if record else None) or generation.created_at or datetime.now(timezone.utc)
        prompt = str(record.request.get("prompt", "")) if record else ""
        return render_key(
            self.key_template,
            {
                "date": began,
                "provider": generation.provider,
                "model": record.model if record else str(generation.raw.get("model") or "unknown"),
                "task_id": generation.task_id,
                "prompt": prompt,
                "idempotency_key": record.key if record else generation.idempotency_key,
                "flow_run": record.flow_run_id if record else None,
            },
        )


def _ended(record: LedgerRecord) -> Generation:
    return Generation(
        provider=record.provider,
        task_id=record.task_id or "",
        state="succeeded",
        progress=100,
        created_at=record.submitted_at,
        finished_at=record.finished_at,
        cost=record.cost,
        idempotency_key=record.key,
    )


def _outcome(generation: Generation) -> dict[str, Any]:
    """What a record says of a success."""
    return {
        "link": (generation.video_url or "").partition("?")[0],
        "finished_at": generation.finished_at or datetime.now(timezone.utc),
        "cost": generation.cost,
    }


async def patiently(call: Callable[[], Awaitable[T]], *, attempts: int = 4, sleep: Sleep = anyio.sleep) -> T:
    """Repeat a step that is safe to repeat, a few times, while it fails for reasons that pass."""
    for attempt in range(1, attempts):
        try:
            return await call()
        except TransientError as error:
            await sleep(Backoff().delay(attempt, error.retry_after))
    return await call()


def _bucket(record: LedgerRecord) -> str:
    return history_key(record.provider, record.model, record.seconds, record.resolution)
