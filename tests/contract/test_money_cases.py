"""Every recorded answer about money, played by a real server: balance, log, prices, units, and the cost of a task."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any, cast
from urllib.parse import unquote

import pytest

from prefect_genvideo import errors
from prefect_genvideo.models import Generation, VideoRequest
from prefect_genvideo.prices import money_of
from prefect_genvideo.providers import (
    AccountLog,
    Balance,
    FoundCreate,
    LostCreate,
    NotTold,
    PriceList,
    Site,
    SudashuiClient,
    VideoClient,
)
from prefect_genvideo.providers.budgets import CallBudget
from prefect_genvideo.providers.money import REFUND
from prefect_genvideo.providers.sudashui.lost import lacks_charges, resolve
from tests.contract.cases import CLIENTS, KEY, Case, answer_of, case_id, net_of, verdict_of
from tests.contract.server import HostMap, ScriptedServer

CASES: list[Case] = json.loads((Path(__file__).parent / "money_cases.json").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Outcome:
    """What a client made of an answer, in the words of the cases."""

    kind: str
    retryable: bool = False
    found: Any = None
    reason: str | None = None
    error: errors.GenVideoError | None = None


def generated(body: Any) -> Any:
    """The answer that a case describes instead of holding it: rows of a log, one every so many seconds."""
    told = cast("Case", body) if isinstance(body, dict) else {}
    if told.get("generate") != "log_rows":
        return cast("Any", body)
    rows: list[Case] = []
    for number in range(told["count"]):
        created_at = told["newest_created_at"] - told["every_s"] * number
        received = datetime.fromtimestamp(created_at - 2, tz=timezone.utc)
        request_id = f"{received:%Y%m%d%H%M%S}{number:09d}8268d9d6Rq{number:06d}"
        rows.append({**told["template"], "id": number + 1, "created_at": created_at, "request_id": request_id})
    return {"success": True, "message": "", "data": rows}


def client_of(case: Case, server: ScriptedServer) -> tuple[VideoClient, HostMap]:
    network = HostMap(server.port)
    timeout = 0.2 if "timeout" in case["response"].get("transport", "") else 5
    client = CLIENTS[case["provider"]](KEY, transport=network, timeout=timeout)
    if isinstance(client, SudashuiClient):
        client.call_budget = CallBudget(1000, 1)
    return client, network


async def asked(case: Case, client: VideoClient) -> Any:
    """Ask what the case asks."""
    path: str = case["request"]["path"].partition("?")[0]
    if path.startswith("/v1/video/"):
        whole = unquote(case["request"]["path"])
        return await client.get(whole.rpartition("id=")[2] if "id=" in whole else whole.rpartition("/")[2])
    asks: dict[str, Callable[[], Awaitable[Any]]] = {
        "/api/usage/token": client.balance,
        "/api/log/token": client.account_log,
        "/api/log/self": client.account_log,
        "/api/pricing": client.price_list,
        "/api/status": client.site,
        "/v1/models": client.models,
    }
    if isinstance(client, SudashuiClient):
        for root in ("", "/v1"):
            asks[f"{root}/dashboard/billing/subscription"] = client.shown_limit
            asks[f"{root}/dashboard/billing/usage"] = client.shown_use
    return await asks[path.rstrip("/")]()


async def outcome(case: Case, client: VideoClient) -> Outcome:
    """What the client makes of the case's answer."""
    try:
        found = await asked(case, client)
    except errors.GenVideoError as error:
        return Outcome(*verdict_of(error), reason=error.reason, error=error)
    if isinstance(found, NotTold):
        return Outcome("unavailable", reason=found.reason)
    if isinstance(found, AccountLog) and lacks_charges(found, case.get("given", {}).get("known", {}).values()):
        return Outcome("unavailable", reason="consume rows missing")
    if isinstance(found, Generation):
        return Outcome(found.state, found=found, reason=found.reason)
    if isinstance(found, Balance):
        return Outcome("balance" if found.counted_in == "quota" else "limit", found=found)
    kinds = {AccountLog: "rows", PriceList: "prices", Site: "site", Decimal: "used", list: "models"}
    return Outcome(kinds[cast("type[Any]", type(found))], found=found)


@pytest.mark.parametrize("case", CASES, ids=case_id)
async def test_answers_about_money_mean_what_was_recorded(case: Case, server: ScriptedServer) -> None:
    """Kind and figures, to the last unit. What is absent is said, and is never 0."""
    case = {**case, "response": {**case["response"], "body": generated(case["response"]["body"])}}
    server.handler = lambda _: answer_of(case)
    client, network = client_of(case, server)
    async with client:
        got = await outcome(case, client)
    await network.aclose()
    expected = case["expected"]
    assert (got.kind, got.retryable) == (expected["kind"], expected["retryable"])
    if "reason" in expected:
        assert got.reason == expected["reason"]
    if "retry_after_s" in expected:
        assert got.error
        assert got.error.retry_after == expected["retry_after_s"]
    if got.found is not None:
        assert said(got.found, client, case) == wanted(expected)


NOT_FIGURES = {"kind", "retryable", "reason", "digits", "retry_after_s", "also_ok"}


def wanted(expected: Case) -> Case:
    """The figures that a case expects; amounts as decimals."""
    numbers = {"amount", "quota_per_unit", "rate", "money_at_500000"}
    figures = {name: value for name, value in expected.items() if name not in NOT_FIGURES}
    return {name: Decimal(value) if name in numbers and value is not None else value for name, value in figures.items()}


