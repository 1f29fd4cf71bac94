"""Caps on what a run and a day may cost an account, counted from the ledger and checked before each create."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, TypedDict

from pydantic import BaseModel, ConfigDict, Field

from prefect_genvideo.errors import InvalidRequestError
from prefect_genvideo.ledger.record import LedgerRecord, Spent
from prefect_genvideo.ledger.store import Ledger
from prefect_genvideo.models import Problem

# How long a day's count is believed before the ledger is listed again for what others have sent meanwhile.
_FRESH = 20.0
_NOTHING = Spent(0, 0.0)


class Budget(BaseModel):
    """Upper limits; 0 is no limit. A day is a UTC day of one account in one destination.

    Attributes:
        run_generations: Creates per flow run.
        run_seconds: Seconds of video per flow run.
        day_generations: Creates per day.
        day_seconds: Seconds of video per day.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_generations: int = Field(default=0, ge=0, description="Creates per flow run; 0 is no limit.")
    run_seconds: float = Field(default=0, ge=0, description="Seconds of video per flow run; 0 is no limit.")
    day_generations: int = Field(default=0, ge=0, description="Creates per UTC day and account; 0 is no limit.")
    day_seconds: float = Field(default=0, ge=0, description="Seconds of video per UTC day and account; 0 is no limit.")


class BudgetLimits(TypedDict, total=False):
    """A `Budget` as callers in Python may write it: `{"day_generations": 500}`."""

    run_generations: int
    run_seconds: float
    day_generations: int
    day_seconds: float


# Prefect makes a `Budget` of a flow's dict; a union at run time would show two choices in the UI's form.
if TYPE_CHECKING:
    BudgetGiven = Budget | BudgetLimits
else:
    BudgetGiven = Budget


class BudgetError(InvalidRequestError):
    """A cap set by the operator is reached. Nothing was sent; the message says when it frees up."""


@dataclass
class BudgetGuard:
    """Counts what one run sends for one account, beside what the ledger says the day has seen of others.

    Exact within a run. Runs on several machines see what others have reserved after at most 20 s, so together they may
    go over a day's cap by what they reserve in that time.

    Attributes:
        ledger: Where the day's creates are counted.
        budget: The caps.
        now: Wall clock (UTC), a seam for tests.
    """

    ledger: Ledger
    budget: Budget
    now: Callable[[], datetime] = lambda: datetime.now(timezone.utc)
    run: Spent = field(default_factory=lambda: Spent(0, 0.0))
    _own: dict[str, Spent] = field(default_factory=dict[str, Spent])
    _others: Spent = field(default_factory=lambda: Spent(0, 0.0))
    _counted: tuple[str, float] = ("", float("-inf"))
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def reserve(self, draft: LedgerRecord) -> None:
        """Count a create that is about to be sent.

        Raises:
            BudgetError: It would go over a cap; it is not counted.
        """
        async with self._lock:
            day, one = _day(draft), _cost(draft)
            await self._count_others(day, draft.account)
            problems = self._problems(self.run + one, self._others + self._own.get(day, _NOTHING) + one)
            if problems:
                raise BudgetError("The budget is spent; nothing was sent.", problems=problems, provider=draft.provider)
            self._add(day, one)

    def refund(self, draft: LedgerRecord) -> None:
        """Take back a create that made nothing."""
        self._add(_day(draft), _NOTHING - _cost(draft))

    def _add(self, day: str, one: Spent) -> None:
        self.run += one
        self._own[day] = self._own.get(day, _NOTHING) + one

    async def _count_others(self, day: str, account: str) -> None:
        if not (self.budget.day_generations or self.budget.day_seconds):
            return
        moment = time.monotonic()
        if self._counted[0] != day or moment - self._counted[1] > _FRESH:
            self._others = await self.ledger.reservations.spent(day, account)
            self._counted = (day, moment)

    def _problems(self, run: Spent, day: Spent) -> list[Problem]:
        cap = self.budget
        midnight = (self.now() + timedelta(days=1)).strftime("%Y-%m-%d 00:00 UTC")
        later, never = f"it frees up at {midnight}", "start another run, or raise it"
        rows = (
            ("budget.run_generations", run.generations, cap.run_generations, never),
            ("budget.run_seconds", run.seconds, cap.run_seconds, never),
            ("budget.day_generations", day.generations, cap.day_generations, later),
            ("budget.day_seconds", day.seconds, cap.day_seconds, later),
        )
        return [
            Problem(name, f"{wanted:g} with this one", f"at most {limit:g}; {when}", "budget of this run")
            for name, wanted, limit, when in rows
            if limit and wanted > limit
        ]


def _cost(draft: LedgerRecord) -> Spent:
    return Spent(1, draft.seconds or 0.0)


def _day(draft: LedgerRecord) -> str:
    return f"{draft.created_at:%Y-%m-%d}"
