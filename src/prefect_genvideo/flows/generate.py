"""One video: validate, upload, create, wait, save, show."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

from prefect import flow
from pydantic import Field, JsonValue

from prefect_genvideo.artifacts import show_reuse, show_video
from prefect_genvideo.blocks.credentials import ProviderCredentials
from prefect_genvideo.blocks.destinations import VideoDestination
from prefect_genvideo.blocks.job import AspectRatio, Resolution
from prefect_genvideo.blocks.session import (
    Credentials,
    Destination,
    open_pipeline,
    resolve_credentials,
    resolve_destination,
)
from prefect_genvideo.flows.names import parameters, run_name
from prefect_genvideo.ledger.create import Submission
from prefect_genvideo.ledger.record import generation_of
from prefect_genvideo.ledger.reuse import content_key
from prefect_genvideo.ledger.store import Entry
from prefect_genvideo.models import Generation, StoredVideo, VideoRequest, duration_or_default, word_or_default
from prefect_genvideo.pipeline.make import Steps, Wanted, make_video
from prefect_genvideo.pipeline.pipeline import Pipeline
from prefect_genvideo.runtime import derive_key, is_first_attempt, run_logger
from prefect_genvideo.tasks import create_video, save_video, upload_asset, wait_for_video

NO_OPTIONS: Mapping[str, JsonValue] = {}
"""No field of the vendor; the default of the flow."""


def _run_name() -> str:
    given = parameters()
    return run_name(str(given.get("prompt", "")), str(given.get("model", ""))) or "video"


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
        prompt: What the video shows. References are named @image1, @video1, @audio1 in the order given below.
        model: Model name. Sudashui: sd-2-fast-720p, sd-2-720p, sd-2-1080p (or sd-api-2-…). SenseAudio:
            doubao-seedance-2-0-260128, Seedance-Pro-1.5, SenseAudio-Video-1.0. Ark: doubao-seedance-2-5-260628,
            doubao-seedance-2-0-260128, doubao-seedance-2-0-fast-260128. Others pass unchecked.
        credentials: Whose account pays: a saved block, or the name of one, sudashui-credentials/NAME.
        destination: Where the video goes: a saved block, or the name of one, s3-video-destination/NAME. By its name
            an s3-bucket/NAME of prefect-aws is taken too.
        duration: Seconds; 0 takes the model's default. Sudashui 4-15, elsewhere by model.
        aspect_ratio: Width to height; default leaves it to the model. Not every one takes 21:9 and adaptive.
        resolution: Of the picture; at Sudashui the model name decides.
        images: Reference images: http(s) links, s3:// URIs or paths on the worker.
        videos: Reference videos, likewise.
        audios: Reference audios, likewise.
        first_frame: Image that the video starts with; not together with references.
        last_frame: Image that the video ends with.
        options: Fields of the vendor, e.g. {"generate_audio": true, "camera_fixed": false}.
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
        aspect_ratio=word_or_default(aspect_ratio),
        resolution=word_or_default(resolution),
        images=tuple(images),
        videos=tuple(videos),
        audios=tuple(audios),
        first_frame=first_frame or None,
        last_frame=last_frame or None,
        options=dict(options),
    )

    # A block that is loaded here once need not be asked for by each step, and its uploads can be cached.
    payer, target = await resolve_credentials(credentials), await resolve_destination(destination)
    async with open_pipeline(payer, target, saves=True) as pipeline:

        async def key_of(fingerprint: str) -> str:
            if idempotency_key:
                return idempotency_key
            if reuse_hours:
                return await content_key(pipeline.ledger, fingerprint, reuse_hours)
            return await derive_key(fingerprint)

        free = not idempotency_key and not reuse_hours and await is_first_attempt()
        made = await make_video(pipeline, request, key_of, _TaskRuns(payer, target, timeout or None), free=free)
        if made.video is None:
            raise AssertionError("a walk that does not collect returns a video")
        await show_video(pipeline, made.video, request)
    return made.video


@dataclass(frozen=True)
class _TaskRuns(Steps):
    """Each step as a task run of its own, so that people see it and Prefect retries what is safe to retry."""

    credentials: ProviderCredentials
    destination: VideoDestination
    timeout: float | None

    async def take_up(self, found: Submission) -> None:
        await show_reuse(found.entry.record)

    async def upload(self, pipeline: Pipeline, source: str) -> str:
        return await upload_asset(source, self.credentials, self.destination)

    async def create(self, pipeline: Pipeline, ready: VideoRequest, wanted: Wanted) -> Submission:
        run_logger().info("Checked: no rule of %s is broken. Key: %s", pipeline.client.title, wanted.draft.key)
        identities = dict(wanted.references.identities)
        generation = await create_video(
            ready, self.credentials, self.destination, wanted.draft.key, identities, wanted.request
        )
        return Submission(await pipeline.entry(generation), generation.reused)

    async def wait(self, pipeline: Pipeline, entry: Entry) -> Generation:
        return await wait_for_video(generation_of(entry.record), self.credentials, self.destination, self.timeout)

    async def save(self, pipeline: Pipeline, entry: Entry, generation: Generation) -> StoredVideo:
        return await save_video(generation, self.credentials, self.destination)
