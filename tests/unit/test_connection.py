"""A connection as httpcore uses one, against servers that stop, stall, reset and flood."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import cast

import httpcore
import httpx
import pytest

from prefect_genvideo.providers.connection import Connection, connect
from prefect_genvideo.providers.network import NetworkTransport, tls_context

MIB = 1024 * 1024
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def connected(serve: Serve) -> AsyncGenerator[Connection]:
    """A connection to a server that serves so."""

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    connection = await connect("127.0.0.1", server.sockets[0].getsockname()[1], 5)
    try:
        yield connection
    finally:
        await connection.aclose()
        server.close()


async def test_what_is_sent_comes_back_and_the_end_is_told() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(5))

    async with connected(serve) as connection:
        await connection.write(b"hello", 5)
        assert await connection.read(MIB, 5) == b"hello"
        assert await connection.read(MIB, 5) == b""
        assert connection.get_extra_info("is_readable")
        assert connection.get_extra_info("server_addr")[0] == "127.0.0.1"


async def test_an_idle_connection_is_not_readable_until_its_server_has_closed_it() -> None:
    closing = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del reader, writer
        await closing.wait()

    async with connected(serve) as connection:
        assert not connection.get_extra_info("is_readable")
        closing.set()
        assert await connection.read(1, 5) == b""
        assert connection.get_extra_info("is_readable")


async def test_a_slow_reader_holds_up_the_server_and_not_the_memory() -> None:
    sent = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        while sent < 64 * MIB:
            writer.write(bytes(MIB))
            await writer.drain()
            sent += MIB

    async with connected(serve) as connection:
        got = len(await connection.read(1, 5))
        for _ in range(50):
            await asyncio.sleep(0.01)
        # The rest waits with the server and in the system's buffers of both sides.
        assert sent < 32 * MIB
        largest = 0
        while chunk := await connection.read(1, 5):
            got, largest = got + len(chunk), max(largest, len(chunk))
        assert got == 64 * MIB
        assert largest <= 256 * 1024


async def test_silence_ends_a_read() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del writer
        await reader.read()

    async with connected(serve) as connection:
        with pytest.raises(httpcore.ReadTimeout):
            await connection.read(1, 0.05)
        with pytest.raises(httpcore.ReadTimeout):  # and can be asked again
            await connection.read(1, 0.05)


async def test_a_server_that_takes_nothing_ends_a_write() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del reader
        cast("asyncio.Transport", writer.transport).pause_reading()
        await asyncio.sleep(5)

    async with connected(serve) as connection:
        with pytest.raises(httpcore.WriteTimeout):
            await connection.write(bytes(64 * MIB), 0.1)


async def test_a_server_that_takes_slowly_gets_everything() -> None:
    got = asyncio.get_running_loop().create_future()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del writer
        taken = 0
        while taken < 16 * MIB:
            taken += len(await reader.read(MIB))
            await asyncio.sleep(0)
        got.set_result(taken)

    async with connected(serve) as connection:
        await connection.write(bytes(16 * MIB), 20)
        assert await got == 16 * MIB


async def test_a_reset_is_an_error_of_reading_and_of_writing() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(1)
        taken: socket.socket = writer.get_extra_info("socket")
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        writer.transport.abort()

    async with connected(serve) as connection:
        await connection.write(b"x", 5)
        with pytest.raises(httpcore.ReadError):
            await connection.read(1, 5)
        with pytest.raises(httpcore.WriteError):
            await connection.write(b"x", 5)


async def test_no_server_and_no_tls_are_errors_of_connecting() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(httpcore.ConnectError):
            await connect("127.0.0.1", closed.getsockname()[1], 5)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 no TLS here\r\n\r\n")

    async with connected(serve) as connection:
        with pytest.raises(httpcore.ConnectError):
            await connection.start_tls(tls_context(), "127.0.0.1", 5)


async def test_a_silent_handshake_ends_in_time() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        del writer
        await reader.read()

    async with connected(serve) as connection:
        with pytest.raises(httpcore.ConnectTimeout):
            await connection.start_tls(tls_context(), "127.0.0.1", 0.1)


async def test_a_cancelled_read_leaves_the_bytes() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readexactly(5))
        await reader.read()

    async with connected(serve) as connection:
        reading = asyncio.ensure_future(connection.read(1, 5))
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        await connection.write(b"hello", 5)
        assert await connection.read(1, 5) == b"hello"


async def test_connections_are_few_and_those_that_nobody_uses_are_closed() -> None:
    """Two may stay open; whoever finds all three places taken is told so in time."""
    open_now, asked = 0, asyncio.Semaphore(0)
    answering = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal open_now
        open_now += 1
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                if not line.strip():
                    asked.release()
                    await answering.wait()
                    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        open_now -= 1
        writer.close()

    async def settled() -> int:
        await asyncio.sleep(0.05)
        return open_now

    limits = httpx.Limits(max_connections=3, max_keepalive_connections=2, keepalive_expiry=0.2)
    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    transport, timeout = NetworkTransport(limits), httpx.Timeout(5, pool=0.05)
    async with server, httpx.AsyncClient(transport=transport, timeout=timeout, trust_env=False) as client:
        three = [asyncio.ensure_future(client.get(url)) for _ in range(3)]
        for _ in three:
            await asked.acquire()
        with pytest.raises(httpx.PoolTimeout):
            await client.get(url)
        answering.set()
        assert [(await each).status_code for each in three] == [200] * 3
        assert await settled() == 2
        await asyncio.sleep(0.2)
        assert (await client.get(url)).status_code == 200
        await asked.acquire()
        assert await settled() == 1
        answering.clear()
        left = asyncio.ensure_future(client.get(url))
        await asked.acquire()
    with pytest.raises(httpx.HTTPError):
        await left
    answering.set()
    assert await settled() == 0


LARGE = 33 * MIB + 5
"""Bytes of a body of which most goes past the HTTP library."""


@asynccontextmanager
async def downloading(sent: int, *, ending: bool) -> AsyncGenerator[httpx.AsyncClient]:
    """A client of a server that announces `LARGE` bytes and sends so many, and then nothing or the end."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE)
            for begin in range(0, sent, MIB):
                writer.write(bytes([begin // MIB]) * min(MIB, sent - begin))
                await writer.drain()
            if not ending:
                await reader.read()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    transport, timeout = NetworkTransport(httpx.Limits(max_connections=1)), httpx.Timeout(5, read=0.2)
    async with server, httpx.AsyncClient(base_url=base_url, transport=transport, timeout=timeout) as client:
        yield client


async def test_a_large_body_comes_whole_and_what_follows_it_is_nobodys() -> None:
    async with downloading(LARGE + 7, ending=False) as client:
        for _ in range(2):  # the only place is free again, and its connection is a new one
            async with client.stream("GET", "/") as response:
                body = b"".join([chunk async for chunk in response.aiter_raw()])
            assert len(body) == LARGE
            assert body[::MIB] == bytes(range(34))


@pytest.mark.parametrize(
    ("ending", "error"), [(True, httpx.RemoteProtocolError), (False, httpx.ReadTimeout)], ids=["cut", "stalled"]
)
async def test_a_large_body_that_stops_is_an_error(ending: bool, error: type[httpx.TransportError]) -> None:
    got: list[int] = []

    async def take(response: httpx.Response) -> None:
        async for chunk in response.aiter_raw():
            got.append(len(chunk))

    async with downloading(LARGE - 1, ending=ending) as client, client.stream("GET", "/") as response:
        with pytest.raises(error):
            await take(response)
    assert sum(got) == LARGE - 1


async def test_a_large_body_may_be_left_in_its_middle() -> None:
    async with downloading(LARGE, ending=False) as client:
        for _ in range(2):
            async with client.stream("GET", "/") as response:
                chunks = response.aiter_raw()
                assert len([await anext(chunks) for _ in range(3)]) == 3
