"""Sliding windows that count calls, by whom they are counted for."""

from __future__ import annotations

from collections import deque


class Rates:
    """Windows of time that slide, one for each name. Whoever uses it holds a lock."""

    def __init__(self) -> None:
        self._taken: dict[str, deque[float]] = {}

    def wait(self, name: str, most: int, seconds: float, now: float) -> float | None:
        """Take a call, unless too many were taken.

        Args:
            name: Whose window it is.
            most: Calls in a window; 0 is without limit.
            seconds: Length of the window.
            now: Seconds, by the clock of all calls of this name.

        Returns:
            The seconds to wait where it is not taken, else None.
        """
        taken = self._taken.setdefault(name, deque())
        while taken and taken[0] <= now - seconds:
            taken.popleft()
        if most and len(taken) >= most:
            return taken[0] + seconds - now
        taken.append(now)
        return None
