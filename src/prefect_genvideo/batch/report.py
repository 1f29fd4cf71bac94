"""What became of a batch: one row a video, in the order of the request list."""

from __future__ import annotations

from collections import Counter
from typing import Literal

from pydantic import BaseModel, Field

from prefect_genvideo.errors import GenVideoError, shorten
from prefect_genvideo.models import StoredVideo

RowState = Literal["saved", "pending", "failed", "unknown", "skipped"]


class BatchRow(BaseModel):
    """One wanted video.

    Attributes:
        number: Row as people count it in their manifest, from 1.
        key: Idempotency key; `genvideo ledger show KEY` has the rest.
        state: `saved`; `pending` (submitted, collected later); `failed`; `unknown` (a person decides); `skipped` (not
            sent, since the account was stopped or the budget spent).
        error: Class of the error, which says what to do; see `prefect_genvideo.errors`.
        seconds: From the start of the row to its end.
        attempts: Requests tried, the fallbacks included.
    """

    number: int
    key: str
    model: str
    provider: str
    prompt: str = ""
    state: RowState
    reason: str = ""
    error: str | None = None
    task_id: str | None = None
    uri: str | None = None
    seconds: float = 0.0
    attempts: int = 0
    video: StoredVideo | None = None


class BatchReport(BaseModel):
    """All rows of a batch.

    Attributes:
        key: Key of the batch; the rows' keys are derived from it where they have none of their own.
        report_uri: Where this report is stored as JSON.
    """

    key: str
    rows: list[BatchRow] = Field(default_factory=list[BatchRow])
    report_uri: str | None = None

    @property
    def counts(self) -> dict[str, int]:
        """How many rows ended in each state."""
        return dict(Counter(row.state for row in self.rows))

    @property
    def saved(self) -> list[StoredVideo]:
        """The videos, in the order of the rows."""
        return [row.video for row in self.rows if row.video is not None]

    def failed_share(self) -> float:
        """Share of rows that are neither saved nor pending, 0-1."""
        bad = sum(row.state not in ("saved", "pending") for row in self.rows)
        return bad / len(self.rows) if self.rows else 0.0

    def summary(self) -> str:
        """One line for people, e.g. `10 videos: 8 saved, 2 failed`."""
        counts = ", ".join(f"{count} {state}" for state, count in self.counts.items())
        return f"{len(self.rows)} video{'' if len(self.rows) == 1 else 's'}: {counts or 'none wanted'}"

    def table(self) -> list[dict[str, str | int | float]]:
        """Rows for a table artifact: what people look for first, without long texts."""
        return [
            {
                "row": row.number,
                "state": row.state,
                "reason": shorten(row.reason, 200),
                "video": row.uri or "",
                "seconds": round(row.seconds, 1),
                "attempts": row.attempts,
                "model": row.model,
                "task id": row.task_id or "",
                "key": row.key,
            }
            for row in self.rows
        ]


class BatchFailedError(GenVideoError):
    """More videos failed than the batch's policy allows. The good ones are saved; a rerun does only what is missing.

    Attributes:
        report: What became of every row.
    """

    def __init__(self, message: str, *, report: BatchReport) -> None:
        super().__init__(message)
        self.report = report
