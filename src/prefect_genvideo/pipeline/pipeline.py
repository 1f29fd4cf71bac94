"""The way from a request to a stored video, one step after the other, each under the video's ledger record.

Every step can be done again from wherever an earlier run stopped, and only `create` spends money. `make` walks them.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from prefect_genvideo.errors import (
    GenerationFailedError,
    GenVideoError,
    InvalidRequestError,
    NoVideoError,
    TaskLostError,
    UnknownOutcomeError,
    counted,
)
from prefect_genvideo.ledger.account import AccountThrottle
from prefect_genvideo.ledger.budget import BudgetGuard
from prefect_genvideo.ledger.create import CreatePolicy, Creator, Submission
from prefect_genvideo.ledger.record import LedgerRecord, LedgerState, bucket_of, generation_of, key_of_task, shown
from prefect_genvideo.ledger.store import Entry, Ledger, LedgerConflictError
from prefect_genvideo.models import Generation, Problem, StoredVideo, VideoRequest
from prefect_genvideo.pipeline.assets import ReferenceAssets
from prefect_genvideo.pipeline.hooks import NO_LABELS, Announce, Labels, RunIds, Say, TellLineage, silent
from prefect_genvideo.pipeline.lineage import tell_video
from prefect_genvideo.pipeline.money import cost_after_end, outcome_of
from prefect_genvideo.pipeline.names import object_key_of
from prefect_genvideo.pipeline.pictures import Pictures
from prefect_genvideo.pipeline.play import PlayLinks
from prefect_genvideo.pipeline.provenance import is_unchanged, marks_of
from prefect_genvideo.pipeline.save import SaveJob, save_generation
from prefect_genvideo.pipeline.wait import Waiter, Watch, learn, schedule_of
from prefect_genvideo.polling import Sleep
from prefect_genvideo.prices.facts import MoneyFacts

if TYPE_CHECKING:
    from prefect_genvideo.providers.base import VideoClient


@dataclass(frozen=True)
class Pipeline:
    """One account, one destination, and the steps from a request to a stored video between them.

    Attributes:
        client: The provider's client; whoever made it closes it.
        ledger: The records beside the videos; its store takes the videos too.
        key_template: Object key of a video below the store's prefix, see `names`.
        policy: How patiently creates are tried.
        throttle: Shared by all who send for the account in one run; None: this pipeline stands alone.
        budget: Caps on what this run and the day may cost.
        poll_interval: Fixed seconds between questions; None is the learned schedule.
        timeout: Seconds a generation may take once it has started; None is without end.
        allow_local: Whether assets may be files of this machine.
        key_is_ours: Whether nothing but this ledger uses the API key; lost creates may then be found by elimination.
        saves: Whether what is waited for is saved at once, so that both are recorded in one write.
        covers: Whether each video gets a cover picture beside it.
        labels: What its records carry for bills.
        say: Takes messages for people.
        announce: Told of everything that automations may want to react to.
        lineage: Told of every video, film and report with what it was made from; None: nobody wants to know.
        links: How links to the videos are made.
        pictures: Covers of what was saved just now.
        run_ids: Says which flow and task run the work is done for.
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
    allow_local: bool = True
    key_is_ours: bool = False
    saves: bool = False
    covers: bool = True
    labels: Labels = NO_LABELS
    say: Say = silent
    announce: Announce = silent
    lineage: TellLineage | None = None
    links: PlayLinks = field(default_factory=PlayLinks)
    pictures: Pictures = field(default_factory=Pictures)
    run_ids: Callable[[], RunIds] = RunIds
    sleep: Sleep = anyio.sleep
    clock: Callable[[], float] = time.monotonic

    def paid_for(self, record: LedgerRecord) -> bool:
        """Whether a record is of this provider and account."""
        return (record.provider, record.account) == (self.client.name, self.client.account)

    async def check(self, request: VideoRequest, references: ReferenceAssets | None = None) -> None:
        """Raise `InvalidRequestError` with every documented rule that the request breaks.

        Args:
            request: What is wanted.
            references: Its files, where it has some.
        """
        in_thread = anyio.to_thread.run_sync(self.problems, request, references) if request.assets() else None
        problems = await in_thread if in_thread else self.problems(request)
        if problems:
            broken = counted(len(problems), "rule is", "rules are")
            raise InvalidRequestError(
                f"{self.client.title} would refuse this request, {broken} broken; nothing was sent.",
                problems=problems,
                provider=self.client.name,
            )

    def problems(self, request: VideoRequest, references: ReferenceAssets | None = None) -> list[Problem]:
        """Every documented rule that the request breaks, and every asset that cannot be used.

        Args:
            request: What is wanted.
            references: Its files, where it has some.
        """
        unusable = list(references.problems) if references else []
        named = {problem.field for problem in unusable}
        broken = self.client.validate(request, references.media if references else None)
        return unusable + [problem for problem in broken if problem.field not in named]

    def fingerprint(self, request: VideoRequest, identities: Mapping[str, str]) -> str:
        """SHA-256 (hex) of what is wanted of this provider, defaults of the model filled in.

        Args:
            request: What is wanted.
            identities: What stands for each asset, by field; see `ReferenceAssets`.
        """
        known = dict(identities)
        for name, asset in request.assets().items():
            link = self.client.link_identity(asset)
            if link is not None and not known.get(name, "").startswith("sha256:"):
                known[name] = link
        wanted = self.client.effective(request).fingerprint(known)
        return hashlib.sha256(f"{self.client.name}:{wanted}".encode()).hexdigest()

    def draft(self, idempotency_key: str, request: VideoRequest, identities: Mapping[str, str]) -> LedgerRecord:
        """The intent to record before the create of `request`.

        Args:
            idempotency_key: One key stands for one paid video.
            request: What is wanted, as the caller gave it.
            identities: What stands for each asset, by field; see `ReferenceAssets`.
        """
        full, runs = self.client.effective(request), self.run_ids()
        return LedgerRecord(
            key=idempotency_key,
            provider=self.client.name,
            model=full.model,
            account=self.client.account,
            fingerprint=self.fingerprint(request, identities),
            request=shown(full.model_dump(mode="json", exclude_defaults=True)),
            seconds=self.client.longest(request),
            resolution=full.resolution,
            posts=1,
            money=MoneyFacts.expecting(self.client.estimate(request)),
            flow_run_id=runs.flow_run,
            task_run_id=runs.task_run,
            flow_name=runs.flow_name,
            **self.labels._asdict(),
        )

    # Create: the only step that spends money.

    async def find(self, draft: LedgerRecord) -> Submission | None:
        """The task that this key has already, so that nothing needs to be uploaded or sent; raises as `create`."""
        held = await self.ledger.read(draft.key)
        if held is None or held.record.state == "rejected":
            return None
        found = await self._creator().resume(held, draft)
        return self._told(found) if found is not None else None

    async def create(self, request: VideoRequest, draft: LedgerRecord, *, looked: bool = False) -> Submission:
        """The one task of the key: recorded or new.

        Args:
            request: What to send; its assets are such that the provider can fetch them.
            draft: The intent to write.
            looked: The key is free as far as is known; saves a look.

        Raises:
            GenVideoError: See `Creator.submit`.
        """
        await self.check(request)
        for warning in self.client.warnings(request):
            self.say(f"{self.client.title} may refuse this request: {warning}")
        try:
            submission = await self._creator().submit(request, draft, looked=looked)
        except UnknownOutcomeError as error:
            self.announce("generation.unknown", draft.model_copy(update={"state": "unknown", "reason": error.reason}))
            raise
        return self._told(submission)

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

    def _told(self, submission: Submission) -> Submission:
        record = submission.entry.record
        if not submission.reused:
            self.announce("generation.submitted", record)
        else:
            when = f" of {record.submitted_at:%Y-%m-%d %H:%M} UTC" if record.submitted_at else ""
            # A key that was changed since then still sees the account's tasks; another account's does not.
            other = "" if record.account == self.client.account else ", which another account or API key has paid for,"
            self.say(f"Nothing is paid: task {record.task_id}{when} with key {record.key!r}{other} is used again.")
        return submission

    async def entry(self, generation: Generation) -> Entry:
        """The ledger's record of a task. A task that was created elsewhere gets one now, as paid and submitted.

        Args:
            generation: Provider and task id; the idempotency key where it was created under one.

        Raises:
            DestinationError: The ledger cannot be read or written.
        """
        if generation.idempotency_key is not None:
            held = self.ledger.sent(generation.idempotency_key) or await self.ledger.read(generation.idempotency_key)
            if held is not None and held.record.is_of(generation):
                return held
        return await self.ledger.register(
            LedgerRecord(
                key=key_of_task(generation.provider, generation.task_id),
                provider=generation.provider,
                model=str(generation.raw.get("model") or "unknown"),
                account=self.client.account,
                fingerprint="",
                task_id=generation.task_id,
                submitted_at=generation.created_at,
                flow_run_id=self.run_ids().flow_run,
            )
        )

    # Wait: costs nothing and may be done again.

    async def wait(self, entry: Entry, watch: Watch | None = None) -> Generation:
        """Wait until the provider has ended the task, and record how it ended; raises as `follow`.

        Args:
            entry: The task's record.
            watch: Sees every answer.
        """
        generation = await self.follow(entry, watch)
        if generation.video_url is not None and not self.saves:
            await self._to_be_saved(entry, generation)
        return generation

    async def follow(self, entry: Entry, watch: Watch | None = None) -> Generation:
        """Wait until the provider has ended the task, and leave it to the save to record a success.

        Args:
            entry: The task's record.
            watch: Sees every answer.

        Returns:
            The succeeded generation; without a link when its video is saved already.

        Raises:
            NoVideoError: It is reported as done and no link came. The record stays; reconciling goes on asking.
            GenerationFailedError: It ended without a video. The record is `failed`.
            GenerationTimeoutError: The deadline passed. The record stays, a later run resumes.
            TaskLostError: The provider does not know the id. The record stays, a person decides.
        """
        record = entry.record
        if await self.kept(entry) is not None:
            return generation_of(record)
        age = (datetime.now(timezone.utc) - record.submitted_at).total_seconds() if record.submitted_at else -1.0
        history = await self.ledger.durations.of(bucket_of(record))
        schedule = schedule_of(self.client, history, self.poll_interval, record.task_id or "")
        waiter = Waiter(self.client, schedule, timeout=self.timeout, clock=self.clock, sleep=self.sleep, watch=watch)
        try:
            # None where another machine's clock has dated it into the future.
            generation = await waiter.wait(record.task_id or "", age=age if age >= 0 else None)
        except NoVideoError as error:
            # "Not seen yet" is never recorded as the end: the video is paid for, and its link may come late.
            since = record.no_video_since or datetime.now(timezone.utc)
            await self._record(entry, None, reason=error.reason, no_video_since=since)
            raise
        except GenerationFailedError as error:
            await self.fail(entry, error.reason, moderation=error.moderation)
            raise
        except TaskLostError as error:
            await self._record(entry, None, reason=f"the provider does not know the task: {error.reason or error}")
            raise
        await learn(self.ledger.durations, record, generation, seen_until_end=waiter.saw_unfinished)
        return generation.model_copy(update={"idempotency_key": record.key})

    async def _to_be_saved(self, entry: Entry, generation: Generation) -> None:
        """Record, and tell automations, that the provider has a video which is not saved in the same step."""
        outcome = outcome_of(generation)
        await self._record(entry, "succeeded", **outcome)
        self.announce("generation.succeeded", entry.record.model_copy(update={"state": "succeeded", **outcome}))

    async def fail(
        self, entry: Entry, reason: str | None, *, moderation: bool = False, generation: Generation | None = None
    ) -> None:
        """Record that the provider has ended the task without a video, and tell automations.

        Args:
            entry: The task's record.
            reason: Why, in the provider's words.
            moderation: Whether it was for what the video shows or would show.
            generation: The provider's last word, where it is at hand.
        """
        facts = {"reason": reason, "moderation": moderation, "finished_at": datetime.now(timezone.utc)}
        facts |= await cost_after_end(self.client, entry.record, generation)
        failed = await self._record(entry, "failed", **facts)
        if failed is not None:
            self.announce("generation.failed", failed.record)

    # Save: the video becomes visible when it has been proved.

    async def kept(self, entry: Entry) -> StoredVideo | None:
        """The saved video of a record, if the store still has it as it was proved; no provider is asked."""
        stored = entry.record.stored
        if stored is None:
            return None
        store = self.ledger.store
        there = await store.head(store.relative_key(stored.key))
        marks = marks_of(stored.provider, stored.task_id)
        same = there is not None and await is_unchanged(store, there, stored, marks)
        return stored.model_copy(update={"reused": True}) if same else None

    async def save(self, entry: Entry, generation: Generation) -> StoredVideo:
        """Stream the video into the store, prove it, write its manifest, and record where it is.

        Args:
            entry: The task's record.
            generation: The succeeded generation.

        Raises:
            DownloadError: It did not come whole. The record is `succeeded`, a later run saves it.
            DestinationError: The store refused or failed.
        """
        kept = await self.kept(entry)
        if kept is not None:
            return kept
        record, store = entry.record, self.ledger.store
        job = SaveJob(
            generation=generation,
            key=record.video_key or object_key_of(self.key_template, record, generation),
            model=record.model,
            request=record.request,
            idempotency_key=record.key,
            flow_run=record.flow_run_id,
            # Just paid for by us, and this is the first try: there is no earlier save to look for.
            fresh=self.ledger.forget(record.key) is not None,
            covered=self.covers,
        )
        began = datetime.now(timezone.utc)
        self.announce("video.saving", record)
        # One write for both facts: until it is made, `submitted` already leads a later run to the same video.
        outcome = outcome_of(generation) if record.state == "submitted" else {}
        place = store.tagged(Labels(record.tags, record.cost_center).pairs())
        try:
            stored = await save_generation(
                self.client, place, job, fetch_cover=self.client.fetch_picture, pictures=self.pictures, sleep=self.sleep
            )
        except GenVideoError:
            if outcome:
                await self._to_be_saved(entry, generation)
            raise
        outcome |= await cost_after_end(self.client, record, generation, stored.duration)
        saved = await self._record(entry, "saved", stored=stored, video_key=store.relative_key(stored.key), **outcome)
        if saved is not None:
            self.announce("video.saved", saved.record)
            await tell_video(self, saved.record)
        verb = "Verified" if stored.saved_at and stored.saved_at < began else "Saved"
        self.say(f"{verb} {stored.uri} ({stored.size:,} bytes, sha256 {stored.sha256[:12]}…).")
        return stored

    async def _record(self, entry: Entry, state: LedgerState | None, **facts: Any) -> Entry | None:
        """Move the record; one that another run has moved further already is left as it is."""
        try:
            return await self.ledger.move(entry, state or entry.record.state, **facts)
        except LedgerConflictError:
            return await self.ledger.read(entry.record.key)
