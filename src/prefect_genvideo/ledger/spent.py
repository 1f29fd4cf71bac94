"""Sums of what creates cost, in all and by label, that fit into names: listings are enough to count a month."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Literal, NamedTuple

from prefect_genvideo.ledger.record import LedgerRecord
from prefect_genvideo.prices.amounts import EXACT, Money, places, plain
from prefect_genvideo.prices.facts import MoneyFacts

FRESH = 20.0
"""Seconds for which a count is believed before the store is asked again for what others have spent meanwhile."""
KEPT_FOR = timedelta(days=62)
"""How long names are kept for: a run at a month's end still looks at the month before."""
_COUNTS = re.compile(r"(\d{1,6})x(\d{1,9}(?:\.\d{1,9})?)s\.json")
_MONEY = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,18})?)([A-Za-z][A-Za-z0-9_.-]{0,29})")
_PRICED = re.compile(r"p([0-9]{1,6})")
# Currencies that one name holds, and one label in it; more of them in a hundred creates is nobody's bill.
_MOST, _MOST_OF_LABEL = 4, 2
# File systems take 255 bytes in a name; the id, the sums of all and the end have some 150 at most.
_LONGEST = 240
# Seconds of video that one name holds, and digits behind the point.
_LONGEST_SUM, _SECOND_PLACES = 999_999_999, 3

LabelKind = Literal["tag", "cost_center"]


@dataclass(frozen=True)
class Spent:
    """How many creates were sent, how many seconds of video they asked for, and what they cost as far as is known.

    Attributes:
        generations: Creates.
        seconds: Of video.
        money: The most that the priced ones cost, one amount a currency, in the order of their names.
        priced: Creates whose upper end is known; the others are in no amount.
    """

    generations: int
    seconds: float
    money: tuple[Money, ...] = ()
    priced: int = 0

    def __add__(self, other: Spent) -> Spent:
        return self._with(other, 1)

    def __sub__(self, other: Spent) -> Spent:
        return self._with(other, -1)

    def _with(self, other: Spent, sign: int) -> Spent:
        sums = {money.currency: money.amount for money in self.money}
        for money in other.money:
            before = sums.get(money.currency, Decimal(0))
            sums[money.currency] = EXACT.add(before, money.amount * sign)
        return Spent(
            self.generations + sign * other.generations,
            self.seconds + sign * other.seconds,
            tuple(Money(amount=amount, currency=currency) for currency, amount in sorted(sums.items()) if amount),
            self.priced + sign * other.priced,
        )

    @property
    def unpriced(self) -> int:
        """Creates of which nobody knows what they cost."""
        return self.generations - self.priced

    def in_currency(self, currency: str) -> Decimal:
        """Return what was spent in a currency."""
        wanted = in_name(currency)
        return next((money.amount for money in self.money if in_name(money.currency) == wanted), Decimal(0))

    @property
    def name(self) -> str:
        """End of an object's name that says all this: `4.5CNY~p2~3x12s.json`; releases before prices read it too."""
        # Never as `1e+06` or below 0: what cannot be read counts as one create that costs nothing.
        seconds = plain(places(Decimal(str(min(max(0.0, self.seconds), _LONGEST_SUM))), _SECOND_PLACES))
        return "~".join((*self._figures(_MOST), f"{self.generations}x{seconds}s.json"))

    @property
    def mark(self) -> str:
        """The same of a label, between the parts of a name: `4.5CNY!p2!3x`."""
        return "!".join((*self._figures(_MOST_OF_LABEL), f"{self.generations}x"))

    def _figures(self, most: int) -> list[str]:
        amounts = [f"{plain(one.amount)}{in_name(one.currency)}" for one in self.money[:most] if one.amount > 0]
        return [*amounts, f"p{self.priced}"] if self.priced else amounts


NOTHING = Spent(0, 0.0)
"""What no create costs."""


def in_name(currency: str) -> str:
    """Return a currency as it stands in names, where blanks are none."""
    return currency.replace(" ", "_")


def one_create(seconds: float | None, price: Money | None) -> Spent:
    """Return what one create costs.

    Args:
        seconds: Of video.
        price: The most that it costs; None: not known.
    """
    if price is None:
        return Spent(1, seconds or 0.0)
    known = Money(amount=price.amount, currency=in_name(price.currency))
    return Spent(1, seconds or 0.0, (known,) if price.amount else (), 1)


