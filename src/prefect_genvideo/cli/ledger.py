"""`genvideo ledger …`: see what was paid for, and decide what a machine must not decide."""

from __future__ import annotations

from typing import Any, get_args

from cyclopts import App

from prefect_genvideo.cli.console import WORDS, Output, Rows, complain, give, run, say, say_json
from prefect_genvideo.cli.targets import credentials_from, destination_from
from prefect_genvideo.errors import GenVideoError, InvalidRequestError, shorten
from prefect_genvideo.ledger import decisions
from prefect_genvideo.ledger.listing import every_record, unfinished
from prefect_genvideo.ledger.record import SETTLED, LedgerRecord, LedgerState
from prefect_genvideo.ledger.store import FOLDER, Ledger
from prefect_genvideo.models import Problem

_WORDS: dict[LedgerState, str] = {
    "intent": "intent: being sent, or cut off while it was",
    "submitted": "submitted: paid, on its way",
    "succeeded": "succeeded: paid, ready to be fetched",
    "saved": "saved",
    "rejected": "rejected: nothing was made, the key is free",
    "failed": "failed: the provider ended it without a video",
    "unknown": "unknown: a person decides",
}
# Columns of a narrow terminal, less the indent.
_WIDTH = 76

ledger_app = App(name="ledger", help="The record of every paid generation, beside the videos.")


async def _open(at: str) -> Ledger:
    from prefect_genvideo.blocks import VideoDestination
    from prefect_genvideo.blocks.session import resolve

    target = await resolve(destination_from(at), VideoDestination, "at")
    ledger = target.get_ledger(say=_warn)
    async for _ in ledger.store.list(f"{FOLDER}/"):
        return ledger
    place = ledger.store.uri("")
    problem = Problem("at", place, "a destination into which something was made", "genvideo ledger")
    raise InvalidRequestError(f"There is no ledger at {place}.", problems=[problem])


def _warn(message: str) -> None:
    complain(message, "yellow")


def _facts(record: LedgerRecord) -> dict[str, Any]:
    return record.model_dump(mode="json", exclude_none=True)


def _card(record: LedgerRecord) -> str:
    """A record in lines that fit 80 columns but for what must not be cut: keys, task ids and places are copied."""
    prompt = shorten(str(record.request.get("prompt") or ""), _WIDTH)
    spent = record.money.spent if record.money else None
    cost = str(spent) if spent else "unknown" if record.cost is None else f"{record.cost:,.10g}"
    facts = f"{record.model} · {record.updated_at:%Y-%m-%d %H:%M} UTC · cost {cost}"
    # In one line each: others' texts must not look like lines of ours.
    detail = record.stored.uri if record.stored else shorten(record.reason or "", 1000)
    lines = (prompt, facts, f"task {shorten(record.task_id, 1024)}" if record.task_id else "", detail)
    return "\n  ".join([f"{record.key}  {_WORDS[record.state]}", *filter(None, lines)])


@ledger_app.command(name="list")
def list_records(
    *, at: str, state: LedgerState | None = None, everything: bool = False, output: Output = WORDS
) -> None:
    """List records: those that are unfinished, or all.

    Args:
        at: Destination: s3://bucket/prefix, a folder, or a saved block as block-type-slug/name.
        state: Only records in this state (looks through all of them).
        everything: Finished ones too.
        output: How to speak.
    """
    run(_list(at, state, everything), output)


def _wanted(state: str | None, everything: bool) -> frozenset[str]:
    """States to list. What has ended is read with the unfinished while its cost may change: no work for a person."""
    if state is not None:
        return frozenset({state})
    return frozenset(get_args(LedgerState)) - (frozenset[str]() if everything else SETTLED)


async def _list(at: str, state: str | None, everything: bool) -> None:
    ledger = await _open(at)
    counts: dict[str, int] = dict.fromkeys(get_args(LedgerState), 0)
    wanted, all_of_them = _wanted(state, everything), state is not None or everything
    async for entry in (every_record if all_of_them else unfinished)(ledger):
        if isinstance(entry, GenVideoError):
            complain(entry)
            continue
        record = entry.record
        if record.state not in wanted:
            continue
        counts[record.state] += 1
        give(_card(record), _facts(record))
    nothing = "no records" if all_of_them else "nothing is unfinished; --everything lists the rest"
    say(", ".join(f"{count} {name}" for name, count in counts.items() if count) or nothing)


@ledger_app.command
def show(key: str, /, *, at: str, output: Output = WORDS) -> None:
    """Print one record as JSON.

    Args:
        key: Idempotency key.
        at: Destination, as for `list`.
        output: How to speak.
    """

    async def work() -> None:
        entry = await (await _open(at)).existing(key)
        say_json(_facts(entry.record), indent=None if output.json else 2)

    run(work(), output)


@ledger_app.command
def adopt(key: str, task_id: str, /, *, at: str, force: bool = False, output: Output = WORDS) -> None:
    """Tie a task found at the provider to a key; the next run or reconcile fetches its video.

    Args:
        key: Idempotency key.
        task_id: The provider's id of the task.
        at: Destination, as for `list`.
        force: Also when the key has another paid task, which is given up.
        output: How to speak.
    """

    async def work() -> None:
        entry = await decisions.adopt(await _open(at), key, task_id, force=force)
        told = f"{key} is {entry.record.state} with task {task_id}; run `genvideo ledger reconcile` to fetch it."
        give(told, _facts(entry.record))

    run(work(), output)


@ledger_app.command
def release(key: str, /, *, at: str, force: bool = False, output: Output = WORDS) -> None:
    """Free a key, so that the next run may create and pay again.

    Args:
        key: Idempotency key.
        at: Destination, as for `list`.
        force: Also when it has a paid task, which is given up, or is being sent right now.
        output: How to speak.
    """

    async def work() -> None:
        await decisions.release(await _open(at), key, force=force)
        give(f"{key} is free; the next run with it creates, and pays, again.", {"key": key, "state": "rejected"})

    run(work(), output)


@ledger_app.command
def reconcile(*, at: str, provider: str, credentials: str | None = None, output: Output = WORDS) -> None:
    """Ask the provider about unfinished generations, save what is ready, report the rest.

    Args:
        at: Destination, as for `list`.
        provider: Name of the provider, see `genvideo providers`.
        credentials: Saved credentials block; else the key comes from the environment.
        output: How to speak.
    """

    async def work() -> None:
        from prefect_genvideo.blocks.session import open_pipeline
        from prefect_genvideo.pipeline.reconcile import reconcile as go_through

        async with open_pipeline(credentials_from(provider, credentials), destination_from(at)) as pipeline:
            report = await go_through(pipeline)
        table = Rows("key", "outcome", "model", "task id", "detail")
        for row in report.rows:
            facts = row.model_dump(mode="json", exclude_none=True)
            table.add(row.key, row.outcome, row.model, row.task_id or "", row.uri or row.detail, facts=facts)
        table.show()
        say(", ".join(f"{count} {outcome}" for outcome, count in report.counts.items()) or "nothing was left behind")

    run(work(), output)
