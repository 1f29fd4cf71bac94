"""The provider's bill held against the ledger: charges without a video, videos without a charge, differences."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from prefect_genvideo.errors import InvalidRequestError, shorten, shown
from prefect_genvideo.ledger.record import LedgerRecord
from prefect_genvideo.models import Problem
from prefect_genvideo.prices.amounts import Money, money_of, sum_of
from prefect_genvideo.providers.money import AccountLog, LogRow, TaskMoney, is_first

# Characters of a prompt in a line.
_PROMPT = 60
# What the clocks of a provider and of two machines may be apart.
_CLOCKS = timedelta(minutes=5)
_MONTH = re.compile(r"20[0-9]{2}-(?:0[1-9]|1[0-2])")

LineKind = Literal["agrees", "difference", "charge without video", "video without charge", "not covered"]
"""Of a line: both say the same; they do not; the bill alone has it; the ledger alone has it; the bill does not reach so
far back, or says nothing of it."""


@dataclass(frozen=True)
class Charge:
    """What a bill says of one task, or one row of it that belongs to no task that is known.

    Attributes:
        amount: What it costs in the end: charges and supplements less refunds.
        at: When it was first charged.
        model: As the bill names it.
        task_id: The provider's id of the task, where the bill has it.
        request_id: Of the create's call, where the bill has it.
        quota: The same in the gateway's whole figures.
    """

    amount: Money
    at: datetime | None = None
    model: str = ""
    task_id: str | None = None
    request_id: str | None = None
    quota: int | None = None


class BillLine(BaseModel):
    """One video, or one charge without one.

    Attributes:
        kind: See `LineKind`.
        key: Idempotency key; None for a charge without a video.
        billed: What the bill says that it costs.
        recorded: What the ledger says; None: unknown, which is never 0.
        at: When it was sent, or charged.
        prompt: The beginning of what the video shows; empty for a charge without one.
    """

    model_config = ConfigDict(frozen=True)

    kind: LineKind
    provider: str
    model: str = ""
    prompt: str = ""
    key: str | None = None
    task_id: str | None = None
    request_id: str | None = None
    billed: Money | None = None
    recorded: Money | None = None
    at: datetime | None = None
    flow: str | None = None
    tags: tuple[str, ...] = ()
    cost_center: str | None = None


class Bill(BaseModel):
    """A month of one account.

    Attributes:
        month: `2026-11`, UTC.
        provider: Name of the provider.
        account: Fingerprint of the account.
        source: What the ledger was held against: `log`, a file's name, or why there is nothing.
        truncated: Whether the bill may lack older rows.
        lines: Those that do not agree first.
    """

    version: int = Field(default=1, le=1)
    month: str
    provider: str
    account: str
    source: str
    truncated: bool = False
    lines: tuple[BillLine, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """Lines of each kind."""
        return dict(Counter(line.kind for line in self.lines))

    @property
    def unknown(self) -> int:
        """Videos whose cost the ledger does not know; they are in no sum."""
        return sum(line.recorded is None for line in self.lines if line.key is not None)

    def sums(self, side: Literal["billed", "recorded"]) -> tuple[Money, ...]:
        """Return what one side says altogether, one amount a currency."""
        return sum_of(amount for line in self.lines if (amount := getattr(line, side)) is not None)

    def summary(self) -> str:
        """One line for people."""
        told = ", ".join(f"{count} {kind}" for kind, count in sorted(self.counts.items())) or "nothing"
        billed = " and ".join(map(str, self.sums("billed"))) or "nothing"
        recorded = " and ".join(map(str, self.sums("recorded"))) or "nothing"
        more = f"; {self.unknown} of unknown cost" if self.unknown else ""
        return f"{self.provider} {self.month} by {self.source}: {told}; billed {billed}, in the ledger {recorded}{more}"

    def table(self) -> list[dict[str, str | int | float]]:
        """Rows for a table artifact or a CSV file."""
        return [
            {
                "kind": line.kind,
                "prompt": line.prompt,
                "billed": str(line.billed or "none"),
                "ledger": str(line.recorded or ("unknown" if line.key else "none")),
                "model": line.model,
                "at": f"{line.at:%Y-%m-%d %H:%M}" if line.at else "",
                "task id": line.task_id or "",
                "key": line.key or "",
                "flow": line.flow or "",
                "tags": ", ".join(line.tags),
                "cost center": line.cost_center or "",
            }
            for line in self.lines
        ]


def month_of(text: str) -> str:
    """Return a month as it is written, `2026-11`; the current one (UTC) for an empty text.

    Raises:
        InvalidRequestError: It is none.
    """
    if not text.strip():
        return f"{datetime.now(timezone.utc):%Y-%m}"
    if not _MONTH.fullmatch(text.strip()):
        raise InvalidRequestError("There is no such month.", problems=[Problem("month", shown(text), "e.g. 2026-11")])
    return text.strip()


def sent_at(record: LedgerRecord) -> datetime:
    """Return when a record's task was paid for."""
    return record.submitted_at or record.created_at


