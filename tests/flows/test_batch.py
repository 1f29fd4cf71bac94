"""Many videos in one run: the good ones are saved, the bad ones reported, a rerun does only what is missing."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest
from prefect import get_client

from prefect_genvideo.artifacts import report as reports
from prefect_genvideo.batch.report import BatchFailedError, BatchReport
from prefect_genvideo.blocks import LocalDestination
from prefect_genvideo.errors import DestinationError
from prefect_genvideo.flows import batch
from prefect_genvideo.flows.reconcile import reconcile_videos
from prefect_genvideo.pipeline.make import Attempt, Maker, RowOutcome
from prefect_genvideo.simulator import Fault
from prefect_genvideo.storage import LocalStore, ObjectStore
from tests.fixtures.expected import refusing
from tests.fixtures.runs import artifacts, flow_run_of, task_runs
from tests.flows.batches import MODEL, at_once, bill, make, sense, states, wanted
from tests.flows.conftest import Place


async def test_nothing_is_paid_before_everything_is_known_to_be_right(place: Place) -> None:
    """The last row of three breaks rules: the run fails with row, field, value and limit, and nothing was sent."""
    rows = [*wanted("a", "b"), *wanted("c", duration=99, key="spring-1")]
    with refusing("row 3 (key spring-1): duration", limit="4 to 15"):
        await make(place, rows)
    assert (place.sim.calls, place.objects()) == ({}, {})


async def test_the_policy_decides_how_a_run_with_bad_videos_ends(place: Place) -> None:
    """One of three is refused by moderation. `any` fails, a share of 0.34 and `never` do not; reruns cost nothing."""
    place.sim.faults.add(Fault("moderation", "create", match="bad"))
    rows = wanted("a", "bad", "c")
    with pytest.raises(BatchFailedError) as caught:
        await make(place, rows, fail_on="any")
    assert (caught.value.report.counts["saved"], caught.value.report.counts["failed"]) == (2, 1)
    assert caught.value.report.report_uri is not None
    assert len(place.videos()) == 2
    for policy in ({"fail_on": "share", "failed_share": 0.34}, {"fail_on": "never"}):
        report = await make(place, rows, **policy)
        assert report.counts == {"saved": 2, "failed": 1}
    bad = report.rows[1]
    (refused,) = [task.task_id for task in place.sim.tasks if task.failed]
    assert (bad.error, bad.task_id) == ("GenerationFailedError", refused)
    assert "Real human faces" in bad.reason
    assert (place.sim.billed, place.sim.downloads) == (3, 2)


async def test_the_first_create_does_not_wait_for_the_last_start(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of five rows that may all be under way, two are being started when the first has its task id; later three."""
    monkeypatch.setattr(batch, "_STARTING", 2)
    monkeypatch.setattr(batch, "_MOST_STARTING", 3)
    begun, seen, make_row = list[str](), list[int](), Maker.make

    async def watched(maker: Maker, alternatives: Sequence[Attempt], submitted: Callable[[], None]) -> RowOutcome:
        begun.append(alternatives[0].request.prompt)

        def told() -> None:
            seen.append(len(begun))
            submitted()

        return await make_row(maker, alternatives, told)

    monkeypatch.setattr(Maker, "make", watched)
    report = await make(place, wanted(*"abcde"), max_in_flight=5)
    assert report.counts == {"saved": 5}
    assert seen[0] <= 2
    assert all(count <= number + 3 for number, count in enumerate(seen))


@pytest.mark.parametrize("fault", [None, ImportError("no Pillow")])
async def test_what_draws_the_sheet_is_loaded_while_videos_are_made(
    monkeypatch: pytest.MonkeyPatch, fault: Exception | None
) -> None:
    """What cannot be loaded costs nothing now: whoever draws the sheet says so."""
    drawn, given = threading.Event(), list[Any]()

    def draw(pictures: Sequence[tuple[bytes | None, str]]) -> bytes:
        given.extend(pictures)
        drawn.set()
        if fault:
            raise fault
        return b""

    monkeypatch.setattr(reports, "_CREATES_FIRST", 0)
    monkeypatch.setattr(reports, "_drawn", draw)
    async with reports.pictures_prepared():
        assert await anyio.to_thread.run_sync(drawn.wait, 5)
    assert given == [(None, "")]


