"""Small objects in a store that several processes change, each by a conditional write of what it has read."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Generic, TypeVar

import anyio
from pydantic import BaseModel

from prefect_genvideo.errors import DestinationError
from prefect_genvideo.storage.base import ObjectStore, PreconditionFailedError
from prefect_genvideo.storage.ledgers import SHARED

S = TypeVar("S", bound=BaseModel)
# Writers that meet wait for a random part of a span that grows to this, in seconds. Sixty tries are half a minute.
_LONGEST_PAUSE = 0.5
_TRIES = 60
# Bytes; a thousand holds have some 150 kB.
_LARGEST = 4 * 1024 * 1024


class SharedObject(Generic[S]):
    """One object and what it says; changes of several writers come one after the other, none is lost.

    Args:
        store: The ledger's store.
        name: Name of the object below `_ledger/_shared`, without its ending.
        empty: What it says while it is not there.
        guarded: Whether the store keeps conditions; without them the last of two writers at once wins.
        tries: Writes that are tried where others come between.
        timed: Whether its age is asked for with each reading, and what was read before is never believed.

    Attributes:
        age: Seconds since what `change` is given was written, by the store's clock; None where it does not tell.
    """

    def __init__(
        self,
        store: ObjectStore,
        name: str,
        empty: S,
        *,
        guarded: bool = True,
        tries: int = _TRIES,
        timed: bool = False,
    ) -> None:
        self.path = f"{SHARED}/{name}.json"
        self._store = store
        self._empty = empty
        self._guarded = guarded
        self._tries = tries
        self._timed = timed
        self.age: float | None = None
        self._seen: tuple[S, str | None] | None = None

    async def change(self, change: Callable[[S], S]) -> S:
        """Change what it says, and return it as it is then.

        Args:
            change: Makes the new content of the present one; the same where nothing is to be written. Called again
                with what others have written meanwhile, and after a write whose answer was lost with our own.

        Raises:
            DestinationError: The store failed, the object cannot be read, or others write it all the time.
        """
        for attempt in range(self._tries):
            content, etag = await self._read() if self._timed or self._seen is None else self._seen
            wanted = change(content)
            if wanted == content:
                return content
            try:
                written = await self._store.put(
                    self.path,
                    wanted.model_dump_json().encode(),
                    content_type="application/json",
                    if_absent=etag is None and self._guarded,
                    if_match=etag if self._guarded else None,
                )
            except DestinationError as error:
                self._seen = None
                can_pass = isinstance(error, PreconditionFailedError) or error.retryable
                if not can_pass or attempt + 1 == self._tries:
                    raise
                longest = min(_LONGEST_PAUSE, 0.01 * 2**attempt)
                await anyio.sleep(random.uniform(0, longest))  # noqa: S311 - only parts writers that met
            else:
                self._seen = (wanted, written)
                return wanted
        raise AssertionError("unreachable: the last try raises")

    async def _read(self) -> tuple[S, str | None]:
        found = await self._store.get(self.path)
        # Should it be written anew between the two, the write that follows is refused and this begins again.
        self.age = await self._store.age(self.path) if found is not None and self._timed else None
        if found is None:
            return self._empty, None
        try:
            if len(found[0]) > _LARGEST:
                raise ValueError("too large")
            return type(self._empty).model_validate_json(found[0]), found[1]
        except ValueError:  # also what pydantic raises
            raise DestinationError(
                f"{self._store.uri(self.path)} cannot be read: upgrade prefect-genvideo here, or mend or remove it by "
                "hand; nothing was sent.",
                reason="unreadable",
            ) from None
