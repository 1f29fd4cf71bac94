"""The walk from a request to a stored video, and from one attempt at a row to its next alternative."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, nullcontext
from dataclasses import dataclass, field, replace
from typing import TypeVar

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
from prefect_genvideo.ledger.record import LedgerRecord, generation_of
from prefect_genvideo.ledger.store import Entry
from prefect_genvideo.models import Generation, StoredVideo, VideoRequest
from prefect_genvideo.pipeline.assets import ReferenceAssets, make_fetchable, reference_assets
from prefect_genvideo.pipeline.pipeline import Pipeline
from prefect_genvideo.polling import Backoff, Sleep
from prefect_genvideo.providers.moderation import refused_for_content

FALLBACK_KINDS: dict[str, tuple[type[GenVideoError], ...]] = {
    "quota": (QuotaError,),
    "model_unavailable": (ModelUnavailableError,),
    "provider_down": (TransientError,),
    "rejected": (RejectedError,),
}
"""Kinds of failure that a row may name for its alternatives, where nothing was made. A refusal by moderation is none of
them, whatever its class: another provider must not be asked to make it after all."""

# Creates under way at once for one account in a run. More would claim their keys and then queue for a connection: slow
# ones would give up, and a crash would leave them all as unknown outcomes.
_SENDING = 50
# Videos saved at once in a run: each holds up to three parts of a multipart upload in memory, and a thousand downloads
# that share one line all run into their timeouts.
_SAVING = 20

T = TypeVar("T")
Slot = Callable[[Pipeline], AbstractAsyncContextManager[object]]
KeyOf = Callable[[str], Awaitable[str]]


def _nothing() -> None:
    """For callers that need not know when a task id is there."""


@dataclass(frozen=True)
class Wanted:
    """One video that a walk is under way for.

    Attributes:
        request: What is wanted, as the caller gave it.
        references: Its files.
        draft: The ledger's intent, with the idempotency key.
    """

    request: VideoRequest
    references: ReferenceAssets
    draft: LedgerRecord


class Steps:
    """How a walk takes its steps: straight through the pipeline. Flows show each as a task run instead."""

    def slot(self, pipeline: Pipeline) -> AbstractAsyncContextManager[object]:
        """What is held from the create to the end of the generation, e.g. a place in an account's limit."""
        del pipeline
        return nullcontext()

    async def take_up(self, found: Submission) -> None:
        """Told that the key has a task already, so that nothing is sent or paid."""

    async def upload(self, pipeline: Pipeline, source: str) -> str:
        """Upload one file; returns a link that the provider can fetch.

        Args:
            pipeline: Whose provider.
            source: A path or a data URL.
        """
        return (await patiently(lambda: pipeline.client.upload(source), sleep=pipeline.sleep)).url

    async def create(self, pipeline: Pipeline, ready: VideoRequest, wanted: Wanted) -> Submission:
        """Send the create.

        Args:
            pipeline: Account and destination.
            ready: The request, every asset such that the provider can fetch it.
            wanted: The request as the caller gave it, and the draft of its record.
        """
        return await pipeline.create(ready, wanted.draft, looked=True)

    async def wait(self, pipeline: Pipeline, entry: Entry) -> Generation:
        """Wait for the provider's last word; the save that follows records a success.

        Args:
            pipeline: Account and destination.
            entry: The task's record.
        """
        return await pipeline.follow(entry)

    async def save(self, pipeline: Pipeline, entry: Entry, generation: Generation) -> StoredVideo:
        """Save the finished video.

        Args:
            pipeline: Account and destination.
            entry: The task's record.
            generation: The provider's last word.
        """
        return await pipeline.save(entry, generation)


@dataclass(frozen=True)
class BoundedSteps(Steps):
    """Steps of many walks side by side, each kind bounded.

    Attributes:
        held: What a walk holds from its create to the end of its generation.
    """

    held: Slot = lambda pipeline: nullcontext()
    _bounds: dict[str, anyio.CapacityLimiter] = field(default_factory=dict[str, anyio.CapacityLimiter])

    def slot(self, pipeline: Pipeline) -> AbstractAsyncContextManager[object]:
        """What was given as `held`."""
        return self.held(pipeline)

    async def create(self, pipeline: Pipeline, ready: VideoRequest, wanted: Wanted) -> Submission:
        """Send the create when few others of the account are being sent."""
        async with self._bounds.setdefault(pipeline.client.account, anyio.CapacityLimiter(_SENDING)):
            return await super().create(pipeline, ready, wanted)

    async def save(self, pipeline: Pipeline, entry: Entry, generation: Generation) -> StoredVideo:
        """Save the video when few others are being saved."""
        async with self._bounds.setdefault("saving", anyio.CapacityLimiter(_SAVING)):
            return await super().save(pipeline, entry, generation)


