"""What a killed process leaves in a bucket, and how it is found: broken uploads and probes.

A listing of a bucket's broken uploads does not say who began them. So each upload in parts is noted in a small object
while it lasts, before it is begun, and only what was noted is ever aborted.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

from prefect_genvideo.errors import DestinationError
from prefect_genvideo.storage.s3.answers import dated_by
from prefect_genvideo.storage.s3.promises import PROBES

if TYPE_CHECKING:
    from prefect_genvideo.storage.s3.store import S3Store

logger = logging.getLogger(__name__)

NOTES = "_ledger/_uploads/"
"""Folder of the notes; the second of the epoch at which the upload was begun starts each name."""


class UploadNote:
    """Notes one upload in parts while it lasts. Best effort: a missing note only costs storage after a kill.

    Args:
        store: Where the note is.
        key: Where the object is to appear.
    """

    def __init__(self, store: S3Store, key: str) -> None:
        self._store = store
        self._key = key
        self._path = ""  # of the note, while there is one

    async def begins(self) -> None:
        """Note that the upload is about to begin."""
        self._path = f"{NOTES}{int(time.time())}-{uuid4().hex}.json"
        if not await self._write({"key": self._key}):
            self._path = ""

    async def begun(self, upload_id: str) -> None:
        """Note the store's id of the upload, by which it is aborted without a listing."""
        if self._path:
            await self._write({"key": self._key, "upload_id": upload_id})

    async def _write(self, told: dict[str, str]) -> bool:
        try:
            await self._store.put(self._path, json.dumps(told).encode())
        except DestinationError as error:
            logger.info("An upload in parts was not noted: %s", error)
            return False
        return True

    async def ended(self) -> None:
        """Forget the upload, which was completed or aborted."""
        path, self._path = self._path, ""
        if not path:
            return
        try:
            await self._store.delete(path)
        except DestinationError as error:
            logger.info("The note of an upload in parts stays: %s", error)


async def sweep(store: S3Store, older_than: float) -> int:
    """Remove probes and abort uploads in parts that processes of ours have left behind.

    Args:
        store: The bucket and prefix to go through.
        older_than: Seconds; what is younger may still be under way.

    Returns:
        How many were removed.

    Raises:
        DestinationError: The store cannot be listed, or refuses a removal.
    """
    removed = 0
    async for info in store.list(PROBES):
        if await _is_left(store, info.key, PROBES, older_than):
            await store.delete(info.key)
            removed += 1
    async for info in store.list(NOTES):
        if await _is_left(store, info.key, NOTES, older_than):
            removed += await _abort(store, info.key, older_than)
    # A probe of uploads is not noted: it lasts for a moment, and each process would pay for the note.
    for key, upload_id in await _begun_below(store, PROBES, older_than):
        if _age(key.removeprefix(PROBES)) > older_than:
            removed += await _abort_one(store, key, upload_id)
    return removed


async def _is_left(store: S3Store, key: str, folder: str, older_than: float) -> bool:
    """Whether something is old by our clock and by the store's: what another process has just begun, stays."""
    if _age(key.removeprefix(folder)) <= older_than:
        return False
    try:
        age = await store.age(key)
    except DestinationError as error:
        if error.status_code != 404:
            raise
        return False  # gone since it was listed
    return age is None or age > older_than


async def _abort(store: S3Store, note: str, older_than: float) -> int:
    found = await store.get(note)
    told = _parsed(found[0]) if found else {}
    key, upload_id = told.get("key"), told.get("upload_id")
    removed = 0
    if isinstance(key, str):
        # Without an id its process ended, or its note failed, just when the upload was begun.
        begun = [(key, upload_id)] if isinstance(upload_id, str) else await _begun_below(store, key, older_than)
        for at, each in begun:
            removed += await _abort_one(store, at, each) if at == key else 0
    await store.delete(note)
    return removed


async def _abort_one(store: S3Store, key: str, upload_id: str) -> int:
    try:
        await store.call("abort_multipart_upload", key, UploadId=upload_id)
    except DestinationError as error:
        if error.reason != "NoSuchUpload":
            raise
        return 0
    return 1


async def _begun_below(store: S3Store, prefix: str, older_than: float) -> list[tuple[str, str]]:
    """Keys and ids of old uploads whose keys begin so; none where the store does not list them."""
    full = store.full_key(prefix)
    try:
        listed = await store.run(
            "list_multipart_uploads",
            full,
            lambda connection: connection.client.list_multipart_uploads(Bucket=store.bucket, Prefix=full),
        )
    except DestinationError as error:
        logger.info("Whether uploads of %s were left behind cannot be told: %s", store.uri(prefix), error)
        return []
    old = (one for one in listed.get("Uploads", []) if (dated_by(listed, one.get("Initiated")) or 0.0) > older_than)
    found = ((one.get("Key", ""), one.get("UploadId", "")) for one in old)
    return [(store.relative_key(key), each) for key, each in found if key.startswith(full) and each]


def _parsed(data: bytes) -> dict[str, Any]:
    loads: Callable[[bytes], Any] = json.loads
    try:
        told = loads(data)
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", told) if isinstance(told, dict) else {}


def _age(name: str) -> float:
    """Seconds since the time at the beginning of a name; a name without one is new."""
    second = name.partition("-")[0]
    return time.time() - int(second) if second.isascii() and second.isdigit() and len(second) < 12 else 0.0
