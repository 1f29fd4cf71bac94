"""What parts of uploads take: places on their way to the store, and memory.

One connection seldom fills a line, and a slow store is waited for in parallel. But every part is some megabytes of
memory, and a process saves many videos at once.
"""

from __future__ import annotations

import threading

SLOW_AFTER = 0.25
"""Seconds without an arrival after which a store counts as slow: one nearby takes a tenth of it for a part."""
# Parts of one upload on their way, beside the one that is filling; one more to a slow store: 28 MiB in all at the usual
# size of a part. A fast one is not faster for a third.
_MOST_IN_FLIGHT, _MOST_WHERE_SLOW = 2, 3
# Parts of all uploads of a process on their way, not counting the first one of each.
_MOST_FURTHER = 2
_lock = threading.Lock()
_free = [_MOST_FURTHER]
# Buffers of arrived parts, for further ones of any upload: a new one is first filled with zeros.
_spare: list[bytearray] = []


class Places:
    """The places that one upload holds for parts beyond its first, which always has one."""

    def __init__(self) -> None:
        self._held = 0

    def hold(self, further: int, *, slow: bool = False) -> bool:
        """Hold places for so many parts beyond the first; False, and nothing changes, where there are not as many.

        Args:
            further: Parts on their way, less the first one. Fewer than are held frees the rest.
            slow: Whether none has arrived for `SLOW_AFTER`, now or before.
        """
        further = max(0, further)
        if further >= (_MOST_WHERE_SLOW if slow else _MOST_IN_FLIGHT):
            return False
        with _lock:
            if further - self._held > _free[0]:
                return False
            _free[0] -= further - self._held
            self._held = further
        return True


def buffer_of(length: int) -> bytearray:
    """A buffer of so many bytes, whatever they are."""
    with _lock:
        fitting = next((place for place, buffer in enumerate(_spare) if len(buffer) == length), None)
        return bytearray(length) if fitting is None else _spare.pop(fitting)


def give_back(buffer: bytearray) -> None:
    """Keep a buffer for the next part of its length."""
    with _lock:
        _spare.append(buffer)


def drop_buffers() -> None:
    """Give the memory of buffers that nobody uses back."""
    with _lock:
        _spare.clear()
