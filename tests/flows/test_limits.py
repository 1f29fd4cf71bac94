"""Places in an account's queue that all runs share: Prefect's global concurrency limits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from prefect import get_client

from prefect_genvideo.blocks.session import open_pipeline
from prefect_genvideo.errors import GenVideoError
from prefect_genvideo.pipeline.pipeline import Pipeline
from prefect_genvideo.runtime import account_slot, ensure_limit, limit_name
from prefect_genvideo.simulator import Fault
from tests.fixtures.expected import failing
from tests.fixtures.runs import eventually
from tests.flows.batches import at_once, make, wanted
from tests.flows.conftest import Place


@pytest.fixture
async def pipeline(place: Place) -> AsyncIterator[Pipeline]:
    """The place's Sudashui account."""
    async with open_pipeline(place.sudashui, place.destination) as opened:
        yield opened


async def limit_of(pipeline: Pipeline) -> tuple[int, int]:
    """The limit's slots, and how many are taken."""
    async with get_client() as client:
        found = await client.read_global_concurrency_limit_by_name(limit_name(pipeline))
    return found.limit, found.active_slots


async def test_a_missing_limit_is_made_and_an_existing_one_is_the_operator_s(pipeline: Pipeline) -> None:
    """Named per account. Five runs that begin together make one; another number later changes nothing."""
    await asyncio.gather(*(ensure_limit(pipeline, 3) for _ in range(5)))
    assert await limit_of(pipeline) == (3, 0)
    await ensure_limit(pipeline, 7)
    assert await limit_of(pipeline) == (3, 0)
    assert pipeline.client.account in limit_name(pipeline)


async def test_a_slot_of_a_limit_that_is_missing_cannot_be_taken(pipeline: Pipeline) -> None:
    """Nothing was sent, and a later try may find one."""
    with failing(GenVideoError, "no slot") as caught:
        async with account_slot(pipeline):
            raise AssertionError("there is no slot")
    assert caught.value.retryable


async def test_what_fails_inside_keeps_its_error_and_gives_the_slot_back(pipeline: Pipeline) -> None:
    """No slot leaks, whatever happens while it is held."""
    await ensure_limit(pipeline, 1)

    async def fail_inside() -> None:
        async with account_slot(pipeline):
            assert await limit_of(pipeline) == (1, 1)
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        await fail_inside()

    async def free() -> bool:
        return await limit_of(pipeline) == (1, 0)

    await eventually(free, "the slot to come back")


async def test_two_runs_share_an_account_s_slots(place: Place, pipeline: Pipeline) -> None:
    """Each run would have three under way; by the provider's clock there are never more than two in all."""
    place.sim.configure(clock="time", duration_kind="fixed", duration_median_s=0.5, refresh_s=0)
    place.sim.faults.add(Fault("moderation", "create", match="bad"))
    first, second = await asyncio.gather(
        make(place, wanted("a", "b"), idempotency_key="first", account_slots=2),
        make(place, wanted("c", "bad"), idempotency_key="second", account_slots=2),
    )
    assert (first.counts, second.counts) == ({"saved": 2}, {"saved": 1, "failed": 1})
    assert at_once(place.sim.tasks) <= 2

    async def free() -> bool:
        return await limit_of(pipeline) == (2, 0)

    await eventually(free, "the slot to come back")
