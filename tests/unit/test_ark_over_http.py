"""The client of Ark at the simulator: what only Ark offers, over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator

import anyio
import anyio.to_thread
import pytest

from prefect_genvideo.errors import AuthenticationError, RejectedError, TaskLostError
from prefect_genvideo.providers import ArkClient
from prefect_genvideo.simulator import Simulator
from tests.fixtures.accounts import REQUESTS, settings_of
from tests.fixtures.expected import failing
from tests.fixtures.hook import running_hook

REQUEST = REQUESTS["ark"]


@pytest.fixture
async def client(sim: Simulator) -> AsyncIterator[ArkClient]:
    """A client of the demo account."""
    async with ArkClient(**settings_of(sim, "ark"), timeout=10) as client:
        yield client


async def test_a_task_that_waits_can_be_cancelled_and_one_that_runs_cannot(sim: Simulator, client: ArkClient) -> None:
    """The first has cost nothing then; the second is made all the same."""
    sim.configure(max_concurrency=1, polls_to_finish=3)
    runs, waits = await client.create(REQUEST), await client.create(REQUEST)
    assert [(await client.get(runs)).state for _ in range(2)] == ["queued", "running"]
    cancelled = await client.cancel(waits)
    assert (cancelled.state, cancelled.reason) == ("failed", "cancelled")
    with failing(RejectedError, "not queued: succeeded"):
        await client.cancel(runs)
    assert sim.billed == 1


async def test_delete_forgets_what_is_over_and_nothing_that_runs(sim: Simulator, client: ArkClient) -> None:
    """A forgotten task is lost to every later question."""
    sim.configure(clock="manual")
    made, runs = await client.create(REQUEST), await client.create(REQUEST)
    sim.finish(made)
    for _ in range(3):
        sim.advance(runs)
    with pytest.raises(RejectedError):
        await client.delete(runs)
    await client.delete(made)
    with pytest.raises(TaskLostError):
        await client.get(made)
    assert (await client.get(runs)).state == "running"


async def test_tasks_are_listed_as_they_are_told(sim: Simulator, client: ArkClient) -> None:
    """Newest first, a page at a time, by id and by status; with the tokens that are billed."""
    sim.configure(list_every_s=0, clock="manual")
    ids = [await client.create(REQUEST) for _ in range(3)]
    sim.finish(ids[0])
    page = await client.tasks(page_size=2)
    assert (page.total, [task.task_id for task in page.generations]) == (3, [ids[2], ids[1]])
    (done,) = (await client.tasks(status="succeeded")).generations
    asked = await client.get(ids[0])
    assert (done.task_id, done.state, done.video_url) == (ids[0], "succeeded", asked.video_url)
    assert done.raw["usage"]["completion_tokens"] == sim.tokens[sim.key]
    assert [task.task_id for task in (await client.tasks(task_ids=ids[:2])).generations] == [ids[1], ids[0]]


async def test_a_key_is_looked_at_for_nothing(sim: Simulator, client: ArkClient) -> None:
    """By the free list, which makes no task; a wrong key is told."""
    assert REQUEST.model in await client.models()
    async with ArkClient("sk-wrong", sim.ark_url) as stranger:
        with pytest.raises(AuthenticationError):
            await stranger.models()
    assert (sim.billed, sim.calls["create"]) == (0, 0)


async def test_callbacks_say_what_a_query_says(sim: Simulator, client: ArkClient) -> None:
    """Of a task that waits, one that runs and one that is done."""
    sim.configure(clock="manual")
    with running_hook() as hook:
        task_id = await client.create(REQUEST.model_copy(update={"options": {"callback_url": hook.url}}))
        for stages, state in ((0, "queued"), (3, "running"), (1, "succeeded")):
            for _ in range(stages):
                sim.advance(task_id)
            told = client.read_callback(await anyio.to_thread.run_sync(hook.next_body))
            asked = await client.get(task_id)
            assert (told.task_id, told.state, told.video_url) == (task_id, state, asked.video_url)
