"""A wait ends at a provider's last word and nothing else, and keeps the task id whatever happens. On virtual time."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from prefect_genvideo.errors import (
    AuthenticationError,
    GenerationFailedError,
    GenerationTimeoutError,
    NoVideoError,
    RateLimitedError,
    TaskLostError,
    TransientError,
)
from prefect_genvideo.models import Generation
from prefect_genvideo.pipeline.wait import FixedInterval, Look, Waiter
from tests.fixtures.expected import failing
from tests.fixtures.money import FakeProvider, VirtualTime, on_its_way

Step = Generation | Exception


class Slow(FakeProvider):
    """Knows nothing newer for a quarter of a minute, as Sudashui does."""

    poll_floor = 15.0


class Clinic:
    """A provider with a script of answers, and a waiter on virtual time."""

    def __init__(self, *answers: Step, every: float = 10.0, timeout: float | None = 600.0) -> None:
        self.time = VirtualTime()
        self.provider = Slow()
        self.provider.answers = list(answers)
        self.looks: list[dict[str, Any]] = []
        self.waiter = Waiter(
            self.provider,
            FixedInterval(every),
            timeout=timeout,
            clock=self.time.clock,
            sleep=self.time.sleep,
            watch=self._watch,
        )

    async def _watch(self, look: Look) -> None:
        self.looks.append(dict(vars(look)))

    async def wait(self, **options: float) -> Generation:
        return await self.waiter.wait("task_1", **options)


def nothing(text: str = "502", **facts: Any) -> TransientError:
    """An answer that says nothing about the task."""
    return TransientError(text, provider="sudashui", task_id="task_1", **facts)


def lost() -> TaskLostError:
    return TaskLostError("the task id is unknown", provider="sudashui", task_id="task_1")


async def test_the_wait_ends_with_the_finished_generation() -> None:
    """Queued, running, done."""
    clinic = Clinic(on_its_way("queued"), on_its_way())
    generation = await clinic.wait()
    assert (generation.state, generation.task_id) == ("succeeded", "task_1")
    assert (clinic.provider.asked, clinic.time.naps) == (3, [10, 10, 10])


async def test_a_resumed_wait_asks_at_once() -> None:
    """The task is old: it may well be done."""
    clinic = Clinic()
    await clinic.wait(age=500.0)
    assert clinic.time.naps == [0]


async def test_a_failure_carries_the_providers_reason() -> None:
    """And the id, so that the provider's support can be asked."""
    clinic = Clinic(on_its_way(state="failed", reason="content_policy_violation"))
    with failing(GenerationFailedError, "content_policy_violation") as failure:
        await clinic.wait()
    assert (failure.value.reason, failure.value.task_id) == ("content_policy_violation", "task_1")
    assert not failure.value.moderation


async def test_a_refusal_for_content_is_told_as_a_fact() -> None:
    """Callers need not search a sentence for it."""
    clinic = Clinic(on_its_way("failed", reason="content_policy_violation", moderation=True))
    with pytest.raises(GenerationFailedError) as failure:
        await clinic.wait()
    assert failure.value.moderation


@pytest.mark.parametrize(
    "error", [nothing(), nothing("HTML instead of JSON"), RateLimitedError("429"), nothing("connection lost")]
)
async def test_answers_that_say_nothing_end_no_wait(error: TransientError) -> None:
    """A gateway that is down for twenty questions is a gateway that is down."""
    clinic = Clinic(*[error] * 20, timeout=None)
    assert (await clinic.wait()).state == "succeeded"
    assert clinic.provider.asked == 21


async def test_questions_after_failures_come_less_often() -> None:
    """Doubling from the second on, a minute and a quarter at most, and at once back to normal."""
    clinic = Clinic(*[nothing()] * 8, on_its_way(), every=1.0, timeout=None)
    await clinic.wait()
    gaps = clinic.time.naps
    assert gaps[1:6] == sorted(gaps[1:6])
    assert gaps[5] > 8 * gaps[1]
    assert max(gaps) <= 75
    assert gaps[-1] == 1.0


async def test_retry_after_of_a_query_is_obeyed() -> None:
    """The provider's word goes before the schedule."""
    clinic = Clinic(RateLimitedError("429", retry_after=120), timeout=None)
    await clinic.wait()
    assert clinic.time.naps[1] >= 120


async def test_a_key_that_cannot_query_is_believed_the_fifth_time() -> None:
    """Gateways answer 401 for a while during their own outages; a dead key is the operator's to mend."""
    clinic = Clinic(*[nothing("401", status_code=401, reason="cannot query with this key")] * 4)
    assert (await clinic.wait()).state == "succeeded"
    clinic = Clinic(*[nothing("401", status_code=401, reason="cannot query with this key")] * 9)
    with failing(AuthenticationError, "cannot query with this key") as failure:
        await clinic.wait()
    assert (clinic.provider.asked, failure.value.task_id) == (5, "task_1")


