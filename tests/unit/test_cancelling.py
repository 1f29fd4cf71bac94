"""A key whose task still waits in the provider's queue can be taken back, and costs nothing then."""

from __future__ import annotations

from collections.abc import AsyncIterator
from decimal import Decimal

import pytest

from prefect_genvideo.errors import InvalidRequestError, RejectedError, TaskLostError
from prefect_genvideo.ledger.create import CreatePolicy
from prefect_genvideo.ledger.record import LedgerRecord
from prefect_genvideo.ledger.store import Entry, Ledger
from prefect_genvideo.pipeline.cancel import cancel
from prefect_genvideo.pipeline.pipeline import Pipeline
from prefect_genvideo.prices.amounts import Estimate
from prefect_genvideo.prices.facts import MoneyFacts
from prefect_genvideo.providers import ArkClient, VideoClient
from prefect_genvideo.simulator import Simulator
from tests.fixtures.accounts import REQUESTS, settings_of
from tests.fixtures.expected import failing
from tests.fixtures.money import TEMPLATE, FakeProvider, MemoryStore, draft

REQUEST = REQUESTS["ark"]
ESTIMATE = Estimate(low=Decimal(4), expected=Decimal(4), high=Decimal(4), currency="CNY", how="calculated")


class Desk:
    """A ledger, and an account at the simulator whose tasks stand still."""

    def __init__(self, client: VideoClient) -> None:
        self.client = client
        self.ledger = Ledger(MemoryStore(), patience=-1)
        self.pipeline = Pipeline(client, self.ledger, TEMPLATE, CreatePolicy())

    async def sent(self, task_id: str, **facts: object) -> Entry:
        given = {"provider": self.client.name, "account": self.client.account, "model": REQUEST.model, **facts}
        entry = await self.ledger.claim(draft("k", **given))
        assert entry is not None
        return await self.ledger.move(entry, "submitted", task_id=task_id, submitted_at=entry.record.created_at)

    async def record(self) -> LedgerRecord:
        return (await self.ledger.existing("k")).record


@pytest.fixture
async def desk(sim: Simulator) -> AsyncIterator[Desk]:
    """A desk of Ark's demo account."""
    sim.configure(clock="manual")
    async with ArkClient(**settings_of(sim, "ark"), timeout=10) as client:
        yield Desk(client)


async def test_a_task_that_waits_is_taken_back_and_its_key_is_free(sim: Simulator, desk: Desk) -> None:
    """Nothing is billed, nothing counts to a cap or to the day, and the next run with the key may create."""
    await desk.sent(await desk.client.create(REQUEST), money=MoneyFacts.expecting(ESTIMATE))
    record = await cancel(desk.pipeline, "k")
    assert (record.state, record.task_id, record.was_given_up, record.is_over) == ("rejected", None, False, True)
    assert str(record.final_cost) == "0 CNY"
    assert sim.billed == 0
    assert await desk.ledger.claim(draft("k")) is not None


async def test_a_cancelling_that_was_not_heard_of_is_done_again(sim: Simulator, desk: Desk) -> None:
    """Also where a run that waited for the task has recorded its end meanwhile."""
    task_id = await desk.client.create(REQUEST)
    entry = await desk.sent(task_id)
    assert sim.take_back(sim.by_id[task_id])
    await desk.ledger.move(entry, "failed", reason="cancelled")
    assert (await cancel(desk.pipeline, "k")).state == "rejected"


async def test_a_task_that_has_begun_keeps_its_key(sim: Simulator, desk: Desk) -> None:
    """It is billed, and its video is still to be fetched."""
    task_id = await desk.client.create(REQUEST)
    await desk.sent(task_id)
    for _ in range(3):
        sim.advance(task_id)
    with failing(RejectedError, "not queued: running"):
        await cancel(desk.pipeline, "k")
    assert ((await desk.record()).state, (await desk.record()).task_id) == ("submitted", task_id)


async def test_a_task_that_nobody_knows_keeps_its_key(desk: Desk) -> None:
    """Unknown is no proof that nothing was paid."""
    await desk.sent("cgt-20261101120000-zzzzz")
    with pytest.raises(TaskLostError):
        await cancel(desk.pipeline, "k")
    assert (await desk.record()).state == "submitted"


async def test_only_one_s_own_task_on_its_way_is_cancelled(desk: Desk) -> None:
    """Not a create whose fate is open, nor what another account pays for."""
    entry = await desk.ledger.claim(draft("k", provider="ark", account=desk.client.account))
    assert entry is not None
    entry = await desk.ledger.move(entry, "unknown")
    with pytest.raises(InvalidRequestError) as caught:
        await cancel(desk.pipeline, "k")
    assert [problem.value for problem in caught.value.problems] == ["unknown"]
    await desk.ledger.move(entry, "submitted", task_id="cgt-1", account="another")
    with pytest.raises(InvalidRequestError) as caught:
        await cancel(desk.pipeline, "k")
    assert [problem.field for problem in caught.value.problems] == ["key"]


async def test_a_provider_without_cancelling_says_so() -> None:
    """The record stays as it is."""
    desk = Desk(FakeProvider())
    await desk.sent("task_1")
    with pytest.raises(InvalidRequestError) as caught:
        await cancel(desk.pipeline, "k")
    assert [problem.field for problem in caught.value.problems] == ["task_id"]
    assert (await desk.record()).state == "submitted"
