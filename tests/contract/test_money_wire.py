"""Money over a real wire: ids that survive their answers, a shared bucket of calls, addresses that are not there."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
import pytest_asyncio

from prefect_genvideo import errors
from prefect_genvideo.finance.balance import balances_of
from prefect_genvideo.ledger import CreatePolicy, Creator, Ledger
from prefect_genvideo.models import VideoRequest
from prefect_genvideo.pipeline.pipeline import Pipeline
from prefect_genvideo.prices import read_price_tables
from prefect_genvideo.providers import AccountLog, Balance, LostCreate, NotTold, PriceList, SudashuiClient
from prefect_genvideo.providers.budgets import CallBudget
from tests.contract.cases import KEY
from tests.contract.server import Answer, Received, ScriptedServer
from tests.fixtures.money import TEMPLATE, MemoryStore, draft

REQUEST = VideoRequest(model="sd-2-720p", prompt="a cat", duration=4)
ID = "202611270001020000000018268d9d6Rq000001"
HEAD = {"X-Oneapi-Request-Id": ID, "Content-Type": "application/json", "Date": "Fri, 27 Nov 2026 00:01:03 GMT"}
ACCEPTED = json.dumps({"task_id": "task_" + "a" * 32, "status": "queued"}).encode()


@pytest_asyncio.fixture
async def client(server: ScriptedServer) -> AsyncIterator[SudashuiClient]:
    """A client with a bucket of its own."""
    async with SudashuiClient(KEY, server.url, server.url, timeout=0.5) as made:
        made.call_budget = CallBudget(1000, 1)
        yield made


def by_path(**answers: Answer) -> Any:
    """A handler that answers by the last word of the path; what is not named is not there."""

    def handle(request: Received) -> Answer:
        word = request.target.partition("?")[0].rstrip("/").rpartition("/")[2]
        return answers.get(word, Answer(404))

    return handle


def json_answer(body: Any, **headers: str) -> Answer:
    return Answer(200, {"Content-Type": "application/json", **headers}, json.dumps(body).encode())


def row(request_id: str = ID, **more: Any) -> dict[str, Any]:
    """A create's row of the log."""
    other = {"is_task": True, "request_path": "/v1/video/generations", **more.pop("other", {})}
    told = {"type": 2, "quota": 50000, "model_name": REQUEST.model, "created_at": 1795737665, "username": "somebody"}
    return {**told, "request_id": request_id, **more, "other": json.dumps(other)}


def log_of(*rows: dict[str, Any]) -> Answer:
    return json_answer({"success": True, "message": "", "data": list(rows)})


async def recorded(client: SudashuiClient) -> tuple[Any, errors.GenVideoError | None]:
    """A create under a ledger: its record, and how it ended."""
    ledger = Ledger(MemoryStore())
    try:
        await Creator(client, ledger, policy=CreatePolicy(attempts=1)).submit(REQUEST, draft("k"))
    except errors.GenVideoError as error:
        return (await ledger.existing("k")).record, error
    return (await ledger.existing("k")).record, None


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        pytest.param(Answer(200, HEAD, ACCEPTED), "submitted", id="accepted"),
        pytest.param(Answer(200, HEAD, ACCEPTED, cut_after=5), "unknown", id="cut"),
        pytest.param(Answer(200, HEAD, ACCEPTED, stall_after=0), "unknown", id="stalled before its body"),
        pytest.param(Answer(200, HEAD, b"{}"), "unknown", id="without a task"),
        pytest.param(Answer(502, HEAD, b"<html></html>"), "unknown", id="page of a proxy"),
    ],
)
async def test_the_id_of_a_create_is_kept_whatever_becomes_of_its_answer(
    client: SudashuiClient, server: ScriptedServer, answer: Answer, state: str
) -> None:
    """It is read from the headers, before the body; for a lost create it is all there will ever be."""
    server.handler = by_path(generations=answer)
    record, error = await recorded(client)
    assert (record.state, record.request_id) == (state, ID)
    if error is not None:
        assert isinstance(error, errors.UnknownOutcomeError)
        assert error.request_id == ID
        assert record.sent_at <= record.gave_up_at
        assert record.clock_ahead is not None


