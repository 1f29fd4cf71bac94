"""Opening blocks: from saved credentials and a destination to a `Pipeline`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, Union, cast

import anyio
from prefect.blocks.core import Block, UnknownBlockType
from pydantic import Field, GetCoreSchemaHandler, ValidationError, ValidatorFunctionWrapHandler, WrapValidator
from pydantic_core import CoreSchema, InitErrorDetails, PydanticCustomError, core_schema

from prefect_genvideo.blocks._discreet import without_values
from prefect_genvideo.blocks.credentials import ProviderCredentials, known_credentials
from prefect_genvideo.blocks.destinations import LocalDestination, S3Destination, VideoDestination, as_destination
from prefect_genvideo.errors import InvalidRequestError
from prefect_genvideo.ledger.account import throttle_of
from prefect_genvideo.ledger.budget import Budget, BudgetGuard
from prefect_genvideo.ledger.create import CreatePolicy
from prefect_genvideo.models import Problem
from prefect_genvideo.pipeline.pictures import Pictures
from prefect_genvideo.pipeline.pipeline import Pipeline
from prefect_genvideo.providers.base import VideoClient
from prefect_genvideo.providers.signed import SignedRequests
from prefect_genvideo.runtime import (
    announce,
    announce_budget,
    asset_teller,
    flow_attempt,
    get_settings,
    run_ids,
    say,
    warn,
)
from prefect_genvideo.storage import direct_writes


def _take(block: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    """Let pass every credentials and destination block, also those that no form offers."""
    taken = as_destination(block)
    if isinstance(taken, ProviderCredentials | VideoDestination):
        return taken
    try:
        return _of_its_type(cast("Mapping[str, Any]", taken)) if isinstance(taken, Mapping) else validate(block)
    except ValidationError as error:
        raise without_values(error) from None


def _of_its_type(values: Mapping[str, Any]) -> Block:
    """Make a block of a dict that names its type; one that does not could become any that its fields happen to fit."""
    slug = str(values.get("block_type_slug") or "")
    try:
        kind = Block.get_block_class_from_key(slug) if slug else None
    except UnknownBlockType:
        kind = None
    if kind is None or not issubclass(kind, ProviderCredentials | VideoDestination):
        told = PydanticCustomError(
            "block_type",
            "must be a block, the name of a saved one (`block-type-slug/name`), or fields with the `block_type_slug` "
            "of a credentials or destination block",
        )
        fault = InitErrorDetails(type=told, loc=(), input="(not shown)")
        raise ValidationError.from_exception_data("block", [fault], hide_input=True)
    return kind.model_validate(dict(values))


BlockName = Annotated[str, Field(title="Name of a saved block", examples=["block-type-slug/name"])]


class _AnyProvider:
    """A picker for the credentials of every provider that is known when a flow is defined."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        del source
        picked = handler.generate_schema(Union[(*known_credentials(), BlockName)])
        return core_schema.no_info_wrap_validator_function(_take, picked)


# A block, or the name of a saved one as `block-type-slug/name`.
if TYPE_CHECKING:
    Credentials = ProviderCredentials | str
    Destination = VideoDestination | str
else:
    Credentials = Annotated[Any, _AnyProvider()]
    Destination = Annotated[S3Destination | LocalDestination | BlockName, WrapValidator(_take)]
# The same for steps, which have no form.
AnyCredentials = ProviderCredentials | str
AnyDestination = VideoDestination | str

BlockT = TypeVar("BlockT", bound=Block)


async def resolve(block: Block | str, kind: type[BlockT], field: str) -> BlockT:
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
            problem = Problem(field, block, limit)
            raise InvalidRequestError(f"The block cannot be loaded: {error}", problems=[problem]) from None
    if not isinstance(block, kind):
        problem = Problem(field, type(block).__name__, limit)
        raise InvalidRequestError("The wrong kind of block was given.", problems=[problem])
    return block


async def resolve_credentials(credentials: Block | str) -> ProviderCredentials:
    """Return the credentials block, loaded when a name was given; raises as `resolve`."""
    return await resolve(credentials, ProviderCredentials, "credentials")


