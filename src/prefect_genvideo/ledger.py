"""The write-ahead record of every paid generation. One JSON object a key, in the destination's own store.

```
            ┌────────── release ──────────┐
            ▼                             │
(nothing) → intent → submitted → succeeded → saved
              │  ▲        └────→ failed
              │  └── rejected (nothing was made: the key is free)
              └────→ unknown  (a person decides: adopt or release)
```

Every move is a conditional write, so two machines can never both believe that a key is theirs. The ledger fails
closed: a record that cannot be read or parsed is an error, never an absence.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import anyio
from pydantic import ValidationError

from prefect_genvideo.errors import DestinationError, GenVideoError, InvalidRequestError
from prefect_genvideo.models import Problem
from prefect_genvideo.polling import History
from prefect_genvideo.records import MOVES, SETTLED, LedgerRecord, LedgerState, check_key, file_name
from prefect_genvideo.storage.base import ObjectStore, PreconditionFailedError

FOLDER = "_ledger"
_OPEN = f"{FOLDER}/_open"
_HISTORY = f"{FOLDER}/_history"
_DAYS = f"{FOLDER}/_days"
_LEARN_EVERY = 15.0
Sleep = Callable[[float], Awaitable[None]]


class LedgerConflictError(DestinationError):
    """Somebody else moved the record between our read and our write."""


@dataclass(frozen=True)
class Entry:
    """A record as it was read or written, with the store's version of it."""

    record: LedgerRecord
    etag: str


@dataclass(frozen=True)
class Spent:
    """How many creates were sent, and how many seconds of video they asked for."""

    generations: int
    seconds: float

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.generations + other.generations, self.seconds + other.seconds)

    def __sub__(self, other: Spent) -> Spent:
        return Spent(self.generations - other.generations, self.seconds - other.seconds)


