"""Derived keys: the same for every attempt at a flow run, different for every wanted video."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from prefect import flow, get_client, task

from prefect_genvideo.runtime import derive_key, flow_attempt, flow_run_id, task_run_id
from tests.fixtures.prefect import PrefectServer
from tests.fixtures.runs import ended, engine, execute, retry, submit

CAT, DOG = "c" * 64, "d" * 64


async def test_equal_requests_of_a_run_are_numbered(prefect_server: PrefectServer) -> None:
    """The n-th request with a fingerprint has the n-th key; a different request counts by itself."""

    @flow
    async def run() -> tuple[str | None, list[str]]:
        return flow_run_id(), [await derive_key(CAT), await derive_key(CAT), await derive_key(DOG)]

    run_id, keys = await run()
    assert keys == [f"run-{run_id}-cccccccc-0", f"run-{run_id}-cccccccc-1", f"run-{run_id}-dddddddd-0"]
    assert (await run())[1] != keys


async def test_attempts_of_a_run_have_the_same_keys(prefect_server: PrefectServer) -> None:
    """A retry by Prefect derives what the attempt before derived, also for tasks and retried tasks."""
    told = list[set[str]]()

    @task(retries=1, retry_delay_seconds=0)
    async def item() -> str:
        key = await derive_key(CAT)
        if task_run_id() not in seen:
            seen.add(task_run_id())
            raise RuntimeError("the task is tried again")
        return key

    @flow(retries=1, retry_delay_seconds=0)
    async def run() -> str | None:
        keys = [await derive_key(CAT), *await asyncio.gather(item(), item())]
        told.append(set(keys))
        if len(told) == 1:
            raise RuntimeError("the flow is tried again")
        return flow_attempt()

    seen = set[str | None]()
    attempt = await run()
    first, second = told
    assert first == second
    assert {key[-1] for key in first} == {"0", "1", "2"}
    assert attempt is not None
    assert attempt.endswith("-2")


async def test_subflows_count_with_the_run_that_started_them(prefect_server: PrefectServer) -> None:
    """A retried parent starts its subflows anew, with new ids: their keys are the parent's, whatever the order."""
    told = list[list[str]]()

    @flow(retries=1, retry_delay_seconds=0)
    async def child(number: int) -> str:
        if len(told) % 2 == number % 2:
            await asyncio.sleep(0.05)
        key = await derive_key(CAT)
        if number == 0 and flow_attempt() not in failed:
            failed.add(flow_attempt())
            if len(failed) == 1:
                raise RuntimeError("the subflow is tried again")
        return key

    @flow
    async def middle() -> str:
        return await child(7)

    @flow(retries=1, retry_delay_seconds=0)
    async def parent() -> str | None:
        told.append(sorted(await asyncio.gather(child(0), child(1), middle())))
        if len(told) == 1:
            raise RuntimeError("the parent is tried again")
        return flow_run_id()

    failed = set[str | None]()
    run_id = await parent()
    assert told[0] == told[1] == [f"run-{run_id}-cccccccc-{number}" for number in range(3)]


@pytest.mark.usefixtures("standalone")
async def test_a_task_without_a_flow_is_its_own_owner(prefect_server: PrefectServer) -> None:
    """Each call of a task outside of flows is a new video; outside of everything, too."""

    @task
    async def alone() -> tuple[str, str | None]:
        return await derive_key(CAT), task_run_id()

    key, run_id = await alone()
    assert key == f"task-{run_id}-cccccccc-0"
    assert await derive_key(CAT) != await derive_key(CAT)
    assert (flow_run_id(), flow_attempt(), task_run_id()) == (None, None, None)


@flow
async def tell_key(file: str) -> None:
    """Write the derived key into a file; run by the next test in two processes."""
    key = await derive_key(CAT)
    path = Path(file)
    path.write_text((path.read_text() if path.exists() else "") + key + "\n")


async def test_another_process_derives_the_same_key(prefect_server: PrefectServer, tmp_path: Path) -> None:
    """The Retry button after a crash: the same flow run in another process, by another interpreter."""
    told = tmp_path / "keys"
    run = await submit(tell_key, {"file": str(told)})
    with engine(run.id, f"{__file__}:tell_key", tmp_path, {"PYTHONPATH": str(Path(__file__).parents[2])}):
        await ended(run.id)
    await retry(run.id)
    await execute(tell_key, run.id)
    first, second = told.read_text().split()
    assert first == second == f"run-{run.id}-cccccccc-0"
    async with get_client() as client:
        assert (await client.read_flow_run(run.id)).run_count == 2
