"""From blocks and settings to a `Studio`: the seam between Prefect and the steps."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypeVar

from prefect.blocks.core import Block, UnknownBlockType
from prefect.events import emit_event
from prefect.exceptions import MissingContextError
from prefect.logging import get_logger, get_run_logger
from pydantic import Field, ValidatorFunctionWrapHandler, WrapValidator

from prefect_genvideo.blocks import (
    LocalDestination,
    ProviderCredentials,
    S3Destination,
    SenseAudioCredentials,
    SudashuiCredentials,
    VideoDestination,
    as_destination,
)
from prefect_genvideo.budgets import Budget, BudgetGuard
from prefect_genvideo.creating import CreatePolicy
from prefect_genvideo.errors import InvalidRequestError
from prefect_genvideo.gates import gate_of
from prefect_genvideo.models import Problem
from prefect_genvideo.providers.base import VideoClient
from prefect_genvideo.records import LedgerRecord
from prefect_genvideo.runs import flow_attempt, flow_run_id
from prefect_genvideo.settings import get_settings
from prefect_genvideo.steps import Event, Studio
from prefect_genvideo.storage import ObjectStore


def _take(block: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    """Let pass every credentials and destination block, also those of other packages; a form offers only ours."""
    taken = as_destination(block)
    return taken if isinstance(taken, ProviderCredentials | VideoDestination) else validate(block)


BlockName = Annotated[str, Field(title="Name of a saved block", examples=["block-type-slug/name"])]
#: A block, or the name of a saved one as `block-type-slug/name`.
Credentials = Annotated[SudashuiCredentials | SenseAudioCredentials | BlockName, WrapValidator(_take)]
Destination = Annotated[S3Destination | LocalDestination | BlockName, WrapValidator(_take)]
#: The same for steps, which have no form.
AnyCredentials = ProviderCredentials | str
AnyDestination = VideoDestination | str

BlockT = TypeVar("BlockT", bound=Block)


def run_logger() -> logging.Logger | logging.LoggerAdapter[Any]:
    """The run's logger, shown in the UI; the package's own outside of runs."""
    try:
        return get_run_logger()
    except MissingContextError:
        return get_logger("genvideo")


async def resolve(block: Any, kind: type[BlockT], field: str) -> BlockT:
    """Return the block itself, or load it when its name was given.

    Args:
        block: A block or `block-type-slug/name`.
        kind: What it must be.
        field: Name of the parameter, for the error.

    Raises:
        InvalidRequestError: There is no such block, or it is of another kind.
    """
    limit = f"a saved block `block-type-slug/name` that is a {kind.__name__}"
    if isinstance(block, str):
        try:
            block = as_destination(await Block.aload(block))
        except (ValueError, RuntimeError, UnknownBlockType) as error:
            problem = Problem(field, block, limit, "prefect-genvideo")
            raise InvalidRequestError(f"The block cannot be loaded: {error}", problems=[problem]) from None
    if not isinstance(block, kind):
        problem = Problem(field, type(block).__name__, limit, "prefect-genvideo")
        raise InvalidRequestError("The wrong kind of block was given.", problems=[problem])
    return block


async def resolve_credentials(credentials: Any) -> ProviderCredentials:
    """Return the credentials block, loaded when a name was given; raises as `resolve`."""
    return await resolve(credentials, ProviderCredentials, "credentials")


async def resolve_destination(destination: Any) -> VideoDestination:
    """Return the destination block, loaded when a name was given; raises as `resolve`."""
    return await resolve(as_destination(destination), VideoDestination, "destination")


@asynccontextmanager
async def open_studio(
    credentials: Any, destination: Any, *, timeout: float | None = None, budget: Budget | None = None
) -> AsyncGenerator[Studio]:
    """Open what the steps need, for the length of a task or flow.

    Args:
        credentials: Credentials block, or the name of a saved one.
        destination: Destination block, a `prefect_aws.S3Bucket`, or the name of a saved one.
        timeout: Seconds a generation may take once started; the setting when not given.
        budget: Caps on what this run and the day may cost; none when not given.
    """
    settings, logger = get_settings(), run_logger()
    payer, target = await resolve_credentials(credentials), await resolve_destination(destination)
    ledger = target.get_ledger(say=logger.warning)
    async with payer.lease() as client:
        yield Studio(
            client=client,
            ledger=ledger,
            gate=gate_of(run, client.account) if (run := flow_attempt()) else None,
            budget=BudgetGuard(ledger, budget) if budget is not None else None,
            key_template=target.key_template,
            policy=CreatePolicy(
                attempts=settings.create_attempts,
                patience=settings.create_patience,
                stale_after=settings.stale_after,
            ),
            poll_interval=settings.poll_interval,
            timeout=timeout or settings.timeout,
            say=logger.info,
            announce=announce,
        )


@asynccontextmanager
async def open_uploader(credentials: Any, destination: Any) -> AsyncGenerator[tuple[VideoClient, ObjectStore | None]]:
    """Open the provider's client, and the destination's store when one was given."""
    payer = await resolve_credentials(credentials)
    store = (await resolve_destination(destination)).get_store() if destination is not None else None
    async with payer.lease() as client:
        yield client, store


def announce(event: Event, record: LedgerRecord) -> None:
    """Emit `genvideo.<event>` for automations.

    Resource ids: `genvideo.generation.<provider>.<task id>` (before there is a task id: `genvideo.key.<key>`), or
    `genvideo.video.<provider>.<task id>` for `genvideo.video.saved`.
    """
    family = event.partition(".")[0]
    name = f"{family}.{record.provider}.{record.task_id}" if record.task_id else f"key.{record.key}"
    run = flow_run_id() or record.flow_run_id
    facts = record.model_dump(
        mode="json",
        exclude_none=True,
        include={"key", "state", "provider", "model", "account", "task_id", "reason", "seconds", "resolution", "cost"},
    )
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
