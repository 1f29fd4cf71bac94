"""Caps in money on what a tag or a cost center may cost in a month, strict over all runs that have them.

A run takes its share of the cap out of one small object a label and month, by a conditional write, before it spends
it: first what one create costs, then more at once the more it has spent. So no two runs are given the same money, and a
batch does not ask for each video. What a run has taken stays taken when it dies: the safe side. Runs without the cap
are counted by the names of their reservations.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from functools import partial
from typing import Literal

from pydantic import BaseModel, Field

from prefect_genvideo.errors import DestinationError
from prefect_genvideo.ledger.record import LedgerRecord, file_name
from prefect_genvideo.ledger.spent import FRESH, KEPT_FOR, NOTHING, Label, Spent, in_name, labels_of
from prefect_genvideo.ledger.store import Ledger
from prefect_genvideo.models import Moment
from prefect_genvideo.prices.amounts import EXACT, Money, plain
from prefect_genvideo.storage.base import ObjectStore
from prefect_genvideo.storage.ledgers import SHARED
from prefect_genvideo.storage.shared import SharedObject

# Creates that are paid for in advance at most: what a crash leaves taken, and a run keeps from others.
_AHEAD = 20
# A run that has not taken anything for so long has died or ended; what it holds counts as spent.
_HOLDS = timedelta(days=7)
_MOST_HOLDS = 1_000
# A lost answer shows within seconds, in which a month's label has few corrections.
_MOST_CORRECTIONS = 64
Scope = Literal["run", "day", "month"]


async def settle_taken(ledger: Ledger, record: LedgerRecord) -> None:
    """Count what a generation has really cost in place of what was taken for it, after the end of its run.

    Only for who has just written the final cost: twice would take out too much. Best effort: what is not corrected
    counts with the most that it was expected to cost.

    Args:
        ledger: Of the record.
        record: With its final cost.
    """
    cost = record.final_cost
    for label in labels_of(record) if cost is not None else ():
        taken = (record.taken or {}).get(str(label))
        if taken is None or cost is None or in_name(taken.currency) != in_name(cost.currency):
            continue
        less = EXACT.subtract(cost.amount, taken.amount)
        try:
            await _object_of(ledger, label, f"{record.created_at:%Y-%m}").change(
                partial(Taken.corrected, claim=record.claim, currency=in_name(taken.currency), less=less)
            )
        except DestinationError as error:
            ledger.on_trouble(f"The cap of {label.name!r} counts {record.key!r} with what it might have cost: {error}")


async def taken_in(store: ObjectStore, month: str) -> dict[Label, tuple[Money, ...]]:
    """Return what was taken out of the caps of labels in a month: spent by ended runs, and held by others.

    Args:
        store: The ledger's.
        month: UTC, e.g. `2026-11`.

    Raises:
        DestinationError: They cannot be read.
    """
    found = dict[Label, tuple[Money, ...]]()
    async for info in store.list(f"{SHARED}/{month}~"):
        name = info.key.rpartition("/")[2].removesuffix(".json")
        taken = await SharedObject(store, name, Taken(kind="tag", name="")).change(lambda before: before)
        label = Label("cost_center" if taken.kind == "cost_center" else "tag", taken.name)
        currencies = sorted({*taken.ended, *(hold.currency for hold in taken.held.values())})
        found[label] = tuple(Money(amount=taken.by_others("", one), currency=one) for one in currencies)
    return found


async def sweep_allowances(store: ObjectStore) -> None:
    """Remove what was taken out of caps in months that no cap looks at any more; raises `DestinationError`."""
    before = f"{datetime.now(timezone.utc) - KEPT_FOR:%Y-%m}"
    async for info in store.list(f"{SHARED}/2"):  # a year; other objects of the folder have other names
        if info.key.rpartition("/")[2][:7] < before:
            await store.delete(info.key)


class Hold(BaseModel):
    """What a run has taken out of a cap.

    Attributes:
        amount: Of money.
        currency: Of the amount.
        at: When it was last changed.
    """

    amount: Decimal
    currency: str
    at: Moment


class Taken(BaseModel):
    """What has been taken out of a label's caps in a month.

    Attributes:
        kind: Tag or cost center.
        name: The word.
        ended: What ended runs have spent, by currency.
        held: What the others have taken, by a run's own id.
        corrected_for: Claims of the newest corrections, by which a write whose answer was lost is known again.
    """

    version: int = Field(default=1, le=1)
    kind: str
    name: str
    ended: dict[str, Decimal] = {}
    held: dict[str, Hold] = {}
    corrected_for: list[str] = []

    def by_others(self, run: str, currency: str) -> Decimal:
        """What all runs but one have spent or hold.

        Args:
            run: Id of the one.
            currency: Of the cap.
        """
        amounts = [hold.amount for key, hold in self.held.items() if key != run and hold.currency == currency]
        return sum(amounts, self.ended.get(currency, Decimal(0)))

    def with_hold(self, run: str, hold: Hold) -> Taken:
        """Return it with what a run holds now; holds of runs that must have died count as spent.

        Args:
            run: Its id.
            hold: What it has taken.
        """
        held = dict(sorted((self.held | {run: hold}).items(), key=lambda one: one[1].at))
        over = [key for key, old in held.items() if hold.at - old.at > _HOLDS]
        over += list(held)[: max(0, len(held) - len(over) - _MOST_HOLDS)]
        taken = self.model_copy(update={"held": held})
        for key in dict.fromkeys(key for key in over if key != run):
            taken = taken.without(key, held[key].amount)
        return taken

    def corrected(self, claim: str, currency: str, less: Decimal) -> Taken:
        """Return it with a difference to what was taken, once; as it is where nothing is counted.

        Args:
            claim: Of the record that has cost something else.
            currency: Of the difference.
            less: The difference, negative where it has cost less.
        """
        if claim in self.corrected_for or not (self.ended or self.held):
            return self
        ended = self.ended | {currency: EXACT.add(self.ended.get(currency, Decimal(0)), less)}
        known = [*self.corrected_for, claim][-_MOST_CORRECTIONS:]
        return self.model_copy(update={"ended": ended, "corrected_for": known})

    def without(self, run: str, spent: Decimal) -> Taken:
        """Return it after a run's end.

        Args:
            run: Its id; one that holds nothing changes nothing.
            spent: What it has spent of what it held.
        """
        if run not in self.held:
            return self
        currency = self.held[run].currency
        ended = self.ended | {currency: EXACT.add(self.ended.get(currency, Decimal(0)), spent)}
        held = {key: hold for key, hold in self.held.items() if key != run}
        return self.model_copy(update={"ended": ended, "held": held})


def _object_of(ledger: Ledger, label: Label, month: str) -> SharedObject[Taken]:
    name = f"{month}~{label.kind}~{label.mark}~{file_name(label.name)}".removesuffix(".json")
    return SharedObject(ledger.store, name, Taken(kind=label.kind, name=label.name), guarded=not ledger.weak)


@dataclass
class _Share:
    """What this run has taken out of one cap in one month, and spent of it."""

    label: Label
    cap: Money
    month: str
    shared: SharedObject[Taken]
    taken: Decimal = Decimal(0)
    spent: Decimal = Decimal(0)
    others: Decimal = Decimal(0)
    refused_at: float = float("-inf")
    least_refused: Decimal = Decimal(0)

    @property
    def currency(self) -> str:
        return in_name(self.cap.currency)

    def more(self, run: str, cost: Decimal, elsewhere: Decimal, before: Taken) -> Taken:
        """What the object says when this run has taken what the next create needs, and some for those after it."""
        mine = before.held.get(run)
        if mine is None and self.taken:  # counted as spent meanwhile, all of it: what follows is taken anew
            self.taken = self.spent = Decimal(0)
        elif mine is not None:
            self.taken = mine.amount
        self.others = EXACT.add(before.by_others(run, self.currency), elsewhere)
        needed = EXACT.subtract(EXACT.add(self.spent, cost), self.taken)
        left = EXACT.subtract(EXACT.subtract(self.cap.amount, self.others), self.taken)
        if needed <= 0 or needed > left:
            return before
        some = min(self.spent, left / 2, cost * _AHEAD)
        ahead = EXACT.multiply(cost, some // cost) if cost else cost
        amount = EXACT.add(self.taken, max(needed, ahead))
        return before.with_hold(run, Hold(amount=amount, currency=self.currency, at=datetime.now(timezone.utc)))


@dataclass(frozen=True)
class Cap:
    """A cap as it would stand with a create.

    Attributes:
        name: Field of the budget.
        scope: What it is for.
        wanted: What would be spent in all, with the create.
        limit: The most that may be.
        fits: Whether the create may be sent.
        currency: Of both; empty for creates and seconds.
        label: The tag or cost center, where the cap is of one.
    """

    name: str
    scope: Scope
    wanted: Decimal
    limit: Decimal
    fits: bool
    currency: str = ""
    label: Label | None = None

    def shown(self, value: Decimal) -> str:
        """An amount of its kind, e.g. `41.5 CNY`."""
        return f"{plain(value)} {self.currency}".strip()


@dataclass
class Allowances:
    """The shares of one run in the caps of labels.

    Attributes:
        ledger: Where they are kept.
        caps: By label.
        run: Id of this run's holds.
    """

    ledger: Ledger
    caps: Mapping[Label, Money]
    run: str = field(default_factory=lambda: uuid.uuid4().hex)
    _shares: dict[tuple[Label, str], _Share] = field(default_factory=dict[tuple[Label, str], _Share])
    _costs: dict[str, tuple[Decimal, list[_Share]]] = field(default_factory=dict[str, "tuple[Decimal, list[_Share]]"])
    _names: dict[str, tuple[float, dict[str, Spent]]] = field(
        default_factory=dict[str, "tuple[float, dict[str, Spent]]"]
    )

    def __post_init__(self) -> None:
        if self.caps:
            self.ledger.reservations.apart = frozenset(label.mark for label in self.caps)
            self.ledger.reservations.on_settled = self._settled

    async def elsewhere(self, draft: LedgerRecord) -> dict[Label, Spent]:
        """What runs without these caps have spent on the labels of a create in its month."""
        labels = [label for label in labels_of(draft) if label in self.caps]
        if not labels:
            return {}
        month, moment = f"{draft.created_at:%Y-%m}", time.monotonic()
        known = self._names.get(month)
        if known is None or moment - known[0] > FRESH:
            found = await self.ledger.reservations.marked(month, [label.mark for label in self.caps])
            known = self._names[month] = (moment, found)
        return {label: known[1].get(label.mark, NOTHING) for label in labels}

    async def take(self, draft: LedgerRecord, cost: Decimal, elsewhere: Mapping[Label, Decimal]) -> list[Cap]:
        """Take what a create may cost out of the caps of its labels: out of all of them, or out of none.

        Args:
            draft: The create.
            cost: The most that it costs, in the currency of the caps.
            elsewhere: What runs without the caps have spent, by label.

        Returns:
            How its caps stand with it.

        Raises:
            DestinationError: The store failed; nothing may be sent.
        """
        shares = [self._share(label, f"{draft.created_at:%Y-%m}") for label in elsewhere]
        caps = [await self._cap(share, cost, elsewhere[share.label]) for share in shares]
        if shares and all(cap.fits for cap in caps):
            for share in shares:
                share.spent = EXACT.add(share.spent, cost)
            self._costs[draft.key] = (cost, shares)
        return caps

    def give_back(self, key: str) -> None:
        """Take back what a create that made nothing was to cost; it may be spent by the next one."""
        self._book(key, Decimal(0))

    def _settled(self, key: str, cost: Money) -> None:
        if key in self._costs and in_name(cost.currency) == self._costs[key][1][0].currency:
            self._book(key, cost.amount)

    def _book(self, key: str, cost: Decimal) -> None:
        before, shares = self._costs.pop(key, (cost, []))
        for share in shares:
            share.spent = max(Decimal(0), EXACT.add(share.spent, EXACT.subtract(cost, before)))

    def _share(self, label: Label, month: str) -> _Share:
        known = self._shares.get((label, month))
        if known is None:
            shared = _object_of(self.ledger, label, month)
            known = self._shares[label, month] = _Share(label, self.caps[label], month, shared)
        return known

    async def _cap(self, share: _Share, cost: Decimal, elsewhere: Decimal) -> Cap:
        moment = time.monotonic()
        refused = moment - share.refused_at < FRESH and cost >= share.least_refused
        if EXACT.add(share.spent, cost) > share.taken and not refused:
            after = await share.shared.change(partial(share.more, self.run, cost, elsewhere))
            mine = after.held.get(self.run)
            share.taken = mine.amount if mine is not None else Decimal(0)
        wanted = EXACT.add(share.spent, cost)
        fits = wanted <= share.taken
        if not fits and not refused:
            share.refused_at, share.least_refused = moment, cost
        name, in_all, limit = f"{share.label.kind}_month_money", EXACT.add(share.others, wanted), share.cap
        return Cap(name, "month", in_all, limit.amount, fits, limit.currency, share.label)

    async def finish(self) -> None:
        """Give back what was taken and not spent. Best effort: what cannot be, counts until the month ends."""
        for share in [share for share in self._shares.values() if share.taken]:
            try:
                await share.shared.change(lambda taken, share=share: taken.without(self.run, share.spent))
                share.taken = share.spent = Decimal(0)
            except DestinationError as error:
                left = f"{plain(share.taken)} {share.cap.currency}"
                self.ledger.on_trouble(f"{left} stay taken from the cap of {share.label.name!r}: {error}")
