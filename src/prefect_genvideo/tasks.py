"""The four steps as Prefect tasks. Only `create_video` spends money, so Prefect never retries or caches it.

Synchronous flows call them through `asyncio.run` or a small async flow; there is one implementation.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from prefect.cache_policies import NO_CACHE, CacheKeyFnPolicy
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext
from prefect.runtime import task_run
from prefect.tasks import Task, task
from pydantic import ValidationError

from prefect_genvideo.artifacts import ProgressArtifact, show_reuse
from prefect_genvideo.blocks.session import (
    AnyCredentials,
    AnyDestination,
    open_pipeline,
    resolve_credentials,
    resolve_destination,
)
from prefect_genvideo.errors import GenVideoError, InvalidRequestError, shorten
from prefect_genvideo.ledger.record import generation_of
from prefect_genvideo.media.inspect import asset_kind
from prefect_genvideo.models import Generation, StoredVideo, VideoRequest
from prefect_genvideo.pipeline.assets import reference_assets
from prefect_genvideo.runtime import cancellation_notice, derive_key, run_logger
from prefect_genvideo.stated import problems_of

UPLOAD_CACHE = timedelta(minutes=75)
"""Below the shortest life of an upload link (90 min), so that a cached link can still be fetched by the provider."""
# Seconds that a task waits because a server asks for it; for longer ones the run fails, and a later one resumes.
_LONGEST_WAIT = 300.0


async def _is_retryable(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Retry only what says that doing it again is safe, and not before the provider's Retry-After, if that is soon."""
    error = await state.aresult(raise_on_failure=False)
    if not isinstance(error, GenVideoError) or not error.retryable:
        return False
    if (error.retry_after or 0.0) > _LONGEST_WAIT:
        return False
    await asyncio.sleep(error.retry_after or 0.0)
    return True


def _content_and_account(context: TaskRunContext, parameters: dict[str, Any]) -> str | None:
    """Key of an upload: what is uploaded and to whom. None (no caching) where the content is not at hand."""
    del context
    asset, credentials = parameters["asset"], parameters["credentials"]
    if isinstance(credentials, str) or asset_kind(asset) not in ("local", "data"):
        return None
    try:
        content = asset.encode() if asset_kind(asset) == "data" else Path(asset).expanduser().read_bytes()
    except OSError:
        return None
    return f"genvideo-upload-{credentials.account}-{hashlib.sha256(content).hexdigest()}"


def _upload_name() -> str:
    asset = str(task_run.parameters.get("asset", "asset"))
    return f"upload {Path(asset).name[:60] if asset_kind(asset) in ('local', 's3') else asset_kind(asset)}"


def _create_name() -> str:
    request = task_run.parameters.get("request")
    if not isinstance(request, VideoRequest):
        return "submit"
    return f"submit {request.model}: {shorten(request.prompt, 48)}"


def _request_of(given: VideoRequest | Mapping[str, Any]) -> VideoRequest:
    try:
        return VideoRequest.model_validate(given)
    except ValidationError as error:
        problems = problems_of(error, "request")
        raise InvalidRequestError("The request cannot be used; nothing was sent.", problems=problems) from None


def _named(verb: str) -> Any:
    def name() -> str:
        generation = task_run.parameters.get("generation")
        return f"{verb} {generation.task_id}" if isinstance(generation, Generation) else verb

    return name


@task(
    name="upload-asset",
    description="Upload a reference image, video or audio file to the provider; returns a link that it can fetch.",
    task_run_name=_upload_name,
    cache_policy=CacheKeyFnPolicy(cache_key_fn=_content_and_account),
    cache_expiration=UPLOAD_CACHE,
    persist_result=True,
    retries=3,
    retry_delay_seconds=[2, 10, 30],
    retry_condition_fn=_is_retryable,
)
async def upload_asset(asset: str, credentials: AnyCredentials, destination: AnyDestination | None = None) -> str:
    """Upload a reference file. Cached by content and account for 75 minutes, less than its link lives.

    Args:
        asset: Local path, `s3://bucket/key` or data URL. An http(s) URL or an `asset://` id is returned as it is.
        credentials: The provider's credentials block. The provider must take uploads (Sudashui does).
        destination: Its credentials read `s3://` assets of the same bucket; else boto3's default chain does.

    Returns:
        A signed link; treat it as a secret while it lives.

    Raises:
        InvalidRequestError: The file is missing, of a wrong kind, or too large.
        RejectedError: The provider refused it.
        TransientError: It did not get through after all retries.
    """
    if asset_kind(asset) in ("http", "asset"):
        return asset
    payer = await resolve_credentials(credentials)
    store = (await resolve_destination(destination)).get_store() if destination is not None else None
    async with payer.lease() as client:
        if asset_kind(asset) == "data":
            return (await client.upload(asset)).url
        async with reference_assets(VideoRequest(model="-", images=(asset,)), store) as references:
            if references.problems:
                raise InvalidRequestError("The asset cannot be uploaded.", problems=references.problems)
            uploaded = await client.upload(references.files["images[0]"], filename=Path(asset).name)
            run_logger().info("Uploaded %s (%d bytes).", Path(asset).name, references.media["images[0]"].size)
    return uploaded.url


