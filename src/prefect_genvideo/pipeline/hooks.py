"""Hooks of a pipeline for whoever runs it: messages, events, the runs that work is done for, their labels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from prefect_genvideo.ledger.record import LedgerRecord

Say = Callable[[str], None]
Event = Literal[
    "generation.submitted",
    "generation.succeeded",
    "generation.failed",
    "generation.unknown",
    "video.saving",
    "video.saved",
]
Announce = Callable[[Event, LedgerRecord], None]


@dataclass(frozen=True)
class Lineage:
    """An object of the destination and what it was made from. Without secrets: links are lasting ones or none.

    Attributes:
        uri: The object, e.g. `s3://bucket/key`.
        name: What people know it by.
        description: What it is.
        link: What opens it.
        upstream: URIs of what it was made from.
        facts: What else is worth knowing, JSON values.
    """

    uri: str
    name: str
    description: str = ""
    link: str | None = None
    upstream: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict[str, Any])


TellLineage = Callable[[Lineage], None]


class RunIds(NamedTuple):
    """The runs that work is done for."""

    flow_run: str | None = None
    task_run: str | None = None
    flow_name: str | None = None


class Labels(NamedTuple):
    """What every record of a run carries: free words, and who bears the cost."""

    tags: tuple[str, ...] = ()
    cost_center: str | None = None

    def beside(self, tags: tuple[str, ...]) -> Labels:
        """Return these labels with a row's own tags."""
        return self._replace(tags=tuple(dict.fromkeys((*self.tags, *tags))))

    def pairs(self) -> dict[str, str]:
        """Return them as names with values, the cost center first: `{"cost_center": "marketing", "spring": "true"}`."""
        named = {"cost_center": self.cost_center} if self.cost_center else {}
        return named | {tag: "true" for tag in self.tags if tag not in named}


NO_LABELS = Labels()
"""Of runs that say nothing."""


def silent(*told: object) -> None:
    """Tell nobody."""
    del told
