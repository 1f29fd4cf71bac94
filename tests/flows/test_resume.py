"""What was paid for is taken up where it stands: retries, crashes, deadlines, dead links, other processes."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from prefect import flow, get_client
from prefect.artifacts import Artifact
from prefect.client.schemas.objects import StateType

from prefect_genvideo import generate_video
from prefect_genvideo.artifacts import artifact_key
from prefect_genvideo.blocks import S3Destination
from prefect_genvideo.errors import DestinationError, GenerationTimeoutError
from prefect_genvideo.models import StoredVideo
from prefect_genvideo.simulator import Fault
from tests.fixtures.expected import failing, refusing
from tests.fixtures.lossy_proxy import Fault as StoreFault
from tests.fixtures.lossy_proxy import LossyProxy
from tests.fixtures.runs import ended, engine, eventually, execute, logs, retry, submit, task_runs, until
from tests.fixtures.s3 import S3Server
from tests.flows.conftest import SETTINGS, Place

ENDLESS = 1_000_000
"""Questions that a task is running for."""

ENTRYPOINT = "prefect_genvideo.flows.generate.generate_video"


@contextmanager
def running(run_id: UUID, folder: Path) -> Generator[Any, None, None]:
    """The flow run in a process of its own; one that died is shown with what it printed."""
    with engine(run_id, ENTRYPOINT, folder, SETTINGS) as process:
        try:
            yield process
        except AssertionError as error:
            raise AssertionError(f"{error}\n{(folder / 'engine.log').read_text()[-3000:]}") from error


async def test_a_process_that_ended_is_resumed_by_the_same_flow_run(place: Place, tmp_path: Path) -> None:
    """SIGTERM while polling, kill -9 while saving: each retry goes on with the one task that was paid for.

    Neither provider can cancel: at SIGTERM the run stops, the record stays, the log says how the video is fetched.
    """
    place.sim.configure(clock="manual")
    run = await submit(generate_video, await place.saved())
    with running(run.id, tmp_path) as process:
        await until(lambda: place.sim.calls.get("status"), "the first question")
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    assert place.record()["state"] == "submitted"
    (task,) = place.sim.tasks
    told = await logs(run.id, "Cancelled.")
    assert f"Task {task.task_id} goes on at Sudashui, paid for" in told
    assert f"`genvideo ledger reconcile --at {place.destination.get_store().uri('')} --provider sudashui`" in told

    place.sim.finish(task.task_id)
    place.sim.faults.add(Fault("stall", "download", times=1))
    await retry(run.id)
    with running(run.id, tmp_path) as process:
        await until(lambda: place.sim.faults.hits["stall"], "the download")
        process.send_signal(signal.SIGKILL)
    assert place.record()["state"] == "submitted"  # success is recorded with the save
    assert place.videos() == {}

    await retry(run.id)
    await execute(generate_video, run.id)
    await ended(run.id)
    assert place.sim.billed == 1
    assert place.record()["task_id"] == task.task_id
    assert len(place.videos()) == 1
    creates = [entry["state_name"] for entry in await task_runs(run.id, killed=2) if entry["name"].startswith("submit")]
    assert creates == ["Completed"]  # the retries find the paid task and send nothing


async def test_one_key_in_two_processes_is_paid_once(place: Place, tmp_path: Path) -> None:
    """Two runs of two processes want one key at the same time: both deliver the same video."""
    parameters = await place.saved() | {"idempotency_key": "event-41"}
    theirs, ours = [await submit(generate_video, parameters) for _ in range(2)]

    async def under_way() -> bool:
        async with get_client() as client:
            return (await client.read_flow_run(theirs.id)).state_type is StateType.RUNNING

    with running(theirs.id, tmp_path):
        await eventually(under_way, "the other process", longest=0.05)
        await execute(generate_video, ours.id)
        for run in (theirs, ours):
            await ended(run.id)
    assert place.sim.billed == 1
    assert len(place.videos()) == 1
    again = await place.straight(idempotency_key="event-41")
    assert again.reused
    assert place.sim.billed == 1


async def test_a_reused_generation_says_so(place: Place) -> None:
    """A second run with the key sends nothing, and says so among its artifacts."""
    first = await place.straight(idempotency_key="event-42")
    calls = dict(place.sim.calls)
    state = await place.ended(idempotency_key="event-42")
    shown = await Artifact.aget(artifact_key("reused", first.task_id))
    assert shown is not None
    assert "Nothing was paid" in str(shown.data)
    video = await state.aresult()
    assert isinstance(video, StoredVideo)
    assert video.reused
    assert place.sim.calls == calls


async def test_a_key_stands_for_one_request(place: Place) -> None:
    """The same key with another prompt, or another provider, is refused before anything is sent."""
    await place.straight(idempotency_key="event-43")
    with refusing("idempotency_key"):
        await place.make(prompt="a dog", idempotency_key="event-43")
    for other in ({"duration": 8}, place.sense_request | {"resolution": "480p"}):
        with refusing("idempotency_key"):
            await place.straight(**other, idempotency_key="event-43")
    assert place.sim.billed == 1


async def test_a_new_run_makes_a_new_video(place: Place) -> None:
    """Without a key every flow run stands for itself: tomorrow's scheduled run is another video."""
    first, second = await place.make(), await place.make()
    assert first.task_id != second.task_id
    assert place.sim.billed == 2


