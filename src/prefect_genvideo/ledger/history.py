"""Histories of how long comparable generations took, kept beside the ledger for all machines to learn from."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from prefect_genvideo.errors import DestinationError
from prefect_genvideo.ledger.record import file_name
from prefect_genvideo.polling import History
from prefect_genvideo.storage.base import ObjectStore, PreconditionFailedError

# Seconds after which a long run writes what it has learned; a short one does so once, at its end.
_LEARN_EVERY = 300.0


@dataclass
class _Known:
    """One history: as the store has it, and what was learned since.

    Attributes:
        seen: The store's own, extended by what was learned.
        etag: Its version in the store; None when there was none.
        unwritten: Durations that the store does not have yet.
        written_at: When it was read or written last, on the monotonic clock.
    """

    seen: History
    etag: str | None
    unwritten: list[float]
    written_at: float


class Durations:
    """Reads and extends histories in one store. Best effort: a lost one makes the next guess a little worse.

    Args:
        store: Where they lie.
        folder: Below which key.
        say: Called with a message when one could not be written.
    """

    def __init__(self, store: ObjectStore, folder: str, say: Callable[[str], None]) -> None:
        self._store = store
        self._folder = folder
        self._say = say
        self._known: dict[str, _Known] = {}
        self._lock = asyncio.Lock()

    async def of(self, bucket: str) -> History:
        """Durations seen so far of comparable generations; empty when there are none or they cannot be read."""
        return (await self._get(bucket)).seen

    async def _get(self, bucket: str) -> _Known:
        async with self._lock:  # many that begin to wait at once need one look together
            if bucket not in self._known:
                try:
                    self._known[bucket] = await self._read(bucket)
                except DestinationError:
                    self._known[bucket] = _Known(History(), None, [], time.monotonic())
            return self._known[bucket]

    async def _read(self, bucket: str) -> _Known:
        found = await self._store.get(self._path(bucket))
        data, etag = found or (None, None)
        return _Known(History.from_json(data), etag, [], time.monotonic())

    async def learn(self, bucket: str, seconds: float) -> None:
        """Add the elapsed time of a finished generation; it is written now and then, and by `flush`.

        Args:
            bucket: Name of the history, see `record.bucket_of`.
            seconds: From create to end.
        """
        known = await self._get(bucket)
        known.seen.add(seconds)
        known.unwritten.append(seconds)
        if time.monotonic() - known.written_at > _LEARN_EVERY:
            await self._write(bucket, known)

    async def flush(self) -> None:
        """Write what was learned and is not written yet."""
        for bucket, known in self._known.items():
            if known.unwritten:
                await self._write(bucket, known)

    async def _write(self, bucket: str, known: _Known) -> None:
        learned, known.unwritten = known.unwritten, []
        known.written_at = time.monotonic()
        try:
            try:
                await self._put(bucket, known)
            except PreconditionFailedError:  # another machine has learned something meanwhile
                now = await self._read(bucket)
                known.seen, known.etag = now.seen, now.etag
                for seconds in learned:
                    known.seen.add(seconds)
                await self._put(bucket, known)
        except DestinationError as error:  # of many that write at once, others were learned from instead
            if not isinstance(error, PreconditionFailedError):
                self._say(f"A duration was not learned: {error}")

    async def _put(self, bucket: str, known: _Known) -> None:
        path, data = self._path(bucket), known.seen.to_json().encode()
        put = partial(self._store.put, path, data, content_type="application/json")
        try:
            known.etag = await put(if_absent=known.etag is None, if_match=known.etag)
        except PreconditionFailedError:
            raise
        except DestinationError:  # a store without conditions: what another machine learns at the same time is lost
            known.etag = await put()

    def _path(self, bucket: str) -> str:
        return f"{self._folder}/{file_name(bucket)}"
