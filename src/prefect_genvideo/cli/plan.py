"""`genvideo plan` and `approve`: what a batch will cost before anything is sent, and answering a run that asks."""

from __future__ import annotations

import shlex
from typing import Annotated, Any

from cyclopts import Parameter

from prefect_genvideo.cli.console import command, complain, give, is_json, say, say_json, show
from prefect_genvideo.cli.targets import batch_key_of, credentials_from, destination_from, providers_of
from prefect_genvideo.errors import InvalidRequestError
from prefect_genvideo.finance import Plan, learn_prices, make_plan, save_plan
from prefect_genvideo.finance.approvals import spans_of
from prefect_genvideo.models import Problem


@command
async def plan(
    manifest: str,
    /,
    *,
    to: str,
    provider: str | None = None,
    credentials: str | None = None,
    more: Annotated[list[str] | None, Parameter(negative=())] = None,
    key: str = "",
    rows: str = "",
    max_in_flight: int = 20,
) -> None:
    """Say what a batch will cost, what is reused and how long it takes, and store the plan. Sends no create.

    Args:
        manifest: JSONL, JSON, CSV or YAML; a path, http(s) link or s3:// URI.
        to: Destination of the batch: s3://bucket/prefix, a folder, or a saved block as block-type-slug/name.
        provider: Of rows that name none and whose model no provider documents.
        credentials: Saved credentials block of the provider; else keys come from the environment.
        more: Another provider that rows or their fallbacks name, or a saved block of it, instead of all that they name;
            may be given several times.
        key: Key of the batch; the manifest's place when not given, as `genvideo batch` has it.
        rows: Only these rows of the list, e.g. 201-400.
        max_in_flight: Generations under way at most, for the expected time.
    """
    from prefect_genvideo.blocks import resolve_destination
    from prefect_genvideo.blocks.session import open_pipelines
    from prefect_genvideo.flows.plan import check_batch

    destination = await resolve_destination(destination_from(to))
    first, *others = await providers_of(manifest, destination.get_store(), provider, credentials)
    payers = [credentials_from(first, credentials), *map(_payer, more or others)]
    async with open_pipelines(payers, destination) as pipelines:
        for trouble in await learn_prices(pipelines):
            complain(trouble, "yellow")
        wanted = await check_batch(manifest, pipelines, key or batch_key_of(manifest), rows)
        made = await make_plan(wanted, pipelines, max_in_flight=max_in_flight)
        found = await save_plan(pipelines[0].ledger.store, made)
    if is_json():
        say_json(found)
    else:
        _show(found, shlex.join(["genvideo", "batch", manifest, "--to", to, *(("--rows", rows) if rows else ())]))


def _payer(named: str) -> Any:
    """A saved block as `block-type-slug/name`, or a provider whose key is in the environment."""
    return named if "/" in named else credentials_from(named, None)


def _show(plan: Plan, command: str) -> None:
    columns = ("row", "standing", "expected", "at most", "model", "fallbacks", "prompt", "note")
    show(columns, ([row[name] for name in columns] for row in plan.table()))
    say(plan.summary())
    for balance in plan.balances:
        say(balance)
    for warning in plan.warnings:
        complain(warning, "yellow")
    say(f"Plan {plan.hash}, batch key {plan.key}")
    if plan.of("new"):
        say(f"Until {plan.expires_at:%Y-%m-%d %H:%M} UTC it is applied by: {command} --plan {plan.hash}")


@command
async def approve(
    flow_run: str,
    /,
    *,
    yes: Annotated[bool, Parameter(negative=())] = False,
    no: Annotated[bool, Parameter(negative=())] = False,
    rows: str = "",
    by: str = "",
    note: str = "",
) -> None:
    """Answer a run that waits for an approval; without --yes or --no, print what it asks.

    Args:
        flow_run: Id or name of the flow run.
        yes: Pay for what the plan says.
        no: End the run; nothing is sent.
        rows: Only these rows of the plan, e.g. 1-20,25; all without it.
        by: Who says so, for the ledger; user and host of this machine without it.
        note: Anything else that should stand there.
    """
    from prefect.client.orchestration import get_client

    from prefect_genvideo.flows.approval_form import Approval, find_waiting, read_question, respond, whoami

    if yes and no:
        raise InvalidRequestError("Nothing was answered.", problems=[Problem("answer", "--yes --no", "one of them")])
    spans_of(rows)
    async with get_client() as client:
        waiting, key = await find_waiting(client, flow_run)
        facts = {"flow_run": str(waiting.id), "name": waiting.name}
        if not yes and not no:
            question = await read_question(client, waiting, key)
            give(question, {**facts, "question": question}, markdown=True)
            return
        form = Approval(answer="yes" if yes else "no", rows=rows, by=by or whoami(), note=note)
        await respond(client, waiting, key, form)
        what = "the run goes on" if yes else "it ends Cancelled"
        give(f"{waiting.name}: {form.answer}; {what}.", {**facts, "answer": form.answer, "rows": rows, "by": form.by})
