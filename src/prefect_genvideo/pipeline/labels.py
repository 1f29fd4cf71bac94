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

    def pairs(self) -> dict[str, str]:
        """Return them as names with values, the cost center first: `{"cost_center": "marketing", "spring": "true"}`."""
        named = {"cost_center": self.cost_center} if self.cost_center else {}
        return named | {tag: "true" for tag in self.tags if tag not in named}


NO_LABELS = Labels()
"""Of runs that say nothing."""
