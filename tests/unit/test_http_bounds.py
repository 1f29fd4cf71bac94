"""Bodies have bounds of size, of values and of time, whatever the other side does."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import httpx
import pytest

from prefect_genvideo.errors import DownloadError, GenVideoError
from prefect_genvideo.providers import SudashuiClient, answers, download, http, unpack
from prefect_genvideo.providers.http import Client, Reply, exchange


async def reply_to(handler: Callable[[httpx.Request], httpx.Response], **options: Any) -> Reply:
    async with Client(transport=httpx.MockTransport(handler)) as client:
        return await exchange(client, "POST", "https://e.com/", headers={}, **options)


@pytest.mark.parametrize("mark", ["", "\ufeff", " \n"])
@pytest.mark.parametrize("body", ["[0" + ",[]" * 60_000 + "]", "[" + "{}," * 60_000 + "0]", "[" + "1," * 60_000 + "1]"])
async def test_an_answer_of_too_many_values_is_not_read(mark: str, body: str) -> None:
    """Reading it would stop every other request of the process for as long."""
    reply = await reply_to(lambda _: httpx.Response(200, content=(mark + body).encode()))
    assert (reply.status, reply.failure, reply.json) == (200, http.TOO_LARGE, None)


async def test_a_large_answer_is_read_beside_the_loop() -> None:
    """A list of thousands of models is as good as a short one."""
    models = [{"id": f"model-{n}", "object": "model", "owned_by": "x"} for n in range(5000)]
    reply = await reply_to(lambda _: httpx.Response(200, json={"data": models}))
    assert reply.json == {"data": models}


async def test_a_page_with_many_commas_is_a_page() -> None:
    """Only what would be read as JSON is counted."""
    reply = await reply_to(lambda _: httpx.Response(502, content="<html>" + "," * 60_000))
    assert (reply.failure, reply.is_html) == ("", True)


async def dripping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer with a task id at once, and then a blank every 10 ms."""
    while (await reader.readline()).strip():
        pass
    writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{"task_id": "task_1", ')
    with contextlib.suppress(ConnectionError):
        while not writer.is_closing():
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.01)


async def test_a_deadline_holds_for_the_whole_body_and_keeps_what_came(monkeypatch: pytest.MonkeyPatch) -> None:
    """The id of a create whose answer drips stands in what has arrived."""
    server = await asyncio.start_server(dripping, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    async with server, Client() as client:
        reply = await exchange(client, "GET", url, headers={}, deadline=0.2)
        assert (reply.status, reply.failure) == (200, http.TIMED_OUT)
        assert answers.salvage_id(reply.body) == "task_1"
        monkeypatch.setattr(http, "RATE_WINDOW", 0.1)
        reply = await exchange(client, "GET", url, headers={}, deadline=60)
        assert (reply.status, reply.failure) == (200, http.TIMED_OUT)
        server.close()


async def test_a_file_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cover at a byte per second would hold a place for saving for ever."""
    server = await asyncio.start_server(dripping, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, SudashuiClient("sk-test", url, stall_timeout=0.3) as client:
        monkeypatch.setattr(download, "SMALL_FILE_SECONDS", 0.2)
        with pytest.raises(DownloadError) as caught:
            await client.fetch_picture(f"{url}/cover.jpg")
        assert (caught.value.reason, caught.value.retryable) == ("timeout", True)
        monkeypatch.setattr(download, "SMALL_FILE_SECONDS", 60)
        with pytest.raises(DownloadError) as caught:
            await client.fetch_picture(f"{url}/cover.jpg")
        assert caught.value.reason == "stalled"
        server.close()


async def test_a_head_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Single bytes of it come often enough to stall nothing."""

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        with contextlib.suppress(ConnectionError):
            while not writer.is_closing():
                writer.write(b"X-A: b\r\n")
                await writer.drain()
                await asyncio.sleep(0.01)

    for name in ("CONNECT_TIMEOUT", "POOL_TIMEOUT"):
        monkeypatch.setattr(download, name, 0.05)
    server = await asyncio.start_server(drip, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with server, SudashuiClient("sk-test", url, stall_timeout=0.05) as client:
        with pytest.raises(DownloadError) as caught:
            await client.fetch_picture(f"{url}/cover.jpg")
        assert caught.value.reason == "timeout"
        server.close()


async def test_a_large_request_gets_the_time_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """And no more: a server that takes an upload byte by byte does not hold it for ever."""

    async def late(request: httpx.Request) -> httpx.Response:
        await anyio.sleep(0.2)
        return httpx.Response(200, json={})

    monkeypatch.setattr(http, "SLOWEST_UPLOAD", 1000)
    async with Client(transport=httpx.MockTransport(late)) as client:
        for size, failure in ((0, http.TIMED_OUT), (10_000, "")):
            reply = await exchange(client, "POST", "https://e.com/", headers={}, content=b"x" * size, deadline=0.05)
            assert reply.failure == failure


@pytest.mark.parametrize("text", ["1" + " " * 20_000 + "x", "x" + ", " * 10_000 + "x", "request id: " * 2_000])
@pytest.mark.parametrize("field", ["progress", "url", "message", "fail_reason"])
@pytest.mark.parametrize("status", [200, 400])
async def test_no_text_of_an_answer_takes_longer_to_read_than_it_is_long(field: str, text: str, status: int) -> None:
    """A run of blanks in one field would keep the process, and every other video of it, waiting for hours."""
    answer = {"id": "task_1", "status": "running", field: text, "error": {field: text}}
    transport = httpx.MockTransport(lambda request: httpx.Response(status, json=answer))
    began = time.process_time()
    async with SudashuiClient("sk-test", "https://gateway.test", "https://gateway.test", transport=transport) as client:
        with contextlib.suppress(GenVideoError):
            await client.get("task_1")
    assert time.process_time() - began < 2  # 0.02 s where nothing else runs


async def test_a_body_of_endless_empty_pieces_is_broken_off() -> None:
    """No size, rate or pause bounds it: bytes come fast, and it holds nothing."""

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield gzip.compress(b"") * 3_000

    with pytest.raises(unpack.BrokenCodingError):
        async for _ in unpack.unpacked(endless(), "gzip"):
            pass
