"""Questions about money are counted together: over processes and machines, by the store's clock."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from prefect_genvideo.errors import DestinationError, RateLimitedError
from prefect_genvideo.ledger.store import Ledger
from prefect_genvideo.providers import Balance, SudashuiClient
from prefect_genvideo.providers.budgets import CallsTaken, SharedCalls, budget_of
from prefect_genvideo.simulator import Simulator
from prefect_genvideo.storage import CreateOnlyStore, LocalStore, ObjectStore
from prefect_genvideo.storage.ledgers import SHARED
from tests.fixtures import asking_child
from tests.fixtures.money import MemoryStore, Trouble, TroubledMemory
from tests.fixtures.s3 import S3Server

HOST = "gateway.example"
WINDOW = 1200.0


class AgingStore(MemoryStore):
    """Tells how old what it holds is, by a clock of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.written: dict[str, float] = {}

    async def put(self, key: str, data: bytes, **conditions: object) -> str:
        etag = await super().put(key, data, **conditions)  # pyright: ignore[reportArgumentType] - passed on as they came
        self.written[key] = self.now
        return etag

    async def age(self, key: str) -> float | None:
        return self.now - self.written[key]


async def taken(calls: SharedCalls, times: int) -> list[float]:
    """Seconds to wait as each call is told, 0 where it may be made."""
    waits: list[float] = []
    for _ in range(times):
        try:
            await calls.take("sudashui")
        except RateLimitedError as error:
            waits.append(error.retry_after or -1.0)
        else:
            waits.append(0.0)
    return waits