@dataclass(frozen=True)
class Made:
    """A walk that ended well.

    Attributes:
        generation: The provider's task.
        video: The saved video; None when it is collected later.
    """

    generation: Generation
    video: StoredVideo | None


async def submit(pipeline: Pipeline, request: VideoRequest, key_of: KeyOf, steps: Steps) -> Submission:
    """Take a request to its one task: check, upload what the provider cannot fetch, create.

    Args:
        pipeline: Account and destination.
        request: What is wanted.
        key_of: Gives the idempotency key for the request's fingerprint.
        steps: How each step is taken.

    Raises:
        GenVideoError: See `Creator.submit`; `InvalidRequestError` for broken rules.
    """
    async with reference_assets(request, pipeline.ledger.store, allow_local=pipeline.allow_local) as references:
        wanted = await _want(pipeline, request, references, key_of)
        return await _find(pipeline, wanted, steps) or await _send(pipeline, wanted, steps)


async def make_video(
    pipeline: Pipeline,
    request: VideoRequest,
    key_of: KeyOf,
    steps: Steps,
    *,
    free: bool = False,
    collect: bool = False,
    submitted: Callable[[], None] = _nothing,
) -> Made:
    """Take a request to its stored video. Whatever an earlier run has done of it is taken up, not done again.

    Args:
        pipeline: Account and destination.
        request: What is wanted.
        key_of: Gives the idempotency key for the request's fingerprint.
        steps: How each step is taken.
        free: The key is free as far as is known; saves a look, the claim is conditional all the same.
        collect: Only submit; a reconciliation fetches the video later.
        submitted: Called when the video has its task id.

    Raises:
        GenVideoError: As `submit`, `Pipeline.wait` and `Pipeline.save`.
    """
    async with AsyncExitStack() as files:
        opening = reference_assets(request, pipeline.ledger.store, allow_local=pipeline.allow_local)
        wanted = await _want(pipeline, request, await files.enter_async_context(opening), key_of)
        known = None if free else await _find(pipeline, wanted, steps)
        if known is not None and (kept := await pipeline.kept(known.entry)) is not None:
            return Made(generation_of(known.entry.record), kept)
        async with steps.slot(pipeline):
            submission = known or await _send(pipeline, wanted, steps)
            submitted()
            await files.aclose()  # the provider has what it needs; a wait of an hour needs no temporary files
            if submission is not known and submission.reused:
                kept = await pipeline.kept(submission.entry)
                if kept is not None:
                    return Made(generation_of(submission.entry.record), kept)
            if collect:
                return Made(generation_of(submission.entry.record), None)
            done = await steps.wait(pipeline, submission.entry)
        video = await steps.save(pipeline, submission.entry, done)
        return Made(done, video.model_copy(update={"reused": submission.reused}))


async def _want(pipeline: Pipeline, request: VideoRequest, references: ReferenceAssets, key_of: KeyOf) -> Wanted:
    idempotency_key = await key_of(pipeline.fingerprint(request, references.identities))
    return Wanted(request, references, pipeline.draft(idempotency_key, request, references.identities))


async def _find(pipeline: Pipeline, wanted: Wanted, steps: Steps) -> Submission | None:
    found = await pipeline.find(wanted.draft)
    if found is not None:
        await steps.take_up(found)
    return found


async def _send(pipeline: Pipeline, wanted: Wanted, steps: Steps) -> Submission:
    await pipeline.check(wanted.request, wanted.references)

    async def upload(source: str) -> str:
        return await steps.upload(pipeline, source)

    ready = await make_fetchable(pipeline.client, pipeline.ledger.store, wanted.request, wanted.references, upload)
    return await steps.create(pipeline, ready, wanted)


async def patiently(call: Callable[[], Awaitable[T]], *, sleep: Sleep) -> T:
    """Repeat a step that is safe to repeat, three times, while it fails for reasons that pass.

    Args:
        call: The step.
        sleep: Seam for tests.
    """
    backoff = Backoff(longest_hint=300.0)
    for attempt in range(1, 4):
        try:
            return await call()
        except TransientError as error:
            if backoff.is_beyond(error.retry_after):
                raise
            await sleep(backoff.delay(attempt, error.retry_after))
    return await call()


