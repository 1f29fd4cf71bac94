"""What benchmarks with many short processes share: forks, and the provider's side of the simulator."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import httpx

from prefect_genvideo.errors import GenVideoError

Answer = dict[str, Any]
Work = Callable[..., Awaitable[Answer]]


class Fork:
    """A process that does one piece of work."""

    def __init__(self, process: Any, answer: Connection) -> None:
        self._process, self._answer = process, answer

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self._process.is_alive()

    def signal(self, number: int) -> None:
        """Send it a signal; nothing when it has ended."""
        with suppress(ProcessLookupError, TypeError):
            os.kill(self._process.pid, number)

    def result(self, seconds: float) -> Answer:
        """What it said: its work's answer, `error`, or `killed`.

        Args:
            seconds: It is killed when it takes longer, and `stuck` is its error.
        """
        said: Answer | None = None
        try:
            # An answer that is larger than the pipe has to be taken before its sender can end.
            if self._answer.poll(seconds):
                said = self._answer.recv()
        except EOFError:
            pass
        else:
            if said is None:
                self._process.kill()
                self._process.join()
                return {"error": "stuck"}
        finally:
            self._answer.close()
        self._process.join()
        if said is not None:
            return said
        code = self._process.exitcode
        return {"killed": 1} if code == -signal.SIGKILL else {"error": f"exit code {code}"}


class Forks:
    """Starts processes quickly: a fork costs 20 ms, the imports a second.

    Args:
        preload: Module whose functions they run.
    """

    def __init__(self, preload: str) -> None:
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([preload])

    def start(self, work: Work, *arguments: Any) -> Fork:
        """Begin a piece of work in a process of its own."""
        ours, theirs = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_in_process, args=(work, arguments, theirs))
        process.start()
        theirs.close()
        return Fork(process, ours)


def _in_process(work: Work, arguments: tuple[Any, ...], answer: Connection) -> None:
    async def run() -> Answer:
        try:
            return await work(*arguments)
        except GenVideoError as error:
            return {"error": type(error).__name__, "message": str(error)}

    answer.send(asyncio.run(run()))


class Console:
    """The provider's side: what goes wrong there, and the list of tasks that a person looks into.

    Args:
        simulator: Its address.
    """

    def __init__(self, simulator: str) -> None:
        self._http = httpx.Client(base_url=simulator, timeout=60)

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def tell(self, path: str, facts: Mapping[str, Any]) -> None:
        """Steer the simulator: `faults`, `dialect` or `config`.

        Args:
            path: Name of the control route.
            facts: What is sent.
        """
        self._http.post(f"/_sim/{path}", json=facts).raise_for_status()

    def bills(self, account: str) -> dict[str, dict[str, Any]]:
        """What each task of a key was charged and what moved later, by task id.

        Args:
            account: The key.
        """
        found: dict[str, dict[str, Any]] = self._http.get("/_sim/money").raise_for_status().json()["bills"]
        return {task_id: bill for task_id, bill in found.items() if bill["account"] == account}

    def tokens(self, account: str) -> dict[str, dict[str, Any]]:
        """What each task of a key was billed in tokens, in the form of `bills`: nothing before it has succeeded.

        Args:
            account: The key.
        """
        return {
            task["task_id"]: {
                "pre_charged": task["tokens"] if task["state"] == "succeeded" else 0,
                "moved": 0,
                "settled": task["state"] in ("succeeded", "failed"),
            }
            for task in self.tasks()
            if task["account"] == account
        }

    def clear_faults(self) -> None:
        """Let nothing go wrong any more."""
        self._http.delete("/_sim/faults").raise_for_status()

    def tasks(self, prompt: str | None = None) -> list[dict[str, Any]]:
        """Every task that was accepted, oldest first.

        Args:
            prompt: Only tasks of this prompt.
        """
        found: list[dict[str, Any]] = self._http.get("/_sim/state").raise_for_status().json()["tasks"]
        return [task for task in found if prompt in (None, task["prompt"])]
