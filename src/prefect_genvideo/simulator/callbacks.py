"""Ark's callbacks: the task object is posted to an address of the user's at each change of state."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx
from anyio.abc import TaskGroup

from prefect_genvideo.simulator.state import SimulatorState
from prefect_genvideo.simulator.tasks import Task

# Seconds between two looks at a task, for an answer, and before the next try.
_LOOK_S, _PATIENCE_S, _AGAIN_S = 0.05, 5.0, 0.1
# More tries of the last word, as documented; the others have one.
_MORE_TRIES = 3
_INSISTS = ("succeeded", "failed")


class Callbacks:
    """Follows tasks that were made with a `callback_url`, while `running` is open.

    Args:
        state: Where the tasks are.
        status_of: The provider's word for how far a task is.
    """

    def __init__(self, state: SimulatorState, status_of: Callable[[Task], str]) -> None:
        self._state, self._status_of = state, status_of
        self._group: TaskGroup | None = None

    @asynccontextmanager
    async def running(self) -> AsyncGenerator[None]:
        """Make calls until the context ends."""
        async with anyio.create_task_group() as self._group:
            yield
            self._group.cancel_scope.cancel()
        self._group = None

    def follow(self, task: Task, url: str, record: Callable[[], dict[str, Any]]) -> None:
        """Tell `url` of each change until the task is over.

        Args:
            task: What is followed.
            url: Where to.
            record: Makes the task object.
        """
        if self._group is not None:
            self._group.start_soon(self._tell, task, url, record)

    async def _tell(self, task: Task, url: str, record: Callable[[], dict[str, Any]]) -> None:
        told = ""
        async with httpx.AsyncClient(timeout=_PATIENCE_S, trust_env=False, verify=False) as http:  # noqa: S501 - a local double
            while self._state.by_id.get(task.task_id) is task and not task.deleted:
                self._state.look(task)
                word, is_over = self._status_of(task), task.done
                if word not in (told, "cancelled"):
                    told = word
                    await _post(http, url, record(), 1 + (word in _INSISTS) * _MORE_TRIES)
                if is_over:
                    return
                await anyio.sleep(_LOOK_S)


async def _post(http: httpx.AsyncClient, url: str, record: dict[str, Any], tries: int) -> None:
    for left in reversed(range(tries)):
        try:
            if (await http.post(url, json=record)).is_success:
                return
        except (httpx.HTTPError, httpx.InvalidURL):
            pass
        if left:
            await anyio.sleep(_AGAIN_S)
