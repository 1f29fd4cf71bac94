"""One row of a batch: its ways, and which failures lead from one to the next."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields, replace
from typing import Any

import pytest

from prefect_genvideo.errors import (
    AuthenticationError,
    DestinationError,
    GenerationFailedError,
    InvalidRequestError,
    QuotaError,
    RejectedError,
    TransientError,
    UnknownOutcomeError,
)
from prefect_genvideo.ledger.account import AccountThrottle
from prefect_genvideo.ledger.store import Ledger
from prefect_genvideo.models import Generation, StoredVideo
from prefect_genvideo.pipeline import make as making
from prefect_genvideo.pipeline.make import FALLBACK_KINDS, Attempt, BoundedSteps, Maker, is_moderation
from prefect_genvideo.pipeline.pipeline import Pipeline
from prefect_genvideo.simulator import Fault, Simulator
from tests.fixtures.expected import failing
from tests.fixtures.money import REQUEST, TEMPLATE, FakeProvider, MemoryStore, VirtualTime
from tests.fixtures.pipelines import SENSEAUDIO, SUDASHUI, Pipelines, nap

DEFAULT = frozenset({"quota", "model_unavailable", "provider_down"})
EVERYTHING = frozenset(FALLBACK_KINDS)
NO_CHANNEL = {"error": {"message": "no channel", "type": "new_api_error", "code": "model_not_found"}}


def ways(pipelines: Pipelines, on: frozenset[str] = DEFAULT) -> list[Attempt]:
    """Sudashui, else SenseAudio."""
    return [Attempt(pipelines.sudashui, SUDASHUI, "row"), Attempt(pipelines.senseaudio, SENSEAUDIO, "row.alt1", on)]


@dataclass(frozen=True)
class Ended:
    """A row that has its video, as one value."""

    tried: tuple[Attempt, ...]
    attempts: int
    generation: Generation
    video: StoredVideo | None


async def make(alternatives: Sequence[Attempt], maker: Maker | None = None) -> Ended:
    """Make a row; its error is raised."""
    outcome = await (maker or Maker()).make(alternatives)
    if outcome.error is not None:
        raise outcome.error
    assert outcome.made is not None
    return Ended(outcome.tried, outcome.number, outcome.made.generation, outcome.made.video)


async def state_of(pipelines: Pipelines, key: str) -> str | None:
    held = await pipelines.sudashui.ledger.read(key)
    return held.record.state if held else None


@pytest.mark.parametrize(
    "fault",
    [
        Fault("quota", "create", provider="sudashui"),
        Fault("answer", "create", provider="sudashui", params={"status": 503, "body": NO_CHANNEL}),
        Fault("500_e1", "create", provider="sudashui"),
    ],
    ids=["quota", "model_unavailable", "provider_down"],
)
async def test_each_named_kind_of_failure_leads_to_the_alternative(
    sim: Simulator, pipelines: Pipelines, fault: Fault
) -> None:
    """No money, no such model, provider down: nothing was made, so the other way may be paid. Its key is its own."""
    sim.faults.add(fault)
    made = await make(ways(pipelines))
    assert (made.attempts, made.tried[-1].idempotency_key, made.generation.provider) == (2, "row.alt1", "senseaudio")
    assert made.video is not None
    assert sim.by_account == {"sk-sim-senseaudio": 1}
    assert (await state_of(pipelines, "row"), await state_of(pipelines, "row.alt1")) == ("rejected", "saved")
    assert [attempt.idempotency_key for attempt in made.tried] == ["row", "row.alt1"]
    assert "trying Seedance-2.0 instead" in " ".join(pipelines.said)


async def test_a_kind_that_is_not_named_leads_nowhere(sim: Simulator, pipelines: Pipelines) -> None:
    """An alternative for a lack of money does not stand in for a provider that is down."""
    sim.faults.add(Fault("500_e1", "create", provider="sudashui"))
    with pytest.raises(TransientError):
        await make(ways(pipelines, frozenset({"quota"})))
    assert sim.billed == 0


async def test_the_last_way_s_failure_is_the_row_s(sim: Simulator, pipelines: Pipelines) -> None:
    """When every way fails, the last one says why."""
    sim.faults.add(Fault("quota", "create"))
    with failing(QuotaError, "余额不足"):
        await make(ways(pipelines))
    outcome = await Maker().make(ways(pipelines))
    assert (len(outcome.tried), outcome.number, outcome.made) == (2, 2, None)


async def test_a_generation_that_moderation_ended_is_never_asked_for_elsewhere(
    sim: Simulator, pipelines: Pipelines
) -> None:
    """Refused for what it shows, after it was paid: no kind of failure names that, a rerun does not try either."""
    sim.faults.add(Fault("moderation", "create", provider="sudashui"))
    for _ in range(2):
        with failing(GenerationFailedError, "Real human faces are not supported."):
            await make(ways(pipelines, EVERYTHING))
    assert sim.by_account == {"sk-sim-sudashui": 1}


@pytest.mark.parametrize("status", [400, 500])
@pytest.mark.parametrize(
    "words",
    [
        "The request failed because the input text may contain sensitive information.",
        "Real human faces are not supported.",
        "This content violates our usage policies.",
        "moderation_blocked",
        "内容审核未通过",
        "输入文本包含敏感信息",
        "图片违规",
        "暂不支持真人参考图",
    ],
)
async def test_a_create_refused_for_what_it_shows_is_never_sent_elsewhere(
    sim: Simulator, pipelines: Pipelines, words: str, status: int
) -> None:
    """Moderation at the door looks like a broken rule (400) or even a fault (500); its words tell. It costs nothing."""
    body = {"code": "fail_to_fetch_task", "message": words, "data": None}
    sim.faults.add(Fault("answer", "create", provider="sudashui", params={"status": status, "body": body}))
    with pytest.raises((RejectedError, TransientError)):
        await make(ways(pipelines, EVERYTHING))
    assert sim.billed == 0
    assert await state_of(pipelines, "row.alt1") is None


async def test_a_plain_refusal_leads_on_where_the_row_says_so(sim: Simulator, pipelines: Pipelines) -> None:
    """`rejected` is for rules that one model has and another has not."""
    body = {"code": "fail_to_fetch_task", "message": "duration 4 is not supported", "data": None}
    sim.faults.add(Fault("answer", "create", provider="sudashui", params={"status": 400, "body": body}))
    with pytest.raises(RejectedError):
        await make(ways(pipelines))
    made = await make(ways(pipelines, frozenset({"rejected"})))
    assert made.generation.provider == "senseaudio"


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        ("The network interface is down", False),
        ("Model names are case-sensitive", False),
        ("do_request_failed: dial tcp ***: i/o timeout", False),
        ("余额不足", False),
        ("Sensitive content detected", True),
        ("OutputVideoSensitiveContentDetected", True),
        ("Faces of real people", True),
        ("InputImageContainsFace: a face was found", True),
        ("blocked by content policy", True),
        ("涉及版权", True),
    ],
)
def test_words_of_moderation_are_known(words: str, refusal: bool) -> None:
    """Words that only look alike, such as interfaces, cost no alternative."""
    assert is_moderation(TransientError(words)) is refusal
    assert is_moderation(RejectedError("refused", reason=words)) is refusal


async def test_a_rerun_takes_up_the_alternative_that_was_paid(sim: Simulator, pipelines: Pipelines) -> None:
    """The wanted model works again: its key is free, and yet nothing is created, since the row has its video."""
    sim.faults.add(Fault("quota", "create", provider="sudashui", times=1))
    first = await make(ways(pipelines))
    second = await make(ways(pipelines))
    assert first.video is not None
    assert second.video is not None
    assert (second.video.uri, second.video.reused, second.attempts) == (first.video.uri, True, 2)
    assert sim.billed == 1


async def test_a_rerun_waits_for_the_alternative_that_was_submitted(sim: Simulator, pipelines: Pipelines) -> None:
    """A run that crashed after it had sent the alternative: the next one goes on with that task."""
    sim.faults.add(Fault("quota", "create", provider="sudashui", times=1))
    submitted = await make(ways(pipelines), Maker(collect=True))
    assert submitted.video is None
    finished = await make(ways(pipelines))
    assert finished.generation.task_id == submitted.generation.task_id
    assert sim.billed == 1


@pytest.mark.parametrize("alternative", [False, True])
async def test_a_key_that_was_free_when_the_batch_began_may_be_paid_by_now(
    sim: Simulator, pipelines: Pipelines, alternative: bool
) -> None:
    """Another run of the same batch was faster, with the wanted way or with the other."""
    if alternative:
        sim.faults.add(Fault("quota", "create", provider="sudashui", times=1))
    row = ways(pipelines) if alternative else ways(pipelines)[:1]
    faster = await make(row, Maker(collect=True))
    elsewhere = [replace(way, pipeline=replace(way.pipeline, throttle=AccountThrottle(sleep=nap))) for way in row]
    slower = await make(elsewhere, Maker(free=frozenset({"row", "row.alt1"})))
    assert slower.generation.task_id == faster.generation.task_id
    assert slower.video is not None
    assert sim.billed == 1


async def test_an_unknown_outcome_leads_nowhere(sim: Simulator, pipelines: Pipelines) -> None:
    """The answer of the create is lost: perhaps it is paid, so no other way may be, now or in a rerun."""
    sim.faults.add(Fault("lost_after", "create", provider="sudashui", times=1))
    for _ in range(2):
        with pytest.raises(UnknownOutcomeError):
            await make(ways(pipelines, EVERYTHING))
    assert sim.by_account == {"sk-sim-sudashui": 1}


async def test_a_way_that_is_paid_leads_nowhere_whatever_fails_later() -> None:
    """A key that is refused to the query raises what a refused create raises. The task is paid: no other is sent."""
    first, second, store = FakeProvider(), FakeProvider(), MemoryStore()
    first.answers = [AuthenticationError("the key is refused")]
    attempts = [Attempt(pipeline_of(first, store), REQUEST, "row"), Attempt(pipeline_of(second, store), REQUEST, "alt")]
    with pytest.raises(AuthenticationError):
        await make([attempts[0], replace(attempts[1], on=EVERYTHING)])
    assert (first.billed, second.billed) == (1, 0)


class HidesRefusals(MemoryStore):
    """A store that cannot deliver the records of refused creates."""

    async def get(self, key: str) -> tuple[bytes, str] | None:
        if b'"rejected"' in self.objects.get(key, b""):
            raise DestinationError("the store is down")
        return await super().get(key)


async def test_a_ledger_that_cannot_be_asked_leads_nowhere() -> None:
    """It is not known whether the refused way was freed: nothing more is paid, and the refusal is what is told."""
    first, second, store = FakeProvider(QuotaError("no money")), FakeProvider(), HidesRefusals()
    attempts = [Attempt(pipeline_of(first, store), REQUEST, "row"), Attempt(pipeline_of(second, store), REQUEST, "alt")]
    with pytest.raises(QuotaError):
        await make([attempts[0], replace(attempts[1], on=EVERYTHING)])
    assert second.billed == 0


def pipeline_of(client: FakeProvider, store: MemoryStore) -> Pipeline:
    return Pipeline(client, Ledger(store, sleep=nap), TEMPLATE, poll_interval=0.01, sleep=nap)


async def test_a_retry_after_holds_back_everybody_who_sends(sim: Simulator, pipelines: Pipelines) -> None:
    """One row is told to come back in 30 seconds: the next one waits as well, the other account's goes on."""
    sim.faults.add(Fault("429", "create", provider="sudashui", times=1, params={"retry_after": 30}))
    time, told, go_on = VirtualTime(), asyncio.Event(), asyncio.Event()

    async def hold(seconds: float) -> None:
        told.set()
        await go_on.wait()

    shared = replace(pipelines.sudashui, throttle=AccountThrottle(clock=time.clock, sleep=time.sleep))
    first = asyncio.ensure_future(make([Attempt(replace(shared, sleep=hold), SUDASHUI, "first")]))
    await told.wait()
    await make([Attempt(pipelines.senseaudio, SENSEAUDIO, "other")])
    assert time.naps == []
    await make([Attempt(shared, SUDASHUI, "second")])
    assert time.naps == [30]
    go_on.set()
    await first
    assert sim.by_account == {"sk-sim-sudashui": 2, "sk-sim-senseaudio": 1}


