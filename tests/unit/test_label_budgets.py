"""Caps of tags and cost centers: never above over all runs, by a small object a label and by names alone."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from prefect_genvideo.errors import DestinationError
from prefect_genvideo.ledger.allowances import settle_taken, sweep_allowances
from prefect_genvideo.ledger.budget import Budget, BudgetError, BudgetGuard, Reached
from prefect_genvideo.ledger.record import LedgerRecord
from prefect_genvideo.ledger.spent import NOTHING, Expected, Label, Spent, marked_in, names_with, one_create, spent_in
from prefect_genvideo.ledger.store import Ledger
from prefect_genvideo.prices import Estimate, Money, MoneyFacts
from prefect_genvideo.storage import CreateOnlyStore, LocalStore, ObjectStore
from prefect_genvideo.storage.ledgers import SHARED
from tests.fixtures import spending_child
from tests.fixtures.money import MemoryStore, Trouble, TroubledMemory, draft

NOON = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)
TAG = "campaign-x"


def create(key: str, price: str | None = "2", tags: tuple[str, ...] = (TAG,), **facts: Any) -> LedgerRecord:
    """A create that costs so many CNY at most."""
    told = None if price is None else MoneyFacts(estimate=Estimate(high=Decimal(price), currency="CNY"))
    return draft(key, **{"created_at": NOON, "money": told, "tags": tags, **facts})


def guard_of(store: ObjectStore, cap: str = "10 CNY", told: list[Reached] | None = None, **caps: Any) -> BudgetGuard:
    """A run of its own; `told` takes what it says."""
    budget = Budget.model_validate({"tag_month_money": {TAG: cap}, **caps})
    said = list[Reached]() if told is None else told
    return BudgetGuard(Ledger(store, on_trouble=lambda message: None), budget, now=lambda: NOON, reached=said.append)


async def spend(guard: BudgetGuard, record: LedgerRecord) -> bool:
    """Reserve and claim as a create does; whether it may be sent."""
    try:
        await guard.reserve(record)
    except BudgetError:
        return False
    assert await guard.ledger.claim(record) is not None
    return True


async def ledger_says(store: ObjectStore, *labels: Label) -> list[Decimal]:
    """What names say of labels."""
    found = await Ledger(store).reservations.marked("2026-11", [label.mark for label in labels])
    return [found[label.mark].in_currency("CNY") for label in labels]


class SlowMemory(MemoryStore):
    """Lets others run between reading and writing."""

    async def get(self, key: str) -> tuple[bytes, str] | None:
        found = await super().get(key)
        await anyio.lowlevel.checkpoint()
        return found


async def test_a_tag_s_cap_holds_and_names_the_tag() -> None:
    """Other tags, and videos without one, go on; the next month is another one."""
    guard = guard_of(MemoryStore(), "5 CNY")
    assert [await spend(guard, create(key)) for key in "ab"] == [True, True]
    with pytest.raises(BudgetError) as refusal:
        await guard.reserve(create("c", tags=("spring", TAG)))
    (problem,) = refusal.value.problems
    assert (problem.field, problem.value) == ("budget.tag_month_money", "6 CNY with this one")
    assert TAG in problem.limit
    assert "2026-12-01" in problem.limit
    assert guard.run.generations == 2
    assert await spend(guard, create("d", tags=("spring",)))
    assert await spend(guard, create("e", tags=()))
    assert await spend(guard, create("f").model_copy(update={"created_at": NOON.replace(month=12)}))


async def test_a_cost_center_has_a_cap_of_its_own() -> None:
    """Out of both or out of none: what the one refuses is not taken from the other."""
    store = MemoryStore()
    guard = guard_of(store, "100 CNY", cost_center_month_money={"marketing": "3 CNY"})
    assert await spend(guard, create("a", cost_center="marketing"))
    with pytest.raises(BudgetError) as refusal:
        await guard.reserve(create("b", cost_center="marketing"))
    assert [problem.field for problem in refusal.value.problems] == ["budget.cost_center_month_money"]
    assert await spend(guard, create("c", "98", cost_center="sales"))


async def test_runs_at_once_never_spend_more_and_leave_nothing_that_fits() -> None:
    """Eight runs, thirty creates each, a cap of fifty; what they take in advance is taken once."""
    store = SlowMemory()
    guards = [guard_of(store, "50 CNY") for _ in range(8)]
    wanted = [spend(guard, create(f"{number}-{n}", "1")) for number, guard in enumerate(guards) for n in range(30)]
    spent = sum(await asyncio.gather(*wanted))
    assert spent <= 50
    for guard in guards:
        await guard.finish()
    assert spent + sum([await spend(guard_of(store, "50 CNY"), create(f"late-{n}", "1")) for n in range(60)]) == 50


def _spending(path: Path, **more: Any) -> subprocess.Popen[str]:
    options = {"path": str(path), "tag": TAG, "cap": "20 CNY", "price": "1 CNY", "creates": 40, **more}
    command = [sys.executable, spending_child.__file__, json.dumps(options)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


async def test_processes_race_for_the_last_money_and_one_dies(tmp_path: Path) -> None:
    """Three at once and one that is killed in the middle: at most twenty creates of 1 CNY, ever."""
    running = [_spending(tmp_path), _spending(tmp_path), _spending(tmp_path, dies_after=5)]
    spent = [key for process in running for key in process.communicate(timeout=60)[0].split()]
    assert [process.returncode for process in running[:2]] == [0, 0]
    late, now = guard_of(LocalStore(tmp_path), "20 CNY"), datetime.now(timezone.utc)
    spent += [key for key in map(str, range(20)) if await spend(late, create(key, "1", created_at=now))]
    assert 15 <= len(set(spent)) == len(spent) <= 20  # a dead run keeps what it has taken, five more at most


async def test_the_store_is_asked_rarely() -> None:
    """Two hundred videos of a batch cost some twenty writes, not two hundred."""
    store = MemoryStore()
    guard = guard_of(store, "1000 CNY")
    for number in range(200):
        await guard.reserve(create(str(number), "1"))
    assert len([key for key in store.put_keys if key.startswith(SHARED)]) < 20
    refused = guard_of(store, "1000 CNY")
    listed = len(store.put_keys)
    assert not any([await spend(refused, create(f"r{number}", "999")) for number in range(20)])
    assert len(store.put_keys) == listed


async def test_runs_without_the_cap_are_counted_by_names_alone() -> None:
    """On every account; no record is read, and a reservation with more tags than a name holds loses none."""
    store = MemoryStore()
    others = Ledger(store)
    tags = tuple(f"tag {number}" for number in range(40))
    assert await others.claim(create("a", "1.5")) is not None
    assert await others.claim(create("b", "2.25", (TAG, *tags), account="another", cost_center="sales")) is not None
    marks = [Label("tag", TAG), Label("cost_center", "sales"), *(Label("tag", tag) for tag in tags)]
    said = await ledger_says(store, *marks)
    assert said == [Decimal("3.75"), *([Decimal("2.25")] * 41)]
    assert max(len(key.rpartition("/")[2]) for key in store.objects) <= 255
    guard = guard_of(store, "5 CNY")
    assert not await spend(guard, create("c"))
    assert await spend(guard, create("d", "1.25"))
    day = await Ledger(store).reservations.spent("2026-11", "another")
    assert (day.generations, day.in_currency("CNY")) == (1, Decimal("2.25"))


async def test_what_a_batch_has_reserved_and_not_spent_is_given_back() -> None:
    """Names of many rows with several tags, closed with what they have really cost."""
    store = MemoryStore()
    ledger = Ledger(store)
    price = Money(amount=Decimal(1), currency="CNY")
    labels = {str(n): tuple(Label("tag", f"tag {m}") for m in range(n, n + 9)) for n in range(20)}
    creates = {key: Expected(4.0, price, named) for key, named in labels.items()}
    ledger.reservations.expect(draft().account, creates)
    entry = await ledger.claim(create("3", "1", tuple(label.name for label in labels["3"])))
    assert entry is not None
    assert await ledger_says(store, Label("tag", "tag 10"), Label("tag", "tag 27")) == [9, 1]
    submitted = await ledger.move(entry, "submitted", task_id="task_1")
    await ledger.move(submitted, "saved", money=MoneyFacts(cost=Decimal("0.5"), currency="CNY", final=True))
    await ledger.finish()
    assert await ledger_says(store, Label("tag", "tag 10"), Label("tag", "tag 27")) == [Decimal("0.5"), 0]
    left = [info.size async for info in store.list("_ledger/_reserved/")]
    assert set(left) == {0}


async def test_a_run_that_dies_keeps_what_it_has_taken() -> None:
    """The safe side; one that ends gives back the rest, and what was refused or cheaper than expected."""
    store = MemoryStore()
    dead = guard_of(store)
    assert [await spend(dead, create(f"d{n}")) for n in range(3)] == [True] * 3
    ended = guard_of(store)
    assert await spend(ended, create("e0"))
    assert not await spend(guard_of(store), create("e1", "3"))
    ended.refund(create("e0"))
    await ended.finish()
    after = guard_of(store)
    assert await spend(after, create("a0"))
    entry = await after.ledger.existing("a0")
    submitted = await after.ledger.move(entry, "submitted", task_id="task_1")
    await after.ledger.move(submitted, "saved", money=MoneyFacts(cost=Decimal("0.5"), currency="CNY", final=True))
    await after.finish()
    assert await spend(guard_of(store), create("z", "1.5"))
    assert not await spend(guard_of(store), create("y", "2.5"))


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_write_that_fails_or_whose_answer_is_lost_takes_nothing_twice(when: Any) -> None:
    """It is tried again on what is there then."""
    store = TroubledMemory(Trouble(contains=SHARED, when=when, times=2))
    guard = guard_of(store, "2 CNY")
    assert await spend(guard, create("a"))
    store.troubles.append(Trouble(contains=SHARED, when=when))
    await guard.finish()
    assert not await spend(guard_of(store, "2 CNY"), create("b", "0.5"))
    assert await spend(guard_of(store, "2.5 CNY"), create("c", "0.5"))


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_correction_whose_answer_is_lost_counts_once(when: Any) -> None:
    """A video turns out to have cost 1 of the 2 that were taken: 1 is free again, not 2."""
    store = TroubledMemory()
    guard = guard_of(store, "2 CNY")
    record = await guard.reserve(create("a"))
    await guard.finish()
    settled = record.model_copy(update={"money": MoneyFacts(cost=Decimal(1), currency="CNY", final=True)})
    store.troubles.append(Trouble(contains=SHARED, when=when))
    await settle_taken(guard.ledger, settled)
    assert not await spend(guard_of(store, "2 CNY"), create("b", "1.5"))
    assert await spend(guard_of(store, "2 CNY"), create("c", "1"))


async def test_a_store_that_refuses_lets_nothing_be_sent() -> None:
    """And nothing is counted as sent."""
    guard = guard_of(TroubledMemory(Trouble(contains=SHARED, retryable=False)))
    with pytest.raises(DestinationError):
        await guard.reserve(create("a"))
    assert guard.run == Spent(0, 0.0)
    assert await spend(guard, create("a"))


@pytest.mark.parametrize("content", [b"{", b'{"version": 9, "kind": "tag", "name": "x"}', b"[]"])
async def test_an_object_that_cannot_be_read_is_no_empty_one(content: bytes) -> None:
    """Fails closed."""
    store = MemoryStore()
    guard = guard_of(store)
    assert await spend(guard, create("a"))
    (path,) = [key for key in store.objects if key.startswith(SHARED)]
    store.objects[path] = content
    with pytest.raises(DestinationError) as refusal:
        await guard_of(store).reserve(create("b"))
    assert refusal.value.reason == "unreadable"


async def test_an_unknown_price_is_refused_or_assumed() -> None:
    """Also that of a run without the cap, and an amount in another currency."""
    store = MemoryStore()
    assert not await spend(guard_of(store), create("a", None))
    assert await spend(guard_of(store), create("b", None, tags=("spring",)))
    guard = guard_of(store, unknown_price="assume", assumed_money="4 CNY")
    foreign = MoneyFacts(estimate=Estimate(high=Decimal("0.1"), currency="USD"))
    assert await spend(guard, create("c", None))
    assert await spend(guard, create("d").model_copy(update={"money": foreign}))
    assert not await spend(guard, create("e", "3"))
    assert await Ledger(store).claim(create("f", None)) is not None
    assert not await spend(guard_of(store), create("g"))


async def test_a_share_is_told_once_over_all_runs_and_stands_in_each() -> None:
    """By the tag's name."""
    store, told = MemoryStore(), list[Reached]()
    guards = [guard_of(store, told=told), guard_of(store, told=told)]
    for number, guard in enumerate(guards):
        assert await spend(guard, create(str(number), "4"))
    assert await spend(guards[0], create("last"))
    assert [(one.cap, one.label, one.period, one.spent, one.limit) for one in told] == [
        ("tag_month_money", TAG, "2026-11", "8 CNY", "10 CNY")
    ]
    assert [[one.spent for one in guard.near.values()] for guard in guards] == [["10 CNY"], ["8 CNY"]]


