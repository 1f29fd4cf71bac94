"""What a generation costs by a price table: every shape of price, and what a request leaves open."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_genvideo.errors import InvalidRequestError
from prefect_genvideo.models import VideoRequest
from prefect_genvideo.prices import Estimate, Money, PriceTable, money_of, read_price_tables, total_of
from prefect_genvideo.prices.estimate import billable_of, estimate
from prefect_genvideo.providers import SenseAudioClient, SudashuiClient
from tests.packaging.markdown import fences
from tests.packaging.sources import ROOT

PRICES = ROOT / "docs" / "concepts" / "prices.md"
KEY = "sk-TESTKEY000000"


def table_of(*prices: dict[str, Any], **more: Any) -> PriceTable:
    """The table of one provider, read as a user states it."""
    stated = {"x": {"currency": "CNY", **more, "prices": [{"models": "m*", **price} for price in prices]}}
    return read_price_tables(json.dumps(stated))["x"]


def priced(table: PriceTable, *, input_seconds: float | None = None, **wanted: Any) -> Estimate:
    """What a request costs; lengths of the model are 4 to 15 seconds."""
    request = VideoRequest.model_validate({"model": "m-1", **wanted})
    return estimate(table, billable_of(request, lengths=range(4, 16), input_seconds=input_seconds))


def figures(found: Estimate) -> tuple[str | None, ...]:
    """Low, expected and high, as they stand in JSON."""
    said = found.model_dump(mode="json")
    return said["low"], said["expected"], said["high"]


@pytest.mark.parametrize(
    ("price", "wanted", "costs"),
    [
        pytest.param({"per": "video", "amount": "4.50"}, {}, "4.5", id="flat"),
        pytest.param({"per": "second", "amount": "0.6"}, {"duration": 5}, "3", id="second"),
        pytest.param({"per": "second", "amount": 0.1}, {"duration": 7}, "0.7", id="a number as it is written"),
        pytest.param({"per": "second", "amount": "0.1", "factor": "0.1714"}, {"duration": 5}, "0.0857", id="factor"),
        pytest.param({"per": "second", "amount": "0.1", "minimum": "2"}, {"duration": 5}, "2", id="minimum"),
        pytest.param(
            {"per": "second", "amount": "0.333", "rounding": {"to": "0.01", "mode": "up"}},
            {"duration": 5},
            "1.67",
            id="rounded up",
        ),
        pytest.param(
            {"per": "second", "amount": "0.333", "rounding": {"to": "0.01", "mode": "down"}},
            {"duration": 5},
            "1.66",
            id="rounded down",
        ),
        pytest.param({"per": "frame", "amount": "0.01"}, {"duration": 5}, "1.21", id="frame"),
        pytest.param(
            {"per": "1000_tokens", "amount": "0.046", "tokens_per_second": 21600}, {"duration": 5}, "4.968", id="tokens"
        ),
        pytest.param(
            {"per": "1000_tokens", "amount": "0.046", "tokens_per_second": 1, "minimum_quantity": 2000},
            {"duration": 5},
            "0.092",
            id="minimum of tokens",
        ),
        pytest.param(
            {"per": "input_and_output_second", "amount": "0.2"},
            {"duration": 5, "videos": ("https://a.example/v.mp4",), "input_seconds": 3},
            "1.6",
            id="input and output",
        ),
        pytest.param({"per": "input_and_output_second", "amount": "0.2"}, {"duration": 5}, "1", id="no input"),
    ],
)
def test_every_shape_of_price(price: dict[str, Any], wanted: dict[str, Any], costs: str) -> None:
    """Where the request says all that the price depends on there is one figure."""
    assert figures(priced(table_of(price), **wanted)) == (costs, costs, costs)


def test_tokens_by_the_formula() -> None:
    """Recorded bills of 5 s in 720p are 108,900 tokens, the document's own formula has 108,000 at least."""
    table = table_of({"per": "1000_tokens", "amount": "1", "pixels": 1280 * 720})
    assert figures(priced(table, duration=5)) == ("108", "108.9", "108.9")
    by_name = table_of({"per": "1000_tokens", "amount": "1"})
    low, expected, high = figures(priced(by_name, duration=5, resolution="720p", aspect_ratio="9:16"))
    assert (low, expected) == ("102.96", "108.9")
    assert high == "108.9"
    assert not priced(by_name, duration=5, resolution="8k").is_known


