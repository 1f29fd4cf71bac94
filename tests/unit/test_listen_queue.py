"""The event door's queue: on disk, bounded, each delivery once."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from prefect_genvideo.errors import InvalidRequestError
from prefect_genvideo.listen.queue import MAX_EVENT, DeliveryQueue, QueueFullError
from prefect_genvideo.listen.shapes import Event
from tests.fixtures.prefect import child_env


def event(text: str = "x", event_id: UUID | None = None) -> Event:
    """An event that wants a video."""
    return Event(event_id or uuid4(), "video.requested", {"prefect.resource.id": "shop.1"}, {"prompt": text})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the queue is."""
    return tmp_path / "queue.sqlite"


@pytest.fixture
def queue(file: Path) -> Iterator[DeliveryQueue]:
    """An empty queue of three events."""
    opened = DeliveryQueue(file, max_events=3)
    yield opened
    opened.close()


def test_a_delivery_is_taken_once_and_goes_first_come_first(queue: DeliveryQueue) -> None:
    """Also when it is repeated after it was delivered."""
    first, second = event("1"), event("2")
    assert queue.add([first, second], now=1) == 2
    assert queue.add([first], now=2) == 0
    assert [each.id for each in queue.due(10, now=3)] == [first.id, second.id]
    assert queue.due(10, now=3)[0].body["payload"] == {"prompt": "1"}
    queue.sent([first.id], now=3, look_at=5)
    assert queue.due(10, now=4, state="sent") == []
    assert [each.id for each in queue.due(10, now=5, state="sent")] == [first.id]
    queue.confirm([first.id])
    assert queue.add([first], now=6) == 0
    assert queue.depth().counts == {"confirmed": 1, "waiting": 1}


def test_it_is_bounded_in_count_and_bytes_and_takes_all_or_nothing(queue: DeliveryQueue, tmp_path: Path) -> None:
    """What is delivered makes room."""
    events = [event() for _ in range(4)]
    with pytest.raises(QueueFullError):
        queue.add(events)
    assert queue.depth().counts == {}
    queue.add(events[:3])
    assert queue.full
    assert queue.add(events[:3]) == 0, "a repeat needs no room"
    with pytest.raises(QueueFullError):
        queue.add(events[3:])
    queue.confirm([events[0].id])
    assert queue.add(events[3:]) == 1
    small = DeliveryQueue(tmp_path / "small.sqlite", max_bytes=300)
    small.add([event("x" * 100)])
    with pytest.raises(QueueFullError):
        small.add([event("x" * 100)])
    small.close()
    with pytest.raises(ValueError, match=str(MAX_EVENT)):
        queue.add([event("x" * MAX_EVENT)])


def test_threads_cannot_both_take_the_last_place(tmp_path: Path) -> None:
    """Deliveries come side by side."""
    queue = DeliveryQueue(tmp_path / "shared.sqlite", max_events=20)

    def add(_: int) -> int:
        try:
            return queue.add([event()])
        except QueueFullError:
            return 0

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(add, range(40))) == 20
    assert queue.depth().counts == {"waiting": 20}
    queue.close()


def test_what_was_taken_outlives_the_process(file: Path) -> None:
    """It is killed right after it has taken an event."""
    program = """
import os, signal, sys, uuid
from pathlib import Path
from prefect_genvideo.listen.queue import DeliveryQueue
from prefect_genvideo.listen.shapes import Event
queue = DeliveryQueue(Path(sys.argv[1]))
queue.add([Event(uuid.UUID(int=7), "a", {"prefect.resource.id": "b"}, {})])
os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = subprocess.run([sys.executable, "-c", program, file], env=child_env(), check=False)
    assert ended.returncode == -9
    queue = DeliveryQueue(file, max_events=1)
    assert [each.id for each in queue.due(10, now=9e9)] == [UUID(int=7)]
    assert queue.full, "what it holds is counted anew"
    queue.close()


def test_one_process_owns_it(queue: DeliveryQueue, file: Path) -> None:
    """Two would send everything twice. Nobody else may read it."""
    with pytest.raises(InvalidRequestError):
        DeliveryQueue(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_file_that_is_no_queue_or_a_newer_one_is_left_alone(file: Path) -> None:
    """Its content stays."""
    file.write_bytes(b"some other file, of a person who mistyped")
    with pytest.raises(InvalidRequestError):
        DeliveryQueue(file)
    assert file.read_bytes().startswith(b"some other file")
    file.unlink()
    with closing(sqlite3.connect(file)) as newer:
        newer.execute("PRAGMA user_version = 9")
        newer.commit()
    with pytest.raises(InvalidRequestError):
        DeliveryQueue(file)


def test_what_is_set_aside_waits_for_a_person_or_a_repeat(queue: DeliveryQueue) -> None:
    """It keeps its room until then."""
    one, other = event(), event()
    queue.add([one, other], now=1)
    queue.set_aside([one.id, other.id], "refused: 422")
    assert queue.due(10, now=9) == []
    assert queue.add([one], now=2) == 1
    assert [each.id for each in queue.due(10, now=9)] == [one.id]
    assert queue.revive() == 1
    assert queue.depth().counts == {"waiting": 2}
    queue.add([event()])
    assert queue.full


def test_a_delivery_is_remembered_for_a_while(queue: DeliveryQueue) -> None:
    """What waits is never forgotten."""
    old, waiting = event(), event()
    queue.add([old, waiting], now=1)
    queue.confirm([old.id])
    assert queue.prune(before=1) == 0
    assert queue.prune(before=2) == 1
    assert queue.depth().counts == {"waiting": 1}
    assert queue.add([old], now=3) == 1
