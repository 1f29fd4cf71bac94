"""Caps on what a run, a day and a month may cost an account, counted from the ledger and checked before each create."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Literal, TypedDict

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from prefect_genvideo.errors import DestinationError, InvalidRequestError
from prefect_genvideo.ledger.record import LedgerRecord
from prefect_genvideo.ledger.reservations import FOLDER
from prefect_genvideo.ledger.spent import Spent, one_create, price_of
from prefect_genvideo.ledger.store import Ledger
from prefect_genvideo.models import Problem
from prefect_genvideo.prices.amounts import EXACT, Money, plain
from prefect_genvideo.prices.text import parse_money
from prefect_genvideo.storage.base import PreconditionFailedError

# How long a count is believed before the ledger is listed again for what others have sent meanwhile.
_FRESH = 20.0
_NOTHING = Spent(0, 0.0)
_SOURCE = "budget of this run"

Scope = Literal["run", "day", "month"]


class Budget(BaseModel):
    """Upper limits; 0, or an empty amount, is no limit. Days and months are UTC, of one account in one destination.

    Attributes:
        run_generations: Creates per flow run.
        run_seconds: Seconds of video per flow run.
        day_generations: Creates per day.
        day_seconds: Seconds of video per day.
        run_money: Money per flow run, e.g. `50 CNY`. A create counts with the most it may cost until that is known.
        day_money: Money per day.
        month_money: Money per month.
        unknown_price: A create whose price is not known is refused under a cap in money, or assumed to cost
            `assumed_money`.
        assumed_money: The most that a create of unknown price is assumed to cost.
        warn_share: Share of a cap at which `genvideo.budget.reached` is told, once; 0 never.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_generations: int = Field(default=0, ge=0, description="Creates per flow run; 0 is no limit.")
    run_seconds: float = Field(default=0, ge=0, description="Seconds of video per flow run; 0 is no limit.")
    day_generations: int = Field(default=0, ge=0, description="Creates per UTC day and account; 0 is no limit.")
    day_seconds: float = Field(default=0, ge=0, description="Seconds of video per UTC day and account; 0 is no limit.")
    run_money: str = Field(default="", description="Money per flow run, e.g. `50 CNY`; empty is no limit.")
    day_money: str = Field(default="", description="Money per UTC day and account; empty is no limit.")
    month_money: str = Field(default="", description="Money per UTC month and account; empty is no limit.")
    unknown_price: Literal["refuse", "assume"] = Field(
        default="refuse", description="What becomes of a create of unknown price under a cap in money."
    )
    assumed_money: str = Field(default="", description="The most that a create of unknown price is assumed to cost.")
    warn_share: float = Field(default=0.8, ge=0, le=1, description="Share of a cap that is told of; 0 is never.")

    @field_validator("run_money", "day_money", "month_money", "assumed_money")
    @classmethod
    def _is_money(cls, value: str) -> str:
        return str(parse_money(value)) if value.strip() else ""

    @model_validator(mode="after")
    def _is_whole(self) -> Budget:
        if self.unknown_price == "assume" and not self.assumed_money:
            raise ValueError("assumed_money: an amount is wanted, e.g. 5 CNY, where an unknown price is assumed")
        currencies = {cap.currency for cap in (*self.money.values(), self.assumed) if cap is not None}
        if len(currencies) > 1:
            raise ValueError(f"amounts are wanted in one currency, not in {', '.join(sorted(currencies))}")
        return self

    @property
    def money(self) -> dict[Scope, Money]:
        """The caps in money, by what they are for."""
        stated: dict[Scope, str] = {"run": self.run_money, "day": self.day_money, "month": self.month_money}
        return {scope: parse_money(text) for scope, text in stated.items() if text}

    @property
    def assumed(self) -> Money | None:
        """What a create of unknown price is assumed to cost."""
        return parse_money(self.assumed_money) if self.assumed_money else None


class BudgetLimits(TypedDict, total=False):
    """A `Budget` as callers in Python may write it: `{"day_generations": 500}`."""

    run_generations: int
    run_seconds: float
    day_generations: int
    day_seconds: float
    run_money: str
    day_money: str
    month_money: str
    unknown_price: Literal["refuse", "assume"]
    assumed_money: str
    warn_share: float


