"""The queue on disk: events that are not yet seen at the Prefect API, and ids of earlier deliveries."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from uuid import UUID

from prefect_genvideo.errors import InvalidRequestError
from prefect_genvideo.listen.shapes import Event

State = Literal["waiting", "sent", "confirmed", "dead"]
"""`waiting` for the API, `sent` to it, `confirmed` by reading it back, `dead`: set aside for a person."""
MAX_EVENT = 64 * 1024
"""Largest event in bytes of its JSON."""
# Of the file's layout; a newer one is refused.
_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    place INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    state TEXT NOT NULL,
    received REAL NOT NULL,
    due REAL NOT NULL,
    sends INTEGER NOT NULL DEFAULT 0,
    sent REAL NOT NULL DEFAULT 0,
    body TEXT,
    reason TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS events_state ON events (state, due, place);
CREATE INDEX IF NOT EXISTS events_received ON events (received) WHERE body IS NULL;
"""
_ADD = """
INSERT INTO events (id, state, received, due, body) VALUES (?, 'waiting', ?, ?, ?)
ON CONFLICT (id) DO UPDATE
SET state = 'waiting', due = excluded.due, received = excluded.received, sends = 0, reason = ''
WHERE state = 'dead'
"""


class QueueFullError(Exception):
    """The queue takes no more until some of it has been delivered, or a person has looked at what is set aside."""


def _encoded(event: Event) -> str:
    body = json.dumps({"event": event.name, "resource": event.resource, "payload": event.payload}, ensure_ascii=False)
    if len(body.encode()) > MAX_EVENT:
        raise ValueError(f"an event of at most {MAX_EVENT} bytes")
    return body


@dataclass(frozen=True)
class Queued:
    """An event on its way.

    Attributes:
        id: Of the event.
        received: When it came, in seconds since 1970.
        sends: How often the API has taken it.
        sent: When it did last, in seconds since 1970.
        body: The event's JSON.
    """

    id: UUID
    received: float
    sends: int
    sent: float
    body: dict[str, Any]


@dataclass(frozen=True)
class Depth:
    """How full the queue is.

    Attributes:
        counts: Events by state.
        size: Bytes of those that are not confirmed.
        oldest: When the oldest that waits came, in seconds since 1970; None when none waits.
    """

    counts: dict[State, int]
    size: int
    oldest: float | None


