"""Caps are checked before money is spent, exactly within a run, and name the cap and when it frees up."""

from __future__ import annotations

import asyncio
from datetime import datetime, timezone

import pytest
from pydantic import ValidationError

from prefect_genvideo.ledger.budget import Budget, BudgetError, BudgetGuard
from prefect_genvideo.ledger.record import LedgerRecord, Spent
from prefect_genvideo.ledger.store import Ledger
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


async def test_a_cap_is_exact_when_all_come_at_once() -> None:
    """A hundred coroutines, a cap of seven."""
    guard = guard_of(run_generations=7)
    results = await asyncio.gather(*(guard.reserve(wanted(str(n))) for n in range(100)), return_exceptions=True)
    assert sum(result is None for result in results) == 7


async def test_what_is_reserved_while_the_ledger_is_listed_is_counted() -> None:
    """A create between its reservation and its claim is in no listing yet."""
    guard = guard_of(day_generations=2)
    first = wanted("a")
    await guard.reserve(first)
    guard._counted = ("", float("-inf"))  # pyright: ignore[reportPrivateUsage] - as if 20 s had passed
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


@pytest.mark.parametrize("caps", [{"run_generations": -1}, {"day_seconds": -0.1}, {"per_hour": 3}])
def test_a_budget_that_makes_no_sense_is_refused(caps: dict[str, float]) -> None:
    """A mistyped cap must not be taken for no cap."""
    with pytest.raises(ValidationError):
        Budget.model_validate(caps)
