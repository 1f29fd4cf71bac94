"""A deployment by module path, run by a process worker in a folder that has nothing of the project in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prefect import get_client
from prefect.types.entrypoint import EntrypointType

from prefect_genvideo import generate_video
from prefect_genvideo.simulator import Simulator
from tests.fixtures.prefect import PrefectServer, process_worker
from tests.fixtures.runs import ended, until
from tests.fixtures.s3 import S3Server
from tests.flows.conftest import SETTINGS, Place

POOL = "elsewhere"


@pytest.mark.slow
async def test_a_worker_elsewhere_delivers_into_s3(
    prefect_server: PrefectServer, sim: Simulator, s3: S3Server, tmp_path: Path
) -> None:
    """Blocks given as references, as the UI's form gives them, and by name; both videos land in the bucket."""
    place = Place(sim, s3)
    named = await place.saved()
    by_name = {key: named[key] for key in ("credentials", "destination")}
    by_reference: dict[str, Any] = {
        "credentials": {"$ref": {"block_document_id": str(place.sudashui._block_document_id)}},  # pyright: ignore[reportPrivateUsage]  # what the form sends
        "destination": {"$ref": {"block_document_id": str(place.destination._block_document_id)}},  # pyright: ignore[reportPrivateUsage]  # likewise
    }
    with process_worker(POOL, tmp_path, SETTINGS) as worker:
        made: Any = generate_video.to_deployment(
            "elsewhere", work_pool_name=POOL, entrypoint_type=EntrypointType.MODULE_PATH
        )
        deployment_id = await (await made).apply()
        async with get_client() as client:
            deployment = await client.read_deployment(deployment_id)
            assert deployment.entrypoint == "prefect_genvideo.flows.generate.generate_video"
            assert not deployment.pull_steps
            assert deployment.path in (None, "", ".")
            runs = [
                await client.create_flow_run_from_deployment(
                    deployment_id, parameters={"prompt": prompt, "model": "sd-2-fast-720p", **blocks}
                )
                for blocks, prompt in ((by_reference, "by reference"), (by_name, "by name"))
            ]
        try:
            for run in runs:
                await ended(run.id)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{worker.log[-4000:]}") from error
    await until(lambda: len(place.videos()) == 2, "both videos")
    assert {record["request"]["prompt"] for record in place.records()} == {"by reference", "by name"}
    assert {record["flow_run_id"] for record in place.records()} == {str(run.id) for run in runs}
    assert sim.billed == 2
    assert list(tmp_path.iterdir()) == []
