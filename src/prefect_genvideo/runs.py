"""What a flow run is to the ledger: keys that survive retries, reruns and crashes of the run."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext, TaskRunContext

_Attempts = tuple[tuple[str, int], ...]
_Lineage = tuple[str, _Attempts]
_Slot = tuple[str, int]
# Kept for the life of the process; a worker starts a process per flow run, so they stay small.
_lineages: dict[tuple[UUID, int], _Lineage] = {}
_calls: dict[tuple[Any, ...], list[Any]] = {}
_numbers: dict[tuple[str, str], list[tuple[_Slot, _Attempts]]] = {}


def flow_run_id() -> str | None:
    """Id of the flow run we are in, if any."""
    flow, task = FlowRunContext.get(), TaskRunContext.get()
    if flow is not None and flow.flow_run is not None:
        return str(flow.flow_run.id)
    inherited = task.task_run.flow_run_id if task is not None else None
    return str(inherited) if inherited else None


def flow_attempt() -> str | None:
    """Id of the flow run we are in and which attempt at it this is, if any."""
    flow, run = FlowRunContext.get(), flow_run_id()
    attempt = flow.flow_run.run_count if flow is not None and flow.flow_run is not None else 0
    return f"{run}-{attempt}" if run else None


def task_run_id() -> str | None:
    """Id of the task run we are in, if any."""
    task = TaskRunContext.get()
    return str(task.task_run.id) if task is not None else None


async def derive_key(fingerprint: str) -> str:
    """Return the idempotency key of the n-th request with this fingerprint in this flow run.

    The same code, run again for the same flow run (a retry by Prefect, the UI's button, a crashed worker), derives the
    same keys and so finds what was paid for. A new flow run derives new ones. Subflows count with the flow run that
    started them, since Prefect gives them new ids when the parent is retried; a run of a deployment stands for itself.
    Which of several equal requests is the n-th does not matter, so concurrency cannot mix them up.

    Args:
        fingerprint: SHA-256 (hex) of the request.

    Returns:
        `run-<flow run id>-<8 hex>-<n>`, or `task-<id>-…` outside of any flow run.
    """
    flow = FlowRunContext.get()
    if flow is None or flow.flow_run is None:
        owner = flow_run_id() or task_run_id() or str(uuid4())
        return f"task-{owner}-{fingerprint[:8]}-{_index((owner, fingerprint), task_run_id())}"
    run = flow.flow_run
    root, attempts = await _lineage(run)
    slot = (str(run.id), _index((run.id, run.run_count, fingerprint), task_run_id()))
    return f"run-{root}-{fingerprint[:8]}-{_number(_numbers.setdefault((root, fingerprint), []), slot, attempts)}"


def _number(taken: list[tuple[_Slot, _Attempts]], slot: _Slot, attempts: _Attempts) -> int:
    """Give a slot its number: the one it has, else one left by an earlier attempt of a run above it, else a new one."""
    held = next((number for number, (other, _) in enumerate(taken) if other == slot), None)
    now = dict(attempts)
    if held is None:
        left = (n for n, (_, then) in enumerate(taken) if any(now.get(run, 0) > attempt for run, attempt in then))
        held = next(left, len(taken))
    taken[held : held + 1] = [(slot, attempts)]
    return held


def _index(scope: tuple[Any, ...], task_id: str | None) -> int:
    """Number the calls of a scope from 0; a retried task run keeps its number."""
    calls = _calls.setdefault(scope, [])
    if task_id is not None and task_id in calls:
        return calls.index(task_id)
    calls.append(task_id)
    return len(calls) - 1


async def _lineage(run: FlowRun) -> _Lineage:
    """The flow run that everything began with, and the attempts of the runs between it and `run`."""
    known = _lineages.get((run.id, run.run_count))
    if known is not None:
        return known
    top, attempts = run, list[tuple[str, int]]()
    if run.parent_task_run_id is not None and run.deployment_id is None:
        async with get_client() as client:
            while top.parent_task_run_id is not None and top.deployment_id is None:
                parent = await client.read_task_run(top.parent_task_run_id)
                if parent.flow_run_id is None:
                    break
                top = await client.read_flow_run(parent.flow_run_id)
                attempts.append((str(top.id), top.run_count))
    lineage = str(top.id), tuple(attempts)
    _lineages[(run.id, run.run_count)] = lineage
    return lineage
