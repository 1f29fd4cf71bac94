"""Real cost and lost creates over real wires: what the simulator's till says is what the ledger says."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from prefect_genvideo.artifacts.ledger import decisions_markdown
from prefect_genvideo.errors import DestinationError, GenerationFailedError, UnknownOutcomeError
from prefect_genvideo.finance.bill import month_of
from prefect_genvideo.finance.sources import account_records, bill_of
from prefect_genvideo.ledger.allowances import taken_in
from prefect_genvideo.ledger.budget import Budget, BudgetGuard
from prefect_genvideo.ledger.decisions import adopt, release
from prefect_genvideo.ledger.listing import unfinished
from prefect_genvideo.ledger.record import LedgerRecord
from prefect_genvideo.ledger.spent import Label
from prefect_genvideo.ledger.store import Ledger
from prefect_genvideo.models import VideoRequest
from prefect_genvideo.pipeline import lost_creates
from prefect_genvideo.pipeline.hooks import Labels
from prefect_genvideo.pipeline.pipeline import Pipeline
from prefect_genvideo.pipeline.reconcile import Reconciled, reconcile
from prefect_genvideo.prices import Money, read_price_tables
from prefect_genvideo.providers import SenseAudioClient, SudashuiClient
from prefect_genvideo.providers.budgets import CallBudget
from prefect_genvideo.simulator import Fault, Simulator
from prefect_genvideo.storage import CreateOnlyStore, LocalStore
from tests.fixtures.money import TEMPLATE, MemoryStore, VirtualTime

REQUEST = VideoRequest(model="sd-2-720p", prompt="a cat", duration=4)
PRICE = 1_656_000
UNIT = '{"sudashui": {"exchange": {"unit": {"amount": "1.5", "currency": "CNY"}}}}'


@dataclass
class Till:
    """One account, one ledger, one simulator."""

    sim: Simulator
    pipeline: Pipeline

    async def make(self, key: str = "k") -> LedgerRecord:
        """A run from the beginning; its record afterwards."""
        pipeline = self.pipeline
        entry = (await pipeline.create(REQUEST, pipeline.draft(key, REQUEST, {}))).entry
        done = await pipeline.wait(entry)
        await pipeline.save(await pipeline.ledger.existing(key), done)
        return await self.record(key)

    async def lose(self, key: str = "k", fault: str = "cut_answer") -> LedgerRecord:
        """A create whose answer is lost; its record afterwards."""
        self.sim.faults.add(Fault(fault, "create", times=1))
        with pytest.raises(UnknownOutcomeError):
            await self.pipeline.create(REQUEST, self.pipeline.draft(key, REQUEST, {}))
        if self.pipeline.throttle is not None:
            self.pipeline.throttle.stopped = None
        return await self.record(key)

    async def record(self, key: str = "k") -> LedgerRecord:
        return (await self.pipeline.ledger.existing(key)).record

    async def reconcile(self, **changes: Any) -> Reconciled:
        """As a scheduled run does it: another process, which finds what is left by the ledger alone."""
        ledger = Ledger(self.pipeline.ledger.store)
        return await reconcile(replace(self.pipeline, ledger=ledger, throttle=None, **changes))

    async def later(self, key: str = "k", **span: float) -> None:
        """Let time pass for a record."""
        entry = await self.pipeline.ledger.existing(key)
        assert entry.record.finished_at is not None
        await self.pipeline.ledger.move(
            entry, entry.record.state, finished_at=entry.record.finished_at - timedelta(**span)
        )


@pytest.fixture
async def till(sim: Simulator) -> AsyncIterator[Till]:
    sim.configure(polls_to_finish=1, clip_bytes=4096)
    sim.money(bucket=0)
    prices = read_price_tables(UNIT)["sudashui"]
    async with SudashuiClient(sim.key, sim.sudashui_url, sim.sudashui_files_url, timeout=0.5, prices=prices) as client:
        client.call_budget = CallBudget(10_000, 1)
        ledger = Ledger(MemoryStore())
        yield Till(sim, Pipeline(client, ledger, TEMPLATE, sleep=VirtualTime().sleep))


async def open_keys(till: Till) -> list[str]:
    found = [one async for one in unfinished(Ledger(till.pipeline.ledger.store))]
    return [one.record.key for one in found if not isinstance(one, Exception)]


@pytest.mark.parametrize(("share", "cost"), [(None, PRICE), (1.25, 2_070_000), (0.5, 828_000)])
async def test_the_ledger_says_what_the_till_says(till: Till, share: float | None, cost: int) -> None:
    """To the last unit, with what was taken, given back or taken later, and their times."""
    till.sim.money(settles_at=share)
    saved = await till.make()
    assert (saved.state, saved.money.final if saved.money else None) == ("saved", False)
    assert await open_keys(till) == ["k"]
    await till.later(minutes=11)
    report = await till.reconcile()
    assert report.counts == {"settled": 1}
    money = (await till.record()).money
    assert money is not None
    assert (money.quota, money.basis, money.final) == (cost, "log", True)
    assert money.quota == sum(till.sim.purse.used.values())
    assert str(money.spent) == f"{(Decimal(cost) / 500_000 * Decimal('1.5')).normalize():f} CNY"
    assert money.charge is not None
    assert (money.charge.quota, money.charge.identity) == (PRICE, (await till.record()).request_id)
    moved = money.supplement if cost > PRICE else money.refund
    assert (moved.quota if moved else 0) == abs(cost - PRICE)
    assert await open_keys(till) == []
    assert (await till.reconcile()).rows == []


async def test_a_fixed_price_is_final_at_once(till: Till) -> None:
    """Where the gateway's list says so, nothing is read again."""
    await till.pipeline.client.price_list()
    saved = await till.make()
    assert saved.money is not None
    assert (saved.money.quota, saved.money.final, saved.cost) == (PRICE, True, PRICE)
    assert await open_keys(till) == []


