"""What creates cost, as a sum that fits into the name of an object: a listing is enough to count a day or a month."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

from prefect_genvideo.prices.amounts import EXACT, Money, plain
from prefect_genvideo.prices.facts import MoneyFacts

_COUNTS = re.compile(r"(\d{1,6})x(\d{1,9}(?:\.\d{1,9})?)s\.json")
_MONEY = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,18})?)([A-Za-z][A-Za-z0-9_.-]{0,29})")
_PRICED = re.compile(r"p([0-9]{1,6})")
# Currencies that one name holds; more of them in a hundred creates is nobody's bill.
_MOST = 4


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
        amounts = [
            f"{plain(money.amount)}{in_name(money.currency)}" for money in self.money[:_MOST] if money.amount > 0
        ]
        priced = [f"p{self.priced}"] if self.priced else []
        return "~".join((*amounts, *priced, f"{self.generations}x{self.seconds:g}s.json"))


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


def total(parts: Iterable[Spent]) -> Spent:
    """Return the sum of many."""
    found = Spent(0, 0.0)
    for part in parts:
        found += part
    return found


def price_of(facts: MoneyFacts | None) -> Money | None:
    """Return the most that a generation costs: what it has cost where that is final, else what was expected at most."""
    if facts is None:
        return None
    if facts.final and facts.spent is not None:
        return facts.spent
    told = facts.estimate
    if told is None or told.high is None or told.currency is None:
        return None
    return Money(amount=told.high, currency=told.currency)


def spent_in(path: str) -> Spent:
    """Return what the name of a reservation says, or that of an old release's marker of a create."""
    *parts, counts = path.rpartition("/")[2].split("~")
    told = _COUNTS.fullmatch(counts)
    if not told or not parts:
        seconds = counts.removesuffix("s")
        return Spent(1, float(seconds) if seconds.replace(".", "", 1).isdigit() else 0.0)
    return Spent(int(told[1]), float(told[2]), amounts_in(parts[1:]), priced_in(parts[1:]))


def amounts_in(parts: Iterable[str]) -> tuple[Money, ...]:
    """Return the amounts among the parts of a name, in the order of their currencies."""
    told = [found for part in parts if (found := _MONEY.fullmatch(part))]
    return tuple(
        sorted((Money(amount=Decimal(one[1]), currency=one[2]) for one in told), key=lambda money: money.currency)
    )


def priced_in(parts: Iterable[str]) -> int:
    """Return how many creates the parts of a name call priced."""
    return next((int(found[1]) for part in parts if (found := _PRICED.fullmatch(part))), 0)
