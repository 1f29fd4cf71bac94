"""Keys of one flow run, without a server: what is numbered, what is kept apart, what a rerun finds again."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from threading import Barrier, BrokenBarrierError
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext

from prefect_genvideo.ledger.account import throttle_of
from prefect_genvideo.ledger.record import file_name
from prefect_genvideo.runtime import derive_key, flow_attempt, flow_run_id, runs, task_run_id

CAT, DOG = "c" * 64, "d" * 64


@contextmanager
def inside(run: FlowRun) -> Generator[None]:
    """As in the body of a flow."""
    with FlowRunContext.model_construct(flow_run=run):
        yield


def new_run(attempt: int = 1, **facts: object) -> FlowRun:
    return FlowRun.model_validate({"id": uuid4(), "flow_id": uuid4(), "run_count": attempt, **facts})


def forget_everything() -> None:
    """As in a new process."""
    runs._numbers_of.cache_clear()  # pyright: ignore[reportPrivateUsage]  # what a process knows is private to it
    runs._ancestors.clear()  # pyright: ignore[reportPrivateUsage]


async def test_equal_requests_get_numbers_in_the_order_of_the_calls() -> None:
    """The second wanted video of one prompt is another video."""
    run = new_run()
    with inside(run):
        keys = [await derive_key(CAT), await derive_key(CAT), await derive_key(DOG), await derive_key(CAT)]
    assert keys == [f"run-{run.id}-{rest}" for rest in ("cccccccc-0", "cccccccc-1", "dddddddd-0", "cccccccc-2")]


async def test_equal_requests_at_once_get_different_keys() -> None:
    """Which of them is the n-th does not matter; that each number is given once does."""
    with inside(new_run()):
        keys = await asyncio.gather(*(derive_key(CAT) for _ in range(50)))
    assert len(set(keys)) == 50


def test_tasks_in_threads_of_their_own_get_different_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """A synchronous flow submits its tasks: each runs in a thread, and several ask for their numbers at once."""
    met = Barrier(2)

    class Slow(runs._Numbers):  # pyright: ignore[reportPrivateUsage]
        def __init__(self) -> None:
            with suppress(BrokenBarrierError):  # nobody else comes here meanwhile
                met.wait(0.2)
            super().__init__()

    monkeypatch.setattr(runs, "_Numbers", Slow)
    run = new_run()

    def key() -> str:
        with inside(run):
            return asyncio.run(derive_key(CAT))

    with ThreadPoolExecutor(2) as threads:
        keys = [asked.result() for asked in [threads.submit(key) for _ in range(2)]]
    assert len(set(keys)) == 2


async def test_the_next_attempt_at_a_run_finds_the_same_keys() -> None:
    """A retry in the same process, after a crash of the body."""
    first = new_run()
    with inside(first):
        before = [await derive_key(CAT), await derive_key(CAT)]
    with inside(first.model_copy(update={"run_count": 2})):
        after = [await derive_key(CAT), await derive_key(CAT)]
    assert after == before


async def test_another_process_finds_the_same_keys() -> None:
    """After `kill -9`, the run begins anew elsewhere."""
    run = new_run(attempt=1)
    with inside(run):
        before = [await derive_key(CAT), await derive_key(CAT)]
    forget_everything()
    with inside(run.model_copy(update={"run_count": 3})):
        assert [await derive_key(CAT), await derive_key(CAT)] == before


async def test_a_long_lived_process_remembers_a_bounded_number_of_runs() -> None:
    """A served flow runs a thousand times in one process; what is kept of it does not grow."""
    for _ in range(1200):
        with inside(new_run()):
            await derive_key(CAT)
        throttle_of(str(uuid4()), "acc")
    kept = runs._numbers_of.cache_info().currsize  # pyright: ignore[reportPrivateUsage]
    assert kept <= 512
    assert throttle_of.cache_info().currsize <= 512
    assert len(runs._ancestors) <= 512  # pyright: ignore[reportPrivateUsage]


async def test_another_run_wants_other_videos() -> None:
    """Tomorrow's scheduled run is not today's."""
    with inside(new_run()):
        today = await derive_key(CAT)
    with inside(new_run()):
        assert await derive_key(CAT) != today


async def test_a_run_of_a_deployment_stands_for_itself() -> None:
    """Started from another flow by `run_deployment`: it is not asked whose child it is."""
    run = new_run(parent_task_run_id=uuid4(), deployment_id=uuid4())
    with inside(run):
        assert (await derive_key(CAT)).startswith(f"run-{run.id}-")


async def test_outside_of_any_run_every_call_wants_a_video_of_its_own() -> None:
    """There is nothing that could be retried."""
    keys = {await derive_key(CAT) for _ in range(3)}
    assert len(keys) == 3
    assert all(re.fullmatch(r"task-[0-9a-f-]{36}-cccccccc-0", key) for key in keys)
    assert (flow_run_id(), flow_attempt(), task_run_id()) == (None, None, None)


async def test_a_derived_key_is_its_own_file_name() -> None:
    """The record of a run is found in the bucket by the run's id."""
    run = new_run()
    with inside(run):
        key = await derive_key(CAT)
    assert file_name(key) == f"{key}.json"
    assert str(run.id) in key
