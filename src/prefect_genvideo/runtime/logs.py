"""Logging in runs: messages, warnings, errors without our own stacks, and the notice of a cancellation."""

from __future__ import annotations

import asyncio
import logging
import shlex
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
from prefect.exceptions import MissingContextError, TerminationSignal
from prefect.logging import get_logger, get_run_logger
from prefect.logging.handlers import APILogHandler

from prefect_genvideo.errors import GenVideoError
from prefect_genvideo.pipeline.pipeline import Pipeline


def run_logger() -> logging.Logger | logging.LoggerAdapter[Any]:
    """The run's logger, shown in the UI; the package's own outside of runs."""
    try:
        return get_run_logger()
    except MissingContextError:
        return get_logger("genvideo")


def say(message: str) -> None:
    """Log a message for people to the run we are in; a task that shares its flow's pipeline speaks for itself."""
    run_logger().info(message)


def warn(message: str) -> None:
    """Log a warning to the run we are in."""
    run_logger().warning(message)


class _StackFilter(logging.Filter):
    """Takes the stack from Prefect's log of an error of the tree, whose message says what to do; not at DEBUG."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, GenVideoError) and not logging.getLogger(record.name).isEnabledFor(logging.DEBUG):
            record.exc_info = record.exc_text = None
        return True


for _name in ("prefect.flow_runs", "prefect.task_runs"):
    logging.getLogger(_name).addFilter(_StackFilter())


# Seconds that the last words may take on their way to the API; workers kill 30 s after SIGTERM.
_LAST_WORDS = 5.0


@asynccontextmanager
async def cancellation_notice(
    *pipelines: Pipeline, task_id: str | None = None, key: str | None = None
) -> AsyncGenerator[None]:
    """Log, when the run is cancelled, what goes on without it and how its videos are fetched later.

    Args:
        pipelines: Accounts and destination.
        task_id: The one task that is under way; None for whatever was sent.
        key: The idempotency key of that task.
    """
    try:
        yield
    except (asyncio.CancelledError, TerminationSignal):  # Prefect raises its own in whatever code SIGTERM meets
        what = f"Task {task_id} goes" if task_id else "Generations that were sent go"
        again = f"run again with idempotency key {key!r}" if key else "retry this run"
        for pipeline in pipelines:
            run_logger().warning(
                "Cancelled. %s on at %s, paid for. To fetch what becomes of it: %s, or "
                "`genvideo ledger reconcile --at %s --provider %s`.",
                what,
                pipeline.client.title,
                again,
                shlex.quote(pipeline.ledger.store.place),
                pipeline.client.name,
            )
        with anyio.CancelScope(shield=True), anyio.move_on_after(_LAST_WORDS):
            # The process may end by the signal itself, and what is still queued would end with it.
            await APILogHandler.aflush()
        raise
