"""The ledger's promises: in memory all of them, in a directory and in moto those that lean on the store."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path
from typing import Any, cast

import pytest

from prefect_genvideo.errors import DestinationError
from prefect_genvideo.ledger.decisions import adopt, release
from prefect_genvideo.ledger.listing import every_record, unfinished
from prefect_genvideo.ledger.record import LedgerState
from prefect_genvideo.ledger.store import Entry, Ledger, LedgerConflictError
from prefect_genvideo.storage import LocalStore, ObjectStore
from tests.fixtures.expected import failing, refusing
from tests.fixtures.money import MemoryStore, draft
from tests.fixtures.s3 import S3Server

EVERY_STORE = pytest.mark.parametrize("kind", ["memory", "local", "moto"], indirect=True)


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> str:
    """Which store; `EVERY_STORE` asks for all."""
    return getattr(request, "param", "memory")


@pytest.fixture
def store(request: pytest.FixtureRequest, kind: str, tmp_path: Path) -> ObjectStore:
    """A fresh store."""
    if kind == "memory":
        return MemoryStore()
    if kind == "local":
        return LocalStore(tmp_path / "videos")
    return cast(S3Server, request.getfixturevalue("s3")).store("videos")


@pytest.fixture
def ledger(store: ObjectStore) -> Ledger:
    """A ledger in it."""
    return Ledger(store)


async def test_of_two_exact_writes_of_new_facts_one_is_made() -> None:
    """Who writes second has seen an older record, though it stands in the same state."""
    ledger = Ledger(MemoryStore())
    claimed = await ledger.claim(draft())
    assert claimed is not None
    submitted = await ledger.move(claimed, "submitted", task_id="task_1")
    await ledger.move(submitted, "submitted", exact=True, reason="first")
    with pytest.raises(LedgerConflictError):
        await ledger.move(submitted, "submitted", exact=True, reason="second")
    assert (await ledger.existing("k")).record.reason == "first"


async def claimed(ledger: Ledger, key: str = "k", **facts: Any) -> Entry:
    entry = await ledger.claim(draft(key, **facts))
    assert entry is not None
    return entry


async def brought_to(ledger: Ledger, state: LedgerState, key: str = "k") -> Entry:
    """A record in a state, reached the usual way."""
    entry = await claimed(ledger, key)
    path: dict[LedgerState, tuple[LedgerState, ...]] = {
        "intent": (),
        "submitted": ("submitted",),
        "succeeded": ("submitted", "succeeded"),
        "saved": ("submitted", "succeeded", "saved"),
        "rejected": ("rejected",),
        "failed": ("submitted", "failed"),
        "unknown": ("unknown",),
    }
    for step in path[state]:
        facts: dict[str, Any] = {"task_id": f"task_{key}"} if step == "submitted" else {}
        entry = await ledger.move(entry, step, **facts)
    return entry


async def open_keys(ledger: Ledger) -> list[str]:
    """Keys that reconciling would look at."""
    return [e.record.key async for e in unfinished(ledger) if isinstance(e, Entry)]


@EVERY_STORE
async def test_one_of_many_claims_wins(ledger: Ledger) -> None:
    """Twenty at once, one key: one owner, and the record says who."""
    drafts = [draft(holder=f"host:{n}") for n in range(20)]
    won = [entry for entry in await asyncio.gather(*map(ledger.claim, drafts)) if entry]
    assert len(won) == 1
    assert (await ledger.existing("k")).record == won[0].record


@EVERY_STORE
async def test_one_draft_used_twice_at_once_is_two_claims(ledger: Ledger) -> None:
    """Equal bytes must not make the loser believe that the winner's record is its own."""
    one = draft()
    won = [entry for entry in await asyncio.gather(*(ledger.claim(one) for _ in range(8))) if entry]
    assert len(won) == 1


@EVERY_STORE
async def test_a_free_key_is_claimed_anew_with_a_claim_of_its_own(ledger: Ledger) -> None:
    """After a proven refusal the key is free; the old claim can write nothing any more."""
    first = await claimed(ledger)
    await ledger.move(first, "rejected", reason="429")
    second = await claimed(ledger)
    assert second.record.claim != first.record.claim
    assert second.record.reason is None
    with failing(LedgerConflictError, "was taken over by another claim"):
        await ledger.move(first, "submitted", task_id="late")


@pytest.mark.parametrize("state", ["intent", "submitted", "succeeded", "saved", "failed", "unknown"])
async def test_a_held_key_cannot_be_claimed(ledger: Ledger, state: LedgerState) -> None:
    """Only `rejected` is free."""
    await brought_to(ledger, state)
    assert await ledger.claim(draft()) is None
    assert (await ledger.existing("k")).record.state == state


