"""Caps are checked before money is spent, exactly within a run, and name the cap and when it frees up."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from pydantic import ValidationError

from prefect_genvideo.ledger.budget import Budget, BudgetError, BudgetGuard, Reached
from prefect_genvideo.ledger.record import LedgerRecord
from prefect_genvideo.ledger.spent import Spent, spent_in
from prefect_genvideo.ledger.store import Ledger
from prefect_genvideo.prices import Estimate, Money, MoneyFacts
from prefect_genvideo.storage import ObjectInfo
from tests.fixtures.money import MemoryStore, draft

NOON = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)


def guard_of(ledger: Ledger | None = None, /, **caps: float) -> BudgetGuard:
    return BudgetGuard(ledger or Ledger(MemoryStore()), Budget.model_validate(caps), now=lambda: NOON)


def wanted(key: str = "k", seconds: float | None = 4) -> LedgerRecord:
    return draft(key, seconds=seconds, created_at=NOON)


async def spend(guard: BudgetGuard, key: str, seconds: float | None = 4) -> None:
    """Reserve and claim, as a create does."""
    record = wanted(key, seconds)
    await guard.reserve(record)
    if await guard.ledger.claim(record) is None:
        guard.refund(record)


async def test_without_caps_everything_passes() -> None:
    """0 is no limit, and the ledger is not even listed."""
    guard = guard_of()
    for n in range(50):
        await guard.reserve(wanted(str(n)))
    assert guard.run == Spent(50, 200.0)


@pytest.mark.parametrize(
    ("caps", "field"),
    [
        ({"run_generations": 2}, "budget.run_generations"),
        ({"run_seconds": 11}, "budget.run_seconds"),
        ({"day_generations": 2}, "budget.day_generations"),
        ({"day_seconds": 11}, "budget.day_seconds"),
    ],
)
async def test_each_cap_holds_and_is_named(caps: dict[str, float], field: str) -> None:
    """Two of four seconds pass, the third does not; it is not counted."""
    guard = guard_of(**caps)
    await spend(guard, "a")
    await spend(guard, "b")
    with pytest.raises(BudgetError) as refusal:
        await guard.reserve(wanted("c"))
    assert [problem.field for problem in refusal.value.problems] == [field]
    assert guard.run == Spent(2, 8.0)


async def test_a_days_cap_says_when_it_frees_up() -> None:
    """At the next midnight, UTC; a run's cap never does."""
    guard = guard_of(day_generations=1, run_generations=1)
    await spend(guard, "a")
    with pytest.raises(BudgetError) as refusal:
        await guard.reserve(wanted("b"))
    limits = {problem.field: problem.limit for problem in refusal.value.problems}
    assert "2026-11-23 00:00 UTC" in limits["budget.day_generations"]
    assert "another run" in limits["budget.run_generations"]


async def test_a_day_counts_what_other_runs_have_sent() -> None:
    """The ledger in the store is the count; another account's creates are another count."""
    earlier = Ledger(MemoryStore())
    for n in range(3):
        await earlier.claim(draft(f"earlier-{n}", created_at=NOON))
        await earlier.claim(draft(f"foreign-{n}", created_at=NOON, account="another"))
    guard = guard_of(Ledger(earlier.store), day_generations=4)
    await spend(guard, "a")
    with pytest.raises(BudgetError):
        await guard.reserve(wanted("b"))


class FarStore(MemoryStore):
    """A store that others use while it answers."""

    async def list(self, prefix: str = "") -> AsyncIterator[ObjectInfo]:
        found = [info async for info in super().list(prefix)]
        await asyncio.sleep(0.002)
        for info in found:
            yield info

    async def put(self, key: str, data: bytes, **options: Any) -> str:
        await asyncio.sleep(0.002)
        return await super().put(key, data, **options)


@pytest.mark.parametrize("caps", [{"day_generations": 5}, {"day_seconds": 20}, {"month_money": "5 CNY"}])
async def test_runs_at_once_never_go_over_a_day_or_month(caps: dict[str, Any]) -> None:
    """Ten machines begin in one moment: what each may send is reserved before it counts the others."""
    store = FarStore()

    async def run(machine: int) -> int:
        guard, sent = guard_of(Ledger(store), **caps), 0
        for n in range(5):
            record = priced(f"{machine}-{n}", "1", seconds=4)
            try:
                await guard.reserve(record)
            except BudgetError:
                continue
            assert await guard.ledger.claim(record) is not None
            sent += 1
        return sent

    at_once = sum(await asyncio.gather(*map(run, range(10))))
    assert at_once <= 5
    assert at_once + await run(10) == 5


