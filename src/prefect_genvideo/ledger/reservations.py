"""Reservations of creates, written before they are sent: keys that may be unfinished, and what a day costs.

One object reserves the creates of up to a hundred rows. Its name tells day, account and what they cost, so that a
listing is enough to count a day. While it has content, its keys may be unfinished; when all of them have ended it is
written once more, empty. So it takes two writes a hundred videos to find every unfinished record again.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone

from pydantic import BaseModel, Field, ValidationError

from prefect_genvideo.errors import DestinationError
from prefect_genvideo.ledger.record import LedgerRecord, LedgerState
from prefect_genvideo.ledger.spent import (
    KEPT_FOR,
    NOTHING,
    Expected,
    Spent,
    labels_of,
    marked_in,
    names_with,
    one_create,
    price_of,
    spent_in,
)
from prefect_genvideo.models import Moment
from prefect_genvideo.prices.amounts import Money
from prefect_genvideo.storage.base import ObjectStore

FOLDER = "_ledger"
"""Folder of the ledger below the store's prefix."""
RESERVED = f"{FOLDER}/_reserved"
"""Folder of the reservations, `<day>/<account>/<id>~<amounts>~<creates>x<seconds>s.json`; see `Spent.name`."""
OLD_OPEN = f"{FOLDER}/_open"
"""Folder of the markers that release 0.1 wrote, one for each unfinished key; read until they are gone."""
# Likewise one for each create of a day.
_OLD_DAYS = f"{FOLDER}/_days"

# Rows that are reserved together. A crash leaves at most so many keys to look at, and counts so many creates too much.
_TOGETHER = 100
# Claims are made under a reservation for half of the time for which nobody else takes it for abandoned, so that clocks
# that differ by hours do no harm.
_GOOD_FOR = timedelta(hours=12)
_EXPIRES = timedelta(hours=24)
_NEVER = datetime.min.replace(tzinfo=timezone.utc)
_LARGEST = 1024 * 1024  # bytes; a hundred keys of 300 characters take 40 kB


class Reservation(BaseModel):
    """The content of an open reservation.

    Attributes:
        expires_at: Until when keys without a record may still be claimed under it.
        keys: Idempotency keys that may be unfinished.
    """

    version: int = Field(default=1, le=1)
    expires_at: Moment
    keys: list[str]


@dataclass(eq=False)
class Held:
    """A reservation that this process looks after: one of its own, or one that it has found.

    Attributes:
        path: Where it lies; empty until it is written.
        begun: Where it is to lie: a write whose answer was lost is repeated at the same place.
        day: UTC day to which it counts.
        account: Fingerprint of the account.
        creates: What its creates cost, by idempotency key.
        further: Further objects whose names hold the marks that the first has no room for.
        expires_at: See `Reservation`.
        claimed: Keys that were, or may have been, claimed under it.
        ended: Keys with nothing left to do.
        unpaid: Keys whose create made nothing.
        found: Whether another process wrote it.
        over: Whether its run has ended, so that nothing is claimed under it any more.
    """

    day: str
    account: str
    creates: dict[str, Expected]
    further: list[str] = field(default_factory=list[str])
    path: str = ""
    begun: str = ""
    expires_at: datetime = _NEVER
    claimed: set[str] = field(default_factory=set[str])
    ended: set[str] = field(default_factory=set[str])
    unpaid: set[str] = field(default_factory=set[str])
    found: bool = False
    over: bool = False
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    def takes(self, day: str, moment: datetime) -> bool:
        """Whether a claim may be made under it now.

        Args:
            day: UTC day to which the claim counts.
            moment: Now.
        """
        in_time = moment + _EXPIRES - _GOOD_FOR < self.expires_at
        return bool(self.path) and self.day == day and in_time and not self.over

    def spent(self, keys: Iterable[str]) -> Spent:
        """What these of its keys cost."""
        creates = (self.creates[key] for key in keys)
        return sum((one_create(create.seconds, create.price) for create in creates), NOTHING)

    def marked(self, keys: Iterable[str], but: Collection[str]) -> dict[str, Spent]:
        """What these of its keys cost by mark.

        Args:
            keys: Idempotency keys.
            but: Marks that are left out.
        """
        found = dict[str, Spent]()
        for create in (self.creates[key] for key in keys):
            for mark in [label.mark for label in create.labels if label.mark not in but]:
                found[mark] = found.get(mark, NOTHING) + one_create(None, create.price)
        return found