async def test_other_failures_between_break_the_row_of_401s() -> None:
    """Only an unbroken row is believed."""
    row = [nothing("403", status_code=403)] * 4
    clinic = Clinic(*row, nothing(), *row, timeout=None)
    assert (await clinic.wait()).state == "succeeded"


async def test_an_id_that_nobody_knows_yet_gets_a_grace() -> None:
    """Right after a create, a replica may not have it: two minutes and five questions."""
    clinic = Clinic(*[lost()] * 4)
    assert (await clinic.wait()).state == "succeeded"


async def test_an_id_that_stays_unknown_is_lost() -> None:
    """A person decides; the error names it."""
    clinic = Clinic(*[lost()] * 50)
    begin = clinic.time.now
    with pytest.raises(TaskLostError) as failure:
        await clinic.wait()
    assert clinic.time.now - begin >= 120
    assert failure.value.task_id == "task_1"


async def test_done_without_a_link_gets_a_grace() -> None:
    """The link comes minutes later, sometimes."""
    clinic = Clinic(*[on_its_way(reason="no usable URL yet")] * 12)
    assert (await clinic.wait()).video_url


async def test_done_without_a_link_for_five_minutes_is_no_video() -> None:
    """Its own error: the provider has billed, so a person may complain."""
    clinic = Clinic(*[on_its_way(reason="no usable URL yet")] * 100)
    begin = clinic.time.now
    with failing(NoVideoError, "no usable URL yet"):
        await clinic.wait()
    assert 300 <= clinic.time.now - begin <= 330


async def test_the_deadline_keeps_the_id_and_says_how_to_go_on() -> None:
    """The task goes on at the provider and is paid for."""
    clinic = Clinic(*[on_its_way()] * 200)
    begin = clinic.time.now
    with failing(GenerationTimeoutError, "running") as failure:
        await clinic.wait()
    assert failure.value.task_id == "task_1"
    assert not failure.value.retryable
    assert clinic.time.now - begin == 10 + 600  # from the first sign of work


async def test_waiting_in_the_providers_queue_does_not_count() -> None:
    """An hour in the queue and five minutes of work are no timeout of ten minutes."""
    clinic = Clinic(*[on_its_way("queued")] * 360, *[on_its_way()] * 30)
    assert (await clinic.wait()).state == "succeeded"


async def test_a_status_word_nobody_knows_starts_no_deadline() -> None:
    """It may be a queue's: that the task is not over is all it says."""
    clinic = Clinic(*[on_its_way(unfamiliar="ON_HOLD")] * 360, *[on_its_way()] * 30)
    assert (await clinic.wait()).state == "succeeded"


async def test_the_deadline_runs_from_the_providers_own_start() -> None:
    """A resumed wait does not give the task a second hour."""
    began = datetime.now(timezone.utc) - timedelta(seconds=590)
    clinic = Clinic(*[on_its_way(started_at=began)] * 100)
    begin = clinic.time.now
    with pytest.raises(GenerationTimeoutError):
        await clinic.wait()
    assert clinic.time.now - begin <= 30


async def test_a_silent_provider_ends_the_wait_after_as_long() -> None:
    """No usable answer for the length of the deadline; the last trouble is told."""
    clinic = Clinic(*[nothing("HTML instead of JSON")] * 500)
    with failing(GenerationTimeoutError, "HTML instead of JSON") as failure:
        await clinic.wait()
    assert failure.value.task_id == "task_1"


async def test_without_a_deadline_the_wait_has_no_end() -> None:
    """The operator's attempt."""
    clinic = Clinic(*[on_its_way()] * 3000, timeout=None)
    assert (await clinic.wait()).state == "succeeded"


async def test_progress_never_falls_for_the_watcher() -> None:
    """Providers let it fall; people should not see that."""
    steps = [10, 40, 30, None, 60]
    clinic = Clinic(*[on_its_way(progress=step) for step in steps])
    await clinic.wait()
    assert [look["progress"] for look in clinic.looks if look["asked"]] == [10, 40, 40, 40, 60, 100]


async def test_the_watcher_sees_trouble_come_and_go() -> None:
    """How often asked, how long waited, what is wrong right now."""
    clinic = Clinic(on_its_way(), nothing("502"), nothing("503"), on_its_way())
    await clinic.wait()
    first, *others = clinic.looks
    assert (first["asked"], first["waited"], first["first_in"]) == (0, 0, 10), (
        "people see that there is nothing yet to see"
    )
    assert [look["first_in"] for look in others] == [None] * 5
    assert [look["trouble"] for look in others] == [None, "502", "503", None, None]
    assert [look["failures"] for look in others] == [0, 1, 2, 0, 0]
    assert [look["asked"] for look in others] == [1, 2, 3, 4, 5]
    assert others[0]["waited"] == 10
