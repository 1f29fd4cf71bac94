"""Nothing is paid before somebody has said yes, and never more than they said yes to, wherever a process dies."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect import get_client
from prefect.client.schemas.objects import FlowRun, State, StateType
from prefect.exceptions import CancelledRun, Pause
from prefect.states import Pending
from prefect.types.entrypoint import EntrypointType

from prefect_genvideo import generate_videos, plan_videos, reconcile_videos
from prefect_genvideo.cli.app import app
from prefect_genvideo.errors import GenVideoError, InvalidRequestError
from prefect_genvideo.finance import Plan, PlanDriftError
from prefect_genvideo.finance.approvals import ApprovalRecord, needs_asking, open_approval, overdue, picked
from prefect_genvideo.flows import approval
from prefect_genvideo.flows.approval import end_overdue
from prefect_genvideo.flows.approval_form import Approval, find_waiting, read_question, respond
from prefect_genvideo.prices.amounts import parse_money
from prefect_genvideo.runtime import runs
from tests.fixtures.runs import ended, eventually, execute, retry, until
from tests.flows.batches import MODEL, make, states, wanted
from tests.flows.conftest import Place

PRICES = "PREFECT_INTEGRATIONS_GENVIDEO_PRICES"


def prices(amount: str) -> str:
    """A price list as a setting's text."""
    table = {"currency": "CNY", "prices": [{"models": MODEL, "per": "video", "amount": amount}]}
    return json.dumps({"sudashui": table})


@pytest.fixture(autouse=True)
def priced(monkeypatch: pytest.MonkeyPatch) -> None:
    """A video costs 2 CNY, and a run that waits in its process sees an answer soon."""
    monkeypatch.setenv(PRICES, prices("2"))
    monkeypatch.setattr(approval, "_LOOK_EVERY", 0.4)


def approvals(place: Place) -> list[dict[str, Any]]:
    """The records of who said what."""
    return [json.loads(data) for data in place.objects("_plans/approvals/").values()]


async def waiting(place: Place) -> str:
    """Id of the run that waits."""

    async def look() -> str:
        found = [record["flow_run_id"] for record in approvals(place) if record["answer"] == "open"]
        async with get_client() as client:
            run = await client.read_flow_run(UUID(found[0])) if found else None
            schema = await client.filter_flow_run_input(run.id, "", 10, set()) if run else []
        asks = run is not None and run.state is not None and run.state.is_paused() and len(schema) > 1
        return found[0] if asks else ""

    return await eventually(look, "a run that waits")


async def say(run: str, answer: str, **facts: str) -> None:
    """Answer as the command line does."""
    async with get_client() as client:
        found, key = await find_waiting(client, run)
        await respond(client, found, key, Approval.model_validate({"answer": answer, "by": "ada", **facts}))


async def answered(place: Place, run: Awaitable[Any], answer: str, **facts: str) -> Any:
    """How a run in this process ends that was answered so."""
    going = asyncio.ensure_future(run)
    await say(await waiting(place), answer, **facts)
    return await going


async def test_a_yes_pays_and_stands_beside_the_plan(place: Place) -> None:
    """Who, when, and what they saw; money is in the question and nobody has typed a number."""
    going = asyncio.ensure_future(make(place, wanted("a", "b"), approval="always"))
    run = await waiting(place)
    assert place.sim.billed == 0
    async with get_client() as client:
        question = await read_question(client, *await find_waiting(client, run))
    assert "expected 4 CNY, at most 4 CNY" in question.replace("\\", "")
    await say(run, "yes", note="go")
    report = await going
    assert (report.counts, place.sim.billed) == ({"saved": 2}, 2)
    (record,) = approvals(place)
    assert {name: record[name] for name in ("answer", "by", "note")} == {"answer": "yes", "by": "ada", "note": "go"}
    assert f"_plans/{record['plan']}.json" in place.objects("_plans/")
    assert place.objects("_plans/open/") == {}