class Ledger:
    """Reads and moves records in one store.

    Args:
        store: The destination's store.
        weak: Accept a store without conditional writes. Two processes that claim one key within the same second
            may then both create; the operator chooses that by hand.
        patience: Seconds for which a store that is down is tried again before a write fails.
        sleep: Seam for tests.
        on_trouble: Called with a message each time a write has to be repeated.
    """

    def __init__(
        self,
        store: ObjectStore,
        *,
        weak: bool = False,
        patience: float = 600,
        sleep: Sleep = anyio.sleep,
        on_trouble: Callable[[str], None] | None = None,
    ) -> None:
        self.store = store
        self.weak = weak
        self.patience = patience
        self._sleep = sleep
        self._histories: dict[str, History] = {}
        self._unwritten: dict[str, list[float]] = {}
        self._written_at: dict[str, float] = {}
        self.on_trouble: Callable[[str], None] = on_trouble or (lambda message: None)

    def path(self, key: str) -> str:
        """Key of the record in the store."""
        return f"{FOLDER}/{file_name(key)}"

    def uri(self, key: str) -> str:
        """URI of the record, for messages."""
        return self.store.uri(self.path(key))

    async def read(self, key: str) -> Entry | None:
        """The record of `key`, or None when there is definitely none.

        Raises:
            DestinationError: The store failed, or the record cannot be understood.
        """
        return await self._read_path(self.path(key))

    async def _read_path(self, path: str) -> Entry | None:
        found = await self.store.get(path)
        if found is None:
            return None
        data, etag = found
        try:
            return Entry(LedgerRecord.model_validate_json(data), etag)
        except ValidationError as error:
            where = self.store.uri(path)
            what = f"The ledger record {where} cannot be read ({error.error_count()} faults)"
            raise DestinationError(f"{what}; mend or remove it by hand, nothing was sent.") from None

    async def claim(self, draft: LedgerRecord) -> Entry | None:
        """Make the key ours by writing `draft` as an intent, if nobody else has it.

        Args:
            draft: The record to begin with; its `claim` is new.

        Returns:
            The entry when the key is ours now; None when somebody else holds it (read it again).

        Raises:
            DestinationError: The store failed; nothing may be sent. Also when it has no conditional writes and
                `weak` was not chosen.
        """
        check_key(draft.key)
        path, held = self.path(draft.key), await self.read(draft.key)
        if held is not None and held.record.state != "rejected":
            return None
        await self._require_conditional_writes()
        # The marker goes first: a crash between the two leaves a marker without a record, never the reverse.
        await self.store.put(self._marker(draft.key), b"", content_type="application/json")
        await self.store.put(self._day_marker(draft), b"", content_type="application/json")
        data = draft.to_bytes()
        try:
            etag = await self.store.put(
                path,
                data,
                content_type="application/json",
                if_absent=held is None and not self.weak,
                if_match=held.etag if held is not None and not self.weak else None,
            )
        except PreconditionFailedError:
            return await self._ours_after_all(path, data)
        return await self._settle_weak_claim(Entry(draft, etag)) if self.weak else Entry(draft, etag)

    async def _require_conditional_writes(self) -> None:
        if self.weak or await self.store.conditional_writes():
            return
        raise DestinationError(
            f"The store at {self.store.uri('')} has no conditional writes, so two runs with one key could both pay. "
            "Use a store that has them (AWS S3, MinIO, Ceph, R2), or choose the weaker mode knowingly: "
            "ledger_mode='weak' on the destination block."
        )

    async def _settle_weak_claim(self, entry: Entry) -> Entry | None:
        """Without conditional writes the last writer wins: wait until racing writers have written, then look."""
        await self._sleep(1.0)
        now = await self.read(entry.record.key)
        return now if now is not None and now.record.claim == entry.record.claim else None

    async def _ours_after_all(self, path: str, data: bytes) -> Entry | None:
        """A repeated write whose first answer was lost fails its own condition; equal bytes prove it was ours."""
        found = await self.store.get(path)
        if found is not None and found[0] == data:
            return Entry(LedgerRecord.model_validate_json(data), found[1])
        return None

    async def move(self, entry: Entry, state: LedgerState, **facts: Any) -> Entry:
        """Move a record on and confirm it. A store that is down is tried again for `patience` seconds.

        Args:
            entry: The record as last seen.
            state: Where to; must be allowed by `MOVES`.
            **facts: Attributes of the record to set.

        Returns:
            The entry as it stands now.

        Raises:
            LedgerConflictError: Somebody else moved it to where this move is not allowed any more.
            DestinationError: The store stayed down.
        """
        began, delay = time.monotonic(), 0.5
        while True:
            try:
                return await self._move_once(entry, state, facts)
            except LedgerConflictError:
                raise
            except DestinationError as error:
                late = time.monotonic() - began > self.patience
                told = f"Ledger {self.uri(entry.record.key)}: could not write {state!r}"
                told += f" (task {facts.get('task_id') or entry.record.task_id}): {error}"
                if late or not error.retryable:
                    raise DestinationError(told, task_id=facts.get("task_id")) from None
                self.on_trouble(f"{told}; trying again in {delay:g} s")
                await self._sleep(delay)
                delay = min(delay * 2, 15)

    async def _move_once(self, entry: Entry, state: LedgerState, facts: dict[str, Any]) -> Entry:
        for _ in range(5):
            record = entry.record
            if state != record.state and state not in MOVES[record.state]:
                raise LedgerConflictError(
                    f"The ledger record of {record.key!r} is {record.state}, not to be made {state}."
                )
            update = {"state": state, "updated_at": datetime.now(timezone.utc), **facts}
            moved = LedgerRecord.model_validate(record.model_dump() | update)
            path, data = self.path(record.key), moved.to_bytes()
            try:
                condition = None if self.weak else entry.etag
                etag = await self.store.put(path, data, content_type="application/json", if_match=condition)
            except PreconditionFailedError:
                done = await self._ours_after_all(path, data)
                if done is not None:
                    return done
                entry = await self._reread(record)
                continue
            if state in SETTLED:
                await self._forget_marker(record.key)
            return Entry(moved, etag)
        raise LedgerConflictError(f"The ledger record of {entry.record.key!r} is being written by others all the time.")

    async def _reread(self, record: LedgerRecord) -> Entry:
        now = await self.read(record.key)
        if now is None or now.record.claim != record.claim:
            raise LedgerConflictError(f"The ledger record of {record.key!r} was taken over by another claim.")
        return now

    def _day_marker(self, record: LedgerRecord) -> str:
        # What budgets need is in the name, so that one listing counts a thousand creates.
        name = file_name(record.key).removesuffix(".json")
        return f"{_DAYS}/{record.created_at:%Y-%m-%d}/{record.account}/{name}~{record.seconds or 0:g}s"

    async def spent(self, day: str, account: str) -> Spent:
        """What was sent on a UTC day (`2026-11-22`) for an account, as far as this store knows."""
        total = Spent(0, 0.0)
        async for info in self.store.list(f"{_DAYS}/{day}/{account}/"):
            seconds = info.key.rpartition("~")[2].removesuffix("s")
            total += Spent(1, float(seconds) if seconds.replace(".", "", 1).isdigit() else 0.0)
        return total

    async def unspend(self, record: LedgerRecord) -> None:
        """Take a create that made nothing out of its day's count. Best effort: a count too high is the safe side."""
        try:
            await self.store.delete(self._day_marker(record))
        except DestinationError as error:
            self.on_trouble(f"A refused create still counts for its day: {error}")

    def _marker(self, key: str) -> str:
        return f"{_OPEN}/{file_name(key)}"

    async def _forget_marker(self, key: str) -> None:
        # A marker too many costs one read while reconciling; not worth failing a finished record for.
        try:
            await self.store.delete(self._marker(key))
        except DestinationError as error:
            self.on_trouble(f"Ledger marker of {key!r} stays: {error}")

    async def entries(self, *, unfinished_only: bool = False) -> AsyncIterator[Entry | GenVideoError]:
        """Every record in the store, in key order; an unreadable one comes as the error it is.

        Args:
            unfinished_only: Follow the markers of unfinished records instead of reading all of them.
        """
        folder = _OPEN if unfinished_only else FOLDER
        async for info in self.store.list(f"{folder}/"):
            name = info.key.rsplit("/", 1)[-1]
            if not name.endswith(".json") or (not unfinished_only and info.key.count("/") > FOLDER.count("/") + 1):
                continue
            try:
                entry = await self._read_path(f"{FOLDER}/{name}")
            except DestinationError as error:
                yield error
                continue
            if entry is not None and not (unfinished_only and entry.record.state in SETTLED):
                yield entry

    async def history(self, bucket: str) -> History:
        """Durations seen so far of comparable generations; empty when there are none or they cannot be read."""
        if bucket not in self._histories:
            try:
                found = await self.store.get(f"{_HISTORY}/{file_name(bucket)}")
            except DestinationError:
                found = None
            self._histories[bucket] = History.from_json(found[0] if found else None)
        return self._histories[bucket]

    async def learn(self, bucket: str, seconds: float) -> None:
        """Add a finished duration. Best effort: a lost one only makes the next guess a little worse."""
        (await self.history(bucket)).add(seconds)
        pending = self._unwritten.setdefault(bucket, [])
        pending.append(seconds)
        now = time.monotonic()
        # A thousand videos that end together need not write a thousand times.
        if now - self._written_at.get(bucket, float("-inf")) < _LEARN_EVERY:
            return
        self._written_at[bucket], self._unwritten[bucket] = now, []
        path = f"{_HISTORY}/{file_name(bucket)}"
        try:
            found = await self.store.get(path)
            history = History.from_json(found[0] if found else None)
            for one in pending:
                history.add(one)
            data = history.to_json().encode()
            await self.store.put(path, data, content_type="application/json", if_match=found[1] if found else None)
        except PreconditionFailedError:
            return  # somebody else's durations were learned instead
        except DestinationError as error:
            self.on_trouble(f"A duration was not learned: {error}")

    async def adopt(self, key: str, task_id: str) -> Entry:
        """Tie a task that exists at the provider to a key, so that the next run or reconcile fetches its video.

        Raises:
            DestinationError: There is no such record, or it has a video already.
        """
        entry = await self.existing(key)
        reason = f"adopted by hand; was {entry.record.state}"
        now = datetime.now(timezone.utc)
        return await self.move(entry, "submitted", task_id=task_id, reason=reason, submitted_at=now)

    async def release(self, key: str, *, force: bool = False) -> Entry:
        """Free a key, so that the next run may create (and pay) again.

        Args:
            key: The idempotency key.
            force: Also when the record has a task id, i.e. a paid task that would be given up.

        Raises:
            InvalidRequestError: The record has a task and `force` is off.
            DestinationError: There is no such record, or its video is saved.
        """
        entry = await self.existing(key)
        record = entry.record
        if record.state == "submitted" and not force:
            limit = f"has the paid task {record.task_id}; reconcile fetches it. Give it up with force"
            raise InvalidRequestError(
                "The key was not released.", problems=[Problem("key", key, limit, "prefect-genvideo ledger")]
            )
        if record.state == "succeeded":
            entry = await self.move(entry, "submitted")
            return await self.release(key, force=force)
        return await self.move(entry, "rejected", reason=f"released by hand; was {record.state}")

    async def existing(self, key: str) -> Entry:
        """The record of `key`; a `DestinationError` when there is none."""
        entry = await self.read(key)
        if entry is None:
            raise DestinationError(f"The ledger at {self.store.uri(FOLDER)} has no record of {key!r}.")
        return entry
