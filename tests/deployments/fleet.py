"""A team's installation in small: blocks saved, everything deployed, a worker in a folder that is not the clone."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import httpx

from prefect_genvideo.ready.project import Project
from prefect_genvideo.simulator import Simulator
from tests.fixtures.prefect import PrefectServer, Worker, child_env, kill_marked, process_worker
from tests.fixtures.s3 import S3Server

ROOT = Path(__file__).resolve().parents[2]
POOL = "genvideo"
CREDENTIALS = "sudashui-credentials/simulator"
DESTINATION = "s3-video-destination/simulator"
T = TypeVar("T")
MARK = "GENVIDEO_TEST_WORKER"
DEPLOY = "import sys; from prefect_genvideo.cli import main; sys.argv[1:] = ['deploy']; main()"

#: What a worker is told: the simulator is done at once, so there is nothing to gain from waiting for minutes.
WORKER = {"PREFECT_INTEGRATIONS_GENVIDEO_POLL_INTERVAL": "0.4", "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}


def run_tool(*command: str, cwd: Path, env: Mapping[str, str] | None = None) -> str:
    """Run a Python command as people do; returns what it printed."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        env=child_env(env or {}),
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@dataclass
class Fleet:
    """Everything that runs, and how tests look at it.

    Attributes:
        bucket: Takes the videos; the only one the deployments know.
        folder: Where the worker runs.
        worker: The worker; None while there is none.
        said: What the command printed that set it all up.
    """

    server: PrefectServer
    simulator: Simulator
    s3: S3Server
    bucket: str
    folder: Path
    worker: Worker | None = None
    said: str = ""
    marks: dict[str, str] = field(default_factory=dict[str, str])
    stack: ExitStack = field(default_factory=ExitStack)

    def api(self, path: str, body: Any = None, method: str = "POST") -> Any:
        """Call the Prefect API."""
        url, tries = f"{self.server.api_url}{path}", 10
        while (answer := httpx.request(method, url, json=body, timeout=60)).status_code == 503:
            tries -= 1  # SQLite is busy; Prefect's own client tries again as well
            assert tries, "the server stays busy"
            time.sleep(0.5)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def deployment(self, name: str) -> dict[str, Any]:
        """A deployment by `flow/name`."""
        return self.api(f"/deployments/name/{name}", method="GET")

    def emit(self, event: str, resource: str, payload: Mapping[str, Any], event_id: str | None = None) -> str:
        """Post an event as a system outside of Prefect does; returns its id."""
        event_id = event_id or str(uuid4())
        told = {
            "id": event_id,
            "occurred": datetime.now(timezone.utc).isoformat(),
            "event": event,
            "resource": {"prefect.resource.id": resource},
            "payload": payload,
        }
        self.api("/events", [told])
        return event_id

    def start(self, deployment: str, **parameters: Any) -> str:
        """Create a run of a deployment that is to begin now; returns its id."""
        found = self.deployment(deployment)
        body = {"parameters": parameters, "state": {"type": "SCHEDULED"}}
        return self.api(f"/deployments/{found['id']}/create_flow_run", body)["id"]

    def runs(self, deployment: str) -> list[dict[str, Any]]:
        """Runs of a deployment that have begun or ended."""
        found = self.deployment(deployment)
        wanted = {"deployments": {"id": {"any_": [found["id"]]}}, "sort": "EXPECTED_START_TIME_DESC"}
        return [run for run in self.api("/flow_runs/filter", wanted) if run["state_type"] != "SCHEDULED"]

    def run(self, run_id: str) -> dict[str, Any]:
        """A flow run."""
        return self.api(f"/flow_runs/{run_id}", method="GET")

    def finished(self, run_id: str) -> str | None:
        """Name of a run's final state; None while it has none."""
        state = self.run(run_id)["state"]
        return state["name"] if state["type"] in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED") else None

    def until(self, told: str, found: Callable[[], T], seconds: float = 300) -> T:
        """Return what `found` gives as soon as it is true.

        Raises:
            AssertionError: It never was; the worker's last words are in the message.
        """
        deadline = time.monotonic() + seconds
        while not (value := found()):
            if time.monotonic() > deadline:
                words = self.worker.log[-6000:] if self.worker else ""
                raise AssertionError(f"not within {seconds:g} s: {told}\n{words}\n{self.server.log[-2000:]}")
            time.sleep(0.7)
        return value

    def stays(self, told: str, true: Callable[[], bool], seconds: float) -> None:
        """Watch for a while that nothing changes."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert true(), f"no longer: {told}"
            time.sleep(0.3)

    def saved(self, words: str) -> list[str]:
        """Keys of the videos in the bucket that were made from a prompt with these words."""
        pages = self.s3.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
        tasks = {task.task_id for task in self.simulator.tasks if words in task.wanted.prompt}
        return [key for key in keys if key.endswith(".mp4") and any(task_id in key for task_id in tasks)]

    def text(self, key: str) -> str:
        """An object's text; empty while there is no such object."""
        try:
            return self.s3.client.get_object(Bucket=self.bucket, Key=key)["Body"].read().decode()
        except self.s3.client.exceptions.NoSuchKey:
            return ""

    def paid(self, words: str) -> int:
        """Generations that were accepted for a prompt with these words."""
        return sum(words in task.wanted.prompt for task in self.simulator.tasks)

    def peak(self, words: str) -> int:
        """Most generations that were under way at the same time, of those with these words."""
        tasks = [task for task in self.simulator.tasks if words in task.wanted.prompt]
        return max(sum(one.created <= task.created < (one.done_at or 9e99) for one in tasks) for task in tasks)

    def put(self, key: str, data: bytes) -> str:
        """Store an object; returns its URI."""
        self.s3.client.put_object(Bucket=self.bucket, Key=key, Body=data)
        return f"s3://{self.bucket}/{key}"


