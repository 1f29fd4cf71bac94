"""A cancelled caller waits for what is already on its way."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from contextvars import ContextVar

import anyio
import pytest

from prefect_genvideo.storage.threads import in_thread
from tests.fixtures.prefect import child_env


class Slow:
    """Blocking work that ends when it is let go."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go = threading.Event()
        self.ended = False

    def __call__(self) -> str:
        self.begun.set()
        assert self.go.wait(10)
        self.ended = True
        return "done"


async def until(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, 10)


async def test_asyncio_cancellation_comes_after_the_work() -> None:
    """`task.cancel()` is delivered, and the work is done by then."""
    slow = Slow()
    task = asyncio.create_task(in_thread(slow))
    await until(slow.begun)
    task.cancel()
    await asyncio.sleep(0.02)
    assert not task.done()
    slow.go.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert slow.ended


async def test_anyio_cancellation_comes_after_the_work() -> None:
    """The same for a cancel scope, as `move_on_after` makes one."""
    slow = Slow()

    async def release() -> None:
        await until(slow.begun)
        scope.cancel()
        await asyncio.sleep(0.02)
        slow.go.set()

    releasing = asyncio.create_task(release())
    with anyio.CancelScope() as scope:
        await in_thread(slow)
        pytest.fail("the cancellation got lost")
    await releasing
    assert scope.cancelled_caught
    assert slow.ended


async def test_an_error_of_cancelled_work_is_not_left_over() -> None:
    """Nobody is told that "task exception was never retrieved": the cancellation is what counts."""
    begun = threading.Event()
    go = threading.Event()

    def fail() -> None:
        begun.set()
        assert go.wait(10)
        raise LookupError

    task = asyncio.create_task(in_thread(fail))
    await until(begun)
    task.cancel()
    await asyncio.sleep(0)
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_forked_child_has_threads_of_its_own() -> None:
    """The parent's do not run in it: work that waited for them would wait for ever."""
    script = """
import asyncio, os
from prefect_genvideo.storage.threads import in_thread

asyncio.run(in_thread(os.getpid))
child = os.fork()
if not child:
    os._exit(0 if asyncio.run(in_thread(os.getpid)) == os.getpid() else 1)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script]  # threads and forks, since Python 3.12
    assert subprocess.run(command, env=child_env(), timeout=60, check=False).returncode == 0


async def test_work_sees_the_callers_context() -> None:
    """What is set for one request is not seen by another one's thread."""
    mark: ContextVar[str] = ContextVar("mark")
    mark.set("ours")
    assert await in_thread(mark.get) == "ours"
    assert await in_thread(lambda: mark.set("theirs")) is not None
    assert mark.get() == "ours"
