"""Blocking work in threads, without losing track of it when a task is cancelled."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

from anyio import CancelScope

T = TypeVar("T")

STORE_THREADS = 32
"""Most requests to stores at one time; the S3 client keeps as many connections."""


class _Threads:
    """The threads of this process; a forked child makes its own, as its parent's do not run in it."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        self.pool = ThreadPoolExecutor(STORE_THREADS, "genvideo-store")


_threads = _Threads()
if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_threads.renew)


async def finish(work: Awaitable[T]) -> T:
    """Run `work` to its end even when the caller is cancelled, then deliver the cancellation.

    A request that has left cannot be called back: giving up on it would lose the id of a multipart upload, or the
    fact that a ledger record was written.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError as error:
        cancelled = error
    with CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as error:
                cancelled = error
    if not task.cancelled():
        task.exception()  # retrieved, or asyncio would warn that nobody looked at it
    raise cancelled


async def in_thread(work: Callable[[], T]) -> T:
    """Run blocking `work` in one of this process's `STORE_THREADS` threads, in a copy of the caller's context."""
    return await finish(asyncio.get_running_loop().run_in_executor(_threads.pool, copy_context().run, work))
