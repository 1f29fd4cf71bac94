"""Stores that fail: before a claim nothing is paid, so it fails soon; a paid task's id is written whatever it takes."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from prefect_genvideo.errors import DestinationError
from prefect_genvideo.ledger.listing import unfinished
from prefect_genvideo.ledger.record import LedgerState
from prefect_genvideo.ledger.store import Entry, Ledger
from prefect_genvideo.storage import ObjectStore
from tests.fixtures.expected import failing
from tests.fixtures.money import MemoryStore, Trouble, TroubledMemory, TroubledS3, VirtualTime, When, draft
from tests.fixtures.s3 import S3Server

RECORD = "_ledger/k.json"


def ledger_over(store: ObjectStore, told: list[str], *, patience: float = 600, weak: bool = False) -> Ledger:
    return Ledger(store, patience=patience, weak=weak, sleep=VirtualTime().sleep, on_trouble=told.append)


async def state_in(store: ObjectStore) -> LedgerState | None:
    entry = await Ledger(store).read("k")
    return entry.record.state if entry else None


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", range(2))
async def test_a_claim_outlives_a_short_failure(when: When, number: int) -> None:
    """Reservation and record: each write may fail, with or without having been done; neither is left twice."""
    store = TroubledMemory(Trouble(when=when, skip=number, times=2))
    told: list[str] = []
    entry = await ledger_over(store, told).claim(draft())
    assert entry is not None
    assert entry.record.state == "intent"
    assert len(told) == (1 if (when, number) == ("after", 1) else 2)  # equal bytes prove that the first one was ours
    assert len(store.objects) == 2
    assert entry == await Ledger(store).read("k")


async def test_a_claim_whose_written_answer_is_lost_is_still_ours() -> None:
    """Its repetition breaks its own condition; the claim's id in the record tells it from somebody else's."""
    store = TroubledMemory(Trouble(contains=RECORD, when="after"))
    entry = await ledger_over(store, []).claim(draft())
    assert entry is not None
    assert await Ledger(store).claim(draft()) is None


async def test_a_claim_that_is_taken_for_stale_before_its_repetition_stays_reserved() -> None:
    """Its answer was lost, and somebody has called its fate unknown meanwhile: reconciling is to find it again."""
    store = TroubledMemory(Trouble(contains=RECORD, when="after"))

    async def call_it_unknown(_: float) -> None:
        other = Ledger(store)
        await other.move(await other.existing("k"), "unknown", reason="stale")

    assert await Ledger(store, sleep=call_it_unknown).claim(draft()) is None
    found = [entry async for entry in unfinished(Ledger(store))]
    assert [entry.record.state for entry in found if isinstance(entry, Entry)] == ["unknown"]


async def test_a_store_that_stays_down_stops_a_claim_and_nothing_is_there() -> None:
    """Nothing was sent, so the run may fail; a later run finds the key free."""
    store = TroubledMemory(Trouble(times=10**6))
    with failing(DestinationError, "ServiceUnavailable"):
        await ledger_over(store, [], patience=-1).claim(draft())
    assert await state_in(store) is None


async def test_a_refusal_that_will_not_pass_is_not_repeated() -> None:
    """Access denied stays denied: say so at once."""
    store = TroubledMemory(Trouble(contains=RECORD, times=9, retryable=False))
    told: list[str] = []
    with failing(DestinationError, "ServiceUnavailable"):
        await ledger_over(store, told).claim(draft())
    assert told == []


@pytest.mark.parametrize("when", ["before", "after"])
async def test_the_id_of_a_paid_task_is_written_when_the_store_comes_back(when: When) -> None:
    """Failures in a row, each of them told with the task's id: a person can save it from the log alone."""
    store = TroubledMemory(Trouble(contains="submitted", when=when, times=8))
    told: list[str] = []
    ledger = ledger_over(store, told)
    entry = await ledger.claim(draft())
    assert entry is not None
    moved = await ledger.move(entry, "submitted", task_id="task_7")
    assert (moved.record.state, moved.record.task_id) == ("submitted", "task_7")
    assert len(told) == (8 if when == "before" else 1)
    assert all("task_7" in line and "trying again" in line for line in told)


async def test_pauses_between_repeated_writes_grow_and_stay_bounded() -> None:
    """Half a second first, never more than 15 s and a quarter: a store that comes back is noticed soon."""
    store, time = TroubledMemory(Trouble(contains="submitted", times=8)), VirtualTime()
    ledger = Ledger(store, sleep=time.sleep)
    entry = await ledger.claim(draft())
    assert entry is not None
    await ledger.move(entry, "submitted", task_id="t")
    pauses = [0.5, 1, 2, 4, 8, 15, 15, 15]
    assert all(pause <= nap <= 1.25 * pause for nap, pause in zip(time.naps, pauses, strict=True))


