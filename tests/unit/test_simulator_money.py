"""The simulator's money: taken before, moved after the end, told in the gateway's forms, absent or late on demand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest

from prefect_genvideo.simulator import Fault, Simulator

BODY = {
    "model": "sd-2-720p",
    "prompt": "a cat",
    "duration": 4,
    "metadata": {"payload": json.dumps({"aspectRatio": "16:9", "mode": "references"})},
}
PRICE = 1_656_000
"""Of four seconds, as recorded."""


class Gateway:
    """Plain calls at the simulator's gateway."""

    def __init__(self, sim: Simulator, key: str = "sk-sim-demo") -> None:
        self.sim = sim
        self.http = httpx.Client(base_url=sim.sudashui_url, headers={"Authorization": f"Bearer {key}"})

    def get(self, path: str) -> httpx.Response:
        return self.http.get(path)

    def create(self) -> httpx.Response:
        return self.http.post("/v1/video/generations", json=BODY)

    def made(self) -> str:
        return str(self.create().json()["task_id"])

    def ended(self, *, well: bool = True) -> str:
        task_id = self.made()
        self.sim.finish(task_id) if well else self.sim.fail(task_id, "no faces")
        return task_id

    def quota(self, task_id: str) -> int:
        return int(self.get(f"/v1/video/generations/{task_id}").json()["data"]["quota"])

    def rows(self) -> list[dict[str, Any]]:
        return self.get("/api/log/token").json()["data"]

    def usage(self) -> dict[str, Any]:
        return self.get("/api/usage/token/").json()["data"]


@pytest.fixture
def gateway(sim: Simulator) -> Iterator[Gateway]:
    sim.configure(clock="manual")
    made = Gateway(sim)
    with made.http:
        yield made


def net(rows: list[dict[str, Any]]) -> int:
    return sum(row["quota"] * {2: 1, 6: -1}[row["type"]] for row in rows)


def test_a_create_is_charged_when_it_is_accepted(gateway: Gateway) -> None:
    """Its row has the id that its answer carried, and does not name its task."""
    answer = gateway.create()
    (row,) = gateway.rows()
    assert (row["type"], row["quota"], row["request_id"]) == (2, PRICE, answer.headers["X-Oneapi-Request-Id"])
    assert "task_id" not in json.loads(row["other"])
    assert gateway.usage()["total_used"] == PRICE
    gateway.sim.money(task_ids=True)
    task_id = gateway.made()
    assert json.loads(gateway.rows()[0]["other"])["task_id"] == task_id


@pytest.mark.parametrize(
    ("settles_at", "well", "cost"),
    [(None, True, PRICE), (1.25, True, 2_070_000), (0.5, True, 828_000), (None, False, 0)],
)
def test_the_money_moves_after_the_end(gateway: Gateway, settles_at: float | None, well: bool, cost: int) -> None:
    """The end shows first with what was taken; then supplement, refund or nothing, each in a row."""
    gateway.sim.money(settles_at=settles_at)
    gateway.sim.configure(clock="immediate", polls_to_finish=1)
    task_id = gateway.made()
    if not well:
        gateway.sim.doom(gateway.sim.by_id[task_id], "no faces")
    assert gateway.quota(task_id) == PRICE
    assert gateway.quota(task_id) == cost
    rows = gateway.rows()
    assert net(rows) == cost == gateway.usage()["total_used"]
    moved = [json.loads(row["other"]) for row in rows[:-1]]
    assert all(other["task_id"] == task_id for other in moved)
    assert len(moved) == (cost != PRICE)


def test_settlement_takes_its_time(gateway: Gateway) -> None:
    """Until then nothing has moved."""
    gateway.sim.money(settle_delay_s=3600)
    task_id = gateway.ended(well=False)
    assert (gateway.quota(task_id), net(gateway.rows())) == (PRICE, PRICE)
    gateway.sim.money(settle_delay_s=0)
    assert net(gateway.rows()) == 0


def test_older_trees(gateway: Gateway) -> None:
    """No ids in rows, no rows of refunds, the failed task's figure stays, ids in local time."""
    gateway.sim.money(row_ids=False, refund_rows=False, zeroes_quota=False, local_ids=8)
    task_id = gateway.ended(well=False)
    (row,) = gateway.rows()
    assert "request_id" not in row
    assert gateway.quota(task_id) == PRICE
    assert gateway.usage()["total_used"] == 0
    received = datetime.strptime(gateway.get("/v1/models").headers["X-Oneapi-Request-Id"][:14], "%Y%m%d%H%M%S")
    ahead = (received.replace(tzinfo=timezone.utc) - datetime.now(timezone.utc)).total_seconds()
    assert 28_790 < ahead < 28_810


def test_every_answer_of_the_gateway_has_an_id(gateway: Gateway) -> None:
    """Not those of a proxy before it, nor those of other hosts."""
    for path in ("/v1/models", "/v1/nothing", "/elsewhere", "/api/status", "/v1/video/generations/task_x"):
        assert len(gateway.get(path).headers["X-Oneapi-Request-Id"]) == 39
    gateway.sim.faults.add(Fault("502_html", "models", times=1))
    assert "X-Oneapi-Request-Id" not in gateway.get("/v1/models").headers
    assert "X-Oneapi-Request-Id" not in httpx.get(f"{gateway.sim.senseaudio_url}/v1/models").headers