async def test_retries_of_the_flow_pay_nothing(place: Place) -> None:
    """Prefect's own retries in the same process: the download breaks, the second attempt has the video."""
    place.sim.configure(polls_to_finish=ENDLESS)
    attempts = list[int]()

    @flow(retries=1, retry_delay_seconds=0)
    async def teaser() -> StoredVideo:
        attempts.append(1)
        deadline = 0.2 if len(attempts) < 2 else 0
        if deadline == 0:
            place.sim.finish(place.sim.tasks[0].task_id)
        return await place.make(timeout=deadline)

    video = await teaser()
    assert len(attempts) == 2
    assert place.sim.billed == 1
    assert video.task_id == place.sim.tasks[0].task_id


async def test_retries_of_generate_video_itself_pay_nothing(place: Place) -> None:
    """`generate_video.with_options(retries=…)`: the key counts the flow run, not the attempt."""
    place.sim.configure(polls_to_finish=ENDLESS)
    impatient: Any = generate_video.with_options(retries=1, retry_delay_seconds=0)
    with pytest.raises(GenerationTimeoutError):
        await impatient(**place.request, timeout=0.2)
    assert place.sim.billed == 1


async def test_a_retried_parent_finds_what_its_subflows_paid_for(place: Place) -> None:
    """Two equal subflows at once; the parent fails, is retried, and pays nothing."""
    attempts = list[int]()

    @flow(retries=1, retry_delay_seconds=0)
    async def campaign() -> set[str]:
        attempts.append(1)
        videos = await asyncio.gather(place.make(), place.make())
        if len(attempts) == 1:
            raise RuntimeError("something else broke")
        return {video.task_id for video in videos}

    task_ids = await campaign()
    assert len(attempts) == 2
    assert place.sim.billed == 2
    assert task_ids == {task.task_id for task in place.sim.tasks}


async def test_a_deadline_keeps_the_task_for_the_next_run(place: Place) -> None:
    """The deadline's error says how to resume; the next run with the key takes up the task and saves its video."""
    place.sim.configure(polls_to_finish=ENDLESS)
    with failing(GenerationTimeoutError, "running") as caught:
        await place.make(idempotency_key="slot-1", timeout=0.2)
    assert place.record()["state"] == "submitted"
    place.sim.finish(str(caught.value.task_id))
    video = await place.straight(idempotency_key="slot-1")
    assert video.task_id == caught.value.task_id
    assert place.sim.billed == 1


async def test_a_dead_link_is_replaced_by_a_fresh_one(place: Place) -> None:
    """A link that died before the download is asked for again, within the same run."""
    place.sim.faults.add(Fault("expired_link", "download", times=1))
    video = await place.straight()
    assert place.sim.faults.hits["expired_link"] == 1
    assert len(place.videos()) == 1
    assert video.size == len(next(iter(place.videos().values())))


async def test_a_video_that_could_not_be_saved_is_saved_later(place: Place, lossy: tuple[LossyProxy, S3Server]) -> None:
    """The store refuses the video; the record keeps it as succeeded, and the next run saves it without a create."""
    proxy, seen_through = lossy
    denied = b"<Error><Code>AccessDenied</Code></Error>"
    # Twice: what the direct way is refused, boto3 asks once more.
    proxy.faults.append(StoreFault(method="PUT", contains=".mp4", times=2, status=403, body=denied))
    place.destination = S3Destination(bucket=place.destination.bucket, **seen_through.settings)
    with failing(DestinationError, "AccessDenied"):
        await place.straight(idempotency_key="order-9")
    assert place.record()["state"] == "succeeded"
    assert place.videos() == {}
    video = await place.straight(idempotency_key="order-9")
    assert place.sim.billed == 1
    assert (video.key, place.record()["state"]) == (next(iter(place.videos())), "saved")
