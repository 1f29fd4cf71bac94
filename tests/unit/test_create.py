"""One key, one create: what is sent, sent again, held and freed, whatever the provider says."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import anyio
import pytest

from prefect_genvideo.errors import (
    AuthenticationError,
    DestinationError,
    GenerationFailedError,
    InvalidRequestError,
    QuotaError,
    RateLimitedError,
    RejectedError,
    TransientError,
    UnknownOutcomeError,
)
from prefect_genvideo.ledger.account import AccountStoppedError, AccountThrottle
from prefect_genvideo.ledger.budget import Budget, BudgetError, BudgetGuard
from prefect_genvideo.ledger.create import CreatePolicy, Creator, Submission
from prefect_genvideo.ledger.decisions import adopt, release
from prefect_genvideo.ledger.lost import settle_intent
from prefect_genvideo.ledger.record import LedgerRecord, LedgerState
from prefect_genvideo.ledger.store import Ledger
from prefect_genvideo.models import VideoRequest
from prefect_genvideo.providers.lost import FoundCreate, LostCreate
from prefect_genvideo.providers.lost import Outcome as Found
from tests.fixtures.expected import failing, refusing
from tests.fixtures.money import (
    REQUEST,
    FakeProvider,
    MemoryStore,
    Outcome,
    Trouble,
    TroubledMemory,
    VirtualTime,
    draft,
    refused,
)

GONE = f"{socket.gethostname()}:{2**22 + 1}"
FAST = CreatePolicy(look_every=0.01)


class Desk:
    """A provider, a ledger and a creator on virtual time."""

    def __init__(self, *script: Outcome, store: MemoryStore | None = None, **options: Any) -> None:
        self.time = VirtualTime()
        self.provider = FakeProvider(*script)
        self.store = store or MemoryStore()
        self.ledger = Ledger(self.store, sleep=self.time.sleep, patience=options.pop("patience", 600))
        self.said: list[str] = []
        self.throttle = options.pop("throttle", None) or AccountThrottle(clock=self.time.clock, sleep=self.time.sleep)
        self.creator = Creator(
            self.provider, self.ledger, throttle=self.throttle, say=self.said.append, sleep=self.time.sleep, **options
        )

    async def submit(self, key: str = "k", **facts: Any) -> Submission:
        return await self.creator.submit(REQUEST, draft(key, **facts))

    async def record(self, key: str = "k") -> LedgerRecord:
        return (await self.ledger.existing(key)).record


async def test_a_create_is_recorded_before_and_after() -> None:
    """The intent is in the store while the request is on the wire; the task id is there before the call returns."""
    desk = Desk()
    seen: list[str] = []

    async def look() -> None:
        seen.append((await desk.record()).state)

    desk.provider.hold = look
    submission = await desk.submit()
    assert seen == ["intent"]
    assert (submission.reused, submission.entry.record.task_id) == (False, "task_1")
    record = await desk.record()
    assert (record.state, record.task_id, record.posts) == ("submitted", "task_1", 1)
    assert record.submitted_at is not None


async def test_a_key_that_has_a_task_sends_nothing() -> None:
    """A rerun, the same event twice, two people pressing Run."""
    desk = Desk()
    first, second = await desk.submit(), await desk.submit()
    assert (second.reused, second.entry.record.task_id) == (True, first.entry.record.task_id)
    assert desk.provider.sent == 1


async def test_twenty_who_want_one_key_at_once_pay_once() -> None:
    """One claims; the others wait for its task id and use it."""
    desk = Desk(policy=FAST)
    submissions = await asyncio.gather(*(desk.submit() for _ in range(20)))
    assert {s.entry.record.task_id for s in submissions} == {"task_1"}
    assert sum(not s.reused for s in submissions) == 1
    assert desk.provider.billed == 1


@pytest.mark.parametrize("state", ["submitted", "succeeded", "saved"])
async def test_every_state_with_a_task_is_taken_up(state: str) -> None:
    """Where the last run stopped, the next goes on."""
    desk = Desk()
    entry = (await desk.submit()).entry
    for step in ("succeeded", "saved"):
        if (await desk.record()).state != state:
            entry = await desk.ledger.move(entry, step)
    assert (await desk.submit()).entry.record.state == state
    assert desk.provider.sent == 1


async def test_one_key_stands_for_one_request() -> None:
    """The same key with another request is refused; the message names the record's request."""
    desk = Desk()
    await desk.submit()
    with refusing("idempotency_key") as refusal:
        await desk.submit(fingerprint="0" * 64)
    assert refusal.value.problems[0].field == "idempotency_key"
    assert desk.provider.sent == 1


