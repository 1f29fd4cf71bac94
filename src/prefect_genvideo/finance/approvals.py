"""Records of approvals beside a plan: what a flow run asked, who answered, and when. One flow run is asked once."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timezone
from typing import Literal

from pydantic import BaseModel, Field

from prefect_genvideo.batch.plan import Item
from prefect_genvideo.errors import DestinationError, InvalidRequestError, shown
from prefect_genvideo.finance.plan import Plan
from prefect_genvideo.finance.plan_file import FOLDER
from prefect_genvideo.models import Moment, Problem
from prefect_genvideo.prices.amounts import Money
from prefect_genvideo.storage import ObjectStore

APPROVALS = f"{FOLDER}/approvals"
"""Folder of the records, `<flow run>.json`."""
# Empty objects `<deadline>~<flow run>`, so that what is overdue is found without reading what was answered long ago.
_OPEN = f"{FOLDER}/open"
_MOMENT = "%Y-%m-%dT%H%M%SZ"
_LARGEST = 64 * 1024
_ROWS_LIMIT = "numbers and spans of rows of the plan, e.g. 1-20, 25"
_SPAN = re.compile(r"\s*([0-9]{1,9})(?:\s*-\s*([0-9]{1,9}))?\s*")

ROWS_PATTERN = r"^[0-9 ,-]{0,2000}$"
"""What the form lets pass as rows; `picked` reads it."""

Answer = Literal["open", "yes", "no", "overdue"]
"""Of an approval: nobody has said anything; yes; no; the deadline has passed."""


class ApprovalRecord(BaseModel):
    """What was asked, and what became of it.

    Attributes:
        plan: Hash of the plan that was asked about.
        flow_run_id: Who asked.
        told: What the person saw: rows and money in a line.
        asked_at: When.
        deadline: Until when an answer counts.
        answer: See `Answer`.
        rows: Only these rows were approved; empty: all.
        by: Who answered, as the answer says.
        note: What they added.
        answered_at: When.
    """

    version: int = Field(default=1, le=1)
    plan: str
    flow_run_id: str
    told: str
    asked_at: Moment
    deadline: Moment
    answer: Answer = "open"
    rows: str = ""
    by: str = ""
    note: str = ""
    answered_at: Moment | None = None


def _path(flow_run_id: str) -> str:
    return f"{APPROVALS}/{flow_run_id}.json"


def _open_path(record: ApprovalRecord) -> str:
    return f"{_OPEN}/{record.deadline.astimezone(timezone.utc).strftime(_MOMENT)}~{record.flow_run_id}"


async def read_approval(store: ObjectStore, flow_run_id: str) -> ApprovalRecord | None:
    """Return what a flow run was asked and answered, or None when it was not asked.

    Args:
        store: Where the ledger is.
        flow_run_id: The flow run.

    Raises:
        DestinationError: The store failed, or the record cannot be read.
    """
    found = await store.get(_path(flow_run_id))
    if found is None:
        return None
    try:
        if len(found[0]) > _LARGEST:
            raise ValueError("too large")
        return ApprovalRecord.model_validate_json(found[0])
    except ValueError:  # also what pydantic raises
        told = f"The approval {store.uri(_path(flow_run_id))} cannot be read; nothing was sent."
        raise DestinationError(told, reason="unreadable approval") from None


async def open_approval(store: ObjectStore, record: ApprovalRecord) -> None:
    """Write down that a flow run asks; raises `DestinationError`.

    Args:
        store: Where the ledger is.
        record: What it asks.
    """
    # First what is looked for, then what it leads to: a crash between the two leaves a look too many.
    await store.put(_open_path(record), b"")
    await _put(store, record)


async def settle_approval(store: ObjectStore, record: ApprovalRecord) -> None:
    """Write down an answer; raises `DestinationError`.

    Args:
        store: Where the ledger is.
        record: With its answer.
    """
    await _put(store, record)
    await store.delete(_open_path(record))


async def _put(store: ObjectStore, record: ApprovalRecord) -> None:
    data = (record.model_dump_json(indent=2, exclude_none=True) + "\n").encode()
    await store.put(_path(record.flow_run_id), data, content_type="application/json")


async def overdue(store: ObjectStore) -> AsyncIterator[ApprovalRecord]:
    """Every approval that nobody has given in time; raises `DestinationError`."""
    before = datetime.now(timezone.utc).strftime(_MOMENT)
    async for info in store.list(f"{_OPEN}/"):
        moment, _, flow_run_id = info.key.rpartition("/")[2].partition("~")
        if moment >= before:
            return  # deadlines come in their order
        record = await read_approval(store, flow_run_id)
        if record is None or record.answer != "open":
            await store.delete(info.key)
        else:
            yield record


def needs_asking(plan: Plan, above: Money | None) -> bool:
    """Whether a person has to say yes to what a plan may cost.

    Args:
        plan: The plan.
        above: Ask only where it may cost more; what is unknown, or in another currency, counts as more. None: always.
    """
    if not plan.of("new"):
        return False
    if above is None or plan.sums.unbounded:
        return True
    return any(cost.currency != above.currency or cost.amount > above.amount for cost in plan.sums.worst)


def picked(items: Sequence[Item], rows: str) -> tuple[Item, ...]:
    """Return the items of the rows that were approved.

    Args:
        items: All of the batch.
        rows: Numbers and spans of rows as the plan shows them, e.g. `1-20, 25`; empty: all.

    Raises:
        InvalidRequestError: It names no rows, or some that the plan has not.
    """
    spans = spans_of(rows)
    if not all(any(_lies_in(item, span) for item in items) for span in spans):
        problem = Problem("rows", shown(rows), _ROWS_LIMIT, "approval")
        raise InvalidRequestError("Approved rows are not in the plan; nothing was sent.", problems=[problem])
    return tuple(item for item in items if not spans or any(_lies_in(item, span) for span in spans))


def spans_of(rows: str) -> list[tuple[int, int]]:
    """Return the first and the last row of each span; nothing stands for all rows.

    Raises:
        InvalidRequestError: It names no rows.
    """
    spans = list[tuple[int, int]]()
    for part in rows.split(",") if rows.strip() else ():
        found = _SPAN.fullmatch(part)
        if found is None:
            problem = Problem("rows", shown(rows), _ROWS_LIMIT, "approval")
            raise InvalidRequestError("The approved rows cannot be picked; nothing was sent.", problems=[problem])
        spans.append((int(found[1]), int(found[2] or found[1])))
    return spans


def _lies_in(item: Item, span: tuple[int, int]) -> bool:
    return span[0] <= item.number <= span[1]
