"""Prices as a user states them, or as a provider's own list gives them: one typed table for every shape in use."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_HALF_UP, Decimal
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, model_validator

from prefect_genvideo.prices.amounts import EXACT, Amount, Currency, Money, plain
from prefect_genvideo.prices.quantities import FRAMES_PER_SECOND
from prefect_genvideo.stated import stated_by_provider

Per = Literal["video", "second", "input_and_output_second", "1000_tokens", "frame"]
"""What an amount is for."""

# Seconds of the longest span that a bucket may name.
_LONGEST = Decimal(3600)
_SPAN = re.compile(r"([0-9]{1,4}(?:\.[0-9]{1,3})?) ?[-–] ?([0-9]{1,4}(?:\.[0-9]{1,3})?)")
_MODES = {"up": ROUND_CEILING, "down": ROUND_DOWN, "half_up": ROUND_HALF_UP}


def _many(value: Any) -> Any:
    """Read one as a list of one."""
    return cast("Iterable[Any]", value) if isinstance(value, list | tuple) else (value,)


def _span(value: Any) -> Any:
    """Read `5` and `"4-10"` as the first and the last second of a bucket."""
    if isinstance(value, str) and (found := _SPAN.fullmatch(value.strip())):
        return found[1], found[2]
    alone = isinstance(value, int | float | str | Decimal) and not isinstance(value, bool)
    return (value, value) if alone else value


_Second = Annotated[Decimal, Field(ge=0, le=_LONGEST, allow_inf_nan=False)]
Buckets = Annotated[
    tuple[Annotated[tuple[_Second, _Second], BeforeValidator(_span)], ...],
    BeforeValidator(_many),
    Field(min_length=1, max_length=100),
]
Words = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=200)], ...],
    BeforeValidator(_many),
    Field(min_length=1, max_length=200),
]


class Rounding(BaseModel):
    """How an amount is rounded, after factor and minimum.

    Attributes:
        to: The step, e.g. `0.01`.
        mode: `up`, `down` (toward zero) or `half_up`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    to: Annotated[Amount, Field(gt=0)]
    mode: Literal["up", "down", "half_up"] = "half_up"

    def of(self, amount: Decimal) -> Decimal:
        """Return the amount, rounded."""
        steps = EXACT.divide(amount, self.to).to_integral_value(_MODES[self.mode])
        return EXACT.multiply(steps, self.to)


