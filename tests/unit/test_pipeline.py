"""The steps of one video: each can be done again, from wherever the last run stopped, and pays nothing."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from prefect_genvideo.errors import (
    DestinationError,
    DownloadError,
    GenerationFailedError,
    GenerationTimeoutError,
    InvalidRequestError,
    NoVideoError,
    RateLimitedError,
    TaskLostError,
    TransientError,
    UnknownOutcomeError,
)
from prefect_genvideo.ledger.decisions import adopt, release
from prefect_genvideo.ledger.record import LedgerRecord
from prefect_genvideo.ledger.store import Entry, Ledger
from prefect_genvideo.models import Generation, StoredVideo, VideoRequest
from prefect_genvideo.pipeline.hooks import Event
from prefect_genvideo.pipeline.make import patiently
from prefect_genvideo.pipeline.pipeline import Pipeline
from tests.fixtures.expected import refusing
from tests.fixtures.money import (
    OTHER,
    REQUEST,
    TEMPLATE,
    VIDEO,
    FakeProvider,
    MemoryStore,
    Trouble,
    TroubledMemory,
    VirtualTime,
    on_its_way,
    refused,
)


class SlowProvider(FakeProvider):
    """Its answers are refreshed every five seconds."""

    poll_floor = 5.0


class House:
    """A pipeline over a fake provider and a store in memory, on virtual time."""

    def __init__(self, store: MemoryStore | None = None, provider: FakeProvider | None = None, **options: Any) -> None:
        self.time = VirtualTime()
        self.provider = provider or FakeProvider()
        self.store = store or MemoryStore()
        self.events: list[tuple[Event, LedgerRecord]] = []
        self.pipeline = Pipeline(
            self.provider,
            Ledger(self.store, sleep=self.time.sleep, patience=5),
            TEMPLATE,
            poll_interval=1.0,
            announce=lambda event, record: self.events.append((event, record)),
            sleep=self.time.sleep,
            clock=self.time.clock,
            **options,
        )

    async def create(self, key: str = "k", request: VideoRequest = REQUEST) -> Entry:
        return (await self.pipeline.create(request, self.pipeline.draft(key, request, {}))).entry

    async def make(self, key: str = "k") -> StoredVideo:
        """What every run does, from the beginning."""
        entry = await self.create(key)
        done = await self.pipeline.wait(entry)
        return await self.pipeline.save(await self.pipeline.ledger.existing(key), done)

    async def record(self, key: str = "k") -> LedgerRecord:
        return (await self.pipeline.ledger.existing(key)).record

    @property
    def told(self) -> list[str]:
        return [event for event, _ in self.events]


async def test_a_video_goes_through_all_states() -> None:
    """Each step leaves its trace in the record, and is told to automations once."""
    house = House()
    video = await house.make()
    record = await house.record()
    assert (record.state, record.stored) == ("saved", video)
    assert house.store.objects[video.key] == VIDEO
    assert record.link == "https://files.example.com/task_1.mp4"  # without its signature
    assert house.told == ["generation.submitted", "generation.succeeded", "video.saving", "video.saved"]


async def test_a_second_run_of_the_same_key_pays_and_moves_nothing() -> None:
    """No create, no question, no download: the saved video is known and verified."""
    house = House()
    first = await house.make()
    asked = house.provider.asked
    again = await house.make()
    assert again.reused
    assert again.model_copy(update={"reused": False}) == first
    assert (house.provider.sent, house.provider.asked, house.provider.opened) == (1, asked, 1)


async def test_a_saved_video_that_was_removed_is_saved_again() -> None:
    """Fetched anew from the same paid task."""
    house = House()
    video = await house.make()
    del house.store.objects[video.key]
    assert (await house.make()).sha256 == video.sha256
    assert (house.provider.sent, house.provider.opened) == (1, 2)


async def test_a_run_that_died_while_waiting_is_taken_up() -> None:
    """The id is in the ledger; the wait begins at once."""
    house = House()
    await house.create()
    house.time.naps.clear()
    video = await house.make()
    assert (house.provider.sent, video.task_id) == (1, "task_1")


async def test_a_run_that_died_between_save_and_record_saves_nothing_twice() -> None:
    """Video and manifest are there, the record says `succeeded`: the manifest is believed."""
    house = House(TroubledMemory(Trouble(contains='"saved"', times=10**6)))
    house.pipeline.ledger.patience = -1
    with pytest.raises(DestinationError):
        await house.make()
    assert (await house.record()).state == "succeeded"
    assert isinstance(house.store, TroubledMemory)
    house.store.troubles.clear()
    await house.make()
    assert (await house.record()).state == "saved"
    assert (house.provider.sent, house.provider.opened) == (1, 1)


async def test_steps_may_be_handed_an_entry_of_an_earlier_step() -> None:
    """A batch keeps what `create` gave it; the record still reaches its end."""
    house = House()
    entry = await house.create()
    done = await house.pipeline.wait(entry)
    await house.pipeline.save(entry, done)
    assert (await house.record()).state == "saved"


async def test_a_failed_generation_is_recorded_and_told() -> None:
    """The reason stands in the record; the next run does not pay again by itself."""
    house = House()
    entry = await house.create()
    house.provider.answers = [on_its_way(state="failed", reason="sensitive", moderation=True)]
    with pytest.raises(GenerationFailedError):
        await house.pipeline.wait(entry)
    record = await house.record()
    assert (record.state, record.reason, record.moderation) == ("failed", "sensitive", True)
    assert house.told[-1] == "generation.failed"
    with pytest.raises(GenerationFailedError) as failure:
        await house.create()
    assert (failure.value.reason, failure.value.moderation) == ("sensitive", True)


async def test_a_failed_record_with_another_task_is_not_of_moderation_any_more() -> None:
    """A person may adopt a task of another create for the key."""
    house = House()
    await house.pipeline.fail(await house.create(), "sensitive", moderation=True)
    assert not (await adopt(house.pipeline.ledger, "k", "task_other")).record.moderation


async def test_a_passed_deadline_leaves_the_record_to_be_resumed() -> None:
    """The next run asks at once, and gets the video that is ready by then."""
    house, hour_ago = House(timeout=5), datetime.now(timezone.utc) - timedelta(hours=1)
    entry = await house.pipeline.ledger.move(await house.create(), "submitted", submitted_at=hour_ago)
    house.provider.answers = [on_its_way(started_at=hour_ago)]
    with pytest.raises(GenerationTimeoutError):
        await house.pipeline.wait(entry)
    assert (await house.record()).state == "submitted"
    assert (await house.make()).task_id == "task_1"
    assert house.provider.sent == 1


async def test_a_success_without_a_link_leaves_the_record_open() -> None:
    """What is paid is not given up because its link is late: the next run goes on asking and gets the video."""
    house = House(provider=SlowProvider())
    entry = await house.create()
    house.provider.answers = [on_its_way(reason="no link yet")] * 400
    with pytest.raises(NoVideoError):
        await house.pipeline.wait(entry)
    record = await house.record()
    assert (record.state, record.reason, record.no_video_since is not None) == ("submitted", "no link yet", True)
    house.provider.answers = []
    assert (await house.make()).task_id == "task_1"
    assert house.provider.sent == 1


async def test_a_success_without_a_link_is_fetched_by_the_content_route() -> None:
    """The API itself serves it with the key, where it has such a route; nobody waits five minutes for a link."""
    house = House()
    entry = await house.create()
    house.provider.served = True
    house.provider.answers = [on_its_way(reason="no link yet")] * 400
    done = await house.pipeline.wait(entry)
    assert done.video_url == house.provider.content_url("task_1")
    assert house.provider.asked == 2
    assert (await house.pipeline.save(await house.pipeline.entry(done), done)).task_id == "task_1"


async def test_a_lost_id_stays_in_the_record_with_the_reason() -> None:
    """A person decides; nothing is given up by a machine."""
    house = House()
    entry = await house.create()
    house.provider.answers = [TaskLostError("unknown id", reason="task_not_exist")] * 300
    with pytest.raises(TaskLostError):
        await house.pipeline.wait(entry)
    record = await house.record()
    assert (record.state, record.task_id) == ("submitted", "task_1")
    assert "task_not_exist" in (record.reason or "")


async def test_a_task_from_elsewhere_gets_a_record_and_can_be_waited_for_and_saved() -> None:
    """Plain data: a provider and an id are enough, and from then on it is under the ledger as all others."""
    house = House()
    found = Generation(provider="fake", task_id="task_from_elsewhere", state="queued")
    done = await house.pipeline.wait(await house.pipeline.entry(found))
    video = await house.pipeline.save(await house.pipeline.entry(done), done)
    assert video.task_id == "task_from_elsewhere"
    assert await house.pipeline.entry(found) == await house.pipeline.ledger.existing("task-fake-task_from_elsewhere")
    assert house.store.objects[video.key] == VIDEO


async def test_a_long_id_from_elsewhere_gets_a_record_too() -> None:
    """Ids have up to 1,024 characters, keys 300; asked again, it is the same record."""
    house = House()
    found = Generation(provider="fake", task_id="t" * 1024, state="queued")
    entry = await house.pipeline.entry(found)
    assert (entry.record.task_id, entry.record.state) == (found.task_id, "submitted")
    assert await house.pipeline.entry(found) == entry


async def test_an_unknown_outcome_is_told_to_automations() -> None:
    """With the key, since there is no task id."""
    house = House()
    house.provider.script = ["lost"]
    with pytest.raises(UnknownOutcomeError):
        await house.create()
    event, record = house.events[-1]
    assert (event, record.key, record.state, record.task_id) == ("generation.unknown", "k", "unknown", None)


async def test_a_broken_rule_sends_nothing_and_claims_nothing() -> None:
    """All problems at once, and the key stays free."""
    house = House()
    request = VideoRequest(model="sd-2-720p", prompt="", duration=99, aspect_ratio="7:5")
    with pytest.raises(InvalidRequestError) as refusal:
        await house.create(request=request)
    assert {"prompt", "duration", "aspect_ratio"} <= {problem.field for problem in refusal.value.problems}
    assert await house.pipeline.ledger.read("k") is None
    assert house.provider.sent == 0


async def test_find_sees_what_a_key_has_without_sending() -> None:
    """Nothing, a task, a free key, another request."""
    house = House()
    draft = house.pipeline.draft("k", REQUEST, {})
    assert await house.pipeline.find(draft) is None
    await house.create()
    found = await house.pipeline.find(draft)
    assert found is not None
    assert found.entry.record.task_id == "task_1"
    with refusing("idempotency_key"):
        await house.pipeline.find(house.pipeline.draft("k", OTHER, {}))
    await release(house.pipeline.ledger, "k", force=True)
    assert await house.pipeline.find(draft) is None


def test_the_fingerprint_is_of_what_is_wanted() -> None:
    """Defaults that the model fills in make no difference; files count by their content, links without signature."""
    pipeline = House().pipeline
    short, full = VideoRequest(model="sd-2-720p", prompt="x"), pipeline.client.effective(REQUEST)
    assert pipeline.fingerprint(short, {}) == pipeline.fingerprint(pipeline.client.effective(short), {})
    assert pipeline.fingerprint(full, {}) != pipeline.fingerprint(short, {})
    one = VideoRequest(model="m", prompt="x", images=("https://a/1.png?sig=1",))
    two = VideoRequest(model="m", prompt="x", images=("https://a/1.png?sig=2",))
    same = {"images[0]": "https://a/1.png"}
    assert pipeline.fingerprint(one, same) == pipeline.fingerprint(two, same)
    assert pipeline.fingerprint(one, {"images[0]": "other"}) != pipeline.fingerprint(one, same)


def test_a_draft_holds_no_secret() -> None:
    """Not the key, not the signature of a link."""
    house = House()
    request = VideoRequest(model="sd-2-720p", prompt="x", images=("https://a/1.png?sig=secret",))
    draft = house.pipeline.draft("k", request, {})
    assert draft.account == house.provider.account
    text = draft.to_bytes().decode()
    assert "secret" not in text
    assert "sk-fake" not in text


async def test_durations_are_learned_from_ends_that_were_seen() -> None:
    """By the provider's own clock where it tells."""
    house = House()
    entry = await house.create()
    began = datetime(2026, 11, 22, tzinfo=timezone.utc)
    ended = on_its_way(
        "succeeded", video_url="https://x/v.mp4", created_at=began, finished_at=began + timedelta(seconds=90)
    )
    house.provider.answers = [on_its_way(), ended]
    await house.pipeline.wait(entry)
    assert (await house.pipeline.ledger.durations.of("sudashui/sd-2-720p/4s/720p")).durations == (90.0,)


