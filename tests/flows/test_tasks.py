"""The four steps as tasks: what Prefect may cache and retry, and what it must not."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from prefect import flow, unmapped
from prefect.artifacts import Artifact
from prefect.cache_policies import NO_CACHE
from prefect.settings import PREFECT_TASKS_REFRESH_CACHE, temporary_settings

from prefect_genvideo import VideoRequest, create_video, save_video, upload_asset, wait_for_video
from prefect_genvideo.artifacts import artifact_key
from prefect_genvideo.blocks import SudashuiCredentials
from prefect_genvideo.errors import InvalidRequestError, QuotaError
from prefect_genvideo.models import Generation, StoredVideo
from prefect_genvideo.simulator import Fault
from tests.fixtures.expected import refusing
from tests.fixtures.runs import flow_run_of, task_runs
from tests.flows.conftest import Place

pytestmark = pytest.mark.usefixtures("standalone")
REQUEST = VideoRequest(model="sd-2-fast-720p", prompt="a cat")


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    """A file that no other test has uploaded."""
    from PIL import Image

    path = tmp_path / "cat.png"
    Image.effect_noise((400, 400), 50).save(path)
    return path


async def test_one_upload_for_a_file_and_an_account(place: Place, picture: Path) -> None:
    """The same content under another name is not sent again; to another account it is, and so is other content."""
    copy = picture.with_name("copy.png")
    copy.write_bytes(picture.read_bytes())
    inline = f"data:image/png;base64,{base64.b64encode(picture.read_bytes()).decode()}"
    first = await upload_asset(str(picture), place.sudashui)
    assert await upload_asset(str(copy), place.sudashui) == first
    assert place.sim.calls["upload"] == 1
    assert await upload_asset(str(picture), place.account("other")) != first
    assert await upload_asset(inline, place.sudashui) != first
    assert place.sim.calls["upload"] == 3


async def test_an_upload_is_cached_for_less_than_its_link_lives(place: Place) -> None:
    """Links live for 90 minutes at least; a cached one must still be good when the provider fetches it."""
    assert upload_asset.cache_expiration is not None
    assert upload_asset.cache_expiration.total_seconds() < 90 * 60


async def test_a_link_is_no_upload(place: Place) -> None:
    """What the provider can fetch is left alone."""
    for asset in ("https://example.com/cat.png", "asset://asset-20261101120000-aaaaa"):
        assert await upload_asset(asset, place.sudashui) == asset
    assert "upload" not in place.sim.calls


async def test_an_upload_that_broke_is_tried_again(place: Place, picture: Path) -> None:
    """Uploading costs nothing, so Prefect retries it; a refusal is not retried."""
    quick = upload_asset.with_options(retry_delay_seconds=0)
    place.sim.faults.add(Fault("lost_before", "upload", times=2))
    assert (await quick(str(picture), place.sudashui)).startswith("http")
    with pytest.raises(InvalidRequestError):
        await quick(str(picture.with_name("none.png")), place.sudashui)


def test_create_is_out_of_reach_of_prefects_cache_and_retries() -> None:
    """The ledger is its cache. A cached, retried or timed-out create is one that may be paid twice."""
    assert create_video.cache_policy is NO_CACHE
    assert (create_video.retries, create_video.persist_result, create_video.timeout_seconds) == (0, False, None)


async def test_refreshing_the_cache_pays_nothing_twice(place: Place) -> None:
    """`PREFECT_TASKS_REFRESH_CACHE` runs every task again; the create finds its record."""

    @flow
    async def twice() -> list[Generation]:
        return [await create_video(REQUEST, place.sudashui, place.destination, "slot-2") for _ in range(2)]

    with temporary_settings({PREFECT_TASKS_REFRESH_CACHE: True}):
        first, second = await twice()
    assert first.task_id == second.task_id
    assert place.sim.billed == 1


async def test_equal_calls_in_one_run_are_two_videos(place: Place) -> None:
    """Prefect's default policy would collapse two equal calls into one; wanted variations are wanted."""

    @flow
    async def variations() -> set[str]:
        made = [await create_video(REQUEST, place.sudashui, place.destination) for _ in range(2)]
        return {generation.task_id for generation in made}

    assert len(await variations()) == 2
    assert place.sim.billed == 2


