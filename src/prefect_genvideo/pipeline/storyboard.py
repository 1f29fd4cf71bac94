"""Shots that continue one another: the last frame of one begins the next; joined into one film. No Prefect inside."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import anyio
import anyio.to_thread
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from prefect_genvideo.ledger.record import file_name
from prefect_genvideo.media import join, last_frame
from prefect_genvideo.media.inspect import MediaInfo
from prefect_genvideo.models import Problem, StoredVideo, VideoRequest, duration_or_default
from prefect_genvideo.pipeline.assets import ReferenceAssets
from prefect_genvideo.pipeline.names import media_type_of, stem_of
from prefect_genvideo.pipeline.pipeline import Pipeline
from prefect_genvideo.pipeline.provenance import manifest_key
from prefect_genvideo.storage.base import ObjectStore

_IMAGE = re.compile(r"images\[(\d+)\]")
# Its sides are not known before the shot is there, so that no rule speaks of them.
_ANY_PICTURE = MediaInfo("image", "image/png", 100_000)


class Shot(BaseModel):
    """One shot of a storyboard."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt: str = Field(min_length=1, description="What the shot shows.")
    duration: float = Field(default=0, ge=0, description="Seconds; 0 takes the storyboard's.")
    model: str = Field(default="", description="Model name; empty takes the storyboard's.")
    cut: bool = Field(
        default=False, description="Begin anew instead of going on from the last frame of the shot before."
    )
    images: tuple[str, ...] = Field(default=(), description="Further reference images.")
    options: dict[str, JsonValue] = Field(default_factory=dict, description="Fields of the vendor.")

    def request(self, model: str, duration: float, aspect_ratio: str | None, resolution: str | None) -> VideoRequest:
        """The shot as a request of its own, with what the storyboard says where the shot does not.

        Args:
            model: The storyboard's model.
            duration: The storyboard's seconds of a shot.
            aspect_ratio: The film's; None leaves it to the model.
            resolution: The film's; None where the model's name decides.
        """
        return VideoRequest(
            model=self.model or model,
            prompt=self.prompt,
            duration=duration_or_default(self.duration or duration),
            aspect_ratio=aspect_ratio,
            resolution=resolution,
            images=self.images,
            options=self.options,
        )


class StoredFilm(BaseModel):
    """A joined film in the destination.

    Attributes:
        uri: Where the film is.
        size: Bytes.
        sha256: Hash of the bytes, hex.
        seconds: Length.
        seams: Seconds at which the second and later shots begin.
        reencoded: Whether the shots had to be encoded again to fit together.
        reason: Why they had to be.
        manifest_uri: The JSON document beside the film.
        shots: The shots, each with a file and manifest of its own.
        reused: Whether an earlier run had joined it.
    """

    uri: str
    key: str
    size: int
    sha256: str
    seconds: float
    seams: list[float]
    reencoded: bool
    reason: str = ""
    manifest_uri: str
    shots: list[StoredVideo]
    reused: bool = False


def going_on(pipeline: Pipeline, request: VideoRequest, frame: str) -> VideoRequest:
    """The request that begins where `frame` ends: as first frame where the model takes one alone, else as a reference.

    Args:
        pipeline: Whose models.
        request: The shot.
        frame: Picture of the shot before, a path.
    """
    framed = request.model_copy(update={"first_frame": frame, "images": ()})
    in_the_way = {"first_frame", "last_frame", "images"}
    # Asked of a picture that fits in any case: whether the model takes a first frame alone, not whether this one fits.
    problems = pipeline.client.validate(framed, {"first_frame": _ANY_PICTURE})
    blocked = any(problem.field.partition("[")[0] in in_the_way for problem in problems)
    if request.images or blocked:
        return request.model_copy(update={"images": (frame, *request.images)})
    return framed


def problems_going_on(pipeline: Pipeline, request: VideoRequest, references: ReferenceAssets) -> list[Problem]:
    """What is wrong with a shot that goes on from one which is not there yet: a picture of any kind stands in for it.

    Args:
        pipeline: Whose models.
        request: The shot.
        references: Its files.
    """
    continued = going_on(pipeline, request, "last-frame.png")
    if continued.first_frame:
        return pipeline.problems(
            continued, replace(references, media={**references.media, "first_frame": _ANY_PICTURE})
        )
    media = {_moved(field, 1): info for field, info in references.media.items()}
    unusable = [replace(problem, field=_moved(problem.field, 1)) for problem in references.problems]
    beside = replace(references, media={**media, "images[0]": _ANY_PICTURE}, problems=unusable)
    return [replace(problem, field=_moved(problem.field, -1)) for problem in pipeline.problems(continued, beside)]


def _moved(field: str, by: int) -> str:
    """The field of a reference picture when others come before it."""
    number = _IMAGE.fullmatch(field)
    return f"images[{int(number[1]) + by}]" if number else field


@asynccontextmanager
async def frame_after(pipeline: Pipeline, video: StoredVideo) -> AsyncGenerator[str]:
    """The last frame of a saved shot, as a PNG file for the length of the context.

    The picture is kept beside the shot, so that a rerun on another machine asks for exactly the same next shot.

    Args:
        pipeline: Whose store has the shot.
        video: The shot.
    """
    store = pipeline.ledger.store
    key = store.relative_key(video.key)
    picture_key = f"{stem_of(key)}.last.png"
    with tempfile.TemporaryDirectory(prefix="genvideo-", ignore_cleanup_errors=True) as folder:
        found = await store.get(picture_key)
        if found is None:
            clip = Path(folder) / "shot.mp4"
            await store.download(key, clip)
            picture = await anyio.to_thread.run_sync(last_frame, clip)
            await store.put(picture_key, picture, content_type="image/png")
        else:
            picture = found[0]
        path = anyio.Path(folder) / "last.png"
        await path.write_bytes(picture)
        yield str(path)


async def join_shots(store: ObjectStore, shots: Sequence[StoredVideo], name: str) -> StoredFilm:
    """Join saved shots into `films/<name>-<hash of the shots>.mp4`. The same shots are joined once.

    Args:
        store: Where the shots are and the film goes.
        shots: In their order.
        name: Name of the film.

    Raises:
        InvalidRequestError: A shot is no readable video, or the extra `media` is missing.
        DestinationError: The store refused or failed.
    """
    recipe = hashlib.sha256("".join(shot.sha256 for shot in shots).encode()).hexdigest()[:12]
    key = f"films/{file_name(name).removesuffix('.json')}-{recipe}.mp4"
    beside = manifest_key(key)
    if (done := await store.get(beside)) is not None:
        return StoredFilm.model_validate_json(done[0]).model_copy(update={"reused": True})
    with tempfile.TemporaryDirectory(prefix="genvideo-", ignore_cleanup_errors=True) as folder:
        clips = [Path(folder) / f"{number}.mp4" for number in range(len(shots))]
        for shot, clip in zip(shots, clips, strict=True):
            await store.download(store.relative_key(shot.key), clip)
        film_path = Path(folder) / "film.mp4"
        info = await anyio.to_thread.run_sync(join, clips, film_path)
        there, sha256 = await store.upload_file(key, film_path, content_type=media_type_of(key))
    film = StoredFilm(
        uri=store.uri(key),
        key=store.full_key(key),
        size=there.size,
        sha256=sha256,
        seconds=info.seconds,
        seams=info.seams,
        reencoded=info.reencoded,
        reason=info.reason,
        manifest_uri=store.uri(beside),
        shots=list(shots),
    )
    data = film.model_dump_json(indent=2, exclude_none=True).encode()
    await store.put(beside, data, content_type="application/json")
    return film
