"""What crashes and deadlines left behind is fetched when it is ready, and reported when it is not."""

from __future__ import annotations

import json
import socket
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from prefect_genvideo.errors import DestinationError, TaskLostError
from prefect_genvideo.ledger.create import CreatePolicy
from prefect_genvideo.ledger.decisions import adopt
from prefect_genvideo.ledger.record import LedgerRecord
from prefect_genvideo.ledger.store import Entry, Ledger
from prefect_genvideo.models import Generation
from prefect_genvideo.pipeline.hooks import Event
from prefect_genvideo.pipeline.pipeline import Pipeline
from prefect_genvideo.pipeline.reconcile import NO_VIDEO_LIMIT, ReconciledRow, reconcile
from tests.fixtures.expected import failing
from tests.fixtures.money import TEMPLATE, VIDEO, FakeProvider, MemoryStore, TroubledMemory, draft, on_its_way, refused


class Office:
    """A ledger with records in every state, and a provider that answers by task id."""

    def __init__(self, store: MemoryStore | None = None) -> None:
        self.provider = FakeProvider()
        self.store = store or MemoryStore()
        self.ledger = Ledger(self.store, patience=-1)
        self.events: list[tuple[Event, LedgerRecord]] = []
        self.pipeline = Pipeline(
            self.provider,
            self.ledger,
            TEMPLATE,
            CreatePolicy(stale_after=180),
            announce=lambda event, record: self.events.append((event, record)),
        )

    async def claimed(self, key: str = "k", **facts: Any) -> Entry:
        entry = await self.ledger.claim(draft(key, **{"account": self.provider.account, **facts}))
        assert entry is not None
        return entry

    async def submitted(self, key: str = "k", **facts: Any) -> Entry:
        return await self.ledger.move(await self.claimed(key, **facts), "submitted", task_id=f"task_{key}")

    async def row(self, *answers: Generation | Exception) -> ReconciledRow:
        """The row of the only unfinished record."""
        self.provider.answers = list(answers)
        (row,) = (await reconcile(self.pipeline)).rows
        return row

    async def state(self, key: str = "k") -> str:
        return (await self.ledger.existing(key)).record.state


async def test_a_video_that_is_ready_is_fetched() -> None:
    """Without a new create; the record ends as saved, and automations are told."""
    office = Office()
    await office.submitted(flow_run_id="11111111-1111-1111-1111-111111111111")
    row = await office.row()
    assert (row.outcome, row.task_id) == ("saved", "task_k")
    record = (await office.ledger.existing("k")).record
    assert record.stored is not None
    assert row.uri == record.stored.uri
    assert office.store.objects[record.stored.key] == VIDEO
    assert [event for event, _ in office.events] == ["video.saving", "video.saved"]
    assert office.provider.sent == 0
    assert (await reconcile(office.pipeline)).rows == []


async def test_a_video_whose_save_failed_is_saved() -> None:
    """The record says `succeeded`: only the bytes are missing."""
    office = Office()
    await office.ledger.move(await office.submitted(), "succeeded")
    assert (await office.row()).outcome == "saved"


async def test_a_task_on_its_way_is_left_alone() -> None:
    """With its progress, for people."""
    office = Office()
    await office.submitted()
    row = await office.row(on_its_way(progress=40))
    assert (row.outcome, row.detail) == ("waiting", "running, 40 %")
    assert await office.state() == "submitted"


async def test_a_task_that_failed_is_recorded_as_failed() -> None:
    """And told, as if a run had seen it."""
    office = Office()
    await office.submitted()
    row = await office.row(on_its_way(state="failed", reason="sensitive", moderation=True))
    assert (row.outcome, row.detail) == ("failed", "sensitive")
    assert await office.state() == "failed"
    assert [(event, record.moderation) for event, record in office.events] == [("generation.failed", True)]


async def test_a_task_that_the_provider_does_not_know_is_for_a_person() -> None:
    """Its record stays as it is: an outage may look like that."""
    office = Office()
    await office.submitted()
    row = await office.row(TaskLostError("unknown", reason="task_not_exist"))
    assert row.outcome == "unknown"
    assert "task_not_exist" in row.detail
    assert await office.state() == "submitted"