def test_an_answer_can_be_cut_after_its_head(gateway: Gateway) -> None:
    """It is billed, and its id is all that comes."""
    gateway.sim.faults.add(Fault("cut_answer", "create", times=1))
    with gateway.http.stream("POST", "/v1/video/generations", json=BODY) as answer:
        request_id = answer.headers["X-Oneapi-Request-Id"]
        with pytest.raises(httpx.RemoteProtocolError):
            answer.read()
    assert gateway.rows()[0]["request_id"] == request_id
    assert gateway.sim.billed == 1


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("usage", "/api/usage/token/"),
        ("log", "/api/log/token"),
        ("dashboard", "/v1/dashboard/billing/subscription"),
        ("dashboard", "/dashboard/billing/usage"),
        ("pricing", "/api/pricing"),
        ("status", "/api/status"),
    ],
)
def test_each_address_can_be_absent(gateway: Gateway, name: str, path: str) -> None:
    """404 in the gateway's envelope."""
    assert gateway.get(path).status_code == 200
    answer = httpx.post(f"{gateway.sim.url}/_sim/money", json={"absent": [name]})
    assert answer.json()["manner"]["absent"] == [name]
    assert gateway.get(path).status_code == 404
    assert gateway.get(path).json()["error"]["message"].startswith("Invalid URL (GET /")


def test_balance_and_log_share_a_bucket(gateway: Gateway) -> None:
    """A refusal has no body; how long to wait stands in a header, or nowhere."""
    gateway.sim.money(bucket=3)
    gateway.usage()
    gateway.rows()
    gateway.rows()
    refused = gateway.get("/api/usage/token/")
    assert (refused.status_code, refused.content) == (429, b"")
    assert 1190 < int(refused.headers["Retry-After"]) <= 1201
    gateway.sim.money(retry_after=False)
    assert "Retry-After" not in gateway.get("/api/log/token").headers
    assert gateway.get("/api/pricing").status_code == 200


def test_the_log_can_be_late_cut_or_off(gateway: Gateway) -> None:
    """What it does not show was charged all the same."""
    gateway.sim.money(log_delay_s=600)
    gateway.made()
    assert gateway.rows() == []
    gateway.sim.money(log_delay_s=0, log_rows=2)
    ids = [gateway.create().headers["X-Oneapi-Request-Id"] for _ in range(3)]
    assert [row["request_id"] for row in gateway.rows()] == ids[:0:-1]
    gateway.sim.money(consume_log=False, log_rows=1000)
    gateway.made()
    assert len(gateway.rows()) == 3
    assert gateway.usage()["total_used"] == 5 * PRICE


def test_a_key_that_cannot_pay_is_refused_and_not_charged(gateway: Gateway) -> None:
    """Before anything is made."""
    gateway.sim.money(granted=2 * PRICE - 1)
    assert gateway.create().status_code == 200
    refused = gateway.create()
    assert (refused.status_code, refused.json()["code"]) == (403, "insufficient_user_quota")
    assert (gateway.sim.billed, len(gateway.rows())) == (1, 1)
    assert gateway.usage()["total_available"] == PRICE - 1


def test_the_clock_of_the_gateway_can_be_off(gateway: Gateway) -> None:
    """In its `Date`, its ids and its rows alike."""
    gateway.sim.money(clock_ahead_s=-90)
    answer = gateway.create()
    told = parsedate_to_datetime(answer.headers["Date"])
    assert -93 < (told - datetime.now(timezone.utc)).total_seconds() < -88
    assert abs(gateway.rows()[0]["created_at"] - told.timestamp()) <= 2


def test_dashboard_prices_and_units_agree(gateway: Gateway) -> None:
    """One price, told in four places."""
    gateway.sim.money(granted=5_000_000, display="CNY", rate=7.0)
    gateway.made()
    limit = gateway.get("/v1/dashboard/billing/subscription").json()["hard_limit_usd"]
    used = gateway.get("/v1/dashboard/billing/usage").json()["total_usage"]
    site = gateway.get("/api/status").json()["data"]
    (price,) = (entry for entry in gateway.get("/api/pricing").json()["data"] if entry["model_name"] == BODY["model"])
    assert limit == pytest.approx(70.0)
    assert used / 100 / site["usd_exchange_rate"] * site["quota_per_unit"] == pytest.approx(PRICE)
    assert price["model_price"] * site["quota_per_unit"] * 4 == pytest.approx(PRICE)


def test_an_unknown_setting_is_refused(gateway: Gateway) -> None:
    """The answer names those that are known."""
    unknown: list[Any] = [{"absnet": []}, {"absent": ["logs"]}, ["x"]]
    for changes in unknown:
        assert httpx.post(f"{gateway.sim.url}/_sim/money", json=changes).status_code == 400
    assert httpx.get(f"{gateway.sim.url}/_sim/money").json()["manner"]["absent"] == []


def test_the_log_holds_other_calls_too(gateway: Gateway) -> None:
    """Text calls of the same key."""
    gateway.sim.purse.add_call("sk-sim-demo", "gpt-x", 1200)
    assert [row["model_name"] for row in gateway.rows()] == ["gpt-x"]


def test_one_key_may_be_handled_in_another_way(gateway: Gateway) -> None:
    """Its price, its settlement and its log; every bill says what was taken and what moved, over HTTP as well."""
    changes = {"account": "sk-sim-other", "price": 0.5, "settles_at": 0.25, "absent": ["log"]}
    assert gateway.http.post(f"{gateway.sim.url}/_sim/money", json=changes).status_code == 200
    other = Gateway(gateway.sim, "sk-sim-other")
    with other.http:
        paid, cheap = gateway.ended(), other.ended()
        assert other.get("/api/log/token").status_code == 404
    bills = httpx.get(f"{gateway.sim.url}/_sim/money").json()["bills"]
    assert {task_id: (bill["pre_charged"], bill["moved"], bill["settled"]) for task_id, bill in bills.items()} == {
        paid: (PRICE, 0, True),
        cheap: (1_000_000, -750_000, True),
    }
    assert gateway.sim.money().settles_at is None
    assert gateway.sim.money("sk-sim-other", settles_at=2.0).settles_at == 2.0
