"""What a pipeline tells and asks of whoever runs it: messages, events, and the runs that the work is done for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

from prefect_genvideo.ledger.record import LedgerRecord

Say = Callable[[str], None]
Event = Literal[
    "generation.submitted", "generation.succeeded", "generation.failed", "generation.unknown", "video.saved"
]
Announce = Callable[[Event, LedgerRecord], None]


class RunIds(NamedTuple):
    """The runs that work is done for."""

    flow_run: str | None = None
    task_run: str | None = None
    flow_name: str | None = None


def silent(*told: object) -> None:
    """Tell nobody."""
    del told