@task(
    name="create-video",
    description="Send one generation to the provider under the ledger: paid once per idempotency key.",
    task_run_name=_create_name,
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=0,
)
async def create_video(
    request: VideoRequest | Mapping[str, Any],
    credentials: AnyCredentials,
    destination: AnyDestination,
    idempotency_key: str | None = None,
    identities: dict[str, str] | None = None,
    original: VideoRequest | None = None,
) -> Generation:
    """Send one create, or take up the task that its key has paid for already.

    The ledger in the destination is the cache of this task; Prefect must neither retry nor cache it.

    Args:
        request: What to generate, or its fields. Local files must have been uploaded where the provider takes links
            only.
        credentials: The provider's credentials block.
        destination: Where the ledger is, and where the video will go.
        idempotency_key: One key stands for one paid generation, e.g. an event's id or a calendar slot. Derived from the
            flow run and the request when not given.
        identities: What stands for each asset in the request's fingerprint; worked out here when not given.
        original: What the caller asked for, where `request` has had its files uploaded. It is what the record shows.

    Returns:
        The submitted generation: provider, task id, state `queued`; `reused` when its key had paid for it before.

    Raises:
        InvalidRequestError: Rules are broken, or the key belongs to another request. Nothing was sent.
        RejectedError: The provider refused; nothing was made.
        TransientError: It could not be sent within the settings' bounds; nothing was made.
        UnknownOutcomeError: It went out and its fate is not known; held in the ledger for a person.
        GenerationFailedError: The key's task ended without a video.
        DestinationError: The ledger cannot be written; nothing was sent, or the message names the task id.
    """
    request = _request_of(request)
    async with open_pipeline(credentials, destination) as pipeline:
        asked = original or request
        if identities is None:
            async with reference_assets(asked, pipeline.ledger.store, allow_local=pipeline.allow_local) as references:
                identities = dict(references.identities)
        key = idempotency_key or await derive_key(pipeline.fingerprint(asked, identities))
        submission = await pipeline.create(
            request, pipeline.draft(key, asked, identities), looked=pipeline.budget is None
        )
        if submission.reused:
            await show_reuse(submission.entry.record)
    return generation_of(submission.entry.record).model_copy(update={"reused": submission.reused})


@task(
    name="wait-for-video",
    description="Ask the provider until the generation has ended. Costs nothing; a rerun takes up the same task.",
    task_run_name=_named("wait for"),
    cache_policy=NO_CACHE,  # an answer holds a link that goes stale; asking again is free
    persist_result=False,
    retries=2,
    retry_delay_seconds=[10, 60],
    retry_condition_fn=_is_retryable,
)
async def wait_for_video(
    generation: Generation, credentials: AnyCredentials, destination: AnyDestination, timeout: float | None = None
) -> Generation:
    """Wait until the generation has succeeded. Shows one progress artifact.

    Args:
        generation: What `create_video` returned; provider and task id are enough.
        credentials: The provider's credentials block.
        destination: Where the ledger is.
        timeout: Seconds it may take once started; the setting `timeout` when not given.

    Returns:
        The succeeded generation with its `video_url`, a link that lives for a while.

    Raises:
        GenerationFailedError: The provider ended it without a video; `reason` says why.
        GenerationTimeoutError: The deadline passed; the task id is kept, run again to resume.
        TaskLostError: The provider does not know the id.
        AuthenticationError: The key cannot query the task.
    """
    async with open_pipeline(credentials, destination, timeout=timeout) as pipeline:
        entry = await pipeline.entry(generation)
        progress = ProgressArtifact(generation.task_id, run_logger())
        async with cancellation_notice(pipeline, task_id=generation.task_id, key=entry.record.key), progress:
            return await pipeline.wait(entry, progress.look)


@task(
    name="save-video",
    description="Stream the finished video into the destination; it becomes visible when it is proved.",
    task_run_name=_named("save"),
    cache_policy=NO_CACHE,  # the manifest beside the video is its cache, and is verified
    persist_result=False,
    retries=3,
    retry_delay_seconds=[5, 30, 120],
    retry_condition_fn=_is_retryable,
)
async def save_video(generation: Generation, credentials: AnyCredentials, destination: AnyDestination) -> StoredVideo:
    """Save a succeeded generation. One that is saved and verified already is returned as it is.

    Args:
        generation: What `wait_for_video` returned.
        credentials: The provider's credentials block, for a fresh link when the old one has died.
        destination: Where the video goes.

    Returns:
        Where it is, with size and SHA-256.

    Raises:
        DownloadError: It did not come whole after all retries; run again to resume.
        DestinationError: The store refused or failed.
    """
    async with open_pipeline(credentials, destination) as pipeline:
        entry = await pipeline.entry(generation)
        async with cancellation_notice(pipeline, task_id=generation.task_id, key=entry.record.key):
            return await pipeline.save(entry, generation)
