"""Global concurrency limits of Prefect's server, one for each account."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError, concurrency
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

from prefect_genvideo.errors import GenVideoError
from prefect_genvideo.pipeline.pipeline import Pipeline

LEASE = 60.0
"""Seconds after which the slot of a killed holder is free again; the shortest that Prefect allows."""


def limit_name(pipeline: Pipeline) -> str:
    """Name of the account's global concurrency limit, e.g. `genvideo-sudashui-0123456789abcdef`."""
    return f"genvideo-{pipeline.client.name}-{pipeline.client.account}"


async def ensure_limit(pipeline: Pipeline, slots: int) -> None:
    """Create the account's limit when it is missing. An existing one is the operator's and is left as it is.

    Args:
        pipeline: Whose account.
        slots: Generations under way at most, over all runs and workers; at least 1.
    """
    name = limit_name(pipeline)
    async with get_client() as client:
        try:
            await client.read_global_concurrency_limit_by_name(name)
        except ObjectNotFound:
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