def said(found: Any, client: VideoClient, case: Case) -> Case:
    """The same figures as the client has them."""
    given, expected = case.get("given", {}), wanted(case["expected"])
    readers: dict[type[Any], Callable[[], Case]] = {
        Balance: lambda: _balance(found, given, expected),
        AccountLog: lambda: _log(found, given, expected),
        PriceList: lambda: {"models": _prices(found, given, expected["models"])},
        Site: lambda: {name: getattr(found, name) for name in expected},
        Generation: lambda: _generation(found, client, given, expected),
        Decimal: lambda: {"amount": found, "unit": "display"},
        list: lambda: {"models": found},
    }
    return readers[type(found)]()


def _balance(found: Balance, given: Case, expected: Case) -> Case:
    now = datetime.fromtimestamp(given["now"], tz=timezone.utc) if "now" in given else datetime.now(timezone.utc)
    left = None if found.remaining is None else int(found.remaining)
    facts = {
        "scope": found.scope,
        "remaining_quota": left,
        "used_quota": None if found.used is None else int(found.used),
        "unlimited": found.unlimited,
        "expired": found.is_expired(now),
        "models_allowed": None if found.models is None else list(found.models),
        "amount": found.remaining,
        "unit": "display",
        "money_at_500000": None if left is None else money_of(left, Decimal(500000)).amount,
    }
    if "model" in given:
        assert found.models is not None
        assert given["model"] not in found.models
    return {name: facts[name] for name in expected}


def _log(found: AccountLog, given: Case, expected: Case) -> Case:
    refunded = {row.task_id for row in found.rows if row.type == REFUND}
    facts: Case = {
        "count": len(found.rows),
        "net_quota": net_of(found),
        "video_quota": sum(row.net for row in found.rows if row.is_video),
        "unknown_types": sorted({row.type for row in found.rows} - set(range(8))),
        "truncated": found.truncated,
        "request_ids": found.has_request_ids,
        "refunds_visible": not refunded.isdisjoint(given.get("known_failed", ())),
        "money_at_500000": money_of(net_of(found), Decimal(500000)).amount,
    }
    if "tasks" in expected:
        known = given.get("known", {})
        facts["tasks"] = {task: _task(found, task, known.get(task), of) for task, of in expected["tasks"].items()}
    if "resolves" in expected:
        facts["resolves"] = _resolved(found, given, expected["resolves"])
    return {name: facts[name] for name in expected}


def _task(found: AccountLog, task_id: str, request_id: str | None, expected: Case) -> Case:
    task = found.task(task_id, request_id)
    facts = {"refunded": task.refunded, "actual": task.actual, "pre_charged": task.charged, "cost": task.cost}
    return {name: facts[name] for name in expected}


def _resolved(found: AccountLog, given: Case, expected: Case) -> Case:
    sent = datetime.fromtimestamp(given.get("sent_at", 0), tz=timezone.utc)
    known = [*given.get("known_request_ids", ()), *given.get("known", {}).values()]
    lost = LostCreate(
        request=VideoRequest(model=given.get("model", "sd-2-1080p")),
        sent_at=sent,
        gave_up_at=sent + timedelta(seconds=given.get("gave_up_at", given.get("sent_at", 0)) - given.get("sent_at", 0)),
        request_id=given.get("request_id"),
        clock_ahead=given.get("gateway_clock_ahead_s"),
        clock_doubt=given.get("clock_skew_s", 5),
        known_request_ids=frozenset(known),
        known_task_ids=frozenset([*given.get("known_task_ids", ()), *given.get("known", {})]),
        lost_alike=given.get("lost_creates", 1),
        key_is_ours=given.get("key_exclusive", False),
        expected_quota=given.get("expected_quota"),
    )
    if "read_at" in given:
        found = replace(found, read_at=datetime.fromtimestamp(given["read_at"], tz=timezone.utc))
    facts = _facts_of(resolve(found, lost))
    return {name: facts[name] for name in expected}


def _facts_of(verdict: FoundCreate) -> Case:
    return {
        "outcome": "charged" if verdict.outcome == "found" else verdict.outcome,
        "certainty": verdict.certainty,
        "request_id": verdict.request_id,
        "quota": verdict.quota,
        "task_id": next(iter(verdict.task_ids), None),
        "candidates": verdict.candidates,
        "price_differs": verdict.price_differs,
        "refunded": verdict.refunded is not None,
    }


def _prices(found: PriceList, given: Case, expected: Case) -> Case:
    if not expected:
        return dict(found.models)
    per_unit = Decimal(given["quota_per_unit"]) if "quota_per_unit" in given else None
    ratio = found.ratio_of(given.get("group"))
    assert ratio is not None
    shown: Case = {}
    for name, figures in expected.items():
        price = found.models.get(name)
        quota = None if price is None else price.quota(per_unit, ratio)
        facts: Case = {} if price is None else {
            "basis": price.basis,
            "unit_price": None if price.unit_price is None else format(price.unit_price.normalize(), "f"),
            "quota": quota,
            "pre_charge_quota": quota,
            "group_ratio": str(ratio),
        }  # fmt: skip
        shown[name] = None if price is None or figures is None else {fact: facts[fact] for fact in figures}
    return shown


def _generation(found: Generation, client: VideoClient, given: Case, expected: Case) -> Case:
    per_call = given["billing"] == "per_call" if "billing" in given else None
    cost, clip = client.cost_told(found, per_call=per_call), client.clip_told(found)
    facts: Case = {
        "video_url": found.video_url,
        "cost_quota": cost.quota,
        "cost_final": cost.final,
        "billable": {"seconds": clip.seconds, "resolution": clip.resolution},
    }
    return {name: facts[name] for name in expected}
