"""A connection over asyncio itself, as httpcore uses one.

httpcore's own goes through anyio, which opens a cancel scope for each read and write and reads 64 KiB at a time. An
exchange with a provider is some ten reads and writes, and a video is thousands.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from typing import Any

import anyio
import httpcore

# Bytes that wait to be read before the other side is told to pause: one of asyncio's own reads.
_MOST_WAITING = 256 * 1024
# Seconds.
_NEXT_ADDRESS = 0.25


class Connection(asyncio.Protocol, httpcore.AsyncNetworkStream):
    """One TCP connection, plain or with TLS. One task at a time reads from it, and one writes to it."""

    def __init__(self) -> None:
        self._transport: Any = None
        self._chunks: deque[bytes] = deque()
        self._waiting = 0
        self._paused = False
        self._ended = False
        self._failure: Exception | None = None
        self._reader: asyncio.Future[bool] | None = None
        self._writer: asyncio.Future[bool] | None = None
        self._is_full = False

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Keep bytes for the reader; pause the other side when too many wait."""
        self._chunks.append(data)
        self._waiting += len(data)
        if self._waiting > _MOST_WAITING and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        _wake(self._reader)

    def eof_received(self) -> bool:
        """Note the other side's end; what we still have to send may go out, where TLS has not ended both ways."""
        self._ended = True
        _wake(self._reader)
        return self._transport.get_extra_info("ssl_object") is None

    def connection_lost(self, exc: Exception | None) -> None:
        """Note that nothing more can be read or written."""
        self._ended, self._failure = True, exc or self._failure
        self._is_full = False
        _wake(self._reader)
        _wake(self._writer)

    def pause_writing(self) -> None:
        """Let the writer wait."""
        self._is_full = True

    def resume_writing(self) -> None:
        """Let the writer go on."""
        self._is_full = False
        _wake(self._writer)

    # What httpcore calls.

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        """The next bytes, as many as came at once; none at the end.

        Args:
            max_bytes: Taken as a hint: what asyncio has read in one step is handed on whole.
            timeout: Seconds; None waits for ever.

        Raises:
            httpcore.ReadTimeout: None came in time.
            httpcore.ReadError: The connection was lost.
        """
        del max_bytes
        while not self._chunks and not self._ended:
            self._reader = asyncio.get_running_loop().create_future()
            try:
                if not await _woken(self._reader, timeout):
                    raise httpcore.ReadTimeout
            finally:
                self._reader = None
        if self._chunks:
            chunk = self._chunks.popleft()
            self._waiting -= len(chunk)
            if self._paused and self._waiting <= _MOST_WAITING:
                self._paused = False
                self._transport.resume_reading()
            return chunk
        if self._failure is not None:
            raise httpcore.ReadError(str(self._failure))
        return b""

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        """Send bytes; returns when the other side has taken them as far as its window goes.

        Args:
            buffer: What to send.
            timeout: Seconds; None waits for ever.

        Raises:
            httpcore.WriteTimeout: The other side did not take them in time.
            httpcore.WriteError: The connection is lost.
        """
        if not buffer:
            return
        if self._transport.is_closing():
            raise httpcore.WriteError(str(self._failure or "the connection is closed"))
        self._transport.write(buffer)
        while self._is_full:
            self._writer = asyncio.get_running_loop().create_future()
            try:
                if not await _woken(self._writer, timeout):
                    raise httpcore.WriteTimeout
            finally:
                self._writer = None
        if self._failure is not None:
            raise httpcore.WriteError(str(self._failure))

    async def aclose(self) -> None:
        """Close it at once; bytes that nobody has taken are dropped."""
        self._transport.abort()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        """Speak TLS from here on.

        Args:
            ssl_context: Whom to trust.
            server_hostname: The name that the certificate must have.
            timeout: Seconds for the handshake.

        Raises:
            httpcore.ConnectTimeout: The handshake took too long.
            httpcore.ConnectError: It failed.
        """
        loop = asyncio.get_running_loop()
        try:
            with anyio.fail_after(timeout):
                self._transport = await loop.start_tls(
                    self._transport, self, ssl_context, server_hostname=server_hostname
                )
        except BaseException as error:
            self._transport.abort()
            if isinstance(error, TimeoutError):
                raise httpcore.ConnectTimeout("the TLS handshake took too long") from None
            if isinstance(error, OSError):
                raise httpcore.ConnectError(str(error)) from error
            raise
        return self

    def get_extra_info(self, info: str) -> Any:
        """What httpcore asks for.

        Args:
            info: `is_readable` of an idle connection means that its server has closed it; others are asyncio's.
        """
        if info == "is_readable":
            return self._ended or bool(self._chunks) or self._transport.is_closing()
        names = {"client_addr": "sockname", "server_addr": "peername"}
        return self._transport.get_extra_info(names.get(info, info))


async def connect(host: str, port: int, timeout: float | None) -> Connection:
    """Open a TCP connection.

    Args:
        host: Name or address.
        port: Its port.
        timeout: Seconds for looking the name up and connecting.

    Raises:
        httpcore.ConnectTimeout: It took too long.
        httpcore.ConnectError: It failed.
    """
    loop = asyncio.get_running_loop()
    try:
        with anyio.fail_after(timeout):
            # Of several addresses, the next is tried when one is silent for a moment (RFC 8305).
            _, connection = await loop.create_connection(Connection, host, port, happy_eyeballs_delay=_NEXT_ADDRESS)
    except TimeoutError:
        raise httpcore.ConnectTimeout(f"{host} did not answer in time") from None
    except OSError as error:
        raise httpcore.ConnectError(str(error)) from error
    return connection


async def _woken(waiter: asyncio.Future[bool], timeout: float | None) -> bool:
    """Wait for a future that something else sets; False when the time is up."""
    if timeout is None:
        return await waiter
    timer = asyncio.get_running_loop().call_later(timeout, _set, waiter, False)
    try:
        return await waiter
    finally:
        timer.cancel()


def _wake(waiter: asyncio.Future[bool] | None) -> None:
    if waiter is not None:
        _set(waiter, True)


def _set(waiter: asyncio.Future[bool], value: bool) -> None:
    if not waiter.done():
        waiter.set_result(value)
