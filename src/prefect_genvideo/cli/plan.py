"""`genvideo plan`: what a batch will cost before anything is sent."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from prefect_genvideo.cli.console import command, complain, is_json, say, say_json, show
from prefect_genvideo.cli.targets import batch_key_of, credentials_from, destination_from, providers_of

if TYPE_CHECKING:
    from prefect_genvideo.finance import Plan


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
    from prefect_genvideo.batch import load_manifest
    from prefect_genvideo.blocks import resolve_destination
    from prefect_genvideo.blocks.session import open_pipelines

    destination = await resolve_destination(destination_from(to))
    first, *others = providers_of(await load_manifest(manifest, home=destination.get_store()), provider)
    payers = [credentials_from(first, credentials), *map(_payer, more or others)]
    async with open_pipelines(payers, destination) as pipelines:
        found = await _planned(manifest, pipelines, key or batch_key_of(manifest), rows, max_in_flight)
    if is_json():
        say_json(found)
    else:
        _show(found, shlex.join(["genvideo", "batch", manifest, "--to", to, *(("--rows", rows) if rows else ())]))


def _payer(named: str) -> Any:
    """A saved block as `block-type-slug/name`, or a provider whose key is in the environment."""
    return named if "/" in named else credentials_from(named, None)


async def _planned(manifest: str, pipelines: list[Any], key: str, rows: str, max_in_flight: int) -> Plan:
    from prefect_genvideo.finance import learn_prices, make_plan, save_plan
    from prefect_genvideo.flows.plan import check_batch

    for trouble in await learn_prices(pipelines):
        complain(trouble, "yellow")
    batch = await check_batch(manifest, pipelines, key, rows)
    made = await make_plan(batch, pipelines, max_in_flight=max_in_flight)
    return await save_plan(pipelines[0].ledger.store, made)


def _show(plan: Plan, command: str) -> None:
    show("row", "standing", "expected", "at most", "model", "fallbacks", "prompt", "note", rows=plan.table())
    say(plan.summary())
    for balance in plan.balances:
        say(balance)
    for warning in plan.warnings:
        complain(warning, "yellow")
    say(f"Plan {plan.hash}, batch key {plan.key}")
    if plan.of("new"):
        say(f"Until {plan.expires_at:%Y-%m-%d %H:%M} UTC it is applied by: {command} --plan {plan.hash}")
