"""Waiting for one generation: when to ask, which answers end the wait, and which say nothing."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import anyio

from prefect_genvideo.errors import (
    AuthenticationError,
    GenerationFailedError,
    GenerationTimeoutError,
    GenVideoError,
    NoVideoError,
    TaskLostError,
    TransientError,
)
from prefect_genvideo.ledger.history import Durations
from prefect_genvideo.ledger.record import LedgerRecord, bucket_of
from prefect_genvideo.models import NO_REASON, Generation
from prefect_genvideo.polling import GRACES, Backoff, Deadline, Grace, History, Oddity, Schedule, Sleep

if TYPE_CHECKING:
    from prefect_genvideo.providers.base import VideoClient

# At which of the answers in a row that report a success and name no link the API's own content route is tried. The
# answers are the provider's refresh apart: half a minute, two minutes and five minutes at Sudashui.
_CONTENT_TRIES = frozenset({2, 8, 20})
# HTTP statuses of a query that is refused for its key.
_BARRED = (401, 403)
RESUME = "The task goes on at the provider and is paid for: run again (same flow run or idempotency key) to resume it"
"""What errors say of a task that goes on."""


@dataclass
class Look:
    """What a watcher sees after each question.

    Attributes:
        generation: The provider's last usable answer; None before the first.
        trouble: Why the last question said nothing; None when it was answered.
        waited: Seconds waited in this process.
        asked: Questions so far.
        failures: Questions in a row that said nothing.
        progress: Highest progress seen, percent. Providers let it fall; people should not see that.
        first_in: Seconds until the first question; None once it was asked.
    """

    generation: Generation | None = None
    trouble: str | None = None
    waited: float = 0.0
    asked: int = 0
    failures: int = 0
    progress: int = 0
    first_in: float | None = None


Watch = Callable[[Look], Awaitable[None]]


@dataclass(frozen=True)
class FixedInterval:
    """Asks every so many seconds; for tests and for people who want it so."""

    seconds: float

    def next_gap(self, age_s: float) -> float:
        """Return the interval."""
        return self.seconds


Timetable = Schedule | FixedInterval


def schedule_of(client: VideoClient, history: History, interval: float | None, task_id: str) -> Timetable:
    """When to ask about a task.

    Args:
        client: Its provider refreshes answers every `poll_floor` seconds.
        history: How long comparable generations took.
        interval: Fixed seconds between questions; None is the learned schedule.
        task_id: Spreads the questions of tasks that began together.
    """
    if interval is not None:
        return FixedInterval(interval)
    return Schedule(history, floor=client.poll_floor, task_id=task_id)


async def learn(
    durations: Durations, record: LedgerRecord, generation: Generation, *, seen_until_end: bool = False
) -> None:
    """Learn from a success how long comparable generations take: by the provider's own clock, else by ours.

    Args:
        durations: Those of the ledger.
        record: The task's record.
        generation: The provider's last word.
        seen_until_end: Whether the task was seen unfinished before, so that our own clock knows.
    """
    if record.submitted_at is None:
        return
    if generation.finished_at is not None and generation.created_at is not None:
        await durations.learn(bucket_of(record), (generation.finished_at - generation.created_at).total_seconds())
    elif seen_until_end:
        now = datetime.now(timezone.utc)
        await durations.learn(bucket_of(record), (now - record.submitted_at).total_seconds())


@dataclass
class _Limits:
    """What ends a wait without the provider's word.

    Attributes:
        deadline: Time that a generation may take once it has begun.
        silence: Time without any usable answer.
        graces: Patience with each kind of odd answer.
    """

    deadline: Deadline
    silence: Deadline
    graces: dict[Oddity, Grace]

    @classmethod
    def of(cls, timeout: float | None, now: float) -> _Limits:
        return cls(Deadline(timeout), Deadline(timeout, now), {name: Grace.of(name) for name in GRACES})

    def left(self, now: float) -> float:
        return min(self.deadline.left(now), self.silence.left(now))

    def passed(self, now: float) -> bool:
        return self.deadline.passed(now) or self.silence.passed(now)


class Waiter:
    """Waits for one task.

    Attributes:
        saw_unfinished: Whether the task was seen on its way, so that its end was seen when it came.

    Args:
        client: The provider's client.
        schedule: When to ask.
        timeout: Seconds a generation may take once it has started; None is without end. Also the longest silence of
            the provider, i.e. time without any usable answer.
        clock: Monotonic clock, a seam for tests.
        sleep: Seam for tests.
        watch: Awaited before the first question, where that is not at once, and after every one; must be quick.
    """

    def __init__(
        self,
        client: VideoClient,
        schedule: Timetable,
        *,
        timeout: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Sleep = anyio.sleep,
        watch: Watch | None = None,
    ) -> None:
        self.client = client
        self.schedule = schedule
        self.timeout = timeout
        self._clock = clock
        self._sleep = sleep
        self._watch = watch
        self.saw_unfinished = False

    async def wait(self, task_id: str, *, age: float | None = None) -> Generation:
        """Ask until the provider has said its last word.

        Args:
            task_id: The provider's id.
            age: Seconds since the task was submitted, so that a resumed wait asks at once and then at the right times,
                and no start that the provider names counts for longer. None: a new task, or one of unknown age.

        Returns:
            The succeeded generation, with a `video_url`.

        Raises:
            GenerationFailedError: The provider ended it; `NoVideoError` when it "succeeded" and no link came.
            GenerationTimeoutError: The deadline passed, or the provider was silent for as long. The id is kept.
            TaskLostError: The provider does not know the id, even after a grace.
            AuthenticationError: The key cannot query, several times in a row. The id is kept.
        """
        begin = self._clock()
        look, limits = Look(), _Limits.of(self.timeout, begin)
        known = age or 0.0
        gap = 0.0 if known > 2 * self.client.poll_floor else self.schedule.next_gap(known)
        if self._watch is not None and gap > 0:
            look.first_in = gap
            await self._watch(look)
            look.first_in = None
        while True:
            await self._sleep(min(gap, limits.left(self._clock())))
            failure = await self._ask(task_id, look)
            now = self._clock()
            look.waited = now - begin
            if self._watch is not None:
                await self._watch(look)
            longest = math.inf if age is None else age + look.waited
            if failure is None and (ended := await self._heed(look.generation, limits, now, longest)) is not None:
                return ended
            _judge_failure(failure, limits.graces, now)
            if limits.passed(now):
                raise self._too_late(task_id, look)
            gap = self._gap(look, known + look.waited, failure, limits.graces["no_video"])

    async def _heed(
        self, generation: Generation | None, limits: _Limits, now: float, longest: float
    ) -> Generation | None:
        """The success that an answer is; None when it ends nothing. Raises when it ends the wait badly.

        The generation has not run for longer than `longest` seconds, whatever the provider's times say.
        """
        if generation is None:
            return None
        if _judge(generation, self.client.title, limits.graces["no_video"], now):
            return generation
        if limits.graces["no_video"].count in _CONTENT_TRIES:
            served = await by_content(self.client, generation)
            if served is not None:
                return served
        self.saw_unfinished = True
        limits.silence = Deadline(self.timeout, now)
        if self._has_begun(generation):
            limits.deadline.start(now, age=min(_running_for(generation), longest))
        return None

    def _gap(self, look: Look, age: float, failure: GenVideoError | None, no_video: Grace) -> float:
        """Seconds until the next question."""
        gap = self.schedule.next_gap(age)
        if no_video.count:
            gap = min(gap, self.client.poll_floor)  # done, only the link is missing: it may come any moment
        if failure is None:
            return gap
        return max(gap, Backoff().delay(look.failures, failure.retry_after, task_id=failure.task_id or ""))

    def _has_begun(self, generation: Generation) -> bool:
        """Whether the answer shows that work has begun, so that the deadline runs."""
        if generation.unfamiliar is not None:
            return False
        return generation.state == "running" or not self.client.reports_queue

    async def _ask(self, task_id: str, look: Look) -> TransientError | TaskLostError | AuthenticationError | None:
        look.asked += 1
        try:
            look.generation = await self.client.get(task_id)
        except (TransientError, TaskLostError, AuthenticationError) as error:
            if isinstance(error, AuthenticationError) and error.status_code not in _BARRED:
                raise
            look.trouble, look.failures = str(error), look.failures + 1
            return error
        look.trouble, look.failures = None, 0
        look.progress = max(look.progress, look.generation.progress or 0)
        return None

    def _too_late(self, task_id: str, look: Look) -> GenerationTimeoutError:
        state = look.generation.state if look.generation else "unknown"
        last = f" The last question said nothing: {look.trouble}." if look.trouble else ""
        return GenerationTimeoutError(
            f"Task {task_id} was still {state} after {self.timeout:g} s.{last} {RESUME}.",
            provider=self.client.name,
            task_id=task_id,
            reason=look.trouble or state,
        )


async def by_content(client: VideoClient, generation: Generation) -> Generation | None:
    """A task that is reported as done without a link, with the API's own content route as its link.

    Args:
        client: The provider's client.
        generation: Its answer.

    Returns:
        The succeeded generation; None where there is no such route or it serves no video.
    """
    link = client.content_url(generation.task_id)
    if link is None:
        return None
    try:
        async with client.open_video(link):
            return generation.model_copy(update={"state": "succeeded", "video_url": link, "reason": None})
    except GenVideoError:
        return None


def _running_for(generation: Generation) -> float:
    """Seconds the provider says it has been at work, by its own clock where it tells that; 0 when it does not say."""
    if generation.started_at is None:
        return 0.0
    now = generation.answered_at or datetime.now(timezone.utc)
    return max(0.0, (now - generation.started_at).total_seconds())


def _judge(generation: Generation, title: str, no_video: Grace, now: float) -> bool:
    """Whether the answer ends the wait well; raises when it ends it badly."""
    if generation.state == "succeeded":
        return True
    facts: dict[str, Any] = {"provider": generation.provider, "task_id": generation.task_id}
    if generation.state == "failed":
        reason = generation.reason or NO_REASON
        # The cause comes first: tables, covers and alerts cut what is long.
        text = f"{title}: {reason.rstrip('.')}. Task {generation.task_id} ended without a video."
        raise GenerationFailedError(text, reason=reason, moderation=generation.moderation, **facts)
    if generation.reason is None:
        no_video.clear()
    elif no_video.strike(now):
        text = (
            f"{title} reports task {generation.task_id} as done and gives no link: {generation.reason}. "
            f"{RESUME}, or let the reconcile flow ask for it."
        )
        raise NoVideoError(text, reason=generation.reason, **facts)
    return False


def _judge_failure(failure: GenVideoError | None, graces: dict[Oddity, Grace], now: float) -> None:
    """Count answers that say nothing; raise when one kind came so often that it must be believed."""
    lost, barred = graces["unknown_task"], graces["unauthorized"]
    if not isinstance(failure, TaskLostError):
        lost.clear()
    elif lost.strike(now):
        raise failure
    if failure is None or failure.status_code not in _BARRED:
        barred.clear()
    elif barred.strike(now):
        raise AuthenticationError(
            f"Task {failure.task_id} cannot be queried with this key ({failure.reason or failure}). Mend the "
            f"credentials block. {RESUME}.",
            provider=failure.provider,
            task_id=failure.task_id,
            status_code=failure.status_code,
            reason=failure.reason,
        )