async def test_only_the_approved_rows_are_made(place: Place) -> None:
    """By the numbers of the plan's table."""
    report = await answered(place, make(place, wanted("a", "b", "c", "d"), approval="always"), "yes", rows="1, 3-4")
    assert (states(report), place.sim.billed) == (dict.fromkeys("acd", "saved"), 3)


async def test_a_no_ends_the_run_cancelled(place: Place) -> None:
    """Nothing was sent; whoever called it learns that it was cancelled."""
    state: State[Any] = await answered(place, make(place, wanted("a"), approval="always", return_state=True), "no")
    assert (state.type, place.sim.billed, place.records()) == (StateType.CANCELLED, 0, [])
    assert "refused by ada" in str(state.message)
    with pytest.raises(CancelledRun):
        await state.aresult()


async def test_a_passed_deadline_ends_the_run_cancelled(place: Place) -> None:
    """By the run itself where it holds its process."""
    state = await make(place, wanted("a"), approval="always", approval_hours=2 / 3600, return_state=True)
    assert (state.type, place.sim.billed) == (StateType.CANCELLED, 0)
    assert [record["answer"] for record in approvals(place)] == ["overdue"]


@pytest.mark.parametrize(("above", "asks"), [("5 CNY", False), ("4 CNY", False), ("3.99 CNY", True), ("99 USD", True)])
async def test_asked_above_an_amount(place: Place, above: str, asks: bool) -> None:
    """Two videos of 2 CNY; another currency says nothing of this one."""
    run = make(place, wanted("a", "b"), approval="above", approve_above=above, return_state=True)
    state: State[Any] = await (answered(place, run, "no") if asks else run)
    assert (state.is_cancelled(), len(approvals(place)), place.sim.billed) == ((True, 1, 0) if asks else (False, 0, 2))


