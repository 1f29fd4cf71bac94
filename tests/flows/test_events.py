"""Events for automations: what happened to which generation, with resource ids that are easy to match."""

from __future__ import annotations

from typing import Any

import pytest
from prefect.events import emit_event

from prefect_genvideo.errors import GenerationFailedError, UnknownOutcomeError
from prefect_genvideo.simulator import Fault
from tests.fixtures.runs import events, flow_run_of, told_of
from tests.flows.conftest import Place

KEY = "sk-sim-"


def resource(event: dict[str, Any]) -> dict[str, str]:
    """The resource's labels."""
    return event["resource"]


async def test_a_video_tells_of_each_step(place: Place) -> None:
    """Submitted, saved: both of one generation, tied to the flow run, with prompt and facts as payload.

    That it succeeded is told by itself only where the video is not saved in the same step.
    """
    prompt = "一只猫\x1b[2J " + "x" * 400
    state = await place.ended(idempotency_key="event-1", prompt=prompt)
    video = await state.aresult()
    (saved,) = await events("genvideo.video.", f"genvideo.video.sudashui.{video.task_id}")
    assert saved["event"] == "genvideo.video.saved"
    made = await events("genvideo.generation.", f"genvideo.generation.sudashui.{video.task_id}")
    assert [event["event"] for event in made] == ["genvideo.generation.submitted"]
    labels = resource(saved)
    assert labels["prefect.resource.name"] == labels["genvideo.key"] == "event-1"
    assert (labels["genvideo.provider"], labels["genvideo.model"]) == ("sudashui", video.model)
    assert f"prefect.flow-run.{flow_run_of(state)}" in [related["prefect.resource.id"] for related in saved["related"]]
    facts = saved["payload"]
    for event in (*made, saved):
        told = event["payload"]["prompt"]
        assert (told[:13], len(told)) == ("一只猫\\x1b[2J xx", 300)
    assert (facts["uri"], facts["manifest_uri"], facts["size"]) == (video.uri, video.manifest_uri, video.size)
    assert KEY not in str([*made, saved])
    assert "?expires=" not in str([*made, saved])
    assert await told_of(video.uri) == []  # assets are shown by Prefect Cloud alone


async def test_a_failure_tells_why(place: Place) -> None:
    """An automation on `genvideo.generation.failed` has the provider's reason."""
    place.sim.faults.add(Fault("moderation", "create", times=1, params={"reason": "content_policy_violation"}))
    with pytest.raises(GenerationFailedError) as caught:
        await place.make()
    (failed,) = await events("genvideo.generation.failed", f"genvideo.generation.sudashui.{caught.value.task_id}")
    assert "content_policy_violation" in failed["payload"]["reason"]
    assert failed["payload"]["state"] == "failed"


async def test_an_unknown_outcome_is_named_by_its_key(place: Place) -> None:
    """There is no task id, so the resource is the key; a person must look, and an automation can call one."""
    place.sim.faults.add(Fault("lost_after", "create", times=1))
    key = f"{place.name}-lost"
    with pytest.raises(UnknownOutcomeError):
        await place.make(idempotency_key=key)
    (unknown,) = await events("genvideo.generation.unknown", f"genvideo.key.{key}")
    assert unknown["payload"]["state"] == "unknown"
    assert unknown["payload"]["reason"]


async def test_a_reused_video_is_not_told_of_again(place: Place) -> None:
    """An automation that fires on `saved` fires once for a video, however often it is asked for."""
    video = await place.make(idempotency_key="event-2")
    assert (await place.make(idempotency_key="event-2")).reused
    emit_event("genvideo.last", {"prefect.resource.id": f"genvideo.{place.name}"})
    await events("genvideo.last", f"genvideo.{place.name}")
    found = await events("genvideo.", f"genvideo.generation.sudashui.{video.task_id}")
    assert len(found) == 1
