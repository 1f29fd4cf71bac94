"""The store in a local directory: whole objects or none, conditional writes, nothing outside."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import BinaryIO, TypeVar

from prefect_genvideo.storage._local_files import (
    Directory,
    digest_of,
    explain_os_error,
    load_metadata,
    passing_mount,
    store_metadata,
)
from prefect_genvideo.storage.base import CHUNK, DAY, ObjectInfo, ObjectStore, Upload
from prefect_genvideo.storage.keys import clean_key, clean_listing
from prefect_genvideo.storage.threads import finish, in_thread

T = TypeVar("T")


class LocalStore(ObjectStore):
    """A directory; keys are paths below it.

    A file appears at its key whole and synced to disk, by link or rename from a hidden file beside it. Conditional
    writes hold between processes of one machine, and between machines where the file system has locks. The ETag is
    the SHA-256 of the content.

    Args:
        path: The directory; made with the first write.
    """

    def __init__(self, path: str | Path) -> None:
        self._directory = Directory(Path(path).expanduser().absolute())

    @property
    def path(self) -> Path:
        """The directory."""
        return self._directory.root

    @property
    def bucket(self) -> None:
        """There is none."""
        return None

    def uri(self, key: str) -> str:
        """`file:///directory/key`; of an empty key that of the directory itself."""
        return (self.path / clean_key(key) if key else self.path).as_uri()

    def full_key(self, key: str) -> str:
        """The checked key itself: the path below the directory."""
        return clean_key(key)

    @property
    def passing_mount(self) -> str | None:
        """Kind of the mount that the directory is on, where it ends with its container or machine."""
        return passing_mount(self.path)

    async def get(self, key: str) -> tuple[bytes, str] | None:
        """Whole small file and its ETag, or None when there is none."""

        def fetch() -> tuple[bytes, str] | None:
            try:
                data = self._directory.target(key).read_bytes()
            except FileNotFoundError:
                return None
            return data, hashlib.sha256(data).hexdigest()

        return await self._run(key, fetch)

    async def put(
        self,
        key: str,
        data: bytes,
        *,
        content_type: str = "application/octet-stream",
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> str:
        """Write a small file at once and return its ETag; `content_type` is not kept."""

        def write() -> str:
            upload = LocalUpload(self._directory, key, {}, if_absent=if_absent, if_match=if_match)
            try:
                return upload.publish(data).etag
            finally:
                upload.close()

        return await self._run(key, write)

    async def head(self, key: str) -> ObjectInfo | None:
        """What is at the key; reads the file once, for the ETag."""

        def look() -> ObjectInfo | None:
            target = self._directory.target(key)
            try:
                etag, size = digest_of(target)
            except (FileNotFoundError, IsADirectoryError):
                return None
            return ObjectInfo(key, size, etag, load_metadata(target))

        return await self._run(key, look)

    async def age(self, key: str) -> float | None:
        """Seconds since the file was written, by the file system's own clock."""
        return await self._run(key, lambda: self._directory.age(key))

    async def list(self, prefix: str = "") -> AsyncIterator[ObjectInfo]:
        """Every file whose key starts with `prefix`; without ETags, which would mean to read them all."""
        folder = clean_listing(prefix).rpartition("/")[0]

        def walk() -> list[ObjectInfo]:
            found = [info for info in self._directory.walk(folder) if info.key.startswith(prefix)]
            return sorted(found, key=lambda info: info.key.encode())

        for info in await self._run(folder, walk):
            yield info

    async def delete(self, key: str) -> None:
        """Remove a file; no error when there is none."""
        await self._run(key, lambda: self._directory.remove(key))

    async def sweep(self, older_than: float = DAY) -> int:
        """Remove the files that killed processes were writing."""
        return await self._run("", lambda: self._directory.sweep(older_than))

    async def read(self, key: str) -> AsyncIterator[bytes]:
        """The file's bytes in chunks of 1 MiB; `DestinationError` when there is no such file."""
        file = await self._run(key, lambda: self._directory.target(key).open("rb"))
        try:
            while chunk := await self._run(key, lambda: file.read(CHUNK)):
                yield chunk
        finally:
            file.close()

    @asynccontextmanager
    async def upload(
        self,
        key: str,
        *,
        content_type: str,
        metadata: Mapping[str, str] | None = None,
        if_absent: bool = False,
    ) -> AsyncGenerator[LocalUpload, None]:
        """Begin a streamed write into a hidden file beside the target.

        `metadata` is kept as an extended attribute where the system has those.
        """
        upload = LocalUpload(self._directory, key, dict(metadata or {}), if_absent=if_absent)
        try:
            yield upload
        finally:
            await finish(in_thread(upload.close))

    async def presign(self, key: str, seconds: int) -> None:
        """There is no such thing for files."""
        return None

    async def conditional_writes(self) -> bool:
        """Always: by exclusive links and a file lock."""
        return True

    async def _run(self, key: str, work: Callable[[], T]) -> T:
        return await on_disk(self.path / key, work)