class Reservations:
    """Writes and reads the reservations of one ledger.

    Args:
        store: Where the ledger is.
        on_trouble: Called with a message when a reservation could not be closed, which costs a look and no more.

    Attributes:
        apart: Marks of labels that this process counts elsewhere, so that its names need not say them.
        on_settled: Called with a key and what it has cost in the end.
        written: How many reservations this process has written.
    """

    def __init__(self, store: ObjectStore, on_trouble: Callable[[str], None]) -> None:
        self._store = store
        self._on_trouble = on_trouble
        self.apart: frozenset[str] = frozenset()
        self.on_settled: Callable[[str, Money], None] | None = None
        self.written = 0
        self._own: dict[str, Held] = {}
        self._found: list[Held] = []
        self._paths: set[str] = set()

    def expect(self, account: str, creates: Mapping[str, Expected]) -> None:
        """Announce keys that will be claimed in about this order, so that they are reserved many at once.

        Args:
            account: Fingerprint of the account that pays for them.
            creates: What they will cost, by idempotency key.
        """
        keys = list(creates)
        for first in range(0, len(keys), _TOGETHER):
            held = Held("", account, {key: creates[key] for key in keys[first : first + _TOGETHER]})
            self._own |= dict.fromkeys(held.creates, held)

    async def cover(self, record: LedgerRecord, *, counted: bool = True, anew: bool = False) -> None:
        """Reserve a create before its record is written; those that are expected with it are reserved along.

        Args:
            record: The intent.
            counted: Whether it counts to what the day costs.
            anew: Whether another process may have closed the reservation that this one has.

        Raises:
            DestinationError: The store failed; nothing may be sent.
        """
        key, day = record.key, f"{record.created_at:%Y-%m-%d}"
        while True:
            held = self._own.get(key) or self._begin(record, counted)
            async with held.lock:
                if self._own.get(key) is not held:
                    continue  # it was closed or split while we waited for it
                if anew or not held.takes(day, datetime.now(timezone.utc)):
                    held = await self._write(await self._split(held, key), day)
                if counted and (key not in held.claimed or key in held.ended):
                    held.unpaid.discard(key)
                held.claimed.add(key)
                held.ended.discard(key)
                return

    def _begin(self, record: LedgerRecord, counted: bool) -> Held:
        seconds = (record.seconds or 0.0) if counted else 0.0
        create = Expected(seconds, price_of(record.money), labels_of(record))
        held = Held("", record.account, {record.key: create})
        if not counted:
            held.unpaid.add(record.key)
        self._own[record.key] = held
        return held

    async def _split(self, held: Held, key: str) -> Held:
        """A new reservation for what an old one has not been used for yet: its day is over, or its time."""
        if not held.path:
            return held
        rest = {one: held.creates.pop(one) for one in list(held.creates) if one == key or one not in held.claimed}
        held.claimed &= held.creates.keys()
        if held.claimed <= held.ended:
            await self._drop(held)
        renewed = Held("", held.account, rest, unpaid=held.unpaid & rest.keys())
        self._own |= dict.fromkeys(rest, renewed)
        return renewed

    async def _write(self, held: Held, day: str) -> Held:
        if held.day != day:
            held.day = day
            held.begun, *held.further = self._paths_of(held, held.creates.keys() - held.unpaid, uuid.uuid4().hex)
        held.expires_at = datetime.now(timezone.utc) + _EXPIRES
        for path in held.further:
            await self._store.put(path, b"", content_type="application/json")
        await self._put(held.begun, held.expires_at, held.creates)
        held.path = held.begun
        self.written += 1
        return held

    def _paths_of(self, held: Held, keys: Collection[str], begin: str) -> list[str]:
        names = names_with(begin, held.spent(keys), held.marked(keys, self.apart))
        paths = [f"{RESERVED}/{held.day}/{held.account}/{name}" for name in names]
        self._paths.update(paths)
        return paths

    async def _put(self, path: str, expires_at: datetime, keys: Iterable[str]) -> None:
        content = Reservation(expires_at=expires_at, keys=list(keys)).model_dump_json(indent=1).encode()
        await self._store.put(path, content, content_type="application/json")

    async def ended(self, key: str, *, unpaid: bool = False, cost: Money | None = None) -> None:
        """Note that nothing is left to do for a key. Best effort: a reservation too many costs a look, no more.

        Args:
            key: The idempotency key.
            unpaid: It is proven that its create made nothing.
            cost: What it has cost in the end, where that is known; it takes the place of what was expected at most.
        """
        if cost is not None and self.on_settled is not None:
            self.on_settled(key, cost)
        mine = self._own.get(key)
        for held in [*([mine] if mine else []), *(one for one in self._found if key in one.creates)]:
            held.ended.add(key)
            if cost is not None and key in held.creates:
                held.creates[key] = replace(held.creates[key], price=cost)
            if unpaid:
                held.unpaid.add(key)
            if held.ended >= held.creates.keys():
                await self._close(held)

    async def finish(self) -> None:
        """Close what this run has reserved; what it leaves unfinished stays reserved."""
        for held in set(self._own.values()):
            unused = held.creates.keys() - held.claimed
            held.ended |= unused
            held.unpaid |= unused
            left = held.claimed - held.ended
            if not left:
                await self._close(held)
            elif len(left) < len(held.creates):
                held.over = True
                await self._keep(held, left)

    async def _keep(self, held: Held, left: Iterable[str]) -> None:
        try:
            await self._put(held.path, held.expires_at, sorted(left))
        except DestinationError as error:
            self._on_trouble(f"A reservation names more keys than are unfinished: {error}")

    async def _close(self, held: Held) -> None:
        async with held.lock:
            if not held.claimed - held.ended:  # else a key was claimed once more while we waited
                await self._drop(held)

    async def _drop(self, held: Held) -> None:
        """Look after it no more, and close it where it was written."""
        self._own = {key: one for key, one in self._own.items() if one is not held}
        self._found = [one for one in self._found if one is not held]
        if held.path:
            await self._empty(held)

    async def _empty(self, held: Held) -> None:
        """Write what was really spent, and leave nothing where that is nothing."""
        paid = held.claimed - held.unpaid
        if held.found:
            now = [held.path] if spent_in(held.path).generations else []
        else:
            begin = held.path.rpartition("/")[2].partition("~")[0]
            now = self._paths_of(held, paid, begin) if paid else []
        try:
            for path in reversed(now):  # the first, which is the open one where nothing has changed, comes last
                if path not in held.further:
                    await self._store.put(path, b"", content_type="application/json")
            for path in {held.path, *held.further}.difference(now):
                await self._store.delete(path)
        except DestinationError as error:
            self._on_trouble(f"A reservation stays open, reconciling closes it: {error}")

    async def spent(self, day: str, account: str) -> Spent:
        """What other processes have sent or reserved on a day for an account, as far as this store knows.

        Args:
            day: UTC day, `2026-11-22`, or the begin of one, `2026-11-` for a month.
            account: Fingerprint of the account.
        """
        total = NOTHING
        for folder in (RESERVED, _OLD_DAYS):
            async for info in self._store.list(f"{folder}/{day}"):
                if info.key.split("/")[-2] == account and info.key not in self._paths:
                    total += spent_in(info.key)
        return total

    async def marked(self, month: str, marks: Collection[str]) -> dict[str, Spent]:
        """What labels have cost in a month on all accounts, where the names say it.

        Args:
            month: UTC month, `2026-11`.
            marks: Of the labels.
        """
        found = dict.fromkeys(marks, NOTHING)
        async for info in self._store.list(f"{RESERVED}/{month}-"):
            for mark, spent in marked_in(info.key, marks).items():
                found[mark] += spent
        return found

    async def open(self) -> AsyncIterator[Held | DestinationError]:
        """Every reservation that may have unfinished keys; one that cannot be read comes as the error it is.

        Raises:
            DestinationError: They cannot be listed.
        """
        async for info in self._store.list(f"{RESERVED}/"):
            if info.size == 0:
                continue
            try:
                held = await self._read(info.key, info.size)
            except DestinationError as error:
                yield error
                continue
            if held is not None:
                yield held

    async def _read(self, path: str, size: int) -> Held | None:
        found = await self._store.get(path) if size <= _LARGEST else (b"", "")
        if found is None or (not found[0] and size <= _LARGEST):
            return None  # closed since it was listed
        try:
            content = Reservation.model_validate_json(found[0])
        except ValidationError:
            told = f"The reservation {self._store.uri(path)} cannot be read"
            raise DestinationError(f"{told}; upgrade, or mend or remove it by hand.", reason="unreadable") from None
        keys = dict.fromkeys(content.keys, Expected())
        return Held("", "", keys, path=path, expires_at=content.expires_at, found=True)

    async def tidy(self, held: Held, states: Mapping[str, LedgerState], unread: Collection[str]) -> None:
        """Close a reservation of another process when nothing of it can be unfinished, else look after it from now on.

        Args:
            held: As `open` gave it.
            states: How the records of its keys stand, as far as there are some.
            unread: Keys whose records cannot be read.
        """
        expired = datetime.now(timezone.utc) > held.expires_at and await self._is_old(held.path)
        # A refused key may be claimed again by the run that reserved it, as long as that may live.
        over = {"saved", "failed", *(("rejected", None) if expired else ())}
        held.ended |= {key for key in held.creates if key not in unread and states.get(key) in over}
        self._found.append(held)
        left = held.creates.keys() - held.ended
        if not left:
            await self._close(held)
        elif expired and len(left) < len(held.creates):
            await self._keep(held, left)

    async def _is_old(self, path: str) -> bool:
        """Whether a reservation has expired by the store's clock, too: its own time is that of who wrote it."""
        try:
            age = await self._store.age(path)
        except DestinationError:
            return False  # it is looked at again another time
        return age is None or age > _EXPIRES.total_seconds()

    async def sweep(self) -> None:
        """Remove closed reservations that no budget looks at any more; raises `DestinationError`."""
        before = f"{datetime.now(timezone.utc) - KEPT_FOR:%Y-%m-%d}"
        async for info in self._store.list(f"{RESERVED}/"):
            if info.key.removeprefix(f"{RESERVED}/") >= before:
                return  # days come in their order
            if info.size == 0:
                await self._store.delete(info.key)
