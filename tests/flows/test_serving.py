"""Flows cross a process as Prefect sends them: pickled, by `serve()` and by runners of other processes."""

import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import cloudpickle  # pyright: ignore[reportMissingTypeStubs]  # what Prefect pickles with
import pytest
from prefect import Flow, get_client
from prefect.client.schemas.objects import StateType

from prefect_genvideo import (
    bill_videos,
    generate_video,
    generate_videos,
    generate_videos_sharded,
    plan_videos,
    reconcile_videos,
    storyboard,
)
from prefect_genvideo.flows import adopt_task, cancel_task, release_key, run_preset
from prefect_genvideo.ready import content_calendar, on_request, reconcile, storyboard_film
from tests.fixtures.prefect import child_env, end
from tests.fixtures.runs import eventually
from tests.flows.conftest import SETTINGS, Place

ROOT = Path(__file__).parents[2]
BLOCKS = {"credentials": "sudashui-credentials/x", "destination": "s3-video-destination/x"}
FLOWS: dict[str, tuple[Flow[Any, Any], dict[str, Any]]] = {
    "generate_video": (generate_video, {"prompt": "a cat", "model": "sd-2-fast-720p", **BLOCKS}),
    "generate_videos": (generate_videos, {"requests": [{"model": "sd-2-fast-720p", "prompt": "a cat"}], **BLOCKS}),
    "generate_videos_sharded": (
        generate_videos_sharded,
        {"manifest": "s3://b/wishes.jsonl", "deployment": "generate-videos/x", **BLOCKS},
    ),
    "bill_videos": (bill_videos, dict(BLOCKS)),
    "plan_videos": (plan_videos, {"requests": [{"model": "sd-2-fast-720p", "prompt": "a cat"}], **BLOCKS}),
    "storyboard": (storyboard, {"shots": [{"prompt": "a cat"}], "model": "sd-2-fast-720p", **BLOCKS}),
    "reconcile_videos": (reconcile_videos, dict(BLOCKS)),
    "run_preset": (run_preset, {"preset": {"credentials": {"api_key": "sk-x"}, "destination": {"bucket": "videos"}}}),
    "adopt_task": (adopt_task, {"destination": BLOCKS["destination"], "idempotency_key": "k", "task_id": "t"}),
    "release_key": (release_key, {"destination": BLOCKS["destination"], "idempotency_key": "k"}),
    "cancel_task": (cancel_task, {"idempotency_key": "k", **BLOCKS}),
    "content_calendar": (content_calendar, {"manifest": "s3://b/calendar.yaml", **BLOCKS}),
    "on_request": (on_request, {"payload": {"prompt": "a cat"}, "event_id": "e1", **BLOCKS}),
    "reconcile": (reconcile, dict(BLOCKS)),
    "storyboard_film": (storyboard_film, {"title": "cats", "shots": [{"prompt": "a cat"}], **BLOCKS}),
}
"""Every flow of the package, with parameters that it takes."""

READ = """
import pickle, sys
for name in sys.argv[1:]:
    with open(name, "rb") as file:
        flow, parameters = pickle.load(file)
    flow.validate_parameters(parameters)
    print(flow.name)
"""


def test_every_flow_is_tried() -> None:
    """A new one is added to the table above."""
    from prefect_genvideo import flows, ready

    named = {name for name in flows.__all__ if isinstance(getattr(flows, name), Flow)}
    assert set(FLOWS) == named | set(ready.__all__)


def test_a_pickled_flow_reads_its_parameters_in_another_process(tmp_path: Path) -> None:
    """Prefect pickles a flow's function by its value, where names in annotations would lead nowhere."""
    names: list[str] = []
    for name, sent in FLOWS.items():
        names.append(str(tmp_path / name))
        Path(names[-1]).write_bytes(cloudpickle.dumps(sent))  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]
    command = [sys.executable, "-c", READ, *names]
    env = child_env(PYTHONPATH=f"{ROOT}/src:{ROOT}")
    done = subprocess.run(command, env=env, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.stdout.split() == [flow.name for flow, _ in FLOWS.values()], done.stderr[-3000:]


SERVE = """
import sys
from prefect import serve
from {module} import {name} as served

served.serve(name=sys.argv[1], pause_on_shutdown=False, print_starting_message=False)
"""


@contextmanager
def serving(flow: str, name: str, folder: Path) -> Generator[None, None, None]:
    """`flow.serve()` in a process of its own, as its documented snippet does it."""
    module = "prefect_genvideo" if hasattr(sys.modules["prefect_genvideo"], flow) else "prefect_genvideo.ready"
    env = child_env(SETTINGS, PREFECT_RUNNER_POLL_FREQUENCY="1", PYTHONPATH=f"{ROOT}/src:{ROOT}", TMPDIR=str(folder))
    program = SERVE.format(module=module, name=flow)
    with (folder / "serve.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", program, name], cwd=folder, env=env, stdout=log, stderr=log, start_new_session=True
        )
    try:
        yield
    finally:
        end(process)


async def run_served(flow: str, parameters: dict[str, Any], name: str, folder: Path) -> StateType:
    """Serve a flow, start a run of it through the API, and return how it ended."""
    with serving(flow, name, folder):
        async with get_client() as client:

            async def deployed() -> UUID | None:
                found = await client.read_deployments()
                return next((each.id for each in found if each.name == name), None)

            deployment = await eventually(deployed, "the deployment")
            assert deployment is not None
            run = await client.create_flow_run_from_deployment(deployment, parameters=parameters)

            async def ended() -> StateType | None:
                state = (await client.read_flow_run(run.id)).state
                return state.type if state is not None and state.is_final() else None

            final = await eventually(ended, "the end of the run")
    assert final is not None
    return final


async def test_a_served_flow_makes_its_video(place: Place, tmp_path: Path) -> None:
    """`generate_video.serve()`, with blocks by their names."""
    ended = await run_served("generate_video", await place.saved(), place.name, tmp_path)
    assert ended is StateType.COMPLETED, (tmp_path / "serve.log").read_text()[-3000:]
    assert len(place.videos()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("flow", ["generate_videos", "storyboard", "reconcile_videos", "on_request", "reconcile"])
async def test_every_kind_of_flow_can_be_served(flow: str, place: Place, tmp_path: Path) -> None:
    """The others, each with the least that it needs."""
    names = await place.saved()
    blocks = {name: names[name] for name in BLOCKS}
    ended = await run_served(flow, FLOWS[flow][1] | blocks, place.name, tmp_path)
    assert ended is StateType.COMPLETED, (tmp_path / "serve.log").read_text()[-3000:]
