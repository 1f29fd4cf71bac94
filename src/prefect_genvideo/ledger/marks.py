"""Tags and cost centers in the names of reservations: what each has cost, for caps that count it by a listing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from prefect_genvideo.ledger.record import LedgerRecord
from prefect_genvideo.ledger.spent import Spent, amounts_in, in_name, priced_in
from prefect_genvideo.prices.amounts import plain

LabelKind = Literal["tag", "cost_center"]
# File systems take 255 bytes in a name; the id, the sums of all and the end have some 150 at most.
_LONGEST = 240
# Currencies of one label; more of them in a hundred creates is nobody's bill.
_MOST = 2


class Label(NamedTuple):
    """A tag or a cost center.

    Attributes:
        kind: Which of them.
        name: The word.
    """

    kind: LabelKind
    name: str

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}"

    @property
    def mark(self) -> str:
        """What stands for it in names: ten hexadecimal digits."""
        return hashlib.sha256(str(self).encode()).hexdigest()[:10]


def labels_in(tags: Iterable[str], cost_center: str | None) -> tuple[Label, ...]:
    """Return tags and a cost center as labels.

    Args:
        tags: Free words.
        cost_center: Who bears the cost.
    """
    named = [Label("cost_center", cost_center)] if cost_center else []
    return (*named, *(Label("tag", tag) for tag in dict.fromkeys(tags)))


def labels_of(record: LedgerRecord) -> tuple[Label, ...]:
    """Return the labels of a record."""
    return labels_in(record.tags, record.cost_center)


def names_with(begin: str, whole: Spent, marked: Mapping[str, Spent]) -> list[str]:
    """Return the names that say what creates cost in all and by mark.

    The first is that of the reservation itself; further ones, for more marks than it holds, count nothing in all.

    Args:
        begin: How the names begin.
        whole: What all of them cost.
        marked: What those of a label cost, by mark.
    """
    parts = [f"t{mark}!{_shown(spent)}" for mark, spent in sorted(marked.items()) if spent.generations > 0]
    names, end = list[str](), whole.name
    while parts or not names:
        taken, length = list[str](), len(begin) + len(end) + 1
        while parts and length + len(parts[0]) + 1 <= _LONGEST:
            taken.append(parts.pop(0))
            length += len(taken[-1]) + 1
        # A number goes before the end of further names: equal ones would be one object.
        names.append("~".join((begin if not names else f"{begin}-{len(names)}", *taken, end)))
        end = Spent(0, 0.0).name
    return names


def _shown(spent: Spent) -> str:
    amounts = [f"{plain(money.amount)}{in_name(money.currency)}" for money in spent.money[:_MOST] if money.amount > 0]
    return "!".join((*amounts, *([f"p{spent.priced}"] if spent.priced else []), f"{spent.generations}x"))


def marked_in(path: str, marks: Iterable[str]) -> dict[str, Spent]:
    """Return what the name of a reservation says of marks.

    Args:
        path: Of the reservation.
        marks: Those that are asked for.
    """
    found = {part[1:11]: part[12:].split("!") for part in path.rpartition("/")[2].split("~")[1:] if part[:1] == "t"}
    return {mark: _spent(found[mark]) for mark in marks if mark in found}


def _spent(parts: list[str]) -> Spent:
    count = parts[-1].removesuffix("x")
    return Spent(int(count) if count.isdigit() else 1, 0.0, amounts_in(parts[:-1]), priced_in(parts[:-1]))