async def test_a_free_key_may_take_another_request() -> None:
    """Nothing was made under it, so nothing is in the way of a mended request."""
    desk = Desk(RejectedError("prompt is required"))
    with pytest.raises(RejectedError):
        await desk.submit()
    assert not (await desk.submit(fingerprint="0" * 64)).reused


@pytest.mark.parametrize(
    "error", [RejectedError("400"), AuthenticationError("401"), QuotaError("402"), InvalidRequestError("asset gone")]
)
async def test_a_refusal_frees_the_key_and_is_not_sent_again(error: Exception) -> None:
    """The same request would be refused again; after mending it, the same key works."""
    desk = Desk(error)
    with pytest.raises(type(error)):
        await desk.submit()
    assert (await desk.record()).state == "rejected"
    assert desk.provider.sent == 1
    desk.throttle.stopped = None
    assert (await desk.submit()).entry.record.task_id == "task_1"


async def test_a_fault_that_made_nothing_is_sent_again_a_few_times() -> None:
    """Three creates at most, with growing pauses; the record counts them."""
    desk = Desk(refused(), refused())
    assert not (await desk.submit()).reused
    assert (desk.provider.sent, desk.provider.billed) == (3, 1)
    assert (await desk.record()).posts == 3
    assert len(desk.time.naps) == 2
    assert 2 <= desk.time.naps[0] <= 2.5
    assert 4 <= desk.time.naps[1] <= 5


async def test_when_attempts_end_the_key_is_free() -> None:
    """The error says that it may be tried again; the next run does."""
    desk = Desk(*(refused() for _ in range(5)))
    with pytest.raises(TransientError):
        await desk.submit()
    assert desk.provider.sent == 3
    record = await desk.record()
    assert (record.state, record.reason) == ("rejected", "do_request_failed")


async def test_retry_after_is_obeyed() -> None:
    """The provider's word goes before our own pauses, and everybody behind the throttle heeds it."""
    desk = Desk(RateLimitedError("429", retry_after=30))
    await desk.submit()
    assert sum(desk.time.naps) >= 30
    assert desk.provider.sent == 2


async def test_rate_limits_are_waited_out_by_time_and_not_by_count() -> None:
    """Twenty refusals in a row are no reason to give up within the patience."""
    desk = Desk(*(RateLimitedError("429", retry_after=1) for _ in range(20)))
    assert not (await desk.submit()).reused
    assert desk.provider.sent == 21


async def test_patience_with_rate_limits_ends() -> None:
    """Then the key is free, and the error says so by its type."""
    desk = Desk(*(RateLimitedError("429") for _ in range(3)), policy=CreatePolicy(patience=-1))
    with pytest.raises(RateLimitedError):
        await desk.submit()
    assert desk.provider.sent == 1
    assert (await desk.record()).state == "rejected"


async def test_a_long_wait_shows_that_the_claim_lives() -> None:
    """Heartbeats, so that no other run takes the waiting one for dead."""
    desk = Desk(RateLimitedError("429", retry_after=200))
    stamps: list[Any] = []

    async def sleep(seconds: float) -> None:
        stamps.append((await desk.record()).updated_at)
        await desk.time.sleep(seconds)

    policy = CreatePolicy(heartbeat=60)
    desk.creator = Creator(desk.provider, desk.ledger, policy=policy, throttle=desk.throttle, sleep=sleep)
    await desk.submit()
    assert len(set(stamps)) == len(stamps) >= 4


