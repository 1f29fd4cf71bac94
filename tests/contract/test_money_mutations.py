"""Answers about money with one field changed at a time: another type, another envelope, missing, odd, twice, backwards.

What cannot be read is absent: said once, never 0, never an exception, and never a word about a key that is good.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
import pytest_asyncio

from prefect_genvideo import errors
from prefect_genvideo.models import VideoRequest
from prefect_genvideo.providers import (
    AccountLog,
    Balance,
    LostCreate,
    NotTold,
    PriceList,
    SenseAudioClient,
    Site,
    SudashuiClient,
)
from prefect_genvideo.providers.budgets import CallBudget
from tests.contract.cases import KEY, net_of
from tests.contract.server import Answer, ScriptedServer

TASK, OTHER = "task_" + "a" * 32, "task_" + "b" * 32
ID, LATER_ID = "202611270001020000000018268d9d6Rq000001", "202611270009020000000018268d9d6Rq000009"
AT = 1795737665
USAGE: dict[str, Any] = {
    "object": "token_usage",
    "name": "key-a",
    "total_granted": 500,
    "total_used": 100,
    "total_available": 400,
    "unlimited_quota": False,
    "model_limits": {},
    "model_limits_enabled": False,
    "expires_at": 0,
}


@pytest_asyncio.fixture
async def client(server: ScriptedServer) -> AsyncIterator[SudashuiClient]:
    """A client with a bucket of its own."""
    async with SudashuiClient(KEY, server.url, server.url, timeout=5) as made:
        made.call_budget = CallBudget(1000, 1)
        yield made


def answers(server: ScriptedServer, body: Any, status: int = 200, **headers: str) -> None:
    """Whatever is asked, that is the answer; a text is sent as it is."""
    content = body if isinstance(body, str) else json.dumps(body)
    answer = Answer(status, {"Content-Type": "application/json", **headers}, content.encode())
    server.handler = lambda _: answer


def usage(**changes: Any) -> dict[str, Any]:
    """An answer about the balance; a field that is changed to `...` is not there."""
    data = {name: value for name, value in {**USAGE, **changes}.items() if value is not ...}
    return {"code": True, "message": "ok", "data": data}


@pytest.mark.parametrize(
    ("changes", "remaining", "unlimited"),
    [
        ({"total_available": "400"}, 400, False),
        ({"total_available": 400.0}, 400, False),
        ({"total_available": "400.00"}, 400, False),
        ({"total_available": -25}, -25, False),
        ({"total_available": ...}, 400, False),
        ({"total_available": None, "total_granted": "500"}, 400, False),
        ({"unlimited_quota": True, "total_available": -9_000}, None, True),
        ({"unlimited_quota": "true", "total_available": -9_000}, None, True),
        ({"unlimited_quota": 1, "total_available": ..., "total_granted": ...}, None, True),
        ({"unlimited_quota": None}, 400, False),
        ({"unlimited_quota": ...}, 400, False),
        ({"total_used": None}, 400, False),
    ],
)
async def test_a_balance_is_read_however_it_is_written(
    client: SudashuiClient, server: ScriptedServer, changes: dict[str, Any], remaining: int | None, unlimited: bool
) -> None:
    """Numbers as texts, whole ones with a point, a remainder that has to be worked out."""
    answers(server, usage(**changes))
    found = await client.balance()
    assert isinstance(found, Balance)
    assert (found.remaining, found.unlimited) == (remaining, unlimited)


@pytest.mark.parametrize(
    "changes",
    [
        {"total_available": None, "total_used": None},
        {"total_available": "many", "total_granted": ...},
        {"total_available": 1.5, "total_granted": None},
        {"total_available": 10**30, "total_granted": None},
        {"total_available": True, "total_granted": None},
        {"total_available": {"quota": 5}, "total_granted": []},
    ],
)
async def test_a_balance_that_cannot_be_read_is_not_told(
    client: SudashuiClient, server: ScriptedServer, changes: dict[str, Any]
) -> None:
    """Nobody is told that nothing is left."""
    answers(server, usage(**changes))
    assert isinstance(await client.balance(), NotTold)


@pytest.mark.parametrize(
    ("limits", "allowed"),
    [
        ({"model_limits_enabled": True, "model_limits": {"a": True, "b": False}}, ("a",)),
        ({"model_limits_enabled": "true", "model_limits": {"a": 1}}, ("a",)),
        ({"model_limits_enabled": True, "model_limits": ["a", "b"]}, ("a", "b")),
        ({"model_limits_enabled": True, "model_limits": "a, b"}, ("a", "b")),
        ({"model_limits_enabled": True, "model_limits": {}}, ()),
        ({"model_limits_enabled": True, "model_limits": None}, None),
        ({"model_limits_enabled": True, "model_limits": ...}, None),
        ({"model_limits_enabled": True, "model_limits": ""}, None),
        ({"model_limits_enabled": True, "model_limits": 7}, None),
        ({"model_limits_enabled": None, "model_limits": {"a": True}}, None),
    ],
)
async def test_limits_that_cannot_be_read_forbid_nothing(
    client: SudashuiClient, server: ScriptedServer, limits: dict[str, Any], allowed: tuple[str, ...] | None
) -> None:
    """A map, a list or names with commas; else every model is allowed as far as we know."""
    answers(server, usage(**limits))
    found = await client.balance()
    assert isinstance(found, Balance)
    assert found.models == allowed


@pytest.mark.parametrize(
    ("expires_at", "expired"),
    [
        (AT, True), (str(AT), True), (AT * 1000, True), ("2026-11-27T00:01:05+00:00", True), (AT + 10**9, False),
        (0, False), (-1, False), (None, False), ("", False), ("never", False), ("2026-11-27 00:01:05", False),
        (10**30, False),
    ],
)  # fmt: skip
async def test_a_key_has_ended_only_where_a_moment_says_so(
    client: SudashuiClient, server: ScriptedServer, expires_at: Any, expired: bool
) -> None:
    """In seconds or finer, or with its zone; what means never, or nothing, does not end it."""
    answers(server, usage(expires_at=expires_at))
    found = await client.balance()
    assert isinstance(found, Balance)
    assert found.is_expired(datetime.fromtimestamp(AT + 60, tz=timezone.utc)) is expired


@pytest.mark.parametrize(
    ("body", "amount", "unlimited"),
    [
        ({"hard_limit_usd": 10}, "10", False),
        ({"hard_limit_usd": "10.50"}, "10.5", False),
        ({"hard_limit_usd": None, "system_hard_limit_usd": 10}, "10", False),
        ({"soft_limit_usd": 10}, "10", False),
        ({"hard_limit_usd": 100_000_000}, None, True),
        ({"hard_limit_usd": 1e8}, None, True),
        ({"hard_limit_usd": 250_000_000}, "250000000", False),
        ({"hard_limit_usd": -3.5}, "-3.5", False),
        ({"hard_limit_usd": 1.1499999999999999}, "1.15", False),
    ],
)
async def test_the_dashboard_limit(
    client: SudashuiClient, server: ScriptedServer, body: dict[str, Any], amount: str | None, unlimited: bool
) -> None:
    """More than what stands for no limit is a true figure, of a site that shows whole ones."""
    answers(server, {"object": "billing_subscription", **body})
    found = await client.shown_limit()
    assert isinstance(found, Balance)
    assert (found.remaining, found.unlimited) == (None if amount is None else Decimal(amount), unlimited)


@pytest.mark.parametrize(
    ("status", "facts"),
    [
        ({"quota_per_unit": 500_000}, (Decimal(500_000), None, None)),
        ({"quota_per_unit": "500000"}, (Decimal(500_000), None, None)),
        ({"quota_per_unit": 500_000.0, "quota_display_type": "usd"}, (Decimal(500_000), "USD", Decimal(1))),
        ({"quota_per_unit": 0}, (None, None, None)),
        ({"quota_per_unit": -1}, (None, None, None)),
        ({"quota_per_unit": None, "version": "v1"}, (None, None, None)),
        ({"quota_per_unit": "much"}, (None, None, None)),
        ({"quota_display_type": "CNY"}, (None, "CNY", None)),
        ({"quota_display_type": "CNY", "usd_exchange_rate": "7.3"}, (None, "CNY", Decimal("7.3"))),
        ({"quota_display_type": "CNY", "usd_exchange_rate": 0}, (None, "CNY", None)),
        ({"quota_display_type": "CUSTOM", "custom_currency_exchange_rate": 3}, (None, "CUSTOM", Decimal(1))),
        ({"display_in_currency": 1}, (None, "USD", Decimal(1))),
        ({"display_in_currency": "false"}, (None, "TOKENS", None)),
    ],
)
async def test_how_a_site_counts(
    client: SudashuiClient, server: ScriptedServer, status: dict[str, Any], facts: tuple[Any, ...]
) -> None:
    """A unit of no size, or of none that is told, is not known; nothing is divided by it."""
    answers(server, {"success": True, "message": "", "data": status})
    found = await client.site()
    assert isinstance(found, Site)
    assert (found.quota_per_unit, found.display, found.rate) == facts


def model(**changes: Any) -> dict[str, Any]:
    """An entry of the price list."""
    return {"model_name": "sd-a", "quota_type": 1, "model_price": 0.1, "model_ratio": 0, **changes}


ENTRIES: list[tuple[Any, int | None]] = [
    ([model()], 50_000),
    ([model(model_price="0.1")], 50_000),
    ([model(quota_type="1")], 50_000),
    ([model(quota_type=1.0)], 50_000),
    ([model(), model()], 50_000),
    ([model(model_price=0)], 0),
    ([model(quota_type="0", model_ratio="2.5")], 625_000),
    ([model(), model(model_price=0.2)], None),
    ([model(model_price=None)], None),
    ([model(model_price="")], None),
    ([model(model_price=-1)], None),
    ([model(model_price="free")], None),
    ([model(quota_type=None)], None),
    ([model(quota_type=True)], None),
    ([model(quota_type=2)], None),
    ([model(billing_mode="tiered_expr", billing_expr="tokens*2")], None),
    ([model(model_name="SD-A")], None),
    ([model(model_name=None)], None),
    (["sd-a", None, 7, []], None),
    ([], None),
    (None, None),
]


@pytest.mark.parametrize(("entries", "quota"), ENTRIES)
async def test_a_listed_price_is_a_figure_or_unknown(
    client: SudashuiClient, server: ScriptedServer, entries: Any, quota: int | None
) -> None:
    """Never a silent 0; two prices for one model are none."""
    answers(server, {"success": True, "data": entries, "group_ratio": {"default": 1}})
    found = await client.price_list()
    assert isinstance(found, PriceList)
    price = found.models.get("sd-a")
    assert (None if price is None else price.quota(Decimal(500_000), Decimal(1))) == quota


@pytest.mark.parametrize(
    ("ratios", "group", "ratio"),
    [
        ({"default": 1, "vip": "0.1714"}, "vip", Decimal("0.1714")),
        ({"default": 0.5}, None, Decimal("0.5")),
        ({"vip": 2}, None, Decimal(2)),
        ({"vip": 2, "svip": 3}, None, None),
        ({"default": 1}, "vip", None),
        ({"vip": None}, "vip", None),
        ({"vip": -1}, "vip", None),
        (None, None, Decimal(1)),
    ],
)
async def test_the_ratio_of_a_group(
    client: SudashuiClient, server: ScriptedServer, ratios: Any, group: str | None, ratio: Decimal | None
) -> None:
    """One that is stated and not listed is not known; without any list the gateway itself multiplies by one."""
    answers(server, {"success": True, "data": [model()], "group_ratio": ratios})
    found = await client.price_list()
    assert isinstance(found, PriceList)
    assert found.ratio_of(group) == ratio


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"code": False, "message": "获取令牌信息失败"}, "获取令牌信息失败"),
        ({"success": "false", "message": "busy"}, "busy"),
        ({"success": False}, "refused"),
        ({"code": "get_token_failed", "message": "try later", "data": None}, "try later"),
        ({"error": {"message": "record not found"}}, "record not found"),
        ({"error": "record not found"}, "record not found"),
        ({"success": True, "data": "see the console"}, None),
        ("<!doctype html><html></html>", "not JSON"),
        ('{"code":true,"data":{"total_ava', "not JSON"),
    ],
)
async def test_a_failure_inside_a_good_answer_is_not_told(
    client: SudashuiClient, server: ScriptedServer, body: Any, reason: str | None
) -> None:
    """In whichever form; the words are kept."""
    answers(server, body)
    for ask in (client.balance, client.account_log):
        found = await ask()
        assert isinstance(found, NotTold)
        assert reason in (None, found.reason)


@pytest.mark.parametrize(
    "body",
    [
        {"success": False, "message": "无效的令牌"},
        {"code": False, "message": "Invalid token"},
        {"code": "invalid_api_key", "message": "Invalid API key", "data": None},
        {"error": {"message": "该令牌状态不可用 (request id: x)", "type": "new_api_error"}},
    ],
)
async def test_a_refused_key_inside_a_good_answer(client: SudashuiClient, server: ScriptedServer, body: Any) -> None:
    """It is the key's fault, and said so."""
    answers(server, body)
    with pytest.raises(errors.AuthenticationError) as caught:
        await client.account_log()
    assert caught.value.reason == "credentials"


