"""Two workers on one server share an account: its concurrency limit holds over both, and outlives a killed holder."""

from __future__ import annotations

from typing import Any

import pytest
from prefect.types.entrypoint import EntrypointType

from prefect_genvideo import generate_videos
from tests.deployments.fleet import CREDENTIALS, DESTINATION, Fleet, kill_worker, start_worker

pytestmark = [pytest.mark.prefect, pytest.mark.slow, pytest.mark.timeout(900)]
SECOND = "genvideo-second"


@pytest.fixture(scope="module")
async def second(fleet: Fleet) -> str:
    """The batch deployment on a pool of its own, so that a second worker is sure to get its runs."""
    fleet.api("/work_pools/", {"name": SECOND, "type": "process", "base_job_template": {}})
    deployment = await generate_videos.ato_deployment(
        "second", work_pool_name=SECOND, entrypoint_type=EntrypointType.MODULE_PATH
    )
    await deployment.aapply()
    return "generate-videos/second"


def batch(words: str, count: int, slots: int) -> dict[str, Any]:
    """Parameters of a run that wants so many videos."""
    rows = [{"model": "sd-2-fast-720p", "prompt": f"{words} {number}", "duration": 4} for number in range(count)]
    return {"requests": rows, "credentials": CREDENTIALS, "destination": DESTINATION, "account_slots": slots}


def test_the_limit_holds_over_two_workers_and_a_killed_holders_slots_come_back(fleet: Fleet, second: str) -> None:
    """Never more than two under way; after the kill of one worker the other one gets its slots with the lease's end."""
    fleet.simulator.configure(clock="manual")
    other = start_worker(fleet, SECOND)
    fleet.start(second, **batch("held by the doomed", 2, slots=2))
    fleet.until("both slots are taken", lambda: fleet.paid("held by the doomed") == 2)

    heir = fleet.start("generate-videos/genvideo", **batch("held by the heir", 3, slots=2))
    fleet.until("the second run wants slots", lambda: fleet.run(heir)["state_type"] == "RUNNING")
    fleet.stays("no third generation is under way", lambda: fleet.paid("held by the heir") == 0, seconds=8)

    kill_worker(fleet, other)
    for task in fleet.simulator.tasks:
        if not task.done:
            fleet.simulator.finish(task.task_id)
    fleet.simulator.configure(clock="time", duration_kind="fixed", duration_median_s=3, refresh_s=0)
    assert fleet.until("the other run has ended", lambda: fleet.finished(heir)) == "Completed"
    assert len(fleet.saved("held by the heir")) == fleet.paid("held by the heir") == 3
    assert fleet.peak("held by") == 2