@EVERY_STORE
async def test_a_move_from_an_old_sight_starts_from_what_is_there(ledger: Ledger) -> None:
    """A caller that holds the entry of an earlier step does not have to read it again."""
    intent = await claimed(ledger)
    submitted = await ledger.move(intent, "submitted", task_id="t")
    await ledger.move(submitted, "submitted", cost=2.0)
    succeeded = await ledger.move(intent, "succeeded", link="https://x")
    assert (succeeded.record.task_id, succeeded.record.cost, succeeded.record.state) == ("t", 2.0, "succeeded")


async def test_a_move_that_another_run_has_made_already_is_made() -> None:
    """Twenty runs that see one generation end write its end once, not twenty times in turn."""

    class Counting(MemoryStore):
        writes = 0

        async def put(self, key: str, data: bytes, **conditions: Any) -> str:
            self.writes += key == "_ledger/k.json"
            return await super().put(key, data, **conditions)

    store = Counting()
    ledger = Ledger(store)
    submitted = await ledger.move(await claimed(ledger), "submitted", task_id="t")
    ended = await asyncio.gather(*(ledger.move(submitted, "succeeded", link=str(n)) for n in range(20)))
    assert {entry.record.link for entry in ended} == {"0"}
    assert store.writes == 2 + 20


async def test_an_id_that_comes_late_replaces_unknown(ledger: Ledger) -> None:
    """Another run has taken the sender for dead; its answer still counts."""
    intent = await claimed(ledger)
    await ledger.move(intent, "unknown", reason="stale")
    late = await ledger.move(intent, "submitted", task_id="t", reason=None)
    assert (late.record.state, late.record.task_id, late.record.reason) == ("submitted", "t", None)


async def test_a_paid_task_is_never_replaced_by_a_machine(ledger: Ledger) -> None:
    """A person has adopted a task while the sender was thought dead: the late id is refused, and both are named."""
    intent = await claimed(ledger)
    await adopt(ledger, "k", "adopted")
    with failing(LedgerConflictError, "has the paid task adopted, not to be replaced by late"):
        await ledger.move(intent, "submitted", task_id="late")
    assert (await ledger.existing("k")).record.task_id == "adopted"


@pytest.mark.parametrize("state", ["submitted", "succeeded", "saved"])
async def test_a_paid_task_is_never_given_up_by_a_machine(ledger: Ledger, state: LedgerState) -> None:
    """A run whose own create was refused must not free a key that has a task by now."""
    entry = await brought_to(ledger, state)
    with pytest.raises(LedgerConflictError):
        await ledger.move(entry, "rejected", reason="refused")
    assert (await ledger.existing("k")).record.state == state


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b"null", b'{"key": "k"}', b"\xff\xfe", b'{"key": "k", "state": "paid"}']
)
async def test_a_record_that_cannot_be_read_is_an_error_and_never_an_absence(ledger: Ledger, data: bytes) -> None:
    """The ledger fails closed: nothing is sent while nobody knows what was sent before."""
    await ledger.store.put(ledger.path("k"), data)
    for attempt in (ledger.read("k"), ledger.claim(draft())):
        with failing(DestinationError, "unreadable record") as failure:
            await attempt
        assert not failure.value.retryable
    assert (await ledger.store.get(ledger.path("k")) or (None,))[0] == data


async def test_going_through_the_ledger_passes_over_what_cannot_be_read(ledger: Ledger) -> None:
    """One torn record must not hide the others; it is reported."""
    await claimed(ledger, "a")
    await ledger.store.put(ledger.path("b"), b"{")
    await claimed(ledger, "c")
    found = [entry async for entry in every_record(ledger)]
    assert [e.record.key if isinstance(e, Entry) else type(e).__name__ for e in found] == ["a", "DestinationError", "c"]


@EVERY_STORE
async def test_unfinished_records_are_found_by_what_was_reserved(ledger: Ledger) -> None:
    """Looking after ten open records of a hundred thousand takes ten reads."""
    states: tuple[LedgerState, ...] = ("intent", "submitted", "succeeded", "saved", "rejected", "failed", "unknown")
    for state in states:
        await brought_to(ledger, state, f"key/{state}")
    assert sorted(await open_keys(ledger)) == ["key/intent", "key/submitted", "key/succeeded", "key/unknown"]
    assert len([entry async for entry in every_record(ledger)]) == 7


@pytest.mark.parametrize("state", ["rejected", "failed"])
async def test_an_adopted_task_is_found_again_by_reconciling(ledger: Ledger, state: LedgerState) -> None:
    """Nothing is reserved for a settled record any more; adopting a task makes it unfinished again."""
    await brought_to(ledger, state)
    assert await open_keys(ledger) == []
    await adopt(ledger, "k", "found")
    assert await open_keys(ledger) == ["k"]


@pytest.mark.parametrize("state", ["intent", "rejected", "failed", "unknown"])
async def test_a_task_is_adopted_wherever_none_is_held(ledger: Ledger, state: LedgerState) -> None:
    """The next run finds it as if it had been submitted, and the record says how it came there."""
    await brought_to(ledger, state)
    record = (await adopt(ledger, "k", "found")).record
    assert (record.state, record.task_id) == ("submitted", "found")
    assert record.reason == f"adopted by hand; was {state}"
    assert record.submitted_at is not None


