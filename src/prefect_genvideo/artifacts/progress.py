"""Progress of a wait: an artifact on the task run's page, and lines of its log."""

from __future__ import annotations

import logging
from types import TracebackType
from typing import Any
from uuid import UUID

from prefect.artifacts import acreate_progress_artifact, aupdate_progress_artifact

from prefect_genvideo.artifacts.markdown import plain
from prefect_genvideo.errors import counted, shorten
from prefect_genvideo.pipeline.wait import Look
from prefect_genvideo.runtime import task_run_id

# An artifact update costs the server 12 ms of CPU; more often than this nobody reads it, but for a new state.
_ARTIFACT_EVERY = 20.0
_LOG_EVERY = 60.0
# Characters of a provider's own words in one line of a log.
_LONGEST_WORDS = 500


class ProgressArtifact:
    """Shows one wait. Nothing that goes wrong here disturbs the wait itself.

    Args:
        task_id: The provider's id.
        logger: The run's logger.
    """

    def __init__(self, task_id: str, logger: logging.Logger | logging.LoggerAdapter[Any]) -> None:
        self._task_id = task_id
        self._logger = logger
        self._artifact: UUID | None = None
        self._shown_at = self._logged_at = float("-inf")
        self._seen: tuple[str, str | None] | None = None
        self._shown = ""
        self._last = Look()

    async def __aenter__(self) -> ProgressArtifact:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._artifact is not None:
            progress = 100.0 if error is None else float(self._last.progress)
            await self._show(progress, plain(_status_line(self._last, error)))

    async def look(self, look: Look) -> None:
        """Take what the waiter has seen; updates sparingly."""
        self._last = look
        self._log(look)
        if look.waited - self._shown_at >= _ARTIFACT_EVERY or _state(look) != self._shown:
            self._shown_at, self._shown = look.waited, _state(look)
            await self._show(float(look.progress), plain(_status_line(look, None)))

    def _log(self, look: Look) -> None:
        now = (_state(look), look.trouble)
        if now == self._seen and look.waited - self._logged_at < _LOG_EVERY:
            return
        self._seen, self._logged_at = now, look.waited
        level = logging.WARNING if look.trouble else logging.INFO
        self._logger.log(level, "Task %s: %s", self._task_id, _status_line(look, None))

    async def _show(self, progress: float, words: str) -> None:
        if task_run_id() is None:
            return
        try:
            if self._artifact is None:
                self._artifact = await acreate_progress_artifact(progress=progress, description=words)
            else:
                await aupdate_progress_artifact(self._artifact, progress=progress, description=words)
        except Exception as error:
            # The UI may be down for a while; the generation is paid for and goes on.
            self._logger.debug("Progress could not be shown: %s", type(error).__name__)


def _state(look: Look) -> str:
    return look.generation.state if look.generation else ("unknown" if look.asked else "not asked yet")


def _status_line(look: Look, error: BaseException | None) -> str:
    if look.first_in is not None:
        return f"submitted, first check in {look.first_in:.0f} s"
    words = f"{_state(look)}, {look.waited:.0f} s waited, {counted(look.asked, 'question')}"
    if look.generation is not None and look.generation.reason:
        words += f"; {shorten(look.generation.reason, _LONGEST_WORDS)}"
    if look.trouble:
        words += f"; the last one said nothing: {shorten(look.trouble, _LONGEST_WORDS)}"
    return f"{words}; ended: {shorten(str(error), _LONGEST_WORDS)}" if error is not None else words
