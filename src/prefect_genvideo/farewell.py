"""What a run says when it is cancelled: no provider can cancel a task, so what was sent goes on and is paid for."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
from prefect.exceptions import TerminationSignal
from prefect.logging.handlers import APILogHandler

from prefect_genvideo.steps import Studio
from prefect_genvideo.studio import run_logger

#: Seconds that the last words may take on their way to the API; workers kill 30 s after SIGTERM.
_LAST_WORDS = 5.0


@asynccontextmanager
async def farewell(*studios: Studio, task_id: str | None = None, key: str | None = None) -> AsyncGenerator[None]:
    """Log, when the run is cancelled, what goes on without it and how its videos are fetched later.

    Args:
        studios: Accounts and destination.
        task_id: The one task that is under way; None for whatever was sent.
        key: The idempotency key of that task.
    """
    try:
        yield
    except (asyncio.CancelledError, TerminationSignal):  # Prefect raises its own in whatever code SIGTERM meets
        what = f"Task {task_id} goes" if task_id else "Generations that were sent go"
        again = f"run again with idempotency key {key!r}" if key else "retry this run"
        for studio in studios:
            run_logger().warning(
                "Cancelled. %s on at %s, paid for. To fetch what becomes of it: %s, or "
                "`genvideo ledger reconcile --at %s --provider %s`.",
                what,
                studio.client.title,
                again,
                shlex.quote(studio.ledger.store.uri("")),
                studio.client.name,
            )
        with anyio.CancelScope(shield=True), anyio.move_on_after(_LAST_WORDS):
            # The process may end by the signal itself, and what is still queued would end with it.
            await APILogHandler.aflush()
        raise