def asking(sim: Simulator, path: Path) -> subprocess.Popen[str]:
    """A process that asks ten times."""
    options = {"api_key": sim.key, "base_url": sim.sudashui_url, "path": str(path), "questions": 10, "calls": 16}
    command = [sys.executable, asking_child.__file__, json.dumps(options)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_processes_that_ask_at_once_never_meet_a_429(sim: Simulator, tmp_path: Path) -> None:
    """Three of ten questions each, at the gateway's bucket of twenty: sixteen are asked, the others are not sent."""
    sim.money(bucket=20)
    running = [asking(sim, tmp_path) for _ in range(3)]
    outcomes = [line for process in running for line in process.communicate(timeout=60)[0].splitlines()]
    assert sorted(outcomes) == ["own budget of calls"] * 14 + ["told"] * 16
    assert sim.calls["usage"] == 16


@pytest.mark.parametrize("kind", ["folder", "bucket"])
async def test_clients_of_two_machines_share_a_window(kind: str, s3: S3Server, tmp_path: Path) -> None:
    """All of them at once; none more than the window has, none less."""
    bucket = s3.new_bucket() if kind == "bucket" else ""
    stores: list[ObjectStore] = [s3.store(bucket=bucket) if bucket else LocalStore(tmp_path) for _ in range(4)]
    waits: list[float] = []

    async def ask(store: ObjectStore) -> None:
        waits.extend(await taken(SharedCalls(store, HOST, 10, WINDOW), 4))

    async with anyio.create_task_group() as group:
        for store in stores:
            group.start_soon(ask, store)
    assert waits.count(0.0) == 10
    assert all(WINDOW - 60 < wait < WINDOW + 5 for wait in waits if wait)


async def test_a_window_slides_by_the_store_s_clock() -> None:
    """Whatever the clocks of machines say, which are in no age."""
    store = AgingStore()
    calls = SharedCalls(store, HOST, 2, WINDOW)
    assert await taken(calls, 1) == [0.0]
    store.now = 700.0
    assert await taken(calls, 2) == [0.0, WINDOW + 2 - 700.0]
    store.now = 1203.0
    assert await taken(SharedCalls(store, HOST, 2, WINDOW), 2) == [0.0, 700.0 - 1.0]
    assert await taken(SharedCalls(store, "another.example", 2, WINDOW), 2) == [0.0, 0.0]


async def test_without_the_store_s_clock_calls_count_longer() -> None:
    """By two minutes, as clocks may be off; one that is far behind frees nothing."""
    store = MemoryStore()
    calls = SharedCalls(store, HOST, 1, WINDOW)
    assert await taken(calls, 1) == [0.0]
    (path,) = store.objects
    for earlier, free in ((1250.0, False), (-5000.0, False), (1400.0, True)):
        content = CallsTaken.model_validate_json(store.objects[path])
        moved = content.model_copy(update={"written_at": content.written_at - earlier})
        store.objects[path] = moved.model_dump_json().encode()
        assert (await taken(SharedCalls(store, HOST, 1, WINDOW), 1) == [0.0]) == free
        store.objects[path] = content.model_dump_json().encode()


async def test_a_host_that_refuses_is_closed_to_all() -> None:
    """For as long as it asked; not for less than another was told."""
    store = AgingStore()
    await SharedCalls(store, HOST, 9, WINDOW).close(600)
    await SharedCalls(store, HOST, 9, WINDOW).close(60)
    assert await taken(SharedCalls(store, HOST, 9, WINDOW), 1) == [600.0]
    store.now = 601.0
    assert await taken(SharedCalls(store, HOST, 9, WINDOW), 1) == [0.0]


async def test_a_refusal_of_the_gateway_is_told_to_the_others(sim: Simulator) -> None:
    """People in its console have emptied the bucket."""
    sim.money(bucket=1)
    store = MemoryStore()
    for client in (SudashuiClient(sim.key, sim.sudashui_url), SudashuiClient(sim.key, sim.sudashui_url)):
        budget_of.cache_clear()  # another process
        async with client:
            client.share_calls(store, 16)
            outcome = [await _asked(client) for _ in range(2)]
        assert outcome in (["told", "429"], ["own budget of calls"] * 2)
    assert sim.calls["usage"] == 2


async def _asked(client: SudashuiClient) -> str:
    try:
        return "told" if isinstance(await client.balance(), Balance) else "not told"
    except RateLimitedError as error:
        return "429" if error.status_code == 429 else error.reason or ""


@pytest.mark.parametrize("kind", ["down", "create-only", "unreadable"])
async def test_who_cannot_count_with_others_asks_little(sim: Simulator, tmp_path: Path, kind: str) -> None:
    """Four calls in a window; nothing fails because of it."""
    down = TroubledMemory(Trouble("get", SHARED, times=99, retryable=False))
    broken = MemoryStore()
    await SharedCalls(broken, sim.sudashui_url.split("/")[2], 1, WINDOW).close(0)
    broken.objects = {key: b"{" for key in broken.objects} if kind == "unreadable" else {}
    stores = {"down": down, "unreadable": broken, "create-only": CreateOnlyStore(LocalStore(tmp_path))}
    budget_of.cache_clear()
    async with SudashuiClient(sim.key, sim.sudashui_url) as client:
        client.share_calls(Ledger(stores[kind]).shared_store, 16)
        assert [await _asked(client) for _ in range(6)] == ["told"] * 4 + ["own budget of calls"] * 2


async def test_no_limit_of_our_own(sim: Simulator) -> None:
    """For a gateway whose operator has none."""
    sim.money(bucket=0)
    store = MemoryStore()
    async with SudashuiClient(sim.key, sim.sudashui_url) as client:
        client.share_calls(store, 0)
        assert [await _asked(client) for _ in range(25)] == ["told"] * 25
    assert store.objects == {}


async def test_writers_that_never_let_go_are_an_error_and_no_wait_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was tried as often as it is to be, here five times instead of sixty."""
    monkeypatch.setattr("prefect_genvideo.providers.budgets._TRIES", 5)

    class Busy(MemoryStore):
        gets = 0

        async def get(self, key: str) -> tuple[bytes, str] | None:
            found = await super().get(key)
            self.gets += 1
            self.objects[key] = CallsTaken(closed_for=-self.gets).model_dump_json().encode()
            return found

    store = Busy()
    calls = SharedCalls(store, HOST, 99, WINDOW)
    with pytest.raises(DestinationError):
        await calls.take("sudashui")
    assert store.gets == 5
