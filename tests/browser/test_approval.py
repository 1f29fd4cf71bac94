"""A run that asks before it pays: suspended, answered by the form in the UI, and made by another worker."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest

from benchmarks.servers import BUCKET, S3_KEY
from tests.browser.ui import CREDENTIALS, DESTINATION, POOL, Ui, working

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

ASKING = "approvals"
"""Work pool of this test, whose workers know prices and come and go."""
FAST, SHARP = "sd-2-fast-720p", "sd-2-1080p"
PRICES = {
    "sudashui": {
        "currency": "CNY",
        "prices": [
            {"models": FAST, "per": "second", "amount": "0.5"},
            {"models": SHARP, "per": "second", "amount": "1.2"},
        ],
    }
}
ROWS = [
    {"model": FAST, "prompt": "A cat discovers the sea, golden hour", "duration": 4},
    {"model": FAST, "prompt": "The same cat surfs, slow motion", "duration": 8},
    {"model": SHARP, "prompt": "A lighthouse at dusk, drone shot", "duration": 5, "fallback": [{"model": FAST}]},
]
WORKER = {
    "PREFECT_INTEGRATIONS_GENVIDEO_PRICES": json.dumps(PRICES),
    "PREFECT_INTEGRATIONS_GENVIDEO_POLL_INTERVAL": "0.2",
}


def in_a_pool_of_its_own(ui: Ui) -> Ui:
    """The UI with the batch flow deployed a second time, where only this test's workers look."""
    api = ui.servers.prefect
    pool = httpx.get(f"{api}/work_pools/{POOL}").raise_for_status().json()
    ui.api("/work_pools/", {"name": ASKING, "type": "process", "base_job_template": pool["base_job_template"]})
    known = httpx.get(f"{api}/deployments/{ui.deployments['generate_videos']}").raise_for_status().json()
    facts = {name: known[name] for name in ("flow_id", "entrypoint", "path", "pull_steps", "parameter_openapi_schema")}
    made = ui.api("/deployments/", {"name": ASKING, "work_pool_name": ASKING, **facts})
    return replace(ui, deployments={"generate_videos": made["id"]})


def approval_of(ui: Ui, run: str) -> dict[str, Any]:
    """What stands in the ledger about the answer."""
    s3: Any = boto3.client(  # pyright: ignore[reportUnknownMemberType] - one overload a service
        "s3",
        endpoint_url=ui.servers.s3,
        region_name="us-east-1",
        aws_access_key_id=S3_KEY,
        aws_secret_access_key=S3_KEY,
    )
    return json.loads(s3.get_object(Bucket=BUCKET, Key=f"_plans/approvals/{run}.json")["Body"].read())


def is_alive(run: dict[str, Any]) -> bool:
    """Whether the process of a flow run is there."""
    return Path("/proc", str(run["infrastructure_pid"]).rpartition(":")[2]).exists()


def test_a_yes_in_the_form_is_carried_out_by_another_worker(ui: Ui) -> None:
    """Two of three rows are approved by clicks; who and when stands in the ledger."""
    ui = in_a_pool_of_its_own(ui)
    before = int(str(ui.servers.state()["billed"]))
    with working(ui.servers, ASKING, **WORKER):
        run = ui.start(
            "generate_videos", requests=ROWS, credentials=CREDENTIALS, destination=DESTINATION, approval="always"
        )
        first = ui.reaches(run, "Suspended")
        ui.until("the end of its process", lambda: not is_alive(first))

    ui.browser.set_window_size(1300, 1130)
    ui.open(f"/v2/runs/flow-run/{run}", "Waiting for an approval")
    ui.press("Open menu")
    ui.choose("Resume", "[role=menuitem]")
    answer = ui.until("the form", lambda: ui.elements("[aria-label='Select Answer']"))[0]
    asked = "".join(one.text for one in ui.elements("[role=dialog]"))
    for words in (
        "3 videos: 3 new; expected 12 CNY, at most 12 CNY",
        "A lighthouse at dusk, drone shot sd-2-1080p 6 CNY",
        "yes pays for what the plan says",
    ):
        assert words in asked
    answer.click()
    ui.choose("yes", "[role=option]")
    rows, name, note = ui.elements("[role=dialog] textarea")
    rows.send_keys("1, 3")
    name.send_keys("Ada")
    note.send_keys("the surfer next week")
    ui.picture("approval.png")
    ui.choose("Resume", "[role=dialog] button")
    ui.reaches(run, "Resuming")
    assert ui.servers.state()["billed"] == before

    with working(ui.servers, ASKING, **WORKER):
        second = ui.reaches(run, "Completed")
    assert second["infrastructure_pid"] != first["infrastructure_pid"]
    assert ui.servers.state()["billed"] == before + 2
    record = approval_of(ui, run)
    facts = {"answer": "yes", "rows": "1, 3", "by": "Ada", "note": "the surfer next week", "flow_run_id": run}
    assert {name: record[name] for name in facts} == facts
    assert record["asked_at"] < record["answered_at"] < record["deadline"]
