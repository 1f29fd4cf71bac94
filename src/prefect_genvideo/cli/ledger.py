"""`genvideo ledger …`: see what was paid for, and decide what a machine must not decide."""

from __future__ import annotations

from functools import partial
from typing import Any, get_args

from cyclopts import App

from prefect_genvideo.cli.console import (
    command,
    complain,
    give,
    is_json,
    link_facts,
    link_line,
    links_of,
    say,
    say_json,
)
from prefect_genvideo.cli.targets import credentials_from, destination_from
from prefect_genvideo.errors import GenVideoError, InvalidRequestError, shorten
from prefect_genvideo.ledger import decisions
from prefect_genvideo.ledger.listing import every_record, unfinished
from prefect_genvideo.ledger.record import SETTLED, LedgerRecord, LedgerState
from prefect_genvideo.ledger.store import FOLDER, Ledger
from prefect_genvideo.models import Problem
from prefect_genvideo.pipeline.play import PlayLink, PlayLinks

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


async def _opened(at: str) -> tuple[Ledger, PlayLinks]:
    """The ledger of a destination, and how links to its videos are made."""
    from prefect_genvideo.blocks import VideoDestination
    from prefect_genvideo.blocks.session import resolve

    target = await resolve(destination_from(at), VideoDestination, "at")
    ledger = target.get_ledger(say=partial(complain, style="yellow"))
    async for _ in ledger.store.list(f"{FOLDER}/"):
        return ledger, target.get_links()
    place = ledger.store.uri("")
    problem = Problem("at", place, "a destination into which something was made", "genvideo ledger")
    raise InvalidRequestError(f"There is no ledger at {place}.", problems=[problem])


def _facts(record: LedgerRecord) -> dict[str, Any]:
    return record.model_dump(mode="json", exclude_none=True)


def _card(record: LedgerRecord, link: PlayLink | None = None) -> str:
    """A record in lines that fit 80 columns but for what must not be cut: keys, ids, places and links are copied."""
    prompt = shorten(str(record.request.get("prompt") or ""), _WIDTH)
    spent = record.money.spent if record.money else None
    cost = str(spent) if spent else "unknown" if record.cost is None else f"{record.cost:,.10g}"
    facts = f"{record.model} · {record.updated_at:%Y-%m-%d %H:%M} UTC · cost {cost}"
    # In one line each: others' texts must not look like lines of ours.
    detail = record.stored.uri if record.stored else shorten(record.reason or "", 1000)
    task = f"task {shorten(record.task_id, 1024)}" if record.task_id else ""
    lines = (prompt, facts, task, detail, link_line(link))
    return "\n  ".join([f"{record.key}  {_WORDS[record.state]}", *filter(None, lines)])


def _wanted(state: str | None, everything: bool) -> frozenset[str]:
    """States to list. What has ended is read with the unfinished while its cost may change: no work for a person."""
    if state is not None:
        return frozenset({state})
    return frozenset(get_args(LedgerState)) - (frozenset[str]() if everything else SETTLED)


@ledger_app.command(name="list")
@command
async def list_records(*, at: str, state: LedgerState | None = None, everything: bool = False) -> None:
    """List records: those that are unfinished, or all.

    Args:
        at: Destination: s3://bucket/prefix, a folder, or a saved block as block-type-slug/name.
        state: Only records in this state (looks through all of them).
        everything: Finished ones too.
    """
    ledger, links = await _opened(at)
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
        # Hundreds of links that are secrets and three lines long help nobody: `ledger link` gives one.
        [link] = await links.to(ledger.store, [record.stored]) if links.lasting else [None]
        give(_card(record, link), _facts(record) | link_facts(link))
    nothing = "no records" if all_of_them else "nothing is unfinished; --everything lists the rest"
    say(", ".join(f"{count} {name}" for name, count in counts.items() if count) or nothing)


@ledger_app.command
@command
async def show(key: str, /, *, at: str) -> None:
    """Print one record as JSON.

    Args:
        key: Idempotency key.
        at: Destination, as for `list`.
    """
    ledger, links = await _opened(at)
    record = (await ledger.existing(key)).record
    [link] = await links_of(links, ledger.store, [record.stored])
    say_json(_facts(record) | link_facts(link), indent=None if is_json() else 2)


