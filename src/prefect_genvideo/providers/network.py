"""Where connections are made: to addresses that a guard has checked, or through the environment's proxy.

One place decides about proxies, and the guard stands where the connection is opened. A check anywhere before that
could be talked out of it: by a second look-up of the name, or by another reading of `NO_PROXY`. Behind a proxy names
are the proxy's to resolve: what the machine itself would answer may be made up. Only addresses that a link spells out
are refused there.
"""

from __future__ import annotations

import contextlib
import functools
import ssl
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterable, Mapping
from typing import Any, cast
from urllib.request import getproxies, proxy_bypass

import anyio
import httpcore
import httpx

from prefect_genvideo.providers.connection import connect
from prefect_genvideo.providers.ssrf import Guard, public_addresses

# A host with more addresses is not better reachable, and each one that hangs takes a share of the time to connect.
_ADDRESSES_TRIED = 4
_DEFAULT_PORTS = {"http": 80, "https": 443}
# Bytes of a body still to come from which on they are read past h11, which copies each of them four times. Nobody can
# use the connection after that, and a new one would cost more than is saved for less.
_LARGE_REST = 32 * 1024 * 1024


@functools.lru_cache(maxsize=1)
def tls_context() -> ssl.SSLContext:
    """Return the process's one TLS context; building one costs some 80 ms of CPU."""
    return httpx.create_ssl_context()


class NetworkTransport(httpx.AsyncBaseTransport):
    """The network as one client sees it: direct or by way of the environment's proxy, guarded or not."""

    def __init__(
        self,
        limits: httpx.Limits,
        *,
        guard: Guard | None = None,
        substitute: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Make a transport; connections are made when requests need them.

        Args:
            limits: How many connections there may be, and how many are used again.
            guard: Decides which hosts may be private. None checks nothing: for hosts that the operator configured.
            substitute: Stands in for the network; its owner closes it. Names are then not resolved here, and the
                guard refuses only addresses that a host spells out.
        """
        self._limits = limits
        self._guard = guard
        self._substitute = substitute
        self._routes: dict[str | None, httpx.AsyncBaseTransport] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request.

        Raises:
            DownloadError: The guard refuses the host, or its name does not resolve.
            httpx.TransportError: The request failed.
        """
        if self._guard:
            self._guard.check_literal(request.url.host)
        return await self._route(request.url).handle_async_request(request)

    async def aclose(self) -> None:
        """Close every connection."""
        while self._routes:
            await self._routes.popitem()[1].aclose()

    def _route(self, url: httpx.URL) -> httpx.AsyncBaseTransport:
        if self._substitute:
            return self._substitute
        proxy = environment_proxy(url, self._proxies)
        if proxy not in self._routes:
            self._routes[proxy] = _through(proxy, self._limits) if proxy else _Direct(self._limits, self._guard)
        return self._routes[proxy]

    @functools.cached_property
    def _proxies(self) -> dict[str, str]:
        return getproxies()  # reading the environment for each request costs as much as writing the request


def environment_proxy(url: httpx.URL, proxies: Mapping[str, str] | None = None) -> str | None:
    """Return the URL of the proxy that the environment names for a request, or None for a direct connection.

    Read as widely as users write it: `NO_PROXY` may hold names (which stand for their subdomains too), `*`,
    `host:port` and `scheme://host`.

    Args:
        url: Where the request goes.
        proxies: The environment's settings, where they have been read already.
    """
    proxies = getproxies() if proxies is None else proxies
    proxy = proxies.get(url.scheme) or proxies.get("all")
    if not proxy or _bypassed(url, proxies.get("no", "")):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _bypassed(url: httpx.URL, exceptions: str) -> bool:
    host = url.host.lower()
    if not exceptions:
        return bool(proxy_bypass(host))  # the settings of macOS and Windows
    spelled = (host, f"{host}:{url.port or _DEFAULT_PORTS.get(url.scheme, 0)}")
    for entry in exceptions.lower().split(","):
        scheme, mark, name = entry.strip().rpartition("://")
        name = name.strip("[]").removeprefix("*.").lstrip(".")
        if not name or (mark and scheme not in {url.scheme, "all"}):
            continue
        if name == "*" or any(one == name or one.endswith(f".{name}") for one in spelled):
            return True
    return False


def _through(proxy: str, limits: httpx.Limits) -> httpx.AsyncBaseTransport:
    try:
        return httpx.AsyncHTTPTransport(verify=tls_context(), trust_env=False, limits=limits, proxy=httpx.Proxy(proxy))
    except (ImportError, ValueError, httpx.InvalidURL) as error:
        # SOCKS needs a package that httpx does not bring. The URL may hold a password: only its scheme is named.
        scheme = proxy.partition("://")[0]
        raise httpx.ProxyError(f"the environment's {scheme} proxy cannot be used: {type(error).__name__}") from None


class _Direct(httpx.AsyncBaseTransport):
    """Connections to checked addresses. Name and certificate stay the link's: only TCP is opened here.

    httpcore's pool looks through all of its connections several times a request: with sixteen in use that takes longer
    than the request itself. So its connections are used without it.
    """

    def __init__(self, limits: httpx.Limits, guard: Guard | None) -> None:
        self._backend = _Backend(guard)
        self._places = anyio.Semaphore(limits.max_connections or sys.maxsize)
        self._most_kept = limits.max_keepalive_connections or 0
        self._expiry = limits.keepalive_expiry
        self._kept: list[httpcore.AsyncHTTPConnection] = []  # the longest unused first
        self._busy: set[httpcore.AsyncHTTPConnection] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        if url.scheme not in _DEFAULT_PORTS:
            raise httpx.UnsupportedProtocol("")
        target = httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path)
        await self._place(request.extensions.get("timeout", {}).get("pool"))
        connection = await self._connection(target.origin)
        self._busy.add(connection)
        try:
            with _httpx_errors():
                response = await connection.handle_async_request(
                    httpcore.Request(
                        request.method,
                        target,
                        headers=request.headers.raw,
                        content=request.stream,
                        extensions=request.extensions,
                    )
                )
        except BaseException:
            await self._give_back(connection, again=False)
            raise
        ended = functools.partial(self._give_back, connection, again=True)
        body = _Body(response, ended, request.extensions.get("timeout", {}).get("read"))
        return httpx.Response(response.status, headers=response.headers, stream=body)

    async def aclose(self) -> None:
        for connection in (*self._busy, *self._kept):
            await connection.aclose()
        self._kept.clear()

    async def _place(self, seconds: float | None) -> None:
        try:
            self._places.acquire_nowait()
        except anyio.WouldBlock:
            with anyio.move_on_after(seconds):
                return await self._places.acquire()
            raise httpx.PoolTimeout("") from None

    async def _connection(self, origin: httpcore.Origin) -> httpcore.AsyncHTTPConnection:
        """The free connection to a host that was used last; a new one where none still holds."""
        for place in reversed(range(len(self._kept))):
            if self._kept[place].can_handle_request(origin):
                connection = self._kept.pop(place)
                if not connection.has_expired():
                    return connection
                await connection.aclose()
        return httpcore.AsyncHTTPConnection(
            origin,
            ssl_context=tls_context() if origin.scheme == b"https" else None,
            keepalive_expiry=self._expiry,
            network_backend=self._backend,
        )

    async def _give_back(self, connection: httpcore.AsyncHTTPConnection, *, again: bool) -> None:
        """Keep a connection that can be used again; close it otherwise, and those that nobody has used for long."""
        self._places.release()
        self._busy.discard(connection)
        if again and connection.is_idle():
            self._kept.append(connection)
        else:
            await connection.aclose()
        while self._kept and (len(self._kept) > self._most_kept or self._kept[0].has_expired()):
            await self._kept.pop(0).aclose()


