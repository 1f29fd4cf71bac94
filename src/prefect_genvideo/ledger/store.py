"""The write-ahead record of every paid generation: one JSON object a key, in the destination's own store.

Every move is a conditional write, so two machines can never both believe that a key is theirs. The ledger fails
closed: a record that cannot be read or parsed is an error, never an absence. States and moves: `record`.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from itertools import count
from typing import Any, TypeVar

import anyio

from prefect_genvideo.errors import DestinationError, GenVideoError, InvalidRequestError
from prefect_genvideo.ledger.clocks import quiet_for
from prefect_genvideo.ledger.history import Durations
from prefect_genvideo.ledger.markers import FOLDER, OPEN, Markers
from prefect_genvideo.ledger.record import (
    PAID,
    SETTLED,
    LedgerRecord,
    LedgerState,
    Move,
    check_key,
    file_name,
    holder_is_gone,
    read_record,
)
from prefect_genvideo.models import Problem
from prefect_genvideo.polling import Backoff
from prefect_genvideo.storage.base import ObjectStore, PreconditionFailedError

# Nothing is paid before a claim, so a store that is down fails it soon: seconds.
_CLAIM_PATIENCE = 20.0
# Seconds for which an intent is taken to be under way at another holder.
_FRESH = 180.0
# A store that is down comes back within seconds or not for long; its load is one small write.
_BACKOFF = Backoff(first=0.5, ceiling=15.0)
# Somebody may make room in a store that is full, and the id of a paid task stands nowhere else.
_FULL = frozenset({"ENOSPC", "EDQUOT", "XMinioStorageFull", "QuotaExceeded"})
Sleep = Callable[[float], Awaitable[None]]
T = TypeVar("T")


class LedgerConflictError(DestinationError):
    """Somebody else moved the record between our read and our write."""


@dataclass(frozen=True)
class Entry:
    """A record as it was read or written, with the store's version of it."""

    record: LedgerRecord
    etag: str


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
        self.on_trouble: Callable[[str], None] = on_trouble or (lambda message: None)
        self.markers = Markers(store, self.on_trouble)
        self.durations = Durations(store, f"{FOLDER}/_history", self.on_trouble)

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
        return Entry(read_record(found[0], path, self.store.uri(path)), found[1])

    async def claim(self, draft: LedgerRecord, *, looked: bool = False, over: Entry | None = None) -> Entry | None:
        """Make the key ours by writing `draft` as an intent, if nobody else has it.

        Args:
            draft: The record to begin with; its `claim` is new.
            looked: The caller has just read the key, and found nothing or `over`.
            over: The rejected record that was found.

        Returns:
            The entry when the key is ours now; None when somebody else holds it (read it again).

        Raises:
            DestinationError: The store failed; nothing may be sent. Also when it has no conditional writes and
                `weak` was not chosen.
        """
        check_key(draft.key)
        held = over if looked and not self.weak else await self.read(draft.key)
        if held is not None and held.record.state != "rejected":
            return None
        await self._require_conditional_writes()
        # Every claim has an id of its own: one draft used twice at once is two claims, of which one wins.
        draft = draft.model_copy(update={"claim": uuid.uuid4().hex})
        try:
            told = f"Ledger {self.uri(draft.key)}: could not claim the key"
            patience = min(self.patience, _CLAIM_PATIENCE)
            return await self._patiently(partial(self._claim_once, draft, held), told, patience)
        except asyncio.CancelledError:
            with anyio.CancelScope(shield=True), anyio.move_on_after(_CLAIM_PATIENCE):
                await self._withdraw(draft)
            raise

    async def _claim_once(self, draft: LedgerRecord, held: Entry | None) -> Entry | None:
        # The marker goes first: a crash between the two leaves a marker without a record, never the reverse.
        await self.markers.open(draft.key)
        await self.markers.count(draft)
        data = draft.to_bytes()
        try:
            etag = await self.store.put(
                self.path(draft.key),
                data,
                content_type="application/json",
                if_absent=held is None and not self.weak,
                if_match=held.etag if held is not None and not self.weak else None,
            )
        except PreconditionFailedError:
            return await self._ours_after_all(self.path(draft.key), data)
        return await self._settle_weak_claim(Entry(draft, etag)) if self.weak else Entry(draft, etag)

    async def _withdraw(self, draft: LedgerRecord) -> None:
        """Free a key whose claim was cancelled: a write that had begun is finished, and nothing was sent."""
        try:
            ours = await self.read(draft.key)
            if ours is not None and (ours.record.claim, ours.record.state) == (draft.claim, "intent"):
                await self._move_once(ours, Move("rejected", {"reason": "cancelled before it was sent"}))
                await self.markers.uncount(draft)
        except DestinationError as error:
            self.on_trouble(f"A cancelled claim of {draft.key!r} stays in the ledger, nothing was sent: {error}")

    async def _require_conditional_writes(self) -> None:
        # Asked in the weak mode too: it shows missing permissions before money is spent.
        if await self.store.conditional_writes() or self.weak:
            return
        seen = "; ".join(await self.store.shortcomings())
        raise DestinationError(
            f"The store at {self.store.place} has no conditional writes{f' ({seen})' if seen else ''}, so two runs "
            "with one key could both pay. Keep the ledger in a store that has them (AWS S3, MinIO, Ceph, R2), "
            "or choose the weaker mode knowingly: ledger_mode='weak' on the destination block.",
            reason="no conditional writes",
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

    async def move(
        self, entry: Entry, state: LedgerState, *, give_up: bool = False, exact: bool = False, **facts: Any
    ) -> Entry:
        """Move a record on and confirm it. A store that is down is tried again for `patience` seconds.

        Args:
            entry: The record as last seen.
            state: Where to; must be allowed by `MOVES`.
            give_up: A person wants a paid task to be given up; no run may.
            exact: Only if nobody has written it since; else a move is made wherever it is still allowed.
            **facts: Attributes of the record to set.

        Returns:
            The entry as it stands now.

        Raises:
            LedgerConflictError: Somebody else moved it to where this move is not allowed any more.
            DestinationError: The store stayed down.
        """
        task_id = facts.get("task_id") or entry.record.task_id
        told = f"Ledger {self.uri(entry.record.key)}: could not write {state!r} (task {task_id})"
        write = partial(self._move_once, entry, Move(state, facts, give_up, exact))
        return await self._patiently(write, told, self.patience, task_id)

    async def _patiently(
        self, write: Callable[[], Awaitable[T]], told: str, patience: float, task_id: str | None = None
    ) -> T:
        began = time.monotonic()
        for failures in count(1):
            try:
                return await write()
            except LedgerConflictError:
                raise
            except DestinationError as error:
                passes = error.retryable or (task_id is not None and error.reason in _FULL)
                if not passes or time.monotonic() - began > patience:
                    raise DestinationError(f"{told}: {error}", task_id=task_id, reason=error.reason) from None
                delay = _BACKOFF.delay(failures)
                self.on_trouble(f"{told}: {error}; trying again in {delay:.1f} s")
                await self._sleep(delay)
        raise AssertionError("unreachable: patience ends first")

    async def _move_once(self, entry: Entry, move: Move) -> Entry:
        if self.weak:  # no condition guards the write, so at least it starts from what is there now
            entry = _newer(entry, await self._reread(entry.record), move)
        for _ in range(5):
            if problem := move.refused_by(entry.record):
                # What the caller saw may be old: only what is there now can refuse a move.
                now = await self._reread(entry.record)
                if now.etag == entry.etag:
                    raise _conflict(entry.record.key, problem)
                entry = _newer(entry, now, move)
                continue
            made, entry = await self._write(entry, move)
            if made:
                if move.state in SETTLED:
                    await self.markers.close(entry.record.key)
                return entry
        raise _conflict(entry.record.key, "is being written by others all the time")

    async def _write(self, entry: Entry, move: Move) -> tuple[bool, Entry]:
        """Write a move that is allowed; whether it is made now, and the record as it stands."""
        record = entry.record
        if record.state in SETTLED and move.state not in SETTLED:
            await self.markers.open(record.key)
        moved = move.applied_to(record)
        path, condition = self.path(record.key), None if self.weak else entry.etag
        try:
            etag = await self.store.put(path, moved.to_bytes(), content_type="application/json", if_match=condition)
        except PreconditionFailedError:
            now = await self._reread(record)
            if not move.is_made_by(now.record):
                return False, _newer(entry, now, move)
            return record.state != move.state, now  # a heartbeat of another time is not ours
        return True, Entry(moved, etag)

    async def _reread(self, record: LedgerRecord) -> Entry:
        now = await self.read(record.key)
        if now is None or now.record.claim != record.claim:
            raise _conflict(record.key, "was taken over by another claim")
        return now

    async def entries(self, *, unfinished_only: bool = False) -> AsyncIterator[Entry | GenVideoError]:
        """Every record in the store, in key order; an unreadable one comes as the error it is.

        Args:
            unfinished_only: Follow the markers of unfinished records instead of reading all of them.
        """
        folder = OPEN if unfinished_only else FOLDER
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

    async def register(self, record: LedgerRecord) -> Entry:
        """Record a paid task that was created elsewhere; the record that is there already where there is one.

        Args:
            record: With its `task_id`, and a key that is made of it.

        Raises:
            DestinationError: The store failed, or the key is held for another task.
        """
        task_id, submitted_at = record.task_id, record.submitted_at
        for _ in range(5):
            held = await self.read(record.key)
            if held is not None and held.record.task_id not in (None, task_id):
                raise DestinationError(
                    f"The ledger record {self.uri(record.key)} is of another task ({held.record.task_id}).",
                    task_id=task_id,
                    reason="another task",
                )
            if held is not None and held.record.state not in ("intent", "rejected"):
                return held
            # A run that died between the two writes left an intent; its task is known all the same.
            intent = held if held is not None and held.record.state == "intent" else await self.claim(record)
            if intent is not None:
                await self.markers.uncount(intent.record)  # it was not created, and so not paid for, here
                return await self.move(intent, "submitted", task_id=task_id, submitted_at=submitted_at)
        raise _conflict(record.key, "is being written by others all the time")

    async def adopt(self, key: str, task_id: str, *, force: bool = False) -> Entry:
        """Tie a task that exists at the provider to a key, so that the next run or reconcile fetches its video.

        Args:
            key: The idempotency key.
            task_id: The provider's id.
            force: Also when the record has another paid task, which would be given up.

        Raises:
            InvalidRequestError: The record has another task and `force` is off.
            DestinationError: There is no such record, or it has a video already.
        """
        entry = await self.existing(key)
        record = entry.record
        reason, now = f"adopted by hand; was {record.state}", datetime.now(timezone.utc)
        if record.state in PAID and record.task_id != task_id:
            entry = await self.release(key, force=force)
            reason += f" with task {record.task_id}"
        return await self.move(entry, "submitted", task_id=task_id, reason=reason, moderation=False, submitted_at=now)

    async def release(self, key: str, *, force: bool = False) -> Entry:
        """Free a key, so that the next run may create (and pay) again.

        Args:
            key: The idempotency key.
            force: Also when the record has a paid task, which would be given up, or is being sent right now.

        Raises:
            InvalidRequestError: The record has a task or is being sent, and `force` is off.
            DestinationError: There is no such record, or its video is saved.
        """
        entry = await self.existing(key)
        record, limit = entry.record, None
        age = await quiet_for(self.store, self.path(key), record, _FRESH) if record.state == "intent" else 0.0
        if record.state in PAID:
            limit = f"has the paid task {record.task_id}; reconcile fetches it. Give it up with force"
        elif record.state == "intent" and age < _FRESH and not holder_is_gone(record):
            limit = (
                f"is being sent by {record.holder} since {max(age, 0):.0f} s; look again in {_FRESH:g} s, or use force"
            )
        if limit is not None and not force:
            problem = Problem("key", key, limit, "prefect-genvideo ledger")
            raise InvalidRequestError("The key was not released.", problems=[problem])
        if record.state == "succeeded":
            entry = await self.move(entry, "submitted")
        return await self.move(entry, "rejected", give_up=force, reason=f"released by hand; was {record.state}")

    async def existing(self, key: str) -> Entry:
        """The record of `key`; a `DestinationError` when there is none."""
        entry = await self.read(key)
        if entry is None:
            raise DestinationError(
                f"The ledger at {self.store.uri(FOLDER)} has no record of {key!r}.", reason="no record"
            )
        return entry


def _conflict(key: str, what: str) -> LedgerConflictError:
    return LedgerConflictError(f"The ledger record of {key!r} {what}.", reason=what)


def _newer(entry: Entry, now: Entry, move: Move) -> Entry:
    """What is there now, to move it on instead; not where exactly `entry` was to be moved."""
    if move.exact and now.etag != entry.etag:
        raise _conflict(entry.record.key, "was just written by another run")
    return now
