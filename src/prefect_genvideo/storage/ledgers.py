"""Stores for a ledger: one that makes do with "create, never replace", and one that keeps it apart from the videos.

The ledger needs writes that happen only if nothing changed. Where a store cannot replace under a condition, but can
refuse to overwrite, every version of a record is an object of its own: whoever creates the next number has made the
move. So the number alone is the name: with the state in it, two moves from one version would both succeed.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from copy import copy

import anyio

from prefect_genvideo.errors import DestinationError
from prefect_genvideo.storage.base import DAY, ObjectInfo, ObjectStore, PreconditionFailedError, Upload

LEDGER = "_ledger"
"""Folder of the ledger in a store."""
SHARED = f"{LEDGER}/_shared"
"""Folder of small objects that several processes change under conditions, as they do with records."""
CREATE_ONLY_MARK = f"{LEDGER}/_create-only"
"""Object that says how the records beside it are kept, so that no process takes them for missing."""
# A record lies directly in the folder; markers and histories in folders of their own are replaced without conditions.
_RECORD = re.compile(rf"{LEDGER}/(?:_shared/)?[^/]+\.json")
_VERSION = re.compile(rf"({_RECORD.pattern})/(\d{{4}})")
_MOST_VERSIONS = 9999
# Seconds to wait for a listing that does not show yet what a write has met.
_LISTING_PAUSES = (0.1, 0.4, 1.0, 2.0)


class StoreAround(ObjectStore):
    """A store that passes everything on to others; subclasses change what they are for.

    Args:
        videos: Where everything but the ledger is.
        ledger: Where keys below `_ledger` are.
    """

    def __init__(self, videos: ObjectStore, ledger: ObjectStore) -> None:
        self._videos = videos
        self._ledger = ledger

    def _of(self, key: str) -> ObjectStore:
        return self._ledger if key == LEDGER or key.startswith(f"{LEDGER}/") else self._videos

    @property
    def bucket(self) -> str | None:
        """Bucket of the videos."""
        return self._videos.bucket

    @property
    def place(self) -> str:
        """What a command line names the ledger's store by."""
        return self._ledger.place

    def uri(self, key: str) -> str:
        """Full URI of a key, in the store where it is."""
        return self._of(key).uri(key)

    def full_key(self, key: str) -> str:
        """Key with the prefix of the store where it is."""
        return self._of(key).full_key(key)

    async def get(self, key: str) -> tuple[bytes, str] | None:
        """Whole small object and its ETag."""
        return await self._of(key).get(key)

    async def put(
        self,
        key: str,
        data: bytes,
        *,
        content_type: str = "application/octet-stream",
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> str:
        """Write a small object."""
        return await self._of(key).put(key, data, content_type=content_type, if_absent=if_absent, if_match=if_match)

    async def head(self, key: str) -> ObjectInfo | None:
        """What is at the key."""
        return await self._of(key).head(key)

    async def age(self, key: str) -> float | None:
        """Seconds since the object was written, by the clock of the store where it is."""
        return await self._of(key).age(key)

    def list(self, prefix: str = "") -> AsyncIterator[ObjectInfo]:
        """Every object whose key starts with `prefix`; without a prefix those beside the ledger."""
        return self._of(prefix).list(prefix)

    async def delete(self, key: str) -> None:
        """Remove an object."""
        await self._of(key).delete(key)

    def read(self, key: str) -> AsyncIterator[bytes]:
        """The object's bytes in chunks."""
        return self._of(key).read(key)

    def upload(
        self,
        key: str,
        *,
        content_type: str,
        metadata: Mapping[str, str] | None = None,
        if_absent: bool = False,
    ) -> AbstractAsyncContextManager[Upload]:
        """Begin a streamed write."""
        return self._of(key).upload(key, content_type=content_type, metadata=metadata, if_absent=if_absent)

    async def presign(self, key: str, seconds: int) -> str | None:
        """A link that reads the object for a while."""
        return await self._of(key).presign(key, seconds)

    async def conditional_writes(self) -> bool:
        """Whether the ledger's store keeps conditions; the videos' store shows its permissions on the way."""
        await self._videos.exclusive_uploads()
        return await self._ledger.conditional_writes()

    async def exclusive_creates(self) -> bool:
        """Whether the ledger's store lets one of several creates win."""
        return await self._ledger.exclusive_creates()

    async def exclusive_uploads(self) -> bool:
        """Whether no upload of a video replaces an object."""
        return await self._videos.exclusive_uploads()

    async def shortcomings(self) -> tuple[str, ...]:
        """What the ledger's store was seen not to keep."""
        return await self._ledger.shortcomings()

    def tagged(self, tags: Mapping[str, str]) -> ObjectStore:
        """The same stores, with object tags on what goes beside the ledger."""
        store = copy(self)
        store._videos = self._videos.tagged(tags)
        return store

    def other_bucket(self, bucket: str) -> ObjectStore | None:
        """Another bucket of the videos' account."""
        return self._videos.other_bucket(bucket)

    async def sweep(self, older_than: float = DAY) -> int:
        """Remove what killed processes have left behind in both stores."""
        apart = await self._ledger.sweep(older_than) if self._ledger is not self._videos else 0
        return apart + await self._videos.sweep(older_than)


class CreateOnlyStore(StoreAround):
    """A store whose ledger records are replaced by creating their next version.

    Every version of `_ledger/<name>.json` is an object `_ledger/<name>.json/0001`, `…/0002` and so on; the highest is
    the record. A record that was written without versions, in another mode, counts as version 0.

    Args:
        store: One that refuses to overwrite when it is asked to.
    """

    def __init__(self, store: ObjectStore) -> None:
        super().__init__(store, store)
        self._marked = False

    @property
    def place(self) -> str:
        """What a command line names the store by."""
        return f"{self._ledger.place}?ledger_mode=create-only"

    async def conditional_writes(self) -> bool:
        """Whether the store refuses to overwrite, also between writers at the same time; marks the ledger's mode."""
        if not await self._ledger.exclusive_creates():
            return False
        if not self._marked:
            await self._ledger.put(CREATE_ONLY_MARK, b"")
            self._marked = True
        return True

    async def get(self, key: str) -> tuple[bytes, str] | None:
        """Whole object and its ETag, which for a record is the number of its version."""
        if not _RECORD.fullmatch(key):
            return await super().get(key)
        number = await self._highest(key)
        found = None if number is None else await self._ledger.get(_version(key, number))
        return None if found is None else (found[0], f"{number:04}")

    async def put(
        self,
        key: str,
        data: bytes,
        *,
        content_type: str = "application/octet-stream",
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> str:
        """Write an object; a record by creating its next version, which fails when another was faster."""
        if not _RECORD.fullmatch(key):
            return await super().put(key, data, content_type=content_type, if_absent=if_absent, if_match=if_match)
        if if_match is not None and if_match.isdigit():
            number = int(if_match)
        else:
            there = await self._highest(key)
            if (there is not None and if_absent) or if_match is not None:
                raise PreconditionFailedError(f"{self.uri(key)}: the record is there already, or it has changed")
            number = there or 0
        if number >= _MOST_VERSIONS:
            raise DestinationError(
                f"{self.uri(key)}: the record has {number} versions and takes no more", reason="too many versions"
            )
        version = _version(key, number + 1)
        try:
            await self._ledger.put(version, data, content_type=content_type, if_absent=True)
        except PreconditionFailedError:
            await self._until_listed(key, number + 1)
            raise
        return f"{number + 1:04}"

    async def head(self, key: str) -> ObjectInfo | None:
        """What is at the key."""
        if not _RECORD.fullmatch(key):
            return await super().head(key)
        number = await self._highest(key)
        info = None if number is None else await self._ledger.head(_version(key, number))
        return None if info is None else ObjectInfo(key, info.size, f"{number:04}", info.metadata)

    async def age(self, key: str) -> float | None:
        """Seconds since the object, or a record's last version, was written."""
        number = await self._highest(key) if _RECORD.fullmatch(key) else None
        return await self._ledger.age(key if number is None else _version(key, number))

    async def list(self, prefix: str = "") -> AsyncIterator[ObjectInfo]:
        """Every object whose key starts with `prefix`; a record once, whatever number of versions it has."""
        last: ObjectInfo | None = None
        async for info in self._ledger.list(prefix):
            found = _VERSION.fullmatch(info.key)
            key = found[1] if found else info.key
            if last is not None and last.key != key:
                yield last
            size = last.size if last is not None and last.key == key else info.size
            last = ObjectInfo(key, size, "", modified=info.modified)
        if last is not None:
            yield last

    async def delete(self, key: str) -> None:
        """Remove an object; of a record all versions, the highest last, so that a broken removal changes nothing."""
        if _RECORD.fullmatch(key):
            for number in await self._numbers(key):
                await self._ledger.delete(_version(key, number))
        else:
            await super().delete(key)

    async def _highest(self, key: str) -> int | None:
        return max(await self._numbers(key), default=None)

    async def _numbers(self, key: str) -> list[int]:
        """Numbers of the versions that are there, ascending; 0 is a record without versions."""
        numbers: list[int] = []
        async for info in self._ledger.list(key):
            found = _VERSION.fullmatch(info.key)
            if info.key == key or (found and found[1] == key):
                numbers.append(int(found[2]) if found else 0)
        return sorted(numbers)

    async def _until_listed(self, key: str, number: int) -> None:
        """Wait a little until the listing shows the version that was met, or whoever looks again would not see it."""
        for pause in _LISTING_PAUSES:
            if (await self._highest(key) or 0) >= number:
                return
            await anyio.sleep(pause)


def _version(key: str, number: int) -> str:
    return f"{key}/{number:04}" if number else key