async def test_adopting_another_task_needs_force_and_keeps_the_old_id(ledger: Ledger) -> None:
    """A slip of the fingers must not lose a paid task; a corrected slip leaves its trace."""
    await brought_to(ledger, "succeeded")
    with refusing("key", limit="task_k"):
        await adopt(ledger, "k", "other")
    assert (await ledger.existing("k")).record.task_id == "task_k"
    record = (await adopt(ledger, "k", "other", force=True)).record
    assert (record.state, record.task_id) == ("submitted", "other")
    assert "task_k" in (record.reason or "")


async def test_adopting_the_same_task_again_changes_nothing(ledger: Ledger) -> None:
    """Pressed twice."""
    await adopt(ledger, (await claimed(ledger)).record.key, "t")
    assert (await adopt(ledger, "k", "t")).record.task_id == "t"


async def test_a_saved_video_is_neither_adopted_over_nor_released(ledger: Ledger) -> None:
    """There is nothing to decide any more; another video takes another key."""
    await brought_to(ledger, "saved")
    for decision, state in (
        (adopt(ledger, "k", "t", force=True), "submitted"),
        (release(ledger, "k", force=True), "rejected"),
    ):
        with failing(LedgerConflictError, f"is saved, not to be made {state}"):
            await decision


@pytest.mark.parametrize("state", ["unknown", "failed", "rejected"])
async def test_a_key_without_a_task_that_lives_is_released(ledger: Ledger, state: LedgerState) -> None:
    """The next run creates again."""
    await brought_to(ledger, state)
    released = await release(ledger, "k")
    assert released.record.reason == f"released by hand; was {state}"
    assert await ledger.claim(draft()) is not None


@pytest.mark.parametrize("state", ["submitted", "succeeded"])
async def test_giving_up_a_paid_task_needs_force(ledger: Ledger, state: LedgerState) -> None:
    """A refusal names the task and changes nothing."""
    before = await brought_to(ledger, state)
    with refusing("key", limit="task_k"):
        await release(ledger, "k")
    assert await ledger.existing("k") == before
    assert (await release(ledger, "k", force=True)).record.state == "rejected"


async def test_a_create_that_is_under_way_is_not_released_by_mistake(ledger: Ledger) -> None:
    """Its holder lives: freeing the key now could pay twice."""
    await claimed(ledger)
    with refusing("key", limit="180 s"):
        await release(ledger, "k")
    assert (await release(ledger, "k", force=True)).record.state == "rejected"


async def test_a_create_whose_sender_is_dead_is_released(ledger: Ledger) -> None:
    """Nobody is sending any more."""
    await claimed(ledger, holder=f"{socket.gethostname()}:{2**22 + 1}")
    assert (await release(ledger, "k")).record.state == "rejected"


@pytest.mark.parametrize("decision", ["adopt", "release"])
async def test_a_key_that_nobody_knows_is_said_to_be_unknown(ledger: Ledger, decision: str) -> None:
    """A mistyped key is not created on the way."""
    work = adopt(ledger, "nope", "t") if decision == "adopt" else release(ledger, "nope")
    with failing(DestinationError, "no record"):
        await work
    assert await ledger.read("nope") is None


@EVERY_STORE
async def test_durations_are_learned_by_all_machines(store: ObjectStore) -> None:
    """Comparable generations share a history in the store; garbage in it is an empty history."""
    one, two = Ledger(store), Ledger(store)
    await two.durations.learn("sudashui/m/4s/-", 120.0)
    await one.durations.learn("sudashui/m/4s/-", 100.0)
    await one.finish()
    await two.finish()
    assert (await Ledger(store).durations.of("sudashui/m/4s/-")).durations == (100.0, 120.0)
    async for info in store.list("_ledger/_history/"):
        await store.put(info.key, b"\xff not json")
    assert (await Ledger(store).durations.of("sudashui/m/4s/-")).durations == ()


async def test_a_record_is_readable_by_a_person(ledger: Ledger) -> None:
    """What was wanted, who sent it, when, and what came of it; no key, no signature."""
    await claimed(ledger, request={"prompt": "a cat"}, flow_run_id="f-1", task_run_id="t-1")
    found = await ledger.store.get("_ledger/k.json")
    assert found is not None
    facts = json.loads(found[0])
    assert {"key", "state", "provider", "model", "account", "fingerprint", "request", "holder", "posts"} <= set(facts)
    assert (facts["flow_run_id"], facts["task_run_id"], facts["seconds"]) == ("f-1", "t-1", 4.0)


async def test_a_newer_record_is_told_as_such(ledger: Ledger) -> None:
    """The message says which version it is and that this installation is the old one."""
    newer = draft("k").model_copy(update={"version": 2})
    await ledger.store.put(ledger.path("k"), newer.to_bytes(), content_type="application/json")
    with pytest.raises(DestinationError) as refused:
        await ledger.read("k")
    assert "version 2" in (refused.value.reason or "")
