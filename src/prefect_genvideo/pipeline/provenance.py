"""The manifest beside every video, written last: where there is one, the video has been proved."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from prefect_genvideo.errors import DestinationError
from prefect_genvideo.models import Moment, StoredVideo
from prefect_genvideo.pipeline.names import CONTAINERS, stem_of
from prefect_genvideo.storage.base import ObjectInfo, ObjectStore

SCHEMA_VERSION = 1
"""Version of the manifest that this release writes; a newer one is refused."""
TASK_MARK = "task-id"
"""Metadata name of the task that a video is of."""
PROVIDER_MARK = "provider"
"""Metadata name of the task's provider."""


class StoredFile(BaseModel):
    """A file in the destination.

    Attributes:
        key: Key relative to the destination's prefix.
        etag: What the store said of it when it was saved; None where it says only later what lasts.
    """

    model_config = ConfigDict(extra="ignore")

    key: str
    size: int
    sha256: str
    etag: str | None = None
    media_type: str = CONTAINERS["mp4"]


class VideoFile(StoredFile):
    """The video, with what its boxes say where that could be read.

    Attributes:
        seconds: Length of the pictures.
        width: Pixels as shown, after rotation.
        height: Pixels as shown.
        codec: Four characters, e.g. `avc1`.
        surplus: Bytes behind the last box, e.g. padding or tags: part of the file as it came, no part of the video.
    """

    seconds: float | None = None
    width: int | None = None
    height: int | None = None
    codec: str | None = None
    surplus: int = 0


class Manifest(BaseModel):
    """What was wanted, what came of it, and where it is.

    Attributes:
        request: The request, without data URLs and signatures.
        source_host: Host the video came from; the link itself is a secret while it lives.
        cost: The provider's own opaque figure.
    """

    # What a newer release has added is kept when this one writes the manifest again.
    model_config = ConfigDict(extra="allow")

    schema_version: int = Field(default=SCHEMA_VERSION, le=SCHEMA_VERSION)
    kind: Literal["prefect-genvideo/video"] = "prefect-genvideo/video"
    provider: str
    model: str
    task_id: str
    idempotency_key: str | None = None
    flow_run: str | None = None
    request: dict[str, Any] = Field(default_factory=dict)
    video: VideoFile
    cover: StoredFile | None = None
    source_host: str | None = None
    created_at: Moment | None = None
    started_at: Moment | None = None
    finished_at: Moment | None = None
    saved_at: Moment | None = None
    cost: float | None = None

    def to_json(self) -> bytes:
        """The document: indented, sorted, UTF-8, one line feed at the end."""
        document = self.model_dump(mode="json")
        return (json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()

    def stored(self, store: ObjectStore) -> StoredVideo:
        """The video as tasks hand it on."""
        video = self.video
        return StoredVideo(
            uri=store.uri(video.key),
            bucket=store.bucket,
            key=store.full_key(video.key),
            size=video.size,
            sha256=video.sha256,
            manifest_uri=store.uri(manifest_key(video.key)),
            cover_uri=store.uri(self.cover.key) if self.cover else None,
            task_id=self.task_id,
            provider=self.provider,
            model=self.model,
            idempotency_key=self.idempotency_key,
            etag=video.etag,
            duration=video.seconds,
            width=video.width,
            height=video.height,
            created_at=self.created_at,
            saved_at=self.saved_at,
            cost=self.cost,
        )


def manifest_key(key: str) -> str:
    """Key of the manifest beside a video, e.g. `a/b.json` for `a/b.mp4`."""
    return f"{stem_of(key)}.json"


async def read_manifest(store: ObjectStore, key: str) -> Manifest | None:
    """The manifest beside a video; None when there is none.

    Args:
        store: Where the video is.
        key: Object key of the video, relative to the store's prefix.

    Raises:
        DestinationError: Something else lies at the manifest's key, or the store failed.
    """
    found = await store.get(manifest_key(key))
    if found is None:
        return None
    try:
        return Manifest.model_validate_json(found[0])
    except ValidationError as error:
        uri, faults = store.uri(manifest_key(key)), {fault["loc"] for fault in error.errors()}
        if faults == {("schema_version",)}:
            reason, way_out = "newer manifest", "it is of a newer release than the one here; upgrade the plugin"
        else:
            reason, way_out = "no manifest", "it is none of a video; move it away, or save the video under another key"
        raise DestinationError(f"The manifest {uri} cannot be used: {way_out}.", reason=reason) from error


def marks_of(provider: str, task_id: str) -> dict[str, str]:
    """Metadata of a video's object: ASCII only, as it travels in HTTP headers.

    Args:
        provider: Name.
        task_id: The provider's id of the task.
    """
    return {TASK_MARK: quote(task_id), PROVIDER_MARK: quote(provider)}


async def is_unchanged(
    store: ObjectStore, there: ObjectInfo, video: VideoFile | StoredVideo, marks: Mapping[str, str]
) -> bool:
    """Whether a saved video is still the proved one: by its ETag; by its marks where none was told; else by its bytes.

    Copying an object changes its ETag and not its bytes. A store that computes ETags anew keeps marks only as long as
    nobody has touched the object.

    Args:
        store: Where it is.
        there: What is there.
        video: What was saved.
        marks: Of its task, see `marks_of`.
    """
    if there.size != video.size:
        return False
    marked = marks.items() <= there.metadata.items()
    if marked if video.etag is None else there.etag == video.etag:
        return True
    return await hash_of(store, there.key) == video.sha256


async def hash_of(store: ObjectStore, key: str) -> str:
    """SHA-256 (hex) of an object's bytes.

    Args:
        store: Where it is.
        key: Relative to the store's prefix.
    """
    digest = hashlib.sha256()
    async for chunk in store.read(key):
        digest.update(chunk)
    return digest.hexdigest()
