"""What a generation will cost by a price table. What a request leaves open makes a range, never a guess."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timezone
from decimal import Decimal, localcontext
from itertools import product
from typing import Any, NamedTuple, cast

from pydantic import ValidationError

from prefect_genvideo.models import VideoRequest
from prefect_genvideo.prices.amounts import EXACT, Estimate, Money, places
from prefect_genvideo.prices.quantities import frames_of, pixels_of, resolution_in
from prefect_genvideo.prices.table import Price, PriceTable

# Lengths that an open duration is tried with; a range of longer ones is tried at its ends and between.
_MAX_LENGTHS = 64
_SOUND = ("generate_audio", "audio", "sound", "enable_audio", "with_audio")
# Seconds of a clip, and of all reference videos together, beyond which nothing is believed.
_LONGEST = 36_000


@dataclass(frozen=True)
class Billable:
    """What of a request, or of a finished clip, a bill depends on.

    Attributes:
        model: As the provider lists it.
        seconds: Lengths that the clip may have; one when it is known.
        resolution: e.g. `720p`; None when it is not known.
        aspect_ratio: e.g. `16:9`.
        sound: Whether the clip has sound; None when nothing says so.
        video_input: Whether a reference video goes in.
        input_seconds: Length of all reference videos together; None when it is not known.
        service_tier: Of the request; `default` where it names none.
        tokens: What the provider says that it bills of a finished clip; None: to be counted from pixels and frames.
    """

    model: str
    seconds: tuple[Decimal, ...] = ()
    resolution: str | None = None
    aspect_ratio: str | None = None
    sound: bool | None = None
    video_input: bool = False
    input_seconds: Decimal | None = None
    service_tier: str = "default"
    tokens: Decimal | None = None


def billable_of(
    request: VideoRequest, *, lengths: Iterable[int | float] = (), input_seconds: float | None = None
) -> Billable:
    """Return what of a request its price depends on.

    Args:
        request: With the model's defaults filled in.
        lengths: Seconds that the model may choose from where the request leaves them open.
        input_seconds: Length of its reference videos together, where it is known.
    """
    left_open = request.duration is None or request.duration == -1  # -1: the model chooses, and says so in its document
    asked = lengths if left_open else (request.duration or 0,)
    return Billable(
        model=request.model,
        seconds=_spread([_decimal(seconds) for seconds in asked if 0 < seconds <= _LONGEST]),
        resolution=request.resolution or resolution_in(request.model),
        aspect_ratio=request.aspect_ratio,
        sound=_sound_of(request.options),
        video_input=bool(request.videos),
        input_seconds=_input(request, input_seconds),
        service_tier=_tier_of(request.options),
    )


def _input(request: VideoRequest, seconds: float | None) -> Decimal | None:
    if not request.videos:
        return Decimal(0)
    return _decimal(seconds) if seconds is not None and 0 < seconds <= _LONGEST else None


def _decimal(value: float) -> Decimal:
    return places(Decimal(str(value)), 3)


def _spread(lengths: Sequence[Decimal]) -> tuple[Decimal, ...]:
    """At most so many lengths, both ends among them."""
    ordered = sorted(set(lengths))
    if len(ordered) <= _MAX_LENGTHS:
        return tuple(ordered)
    step = (len(ordered) - 1) / (_MAX_LENGTHS - 1)
    return tuple(ordered[round(place * step)] for place in range(_MAX_LENGTHS))


def _sound_of(options: Any) -> bool | None:
    inner = options.get("provider_specific")
    nested = cast("dict[str, Any]", inner) if isinstance(inner, dict) else {}
    said = (place.get(name) for name in _SOUND for place in (nested, options))
    return next((word for word in said if isinstance(word, bool)), None)


def _tier_of(options: Any) -> str:
    tier = options.get("service_tier")
    return tier if isinstance(tier, str) and tier else "default"


def estimate(table: PriceTable, wanted: Billable, *, on: date | None = None) -> Estimate:
    """Return what a generation costs by a table.

    Args:
        table: The prices.
        wanted: What is to be billed.
        on: Day (UTC) of the create; today by default.

    Returns:
        One figure where the request says all that the price depends on, else a range over what it leaves open.
        Unknown where the table has no price for it, or only for a part of what it may become.
    """
    prices = table.candidates(wanted.model, on or datetime.now(timezone.utc).date())
    if not prices:
        return _unknown(f"no price for {wanted.model}", table)
    try:
        with localcontext(EXACT):
            found = [_cost(table, prices, wanted, way) for way in _ways(prices, wanted)]
    except ValidationError:
        return _unknown(f"{wanted.model}: the price is beyond every bound", table)
    known = [cost for cost in found if cost is not None]
    if len({cost.low.currency for cost in known}) != 1:
        why = "prices in several currencies" if known else "no price for these seconds, resolution, sound and input"
        return _unknown(f"{wanted.model}: {why}", table)
    whole = len(known) == len(found)
    low, expected, high = _range(known)
    return Estimate(
        low=low,
        expected=expected if whole else None,
        high=high if whole else None,
        currency=known[0].low.currency,
        how="calculated",
        note=_note(known, whole, table)[:500],
    )


def _unknown(why: str, table: PriceTable) -> Estimate:
    return Estimate(note=f"{why}{_where(table)}"[:500])


class _Cost(NamedTuple):
    price: Price
    low: Money
    expected: Money | None
    high: Money | None


_Way = tuple[Decimal, str | None, bool]


def _ways(prices: Sequence[Price], wanted: Billable) -> Iterator[_Way]:
    """Everything that the generation may become: lengths, resolutions and sound that nothing has settled."""
    named = sorted({word.lower() for price in prices for word in price.resolution or ()})
    resolutions: list[str | None] = [wanted.resolution] if wanted.resolution or not named else list(named)
    matters = any(price.sound is not None for price in prices)
    sounds = (False, True) if wanted.sound is None and matters else (bool(wanted.sound),)
    # Without a length only a price that needs none can tell; `_cost` says so.
    yield from product(wanted.seconds or (Decimal(-1),), resolutions, sounds)


def _cost(table: PriceTable, prices: Sequence[Price], wanted: Billable, way: _Way) -> _Cost | None:
    (seconds, resolution, sound), tier = way, wanted.service_tier
    fitting = (price for price in prices if price.fits(resolution, sound, wanted.video_input, seconds, tier))
    price = next(fitting, None)
    if price is None:
        return None
    quantities = _quantities(price, wanted, seconds, resolution)
    if quantities is None:
        return None

    def cost(quantity: Decimal) -> Money:
        return table.exchanged(price.of(quantity, table.factor), price.currency or table.currency or "unit")

    least, usual, most = quantities
    return _Cost(price, cost(least), None if usual is None else cost(usual), None if most is None else cost(most))


def _quantities(
    price: Price, wanted: Billable, seconds: Decimal, resolution: str | None
) -> tuple[Decimal, Decimal | None, Decimal | None] | None:
    """How much is billed: at least, as expected, at most. An input of unknown length has no upper end."""
    if price.per == "video":
        return Decimal(1), Decimal(1), Decimal(1)
    if price.per == "1000_tokens" and wanted.tokens is not None:
        return wanted.tokens, wanted.tokens, wanted.tokens
    if seconds < 0:  # no length is known
        return None
    if price.per == "second":
        return seconds, seconds, seconds
    known = wanted.input_seconds
    whole = None if known is None else seconds + known
    least = seconds + (known or 0)
    if price.per == "input_and_output_second":
        return least, whole, whole
    if price.per == "frame":
        frames = frames_of(seconds, price.frames_per_second)
        return frames, frames, frames
    return _tokens(price, wanted, (least, whole), resolution)


def _tokens(
    price: Price, wanted: Billable, lengths: tuple[Decimal, Decimal | None], resolution: str | None
) -> tuple[Decimal, Decimal | None, Decimal | None] | None:
    least, whole = lengths
    if price.tokens_per_second is not None:
        each = price.tokens_per_second
        return least * each, None if whole is None else whole * each, None if whole is None else whole * each
    pixels = (price.pixels,) * 3 if price.pixels else pixels_of(resolution, wanted.aspect_ratio)
    if pixels is None:
        return None
    fewest, usual, most = map(Decimal, pixels)
    low = fewest * least * price.frames_per_second / 1024
    if whole is None:
        return low, None, None
    frames = frames_of(whole, price.frames_per_second)
    return low, Decimal(int(usual * frames / 1024)), most * frames / 1024


def _range(known: Sequence[_Cost]) -> tuple[Decimal, Decimal | None, Decimal | None]:
    """The lowest, the middle of what is expected, and the highest; None where one of them has no such end."""
    expected = [cost.expected.amount for cost in known if cost.expected is not None]
    highs = [cost.high.amount for cost in known if cost.high is not None]
    middle = (min(expected) + max(expected)) / 2 if len(expected) == len(known) else None
    highest = max(highs) if len(highs) == len(known) else None
    return (
        places(min(cost.low.amount for cost in known)),
        None if middle is None else places(middle),
        None if highest is None else places(highest),
    )


def _where(table: PriceTable) -> str:
    return f" in {table.source}" if table.source else ""


def _note(known: Sequence[_Cost], whole: bool, table: PriceTable) -> str:
    used = list({id(cost.price): cost.price for cost in known}.values())
    said = "; ".join(f"{price}{f' ({price.note})' if price.note else ''}" for price in used[:3])
    gap = "" if whole else "; for a part of what it may become there is no price"
    return f"{said}{gap}{_where(table)}"
