"""How many parts may be on their way at one time: some in each upload, and so many in the whole process.

One connection seldom fills a line, and a slow store is waited for in parallel. But every part is some megabytes of
memory, and a process saves many videos at once.
"""

from __future__ import annotations

import threading

MOST_IN_FLIGHT = 3
"""Parts of one upload on their way, beside the one that is filling: 20 MiB in all at the usual size of a part."""
MOST_FURTHER = 8
"""Parts of all uploads of a process on their way, not counting the first one of each."""

_lock = threading.Lock()
_free = [MOST_FURTHER]


class Places:
    """The places that one upload holds for parts beyond its first, which always has one."""

    def __init__(self) -> None:
        self._held = 0

    def hold(self, further: int) -> bool:
        """Hold places for so many parts beyond the first; False, and nothing changes, where there are not as many.

        Args:
            further: Parts on their way, less the first one. Fewer than are held frees the rest.
        """
        further = max(0, further)
        if further >= MOST_IN_FLIGHT:
            return False
        with _lock:
            if further - self._held > _free[0]:
                return False
            _free[0] -= further - self._held
            self._held = further
        return True