@dataclass(frozen=True)
class Attempt:
    """One alternative for a row's video.

    Attributes:
        pipeline: Whose account and which destination.
        request: What is asked for.
        idempotency_key: Key of this alternative; each has its own.
        on: Kinds of failure of the attempt before that lead here; see `FALLBACK_KINDS`.
        tags: The row's own; its record carries them beside those of the run.
    """

    pipeline: Pipeline
    request: VideoRequest
    idempotency_key: str
    on: frozenset[str] = frozenset()
    tags: tuple[str, ...] = ()

    @property
    def labelled(self) -> Pipeline:
        """The pipeline with the row's tags."""
        return replace(self.pipeline, labels=self.pipeline.labels.beside(self.tags)) if self.tags else self.pipeline

    async def made_nothing(self) -> bool:
        """Whether its key has no task by the ledger; raises `DestinationError`."""
        held = await self.pipeline.ledger.read(self.idempotency_key)
        return held is None or held.record.state == "rejected"

    def follows(self, error: GenVideoError) -> bool:
        """Whether this alternative may be tried after that failure."""
        kinds = (kind for name in self.on for kind in FALLBACK_KINDS[name])
        return isinstance(error, tuple(kinds)) and not is_moderation(error)


def is_moderation(error: GenVideoError) -> bool:
    """Whether the provider refused for what the video shows. In doubt it did: that costs only an alternative."""
    return error.moderation or refused_for_content(f"{error.reason} {error}")


@dataclass(frozen=True)
class RowOutcome:
    """How a row ended: with `made`, or with `error`.

    Attributes:
        tried: Attempts in their order; the last one is the one that decided.
        number: Which of the row's alternatives that was, from 1.
        made: What came of it.
        error: Why nothing came of it.
    """

    tried: tuple[Attempt, ...]
    number: int
    made: Made | None = None
    error: GenVideoError | None = None


@dataclass(frozen=True)
class Maker:
    """Makes rows, each in the first of its alternatives that works.

    Attributes:
        steps: How each step is taken.
        collect: Only submit; a reconciliation fetches the videos later.
        free: Keys that had no record when the batch began; they are claimed without another look, which is conditional.
    """

    steps: Steps = field(default_factory=BoundedSteps)
    collect: bool = False
    free: frozenset[str] = frozenset()

    async def make(self, alternatives: Sequence[Attempt], submitted: Callable[[], None] = _nothing) -> RowOutcome:
        """Make one row's video.

        Args:
            alternatives: The wanted attempt first. One that has been paid for already is taken up before any other.
            submitted: Called when it has a task id.

        Returns:
            How it ended. Errors of the tree are part of it, so that a failure tells what was tried; others are raised.
        """
        first, tried = await self._paid(alternatives), list[Attempt]()
        for number, attempt in enumerate(alternatives[first:], start=first + 1):
            tried.append(attempt)
            try:
                return RowOutcome(tuple(tried), number, made=await self._make(attempt, submitted))
            except GenVideoError as error:
                following = alternatives[number] if number < len(alternatives) else None
                if following is None or not following.follows(error) or not await _surely_nothing(attempt):
                    return RowOutcome(tuple(tried), number, error=error)
                told = f"{attempt.request.model} failed ({error}); trying {following.request.model} instead."
                following.pipeline.say(told)
        raise AssertionError("a row has at least one alternative")

    async def _paid(self, alternatives: Sequence[Attempt]) -> int:
        """Index of the attempt that has a task already, else 0. Asked first: a rerun must not pay for another one.

        Asked now: that all were free when the batch began says nothing of a run beside this one.
        """
        for index, attempt in enumerate(alternatives) if len(alternatives) > 1 else ():
            if not await attempt.made_nothing():
                return index
        return 0

    async def _make(self, attempt: Attempt, submitted: Callable[[], None]) -> Made:
        async def key_of(fingerprint: str) -> str:
            del fingerprint
            return attempt.idempotency_key

        free = attempt.idempotency_key in self.free
        return await make_video(
            attempt.labelled,
            attempt.request,
            key_of,
            self.steps,
            free=free,
            collect=self.collect,
            submitted=submitted,
        )


async def _surely_nothing(attempt: Attempt) -> bool:
    """Whether the ledger says so. The class of an error does not: a key may be refused to a paid task's query, too."""
    try:
        return await attempt.made_nothing()
    except DestinationError:
        return False