@pytest.mark.parametrize(("path", "seconds"), [("price_list", 180), ("site", 180), ("account_log", 1200)])
async def test_a_full_window_without_a_word(
    client: SudashuiClient, server: ScriptedServer, path: str, seconds: float
) -> None:
    """What needs no key is under the limit of all addresses, whose window is shorter."""
    answers(server, "", 429)
    with pytest.raises(errors.RateLimitedError) as caught:
        await getattr(client, path)()
    assert caught.value.retry_after == seconds
    answers(server, "", 429, **{"Retry-After": "7"})
    if path != "account_log":
        with pytest.raises(errors.RateLimitedError) as caught:
            await getattr(client, path)()
        assert caught.value.retry_after == 7


def row(kind: Any = 2, quota: Any = 100, at: Any = AT, **changes: Any) -> dict[str, Any]:
    """A row of the log; `other` is written as the gateway does it."""
    other = changes.pop("other", {"is_task": True, "request_path": "/v1/video/generations"})
    text = other if isinstance(other, str) or other is None else json.dumps(other)
    told = {"id": 1, "type": kind, "quota": quota, "created_at": at, "model_name": "sd-a", "content": "", "other": text}
    return {**told, **changes}


def named(**more: Any) -> dict[str, Any]:
    return {"task_id": TASK, **more}


