"""Pay once at Ark: lost creates are found in its list of tasks by their mark, and a task's tokens are its cost."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from prefect_genvideo.errors import GenerationFailedError, UnknownOutcomeError
from prefect_genvideo.ledger.decisions import release
from prefect_genvideo.ledger.record import LedgerRecord
from prefect_genvideo.ledger.store import Ledger
from prefect_genvideo.models import Generation, VideoRequest
from prefect_genvideo.pipeline.pipeline import Pipeline
from prefect_genvideo.pipeline.reconcile import Reconciled, reconcile
from prefect_genvideo.prices import read_price_tables
from prefect_genvideo.providers import ArkClient
from prefect_genvideo.simulator import Fault, Simulator
from tests.fixtures.money import TEMPLATE, MemoryStore, VirtualTime

REQUEST = VideoRequest(model="doubao-seedance-2-0-fast-260128", prompt="a cat", duration=4, resolution="480p")
PRICES = '{"ark": {"currency": "CNY", "prices": [{"models": "*-fast-*", "per": "1000_tokens", "amount": "0.037"}]}}'
GONE = f"{socket.gethostname()}:{2**22 + 1}"


@dataclass
class Desk:
    """An Ark account at the simulator, with a ledger."""

    sim: Simulator
    pipeline: Pipeline

    async def create(self, key: str = "k", request: VideoRequest = REQUEST) -> LedgerRecord:
        pipeline = self.pipeline
        return (await pipeline.create(request, pipeline.draft(key, request, {}))).entry.record

    async def lose(self, key: str = "k", request: VideoRequest = REQUEST, fault: str = "lost_after") -> LedgerRecord:
        """A create whose answer is lost and that is not found at once; its record."""
        self.sim.faults.add(Fault(fault, "create", times=1))
        with pytest.raises(UnknownOutcomeError):
            await self.create(key, request)
        return await self.record(key)

    async def record(self, key: str = "k") -> LedgerRecord:
        return (await self.pipeline.ledger.existing(key)).record

    async def reconcile(self) -> Reconciled:
        """As a scheduled run does it: another process, which finds what is left by the ledger alone."""
        old = self.pipeline.client
        async with ArkClient(self.sim.key, self.sim.ark_url, prices=old.price_table) as client:
            return await reconcile(replace(self.pipeline, client=client, ledger=Ledger(self.pipeline.ledger.store)))

    def hide_lists(self) -> None:
        """Let the next list fail, so that a lost create has to wait for a reconciliation."""
        self.sim.faults.add(Fault("502_html", "list", times=1))


@pytest.fixture
async def desk(sim: Simulator) -> AsyncIterator[Desk]:
    sim.configure(polls_to_finish=1, clip_bytes=4096)
    async with ArkClient(sim.key, sim.ark_url, timeout=0.5, prices=read_price_tables(PRICES)["ark"]) as client:
        yield Desk(sim, Pipeline(client, Ledger(MemoryStore()), TEMPLATE, sleep=VirtualTime().sleep))


@pytest.mark.parametrize(
    "fault",
    [
        Fault("lost_after", "create", times=1),
        Fault("cut_answer", "create", times=1),
        Fault("timeout", "create", times=1, params={"accepted": True, "seconds": 2}),
        Fault("502_html", "create", times=1, params={"accepted": True}),
    ],
    ids=lambda fault: fault.kind,
)
async def test_a_create_whose_answer_is_lost_goes_on_as_if_it_had_come(desk: Desk, fault: Fault) -> None:
    """One task is billed, and its video is saved; nobody has to decide anything."""
    desk.sim.faults.add(fault)
    record = await desk.create()
    (task,) = desk.sim.tasks
    assert (record.state, record.task_id) == ("submitted", task.task_id)
    entry = await desk.pipeline.ledger.existing("k")
    await desk.pipeline.save(entry, await desk.pipeline.wait(entry))
    assert ((await desk.record()).state, desk.sim.billed) == ("saved", 1)


async def test_what_could_not_be_looked_for_at_once_is_found_by_reconciling(desk: Desk) -> None:
    """Each lost create gets its own task, by as many claims as there are creates; all are read from one list."""
    keys = ["a", "b", "c"]
    for key in keys:
        desk.hide_lists()
        await desk.lose(key)
        desk.pipeline = replace(desk.pipeline, throttle=None)
    assert desk.sim.billed == 3
    made = [task.task_id for task in sorted(desk.sim.tasks, key=lambda task: task.created)]
    before = desk.sim.calls["list"]
    assert (await desk.reconcile()).counts == {"saved": 3}
    assert desk.sim.calls["list"] == before + 1
    records = [await desk.record(key) for key in keys]
    assert [record.task_id for record in records] == made
    assert desk.sim.billed == 3
    assert all(record.final_cost is not None for record in records)


async def test_what_was_never_made_is_never_freed_by_a_machine(desk: Desk) -> None:
    """A list without it proves nothing: the key is held for a person, who reads what was seen."""
    record = await desk.lose(fault="lost_before")
    assert (record.state, record.task_id, desk.sim.billed) == ("unknown", None, 0)
    assert record.money is not None
    assert "proves nothing" in (record.money.evidence or "")
    assert (await desk.reconcile()).counts == {"unknown": 1}


async def test_a_stranger_s_task_is_shown_and_not_taken_up(desk: Desk) -> None:
    """Made with the same key in the same seconds, by something that sends no timeout: only a person can tell."""
    strange = await desk.pipeline.client.create(REQUEST)
    record = await desk.lose(fault="lost_before")
    assert (record.state, record.task_id) == ("unknown", None)
    assert record.money is not None
    (shown,) = record.money.candidates
    assert (shown.task_id, shown.doubt) == (strange, "it does not show the timeout that was sent")


async def test_another_create_of_the_ledger_is_no_candidate(desk: Desk) -> None:
    """Its task bears another mark."""
    await desk.create("other")
    record = await desk.lose(fault="lost_before")
    assert record.money is not None
    assert record.money.candidates == ()


async def test_a_timeout_of_the_user_s_own_marks_nothing(desk: Desk) -> None:
    """It is sent as it is, and a lost create waits for a person, with the task that may be it."""
    record = await desk.lose(request=REQUEST.model_copy(update={"timeout": 7200}))
    (task,) = desk.sim.tasks
    assert task.wanted.request["execution_expires_after"] == 7200
    assert (record.state, record.task_id) == ("unknown", None)
    assert record.money is not None
    assert [one.task_id for one in record.money.candidates] == [task.task_id]
    assert (await desk.reconcile()).counts == {"unknown": 1}


async def test_what_a_killed_run_sent_is_found(desk: Desk) -> None:
    """Its intent is all that is left; the mark follows from it."""
    pipeline = desk.pipeline
    claimed = await pipeline.ledger.claim(pipeline.draft("k", REQUEST, {}))
    assert claimed is not None
    task_id = await pipeline.client.create(pipeline.client.marked(REQUEST, claimed.record.claim))
    await pipeline.ledger.move(claimed, "intent", holder=GONE)
    assert (await desk.reconcile()).counts == {"saved": 1}
    assert ((await desk.record()).task_id, desk.sim.billed) == (task_id, 1)


async def test_a_task_that_was_given_up_costs_its_tokens(desk: Desk) -> None:
    """It goes on at the provider, and is billed there like any other; reconciling asks what it told at its end."""
    desk.sim.configure(clock="manual")
    given_up = (await desk.create()).task_id
    await release(desk.pipeline.ledger, "k", force=True)
    await desk.create()
    assert desk.sim.billed == 2
    await desk.reconcile()
    assert (await desk.record(f"task-ark-{given_up}")).money_is_open
    desk.sim.finish(given_up or "")
    await desk.reconcile()
    record = await desk.record(f"task-ark-{given_up}")
    assert record.money is not None
    tokens = desk.sim.by_id[given_up or ""].wanted.tokens
    assert (record.money.cost, record.money.final) == (Decimal(tokens) * Decimal("0.000037"), True)


async def test_a_failure_costs_what_the_table_says(desk: Desk) -> None:
    """Nothing, where it says so; the run that sees the end records it."""
    desk.pipeline.client.price_table = read_price_tables(PRICES)["ark"].model_copy(update={"failed": "free"})
    desk.sim.faults.add(Fault("moderation", "create", times=1))
    await desk.create()
    with pytest.raises(GenerationFailedError):
        await desk.pipeline.wait(await desk.pipeline.ledger.existing("k"))
    record = await desk.record()
    assert record.money is not None
    assert (record.state, record.money.cost, record.money.final) == ("failed", 0, True)


async def test_a_length_that_the_model_chooses_counts_as_its_longest(desk: Desk) -> None:
    """To the caps of every run: a duration of -1 is no second less, and hides no other create or its money."""
    for key in "ab":
        await desk.create(key, REQUEST.model_copy(update={"duration": -1}))
    record = await desk.record("a")
    spent = await Ledger(desk.pipeline.ledger.store).reservations.spent(f"{record.created_at:%Y-%m-%d}", record.account)
    most = record.money.estimate.high if record.money and record.money.estimate else None
    assert most
    assert (spent.generations, spent.seconds, spent.in_currency("CNY")) == (2, 30.0, 2 * most)


async def test_the_cost_is_that_of_the_tokens_that_the_task_tells(desk: Desk) -> None:
    """Not that of the length and size which were asked for."""
    await desk.create()
    entry = await desk.pipeline.ledger.existing("k")
    await desk.pipeline.save(entry, await desk.pipeline.wait(entry))
    (task,) = desk.sim.tasks
    money = (await desk.record()).money
    assert money is not None
    assert (money.cost, money.currency) == (Decimal(task.wanted.tokens) * Decimal("0.000037"), "CNY")
    assert (money.basis, money.final) == ("calculated", True)


async def test_what_no_list_can_show_any_more_is_not_asked_for(desk: Desk) -> None:
    """After a week and a day for the clocks; the evidence of earlier looks stays for the person."""
    await desk.lose(fault="lost_before")
    entry = await desk.pipeline.ledger.existing("k")
    assert entry.record.sent_at is not None
    aged = await desk.pipeline.ledger.move(entry, "unknown", sent_at=entry.record.sent_at - timedelta(days=8, hours=1))
    before = desk.sim.calls["list"]
    assert (await desk.reconcile()).counts == {"unknown": 1}
    assert desk.sim.calls["list"] == before
    assert (await desk.record()).money == aged.record.money


@pytest.mark.parametrize(
    ("fields", "tokens", "sound"),
    [
        ({"usage": {"completion_tokens": 108_900, "total_tokens": 108_900}, "generate_audio": True}, 108_900, True),
        ({"usage": {"completion_tokens": "108900"}, "generate_audio": False}, 108_900, False),
        ({"usage": {"completion_tokens": 0}}, None, None),
        ({"usage": {"completion_tokens": -5}, "generate_audio": "perhaps"}, None, None),
        ({"usage": {"completion_tokens": 1e30}}, None, None),
        ({"usage": {"completion_tokens": True}}, None, None),
        ({"usage": {"completion_tokens": {"n": 1}}}, None, None),
        ({"usage": [108_900]}, None, None),
        ({"usage": None}, None, None),
        ({}, None, None),
    ],
)
def test_only_a_figure_that_a_clip_can_have_is_billed(
    fields: dict[str, Any], tokens: int | None, sound: bool | None
) -> None:
    """Anything else is no figure, and the cost goes by pixels and frames."""
    raw = {"id": "cgt-1", "status": "succeeded", **fields}
    told = ArkClient("key").clip_told(Generation(provider="ark", task_id="cgt-1", state="succeeded", raw=raw))
    assert (told.tokens, told.sound) == (tokens, sound)
