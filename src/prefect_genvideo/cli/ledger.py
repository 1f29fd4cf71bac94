"""`genvideo ledger …`: see what was paid for, and decide what a machine must not decide."""

from __future__ import annotations

from typing import Any, get_args

from cyclopts import App
from rich.table import Table

from prefect_genvideo.cli.console import (
    add_row,
    complain,
    credentials_from,
    destination_from,
    print_whole,
    run,
    say,
    say_json,
)
from prefect_genvideo.errors import GenVideoError
from prefect_genvideo.ledger import decisions
from prefect_genvideo.ledger.listing import every_record, unfinished
from prefect_genvideo.ledger.record import LedgerRecord, LedgerState
from prefect_genvideo.ledger.store import Ledger

ledger_app = App(name="ledger", help="The record of every paid generation, beside the videos.")


async def _open(at: str) -> Ledger:
    from prefect_genvideo.blocks import VideoDestination
    from prefect_genvideo.blocks.session import resolve

    target = await resolve(destination_from(at), VideoDestination, "at")
    return target.get_ledger(say=_warn)


def _warn(message: str) -> None:
    complain(message, "yellow")


def _facts(record: LedgerRecord) -> dict[str, Any]:
    return record.model_dump(mode="json", exclude_none=True)


def _cells(record: LedgerRecord) -> tuple[str, ...]:
    detail = record.stored.uri if record.stored else record.reason or ""
    cost = "unknown" if record.cost is None else f"{record.cost:g}"
    updated = f"{record.updated_at:%m-%d %H:%M}"
    return record.key, record.state, record.model, record.task_id or "", updated, cost, detail


@ledger_app.command(name="list")
def list_records(*, at: str, state: LedgerState | None = None, everything: bool = False, json_: bool = False) -> None:
    """List records: those that are unfinished, or all.

    Args:
        at: Destination: s3://bucket/prefix, a folder, or a saved block as block-type-slug/name.
        state: Only records in this state (looks through all of them).
        everything: Finished ones too.
        json_: One JSON object a line instead of a table.
    """
    run(_list(at, state, everything, json_))


async def _list(at: str, state: str | None, everything: bool, as_json: bool) -> None:
    ledger = await _open(at)
    table = Table("key", "state", "model", "task id", "updated (UTC)", "cost", "detail", box=None)
    counts: dict[str, int] = dict.fromkeys(get_args(LedgerState), 0)
    async for entry in (every_record if everything or state is not None else unfinished)(ledger):
        if isinstance(entry, GenVideoError):
            complain(entry)
            continue
        record = entry.record
        if state is not None and record.state != state:
            continue
        counts[record.state] += 1
        if as_json:
            say_json(_facts(record))
            continue
        add_row(table, *_cells(record))
    if not as_json:
        print_whole(table)
        say(", ".join(f"{count} {name}" for name, count in counts.items() if count) or "no records")


@ledger_app.command
def show(key: str, /, *, at: str) -> None:
    """Print one record as JSON.

    Args:
        key: Idempotency key.
        at: Destination, as for `list`.
    """

    async def work() -> None:
        entry = await (await _open(at)).existing(key)
        say_json(_facts(entry.record), indent=2)

    run(work())


@ledger_app.command
def adopt(key: str, task_id: str, /, *, at: str, force: bool = False) -> None:
    """Tie a task found at the provider to a key; the next run or reconcile fetches its video.

    Args:
        key: Idempotency key.
        task_id: The provider's id of the task.
        at: Destination, as for `list`.
        force: Also when the key has another paid task, which is given up.
    """

    async def work() -> None:
        entry = await decisions.adopt(await _open(at), key, task_id, force=force)
        say(f"{key} is {entry.record.state} with task {task_id}; run `genvideo ledger reconcile` to fetch it.")

    run(work())


@ledger_app.command
def release(key: str, /, *, at: str, force: bool = False) -> None:
    """Free a key, so that the next run may create and pay again.

    Args:
        key: Idempotency key.
        at: Destination, as for `list`.
        force: Also when it has a paid task, which is given up, or is being sent right now.
    """

    async def work() -> None:
        await decisions.release(await _open(at), key, force=force)
        say(f"{key} is free; the next run with it creates, and pays, again.")

    run(work())


@ledger_app.command
def reconcile(*, at: str, provider: str, credentials: str | None = None, json_: bool = False) -> None:
    """Ask the provider about unfinished generations, save what is ready, report the rest.

    Args:
        at: Destination, as for `list`.
        provider: Name of the provider, see `genvideo providers`.
        credentials: Saved credentials block; else the key comes from the environment.
        json_: One JSON object a line instead of a table.
    """

    async def work() -> None:
        from prefect_genvideo.blocks.session import open_pipeline
        from prefect_genvideo.pipeline.reconcile import reconcile as go_through

        async with open_pipeline(credentials_from(provider, credentials), destination_from(at)) as pipeline:
            report = await go_through(pipeline)
        table = Table("key", "outcome", "model", "task id", "detail", box=None)
        for row in report.rows:
            if json_:
                say_json(row.model_dump(mode="json", exclude_none=True))
            add_row(table, row.key, row.outcome, row.model, row.task_id or "", row.uri or row.detail)
        if not json_:
            print_whole(table)
            say(str(report.counts or "nothing was left behind"))

    run(work())
