"""What a generation really cost: read once more after its end, and again until nothing moves any more.

A success shows before its money has moved, so that the figure of that moment is what was taken at first. Where a
provider shows no money at all, the cost is calculated from the user's prices, and marked so.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from prefect_genvideo.errors import GenVideoError
from prefect_genvideo.ledger.record import LedgerRecord
from prefect_genvideo.models import Generation, VideoRequest
from prefect_genvideo.prices.amounts import Money, money_of
from prefect_genvideo.prices.facts import Basis, MoneyFacts, Posting
from prefect_genvideo.providers.money import CHARGE, AccountLog, LogRow, NotTold, Site, TaskMoney

if TYPE_CHECKING:
    from prefect_genvideo.providers.base import VideoClient

QUIET = timedelta(minutes=2)
"""How long after its end a task's own figure is believed: settlements follow the end within seconds."""
LOG_QUIET = timedelta(minutes=10)
"""How long after its end a log without another row of the task is believed."""
LONGEST = timedelta(hours=25)
"""How long a task that nobody watches any more may run: gateways end one after a day."""


# What is larger is no figure of an account.
_LARGEST = 1e18


def outcome_of(generation: Generation) -> dict[str, Any]:
    """What a record says of a success."""
    return {
        "link": (generation.video_url or "").partition("?")[0],
        "finished_at": generation.finished_at or datetime.now(timezone.utc),
        "cost": generation.cost,
        "no_video_since": None,
    }


async def cost_after_end(
    client: VideoClient, record: LedgerRecord, generation: Generation | None = None, seconds: float | None = None
) -> dict[str, Any]:
    """Read what a task has cost, right after its end. Whatever goes wrong here costs a figure, never a video.

    Args:
        client: The account's.
        record: Of the task.
        generation: The provider's last word, where it is at hand.
        seconds: Length of the saved film, where it was measured.

    Returns:
        Attributes of the record to set; none where nothing is known.
    """
    try:
        if client.tells_money:
            return await _cost_by_task(client, record, generation)
        last = generation or await _final_generation(client, record)
        return {} if last is None else _calculated_cost(client, record, last, seconds)
    except (ValueError, ArithmeticError):  # figures that no account has
        return {}


def _calculates(client: VideoClient) -> bool:
    """Whether the user's own prices say what a generation costs."""
    return not client.tells_money and bool(client.price_table.prices or client.price_table.failed)


async def _final_generation(client: VideoClient, record: LedgerRecord) -> Generation | None:
    """The task's end, asked for anew: prices may need what it tells. None where no prices are stated, or no end."""
    if record.task_id is None or not _calculates(client):
        return None
    try:
        told = await client.get(record.task_id)
    except GenVideoError:
        return None
    return told if told.state in ("succeeded", "failed") else None


def _calculated_cost(
    client: VideoClient, record: LedgerRecord, generation: Generation, seconds: float | None
) -> dict[str, Any]:
    """The cost by the user's own prices, where they say one figure."""
    estimate = client.cost_of(generation, request_of(record), seconds)
    if estimate.expected is None or estimate.low != estimate.high:
        return {}
    facts = _money_of(record).model_copy(
        update={"cost": estimate.expected, "currency": estimate.currency, "basis": "calculated", "final": True}
    )
    return {"money": facts}


def request_of(record: LedgerRecord) -> VideoRequest:
    """What a record knows of its request: enough for a price."""
    try:
        return VideoRequest.model_validate(record.request)
    except ValidationError:
        return VideoRequest(model=record.model, duration=record.seconds, resolution=record.resolution)


async def _cost_by_task(client: VideoClient, record: LedgerRecord, seen: Generation | None) -> dict[str, Any]:
    now = await _asked_again(client, record, seen)
    if now is None or now.cost is None:
        return _not_told(record)
    told = client.cost_told(now)
    quiet = now.state == "succeeded" and _is_past(record.finished_at or now.finished_at, QUIET)
    # What a failed task still shows was taken, whether or not it is given back.
    taken = Posting(quota=int(now.cost)) if told.quota is None and now.cost < _LARGEST else None
    money = TaskMoney(charged=told.quota)
    return await booked(client, record, money, basis="task", final=told.final or quiet, charge=taken)


def never_told(client: VideoClient, record: LedgerRecord, log: AccountLog | NotTold) -> dict[str, Any]:
    """What ends the search for a cost that neither the task's answers nor the account's log tell: it stays unknown.

    Args:
        client: The account's; where its costs are calculated, a task that still runs has none yet.
        record: Of a task that has ended, or was given up.
        log: The account's log; only where there is none for good, the search ends before its week is over.
    """
    if isinstance(log, AccountLog) or log.for_now or record.money is None or record.money.quota is not None:
        return {}
    if _calculates(client):
        return {}
    return {"money": record.money.model_copy(update={"final": True})}


