"""Everything deployed, with a real server, a real worker and real events: what each of them becomes."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import yaml
from prefect.types.entrypoint import EntrypointType

from benchmarks.listen import SECRETS, TOKEN, Listener, drained, signed
from prefect_genvideo import generate_videos, generate_videos_sharded
from prefect_genvideo.batch import BatchReport
from prefect_genvideo.ready import content_calendar, reconcile
from tests.deployments.fleet import CREDENTIALS, DESTINATION, ROOT, Fleet, kill_worker, start_worker

pytestmark = [pytest.mark.prefect, pytest.mark.timeout(900)]

SECOND = "genvideo-second"
CALENDAR = """
defaults: {model: sd-2-fast-720p, duration: 4}
rows:
  - {due: %s, prompt: "calendar: the sea today, {{ date }}"}
  - {due: %s, prompt: "calendar: the sea next week"}
"""


@pytest.fixture(scope="module", autouse=True)
def everything_at_once(fleet: Fleet, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Let all happen in the first moment, as on a busy day; the tests wait for what becomes of it."""
    now = datetime.now(timezone.utc)
    fleet.put("calendar.yaml", (CALENDAR % (now.date(), (now + timedelta(days=7)).date())).encode())
    calendar = fleet.deployment("content-calendar/genvideo")
    # Once: each run by a worker costs three seconds of a core.
    once = {"rrule": f"DTSTART:{now:%Y%m%dT%H%M%S}\nRRULE:FREQ=SECONDLY;COUNT=1", "timezone": "UTC"}
    fleet.api(f"/deployments/{calendar['id']}/schedules", [{"schedule": once, "active": True}])
    # Now, not when the scheduler comes round: the moment would be over by then.
    start = now.replace(microsecond=0).isoformat()
    fleet.api(f"/deployments/{calendar['id']}/schedule", {"start_time": start, "min_runs": 1, "max_runs": 1})
    fleet.put("photos/cup one.jpg", (files("prefect_genvideo.simulator") / "cat.jpg").read_bytes())
    fleet.emit("aws.s3.object-created", f"s3://{fleet.bucket}/photos/cup one.jpg", uploaded(fleet.bucket))
    through_the_event_door(fleet, tmp_path_factory.mktemp("door"))


def through_the_event_door(fleet: Fleet, folder: Path) -> None:
    """A webhook that its sender repeats, and MinIO's notification of the photo that EventBridge tells of as well."""
    door = Listener(folder, fleet.server.api_url, environment=SECRETS)
    door.start()
    try:
        wish = json.dumps({"prompt": "a wish through the door", "model": "sd-2-1080p", "duration": 5}).encode()
        webhook, store = f"{door.url}/hooks/webhook", f"{door.url}/hooks/s3"
        answers = [httpx.post(webhook, content=wish, headers=signed(wish, "wish-1")).status_code for _ in range(2)]
        assert answers == [202, 200]
        told: dict[str, Any] = uploaded(fleet.bucket)
        stored = told["object"] | {"key": "photos%2Fcup+one.jpg", "eTag": told["object"]["etag"]}
        record = {"eventSource": "minio:s3", "eventName": "s3:ObjectCreated:Put"}
        body = {"Records": [record | {"s3": {"bucket": told["bucket"], "object": stored}}]}
        assert httpx.post(store, json=body, headers={"authorization": TOKEN}).status_code == 202
        drained(door)
    finally:
        door.stop()


def uploaded(bucket: str) -> dict[str, Any]:
    """`detail` of EventBridge's `Object Created`."""
    return {
        "version": "0",
        "bucket": {"name": bucket},
        "object": {
            "key": "photos/cup one.jpg",
            "size": 5,
            "etag": "b1946ac92492d234",
            "sequencer": "00617F08299329D189",
        },
        "request-id": "N4N7GDK58NMKJ12R",
        "reason": "PutObject",
    }


