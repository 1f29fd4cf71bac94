"""The data of a batch: rows, alternatives and problems, and the names and limits of its format."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, get_args

from prefect_genvideo.errors import InvalidRequestError, counted, shorten, shown
from prefect_genvideo.models import Problem, VideoRequest

Numbering = Literal["line", "row"]
FallbackKind = Literal["quota", "model_unavailable", "provider_down", "rejected"]
FALLBACK_KINDS: tuple[FallbackKind, ...] = get_args(FallbackKind)
"""Kinds of failure that an alternative may stand in for."""
DEFAULT_KINDS: frozenset[FallbackKind] = frozenset({"quota", "model_unavailable", "provider_down"})
"""What an alternative stands in for that does not say."""

REQUEST_FIELDS = tuple(VideoRequest.model_fields)
"""What a request may set."""
ROW_FIELDS = (*REQUEST_FIELDS, "provider", "key", "due", "fallback", "tags", "vars")
"""What a row may set."""
# Source of the format's rules, in problems.
_SOURCE = "manifest format"


@dataclass(frozen=True)
class ManifestLimits:
    """How large and slow a batch's file may be.

    Attributes:
        max_bytes: Bytes of the file.
        max_yaml_bytes: Bytes of a YAML file, which takes some twenty times as long to read as JSON.
        max_rows: Rows of the file.
        max_values: Values in the file, counted by commas and brackets in JSON and by filled cells in CSV: small ones
            take thirty times their bytes in memory.
        max_expanded: Characters of all rows together once defaults, alternatives, anchors and templates have been
            filled in; a value counts as 32 more.
        max_problems: Problems that are listed one by one; more are counted.
        download_seconds: Seconds a download may take in all.
        seconds: Seconds that checking all rows may take.
    """

    max_bytes: int = 32 * 1024 * 1024
    max_yaml_bytes: int = 4 * 1024 * 1024
    max_rows: int = 100_000
    max_values: int = 3_000_000
    max_expanded: int = 256 * 1024 * 1024
    max_problems: int = 1_000
    download_seconds: float = 120.0
    seconds: float = 120.0


@dataclass(frozen=True)
class Alternative:
    """Another model or provider for the same video.

    Attributes:
        on: Kinds of failure it stands in for. A moderation refusal is never one of them.
        request: The row's request with this alternative's fields in place of the row's.
        provider: Name of the provider; None is the row's own.
    """

    on: frozenset[FallbackKind]
    request: VideoRequest
    provider: str | None = None


@dataclass(frozen=True)
class ManifestRow:
    """One wanted video of a batch.

    Attributes:
        number: Where it stands: the line of a JSONL or CSV file, else the row, from 1.
        key: Idempotency key; None when the row names none.
        request: What is wanted; templates are rendered, assets not looked at yet.
        provider: Name of the provider; None leaves it to the caller.
        due: When it is wanted, with time zone; a date alone means 00:00 UTC of that day.
        fallback: What may be tried instead, in order.
        tags: Free words.
        vars: The row's own variables.
    """

    number: int
    key: str | None
    request: VideoRequest
    provider: str | None = None
    due: datetime | None = None
    fallback: tuple[Alternative, ...] = ()
    tags: tuple[str, ...] = ()
    vars: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def alternatives(self) -> list[Alternative]:
        """What is wanted, which stands in for no failure, then what may be tried instead; each with its provider."""
        wanted = Alternative(frozenset(), self.request, self.provider)
        return [wanted, *(replace(other, provider=other.provider or self.provider) for other in self.fallback)]


@dataclass(frozen=True)
class RowProblem:
    """A broken rule and where.

    Attributes:
        row: Number as in `ManifestRow`; 0 means the file's `defaults`.
        key: The row's key as far as known.
        problem: Field, value, limit.
    """

    row: int
    key: str | None
    problem: Problem


@dataclass(frozen=True)
class Manifest:
    """A batch as it was read.

    Attributes:
        name: Last part of the source, e.g. `calendar.csv`; empty for a list in memory.
        rows: Rows without a problem, in the order of the file.
        problems: Everything that is wrong, in the order of the file.
        numbering: What the numbers of rows count.
        unlisted: Problems beyond the listed ones.
    """

    name: str
    rows: list[ManifestRow]
    problems: list[RowProblem]
    numbering: Numbering = "row"
    unlisted: int = 0

    def placed(self) -> list[Problem]:
        """All problems; the field of each says its row too."""
        return [replace(one.problem, field=f"{self.where(one)}: {one.problem.field}") for one in self.problems]

    def where(self, found: RowProblem) -> str:
        """The place of a problem in words, e.g. `line 7 (key spring-1)`."""
        return self.place(found.row, found.key) if found.row else "defaults"

    def place(self, number: int, key: str | None) -> str:
        """The place of a row in words.

        Args:
            number: The row's number.
            key: Its idempotency key; None when it has none.
        """
        return f"{self.numbering} {number}" + (f" (key {shorten(key)})" if key else "")

    def of_row(self, row: ManifestRow, number: int, problems: Sequence[Problem]) -> list[Problem]:
        """Problems of a row's request; the field of each says where it stands.

        Args:
            row: The row.
            number: Which of its `alternatives`.
            problems: What is wrong with it.
        """
        place = self.place(row.number, row.key) + (f", fallback {number}" if number else "")
        return [replace(one, field=f"{place}: {one.field}") for one in problems]

    def check(self, further: Sequence[Problem] = (), most: int = 1_000) -> None:
        """Refuse a batch in which anything is wrong.

        Args:
            further: What is wrong beside the format.
            most: Problems that are listed; more are counted.

        Raises:
            InvalidRequestError: With the problems; the field of each says its row too.
        """
        problems = [*self.placed(), *further]
        listed, count = problems[:most], len(problems) + self.unlisted
        if problems:
            name = shorten(self.name, 100) or "in memory"
            more = f" The first {len(listed)} of them:" if count > len(listed) else ""
            told = f"The manifest {name} has {counted(count, 'problem')}; nothing was sent.{more}"
            raise InvalidRequestError(told, problems=listed)


def problem(field: str, value: Any, limit: str) -> Problem:
    """Return a broken rule of the format, its value shortened and safe to show.

    Args:
        field: Where it stands, e.g. `images[2]`.
        value: What stands there.
        limit: What is allowed.
    """
    return Problem(field, shown(value), limit, _SOURCE)


def unusable(name: str, limit: str) -> InvalidRequestError:
    """Return the error that refuses a manifest as a whole.

    Args:
        name: Its name or place; empty for a list in memory.
        limit: What it breaks, and what to do.
    """
    refused = problem("manifest", name or "(list)", limit)
    return InvalidRequestError("The manifest cannot be used; nothing was sent.", problems=[refused])


def closest_name(name: str, names: Sequence[str], cutoff: float = 0.6) -> str | None:
    """Return the one of `names` that `name` is most likely a misspelling of.

    Args:
        name: As it was written.
        names: What it could be.
        cutoff: How alike they must be, 0-1.
    """
    return next(iter(difflib.get_close_matches(name[:100].lower(), names, n=1, cutoff=cutoff)), None)