def test_conditions_choose_the_price() -> None:
    """Resolution, sound, video input and length of the clip."""
    table = table_of(
        {"per": "video", "amount": "1", "resolution": ["480p", "720P"], "sound": False},
        {"per": "video", "amount": "2", "resolution": "720p", "sound": True},
        {"per": "video", "amount": "4", "video_input": True, "seconds": "4-9"},
        {"per": "video", "amount": "8", "video_input": True, "seconds": [10, "11-15"]},
    )
    loud, quiet = {"generate_audio": True}, {"provider_specific": {"generate_audio": False}}
    assert figures(priced(table, duration=5, resolution="720p", options=quiet))[0] == "1"
    assert figures(priced(table, duration=5, resolution="720p", options=loud))[0] == "2"
    video = ("https://a.example/v.mp4",)
    assert figures(priced(table, duration=5, resolution="4k", options=loud, videos=video))[0] == "4"
    assert figures(priced(table, duration=12, resolution="4k", options=quiet, videos=video))[0] == "8"
    assert priced(table, duration=20, resolution="4k", videos=video).how == "unknown"


def test_what_a_request_leaves_open_makes_a_range() -> None:
    """An approval counts with the upper end."""
    by_second = table_of({"per": "second", "amount": "1"})
    assert figures(priced(by_second, duration=-1)) == ("4", "9.5", "15")
    assert figures(priced(by_second)) == ("4", "9.5", "15")
    by_sound = table_of({"per": "video", "amount": 1, "sound": False}, {"per": "video", "amount": 3, "sound": True})
    assert figures(priced(by_sound)) == ("1", "2", "3")
    by_input = table_of({"per": "input_and_output_second", "amount": 1})
    assert figures(priced(by_input, duration=5, videos=("https://a.example/v.mp4",))) == ("5", None, None)
    in_part = table_of({"per": "video", "amount": 1, "seconds": "4-9"})
    assert figures(priced(in_part)) == ("1", None, None)


def test_unknown_is_unknown() -> None:
    """A model without a price costs something that nobody knows: never 0, and never its neighbour's price."""
    found = priced(table_of({"models": "other", "per": "video", "amount": 1}))
    assert (figures(found), found.currency, found.how) == ((None, None, None), None, "unknown")
    free = priced(table_of({"per": "video", "amount": 0}))
    assert (figures(free), free.how) == (("0", "0", "0"), "calculated")


@pytest.mark.parametrize("duration", [float("nan"), float("inf"), -5, 0, 1e9])
def test_odd_durations_have_no_price(duration: float) -> None:
    """They are refused elsewhere; an estimate never raises."""
    assert not priced(table_of({"per": "second", "amount": 1}), duration=duration).is_known


def test_the_own_name_goes_before_a_pattern_and_the_latest_day_before_earlier_ones() -> None:
    """A price of tomorrow does not count today."""
    today = date.today()
    table = table_of(
        {"models": "*", "per": "video", "amount": 9},
        {"models": "m-1", "per": "video", "amount": 1, "valid_from": "2020-01-01"},
        {"models": "m-1", "per": "video", "amount": 2, "valid_from": str(today)},
        {"models": "m-1", "per": "video", "amount": 3, "valid_from": str(today + timedelta(days=2))},
    )
    assert figures(priced(table))[0] == "2"
    assert figures(priced(table, model="m-2"))[0] == "9"


def test_virtual_currencies_are_exchanged_where_their_price_is_stated() -> None:
    """Credits and units stay what they are where nobody says what they cost."""
    price = {"per": "video", "amount": "20", "currency": "credit"}
    rate = {"credit": {"amount": "0.05", "currency": "USD"}}
    assert priced(table_of(price)).currency == "credit"
    found = priced(table_of(price, exchange=rate))
    assert (figures(found)[0], found.currency) == ("1", "USD")


