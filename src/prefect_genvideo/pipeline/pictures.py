"""Pictures of videos that were saved just now, kept in memory for whoever shows them next.

Reading them back from the store would cost a request a video. What is not here is read there.
"""

from __future__ import annotations

import tempfile
from collections import OrderedDict
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import IO

import anyio.to_thread

from prefect_genvideo.errors import DestinationError, GenVideoError
from prefect_genvideo.models import StoredVideo
from prefect_genvideo.pipeline.names import stem_of
from prefect_genvideo.storage.base import ObjectInfo, ObjectStore, Upload

MEMORY = 8 * 1024 * 1024
"""Bytes of pictures kept at most; a batch's older ones are read from the store."""
LARGEST_COVER = 4 * 1024 * 1024
"""Bytes of a cover that is read back for a page."""
LARGEST_CLIP = 64 * 1024 * 1024
"""Bytes of a video that is kept as a file while it is saved, or read back, for its pictures."""
# Bytes of such a file in memory; more goes to the disk.
_IN_MEMORY = 1024 * 1024


class Pictures:
    """Covers and moving previews by the video's URI, the oldest forgotten first.

    Args:
        moving: Whether previews are made while videos are saved: half a second of CPU each.
    """

    def __init__(self, *, moving: bool = False) -> None:
        self.moving = moving
        self._held = 0
        self._kept: OrderedDict[tuple[str, str], bytes] = OrderedDict()

    def keep(self, uri: str, kind: str, data: bytes) -> None:
        """Keep a picture for later.

        Args:
            uri: URI of the video.
            kind: `cover` or `preview`.
            data: The picture; one larger than all the memory is not kept.
        """
        self._held -= len(self._kept.pop((uri, kind), b""))
        if len(data) > MEMORY:
            return
        self._kept[uri, kind] = data
        self._held += len(data)
        while self._held > MEMORY:
            self._held -= len(self._kept.popitem(last=False)[1])

    def preview(self, video: StoredVideo) -> bytes | None:
        """The moving preview of a video that was saved just now: an animated WebP."""
        return self._kept.get((video.uri, "preview"))

    async def cover(self, store: ObjectStore, video: StoredVideo) -> bytes | None:
        """The video's cover; None when it has none or the store cannot be read now.

        Args:
            store: Where it lies beside the video.
            video: The saved video.
        """
        kept = self._kept.get((video.uri, "cover"))
        if kept is not None or video.cover_uri is None:
            return kept
        name = stem_of(store.relative_key(video.key)) + ".cover." + video.cover_uri.rpartition(".")[2]
        try:
            found = await store.get(name)
        except DestinationError:
            return None
        return found[0] if found and len(found[0]) <= LARGEST_COVER else None

    def copying(self) -> AbstractContextManager[IO[bytes] | None]:
        """A file for the bytes of a video while it is saved; None where no moving preview is wanted."""
        if not self.moving:
            return nullcontext()
        return tempfile.NamedTemporaryFile(prefix="genvideo-", suffix=".mp4", buffering=_IN_MEMORY)

    async def keep_preview(self, uri: str, copy: IO[bytes] | None) -> None:
        """Make and keep the moving preview of a saved video. Decoration: what goes wrong costs the preview alone.

        Args:
            uri: URI of the video.
            copy: Its bytes, from `copying`; empty for one that is too large.
        """
        from prefect_genvideo.media import moving_preview

        data = await _picture_of(copy, moving_preview)
        if data is not None:
            self.keep(uri, "preview", data)


async def first_picture(copy: IO[bytes] | None) -> bytes | None:
    """The first picture of a video that shows something, as a JPEG; None without a copy or a readable one."""
    from prefect_genvideo.media import cover_of

    return await _picture_of(copy, cover_of)


async def _picture_of(copy: IO[bytes] | None, make: Callable[[str], bytes | None]) -> bytes | None:
    try:
        if copy is None or not copy.tell():
            return None
        copy.flush()
        return await anyio.to_thread.run_sync(make, copy.name)
    except (GenVideoError, OSError, ValueError):  # a full disk, a clip that nobody here can decode
        return None


class CopyingUpload(Upload):
    """An upload whose bytes go into a file as well, as long as it is small and the disk takes it.

    Args:
        upload: The upload.
        copy: The file.
    """

    def __init__(self, upload: Upload, copy: IO[bytes]) -> None:
        self._upload = upload
        self._copy = copy
        self._copying = True

    async def write(self, chunk: bytes) -> None:
        """Take the next bytes."""
        await self._upload.write(chunk)
        if self._copying:
            try:
                self._copying = self._copy.tell() + len(chunk) <= LARGEST_CLIP
                if self._copying:
                    self._copy.write(chunk)  # of the page cache: no wait worth a thread
            except OSError:
                self._copying = False
            if not self._copying:
                self._empty()

    async def restart(self) -> None:
        """Begin again at byte 0."""
        await self._upload.restart()
        if self._copying:
            self._empty()

    async def digest(self) -> str:
        """SHA-256 (hex) of everything written so far."""
        return await self._upload.digest()

    async def commit(self) -> ObjectInfo:
        """Make the object visible."""
        return await self._upload.commit()

    def _empty(self) -> None:
        self._copy.seek(0)
        self._copy.truncate()
