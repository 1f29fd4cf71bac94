"""From a manifest or a list to rows that are checked, keyed and ready to be made. Nothing is sent here."""

from __future__ import annotations

from dataclasses import dataclass

from prefect_genvideo.producing import Choice

#: Problems shown in the error; the rest is counted.
_SHOWN = 200


@dataclass(frozen=True)
class Item:
    """One row, ready to be made.

    Attributes:
        number: Row as people count it.
        label: What the UI shows for it.
        choices: Ways to make it, the wanted one first.
    """

    number: int
    label: str
    choices: tuple[Choice, ...]


@dataclass(frozen=True)
class Batch:
    """All rows of a run."""

    key: str
    items: tuple[Item, ...]