async def test_what_is_refused_is_not_left_reserved() -> None:
    """Another run may spend what this one could not."""
    store = MemoryStore()
    guard = guard_of(Ledger(store), day_generations=1, run_seconds=3)
    with pytest.raises(BudgetError):
        await guard.reserve(wanted("a"))
    await spend(guard_of(Ledger(store), day_generations=1), "b")


async def test_a_cap_is_exact_when_all_come_at_once() -> None:
    """A hundred coroutines, a cap of seven."""
    guard = guard_of(run_generations=7)
    results = await asyncio.gather(*(guard.reserve(wanted(str(n))) for n in range(100)), return_exceptions=True)
    assert sum(isinstance(result, LedgerRecord) for result in results) == 7


async def test_what_is_reserved_while_the_ledger_is_listed_is_counted() -> None:
    """A create between its reservation and its claim is in no listing yet."""
    guard = guard_of(day_generations=2)
    first = wanted("a")
    await guard.reserve(first)
    guard._others.clear()  # pyright: ignore[reportPrivateUsage] - as if 20 s had passed
    await spend(guard, "b")
    with pytest.raises(BudgetError):
        await guard.reserve(wanted("c"))


async def test_a_lost_claim_is_not_counted_and_a_refused_create_is_given_back() -> None:
    """Neither made anything."""
    guard = guard_of(run_generations=1, day_generations=1)
    record = wanted("a")
    await guard.reserve(record)
    guard.refund(record)
    await spend(guard, "b")
    guard.refund(wanted("b"))
    await spend(guard, "c")
    assert guard.run == Spent(1, 4.0)


async def test_a_video_of_unknown_length_counts_as_one_without_seconds() -> None:
    """The caps on generations hold it."""
    guard = guard_of(run_seconds=5)
    await spend(guard, "a", None)
    await spend(guard, "b", 5)
    assert guard.run == Spent(2, 5.0)


# Money.


def priced(key: str, amount: str | None = "2", currency: str = "CNY", **facts: Any) -> LedgerRecord:
    """A create that costs so much at most."""
    told = None if amount is None else MoneyFacts(estimate=Estimate(high=Decimal(amount), currency=currency))
    return draft(key, created_at=NOON, money=told, **facts)


def money_guard(ledger: Ledger | None = None, /, **caps: Any) -> tuple[BudgetGuard, list[Reached]]:
    """A guard, and what it has told."""
    told = list[Reached]()
    budget = Budget.model_validate(caps)
    return BudgetGuard(ledger or Ledger(MemoryStore()), budget, now=lambda: NOON, reached=told.append), told


async def send(guard: BudgetGuard, record: LedgerRecord) -> None:
    """Reserve and claim, as a create does."""
    await guard.reserve(record)
    assert await guard.ledger.claim(record) is not None


@pytest.mark.parametrize(
    ("cap", "frees"), [("run", "another run"), ("day", "2026-11-23 00:00 UTC"), ("month", "2026-12-01 00:00 UTC")]
)
async def test_money_is_capped_and_says_when_it_frees_up(cap: str, frees: str) -> None:
    """Two of 2 CNY pass a cap of 5, the third does not."""
    guard, _ = money_guard(**{f"{cap}_money": "5 CNY"})
    for key in "ab":
        await send(guard, priced(key))
    with pytest.raises(BudgetError) as refusal:
        await guard.reserve(priced("c"))
    (problem,) = refusal.value.problems
    assert (problem.field, problem.value) == (f"budget.{cap}_money", "6 CNY with this one")
    assert frees in problem.limit


async def test_a_day_and_a_month_count_the_money_of_other_runs_by_names_alone() -> None:
    """No record is read: the names of the reservations say it, and those of other accounts do not count."""
    store = MemoryStore()
    earlier = Ledger(store)
    for number in range(3):
        assert await earlier.claim(priced(f"e{number}", "1.5")) is not None
        assert await earlier.claim(priced(f"f{number}", "99", account="another")) is not None
    yesterday = NOON - timedelta(days=1)
    assert await earlier.claim(priced("y", "4").model_copy(update={"created_at": yesterday})) is not None
    for cap, limit, value in (("day", "5 CNY", "6.5 CNY"), ("month", "10 CNY", "10.5 CNY")):
        guard, _ = money_guard(Ledger(store), **{f"{cap}_money": limit})
        with pytest.raises(BudgetError) as refusal:
            await guard.reserve(priced("mine"))
        assert [problem.value for problem in refusal.value.problems] == [f"{value} with this one"]