def is_of(moment: datetime | None, month: str) -> bool:
    """Whether a moment lies in a month (UTC).

    Args:
        moment: With its time zone.
        month: e.g. `2026-11`.
    """
    return moment is not None and f"{moment.astimezone(timezone.utc):%Y-%m}" == month


def charges_of(
    log: AccountLog, records: Sequence[LedgerRecord], per_unit: Decimal | None, unit: Money | None
) -> list[Charge]:
    """Return what an account's log says: one charge a task of the ledger, and one a row that belongs to none.

    Args:
        log: The log.
        records: Everything that the ledger has of the account, of whatever month.
        per_unit: The gateway's figures that make one unit; None: not known.
        unit: What one unit costs the user; None: not known.
    """
    tasks = [(record, log.task(record.task_id or "", record.request_id)) for record in records]
    free, found = _unclaimed(log, [told for _, told in tasks]), list[Charge]()
    for record, told in tasks:
        first = _untied(log, record, told, free)
        cost = told.cost if first is None else first.net + sum(row.net for row in told.rows)
        if first is not None:
            free.remove(first)
        if cost is not None:
            amount, rows = money_of(cost, per_unit, unit), told.rows if first is None else (first,)
            at = rows[0].at if rows else None
            found.append(Charge(amount, at, record.model, record.task_id, record.request_id, cost))
    for row in free:
        amount = money_of(row.net, per_unit, unit)
        found.append(Charge(amount, row.at, row.model, row.task_id, row.request_id, row.net))
    return found


def _unclaimed(log: AccountLog, tasks: Iterable[TaskMoney]) -> list[LogRow]:
    """Rows of videos that are of none of these tasks."""
    claimed = {id(row) for told in tasks for row in told.rows}
    return [row for row in log.rows if row.is_video and row.net and id(row) not in claimed]


def _untied(log: AccountLog, record: LedgerRecord, told: TaskMoney, free: Sequence[LogRow]) -> LogRow | None:
    """The first charge of a task that nothing ties to it: neither names the row its task, nor is the call's id known.

    Such a task was adopted by a person. A row that nobody else has, of the same model, figure and time is as good as
    its own: among equal ones it does not matter for a bill whose is whose.
    """
    by_id = log.has_request_ids and record.request_id is not None
    if record.task_id is None or by_id or any(map(is_first, told.rows)):
        return None
    recorded = None if record.money is None else record.money.quota
    wanted = (record.model, recorded if told.charged is None else told.charged, None)
    alike = (row for row in reversed(free) if is_first(row) and (row.model, row.quota, row.task_id) == wanted)
    return next((row for row in alike if _is_about(row.at, record)), None)


def _is_about(moment: datetime | None, record: LedgerRecord) -> bool:
    """Whether a create of a record may have been charged then."""
    return moment is not None and record.created_at - _CLOCKS <= moment <= sent_at(record) + _CLOCKS


def make_bill(
    records: Sequence[LedgerRecord],
    charges: Sequence[Charge],
    *,
    month: str,
    provider: str,
    account: str,
    source: str,
    covers_from: datetime | None = None,
) -> Bill:
    """Hold a bill against the ledger.

    Args:
        records: Everything that the ledger has of the account.
        charges: Everything that the bill has.
        month: e.g. `2026-11`.
        provider: Name of the provider.
        account: Fingerprint of the account.
        source: Where the charges come from.
        covers_from: Since when the bill is whole; None: always.
    """
    found = _matched(records, charges)
    own = [one for one in records if one.key in found and is_of(_billed_at(one, found[one.key]), month)]
    lines = [_line(record, found[record.key], bool(charges), covers_from) for record in own]
    known = {id(charge) for charge in found.values()}
    # One without a time may be of any month: shown too often is better than never.
    strays = (one for one in charges if id(one) not in known and (one.at is None or is_of(one.at, month)))
    lines += [_stray(one, provider) for one in strays]
    truncated = covers_from is not None and f"{covers_from:%Y-%m}" >= month
    ordered = tuple(sorted(lines, key=_place))
    return Bill(month=month, provider=provider, account=account, source=source, truncated=truncated, lines=ordered)


