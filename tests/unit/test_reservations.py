"""What is reserved before creates finds every unfinished record again and counts a day, with two writes a hundred."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from prefect_genvideo.errors import DestinationError
from prefect_genvideo.ledger import reservations
from prefect_genvideo.ledger.decisions import adopt
from prefect_genvideo.ledger.listing import unfinished
from prefect_genvideo.ledger.reservations import OLD_OPEN, RESERVED, Reservation
from prefect_genvideo.ledger.spent import Expected, Spent
from prefect_genvideo.ledger.store import Entry, Ledger
from prefect_genvideo.storage import ObjectStore
from tests.fixtures.money import MemoryStore, Trouble, TroubledMemory, draft

DAY = f"{datetime.now(timezone.utc):%Y-%m-%d}"
ACCOUNT = draft("k").account


async def claim(ledger: Ledger, key: str, seconds: float | None = 4) -> Entry:
    entry = await ledger.claim(draft(key, seconds=seconds))
    assert entry is not None
    return entry


async def save(ledger: Ledger, entry: Entry) -> None:
    submitted = await ledger.move(entry, "submitted", task_id=f"task_{entry.record.key}")
    await ledger.move(submitted, "saved")


async def spent(store: ObjectStore, day: str = DAY, account: str = ACCOUNT) -> Spent:
    """What another process reads."""
    return await Ledger(store).reservations.spent(day, account)


async def left(store: ObjectStore, *, tidy: bool = False) -> list[str]:
    """Keys that another process finds unfinished."""
    return sorted(
        [found.record.key async for found in unfinished(Ledger(store), tidy=tidy) if isinstance(found, Entry)]
    )


def reserved(store: MemoryStore) -> dict[str, bytes]:
    return {key: data for key, data in store.objects.items() if key.startswith(RESERVED)}


def opened(store: MemoryStore) -> list[Reservation]:
    return [Reservation.model_validate_json(data) for data in reserved(store).values() if data]


def late(monkeypatch: pytest.MonkeyPatch, hours: float) -> None:
    """Let the ledger's clock go on."""

    class Clock(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:
            del tz
            return datetime.now(timezone.utc) + timedelta(hours=hours)

    monkeypatch.setattr(reservations, "datetime", Clock)


async def test_a_hundred_and_twenty_videos_take_four_writes() -> None:
    """One before the first create of a hundred rows and one after the last; each names all of them until then."""
    store = MemoryStore()
    ledger = Ledger(store)
    keys = [f"row-{number:03}" for number in range(120)]
    ledger.reservations.expect(ACCOUNT, dict.fromkeys(keys, Expected(4.0)))
    entries = [await claim(ledger, key) for key in keys]
    assert [key for key in store.put_keys if key.startswith(RESERVED)] == list(reserved(store))
    assert sorted(len(one.keys) for one in opened(store)) == [20, 100]
    assert await left(store) == keys
    for entry in entries:
        await save(ledger, entry)
    assert opened(store) == []
    assert len([key for key in store.put_keys if key.startswith(RESERVED)]) == 4
    assert await spent(store) == Spent(120, 480.0)


async def test_a_day_is_counted_for_others_by_account() -> None:
    """Creates and seconds; one of unknown length counts without seconds, one that made nothing does not count."""
    store = MemoryStore()
    ledger = Ledger(store)
    refused = await claim(ledger, "a", 5)
    await claim(ledger, "b", 7.5)
    await claim(ledger, "c", None)
    await ledger.claim(draft("d", account="another"))
    assert await spent(store) == Spent(3, 12.5)
    await ledger.move(refused, "rejected", unpaid=True)
    assert await spent(store) == Spent(2, 7.5)
    assert await spent(store, "2020-01-01") == Spent(0, 0.0)
    assert await ledger.reservations.spent(DAY, ACCOUNT) == Spent(0, 0.0)  # its own it counts itself
    month = DAY[:8]
    assert await spent(store, month) == Spent(2, 7.5)


async def test_what_is_reserved_counts_until_it_is_known_to_be_unspent() -> None:
    """A run that ends early takes back what it has not sent, and leaves what is unfinished to be found."""
    store = MemoryStore()
    ledger = Ledger(store)
    ledger.reservations.expect(ACCOUNT, dict.fromkeys("abcd", Expected(4.0)))
    first, second = await claim(ledger, "a"), await claim(ledger, "b")
    assert await spent(store) == Spent(4, 16.0)
    await ledger.move(first, "rejected", unpaid=True)
    await ledger.finish()
    assert [one.keys for one in opened(store)] == [["b"]]
    await save(ledger, second)
    assert opened(store) == []
    assert await spent(store) == Spent(1, 4.0)


async def test_a_run_that_sent_nothing_leaves_nothing() -> None:
    """Its claim was lost to another run, which has reserved the key for itself."""
    store = MemoryStore()
    await claim(Ledger(store), "k")
    loser = Ledger(store)
    assert await loser.claim(draft("k")) is None
    assert len(reserved(store)) == 1
    assert await spent(store) == Spent(1, 4.0)


async def test_a_claim_that_may_have_been_written_stays_reserved() -> None:
    """The store took the intent and lost its answer, for good: the key may be unfinished."""
    store = TroubledMemory(Trouble("put", "_ledger/k.json", when="after", retryable=False))
    ledger = Ledger(store)
    with pytest.raises(DestinationError):
        await ledger.claim(draft("k"))
    await ledger.finish()
    assert await left(store) == ["k"]


async def test_nothing_is_claimed_that_is_not_reserved() -> None:
    """The reservation fails, so no intent is written."""
    store = TroubledMemory(Trouble("put", RESERVED, retryable=False))
    with pytest.raises(DestinationError):
        await Ledger(store).claim(draft("k"))
    assert list(store.objects) == []


async def test_reconciling_closes_what_a_killed_run_has_left() -> None:
    """At once where all keys have ended, with its own last move where it ends the last of them."""
    store = MemoryStore()
    dead = Ledger(store)
    dead.reservations.expect(ACCOUNT, dict.fromkeys("ab", Expected(4.0)))
    for key in "ab":
        submitted = await dead.move(await claim(dead, key), "submitted", task_id=key)
        await dead.store.put(dead.path(key), submitted.record.model_copy(update={"state": "submitted"}).to_bytes())
    alive = Ledger(store)
    found = [one async for one in unfinished(alive, tidy=True) if isinstance(one, Entry)]
    assert sorted(one.record.key for one in found) == ["a", "b"]
    await alive.move(found[0], "saved")
    assert len(opened(store)) == 1
    await alive.move(found[1], "failed", reason="moderation")
    assert opened(store) == []
    assert await spent(store) == Spent(2, 8.0)


async def test_a_key_that_may_still_be_claimed_keeps_its_reservation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reconciling meets a live run between its reservation and its claim; a day later the run counts as dead."""
    store = MemoryStore()
    run = Ledger(store)
    run.reservations.expect(ACCOUNT, dict.fromkeys("abc", Expected(4.0)))
    await save(run, await claim(run, "a"))
    await claim(run, "c")
    assert await left(store, tidy=True) == ["c"]
    assert [one.keys for one in opened(store)] == [["a", "b", "c"]]
    await claim(run, "b")
    assert await left(store) == ["b", "c"]
    late(monkeypatch, 25)
    await left(store, tidy=True)
    assert [one.keys for one in opened(store)] == [["b", "c"]]


@pytest.mark.parametrize("state", ["rejected", None])
async def test_what_a_dead_run_never_claimed_is_given_up_after_a_day(
    monkeypatch: pytest.MonkeyPatch, state: str | None
) -> None:
    """Until then a rejected key may be claimed again by whoever reserved it."""
    store = MemoryStore()
    run = Ledger(store)
    run.reservations.expect(ACCOUNT, dict.fromkeys("ab", Expected(4.0)))
    await save(run, await claim(run, "a"))
    if state:
        await store.put(run.path("b"), draft("b").model_copy(update={"state": state}).to_bytes())
    await left(store, tidy=True)
    assert len(opened(store)) == 1
    late(monkeypatch, 25)
    await left(store, tidy=True)
    assert opened(store) == []


async def test_nothing_is_claimed_under_a_reservation_of_yesterday(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that runs for days reserves its later rows again, for the day on which they are sent."""
    store = MemoryStore()
    ledger = Ledger(store)
    ledger.reservations.expect(ACCOUNT, dict.fromkeys("abc", Expected(4.0)))
    first = await claim(ledger, "a")
    late(monkeypatch, 13)
    await claim(ledger, "b")
    assert sorted(one.keys for one in opened(store)) == [["a", "b", "c"], ["b", "c"]]
    tomorrow = datetime.now(timezone.utc) + timedelta(days=1)
    assert await ledger.claim(draft("c", created_at=tomorrow)) is not None
    assert await spent(store, f"{tomorrow:%Y-%m-%d}") == Spent(1, 4.0)
    await save(ledger, first)
    await ledger.finish()
    assert sorted(one.keys for one in opened(store)) == [["b", "c"], ["c"]]
    assert await left(store) == ["b", "c"]


async def test_what_has_ended_under_a_reservation_of_yesterday_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is closed when its last rows are reserved anew, and is not closed again when the run ends."""
    store = MemoryStore()
    ledger = Ledger(store)
    ledger.reservations.expect(ACCOUNT, dict.fromkeys("ab", Expected(4.0)))
    await save(ledger, await claim(ledger, "a"))
    late(monkeypatch, 13)
    await save(ledger, await claim(ledger, "b"))
    await ledger.finish()
    assert opened(store) == []
    assert await spent(store) == Spent(2, 8.0)


async def test_a_key_that_is_claimed_again_is_reserved_again() -> None:
    """It was refused, its reservation was closed, and the same run wants it once more."""
    store = MemoryStore()
    ledger = Ledger(store)
    for _ in range(2):
        entry = await claim(ledger, "k")
        assert await left(store) == ["k"]
        await ledger.move(entry, "rejected", unpaid=True)
        assert reserved(store) == {}


async def test_a_task_of_elsewhere_and_one_that_is_adopted_cost_the_day_nothing() -> None:
    """They were paid for before, and are found all the same until they are saved."""
    store = MemoryStore()
    facts = {"task_id": "t", "submitted_at": datetime.now(timezone.utc)}
    registered = await Ledger(store).register(draft("task-fake-t").model_copy(update=facts))
    failed = await Ledger(store).register(draft("task-fake-u").model_copy(update=facts | {"task_id": "u"}))
    await Ledger(store).move(failed, "failed", reason="moderation")
    assert await left(store, tidy=True) == ["task-fake-t"]
    await adopt(Ledger(store), "task-fake-u", "u2")
    assert await left(store) == ["task-fake-t", "task-fake-u"]
    assert await spent(store) == Spent(0, 0.0)
    tidying = Ledger(store)
    _ = [one async for one in unfinished(tidying, tidy=True)]
    await tidying.move(registered, "saved")
    assert await left(store) == ["task-fake-u"]


async def test_a_reservation_that_cannot_be_read_hides_no_other() -> None:
    """It is reported, and what others name is found."""
    store = MemoryStore()
    await claim(Ledger(store), "k")
    await store.put(f"{RESERVED}/{DAY}/x/torn~1x4s.json", b"[")
    await store.put(f"{RESERVED}/{DAY}/x/large~1x4s.json", b" " * 2_000_000)
    newer = Reservation(expires_at=datetime.now(timezone.utc), keys=["n"]).model_dump_json().replace("1,", "2,", 1)
    await store.put(f"{RESERVED}/{DAY}/x/newer~1x4s.json", newer.encode())
    found = [one async for one in unfinished(Ledger(store), tidy=True)]
    assert [one.reason for one in found if isinstance(one, DestinationError)] == ["unreadable"] * 3
    assert [one.record.key for one in found if isinstance(one, Entry)] == ["k"]


async def test_a_store_that_fails_at_the_end_costs_a_look_and_no_more() -> None:
    """The video is saved; its reservation stays and is closed by reconciling."""
    store = TroubledMemory()
    said = list[str]()
    ledger = Ledger(store, on_trouble=said.append)
    entry = await claim(ledger, "k")
    store.troubles = [Trouble("put", RESERVED)]
    await save(ledger, entry)
    assert len(said) == 1
    assert len(opened(store)) == 1
    assert await left(store, tidy=True) == []
    assert opened(store) == []


async def test_markers_of_older_releases_are_read_until_they_are_gone() -> None:
    """A fleet that was upgraded at noon finds what it left unfinished, and counts what it has sent today."""
    store = MemoryStore()
    for key, state in (("left", "unknown"), ("done", "saved")):
        await store.put(Ledger(store).path(key), draft(key).model_copy(update={"state": state}).to_bytes())
        await store.put(f"{OLD_OPEN}/{key}.json", b"")
        await store.put(f"_ledger/_days/{DAY}/{ACCOUNT}/{key}~4s", b"")
    assert await left(store, tidy=True) == ["left"]
    assert [key for key in store.objects if key.startswith(OLD_OPEN)] == [f"{OLD_OPEN}/left.json"]
    assert await spent(store) == Spent(2, 8.0)


async def test_what_no_budget_looks_at_any_more_is_removed() -> None:
    """Closed ones of long ago, and no open one."""
    store = MemoryStore()
    for path, data in (
        ("2020-01-01/x/a~1x4s.json", b""),
        ("2020-01-01/x/b~1x4s.json", b"{}"),
        (f"{DAY}/x/c~1x4s.json", b""),
    ):
        await store.put(f"{RESERVED}/{path}", data)
    await Ledger(store).reservations.sweep()
    assert sorted(key.rpartition("/")[2][0] for key in reserved(store)) == ["b", "c"]