@pytest.mark.parametrize("outcome", ["lost", "vanished"])
async def test_a_lost_answer_is_held_for_a_person(outcome: Outcome) -> None:
    """It may have been accepted: never sent again, named, with both ways out."""
    desk = Desk(outcome)
    with pytest.raises(UnknownOutcomeError) as unknown:
        await desk.submit()
    assert "genvideo ledger adopt 'k' TASK_ID" in str(unknown.value)
    assert "genvideo ledger release 'k'" in str(unknown.value)
    assert "s3://memory/_ledger/k.json" in str(unknown.value)
    assert (await desk.record()).state == "unknown"
    desk.throttle.stopped = None
    with pytest.raises(UnknownOutcomeError):
        await desk.submit()
    assert desk.provider.sent == 1


async def test_a_task_named_in_an_answer_that_cannot_be_trusted_is_kept_for_the_person_who_decides() -> None:
    """A cut or contradictory answer: the id is no proof, yet it saves a search through the provider's console."""
    desk = Desk(UnknownOutcomeError("cut", reason="connection lost", task_id="task_abc"))
    with failing(UnknownOutcomeError, "connection lost") as unknown:
        await desk.submit()
    assert unknown.value.task_id == "task_abc"
    record = await desk.record()
    assert (record.state, record.task_id) == ("unknown", "task_abc")
    assert (await adopt(desk.ledger, "k", "another")).record.task_id == "another"


@pytest.mark.parametrize(("key", "shown"), [("a b", "'a b'"), ("it's", """'it'"'"'s'"""), ("$(x)", "'$(x)'")])
async def test_the_commands_in_a_message_can_be_copied_as_they_stand(key: str, shown: str) -> None:
    """Quoted for a shell, with the destination."""
    desk = Desk("lost")
    with pytest.raises(UnknownOutcomeError) as unknown:
        await desk.submit(key)
    assert f"`genvideo ledger adopt {shown} TASK_ID --at s3://memory/`" in str(unknown.value)


async def test_an_unknown_outcome_that_is_adopted_is_taken_up() -> None:
    """The paid video is fetched after all."""
    desk = Desk("lost")
    with pytest.raises(UnknownOutcomeError):
        await desk.submit()
    await adopt(desk.ledger, "k", desk.provider.tasks[0])
    submission = await desk.submit()
    assert (submission.reused, submission.entry.record.task_id) == (True, "task_1")
    assert desk.provider.billed == 1


async def test_an_unknown_outcome_that_is_released_is_created_anew() -> None:
    """A person has looked: it is not there."""
    desk = Desk("vanished")
    with pytest.raises(UnknownOutcomeError):
        await desk.submit()
    await release(desk.ledger, "k")
    desk.throttle.stopped = None
    assert not (await desk.submit()).reused
    assert desk.provider.billed == 1


async def test_an_intent_whose_sender_is_dead_is_unknown_at_once() -> None:
    """Nobody can tell whether the request left the machine."""
    desk = Desk()
    await desk.ledger.claim(draft(holder=GONE))
    with failing(UnknownOutcomeError, "the run that sent it ended before its answer was recorded"):
        await desk.submit()
    assert desk.provider.sent == 0
    assert (await desk.record()).state == "unknown"


async def test_an_old_intent_of_another_machine_is_unknown() -> None:
    """Its process cannot be looked up; time tells."""
    desk = Desk(policy=CreatePolicy(stale_after=-1))
    await desk.ledger.claim(draft(holder="elsewhere:1"))
    with pytest.raises(UnknownOutcomeError):
        await desk.submit()
    assert desk.provider.sent == 0