async def test_a_failure_is_given_back(till: Till) -> None:
    """Its own figure is 0 once it is; until then the record stays open."""
    till.sim.money(settle_delay_s=3600)
    till.sim.faults.add(Fault("moderation", "create", times=1))
    with pytest.raises(GenerationFailedError):
        await till.make()
    failed = await till.record()
    assert failed.money is not None
    assert (failed.state, failed.money.cost, failed.money.final) == ("failed", None, False)
    assert (await till.reconcile()).counts == {}
    till.sim.money(settle_delay_s=0)
    assert (await till.reconcile()).counts == {"settled": 1}
    money = (await till.record()).money
    assert money is not None
    assert (money.quota, money.final, sum(till.sim.purse.used.values())) == (0, True, 0)
    assert money.refund is not None
    assert money.refund.quota == PRICE


async def test_a_failure_that_is_given_back_at_once_needs_no_second_look(till: Till) -> None:
    """It is asked once more when it is recorded."""
    till.sim.faults.add(Fault("moderation", "create", times=1))
    with pytest.raises(GenerationFailedError):
        await till.make()
    failed = await till.record()
    assert failed.money is not None
    assert (failed.money.quota, failed.money.final) == (0, True)
    assert await open_keys(till) == []


async def test_without_a_log_the_task_is_asked(till: Till) -> None:
    """Its own figure is believed some minutes after its end."""
    till.sim.money(absent=["log", "status"], settles_at=1.25)
    await till.make()
    assert (await till.reconcile()).counts == {}
    await till.later(minutes=3)
    assert (await till.reconcile()).counts == {"settled": 1}
    money = (await till.record()).money
    assert money is not None
    assert (money.quota, money.basis, str(money.spent)) == (2_070_000, "task", "2070000 quota")


async def test_a_cost_that_only_the_log_tells_is_learnt_from_it(till: Till) -> None:
    """A task whose answers show no figure is tied to its charge by the id of the call."""
    till.sim.speak(status="flat")
    till.sim.money(settles_at=1.0)
    saved = await till.make()
    assert (saved.cost, await open_keys(till)) == (None, ["k"])
    await till.later(minutes=11)
    assert (await till.reconcile()).counts == {"settled": 1}
    money = (await till.record()).money
    assert money is not None
    assert (money.quota, money.basis, money.final) == (PRICE, "log", True)
    assert await open_keys(till) == []


