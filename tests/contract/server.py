"""A real HTTP server on 127.0.0.1 that answers exactly as told: cut, stalled, reset or refused as well."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType

import httpx

from prefect_genvideo.providers.network import tls_context

CHUNK = 64 * 1024


@dataclass(frozen=True)
class Received:
    """A request as it arrived."""

    method: str
    target: str
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    @property
    def host(self) -> str:
        return self.headers.get("host", "")


@dataclass(frozen=True)
class Answer:
    """What goes back.

    Attributes:
        length: `Content-Length` to send; the true one by default.
        chunked: Send chunks instead of a length.
        close_delimited: Send neither; the end of the connection is the end of the body.
        cut_after: Bytes of the body after which the connection is closed.
        stall_after: Bytes of the body after which nothing more comes, until the client goes.
        reset: Reset the connection instead of answering.
        silent: Never answer.
        version: Of HTTP.
        before: Sent ahead of everything, e.g. interim answers.
        drip: Seconds before each piece of a hundred bytes; None sends larger pieces as fast as they go.
    """

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    body: bytes = b""
    length: int | None = None
    chunked: bool = False
    close_delimited: bool = False
    cut_after: int | None = None
    stall_after: int | None = None
    reset: bool = False
    silent: bool = False
    version: str = "1.1"
    before: bytes = b""
    drip: float | None = None


Handler = Callable[[Received], Answer]


class ScriptedServer:
    """Serves `handler` and remembers every request. An async context manager."""

    def __init__(self, handler: Handler | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.handler: Handler = handler or (lambda _: Answer(404))
        self.received: list[Received] = []
        self.connections = 0
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> ScriptedServer:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        self.connections += 1
        try:
            while await self._serve_one(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _serve_one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        request = await _read_request(reader)
        self.received.append(request)
        answer = self.handler(request)
        if answer.reset:
            _reset(writer)
            return False
        if answer.silent:
            await reader.read()
            return False
        writer.write(_head(answer))
        limit = min(x for x in (answer.cut_after, answer.stall_after, len(answer.body)) if x is not None)
        step = CHUNK if answer.drip is None else 100
        for at in range(0, limit, step):
            await asyncio.sleep(answer.drip or 0)
            piece = answer.body[at : min(at + step, limit)]
            writer.write(b"%x\r\n%s\r\n" % (len(piece), piece) if answer.chunked else piece)
            await writer.drain()
        if answer.stall_after is not None:
            await reader.read()
            return False
        if answer.chunked and answer.cut_after is None:
            writer.write(b"0\r\n\r\n")
        await writer.drain()
        return answer.cut_after is None and not answer.close_delimited


async def _read_request(reader: asyncio.StreamReader) -> Received:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
    body = b""
    if "content-length" in headers:
        body = await reader.readexactly(int(headers["content-length"]))
    elif headers.get("transfer-encoding") == "chunked":
        while size := int(await reader.readline(), 16):
            body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
    return Received(method, target, headers, body)


def _head(answer: Answer) -> bytes:
    headers = dict(answer.headers)
    if answer.chunked:
        headers["Transfer-Encoding"] = "chunked"
    elif not answer.close_delimited:
        headers["Content-Length"] = str(len(answer.body) if answer.length is None else answer.length)
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return answer.before + f"HTTP/{answer.version} {answer.status} X\r\n{lines}\r\n".encode()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with RST instead of FIN, as a machine that dies does."""
    found: socket.socket = writer.get_extra_info("socket")
    found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class HostMap(httpx.AsyncBaseTransport):
    """The network as the clients see it in tests: every public name is the one local server.

    What is sent is real; only the connection's address is replaced. `hosts` keeps the names asked for.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._inner = httpx.AsyncHTTPTransport(verify=tls_context(), limits=httpx.Limits(max_keepalive_connections=0))
        self.hosts: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.hosts.append(request.url.host)
        target = request.url.copy_with(scheme="http", host="127.0.0.1", port=self._port)
        sent = httpx.Request(
            request.method, target, headers=request.headers, stream=request.stream, extensions=request.extensions
        )
        return await self._inner.handle_async_request(sent)

    async def aclose(self) -> None:
        await self._inner.aclose()


def mp4(length: int = 4096) -> bytes:
    """A file of exactly `length` bytes whose top-level boxes are whole: ftyp, moov, mdat."""
    ftyp = bytes.fromhex("00000020667479706d703432") + b"\0" * 20
    moov = (16).to_bytes(4, "big") + b"moov" + b"\0" * 8
    rest = length - len(ftyp) - len(moov)
    content = (bytes(range(251)) * (rest // 251 + 1))[: rest - 8]
    return ftyp + moov + rest.to_bytes(4, "big") + b"mdat" + content