async def test_trouble_with_one_record_does_not_stop_the_others() -> None:
    """A gateway error, a torn record, and one that is ready."""
    office = Office()
    for key in "abc":
        await office.submitted(key)
    office.store.objects["_ledger/b.json"] = b"{"
    office.provider.answers = [refused("502")]
    report = await reconcile(office.pipeline, at_once=1)
    assert report.counts == {"trouble": 2, "saved": 1}
    outcomes = {row.key: row.outcome for row in report.rows}
    assert outcomes.pop("?") == "trouble"
    assert (outcomes.keys(), sorted(outcomes.values())) == ({"a", "c"}, ["saved", "trouble"])


@pytest.mark.parametrize("moment", ["2026-11-27T10:00:00", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59+00:00"])
@pytest.mark.parametrize("state", ["saved", "submitted", "unknown", "intent"])
async def test_times_written_by_hand_stop_no_other_record(state: str, moment: str) -> None:
    """Without a zone, a language's zero, or beyond all years: whoever mends a record mends its times, too."""
    office = Office()
    for key in "abc":
        await office.submitted(key)
    record = json.loads(office.store.objects["_ledger/b.json"])
    names = ("created_at", "updated_at", "submitted_at", "finished_at", "sent_at", "gave_up_at", "asked_at", "told_at")
    record |= {"state": state, "money": {"reads": 1}} | dict.fromkeys(names, moment)
    if state in ("unknown", "intent"):
        del record["task_id"]
    office.store.objects["_ledger/b.json"] = json.dumps(record).encode()
    rows = {row.key: row.outcome for row in (await reconcile(office.pipeline)).rows}
    assert (rows["a"], rows["c"]) == ("saved", "saved")
    assert rows.get("b", "settled") != "trouble"


async def test_a_stale_intent_becomes_unknown() -> None:
    """Its sender is dead: held, counted and named, with both ways out."""
    office = Office()
    await office.claimed(holder=f"{socket.gethostname()}:{2**22 + 1}")
    row = await office.row()
    assert row.outcome == "unknown"
    assert "adopt" in row.detail
    assert "release" in row.detail
    assert await office.state() == "unknown"
    assert [event for event, _ in office.events] == ["generation.unknown"]
    assert (await office.row()).outcome == "unknown"
    assert len(office.events) == 1


async def test_an_intent_that_is_under_way_is_left_alone() -> None:
    """A run is sending it right now."""
    office = Office()
    await office.claimed()
    assert (await office.row()).outcome == "waiting"
    assert await office.state() == "intent"


async def test_an_intent_that_gets_its_id_meanwhile_does_not_stop_the_reconciliation() -> None:
    """It was taken for stale between the sender's answer and its record."""

    class Overtaken(MemoryStore):
        async def get(self, key: str) -> tuple[bytes, str] | None:
            found = await super().get(key)
            if key == "_ledger/k.json" and found is not None and b'"intent"' in found[0]:
                record = LedgerRecord.model_validate_json(found[0])
                done = record.model_copy(update={"state": "submitted", "task_id": "task_k"})
                self.objects[key] = done.to_bytes()
            return found

    office = Office(Overtaken())
    await office.claimed(holder=f"{socket.gethostname()}:{2**22 + 1}")
    assert (await office.row()).outcome == "waiting"
    assert await office.state() == "submitted"
    assert (await office.row()).outcome == "saved"


async def test_records_of_other_accounts_are_reported_and_not_touched() -> None:
    """They cannot be asked for with this key."""
    office = Office()
    await office.submitted(account="another")
    row = await office.row()
    assert (row.outcome, office.provider.asked) == ("other", 0)
    assert "another" in row.detail


async def test_an_adopted_task_is_fetched() -> None:
    """The end of a lost answer: a person has found the task, the machine does the rest."""
    office = Office()
    entry = await office.claimed()
    await office.ledger.move(entry, "unknown", reason="connection lost")
    await adopt(office.ledger, "k", "task_found")
    row = await office.row()
    assert (row.outcome, row.task_id) == ("saved", "task_found")


async def test_many_records_are_looked_after_a_few_at_a_time() -> None:
    """In key order, each once."""
    office = Office()
    for n in range(30):
        await office.submitted(f"{n:02}")
    now = most = 0
    get = office.provider.get

    async def counting(task_id: str) -> Generation:
        nonlocal now, most
        now += 1
        most = max(most, now)
        try:
            return await get(task_id)
        finally:
            now -= 1

    office.provider.get = counting  # pyright: ignore[reportAttributeAccessIssue] - a counting stand-in
    report = await reconcile(office.pipeline, at_once=4)
    assert report.counts == {"saved": 30}
    assert [row.key for row in report.rows] == sorted(row.key for row in report.rows)
    assert most <= 4


async def test_a_ledger_that_cannot_be_listed_is_one_plain_error() -> None:
    """Not a group of errors around it: callers catch the package's own."""

    class Unlistable(TroubledMemory):
        def list(self, prefix: str = "") -> Any:
            raise DestinationError("access denied", reason="AccessDenied")

    with failing(DestinationError, "AccessDenied"):
        await reconcile(Office(Unlistable()).pipeline)


async def test_nothing_left_behind_is_an_empty_report() -> None:
    """No question is asked."""
    office = Office()
    report = await reconcile(office.pipeline)
    assert (report.rows, report.counts, office.provider.asked) == ([], {}, 0)


DONE_WITHOUT_LINK = on_its_way(reason="reported as done, no link yet")


async def test_a_link_that_comes_late_is_fetched() -> None:
    """A success without a link is not an end: the record stays open, and the video is saved once the link is there."""
    office = Office()
    await office.submitted()
    assert (await office.row(DONE_WITHOUT_LINK)).outcome == "waiting"
    record = (await office.ledger.existing("k")).record
    assert (record.state, record.no_video_since is not None) == ("submitted", True)
    assert (await office.row()).outcome == "saved"
    assert (await office.ledger.existing("k")).record.no_video_since is None


@pytest.mark.parametrize(("asked_ago", "questions"), [(timedelta(minutes=10), 0), (timedelta(minutes=20), 1)])
async def test_the_gaps_between_questions_for_a_late_link_grow(asked_ago: timedelta, questions: int) -> None:
    """An hour after the provider first said so, a quarter of an hour passes between two questions."""
    office, now = Office(), datetime.now(timezone.utc)
    entry = await office.submitted()
    asked = now - asked_ago
    await office.ledger.move(entry, "submitted", no_video_since=asked - timedelta(hours=1), asked_at=asked)
    assert (await office.row(DONE_WITHOUT_LINK)).outcome == "waiting"
    assert office.provider.asked == questions


async def test_a_task_without_a_link_is_given_up_after_days() -> None:
    """Only then it counts as ended without a video, and a person is told by the record and an event."""
    office, now = Office(), datetime.now(timezone.utc)
    entry = await office.submitted()
    await office.ledger.move(entry, "submitted", no_video_since=now - NO_VIDEO_LIMIT - timedelta(hours=1))
    assert (await office.row(DONE_WITHOUT_LINK)).outcome == "failed"
    assert await office.state() == "failed"
    assert [event for event, _ in office.events] == ["generation.failed"]


async def test_an_error_that_is_none_of_ours_stops_no_other_record() -> None:
    """A fault of the plugin with one video is that row's; the other one is saved all the same."""
    office = Office()
    for key in "ab":
        await office.submitted(key)
    office.provider.answers = [RecursionError("boxes in boxes")]
    rows = {row.key: row for row in (await reconcile(office.pipeline, at_once=1)).rows}
    assert sorted(row.outcome for row in rows.values()) == ["saved", "trouble"]
    assert "RecursionError" in next(row.detail for row in rows.values() if row.outcome == "trouble")