def _billed_at(record: LedgerRecord, charge: Charge | None) -> datetime:
    """When a task stands in the bill: by the provider's clock, where its log tells; a file's may be of any zone."""
    by_log = charge.at if charge is not None and charge.quota is not None else None
    return by_log or sent_at(record)


def _matched(records: Sequence[LedgerRecord], charges: Sequence[Charge]) -> dict[str, Charge | None]:
    """The charge of every paid task, by idempotency key: by the task's id, else by that of its create's call."""
    by_id = {name: charge for charge in charges for name in (charge.request_id, charge.task_id) if name}
    # An id in a lost answer is a hint for a person: until it is adopted, its charge has no video.
    paid = (record for record in records if record.task_id is not None and record.state != "unknown")
    return {one.key: by_id.get(one.task_id or "") or by_id.get(one.request_id or "") for one in paid}


_LAST: dict[LineKind, int] = {"agrees": 2, "not covered": 1}


def _place(line: BillLine) -> tuple[int, datetime]:
    """What does not agree comes first."""
    return _LAST.get(line.kind, 0), line.at or datetime.min.replace(tzinfo=timezone.utc)


def _stray(charge: Charge, provider: str) -> BillLine:
    return BillLine(
        kind="charge without video",
        provider=provider,
        model=charge.model,
        task_id=charge.task_id,
        request_id=charge.request_id,
        billed=charge.amount,
        at=charge.at,
    )


def _line(record: LedgerRecord, charge: Charge | None, told: bool, covers_from: datetime | None) -> BillLine:
    recorded = record.money.spent if record.money is not None else None
    covered = told and (covers_from is None or covers_from < sent_at(record))
    kind: LineKind
    if charge is None:
        free = recorded is not None and not recorded.amount
        kind = "agrees" if free and covered else "video without charge" if covered else "not covered"
    else:
        kind = "agrees" if _agree(record, charge, recorded) else "difference"
    return BillLine(
        kind=kind,
        provider=record.provider,
        model=record.model,
        prompt=shorten(str(record.request.get("prompt") or ""), _PROMPT),
        key=record.key,
        task_id=record.task_id,
        request_id=record.request_id,
        billed=charge.amount if charge else None,
        recorded=recorded,
        at=sent_at(record),
        flow=record.flow_name,
        tags=record.tags,
        cost_center=record.cost_center,
    )


def _agree(record: LedgerRecord, charge: Charge, recorded: Money | None) -> bool:
    """Whether both say the same: in whole figures where both have them, else in money to the last digit."""
    if charge.quota is not None and record.money is not None and record.money.quota is not None:
        return charge.quota == record.money.quota
    return recorded == charge.amount


SpendBy = Literal["day", "model", "tag", "flow", "cost_center", "provider"]
"""What spending is added up by."""


class SpendRow(BaseModel):
    """What one group has cost.

    Attributes:
        name: Of the day, model, tag or flow.
        videos: Paid tasks.
        cost: One amount a currency, over tasks whose cost is known.
        unknown: Tasks whose cost is not known.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    videos: int
    cost: tuple[Money, ...] = ()
    unknown: int = 0


def spend_by(records: Iterable[LedgerRecord], by: SpendBy) -> list[SpendRow]:
    """Add up what paid tasks have cost.

    Args:
        records: Of the period.
        by: What to group them by; a task with two tags counts to both.
    """
    groups = dict[str, list[LedgerRecord]]()
    for record in records:
        if record.task_id is not None:
            for name in _names(record, by):
                groups.setdefault(name, []).append(record)
    rows = list[SpendRow]()
    for name, own in sorted(groups.items()):
        costs = [record.money.spent if record.money is not None else None for record in own]
        known = [cost for cost in costs if cost is not None]
        rows.append(SpendRow(name=name, videos=len(own), cost=sum_of(known), unknown=len(own) - len(known)))
    return rows


def _names(record: LedgerRecord, by: SpendBy) -> Iterator[str]:
    if by == "tag":
        yield from record.tags or ("(none)",)
        return
    facts: dict[str, str | None] = {
        "day": f"{sent_at(record).astimezone(timezone.utc):%Y-%m-%d}",
        "model": record.model,
        "flow": record.flow_name,
        "cost_center": record.cost_center,
        "provider": record.provider,
    }
    yield facts[by] or "(none)"
