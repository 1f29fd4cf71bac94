"""Places in an account's queue, shared by all runs and workers: Prefect's global concurrency limits, with leases."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext, suppress

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import GlobalConcurrencyLimitCreate
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError, concurrency
from prefect.exceptions import ObjectAlreadyExists, ObjectNotFound

from prefect_genvideo.errors import GenVideoError, InvalidRequestError
from prefect_genvideo.models import Problem
from prefect_genvideo.steps import Studio

#: Seconds after which the slot of a killed holder is free again; the shortest that Prefect allows.
LEASE = 60.0


def limit_name(studio: Studio) -> str:
    """Name of the account's global concurrency limit, e.g. `genvideo-sudashui-0123456789abcdef`."""
    return f"genvideo-{studio.client.name}-{studio.client.account}"


async def ensure_limit(studio: Studio, slots: int) -> None:
    """Create the account's limit when it is missing. An existing one is the operator's and is left as it is.

    Args:
        studio: Whose account.
        slots: Generations under way at most, over all runs and workers; 0 asks for an existing limit.

    Raises:
        InvalidRequestError: There is no limit and `slots` gives none to create.
    """
    name = limit_name(studio)
    async with get_client() as client:
        try:
            await client.read_global_concurrency_limit_by_name(name)
        except ObjectNotFound:
            if slots < 1:
                limit = f"1 or more, or create the limit: prefect gcl create {name} --limit N"
                problem = Problem("account_slots", str(slots), limit, "prefect-genvideo")
                raise InvalidRequestError("The account has no concurrency limit.", problems=[problem]) from None
            # Another run may be creating it at the same moment; whose number counts does not matter, one limit does.
            with suppress(ObjectAlreadyExists):
                await client.create_global_concurrency_limit(GlobalConcurrencyLimitCreate(name=name, limit=slots))


@asynccontextmanager
async def account_slot(studio: Studio) -> AsyncGenerator[None]:
    """Hold one of the account's slots. A killed holder's slot comes back after `LEASE` seconds.

    A slot that is lost while Prefect's server is away does not end the generation, which is paid for; for a while there
    may then be one more under way than the limit says.

    Raises:
        GenVideoError: Prefect's server gives none; retryable, nothing was sent.
    """
    name = limit_name(studio)
    slot = concurrency(name, occupy=1, lease_duration=LEASE, strict=True, raise_on_lease_renewal_failure=False)
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(slot)
        except ConcurrencySlotAcquisitionError as error:
            raise GenVideoError(
                f"No slot of the concurrency limit {name} was to be had; nothing was sent. {error}",
                retryable=True,
                provider=studio.client.name,
            ) from None
        yield


def slots_for(shared: bool) -> Callable[[Studio], AbstractAsyncContextManager[object]]:
    """What a producer holds while a generation is under way: an account's slot, or nothing."""
    return account_slot if shared else lambda studio: nullcontext()
