"""A create whose answer was lost: what is known of it, and what the provider's evidence says."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from prefect_genvideo.models import VideoRequest
from prefect_genvideo.prices.facts import Candidate
from prefect_genvideo.providers.money import AccountLog

Outcome = Literal["found", "charged", "not_charged", "ambiguous", "unknown"]
"""`found`: the task is named. `charged`: it was accepted, its task is not named. `not_charged`: evidence that nothing
was made. `ambiguous`: several things fit. `unknown`: nothing can be concluded."""


@dataclass(frozen=True)
class Span:
    """When a create without a task may have reached the provider, by the provider's clock.

    Attributes:
        opens: Not before.
        closes: Not after.
    """

    opens: datetime
    closes: datetime

    def __str__(self) -> str:
        return f"from {self.opens:%H:%M:%S} to {self.closes:%H:%M:%S} UTC"

    def holds(self, moment: datetime, late: timedelta = timedelta(0)) -> bool:
        """Whether a moment lies in it.

        Args:
            moment: By the provider's clock.
            late: How long after the call it may have been noted.
        """
        return self.opens <= moment <= self.closes + late

    def meets(self, other: Span) -> bool:
        """Whether some moment lies in both."""
        return self.opens <= other.closes and other.opens <= self.closes


@dataclass(frozen=True)
class LostCreate:
    """What is known of a create whose answer was lost.

    Attributes:
        request: What was sent.
        sent_at: When, by our clock.
        gave_up_at: When its answer was given up; None: just now.
        claim: Random id of the ledger's claim that it was sent under; see `VideoClient.marked`.
        request_id: The provider's id of the call, where headers came before the rest was lost.
        clock_ahead: Seconds that the provider's clock is ahead of ours, where its answer told.
        clock_doubt: Seconds by which `sent_at` may be off: more where another machine's clock wrote it.
        known_request_ids: Of all other creates that the ledger knows.
        known_task_ids: Tasks that the ledger knows.
        lost_alike: Lost creates of the same model in about the same time, this one included.
        rivals: When other creates of the model without a task may have reached the provider, lost or under way.
        key_is_ours: Whether nothing but this ledger uses the key; a person has said so.
        log: The account's log to judge by. Who names what the ledger knows reads the log first, the ledger then: what
            is created in between would else look like nobody's.
        expected_quota: What it was expected to cost, in the gateway's whole figures. A hint, never a condition.
    """

    request: VideoRequest
    sent_at: datetime
    gave_up_at: datetime | None = None
    claim: str = ""
    request_id: str | None = None
    clock_ahead: float | None = None
    clock_doubt: float = 5.0
    known_request_ids: frozenset[str] = frozenset()
    known_task_ids: frozenset[str] = frozenset()
    lost_alike: int = 1
    rivals: tuple[Span, ...] = ()
    key_is_ours: bool = False
    log: AccountLog | None = None
    expected_quota: int | None = None

    def span(self, read_at: datetime, clock_ahead: float | None = None) -> Span:
        """Return when it may have reached the provider.

        Args:
            read_at: When it is looked for; it was given up at the latest then.
            clock_ahead: Seconds that the provider's clock is ahead of ours, where its own answer did not tell.
        """
        ahead = self.clock_ahead if self.clock_ahead is not None else clock_ahead
        shift, doubt = timedelta(seconds=ahead or 0.0), timedelta(seconds=self.clock_doubt)
        return Span(self.sent_at + shift - doubt, (self.gave_up_at or read_at) + shift + doubt)


@dataclass(frozen=True)
class FoundCreate:
    """What a provider's evidence says of a lost create.

    Attributes:
        outcome: What can be concluded.
        certainty: `exact`, `by mark` (held against the ledger before it is heeded), `by elimination`, `by count`,
            `candidates`, or why there is none.
        task_ids: Tasks that fit; with `found` exactly one, which is taken up as paid for.
        quota: What was charged, in the gateway's whole figures.
        refunded: What was given back since.
        request_id: Of the row that was found.
        candidates: Rows that fit.
        price_differs: Whether it was charged with another figure than was expected.
        evidence: All of it in a sentence, for the person who decides.
        rows: The candidates that fit best, where none is certain.
    """

    outcome: Outcome = "unknown"
    certainty: str = "no way to look"
    task_ids: tuple[str, ...] = ()
    quota: int | None = None
    refunded: int | None = None
    request_id: str | None = None
    candidates: int = 0
    price_differs: bool = False
    evidence: str = ""
    rows: tuple[Candidate, ...] = ()

    @property
    def is_by_mark(self) -> bool:
        """Whether a task was found by a mark, which the ledger has to agree to."""
        return self.outcome == "found" and self.certainty == "by mark"