class LocalUpload(Upload):
    """A file that is being written under a hidden name, made with the first mebibyte or at the commit."""

    def __init__(
        self, directory: Directory, key: str, metadata: dict[str, str], *, if_absent: bool, if_match: str | None = None
    ) -> None:
        self._directory = directory
        self._key = clean_key(key)
        self._path = directory.root / key
        self._metadata = metadata
        self._if_absent = if_absent
        self._if_match = if_match
        self._temporary: Path | None = None
        self._file: BinaryIO | None = None
        self._buffer = bytearray()
        self._hash = hashlib.sha256()

    async def write(self, chunk: bytes) -> None:
        """Take the next bytes; they go to the disk by the mebibyte."""
        self._buffer += chunk
        if len(self._buffer) >= CHUNK:
            await on_disk(self._path, self._flush)

    async def restart(self) -> None:
        """Drop everything written so far and begin again at byte 0."""
        await finish(in_thread(self.close))
        self._buffer.clear()
        self._hash = hashlib.sha256()

    async def digest(self) -> str:
        """SHA-256 (hex) of everything written so far."""
        await on_disk(self._path, self._flush)
        return self._hash.hexdigest()

    async def commit(self) -> ObjectInfo:
        """Sync the file and give it its name."""
        return await on_disk(self._path, self.publish)

    def close(self) -> None:
        """Close and remove the hidden file; after a commit there is none."""
        with contextlib.suppress(OSError):
            if self._file is not None:
                self._file.close()
        with contextlib.suppress(OSError):
            if self._temporary is not None:
                self._temporary.unlink(missing_ok=True)
        self._file = self._temporary = None

    def _flush(self) -> tuple[BinaryIO, Path]:
        if self._temporary is None or self._file is None:
            self._temporary = self._directory.temporary(self._key)
            self._file = self._temporary.open("xb")
        self._hash.update(self._buffer)
        self._file.write(self._buffer)
        self._buffer.clear()
        return self._file, self._temporary

    def publish(self, rest: bytes = b"") -> ObjectInfo:
        """Write the rest, sync the file and give it its name; blocks."""
        self._buffer += rest
        file, temporary = self._flush()
        file.flush()
        os.fsync(file.fileno())
        size = os.fstat(file.fileno()).st_size
        file.close()
        store_metadata(temporary, self._metadata)
        self._directory.publish(temporary, self._key, if_absent=self._if_absent, if_match=self._if_match)
        return ObjectInfo(self._key, size, self._hash.hexdigest(), self._metadata)


async def on_disk(path: Path, work: Callable[[], T]) -> T:
    """Run blocking file work in a thread.

    Args:
        path: What is worked on, for the error.
        work: What to do.

    Raises:
        DestinationError: In place of an `OSError`.
    """
    try:
        return await in_thread(work)
    except OSError as error:
        raise explain_os_error(error, path) from error