async def test_a_refusal_names_its_call(client: SudashuiClient, server: ScriptedServer) -> None:
    """Support asks for it."""
    server.handler = by_path(
        generations=Answer(400, HEAD, b'{"code": "invalid_request", "message": "no", "data": null}')
    )
    with pytest.raises(errors.RejectedError) as caught:
        await client.create(REQUEST)
    assert caught.value.request_id == ID


@pytest.mark.parametrize("value", ["", "short", "x" * 300, f"{ID}, other-{ID}", "not an id"])
async def test_what_is_no_id_is_none(client: SudashuiClient, server: ScriptedServer, value: str) -> None:
    """A proxy's own words in the header are not taken for the gateway's."""
    server.handler = by_path(generations=Answer(200, {**HEAD, "X-Oneapi-Request-Id": value}, ACCEPTED))
    record, _ = await recorded(client)
    assert (record.state, record.request_id) == ("submitted", None)


async def test_a_cancelled_create_keeps_the_id_of_its_call(server: ScriptedServer) -> None:
    """The headers had come; the run was cancelled while it waited for the body."""
    arrived = asyncio.Event()

    def handle(_: Received) -> Answer:
        arrived.set()
        return Answer(200, HEAD, ACCEPTED, stall_after=0)

    server.handler = handle
    ledger = Ledger(MemoryStore())
    async with SudashuiClient(KEY, server.url, server.url, timeout=30) as client:
        policy = CreatePolicy(cancel_grace=0.2)
        work = asyncio.ensure_future(Creator(client, ledger, policy=policy).submit(REQUEST, draft("k")))
        await arrived.wait()
        await asyncio.sleep(0.1)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
    record = (await ledger.existing("k")).record
    assert (record.state, record.request_id) == ("intent", ID)


async def test_a_lost_create_is_healed_by_its_row(client: SudashuiClient, server: ScriptedServer) -> None:
    """Its row has its id, and in newer trees names its task: exact, and nobody else's row is looked at."""
    task = "task_" + "b" * 32
    rows = (
        row("202611270001020000000028268d9d6Rq000002", other={"task_id": "task_" + "c" * 32}),
        row(other={"task_id": task}),
    )
    server.handler = by_path(generations=Answer(200, HEAD, ACCEPTED, cut_after=5), token=log_of(*rows))
    record, error = await recorded(client)
    assert error is None
    assert (record.state, record.task_id) == ("submitted", task)
    assert record.money.charge.quota == 50000


async def test_a_charge_without_its_task_is_evidence(client: SudashuiClient, server: ScriptedServer) -> None:
    """Older trees do not name the task: a person decides, with the charge in front of them."""
    server.handler = by_path(generations=Answer(200, HEAD, ACCEPTED, cut_after=5), token=log_of(row()))
    record, error = await recorded(client)
    assert (record.state, record.task_id, record.money.charge.quota) == ("unknown", None, 50000)
    assert error is not None
    assert ID in str(error)
    assert "charged 50000" in (record.money.evidence or "")
    assert "somebody" not in record.model_dump_json()


async def test_a_log_that_is_not_there_changes_nothing(client: SudashuiClient, server: ScriptedServer) -> None:
    """It is asked once, and the create stays unknown."""
    server.handler = by_path(generations=Answer(200, HEAD, ACCEPTED, cut_after=5))
    record, error = await recorded(client)
    assert (record.state, record.money) == ("unknown", None)
    assert isinstance(error, errors.UnknownOutcomeError)
    await recorded(client)
    assert [request.target for request in server.received].count("/api/log/token") == 1


async def test_questions_about_money_share_a_bucket(client: SudashuiClient, server: ScriptedServer) -> None:
    """Balance and log take from one bucket; when it is empty nothing is sent, and the error says for how long."""
    server.handler = by_path(token=json_answer({"success": True, "data": []}))
    client.call_budget = CallBudget(3, 1200)
    for _ in range(3):
        assert isinstance(await client.account_log(), AccountLog)
    with pytest.raises(errors.RateLimitedError) as caught:
        await client.balance()
    assert caught.value.reason == "own budget of calls"
    assert 1190 < (caught.value.retry_after or 0) <= 1200
    assert len(server.received) == 3
    assert isinstance(await client.account_log(max_age=60), AccountLog)


