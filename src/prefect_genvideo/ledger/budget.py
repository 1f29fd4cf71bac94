"""Caps on what a run, a day, a month and a tag may cost, counted from the ledger and checked before each create."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Literal, TypedDict

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from prefect_genvideo.errors import DestinationError, InvalidRequestError, shown
from prefect_genvideo.ledger.allowances import Allowances, Cap, Scope
from prefect_genvideo.ledger.record import LedgerRecord
from prefect_genvideo.ledger.reservations import FOLDER
from prefect_genvideo.ledger.spent import FRESH, NOTHING, Label, Spent, in_name, one_create, price_of
from prefect_genvideo.ledger.store import Ledger
from prefect_genvideo.models import Problem
from prefect_genvideo.prices.amounts import EXACT, Money, parse_money
from prefect_genvideo.storage.base import PreconditionFailedError

_SOURCE = "budget of this run"

# Labels that one budget caps; a share is an object of its own.
_MOST_LABELS = 200
# Amounts as people write them, kept in one form. Empty is no cap; a label that stands in a budget has one.
_Amount = Annotated[str, AfterValidator(lambda text: str(parse_money(text)))]
_Cap = Annotated[str, AfterValidator(lambda text: str(parse_money(text)) if text.strip() else "")]
_Name = Annotated[str, Field(min_length=1, max_length=200)]
_LabelCaps = Annotated[dict[_Name, _Amount], Field(max_length=_MOST_LABELS)]


class Budget(BaseModel):
    """Upper limits; 0, or an empty amount, is no limit. Days and months are UTC, of one account in one destination.

    Under a cap in money a create counts with the most it may cost until its cost is known. Caps of tags and cost
    centers are of all accounts in the destination, and strict over all runs that have them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_generations: int = Field(default=0, ge=0, description="Creates per flow run; 0 is no limit.")
    run_seconds: float = Field(default=0, ge=0, description="Seconds of video per flow run; 0 is no limit.")
    day_generations: int = Field(default=0, ge=0, description="Creates per UTC day and account; 0 is no limit.")
    day_seconds: float = Field(default=0, ge=0, description="Seconds of video per UTC day and account; 0 is no limit.")
    run_money: _Cap = Field(default="", description="Money per flow run, e.g. `50 CNY`; empty is no limit.")
    day_money: _Cap = Field(default="", description="Money per UTC day and account; empty is no limit.")
    month_money: _Cap = Field(default="", description="Money per UTC month and account; empty is no limit.")
    tag_month_money: _LabelCaps = Field(
        default_factory=dict,
        description='Money per UTC month and tag, e.g. {"campaign-x": "50 CNY"}; empty is no limit.',
    )
    cost_center_month_money: _LabelCaps = Field(
        default_factory=dict, description='Money per UTC month and cost center, e.g. {"marketing": "500 CNY"}.'
    )
    unknown_price: Literal["refuse", "assume"] = Field(
        default="refuse", description="What becomes of a create of unknown price under a cap in money."
    )
    assumed_money: _Cap = Field(default="", description="The most that a create of unknown price is assumed to cost.")
    warn_share: float = Field(
        default=0.8,
        ge=0,
        le=1,
        description="Share of a cap at which `genvideo.budget.reached` is told, once; 0 is never.",
    )

    @model_validator(mode="after")
    def _is_whole(self) -> Budget:
        if self.unknown_price == "assume" and not self.assumed_money:
            raise ValueError("assumed_money: an amount is wanted, e.g. 5 CNY, where an unknown price is assumed")
        currencies = {
            cap.currency for cap in (*self.money.values(), *self.labels.values(), self.assumed) if cap is not None
        }
        if len(currencies) > 1:
            raise ValueError(f"amounts are wanted in one currency, not in {', '.join(sorted(currencies))}")
        return self

    @property
    def money(self) -> dict[Scope, Money]:
        """The caps in money, by what they are for."""
        stated: dict[Scope, str] = {"run": self.run_money, "day": self.day_money, "month": self.month_money}
        return {scope: parse_money(text) for scope, text in stated.items() if text}

    @property
    def labels(self) -> dict[Label, Money]:
        """The caps of tags and cost centers."""
        stated = {Label("tag", name): text for name, text in self.tag_month_money.items()}
        stated |= {Label("cost_center", name): text for name, text in self.cost_center_month_money.items()}
        return {label: parse_money(text) for label, text in stated.items()}

    @property
    def currency(self) -> str | None:
        """The currency of all caps in money; None where there is none."""
        return next((cap.currency for cap in (*self.money.values(), *self.labels.values())), None)

    @property
    def assumed(self) -> Money | None:
        """What a create of unknown price is assumed to cost."""
        return parse_money(self.assumed_money) if self.assumed_money else None


NO_BUDGET = Budget()
"""No cap at all; the default of flows."""


