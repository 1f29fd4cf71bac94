"""What a pipeline tells and asks of whoever runs it: messages, events, and the runs that the work is done for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from prefect_genvideo.ledger.record import LedgerRecord

Say = Callable[[str], None]
Event = Literal[
    "generation.submitted", "generation.succeeded", "generation.failed", "generation.unknown", "video.saved"
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


def silent(*told: object) -> None:
    """Tell nobody."""
    del told