def test_one_command_brings_everything_up(fleet: Fleet) -> None:
    """A line a block document, the work pool and each deployment; no secret among them."""
    lines = [line.split()[:2] for line in fleet.said.splitlines()]
    assert lines[:6] == [
        ["created", CREDENTIALS],
        ["created", "senseaudio-credentials/simulator"],
        ["created", "ark-credentials/simulator"],
        ["created", "local-video-destination/simulator"],
        ["created", DESTINATION],
        ["created", "video-job/simulator-teaser"],
    ]
    assert [words[0] for words in lines[7:-1]] == ["deployed"] * 12
    assert fleet.simulator.key not in fleet.said
    assert fleet.s3.secret_access_key not in fleet.said


def test_all_deployments_are_there_and_pin_no_folder_of_the_deployer(fleet: Fleet) -> None:
    """Flows are named by their module; nothing is pulled."""
    found = [each for each in fleet.api("/deployments/filter", {}) if each["work_pool_name"] == "genvideo"]
    assert len({each["flow_id"] for each in found}) == 10, fleet.said
    for deployment in found:
        assert not deployment["pull_steps"]
        assert deployment["path"] in (None, ".", "")


async def test_the_schedule_fires_and_makes_what_is_due(fleet: Fleet) -> None:
    """A repeated run of the same calendar, here in this process, finds its slots taken and pays nothing."""

    def completed() -> bool:
        done = [run for run in fleet.runs("content-calendar/genvideo") if run["state_name"] == "Completed"]
        return any(run["auto_scheduled"] for run in done)

    fleet.until("the schedule has fired", completed)
    made = fleet.saved("calendar: the sea today")
    run: Any = content_calendar
    again: BatchReport | None = await run(**fleet.deployment("content-calendar/genvideo")["parameters"])
    assert again is not None
    assert [(row.state, row.video is not None and row.video.reused) for row in again.rows] == [("saved", True)]
    assert fleet.paid("calendar: the sea today") == len(made) == 1
    assert fleet.saved("calendar: the sea today") == made
    assert fleet.paid("calendar: the sea next week") == 0


@pytest.mark.slow
async def test_a_manifest_in_s3_is_made_in_shards_by_the_work_pool(fleet: Fleet) -> None:
    """Each shard is a run of the batch deployment; one report covers them all, in the manifest's order."""
    rows = [{"model": "sd-2-fast-720p", "prompt": f"shard row {number}", "duration": 4} for number in range(4)]
    manifest = fleet.put("wishes.jsonl", "\n".join(map(json.dumps, rows)).encode())
    report = await generate_videos_sharded(
        manifest, CREDENTIALS, DESTINATION, "generate-videos/genvideo", shard_size=2, idempotency_key="sharded"
    )
    assert [row.state for row in report.rows] == ["saved"] * 4
    assert [row.number for row in report.rows] == [1, 2, 3, 4]
    assert fleet.paid("shard row") == 4
    assert len([run for run in fleet.runs("generate-videos/genvideo") if run["name"].endswith("of sharded")]) == 2


def test_a_webhook_at_the_event_door_becomes_one_video(fleet: Fleet) -> None:
    """Signed, repeated by its sender, and with a model that its payload may not choose."""
    fleet.until("the wish is in the bucket", lambda: fleet.saved("a wish through the door"))
    assert len(fleet.saved("a wish through the door")) == fleet.paid("a wish through the door") == 1
    task = next(task for task in fleet.simulator.tasks if "through the door" in task.wanted.prompt)
    assert task.wanted.model == "sd-2-fast-720p"


def test_an_object_that_s3_reports_twice_becomes_one_video(fleet: Fleet) -> None:
    """Two events with ids of their own are two runs; the object's version is what is paid for once."""

    def ended() -> list[str]:
        states = [fleet.finished(run["id"]) for run in fleet.runs("on-request/photo-uploaded")]
        return [state for state in states if state] if len(states) > 1 and all(states) else []

    assert fleet.until("both runs have ended", ended) == ["Completed", "Completed"]
    assert fleet.paid("the product in @image1") == 1
    assert len(fleet.saved("the product in @image1")) == 1


