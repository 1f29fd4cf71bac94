"""Answers judged by tables: what a status, an envelope and a code mean, first matching row wins.

A provider's wire module holds the tables; a reader can hold them against the provider's document row by row.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass, field

from prefect_genvideo.errors import GenVideoError


@dataclass(frozen=True)
class Facts:
    """What a reply shows once its envelope is opened.

    Attributes:
        status: HTTP status; 0 when there was no answer.
        envelope: Name of the form the body has, as the provider's wire module defines them.
        codes: Every code in the body, and the failure of the exchange.
        reason: The provider's own word for the cause.
        message: Everything the provider said.
        money: Whether the words speak of an exhausted account.
        retry_after: Seconds the provider asked us to wait.
    """

    status: int
    envelope: str
    codes: frozenset[str] = frozenset()
    reason: str = ""
    message: str = ""
    money: bool = False
    retry_after: float | None = None


@dataclass(frozen=True)
class Row:
    """One row of a table. Empty conditions match everything.

    Attributes:
        error: What is raised.
        says: The meaning, in words for the user.
        statuses: HTTP statuses.
        envelopes: Forms of the body.
        codes: Any of these codes.
        money: Only when the words speak of an exhausted account.
        reason: The reason to give; the provider's own by default.
        retry_after: Seconds to wait when the provider named none.
    """

    error: type[GenVideoError]
    says: str
    statuses: Container[int] = field(default_factory=tuple[int, ...])
    envelopes: Container[str] = field(default_factory=tuple[str, ...])
    codes: frozenset[str] = frozenset()
    money: bool = False
    reason: str = ""
    retry_after: float | None = None

    def matches(self, facts: Facts) -> bool:
        """Whether every condition holds."""
        return (
            (not self.statuses or facts.status in self.statuses)
            and (not self.envelopes or facts.envelope in self.envelopes)
            and (not self.codes or not self.codes.isdisjoint(facts.codes))
            and (not self.money or facts.money)
        )


def judge(table: Sequence[Row], facts: Facts) -> Row:
    """Return the first row that matches. Every table ends with a row that always does."""
    return next(row for row in table if row.matches(facts))


def to_error(row: Row, facts: Facts, *, title: str, provider: str, task_id: str | None = None) -> GenVideoError:
    """Build the error of a row, with everything the provider said."""
    where = f" (HTTP {facts.status})" if facts.status else ""
    said = f": {facts.message}" if facts.message else ""
    return row.error(
        f"{title}: {row.says}{where}{said}",
        provider=provider,
        task_id=task_id,
        status_code=facts.status or None,
        reason=row.reason or facts.reason or (f"HTTP {facts.status}" if facts.status else None),
        retry_after=facts.retry_after if facts.retry_after is not None else row.retry_after,
    )