CHARGE = row(request_id=ID)
REFUND = row(6, 100, AT + 60, other=named(reason="failed"))
UP = row(2, 25, AT + 60, other=named(pre_consumed_quota=100, actual_quota=125))
DOWN = row(6, 40, AT + 60, other=named(pre_consumed_quota=100, actual_quota=60))


async def logged(client: SudashuiClient, server: ScriptedServer, data: Any) -> AccountLog:
    answers(server, data if isinstance(data, dict) else {"success": True, "data": data})
    found = await client.account_log()
    assert isinstance(found, AccountLog)
    return found


@pytest.mark.parametrize(
    ("rows", "cost"),
    [
        pytest.param([CHARGE], 100, id="charged"),
        pytest.param([REFUND, CHARGE], 0, id="given back"),
        pytest.param([CHARGE, REFUND], 0, id="oldest first"),
        pytest.param([{**REFUND, "created_at": AT - 5}, CHARGE], 0, id="given back before it was charged"),
        pytest.param([{**REFUND, "created_at": AT}, CHARGE], 0, id="in the same second"),
        pytest.param([{**REFUND, "quota": -100}, CHARGE], 0, id="given back by a negative refund"),
        pytest.param([row(2, -100, AT + 60, other=named()), CHARGE], 0, id="given back by a negative charge"),
        pytest.param([UP, CHARGE], 125, id="settled upward"),
        pytest.param([DOWN, CHARGE], 60, id="settled downward"),
        pytest.param([UP], 125, id="settled, its charge is cut off"),
        pytest.param([{**UP, "other": json.dumps(named(actual_quota="125"))}], 125, id="the first charge is not told"),
        pytest.param([{**UP, "other": json.dumps(json.dumps(named(actual_quota=125)))}], 125, id="a text in a text"),
        pytest.param([{**UP, "other": named(actual_quota=125)}, CHARGE], 125, id="an object"),
        pytest.param([{**UP, "other": "", "task_id": TASK}, CHARGE], 125, id="the task in the row itself"),
        pytest.param([{**UP, "request_id": ID, "other": "{}"}, CHARGE], 125, id="the later row has the call's id"),
        pytest.param(
            [row(6, 125, AT + 90, other=named(reason="failed")), UP, CHARGE], 0, id="settled, then given back"
        ),
        pytest.param(
            [row(6, 15, AT + 60, other=named(pre_consumed_quota=125, actual_quota=110)), UP, CHARGE],
            110,
            id="settled twice in one second",
        ),
        pytest.param([row(2, 5, AT + 60, other=named()), row(2, 5, AT + 60, other=named()), CHARGE], 110, id="twins"),
        pytest.param([REFUND, REFUND, CHARGE], -100, id="given back twice"),
        pytest.param([row(6, 30, AT + 60, other={"task_id": OTHER}), CHARGE], 100, id="another task's refund"),
        pytest.param([row(6, 30, AT + 60, other={"task_id": 0}), CHARGE], 100, id="a refund that names no task"),
        pytest.param([row(5, 70, request_id=ID), row(4, 70, other=named()), CHARGE], 100, id="rows of other types"),
        pytest.param([CHARGE, CHARGE], 100, id="one row in two pages"),
        pytest.param([row("2", "100", str(AT), request_id=ID)], 100, id="numbers as texts"),
        pytest.param([row(2.0, 100.0, AT * 1000, request_id=ID)], 100, id="numbers with a point, milliseconds"),
        pytest.param([row(2, 100, None, request_id=ID)], 100, id="without a time"),
        pytest.param([REFUND], None, id="only given back: the charge is not known"),
        pytest.param([], None, id="nothing"),
        pytest.param([row(2, 100, request_id=LATER_ID)], None, id="another call's charge"),
    ],
)
async def test_the_cost_of_a_task(
    client: SudashuiClient, server: ScriptedServer, rows: list[dict[str, Any]], cost: int | None
) -> None:
    """The sum of its rows, in whichever order and form they come; what is not known is no figure."""
    log = await logged(client, server, rows)
    assert log.task(TASK, ID).cost == cost


