"""The report of a batch: what became of each wanted video, and what to do about those that are missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final, Literal

from pydantic import BaseModel, Field, computed_field

from prefect_genvideo.errors import GenVideoError, counted, shorten
from prefect_genvideo.models import StoredVideo

RowState = Literal["saved", "pending", "failed", "unknown", "skipped"]

_RETRY: Final = "retry the run"
_MEND: Final = "mend and run with the batch's key, since the same request is refused again"
_ENDED: Final = "a new try may cost again: another request or key, or genvideo ledger release KEY"
_ACCOUNT: Final = "see to the account, then retry the run"
_PERSON: Final = "a person decides: genvideo ledger show KEY"
# What the ledger makes of a rerun after each error, by the error's class; `prefect_genvideo.errors` says why.
_NEXT_BY_ERROR: Final[Mapping[str, str]] = {
    "InvalidRequestError": _MEND,
    "RejectedError": _MEND,
    "ModelUnavailableError": _MEND,
    "AuthenticationError": _ACCOUNT,
    "QuotaError": _ACCOUNT,
    "AccountStoppedError": _ACCOUNT,
    "BudgetError": "raise the budget or wait until it frees up, then retry the run",
    "TransientError": _RETRY,
    "RateLimitedError": _RETRY,
    "UnknownOutcomeError": _PERSON,
    "TaskLostError": _PERSON,
    "GenerationFailedError": _ENDED,
    "NoVideoError": _ENDED,
    "GenerationTimeoutError": _RETRY,
    "DownloadError": _RETRY,
    "LinkExpiredError": _RETRY,
    "DestinationError": "see to the destination, then retry the run",
}
_NEXT_BY_STATE: Final[Mapping[RowState, str]] = {
    "saved": "",
    "pending": "fetched by the reconcile flow",
    "failed": "see the reason; a retry of the run pays for nothing twice",
    "unknown": _PERSON,
    "skipped": _RETRY,
}
# Rows that advice names by number.
_NAMED: Final = 5


class BatchRow(BaseModel):
    """One wanted video.

    Attributes:
        number: Row as people count it in their manifest, from 1.
        key: Idempotency key; `genvideo ledger show KEY` has the rest.
        state: `saved`; `pending` (submitted, collected later); `failed`; `unknown` (a person decides); `skipped` (not
            sent, since the account was stopped or the budget spent).
        error: Class of the error, which says what to do; see `prefect_genvideo.errors`.
        link: What opens the video, where that is a lasting address and no secret.
        seconds: From the start of the row to its end.
        attempts: Requests tried, the fallbacks included.
        video: The saved video; `reused` when an earlier or another run paid for it.
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
    link: str | None = None
    seconds: float = 0.0
    attempts: int = 0
    video: StoredVideo | None = None

    @computed_field
    @property
    def next_step(self) -> str:
        """What to do about it; empty for a saved video."""
        by_state = _NEXT_BY_STATE[self.state]
        return by_state if self.state in ("saved", "pending") else _NEXT_BY_ERROR.get(self.error or "", by_state)


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
        """One line for people, e.g. `10 videos: 8 saved (3 of them paid for earlier), 2 failed`."""
        words = [
            f"{count} {state}{self._earlier(count) if state == 'saved' else ''}" for state, count in self.counts.items()
        ]
        return f"{counted(len(self.rows), 'video')}: {', '.join(words) or 'none wanted'}"

    def _earlier(self, saved: int) -> str:
        """How many of the saved ones cost this run nothing."""
        reused = sum(video.reused for video in self.saved)
        share = "" if saved == 1 else "all " if reused == saved else f"{reused} of them "
        return f" ({share}paid for earlier)" if reused else ""

    def advice(self) -> str:
        """What to do about the rows that are not saved, in sentences; empty when all are."""
        steps = dict[str, list[int]]()
        for row in self.rows:
            if row.next_step:
                steps.setdefault(row.next_step, []).append(row.number)
        return " ".join(f"{_rows(numbers)}: {step}." for step, numbers in steps.items())

    def table(self) -> list[dict[str, str | int | float]]:
        """Rows for a table artifact: what people look for first; long reasons are cut, what to do never is."""
        return [
            {
                "row": row.number,
                "state": row.state,
                "prompt": shorten(row.prompt, 60),
                "reason": shorten(row.reason, 200),
                "next": row.next_step,
                "seconds": round(row.seconds, 1),
                "attempts": row.attempts,
                "model": row.model,
                "link": row.link or "",
                "video": row.uri or "",
                "task id": row.task_id or "",
                "key": row.key,
            }
            for row in self.rows
        ]


def _rows(numbers: list[int]) -> str:
    named = ", ".join(map(str, numbers[:_NAMED]))
    more = f" and {len(numbers) - _NAMED} more" if len(numbers) > _NAMED else ""
    return f"{'Row' if len(numbers) == 1 else 'Rows'} {named}{more}"


class BatchFailedError(GenVideoError):
    """More videos failed than the batch's policy allows. The good ones are saved; the message says what to do.

    Attributes:
        report: What became of every row.
    """

    def __init__(self, message: str, *, report: BatchReport) -> None:
        super().__init__(message)
        self.report = report
