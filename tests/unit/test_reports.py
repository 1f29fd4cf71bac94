"""What became of a batch, for people, for programs and for the policy."""

from __future__ import annotations

import pickle

import pytest

from prefect_genvideo import errors
from prefect_genvideo.batch.report import BatchFailedError, BatchReport, BatchRow, RowState
from prefect_genvideo.errors import GenVideoError
from prefect_genvideo.flows.batch import FailOn, judge
from prefect_genvideo.models import StoredVideo

VIDEO = StoredVideo(
    uri="s3://b/a.mp4",
    key="a.mp4",
    size=1,
    sha256="0" * 64,
    manifest_uri="s3://b/a.json",
    task_id="task_1",
    provider="sudashui",
    model="m",
)


def report(*states: RowState) -> BatchReport:
    rows = [
        BatchRow(
            number=number,
            key=f"k-{number}",
            model="m",
            provider="sudashui",
            state=state,
            reason="" if state == "saved" else "a reason. " * 100,
            uri=VIDEO.uri if state == "saved" else None,
            video=VIDEO if state == "saved" else None,
            seconds=12.3456,
            attempts=1,
        )
        for number, state in enumerate(states, start=1)
    ]
    return BatchReport(key="batch", rows=rows, report_uri="s3://b/report.json")


def test_a_report_counts_and_sums_up() -> None:
    """One line says it all; the videos are those that are saved."""
    whole = report("saved", "failed", "saved", "skipped", "unknown", "pending")
    assert whole.counts == {"saved": 2, "failed": 1, "skipped": 1, "unknown": 1, "pending": 1}
    assert whole.summary() == "6 videos: 2 saved, 1 failed, 1 skipped, 1 unknown, 1 pending"
    assert whole.saved == [VIDEO, VIDEO]
    assert report("saved").summary() == "1 video: 1 saved"
    assert BatchReport(key="k").summary() == "0 videos: none wanted"


@pytest.mark.parametrize(
    ("reused", "summary"),
    [
        ((True, False), "2 videos: 2 saved (1 of them paid for earlier)"),
        ((True, True), "2 videos: 2 saved (all paid for earlier)"),
        ((True,), "1 video: 1 saved (paid for earlier)"),
    ],
)
def test_a_repeated_run_does_not_boast(reused: tuple[bool, ...], summary: str) -> None:
    """Videos that another run paid for are not counted as this run's work."""
    states: list[RowState] = ["saved"] * len(reused)
    whole = report(*states)
    for row, earlier in zip(whole.rows, reused, strict=True):
        row.video = VIDEO.model_copy(update={"reused": earlier})
    assert whole.summary() == summary


def kinds(of: type[GenVideoError] = GenVideoError) -> set[str]:
    """Names of the classes of the error tree, the root aside."""
    return {name for kind in of.__subclasses__() for name in (kind.__name__, *kinds(kind))}


@pytest.mark.parametrize("error", sorted(kinds() & {*vars(errors)} | {"AccountStoppedError", "BudgetError"}))
def test_every_error_says_what_to_do(error: str) -> None:
    """In a word of its own, which no long reason can push out of sight; a retry is advised where a retry helps."""
    row = BatchRow(number=1, key="k", model="m", provider="p", state="failed", error=error, reason="x" * 5_000)
    unknown = BatchRow(number=1, key="k", model="m", provider="p", state="failed", error="KeyError")
    assert row.next_step
    assert row.next_step != unknown.next_step
    assert BatchReport(key="b", rows=[row]).table()[0]["next"] == row.next_step
    resumes = getattr(errors, error, None) and issubclass(
        getattr(errors, error), errors.TransientError | errors.DownloadError
    )
    assert not resumes or row.next_step == "retry the run"


def test_advice_is_given_by_kind() -> None:
    """Refused rows are not told to be retried; the key that a mended list needs is in the message."""
    refused: list[RowState] = ["failed"] * 7
    whole = report("saved", "failed", "failed", "unknown", "skipped", *refused)
    for row in whole.rows[1:]:
        row.error = "RejectedError" if row.state == "failed" else None
    mend, person, retry = whole.advice().split(". ")
    assert mend.startswith("Rows 2, 3, 6, 7, 8 and 4 more: mend")
    assert person.startswith("Row 4: a person decides")
    assert retry == "Row 5: retry the run."
    assert report("saved").advice() == ""


def test_what_is_collected_later_is_not_bad() -> None:
    """Failed, unknown and skipped rows are; pending ones are on their way."""
    assert report("saved", "pending").failed_share() == 0
    assert report("saved", "failed", "unknown", "skipped").failed_share() == 0.75
    assert BatchReport(key="k").failed_share() == 0


def test_the_table_has_what_people_look_for_first() -> None:
    """Row, state, reason, link, seconds, attempts; long texts are cut."""
    good, bad = report("saved", "failed").table()
    assert good | {"row": 1, "state": "saved", "reason": "", "video": VIDEO.uri, "seconds": 12.3, "attempts": 1} == good
    assert len(str(bad["reason"])) == 200
    assert (bad["video"], bad["task id"], bad["key"]) == ("", "", "k-2")


@pytest.mark.parametrize(
    ("policy", "share", "states", "ends_well"),
    [
        ("any", 0.9, ("saved", "pending"), True),
        ("any", 0.9, ("saved", "failed"), False),
        ("any", 0.9, ("saved", "unknown"), False),
        ("any", 0.9, ("saved", "skipped"), False),
        ("share", 0.5, ("saved", "failed"), True),
        ("share", 0.49, ("saved", "failed"), False),
        ("share", 0.0, ("saved", "saved"), True),
        ("never", 0.0, ("failed", "unknown"), True),
    ],
)
def test_the_policy_decides_how_the_run_ends(
    policy: FailOn, share: float, states: tuple[RowState, ...], ends_well: bool
) -> None:
    """`any` bad video, a `share` above the accepted one, or `never`."""
    whole = report(*states)
    if ends_well:
        judge(whole, policy, share)
        return
    with pytest.raises(BatchFailedError) as caught:
        judge(whole, policy, share)
    assert caught.value.report is whole
    told, first = str(caught.value).splitlines()
    assert told.startswith(whole.summary())
    assert told.endswith("Batch key: batch. Report: s3://b/report.json")
    assert whole.advice() in told
    assert first.startswith("First: row 2, a reason. ")


def test_a_failed_batch_keeps_its_report_between_processes() -> None:
    """The error is stored by Prefect and raised again elsewhere."""
    error = BatchFailedError("2 of 3 failed", report=report("failed"))
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, GenVideoError)
    assert isinstance(again, BatchFailedError)
    assert again.report == error.report


def test_a_report_survives_json() -> None:
    """Shards hand their reports over through the store."""
    whole = report("saved", "failed")
    assert BatchReport.model_validate_json(whole.model_dump_json(exclude_none=True)) == whole
