"""A budget of calls for each host, shared in a process: a call takes from it, and is refused when it is empty."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from functools import lru_cache

from prefect_genvideo.errors import RateLimitedError


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
                raise RateLimitedError(
                    f"Not asked: questions about money share {self.calls} calls in {self.seconds:.0f} s.",
                    provider=provider,
                    reason="own budget of calls",
                    retry_after=opens - now,
                )
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