async def test_a_cost_that_nobody_tells_stays_unknown(till: Till) -> None:
    """Where there is no log for good, nothing is looked for again; one that cannot be read now is."""
    till.sim.speak(status="flat")
    till.sim.money(absent=["log"])
    await till.make()
    assert (await till.reconcile()).counts == {"settled": 1}
    money = (await till.record()).money
    assert money is not None
    assert (money.quota, money.spent, money.final) == (None, None, True)
    assert await open_keys(till) == []


async def test_a_cost_that_never_becomes_final_is_left_after_a_week(till: Till) -> None:
    """Nothing is asked for ever."""
    till.sim.money(absent=["log"])
    await till.make()
    await till.later(days=8)
    assert await open_keys(till) == []


async def test_a_provider_that_shows_no_money_is_calculated(sim: Simulator) -> None:
    """From the user's prices, by what its answer says of the clip, and marked so."""
    sim.configure(polls_to_finish=1, clip_bytes=4096)
    stated = '{"senseaudio": {"currency": "CNY", "prices": [{"models": "*", "per": "second", "amount": "0.6"}]}}'
    request = VideoRequest(model="Seedance-2.0", prompt="a cat", duration=5)
    prices = read_price_tables(stated)["senseaudio"]
    async with SenseAudioClient(sim.key, sim.senseaudio_url, prices=prices) as client:
        pipeline = Pipeline(client, Ledger(MemoryStore()), TEMPLATE, sleep=VirtualTime().sleep)
        entry = (await pipeline.create(request, pipeline.draft("k", request, {}))).entry
        await pipeline.save(await pipeline.ledger.existing("k"), await pipeline.wait(entry))
        money = (await pipeline.ledger.existing("k")).record.money
    assert money is not None
    assert (str(money.spent), money.basis, money.final) == ("3 CNY", "calculated", True)


async def test_a_lost_create_heals_by_its_id(till: Till) -> None:
    """Newer trees name its task in the row; the log was late, so the run had to leave it."""
    till.sim.money(task_ids=True, log_delay_s=60)
    lost = await till.lose()
    assert lost.request_id is not None
    assert (await till.reconcile()).counts == {"unknown": 1}
    till.sim.money(clock_ahead_s=120)
    assert (await till.reconcile()).counts == {"saved": 1}
    assert till.sim.billed == 1
    assert (await till.record()).task_id == till.sim.tasks[0].task_id


async def lose_after_the_id(till: Till) -> LedgerRecord:
    """A create whose answer breaks off after the task's id; neither log nor row help."""
    till.sim.money(absent=["log"])
    till.sim.speak(create="cut_after_id")
    with pytest.raises(UnknownOutcomeError):
        await till.pipeline.create(REQUEST, till.pipeline.draft("k", REQUEST, {}))
    till.sim.speak()
    record = await till.record()
    assert (record.state, record.task_id) == ("unknown", till.sim.tasks[0].task_id)
    return record


async def test_a_task_that_a_broken_answer_named_is_taken_up(till: Till) -> None:
    """The provider knows it under this key, as made in that moment."""
    await lose_after_the_id(till)
    assert (await till.reconcile()).counts == {"saved": 1}
    assert till.sim.billed == 1


async def test_a_task_of_another_record_or_time_is_not_taken_up(till: Till) -> None:
    """Nor one that the provider does not know: a person decides."""
    lost, pipeline = await lose_after_the_id(till), till.pipeline
    other = await pipeline.ledger.claim(pipeline.draft("other", REQUEST, {}))
    assert other is not None
    await pipeline.ledger.move(other, "submitted", task_id=lost.task_id)
    assert (await till.reconcile()).counts == {"unknown": 1, "saved": 1}
    early = lost.created_at - timedelta(minutes=5)
    await pipeline.ledger.move(await pipeline.ledger.existing("k"), "unknown", sent_at=early, gave_up_at=early)
    await pipeline.ledger.store.delete(pipeline.ledger.path("other"))
    assert (await till.reconcile()).counts == {"unknown": 1}
    await pipeline.ledger.move(await pipeline.ledger.existing("k"), "unknown", task_id="task_of_nobody")
    assert (await till.reconcile()).counts == {"unknown": 1}