async def test_holds_of_runs_that_must_have_died_count_as_spent(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the object stays small; a run that was taken for dead goes on within the cap."""
    from prefect_genvideo.ledger import allowances

    monkeypatch.setattr(allowances, "_MOST_HOLDS", 3)
    store = MemoryStore()
    guards = [guard_of(store, "20 CNY") for _ in range(6)]
    for number, guard in enumerate(guards):
        assert await spend(guard, create(str(number)))
    (path,) = [key for key in store.objects if key.startswith(SHARED)]
    content = allowances.Taken.model_validate_json(store.objects[path])
    assert (len(content.held), content.ended) == (3, {"CNY": Decimal(6)})
    assert [await spend(guards[0], create(f"more-{n}")) for n in range(5)] == [True, True, True, True, False]


@pytest.mark.parametrize("create_only", [False, True])
async def test_what_no_cap_looks_at_any_more_is_removed(tmp_path: Path, create_only: bool) -> None:
    """Months that are over; what is counted of this one, and of hosts, stays."""
    folder = LocalStore(tmp_path)
    store = CreateOnlyStore(folder) if create_only else folder
    now = datetime.now(timezone.utc)
    for day in (now - timedelta(days=100), now):
        assert await spend(guard_of(store), create(f"{day:%m}", created_at=day))
    await store.put(f"{SHARED}/calls~0.json", b"{}", if_absent=True)
    await sweep_allowances(store)
    kept = [info.key.removeprefix(f"{SHARED}/") async for info in store.list(f"{SHARED}/")]
    assert [name.partition("~")[0] for name in kept] == [f"{now:%Y-%m}", "calls"]


@pytest.mark.parametrize(
    "caps",
    [
        {"tag_month_money": {"x": "much"}},
        {"tag_month_money": {"": "5 CNY"}},
        {"tag_month_money": {"x" * 201: "5 CNY"}},
        {"tag_month_money": {str(n): "5 CNY" for n in range(201)}},
        {"tag_month_money": {"x": "5 CNY"}, "cost_center_month_money": {"y": "5 USD"}},
    ],
)
def test_caps_that_make_no_sense(caps: dict[str, Any]) -> None:
    """Refused where they are stated."""
    with pytest.raises(ValidationError):
        Budget.model_validate(caps)


async def test_a_store_that_only_creates_keeps_it_as_strictly(tmp_path: Path) -> None:
    """By versions, as records."""

    class Conditionless(LocalStore):
        async def put(self, key: str, data: bytes, **conditions: Any) -> str:
            assert conditions.get("if_match") is None
            return await super().put(key, data, **conditions)

    store = CreateOnlyStore(Conditionless(tmp_path))
    guards = [guard_of(store, "10 CNY") for _ in range(4)]
    wanted = [spend(guard, create(f"{number}-{n}")) for number, guard in enumerate(guards) for n in range(4)]
    assert sum(await asyncio.gather(*wanted)) <= 5


PRICES = st.one_of(st.none(), st.decimals("0.01", "1000", places=2))
SPENDING = st.dictionaries(
    st.text("0123456789abcdef", min_size=10, max_size=10), st.lists(PRICES, min_size=1), max_size=40
)


@settings(max_examples=40, deadline=None)
@given(SPENDING)
def test_names_say_what_they_were_given(by_mark: dict[str, list[Decimal | None]]) -> None:
    """Any number of marks; each name fits a file system, and in all only the first counts."""
    marked = {
        mark: sum(
            (one_create(None, None if price is None else Money(amount=price, currency="CNY")) for price in prices),
            NOTHING,
        )
        for mark, prices in by_mark.items()
    }
    names = names_with("0" * 32, Spent(3, 12.0), marked)
    assert all(len(name) <= 255 for name in names)
    assert len(set(names)) == len(names)
    assert sum(map(spent_in, names), NOTHING) == Spent(3, 12.0)
    found = {mark: sum((marked_in(name, marked).get(mark, NOTHING) for name in names), NOTHING) for mark in marked}
    assert found == marked


STEPS = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(["create", "refuse", "settle", "end", "die"]), st.integers(1, 9)),
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_no_order_of_creates_ends_and_deaths_spends_more(steps: list[tuple[int, str, int]]) -> None:
    """Four runs at a cap of 30; what is accepted and not refused costs no more, and what ended leaves no hold."""

    async def run() -> None:
        store, spent = MemoryStore(), dict[str, Decimal]()
        guards = [guard_of(store, "30 CNY") for _ in range(4)]
        last: list[LedgerRecord | None] = [None] * 4
        for number, (index, step, price) in enumerate(steps):
            guard, record = guards[index], last[index]
            if step == "create" and await spend(guard, wanted := create(str(number), str(price))):
                spent[wanted.key], last[index] = Decimal(price), wanted
            elif step == "refuse" and record is not None:
                guard.refund(record)
                spent[record.key], last[index] = Decimal(0), None
            elif step == "settle" and record is not None:
                cost = spent[record.key] / 2
                await guard.ledger.reservations.ended(record.key, cost=Money(amount=cost, currency="CNY"))
                spent[record.key], last[index] = cost, None
            elif step in ("end", "die"):
                if step == "end":
                    await guard.finish()
                guards[index], last[index] = guard_of(store, "30 CNY"), None
            assert sum(spent.values()) <= 30

    asyncio.run(run())