@pytest.mark.parametrize("name", ["items", "logs", "list", "records", "rows", "data"])
async def test_rows_in_any_envelope(client: SudashuiClient, server: ScriptedServer, name: str) -> None:
    """A page, a list beside its count, or the bare list; a page that says that there is more is cut."""
    assert net_of(await logged(client, server, {"data": {name: [CHARGE], "total": 1}})) == 100
    log = await logged(client, server, {"data": {name: [CHARGE], "total": 250}})
    assert (net_of(log), log.truncated) == (100, True)
    if name != "data":
        assert net_of(await logged(client, server, {name: [CHARGE]})) == 100


async def test_a_bare_list_and_an_empty_one(client: SudashuiClient, server: ScriptedServer) -> None:
    """No rows is an answer; no list is none."""
    server.handler = lambda _: Answer(200, {"Content-Type": "application/json"}, json.dumps([CHARGE]).encode())
    found = await client.account_log()
    assert isinstance(found, AccountLog)
    assert net_of(found) == 100
    assert (await logged(client, server, None)).rows == ()
    nothing: list[dict[str, Any]] = [{}, {"data": {}}, {"data": "rows"}]
    for told in nothing:
        answers(server, {"success": True, **told})
        assert isinstance(await client.account_log(), NotTold)


async def test_a_full_log_is_cut_even_where_a_row_cannot_be_read(
    client: SudashuiClient, server: ScriptedServer
) -> None:
    """What counts is how many came."""
    rows = [row(request_id=f"{ID[:-4]}{number:04d}") for number in range(999)]
    log = await logged(client, server, [*rows, row(quota=None)])
    assert (len(log.rows), log.truncated, log.unread) == (999, True, 1)


