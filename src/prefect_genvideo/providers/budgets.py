"""A budget of calls for each host: a call takes from it, and is refused when it is empty.

`CallBudget` holds for a process. `SharedCalls` holds for all that keep their ledger in one store, on any machine.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from functools import lru_cache
from hashlib import sha256

import anyio
from pydantic import BaseModel, Field

from prefect_genvideo.errors import DestinationError, RateLimitedError
from prefect_genvideo.storage import ObjectStore
from prefect_genvideo.storage.shared import SharedObject

# Seconds that counting together may take; a store that needs longer is taken for down.
_PATIENCE = 15.0
_TRIES = 20
# Seconds by which the store's whole seconds, or else two machines' clocks, may be off: calls count so much longer.
_STORE_DOUBT, _CLOCK_DOUBT = 2.0, 120.0
# Calls that one object remembers.
_MOST_CALLS = 1_000


class CallBudget:
    """So many calls in so many seconds, for all clients of this process together. Safe to use from any thread.

    Args:
        calls: Calls in a window. Less than the host allows: people in its console take from the same bucket.
        seconds: Length of the window.
        clock: Monotonic clock, a seam for tests.
    """

    def __init__(self, calls: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.calls, self.seconds = calls, seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._taken: deque[float] = deque()
        self._closed_until = float("-inf")

    def take(self, provider: str) -> None:
        """Take one call.

        Raises:
            RateLimitedError: None is left; `retry_after` says when one will be. Nothing was sent.
        """
        with self._lock:
            now = self._clock()
            while self._taken and self._taken[0] <= now - self.seconds:
                self._taken.popleft()
            full = len(self._taken) >= self.calls
            opens = max(self._closed_until, self._taken[0] + self.seconds if full else now)
            if opens > now:
                raise _spent(provider, self.calls, self.seconds, opens - now)
            self._taken.append(now)

    def close(self, seconds: float) -> None:
        """Take nothing more for so many seconds: the host has refused.

        Args:
            seconds: As it asked, or a whole window.
        """
        with self._lock:
            self._closed_until = max(self._closed_until, self._clock() + seconds)


@lru_cache(maxsize=256)
def budget_of(host: str, calls: int, seconds: float) -> CallBudget:
    """The budget that all clients of this process share for one host.

    Args:
        host: Host and port.
        calls: Calls in a window.
        seconds: Length of the window.
    """
    return CallBudget(calls, seconds)


class CallsTaken(BaseModel):
    """The calls of a window, as seconds before they were written: no machine's clock is in them.

    Attributes:
        ages: Of the calls, the oldest first.
        closed_for: Seconds for which the host takes none.
        written_at: By the writer's clock, in Unix seconds; for stores that do not tell how old an object is.
    """

    version: int = Field(default=1, le=1)
    ages: list[float] = Field(default=[], max_length=_MOST_CALLS)
    closed_for: float = 0.0
    written_at: float = 0.0

    def now(self, age: float, window: float) -> CallsTaken:
        """Return what is left of it after a while.

        Args:
            age: Seconds since it was written.
            window: Seconds for which a call counts.
        """
        ages = [one + age for one in self.ages if one + age < window]
        return CallsTaken(ages=ages, closed_for=max(0.0, self.closed_for - age), written_at=time.time())


class SharedCalls:
    """So many calls in so many seconds, for all processes that share a store; by that store's clock.

    Args:
        store: Where they are counted; it must keep conditional writes.
        host: Host and port that is called.
        calls: Calls in a window.
        seconds: Length of the window.
    """

    def __init__(self, store: ObjectStore, host: str, calls: int, seconds: float) -> None:
        self.store, self.calls, self.seconds = store, min(calls, _MOST_CALLS), seconds
        name = f"calls~{sha256(host.encode()).hexdigest()[:16]}"
        self._shared = SharedObject(store, name, CallsTaken(), tries=_TRIES, timed=True)
        self._lock = anyio.Lock()

    async def take(self, provider: str) -> None:
        """Take one call.

        Raises:
            RateLimitedError: None is left; `retry_after` says when one will be. Nothing was sent.
            DestinationError: They cannot be counted together now.
        """
        wait = 0.0

        def taken(before: CallsTaken) -> CallsTaken:
            nonlocal wait
            now = self._now(before)
            over = len(now.ages) - self.calls
            wait = max(now.closed_for, self._window - now.ages[over] if over >= 0 else 0.0)
            return before if wait > 0 else now.model_copy(update={"ages": [*now.ages, 0.0]})

        await self._change(taken)
        if wait > 0:
            raise _spent(provider, self.calls, self.seconds, wait)

    async def close(self, seconds: float) -> None:
        """Let nobody take a call for so many seconds: the host has refused; raises as `take`.

        Args:
            seconds: As it asked, or a whole window.
        """

        def closed(before: CallsTaken) -> CallsTaken:
            now = self._now(before)
            return now.model_copy(update={"closed_for": max(now.closed_for, seconds)})

        await self._change(closed)

    @property
    def _window(self) -> float:
        return self.seconds + _STORE_DOUBT

    def _now(self, before: CallsTaken) -> CallsTaken:
        age = self._shared.age
        if age is None:
            age = time.time() - before.written_at - _CLOCK_DOUBT if before.written_at else 0.0
        return before.now(max(0.0, age), self._window)

    async def _change(self, change: Callable[[CallsTaken], CallsTaken]) -> None:
        async with self._lock:
            try:
                with anyio.fail_after(_PATIENCE):
                    await self._shared.change(change)
            except TimeoutError:
                told = f"Calls could not be counted in {_PATIENCE:.0f} s at {self.store.uri('')}"
                raise DestinationError(told, reason="slow store", retryable=True) from None


def _spent(provider: str, calls: int, seconds: float, wait: float) -> RateLimitedError:
    return RateLimitedError(
        f"Not asked: questions about money share {calls} calls in {seconds:.0f} s.",
        provider=provider,
        reason="own budget of calls",
        retry_after=wait,
    )
