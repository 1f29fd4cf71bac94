"""`reconcile_videos`: fetches what crashes and deadlines left behind, costs nothing, reports the rest."""

from __future__ import annotations

from typing import Any

import pytest

from prefect_genvideo import VideoRequest, create_video, ready, reconcile_videos
from prefect_genvideo.errors import GenerationTimeoutError, UnknownOutcomeError
from prefect_genvideo.simulator import Fault
from tests.fixtures.expected import failing
from tests.fixtures.runs import artifacts, flow_run_of, logs
from tests.flows.conftest import Place


async def leave(place: Place, key: str, **changes: Any) -> str:
    """Create a task that nobody waits for, as a crash would."""
    request = VideoRequest(model="sd-2-fast-720p", prompt=f"{key} {changes}")
    return (await create_video(request, place.sudashui, place.destination, key)).task_id


@pytest.mark.usefixtures("standalone")
async def test_what_was_left_behind_is_fetched(place: Place) -> None:
    """Ready videos are saved, failures recorded, the rest is named; a second go finds only what still waits."""
    place.sim.configure(clock="manual")
    ready, failed, waiting = [await leave(place, f"item-{number}") for number in range(3)]
    place.sim.finish(ready)
    place.sim.fail(failed, "content_policy_violation")
    place.sim.faults.add(Fault("lost_after", "create", times=1))
    with pytest.raises(UnknownOutcomeError):
        await leave(place, "item-3")

    run: Any = reconcile_videos
    state = await run(place.sudashui, place.destination, return_state=True)
    rows = {row.key: row for row in await state.aresult()}
    assert {key: row.outcome for key, row in rows.items()} == {
        "item-0": "saved",
        "item-1": "failed",
        "item-2": "waiting",
        "item-3": "unknown",
    }
    assert rows["item-0"].uri == f"s3://{place.destination.bucket}/{next(iter(place.videos()))}"
    assert rows["item-2"].task_id == waiting
    assert "genvideo ledger adopt KEY TASK_ID" in rows["item-3"].detail
    (page,) = await artifacts(flow_run_of(state))
    assert (page["type"], page["key"]) == ("markdown", "reconciled-videos")
    assert [f"| {outcome} | item" in page["data"] for outcome in ("saved", "failed", "waiting", "unknown")] == [
        True
    ] * 4
    assert page["description"].startswith("4 unfinished generations: ")
    assert "Reconciled 4 unfinished records" in await logs(flow_run_of(state), "Reconciled")

    again = await reconcile_videos(place.sudashui, place.destination)
    assert {row.key for row in again} == {"item-2", "item-3"}
    assert place.sim.calls["create"] == 4


async def test_an_unknown_outcome_can_fail_the_run(place: Place) -> None:
    """For schedules whose failure calls a person."""
    place.sim.faults.add(Fault("lost_after", "create", times=1))
    with pytest.raises(UnknownOutcomeError):
        await place.straight(idempotency_key="lost")
    with failing(UnknownOutcomeError, "unknown outcome"):
        await reconcile_videos(place.sudashui, place.destination, fail_on_unknown=True)


async def test_one_unknown_outcome_makes_one_red_run_and_stands_in_an_artifact_until_it_is_decided(
    place: Place,
) -> None:
    """However often the schedule comes; the rows below it are green. The next unknown outcome is red again."""
    blocks = await place.saved()
    names = {name: blocks[name] for name in ("credentials", "destination")}
    run: Any = ready.reconcile
    for number in (1, 2):
        place.sim.faults.add(Fault("lost_after", "create", times=1))
        with pytest.raises(UnknownOutcomeError):
            await place.straight(idempotency_key=f"lost-{number}")
        with failing(UnknownOutcomeError, "unknown outcome"):
            await run(**names)
        assert await run(**names) == {"unknown": number}
    state = await run(**names, return_state=True)
    (page,) = [one for one in await artifacts(flow_run_of(state)) if one["key"] == "generations-to-decide"]
    assert page["description"] == "2 generations wait for a person"
    assert [page["data"].count(f"Key: `{key}`") for key in ("lost-1", "lost-2")] == [1, 1]
    assert await state.aresult() == {"unknown": 2}


async def test_other_accounts_are_left_alone(place: Place) -> None:
    """One ledger may serve several accounts; each is reconciled with its own key."""
    place.sim.configure(polls_to_finish=1_000_000)
    with pytest.raises(GenerationTimeoutError):
        await place.straight(idempotency_key="slow", timeout=0.2)
    (row,) = await reconcile_videos(place.account("other"), place.destination)
    assert row.outcome == "other"
    assert await reconcile_videos(place.senseaudio, place.bucket()) == []
