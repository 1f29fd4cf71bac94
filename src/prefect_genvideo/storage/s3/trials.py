"""What a store was found to keep, noted beside the ledger so that the next process need not try it all again.

A note says all it has to say in its name, so that the listing which finds it also reads it. It is not believed as it
stands. It has to be of this endpoint, bucket and prefix (buckets are copied from store to store), young, and of the
same trial. Then one request sees that the condition still holds: the note itself must not be created a second time.
Credentials that a note is not of show their permissions first. What refuses a destination is never noted.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import time
from collections import OrderedDict
from collections.abc import Collection, Hashable
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple

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

NOTES = f"{LEDGER}/_checked/"
"""Folder of the notes, `<store>-<credentials>-<time of the trial>-<findings>.json`."""
VALID_FOR = 7 * DAY
"""Seconds after which everything is tried again."""

_NOTE = re.compile(
    rf"{NOTES}([0-9a-f]{{16}})-([0-9a-f]{{16}})-([0-9]{{1,12}})-([0-9])([a-z])([01])([01])([01])([01])\.json"
)
# How a note's name says in which spelling an ETag is understood, if in any.
_SPELLINGS: dict[str, Literal["quoted", "bare"] | None] = {"q": "quoted", "b": "bare", "n": None}
_LETTERS = {spelling: letter for letter, spelling in _SPELLINGS.items()}
# How the keys of the notes and of the create-only mark begin: one listing shows both.
_BEGINNING = f"{LEDGER}/_c"
# Raised when the trial tries something else than before, which makes older notes void.
_TRIAL = 4
# Seconds that the clock of the machine that wrote a note may be ahead.
_AHEAD = 300
# Stores whose promises a process remembers.
_MOST = 64
_known: OrderedDict[Hashable, Promises] = OrderedDict()


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


class _Note(NamedTuple):
    """What a note says.

    Attributes:
        store: Hash of trial, endpoint, bucket and prefix, 16 hex digits.
        credentials: Hash of the credentials that have tried it, 16 hex digits.
        tried_at: Seconds of the epoch.
        found: What the store keeps; it has a header for creating.
    """

    store: str
    credentials: str
    tried_at: int
    found: Promises

    @property
    def key(self) -> str:
        """Key of the note."""
        found = self.found
        flags = "".join(str(int(kept)) for kept in (found.complete, found.md5_etags, found.signed, found.unsigned))
        header = CREATE_HEADERS.index(found.create or "")
        findings = f"{header}{_LETTERS[found.replace]}{flags}"
        return f"{NOTES}{self.store}-{self.credentials}-{self.tried_at}-{findings}.json"

    @property
    def is_young(self) -> bool:
        """Whether the trial was not too long ago, nor in the future."""
        return -_AHEAD < time.time() - self.tried_at < VALID_FOR


async def find_out(store: S3Store, *, note: bool) -> Promises:
    """What the store keeps: as noted and confirmed with a few requests, else by trying everything.

    Args:
        store: The store.
        note: Whether to note what was found: where a ledger is kept, not beside videos alone.

    Raises:
        DestinationError: The store failed, or a permission is missing that cannot be done without.
    """
    there = await _listed(store)
    access = await store.run("get_credentials", "", Connection.access)
    place = hashlib.sha256(json.dumps([_TRIAL, store.uri(LEDGER), access.endpoint]).encode()).hexdigest()[:16]
    believed = await _believed(store, there, place, access.credentials)
    found, tried_at = (believed.found, believed.tried_at) if believed else (await Probe(store).run(), int(time.time()))
    if believed is None:
        for fault in found.faults:
            logger.info("%s: %s", store.uri(""), fault)
    # Credentials that a role has lent to this process are no other's, so that a note of theirs helps nobody again.
    is_noted = believed is not None and (believed.credentials == access.credentials or access.is_lent)
    if note and found.create is not None and not is_noted:
        await _write(store, _Note(place, access.credentials, tried_at, found), there)
    return replace(found, create_only=CREATE_ONLY_MARK in there)


async def _listed(store: S3Store) -> list[str]:
    """Keys of the notes and of the create-only mark; none where a listing is refused, for the trial says why."""
    try:
        return [info.key async for info in store.list(_BEGINNING)]
    except DestinationError as error:
        if error.retryable:
            raise
        return []


async def _believed(store: S3Store, there: Collection[str], place: str, credentials: str) -> _Note | None:
    """A note that the store confirms: the newest of one's own, else of others; None where there is none."""
    notes = [note for key in there if (note := _read(key)) is not None and note.store == place and note.is_young]
    if not notes:
        return None
    note = max(notes, key=lambda one: (one.credentials == credentials, one.tried_at))
    if note.credentials != credentials and not await Probe(store).permitted(note.key):
        return None
    # Should it be accepted, the note stays what it is. A missing permission shows in the trial that follows.
    again = partial(store.send_body, "put_object", note.key, _content(note.found), **note.found.creating())
    kept = await is_refused(again)
    return note if kept else None


async def _write(store: S3Store, note: _Note, there: Collection[str]) -> None:
    """Note what was found, in place of what these credentials have noted before, and of what is void."""
    try:
        await store.send_body("put_object", note.key, _content(note.found), ContentType="application/json")
    except DestinationError as error:
        logger.info("%s: what the store keeps was not noted: %s", store.uri(""), error)
        return
    for key in {key for key in there if key.startswith(NOTES)} - {note.key}:
        old = _read(key)
        if old is None or not old.is_young or (old.store, old.credentials) == (note.store, note.credentials):
            with suppress(DestinationError):  # a note too many only makes the listing longer
                await store.delete(key)


def _content(found: Promises) -> bytes:
    """What a note says to people; machines read its name."""
    return json.dumps(asdict(found), indent=1).encode()


def _read(key: str) -> _Note | None:
    """What the name of a note says; None where this release does not understand it."""
    named = _NOTE.fullmatch(key)
    if named is None or int(named[4]) >= len(CREATE_HEADERS) or named[5] not in _SPELLINGS:
        return None
    spelling = _SPELLINGS[named[5]]
    complete, md5_etags, signed, unsigned = (flag == "1" for flag in named.groups()[5:])
    faults = tuple(words for kept, words in ((spelling, UNREPLACED), (complete, UNGUARDED)) if not kept)
    found = Promises(CREATE_HEADERS[int(named[4])], spelling, complete, md5_etags, signed, unsigned, faults=faults)
    return _Note(named[1], named[2], int(named[3]), found)
