"""Approvals in flows: before money is spent, the run is suspended or paused with Prefect's input form.

The answer is recorded beside the plan as soon as a process sees it, and looked for before anybody is asked: a run that
is killed, retried or resumed on another worker goes on from there. Prefect's own record of the pause is not relied on:
after a retry it may know the pause and not the answer, or the form and not the pause.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any, Literal
from uuid import UUID

import anyio
from httpx import HTTPStatusError
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import FlowRunInput
from prefect.exceptions import FlowPauseTimeout, ObjectNotFound
from prefect.flow_runs import pause_flow_run, suspend_flow_run
from prefect.states import Cancelled
from pydantic import ValidationError

from prefect_genvideo.artifacts import show_table
from prefect_genvideo.batch.plan import Batch
from prefect_genvideo.errors import InvalidRequestError, shown
from prefect_genvideo.finance import Plan, check_plan, make_plan, read_plan, save_plan
from prefect_genvideo.finance.approvals import (
    Answer,
    ApprovalRecord,
    needs_asking,
    open_approval,
    overdue,
    picked,
    read_approval,
    settle_approval,
)
from prefect_genvideo.flows.approval_form import Approval, question, table_key
from prefect_genvideo.models import Problem
from prefect_genvideo.pipeline.pipeline import Pipeline
from prefect_genvideo.prices.amounts import Money
from prefect_genvideo.runtime import flow_run, flow_run_id, run_logger
from prefect_genvideo.storage import ObjectStore

Approving = Literal["none", "above", "always"]
"""When a person is asked: never, above an amount, whenever something is to be paid."""
# Seconds between two looks of a paused run that holds its process.
_LOOK_EVERY = 2
# Prefect fails a paused run at its own deadline; ours comes first, so that the run ends as Cancelled.
_MARGIN = 3600
# Times that a run asks again when its pause ends without an answer, as a resume by force does.
_ASKED_AT_MOST = 5
_PREFIXES = ("suspended", "paused")


@dataclass(frozen=True)
class Gate:
    """When somebody is asked, and for how long.

    Attributes:
        mode: See `Approving`.
        above: Of the mode `above`: the amount.
        hours: Until the deadline.
        plan: Hash of a plan that was made before and must still hold; empty: none.
    """

    mode: Approving = "none"
    above: Money | None = None
    hours: float = 24.0
    plan: str = ""

    def __post_init__(self) -> None:
        if self.mode == "above" and self.above is None:
            problem = Problem("approve_above", "(empty)", "an amount with its currency, e.g. 50 CNY", "approval")
            raise InvalidRequestError("The amount to ask above is missing; nothing was sent.", problems=[problem])

    @property
    def is_open(self) -> bool:
        """Whether everything passes."""
        return self.mode == "none" and not self.plan


async def stored_plan(store: ObjectStore, plan_hash: str) -> Plan:
    """Return a plan that was made before.

    Args:
        store: Where it is.
        plan_hash: Its hash.

    Raises:
        InvalidRequestError: There is no such plan.
    """
    plan = await read_plan(store, plan_hash)
    if plan is None:
        problem = Problem("plan", shown(plan_hash), f"the hash of a plan at {store.place}")
        raise InvalidRequestError("There is no such plan; nothing was sent.", problems=[problem])
    return plan


async def passed(gate: Gate, batch: Batch, pipelines: Sequence[Pipeline], max_in_flight: int) -> Batch | str:
    """Return what of a batch may be paid for; asks a person where the gate wants one, which may end the process here.

    Args:
        gate: When somebody is asked.
        batch: What is wanted, checked and keyed.
        pipelines: Accounts, the default one first.
        max_in_flight: Generations under way at most, for the expected time.

    Returns:
        The batch, or its approved rows; a text says why nothing may be sent.

    Raises:
        PlanDriftError: The batch is not the one that was planned or approved.
        InvalidRequestError: Answers cannot be used, however often somebody is asked again.
    """
    store, run = pipelines[0].ledger.store, flow_run_id() or ""
    now = await make_plan(batch, pipelines, max_in_flight=max_in_flight)
    if gate.plan:
        check_plan(await stored_plan(store, gate.plan), now)
    record = await read_approval(store, run) if gate.mode != "none" else None
    if record is None:
        if gate.mode == "none" or not needs_asking(now, gate.above if gate.mode == "above" else None):
            return batch
        record = await _begin(store, gate, now, run)
    # What was asked about, not what lies there now, is what a yes is worth.
    asked = await stored_plan(store, record.plan)
    if record.answer == "open":
        record = await _answered(store, record, asked, now, batch)
    if record.answer != "yes":
        return _why_not(record)
    check_plan(asked, now)
    run_logger().info("Plan %s was approved by %s at %s.", record.plan[:12], record.by or "?", record.answered_at)
    return Batch(batch.key, picked(batch.items, record.rows))


def _why_not(record: ApprovalRecord) -> str:
    if record.answer == "overdue":
        return f"Nobody has approved the plan before {record.deadline:%Y-%m-%d %H:%M} UTC; nothing was sent."
    return f"The plan was refused by {record.by or 'somebody'}; nothing was sent." + (
        f" {record.note}" if record.note else ""
    )


async def _begin(store: ObjectStore, gate: Gate, plan: Plan, run: str) -> ApprovalRecord:
    if not run:
        problem = Problem("approval", gate.mode, "within a flow run, which is what waits", "approval")
        raise InvalidRequestError("Nobody can be asked here; nothing was sent.", problems=[problem])
    kept = await save_plan(store, plan)
    asked_at = datetime.now(timezone.utc)
    deadline = min(asked_at + timedelta(hours=gate.hours), kept.expires_at)
    record = ApprovalRecord(plan=plan.hash, flow_run_id=run, told=plan.summary(), asked_at=asked_at, deadline=deadline)
    await open_approval(store, record)
    await show_table(plan.table(), table_key(plan), plan.summary())
    return record


async def _answered(store: ObjectStore, record: ApprovalRecord, plan: Plan, now: Plan, batch: Batch) -> ApprovalRecord:
    """The record with its answer: one that is there already, else the one that is waited for."""
    base, trouble = f"approval-{record.plan[:16]}", None
    for number in range(_ASKED_AT_MOST + 1):
        async with get_client() as client:
            found = await _response(client, record, base)
            if found is not None:
                try:
                    record = await _take(client, record, found, batch)
                except InvalidRequestError as error:
                    trouble = error
                else:
                    await settle_approval(store, record)
                    return record
            if datetime.now(timezone.utc) >= record.deadline:
                break
            if number == _ASKED_AT_MOST:
                raise trouble or _unanswered()
            check_plan(plan, now)  # nobody is asked about what is not wanted any more
            # Each attempt has its own: the one before may have fired without an answer, which Prefect does not repeat.
            run = flow_run()
            key = f"{base}-{run.run_count if run else 0}-{number}"
            await _clear(client, record, key)
        # Resumed without an answer, or with one that was removed: Prefect finds none, or makes an empty one of it.
        with suppress(ObjectNotFound, HTTPStatusError, ValidationError):
            await _ask(record, plan, key, trouble)
    record = record.model_copy(update={"answer": "overdue", "answered_at": datetime.now(timezone.utc)})
    await settle_approval(store, record)
    return record


def _unanswered() -> InvalidRequestError:
    limit = f"yes or no; asked {_ASKED_AT_MOST} times, a retry asks again"
    problem = Problem("answer", "(none)", limit, "approval")
    return InvalidRequestError("The run was resumed without an answer; nothing was sent.", problems=[problem])


async def _inputs(client: PrefectClient, record: ApprovalRecord, key: str) -> list[FlowRunInput]:
    """The forms and answers of the run whose keys begin so, whether it was suspended or paused."""
    run = UUID(record.flow_run_id)
    return [one for kind in _PREFIXES for one in await client.filter_flow_run_input(run, f"{kind}-{key}", 200, set())]


async def _response(client: PrefectClient, record: ApprovalRecord, base: str) -> FlowRunInput | None:
    """The first answer that any attempt of the run was given."""
    return next((one for one in await _inputs(client, record, base) if one.key.endswith("-response")), None)


async def _take(client: PrefectClient, record: ApprovalRecord, found: FlowRunInput, batch: Batch) -> ApprovalRecord:
    """The record with what the form says; an answer that cannot be used is removed, so that somebody is asked again."""
    at = found.created or datetime.now(timezone.utc)
    try:
        form = Approval.model_validate(found.decoded_value)
        if form.answer == "yes":
            picked(batch.items, form.rows)
    except (ValueError, InvalidRequestError) as error:
        await client.delete_flow_run_input(found.flow_run_id, found.key)
        if isinstance(error, InvalidRequestError):
            raise
        problem = Problem("answer", "(not shown)", "yes or no, by the form", "approval")
        raise InvalidRequestError("The answer cannot be used; nothing was sent.", problems=[problem]) from None
    answer: Answer = form.answer if at < record.deadline else "overdue"
    facts = {"answer": answer, "rows": form.rows, "by": form.by, "note": form.note, "answered_at": at}
    return record.model_copy(update=facts)


async def _clear(client: PrefectClient, record: ApprovalRecord, key: str) -> None:
    """Remove the form that an earlier attempt has left: Prefect refuses to write it a second time."""
    for found in await _inputs(client, record, key):
        with suppress(ObjectNotFound):
            await client.delete_flow_run_input(found.flow_run_id, found.key)


async def _ask(record: ApprovalRecord, plan: Plan, key: str, trouble: InvalidRequestError | None) -> None:
    """Suspend the run, which ends this process, or pause it where it has no deployment to start it again."""
    run = flow_run()
    form = Approval.with_initial_data(description=question(record, plan, trouble))
    run_logger().info(
        "Waiting for an approval until %s UTC: `genvideo approve %s --yes` or `--no`, or Resume in the UI's run menu.",
        f"{record.deadline:%Y-%m-%d %H:%M}",
        record.flow_run_id,
    )
    if run is not None and run.deployment_id is not None and run.parent_task_run_id is None:
        # No time-out of Prefect's: it would fail the run. `end_overdue` cancels it, and so does a late answer.
        suspending: Any = suspend_flow_run(wait_for_input=form, key=key)
        await suspending
        return
    left = (record.deadline - datetime.now(timezone.utc)).total_seconds()
    try:
        with anyio.move_on_after(max(left, 0.0)):
            pausing: Any = pause_flow_run(
                wait_for_input=form, timeout=int(left) + _MARGIN, poll_interval=_LOOK_EVERY, key=key
            )
            await pausing
    except FlowPauseTimeout:
        return


async def end_overdue(store: ObjectStore) -> int:
    """Cancel the runs that nobody has approved in time, and return how many. Called by reconciling.

    Raises:
        DestinationError: The store failed.
    """
    ended = 0
    async for record in overdue(store):
        late = record.model_copy(update={"answer": "overdue", "answered_at": datetime.now(timezone.utc)})
        async with get_client() as client:
            try:
                run = await client.read_flow_run(UUID(record.flow_run_id))
            except (ObjectNotFound, ValueError):
                run = None
            if run is not None and run.state is not None and run.state.is_paused():
                await client.set_flow_run_state(run.id, Cancelled(message=_why_not(late)))
                ended += 1
        await settle_approval(store, late)
    return ended