async def test_when_patience_ends_the_error_names_the_task() -> None:
    """The id is in the message and an attribute, since it is nowhere else."""
    store = TroubledMemory(Trouble(contains="submitted", times=10**6))
    ledger = ledger_over(store, [], patience=-1)
    entry = await ledger.claim(draft())
    assert entry is not None
    with failing(DestinationError, "ServiceUnavailable") as failure:
        await ledger.move(entry, "submitted", task_id="task_7")
    assert failure.value.task_id == "task_7"


@pytest.mark.parametrize("state", ["submitted", "rejected", "unknown"])
async def test_a_move_whose_written_answer_is_lost_is_no_conflict(s3: S3Server, state: LedgerState) -> None:
    """On a real S3 server: the repetition finds its own write."""
    store = TroubledS3(s3.new_bucket(), "videos", **s3.settings)
    store.troubles = [Trouble(contains=f'"state": "{state}"', when="after", times=2)]
    ledger = ledger_over(store, [])
    entry = await ledger.claim(draft())
    assert entry is not None
    moved = await ledger.move(entry, state, task_id="t" if state == "submitted" else None, reason="r")
    assert moved.record.state == state
    assert await Ledger(store).read("k") == moved


async def test_a_reservation_that_cannot_be_removed_does_not_fail_a_finished_record() -> None:
    """One read too many while reconciling is cheaper than a failed run."""
    store = TroubledMemory(Trouble("delete", times=9))
    told: list[str] = []
    ledger = ledger_over(store, told)
    entry = await ledger.claim(draft())
    assert entry is not None
    assert (await ledger.move(entry, "rejected", unpaid=True, reason="r")).record.state == "rejected"
    assert len(told) == 1
    assert [e async for e in unfinished(ledger)] == []


class Slow(MemoryStore):
    """Writes a record and keeps the answer back; a cancellation is delivered once the write is done."""

    def __init__(self) -> None:
        super().__init__()
        self.written = asyncio.Event()

    async def put(self, key: str, data: bytes, **conditions: Any) -> str:
        etag = await super().put(key, data, **conditions)
        if key == RECORD and not self.written.is_set():
            self.written.set()
            await asyncio.sleep(3600)
        return etag


async def test_a_cancelled_claim_leaves_the_key_free() -> None:
    """The record is written in spite of the cancellation; nothing was sent, so no person has to decide anything."""
    store = Slow()
    claim = asyncio.create_task(Ledger(store).claim(draft()))
    await store.written.wait()
    assert await state_in(store) == "intent"
    claim.cancel()
    with pytest.raises(asyncio.CancelledError):
        await claim
    entry = await Ledger(store).existing("k")
    assert (entry.record.state, entry.record.reason) == ("rejected", "cancelled before it was sent")
    assert [e async for e in unfinished(Ledger(store))] == []


async def test_a_store_without_conditions_is_refused_and_the_way_out_is_named(strict_s3: S3Server) -> None:
    """A real server that ignores conditions: two runs could both pay, so nothing is sent and nothing is written."""
    store = strict_s3.store("videos")
    with failing(DestinationError, "no conditional writes") as failure:
        await Ledger(store).claim(draft())
    assert not failure.value.retryable
    assert [info.key async for info in store.list()] == []


async def test_the_weak_mode_works_there(strict_s3: S3Server) -> None:
    """The operator's attempt: the same records and moves, and one winner when claims do not race to the second."""
    store = strict_s3.store("videos")
    told: list[str] = []
    ledger = ledger_over(store, told, weak=True)
    entry = await ledger.claim(draft())
    assert entry is not None
    assert await ledger.claim(draft()) is None
    await ledger.move(entry, "submitted", task_id="t")
    await ledger.move(entry, "succeeded")
    await ledger.durations.learn("bucket", 100.0)
    await ledger.durations.learn("other", 100.0)
    assert (await ledger.existing("k")).record.state == "succeeded"
    assert told == []


async def test_of_weak_claims_that_race_the_last_writer_wins() -> None:
    """Both write, wait, and look: one of them finds its own claim."""
    store = TroubledMemory(conditional=False)
    ledgers = [Ledger(store, weak=True, sleep=asyncio_turns) for _ in range(5)]
    won = [entry for entry in await asyncio.gather(*(ledger.claim(draft()) for ledger in ledgers)) if entry]
    assert len(won) == 1
    assert await Ledger(store).read("k") == won[0]


async def test_a_weak_move_starts_from_what_is_there() -> None:
    """Without conditions a run that takes another for dead must still not write over its task id."""
    store = TroubledMemory(conditional=False)
    ledger = Ledger(store, weak=True, sleep=asyncio_turns)
    entry = await ledger.claim(draft())
    assert isinstance(entry, Entry)
    await ledger.move(entry, "submitted", task_id="t")
    with failing(DestinationError, "is submitted, not to be made unknown"):
        await ledger.move(entry, "unknown", reason="stale")
    assert (await ledger.existing("k")).record.task_id == "t"


async def asyncio_turns(seconds: float) -> None:
    """A wait in which everybody else gets their turns."""
    for _ in range(20):
        await asyncio.sleep(0)
