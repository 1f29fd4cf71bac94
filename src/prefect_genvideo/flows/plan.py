"""What a batch will cost, before anything is sent: a plan in the UI and as a file beside the ledger."""

from collections.abc import Sequence
from typing import Annotated

from prefect import flow
from pydantic import Field

from prefect_genvideo.artifacts import show_table
from prefect_genvideo.batch.plan import Batch, Requests, RequestsGiven, plan_batch
from prefect_genvideo.blocks.session import Credentials, Destination, open_pipelines
from prefect_genvideo.finance import Plan, learn_prices, make_plan, save_plan
from prefect_genvideo.flows.approval_form import table_key
from prefect_genvideo.flows.names import batch_name
from prefect_genvideo.pipeline.pipeline import Pipeline
from prefect_genvideo.runtime import derive_key, get_settings, run_logger


async def check_batch(requests: Requests, pipelines: Sequence[Pipeline], key: str = "", rows: str = "") -> Batch:
    """Read, check and key all rows as the settings allow; see `plan_batch`.

    Args:
        requests: A manifest or its place, or requests and rows in memory.
        pipelines: Accounts, the default one first.
        key: Key of the batch; empty: the flow run is the key.
        rows: Only these, e.g. `201-400`; empty: all.
    """
    private = get_settings().allow_private
    return await plan_batch(requests, pipelines, derive=derive_key, key=key or None, rows=rows, allow_private=private)


@flow(name="plan-videos", flow_run_name=batch_name, persist_result=False)
async def plan_videos(
    requests: RequestsGiven,
    credentials: Credentials,
    destination: Destination,
    max_in_flight: Annotated[int, Field(ge=1, le=2000)] = 20,
    idempotency_key: str = "",
    rows: str = "",
    more_credentials: Sequence[Credentials] = (),
) -> Plan:
    """Plan a batch: what each row and all will cost, what is reused, how long it takes. Sends no create.

    Args:
        requests: A manifest (JSONL, JSON, CSV, YAML; a path, http(s) link or s3:// URI), or a list of requests.
        credentials: Whose account pays for rows that name no provider of their own.
        destination: Where videos, ledger and plan go.
        max_in_flight: Generations under way at most, for the expected time.
        idempotency_key: Key of the batch; empty: this flow run is the key. Applying the plan takes it from there.
        rows: Only these rows of the list, e.g. 201-400; empty: all.
        more_credentials: Accounts of other providers that rows or their fallbacks name.

    Returns:
        The plan; `generate_videos` takes its hash as `plan`. It is stored as `_plans/<hash>.json` beside the ledger.

    Raises:
        InvalidRequestError: Rows break rules; all problems of all rows at once.
    """
    logger = run_logger()
    async with open_pipelines((credentials, *more_credentials), destination) as pipelines:
        for trouble in await learn_prices(pipelines):
            logger.warning("%s", trouble)
        batch = await check_batch(requests, pipelines, idempotency_key, rows)
        made = await make_plan(batch, pipelines, max_in_flight=max_in_flight)
        plan = await save_plan(pipelines[0].ledger.store, made)
    logger.info("%s. Plan %s, batch key %s", plan.summary(), plan.hash, plan.key)
    for warning in plan.warnings:
        logger.warning("%s", warning)
    await show_table(plan.table(), table_key(plan), plan.summary())
    return plan