class BudgetLimits(TypedDict, total=False):
    """A `Budget` as callers in Python may write it: `{"day_generations": 500}`."""

    run_generations: int
    run_seconds: float
    day_generations: int
    day_seconds: float
    run_money: str
    day_money: str
    month_money: str
    tag_month_money: dict[str, str]
    cost_center_month_money: dict[str, str]
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
        label: The tag or cost center, where the cap is of one.
    """

    cap: str
    spent: str
    limit: str
    account: str
    provider: str
    period: str = ""
    label: str = ""


@dataclass
class BudgetGuard:
    """Counts what one run sends for one account, beside what the ledger says the day and month have seen of others.

    No runs together go over a cap, on any machine. A day and a month are counted by listings of names, and what a run
    may send is reserved before it counts what others have reserved: of two runs, one at least sees the other. Those
    that begin in one moment may both be refused what one could have had. For tags and cost centers see `Allowances`.

    Attributes:
        ledger: Where the creates are counted.
        budget: The caps.
        now: Wall clock (UTC), a seam for tests.
        reached: Told when a share of a cap is reached: once a run, and once a day or month over all runs.
        run: What this run has sent.
        near: How the caps stand of which this run has seen a share reached, whoever was told of it.
    """

    ledger: Ledger
    budget: Budget
    now: Callable[[], datetime] = lambda: datetime.now(timezone.utc)
    reached: Callable[[Reached], None] = lambda reached: None
    run: Spent = field(default_factory=lambda: NOTHING)
    near: dict[str, Reached] = field(default_factory=dict[str, Reached])
    _own: dict[str, Spent] = field(default_factory=dict[str, Spent])
    _others: dict[str, tuple[float, int, Spent]] = field(default_factory=dict[str, "tuple[float, int, Spent]"])
    _labels: Allowances = field(init=False)
    _lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def __post_init__(self) -> None:
        self._labels = Allowances(self.ledger, self.budget.labels)

    async def reserve(self, draft: LedgerRecord) -> LedgerRecord:
        """Count a create that is about to be sent.

        Args:
            draft: The intent.

        Returns:
            The intent with what was taken for it out of the caps of its labels.

        Raises:
            BudgetError: It would go over a cap, or its price is not known; it is not counted.
            DestinationError: What others have spent cannot be read; it is not counted.
        """
        async with self._lock:
            if not self._periods:
                return await self._reserve(draft)
            await self.ledger.require_conditional_writes()
            await self.ledger.reservations.cover(draft)
            try:
                return await self._reserve(draft)
            except (BudgetError, DestinationError):
                await self.ledger.reservations.ended(draft.key, unpaid=True)
                raise

    async def _reserve(self, draft: LedgerRecord) -> LedgerRecord:
        day, mine = _day(draft), self._cost(draft)
        spent: dict[Scope, Spent] = {"run": self.run + mine}
        spent |= {scope: await self._counted(day[:length], draft.account) + mine for scope, length in self._periods}
        elsewhere = await self._labels.elsewhere(draft)
        caps = list(self._caps(spent))
        self._refuse([*self._unknown(draft, mine, spent, elsewhere), *self._exceeded(caps)], draft)
        others = {label: self._most(known) for label, known in elsewhere.items()}
        taken = await self._labels.take(draft, self._most(mine), others)
        self._refuse(list(self._exceeded(taken)), draft)
        self._add(day, mine)
        await self._tell_of([*caps, *taken], draft)
        own = {str(one.label): Money(amount=self._most(mine), currency=one.currency) for one in taken}
        return draft.model_copy(update={"taken": own or None})

    def _refuse(self, problems: list[Problem], draft: LedgerRecord) -> None:
        if problems:
            raise BudgetError("The budget is spent; nothing was sent.", problems=problems, provider=draft.provider)

    async def _tell_of(self, caps: list[Cap], draft: LedgerRecord) -> None:
        share = Decimal(str(self.budget.warn_share))
        for cap in caps:
            if share and cap.wanted >= cap.limit * share:
                await self._tell_near(cap, draft)

    def refund(self, draft: LedgerRecord) -> None:
        """Take back a create that made nothing."""
        self._add(_day(draft), NOTHING - self._cost(draft))
        self._labels.give_back(draft.key)

    @property
    def _periods(self) -> list[tuple[Scope, int]]:
        """What is counted by a listing, and how much of a day's name stands for it."""
        cap = self.budget
        by_day = cap.day_generations or cap.day_seconds or cap.day_money
        return [*([("day", 10)] if by_day else []), *([("month", 8)] if cap.month_money else [])]

    async def finish(self) -> None:
        """Give back what this run has taken out of the caps of labels and not spent."""
        await self._labels.finish()

    def _cost(self, draft: LedgerRecord) -> Spent:
        """What a create costs at most; in another currency than that of the caps nobody knows."""
        price, currency = price_of(draft.money), self.budget.currency
        same = price is None or currency is None or not price.amount or in_name(price.currency) == in_name(currency)
        return one_create(draft.seconds, price if same else None)

    def _most(self, spent: Spent) -> Decimal:
        """What creates cost at most in the currency of the caps, with those of unknown price as they are assumed."""
        assumed = self.budget.assumed
        known = spent.in_currency(self.budget.currency or "")
        return known if assumed is None else EXACT.add(known, assumed.amount * spent.unpriced)

    def _add(self, day: str, mine: Spent) -> None:
        self.run += mine
        self._own[day] = self._own.get(day, NOTHING) + mine

    async def _counted(self, period: str, account: str) -> Spent:
        """What a day, or a month (`2026-11-`), has seen: of others by the store, of this run by its own count."""
        moment, reservations = time.monotonic(), self.ledger.reservations
        known = self._others.get(period)
        # Others have counted us only since our last reservation: what was read before it may lack theirs.
        if known is None or moment - known[0] > FRESH or known[1] != reservations.written:
            known = (moment, reservations.written, await reservations.spent(period, account))
            self._others[period] = known
        own = [spent for day, spent in self._own.items() if day.startswith(period)]
        return sum(own, known[2])

    def _caps(self, spent: dict[Scope, Spent]) -> Iterator[Cap]:
        cap, counted = self.budget, spent.get("day", NOTHING)
        plain_caps: tuple[tuple[str, Scope, float, float], ...] = (
            ("run_generations", "run", spent["run"].generations, cap.run_generations),
            ("run_seconds", "run", spent["run"].seconds, cap.run_seconds),
            ("day_generations", "day", counted.generations, cap.day_generations),
            ("day_seconds", "day", counted.seconds, cap.day_seconds),
        )
        for name, scope, wanted, limit in plain_caps:
            if limit:
                counts = Decimal(f"{wanted:g}"), Decimal(f"{limit:g}")
                yield Cap(name, scope, *counts, fits=counts[0] <= counts[1])
        for scope, money in cap.money.items():
            most = self._most(spent[scope])
            yield Cap(f"{scope}_money", scope, most, money.amount, most <= money.amount, money.currency)

    def _unknown(
        self, draft: LedgerRecord, mine: Spent, spent: dict[Scope, Spent], elsewhere: Mapping[Label, Spent]
    ) -> Iterator[Problem]:
        """Why a cap in money cannot be held where prices are not known."""
        cap = self.budget
        if not (cap.money or elsewhere) or cap.unknown_price == "assume":
            return
        counts = [*(spent[scope].unpriced for scope in cap.money), *(one.unpriced for one in elsewhere.values())]
        if not mine.priced:
            limit = f"a price in {cap.currency} that is known at most, or unknown_price: assume"
            yield Problem("budget.unknown_price", draft.model, limit, _SOURCE)
        elif others := max(counts):
            limit = "none in this period, or unknown_price: assume"
            yield Problem("budget.unknown_price", f"{others} creates of unknown price", limit, _SOURCE)

    def _exceeded(self, caps: Iterable[Cap]) -> Iterator[Problem]:
        now = self.now()
        first = (now.replace(day=1) + timedelta(days=32)).strftime("%Y-%m-01 00:00 UTC")
        when: dict[Scope, str] = {
            "run": "start another run, or raise it",
            "day": f"it frees up at {(now + timedelta(days=1)).strftime('%Y-%m-%d 00:00 UTC')}",
            "month": f"it frees up at {first}",
        }
        for cap in caps:
            if not cap.fits:
                whose = f" for {shown(cap.label.name)}" if cap.label else ""
                limit = f"at most {cap.shown(cap.limit)}{whose}; {when[cap.scope]}"
                yield Problem(f"budget.{cap.name}", f"{cap.shown(cap.wanted)} with this one", limit, _SOURCE)

    async def _tell_near(self, cap: Cap, draft: LedgerRecord) -> None:
        period = {"run": "", "day": _day(draft), "month": _day(draft)[:7]}[cap.scope]
        whose = cap.label.name if cap.label else ""
        known = (name := f"{cap.name}/{period}/{whose}") in self.near
        spent, limit = cap.shown(cap.wanted), cap.shown(cap.limit)
        reached = self.near[name] = Reached(cap.name, spent, limit, draft.account, draft.provider, period, whose)
        if known or (period and not await self._is_first(cap, period, "all" if cap.label else draft.account)):
            return
        self.reached(reached)

    async def _is_first(self, cap: Cap, period: str, account: str) -> bool:
        """Whether no other run has told of it: the first one leaves a mark. In doubt it is told again."""
        whose = f" {cap.label}" if cap.label else ""
        mark = hashlib.sha256(f"{cap.shown(cap.limit)} {self.budget.warn_share}{whose}".encode()).hexdigest()[:8]
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


def _day(draft: LedgerRecord) -> str:
    return f"{draft.created_at:%Y-%m-%d}"
