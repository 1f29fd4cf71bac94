"""The block type of a saved preset: model, prompt, account and destination under one name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Union

from prefect.blocks.abstract import JobBlock, JobRun
from prefect.blocks.core import Block
from pydantic import Field

from prefect_genvideo.blocks._discreet import DOCS, DiscreetBlock, logo
from prefect_genvideo.blocks.credentials import ProviderCredentials, known_credentials, watch
from prefect_genvideo.blocks.destinations import LocalDestination, S3Destination
from prefect_genvideo.blocks.session import open_pipeline
from prefect_genvideo.errors import InvalidRequestError
from prefect_genvideo.ledger.record import generation_of
from prefect_genvideo.models import Generation, Problem, StoredVideo, VideoRequest, duration_or_default, word_or_default
from prefect_genvideo.pipeline.make import Steps, submit
from prefect_genvideo.providers import get_provider
from prefect_genvideo.runtime import derive_key

AspectRatio = Literal["16:9", "9:16", "1:1", "4:3", "3:4", "21:9", "adaptive", "default"]
Resolution = Literal["default", "480p", "720p", "1080p", "4k"]


class VideoRun(JobRun[StoredVideo]):
    """A generation that a `VideoJob` has started.

    Attributes:
        generation: Provider, task id and idempotency key; plain data, enough to resume anywhere.
    """

    def __init__(self, job: VideoJob, generation: Generation) -> None:
        self._job = job
        self.generation = generation

    async def wait_for_completion(self) -> None:  # type: ignore[override]  # the base's annotation names its logger
        """Wait until the provider has ended the generation.

        Raises:
            GenerationFailedError: It ended without a video.
            GenerationTimeoutError: The deadline passed; the task id is kept.
        """
        async with open_pipeline(self._job.credentials, self._job.destination) as pipeline:
            self.generation = await pipeline.wait(await pipeline.entry(self.generation))

    async def fetch_result(self) -> StoredVideo:
        """Save the video, or return the saved one.

        Raises:
            InvalidRequestError: It has not been waited for.
            DownloadError: It did not come whole; call again to resume.
        """
        if self.generation.state != "succeeded":
            problem = Problem("generation", self.generation.state, "succeeded: wait_for_completion() first", "VideoRun")
            raise InvalidRequestError("The video is not ready.", problems=[problem])
        async with open_pipeline(self._job.credentials, self._job.destination) as pipeline:
            return await pipeline.save(await pipeline.entry(self.generation), self.generation)


# Naming the result at run time would make, and register, one more block type.
if TYPE_CHECKING:
    _VideoJobBlock = JobBlock[StoredVideo]
    _AnyCredentials = ProviderCredentials
else:
    _VideoJobBlock = JobBlock
    _AnyCredentials = Union[known_credentials()]  # noqa: UP007 - made at run time


class VideoJob(DiscreetBlock, _VideoJobBlock):
    """A preset: what to generate, who pays, and where it goes.

    Example:
        Start a saved preset with today's prompt:
        ```python
        import asyncio

        from prefect_genvideo import VideoJob

        teaser = VideoJob.load("BLOCK_NAME")


        async def main():
            run = await teaser.trigger("A cat discovers the sea")
            await run.wait_for_completion()
            return await run.fetch_result()


        video = asyncio.run(main())
        ```
        In an async flow it is `await VideoJob.aload("BLOCK_NAME")`.
    """

    _block_type_name = "Video Job"
    _block_type_slug = "video-job"
    _logo_url = logo("video-job")
    _documentation_url = DOCS

    credentials: _AnyCredentials = Field(default=..., description="Whose account pays for it.")
    destination: S3Destination | LocalDestination = Field(default=..., description="Where the videos go.")
    model: str = Field(
        default="", description="Model name, as the provider lists it. Empty: the provider's default model."
    )
    prompt: str = Field(default="", description="Prompt of the preset; `{prompt}` is where a run's own prompt goes.")
    duration: float = Field(default=0, ge=0, description="Seconds; 0 takes the model's default.")
    aspect_ratio: AspectRatio = Field(
        default="16:9",
        title="Aspect ratio",
        description="Width to height; `default` leaves it to the model. Not every one takes `21:9` and `adaptive`.",
    )
    resolution: Resolution = Field(default="default", description="Of the picture; at Sudashui the model name decides.")
    images: list[str] = Field(
        default_factory=list, description='Reference images: links, S3 URIs or paths, e.g. `["s3://bucket/cat.jpg"]`.'
    )
    options: dict[str, Any] = Field(
        default_factory=dict, description='Fields of the vendor, e.g. `{"camera_fixed": true}`.'
    )

    def _define_metadata_on_nested_blocks(self, block_document_references: Any, *args: Any, **options: Any) -> None:
        # Prefect hands over the data of nested blocks without their types, by which alone two kinds of credentials
        # can be told apart; the types are in the references, which come here whatever way the preset was loaded.
        for field, reference in block_document_references.items():
            block, slug = getattr(self, field), reference["block_document"]["block_type"]["slug"]
            if isinstance(block, Block) and block.get_block_type_slug() != slug:
                given = {name: getattr(block, name) for name in block.model_fields_set}
                setattr(self, field, Block.get_block_class_from_key(slug).model_validate(given))
        super()._define_metadata_on_nested_blocks(block_document_references, *args, **options)

    def request(self, prompt: str = "") -> VideoRequest:
        """The request of a run.

        Args:
            prompt: Goes where the preset says `{prompt}`, else behind the preset's own prompt.
        """
        own = self.prompt
        text = own.replace("{prompt}", prompt) if "{prompt}" in own else " ".join(filter(None, (own, prompt)))
        return VideoRequest(
            model=self.model or get_provider(self.credentials.provider).default_model,
            prompt=text,
            duration=duration_or_default(self.duration),
            aspect_ratio=word_or_default(self.aspect_ratio),
            resolution=word_or_default(self.resolution),
            images=tuple(self.images),
            options=self.options,
        )

    async def trigger(self, prompt: str = "", idempotency_key: str = "") -> VideoRun:  # type: ignore[override]  # the base takes none
        """Start a generation, or take up the one that its key has paid for.

        Args:
            prompt: What this one shows; see `request`.
            idempotency_key: One key stands for one paid video. Empty: the flow run and the request are the key; outside
                of runs every call is a new video.

        Returns:
            The run, whose task id is safely in the ledger.

        Raises:
            GenVideoError: As `create_video`.
        """

        async def key_of(fingerprint: str) -> str:
            return idempotency_key or await derive_key(fingerprint)

        async with open_pipeline(self.credentials, self.destination) as pipeline:
            submission = await submit(pipeline, self.request(prompt), key_of, Steps())
        return VideoRun(self, generation_of(submission.entry.record))


def _offer_known_credentials() -> None:
    """Let presets be made with every provider's credentials, also those that became known after this class."""
    kinds: Any = Union[known_credentials()]  # noqa: UP007 - made at run time
    VideoJob.model_fields["credentials"].annotation = kinds
    VideoJob.model_rebuild(force=True)


watch(_offer_known_credentials)
