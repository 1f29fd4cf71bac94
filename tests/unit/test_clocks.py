"""Clocks that disagree: records from the future, a provider in another time, waits longer than the patience."""

from __future__ import annotations

import asyncio
import errno
import os
from datetime import datetime, timedelta, timezone, tzinfo
from email.utils import format_datetime
from pathlib import Path
from typing import Any, cast

import pytest

from prefect_genvideo.errors import (
    DestinationError,
    GenerationTimeoutError,
    RateLimitedError,
    TransientError,
    UnknownOutcomeError,
)
from prefect_genvideo.ledger import reservations
from prefect_genvideo.ledger.account import AccountThrottle
from prefect_genvideo.ledger.create import CreatePolicy, Creator
from prefect_genvideo.ledger.decisions import release
from prefect_genvideo.ledger.listing import every_record, unfinished
from prefect_genvideo.ledger.record import LedgerRecord
from prefect_genvideo.ledger.spent import Expected
from prefect_genvideo.ledger.store import Entry, Ledger
from prefect_genvideo.models import Generation
from prefect_genvideo.pipeline.make import patiently
from prefect_genvideo.pipeline.pipeline import Pipeline
from prefect_genvideo.pipeline.reconcile import NO_VIDEO_LIMIT, reconcile
from prefect_genvideo.pipeline.wait import FixedInterval, Waiter
from prefect_genvideo.providers.waits import retry_after
from prefect_genvideo.storage import LocalStore, ObjectStore
from prefect_genvideo.storage._local_files import explain_os_error
from prefect_genvideo.storage.ledgers import CreateOnlyStore
from tests.fixtures.money import REQUEST, TEMPLATE, FakeProvider, MemoryStore, VirtualTime, draft, on_its_way
from tests.fixtures.s3 import S3Server

HOUR = timedelta(hours=1)
ELSEWHERE = "elsewhere:1"


def now() -> datetime:
    return datetime.now(timezone.utc)


class Desk:
    """A provider, a ledger and a creator on virtual time."""

    def __init__(self, *script: Any, store: ObjectStore | None = None, **options: Any) -> None:
        self.time, self.provider, self.said = VirtualTime(), FakeProvider(*script), list[str]()
        self.ledger = Ledger(store or MemoryStore(), sleep=self.time.sleep, on_trouble=self.said.append)
        throttle = AccountThrottle(clock=self.time.clock, sleep=self.time.sleep)
        seams: dict[str, Any] = {"throttle": throttle, "say": self.said.append, "sleep": self.time.sleep}
        self.creator = Creator(self.provider, self.ledger, **seams, **options)

    async def left_by(self, writer_is_ahead: timedelta, **facts: Any) -> Entry:
        """An intent that another machine has just written, dated by its own clock."""
        record = draft(holder=ELSEWHERE, updated_at=now() + writer_is_ahead, **facts)
        entry = await self.ledger.claim(record)
        assert entry is not None
        return entry


async def passing(desk: Desk, seconds: float) -> None:
    """Let others go on until so much time has passed for them."""
    begin = desk.time.now
    for _ in range(100_000):
        if desk.time.now - begin >= seconds:
            return
        await asyncio.sleep(0)
    raise AssertionError("time stands still")