async def test_a_rerun_does_only_what_is_missing(place: Place) -> None:
    """Two rows could not be made. The next run pays for these two and a new one, wherever they stand in the list."""
    place.sim.faults.add(Fault("answer", "create", match="later", params={"status": 400, "body": {"code": "no"}}))
    first = await make(place, wanted("a", "later b", "c", "later d"))
    assert first.counts == {"saved": 2, "failed": 2}
    place.sim.faults.clear()
    second = await make(place, wanted("later d", "c", "new", "a", "later b"))
    assert second.counts == {"saved": 5}
    assert {row.prompt: row.video.reused for row in second.rows if row.video} == {
        "a": True,
        "c": True,
        "later b": False,
        "later d": False,
        "new": False,
    }
    assert (place.sim.billed, len(place.videos())) == (5, 5)


async def test_what_people_find_in_the_morning(place: Place) -> None:
    """A task run a row, a table, a sheet of covers, and `report.json` beside the videos."""
    place.sim.faults.add(Fault("moderation", "create", match="bad"))
    rows = wanted("a", "bad")
    state = await make(place, rows, return_state=True)
    report: BatchReport = await state.aresult()
    run_id = flow_run_of(state)
    assert sorted(run["name"] for run in await task_runs(run_id)) == ["1: a", "2: bad"]
    shown = {artifact["type"]: artifact for artifact in await artifacts(run_id)}
    table = json.loads(shown["table"]["data"])
    assert [(row["row"], row["state"], row["attempts"]) for row in table] == [(1, "saved", 1), (2, "failed", 1)]
    assert table[0]["video"] == report.rows[0].uri
    assert "Real human faces" in table[1]["reason"]
    assert table[1]["task id"] == report.rows[1].task_id
    assert [row["prompt"] for row in table] == ["a", "bad"]
    page = shown["markdown"]["data"]
    assert page.startswith("![covers](data:image/jpeg;base64,")
    assert "Real human faces" in page
    assert {one["description"] for one in shown.values()} == {"batch · 2 videos: 1 saved, 1 failed"}
    stored = place.objects("_reports/batch/")
    assert stored["_reports/batch/contact-sheet.jpg"].startswith(b"\xff\xd8\xff")
    assert report.report_uri == f"s3://{place.destination.bucket}/_reports/batch/report.json"
    assert BatchReport.model_validate_json(stored["_reports/batch/report.json"]) == report


async def test_a_slice_of_the_list_and_then_the_whole(place: Place) -> None:
    """`rows` picks without changing keys: the whole list pays only for the rest. Each has a report of its own."""
    part = await make(place, wanted("a", "b", "c"), rows="2-3")
    assert states(part) == {"b": "saved", "c": "saved"}
    assert place.sim.billed == 2
    assert part.report_uri is not None
    assert part.report_uri.endswith("_reports/batch-2-3/report.json")
    whole = await make(place, wanted("a", "b", "c"))
    assert (whole.counts, place.sim.billed) == ({"saved": 3}, 3)


@pytest.mark.parametrize("where", ["file", "s3"])
async def test_a_manifest_from_a_file_and_from_the_bucket(place: Place, tmp_path: Path, where: str) -> None:
    """Rows, defaults and templates as a file; `s3://` is read with the destination's own keys."""
    text = f"defaults: {{model: {MODEL}, duration: 4, prompt: '{{{{ city }}}} at dawn'}}\nrows:\n"
    text += "  - {vars: {city: Oslo}, key: north}\n  - {vars: {city: Lisbon}, aspect_ratio: 9:16}\n"
    source = tmp_path / "list.yaml"
    source.write_text(text)
    if where == "s3":
        place.s3.client.put_object(Bucket=place.destination.bucket, Key="in/list.yaml", Body=text.encode())
    report = await make(place, str(source) if where == "file" else f"s3://{place.destination.bucket}/in/list.yaml")
    assert states(report) == {"Oslo at dawn": "saved", "Lisbon at dawn": "saved"}
    assert report.rows[0].key == "north"
    assert sorted(task.wanted.ratio for task in place.sim.tasks) == ["16:9", "9:16"]


