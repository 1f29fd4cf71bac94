"""The object-store seam: what the ledger and the saver need of a place where bytes live.

Keys are relative to the store's prefix, separated by `/`, without a leading one; a key that breaks the rules of
`keys.clean_key` is an `InvalidRequestError`. Every failure of a store is a `DestinationError`; only a definite
"not there" reads as None.

A write that has begun is finished even when its task is cancelled; the cancellation is delivered afterwards. So a
cancelled writer may find its own record.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import anyio

from prefect_genvideo.errors import DestinationError

DAY = 24 * 3600.0
"""Seconds after which what a process has begun and not ended counts as left behind."""

TAGS_REFUSED = "object tags refused"
"""Reason of the `DestinationError` of a store that was to give its objects tags and takes none."""

CLASS_REFUSED = "storage class refused"
"""The same of a store that does not take the storage class of the videos."""

ENCRYPTION_REFUSED = "encryption refused"
"""The same of a store that does not encrypt as it is asked to."""

EXTRAS_REFUSED = frozenset({TAGS_REFUSED, CLASS_REFUSED, ENCRYPTION_REFUSED})
"""All of these reasons."""

CHUNK = 1024 * 1024
"""Bytes of one read or write: a thread hop for every 64 KiB would cost more than the disk."""


class PreconditionFailedError(DestinationError):
    """A conditional write lost: the object exists already, or is not the one that was read."""


class UploadLostError(DestinationError):
    """The store has dropped an upload, or holds other bytes of it than were sent: all go again, to a new upload."""

    retryable = True


@dataclass(frozen=True)
class ObjectInfo:
    """What a store knows about one object.

    Attributes:
        key: Key relative to the store's prefix.
        size: Bytes.
        etag: Opaque version of the content, without quotes. May be empty in listings, and of an upload to a store that
            tells it later.
        metadata: User metadata, lower-case names, where the store keeps any. Empty in listings.
        modified: When it was written, by the store's clock, where a listing tells.
    """

    key: str
    size: int
    etag: str
    metadata: Mapping[str, str] = field(default_factory=dict[str, str])
    modified: datetime | None = None


class Upload(ABC):
    """A write in progress. Nothing is visible at the key until `commit` returns."""

    @abstractmethod
    async def write(self, chunk: bytes) -> None:
        """Take the next bytes; holds a few parts in memory at most."""

    @abstractmethod
    async def restart(self) -> None:
        """Drop everything written so far and begin again at byte 0."""

    @abstractmethod
    async def digest(self) -> str:
        """SHA-256 (hex) of everything written so far."""

    @abstractmethod
    async def commit(self) -> ObjectInfo:
        """Make the object visible at its key and return what the store says of it.

        Raises:
            PreconditionFailedError: `if_absent` was asked for and somebody else's object is there.
            DestinationError: The store failed, or holds another number of bytes than were written.
        """


class ObjectStore(ABC):
    """A place where bytes live: a bucket below a prefix, or a directory."""

    @property
    @abstractmethod
    def bucket(self) -> str | None:
        """Bucket name; None where there is no such thing."""

    @abstractmethod
    def uri(self, key: str) -> str:
        """Full URI of a key, e.g. `s3://bucket/prefix/key` or `file:///data/videos/key`; of "" the store's own."""

    @abstractmethod
    def full_key(self, key: str) -> str:
        """Key with the store's prefix, as the bucket knows it."""

    @property
    def place(self) -> str:
        """What a command line names this store by."""
        return self.uri("")

    def relative_key(self, full_key: str) -> str:
        """The reverse of `full_key`."""
        return full_key.removeprefix(self.full_key("x")[:-1])

    @abstractmethod
    async def get(self, key: str) -> tuple[bytes, str] | None:
        """Whole small object and its ETag, or None when it is definitely not there."""

    @abstractmethod
    async def put(
        self,
        key: str,
        data: bytes,
        *,
        content_type: str = "application/octet-stream",
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> str:
        """Write a small object at once and return its ETag.

        Args:
            key: Where.
            data: The bytes.
            content_type: Media type.
            if_absent: Only when nothing is there (S3 `If-None-Match: *`).
            if_match: Only when the object still has this ETag (S3 `If-Match`).

        Raises:
            PreconditionFailedError: The condition does not hold; with `retryable` set two writers collided
                (HTTP 409) and neither may have won. A write of our own whose answer was lost is no failure.
            DestinationError: The store refused or failed; `retryable` says whether again helps.
        """

    @abstractmethod
    async def head(self, key: str) -> ObjectInfo | None:
        """What is at the key, or None when it is definitely not there."""

    async def age(self, key: str) -> float | None:
        """Seconds since the object was written, by the store's own clock alone; None where it does not tell."""
        del key
        return None

    @abstractmethod
    def list(self, prefix: str = "") -> AsyncIterator[ObjectInfo]:
        """Every object whose key starts with the text `prefix`, e.g. `_ledger/`, in byte order of the keys."""

    @abstractmethod
    async def delete(self, key: str) -> None:
        """Remove an object; no error when there is none."""

    @abstractmethod
    def read(self, key: str) -> AsyncIterator[bytes]:
        """The object's bytes in chunks of at most 1 MiB."""

    async def download(self, key: str, path: Path) -> None:
        """Copy an object into a file.

        Args:
            key: Of the object.
            path: The file, which is replaced. A failure leaves it incomplete.

        Raises:
            DestinationError: The store failed, or has no such object.
            OSError: The file cannot be written.
        """
        async with await anyio.open_file(path, "wb") as file:
            async for chunk in self.read(key):
                await file.write(chunk)

    async def upload_file(self, key: str, path: Path, *, content_type: str) -> tuple[ObjectInfo, str]:
        """Copy a file into an object; returns what the store says of it, and the SHA-256 (hex) of the bytes.

        Args:
            key: Where.
            path: The file.
            content_type: Media type.

        Raises:
            DestinationError: The store failed.
            OSError: The file cannot be read.
        """
        async with self.upload(key, content_type=content_type) as upload:
            async with await anyio.open_file(path, "rb") as file:
                while chunk := await file.read(CHUNK):
                    await upload.write(chunk)
            sha256 = await upload.digest()
            return await upload.commit(), sha256

    @abstractmethod
    def upload(
        self,
        key: str,
        *,
        content_type: str,
        metadata: Mapping[str, str] | None = None,
        if_absent: bool = False,
    ) -> AbstractAsyncContextManager[Upload]:
        """Begin a streamed write. Leaving the context without `commit` leaves nothing behind.

        Args:
            key: Where.
            content_type: Media type.
            metadata: ASCII facts to keep with the object where the store can, lower-case names.
            if_absent: `commit` raises `PreconditionFailedError` when somebody else's object is there. Where
                `exclusive_uploads()` is false it looks just before, which another writer may slip past.
        """

    @abstractmethod
    async def presign(self, key: str, seconds: int) -> str | None:
        """A link that reads the object for a while, or None where there is no such thing.

        Args:
            key: Of the object.
            seconds: How long the link lives.
        """

    @abstractmethod
    async def conditional_writes(self) -> bool:
        """Whether `put` honours `if_absent` and `if_match`, also between writers at the same time.

        The first question tries it out and remembers the answer; it also shows whether all permissions are there that
        saving a video will need.

        Raises:
            DestinationError: The store failed, or a permission is missing.
        """

    async def exclusive_creates(self) -> bool:
        """Whether `put` honours `if_absent`, also between writers at the same time; raises as `conditional_writes`."""
        return await self.conditional_writes()

    async def exclusive_uploads(self) -> bool:
        """Whether no `upload` with `if_absent` replaces an object; raises as `conditional_writes`."""
        return await self.conditional_writes()

    async def shortcomings(self) -> tuple[str, ...]:
        """What the store was seen not to keep, in words; raises as `conditional_writes`."""
        return ()

    def tagged(self, tags: Mapping[str, str]) -> ObjectStore:
        """This store, giving what it writes beside the ledger these object tags; itself where it keeps none."""
        del tags
        return self

    def other_bucket(self, bucket: str) -> ObjectStore | None:
        """Another bucket of the same account, to read from; None where there is no such thing."""
        del bucket
        return None

    async def sweep(self, older_than: float = DAY) -> int:
        """Remove what killed processes of ours have left behind, and return how many things that were.

        Args:
            older_than: Seconds; what is younger may still be under way.

        Raises:
            DestinationError: The store failed.
        """
        del older_than
        return 0