async def test_an_intent_that_lives_is_waited_for() -> None:
    """Its task id is used as soon as it is there; if it is refused, the one that waited sends."""
    desk = Desk(policy=FAST)
    held = await desk.ledger.claim(draft(holder="elsewhere:1"))
    assert held is not None
    waiting = asyncio.create_task(desk.submit())
    await asyncio.sleep(0.02)
    assert not waiting.done()
    await desk.ledger.move(held, "submitted", task_id="theirs")
    assert (await waiting).entry.record.task_id == "theirs"
    assert desk.provider.sent == 0


async def test_a_task_that_failed_holds_its_key() -> None:
    """A new try costs again, so a person or another key decides; the reason is told."""
    desk = Desk()
    entry = (await desk.submit()).entry
    await desk.ledger.move(entry, "failed", reason="sensitive")
    with pytest.raises(GenerationFailedError) as failure:
        await desk.submit()
    assert (failure.value.task_id, failure.value.reason) == ("task_1", "sensitive")
    assert desk.provider.sent == 1


async def test_after_an_unknown_outcome_nobody_behind_the_gate_sends() -> None:
    """Whatever ate the answer would eat the next ones too."""
    desk = Desk("lost")
    with pytest.raises(UnknownOutcomeError):
        await desk.submit("a")
    with failing(AccountStoppedError, "an earlier create of this run has an unknown outcome (ConnectionResetError)"):
        await desk.submit("b")
    assert desk.provider.sent == 1
    assert await desk.ledger.read("b") is None


async def test_a_key_that_is_paid_for_passes_a_closed_gate() -> None:
    """Taking up costs nothing."""
    desk = Desk()
    await desk.submit()
    desk.throttle.stopped = "money"
    assert (await desk.submit()).reused


async def test_a_gate_that_closes_while_one_waits_frees_its_key() -> None:
    """Between two of its creates another one has found the account empty."""
    desk = Desk(refused())

    async def sleep(seconds: float) -> None:
        desk.throttle.stopped = "the money ended"

    desk.creator = Creator(desk.provider, desk.ledger, throttle=desk.throttle, sleep=sleep)
    with pytest.raises(AccountStoppedError):
        await desk.submit()
    assert desk.provider.sent == 1
    assert (await desk.record()).state == "rejected"


async def test_a_ledger_that_is_down_sends_nothing() -> None:
    """It fails closed."""
    desk = Desk(store=TroubledMemory(Trouble("get", times=10**6)))
    with pytest.raises(DestinationError):
        await desk.submit()
    assert desk.provider.sent == 0


async def test_a_task_that_cannot_be_recorded_is_named_with_the_command_that_keeps_it() -> None:
    """The store went away while the request was out: the id lives in the error and the log alone."""
    desk = Desk(store=TroubledMemory(Trouble(contains='"submitted"', times=10**6)), patience=-1)
    with failing(DestinationError, "ServiceUnavailable") as failure:
        await desk.submit()
    assert failure.value.task_id == "task_1"
    assert "`genvideo ledger adopt 'k' task_1 --at s3://memory/`" in str(failure.value)
    assert any("task_1" in line for line in desk.said)


async def test_a_task_whose_key_was_taken_over_is_named() -> None:
    """A person freed the key while its request was out, and another run claimed it: both are paid, none is lost."""
    desk = Desk()

    async def meanwhile() -> None:
        desk.provider.hold = None
        await release(desk.ledger, "k", force=True)
        await desk.ledger.claim(draft())

    desk.provider.hold = meanwhile
    with failing(DestinationError, "was taken over by another claim") as failure:
        await desk.submit()
    assert failure.value.task_id == "task_1"


async def test_a_refusal_does_not_free_a_key_that_was_adopted_meanwhile() -> None:
    """The slow sender was thought dead; a person has tied a task to the key."""
    desk = Desk(RejectedError("400"))

    async def meanwhile() -> None:
        await adopt(desk.ledger, "k", "found")

    desk.provider.hold = meanwhile
    with pytest.raises(RejectedError):
        await desk.submit()
    assert (await desk.record()).task_id == "found"
    assert (await desk.record()).state == "submitted"


