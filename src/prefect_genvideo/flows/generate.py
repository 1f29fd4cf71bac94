"""One video: validate, upload, create, wait, save, show."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

from prefect import flow
from prefect.runtime import flow_run
from pydantic import Field, JsonValue

from prefect_genvideo.artifacts import show_video
from prefect_genvideo.blocks.session import (
    Credentials,
    Destination,
    open_pipeline,
    resolve_credentials,
    resolve_destination,
)
from prefect_genvideo.errors import shorten
from prefect_genvideo.ledger.reuse import content_key
from prefect_genvideo.models import StoredVideo, VideoRequest, duration_or_default
from prefect_genvideo.pipeline.assets import make_fetchable, stage
from prefect_genvideo.pipeline.pipeline import Pipeline
from prefect_genvideo.runtime import derive_key, flow_run_id, get_settings, run_logger
from prefect_genvideo.tasks import create_video, save_video, upload_asset, wait_for_video

AspectRatio = Literal["16:9", "9:16", "1:1", "4:3", "3:4", "21:9", "adaptive"]
Resolution = Literal["default", "480p", "720p", "1080p"]
NO_OPTIONS: Mapping[str, JsonValue] = {}


def _run_name() -> str:
    parameters: dict[str, Any] = flow_run.parameters or {}
    prompt = shorten(str(parameters.get("prompt", "")))
    return f"{prompt} · {parameters.get('model', '')}".strip(" ·") or "video"


@flow(name="generate-video", flow_run_name=_run_name, persist_result=False)
async def generate_video(
    prompt: Annotated[str, Field(examples=["A cat discovers the sea, cinematic, golden hour"])],
    model: Annotated[str, Field(examples=["sd-2-fast-720p"])],
    credentials: Credentials,
    destination: Destination,
    duration: float = 0,
    aspect_ratio: AspectRatio = "16:9",
    resolution: Resolution = "default",
    images: Sequence[str] = (),
    videos: Sequence[str] = (),
    audios: Sequence[str] = (),
    first_frame: str = "",
    last_frame: str = "",
    options: Mapping[str, JsonValue] = NO_OPTIONS,
    idempotency_key: str = "",
    reuse_hours: Annotated[float, Field(ge=0, le=24 * 366)] = 0,
    timeout: float = 0,
) -> StoredVideo:
    """Generate one video and land it in the destination. Paid once, whatever is retried, rerun or crashes.

    Args:
        prompt: What the video shows. References are named `@image1`, `@video1`, `@audio1` in the order given below.
        model: Model name. Sudashui: `sd-2-fast-720p`, `sd-2-720p`, `sd-2-1080p` (or `sd-api-2-…`). SenseAudio:
            `doubao-seedance-2-0-260128`, `Seedance-Pro-1.5`, `SenseAudio-Video-1.0`. Others pass unchecked.
        credentials: Whose account pays: a saved block, or the name of one, `sudashui-credentials/NAME`.
        destination: Where the video goes: a saved block, or the name of one, `s3-video-destination/NAME`. By its name
            an `s3-bucket/NAME` of prefect-aws is taken too.
        duration: Seconds; 0 takes the model's default. Sudashui 4-15, SenseAudio by model.
        aspect_ratio: Width to height. `21:9` and `adaptive` are for Sudashui only.
        resolution: For SenseAudio; at Sudashui the model name decides.
        images: Reference images: http(s) links, `s3://` URIs or paths on the worker.
        videos: Reference videos, likewise.
        audios: Reference audios, likewise.
        first_frame: Image that the video starts with; not together with references.
        last_frame: Image that the video ends with.
        options: Fields of the vendor, e.g. `{"generate_audio": true, "camera_fixed": false}`.
        idempotency_key: One key stands for one paid video, e.g. an event's id. Empty: this flow run is the key, so
            that a retry never pays again and a new run makes a new video.
        reuse_hours: Take a video that any run has made of the same request at most so many hours ago, instead of paying
            for a new one; 0: never. The run says so when it did.
        timeout: Seconds the generation may take once started; 0 takes the setting (one hour).

    Returns:
        Where the video is, its size, hash and manifest.

    Raises:
        GenVideoError: See `prefect_genvideo.errors`; each says what to do.
    """
    request = VideoRequest(
        model=model,
        prompt=prompt,
        duration=duration_or_default(duration),
        aspect_ratio=aspect_ratio,
        resolution=None if resolution == "default" else resolution,
        images=tuple(images),
        videos=tuple(videos),
        audios=tuple(audios),
        first_frame=first_frame or None,
        last_frame=last_frame or None,
        options=dict(options),
    )

    async def key_of(pipeline: Pipeline, fingerprint: str) -> str:
        if idempotency_key:
            return idempotency_key
        return await (
            content_key(pipeline.ledger, fingerprint, reuse_hours) if reuse_hours else derive_key(fingerprint)
        )

    return await _generate(request, credentials, destination, key_of, timeout or None)


async def _generate(
    request: VideoRequest,
    payer: Any,
    target: Any,
    key_of: Callable[[Pipeline, str], Awaitable[str]],
    timeout: float | None,
) -> StoredVideo:
    allow_local = get_settings().allow_local_files
    # A block that is loaded here once need not be asked for by each step, and its uploads can be cached.
    credentials, destination = await resolve_credentials(payer), await resolve_destination(target)
    async with open_pipeline(credentials, destination) as pipeline:
        async with stage(request, pipeline.ledger.store, allow_local=allow_local) as staged:
            await pipeline.check(request, staged)
            identities = dict(staged.identities)
            key = await key_of(pipeline, pipeline.fingerprint(request, identities))
            known = await pipeline.find(pipeline.draft(key, request, identities, flow_run_id=flow_run_id()))
            ready = request
            if known is None:
                run_logger().info("Checked: no rule of %s is broken. Key: %s", pipeline.client.title, key)
                ready = await make_fetchable(
                    pipeline, request, staged, lambda name, source: upload_asset(source, credentials, destination)
                )
            generation = await create_video(ready, credentials, destination, key, identities)
        done = await wait_for_video(generation, credentials, destination, timeout)
        video = await save_video(done, credentials, destination)
        video = video.model_copy(update={"reused": known is not None})
        await show_video(pipeline, video, request)
    return video
