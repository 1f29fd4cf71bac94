"""Real processes that are killed, and real processes that want the same key at once."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from prefect_genvideo.errors import UnknownOutcomeError
from prefect_genvideo.ledger.decisions import adopt
from prefect_genvideo.ledger.store import Ledger
from prefect_genvideo.pipeline.pipeline import Pipeline
from prefect_genvideo.pipeline.reconcile import reconcile
from prefect_genvideo.providers import SudashuiClient
from prefect_genvideo.simulator import Fault, Simulator
from tests.fixtures import money_child
from tests.fixtures.expected import failing
from tests.fixtures.money_child import REQUEST, TEMPLATE, store_of
from tests.fixtures.prefect import child_env
from tests.fixtures.s3 import S3Server

PATIENCE = 60.0


@dataclass
class Town:
    """The simulator, a store that all processes share, and a pipeline of this process."""

    sim: Simulator
    store: dict[str, Any]
    pipeline: Pipeline

    def start(self, **more: Any) -> subprocess.Popen[str]:
        """A process that wants the video of key `k`."""
        provider = {"api_key": self.sim.key, "base_url": self.sim.sudashui_url}
        options = {"provider": provider, "store": self.store, "key": "k", **more}
        command = [sys.executable, money_child.__file__, json.dumps(options)]
        return subprocess.Popen(command, env=child_env(), stdout=subprocess.PIPE, text=True)

    @contextmanager
    def running(self) -> Generator[subprocess.Popen[str]]:
        """One that is surely gone at the end."""
        with self.start() as process:
            try:
                yield process
            finally:
                process.kill()

    async def run(self) -> dict[str, Any]:
        """A rerun in this process."""
        return await money_child.run(self.pipeline, "k")


@pytest.fixture
async def town(request: pytest.FixtureRequest, sim: Simulator, tmp_path: Path) -> AsyncIterator[Town]:
    """Over S3, or over a directory when asked for."""
    sim.configure(polls_to_finish=1, clip_bytes=4096)
    store: dict[str, Any] = {"path": str(tmp_path)}
    if getattr(request, "param", "moto") == "moto":
        s3: S3Server = request.getfixturevalue("s3")
        store = {"bucket": s3.new_bucket(), "prefix": "videos", **s3.settings}
    async with SudashuiClient(sim.key, sim.sudashui_url) as client:
        yield Town(sim, store, Pipeline(client, Ledger(store_of(store)), TEMPLATE, poll_interval=0.1))


async def until(holds: Callable[[], bool]) -> None:
    """Return when something has come true in another process."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def test_a_process_killed_after_its_post_is_not_followed_by_a_second_create(town: Town) -> None:
    """Accepted and billed, the answer not there yet, then SIGKILL: held, adopted, delivered."""
    town.sim.faults.add(Fault("timeout", "create", times=1, params={"accepted": True}))
    with town.running() as process:
        await until(lambda: town.sim.billed == 1)
        process.kill()
    with failing(UnknownOutcomeError, "the run that sent it ended before its answer was recorded"):
        await town.pipeline.create(REQUEST, town.pipeline.draft("k", REQUEST, {}))
    await adopt(town.pipeline.ledger, "k", town.sim.tasks[0].task_id)
    assert (await reconcile(town.pipeline)).counts == {"saved": 1}
    assert (await town.run())["task_id"] == town.sim.tasks[0].task_id
    assert town.sim.billed == 1


async def test_a_process_killed_while_it_waits_is_taken_up(town: Town) -> None:
    """The id is in the ledger; the rerun asks for it and saves."""
    town.sim.configure(clock="manual")
    with town.running() as process:
        await until(lambda: bool(town.sim.tasks) and town.sim.tasks[0].polls > 0)
        process.kill()
    town.sim.finish(town.sim.tasks[0].task_id)
    assert (await town.run())["task_id"] == town.sim.tasks[0].task_id
    assert (town.sim.billed, town.sim.calls["create"]) == (1, 1)


async def test_a_process_killed_while_it_saves_leaves_no_half_video(town: Town) -> None:
    """The download stands still, SIGKILL; the rerun fetches the whole video."""
    town.sim.faults.add(Fault("stall", "download", times=1))
    with town.running() as process:
        await until(lambda: town.sim.downloads == 1)
        process.kill()
    assert [info.key async for info in town.pipeline.ledger.store.list() if info.key.endswith(".mp4")] == []
    video = await town.run()
    assert video["task_id"] == town.sim.tasks[0].task_id
    assert (town.sim.billed, town.sim.downloads) == (1, 2)


@pytest.mark.slow
@pytest.mark.parametrize("town", ["local", "moto"], indirect=True)
async def test_six_processes_with_one_key_pay_once(town: Town) -> None:
    """Three runs in each, all at once: eighteen results of one task."""
    processes = [town.start(runs=3) for _ in range(6)]
    outputs = await asyncio.gather(*(asyncio.to_thread(process.communicate) for process in processes))
    rows = [json.loads(line) for out, _ in outputs for line in out.splitlines()]
    assert len(rows) == 18
    assert {row.get("task_id") for row in rows} == {town.sim.tasks[0].task_id}
    assert sum(not row["reused"] for row in rows) == 1
    assert (town.sim.billed, town.sim.calls["create"]) == (1, 1)