class _Body(httpx.AsyncByteStream):
    def __init__(
        self, response: httpcore.Response, ended: Callable[[], Awaitable[None]], timeout: float | None
    ) -> None:
        self._response = response
        self._ended: Callable[[], Awaitable[None]] | None = ended
        self._timeout = timeout

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = self._announced()
        stream: httpcore.AsyncNetworkStream = cast("Any", self._response).extensions["network_stream"]
        with _httpx_errors():
            async with contextlib.aclosing(cast("AsyncGenerator[bytes]", self._response.aiter_stream())) as chunks:
                async for chunk in chunks:
                    yield chunk
                    left -= len(chunk)
                    if left >= _LARGE_REST:  # and h11 has handed on all that it had
                        break
                else:
                    return
                while left > 0:
                    chunk = (await stream.read(left, self._timeout))[:left]
                    if not chunk:
                        raise httpcore.RemoteProtocolError(f"{left} bytes of the body are missing")
                    yield chunk
                    left -= len(chunk)

    def _announced(self) -> int:
        """Bytes of a body that comes in one piece; 0 where its end is found otherwise."""
        told = {name.lower(): value for name, value in self._response.headers}
        return 0 if b"transfer-encoding" in told else int(told.get(b"content-length", b"0"))

    async def aclose(self) -> None:
        ended, self._ended = self._ended, None
        try:
            await self._response.aclose()
        finally:
            if ended is not None:
                await ended()


class _Backend(httpcore.AsyncNetworkBackend):
    """Resolves, checks and connects in one step: the address that was checked is the one that is connected to."""

    def __init__(self, guard: Guard | None) -> None:
        self._guard = guard

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        del local_address, socket_options  # the connections above are made without
        if self._guard is None or self._guard.trusts(host):
            return await connect(host, port, timeout)
        addresses = await self._checked(host, port, timeout)
        share = None if timeout is None else timeout / len(addresses)
        failure: Exception | None = None
        for address in addresses:
            try:
                return await connect(address, port, share)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure or httpcore.ConnectError(f"{host} has no address")

    async def _checked(self, host: str, port: int, timeout: float | None) -> list[str]:
        try:
            with anyio.fail_after(timeout):
                return (await public_addresses(host, port))[:_ADDRESSES_TRIED]
        except TimeoutError:
            raise httpcore.ConnectTimeout(f"{host} was not resolved in time") from None

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)


@contextlib.contextmanager
def _httpx_errors() -> Generator[None, None, None]:
    """Raise httpcore's errors as httpx's: both libraries name them alike."""
    try:
        yield
    except (
        httpcore.TimeoutException,
        httpcore.NetworkError,
        httpcore.ProxyError,
        httpcore.ProtocolError,
        httpcore.UnsupportedProtocol,
    ) as error:
        raise getattr(httpx, type(error).__name__)(str(error)) from None