async def test_other_creates_of_the_key_do_no_harm(till: Till) -> None:
    """Two lost in the same second, and a stranger's: each finds its own."""
    till.sim.money(task_ids=True, log_delay_s=60)
    keys = ["a", "b"]
    for key in keys:
        await till.lose(key)
    await till.pipeline.client.create(REQUEST)
    till.sim.money(log_delay_s=0, clock_ahead_s=120)
    assert (await till.reconcile()).counts == {"saved": 2}
    found = [(await till.record(key)).task_id for key in keys]
    assert found == [task.task_id for task in till.sim.tasks[:2]]


@pytest.mark.parametrize(("ours", "outcome"), [(True, "saved"), (False, "unknown")])
async def test_elimination_only_where_the_key_is_ours(till: Till, ours: bool, outcome: str) -> None:
    """Nothing came back at all: the only charge that nobody knows is it, if nobody else can have made it."""
    till.sim.money(task_ids=True)
    lost = await till.lose(fault="lost_after")
    assert lost.request_id is None
    assert (await till.reconcile(key_is_ours=ours)).counts == {outcome: 1}


class CountingFolder(LocalStore):
    """Counts what is read."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.read_keys: list[str] = []

    async def get(self, key: str) -> tuple[bytes, str] | None:
        self.read_keys.append(key)
        return await super().get(key)


@pytest.mark.parametrize("create_only", [False, True])
@pytest.mark.parametrize(("ours", "read"), [(False, 1), (True, 21)])
async def test_records_that_ended_before_the_log_begins_are_not_read(
    till: Till, tmp_path: Path, ours: bool, read: int, create_only: bool
) -> None:
    """Unless a create would be taken up by elimination: then every record may claim its task, once."""
    folder = CountingFolder(tmp_path)
    ledger = Ledger(CreateOnlyStore(folder) if create_only else folder)
    till.pipeline = replace(till.pipeline, ledger=ledger)
    earlier = time.time() - 40 * 86_400
    for number in range(21):
        old = LedgerRecord.model_validate(
            {
                "key": f"old-{number}",
                "state": "saved",
                "provider": "sudashui",
                "model": REQUEST.model,
                "account": till.pipeline.client.account,
                "fingerprint": "f",
                "task_id": f"task_old_{number}",
                "request_id": f"20260101000000{number:025}",
            }
        )
        await ledger.store.put(ledger.path(old.key), old.to_bytes())
    written = [path for path in tmp_path.rglob("*") if path.is_file() and "old-" in str(path)]
    for path in written:
        os.utime(path, (earlier, earlier))
    await ledger.move(await ledger.existing("old-0"), "saved", reason="looked at")
    till.sim.money(task_ids=True)
    await till.lose(fault="lost_after")
    folder.read_keys.clear()
    assert (await till.reconcile(key_is_ours=ours)).counts == {"saved" if ours else "unknown": 1}
    assert len({key for key in folder.read_keys if "old-" in key}) == read


async def test_a_create_healed_by_elimination_keeps_the_id_of_its_call(till: Till) -> None:
    """Its charge does not name its task, the settlement does: then the charge is tied to the task all the same."""
    till.sim.money(settles_at=1.25)
    await till.lose(fault="lost_after")
    till.sim.finish(till.sim.tasks[0].task_id)
    till.sim.settle()
    assert (await till.reconcile(key_is_ours=True)).counts == {"saved": 1}
    record = await till.record()
    assert record.request_id == till.sim.purse.bills[till.sim.tasks[0].task_id].request_id


async def test_an_adopted_task_is_tied_to_the_charge_that_was_found_for_it(till: Till) -> None:
    """Of the charge alone nobody could tell the task; a person did, and the bill then agrees."""
    await till.lose(fault="lost_after")
    assert (await till.reconcile(key_is_ours=True)).counts == {"unknown": 1}
    await adopt(till.pipeline.ledger, "k", till.sim.tasks[0].task_id)
    assert (await till.reconcile()).counts == {"saved": 1}
    await till.later(minutes=11)
    assert (await till.reconcile()).counts == {"settled": 1}
    record = await till.record()
    assert record.money is not None
    assert (record.money.quota, record.money.basis) == (PRICE, "log")
    bill = await bill_of(till.pipeline, [record], month_of(""))
    assert bill.counts == {"agrees": 1}


async def test_a_task_that_is_given_up_is_still_paid_for(till: Till) -> None:
    """A person frees its key, and another one is made: both stand in the ledger and in the bill, to the last unit."""
    till.sim.money(settles_at=1.25)
    pipeline = till.pipeline
    await pipeline.create(REQUEST, pipeline.draft("k", REQUEST, {}))
    given_up = till.sim.tasks[0].task_id
    await release(pipeline.ledger, "k", force=True)
    await till.make()
    till.sim.finish(given_up)
    await till.later(minutes=11)
    assert (await till.reconcile()).counts == {"settled": 2}
    records, troubles = await account_records(pipeline)
    assert troubles == []
    assert {record.task_id: record.money and record.money.quota for record in records} == {
        task.task_id: 2_070_000 for task in till.sim.tasks
    }
    assert (await bill_of(pipeline, records, month_of(""))).counts == {"agrees": 2}
    assert await open_keys(till) == []


async def test_a_run_that_dies_while_it_gives_a_task_up_does_not_double_it(till: Till) -> None:
    """The task has a record of its own already, and the freed key still names it: it counts once."""
    pipeline = till.pipeline
    await pipeline.create(REQUEST, pipeline.draft("k", REQUEST, {}))
    freed = await release(pipeline.ledger, "k", force=True)
    await pipeline.ledger.set_aside(freed.record)
    await pipeline.ledger.set_aside(freed.record)
    records, _ = await account_records(pipeline)
    assert [record.key for record in records] == [f"task-sudashui-{freed.record.task_id}"]


async def test_another_task_for_a_key_does_not_take_over_the_money_of_the_first(till: Till) -> None:
    """A person ties another task to it by force: each keeps its own charge."""
    pipeline = till.pipeline
    await pipeline.create(REQUEST, pipeline.draft("k", REQUEST, {}))
    other = await pipeline.client.create(REQUEST)
    adopted = (await adopt(pipeline.ledger, "k", other, force=True)).record
    assert (adopted.request_id, adopted.money) == (None, None)
    till.sim.finish(till.sim.tasks[0].task_id)
    assert (await till.reconcile()).counts == {"saved": 1}
    records, _ = await account_records(pipeline)
    assert {record.task_id for record in records} == {task.task_id for task in till.sim.tasks}
    assert (await bill_of(pipeline, records, month_of(""))).sums("billed")[0].amount == Decimal("9.936")


async def test_an_adopted_task_counts_to_the_month_in_which_it_was_sent(till: Till) -> None:
    """Not to that in which somebody decided about it."""
    lost = await till.lose(fault="lost_after")
    assert lost.sent_at is not None
    before = lost.sent_at - timedelta(days=40)
    await till.pipeline.ledger.move(await till.pipeline.ledger.existing("k"), "unknown", sent_at=before)
    assert (await adopt(till.pipeline.ledger, "k", "task_x")).record.submitted_at == before


async def test_what_was_taken_first_is_known_from_the_settlement_alone(till: Till) -> None:
    """Its own row is not tied to the task: nothing is billed twice, and charge and supplement make the cost."""
    till.sim.money(settles_at=1.25)
    await till.lose(fault="lost_after")
    await adopt(till.pipeline.ledger, "k", till.sim.tasks[0].task_id)
    assert (await till.reconcile()).counts == {"saved": 1}
    await till.later(minutes=11)
    assert (await till.reconcile()).counts == {"settled": 1}
    record = await till.record()
    assert record.money is not None
    assert (record.money.charge and record.money.charge.quota, record.money.quota) == (PRICE, 2_070_000)
    bill = await bill_of(till.pipeline, [record], month_of(""))
    assert (bill.counts, bill.sums("billed")) == ({"agrees": 1}, bill.sums("recorded"))


async def test_what_cannot_be_told_apart_is_left_to_a_person(till: Till) -> None:
    """Two lost without an id: both are charged, and whose is whose is open. The evidence stands in the record."""
    till.sim.money(task_ids=True)
    for key in ("a", "b"):
        await till.lose(key, fault="lost_after")
    assert (await till.reconcile(key_is_ours=True)).counts == {"unknown": 2}
    money = (await till.record("a")).money
    assert money is not None
    assert "2 lost creates" in (money.evidence or "")


async def test_the_evidence_stands_where_a_person_looks(till: Till) -> None:
    """In the record, the error and the page: each charge that fits with its distance, and why it is not certain."""
    await till.pipeline.client.create(REQUEST)  # a stranger's, or nobody knows
    lost = await till.lose(fault="lost_after")
    (row,) = (await till.reconcile()).rows
    kept = (await till.record()).money
    assert kept is not None
    assert row.candidates == kept.candidates
    charges = [till.sim.purse.bills[task.task_id] for task in till.sim.tasks]
    assert {one.request_id for one in kept.candidates} == {bill.request_id for bill in charges}
    for one in kept.candidates:
        assert (one.model, one.quota, one.task_id) == (REQUEST.model, PRICE, None)
        assert one.seconds is not None
        assert abs(one.seconds) < 30
        assert {"it names no task", "others may use this key", "other charges fit as well"} <= {*one.doubt.split(", ")}
    page = decisions_markdown([row])
    with pytest.raises(UnknownOutcomeError) as refusal:
        await till.pipeline.create(REQUEST, till.pipeline.draft("k", REQUEST, {}))
    shown = json.loads(lost.model_copy(update={"money": kept}).to_bytes())["money"]["candidates"]
    for one in kept.candidates:
        assert str(one.request_id) in str(refusal.value)
        assert str(one.request_id) in page
        assert one.doubt in str(refusal.value)
        assert one.request_id in [charge["request_id"] for charge in shown]
    await adopt(till.pipeline.ledger, "k", till.sim.tasks[1].task_id)
    assert (await till.reconcile()).rows[0].candidates == ()


async def test_a_cap_counts_what_it_has_really_cost(till: Till) -> None:
    """Settled after the run's end, by one of two reconcilers at once; it was taken with the most it might cost."""
    till.sim.money(settles_at=0.5)
    prices = '"currency": "CNY", "prices": [{"models": "*", "per": "video", "amount": "9"}]}}'
    till.pipeline.client.price_table = read_price_tables(f"{UNIT[:-2]}, {prices}")["sudashui"]
    budget = Budget(tag_month_money={"spring": "20 CNY"}, cost_center_month_money={"x": "99 CNY"})
    guard = BudgetGuard(till.pipeline.ledger, budget)
    till.pipeline = replace(till.pipeline, budget=guard, labels=Labels(("spring", "other"), "x"))
    record = await till.make()
    taken = {label: str(money) for label, money in (record.taken or {}).items()}
    assert taken == {"tag:spring": "9 CNY", "cost_center:x": "9 CNY"}
    await guard.finish()
    store, month = till.pipeline.ledger.store, f"{record.created_at:%Y-%m}"
    labels = (Label("tag", "spring"), Label("cost_center", "x"))
    assert await taken_in(store, month) == dict.fromkeys(labels, (Money(amount=Decimal(9), currency="CNY"),))
    await till.later(minutes=11)
    done = await asyncio.gather(till.reconcile(), till.reconcile())
    assert sum(report.counts.get("settled", 0) for report in done) == 1
    settled = (await till.record()).money
    assert settled is not None
    assert settled.spent is not None
    assert settled.spent.amount < 9
    assert await taken_in(store, month) == dict.fromkeys(labels, (settled.spent,))


