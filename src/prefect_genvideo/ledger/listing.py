"""Goes through a ledger's records: all of them, or those that are unfinished without reading the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from prefect_genvideo.errors import DestinationError
from prefect_genvideo.ledger.record import LedgerState
from prefect_genvideo.ledger.reservations import FOLDER, OLD_OPEN, Held
from prefect_genvideo.ledger.store import Entry, Ledger

# Records read at the same time; each is one small request.
_AT_ONCE = 16
Found = Entry | DestinationError


async def every_record(ledger: Ledger, since: datetime | None = None) -> AsyncIterator[Found]:
    """Every record in the store, in key order; an unreadable one comes as the error it is.

    Args:
        ledger: Whose records.
        since: Only those written since then by the store's clock, and those of which a listing does not tell.

    Raises:
        DestinationError: The store cannot be listed.
    """
    paths = list[str]()
    async for info in ledger.store.list(f"{FOLDER}/"):
        old = since is not None and info.modified is not None and info.modified < since
        if info.key.endswith(".json") and info.key.count("/") == 1 and not old:
            paths.append(info.key)
        if len(paths) == _AT_ONCE:
            for _, found in await _read(ledger, paths):
                yield found
            paths.clear()
    for _, found in await _read(ledger, paths):
        yield found


async def unfinished(ledger: Ledger, *, tidy: bool = False) -> AsyncIterator[Found]:
    """Every unfinished record, found by what was reserved; what cannot be read comes as the error it is.

    Args:
        ledger: Whose records.
        tidy: Close reservations that have nothing unfinished any more, now or when the last of it ends.

    Raises:
        DestinationError: The reservations cannot be listed.
    """
    seen = set[str]()
    async for held in ledger.reservations.open():
        if isinstance(held, DestinationError):
            yield held
            continue
        found = await _reserved(ledger, held, tidy)
        for path in [path for path in found if path not in seen]:
            seen.add(path)
            yield found[path]
    async for path, left in _marked(ledger, tidy):
        if path not in seen:
            yield left


async def records_of(ledger: Ledger, keys: Sequence[str]) -> dict[str, Found]:
    """Return the records of keys, a few read at the same time; keys without one are left out.

    Args:
        ledger: Whose records.
        keys: Idempotency keys.
    """
    paths = {ledger.path(key): key for key in keys}
    return {paths[path]: found for path, found in await _read(ledger, list(paths))}


async def _reserved(ledger: Ledger, held: Held, tidy: bool) -> dict[str, Found]:
    """What is unfinished of a reservation, by path."""
    keys = {ledger.path(key): key for key in held.creates}
    found = dict(await _read(ledger, list(keys)))
    if tidy:
        states, unread = dict[str, LedgerState](), set[str]()
        for path, one in found.items():
            if isinstance(one, Entry):
                # One whose cost may still change is looked at again.
                states[keys[path]] = one.record.state if one.record.is_over else "submitted"
            else:
                unread.add(keys[path])
        await ledger.reservations.tidy(held, states, unread)
    return {path: one for path, one in found.items() if not _is_settled(one)}


async def _marked(ledger: Ledger, tidy: bool) -> AsyncIterator[tuple[str, Found]]:
    """What the markers of older releases name, one empty object a key."""
    async for info in ledger.store.list(f"{OLD_OPEN}/"):
        path = f"{FOLDER}/{info.key.rpartition('/')[2]}"
        for _, found in await _read(ledger, [path]):
            if not _is_settled(found):
                yield path, found
            elif tidy:
                await ledger.store.delete(info.key)


async def _read(ledger: Ledger, paths: Sequence[str]) -> list[tuple[str, Found]]:
    """The records that are there, a few at a time."""

    async def one(path: str) -> Found | None:
        try:
            return await ledger.read_path(path)
        except DestinationError as error:
            return error

    records = list[tuple[str, Found]]()
    for first in range(0, len(paths), _AT_ONCE):
        some = paths[first : first + _AT_ONCE]
        found = await asyncio.gather(*map(one, some))
        records += [(path, entry) for path, entry in zip(some, found, strict=True) if entry is not None]
    return records


def _is_settled(found: Found) -> bool:
    return isinstance(found, Entry) and found.record.is_over
