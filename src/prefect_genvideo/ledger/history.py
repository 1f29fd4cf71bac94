"""How long comparable generations took, kept beside the ledger so that every machine learns from all of them."""

from __future__ import annotations

import time
from collections.abc import Callable

from prefect_genvideo.errors import DestinationError
from prefect_genvideo.ledger.record import file_name
from prefect_genvideo.polling import History
from prefect_genvideo.storage.base import ObjectStore, PreconditionFailedError

_LEARN_EVERY = 15.0


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
        self._histories: dict[str, History] = {}
        self._unwritten: dict[str, list[float]] = {}
        self._written_at: dict[str, float] = {}

    async def of(self, bucket: str) -> History:
        """Durations seen so far of comparable generations; empty when there are none or they cannot be read."""
        if bucket not in self._histories:
            try:
                found = await self._store.get(self._path(bucket))
            except DestinationError:
                found = None
            self._histories[bucket] = History.from_json(found[0] if found else None)
        return self._histories[bucket]

    async def learn(self, bucket: str, seconds: float) -> None:
        """Add the elapsed time of a finished generation.

        Args:
            bucket: Name of the history, see `record.bucket_of`.
            seconds: From create to end.
        """
        (await self.of(bucket)).add(seconds)
        pending = self._unwritten.setdefault(bucket, [])
        pending.append(seconds)
        now = time.monotonic()
        # A thousand videos that end together need not write a thousand times.
        if now - self._written_at.get(bucket, float("-inf")) < _LEARN_EVERY:
            return
        self._written_at[bucket], self._unwritten[bucket] = now, []
        try:
            await self._write(bucket, pending)
        except PreconditionFailedError:
            return  # somebody else's durations were learned instead
        except DestinationError as error:
            self._say(f"A duration was not learned: {error}")

    async def _write(self, bucket: str, pending: list[float]) -> None:
        found = await self._store.get(self._path(bucket))
        history = History.from_json(found[0] if found else None)
        for seconds in pending:
            history.add(seconds)
        data, condition = history.to_json().encode(), found[1] if found else None
        await self._store.put(self._path(bucket), data, content_type="application/json", if_match=condition)

    def _path(self, bucket: str) -> str:
        return f"{self._folder}/{file_name(bucket)}"
