"""Saves the video of a finished generation: streamed, proved, with a manifest beside it.

Order matters: the video becomes visible only when it has been proved, the manifest comes last. So a manifest means a
proved video, and a video of ours without a manifest (the process died in between) needs no second download.
Nobody else's object is ever replaced.
"""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Any

import anyio
import anyio.to_thread

from prefect_genvideo.errors import DestinationError, DownloadError, GenVideoError
from prefect_genvideo.ledger.record import shown
from prefect_genvideo.media.inspect import sniff
from prefect_genvideo.models import Generation, StoredVideo
from prefect_genvideo.pipeline.names import media_type_of, name_task, stem_of
from prefect_genvideo.pipeline.pictures import LARGEST_CLIP, CopyingUpload, Pictures, first_picture
from prefect_genvideo.pipeline.provenance import (
    PROVIDER_MARK,
    TASK_MARK,
    Manifest,
    StoredFile,
    VideoFile,
    hash_of,
    is_unchanged,
    manifest_key,
    marks_of,
    read_manifest,
)
from prefect_genvideo.pipeline.transfer import Fetch, Patience, Prover, Received, VideoSource
from prefect_genvideo.polling import Sleep
from prefect_genvideo.storage.base import ObjectInfo, ObjectStore, PreconditionFailedError, UploadLostError

logger = logging.getLogger(__name__)

FetchCover = Callable[[str], Awaitable["bytes | None"]]

MAX_COVER = 5 * 1024 * 1024
"""Bytes; a larger cover picture is left out."""
# Ending of a cover's name by its media type.
_COVERS = {"image/jpeg": "jpg", "image/png": "png", "image/gif": "gif", "image/webp": "webp"}
# Uploads of one video that a store may drop at their end before the save fails; a later one goes on.
_UPLOADS = 3


@dataclass(frozen=True)
class SaveJob:
    """One video to save, and what its manifest is to say.

    Attributes:
        generation: The finished task.
        key: Where the video goes, relative to the store's prefix, ending in `.mp4` or `.mov`.
        model: Name of the model.
        request: The request, as JSON values; shown without data URLs and signatures.
        idempotency_key: Key of the ledger's record, when there is one.
        flow_run: Id of the flow run.
        fresh: The generation is new, so there can be no earlier save of it to look for.
        covered: Whether its cover is put beside it; else it is made for whoever looks now, and not stored.
    """

    generation: Generation
    key: str
    model: str
    request: Mapping[str, Any] = field(default_factory=dict[str, Any])
    idempotency_key: str | None = None
    flow_run: str | None = None
    fresh: bool = False
    covered: bool = True


async def save_generation(
    source: VideoSource,
    store: ObjectStore,
    job: SaveJob,
    *,
    fetch_cover: FetchCover | None = None,
    pictures: Pictures | None = None,
    patience: Patience | None = None,
    sleep: Sleep = anyio.sleep,
) -> StoredVideo:
    """Save a finished generation once; doing it again verifies what is there and moves no byte.

    Args:
        source: The provider's client.
        store: The destination.
        job: What to save.
        fetch_cover: Fetches the provider's cover picture; without one the video's first picture is taken. None: no
            cover at all. Failures never fail the save.
        pictures: Keeps the cover, and a moving preview where it makes them.
        patience: How long the download is tried.
        sleep: Seam for tests.

    Returns:
        Where the video is, with size and SHA-256.

    Raises:
        LinkExpiredError: The provider has no working link any more.
        DownloadError: The video did not come whole. Nothing is visible at the key.
        DestinationError: The store refused or failed, or something else lies at the key.
        InvalidRequestError: The key is no key.
    """
    saver = _Saver(source, store, job, fetch_cover, pictures or Pictures(), patience or Patience(), sleep)
    manifest = await saver.known()
    if manifest is None:
        renamed = replace(saver, job=await _collision_free(store, job))
        manifest = await renamed.known() if renamed.job.key != job.key else None
        manifest = manifest or await renamed.fetched()
    return manifest.stored(store)


async def _collision_free(store: ObjectStore, job: SaveJob) -> SaveJob:
    """Name the video after its task as well, where the store cannot keep a write from replacing an object."""
    try:
        exclusive = await store.exclusive_uploads()
    except DestinationError as error:
        if error.retryable:
            raise
        exclusive = False  # what cannot be tried here is not believed, and no reason to leave a paid video unsaved
    key = job.key if exclusive else name_task(job.key, job.generation.task_id)
    if key != job.key:
        logger.warning(
            "%s: this store cannot keep an upload from replacing an object, so the task's id is in the name",
            store.uri(key),
        )
    return replace(job, key=key)