async def test_an_unknown_price_is_above_every_amount(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows what it costs, so somebody is asked."""
    monkeypatch.delenv(PRICES)
    run = make(place, wanted("a"), approval="above", approve_above="9999 CNY", return_state=True)
    state: State[Any] = await answered(place, run, "no")
    assert (state.is_cancelled(), place.sim.billed) == (True, 0)


async def test_nobody_is_asked_about_what_is_paid_for(place: Place) -> None:
    """A rerun of the batch that reuses everything."""
    await make(place, wanted("a"))
    report = await make(place, wanted("a"), approval="always")
    assert (report.counts, place.sim.billed, approvals(place)) == ({"saved": 1}, 1, [])


@pytest.mark.parametrize(
    ("facts", "field"),
    [
        ({"approval": "above"}, "approve_above"),
        ({"approval": "above", "approve_above": "much"}, "approve_above"),
        ({"plan": "0" * 64}, "plan"),
        ({"plan": "x"}, "plan"),
    ],
)
async def test_what_cannot_be_asked_is_refused(place: Place, facts: dict[str, Any], field: str) -> None:
    """Before anything else."""
    with pytest.raises(InvalidRequestError) as refused:
        await make(place, wanted("a"), idempotency_key="", **facts)
    assert [problem.field for problem in refused.value.problems] == [field]
    assert place.sim.billed == 0


async def test_a_plan_is_applied_as_it_was_made_or_not_at_all(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Under its own key, so that applying it twice pays once; another price is refused and named."""
    planning: Any = plan_videos
    plan: Plan = await planning(wanted("a", "b"), place.sudashui, place.destination, idempotency_key="spring")
    assert place.sim.billed == 0
    for _ in range(2):
        report = await make(place, wanted("a", "b"), plan=plan.hash, idempotency_key="")
        assert (report.key, report.counts, place.sim.billed) == ("spring", {"saved": 2}, 2)
    with pytest.raises(PlanDriftError) as rows:
        await make(place, wanted("a", "c"), plan=plan.hash, idempotency_key="")
    assert {problem.field for problem in rows.value.problems} == {"row 2"}
    monkeypatch.setenv(PRICES, prices("2.5"))
    with pytest.raises(PlanDriftError) as drift:
        await make(place, wanted("a", "b"), plan=plan.hash, idempotency_key="")
    assert [problem.field for problem in drift.value.problems] == ["row 1: price", "row 2: price"]
    assert place.sim.billed == 2


# Runs of a deployment, which are suspended. Real workers, and processes that are killed: tests/deployments.


async def deployed(place: Place, *prompts: str, **facts: Any) -> UUID:
    """A run of a deployment that asks, not started yet."""
    names = await place.saved()
    flow: Any = generate_videos
    made = flow.to_deployment(f"asks-{uuid4().hex[:8]}", entrypoint_type=EntrypointType.MODULE_PATH)
    deployment = await (await made).apply()
    blocks = {name: names[name] for name in ("credentials", "destination")}
    parameters = {"requests": wanted(*prompts), "approval": "always", **blocks, **facts}
    async with get_client() as client:
        run = await client.create_flow_run_from_deployment(deployment, parameters=parameters, state=Pending())
    return run.id


async def passes(run: UUID) -> None:
    """One pass of a run by the engine that a worker's process calls, in this process; it ends as it may."""
    runs._numbers_of.cache_clear()  # pyright: ignore[reportPrivateUsage]  # as a new process knows of no earlier pass
    with suppress(Pause, CancelledRun, GenVideoError):
        await execute(generate_videos, run)


async def suspend(place: Place, run: UUID) -> None:
    """The first pass, to its end."""
    await passes(run)
    assert await waiting(place) == str(run)
    assert place.sim.billed == 0


async def go_on(run: UUID, state: StateType = StateType.COMPLETED) -> FlowRun:
    """What a worker does with a run that was resumed; it must end so, or be suspended again."""
    async with get_client() as client:
        await client.set_flow_run_state(run, Pending(), force=True)
        await passes(run)
        if state is not StateType.PAUSED:
            return await ended(run, state)
        again = await client.read_flow_run(run)
    assert (again.state_name, again.state_type) == ("Suspended", state)
    return again


async def test_an_answer_is_taken_by_whichever_pass_finds_it(place: Place) -> None:
    """Prefect keeps form and answer of an attempt that has crashed: the retry takes it, and meets no conflict."""
    run = await deployed(place, "a")
    await suspend(place, run)
    await say(str(run), "yes")
    await retry(run)  # the process that was resumed has crashed before it looked
    await passes(run)
    await ended(run)
    assert (place.sim.billed, [record["answer"] for record in approvals(place)]) == (1, ["yes"])


async def test_an_answer_that_cannot_be_used_is_asked_for_again(place: Place) -> None:
    """By the bare API: nothing is no answer, rows that the plan lacks are named in the next form, a yes is enough."""
    run = await deployed(place, "a")
    await suspend(place, run)

    async def resume(**answer: str) -> str:
        async with get_client() as client:
            return (await client.resume_flow_run(run, run_input=answer)).status.value

    await go_on(run, StateType.PAUSED)  # by force, without an answer
    assert (await resume(), await resume(answer="maybe")) == ("REJECT", "REJECT")
    assert await resume(answer="yes", rows="7") == "ACCEPT"
    await go_on(run, StateType.PAUSED)
    async with get_client() as client:
        question = await read_question(client, *await find_waiting(client, str(run)))
    assert question.startswith("**Once more: rows = 7")
    assert (await resume(answer="yes"), place.sim.billed) == ("ACCEPT", 0)
    await go_on(run)
    assert ([record["answer"] for record in approvals(place)], place.sim.billed) == (["yes"], 1)


async def test_a_retry_before_any_answer_asks_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the form that the dead attempt has left; other prices meanwhile are refused."""
    run = await deployed(place, "a")
    await suspend(place, run)
    await retry(run)
    await suspend(place, run)
    await say(str(run), "yes")
    monkeypatch.setenv(PRICES, prices("3"))
    failed = await go_on(run, StateType.FAILED)
    assert "PlanDriftError" in str(failed.state)
    assert "row 1: price" in str(failed.state)
    assert place.sim.billed == 0


async def test_the_upkeep_cancels_what_nobody_has_approved(place: Place) -> None:
    """A suspended run holds no process that could see its deadline; the scheduled reconcile flow does."""
    run = await deployed(place, "a", approval_hours=4 / 3600)
    await suspend(place, run)
    store = place.destination.get_store()
    await until(lambda: approvals(place)[0]["deadline"] < _a_second_ago(), "the deadline, which is kept to the second")
    upkeep: Any = reconcile_videos
    await upkeep(place.sudashui, place.destination)
    await ended(run, StateType.CANCELLED)
    assert ([record["answer"] for record in approvals(place)], place.sim.billed) == (["overdue"], 0)
    assert await end_overdue(store) == 0


def _a_second_ago() -> str:
    return (datetime.now(timezone.utc) - timedelta(seconds=1)).isoformat()


async def test_the_command_line_says_what_is_asked_and_answers(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without an answer it prints the question; a run that waits for nothing is named with its state."""
    run = await deployed(place, "a")
    await suspend(place, run)

    def command(*words: str) -> str:
        app(["approve", *words], result_action="return_value")
        return capsys.readouterr().out

    assert "2 CNY" in await asyncio.to_thread(command, str(run))
    assert "ends Cancelled" in await asyncio.to_thread(command, str(run), "--no", "--by", "grace")
    await go_on(run, StateType.CANCELLED)
    with pytest.raises(SystemExit):
        await asyncio.to_thread(command, str(run), "--yes")
    assert "waits for no approval" in capsys.readouterr().err
    assert ([record["by"] for record in approvals(place)], place.sim.billed) == (["grace"], 0)


# The parts that need no run.


async def test_open_approvals_are_found_by_their_deadline(place: Place) -> None:
    """Only those that are over; what was answered, or never written, is swept on the way."""
    store, now = place.destination.get_store(), datetime.now(timezone.utc)
    for name, hours in (("late", -1), ("later", -2), ("soon", 1)):
        record = ApprovalRecord(
            plan="0" * 64, flow_run_id=name, told="", asked_at=now, deadline=now + timedelta(hours=hours)
        )
        await open_approval(store, record)
    await store.delete("_plans/approvals/later.json")
    assert [record.flow_run_id async for record in overdue(store)] == ["late"]
    assert len(place.objects("_plans/open/")) == 2


@pytest.mark.parametrize("rows", ["7", "0-9999999999", "a", "1,,2", "2-1"])
def test_rows_that_cannot_be_picked(rows: str) -> None:
    """Named by field, so that the form can be filled in again."""
    with pytest.raises(InvalidRequestError) as refused:
        picked([], rows)
    assert [problem.field for problem in refused.value.problems] == ["rows"]


def test_an_empty_plan_needs_no_answer() -> None:
    """There is nothing to pay."""
    now = datetime.now(timezone.utc)
    plan = Plan(hash="0" * 64, key="k", created_at=now, expires_at=now, rows=())
    assert not needs_asking(plan, None)


@pytest.mark.parametrize("text", ["", "5", "CNY", "-5 CNY", "1e3 CNY", "5 CNY 5", "NaN CNY", "9999999999999999 CNY"])
def test_amounts_that_are_none(text: str) -> None:
    """An amount and a currency, both."""
    with pytest.raises(ValueError, match="currency"):
        parse_money(text)


@pytest.mark.parametrize(
    ("text", "money"), [("50 CNY", "50 CNY"), (" 0.10USD ", "0.1 USD"), ("3 my unit", "3 my unit")]
)
def test_amounts_as_people_type_them(text: str, money: str) -> None:
    """With or without a blank."""
    assert str(parse_money(text)) == money
