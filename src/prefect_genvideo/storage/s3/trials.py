"""What a store was found to keep, noted beside the ledger so that the next process need not try it all again.

A note says all it has to say in its name, so that the listing which finds it also reads it. It is not believed as it
stands. It has to be of this endpoint, bucket and prefix (buckets are copied from store to store), of the same
credentials (whose permissions the trial has shown), young, and of the same trial. Then one request sees that the
condition still holds: the note itself must not be created a second time. What refuses a destination is never noted.
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
from typing import TYPE_CHECKING, Literal

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
"""Folder of the notes, `<identity>-<time of the trial>-<findings>.json`: one a set of credentials and week."""
VALID_FOR = 7 * DAY
"""Seconds after which everything is tried again."""

MOST_NOTES = 16
"""Notes that are kept, the newest: a role lends every process credentials of its own, and each of them notes."""

_NOTE = re.compile(rf"{NOTES}([0-9a-f]{{16}})-([0-9]{{1,12}})-([0-9])([a-z])([01])([01])([01])([01])\.json")
# How a note's name says in which spelling an ETag is understood, if in any.
_SPELLINGS: dict[str, Literal["quoted", "bare"] | None] = {"q": "quoted", "b": "bare", "n": None}
_LETTERS = {spelling: letter for letter, spelling in _SPELLINGS.items()}
# How the keys of the notes and of the create-only mark begin: one listing shows both.
_BEGINNING = f"{LEDGER}/_c"
# Raised when the trial tries something else than before, which makes older notes void.
_TRIAL = 3
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


async def find_out(store: S3Store, *, note: bool) -> Promises:
    """What the store keeps: as noted and confirmed with two requests, else by trying everything.

    Args:
        store: The store.
        note: Whether to note what was found: where a ledger is kept, not beside videos alone.

    Raises:
        DestinationError: The store failed, or a permission is missing that cannot be done without.
    """
    there, identity = await _listed(store), await _identity(store)
    found = await _confirmed(store, there, identity)
    if found is None:
        found = await Probe(store).run()
        for fault in found.faults:
            logger.info("%s: %s", store.uri(""), fault)
        if note and identity and found.create is not None:
            await _note(store, found, identity, there)
    return replace(found, create_only=CREATE_ONLY_MARK in there)


async def _listed(store: S3Store) -> list[str]:
    """Keys of the notes and of the create-only mark; none where a listing is refused, for the trial says why."""
    try:
        return [info.key async for info in store.list(_BEGINNING)]
    except DestinationError as error:
        if error.retryable:
            raise
        return []


async def _confirmed(store: S3Store, notes: Collection[str], identity: str) -> Promises | None:
    """The noted findings, when the store still refuses what it refused; None when they are not to be believed."""
    valid = {key: found for key in notes if (found := _read(key, identity)) is not None}
    if not valid:
        return None
    key = max(valid)
    promises = valid[key]
    # Should it be accepted, the note stays what it is. A missing permission shows in the trial that follows.
    kept = await is_refused(lambda: store.send_body("put_object", key, _content(promises), **promises.creating()))
    return promises if kept else None


async def _note(store: S3Store, found: Promises, identity: str, older: Collection[str]) -> None:
    """Note what was found, in place of what these credentials have noted before, and of the oldest of others."""
    key = note_of(identity, int(time.time()), found)
    try:
        await store.send_body("put_object", key, _content(found), ContentType="application/json")
    except DestinationError as error:
        logger.info("%s: what the store keeps was not noted: %s", store.uri(""), error)
        return
    notes = sorted((int(named[2]), named[1], old) for old in older if (named := _NOTE.fullmatch(old)) and old != key)
    mine, others = ([old for _, owner, old in notes if (owner == identity) is own] for own in (True, False))
    for old in [*mine, *others[: 1 - MOST_NOTES]]:
        with suppress(DestinationError):  # a note too many only makes the listing longer
            await store.delete(old)


async def _identity(store: S3Store) -> str:
    """A hash of trial, place and credentials; empty where the credentials are not known."""
    reached_by = await store.run("get_credentials", "", Connection.reached_by)
    if reached_by is None:
        return ""
    facts = json.dumps([_TRIAL, store.uri(LEDGER), reached_by], sort_keys=True)
    return hashlib.sha256(facts.encode()).hexdigest()[:16]


def note_of(identity: str, tried_at: int, found: Promises) -> str:
    """Key of the note of a trial.

    Args:
        identity: Of store and credentials, 16 hex digits.
        tried_at: Seconds of the epoch.
        found: What the store keeps; it has a header for creating.
    """
    flags = "".join(str(int(kept)) for kept in (found.complete, found.md5_etags, found.signed, found.unsigned))
    header = CREATE_HEADERS.index(found.create or "")
    return f"{NOTES}{identity}-{tried_at}-{header}{_LETTERS[found.replace]}{flags}.json"


def _content(found: Promises) -> bytes:
    """What a note says to people; machines read its name."""
    return json.dumps(asdict(found), indent=1).encode()


def _read(key: str, identity: str) -> Promises | None:
    """The findings in a note of this store and these credentials that is still valid."""
    named = _NOTE.fullmatch(key)
    if named is None or named[1] != identity or not -_AHEAD < time.time() - int(named[2]) < VALID_FOR:
        return None
    header, letter = int(named[3]), named[4]
    if header >= len(CREATE_HEADERS) or letter not in _SPELLINGS:
        return None
    spelling = _SPELLINGS[letter]
    complete, md5_etags, signed, unsigned = (flag == "1" for flag in named.groups()[4:])
    faults = tuple(words for kept, words in ((spelling, UNREPLACED), (complete, UNGUARDED)) if not kept)
    return Promises(CREATE_HEADERS[header], spelling, complete, md5_etags, signed, unsigned, faults=faults)
