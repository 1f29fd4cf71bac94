"""What the other tests take for granted of the session's Prefect server and event loop."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from uuid import UUID

import pytest
from prefect import flow, get_client, task
from prefect.client.schemas.objects import StateType
from prefect.runtime import flow_run
from prefect.settings import get_current_settings

from tests.fixtures.prefect import PrefectServer, process_worker


@task
async def add(left: int, right: int) -> int:
    """Add two numbers."""
    return left + right


@flow
async def adding(left: int, right: int) -> tuple[int, int, str]:
    """One task in one flow: the sum, the loop it ran on and the id of the run."""
    return await add(left, right), id(asyncio.get_running_loop()), flow_run.id


async def test_a_flow_runs_on_the_loop_of_its_test(prefect_server: PrefectServer) -> None:
    """An awaited flow shares the session's loop, so clients and stores opened by a fixture work inside it."""
    total, loop, _ = await adding(2, 3)
    assert total == 5
    assert loop == id(asyncio.get_running_loop())


async def test_runs_are_recorded_by_the_session_server(prefect_server: PrefectServer) -> None:
    """What a flow did is read back through the API, in a profile of the session's own."""
    _, _, run_id = await adding(1, 1)
    assert get_current_settings().api.url == prefect_server.api_url
    assert prefect_server.home.is_relative_to(os.environ["TESTS_SHARED"])
    assert get_current_settings().home.is_relative_to(tempfile.gettempdir())
    async with get_client() as client:
        run = await client.read_flow_run(UUID(run_id))
    assert run.state_type is StateType.COMPLETED


@pytest.mark.slow
async def test_a_worker_polls_its_pool_until_it_is_stopped(prefect_server: PrefectServer, tmp_path: Path) -> None:
    """`process_worker` makes the pool, waits for the worker's first heartbeat and leaves no process behind."""
    with process_worker("harness", tmp_path) as worker:
        async with get_client() as client:
            pool = await client.read_work_pool("harness")
        assert pool.type == "process"
        assert worker.process.poll() is None
    assert worker.process.poll() is not None
