"""What people do from a form: a preset's video, and a decision about a key."""

from __future__ import annotations

from typing import Any

import pytest

from prefect_genvideo.errors import InvalidRequestError
from prefect_genvideo.flows import adopt_task, cancel_task, generate_videos, release_key, run_preset
from prefect_genvideo.models import StoredVideo
from tests.flows.conftest import Place
from tests.flows.test_video_job import job


async def test_a_preset_is_run_with_a_prompt(place: Place) -> None:
    """Everything else is the preset's; the run shows its steps and its video, and is paid once."""
    run: Any = run_preset
    state = await run(preset=job(place, duration=5), prompt="a red bicycle", idempotency_key="k", return_state=True)
    video = await state.aresult()
    assert isinstance(video, StoredVideo)
    (task,) = place.sim.tasks
    assert (task.wanted.prompt, task.wanted.seconds) == ("a red bicycle, product teaser", 5)
    again = await run(preset=job(place, duration=5), prompt="a red bicycle", idempotency_key="k")
    assert (again.uri, again.reused, len(place.sim.tasks)) == (video.uri, True, 1)


async def test_a_key_is_released_by_form_when_it_has_no_paid_task(place: Place) -> None:
    """A paid task is given up only where that is said."""
    video = await place.make(idempotency_key="k")
    run: Any = release_key
    with pytest.raises(Exception, match="saved"):
        await run(destination=place.destination, idempotency_key="k", give_up_paid=True)
    assert place.record()["state"] == "saved"
    assert video.key in place.videos()


async def test_a_task_is_adopted_by_form(place: Place) -> None:
    """The next run with the key fetches it and pays nothing; the key's other paid task is not lost by a slip."""
    collected: Any = generate_videos
    rows = [{"model": "sd-2-fast-720p", "prompt": "a cat"}]
    await collected(rows, place.sudashui, place.destination, wait="collect", idempotency_key="day")
    (record,) = place.records()
    run: Any = adopt_task
    with pytest.raises(InvalidRequestError) as caught:
        await run(destination=place.destination, idempotency_key=record["key"], task_id="task_other")
    assert [problem.field for problem in caught.value.problems] == ["key"]
    given = {"destination": place.destination, "idempotency_key": record["key"], "task_id": "task_other"}
    assert await run(**given, give_up_paid=True) == "submitted"
    tasks = {one["key"]: one["task_id"] for one in place.records()}
    assert tasks.pop(record["key"]) == "task_other"
    assert list(tasks.values()) == [record["task_id"]], "the one that was given up is still paid for"


async def test_a_waiting_task_is_cancelled_by_form(place: Place) -> None:
    """It costs nothing, and the next run with its key makes the video."""
    place.sim.configure(clock="manual")
    collected: Any = generate_videos
    request = {"model": place.ark_request["model"], "prompt": "a cat", "resolution": "480p"}
    await collected([request], place.ark, place.destination, wait="collect", idempotency_key="day")
    run: Any = cancel_task
    assert await run(place.ark, place.destination, place.record()["key"]) == "rejected"
    assert (place.sim.billed, [task.ended_as for task in place.sim.tasks]) == (0, ["cancelled"])
    place.sim.configure(clock="immediate")
    await collected([request], place.ark, place.destination, idempotency_key="day")
    assert (place.sim.billed, place.record()["state"]) == (1, "saved")