async def test_an_event_that_came_twice_is_one_video_whatever_dies(fleet: Fleet) -> None:
    """The run dies while its video is being made; another worker retries it. Paid once, saved once.

    The payload's prompt counts; its model and everything else that is not open to strangers does not.
    """
    fleet.simulator.configure(clock="manual")
    wish = {"prompt": "doomed worker", "model": "sd-2-1080p", "unknown": {"quotes": "\"'{{ }}"}}
    event = fleet.emit("video.requested", "shop.wish.1", wish)
    fleet.emit("video.requested", "shop.wish.1", wish, event)
    record = f"videos/_ledger/event-{event}.json"
    fleet.until("the task id is in the ledger", lambda: '"submitted"' in fleet.text(record))
    run = next(run for run in fleet.runs("on-request/video-requested") if run["parameters"]["event_id"] == event)
    assert fleet.worker is not None
    kill_worker(fleet, fleet.worker)
    task = next(task for task in fleet.simulator.tasks if task.wanted.prompt == "doomed worker")
    fleet.simulator.finish(task.task_id)
    fleet.simulator.configure(clock="immediate")

    fleet.worker = start_worker(fleet)
    retry = {"state": {"type": "SCHEDULED", "name": "AwaitingRetry"}, "force": True}
    fleet.api(f"/flow_runs/{run['id']}/set_state", retry)
    assert fleet.until("the retried run has ended", lambda: fleet.finished(run["id"])) == "Completed"
    upkeep = fleet.deployment("reconcile/genvideo")["parameters"]
    fetched = cast("dict[str, int]", await reconcile(**upkeep))
    assert set(fetched) <= {"saved"}, "what else the worker was at is fetched"
    assert await reconcile(**upkeep) == {}, "nothing was left behind"
    assert fleet.paid("doomed worker") == len(fleet.saved("doomed worker")) == 1
    assert task.wanted.model == "sd-2-fast-720p"


def batch(words: str, count: int, slots: int) -> dict[str, Any]:
    """Parameters of a run that wants so many videos."""
    rows = [{"model": "sd-2-fast-720p", "prompt": f"{words} {number}", "duration": 4} for number in range(count)]
    return {"requests": rows, "credentials": CREDENTIALS, "destination": DESTINATION, "account_slots": slots}


@pytest.mark.slow
async def test_the_limit_of_an_account_holds_over_two_workers_and_a_killed_holders_slots_come_back(
    fleet: Fleet,
) -> None:
    """Never more than two under way; after the kill of one worker the other one gets its slots with the lease's end.

    The lost run is noticed by its heartbeats, and marked as crashed.
    """
    fleet.api("/work_pools/", {"name": SECOND, "type": "process", "base_job_template": {}})
    deployment = await generate_videos.ato_deployment(
        "second", work_pool_name=SECOND, entrypoint_type=EntrypointType.MODULE_PATH
    )
    await deployment.aapply()
    fleet.simulator.configure(clock="manual")
    for automation in yaml.safe_load((ROOT / "deployments/automations.yaml").read_text())["automations"]:
        fleet.api("/automations/", automation)
    other = start_worker(fleet, SECOND)
    doomed = fleet.start("generate-videos/second", **batch("held by the doomed", 2, slots=2))
    fleet.until("both slots are taken", lambda: fleet.paid("held by the doomed") == 2)

    heir = fleet.start("generate-videos/genvideo", **batch("held by the heir", 3, slots=2))
    fleet.until("the second run wants slots", lambda: fleet.run(heir)["state_type"] == "RUNNING")
    fleet.stays("no third generation is under way", lambda: fleet.paid("held by the heir") == 0, seconds=8)

    kill_worker(fleet, other)
    for task in fleet.simulator.tasks:
        if not task.done:
            fleet.simulator.finish(task.task_id)
    fleet.simulator.configure(clock="time", duration_kind="fixed", duration_median_s=3, refresh_s=0)
    assert fleet.until("the other run has ended", lambda: fleet.finished(heir)) == "Completed"
    assert len(fleet.saved("held by the heir")) == fleet.paid("held by the heir") == 3
    assert fleet.peak("held by") == 2
    fleet.until("the lost run is marked", lambda: fleet.finished(doomed) == "Crashed")