Cancel = Callable[["asyncio.Task[Submission]"], Awaitable[None]]


async def cancelled(desk: Desk, *, answer_after: float | None) -> None:
    """Cancel a run while its create is on the wire; the answer comes later, or never."""
    on_the_wire = asyncio.Event()

    async def hold() -> None:
        on_the_wire.set()
        await asyncio.sleep(3600 if answer_after is None else answer_after)

    desk.provider.hold = hold
    run = asyncio.create_task(desk.submit())
    await on_the_wire.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run


async def test_a_cancelled_run_records_an_answer_that_comes_soon() -> None:
    """Neither provider can cancel: the id is what saves the money."""
    desk = Desk()
    await cancelled(desk, answer_after=0.02)
    record = await desk.record()
    assert (record.state, record.task_id) == ("submitted", "task_1")
    assert "task_1 goes on at the provider" in desk.said[-1]


async def test_a_cancelled_run_does_not_wait_for_ever() -> None:
    """Its intent stays: the next run knows that the fate is unknown, and the log says what to do."""
    desk = Desk(policy=CreatePolicy(cancel_grace=0.02))
    await cancelled(desk, answer_after=None)
    assert (await desk.record()).state == "intent"
    assert "its fate is not known" in desk.said[-1]
    assert "ledger adopt" in desk.said[-1]


async def test_a_cancelled_run_whose_create_was_refused_leaves_the_key_free() -> None:
    """The refusal arrived while it was leaving."""
    desk = Desk(refused())
    await cancelled(desk, answer_after=0.02)
    assert (await desk.record()).state == "rejected"


async def test_a_cancelled_scope_does_not_cancel_the_clean_up() -> None:
    """Scopes of anyio cancel every wait inside them again and again; the answer is recorded all the same."""
    desk = Desk()

    async def hold() -> None:
        await asyncio.sleep(0.05)

    desk.provider.hold = hold
    with anyio.move_on_after(0.01) as scope:
        await desk.submit()
    assert scope.cancelled_caught
    assert (await desk.record()).task_id == "task_1"


@pytest.mark.parametrize("waits_for", ["pause", "throttle"])
async def test_a_run_that_is_cancelled_between_two_creates_frees_the_key(waits_for: str) -> None:
    """Nothing was made so far, and nothing is on the wire."""
    desk = Desk(refused())
    asleep = asyncio.Event()

    async def sleep(seconds: float) -> None:
        asleep.set()
        await asyncio.sleep(3600)

    pause = desk.time.sleep if waits_for == "throttle" else sleep
    desk.throttle = AccountThrottle(sleep=sleep)
    desk.creator = Creator(desk.provider, desk.ledger, throttle=desk.throttle, sleep=pause)
    if waits_for == "throttle":
        desk.provider.script = [RateLimitedError("429", retry_after=100)]
    run = asyncio.create_task(desk.submit())
    await asleep.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert (await desk.record()).state == "rejected"


async def test_a_spent_budget_sends_nothing_and_claims_nothing() -> None:
    """The cap is checked before the key is touched."""
    desk = Desk()
    desk.creator = Creator(
        desk.provider, desk.ledger, budget=BudgetGuard(desk.ledger, Budget(run_generations=1)), sleep=desk.time.sleep
    )
    await desk.submit("a")
    with pytest.raises(BudgetError):
        await desk.submit("b")
    assert await desk.ledger.read("b") is None
    assert (await desk.submit("a")).reused


async def test_what_made_nothing_is_not_counted_against_the_budget() -> None:
    """A refused create, and one that lost the claim, cost nothing."""
    desk = Desk(RejectedError("400"), policy=FAST)
    guard = BudgetGuard(desk.ledger, Budget(run_generations=2, day_generations=2))
    desk.creator = Creator(desk.provider, desk.ledger, budget=guard, policy=FAST, sleep=desk.time.sleep)
    with pytest.raises(RejectedError):
        await desk.submit("a")
    await asyncio.gather(*(desk.submit("b") for _ in range(5)))
    assert guard.run.generations == 1
    await desk.submit("c")
    with pytest.raises(BudgetError):
        await desk.submit("d")