async def test_a_missing_row_frees_no_key(till: Till) -> None:
    """It is evidence, for a person; nothing is sent again by a machine."""
    till.sim.faults.add(Fault("502_html", "create", times=1))
    with pytest.raises(UnknownOutcomeError):
        await till.pipeline.create(REQUEST, till.pipeline.draft("k", REQUEST, {}))
    await till.pipeline.client.create(REQUEST)
    entry = await till.pipeline.ledger.existing("k")
    assert entry.record.sent_at is not None
    past = entry.record.sent_at - timedelta(hours=1)
    await till.pipeline.ledger.move(entry, "unknown", sent_at=past, gave_up_at=past)
    assert (await till.reconcile(key_is_ours=True)).counts == {"unknown": 1}
    record = await till.record()
    assert record.state == "unknown"
    assert record.money is not None
    assert "most likely nothing was made" in (record.money.evidence or "")


async def test_a_refund_names_the_task_of_a_lost_create(till: Till) -> None:
    """Older trees name it only when money moves: the one task that nobody knows, if nobody else uses the key."""
    till.sim.faults.add(Fault("moderation", "create", times=1))
    await till.pipeline.client.create(REQUEST)
    lost = await till.lose()
    task = till.sim.tasks[-1]
    assert lost.task_id is None
    till.sim.fail(task.task_id, "no faces")
    assert (await till.reconcile(key_is_ours=False)).counts == {"unknown": 1}
    # The first create is nobody's in this ledger, so the key is not the ledger's alone after all.
    assert (await till.reconcile(key_is_ours=True)).counts == {"unknown": 1}