class DeliveryQueue:
    """A durable queue in one SQLite file, which one process owns. Safe to call from any thread.

    Each change is on disk when its method returns. An id is remembered after it was delivered, so that a repeat is
    known as one; for how long, `prune` decides.

    Args:
        path: The file; its folder must exist. It is readable by its owner only, as payloads are others' texts.
        max_events: Most events that are not confirmed.
        max_bytes: Most bytes that they take.

    Raises:
        InvalidRequestError: Another process owns the file, or it is no queue.
    """

    def __init__(self, path: Path, *, max_events: int = 10_000, max_bytes: int = 64 * 2**20) -> None:
        self.path, self.max_events, self.max_bytes = path, max_events, max_bytes
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        # Also around what is counted beside the file, so that two threads cannot both take the last place.
        self._lock = threading.RLock()
        self._db = sqlite3.connect(path, timeout=2, isolation_level="IMMEDIATE", check_same_thread=False)
        try:
            # Owned alone: two listeners on one file would send everything twice.
            self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._db.execute("PRAGMA journal_mode = WAL")
            # An answer of 202 is a promise: it outlives the power too.
            self._db.execute("PRAGMA synchronous = FULL")
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            if version > _VERSION:
                raise sqlite3.DatabaseError(f"it is of a newer version, {version}")
            self._db.executescript(_SCHEMA)
            self._db.execute(f"PRAGMA user_version = {_VERSION}")
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            self._db.close()
            raise InvalidRequestError(
                f"The queue {path} cannot be used ({error}); is another listener on it?"
            ) from None
        self._events, self._bytes = self._db.execute(
            "SELECT COUNT(*), COALESCE(SUM(LENGTH(CAST(body AS BLOB))), 0) FROM events WHERE body IS NOT NULL"
        ).fetchone()

    def add(self, events: Sequence[Event], now: float | None = None) -> int:
        """Take events, all of them or none, and return how many are new.

        One that was set aside and comes again is taken up again.

        Args:
            events: What a delivery asks for.
            now: Seconds since 1970; the clock's by default.

        Raises:
            QueueFullError: They do not fit.
            ValueError: One of them is larger than `MAX_EVENT`.
        """
        moment = time.time() if now is None else now
        taken, fresh, size = 0, 0, 0
        with self._lock:
            with self._db as db:
                for event in events:
                    body = _encoded(event)
                    known = db.execute("SELECT 1 FROM events WHERE id = ?", (str(event.id),)).fetchone()
                    taken += max(db.execute(_ADD, (str(event.id), moment, moment, body)).rowcount, 0)
                    if not known:
                        fresh, size = fresh + 1, size + len(body.encode())
                if fresh and (self._events + fresh > self.max_events or self._bytes + size > self.max_bytes):
                    raise QueueFullError
            self._events, self._bytes = self._events + fresh, self._bytes + size
        return taken

    def due(self, limit: int, now: float, state: State = "waiting") -> list[Queued]:
        """The next events to send, or to look for after they were sent, in the order in which they came.

        Args:
            limit: Most events.
            now: Seconds since 1970; later ones are not due yet.
            state: `waiting` or `sent`.
        """
        with self._lock:
            rows = self._db.execute(
                "SELECT id, received, sends, sent, body FROM events "
                "WHERE state = ? AND due <= ? ORDER BY place LIMIT ?",
                (state, now, limit),
            ).fetchall()
        return [Queued(UUID(row[0]), row[1], row[2], row[3], json.loads(row[4])) for row in rows]

    def sent(self, ids: Sequence[UUID], now: float, look_at: float) -> None:
        """Note that the API has taken events.

        Args:
            ids: Which.
            now: Seconds since 1970.
            look_at: When to look whether the API shows them.
        """
        self._set(ids, "state = 'sent', sends = sends + 1, sent = ?, due = ?", now, look_at)

    def look_again(self, ids: Sequence[UUID], look_at: float) -> None:
        """Put off looking for events that were sent.

        Args:
            ids: Which.
            look_at: When to look, in seconds since 1970.
        """
        self._set(ids, "due = ?", look_at)

    def send_again(self, ids: Sequence[UUID]) -> None:
        """Let events wait again that were sent in vain. Those that came first go first."""
        self._set(ids, "state = 'waiting', due = 0")

    def set_aside(self, ids: Sequence[UUID], reason: str) -> None:
        """Keep events for a person, and send them no more.

        Args:
            ids: Which.
            reason: Why.
        """
        self._set(ids, "state = 'dead', reason = ?", reason)

    def confirm(self, ids: Sequence[UUID]) -> None:
        """Note that events are delivered. Of each, its id alone is kept."""
        marks = ",".join("?" * len(ids))
        sized = f"SELECT COUNT(*), COALESCE(SUM(LENGTH(CAST(body AS BLOB))), 0) FROM events WHERE id IN ({marks})"  # noqa: S608 - question marks
        with self._lock:
            count, size = self._db.execute(f"{sized} AND body IS NOT NULL", [str(each) for each in ids]).fetchone()
            self._set(ids, "state = 'confirmed', body = NULL")
            self._events, self._bytes = self._events - count, self._bytes - size

    def _set(self, ids: Sequence[UUID], changes: str, *values: object) -> None:
        if not ids:
            return
        with self._lock, self._db as db:
            db.executemany(f"UPDATE events SET {changes} WHERE id = ?", [(*values, str(each)) for each in ids])  # noqa: S608 - our own words

    def revive(self) -> int:
        """Let all events that were set aside wait again, and return how many they are."""
        with self._lock, self._db as db:
            return db.execute(
                "UPDATE events SET state = 'waiting', due = 0, received = ?, sends = 0 WHERE state = 'dead'",
                (time.time(),),
            ).rowcount

    def prune(self, before: float) -> int:
        """Forget deliveries that came before a moment and were confirmed, and return how many they were.

        Args:
            before: Seconds since 1970.
        """
        with self._lock, self._db as db:
            return db.execute("DELETE FROM events WHERE body IS NULL AND received < ?", (before,)).rowcount

    def depth(self) -> Depth:
        """How full the queue is now."""
        with self._lock:
            counts = dict(self._db.execute("SELECT state, COUNT(*) FROM events GROUP BY state").fetchall())
            (oldest,) = self._db.execute(
                "SELECT MIN(received) FROM events WHERE state IN ('waiting', 'sent')"
            ).fetchone()
        return Depth(counts, self._bytes, oldest)

    @property
    def full(self) -> bool:
        """Whether not even one more event would fit."""
        return self._events >= self.max_events or self._bytes >= self.max_bytes

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            self._db.close()
