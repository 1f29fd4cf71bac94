"""What the pipeline takes from Prefect: keys of runs, account limits, settings, logs, events, cancellation notices."""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any, ClassVar
from uuid import UUID, uuid4

import anyio
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.client.schemas.objects import FlowRun
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError, concurrency
from prefect.context import FlowRunContext, TaskRunContext
from prefect.events import emit_event
from prefect.exceptions import MissingContextError, ObjectAlreadyExists, ObjectNotFound, TerminationSignal
from prefect.logging import get_logger, get_run_logger
from prefect.logging.handlers import APILogHandler
from prefect.settings.base import PrefectBaseSettings, build_settings_config
from pydantic_settings import SettingsConfigDict

from prefect_genvideo.errors import GenVideoError, InvalidRequestError, printable, shorten
from prefect_genvideo.ledger.budget import Reached
from prefect_genvideo.ledger.record import LedgerRecord
from prefect_genvideo.models import Problem
from prefect_genvideo.pipeline.hooks import Event, RunIds
from prefect_genvideo.pipeline.pipeline import Pipeline
from prefect_genvideo.settings import GenVideoSettings

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


# What the API said of the runs above a subflow, by the subflow's id, with its attempt; asking costs requests.
_ancestors: dict[UUID, tuple[int, tuple[str, _Attempts]]] = {}
_MAX_ANCESTORS = 512


def run_ids() -> RunIds:
    """The flow and task run we are in."""
    context = FlowRunContext.get()
    return RunIds(flow_run_id(), task_run_id(), context.flow.name if context is not None and context.flow else None)


def flow_run_id() -> str | None:
    """Id of the flow run we are in, if any."""
    flow, task = FlowRunContext.get(), TaskRunContext.get()
    if flow is not None and flow.flow_run is not None:
        return str(flow.flow_run.id)
    inherited = task.task_run.flow_run_id if task is not None else None
    return str(inherited) if inherited else None


def flow_run_of_process() -> str | None:
    """Id of the flow run that a worker started this process for; None in a process that a person started."""
    return os.environ.get("PREFECT__FLOW_RUN_ID")


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
    flow, task = FlowRunContext.get(), task_run_id()
    if flow is None or flow.flow_run is None:
        owner = flow_run_id() or task or str(uuid4())
        return f"task-{owner}-{fingerprint[:8]}-{_numbers_of(owner).index((fingerprint,), task)}"
    run = flow.flow_run
    root, attempts = await _lineage(run)
    numbers = _numbers_of(root)
    slot = (str(run.id), numbers.index((str(run.id), str(run.run_count), fingerprint), task))
    return f"run-{root}-{fingerprint[:8]}-{numbers.number(fingerprint, slot, attempts)}"


async def is_first_attempt() -> bool:
    """Whether no flow run that we are in has been tried before, so that keys derived here cannot be held yet."""
    flow = FlowRunContext.get()
    if flow is None or flow.flow_run is None:
        return False
    _, attempts = await _lineage(flow.flow_run)
    return max(count for _, count in (("", flow.flow_run.run_count), *attempts)) <= 1


async def _lineage(run: FlowRun) -> tuple[str, _Attempts]:
    """The flow run that everything began with, and the attempts of the runs between it and `run`."""
    if run.parent_task_run_id is None or run.deployment_id is not None:
        return str(run.id), ()
    known = _ancestors.get(run.id)
    if known is None or known[0] != run.run_count:
        known = _ancestors[run.id] = (run.run_count, await _climb(run))
        while len(_ancestors) > _MAX_ANCESTORS:
            del _ancestors[next(iter(_ancestors))]
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


LEASE = 60.0
"""Seconds after which the slot of a killed holder is free again; the shortest that Prefect allows."""


def limit_name(pipeline: Pipeline) -> str:
    """Name of the account's global concurrency limit, e.g. `genvideo-sudashui-0123456789abcdef`."""
    return f"genvideo-{pipeline.client.name}-{pipeline.client.account}"


async def ensure_limit(pipeline: Pipeline, slots: int) -> None:
    """Create the account's limit when it is missing. An existing one is the operator's and is left as it is.

    Args:
        pipeline: Whose account.
        slots: Generations under way at most, over all runs and workers; 0 asks for an existing limit.

    Raises:
        InvalidRequestError: There is no limit and `slots` gives none to create.
    """
    name = limit_name(pipeline)
    async with get_client() as client:
        try:
            await client.read_global_concurrency_limit_by_name(name)
        except ObjectNotFound:
            if slots < 1:
                limit = f"1 or more, or create the limit: prefect gcl create {name} --limit N"
                problem = Problem("account_slots", str(slots), limit)
                raise InvalidRequestError("The account has no concurrency limit.", problems=[problem]) from None
            # Another run may be creating it at the same moment; whose number counts does not matter, one limit does.
            with suppress(ObjectAlreadyExists):
                await client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=slots))


@asynccontextmanager
async def account_slot(pipeline: Pipeline) -> AsyncGenerator[None]:
    """Hold one of the account's slots. A killed holder's slot comes back after `LEASE` seconds.

    A slot that is lost while Prefect's server is away does not end the generation, which is paid for; for a while there
    may then be one more under way than the limit says.

    Raises:
        GenVideoError: Prefect's server gives none; retryable, nothing was sent.
    """
    name = limit_name(pipeline)
    slot = concurrency(name, occupy=1, lease_duration=LEASE, strict=True, raise_on_lease_renewal_failure=False)
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(slot)
        except ConcurrencySlotAcquisitionError as error:
            raise GenVideoError(
                f"No slot of the concurrency limit {name} was to be had; nothing was sent. {error}",
                retryable=True,
                provider=pipeline.client.name,
                reason="no slot",
            ) from None
        yield


