"""The run that we are in: its ids, and the idempotency keys that are derived from it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import lru_cache
from threading import Lock
from uuid import UUID, uuid4

from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext, TaskRunContext

from prefect_genvideo.pipeline.hooks import RunIds

_Attempts = tuple[tuple[str, int], ...]
_Slot = tuple[str, int]


@dataclass
class _Numbers:
    """What one flow run has numbered so far.

    Attributes:
        calls: Task runs by scope, in the order in which they asked.
        taken: By fingerprint: who holds each number.
    """

    calls: dict[tuple[str, ...], list[str | None]] = field(default_factory=dict[tuple[str, ...], "list[str | None]"])
    taken: dict[str, list[tuple[_Slot, _Attempts]]] = field(default_factory=dict[str, "list[tuple[_Slot, _Attempts]]"])

    def index(self, scope: tuple[str, ...], task_id: str | None) -> int:
        """Number the calls of a scope from 0; a retried task run keeps its number."""
        calls = self.calls.setdefault(scope, [])
        if task_id is not None and task_id in calls:
            return calls.index(task_id)
        calls.append(task_id)
        return len(calls) - 1

    def number(self, fingerprint: str, slot: _Slot, attempts: _Attempts) -> int:
        """A slot's number: the one it has, else one left by an earlier attempt of a run above it, else a new one."""
        taken = self.taken.setdefault(fingerprint, [])
        held = next((number for number, (other, _) in enumerate(taken) if other == slot), None)
        now = dict(attempts)
        if held is None:
            left = (n for n, (_, then) in enumerate(taken) if any(now.get(run, 0) > attempt for run, attempt in then))
            held = next(left, len(taken))
        taken[held : held + 1] = [(slot, attempts)]
        return held


# A served or long-lived process sees any number of runs. A run that is forgotten while it still goes on gives its next
# requests numbers from 0 again: it takes up what it has paid for, which is the safe side.
@lru_cache(maxsize=512)
def _numbers_of(root: str) -> _Numbers:
    del root
    return _Numbers()


# Tasks that a flow submits run in threads of their own; two of them with one number would share one video.
_numbering = Lock()

# What the API said of the runs above a subflow, by the subflow's id, with its attempt; asking costs requests.
_ancestors: dict[UUID, tuple[int, tuple[str, _Attempts]]] = {}
_MAX_ANCESTORS = 512


def run_ids() -> RunIds:
    """The flow and task run we are in."""
    context = FlowRunContext.get()
    return RunIds(flow_run_id(), task_run_id(), context.flow.name if context is not None and context.flow else None)


def flow_run() -> FlowRun | None:
    """The flow run whose code we are in; None in a task that runs elsewhere."""
    context = FlowRunContext.get()
    return context.flow_run if context is not None else None


def flow_run_id() -> str | None:
    """Id of the flow run we are in, if any."""
    run, task = flow_run(), TaskRunContext.get()
    inherited = run.id if run is not None else task.task_run.flow_run_id if task is not None else None
    return str(inherited) if inherited else None


def flow_run_of_process() -> str | None:
    """Id of the flow run that a worker started this process for; None in a process that a person started."""
    return os.environ.get("PREFECT__FLOW_RUN_ID")


def flow_attempt() -> str | None:
    """Id of the flow run we are in and which attempt at it this is, if any."""
    run, run_id = flow_run(), flow_run_id()
    return f"{run_id}-{run.run_count if run is not None else 0}" if run_id else None


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
    run, task = flow_run(), task_run_id()
    if run is None:
        owner = flow_run_id() or task or str(uuid4())
        with _numbering:
            return f"task-{owner}-{fingerprint[:8]}-{_numbers_of(owner).index((fingerprint,), task)}"
    root, attempts = await _ancestry(run)
    with _numbering:
        numbers = _numbers_of(root)
        slot = (str(run.id), numbers.index((str(run.id), str(run.run_count), fingerprint), task))
        return f"run-{root}-{fingerprint[:8]}-{numbers.number(fingerprint, slot, attempts)}"


async def is_first_attempt() -> bool:
    """Whether no flow run that we are in has been tried before, so that keys derived here cannot be held yet."""
    run = flow_run()
    if run is None:
        return False
    _, attempts = await _ancestry(run)
    return max([run.run_count, *(count for _, count in attempts)]) <= 1


async def _ancestry(run: FlowRun) -> tuple[str, _Attempts]:
    """The flow run that everything began with, and the attempts of the runs between it and `run`."""
    if run.parent_task_run_id is None or run.deployment_id is not None:
        return str(run.id), ()
    known = _ancestors.get(run.id)
    if known is None or known[0] != run.run_count:
        known = _ancestors[run.id] = (run.run_count, await _climb(run))
        while len(_ancestors) > _MAX_ANCESTORS:
            _ancestors.pop(next(iter(_ancestors)), None)
    return known[1]


async def _climb(run: FlowRun) -> tuple[str, _Attempts]:
    top, attempts = run, list[tuple[str, int]]()
    async with get_client() as client:
        while top.parent_task_run_id is not None and top.deployment_id is None:
            parent = await client.read_task_run(top.parent_task_run_id)
            if parent.flow_run_id is None:
                break
            top = await client.read_flow_run(parent.flow_run_id)
            attempts.append((str(top.id), top.run_count))
    return str(top.id), tuple(attempts)
