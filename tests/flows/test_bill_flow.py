"""The simulator's bill, the ledger and a month's bill are one and the same, to the last unit."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from prefect_genvideo import bill_videos
from prefect_genvideo.cli.app import app
from prefect_genvideo.errors import GenVideoError
from prefect_genvideo.finance.bill import Bill
from prefect_genvideo.ledger.budget import Budget, BudgetGuard
from prefect_genvideo.ledger.store import Ledger
from prefect_genvideo.models import VideoRequest
from prefect_genvideo.prices import Estimate, MoneyFacts
from prefect_genvideo.providers import SudashuiClient
from prefect_genvideo.storage import LocalStore
from tests.fixtures.money import draft
from tests.fixtures.runs import artifacts, flow_run_of
from tests.flows.batches import make, wanted
from tests.flows.conftest import Place

PRICES = '{"sudashui": {"exchange": {"unit": {"amount": "1", "currency": "CNY"}}, "quota_per_unit": "500000"}}'


@pytest.fixture(autouse=True)
def priced(monkeypatch: pytest.MonkeyPatch) -> None:
    """A unit costs 1 CNY."""
    monkeypatch.setenv("PREFECT_INTEGRATIONS_GENVIDEO_PRICES", PRICES)


async def billed(place: Place, **facts: Any) -> Any:
    flow: Any = bill_videos
    return await flow(place.sudashui, place.destination, **facts)


async def test_a_months_bill_agrees(place: Place) -> None:
    """Tables, files and labels; a charge that the ledger does not know is named, and ends a strict run as Failed."""
    place.sim.money(log_delay_s=0.0)
    await make(place, wanted("a", "b", tags=["ads"]), tags=["spring"], cost_center="c1")
    state = await billed(place, return_state=True)
    bill: Bill = await state.aresult()
    assert (bill.counts, bill.unknown) == ({"agrees": 2}, 0)
    assert bill.sums("billed") == bill.sums("recorded")
    assert sum(record["money"]["quota"] for record in place.records()) == 2 * 1_656_000
    assert {line.tags for line in bill.lines} == {("spring", "ads")}
    assert {(line.cost_center, line.flow) for line in bill.lines} == {("c1", "generate-videos")}
    files = {key.rpartition("/")[2]: data for key, data in place.objects("_bills/").items()}
    assert sorted(name.partition(".")[2] for name in files) == ["focus.csv", "json"]
    assert [row["kind"] for row in json.loads((await artifacts(flow_run_of(state)))[0]["data"])] == ["agrees"] * 2
    api_key = place.sudashui.api_key.get_secret_value()
    async with SudashuiClient(api_key, place.sim.sudashui_url, place.sim.sudashui_files_url) as stranger:
        await stranger.create(VideoRequest(model="sd-2-fast-720p", prompt="theirs", duration=4))
    with pytest.raises(GenVideoError) as differs:
        await billed(place, fail_on_difference=True)
    assert differs.value.reason == "bill differs"


def test_the_command_line_shows_what_was_taken_from_caps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Beside what each tag has cost; records of months before are not read."""

    async def spend_some() -> None:
        guard = BudgetGuard(Ledger(LocalStore(tmp_path)), Budget(tag_month_money={"spring": "9 CNY"}))
        told = MoneyFacts(estimate=Estimate(high=Decimal(2), currency="CNY"), cost=Decimal(1), currency="CNY")
        for tags in (("spring", "b"), ("b",)):
            record = await guard.reserve(draft("-".join(tags), money=told, tags=tags))
            entry = await guard.ledger.claim(record)
            assert entry is not None
            await guard.ledger.move(entry, "submitted", task_id="task_1")

    asyncio.run(spend_some())
    for by in ("tag", "day"):
        app(["spend", "--at", str(tmp_path), "--by", by, "--json"], result_action="return_value")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    shown = {row["name"]: (row["videos"], [one["amount"] for one in row.get("taken", [])]) for row in lines}
    assert shown == {"b": (2, []), "spring": (1, ["2"]), f"{datetime.now(timezone.utc):%Y-%m-%d}": (2, [])}


async def test_an_account_without_a_log_accuses_nobody(place: Place) -> None:
    """Switched off is said, and nothing is called missing."""
    place.sim.money(absent=["log"])
    await make(place, wanted("a"))
    bill: Bill = await billed(place)
    assert bill.counts == {"not covered": 1}
    assert "not told" in bill.source


def test_the_command_line_writes_files(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An empty ledger has an empty bill; formats that are none are refused."""
    monkeypatch.setenv("SUDASHUI_API_KEY", place.sudashui.api_key.get_secret_value())
    monkeypatch.setenv("SUDASHUI_BASE_URL", place.sim.sudashui_url)
    common = ["bill", "--at", str(tmp_path), "--provider", "sudashui", "--month", f"{datetime.now(timezone.utc):%Y-%m}"]
    for name in ("bill.json", "bill.csv", "bill.focus.csv"):
        app([*common, "--export", str(tmp_path / name)], result_action="return_value")
        assert (tmp_path / name).stat().st_size > 3
    with pytest.raises(SystemExit):
        app([*common, "--export", str(tmp_path / "bill.pdf")], result_action="return_value")
    assert "export" in capsys.readouterr().err
    app(["spend", "--at", str(tmp_path), "--by", "day"], result_action="return_value")
    assert "videos" in capsys.readouterr().out
