"""Blocking work in threads, without losing track of it when a task is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from anyio import CancelScope, CapacityLimiter, to_thread
from anyio.lowlevel import RunVar, checkpoint_if_cancelled

T = TypeVar("T")

STORE_THREADS = 32
"""Most requests to stores at one time; the S3 client keeps as many connections."""

# A limiter belongs to one event loop, and Prefect runs several in one process.
_limiter: RunVar[CapacityLimiter] = RunVar("prefect_genvideo_store_threads")


async def finish(work: Coroutine[Any, Any, T]) -> T:
    """Run `work` to its end even when the caller is cancelled, then deliver the cancellation.

    A request that has left cannot be called back: giving up on it would lose the id of a multipart upload, or the
    fact that a ledger record was written.
    """
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    with CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as error:
                cancelled = error
    if cancelled is not None:
        if not task.cancelled():
            task.exception()  # retrieved, or asyncio would warn that nobody looked at it
        raise cancelled
    result = task.result()
    await checkpoint_if_cancelled()
    return result


async def in_thread(work: Callable[[], T]) -> T:
    """Run blocking `work` in a thread, bounded by `STORE_THREADS` for each event loop."""
    try:
        limiter = _limiter.get()
    except LookupError:
        limiter = CapacityLimiter(STORE_THREADS)
        _limiter.set(limiter)
    return await finish(to_thread.run_sync(work, limiter=limiter))