class Price(BaseModel):
    """One price, and what it is for. A condition that is left out holds for everything.

    Attributes:
        models: Names of models, in which `*` and `?` stand for any text and letter.
        per: What the amount is for: a video, a second of it, a second of input and output together, a thousand tokens,
            or a frame.
        amount: Of the currency, for one of these.
        currency: ISO 4217 or a virtual currency's name; the table's by default.
        resolution: Only for these, e.g. `720p`.
        sound: Only with sound, or only without.
        video_input: Only with a reference video, or only without.
        service_tier: Only for requests of this tier, e.g. `flex`; a request that names none is of `default`.
        seconds: Only for clips of these lengths: `5`, `"4-10"` (both ends count), or a list of them.
        factor: Multiplies the amount: a group's ratio, a discount.
        minimum: The least that one generation costs, after the factor.
        minimum_quantity: The least number of seconds, tokens (single ones) or frames that is billed.
        rounding: Of the amount; none by default.
        valid_from: First day (UTC) of this price. The latest one that has begun counts.
        tokens_per_second: Tokens of a second of video; by pixels and frames when not given.
        pixels: Width times height of a frame; by resolution and aspect ratio when not given.
        frames_per_second: Of the clips.
        note: For people.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    models: Words
    per: Per
    amount: Annotated[Amount, Field(ge=0)]
    currency: Currency | None = None
    resolution: Words | None = None
    sound: bool | None = None
    video_input: bool | None = None
    service_tier: Words | None = None
    seconds: Buckets | None = None
    factor: Annotated[Amount, Field(ge=0)] = Decimal(1)
    minimum: Annotated[Amount, Field(ge=0)] | None = None
    minimum_quantity: Annotated[Amount, Field(gt=0)] | None = None
    rounding: Rounding | None = None
    valid_from: date | None = None
    tokens_per_second: Annotated[Amount, Field(gt=0)] | None = None
    pixels: Annotated[int, Field(gt=0, le=10**9)] | None = None
    frames_per_second: Annotated[Amount, Field(gt=0, le=1000)] = FRAMES_PER_SECOND
    note: str = Field(default="", max_length=300)

    @model_validator(mode="after")
    def _is_whole(self) -> Price:
        if any(low > high for low, high in self.seconds or ()):
            raise ValueError("seconds: the first one of a bucket comes first")
        if self.minimum_quantity is not None and self.per == "video":
            raise ValueError("minimum_quantity does not go with a price per video")
        if self.per != "1000_tokens" and (self.tokens_per_second is not None or self.pixels is not None):
            raise ValueError("tokens_per_second and pixels go with a price per 1000_tokens only")
        return self

    @property
    def conditions(self) -> tuple[Any, ...]:
        """What the price is for, and since when; two prices that share it contradict each other."""
        resolution = tuple(sorted(map(str.lower, self.resolution or ())))
        tier = tuple(sorted(self.service_tier or ()))
        return (resolution, self.sound, self.video_input, tier, self.seconds, self.valid_from)

    def fits(
        self, resolution: str | None, sound: bool, video_input: bool, seconds: Decimal, service_tier: str = "default"
    ) -> bool:
        """Whether the price is for such a generation.

        Args:
            resolution: e.g. `720p`; None fits only a price that names none.
            sound: Whether the clip has sound.
            video_input: Whether a reference video goes in.
            seconds: Length of the clip.
            service_tier: Of the request.
        """
        return (
            (self.resolution is None or (resolution or "").lower() in map(str.lower, self.resolution))
            and self.sound in (None, sound)
            and self.video_input in (None, video_input)
            and (self.service_tier is None or service_tier in self.service_tier)
            and (self.seconds is None or any(low <= seconds <= high for low, high in self.seconds))
        )

    def of(self, quantity: Decimal, factor: Decimal = Decimal(1)) -> Decimal:
        """Return what a quantity costs.

        Args:
            quantity: Videos, seconds, single tokens or frames.
            factor: The table's own, on top of this price's.
        """
        billed = max(quantity, self.minimum_quantity or Decimal(0))
        each = EXACT.divide(self.amount, Decimal(1000)) if self.per == "1000_tokens" else self.amount
        amount = EXACT.multiply(EXACT.multiply(each, billed), EXACT.multiply(self.factor, factor))
        amount = max(amount, self.minimum or Decimal(0))
        return self.rounding.of(amount) if self.rounding else amount

    def __str__(self) -> str:
        """Say it in a line, e.g. `0.6 a second`; the currency stands elsewhere."""
        words = {"video": "a video", "second": "a second", "frame": "a frame", "1000_tokens": "for 1000 tokens"}
        return f"{plain(self.amount)} {words.get(self.per, 'a second of input and output')}"


class PriceTable(BaseModel):
    """All prices of one provider.

    Attributes:
        prices: In any order. Of those that fit, a model's own name goes before a pattern, then the latest day, then
            the one that names more conditions, then the first.
        currency: Of prices that name none.
        factor: Multiplies every price: the account's group ratio or discount.
        exchange: What one of a virtual currency costs, by its name, e.g. `{"unit": {"amount": "1", "currency":
            "CNY"}}`. Without it amounts stay in the virtual currency.
        quota_per_unit: A gateway's figures that make one unit; replaces what the gateway says of itself.
        group: The account's group at a gateway, which chooses its ratio from the gateway's own list.
        failed: What a failed generation costs: `free`, `charged`, or None: not known.
        source: Where the table comes from.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    prices: Annotated[tuple[Price, ...], Field(max_length=10_000)] = ()
    currency: Currency | None = None
    factor: Annotated[Amount, Field(ge=0)] = Decimal(1)
    exchange: Annotated[dict[Currency, Money], Field(max_length=100)] = Field(default_factory=dict[str, Money])
    quota_per_unit: Annotated[Amount, Field(gt=0)] | None = None
    group: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    failed: Literal["free", "charged"] | None = None
    source: str = Field(default="", max_length=300)

    @model_validator(mode="after")
    def _is_clear(self) -> PriceTable:
        seen: dict[tuple[Any, ...], int] = {}
        faults: list[str] = []
        for number, price in enumerate(self.prices):
            if price.currency is None and self.currency is None:
                faults.append(f"prices.{number}: a currency is wanted, here or for the whole table")
            for name in price.models:
                first = seen.setdefault((name, *price.conditions), number)
                if first != number:
                    faults.append(f"prices.{number}: {name} has a price for the same in prices.{first}")
        faults += [f"exchange.{name} leads to itself" for name in self.exchange if self._is_a_circle(name)]
        if faults:
            raise ValueError("; ".join(faults[:20]))
        return self

    def _is_a_circle(self, name: str) -> bool:
        seen: set[str] = set()
        while name in self.exchange and name not in seen:
            seen.add(name)
            name = self.exchange[name].currency
        return name in seen

    def __hash__(self) -> int:
        return hash((self.prices, self.currency, self.factor, self.source))

    def candidates(self, model: str, on: date) -> list[Price]:
        """Return the prices that speak of a model on a day, the one that counts first.

        Args:
            model: The model's name as the provider lists it.
            on: Day (UTC) of the create.
        """
        found = [
            (model not in price.models, -(price.valid_from or date.min).toordinal(), -_named(price), number, price)
            for number, price in enumerate(self.prices)
            if (price.valid_from is None or price.valid_from <= on)
            and any(fnmatchcase(model, pattern) for pattern in price.models)
        ]
        return [price for *_, price in sorted(found, key=lambda one: one[:4])]

    def exchanged(self, amount: Decimal, currency: str) -> Money:
        """Return an amount in the currency that its own can be exchanged to, or in its own.

        Args:
            amount: How much.
            currency: Of the amount.
        """
        while currency in self.exchange:  # without a circle, see the validator
            rate = self.exchange[currency]
            amount, currency = EXACT.multiply(amount, rate.amount), rate.currency
        return Money(amount=amount, currency=currency)

    @property
    def unit(self) -> Money | None:
        """What one unit of a gateway costs, where the user states it."""
        return self.exchange.get("unit")


def _named(price: Price) -> int:
    """How many conditions a price names."""
    conditions = (price.resolution, price.sound, price.video_input, price.service_tier, price.seconds)
    return sum(one is not None for one in conditions)


_FILE = TypeAdapter(dict[str, PriceTable])


def read_price_tables(stated: str) -> dict[str, PriceTable]:
    """Read the prices that a user states, by provider.

    Args:
        stated: A JSON or YAML object, or the path of a file that holds one: `{"senseaudio": {"currency": "CNY",
            "prices": [{"models": "doubao-seedance-2-0-*", "per": "second", "amount": "0.6", "resolution": "720p"}]}}`.
            See `PriceTable` and `Price` for the fields.

    Raises:
        InvalidRequestError: It cannot be read or breaks the form; every broken field is named.
    """
    found, source = stated_by_provider(stated, "prices", _FILE)
    return {
        name: table if table.source else table.model_copy(update={"source": source}) for name, table in found.items()
    }