@ledger_app.command(name="link")
@command
async def show_link(key: str, /, *, at: str) -> None:
    """Print a link that plays the video of a key. A presigned one is a secret while it lives.

    Args:
        key: Idempotency key.
        at: Destination, as for `list`. Its field link says which kind, e.g. s3://bucket/prefix?link=presigned
    """
    ledger, links = await _opened(at)
    record = (await ledger.existing(key)).record
    if record.stored is None:
        problem = Problem("key", key, "of a saved video", "genvideo ledger link")
        raise InvalidRequestError(f"There is nothing to play: {_WORDS[record.state]}.", problems=[problem])
    [link] = await links_of(links, ledger.store, [record.stored], asked=True)
    if link is None:
        limit = "presigned, public, or with a link_template, e.g. s3://bucket/prefix?link=presigned"
        problem = Problem("link", links.kind, limit, "genvideo ledger link")
        raise InvalidRequestError("The destination has no links of this kind.", problems=[problem])
    if link.hours:
        complain(f"It plays for {link.hours:g} h, for whoever has it.", "yellow")
    give(link.url, {"key": key} | link_facts(link))


@ledger_app.command
@command
async def adopt(key: str, task_id: str, /, *, at: str, force: bool = False) -> None:
    """Tie a task found at the provider to a key; the next run or reconcile fetches its video.

    Args:
        key: Idempotency key.
        task_id: The provider's id of the task.
        at: Destination, as for `list`.
        force: Also when the key has another paid task, which is given up.
    """
    ledger, _ = await _opened(at)
    entry = await decisions.adopt(ledger, key, task_id, force=force)
    told = f"{key} is {entry.record.state} with task {task_id}; run `genvideo ledger reconcile` to fetch it."
    give(told, _facts(entry.record))


@ledger_app.command
@command
async def release(key: str, /, *, at: str, force: bool = False) -> None:
    """Free a key, so that the next run may create and pay again.

    Args:
        key: Idempotency key.
        at: Destination, as for `list`.
        force: Also when it has a paid task, which is given up, or is being sent right now.
    """
    ledger, _ = await _opened(at)
    await decisions.release(ledger, key, force=force)
    give(f"{key} is free; the next run with it creates, and pays, again.", {"key": key, "state": "rejected"})


@ledger_app.command
@command
async def cancel(key: str, /, *, at: str, credentials: str | None = None) -> None:
    """Cancel a key's task that still waits in the provider's queue, which costs nothing, and free the key.

    Of the providers, Ark can. A task that has begun goes on and is billed.

    Args:
        key: Idempotency key.
        at: Destination, as for `list`.
        credentials: Saved credentials block; else the key comes from the environment.
    """
    from prefect_genvideo.blocks.session import open_pipeline
    from prefect_genvideo.pipeline.cancel import cancel as take_back

    ledger, _ = await _opened(at)
    payer = credentials_from((await ledger.existing(key)).record.provider, credentials)
    async with open_pipeline(payer, destination_from(at)) as pipeline:
        record = await take_back(pipeline, key)
    give(f"{key} is free: {record.reason}.", _facts(record))


@ledger_app.command
@command
async def reconcile(*, at: str, provider: str, credentials: str | None = None) -> None:
    """Ask the provider about unfinished generations, save what is ready, report the rest.

    Args:
        at: Destination, as for `list`.
        provider: Name of the provider, see `genvideo providers`.
        credentials: Saved credentials block; else the key comes from the environment.
    """
    from prefect_genvideo.blocks.session import open_pipeline
    from prefect_genvideo.pipeline.reconcile import reconcile as go_through

    async with open_pipeline(credentials_from(provider, credentials), destination_from(at)) as pipeline:
        report = await go_through(pipeline)
        rows, links = report.rows, pipeline.links
        keys = [row.object_key if links.lasting else None for row in rows]
        found = await links.of(pipeline.ledger.store, keys)
    for row, link in zip(rows, found, strict=True):
        task = f"task {shorten(row.task_id, 1024)}" if row.task_id else ""
        lines = (shorten(row.prompt, _WIDTH), row.model, task, row.uri or row.detail, link_line(link))
        card = "\n  ".join([f"{row.key}  {row.outcome}", *filter(None, lines)])
        give(card, row.model_dump(mode="json", exclude_none=True) | link_facts(link))
    say(", ".join(f"{count} {outcome}" for outcome, count in report.counts.items()) or "nothing was left behind")