def price_of(facts: MoneyFacts | None) -> Money | None:
    """Return the most that a generation costs: what it has cost where that is final, else what was expected at most."""
    if facts is None:
        return None
    if facts.final and facts.spent is not None:
        return facts.spent
    return facts.estimate.most if facts.estimate is not None else None


def spent_in(path: str) -> Spent:
    """Return what the name of a reservation says, or that of an old release's marker of a create."""
    *parts, counts = path.rpartition("/")[2].split("~")
    told = _COUNTS.fullmatch(counts)
    if not told or not parts:
        seconds = counts.removesuffix("s")
        return Spent(1, float(seconds) if seconds.replace(".", "", 1).isdigit() else 0.0)
    return Spent(int(told[1]), float(told[2]), *_figures_in(parts[1:]))


def _figures_in(parts: Iterable[str]) -> tuple[tuple[Money, ...], int]:
    """The amounts among the parts of a name, in the order of their currencies, and how many creates are priced."""
    told = list(parts)
    amounts = [Money(amount=Decimal(one[1]), currency=one[2]) for one in map(_MONEY.fullmatch, told) if one]
    priced = [int(one[1]) for one in map(_PRICED.fullmatch, told) if one]
    return tuple(sorted(amounts, key=lambda money: money.currency)), priced[0] if priced else 0


class Label(NamedTuple):
    """A tag or a cost center.

    Attributes:
        kind: Which of them.
        name: The word.
    """

    kind: LabelKind
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"

    @property
    def mark(self) -> str:
        """What stands for it in names: ten hexadecimal digits."""
        return hashlib.sha256(str(self).encode()).hexdigest()[:10]


def labels_in(tags: Iterable[str], cost_center: str | None) -> tuple[Label, ...]:
    """Return tags and a cost center as labels.

    Args:
        tags: Free words.
        cost_center: Who bears the cost.
    """
    named = [Label("cost_center", cost_center)] if cost_center else []
    return (*named, *(Label("tag", tag) for tag in dict.fromkeys(tags)))


def labels_of(record: LedgerRecord) -> tuple[Label, ...]:
    """Return the labels of a record."""
    return labels_in(record.tags, record.cost_center)


def names_with(begin: str, whole: Spent, marked: Mapping[str, Spent]) -> list[str]:
    """Return the names that say what creates cost in all and by mark.

    The first is that of the reservation itself; further ones, for more marks than it holds, count nothing in all.

    Args:
        begin: How the names begin.
        whole: What all of them cost.
        marked: What those of a label cost, by mark.
    """
    parts = [f"t{mark}!{spent.mark}" for mark, spent in sorted(marked.items()) if spent.generations > 0]
    names, end = list[str](), whole.name
    while parts or not names:
        taken, length = list[str](), len(begin) + len(end) + 1
        while parts and length + len(parts[0]) + 1 <= _LONGEST:
            taken.append(parts.pop(0))
            length += len(taken[-1]) + 1
        # A number goes before the end of further names: equal ones would be one object.
        names.append("~".join((begin if not names else f"{begin}-{len(names)}", *taken, end)))
        end = NOTHING.name
    return names


def marked_in(path: str, marks: Iterable[str]) -> dict[str, Spent]:
    """Return what the name of a reservation says of marks.

    Args:
        path: Of the reservation.
        marks: Those that are asked for.
    """
    found = {part[1:11]: part[12:].split("!") for part in path.rpartition("/")[2].split("~")[1:] if part[:1] == "t"}
    return {mark: _marked(found[mark]) for mark in marks if mark in found}


def _marked(parts: list[str]) -> Spent:
    count = parts[-1].removesuffix("x")
    return Spent(int(count) if count.isdigit() else 1, 0.0, *_figures_in(parts[:-1]))


@dataclass(frozen=True)
class Expected:
    """What a create that is to come will cost.

    Attributes:
        seconds: Of video.
        price: The most that it costs; None: not known.
        labels: Its tags and cost center.
    """

    seconds: float = 0.0
    price: Money | None = None
    labels: tuple[Label, ...] = ()
