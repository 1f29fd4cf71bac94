"""A run that asks before it pays, on a real worker, and killed wherever that could cost money or an answer."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from anyio.from_thread import start_blocking_portal
from prefect import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.states import Scheduled
from prefect.types.entrypoint import EntrypointType

from prefect_genvideo import generate_videos
from prefect_genvideo.flows.approval_form import Approval, find_waiting, respond
from prefect_genvideo.simulator import Simulator
from tests.fixtures.prefect import PrefectServer, Worker, process_worker
from tests.fixtures.runs import ended, eventually, until
from tests.fixtures.s3 import S3Server
from tests.flows.batches import MODEL, wanted
from tests.flows.conftest import SETTINGS, Place

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

POOL = "approvals"
PRICES = {"sudashui": {"currency": "CNY", "prices": [{"models": MODEL, "per": "video", "amount": "2"}]}}
PATIENCE = 180.0
# What Prefect's worker logs, after its runner, of a run that was killed.
_SECOND_WORD = "prefect.flow_runs.worker - Check whether the flow run exceeded its memory"


class Door:
    """The way to Prefect's API, which can be shut at one request: that one is never passed on nor answered.

    Attributes:
        url: The API as the worker and its flow runs know it.
        reached: Whether the request has come.
    """

    def __init__(self, api_url: str) -> None:
        self._target = urlsplit(api_url)
        self._shut_at = b""
        self.url = ""
        self.reached = threading.Event()

    def shut_at(self, request: str) -> None:
        """Hold the next request that begins so, e.g. `POST /api/artifacts/`."""
        self.reached.clear()
        self._shut_at = f"{request} HTTP/".encode()

    async def pass_through(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until either side ends it."""
        there, back = await asyncio.open_connection(self._target.hostname, self._target.port)
        ways = [asyncio.ensure_future(self._forth(reader, back)), asyncio.ensure_future(_pump(there, writer))]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            writer.close()
            back.close()

    async def _forth(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65_536):
                if self._shut_at and data.startswith(self._shut_at):
                    self._shut_at = b""
                    self.reached.set()
                    await reader.read()  # until the process that asks is gone
                    return
                writer.write(data)
                await writer.drain()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()


@asynccontextmanager
async def door_to(api_url: str) -> AsyncGenerator[Door]:
    """A door for the length of the context."""
    door = Door(api_url)
    server = await asyncio.start_server(door.pass_through, "127.0.0.1", 0)
    door.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}{urlsplit(api_url).path}"
    try:
        yield door
    finally:
        server.close()


async def read(run: UUID) -> FlowRun:
    """What Prefect knows of a run."""
    async with get_client() as client:
        return await client.read_flow_run(run)


async def state_of(run: UUID, name: str) -> FlowRun:
    """The run, once its state has this name."""

    async def look() -> FlowRun | None:
        found = await read(run)
        return found if found.state is not None and found.state.name == name else None

    found = await eventually(look, name, PATIENCE)
    assert found is not None
    return found


async def killed(run: UUID) -> None:
    """Kill the process of a run, as a machine that dies does; its worker says what has become of it."""
    found = await read(run)
    assert found.infrastructure_pid is not None
    os.kill(int(found.infrastructure_pid.rpartition(":")[2]), signal.SIGKILL)


async def retried(run: UUID, worker: Worker, deaths: int) -> None:
    """What the Retry button does with a run that has crashed.

    Args:
        run: The run.
        worker: Where it died. It tells Prefect twice, seconds apart, and the second word would end the retry.
        deaths: Runs that have died there so far.
    """
    await state_of(run, "Crashed")
    await until(lambda: worker.log.count(_SECOND_WORD) >= deaths, "the worker's second word", PATIENCE)
    async with get_client() as client:
        await client.set_flow_run_state(run, Scheduled(name="AwaitingRetry"), force=True)


async def asked(place: Place) -> UUID:
    """A run of a new deployment that asks about four videos, and makes one after the other."""
    flow: Any = generate_videos
    made = flow.to_deployment("asks", work_pool_name=POOL, entrypoint_type=EntrypointType.MODULE_PATH)
    names = await place.saved()
    blocks = {name: names[name] for name in ("credentials", "destination")}
    parameters = {"requests": wanted("a", "b", "c", "d"), "approval": "always", "max_in_flight": 1, **blocks}
    deployment = await (await made).apply()
    async with get_client() as client:
        return (await client.create_flow_run_from_deployment(deployment, parameters=parameters)).id


async def approve(run: UUID, rows: str) -> None:
    """Say yes as `genvideo approve` does."""
    async with get_client() as client:
        found, form = await find_waiting(client, str(run))
        await respond(client, found, form, Approval(answer="yes", rows=rows, by="ada"))


def answers(place: Place) -> list[str]:
    """What was answered, by whom."""
    found = [json.loads(data) for data in place.objects("_plans/approvals/").values()]
    return [f"{record['answer']} {record['by']}".strip() for record in found]


async def test_a_run_killed_at_every_step_asks_once_and_pays_for_what_was_approved(
    prefect_server: PrefectServer, sim: Simulator, s3: S3Server, tmp_path: Path
) -> None:
    """Four rows are planned and three approved; the run is killed four times, once with its worker."""
    sim.configure(clock="manual")
    place = Place(sim, s3)
    settings = {**SETTINGS, "PREFECT_INTEGRATIONS_GENVIDEO_PRICES": json.dumps(PRICES)}
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(door_to(prefect_server.api_url)) as door,
    ):
        settings["PREFECT_API_URL"] = door.url
        with process_worker(POOL, tmp_path, settings) as worker:
            run = await _killed_while_it_asks(place, door, worker)
        assert (answers(place), sim.billed) == (["open"], 0)
        with process_worker(POOL, tmp_path, settings) as worker:
            await _killed_while_it_pays(place, run, door, worker)
    assert answers(place) == ["yes ada"]
    assert (sim.billed, len(place.videos())) == (3, 3)
    assert sorted(task.wanted.prompt for task in sim.tasks) == ["a", "b", "c"]


async def _killed_while_it_asks(place: Place, door: Door, worker: Worker) -> UUID:
    door.shut_at("POST /api/artifacts/")
    run = await asked(place)
    await until(door.reached.is_set, "planned and written down, and nobody asked", PATIENCE)
    await killed(run)
    door.shut_at(f"POST /api/flow_runs/{run}/input")
    await retried(run, worker, 1)
    await until(door.reached.is_set, "suspended, and the form not written", PATIENCE)
    worker.process.kill()
    await killed(run)
    assert (await read(run)).state_name == "Suspended"
    return run


async def _killed_while_it_pays(place: Place, run: UUID, door: Door, worker: Worker) -> None:
    sim = place.sim
    door.shut_at(f"POST /api/flow_runs/{run}/input/filter")
    await approve(run, rows="1-3")
    await until(door.reached.is_set, "resumed, and the answer not read", PATIENCE)
    await killed(run)
    await retried(run, worker, 1)
    await until(lambda: sim.tasks, "the first create", PATIENCE)
    sim.finish(sim.tasks[0].task_id)
    await until(lambda: len([one for one in place.records() if one.get("task_id")]) == 2, "the second", PATIENCE)
    await killed(run)
    assert answers(place) == ["yes ada"]
    await retried(run, worker, 2)
    sim.configure(clock="immediate")
    sim.finish(sim.tasks[1].task_id)
    try:
        await ended(run)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{worker.log[-4000:]}") from error
