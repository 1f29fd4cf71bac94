"""What a batch may cost: fallbacks, stopped accounts, limits that are waited out, budgets."""

from __future__ import annotations

import json
from typing import Any

import pytest

from prefect_genvideo.batch import BatchReport
from prefect_genvideo.ledger.budget import Budget
from prefect_genvideo.simulator import Fault
from tests.fixtures.runs import artifacts, flow_run_of
from tests.flows.batches import SENSE_MODEL, bill, make, sense, states, wanted
from tests.flows.conftest import Place

ELSEWHERE: dict[str, Any] = {"model": SENSE_MODEL, "resolution": "480p"}


async def test_an_alternative_stands_in_and_a_rerun_keeps_it(place: Place) -> None:
    """No money at Sudashui: made by SenseAudio, as the report says. Money is back: the row is not paid again."""
    place.sim.faults.add(Fault("quota", "create", provider="sudashui"))
    rows = [*wanted("a", fallback=[ELSEWHERE]), *wanted("b")]
    report = await make(place, rows, max_in_flight=1)
    assert states(report) == {"a": "saved", "b": "skipped"}
    (row, _) = report.rows
    assert (row.provider, row.model, row.attempts) == ("senseaudio", SENSE_MODEL, 2)
    assert row.key.endswith(".alt1")
    place.sim.faults.clear()
    again = await make(place, rows)
    assert states(again) == {"a": "saved", "b": "saved"}
    assert again.rows[0].uri == row.uri
    assert bill(place) == {"senseaudio": 1, "sudashui": 1}


async def test_a_row_whose_ways_all_fail_tells_of_the_last(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The report counts the tries and names the key, model and provider that failed last."""
    monkeypatch.setenv("PREFECT_INTEGRATIONS_GENVIDEO_CREATE_ATTEMPTS", "1")
    place.sim.faults.add(Fault("500_e1", "create"))
    report = await make(place, wanted("a", fallback=[ELSEWHERE]), max_in_flight=1)
    (row,) = report.rows
    assert (row.state, row.attempts, row.provider, row.model) == ("failed", 2, "senseaudio", SENSE_MODEL)
    assert row.error == "TransientError"
    assert place.sim.billed == 0


async def test_moderation_is_never_asked_elsewhere(place: Place) -> None:
    """Whether the create or the generation is refused, and whatever the alternative is there for."""
    body = {"code": "fail_to_fetch_task", "message": "内容审核未通过", "data": None}
    place.sim.faults.add(
        Fault("answer", "create", match="door", params={"status": 400, "body": body}),
        Fault("moderation", "create", match="later"),
    )
    every = [{**ELSEWHERE, "on": ["quota", "model_unavailable", "provider_down", "rejected"]}]
    report = await make(place, wanted("at the door", "later", fallback=every))
    assert [(row.state, row.attempts) for row in report.rows] == [("failed", 1), ("failed", 1)]
    assert bill(place) == {"sudashui": 1}


@pytest.mark.parametrize(
    ("fault", "state", "paid"), [("lost_after", "unknown", 2), ("quota", "failed", 1)], ids=["unknown", "money"]
)
async def test_an_account_is_stopped_and_the_other_goes_on(place: Place, fault: str, state: str, paid: int) -> None:
    """After an unknown outcome, or when money is short, nothing more is sent for that account in this run."""
    place.sim.faults.add(Fault(fault, "create", match="trouble", times=1))
    rows = [*wanted("a", "trouble", "c"), *sense("d")]
    report = await make(place, rows, max_in_flight=1)
    expected = {"a": "saved", "trouble": state, "c": "skipped", "d": "saved"}
    assert states(report) == expected
    assert bill(place) == {"sudashui": paid, "senseaudio": 1}
    assert place.sim.calls["create"] == 3
    assert "Not sent" in report.rows[2].reason
    again = await make(place, rows)
    assert states(again) == {**dict.fromkeys(expected, "saved"), "trouble": "unknown" if paid == 2 else "saved"}
    assert place.sim.billed == 4


async def test_too_many_at_once_is_waited_out(place: Place) -> None:
    """SenseAudio takes two at a time and answers the third that it is full: no row fails, none is made twice."""
    place.sim.configure(max_concurrency=2)
    report = await make(place, sense("a", "b", "c"))
    assert report.counts == {"saved": 3}
    assert place.sim.billed == 3
    assert place.sim.calls["create"] > 3


async def test_a_run_s_budget(place: Place) -> None:
    """Two generations, or four seconds of video, and no more: the rest is skipped and says why."""
    report = await make(place, wanted("a", "b", "c"), budget=Budget(run_generations=2), max_in_flight=1)
    assert states(report) == {"a": "saved", "b": "saved", "c": "skipped"}
    assert "budget.run_generations = 3 with this one: at most 2" in report.rows[2].reason
    assert report.rows[2].error == "BudgetError"
    by_seconds = await make(place, wanted("d", "e"), budget=Budget(run_seconds=4), max_in_flight=1)
    assert by_seconds.counts == {"saved": 1, "skipped": 1}
    assert place.sim.billed == 3


async def test_a_day_s_budget_counts_what_other_runs_have_sent(place: Place) -> None:
    """From the ledger: the second run of the day has one left. The error says when it frees up."""
    await make(place, wanted("a"))
    report = await make(place, wanted("a", "b", "c"), budget=Budget(day_generations=2), max_in_flight=1)
    assert states(report) == {"a": "saved", "b": "saved", "c": "skipped"}
    assert "at most 2; it frees up at 2" in report.rows[2].reason
    assert "00:00 UTC" in report.rows[2].reason
    assert place.sim.billed == 2


async def test_a_tag_s_budget_is_that_of_the_run_and_of_the_row(place: Place) -> None:
    """Whoever bears it: rows of the tag are skipped when its money is spent, the others go on, and the UI shows it."""
    budget = Budget(tag_month_money={"spring": "2 CNY"}, unknown_price="assume", assumed_money="1 CNY")
    rows = [*wanted("a", tags=["spring"]), *wanted("b"), *wanted("c", "d", tags=["spring"])]
    state = await make(place, rows, budget=budget, max_in_flight=1, return_state=True)
    report: BatchReport = await state.aresult()
    assert states(report) == {"a": "saved", "b": "saved", "c": "saved", "d": "skipped"}
    assert "budget.tag_month_money = 3 CNY with this one: at most 2 CNY for spring" in report.rows[3].reason
    tables = [json.loads(one["data"]) for one in await artifacts(flow_run_of(state)) if one["type"] == "table"]
    (shown,) = [table for table in tables if "cap" in table[0]]
    assert [(row["cap"], row["of"], row["spent"]) for row in shown] == [("tag_month_money", "spring", "2 CNY")]
    again = await make(place, wanted("e"), budget=budget, tags=["spring"], idempotency_key="later")
    assert again.counts == {"skipped": 1}
