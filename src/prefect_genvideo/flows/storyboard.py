"""A film of shots that continue one another; a failed shot is made again alone."""

from dataclasses import replace
from functools import partial
from typing import Any, cast

import anyio.to_thread
from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture

from prefect_genvideo.artifacts import show_film
from prefect_genvideo.blocks.session import (
    AnyCredentials,
    AnyDestination,
    Credentials,
    Destination,
    open_pipeline,
    resolve_destination,
)
from prefect_genvideo.errors import InvalidRequestError, counted, shorten
from prefect_genvideo.flows.generate import AspectRatio, Resolution
from prefect_genvideo.flows.names import film_name
from prefect_genvideo.media import require_media
from prefect_genvideo.models import Problem, StoredVideo, VideoRequest, word_or_default
from prefect_genvideo.pipeline.assets import reference_assets
from prefect_genvideo.pipeline.lineage import tell_film
from prefect_genvideo.pipeline.make import Steps, make_video
from prefect_genvideo.pipeline.pipeline import Pipeline
from prefect_genvideo.pipeline.storyboard import Shot, StoredFilm, frame_after, going_on, join_shots, problems_going_on
from prefect_genvideo.runtime import cancellation_notice, derive_key, run_logger


@task(name="generate-shot", task_run_name="{label}", cache_policy=NO_CACHE, persist_result=False, retries=0)
async def generate_shot(
    label: str,
    request: VideoRequest,
    before: StoredVideo | None,
    key: str,
    credentials: AnyCredentials,
    destination: AnyDestination,
) -> StoredVideo:
    """Generate and save one shot, from the last frame of the one before where there is one.

    Args:
        label: What the UI shows.
        request: The shot.
        before: The shot that it goes on from.
        key: Key of the storyboard and the shot's number; the request becomes part of it, so that a mended prompt is a
            new shot while its neighbours stay.
        credentials: Credentials block.
        destination: Destination block.
    """
    del label
    async with open_pipeline(credentials, destination) as pipeline:
        if before is None:
            return await _make(pipeline, request, key)
        async with frame_after(pipeline, before) as frame:
            return await _make(pipeline, going_on(pipeline, request, frame), key)


async def _make(pipeline: Pipeline, request: VideoRequest, key: str) -> StoredVideo:
    async def key_of(fingerprint: str) -> str:
        return f"{key}-{fingerprint[:8]}"

    # The frame is a local file that we wrote ourselves; whether others are allowed was checked before the first shot.
    own = replace(pipeline, allow_local=True)
    async with cancellation_notice(pipeline):
        made = await make_video(own, request, key_of, Steps())
    if made.video is None:
        raise AssertionError("a walk that does not collect returns a video")
    return made.video


@task(name="join-shots", cache_policy=NO_CACHE, persist_result=False, retries=1)
async def join_film(shots: list[StoredVideo], destination: AnyDestination, name: str) -> StoredFilm:
    """Join saved shots into one film. CPU work: submitted, so that it runs where the flow's task runner says.

    Args:
        shots: The shots in order.
        destination: Destination block.
        name: Name of the film.
    """
    target = await resolve_destination(destination)
    return await join_shots(target.get_store(), shots, name)


@flow(name="storyboard", flow_run_name=film_name, persist_result=False)
async def storyboard(
    shots: list[Shot],
    credentials: Credentials,
    destination: Destination,
    model: str,
    duration: float = 5,
    aspect_ratio: AspectRatio = "16:9",
    resolution: Resolution = "default",
    idempotency_key: str = "",
) -> StoredFilm:
    """Generate shots one after the other, each from the last frame of the one before, and join them into one film.

    Every shot is under the ledger: a rerun takes up what is there and makes only what is missing or was changed.

    Args:
        shots: The shots in order: prompt, and where wanted duration, model, cut, images, options.
        credentials: Whose account pays.
        destination: Where shots, film and manifests go.
        model: Model of shots that name none. Where it takes a first frame alone (Seedance at SenseAudio and Ark)
            shots go on from it exactly; else (Sudashui) the frame is the first reference, @image1 in the prompt.
        duration: Seconds of shots that name none.
        aspect_ratio: Width to height of the film.
        resolution: Of the picture; at Sudashui the model name decides.
        idempotency_key: Key of the film; empty: this flow run is the key.

    Returns:
        The film, with its shots.

    Raises:
        InvalidRequestError: There is no shot, or shots break rules: all problems at once, nothing was sent.
        GenVideoError: A shot failed; the ones before it are saved. Mend its prompt and run again with the same key.
    """
    logger = run_logger()
    size, ratio = word_or_default(resolution), word_or_default(aspect_ratio)
    requests = [shot.request(model, duration, ratio, size) for shot in shots]
    async with open_pipeline(credentials, destination) as pipeline:
        await _check(pipeline, shots, requests)
        key = idempotency_key or await derive_key("".join(pipeline.fingerprint(request, {}) for request in requests))
        done: list[StoredVideo] = []
        for number, (shot, request) in enumerate(zip(shots, requests, strict=True), start=1):
            before = done[-1] if done and not shot.cut else None
            label = f"shot {number}: {shorten(shot.prompt)}"
            done.append(await generate_shot(label, request, before, f"{key}-shot-{number}", credentials, destination))
        joined: PrefectFuture[StoredFilm] = cast("Any", join_film).submit(done, destination, key)
        film = await anyio.to_thread.run_sync(joined.result)
        logger.info("Film of %s, %.1f s: %s", counted(len(done), "shot"), film.seconds, film.uri)
        name = idempotency_key or "Film"
        if not film.reused:
            await tell_film(pipeline, film, name)
        await show_film(pipeline, film, name, [request.prompt for request in requests])
    return film


async def _check(pipeline: Pipeline, shots: list[Shot], requests: list[VideoRequest]) -> None:
    """Refuse a storyboard in which anything is wrong, before its first shot costs money."""
    problems = [] if requests else [Problem("shots", "none", "at least one shot")]
    try:
        await anyio.to_thread.run_sync(require_media)
    except InvalidRequestError as error:
        problems.append(Problem("shots", f"{len(shots)} to join", str(error)))
    for number, (shot, request) in enumerate(zip(shots, requests, strict=True), start=1):
        async with reference_assets(request, pipeline.ledger.store, allow_local=pipeline.allow_local) as references:
            goes_on = number > 1 and not shot.cut
            check = partial(problems_going_on, pipeline) if goes_on else pipeline.problems
            # A data URL is decoded for a look.
            broken = await anyio.to_thread.run_sync(check, request, references)
        problems += [replace(problem, field=f"shot {number}: {problem.field}") for problem in broken]
    if problems:
        raise InvalidRequestError("The storyboard cannot be made; nothing was sent.", problems=problems)