async def test_few_keys_are_claimed_at_once_however_many_rows_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash leaves only these as unknown outcomes, and no row gives up because others were before it in a queue."""
    monkeypatch.setattr(making, "_SENDING", 3)
    client, store, most = FakeProvider(), MemoryStore(), list[int]()
    full, go_on = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        most.append(sum(b'"state": "intent"' in data for data in store.objects.values()))
        if len(most) == 3:
            full.set()
        await go_on.wait()

    client.hold = hold
    maker, pipeline = Maker(), pipeline_of(client, store)
    rows = [asyncio.ensure_future(make([Attempt(pipeline, REQUEST, f"row-{n}")], maker)) for n in range(12)]
    await full.wait()
    go_on.set()
    await asyncio.gather(*rows)
    assert max(most) == 3
    assert client.billed == 12


async def test_few_videos_are_saved_at_once_however_many_end_together(
    monkeypatch: pytest.MonkeyPatch, sim: Simulator, pipelines: Pipelines
) -> None:
    """Each holds buffers and shares the line: a thousand at once would take gigabytes and time out together."""
    monkeypatch.setattr(making, "_SAVING", 2)
    now, most = 0, list[int]()
    save = pipelines.sudashui.save

    class Counting(Pipeline):
        async def save(self, *args: Any, **facts: Any) -> StoredVideo:
            nonlocal now
            now += 1
            most.append(now)
            try:
                return await save(*args, **facts)
            finally:
                now -= 1

    pipeline = Counting(**{entry.name: getattr(pipelines.sudashui, entry.name) for entry in fields(Pipeline)})
    maker = Maker()
    made = await asyncio.gather(*(make([Attempt(pipeline, SUDASHUI, f"row-{n}")], maker) for n in range(6)))
    assert max(most) == 2
    assert all(each.video for each in made)


async def test_collecting_only_submits(sim: Simulator, pipelines: Pipelines) -> None:
    """`collect` leaves the waiting to a reconciliation: one create, no question, no download."""
    made = await make([Attempt(pipelines.sudashui, SUDASHUI, "row")], Maker(collect=True))
    assert (made.video, made.generation.state) == (None, "queued")
    assert (sim.billed, sim.calls.get("status", 0), sim.downloads) == (1, 0, 0)
    assert await state_of(pipelines, "row") == "submitted"


async def test_the_slot_is_held_from_create_to_the_end_and_given_back(sim: Simulator, pipelines: Pipelines) -> None:
    """One place in the account's queue per generation; failures give it back, a video that is kept takes none."""
    events = list[str]()

    @asynccontextmanager
    async def slot(pipeline: Pipeline) -> AsyncGenerator[None]:
        events.append(f"take {sim.billed}")
        try:
            yield
        finally:
            events.append(f"give {sim.billed} {sim.downloads}")

    maker = Maker(BoundedSteps(slot))
    await make([Attempt(pipelines.sudashui, SUDASHUI, "row")], maker)
    assert events == ["take 0", "give 1 0"]
    await make([Attempt(pipelines.sudashui, SUDASHUI, "row")], maker)
    assert len(events) == 2
    sim.faults.add(Fault("moderation", "create"))
    with pytest.raises(GenerationFailedError):
        await make([Attempt(pipelines.sudashui, SUDASHUI, "bad")], maker)
    assert events[2:] == ["take 1", "give 2 1"]


async def test_a_rule_broken_by_one_way_is_told_before_anything_is_sent(sim: Simulator, pipelines: Pipelines) -> None:
    """A request that its model does not take never reaches the provider."""
    wrong = replace(ways(pipelines)[0], request=SUDASHUI.model_copy(update={"duration": 99}))
    with pytest.raises(InvalidRequestError) as caught:
        await make([wrong])
    assert [problem.field for problem in caught.value.problems] == ["duration"]
    assert sim.calls.get("create", 0) == 0
