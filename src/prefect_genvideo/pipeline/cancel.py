"""A paid task that has not begun is taken back at the provider, where one can, and its key is free again."""

from __future__ import annotations

from decimal import Decimal

from prefect_genvideo.errors import InvalidRequestError
from prefect_genvideo.ledger.allowances import settle_taken
from prefect_genvideo.ledger.record import LedgerRecord
from prefect_genvideo.models import Problem
from prefect_genvideo.pipeline.pipeline import Pipeline
from prefect_genvideo.prices.facts import MoneyFacts

_SOURCE = "prefect-genvideo ledger"


async def cancel(pipeline: Pipeline, key: str) -> LedgerRecord:
    """Cancel a key's task that still waits in the provider's queue, which costs nothing, and free the key.

    Args:
        pipeline: The account that pays for the task, and the destination with its ledger.
        key: The idempotency key.

    Returns:
        The record, `rejected`: the next run with the key creates, and pays, again.

    Raises:
        InvalidRequestError: The key has no task on its way, another account pays for it, or the provider cannot cancel.
        RejectedError: The task runs and is billed, or has ended. The record stays.
        TaskLostError: The provider does not know the task. The record stays.
        TransientError: Whether it was cancelled is not known; cancel again.
        DestinationError: There is no such record, or it cannot be written.
    """
    entry = await pipeline.ledger.existing(key)
    record = entry.record
    if record.task_id is None or record.state not in ("submitted", "failed"):
        raise _uncancelled(record.state, "the key of a task that is on its way")
    if not pipeline.paid_for(record):
        told = f"{record.provider}, account {record.account}"
        raise _uncancelled(told, f"paid for by {pipeline.client.name}, account {pipeline.client.account}")
    await pipeline.client.cancel(record.task_id)
    freed = await pipeline.ledger.move(
        entry,
        "rejected",
        give_up=True,
        unpaid=True,
        reason=f"task {record.task_id} was cancelled by hand while it waited; nothing is billed",
        task_id=None,
        submitted_at=None,
        money=_nothing(record),
    )
    await settle_taken(pipeline.ledger, freed.record)
    return freed.record


def _nothing(record: LedgerRecord) -> MoneyFacts | None:
    """The record's money, with a cost of nothing where its currency is known."""
    money = record.money
    if money is None or money.estimate is None or money.estimate.currency is None:
        return money
    cost = {"cost": Decimal(0), "currency": money.estimate.currency, "basis": "task", "final": True}
    return money.model_copy(update=cost)


def _uncancelled(value: str, limit: str) -> InvalidRequestError:
    return InvalidRequestError("Nothing was cancelled.", problems=[Problem("key", value, limit, _SOURCE)])
