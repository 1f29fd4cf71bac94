"""A streamed write to S3: one PUT when everything fits into a part, else a multipart upload."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import uuid4

import anyio

from prefect_genvideo.errors import DestinationError
from prefect_genvideo.storage.base import ObjectInfo, PreconditionFailedError, Upload, UploadLostError
from prefect_genvideo.storage.s3.answers import plain_etag, plain_md5
from prefect_genvideo.storage.s3.orphans import UploadNote
from prefect_genvideo.storage.s3.places import SLOW_AFTER, Places, buffer_of, drop_buffers, give_back
from prefect_genvideo.storage.threads import finish, in_thread

if TYPE_CHECKING:
    from prefect_genvideo.storage.s3.store import S3Store

T = TypeVar("T")

logger = logging.getLogger(__name__)

MIB = 1024 * 1024
FIRST_BUFFER = MIB // 4
"""Bytes of the first buffer, before it gets the length of a part: a short video needs no megabytes of zeros."""
PARTS_PER_SIZE = 1_000
"""Without a known length the parts double after so many: 7 MiB parts reach 5 TiB before the 10,000th."""
_MD5 = re.compile(r"[0-9a-f]{32}")
WRITE_ID = "write-id"
"""Metadata name of the mark that tells our own write from somebody else's."""
CONFLICT_PAUSES = (0.1, 0.4, 1.0)
"""Seconds between tries when two writers collide (HTTP 409)."""


async def settle(
    store: S3Store, key: str, write_id: str, send: Callable[[], Awaitable[T]], *, creating: bool = True
) -> T | None:
    """Send a conditional write and find out whose it is when the store refuses.

    Args:
        store: Where to look.
        key: What is written.
        write_id: Mark of this write in the object's metadata.
        send: Sends the write; called again after a collision.
        creating: The condition is that nothing is there; else that the object is unchanged.

    Returns:
        The answer, or None when the refused write is a repetition of our own, which got through.

    Raises:
        PreconditionFailedError: Somebody else's object is there; with `retryable`, two writers collided.
        DestinationError: The store failed, or says at once that something and that nothing is there.
    """
    for pause in CONFLICT_PAUSES:
        try:
            return await send()
        except DestinationError as error:
            collided = isinstance(error, PreconditionFailedError) and error.retryable
            if not collided and await _is_own(store, key, write_id, error, creating):
                return None
        await anyio.sleep(pause)
    try:
        return await send()
    except DestinationError as error:
        if await _is_own(store, key, write_id, error, creating):
            return None
        raise error if error.retryable else _contradiction(store.uri(key), error) from error


async def _is_own(store: S3Store, key: str, write_id: str, error: DestinationError, creating: bool) -> bool:
    """Whether a refused write is there all the same; False when nothing is there that could have been in its way.

    Raises:
        DestinationError: `error`, which stands: somebody else's object is there, or it was no refusal.
    """
    refused = isinstance(error, PreconditionFailedError)
    # After a complete that got through unheard, its repetition finds no upload any more.
    if not refused and error.reason != "NoSuchUpload":
        raise error
    there = await store.head(key)
    if there is not None and there.metadata.get(WRITE_ID) == write_id:
        return True
    if there is not None or not (refused and creating):
        raise error
    return False


def _contradiction(uri: str, error: DestinationError) -> DestinationError:
    return DestinationError(
        f"{uri}: the store refuses to write since something is there, and reads that nothing is there. It may count "
        "the delete marker of an older version as an object: remove the marker, or use another key or prefix",
        status_code=error.status_code,
        reason="DeleteMarker",
    )


