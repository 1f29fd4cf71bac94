"""What a store was found to keep, noted beside the ledger so that the next process need not try it all again.

A note is not believed as it stands. It has to be of this endpoint, bucket and prefix (buckets are copied from store to
store), of the same credentials (whose permissions the trial has shown), young, and of the same trial. Then one request
sees that the condition still holds: the note itself must not be created a second time. What refuses a destination is
never noted.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from prefect_genvideo.errors import DestinationError
from prefect_genvideo.storage.base import DAY
from prefect_genvideo.storage.ledgers import CREATE_ONLY_MARK, LEDGER
from prefect_genvideo.storage.s3.client import Connection
from prefect_genvideo.storage.s3.promises import (
    CREATE_HEADERS,
    UNGUARDED,
    UNREPLACED,
    Probe,
    Promises,
    is_refused,
)

if TYPE_CHECKING:
    from prefect_genvideo.storage.s3.store import S3Store

logger = logging.getLogger(__name__)

NOTE = f"{LEDGER}/_checked/found.json"
"""Object with the findings of the last whole trial."""
VALID_FOR = 7 * DAY
"""Seconds after which everything is tried again."""

# How the keys of the note and of the create-only mark begin: one listing shows both.
_BEGINNING = f"{LEDGER}/_c"
# Raised when the trial tries something else than before, which makes older notes void.
_TRIAL = 3
# Bytes; a note has some 300.
_LARGEST = 4096
# Seconds that the clock of the machine that wrote the note may be ahead.
_AHEAD = 300
# Stores whose promises a process remembers.
_MOST = 64
_known: OrderedDict[Hashable, Promises] = OrderedDict()


class _Note(BaseModel):
    """What is noted: which store was tried by which trial and when, and what it keeps (see `Promises`)."""

    model_config = ConfigDict(strict=True)

    trial: int
    uri: str
    endpoint: str
    credentials: str
    tried_at: int
    create: str
    replace: Literal["quoted", "bare"] | None
    complete: bool
    md5_etags: bool
    signed: bool
    unsigned: bool


def known(identity: Hashable) -> Promises | None:
    """What this process has found out about a store; None when it has not asked yet."""
    return _known.get(identity)


def remember(identity: Hashable, promises: Promises) -> None:
    """Keep what was found for the life of this process.

    Args:
        identity: Of the store: settings, bucket and prefix.
        promises: What it keeps.
    """
    _known[identity] = promises
    if len(_known) > _MOST:
        _known.popitem(last=False)


async def find_out(store: S3Store, *, note: bool) -> Promises:
    """What the store keeps: as noted and confirmed with three requests, else by trying everything.

    Args:
        store: The store.
        note: Whether to note what was found: where a ledger is kept, not beside videos alone.

    Raises:
        DestinationError: The store failed, or a permission is missing that cannot be done without.
    """
    try:
        there = [info.key async for info in store.list(_BEGINNING)]
    except DestinationError as error:
        if error.retryable:
            raise
        there = []  # the trial says what is missing
    found = await _confirmed(store) if NOTE in there else None
    if found is None:
        found = await Probe(store).run()
        for fault in found.faults:
            logger.info("%s: %s", store.uri(""), fault)
        if note and found.create is not None:
            await _note(store, found)
    return replace(found, create_only=CREATE_ONLY_MARK in there)


async def _confirmed(store: S3Store) -> Promises | None:
    """The noted findings, when the store still refuses what it refused; None when they are not to be believed."""
    found = await store.get(NOTE)
    if found is None or len(found[0]) > _LARGEST:
        return None
    data = found[0]
    identity = await _identity(store)
    promises = _parsed(data, identity) if identity else None
    if promises is None:
        return None
    # Should it be accepted, the note stays what it is. A missing permission shows in the trial that follows.
    kept = await is_refused(lambda: store.send_body("put_object", NOTE, data, **promises.creating()))
    return promises if kept else None


async def _note(store: S3Store, found: Promises) -> None:
    identity = await _identity(store)
    if identity is None:
        return
    note = _Note(**identity, tried_at=int(time.time()), **asdict(found))
    try:
        await store.send_body("put_object", NOTE, note.model_dump_json().encode(), ContentType="application/json")
    except DestinationError as error:
        logger.info("%s: what the store keeps was not noted: %s", store.uri(""), error)


async def _identity(store: S3Store) -> dict[str, Any] | None:
    reached_by = await store.run("get_credentials", "", Connection.reached_by)
    return None if reached_by is None else {"trial": _TRIAL, "uri": store.uri(NOTE), **reached_by}


def _parsed(data: bytes, identity: dict[str, Any]) -> Promises | None:
    """The findings in a note of this store that is still valid."""
    try:
        note = _Note.model_validate_json(data)
    except ValidationError:
        return None
    sound = (
        identity.items() <= note.model_dump().items(),
        -_AHEAD < time.time() - note.tried_at < VALID_FOR,
        note.create in CREATE_HEADERS,
    )
    if not all(sound):
        return None
    faults = tuple(words for kept, words in ((note.replace, UNREPLACED), (note.complete, UNGUARDED)) if not kept)
    return Promises(note.create, note.replace, note.complete, note.md5_etags, note.signed, note.unsigned, faults=faults)