async def test_a_refused_question_closes_the_bucket(client: SudashuiClient, server: ScriptedServer) -> None:
    """A 429 without a word means the whole window."""
    server.handler = by_path(token=Answer(429))
    for _ in range(2):
        with pytest.raises(errors.RateLimitedError) as caught:
            await client.account_log()
        assert (caught.value.retry_after or 0) > 1199
    assert len(server.received) == 1


async def test_clients_of_one_host_share_their_bucket(server: ScriptedServer) -> None:
    """Each run opens clients of its own."""
    one, other = SudashuiClient(KEY, server.url), SudashuiClient("sk-OTHER0000000", server.url)
    elsewhere = SudashuiClient(KEY, "https://gateway.example")
    assert one.call_budget is other.call_budget
    assert one.call_budget is not elsewhere.call_budget


async def test_an_old_gateway_tells_its_balance_by_the_dashboard(
    client: SudashuiClient, server: ScriptedServer
) -> None:
    """Limit less use, in the figures that the site shows."""
    server.handler = by_path(
        subscription=json_answer({"object": "billing_subscription", "hard_limit_usd": 10}),
        usage=json_answer({"object": "list", "total_usage": 114.99999999999999}),
        status=json_answer(
            {"success": True, "data": {"quota_per_unit": 500000, "quota_display_type": "CNY", "usd_exchange_rate": 2}}
        ),
    )
    found, site = await client.balance(), await client.site()
    assert isinstance(found, Balance)
    assert (found.remaining, found.counted_in) == (Decimal("8.85"), "display")
    assert str(found.money(site)) == "4.425 unit"


USAGE = json_answer({"code": True, "data": {"total_available": 750_000, "total_used": 0, "unlimited_quota": False}})


@pytest.mark.parametrize(
    ("status", "stated", "left"),
    [
        (json_answer({"success": True, "data": {"quota_per_unit": 250_000}}), None, "6 CNY"),
        (json_answer({"success": True, "data": {"quota_per_unit": 250_000}}), "500000", "3 CNY"),
        (json_answer({"success": True, "data": {"quota_per_unit": 0, "version": "v1"}}), "500000", "3 CNY"),
        (json_answer({"success": True, "data": {"quota_per_unit": 0, "version": "v1"}}), None, "750000 quota"),
        (Answer(404), "500000", "3 CNY"),
        (Answer(429), "500000", "3 CNY"),
        (Answer(502), None, "750000 quota"),
    ],
)
async def test_a_balance_is_told_whatever_the_site_says_of_its_units(
    server: ScriptedServer, status: Answer, stated: str | None, left: str
) -> None:
    """What the user states of the size of a unit goes before it; what cannot be asked now hides no balance."""
    server.handler = by_path(token=USAGE, status=status)
    table: dict[str, Any] = {"exchange": {"unit": {"amount": "2", "currency": "CNY"}}, "quota_per_unit": stated}
    prices = read_price_tables(json.dumps({"sudashui": table}))["sudashui"]
    async with SudashuiClient(KEY, server.url, prices=prices) as client:
        client.call_budget = CallBudget(1000, 1)
        (balance,) = await balances_of([Pipeline(client, Ledger(MemoryStore()), TEMPLATE)])
    assert (balance.standing, str(balance.remaining)) == ("told", left)


