"""A plan says what a batch will cost and what is paid for already; its hash holds on to requests, prices and keys."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from prefect_genvideo.batch.plan import plan_batch
from prefect_genvideo.errors import DestinationError, InvalidRequestError
from prefect_genvideo.finance import Plan, PlanDriftError, check_plan, make_plan, read_plan, save_plan
from prefect_genvideo.finance.plan import hash_of, minutes
from prefect_genvideo.finance.plan_file import path_of
from prefect_genvideo.models import VideoRequest
from prefect_genvideo.pipeline.make import Maker
from prefect_genvideo.polling import History, history_key
from prefect_genvideo.prices import PriceTable
from prefect_genvideo.simulator import Simulator
from tests.fixtures.pipelines import Pipelines, derive, rows

MODEL, DEARER, SENSE = "sd-2-fast-720p", "sd-2-1080p", "Seedance-2.0"
PER_SECOND = {
    "currency": "CNY",
    "prices": [
        {"models": MODEL, "per": "second", "amount": "0.5"},
        {"models": DEARER, "per": "video", "amount": "9"},
    ],
}
SENSE_PRICES = {"currency": "credit", "prices": [{"models": "*", "per": "second", "amount": "3"}]}


@pytest.fixture
def pipelines(pipelines: Pipelines) -> Pipelines:
    """Two accounts over one folder, with prices in two currencies."""
    pipelines.sudashui.client.price_table = PriceTable.model_validate(PER_SECOND)
    pipelines.senseaudio.client.price_table = PriceTable.model_validate(SENSE_PRICES)
    return pipelines


async def plan(pipelines: Pipelines, requests: Any, **facts: Any) -> Plan:
    given: dict[str, Any] = {"key": "batch", **facts}
    return await make_plan(await plan_batch(requests, pipelines.both, derive=derive, **given), pipelines.both)


def told(amounts: Any) -> list[str]:
    return [str(amount) for amount in amounts]


async def test_a_row_costs_what_its_dearest_alternative_costs_at_most(pipelines: Pipelines, sim: Simulator) -> None:
    """Expected is the wanted one, the worst case whichever fallback it takes; one of them is paid."""
    found = await plan(pipelines, [*rows("a"), *rows("b", fallback=[{"model": DEARER}])])
    assert told(found.sums.expected) == ["4 CNY"]
    assert told(found.sums.worst) == ["11 CNY"]
    assert (found.sums.unknown, found.sums.unbounded) == (0, 0)
    assert [row["at most"] for row in found.table()] == ["2 CNY", "9 CNY"]
    assert sim.billed == 0


async def test_currencies_are_not_mixed(pipelines: Pipelines) -> None:
    """A fallback in another currency may cost that much in that one, too."""
    other = {"model": SENSE, "provider": "senseaudio", "resolution": "480p"}
    found = await plan(pipelines, rows("a", fallback=[other]))
    assert told(found.sums.expected) == ["2 CNY"]
    assert told(found.sums.worst) == ["2 CNY", "12 credit"]
    assert found.table()[0]["at most"] == "2 CNY or 12 credit"


async def test_an_unknown_price_is_counted_and_never_nothing(pipelines: Pipelines) -> None:
    """Beside the sums, and warned of."""
    found = await plan(pipelines, [*rows("a"), *rows("b", model="sd-2-720p")])
    assert told(found.sums.worst) == ["2 CNY"]
    assert (found.sums.unknown, found.sums.unbounded) == (1, 1)
    assert [row["expected"] for row in found.table()] == ["2 CNY", "unknown"]
    assert [warning for warning in found.warnings if warning.startswith("1 video to be paid")]


async def test_what_is_paid_for_and_what_is_held_costs_nothing(pipelines: Pipelines, sim: Simulator) -> None:
    """The ledger says so; the hash is the same as before."""
    wanted = rows("a", "b", "c")
    before = await plan(pipelines, wanted)
    batch = await plan_batch(wanted, pipelines.both, derive=derive, key="batch")
    await Maker().make(batch.items[0].alternatives)
    held = batch.items[1].alternatives[0]
    ledger = pipelines.sudashui.ledger
    claimed = await ledger.claim(pipelines.sudashui.draft(held.idempotency_key, held.request, {}))
    assert claimed is not None
    await ledger.move(claimed, "unknown", reason="the answer was lost")
    after = await plan(pipelines, wanted)
    assert [row.standing for row in after.rows] == ["reused", "held", "new"]
    assert told(after.sums.worst) == ["2 CNY"]
    assert after.hash == before.hash
    assert after.elapsed < before.elapsed * 2
    assert any(warning.startswith("Nothing is sent for row 2:") for warning in after.warnings)


async def test_a_refused_create_is_still_to_be_paid(pipelines: Pipelines) -> None:
    """Its key is free."""
    wanted = rows("a")
    batch = await plan_batch(wanted, pipelines.both, derive=derive, key="batch")
    one = batch.items[0].alternatives[0]
    claimed = await pipelines.sudashui.ledger.claim(pipelines.sudashui.draft(one.idempotency_key, one.request, {}))
    assert claimed is not None
    await pipelines.sudashui.ledger.move(claimed, "rejected", reason="no")
    assert [row.standing for row in (await plan(pipelines, wanted)).rows] == ["new"]


async def test_the_time_is_learned(pipelines: Pipelines) -> None:
    """From comparable generations of this ledger; the longest row counts where few are under way."""
    unlearned = await plan(pipelines, rows("a"))
    assert unlearned.elapsed == History().typical
    full = pipelines.sudashui.client.effective(VideoRequest(model=MODEL, prompt="a", duration=4))
    for seconds in (30, 40, 50):
        bucket = history_key("sudashui", MODEL, full.duration, full.resolution)
        await pipelines.sudashui.ledger.durations.learn(bucket, seconds)
    few = await plan(pipelines, rows("a", "b"))
    assert ([row.elapsed for row in few.rows], few.elapsed) == ([40.0, 40.0], 40.0)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"prompt": "other"}, "row 1: prompt"),
        ({"aspect_ratio": "9:16"}, "row 1: request"),
        ({"duration": 5}, "row 1: price"),
        ({"fallback": [{"model": DEARER}]}, "row 1: fallback"),
    ],
)
async def test_a_changed_row_is_named(pipelines: Pipelines, change: dict[str, Any], field: str) -> None:
    """With what was planned and what is there now."""
    planned = await plan(pipelines, rows("a", key="one"))
    now = await plan(pipelines, [{**rows("a", key="one")[0], **change}])
    with pytest.raises(PlanDriftError) as refused:
        check_plan(planned, now)
    assert field in [problem.field for problem in refused.value.problems]


async def test_rows_that_came_and_went_are_named(pipelines: Pipelines) -> None:
    """One of each."""
    planned, now = await plan(pipelines, rows("a", "b")), await plan(pipelines, rows("a", "c"))
    with pytest.raises(PlanDriftError) as refused:
        check_plan(planned, now)
    assert sorted((problem.field, problem.value) for problem in refused.value.problems) == [
        ("row 2", "(gone)"),
        ("row 2", "c"),
    ]


async def test_other_prices_are_drift(pipelines: Pipelines) -> None:
    """Also where nothing but the price is another one; the error names both."""
    planned = await plan(pipelines, rows("a"))
    dearer = {**PER_SECOND, "factor": "1.5"}
    pipelines.sudashui.client.price_table = PriceTable.model_validate(dearer)
    with pytest.raises(PlanDriftError) as refused:
        check_plan(planned, await plan(pipelines, rows("a")))
    (problem,) = refused.value.problems
    assert (problem.field, problem.value, problem.limit) == ("row 1: price", "3 CNY", "as planned: 2 CNY")


async def test_an_expired_plan_is_not_applied(pipelines: Pipelines) -> None:
    """Unless everything of it is paid for already: then nothing can be paid."""
    planned = await plan(pipelines, rows("a"))
    old = planned.model_copy(update={"expires_at": planned.created_at - timedelta(seconds=1)})
    with pytest.raises(PlanDriftError) as refused:
        check_plan(old, planned)
    assert [problem.field for problem in refused.value.problems] == ["plan.expires_at"]
    paid = planned.model_copy(update={"rows": (planned.rows[0].model_copy(update={"standing": "reused"}),)})
    check_plan(old, paid)


async def test_a_stored_plan_comes_back_and_keeps_its_date(pipelines: Pipelines) -> None:
    """The same plan again is the same file; an expired one is written anew."""
    store = pipelines.sudashui.ledger.store
    first = await save_plan(store, await plan(pipelines, rows("a", fallback=[{"model": DEARER}])))
    again = await save_plan(store, await plan(pipelines, rows("a", fallback=[{"model": DEARER}])))
    assert await read_plan(store, first.hash) == first == again
    assert hash_of(first.rows) == first.hash
    old = first.model_copy(update={"expires_at": first.created_at})
    await store.put(path_of(first.hash), old.model_dump_json().encode())
    renewed = await save_plan(store, await plan(pipelines, rows("a", fallback=[{"model": DEARER}])))
    assert renewed.expires_at > first.expires_at
    assert first.rows[0].attempts[0].estimate.high == Decimal(2)


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b'{"version":99}'])
async def test_a_plan_that_cannot_be_read_is_no_plan(pipelines: Pipelines, content: bytes) -> None:
    """A file of a newer release, or a broken one, is an error and never an absence."""
    store = pipelines.sudashui.ledger.store
    await store.put(path_of("0" * 64), content)
    with pytest.raises(DestinationError) as refused:
        await read_plan(store, "0" * 64)
    assert refused.value.reason == "unreadable plan"
    for name in ("../x", "", "f" * 63, "F" * 64):
        with pytest.raises(InvalidRequestError) as wrong:
            await read_plan(store, name)
        assert [problem.field for problem in wrong.value.problems] == ["plan"]


@pytest.mark.parametrize(("seconds", "words"), [(45, "45 s"), (600, "10 min"), (9000, "2.5 h")])
def test_times_in_words(seconds: float, words: str) -> None:
    """In a unit that fits."""
    assert minutes(seconds) == words