async def resolve_destination(destination: Block | str) -> VideoDestination:
    """Return the destination block, loaded when a name was given; raises as `resolve`."""
    return await resolve(as_destination(destination), VideoDestination, "destination")


@dataclass(frozen=True)
class _Open:
    """A pipeline that is open in this context, and the loop and blocks it belongs to."""

    loop: asyncio.AbstractEventLoop
    credentials: ProviderCredentials
    destination: VideoDestination
    pipeline: Pipeline


# Seconds that a run which is cancelled may still take to write what it leaves unfinished.
_FINISHING = 10.0
# Tasks run inside their flow's context, so what the flow has opened is found by its tasks and by nobody else.
_OPEN: ContextVar[tuple[_Open, ...]] = ContextVar("prefect_genvideo_open_pipelines", default=())


@asynccontextmanager
async def open_pipeline(
    credentials: AnyCredentials,
    destination: AnyDestination,
    *,
    timeout: float | None = None,
    budget: Budget | None = None,
    saves: bool = False,
) -> AsyncGenerator[Pipeline]:
    """Open account and destination for the length of a task or flow. Tasks share what their flow has opened.

    Args:
        credentials: Credentials block, or the name of a saved one.
        destination: Destination block, a `prefect_aws.S3Bucket`, or the name of a saved one.
        timeout: Seconds a generation may take once started; the setting when not given.
        budget: Caps on what this run and the day may cost; none when not given.
        saves: Whether this flow saves what its tasks have waited for; see `Pipeline`.

    Raises:
        InvalidRequestError: A block cannot be loaded, or is of the wrong kind.
    """
    payer, target = await resolve_credentials(credentials), await resolve_destination(destination)
    loop, already = asyncio.get_running_loop(), _OPEN.get()
    for opened in already:
        if (opened.loop, opened.credentials, opened.destination) == (loop, payer, target) and budget is None:
            yield replace(opened.pipeline, timeout=timeout or opened.pipeline.timeout)
            return
    async with payer.lease() as client:
        pipeline = _pipeline(client, target, timeout, budget, saves)
        token, writes = _OPEN.set((*already, _Open(loop, payer, target, pipeline))), SignedRequests()
        try:
            with direct_writes(writes.send):
                yield pipeline
        finally:
            _OPEN.reset(token)
            with anyio.CancelScope(shield=True), anyio.move_on_after(_FINISHING):
                await pipeline.ledger.finish()
                if pipeline.budget is not None:
                    await pipeline.budget.finish()
            with anyio.CancelScope(shield=True):
                await writes.aclose()


@asynccontextmanager
async def open_pipelines(
    credentials: Iterable[AnyCredentials], destination: AnyDestination, budget: Budget | None = None
) -> AsyncGenerator[list[Pipeline]]:
    """Open several accounts with one destination; see `open_pipeline`.

    Args:
        credentials: Credentials blocks or their names, the default one first.
        destination: Destination block or name.
        budget: Caps, for each account.
    """
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(open_pipeline(payer, destination, budget=budget)) for payer in credentials
        ]


def _pipeline(
    client: VideoClient, target: VideoDestination, timeout: float | None, budget: Budget | None, saves: bool
) -> Pipeline:
    settings = get_settings()
    ledger = target.get_ledger(say=warn)
    client.share_calls(ledger.shared_store, settings.money_calls)
    return Pipeline(
        client=client,
        ledger=ledger,
        throttle=throttle_of(run, client.account) if (run := flow_attempt()) else None,
        budget=BudgetGuard(ledger, budget, reached=announce_budget) if budget is not None else None,
        key_template=target.key_template,
        policy=CreatePolicy(
            attempts=settings.create_attempts,
            patience=settings.create_patience,
            stale_after=settings.stale_after,
        ),
        poll_interval=settings.poll_interval,
        timeout=timeout or settings.timeout,
        allow_local=settings.allow_local_files,
        key_is_ours=settings.exclusive_keys,
        links=target.get_links(),
        say=say,
        announce=announce,
        lineage=asset_teller(),
        run_ids=run_ids,
        saves=saves,
        covers=target.covers,
        # Half a second of CPU for one video that somebody looks at; too much for each row of a batch.
        pictures=Pictures(moving=saves),
    )