@pytest.fixture(params=["memory", "local", "moto", "create-only"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """A store without a clock, and three with one."""
    if request.param == "memory":
        return MemoryStore()
    if request.param == "local":
        return LocalStore(tmp_path / "videos")
    s3 = cast(S3Server, request.getfixturevalue("s3")).store("videos")
    return CreateOnlyStore(s3) if request.param == "create-only" else s3


@pytest.mark.parametrize("ahead", [timedelta(minutes=5), timedelta(days=400)], ids=str)
async def test_an_intent_from_the_future_is_waited_for_no_longer_than_any_other(ahead: timedelta) -> None:
    """It is the same record for as long as a crashed run takes to count as gone: that needs no clock but our own."""
    desk = Desk(policy=CreatePolicy(stale_after=180))
    await desk.left_by(ahead)
    with pytest.raises(UnknownOutcomeError):
        await asyncio.wait_for(desk.creator.submit(REQUEST, draft()), 20)
    assert 180 <= sum(desk.time.naps) <= 182
    assert (desk.provider.sent, [line for line in desk.said if "ahead of this machine's clock" in line] != []) == (
        0,
        True,
    )


async def test_a_holder_with_another_clock_that_shows_signs_of_life_is_waited_for() -> None:
    """Each of its heartbeats begins the watch anew; its task is used."""
    desk = Desk(policy=CreatePolicy(stale_after=180))
    held = await desk.left_by(timedelta(days=2))
    waiting = asyncio.create_task(desk.creator.submit(REQUEST, draft()))
    for _ in range(5):
        await passing(desk, 120)
        assert not waiting.done()
        held = await desk.ledger.move(held, "intent", updated_at=now() + timedelta(days=2))
    await desk.ledger.move(held, "submitted", task_id="theirs")
    assert (await waiting).entry.record.task_id == "theirs"


async def test_an_intent_that_seems_old_by_our_clock_alone_is_not_stale(store: ObjectStore) -> None:
    """Ours is an hour ahead of the writer's: the store, which has dated the write, is believed instead."""
    desk = Desk(store=store, policy=CreatePolicy(look_every=0.01))
    entry = await desk.left_by(-HOUR)
    quiet = await desk.ledger.quiet_for(entry.record, believed=180)
    if isinstance(store, MemoryStore):
        assert quiet >= 3600
        return
    assert -1 <= quiet < 60
    waiting = asyncio.create_task(desk.creator.submit(REQUEST, draft()))
    await asyncio.sleep(0.2)
    assert (await desk.ledger.existing("k")).record.state == "intent"
    await desk.ledger.move(entry, "submitted", task_id="theirs")
    assert (await waiting).reused


async def test_a_file_systems_clock_counts_for_files(tmp_path: Path) -> None:
    """A file of two hours ago, whatever its record says."""
    store = LocalStore(tmp_path)
    await store.put("a.json", b"{}")
    then = (now() - 2 * HOUR).timestamp()
    os.utime(tmp_path / "a.json", (then, then))
    assert await store.age("a.json") == pytest.approx(7200, abs=60)
    assert [path.name for path in tmp_path.glob("*.part")] == []


async def test_a_record_from_the_future_is_not_released_by_mistake() -> None:
    """Whether its holder lives cannot be told by this clock; the message says so and `force` is the way."""
    desk = Desk()
    await desk.left_by(timedelta(days=1))
    with pytest.raises(Exception, match="since 0 s"):
        await release(desk.ledger, "k")
    assert (await release(desk.ledger, "k", force=True)).record.state == "rejected"


# The provider's clock


class Clinic:
    """A waiter on virtual time, and the same answer for ever."""

    def __init__(self, answer: Generation) -> None:
        self.time, self.provider = VirtualTime(), FakeProvider()
        self.provider.answers = [answer] * 10_000
        seams: dict[str, Any] = {"clock": self.time.clock, "sleep": self.time.sleep}
        self.waiter = Waiter(self.provider, FixedInterval(10), timeout=600, **seams)

    async def seconds(self, age: float | None) -> float:
        """How long a wait takes that ends at the deadline."""
        begin = self.time.now
        with pytest.raises(GenerationTimeoutError):
            await self.waiter.wait("task_1", age=age)
        return self.time.now - begin


@pytest.mark.parametrize("skew", [-8 * HOUR, timedelta(0), 8 * HOUR], ids=str)
async def test_the_deadline_does_not_depend_on_how_the_providers_clock_differs_from_ours(skew: timedelta) -> None:
    """It has been at work for 100 s by its own clock: 500 of 600 s are left."""
    answered = now() + skew
    answer = on_its_way(started_at=answered - timedelta(seconds=100), answered_at=answered)
    assert await Clinic(answer).seconds(age=3000) == pytest.approx(500, abs=20)


async def test_a_start_in_another_time_zone_counts_for_no_longer_than_the_task_exists() -> None:
    """Local time that says it is UTC, eight hours ago: the task was submitted a minute ago."""
    answer = on_its_way(started_at=now() - 8 * HOUR, answered_at=now())
    assert await Clinic(answer).seconds(age=60) == pytest.approx(540, abs=30)


async def test_a_task_submitted_in_the_future_is_waited_for() -> None:
    """By a machine whose clock is ahead: its age is not known, and it is asked about as a new one."""
    provider = FakeProvider()
    pipeline = Pipeline(provider, Ledger(MemoryStore()), TEMPLATE, poll_interval=0.01)
    entry = await pipeline.ledger.claim(draft())
    assert entry is not None
    entry = await pipeline.ledger.move(entry, "submitted", task_id="task_1", submitted_at=now() + 48 * HOUR)
    assert (await pipeline.follow(entry)).state == "succeeded"


@pytest.mark.parametrize("ours_is_ahead", [False, True])
async def test_a_leap_of_our_clock_gives_up_no_paid_task(ours_is_ahead: bool) -> None:
    """A week without a link must have passed by the provider's clock as well."""
    provider = FakeProvider()
    pipeline = Pipeline(provider, Ledger(MemoryStore()), TEMPLATE)
    entry = await pipeline.ledger.claim(draft(account=provider.account))
    assert entry is not None
    since = now() - NO_VIDEO_LIMIT - HOUR
    await pipeline.ledger.move(entry, "submitted", task_id="task_1", no_video_since=since)
    theirs = since + HOUR if ours_is_ahead else now()
    provider.answers = [on_its_way(reason="no link yet", answered_at=theirs)]
    (row,) = (await reconcile(pipeline)).rows
    assert row.outcome == ("waiting" if ours_is_ahead else "failed")


async def test_a_task_that_was_asked_about_in_the_future_is_asked_about_now() -> None:
    """Else a machine whose clock was a year ahead for a minute would silence it for a year."""
    provider = FakeProvider()
    pipeline = Pipeline(provider, Ledger(MemoryStore()), TEMPLATE)
    entry = await pipeline.ledger.claim(draft(account=provider.account))
    assert entry is not None
    since, asked_at = now() - HOUR, now() + timedelta(days=365)
    await pipeline.ledger.move(entry, "submitted", task_id="task_1", no_video_since=since, asked_at=asked_at)
    (row,) = (await reconcile(pipeline)).rows
    assert row.outcome == "saved"


# Waits that are asked for


@pytest.mark.parametrize("skew", [-8 * HOUR, timedelta(0), 8 * HOUR], ids=str)
def test_an_http_date_is_measured_from_the_answers_own_clock(skew: timedelta) -> None:
    """`Retry-After: Fri, 27 Nov …` of a server eight hours off is still the minute that it means."""
    theirs = now() + skew
    dates = {"date": format_datetime(theirs), "retry-after": format_datetime(theirs + timedelta(seconds=60))}
    assert retry_after(dates) == pytest.approx(60, abs=1)


@pytest.mark.parametrize("error", [RateLimitedError, TransientError])
async def test_a_wait_that_is_longer_than_the_patience_is_not_begun(error: type[TransientError]) -> None:
    """An hour is asked for and a quarter is there: the key is free at once, and the error says how long."""
    desk = Desk(error("busy", retry_after=3600), policy=CreatePolicy(patience=900))
    with pytest.raises(error, match="3,600 s") as failure:
        await desk.creator.submit(REQUEST, draft())
    assert (desk.time.naps, desk.provider.sent, failure.value.retry_after) == ([], 1, 3600)
    assert (await desk.ledger.existing("k")).record.state == "rejected"


async def test_those_behind_the_throttle_are_not_held_for_longer_than_their_patience() -> None:
    """The second create of the run fails at once, too; nothing is sent and nothing is claimed."""
    desk = Desk(RateLimitedError("429", retry_after=3600), policy=CreatePolicy(patience=900))
    for key in ("one", "two"):
        with pytest.raises(RateLimitedError) as failure:
            await desk.creator.submit(REQUEST, draft(key))
        assert failure.value.retry_after == pytest.approx(3600, abs=1)
    assert (desk.time.naps, desk.provider.sent, await desk.ledger.read("two")) == ([], 1, None)


async def test_a_limit_that_another_create_meets_meanwhile_frees_the_key() -> None:
    """A create that waits for its second try learns that the account is closed for an hour."""
    desk = Desk(RateLimitedError("429", retry_after=30), policy=CreatePolicy(patience=900))
    throttle = cast(Any, desk.creator)._throttle
    sending = asyncio.create_task(desk.creator.submit(REQUEST, draft()))
    await passing(desk, 1)
    throttle.learn(RateLimitedError("429", retry_after=3600))
    with pytest.raises(RateLimitedError):
        await sending
    assert (desk.provider.sent, (await desk.ledger.existing("k")).record.state) == (1, "rejected")


async def test_an_upload_is_not_held_for_an_hour_either() -> None:
    """Asking again before that is in vain."""
    time, calls = VirtualTime(), list[int]()

    async def upload() -> None:
        calls.append(1)
        raise RateLimitedError("429", retry_after=3600)

    with pytest.raises(RateLimitedError):
        await patiently(upload, sleep=time.sleep)
    assert (len(calls), time.naps) == (1, [])


# A full disk, and records in the wrong place


class FullDisk(LocalStore):
    """A directory on a disk that is full for a while, from the create's record on."""

    full = 0

    async def put(self, key: str, data: bytes, **conditions: Any) -> str:
        if b"submitted" in data and self.full:
            self.full -= 1
            raise explain_os_error(OSError(errno.ENOSPC, "No space left on device"), self.path / key)
        return await super().put(key, data, **conditions)


async def test_a_disk_that_is_full_just_after_a_create_is_tried_until_there_is_room(tmp_path: Path) -> None:
    """The task is paid for and its id is nowhere else: each try says it."""
    store = FullDisk(tmp_path)
    store.full = 5
    desk = Desk(store=store)
    submission = await desk.creator.submit(REQUEST, draft())
    assert submission.entry.record.task_id == "task_1"
    told = [line for line in desk.said if "trying again" in line]
    assert (len(told), all("task_1" in line for line in told)) == (5, True)


async def test_a_disk_that_is_full_before_a_create_fails_at_once(tmp_path: Path) -> None:
    """Nothing is paid for yet."""
    store = FullDisk(tmp_path)
    store.full = 10**6
    desk = Desk(store=store)
    with pytest.raises(DestinationError) as failure:
        await desk.ledger.claim(draft(reason="submitted"))
    assert (failure.value.reason, desk.time.naps) == ("ENOSPC", [])


async def test_a_record_that_was_copied_to_another_key_is_refused() -> None:
    """Or a video that another key has paid for would pass for this one's."""
    store = MemoryStore()
    desk = Desk(store=store)
    await desk.creator.submit(REQUEST, draft("original"))
    store.objects["_ledger/copy.json"] = store.objects["_ledger/original.json"]
    with pytest.raises(DestinationError) as failure:
        await desk.creator.submit(REQUEST, draft("copy"))
    assert (failure.value.reason, desk.provider.sent) == ("idempotency key mismatch", 1)
    found = [type(entry).__name__ async for entry in every_record(desk.ledger)]
    assert found == ["DestinationError", "Entry"]


async def test_a_record_of_another_provider_is_not_taken_for_a_task_of_this_one() -> None:
    """Two providers may give one id; the record is told apart by both."""
    pipeline = Pipeline(FakeProvider(), Ledger(MemoryStore()), TEMPLATE)
    entry = await pipeline.ledger.claim(draft(provider="senseaudio"))
    assert entry is not None
    await pipeline.ledger.move(entry, "submitted", task_id="task_1")
    generation = Generation(provider="sudashui", task_id="task_1", state="queued", idempotency_key="k")
    found: LedgerRecord = (await pipeline.entry(generation)).record
    assert (found.provider, found.key) == ("sudashui", "task-sudashui-task_1")


async def test_a_task_that_another_api_key_has_paid_for_is_used_and_said_to_be_that() -> None:
    """The account's key may have been changed since; whether it is another account only the provider can tell."""
    said, provider = list[str](), FakeProvider()
    pipeline = Pipeline(provider, Ledger(MemoryStore()), TEMPLATE, say=said.append)
    wanted = pipeline.draft("k", REQUEST, {})
    entry = await pipeline.ledger.claim(wanted.model_copy(update={"account": "f" * 16}))
    assert entry is not None
    await pipeline.ledger.move(entry, "submitted", task_id="task_1")
    assert (await pipeline.create(REQUEST, wanted)).reused
    assert (provider.sent, "another account or API key" in said[-1]) == (0, True)


async def test_what_a_machine_with_a_slow_clock_has_reserved_is_not_taken_for_abandoned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its clock is a month behind; others reconcile between two of its creates, and find the second one, too."""

    class Slow(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]  # a plain one is what is stored
            return datetime.now(tz) - timedelta(days=30)

    store = LocalStore(tmp_path)
    slow, others = Ledger(store), Ledger(store)
    slow.reservations.expect(draft().account, dict.fromkeys("ab", Expected(4.0)))
    with monkeypatch.context() as patched:
        patched.setattr(reservations, "datetime", Slow)
        first = await slow.claim(draft("a", created_at=Slow.now(timezone.utc)))
        assert first is not None
        await slow.move(first, "rejected", reason="refused")
    assert [entry async for entry in unfinished(others, tidy=True)] == []
    with monkeypatch.context() as patched:
        patched.setattr(reservations, "datetime", Slow)
        assert await slow.claim(draft("b", created_at=Slow.now(timezone.utc))) is not None
    found = [entry.record.key async for entry in unfinished(others) if isinstance(entry, Entry)]
    assert found == ["b"]