async def test_a_full_log_of_long_rows_is_read(client: SudashuiClient, server: ScriptedServer) -> None:
    """A thousand rows that tell the whole request, as a fork writes them."""
    other = {"is_task": True, "generation_params": {"prompt": "猫" * 1000, **{f"field_{n}": [n] for n in range(40)}}}
    rows = [row(request_id=f"{ID[:-4]}{number:04d}", other=json.dumps(other)) for number in range(1000)]
    log = await logged(client, server, rows)
    assert (len(log.rows), log.truncated, log.unread, net_of(log)) == (1000, True, 0, 100_000)


@pytest.mark.parametrize(
    "strange",
    [row(quota=None), row(quota="?"), row(quota=1.5), row(None), row("consume"), {**CHARGE, "quota": None}, {}, None],
)
async def test_a_row_that_cannot_be_read_is_no_proof_of_absence(
    client: SudashuiClient, server: ScriptedServer, strange: Any
) -> None:
    """It may be the charge that is looked for: nobody is told that nothing was made."""
    log = await logged(client, server, [strange, row(request_id=LATER_ID)])
    assert net_of(log) == 100
    past = datetime.now(timezone.utc) - timedelta(hours=2)
    for request_id in (ID, None):
        lost = LostCreate(
            VideoRequest(model="sd-a"), past, past, request_id=request_id, key_is_ours=True, log=log, clock_ahead=0
        )
        found = await client.find_created(lost)
        assert (found.outcome, found.certainty) == ("unknown", "rows cannot be read")