def _not_told(record: LedgerRecord) -> dict[str, Any]:
    """What a record keeps where the task's answers show no cost: the log may still tell it, by the id of the call."""
    if record.request_id is None or record.money_is_open:
        return {}
    before = _money_of(record)
    return {"money": before.model_copy(update={"read_at": datetime.now(timezone.utc), "reads": before.reads + 1})}


async def _asked_again(client: VideoClient, record: LedgerRecord, seen: Generation | None) -> Generation | None:
    """The task as it is now; None where its answers show no money, or it cannot be asked."""
    if seen is not None and (seen.cost is None or client.cost_told(seen).final):
        return seen
    try:
        return await client.get(record.task_id or "")
    except GenVideoError:
        return None


async def cost_by_log(client: VideoClient, record: LedgerRecord, log: AccountLog) -> dict[str, Any]:
    """Read what a task has cost from the account's log.

    Args:
        client: The account's.
        record: Of the task.
        log: The account's log.

    Returns:
        Attributes of the record to set; none where the log does not tell of the task.
    """
    money = log.task(record.task_id or "", record.request_id)
    if money.cost is None:
        return {}
    moved = money.actual is not None or 0 < (money.charged or 0) <= money.refunded
    # A failure that is not given back may still be, and a cut or older log may not show it.
    quiet = record.state == "saved" and _is_past(record.finished_at, LOG_QUIET)
    quiet = quiet or (record.was_given_up and _is_past(record.submitted_at, LONGEST))
    return await booked(client, record, money, basis="log", final=moved or quiet)


async def booked(
    client: VideoClient,
    record: LedgerRecord,
    money: TaskMoney,
    *,
    basis: Basis,
    final: bool,
    charge: Posting | None = None,
) -> dict[str, Any]:
    """Return what a record keeps of figures that were told.

    Args:
        client: The account's; knows what a unit is and costs.
        record: Of the task.
        money: The figures.
        basis: How they are known.
        final: Whether nothing more is expected to move.
        charge: What was taken at first, where it is known otherwise.
    """
    per_unit, before = await quota_per_unit(client), _money_of(record)
    told = _postings(money, per_unit, client.unit)
    cost = None if money.cost is None else money_of(money.cost, per_unit, client.unit)
    told |= {} if charge is None or "charge" in told else {"charge": charge}
    facts = before.model_copy(
        update={
            **told,
            "cost": cost and cost.amount,
            "currency": cost and cost.currency,
            "quota": money.cost,
            "basis": basis,
            "final": final,
            "read_at": datetime.now(timezone.utc),
            "reads": before.reads + 1,
        }
    )
    return {"money": facts} | ({} if money.cost is None else {"cost": float(money.cost)})


def _postings(money: TaskMoney, per_unit: Decimal | None, unit: Money | None) -> dict[str, Posting]:
    taken = [row for row in money.rows if row.net > 0]
    first = [row for row in taken if not row.is_settlement][:1]
    parts = {
        # What was taken first may be known from the settlement alone, where its own row is not tied to the task.
        "charge": (first, money.charged if money.rows else None),
        "refund": _sum_of([row for row in money.rows if row.net < 0], money.refunded),
        "supplement": _sum_of([row for row in taken if row not in first], money.supplement),
    }
    return {name: _posting(rows, total, per_unit, unit) for name, (rows, total) in parts.items() if total is not None}


def _sum_of(rows: list[LogRow], total: int) -> tuple[list[LogRow], int | None]:
    return rows, total if rows else None


def _posting(rows: list[LogRow], total: int, per_unit: Decimal | None, unit: Money | None) -> Posting:
    """One movement, of the rows that make it up."""
    last = rows[-1] if rows else LogRow(CHARGE, total)
    return Posting(quota=total, amount=money_of(total, per_unit, unit), at=last.at, identity=last.request_id)


async def log_once(client: VideoClient) -> AccountLog | NotTold:
    """Read the account's log; that it cannot be read now is no error of a run."""
    try:
        return await client.account_log()
    except GenVideoError as error:
        return NotTold(error.reason or str(error), for_now=True)


async def quota_per_unit(client: VideoClient) -> Decimal | None:
    """Return how many of the provider's figures make a unit: as the user states it, else as the provider tells it."""
    if client.price_table.quota_per_unit is not None:
        return client.price_table.quota_per_unit
    try:
        site = await client.site()
    except GenVideoError:
        return None
    return site.quota_per_unit if isinstance(site, Site) else None


def _money_of(record: LedgerRecord) -> MoneyFacts:
    return record.money or MoneyFacts()


def _is_past(moment: datetime | None, span: timedelta) -> bool:
    return moment is not None and datetime.now(timezone.utc) - moment >= span
