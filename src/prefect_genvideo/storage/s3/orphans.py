"""What a killed process leaves in a bucket, and how it is found: broken uploads and probes.

A listing of a bucket's broken uploads does not say who began them. So each upload in parts is noted in a small object
while it lasts, and only what was noted is ever aborted.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

from prefect_genvideo.errors import DestinationError
from prefect_genvideo.storage.s3.promises import PROBES

if TYPE_CHECKING:
    from prefect_genvideo.storage.base import ObjectStore
    from prefect_genvideo.storage.s3.store import S3Store

logger = logging.getLogger(__name__)

NOTES = "_ledger/_uploads/"
"""Folder of the notes; the second of the epoch at which the upload was begun starts each name."""


class UploadJournal:
    """Notes uploads in parts while they last. Best effort: a missing note only costs storage after a kill.

    Args:
        store: Where the notes are.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def begun(self, key: str, upload_id: str) -> str:
        """Note an upload and return the note's key; empty when it could not be written."""
        note = f"{NOTES}{int(time.time())}-{uuid4().hex}.json"
        try:
            await self._store.put(note, json.dumps({"key": key, "upload_id": upload_id}).encode())
        except DestinationError as error:
            logger.info("An upload in parts was not noted: %s", error)
            return ""
        return note

    async def ended(self, note: str) -> None:
        """Forget an upload that was completed or aborted."""
        try:
            await self._store.delete(note)
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
        if _age(info.key.removeprefix(PROBES)) > older_than:
            await store.delete(info.key)
            removed += 1
    async for info in store.list(NOTES):
        if _age(info.key.removeprefix(NOTES)) > older_than:
            removed += await _abort(store, info.key)
    return removed


async def _abort(store: S3Store, note: str) -> int:
    found = await store.get(note)
    told = _parsed(found[0]) if found else {}
    key, upload_id = told.get("key"), told.get("upload_id")
    removed = 0
    if isinstance(key, str) and isinstance(upload_id, str):
        try:
            await store.call("abort_multipart_upload", key, UploadId=upload_id)
            removed = 1
        except DestinationError as error:
            if error.reason != "NoSuchUpload":
                raise
    await store.delete(note)
    return removed


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
