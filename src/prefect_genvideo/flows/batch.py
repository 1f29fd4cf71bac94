"""Many videos in one run: checked before the first one costs money, bounded, resumable, reported."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, cast

import anyio
from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Failed
from prefect.utilities.annotations import quote
from pydantic import Field

from prefect_genvideo.artifacts import pictures_prepared, publish, show_budgets
from prefect_genvideo.batch.plan import Batch, Item, RequestsGiven, expect, unclaimed
from prefect_genvideo.batch.report import BatchFailedError, BatchReport, BatchRow, RowState
from prefect_genvideo.blocks.session import Credentials, Destination, open_pipelines
from prefect_genvideo.errors import (
    GenVideoError,
    InvalidRequestError,
    UnknownOutcomeError,
    counted,
    redact,
    shorten,
)
from prefect_genvideo.finance import learn_prices, shortfalls
from prefect_genvideo.flows.approval import Approving, Gate, passed, stored_plan
from prefect_genvideo.flows.names import batch_name
from prefect_genvideo.flows.plan import check_batch
from prefect_genvideo.ledger.account import AccountStoppedError
from prefect_genvideo.ledger.budget import NO_BUDGET, Budget, BudgetError, BudgetGiven
from prefect_genvideo.pipeline.hooks import Labels
from prefect_genvideo.pipeline.make import BoundedSteps, Maker, RowOutcome
from prefect_genvideo.pipeline.pipeline import Pipeline
from prefect_genvideo.prices.amounts import money_in
from prefect_genvideo.runtime import (
    account_slot,
    cancellation_notice,
    ensure_limit,
    get_settings,
    run_logger,
)

FailOn = Literal["any", "share", "never"]
# Rows between the start of their task run and their task id: few at first, so that the first create does not wait until
# many task runs have been set up; each that has its id makes room for one more, up to the most.
_STARTING, _MOST_STARTING = 4, 32


@dataclass(frozen=True)
class _RowWork:
    """A row on its way into its task run, and what is called when it has its task id."""

    maker: Maker
    item: Item
    submitted: Callable[[], None]


@task(name="generate-row", task_run_name="{label}", cache_policy=NO_CACHE, persist_result=False, retries=0)
async def generate_row(label: str, work: _RowWork) -> State[RowOutcome]:
    """One row of a batch, from create to save, as one task run that fails when the row does.

    Args:
        label: What the UI shows.
        work: The row; the caller quotes it, so that Prefect does not look inside.
    """
    del label
    outcome = await work.maker.make(work.item.alternatives, work.submitted)
    if outcome.error is None:
        return Completed(data=outcome)
    return Failed(message=f"{type(outcome.error).__name__}: {outcome.error}", data=outcome)


@flow(name="generate-videos", flow_run_name=batch_name, persist_result=False)
async def generate_videos(
    requests: RequestsGiven,
    credentials: Credentials,
    destination: Destination,
    max_in_flight: Annotated[int, Field(ge=1, le=2000)] = 20,
    account_slots: Annotated[int, Field(ge=0)] = 0,
    fail_on: FailOn = "any",
    failed_share: Annotated[float, Field(ge=0, le=1)] = 0.1,
    budget: BudgetGiven = NO_BUDGET,
    wait: Literal["finish", "collect"] = "finish",
    idempotency_key: str = "",
    rows: str = "",
    more_credentials: Sequence[Credentials] = (),
    approval: Approving = "none",
    approve_above: str = "",
    approval_hours: Annotated[float, Field(gt=0, le=72)] = 24,
    plan: str = "",
    tags: Annotated[Sequence[Annotated[str, Field(min_length=1, max_length=200)]], Field(max_length=100)] = (),
    cost_center: Annotated[str, Field(max_length=200)] = "",
) -> BatchReport:
    """Generate a batch: a manifest or a list of requests. A rerun of the same run does only what is missing.

    Args:
        requests: A manifest (JSONL, JSON, CSV, YAML; a path, http(s) link or s3:// URI), or a list of requests.
        credentials: Whose account pays for rows that name no provider of their own.
        destination: Where videos, ledger and report go.
        max_in_flight: Generations under way at most in this run.
        account_slots: Generations under way at most for the account over all runs and workers; 0 is no shared limit.
        fail_on: When the run fails: on any bad video, on a share above failed_share, or never.
        failed_share: Share of bad videos that is accepted with fail_on = share, 0-1.
        budget: Caps on generations, seconds of video and money per run, day, month, tag and cost center; 0 is no cap.
        wait: finish waits and saves; collect only submits, and the scheduled reconcile flow fetches the videos.
        idempotency_key: Key of the batch, e.g. a date; rows without a key of their own are keyed below it. Empty: the
            flow run is the key.
        rows: Only these rows of the list, e.g. 201-400; empty: all.
        more_credentials: Accounts of other providers that rows or their fallbacks name.
        approval: Whether a person is asked before anything is paid: none, above an amount, or always.
        approve_above: With approval = above: ask where the plan may cost more, e.g. 50 CNY, or nobody knows.
        approval_hours: Hours within which somebody has to answer; then the run ends as Cancelled.
        plan: Hash of a plan made by plan_videos, which must still hold; the batch's key is taken from it.
        tags: Free words that every record carries beside its row's own; bills and FOCUS files group by them.
        cost_center: Who bears the cost; every record carries it.

    Returns:
        One row a video, with state, reason, link and task id; also stored as `report.json` beside the videos.

    Raises:
        InvalidRequestError: Rows break rules; all problems of all rows at once, nothing was sent.
        PlanDriftError: The batch is not the one that was planned or approved; nothing was sent.
        BatchFailedError: More videos failed than `fail_on` accepts; the good ones are saved.
    """
    logger = run_logger()
    gate = Gate(approval, money_in(approve_above, "approve_above"), approval_hours, plan)
    payers = (credentials, *more_credentials)
    async with open_pipelines(payers, destination, Budget.model_validate(budget)) as opened:
        pipelines = [replace(pipeline, labels=Labels(tuple(tags), cost_center or None)) for pipeline in opened]
        if not gate.is_open:
            await learn_prices(pipelines)
        key = (await stored_plan(pipelines[0].ledger.store, plan)).key if plan else idempotency_key
        batch = await check_batch(requests, pipelines, key, rows)
        wanted = counted(len(batch.items), "video")
        logger.info("%s wanted, checked before the first one costs money. Batch key: %s", wanted, batch.key)
        allowed = batch if gate.is_open else await passed(gate, batch, pipelines, max_in_flight)
        if isinstance(allowed, str):
            return cast("Any", Cancelled(message=allowed))
        batch = allowed
        free = await unclaimed(pipelines[0].ledger, batch.items)
        await _check_balances(pipelines, batch.items, free)
        expect(batch.items, free)
        maker = Maker(steps=await _steps(pipelines, account_slots), collect=wait == "collect", free=free)
        async with cancellation_notice(*pipelines), pictures_prepared():
            report = await _run(batch, maker, max_in_flight)
        name = f"{batch.key}-{rows}" if rows else batch.key
        await show_budgets([pipeline.budget for pipeline in pipelines if pipeline.budget], name)
        report = await publish(pipelines[0], report, name=name)
    logger.info("%s. Report: %s", report.summary(), report.report_uri)
    judge(report, fail_on, failed_share)
    return report


async def _steps(pipelines: Sequence[Pipeline], account_slots: int) -> BoundedSteps:
    """The steps of a row, within the accounts' shared limits where there are any."""
    if not account_slots:
        return BoundedSteps()
    for pipeline in pipelines:
        await ensure_limit(pipeline, account_slots)
    return BoundedSteps(account_slot)


async def _check_balances(pipelines: Sequence[Pipeline], items: Sequence[Item], free: frozenset[str]) -> None:
    """Warn of, or refuse, a batch that cannot be paid to its end, as the setting `balance_check` says."""
    wanted = get_settings().balance_check
    problems = [] if wanted == "off" else await shortfalls(pipelines, items, free)
    if problems and wanted == "refuse":
        raise InvalidRequestError("The batch may not be paid to its end; nothing was sent.", problems=problems)
    for problem in problems:
        run_logger().warning("The batch may not be paid to its end: %s", problem)


async def _run(batch: Batch, maker: Maker, max_in_flight: int) -> BatchReport:
    places, starts = asyncio.Semaphore(max_in_flight), anyio.CapacityLimiter(_STARTING)
    rows = await asyncio.gather(*(_row(item, maker, places, starts) for item in batch.items))
    return BatchReport(key=batch.key, rows=list(rows))


async def _row(item: Item, maker: Maker, places: asyncio.Semaphore, starts: anyio.CapacityLimiter) -> BatchRow:
    async with places:
        began = time.monotonic()
        with ExitStack() as starting:
            await starts.acquire_on_behalf_of(starting)
            starting.callback(_make_room, starts, starting)
            try:
                work: Any = quote(_RowWork(maker, item, starting.close))
                run: Any = generate_row(item.label, work, return_state=True)
                state = await cast("Awaitable[State[RowOutcome]]", run)
                ended: object = await state.aresult(raise_on_failure=False)
            except Exception as error:
                # Whatever it is: the other rows go on, what they have paid for must be saved and reported.
                ended = error
        facts = _facts_of(ended) if isinstance(ended, RowOutcome) else _facts_of_fault(ended)
    last = ended.tried[-1] if isinstance(ended, RowOutcome) else item.alternatives[0]
    return BatchRow(
        number=item.number,
        key=last.idempotency_key,
        model=last.request.model,
        provider=last.pipeline.client.name,
        prompt=shorten(item.alternatives[0].request.prompt, 200),
        seconds=time.monotonic() - began,
        **facts,
    )


def _make_room(starts: anyio.CapacityLimiter, row: ExitStack) -> None:
    starts.release_on_behalf_of(row)
    starts.total_tokens = min(starts.total_tokens + 1, _MOST_STARTING)


def _facts_of(outcome: RowOutcome) -> dict[str, Any]:
    made, error = outcome.made, outcome.error
    if made is None:
        facts = {"state": _state_of(error), "reason": str(error), "error": type(error).__name__}
        return facts | {"task_id": error.task_id if error else None, "attempts": outcome.number}
    return {
        "state": "pending" if made.video is None else "saved",
        "task_id": made.generation.task_id,
        "uri": made.video.uri if made.video else None,
        "video": made.video,
        "attempts": outcome.number,
    }


def _facts_of_fault(error: object) -> dict[str, Any]:
    """What a row says that failed by an error which is none of ours: a fault of the plugin, or of the machine."""
    return {
        "state": "failed",
        "reason": redact(f"internal error, {type(error).__name__}: {error}"),
        "error": type(error).__name__,
        "attempts": 1,
    }


def _state_of(error: GenVideoError | None) -> RowState:
    if isinstance(error, AccountStoppedError | BudgetError):
        return "skipped"
    return "unknown" if isinstance(error, UnknownOutcomeError) else "failed"


def judge(report: BatchReport, fail_on: FailOn, failed_share: float) -> None:
    """Raise `BatchFailedError` when more videos failed than the policy accepts.

    Args:
        report: What became of the rows.
        fail_on: `any` bad video, a `share` above `failed_share`, or `never`.
        failed_share: Share of bad videos that is accepted, 0-1.
    """
    accepted = {"any": 0.0, "share": failed_share, "never": 1.0}[fail_on]
    if report.failed_share() > accepted:
        first = next(row for row in report.rows if row.state not in ("saved", "pending"))
        raise BatchFailedError(
            f"{report.summary()}. {report.advice()} Batch key: {report.key}. Report: {report.report_uri}\n"
            f"First: row {first.number}, {shorten(first.reason, 300)}",
            report=report,
        )