def test_totals_never_mix_currencies_and_count_what_is_unknown() -> None:
    """What is unknown stands beside the sum, not in it as 0."""
    known = Estimate(low=Decimal(1), expected=Decimal(2), high=Decimal(3), currency="CNY", how="calculated")
    total = total_of([known, known, known.model_copy(update={"currency": "USD"}), Estimate()])
    assert [(str(one.expected), one.currency) for one in total.sums] == [("4", "CNY"), ("2", "USD")]
    assert total.unknown == 1
    with pytest.raises(ValueError, match="not added"):
        _ = Money(amount=Decimal(1), currency="CNY") + Money(amount=Decimal(1), currency="USD")


def test_quota_becomes_money_by_one_division() -> None:
    """A unit is not assumed to be a dollar, and without its size the figure stays as it is."""
    unit = Money(amount=Decimal("1.2"), currency="CNY")
    assert str(money_of(333333 + 333333 + 333334, Decimal(500000))) == "2 unit"
    assert str(money_of(1_000_000, Decimal(500000), unit)) == "2.4 CNY"
    assert str(money_of(7, None, unit)) == "7 quota"
    assert str(money_of(7, Decimal(0))) == "7 quota"


@given(st.lists(st.integers(-(10**12), 10**12), max_size=50), st.integers(1, 10**7))
def test_sums_are_exact(quotas: list[int], per_unit: int) -> None:
    """Whatever the order: whole figures are added, and divided once."""
    whole = money_of(sum(quotas), Decimal(per_unit)).amount
    assert abs(whole * per_unit - sum(quotas)) <= Decimal(per_unit) * Decimal("1e-18")


def test_a_bad_table_is_one_error_with_every_fault() -> None:
    """Each names its field and what is allowed."""
    stated = """
    x:
      currency: CNY
      colour: red
      prices:
        - {models: a, per: day, amount: 1}
        - {models: a, per: video, amount: "-1"}
        - {models: a, per: video, amount: true, seconds: nonsense}
        - {models: a, per: video, amount: 1e30}
        - {models: a, per: second, amount: 1, tokens_per_second: 4}
    """
    with pytest.raises(InvalidRequestError) as caught:
        read_price_tables(stated)
    fields = {problem.field for problem in caught.value.problems}
    assert {"x.colour", "x.prices.0.per", "x.prices.1.amount", "x.prices.2.amount", "x.prices.3.amount"} <= fields
    assert "x.prices.4" in fields
    assert any(field.startswith("x.prices.2.seconds") for field in fields)


@pytest.mark.parametrize(
    "stated",
    [
        '{"x": {"prices": [{"models": "a", "per": "video", "amount": 1}]}}',
        '{"x": {"currency": "CNY", "prices": [{"models": "a", "per": "video", "amount": 1}, {"models": ["b", "a"],'
        ' "per": "second", "amount": 2}]}}',
        '{"x": {"currency": "a", "exchange": {"a": {"amount": 1, "currency": "b"}, "b": {"amount": 1, "currency":'
        ' "a"}}}}',
        '{"x": {"currency": "CNY", "prices": [{"models": "a", "per": "video", "amount": 1, "seconds": "9-4"}]}}',
        "/no/such/prices.yaml",
        "x: [",
        "{",
    ],
)
def test_tables_that_contradict_themselves_are_refused(stated: str) -> None:
    """No currency, two prices for the same, an exchange in a circle, a bucket from its end, no table at all."""
    with pytest.raises(InvalidRequestError) as caught:
        read_price_tables(stated)
    assert caught.value.problems