async def test_tasks_work_one_by_one_and_without_a_flow(place: Place) -> None:
    """Called by themselves, with the blocks' names or the blocks; what they hand on is plain data."""
    names = await place.saved()
    made = await create_video(REQUEST, names["credentials"], names["destination"], "alone-1")
    plain = Generation.model_validate_json(made.model_dump_json())
    done = await wait_for_video(plain, place.sudashui, place.destination)
    video = await save_video(done, place.sudashui, place.destination)
    assert StoredVideo.model_validate_json(video.model_dump_json()) == video
    assert place.record()["state"] == "saved"


async def test_a_generation_without_a_record_can_be_fetched_too(place: Place) -> None:
    """Provider and task id are enough, e.g. for a task made in the provider's console."""
    async with place.sudashui.get_client() as client:
        task_id = await client.create(REQUEST)
    found = Generation(provider="sudashui", task_id=task_id, state="queued")
    done = await wait_for_video(found, place.sudashui, place.destination)
    video = await save_video(done, place.sudashui, place.destination)
    assert (video.task_id, video.idempotency_key) == (task_id, f"task-sudashui-{task_id}")


async def test_a_reused_create_says_so_however_it_is_called(place: Place) -> None:
    """The value says it to flows, an artifact to people."""
    arguments: tuple[Any, ...] = (REQUEST, place.sudashui, place.destination, "order-1")
    made = await create_video(*arguments)
    again = await create_video.with_options(name="another name")(*arguments)
    call: Any = create_video(*arguments, return_state=True)
    state = await call
    assert (made.reused, again.reused, (await state.result()).reused) == (False, True, True)
    assert again.task_id == made.task_id
    shown = await Artifact.aget(artifact_key("reused", made.task_id))
    assert shown is not None
    assert "Nothing was paid" in str(shown.data)


async def test_an_account_without_money_is_asked_once_in_a_run(place: Place) -> None:
    """After a money error the run sends no more creates for the account; another run, or attempt, begins afresh."""
    place.sim.faults.add(Fault("quota", "create", times=2))
    refused = list[str]()

    @flow(retries=1, retry_delay_seconds=0)
    async def two() -> None:
        for number in range(2):
            try:
                await create_video(REQUEST, place.sudashui, place.destination, f"item-{number}")
            except QuotaError as error:
                refused.append(type(error).__name__)
        if len(refused) == 2:
            raise RuntimeError("retried when the account was topped up")

    await two()
    assert refused == ["QuotaError", "AccountStoppedError", "QuotaError", "AccountStoppedError"]
    assert place.sim.calls["create"] == 2


async def test_the_upload_is_a_task_of_its_own_in_the_run(place: Place, picture: Path) -> None:
    """Its name says which file; a cached one shows as Cached."""

    @flow
    async def uploads(account: SudashuiCredentials) -> str:
        return await upload_asset(str(picture), account)

    run: Any = uploads
    states = [await run(place.sudashui, return_state=True) for _ in range(2)]
    runs = [(await task_runs(flow_run_of(state)))[0] for state in states]
    assert [(run["name"], run["state_name"]) for run in runs] == [
        ("upload cat.png", "Completed"),
        ("upload cat.png", "Cached"),
    ]


async def test_a_request_may_be_given_by_its_fields(place: Place) -> None:
    """As JSON has them; what is wrong with them is told as for any request."""
    fields = {"model": "sd-2-fast-720p", "prompt": "by fields", "duration": 4}
    assert (await create_video(fields, place.sudashui, place.destination)).task_id
    with refusing("durations"):
        await create_video({"model": "sd-2-fast-720p", "durations": 4}, place.sudashui, place.destination)
    assert place.sim.billed == 1


def test_requests_are_mapped_over_one_account(place: Place) -> None:
    """A block stands for itself in `unmapped`: Prefect would go through its fields."""

    @flow
    def mapped() -> list[str]:
        requests = [VideoRequest(model="sd-2-fast-720p", prompt=f"mapped {number}", duration=4) for number in range(2)]
        mapping: Any = create_video.map
        made = mapping(requests, unmapped(place.sudashui), unmapped(place.destination))
        return [generation.task_id for generation in made.result()]

    with ThreadPoolExecutor(1) as aside:
        assert len(set(aside.submit(mapped).result())) == 2