async def test_a_key_left_while_it_waited_to_be_sent_again_is_free() -> None:
    """Its only create was refused for sure, then the process died: nobody has to decide anything."""
    desk = Desk(refused())
    posts = asyncio.Event()

    async def sleep(seconds: float) -> None:
        posts.set()
        await asyncio.Event().wait()

    dying = Creator(desk.provider, desk.ledger, throttle=desk.throttle, sleep=sleep)
    run = asyncio.ensure_future(dying.submit(REQUEST, draft("k")))
    await posts.wait()
    left = await desk.ledger.existing("k")
    assert (left.record.state, left.record.refused) == ("intent", True)
    await desk.ledger.move(left, "intent", holder=GONE)

    assert not (await desk.submit()).reused
    assert (desk.provider.sent, desk.provider.billed) == (2, 1)
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert (await desk.record()).state == "submitted"


async def test_a_holder_that_comes_back_keeps_its_key() -> None:
    """It was taken for gone while it waited, and has sent before its record could be freed."""
    desk = Desk()
    claimed = await desk.ledger.claim(draft("k", posts=1))
    assert claimed is not None
    resting = await desk.ledger.move(claimed, "intent", refused=True, holder=GONE)
    await desk.ledger.move(resting, "intent", posts=2, refused=False)
    settled = await settle_intent(desk.ledger, resting, stale_after=180)
    assert (settled.record.state, settled.record.posts) == ("intent", 2)
    assert (await desk.record()).state == "intent"


class Remembering(FakeProvider):
    """A provider that can be asked which tasks a create has made."""

    def __init__(self, known: list[str] | Exception) -> None:
        super().__init__("lost")
        self.known = known

    async def find_created(self, lost: LostCreate) -> FoundCreate:
        if isinstance(self.known, Exception):
            raise self.known
        ids = tuple(dict.fromkeys(self.known))
        outcome: Found = "found" if len(ids) == 1 else "ambiguous" if ids else "unknown"
        return FoundCreate(outcome, task_ids=ids, evidence=f"tasks that fit: {', '.join(ids)}" if ids else "")


def remembering(known: list[str] | Exception) -> Desk:
    desk = Desk()
    desk.provider = desk.creator.client = Remembering(known)
    return desk


async def test_a_lost_create_that_the_provider_names_is_taken_up() -> None:
    """Before a person is asked, the provider is: it is paid for once, and goes on as if its answer had come."""
    desk = remembering(["task_1", "task_1"])
    submission = await desk.submit()
    assert (submission.entry.record.state, submission.entry.record.task_id) == ("submitted", "task_1")
    assert (await desk.submit()).reused
    assert desk.provider.sent == 1


@pytest.mark.parametrize("known", [[], ["task_1", "task_2"], TransientError("down")])
async def test_a_lost_create_that_is_not_named_for_certain_is_held(known: list[str] | Exception) -> None:
    """Nothing is guessed: what the provider says stands in the record for the person who decides."""
    desk = remembering(known)
    with pytest.raises(UnknownOutcomeError):
        await desk.submit()
    record = await desk.record()
    assert (record.state, record.task_id) == ("unknown", None)
    named = known if isinstance(known, list) else []
    assert all(task_id in ((record.money and record.money.evidence) or "") for task_id in named)