# Prefect makes a `Budget` of a flow's dict; a union at run time would show two choices in the UI's form.
if TYPE_CHECKING:
    BudgetGiven = Budget | BudgetLimits
else:
    BudgetGiven = Budget


class BudgetError(InvalidRequestError):
    """A cap set by the operator is reached. Nothing was sent; the message says when it frees up."""


@dataclass(frozen=True)
class Reached:
    """A share of a cap that is reached.

    Attributes:
        cap: Field of the budget, e.g. `day_money`.
        spent: With the create that reached it, e.g. `41.5 CNY`.
        limit: The cap.
        account: Fingerprint of the account.
        provider: Name of the provider.
        period: The day or month, `2026-11-22` or `2026-11`; empty for a run.
    """

    cap: str
    spent: str
    limit: str
    account: str
    provider: str
    period: str = ""


@dataclass(frozen=True)
class _Cap:
    """One cap as it would stand with a create."""

    name: str
    scope: Scope
    wanted: Decimal
    limit: Decimal
    currency: str = ""

    def shown(self, value: Decimal) -> str:
        return f"{plain(value)} {self.currency}".strip()


def _silent(reached: Reached) -> None:
    del reached


@dataclass
class BudgetGuard:
    """Counts what one run sends for one account, beside what the ledger says the day and month have seen of others.

    Exact within a run. Runs on several machines see what others have reserved after at most 20 s, so together they may
    go over a day's cap by what they reserve in that time. A day and a month are counted by listings of names.

    Attributes:
        ledger: Where the creates are counted.
        budget: The caps.
        now: Wall clock (UTC), a seam for tests.
        reached: Told when a share of a cap is reached: once a run, and once a day or month over all runs.
    """

    ledger: Ledger
    budget: Budget
    now: Callable[[], datetime] = lambda: datetime.now(timezone.utc)
    reached: Callable[[Reached], None] = _silent
    run: Spent = field(default_factory=lambda: Spent(0, 0.0))
    _own: dict[str, Spent] = field(default_factory=dict[str, Spent])
    _others: dict[str, tuple[float, Spent]] = field(default_factory=dict[str, "tuple[float, Spent]"])
    _told: set[str] = field(default_factory=set[str])
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def reserve(self, draft: LedgerRecord) -> None:
        """Count a create that is about to be sent.

        Raises:
            BudgetError: It would go over a cap, or its price is not known; it is not counted.
        """
        async with self._lock:
            day, mine = _day(draft), _cost(draft)
            spent: dict[Scope, Spent] = {"run": self.run + mine}
            cap = self.budget
            if cap.day_generations or cap.day_seconds or cap.day_money:
                spent["day"] = await self._counted(day, draft.account) + mine
            if cap.month_money:
                spent["month"] = await self._counted(day[:8], draft.account) + mine
            caps = list(self._caps(spent))
            problems = [*self._unknown(draft, mine, spent), *self._over(caps)]
            if problems:
                raise BudgetError("The budget is spent; nothing was sent.", problems=problems, provider=draft.provider)
            self._add(day, mine)
            for cap_now in caps:
                if cap.warn_share and cap_now.wanted >= cap_now.limit * Decimal(str(cap.warn_share)):
                    await self._tell(cap_now, draft)

    def refund(self, draft: LedgerRecord) -> None:
        """Take back a create that made nothing."""
        self._add(_day(draft), _NOTHING - _cost(draft))

    def _add(self, day: str, mine: Spent) -> None:
        self.run += mine
        self._own[day] = self._own.get(day, _NOTHING) + mine

    async def _counted(self, period: str, account: str) -> Spent:
        """What a day, or a month (`2026-11-`), has seen: of others by the store, of this run by its own count."""
        moment = time.monotonic()
        known = self._others.get(period)
        if known is None or moment - known[0] > _FRESH:
            known = self._others[period] = (moment, await self.ledger.reservations.spent(period, account))
        own = [spent for day, spent in self._own.items() if day.startswith(period)]
        return sum(own, known[1])

    def _caps(self, spent: dict[Scope, Spent]) -> Iterator[_Cap]:
        cap, counted = self.budget, spent.get("day", _NOTHING)
        plain_caps: tuple[tuple[str, Scope, float, float], ...] = (
            ("run_generations", "run", spent["run"].generations, cap.run_generations),
            ("run_seconds", "run", spent["run"].seconds, cap.run_seconds),
            ("day_generations", "day", counted.generations, cap.day_generations),
            ("day_seconds", "day", counted.seconds, cap.day_seconds),
        )
        for name, scope, wanted, limit in plain_caps:
            if limit:
                yield _Cap(name, scope, Decimal(f"{wanted:g}"), Decimal(f"{limit:g}"))
        for scope, money in cap.money.items():
            known = spent[scope].in_currency(money.currency)
            assumed = cap.assumed.amount * spent[scope].unpriced if cap.assumed else Decimal(0)
            yield _Cap(f"{scope}_money", scope, EXACT.add(known, assumed), money.amount, money.currency)

    def _unknown(self, draft: LedgerRecord, mine: Spent, spent: dict[Scope, Spent]) -> Iterator[Problem]:
        """Why a cap in money cannot be held where prices are not known."""
        cap = self.budget
        if not cap.money or cap.unknown_price == "assume":
            return
        (currency,) = {money.currency for money in cap.money.values()}
        known = mine.priced and (not mine.money or mine.in_currency(currency))
        if not known:
            limit = f"a price in {currency} that is known at most, or unknown_price: assume"
            yield Problem("budget.unknown_price", draft.model, limit, _SOURCE)
        elif others := max(spent[scope].unpriced for scope in cap.money):
            limit = "none in this period, or unknown_price: assume"
            yield Problem("budget.unknown_price", f"{others} creates of unknown price", limit, _SOURCE)

    def _over(self, caps: list[_Cap]) -> Iterator[Problem]:
        now = self.now()
        first = (now.replace(day=1) + timedelta(days=32)).strftime("%Y-%m-01 00:00 UTC")
        when: dict[Scope, str] = {
            "run": "start another run, or raise it",
            "day": f"it frees up at {(now + timedelta(days=1)).strftime('%Y-%m-%d 00:00 UTC')}",
            "month": f"it frees up at {first}",
        }
        for cap in caps:
            if cap.wanted > cap.limit:
                limit = f"at most {cap.shown(cap.limit)}; {when[cap.scope]}"
                yield Problem(f"budget.{cap.name}", f"{cap.shown(cap.wanted)} with this one", limit, _SOURCE)

    async def _tell(self, cap: _Cap, draft: LedgerRecord) -> None:
        period = {"run": "", "day": _day(draft), "month": _day(draft)[:7]}[cap.scope]
        if (name := f"{cap.name}/{period}") in self._told:
            return
        self._told.add(name)
        if period and not await self._is_first(cap, period, draft.account):
            return
        told = Reached(cap.name, cap.shown(cap.wanted), cap.shown(cap.limit), draft.account, draft.provider, period)
        self.reached(told)

    async def _is_first(self, cap: _Cap, period: str, account: str) -> bool:
        """Whether no other run has told of it: the first one leaves a mark. In doubt it is told again."""
        mark = hashlib.sha256(f"{cap.shown(cap.limit)} {self.budget.warn_share}".encode()).hexdigest()[:8]
        path = f"{FOLDER}/_budgets/{period}/{account}/{cap.name}~{mark}"
        try:
            if self.ledger.weak and await self.ledger.store.head(path):
                return False
            await self.ledger.store.put(path, b"", if_absent=not self.ledger.weak)
        except PreconditionFailedError:
            return False
        except DestinationError:
            return True
        return True


def _cost(draft: LedgerRecord) -> Spent:
    return one_create(draft.seconds, price_of(draft.money))


def _day(draft: LedgerRecord) -> str:
    return f"{draft.created_at:%Y-%m-%d}"
