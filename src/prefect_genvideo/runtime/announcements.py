"""Events of Prefect that automations react to."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import asdict

from prefect.events import emit_event

from prefect_genvideo.errors import shorten, shown
from prefect_genvideo.ledger.budget import Reached
from prefect_genvideo.ledger.record import LedgerRecord
from prefect_genvideo.pipeline.hooks import Announce, Event
from prefect_genvideo.runtime.logs import run_logger
from prefect_genvideo.runtime.runs import flow_run_id

_observers: list[Announce] = []


@contextmanager
def observed(observer: Announce) -> Generator[None]:
    """Have `observer` called in this process for every event of a generation, before it is emitted."""
    _observers.append(observer)
    try:
        yield
    finally:
        _observers.remove(observer)


# Followed by another event in a moment, so of use to those who watch and to nobody else.
_BETWEEN: Event = "video.saving"
# Characters of a prompt in an event.
_LONGEST_PROMPT = 300


def announce(event: Event, record: LedgerRecord) -> None:
    """Emit `genvideo.<event>` for automations, but `video.saving`, which observers alone are told.

    Args:
        event: What happened.
        record: To which generation.

    Resource ids: `genvideo.generation.<provider>.<task id>` (before there is a task id: `genvideo.key.<key>`), or
    `genvideo.video.<provider>.<task id>` for `genvideo.video.saved`.
    """
    for observer in _observers:
        observer(event, record)
    if event == _BETWEEN:
        return
    family = event.partition(".")[0]
    name = f"{family}.{record.provider}.{record.task_id}" if record.task_id else f"key.{record.key}"
    facts = record.model_dump(
        mode="json",
        exclude_none=True,
        include={"key", "state", "provider", "model", "account", "task_id", "reason", "seconds", "resolution", "cost"},
    )
    prompt = record.request.get("prompt")
    if isinstance(prompt, str) and prompt:
        # A stranger's text: bounded and printable, and whoever uses it in an automation must treat it as such.
        facts["prompt"] = shorten(prompt, _LONGEST_PROMPT)
    if record.stored is not None:
        facts |= {"uri": record.stored.uri, "manifest_uri": record.stored.manifest_uri, "size": record.stored.size}
    emit_event(
        event=f"genvideo.{event}",
        resource={
            "prefect.resource.id": f"genvideo.{name}",
            "prefect.resource.name": record.key,
            "genvideo.provider": record.provider,
            "genvideo.model": record.model,
            "genvideo.key": record.key,
        },
        related=_flow_run(flow_run_id() or record.flow_run_id),
        payload=facts,
    )


def announce_budget(reached: Reached) -> None:
    """Warn in the run's log, and emit `genvideo.budget.reached` for automations.

    Args:
        reached: Which cap, and how far.

    Resource id: `genvideo.budget.<account>.<cap>`; with `genvideo.label` where the cap is of a tag or cost center.
    """
    when = f" of {reached.period}" if reached.period else " of this run"
    whose = f" for {shown(reached.label)}" if reached.label else ""
    run_logger().warning("Budget %s%s%s: %s of %s is spent.", reached.cap, whose, when, reached.spent, reached.limit)
    emit_event(
        event="genvideo.budget.reached",
        resource={
            "prefect.resource.id": f"genvideo.budget.{reached.account}.{reached.cap}",
            "genvideo.provider": reached.provider,
            **({"genvideo.label": reached.label} if reached.label else {}),
        },
        related=_flow_run(flow_run_id()),
        payload=asdict(reached),
    )


def _flow_run(run: str | None) -> list[dict[str, str]]:
    return [{"prefect.resource.id": f"prefect.flow-run.{run}", "prefect.resource.role": "flow-run"}] if run else []