@pytest.mark.parametrize(
    ("quota", "state", "reason", "told"),
    [
        (100, "SUCCESS", "", (100, True)),
        ("100", "SUCCESS", "", (100, True)),
        (100.0, "SUCCESS", "", (100, True)),
        (0, "SUCCESS", "", (0, True)),
        (None, "SUCCESS", "", (None, False)),
        ("", "SUCCESS", "", (None, False)),
        (-5, "SUCCESS", "", (None, False)),
        (1.5, "SUCCESS", "", (None, False)),
        (10**30, "SUCCESS", "", (None, False)),
        (True, "SUCCESS", "", (None, False)),
        (0, "FAILURE", "no faces", (0, True)),
        ("0", "FAILURE", "no faces", (0, True)),
        (100, "FAILURE", "no faces", (None, False)),
        (None, "FAILURE", "no faces", (None, False)),
        (0, "FAILURE", "任务超时（旧系统遗留任务，不进行退款，请联系管理员）", (None, False)),
        (100, "IN_PROGRESS", "", (None, False)),
    ],
)
async def test_what_a_task_says_of_its_cost(
    client: SudashuiClient, server: ScriptedServer, quota: Any, state: str, reason: str, told: tuple[int | None, bool]
) -> None:
    """On success its figure, on failure only that nothing is left of it."""
    data = {"task_id": TASK, "status": state, "quota": quota, "fail_reason": reason, "progress": "50%"}
    if state == "SUCCESS":
        data |= {"result_url": f"{server.url}/a.mp4", "progress": "100%"}
    answers(server, {"code": "success", "message": "", "data": data})
    cost = client.cost_told(await client.get(TASK), per_call=True)
    assert (cost.quota, cost.final) == told


@pytest.mark.parametrize(
    ("clip", "told"),
    [
        ({"duration": 10, "resolution": "720p"}, (10, "720p")),
        ({"duration": "10", "resolution": "720P"}, (10, "720p")),
        ({"duration": 9.96, "resolution": " 1080p "}, (9.96, "1080p")),
        ({"duration": -1}, (None, None)),
        ({"duration": 0, "resolution": ""}, (None, None)),
        ({"duration": None, "resolution": None}, (None, None)),
        ({"duration": 10_000}, (None, None)),
        ({"duration": "long", "resolution": 720}, (None, None)),
        ({"duration": True}, (None, None)),
        ({}, (None, None)),
    ],
)
async def test_what_a_task_says_of_its_clip(
    server: ScriptedServer, clip: dict[str, Any], told: tuple[float | None, str | None]
) -> None:
    """What a price is calculated from; an odd length is none, and the saved film is measured."""
    answers(server, {"task_id": TASK, "status": "completed", "video_url": f"{server.url}/a.mp4", **clip})
    async with SenseAudioClient(KEY, server.url, timeout=5) as client:
        found = client.clip_told(await client.get(TASK))
    assert (found.seconds, found.resolution) == told