async def test_no_more_are_under_way_than_asked_for(place: Place) -> None:
    """By the provider's clock: four generations of half a second, two at once, never three."""
    place.sim.configure(clock="time", duration_kind="fixed", duration_median_s=0.5, refresh_s=0)
    report = await make(place, wanted(*"abcd"), max_in_flight=2)
    assert report.counts == {"saved": 4}
    assert at_once(place.sim.tasks) == 2


async def test_submitting_now_and_collecting_later(place: Place) -> None:
    """`collect` ends when all are submitted. The reconcile flow saves them; the batch run again finds them saved."""
    place.sim.configure(clock="manual")
    submitted = await make(place, wanted("a", "b"), wait="collect", fail_on="any")
    assert submitted.counts == {"pending": 2}
    assert (place.sim.billed, place.videos()) == (2, {})
    for task in place.sim.tasks:
        place.sim.finish(task.task_id)
    assert [row.outcome for row in await reconcile_videos(place.sudashui, place.destination)] == ["saved", "saved"]
    assert len(place.videos()) == 2
    again = await make(place, wanted("a", "b"))
    assert again.counts == {"saved": 2}
    assert {row.task_id for row in again.rows} == {row.task_id for row in submitted.rows}
    assert (place.sim.billed, place.sim.downloads) == (2, 2)


async def test_two_providers_in_one_batch(place: Place) -> None:
    """Each row goes to the account that documents its model."""
    report = await make(place, [*wanted("a"), *sense("b")])
    assert {row.prompt: row.provider for row in report.rows} == {"a": "sudashui", "b": "senseaudio"}
    assert bill(place) == {"sudashui": 1, "senseaudio": 1}


class BrittleStore(LocalStore):
    """A store with a fault of its own: an error that is none of the tree."""

    async def put(self, key: str, data: bytes, **options: Any) -> str:
        if "boom" in key:
            raise RuntimeError("a fault in the store's own code")
        if key.startswith("_reports"):
            raise DestinationError("no reports today")
        return await super().put(key, data, **options)


class BrittleDestination(LocalDestination):
    """Its destination."""

    _block_type_slug = "brittle-video-destination"

    def get_store(self) -> ObjectStore:
        return BrittleStore(self.path)


async def test_a_row_that_fails_oddly_takes_no_other_with_it(place: Place, tmp_path: Path) -> None:
    """A bug somewhere ends one row; the others are saved and reported, though the report itself cannot be stored."""
    place.destination = BrittleDestination(path=str(tmp_path))  # type: ignore[assignment]  # any destination will do
    report = await make(place, [*wanted("a"), *wanted("b", key="boom"), *wanted("c")])
    assert states(report) == {"a": "saved", "b": "failed", "c": "saved"}
    assert (report.rows[1].error, report.rows[1].reason) == (
        "RuntimeError",
        "internal error, RuntimeError: a fault in the store's own code",
    )
    assert report.report_uri is None
    assert place.sim.billed == 2


async def test_the_flow_run_is_the_key_when_none_is_given(place: Place) -> None:
    """Another run of the same list is another batch: tomorrow's schedule makes new videos."""
    first, second = [await make(place, wanted("a"), idempotency_key="") for _ in range(2)]
    assert first.key != second.key
    assert place.sim.billed == 2
    async with get_client() as client:
        run = await client.read_flow_run(first.key.removeprefix("run-")[:36])  # type: ignore[arg-type]  # an id as text
    assert run.name is not None
