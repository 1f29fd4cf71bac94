"""`VideoJob`: a saved preset that is a pick in the UI and one line in a flow."""

from __future__ import annotations

from pathlib import Path

from prefect import flow
from prefect.blocks.core import Block

from prefect_genvideo import LocalDestination, SenseAudioCredentials, VideoJob
from prefect_genvideo.models import StoredVideo
from tests.fixtures.expected import refusing
from tests.flows.conftest import Place


def job(place: Place, **settings: object) -> VideoJob:
    """A preset of the place."""
    blocks = {"credentials": place.sudashui, "destination": place.destination}
    return VideoJob.model_validate(blocks | {"prompt": "{prompt}, product teaser"} | settings)


async def test_a_preset_and_a_prompt_make_a_video(place: Place) -> None:
    """Trigger, wait, fetch: Prefect's own protocol for jobs."""
    run = await job(place, aspect_ratio="9:16", duration=5).trigger("a red bicycle")
    await run.wait_for_completion()
    video = await run.fetch_result()
    (task,) = place.sim.tasks
    assert (task.wanted.prompt, task.wanted.ratio, task.wanted.seconds) == ("a red bicycle, product teaser", "9:16", 5)
    assert video.key in place.videos()
    assert await run.fetch_result() == video.model_copy(update={"reused": True})


def test_the_prompt_goes_where_the_preset_says(place: Place) -> None:
    """Into its place, else behind the preset's own words; either may be missing."""
    assert job(place).request("a bicycle").prompt == "a bicycle, product teaser"
    assert job(place, prompt="in the rain").request("a bicycle").prompt == "in the rain a bicycle"
    assert job(place, prompt="").request("a bicycle").prompt == "a bicycle"
    assert (job(place).request().aspect_ratio, job(place, aspect_ratio="default").request().aspect_ratio) == (
        "16:9",
        None,
    )
    assert job(place, prompt="in the rain").request().prompt == "in the rain"


async def test_a_saved_preset_has_the_blocks_that_it_was_saved_with(place: Place, tmp_path: Path) -> None:
    """Credentials of both kinds look alike in Prefect's data; the loaded preset pays with the right one."""
    await place.senseaudio.asave(place.name)
    folder = LocalDestination(path=str(tmp_path))
    await folder.asave(place.name)
    preset = job(
        place,
        model="Seedance-2.0",
        credentials=await SenseAudioCredentials.aload(place.name),
        destination=await LocalDestination.aload(place.name),
    )
    await preset.asave(place.name)
    for loaded in (await VideoJob.aload(place.name), await Block.aload(f"video-job/{place.name}")):
        assert isinstance(loaded, VideoJob)
        assert (loaded.credentials, loaded.destination) == (place.senseaudio, folder)
        assert isinstance(loaded.credentials, SenseAudioCredentials)
        assert loaded.model_dump(exclude={"credentials", "destination"}) == preset.model_dump(
            exclude={"credentials", "destination"}
        )
    run = await loaded.trigger("a bicycle")
    await run.wait_for_completion()
    assert (await run.fetch_result()).provider == "senseaudio"

    await loaded.asave(place.name, overwrite=True)
    assert isinstance((await VideoJob.aload(place.name)).credentials, SenseAudioCredentials)


async def test_a_key_makes_one_video_of_many_triggers(place: Place) -> None:
    """With a key, or within one attempt at a flow run, a trigger is paid once; alone, each is a new video."""
    preset, failures = job(place), list[str]()

    @flow(retries=1, retry_delay_seconds=0)
    async def teaser() -> StoredVideo:
        run = await preset.trigger("a bicycle")
        if not failures:
            failures.append(run.generation.task_id)
            raise RuntimeError("something else broke")
        await run.wait_for_completion()
        return await run.fetch_result()

    assert (await teaser()).task_id == failures[0]
    assert place.sim.billed == 1
    first, second = [await preset.trigger("a bicycle", idempotency_key="monday") for _ in range(2)]
    assert first.generation.task_id == second.generation.task_id
    assert place.sim.billed == 2
    await preset.trigger("a bicycle")
    await preset.trigger("a bicycle")
    assert place.sim.billed == 4


async def test_a_video_is_fetched_after_it_was_waited_for(place: Place) -> None:
    """And a broken preset is refused before anything is sent."""
    run = await job(place).trigger("a bicycle")
    with refusing("generation", limit="wait_for_completion()"):
        await run.fetch_result()
    with refusing("duration", limit="4 to 15"):
        await job(place, duration=99).trigger("a bicycle")
    assert place.sim.billed == 1
