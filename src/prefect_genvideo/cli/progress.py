"""Progress of a command at a terminal: a line for each video, with its state, its time and the usual duration."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from statistics import median

from prefect.logging.configuration import setup_logging
from prefect.logging.handlers import PrefectConsoleHandler
from rich.cells import set_cell_size
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from prefect_genvideo.cli.console import err, is_plain, is_watched, passing
from prefect_genvideo.errors import GenVideoError, shorten
from prefect_genvideo.ledger.record import LedgerRecord, bucket_of
from prefect_genvideo.ledger.store import Ledger
from prefect_genvideo.pipeline.hooks import Event
from prefect_genvideo.runtime import observed

# Lines at once; of a larger batch the newest are shown.
_LINES = 20
# Columns of a terminal that a prompt takes, of 80; a Chinese character takes two.
_PROMPT = 26
_WORDS: dict[Event, str] = {
    "generation.submitted": "on its way",
    "generation.succeeded": "not saved yet",
    "generation.failed": "failed",
    "generation.unknown": "a person decides",
    "video.saving": "saving",
    "video.saved": "saved",
}
_LAST = frozenset({"generation.succeeded", "generation.failed", "generation.unknown", "video.saved"})


@contextmanager
def shown_progress(ledger: Ledger) -> Generator[None]:
    """Show what becomes of the videos that are made meanwhile: lines that change at a terminal, else Prefect's log.

    Args:
        ledger: Knows how long comparable generations took.
    """
    if not is_watched():
        with nullcontext() if is_plain() else _only_warnings():
            yield
        return
    # Prompts are others' texts: no markup in them.
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(),
        TextColumn("{task.fields[about]}", markup=False),
    )
    with (
        _only_warnings(),
        Progress(*columns, console=err) as lines,
        observed(_Lines(lines, ledger).take),
    ):
        yield


def _only_warnings() -> AbstractContextManager[None]:
    """Let Prefect print no less than warnings. The runs' logs in its UI stay whole."""
    setup_logging()
    loggers = [logging.getLogger(name) for name in ("", "prefect", "prefect.flow_runs", "prefect.task_runs")]
    handlers = {
        handler for logger in loggers for handler in logger.handlers if isinstance(handler, PrefectConsoleHandler)
    }
    return passing(handlers, lambda record: record.levelno >= logging.WARNING)


class _Lines:
    """The lines of one command."""

    def __init__(self, progress: Progress, ledger: Ledger) -> None:
        self._progress, self._ledger = progress, ledger
        self._lines: dict[str, TaskID] = {}
        self._asking: set[asyncio.Task[None]] = set()

    def take(self, event: Event, record: LedgerRecord) -> None:
        """Take what has happened to a generation."""
        line = self._line(record)
        prompt = shorten(str(record.request.get("prompt") or record.key), _PROMPT)
        self._progress.update(line, description=f"{set_cell_size(prompt, _PROMPT)} {_WORDS[event]:<16}", refresh=True)
        if event == "generation.submitted":
            task = asyncio.get_running_loop().create_task(self._estimate(line, record))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)
        elif event in _LAST:
            self._progress.update(line, about="")
            self._progress.stop_task(line)

    def _line(self, record: LedgerRecord) -> TaskID:
        if record.key not in self._lines:
            while len(self._lines) >= _LINES:
                self._progress.remove_task(self._lines.pop(next(iter(self._lines))))
            self._lines[record.key] = self._progress.add_task("", total=None, about="")
        return self._lines[record.key]

    async def _estimate(self, line: TaskID, record: LedgerRecord) -> None:
        try:
            history = await self._ledger.durations.of(bucket_of(record))
        except GenVideoError:
            return  # an estimate is a courtesy
        if history.durations and line in self._lines.values():
            self._progress.update(line, about=f"usually done after {median(history.durations):.0f} s")
