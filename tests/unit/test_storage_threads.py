"""A cancelled caller waits for what is already on its way."""

from __future__ import annotations

import asyncio
import threading

import anyio
import pytest

from prefect_genvideo.storage.threads import in_thread


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
