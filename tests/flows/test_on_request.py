"""`on-request`: what an event may make an account spend, and how its run is called."""

from __future__ import annotations

from typing import Any

import pytest
from prefect import get_client
from prefect.client.schemas.objects import State

from prefect_genvideo.errors import InvalidRequestError
from prefect_genvideo.events import event_key
from prefect_genvideo.ledger.budget import BudgetError
from prefect_genvideo.models import StoredVideo
from prefect_genvideo.ready import on_request
from tests.fixtures.runs import flow_run_of
from tests.flows.conftest import Place


async def event(place: Place, event_id: str, payload: dict[str, Any], **limits: Any) -> StoredVideo:
    """Run the flow for an event."""
    names = await place.saved()
    run: Any = on_request
    blocks = {name: names[name] for name in ("credentials", "destination")}
    return await run({"prompt": "a red shoe", **payload}, event_id, **blocks, defaults={"duration": 4}, **limits)


async def test_a_day_of_events_ends_at_its_budget(place: Place) -> None:
    """The video that would go over it is not sent; one that is paid already is delivered all the same."""
    budget = {"day_generations": 2}
    await place.straight(prompt="shoe 1", duration=4, idempotency_key=event_key("e1"))
    await place.straight(prompt="shoe 2", idempotency_key="another run's")
    with pytest.raises(BudgetError) as caught:
        await event(place, "e3", {"prompt": "shoe 3"}, budget=budget)
    assert [problem.field for problem in caught.value.problems] == ["budget.day_generations"]
    assert place.sim.billed == 2
    assert (await event(place, "e1", {"prompt": "shoe 1"}, budget=budget)).reused
    await event(place, "e3", {"prompt": "shoe 3"}, budget={"day_generations": 3})
    assert place.sim.billed == 3


async def test_a_payload_cannot_raise_its_limits(place: Place) -> None:
    """Whatever it calls itself: limits are the deployment's."""
    payload = {"duration": 12, "max_duration": 60, "budget": {"day_seconds": 10_000}}
    with pytest.raises(InvalidRequestError) as caught:
        await event(place, "e1", payload, max_duration=8)
    assert [problem.field for problem in caught.value.problems] == ["duration"]
    with pytest.raises(BudgetError):
        await event(place, "e2", payload, max_duration=12, budget={"day_seconds": 10})
    assert place.sim.billed == 0


async def test_the_name_of_a_run_is_printable_whatever_an_event_is_called(place: Place) -> None:
    """A run's name stands in every line of its log."""
    hostile = "1\n12:00:00.000 | ERROR | \x1b[2J\u202e"
    names = await place.saved()
    run: Any = on_request
    blocks = {name: names[name] for name in ("credentials", "destination")}
    state: State[Any] = await run({"prompt": "a shoe"}, hostile, **blocks, return_state=True)
    async with get_client() as client:
        run_name = (await client.read_flow_run(flow_run_of(state))).name
    assert run_name == f"request {event_key(hostile)}"
    assert place.record()["key"] == event_key(hostile)


async def test_a_run_by_hand_is_a_video_of_its_own(place: Place) -> None:
    """There is no event that could come twice."""
    for _ in range(2):
        await event(place, "", {"prompt": "a red shoe"})
    assert place.sim.billed == 2