@dataclass(frozen=True)
class _Saver:
    source: VideoSource
    store: ObjectStore
    job: SaveJob
    fetch_cover: FetchCover | None
    pictures: Pictures
    patience: Patience
    sleep: Sleep

    async def known(self) -> Manifest | None:
        """What an earlier save of the same task has left at the key."""
        return None if self.job.fresh else await self.verified() or await self.adopted()

    async def verified(self) -> Manifest | None:
        """The manifest of an earlier save, when the object is still the proved one."""
        job, generation = self.job, self.job.generation
        manifest = await read_manifest(self.store, job.key)
        if manifest is None:
            return None
        if (manifest.provider, manifest.task_id) != (generation.provider, generation.task_id):
            raise self._occupied(f"the video of task {manifest.task_id} ({manifest.provider})")
        there = await self.store.head(job.key)
        if there is None:
            logger.warning("%s: the saved video has been removed; it is saved again", self.store.uri(job.key))
            return None
        if not await is_unchanged(self.store, there, manifest.video, self._marks()):
            raise self._occupied("another file than its manifest describes")
        if there.etag == manifest.video.etag:
            return manifest
        renewed = manifest.model_copy(update={"video": manifest.video.model_copy(update={"etag": there.etag})})
        await self._put_manifest(renewed)
        return renewed

    async def adopted(self) -> Manifest | None:
        """The video that an earlier save put there before it died without a manifest."""
        there = await self.store.head(self.job.key)
        if there is None or TASK_MARK not in there.metadata:
            return None
        if any(there.metadata.get(name) != value for name, value in self._marks().items()):
            task, provider = there.metadata.get(TASK_MARK), there.metadata.get(PROVIDER_MARK)
            raise self._occupied(f"the video of task {task} ({provider})")
        prover = Prover()
        try:
            async for chunk in self.store.read(self.job.key):
                prover.feed(chunk)
            received = prover.finish()
        except DownloadError as error:
            raise self._occupied("a damaged copy of this video") from error
        return await self._describe(received, there)

    async def fetched(self) -> Manifest:
        """Stream the video from its provider; again where the store drops the upload at its end."""
        for _ in range(_UPLOADS - 1):
            try:
                return await self._fetch()
            except UploadLostError as error:
                logger.warning("%s", error)
        return await self._fetch()

    async def _fetch(self) -> Manifest:
        with self.pictures.copying() as copy:
            received, there = await self._move(copy)
            await self.pictures.keep_preview(self.store.uri(self.job.key), copy)
            return await self._describe(received, there, copy)

    async def _move(self, copy: IO[bytes] | None) -> tuple[Received, ObjectInfo]:
        job = self.job
        async with self.store.upload(
            job.key, content_type=media_type_of(job.key), metadata=self._marks(), if_absent=True
        ) as upload:
            fetch = Fetch(
                self.source,
                job.generation,
                CopyingUpload(upload, copy) if copy else upload,
                patience=self.patience,
                sleep=self.sleep,
            )
            received = await fetch.run()
            try:
                there = await upload.commit()
            except PreconditionFailedError:
                there = await self._same(received)
        if there.size != received.size:
            raise DestinationError(
                f"{self.store.uri(job.key)}: {received.size} bytes were proved, the store holds {there.size}",
                retryable=True,
                reason="another size",
                task_id=job.generation.task_id,
            )
        return received, there

    async def _same(self, received: Received) -> ObjectInfo:
        """What is at the key already, when it is byte for byte the same video."""
        there = await self.store.head(self.job.key)
        if there is None:
            raise DestinationError(
                f"{self.store.uri(self.job.key)}: another writer is at work; try again",
                retryable=True,
                reason="contention",
                task_id=self.job.generation.task_id,
            )
        if there.size != received.size or await hash_of(self.store, self.job.key) != received.sha256:
            raise self._occupied("another file")
        return there

    def _marks(self) -> dict[str, str]:
        return marks_of(self.job.generation.provider, self.job.generation.task_id)

    def _occupied(self, by: str) -> DestinationError:
        generation = self.job.generation
        return DestinationError(
            f"{self.store.uri(self.job.key)} is where the video of task {generation.task_id} ({generation.provider}) "
            f"was to go, and it holds {by}. Nothing was replaced. Move that file away, or use a key template with "
            "{task_id}.",
            provider=generation.provider,
            task_id=generation.task_id,
            reason=f"key in use by {by}",
        )

    async def _describe(self, received: Received, there: ObjectInfo, copy: IO[bytes] | None = None) -> Manifest:
        job, generation, movie = self.job, self.job.generation, received.movie
        return await self._write(
            Manifest(
                provider=generation.provider,
                model=job.model,
                task_id=generation.task_id,
                idempotency_key=job.idempotency_key,
                flow_run=job.flow_run,
                request=shown(dict(job.request)),
                video=VideoFile(
                    key=job.key,
                    size=received.size,
                    sha256=received.sha256,
                    etag=there.etag or None,
                    media_type=media_type_of(job.key),
                    seconds=movie.seconds,
                    width=movie.width,
                    height=movie.height,
                    codec=movie.codec,
                    surplus=received.surplus,
                ),
                cover=await self._cover(received.size, copy),
                source_host=received.host,
                created_at=generation.created_at,
                started_at=generation.started_at,
                finished_at=generation.finished_at,
                saved_at=datetime.now(timezone.utc),
                cost=generation.cost,
            )
        )

    async def _write(self, manifest: Manifest) -> Manifest:
        try:
            await self._put_manifest(manifest, if_absent=True)
        except PreconditionFailedError:
            there = await read_manifest(self.store, self.job.key)
            if there is not None and (there.provider, there.task_id) != (manifest.provider, manifest.task_id):
                raise self._occupied(f"the manifest of task {there.task_id} ({there.provider})") from None
            await self._put_manifest(manifest)
        return manifest

    async def _put_manifest(self, manifest: Manifest, *, if_absent: bool = False) -> None:
        await self.store.put(
            manifest_key(self.job.key),
            manifest.to_json(),
            content_type="application/json; charset=utf-8",
            if_absent=if_absent,
        )

    async def _cover(self, size: int, copy: IO[bytes] | None) -> StoredFile | None:
        """Keep the cover picture if that is easy; it is decoration, the video is what was paid for."""
        if self.fetch_cover is None:
            return None
        try:
            data = await self._picture(size, copy) or b""
            media_type = sniff(data[:64]) or ""
            if media_type not in _COVERS or len(data) > MAX_COVER:
                logger.info("Task %s: the cover is no picture of a fitting size; left out", self.job.generation.task_id)
                return None
            key = f"{stem_of(self.job.key)}.cover.{_COVERS[media_type]}"
            etag = await self._put_cover(key, data, media_type) if self.job.covered else ""
            self.pictures.keep(self.store.uri(self.job.key), "cover", data)
            if not self.job.covered:
                return None
            sha256 = hashlib.sha256(data).hexdigest()
            return StoredFile(key=key, size=len(data), sha256=sha256, etag=etag, media_type=media_type)
        except Exception as error:
            logger.info("Task %s: no cover: %s", self.job.generation.task_id, type(error).__name__)
            return None

    async def _picture(self, size: int, copy: IO[bytes] | None) -> bytes | None:
        """The provider's own picture, else one of the video: from the copy at hand, or read back."""
        link = self.job.generation.cover_url
        data = await self.fetch_cover(link) if link and self.fetch_cover else None
        return data or await first_picture(copy) or await cover_from_video(self.store, self.job.key, size)

    async def _put_cover(self, key: str, data: bytes, media_type: str) -> str:
        try:
            return await self.store.put(key, data, content_type=media_type, if_absent=True)
        except PreconditionFailedError:
            there = await self.store.get(key)
            if there is None or there[0] != data:  # somebody else's picture
                raise
            return there[1]


async def cover_from_video(store: ObjectStore, key: str, size: int) -> bytes | None:
    """Read a saved video back and take its first picture that shows something.

    Args:
        store: Where it is.
        key: Its key, relative to the store's prefix.
        size: Its bytes.

    Returns:
        A JPEG; None for large videos, without the extra `media`, or when it cannot be read or decoded.
    """
    if size > LARGEST_CLIP:
        return None
    from prefect_genvideo.media import cover_of

    try:
        with tempfile.TemporaryDirectory(prefix="genvideo-", ignore_cleanup_errors=True) as folder:
            path = Path(folder) / "video.mp4"
            await store.download(key, path)
            return await anyio.to_thread.run_sync(cover_of, path)
    except (GenVideoError, OSError):  # a full disk, too
        return None