async def test_a_settled_cost_takes_the_place_of_the_expected_one() -> None:
    """In the day's count of others, once the reservation is closed."""
    store = MemoryStore()
    ledger = Ledger(store)
    entry = await ledger.claim(priced("k", "4"))
    assert entry is not None
    day = f"{NOON:%Y-%m-%d}"
    assert (await Ledger(store).reservations.spent(day, entry.record.account)).in_currency("CNY") == 4
    submitted = await ledger.move(entry, "submitted", task_id="task_1")
    await ledger.move(submitted, "saved", money=MoneyFacts(cost=Decimal("2.75"), currency="CNY", final=True))
    spent = await Ledger(store).reservations.spent(day, entry.record.account)
    assert (spent.in_currency("CNY"), spent.priced, spent.unpriced) == (Decimal("2.75"), 1, 0)


@pytest.mark.parametrize("record", [priced("k", None), priced("k", "2", "USD")])
async def test_an_unknown_price_is_refused_under_a_cap_in_money(record: LedgerRecord) -> None:
    """Another currency's price is unknown in this one."""
    guard, _ = money_guard(run_money="5 CNY")
    with pytest.raises(BudgetError) as refusal:
        await guard.reserve(record)
    assert [problem.field for problem in refusal.value.problems] == ["budget.unknown_price"]
    assert guard.run == Spent(0, 0.0)


async def test_an_unknown_price_may_be_assumed() -> None:
    """It counts with the assumed maximum, also those that others have sent."""
    store = MemoryStore()
    assert await Ledger(store).claim(priced("other", None)) is not None
    guard, _ = money_guard(Ledger(store), day_money="7 CNY", unknown_price="assume", assumed_money="3 CNY")
    await send(guard, priced("a", None))
    with pytest.raises(BudgetError) as refusal:
        await guard.reserve(priced("b"))
    assert [problem.value for problem in refusal.value.problems] == ["8 CNY with this one"]


async def test_a_share_is_told_once_over_all_runs() -> None:
    """A day's and a run's; the second run finds the mark of the first."""
    store = MemoryStore()
    first, told = money_guard(Ledger(store), day_money="5 CNY", run_generations=2)
    for key in "ab":
        await send(first, priced(key))
    assert [(one.cap, one.spent, one.limit, one.period) for one in told] == [
        ("run_generations", "2", "2", ""),
        ("day_money", "4 CNY", "5 CNY", "2026-11-22"),
    ]
    second, again = money_guard(Ledger(store), day_money="5 CNY")
    await send(second, priced("c", "1"))
    assert again == []


async def test_a_refund_gives_money_back() -> None:
    """What made nothing costs nothing."""
    guard, _ = money_guard(run_money="2 CNY")
    await guard.reserve(priced("a"))
    guard.refund(priced("a"))
    await guard.reserve(priced("b"))
    assert guard.run.in_currency("CNY") == 2


@pytest.mark.parametrize(
    "caps",
    [
        {"run_generations": -1},
        {"day_seconds": -0.1},
        {"per_hour": 3},
        {"run_money": "much"},
        {"run_money": "5 CNY", "day_money": "5 USD"},
        {"unknown_price": "assume"},
        {"warn_share": 2},
    ],
)
def test_caps_that_make_no_sense(caps: dict[str, Any]) -> None:
    """Refused where they are stated: a mistyped cap must not be taken for no cap."""
    with pytest.raises(ValidationError):
        Budget.model_validate(caps)


@pytest.mark.parametrize(
    ("name", "spent"),
    [
        ("_ledger/_reserved/d/a/0f~100x500s.json", Spent(100, 500.0)),
        (
            "_ledger/_reserved/d/a/0f~4.5CNY~p2~3x12s.json",
            Spent(3, 12.0, (Money(amount=Decimal("4.5"), currency="CNY"),), 2),
        ),
        ("_ledger/_days/d/a/key~5s", Spent(1, 5.0)),
        ("_ledger/_reserved/d/a/0f~p1~1x0s.json", Spent(1, 0.0, (), 1)),
    ],
)
def test_names_of_every_age_are_read(name: str, spent: Spent) -> None:
    """Of releases before prices, and before reservations."""
    assert spent_in(name) == spent
    if name.endswith(".json"):
        assert name.endswith(f"~{spent.name}")


@pytest.mark.parametrize(("seconds", "told"), [(-20.0, 0.0), (math.nan, 0.0), (2e6, 2e6), (1234567.25, 1234567.25)])
def test_a_name_is_read_whatever_it_counts(seconds: float, told: float) -> None:
    """One that could not be would count as one create that costs nothing."""
    spent = Spent(20, seconds, (Money(amount=Decimal(100), currency="CNY"),), 20)
    assert spent_in(f"_ledger/_reserved/d/a/0f~{spent.name}") == Spent(20, told, spent.money, 20)
