"""The event door's application where a real sender would be slow, or the disk would have to fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import httpx
import pytest
import uvicorn
from uvicorn.server import ServerState

from prefect_genvideo.listen import SHAPES, DeliveryQueue, ListenConfig, Source, app, create_app, server

TOKEN = "token-of-a-test-1"
HEADERS = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[DeliveryQueue]:
    """An empty queue."""
    opened = DeliveryQueue(tmp_path / "queue.sqlite")
    yield opened
    opened.close()


def door(queue: DeliveryQueue) -> httpx.AsyncClient:
    """A client of a door whose sender does not run."""
    sources = {"callback": Source("callback", SHAPES["callback"], (TOKEN,)), "s3": Source("s3", SHAPES["s3"], (TOKEN,))}
    transport = httpx.ASGITransport(create_app(ListenConfig(), sources, queue))
    return httpx.AsyncClient(transport=transport, base_url="http://door")


async def test_a_body_that_does_not_come_is_not_waited_for(
    queue: DeliveryQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sender that keeps connections open must not use them up."""
    monkeypatch.setattr(app, "BODY_SECONDS", 0.1)

    async def slow() -> AsyncIterator[bytes]:
        yield b"{"
        await anyio.sleep(30)

    async with door(queue) as client:
        assert (await client.post("/hooks/s3", content=slow(), headers=HEADERS)).status_code == 408
    assert queue.depth().counts == {}


async def test_a_disk_that_fails_is_no_promise(queue: DeliveryQueue) -> None:
    """The sender keeps the delivery and comes again."""
    queue.close()
    async with door(queue) as client:
        answer = await client.post(f"/hooks/callback/{TOKEN}", json={"id": "t1", "status": "succeeded"})
        assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
        assert (await client.get("/healthz")).status_code == 503


async def test_a_change_of_state_is_told_once(queue: DeliveryQueue) -> None:
    """Volcengine Ark repeats a callback up to three times; each state is one event."""
    hook = f"/hooks/callback/{TOKEN}"
    async with door(queue) as client:
        answers = [
            (await client.post(hook, json={"id": "t1", "status": status, "updated_at": 5})).status_code
            for status in ("running", "succeeded", "succeeded")
        ]
        assert answers == [202, 202, 200]
        assert (await client.post("/hooks/callback/wrong", json={"id": "t1"})).status_code == 401
    assert [each.body["payload"]["status"] for each in queue.due(9, 9e9)] == ["running", "succeeded"]


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [b"POST /hooks/s3 HTTP/1.1\r\nhost: door\r\n"],
        # Refused before its body is read, of which more comes and then nothing.
        [b"POST /hooks/s3 HTTP/1.1\r\nhost: door\r\ncontent-length: 1000\r\n\r\n{", b" "],
    ],
    ids=["silent", "half a head", "a refused body"],
)
async def test_a_connection_without_a_request_is_closed(
    parts: list[bytes], queue: DeliveryQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Strangers who only keep connections open would take all places, and senders would find none."""
    monkeypatch.setattr(server, "_HEAD_S", 0.1)
    sources = {"s3": Source("s3", SHAPES["s3"], (TOKEN,))}
    config = uvicorn.Config(create_app(ListenConfig(), sources, queue), lifespan="off", log_config=None)
    config.load()
    loop, state = asyncio.get_running_loop(), ServerState()
    listening = await loop.create_server(lambda: server.PromptProtocol(config, state, {}), "127.0.0.1", 0)
    async with listening:
        reader, writer = await asyncio.open_connection(*listening.sockets[0].getsockname())
        for part in parts:
            writer.write(part)
            await anyio.sleep(0.03)
        with anyio.fail_after(5):
            answered = await reader.read()
        writer.close()
    assert answered.startswith(b"HTTP/1.1 401") if len(parts) == 2 else answered == b""
    assert not state.connections
