"""Flows by which a person decides about a key without a shell: its fate is not known, or its video is not wanted."""

from prefect import flow

from prefect_genvideo.blocks.session import Credentials, Destination, open_pipeline, resolve_destination
from prefect_genvideo.flows.names import parameters, run_name
from prefect_genvideo.ledger import decisions
from prefect_genvideo.pipeline.cancel import cancel
from prefect_genvideo.runtime import run_logger, warn


def _adopt_name() -> str:
    given = parameters()
    return run_name("adopt", str(given.get("task_id", "")), str(given.get("idempotency_key", "")))


def _release_name() -> str:
    return run_name("release", str(parameters().get("idempotency_key", "")))


def _cancel_name() -> str:
    return run_name("cancel", str(parameters().get("idempotency_key", "")))


@flow(name="adopt-task", flow_run_name=_adopt_name, persist_result=False)
async def adopt_task(destination: Destination, idempotency_key: str, task_id: str, give_up_paid: bool = False) -> str:
    """Tie a task found at the provider to a key; the next reconciliation fetches its video. Costs nothing.

    Args:
        destination: Where the ledger is.
        idempotency_key: The key, as the artifact generations-to-decide or the failed run shows it.
        task_id: The task's id in the provider's console.
        give_up_paid: Also when the key has another paid task, whose video is given up.

    Returns:
        The record's state.

    Raises:
        InvalidRequestError: The key has another paid task.
        DestinationError: There is no record of the key, or its video is saved already.
    """
    ledger = (await resolve_destination(destination)).get_ledger(say=warn)
    entry = await decisions.adopt(ledger, idempotency_key.strip(), task_id.strip(), force=give_up_paid)
    run_logger().info("Key %s has task %s; the next reconciliation fetches it.", entry.record.key, entry.record.task_id)
    return entry.record.state


@flow(name="release-key", flow_run_name=_release_name, persist_result=False)
async def release_key(destination: Destination, idempotency_key: str, give_up_paid: bool = False) -> str:
    """Free a key of which it is certain that nothing was made, so that the next run with it creates, and pays, again.

    Args:
        destination: Where the ledger is.
        idempotency_key: The key, as the artifact generations-to-decide or the failed run shows it.
        give_up_paid: Also when the key has a paid task, whose video is given up, or is being sent right now.

    Returns:
        The record's state.

    Raises:
        InvalidRequestError: The key has a paid task, or is being sent.
        DestinationError: There is no record of the key, or its video is saved already.
    """
    ledger = (await resolve_destination(destination)).get_ledger(say=warn)
    entry = await decisions.release(ledger, idempotency_key.strip(), force=give_up_paid)
    run_logger().info("Key %s is free; the next run with it creates, and pays, again.", entry.record.key)
    return entry.record.state


@flow(name="cancel-task", flow_run_name=_cancel_name, persist_result=False)
async def cancel_task(credentials: Credentials, destination: Destination, idempotency_key: str) -> str:
    """Cancel a key's task that still waits in the provider's queue, which costs nothing, and free the key. Ark only.

    Args:
        credentials: Whose account pays for the task.
        destination: Where the ledger is.
        idempotency_key: The key, as the run or `genvideo ledger list` shows it.

    Returns:
        The record's state.

    Raises:
        InvalidRequestError: The key has no task on its way, another account pays for it, or the provider cannot cancel.
        RejectedError: The task runs and is billed, or has ended.
        TransientError: Whether it was cancelled is not known; run it again.
    """
    async with open_pipeline(credentials, destination) as pipeline:
        record = await cancel(pipeline, idempotency_key.strip())
    run_logger().info("Key %s is free: %s.", record.key, record.reason)
    return record.state
