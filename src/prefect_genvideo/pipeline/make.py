"""One video from request to store, with its fallbacks: what a batch does for each of its rows. No Prefect inside."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field

import anyio

from prefect_genvideo.errors import (
    DestinationError,
    GenVideoError,
    ModelUnavailableError,
    QuotaError,
    RejectedError,
    TransientError,
)
from prefect_genvideo.ledger.create import Submission
from prefect_genvideo.ledger.record import LedgerRecord
from prefect_genvideo.models import Generation, StoredVideo, VideoRequest
from prefect_genvideo.pipeline.assets import Staged, make_fetchable, stage
from prefect_genvideo.pipeline.pipeline import Pipeline, patiently
from prefect_genvideo.pipeline.wait import Watch
from prefect_genvideo.providers.moderation import refused_for_content

#: Kinds of failure that a row may name for its alternatives, where nothing was made. A refusal by moderation is none of
#: them, whatever its class: another provider must not be asked to make it after all.
FALLBACK_KINDS: dict[str, tuple[type[GenVideoError], ...]] = {
    "quota": (QuotaError,),
    "model_unavailable": (ModelUnavailableError,),
    "provider_down": (TransientError,),
    "rejected": (RejectedError,),
}

#: Creates under way at once for one account in a run. More would claim their keys and then queue for a connection: slow
#: ones would give up, and a crash would leave them all as unknown outcomes.
_SENDING = 50
#: Videos saved at once in a run: each holds up to three parts of a multipart upload in memory, and a thousand downloads
#: that share one line all run into their timeouts.
_SAVING = 20

Slot = Callable[[Pipeline], AbstractAsyncContextManager[object]]


@dataclass(frozen=True)
class Attempt:
    """One way to get a row's video.

    Attributes:
        pipeline: Whose account and which destination.
        request: What is asked for.
        key: Idempotency key of this way; fallbacks have their own.
        on: Kinds of failure of the way before that lead here; see `FALLBACK_KINDS`.
    """

    pipeline: Pipeline
    request: VideoRequest
    key: str
    on: frozenset[str] = frozenset()

    def follows(self, error: GenVideoError) -> bool:
        """Whether this way may be tried after that failure."""
        kinds = (kind for name in self.on for kind in FALLBACK_KINDS[name])
        return isinstance(error, tuple(kinds)) and not is_moderation(error)


def is_moderation(error: GenVideoError) -> bool:
    """Whether the provider refused for what the video shows. In doubt it did: that costs only an alternative."""
    return error.moderation or refused_for_content(f"{error.reason} {error}")


@dataclass(frozen=True)
class Made:
    """How a row ended well.

    Attributes:
        attempt: The way that made it.
        generation: The provider's task.
        video: The saved video; None when it is collected later.
        attempts: Ways tried.
    """

    attempt: Attempt
    generation: Generation
    video: StoredVideo | None
    attempts: int


@dataclass(frozen=True)
class Maker:
    """Makes rows.

    Attributes:
        slot: Held from the create to the end of the generation, e.g. a place in an account's concurrency limit.
        collect: Only submit; a reconciliation fetches the videos later.
        allow_local: Whether assets on this machine may be read.
        flow_run: Id of the flow run, for ledger and manifests.
        task_run: Gives the id of the task run that works on a row.
        free: Keys that had no record when the batch began; they are claimed without another look, which is conditional.
    """

    slot: Slot = lambda pipeline: nullcontext()
    collect: bool = False
    allow_local: bool = True
    flow_run: str | None = None
    task_run: Callable[[], str | None] = lambda: None
    free: frozenset[str] = frozenset()
    _bounds: dict[str, anyio.CapacityLimiter] = field(default_factory=dict[str, anyio.CapacityLimiter])

    async def make(
        self, attempts: Sequence[Attempt], watch: Watch | None = None, tried: list[Attempt] | None = None
    ) -> Made:
        """Make one row's video in the first way that works.

        Args:
            attempts: The ways, the wanted one first. One that has been paid for already is taken up before any other.
            watch: Sees the wait.
            tried: Every way that is tried is appended to it, so that a failure tells them too.

        Raises:
            GenVideoError: The last way's failure, or the first that leads to no other.
        """
        first = await self._paid(attempts)
        for number, attempt in enumerate(attempts[first:], start=first + 1):
            if tried is not None:
                tried.append(attempt)
            try:
                return await self._make_one(attempt, number, watch)
            except GenVideoError as error:
                following = attempts[number] if number < len(attempts) else None
                if following is None or not following.follows(error) or not await _made_nothing(attempt):
                    raise
                told = f"{attempt.request.model} failed ({error}); trying {following.request.model} instead."
                following.pipeline.say(told)
        raise AssertionError("a row has at least one way")

    async def _paid(self, attempts: Sequence[Attempt]) -> int:
        """Index of the way that has a task already, else 0. Asked first: a rerun must not pay for another one.

        Asked now: that all were free when the batch began says nothing of a run beside this one.
        """
        for index, attempt in enumerate(attempts) if len(attempts) > 1 else ():
            held = await attempt.pipeline.ledger.read(attempt.key)
            if held is not None and held.record.state != "rejected":
                return index
        return 0

    async def _make_one(self, attempt: Attempt, attempts: int, watch: Watch | None) -> Made:
        pipeline, request = attempt.pipeline, attempt.request
        async with stage(request, pipeline.ledger.store, allow_local=self.allow_local) as staged:
            draft = pipeline.draft(
                attempt.key, request, staged.identities, flow_run_id=self.flow_run, task_run_id=self.task_run()
            )
            known = await pipeline.find(draft) if attempt.key not in self.free else None
            kept = await pipeline.kept(known.entry) if known is not None else None
            if known is not None and kept is not None:
                return Made(attempt, generation_of(known), kept, attempts)
            async with self.slot(pipeline):
                submission = known or await self._send(pipeline, request, staged, draft)
                return await self._follow(attempt, submission, attempts, watch)

    async def _send(self, pipeline: Pipeline, request: VideoRequest, staged: Staged, draft: LedgerRecord) -> Submission:
        async with self._bound(pipeline.client.account, _SENDING):
            return await send(pipeline, request, staged, draft)

    def _bound(self, what: str, most: int) -> anyio.CapacityLimiter:
        return self._bounds.setdefault(what, anyio.CapacityLimiter(most))

    async def _follow(self, attempt: Attempt, submission: Submission, attempts: int, watch: Watch | None) -> Made:
        pipeline, generation = attempt.pipeline, generation_of(submission)
        if self.collect:
            return Made(attempt, generation, None, attempts)
        done = await pipeline.follow(generation.task_id, submission.entry, watch)
        async with self._bound("saving", _SAVING):
            video = await pipeline.save(done, submission.entry, flow_run=self.flow_run, fresh=not submission.reused)
        reused = video.model_copy(update={"reused": submission.reused})
        return Made(attempt, done, reused, attempts)


async def _made_nothing(attempt: Attempt) -> bool:
    """Whether the ledger says so. The class of an error does not: a key may be refused to a paid task's query, too."""
    try:
        held = await attempt.pipeline.ledger.read(attempt.key)
    except DestinationError:
        return False
    return held is None or held.record.state == "rejected"


async def send(pipeline: Pipeline, request: VideoRequest, staged: Staged, draft: LedgerRecord) -> Submission:
    """Check, upload what the provider cannot fetch, and create under the draft's key.

    Args:
        pipeline: Account and destination.
        request: As the caller gave it.
        staged: Its files.
        draft: The intent; its key has just been found free.

    Raises:
        GenVideoError: As `Pipeline.create`, and as the client's `upload`.
    """
    await pipeline.check(request, staged)

    async def upload(field: str, source: str) -> str:
        del field
        return (await patiently(lambda: pipeline.client.upload(source), sleep=pipeline.sleep)).url

    return await pipeline.create(await make_fetchable(pipeline, request, staged, upload), draft, looked=True)


def generation_of(submission: Submission) -> Generation:
    """The submitted task as plain data."""
    record = submission.entry.record
    return Generation(
        provider=record.provider,
        task_id=record.task_id or "",
        state="succeeded" if record.stored else "queued",
        created_at=record.submitted_at,
        idempotency_key=record.key,
    )
