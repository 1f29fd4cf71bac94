"""Caps on what a run and a day may cost an account, counted from the ledger and checked before each create."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone

from pydantic import BaseModel, ConfigDict, Field

from prefect_genvideo.errors import InvalidRequestError
from prefect_genvideo.ledger.record import LedgerRecord, Spent
from prefect_genvideo.ledger.store import Ledger
from prefect_genvideo.models import Problem

# How long a day's count is believed before the ledger is listed again for what others have sent meanwhile.
_FRESH = 20.0


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


class BudgetError(InvalidRequestError):
    """A cap set by the operator is reached. Nothing was sent; the message says when it frees up."""


@dataclass
class BudgetGuard:
    """Counts what one run sends for one account, beside what the ledger says the day has seen.

    Exact within a run. Runs on several machines see one another's creates after at most 20 s, so together they may go
    over a day's cap by what they send in that time.

    Attributes:
        ledger: Where the day's creates are counted.
        budget: The caps.
        now: Wall clock (UTC), a seam for tests.
    """

    ledger: Ledger
    budget: Budget
    now: Callable[[], datetime] = lambda: datetime.now(timezone.utc)
    run: Spent = field(default_factory=lambda: Spent(0, 0.0))
    _day: Spent = field(default_factory=lambda: Spent(0, 0.0))
    _unlisted: Spent = field(default_factory=lambda: Spent(0, 0.0))
    _counted: tuple[str, float] = ("", float("-inf"))
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def reserve(self, draft: LedgerRecord) -> None:
        """Count a create that is about to be sent.

        Raises:
            BudgetError: It would go over a cap; it is not counted.
        """
        async with self._lock:
            await self._count_day(draft.account)
            one = Spent(1, draft.seconds or 0.0)
            problems = self._problems(self.run + one, self._day + one)
            if problems:
                raise BudgetError("The budget is spent; nothing was sent.", problems=problems, provider=draft.provider)
            self.run, self._day, self._unlisted = self.run + one, self._day + one, self._unlisted + one

    def settle(self, draft: LedgerRecord, claimed: bool) -> None:
        """Say how the claim of a reservation ended: it is in the ledger's own count now, or it is taken back.

        Args:
            draft: What was reserved.
            claimed: Whether the claim was made.
        """
        self._unlisted -= Spent(1, draft.seconds or 0.0)
        if not claimed:
            self.refund(draft)

    def refund(self, draft: LedgerRecord) -> None:
        """Take back a claimed create that made nothing."""
        one = Spent(1, draft.seconds or 0.0)
        self.run, self._day = self.run - one, self._day - one

    async def _count_day(self, account: str) -> None:
        if not (self.budget.day_generations or self.budget.day_seconds):
            return
        day, moment = f"{self.now():%Y-%m-%d}", time.monotonic()
        if self._counted[0] != day or moment - self._counted[1] > _FRESH:
            unlisted = self._unlisted  # reserved here, and perhaps not in the ledger when it is listed
            self._day = await self.ledger.markers.spent(day, account) + unlisted
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