def test_a_file_is_read_as_json_or_yaml(tmp_path: Path) -> None:
    """Where the prices come from stands in the estimate."""
    path = tmp_path / "prices.yaml"
    path.write_text("senseaudio:\n  currency: CNY\n  prices:\n    - {models: '*', per: video, amount: 0.1}\n")
    table = read_price_tables(str(path))["senseaudio"]
    assert table.prices[0].amount == Decimal("0.1")
    found = SenseAudioClient(KEY, prices=table).estimate(VideoRequest(model="Seedance-2.0", prompt="x"))
    assert (figures(found)[1], found.how) == ("0.1", "calculated")
    assert "prices.yaml" in found.note


def test_every_client_estimates() -> None:
    """Without a table nothing is known; the resolution of a model's name counts, and the model's default length."""
    request = VideoRequest(model="sdas-9-1080p", prompt="x")
    assert SudashuiClient(KEY).estimate(request).how == "unknown"
    table = table_of({"models": "sdas-*", "per": "second", "amount": 1, "resolution": "1080p"})
    found = SudashuiClient(KEY, prices=table).estimate(request)
    assert found.is_known
    assert found.low == found.high


def test_tokens_that_a_finished_task_tells_are_what_is_billed() -> None:
    """Not those that its pixels and frames make, and whatever its length and resolution are."""
    table = table_of({"per": "1000_tokens", "amount": "0.046"}, {"models": "m-9", "per": "second", "amount": 1})
    told = replace(billable_of(VideoRequest(model="m-1", prompt="x")), tokens=Decimal(108_900))
    assert figures(estimate(table, told)) == ("5.0094",) * 3
    assert estimate(table, replace(told, model="m-9")).how == "unknown"  # a price per second needs a length


@pytest.mark.parametrize(
    ("model", "resolution", "published"),
    [
        ("doubao-seedance-2-5-260628", "480p", "3.36"),
        ("doubao-seedance-2-5-260628", "720p", "7.56"),
        ("doubao-seedance-2-5-260628", "1080p", "18.71"),
        ("doubao-seedance-2-0-260128", "480p", "2.31"),
        ("doubao-seedance-2-0-260128", "720p", "4.97"),
        ("doubao-seedance-2-0-260128", "1080p", "12.39"),
        ("doubao-seedance-2-0-260128", "4k", "25.27"),
        ("doubao-seedance-2-0-fast-260128", "720p", "4.00"),
        ("doubao-seedance-2-0-mini-260615", "720p", "2.48"),
    ],
)
def test_the_documented_prices_of_ark_give_what_its_price_page_says(
    model: str, resolution: str, published: str
) -> None:
    """The page's own figures for five seconds in 16:9, to the cent: each lies in the estimate's range."""
    (stated,) = (fence.text for fence in fences(PRICES, "yaml") if fence.text.startswith("ark:"))
    request = VideoRequest(model=model, prompt="x", duration=5, resolution=resolution, aspect_ratio="16:9")
    found = estimate(read_price_tables(stated)["ark"], billable_of(request))
    assert found.currency == "CNY"
    assert found.low is not None
    assert found.high is not None
    assert round(found.low, 2) <= Decimal(published) <= round(found.high, 2)


def test_the_tier_that_a_request_asks_for_has_its_own_price() -> None:
    """A price without a tier is for all of them, and goes behind one that names the request's own."""
    table = table_of(
        {"per": "second", "amount": "2"},
        {"per": "second", "amount": "1", "service_tier": "flex"},
        {"models": "m-1", "per": "second", "amount": "3", "service_tier": ["default", "fast"]},
    )
    flex = {"service_tier": "flex"}
    assert figures(priced(table, model="m-2", duration=5))[1] == "10"
    assert figures(priced(table, model="m-2", duration=5, options=flex))[1] == "5"
    assert figures(priced(table, duration=5))[1] == "15"
    assert figures(priced(table, duration=5, options=flex))[1] == "5"


def test_tables_are_equal_and_hashed_by_what_they_say() -> None:
    """Clients with equal prices are shared."""
    one, other = table_of({"per": "video", "amount": "1.0"}), table_of({"per": "video", "amount": 1})
    assert one == other
    assert hash(one) == hash(other)
