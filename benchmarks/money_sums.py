"""Three sums of one cell's money, in the gateway's whole figures: what was settled, the ledger, the bill."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

QUOTA_PER_UNIT = 500_000
"""The gateway's figures that make one unit; the simulator's default."""
_PER: Mapping[str, int] = {"unit": QUOTA_PER_UNIT, "quota": 1}
_UNDECIDED = frozenset({"intent", "unknown"})


@dataclass(frozen=True)
class Sums:
    """What the three say, to the last unit.

    Attributes:
        tasks: What the gateway accepted.
        settled: What it took in the end: charges, less refunds, with supplements.
        ledger: What the records say: charge less refund with supplement.
        bill: What the month's bill says; None where the gateway keeps no log.
        by_rows: Sum of the bill's lines without a record.
        unknown: Records whose cost is not known, with their state.
        undecided: Those of them whose create's fate is not known.
        lines: Lines of the bill of each kind.
        broken: Why nothing could be compared.
        faults: What does not agree and is not named as unknown.
    """

    tasks: int = 0
    settled: int = 0
    ledger: int = 0
    bill: int | None = None
    by_rows: int = 0
    unknown: tuple[str, ...] = ()
    undecided: int = 0
    lines: Mapping[str, int] = field(default_factory=dict[str, int])
    broken: str = ""
    faults: tuple[str, ...] = ()

    def problems(self, when: str) -> list[str]:
        """What does not agree, in words.

        Args:
            when: At which moment.
        """
        return [f"{fault} {when}" for fault in (*self.faults, *filter(None, [self.broken]))]

    def __str__(self) -> str:
        bill = "no log" if self.bill is None else f"{self.bill}"
        named = f", unknown: {'; '.join(self.unknown)}" if self.unknown else ""
        return f"{self.settled} = {self.ledger} = {bill}{named}"


def compared(bills: Mapping[str, Mapping[str, Any]], records: list[dict[str, Any]], bill: Mapping[str, Any]) -> Sums:
    """Hold the three against each other, task by task.

    Args:
        bills: What the gateway charged and moved, by task id.
        records: Of the ledger.
        bill: The month's.
    """
    settled = {task_id: int(told["pre_charged"]) + int(told["moved"]) for task_id, told in bills.items()}
    faults, unknown, known = list[str](), list[str](), dict[str, int]()
    for record in records:
        for task_id, money, state in _tasks(record):
            cost = _cost(money)
            if cost is None:
                unknown.append(f"{record['key']} is {state}")
                continue
            known[task_id] = cost
            faults += _of_task(task_id, money, cost, settled)
    undecided = sum(record["state"] in _UNDECIDED for record in records)
    whole, by_rows, kinds = _billed(bill)
    total, in_ledger = sum(settled.values()), sum(known.values())
    missing = sum(cost for task_id, cost in settled.items() if task_id not in known)
    strange = {kind for kind in kinds if kind != "agrees" and not (kind == "charge without video" and undecided)}
    disagreements = {
        f"{missing} settled is in no record": missing and not unknown,
        f"settled {total}, billed {whole}": whole not in (None, total),
        f"the ledger's {in_ledger} is billed as {(whole or 0) - by_rows}": whole not in (None, in_ledger + by_rows),
        f"lines of the bill: {', '.join(sorted(strange))}": whole is not None and strange,
    }
    faults += [fault for fault, holds in disagreements.items() if holds]
    return Sums(len(bills), total, in_ledger, whole, by_rows, tuple(unknown), undecided, kinds, "", tuple(faults))


def _of_task(task_id: str, money: Mapping[str, Any], cost: int, settled: Mapping[str, int]) -> list[str]:
    """What of one task does not agree."""
    quota = cost if money.get("basis") == "calculated" else money["quota"]
    wrong = {
        f"its cost {quota} is not charge, refund and supplement ({cost})": quota != cost,
        f"settled {settled.get(task_id)}, the ledger says {cost}": settled.get(task_id) != cost,
        f"the cost of {task_id} is not final": not money.get("final"),
    }
    return [fault for fault, holds in wrong.items() if holds]


def billed(bill: Mapping[str, Any]) -> int | None:
    """Return a bill's sum in the gateway's whole figures; None where the gateway keeps no log."""
    return _billed(bill)[0]


def _tasks(record: Mapping[str, Any]) -> Iterable[tuple[str, Mapping[str, Any], str]]:
    """What a record was charged for: its task, if it has one or may have one."""
    if record.get("task_id") or record["state"] in _UNDECIDED:
        yield record.get("task_id") or "", record.get("money") or {}, record["state"]


def _cost(money: Mapping[str, Any]) -> int | None:
    """Charge less refund with supplement; None where the record does not know what its task costs.

    Without a log nothing but the task's own figure is known, which is the whole of it. Where tokens are billed, one
    costs one.
    """
    if money.get("basis") == "calculated":
        return None if money.get("cost") is None else int(Decimal(money["cost"]))
    if money.get("quota") is None:
        return None
    parts = {name: (money.get(name) or {}).get("quota") for name in ("charge", "refund", "supplement")}
    if money.get("basis") == "task":
        return money["quota"]
    return (parts["charge"] or 0) - (parts["refund"] or 0) + (parts["supplement"] or 0)


def _billed(bill: Mapping[str, Any]) -> tuple[int | None, int, dict[str, int]]:
    """The bill's sum, that of its lines without a record, and how many lines there are of each kind."""
    lines: list[dict[str, Any]] = bill["lines"]
    kinds = dict(Counter(line["kind"] for line in lines))
    if bill["source"] != "log":
        return None, 0, kinds
    amounts = [(line.get("key"), _figure(line["billed"])) for line in lines if line.get("billed")]
    return sum(amount for _, amount in amounts), sum(amount for key, amount in amounts if key is None), kinds


def _figure(money: Mapping[str, str]) -> int:
    """Money as the gateway's whole figure; it has to be one."""
    figure = Decimal(money["amount"]) * _PER[money["currency"]]
    if figure != int(figure):
        raise ValueError(f"{money['amount']} {money['currency']} is no whole figure")
    return int(figure)


def totals(sums: Iterable[Sums]) -> dict[str, Any]:
    """The figures of the last line: sums over cells with a log and without, differences, what is unknown."""
    every = list(sums)
    logged = [one for one in every if one.bill is not None]
    return {
        "settled": sum(one.settled for one in every),
        "ledger": sum(one.ledger for one in every),
        "billed": sum(one.bill or 0 for one in logged),
        "settled_with_log": sum(one.settled for one in logged),
        "differences": sum(len(one.faults) for one in every),
        "unknown_records": sum(len(one.unknown) for one in every),
        "lines": dict(sum((Counter(one.lines) for one in logged), Counter[str]())),
    }
