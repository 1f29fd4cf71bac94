"""The flow that fetches what was paid for and left behind."""

import logging

from prefect import flow

from prefect_genvideo.artifacts import show_reconciled
from prefect_genvideo.blocks.session import Credentials, Destination, open_pipeline
from prefect_genvideo.errors import UnknownOutcomeError, counted
from prefect_genvideo.flows.approval import end_overdue
from prefect_genvideo.flows.names import upkeep_name
from prefect_genvideo.pipeline.reconcile import ReconciledRow, reconcile
from prefect_genvideo.runtime import run_logger


@flow(name="reconcile-videos", flow_run_name=upkeep_name, persist_result=False)
async def reconcile_videos(
    credentials: Credentials, destination: Destination, fail_on_unknown: bool = False, at_once: int = 8
) -> list[ReconciledRow]:
    """Go through unfinished generations of one account, save what is ready and report the rest. Costs nothing.

    Args:
        credentials: Whose generations.
        destination: Where their ledger is and their videos go.
        fail_on_unknown: End as Failed when a create's fate is not known, so that alerts fire.
        at_once: Generations looked after at the same time.

    Returns:
        One row for each unfinished record: key, outcome, detail, URI of a video that was saved now.

    Raises:
        UnknownOutcomeError: With `fail_on_unknown`, when there are such records.
    """
    logger = run_logger()
    async with open_pipeline(credentials, destination) as pipeline:
        report = await reconcile(pipeline, at_once=at_once)
        if late := await end_overdue(pipeline.ledger.store):
            logger.warning(
                "%s not approved in time and cancelled; nothing was sent.", counted(late, "run was", "runs were")
            )
        counts = ", ".join(f"{count} {outcome}" for outcome, count in report.counts.items())
        await show_reconciled(pipeline, report.rows, counts)
    for row in report.rows:
        level = logging.WARNING if row.outcome in ("unknown", "trouble") else logging.INFO
        logger.log(level, "%s: %s. %s", row.key, row.outcome, row.detail)
    logger.info(
        "Reconciled %s: %s", counted(len(report.rows), "unfinished record"), counts or "nothing was left behind"
    )
    unknown = [row.key for row in report.rows if row.outcome == "unknown"]
    if unknown and fail_on_unknown:
        waiting = counted(len(unknown), "generation waits", "generations wait")
        raise UnknownOutcomeError(
            f"{waiting} for a person, see `genvideo ledger list`: {', '.join(unknown[:20])}",
            reason="unknown outcome",
        )
    return report.rows