async def test_success_and_save_are_one_write_when_one_follows_the_other() -> None:
    """A batch saves what it has just seen succeed; the record says both."""
    house = House()
    entry = await house.create()
    writes = len(house.store.put_keys)
    done = await house.pipeline.follow(entry)
    assert (await house.record()).state == "submitted"
    video = await house.pipeline.save(entry, done)
    record = await house.record()
    assert (record.state, record.stored, record.link) == ("saved", video, "https://files.example.com/task_1.mp4")
    assert record.finished_at is not None
    assert [key for key in house.store.put_keys[writes:] if key == "_ledger/k.json"] == ["_ledger/k.json"]
    assert house.told == ["generation.submitted", "video.saving", "video.saved"]


async def test_a_save_that_fails_still_leaves_word_of_the_success() -> None:
    """The next run, or a person, reads that the provider has a video."""
    house = House()
    entry = await house.create()
    done = await house.pipeline.follow(entry)
    house.provider.video = b"not a video"
    with pytest.raises(DownloadError):
        await house.pipeline.save(entry, done)
    record = await house.record()
    assert (record.state, record.link) == ("succeeded", "https://files.example.com/task_1.mp4")
    assert house.told == ["generation.submitted", "video.saving", "generation.succeeded"]
    house.provider.video = VIDEO
    assert (await house.make()).task_id == "task_1"
    assert house.provider.sent == 1


@pytest.mark.parametrize("failures", [0, 3, 4])
async def test_a_harmless_step_is_repeated_a_few_times(failures: int) -> None:
    """Four tries; Retry-After is obeyed; the last error is the one that is raised."""
    time, calls = VirtualTime(), 0

    async def upload() -> str:
        nonlocal calls
        calls += 1
        if calls <= failures:
            raise RateLimitedError("429", retry_after=50) if calls == 1 else refused()
        return "link"

    if failures == 4:
        with pytest.raises(TransientError):
            await patiently(upload, sleep=time.sleep)
    else:
        assert await patiently(upload, sleep=time.sleep) == "link"
    assert calls == min(failures + 1, 4)
    assert not failures or time.naps[0] >= 50
