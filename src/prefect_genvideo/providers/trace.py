"""What the head of an answer tells of a call, kept while its body is still to come or never comes."""

from __future__ import annotations

import re
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timezone

import httpx

from prefect_genvideo.providers.waits import answered_at

_ID = re.compile(r"[0-9A-Za-z._-]{8,128}")


@dataclass
class Trace:
    """What the answer's headers told of the first call.

    Attributes:
        request_id: The provider's own id of the call; None where its answers carry none, or none came.
        clock_ahead: Seconds that the provider's clock is ahead of ours; exact to a second or two.
        answered_at: When the headers came.
    """

    request_id: str | None = None
    clock_ahead: float | None = None
    answered_at: datetime | None = None


_trace: ContextVar[Trace | None] = ContextVar("prefect_genvideo_trace", default=None)


@contextmanager
def traced(trace: Trace) -> Generator[None]:
    """Keep what the head of an answer tells, for the first call that is made inside.

    Args:
        trace: Filled when the headers arrive, and kept when everything behind them is lost.
    """
    token = _trace.set(trace)
    try:
        yield
    finally:
        _trace.reset(token)


def note_head(headers: httpx.Headers, header: str) -> str | None:
    """Take in the head of an answer.

    Args:
        headers: Of the answer.
        header: The one that carries the provider's id of the call; empty: there is none.

    Returns:
        That id; None where it is missing, or is no id.
    """
    now, trace = datetime.now(timezone.utc), _trace.get()
    named = {value.strip() for value in headers.get_list(header, split_commas=True)} if header else set[str]()
    request_id = named.pop() if len(named) == 1 else ""
    found = request_id if _ID.fullmatch(request_id) else None
    if trace is not None and trace.answered_at is None:  # what is asked afterwards has ids of its own
        trace.request_id, trace.answered_at = found, now
        told = answered_at(headers)
        trace.clock_ahead = None if told is None else (told - now).total_seconds()
    return found