# Seconds that the last words may take on their way to the API; workers kill 30 s after SIGTERM.
_LAST_WORDS = 5.0


@asynccontextmanager
async def cancellation_notice(
    *pipelines: Pipeline, task_id: str | None = None, key: str | None = None
) -> AsyncGenerator[None]:
    """Log, when the run is cancelled, what goes on without it and how its videos are fetched later.

    Args:
        pipelines: Accounts and destination.
        task_id: The one task that is under way; None for whatever was sent.
        key: The idempotency key of that task.
    """
    try:
        yield
    except (asyncio.CancelledError, TerminationSignal):  # Prefect raises its own in whatever code SIGTERM meets
        what = f"Task {task_id} goes" if task_id else "Generations that were sent go"
        again = f"run again with idempotency key {key!r}" if key else "retry this run"
        for pipeline in pipelines:
            run_logger().warning(
                "Cancelled. %s on at %s, paid for. To fetch what becomes of it: %s, or "
                "`genvideo ledger reconcile --at %s --provider %s`.",
                what,
                pipeline.client.title,
                again,
                shlex.quote(pipeline.ledger.store.place),
                pipeline.client.name,
            )
        with anyio.CancelScope(shield=True), anyio.move_on_after(_LAST_WORDS):
            # The process may end by the signal itself, and what is still queued would end with it.
            await APILogHandler.aflush()
        raise


class _PrefectSettings(PrefectBaseSettings, GenVideoSettings):
    """The settings where Prefect's own are: environment, profile and `prefect.toml`."""

    # Both bases declare it, each with the type of its own kind of model.
    model_config: ClassVar[SettingsConfigDict] = build_settings_config(("integrations", "genvideo"))  # pyright: ignore[reportIncompatibleVariableOverride]


def get_settings() -> GenVideoSettings:
    """Return the settings as environment, profile and `prefect.toml` have them now."""
    return _PrefectSettings()


def run_logger() -> logging.Logger | logging.LoggerAdapter[Any]:
    """The run's logger, shown in the UI; the package's own outside of runs."""
    try:
        return get_run_logger()
    except MissingContextError:
        return get_logger("genvideo")


Observer = Callable[[Event, LedgerRecord], None]
_observers: list[Observer] = []


@contextmanager
def observed(observer: Observer) -> Generator[None]:
    """Have `observer` called in this process for every event of a generation, before it is emitted."""
    _observers.append(observer)
    try:
        yield
    finally:
        _observers.remove(observer)


# Characters of a prompt in an event.
_LONGEST_PROMPT = 300


def announce(event: Event, record: LedgerRecord) -> None:
    """Emit `genvideo.<event>` for automations.

    Args:
        event: What happened.
        record: To which generation.

    Resource ids: `genvideo.generation.<provider>.<task id>` (before there is a task id: `genvideo.key.<key>`), or
    `genvideo.video.<provider>.<task id>` for `genvideo.video.saved`.
    """
    for observer in _observers:
        observer(event, record)
    family = event.partition(".")[0]
    name = f"{family}.{record.provider}.{record.task_id}" if record.task_id else f"key.{record.key}"
    run = flow_run_id() or record.flow_run_id
    facts = record.model_dump(
        mode="json",
        exclude_none=True,
        include={"key", "state", "provider", "model", "account", "task_id", "reason", "seconds", "resolution", "cost"},
    )
    prompt = record.request.get("prompt")
    if isinstance(prompt, str) and prompt:
        # A stranger's text: bounded and printable, and whoever uses it in an automation must treat it as such.
        facts["prompt"] = shorten(printable(prompt), _LONGEST_PROMPT)
    if record.stored is not None:
        facts |= {"uri": record.stored.uri, "manifest_uri": record.stored.manifest_uri, "size": record.stored.size}
    related = [{"prefect.resource.id": f"prefect.flow-run.{run}", "prefect.resource.role": "flow-run"}]
    emit_event(
        event=f"genvideo.{event}",
        resource={
            "prefect.resource.id": f"genvideo.{name}",
            "prefect.resource.name": record.key,
            "genvideo.provider": record.provider,
            "genvideo.model": record.model,
            "genvideo.key": record.key,
        },
        related=related if run else [],
        payload=facts,
    )


def announce_budget(reached: Reached) -> None:
    """Warn in the run's log, and emit `genvideo.budget.reached` for automations.

    Args:
        reached: Which cap, and how far.

    Resource id: `genvideo.budget.<account>.<cap>`.
    """
    when = f" of {reached.period}" if reached.period else " of this run"
    run_logger().warning("Budget %s%s: %s of %s is spent.", reached.cap, when, reached.spent, reached.limit)
    run = flow_run_id()
    emit_event(
        event="genvideo.budget.reached",
        resource={
            "prefect.resource.id": f"genvideo.budget.{reached.account}.{reached.cap}",
            "genvideo.provider": reached.provider,
        },
        related=[{"prefect.resource.id": f"prefect.flow-run.{run}", "prefect.resource.role": "flow-run"}]
        if run
        else [],
        payload=asdict(reached),
    )


def say(message: str) -> None:
    """Log a message for people to the run we are in; a task that shares its flow's pipeline speaks for itself."""
    run_logger().info(message)


def warn(message: str) -> None:
    """Log a warning to the run we are in."""
    run_logger().warning(message)


class _StackFilter(logging.Filter):
    """Takes the stack from Prefect's log of an error of the tree, whose message says what to do; not at DEBUG."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, GenVideoError) and not logging.getLogger(record.name).isEnabledFor(logging.DEBUG):
            record.exc_info = record.exc_text = None
        return True


for _name in ("prefect.flow_runs", "prefect.task_runs"):
    logging.getLogger(_name).addFilter(_StackFilter())
