"""Amounts of money: decimals with a currency. Nothing here is ever a float, and what is not known is None, never 0."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError

from prefect_genvideo.errors import InvalidRequestError, shown
from prefect_genvideo.models import Problem

# Digits that products and sums keep; an amount of 42 digits times a quantity of 18 fits exactly.
_PRECISION = 60
# Decimal places that an amount may have: a token's price in a credit's fraction has some eight.
_PLACES = 18
# No price, bill or balance of this field comes near; what is larger is a typing error or garbage.
_LARGEST = Decimal("1e24")

EXACT = Context(prec=_PRECISION, rounding=ROUND_HALF_EVEN)
"""Arithmetic that loses no digit of what is added and multiplied here."""

How = Literal["calculated", "catalogue", "unknown"]
"""Where an estimate comes from: the user's price table, the provider's own list, or nowhere."""


def _no_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("a number is wanted")
    return value


def _bounded(value: Decimal) -> Decimal:
    exponent = value.as_tuple().exponent
    if not isinstance(exponent, int) or abs(value) > _LARGEST or exponent < -_PLACES:
        raise ValueError(f"at most {_LARGEST:f}, with at most {_PLACES} decimal places")
    return value


def plain(value: Decimal) -> str:
    """Return a decimal as plain digits: no exponent, no zeros at the end that say nothing, e.g. `4.5`."""
    text = format(value, "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


Amount = Annotated[
    Decimal,
    BeforeValidator(_no_bool),
    Field(allow_inf_nan=False),
    AfterValidator(_bounded),
    PlainSerializer(plain, return_type=str, when_used="json"),
]
"""A decimal of any sign, up to 10^24 with 18 places. In JSON it is a text; a number is read as it is written."""

Currency = Annotated[str, Field(min_length=1, max_length=30, pattern=r"^[A-Za-z][A-Za-z0-9 _.-]*$")]
"""ISO 4217, e.g. `CNY`, or the name of a virtual currency, e.g. `unit` or `credit`."""


class Money(BaseModel):
    """An amount of one currency.

    Attributes:
        amount: How much; negative for a refund.
        currency: ISO 4217, or the name of a virtual currency.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    amount: Amount
    currency: Currency

    def __add__(self, other: Money) -> Money:
        if other.currency != self.currency:
            raise ValueError(f"{self.currency} and {other.currency} are not added")
        return Money(amount=EXACT.add(self.amount, other.amount), currency=self.currency)

    def __str__(self) -> str:
        return f"{plain(self.amount)} {self.currency}"


class Estimate(BaseModel):
    """What one generation will cost. Each figure may be unknown on its own: None, never 0.

    Attributes:
        low: The least it costs.
        expected: What it costs as far as the request tells.
        high: The most it costs; what an approval or a budget has to count with. None: nobody knows an upper end.
        currency: Of all three; None when nothing is known.
        how: `calculated` from the user's table, `catalogue` from the provider's list, or `unknown`.
        note: Which price it is, or why nothing is known; one line for people.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: Amount | None = None
    expected: Amount | None = None
    high: Amount | None = None
    currency: Currency | None = None
    how: How = "unknown"
    note: str = Field(default="", max_length=500)

    @property
    def is_known(self) -> bool:
        """Whether an expected figure is known."""
        return self.expected is not None

    @property
    def most(self) -> Money | None:
        """The upper end as money; None where nobody knows one."""
        return None if self.high is None or self.currency is None else Money(amount=self.high, currency=self.currency)

    def __str__(self) -> str:
        if self.low is None and self.high is None:
            return "unknown"
        if self.low == self.high and self.low is not None:
            return f"{plain(self.low)} {self.currency}"
        low = "?" if self.low is None else plain(self.low)
        high = "?" if self.high is None else plain(self.high)
        return f"{low} to {high} {self.currency}"


@dataclass(frozen=True)
class EstimateTotal:
    """The sum of many estimates. Currencies are never mixed, and what is unknown is counted beside the sums.

    Attributes:
        sums: One estimate a currency, in the order of their names; over those whose figures are known.
        unknown: Estimates without an expected figure; they are in no sum's `expected`.
    """

    sums: tuple[Estimate, ...] = ()
    unknown: int = 0


def total_of(estimates: Iterable[Estimate]) -> EstimateTotal:
    """Return the sum of estimates, by currency."""
    every = list(estimates)
    sums = list[Estimate]()
    for currency in sorted({one.currency for one in every if one.currency is not None}):
        own = sorted((one for one in every if one.currency == currency), key=lambda one: one.how)
        with localcontext(EXACT):
            low, expected, high = (
                sum((getattr(one, end) or Decimal(0) for one in own), Decimal(0)) for end in ("low", "expected", "high")
            )
        sums.append(Estimate(low=low, expected=expected, high=high, currency=currency, how=own[0].how))
    return EstimateTotal(tuple(sums), sum(not one.is_known for one in every))


def sum_of(amounts: Iterable[Money]) -> tuple[Money, ...]:
    """Return the sums of amounts, one a currency, in the order of their names."""
    sums = dict[str, Decimal]()
    for one in amounts:
        sums[one.currency] = EXACT.add(sums.get(one.currency, Decimal(0)), one.amount)
    return tuple(Money(amount=amount, currency=currency) for currency, amount in sorted(sums.items()))


def money_of(quota: int, quota_per_unit: Decimal | None, unit: Money | None = None) -> Money:
    """Return a gateway's figure as money. Whole figures are added first and divided once, by this.

    Args:
        quota: The gateway's integer.
        quota_per_unit: So many make one unit of the site, as it says or as the user states; None: not known.
        unit: What one unit costs the user; None: not known, and a unit is not assumed to be a dollar.

    Returns:
        In the unit's currency; without its price in `unit`; without the size of a unit in `quota`.
    """
    if quota_per_unit is None or quota_per_unit <= 0:
        return Money(amount=Decimal(quota), currency="quota")
    units = EXACT.divide(Decimal(quota), quota_per_unit)
    priced = units if unit is None else EXACT.multiply(units, unit.amount)
    return Money(amount=places(priced), currency="unit" if unit is None else unit.currency)


def places(value: Decimal, digits: int = _PLACES) -> Decimal:
    """Return a value with at most so many decimal places, rounded half to even.

    Args:
        value: Any finite decimal.
        digits: Decimal places that are kept.
    """
    exponent = value.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -digits:
        return value.quantize(Decimal(1).scaleb(-digits), context=EXACT)
    return value


# A digit in the currency is a slip in the amount: `1e3 CNY`, `5 CNY 5`.
_MONEY = re.compile(r"\s*([0-9]{1,15}(?:\.[0-9]{1,18})?)\s*([A-Za-z][A-Za-z _.-]{0,29}?)\s*")


def parse_money(text: str) -> Money:
    """Read an amount with its currency, e.g. `50 CNY` or `12.5 unit`.

    Raises:
        ValueError: It is neither, or beyond every bound.
    """
    found = _MONEY.fullmatch(text)
    try:
        if found:
            return Money.model_validate({"amount": found[1], "currency": found[2]})
    except ValidationError:
        pass
    raise ValueError("must be an amount with its currency, e.g. 50 CNY")


def money_in(text: str, field: str) -> Money | None:
    """Return what a field states; None where it is empty.

    Args:
        text: See `parse_money`.
        field: Its name, for the error.

    Raises:
        InvalidRequestError: It is no amount.
    """
    if not text.strip():
        return None
    try:
        return parse_money(text)
    except ValueError as error:
        problem = Problem(field, shown(text), str(error))
        raise InvalidRequestError("The amount cannot be used; nothing was sent.", problems=[problem]) from None
