"""What bills are grouped by: the words that a run's records carry."""

from __future__ import annotations

from typing import NamedTuple


class Labels(NamedTuple):
    """What every record of a run carries: free words, and who bears the cost."""

    tags: tuple[str, ...] = ()
    cost_center: str | None = None

    def beside(self, tags: tuple[str, ...]) -> Labels:
        """Return these labels with a row's own tags."""
        return self._replace(tags=tuple(dict.fromkeys((*self.tags, *tags))))


NO_LABELS = Labels()
"""Of runs that say nothing."""