async def test_a_refund_names_the_only_task_there_is(till: Till) -> None:
    """The other side of it: nothing else uses the key."""
    await till.lose()
    till.sim.fail(till.sim.tasks[-1].task_id, "no faces")
    assert (await till.reconcile(key_is_ours=True)).counts == {"failed": 1}
    record = await till.record()
    assert record.money is not None
    assert (record.task_id, record.money.quota) == (till.sim.tasks[-1].task_id, 0)


def break_for(monkeypatch: pytest.MonkeyPatch, client: Any, name: str, strange: Callable[[Any], bool]) -> None:
    """Let one method of a client break, with an error that is none of ours, for what is strange."""
    real = getattr(client, name)

    async def broken(asked: Any) -> Any:
        if strange(asked):
            raise LookupError("strange")
        return await real(asked)

    monkeypatch.setattr(client, name, broken)


async def test_a_cost_that_breaks_stops_no_other(till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of our own in one record is told of it alone."""
    till.sim.money(absent=["log"])
    strange = (await till.make("a")).task_id
    await till.make("b")
    for key in ("a", "b"):
        await till.later(key, minutes=3)
    break_for(monkeypatch, till.pipeline.client, "get", lambda task_id: task_id == strange)
    report = await till.reconcile()
    assert {row.key: row.outcome for row in report.rows} == {"a": "trouble", "b": "settled"}


async def test_a_search_that_breaks_stops_no_other(till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    """That create waits for a person, as before; the other one's video is fetched."""
    till.sim.money(task_ids=True, log_delay_s=60)
    strange = (await till.lose("a")).request_id
    await till.lose("b")
    till.sim.money(log_delay_s=0, clock_ahead_s=120)
    break_for(monkeypatch, till.pipeline.client, "find_created", lambda lost: lost.request_id == strange)
    report = await till.reconcile()
    assert {row.key: row.outcome for row in report.rows} == {"a": "unknown", "b": "saved"}


async def test_a_ledger_that_cannot_be_listed_stops_no_healing(till: Till, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is exact by its id needs no other record."""
    till.sim.money(task_ids=True, log_delay_s=60)
    await till.lose()
    till.sim.money(log_delay_s=0, clock_ahead_s=120)

    async def nothing(ledger: Ledger, since: Any = None) -> AsyncIterator[Any]:
        raise DestinationError("the store is down", retryable=True)
        yield ledger

    monkeypatch.setattr(lost_creates, "every_record", nothing)
    assert [row.outcome for row in (await till.reconcile()).rows] == ["saved"]