def start_worker(fleet: Fleet, pool: str = POOL) -> Worker:
    """Start a worker that lives as long as the fleet, unless it is killed; nothing that it started outlives it."""
    mark = uuid4().hex
    worker = fleet.stack.enter_context(process_worker(pool, fleet.folder, {**WORKER, MARK: mark}))
    fleet.marks[worker.name] = mark
    fleet.stack.callback(kill_marked, f"{MARK}={mark}")
    return worker


def kill_worker(fleet: Fleet, worker: Worker) -> None:
    """Kill a worker and its flow runs at once, as a lost machine does."""
    worker.process.kill()
    kill_marked(f"{MARK}={fleet.marks[worker.name]}")
    worker.process.wait(10)


@contextmanager
def running_fleet(server: PrefectServer, simulator: Simulator, s3: S3Server, folder: Path) -> Generator[Fleet]:
    """Set everything up with the commands that the files themselves name."""
    fleet = Fleet(server, simulator, s3, s3.new_bucket(), folder / "elsewhere")
    fleet.folder.mkdir()
    settings = {
        "GENVIDEO_SIMULATOR_URL": simulator.url,
        "GENVIDEO_BUCKET": fleet.bucket,
        "GENVIDEO_S3_ENDPOINT_URL": s3.endpoint_url,
        "GENVIDEO_S3_ACCESS_KEY_ID": s3.access_key_id,
        "GENVIDEO_S3_SECRET_ACCESS_KEY": s3.secret_access_key,
        "GENVIDEO_FOLDER": str(folder / "videos"),
    }
    Project(folder / "project", bucket=fleet.bucket, pool=POOL).write()
    with fleet.stack, ThreadPoolExecutor() as side_by_side:
        deployed = side_by_side.submit(run_tool, "-c", DEPLOY, cwd=folder / "project", env=settings)
        fleet.worker = start_worker(fleet)
        fleet.said = deployed.result()
        try:
            yield fleet
        finally:
            remove_deployments(fleet)


def remove_deployments(fleet: Fleet) -> None:
    """Leave no schedules and triggers behind that would act upon what other tests do."""
    for deployment in fleet.api("/deployments/filter", {}):
        if str(deployment["work_pool_name"]).startswith(POOL):
            fleet.api(f"/deployments/{deployment['id']}", method="DELETE")