async def test_the_list_estimates_where_the_user_states_nothing(server: ScriptedServer) -> None:
    """The list's figure is the least: seconds and sizes may multiply it. A unit costs what the user says."""
    models = [
        {"model_name": "sd-2-720p", "quota_type": 1, "model_price": 0.1, "enable_groups": ["default", "vip"]},
        {"model_name": "sd-free", "quota_type": 1, "model_price": 0},
        {"model_name": "sd-tokens", "quota_type": 0, "model_ratio": 2.5},
        {"model_name": "sd-odd", "quota_type": 1, "model_price": None},
    ]
    server.handler = by_path(
        pricing=json_answer({"success": True, "data": models, "group_ratio": {"default": 1, "vip": 0.1714}}),
        status=json_answer({"success": True, "data": {"quota_per_unit": 500000}}),
    )
    stated = '{"sudashui": {"exchange": {"unit": {"amount": "2", "currency": "CNY"}}, "group": "vip"}}'
    async with SudashuiClient(KEY, server.url, prices=read_price_tables(stated)["sudashui"]) as client:
        assert client.estimate(REQUEST).how == "unknown"
        assert isinstance(await client.price_list(), PriceList)
        found = client.estimate(REQUEST)
        assert (found.how, found.currency, found.high) == ("catalogue", "CNY", None)
        assert found.expected == found.low == Decimal("0.03428")  # 8570 of 500000 units, cut as the gateway cuts
        free = client.estimate(REQUEST.model_copy(update={"model": "sd-free"}))
        assert (free.expected, free.high) == (0, 0)
        for model in ("sd-tokens", "sd-odd", "sd-new"):
            assert client.estimate(REQUEST.model_copy(update={"model": model})).how == "unknown"


@pytest.mark.parametrize(
    "body",
    [
        "",
        "[]",
        "null",
        "{}",
        '{"success": true, "data": 7}',
        '{"success": true, "data": {"total_available": "many"}}',
        "x" * 9,
    ],
)
async def test_odd_answers_are_not_told(client: SudashuiClient, server: ScriptedServer, body: str) -> None:
    """Never an exception, never 0."""
    answer = Answer(200, {"Content-Type": "application/json"}, body.encode())
    server.handler = lambda _: answer
    for ask in (client.balance, client.price_list, client.shown_limit, client.shown_use):
        assert isinstance(await ask(), NotTold)
    site = await client.site()
    assert isinstance(site, NotTold) or site.quota_per_unit is None


async def test_a_balance_needs_no_envelope(client: SudashuiClient, server: ScriptedServer) -> None:
    """A relay leaves it out; figures are figures."""
    server.handler = lambda _: Answer(200, {}, b'{"total_available": 7, "total_used": 1, "unlimited_quota": false}')
    balance = await client.balance()
    assert isinstance(balance, Balance)
    assert balance.remaining == 7


async def test_a_bad_key_is_told_in_the_gateways_own_words(client: SudashuiClient, server: ScriptedServer) -> None:
    """The word `Bearer` is hidden in what people read, and is no reason to take the address for absent."""
    server.handler = lambda _: Answer(200, {}, b'{"success": false, "message": "Invalid Bearer token"}')
    with pytest.raises(errors.AuthenticationError):
        await client.balance()


async def test_an_empty_page_of_the_log(client: SudashuiClient, server: ScriptedServer) -> None:
    """Go writes an empty list as null."""
    server.handler = lambda _: Answer(200, {}, b'{"success": true, "data": {"page": 1, "total": 0, "items": null}}')
    log = await client.account_log()
    assert isinstance(log, AccountLog)
    assert log.rows == ()


async def test_log_rows_of_strangers_are_survived(client: SudashuiClient, server: ScriptedServer) -> None:
    """Rows of any shape; what cannot be read is left out."""
    odd: list[Any] = [
        None,
        7,
        [],
        {},
        {"type": "2", "quota": "5"},
        {"type": 2, "quota": 1.5},
        {"type": True, "quota": 1},
    ]
    odd += [
        row(quota=-8821),
        row(other={"task_id": {"a": 1}}),
        {**row(), "other": "{" * 9000},
        {**row(), "created_at": "x"},
    ]
    server.handler = by_path(token=log_of(*odd))
    log = await client.account_log()
    assert isinstance(log, AccountLog)
    assert sorted(found.quota for found in log.rows) == [-8821, 5, 50000, 50000, 50000]
    lost = LostCreate(REQUEST, datetime.now(timezone.utc) - timedelta(hours=1), request_id=ID, key_is_ours=True)
    assert (await client.find_created(lost)).outcome == "charged"