class Marking(Remembering):
    """A provider whose tasks show a field that was sent with them, which takes so many values."""

    def __init__(self, values: int) -> None:
        super().__init__(["task_1"])
        self.values = values
        self.sent_with: int | None = None

    def marked(self, request: VideoRequest, claim: str) -> VideoRequest:
        return request.model_copy(update={"timeout": int(claim, 16) % self.values})

    async def create(self, request: VideoRequest) -> str:
        self.sent_with = request.timeout
        return await super().create(request)

    async def find_created(self, lost: LostCreate) -> FoundCreate:
        if self.marked(lost.request, lost.claim).timeout != self.sent_with:
            return FoundCreate()
        return replace(await super().find_created(lost), certainty="by mark")


def marking(values: int) -> Desk:
    desk = Desk()
    desk.provider = desk.creator.client = Marking(values)
    return desk


async def test_a_lost_create_is_found_by_the_mark_that_it_was_sent_with() -> None:
    """The mark follows from the claim, so that whoever reads the record later knows it too."""
    desk = marking(values=2**128)
    await desk.ledger.claim(draft("other"))
    submission = await desk.submit()
    assert (submission.entry.record.state, submission.entry.record.task_id) == ("submitted", "task_1")


@pytest.mark.parametrize(
    ("values", "state", "task_id"),
    [(1, "intent", None), (1, "unknown", "a suspect"), (2**128, "submitted", "task_1"), (2**128, "unknown", "task_1")],
)
async def test_a_task_that_may_be_another_create_s_is_not_taken_up(
    values: int, state: LedgerState, task_id: str | None
) -> None:
    """Another record has it, or is of an open create with the same mark; whose account it is plays no part."""
    desk = marking(values)
    claimed = await desk.ledger.claim(draft("other", account="another"))
    assert claimed is not None
    if state != "intent":
        await desk.ledger.move(claimed, state, task_id=task_id)
    with pytest.raises(UnknownOutcomeError):
        await desk.submit()
    record = await desk.record()
    assert (record.state, record.task_id) == ("unknown", None)
    assert record.money is not None
    assert "'other'" in (record.money.evidence or "")


async def test_a_task_is_not_taken_up_beside_a_record_that_cannot_be_read() -> None:
    """It may be the one that has it."""
    desk = marking(values=2**128)
    await desk.store.put("_ledger/broken.json", b"{")
    with pytest.raises(UnknownOutcomeError):
        await desk.submit()


async def test_a_create_that_takes_long_shows_that_it_lives() -> None:
    """A large body on a slow line: another run waits for it, however stale the intent would be else."""
    store, provider = MemoryStore(), FakeProvider()
    policy = CreatePolicy(heartbeat=0.02, stale_after=0.2, look_every=0.02)
    provider.hold = lambda: asyncio.sleep(0.6)
    writer = Ledger(store)
    began = datetime.now(timezone.utc)
    sending = asyncio.ensure_future(Creator(provider, writer, policy=policy).submit(REQUEST, draft()))
    await asyncio.sleep(0.1)
    other = await Creator(provider, Ledger(store), policy=policy).submit(REQUEST, draft())
    assert (other.reused, provider.billed) == (True, 1)
    record = (await sending).entry.record
    assert record.task_id == other.entry.record.task_id
    assert record.sent_at is not None
    assert record.sent_at - began < timedelta(seconds=0.2), "it was sent before it showed that it lives"


async def test_a_create_that_is_answered_soon_writes_nothing_more() -> None:
    """Intent and task, as before."""
    store = MemoryStore()
    await Creator(FakeProvider(), Ledger(store)).submit(REQUEST, draft())
    assert store.put_keys.count("_ledger/k.json") == 2


async def test_a_create_whose_store_is_down_meanwhile_is_recorded_when_it_is_back() -> None:
    """What could not be shown ends nothing."""
    store, provider = TroubledMemory(Trouble("put", "_ledger/k.json", skip=1, times=2, retryable=False)), FakeProvider()
    provider.hold = lambda: asyncio.sleep(0.2)
    policy = CreatePolicy(heartbeat=0.05)
    done = await Creator(provider, Ledger(store), policy=policy).submit(REQUEST, draft())
    assert (done.entry.record.state, provider.billed) == ("submitted", 1)
