"""Batches too large for one process: each shard of a manifest is a run of the batch deployment on the work pool."""

import asyncio
from typing import Annotated, Any

from prefect import flow
from prefect.deployments import arun_deployment
from prefect.runtime import flow_run as this_run
from pydantic import Field

from prefect_genvideo.artifacts import publish, read_report
from prefect_genvideo.batch.report import BatchReport
from prefect_genvideo.blocks.session import open_pipeline
from prefect_genvideo.errors import DestinationError, counted
from prefect_genvideo.flows.batch import FailOn, judge
from prefect_genvideo.flows.names import batch_name
from prefect_genvideo.flows.plan import check_batch
from prefect_genvideo.pipeline.pipeline import Pipeline
from prefect_genvideo.runtime import run_logger


@flow(name="generate-videos-sharded", flow_run_name=batch_name, persist_result=False)
async def generate_videos_sharded(
    manifest: str,
    credentials: str,
    destination: str,
    deployment: str,
    shard_size: Annotated[int, Field(ge=1, le=10_000)] = 200,
    shards_in_flight: Annotated[int, Field(ge=1, le=200)] = 4,
    max_in_flight: Annotated[int, Field(ge=1, le=2000)] = 50,
    account_slots: Annotated[int, Field(ge=0)] = 0,
    fail_on: FailOn = "any",
    failed_share: Annotated[float, Field(ge=0, le=1)] = 0.1,
    idempotency_key: str = "",
) -> BatchReport:
    """Split a manifest into shards and run the batch deployment for each. One report over all of them.

    Resumable: every row keeps its key whatever shard it lies in, so a rerun pays only for what is missing.

    Args:
        manifest: Manifest that every worker can read: an http(s) link or an s3:// URI, or a path they share.
        credentials: Name of the saved credentials block, block-type-slug/name.
        destination: Name of the saved destination block, block-type-slug/name.
        deployment: The batch deployment, generate-videos/NAME.
        shard_size: Rows per shard.
        shards_in_flight: Shards that run at the same time.
        max_in_flight: Generations under way at most per shard.
        account_slots: Generations under way at most for the account over all shards; 0 is no shared limit.
        fail_on: When this run fails; the shards themselves never do for bad videos.
        failed_share: Share of bad videos that is accepted with fail_on = share, 0-1.
        idempotency_key: Key of the batch; empty: this flow run is the key.

    Returns:
        The report over all shards.

    Raises:
        InvalidRequestError: Rows break rules; nothing was started.
        BatchFailedError: More videos failed than `fail_on` accepts.
        DestinationError: A shard left no report.
    """
    logger = run_logger()
    async with open_pipeline(credentials, destination) as pipeline:
        batch = await check_batch(manifest, [pipeline], idempotency_key)
        total = len(batch.items)
        spans = [(first, min(first + shard_size, total + 1) - 1) for first in range(1, total + 1, shard_size)]
        videos, shards = counted(total, "video"), counted(len(spans), "shard")
        logger.info("%s in %s of %s. Batch key: %s", videos, shards, deployment, batch.key)
        common: dict[str, Any] = {
            "requests": manifest,
            "credentials": credentials,
            "destination": destination,
            "max_in_flight": max_in_flight,
            "account_slots": account_slots,
            "fail_on": "never",
            "idempotency_key": batch.key,
        }
        places = asyncio.Semaphore(shards_in_flight)
        parts = await asyncio.gather(*(_run_shard(deployment, common, span, places, pipeline) for span in spans))
        rows = [row for part in parts for row in part.rows]
        report = await publish(pipeline, BatchReport(key=batch.key, rows=rows))
    logger.info("%s. Report: %s", report.summary(), report.report_uri)
    judge(report, fail_on, failed_share)
    return report


async def _run_shard(
    deployment: str, common: dict[str, Any], span: tuple[int, int], places: asyncio.Semaphore, pipeline: Pipeline
) -> BatchReport:
    rows, key = f"{span[0]}-{span[1]}", common["idempotency_key"]
    # A retry of this run asks for new runs of its shards; within one attempt nothing is started twice.
    once = f"{key}-{rows}-{this_run.id}-{this_run.run_count}"
    async with places:
        run = await arun_deployment(
            deployment,
            parameters={**common, "rows": rows},
            flow_run_name=f"rows {rows} of {key}",
            idempotency_key=once,
            as_subflow=True,
            poll_interval=2,
        )
    report = await read_report(pipeline, f"{key}-{rows}")
    if report is None:
        state = run.state.name if run.state else "unknown"
        raise DestinationError(
            f"Shard {rows} ended as {state} without a report; see flow run {run.name}. Retry this run to go on.",
            reason=state,
        )
    return report
