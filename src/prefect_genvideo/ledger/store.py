"""The write-ahead record of every paid generation: one JSON object a key, in the destination's own store.

Every move is a conditional write, so two machines can never both believe that a key is theirs. The ledger fails
closed: a record that cannot be read or parsed is an error, never an absence. States and moves: `record`.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any, TypeVar

import anyio

from prefect_genvideo.errors import DestinationError
from prefect_genvideo.ledger.history import Durations
from prefect_genvideo.ledger.record import (
    SETTLED,
    LedgerRecord,
    LedgerState,
    Move,
    check_key,
    file_name,
    given_up,
    read_record,
)
from prefect_genvideo.ledger.reservations import FOLDER, Reservations
from prefect_genvideo.polling import Backoff, Sleep
from prefect_genvideo.storage.base import ObjectStore, PreconditionFailedError
from prefect_genvideo.storage.ledgers import CreateOnlyStore

# Nothing is paid before a claim, so a store that is down fails it soon: seconds.
_CLAIM_PATIENCE = 20.0
# Records of our own creates that are kept at hand; the store is asked for others.
_REMEMBERED = 2_000
# A store that is down comes back within seconds or not for long; its load is one small write.
_BACKOFF = Backoff(first=0.5, ceiling=15.0)
# Somebody may make room in a store that is full, and the id of a paid task stands nowhere else.
_FULL = frozenset({"ENOSPC", "EDQUOT", "XMinioStorageFull", "QuotaExceeded"})
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
        self.reservations = Reservations(store, self.on_trouble)
        self.durations = Durations(store, f"{FOLDER}/_history", self.on_trouble)
        self._sent: dict[str, Entry] = {}

    async def finish(self) -> None:
        """Write what a run leaves to others: durations it has learned, and the keys that stay unfinished."""
        await self.reservations.finish()
        await self.durations.flush()

    def sent(self, key: str) -> Entry | None:
        """The record of a create that this ledger has sent, as it wrote it last; others may have moved it since."""
        return self._sent.get(key)

    def forget(self, key: str) -> Entry | None:
        """Give `sent` up, from now on the store is asked."""
        return self._sent.pop(key, None)

    def _remember(self, entry: Entry) -> Entry:
        key = entry.record.key
        if entry.record.state in SETTLED:
            self.forget(key)
        elif key in self._sent or entry.record.state == "intent":
            self._sent[key] = entry
            if len(self._sent) > _REMEMBERED:
                del self._sent[next(iter(self._sent))]
        return entry

    @property
    def shared_store(self) -> ObjectStore | None:
        """The store, for small objects that are written often under conditions; None where it does not keep these."""
        return None if self.weak or isinstance(self.store, CreateOnlyStore) else self.store

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
        return await self.read_path(self.path(key))

    async def read_path(self, path: str) -> Entry | None:
        """The record at an object key below the store's prefix; see `read`."""
        found = await self.store.get(path)
        return None if found is None else Entry(read_record(found[0], path, self.store.uri(path)), found[1])

    async def quiet_for(self, record: LedgerRecord, believed: float) -> float:
        """Seconds since a record was written; below 0 where it is from "the future" and the store has no clock.

        Where our clock does not say "a moment ago", the store is asked: it has dated the write and its answer by one
        clock, its own.

        Args:
            record: As it was read.
            believed: Seconds up to which our own clock will do: to take it for younger than it is costs a wait only.

        Raises:
            DestinationError: The store failed.
        """
        age = -record.ahead
        by_store = None if 0 <= age <= believed else await self.store.age(self.path(record.key))
        return age if by_store is None else by_store

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
        await self.require_conditional_writes()
        # Every claim has an id of its own: one draft used twice at once is two claims, of which one wins.
        draft = draft.model_copy(update={"claim": uuid.uuid4().hex})
        try:
            told = f"Ledger {self.uri(draft.key)}: could not claim the key"
            patience = min(self.patience, _CLAIM_PATIENCE)
            claimed = await self._patiently(partial(self._claim_once, draft, held), told, patience)
        except asyncio.CancelledError:
            with anyio.CancelScope(shield=True), anyio.move_on_after(_CLAIM_PATIENCE):
                await self._withdraw(draft)
            raise
        if claimed is None:
            await self._withdraw(draft)
        return claimed

    async def set_aside(self, record: LedgerRecord) -> None:
        """Keep a record of a paid task that is given up, before its key is given to another one: its money is spent.

        Args:
            record: As it stands; nothing happens where it has no paid task.

        Raises:
            DestinationError: The store failed.
        """
        if record.task_id is None or record.submitted_at is None:
            return
        kept = given_up(record)
        if kept.key == record.key:
            return
        await self.reservations.cover(kept, counted=False)
        with suppress(PreconditionFailedError):  # an earlier try has written it, and its money may have been read since
            await self._put(kept, over=None)

    async def _claim_once(self, draft: LedgerRecord, held: Entry | None) -> Entry | None:
        if held is not None and held.record.task_id != draft.task_id:
            await self.set_aside(held.record)
        # Reserved first: a crash between the two leaves a reservation without a record, never the reverse.
        await self.reservations.cover(draft)
        try:
            etag = await self._put(draft, over=held)
        except PreconditionFailedError:
            return await self._ours_after_all(draft)
        claimed = Entry(draft, etag)
        return await self._settle_weak_claim(claimed) if self.weak else self._remember(claimed)

    async def _withdraw(self, draft: LedgerRecord) -> None:
        """Give up a claim under which nothing was sent; one that was taken for stale meanwhile stays reserved."""
        try:
            ours = await self.read(draft.key)
            if ours is None or ours.record.claim != draft.claim:
                await self.reservations.ended(draft.key, unpaid=True)
            elif ours.record.state == "intent":
                await self._move_once(ours, Move("rejected", {"reason": "cancelled before it was sent"}, unpaid=True))
        except DestinationError as error:
            self.on_trouble(f"A claim of {draft.key!r} was given up and stays in the ledger, nothing was sent: {error}")

    async def require_conditional_writes(self) -> None:
        """Refuse a store without them; the weak mode asks too: that shows missing permissions before money goes."""
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

    async def _ours_after_all(self, draft: LedgerRecord) -> Entry | None:
        """A repeated write whose first answer was lost fails its own condition; equal bytes prove it was ours."""
        found = await self.store.get(self.path(draft.key))
        return Entry(draft, found[1]) if found is not None and found[0] == draft.to_bytes() else None

    async def move(
        self,
        entry: Entry,
        state: LedgerState,
        *,
        give_up: bool = False,
        exact: bool = False,
        unpaid: bool = False,
        **facts: Any,
    ) -> Entry:
        """Move a record on and confirm it. A store that is down is tried again for `patience` seconds.

        Args:
            entry: The record as last seen.
            state: Where to; must be allowed by `MOVES`.
            give_up: A person wants a paid task to be given up; no run may.
            exact: Only if nobody has written it since; else a move is made wherever it is still allowed.
            unpaid: It is proven that the create made nothing, so that it does not count to its day.
            **facts: Attributes of the record to set.

        Returns:
            The entry as it stands now.

        Raises:
            LedgerConflictError: Somebody else moved it to where this move is not allowed any more.
            DestinationError: The store stayed down.
        """
        task_id = facts.get("task_id") or entry.record.task_id
        told = f"Ledger {self.uri(entry.record.key)}: could not write {state!r} (task {task_id})"
        write = partial(self._move_once, entry, Move(state, facts, give_up, exact, unpaid))
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
                if entry.record.is_over:
                    cost = entry.record.final_cost
                    await self.reservations.ended(entry.record.key, unpaid=move.unpaid, cost=cost)
                return entry
        raise _conflict(entry.record.key, "is being written by others all the time")

    async def _write(self, entry: Entry, move: Move) -> tuple[bool, Entry]:
        """Write a move that is allowed; whether it is made now, and the record as it stands."""
        record = entry.record
        if record.state in SETTLED and move.state not in SETTLED:
            await self.reservations.cover(record, counted=False, anew=True)
        moved = move.applied_to(record)
        try:
            etag = await self._put(moved, over=entry)
        except PreconditionFailedError:
            now = await self._reread(record)
            if record.state != move.state and move.is_made_by(now.record):
                return True, now
            return False, _newer(entry, now, move)  # new facts of the same state, and heartbeats, are not ours
        return True, self._remember(Entry(moved, etag))

    async def _put(self, record: LedgerRecord, *, over: Entry | None) -> str:
        """Write a record over the version that was seen, or where none was; in the weak mode over whatever is there."""
        return await self.store.put(
            self.path(record.key),
            record.to_bytes(),
            content_type="application/json",
            if_absent=over is None and not self.weak,
            if_match=over.etag if over is not None and not self.weak else None,
        )

    async def _reread(self, record: LedgerRecord) -> Entry:
        now = await self.read(record.key)
        if now is None or now.record.claim != record.claim:
            raise _conflict(record.key, "was taken over by another claim")
        return now

    async def register(self, record: LedgerRecord) -> Entry:
        """Record a paid task that was created elsewhere; the record that is there already where there is one.

        Args:
            record: With its `task_id`, and a key that is made of it.

        Raises:
            DestinationError: The store failed, or the key is held for another task.
        """
        for _ in range(5):
            held = await self.read(record.key)
            if held is not None and held.record.task_id not in (None, record.task_id):
                raise DestinationError(
                    f"The ledger record {self.uri(record.key)} is of another task ({held.record.task_id}).",
                    task_id=record.task_id,
                    reason="another task",
                )
            if held is not None and held.record.state not in ("intent", "rejected"):
                return held
            await self.reservations.cover(record, counted=False)  # it was not paid for here, or not today
            # A run that died between the two writes left an intent; its task is known all the same.
            intent = held if held is not None and held.record.state == "intent" else await self.claim(record)
            if intent is not None:
                return await self.move(intent, "submitted", task_id=record.task_id, submitted_at=record.submitted_at)
        raise _conflict(record.key, "is being written by others all the time")

    async def existing(self, key: str) -> Entry:
        """The record of `key`; a `DestinationError` when there is none."""
        entry = await self.read(key)
        if entry is None:
            told = f"The ledger at {self.store.uri(FOLDER)} has no record of {key!r}."
            raise DestinationError(told, reason="no record")
        return entry


def _conflict(key: str, what: str) -> LedgerConflictError:
    return LedgerConflictError(f"The ledger record of {key!r} {what}.", reason=what)


def _newer(entry: Entry, now: Entry, move: Move) -> Entry:
    """What is there now, to move it on instead; not where exactly `entry` was to be moved."""
    if move.exact and now.etag != entry.etag:
        raise _conflict(entry.record.key, "was just written by another run")
    return now