class S3Upload(Upload):
    """One object on its way. One part is filling, and as many as `places` allows are being sent.

    Args:
        store: The store's requests.
        key: Key in the store.
        options: Parameters of the object: content type, encryption, storage class.
        metadata: ASCII facts to keep with the object.
        part_size: Bytes of a part, before it grows.
        if_absent: Refuse to replace an object.
    """

    def __init__(
        self,
        store: S3Store,
        key: str,
        *,
        options: Mapping[str, Any],
        metadata: Mapping[str, str],
        part_size: int,
        if_absent: bool,
    ) -> None:
        self._store = store
        self._key = key
        self._write_id = uuid4().hex
        self._options = {**options, "Metadata": {**metadata, WRITE_ID: self._write_id}}
        self._if_absent = if_absent
        self._note = UploadNote(store, key)
        self._first_part_size = part_size
        self._places = Places()
        self._begin()

    def _begin(self) -> None:
        # Buffers have their full length from the start and are used again: growing ones are copied as they grow,
        # which needs their memory twice.
        self._buffer = bytearray()
        self._filled = 0
        self._sha256 = hashlib.sha256()
        self._size = 0
        self._part_size = self._first_part_size
        self._upload_id: str | None = None
        self._parts: list[dict[str, Any]] = []
        self._started = 0
        # Each with its buffer, which is in use until the task ends.
        self._sending: dict[asyncio.Task[dict[str, Any]], bytearray] = {}
        self._hashed: asyncio.Task[str] | None = None  # of the last part, after all earlier ones
        self._slow = False  # whether the store has ever let it wait for long
        # Nothing of a part is visible before the last request, so its MD5 may be compared when it has been sent.
        self._comparing = self._store.promises.md5_etags and not self._store.promises.signed

    async def write(self, chunk: bytes) -> None:
        """Take the next bytes; waits while a part is full and others are still on their way."""
        self._size += len(chunk)
        rest = memoryview(chunk)
        while rest:
            # A full buffer waits for one byte more: what fits a single part becomes a single PUT.
            if self._filled and self._filled == len(self._buffer):
                await self._make_room()
            if not self._filled:
                length = self._part_size if self._started else min(FIRST_BUFFER, self._part_size)
                self._buffer = buffer_of(length)
            step = min(len(self._buffer) - self._filled, len(rest))
            self._buffer[self._filled : self._filled + step] = rest[:step]
            self._filled += step
            rest = rest[step:]

    async def _make_room(self) -> None:
        if len(self._buffer) >= self._part_size or self._started:
            await self._send_part()
            return
        first, self._buffer = self._buffer, buffer_of(self._part_size)
        self._buffer[: self._filled] = first

    async def restart(self) -> None:
        """Drop everything written so far and begin again at byte 0."""
        await self.close()
        self._begin()

    async def digest(self) -> str:
        """SHA-256 (hex) of everything written so far."""
        if self._hashed is not None:
            await asyncio.wait([self._hashed])
        digest = self._sha256.copy()

        def update() -> None:
            with memoryview(self._buffer) as view:
                digest.update(view[: self._filled])

        if self._filled > FIRST_BUFFER:
            await in_thread(update)
        else:
            update()
        return digest.hexdigest()

    async def commit(self) -> ObjectInfo:
        """Make the object visible and return what the store says of it."""
        del self._buffer[self._filled :]
        if self._upload_id is None:
            params: dict[str, Any] = {**self._options, **await self._condition(self._if_absent)}
            answer = await settle(
                self._store,
                self._key,
                self._write_id,
                lambda: self._store.send_body("put_object", self._key, self._buffer, **params),
            )
            # Compared with what was sent, or refused if it were something else: the store holds it.
            if answer is not None and plain_etag(answer) and (plain_md5(answer) or self._store.promises.signed):
                return ObjectInfo(self._key, self._size, plain_etag(answer))
        else:
            answer = await self._complete()
            # The parts are proved, and the object is made of them.
            if answer is not None and plain_etag(answer) == self._etag_of_parts():
                # Copies of S3 that look at no signature may give one ETag here and another one later. To ask for that
                # one lets rclone read the whole object.
                return ObjectInfo(self._key, self._size, plain_etag(answer) if self._store.promises.signed else "")
        there = await self._store.head(self._key)
        if there is None or there.size != self._size:
            found = "nothing" if there is None else f"{there.size} bytes"
            raise DestinationError(
                f"{self._store.uri(self._key)}: wrote {self._size} bytes, the store holds {found}",
                retryable=True,
                reason="another size",
            )
        return there

    async def _condition(self, if_absent: bool, *, in_parts: bool = False) -> dict[str, Any]:
        """Parameters that guard the last request; where the store has none, a look is all there is."""
        if not if_absent:
            return {}
        promises = self._store.promises
        condition = promises.creating() if promises.complete or not in_parts else {}
        if not condition and await self._store.head(self._key) is not None:
            raise PreconditionFailedError(f"{self._store.uri(self._key)}: somebody else's object is there")
        return condition

    async def close(self) -> None:
        """Abort what was not committed. Never raises: the cause of the abort is the error to see."""
        if self._sending:
            await asyncio.wait(self._sending)
        for task in self._sending:
            if not task.cancelled():
                task.exception()
        self._sending.clear()
        self._places.hold(0)
        self._buffer = bytearray()
        drop_buffers()
        if self._upload_id is None:
            return
        try:
            await self._store.call("abort_multipart_upload", self._key, UploadId=self._upload_id)
        except DestinationError as error:
            if error.reason != "NoSuchUpload":
                logger.warning(
                    "%s: the multipart upload %s could not be aborted and costs storage until reconcile, which does so "
                    "after a day, or a lifecycle rule aborts it: %s",
                    self._store.uri(self._key),
                    self._upload_id,
                    error,
                )
                self._upload_id = None
                return  # the note stays: a later sweep may have more luck
        await self._ended()

    async def _ended(self) -> None:
        self._upload_id = None
        await self._note.ended()

    def _etag_of_parts(self) -> str | None:
        """The ETag that S3 gives an object of these parts: the MD5 of their MD5s, and how many there are."""
        etags = [plain_etag(part) for part in self._parts]
        if not all(_MD5.fullmatch(etag) for etag in etags):
            return None
        return f"{hashlib.md5(bytes.fromhex(''.join(etags)), usedforsecurity=False).hexdigest()}-{len(etags)}"

    async def _complete(self) -> dict[str, Any] | None:
        await self._send_part()
        while self._sending:
            await self._arrived()
        self._parts.sort(key=lambda part: part["PartNumber"])
        condition = await self._condition(self._if_absent, in_parts=True)
        try:
            answer = await settle(
                self._store,
                self._key,
                self._write_id,
                lambda: self._store.call(
                    "complete_multipart_upload",
                    self._key,
                    UploadId=self._upload_id,
                    MultipartUpload={"Parts": self._parts},
                    **condition,
                ),
            )
        except DestinationError as error:
            # After a conflict S3 takes no second complete of the same upload: its bytes have to be sent again.
            if (error.status_code == 409 and error.retryable) or error.reason in {"NoSuchUpload", "InvalidPart"}:
                raise UploadLostError(str(error), status_code=error.status_code, reason=error.reason) from error
            raise
        await finish(self._ended())
        return answer

    async def _create(self) -> None:
        # Run by finish(): a cancellation in between must not lose the id, or nobody could abort the upload.
        await self._note.begins()
        answer = await self._store.call("create_multipart_upload", self._key, **self._options)
        self._upload_id = answer["UploadId"]
        await self._note.begun(answer["UploadId"])

    async def _send_part(self) -> None:
        if self._upload_id is None:
            await finish(self._create())
        while any(task.done() for task in self._sending) or not self._places.hold(len(self._sending), slow=self._slow):
            await self._arrived()
        self._started += 1
        buffer, self._buffer, self._filled = self._buffer, bytearray(), 0
        self._hashed = asyncio.create_task(self._hash(self._hashed, buffer, self._comparing))
        part = self._send(self._started, buffer, self._hashed, self._comparing)
        self._sending[asyncio.create_task(part)] = buffer
        if self._started % PARTS_PER_SIZE == 0:
            self._part_size *= 2

    async def _hash(self, before: asyncio.Task[str] | None, buffer: bytearray, comparing: bool) -> str:
        """Hash a part while it is sent, after the one before it; returns its MD5 where that is compared."""
        if before is not None:
            await asyncio.wait([before])

        def work() -> str:
            self._sha256.update(buffer)
            return hashlib.md5(buffer, usedforsecurity=False).hexdigest() if comparing else ""

        return await in_thread(work)

    async def _send(self, number: int, buffer: bytearray, hashed: asyncio.Task[str], comparing: bool) -> dict[str, Any]:
        """Send a part, and see it hashed; returns its number and ETag."""
        place: dict[str, Any] = {"UploadId": self._upload_id, "PartNumber": number}
        md5 = hashed if comparing else None
        try:
            answer = await self._store.send_body("upload_part", self._key, buffer, md5=md5, **place)
        finally:
            await asyncio.wait([hashed])
        self._comparing = plain_md5(answer) == hashed.result() and self._comparing
        # Where the store gives no ETag, it is what S3 defines it to be: the part's MD5.
        etag = answer.get("ETag") or f'"{hashlib.md5(buffer, usedforsecurity=False).hexdigest()}"'
        return {"PartNumber": number, "ETag": etag}

    async def _arrived(self) -> None:
        """Wait a while until a part has arrived, whichever is first, and note all that have."""
        # Waiting on a task itself would pass a cancellation on to it, and close() has to see the part's end.
        arrived, _ = await asyncio.wait(self._sending, timeout=SLOW_AFTER, return_when=asyncio.FIRST_COMPLETED)
        self._slow = self._slow or not arrived
        for task in arrived:
            buffer = self._sending.pop(task)
            self._places.hold(len(self._sending) - 1)
            self._parts.append(task.result())
            if len(buffer) == self._part_size:
                give_back(buffer)
