"""HTTP exchanges: timeouts by phase, no link in any log, and a reply that never raises.

A create that failed is only safe to send again when it cannot have arrived. So every exchange ends in a `Reply` that
says what came back and, when nothing did, whether the request can have been sent.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import re
from collections.abc import AsyncIterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from typing import Any, cast
from urllib.parse import unquote

import anyio
import anyio.to_thread
import httpx

from prefect_genvideo.providers.answers import parse_json
from prefect_genvideo.providers.network import NetworkTransport
from prefect_genvideo.providers.ssrf import Guard
from prefect_genvideo.providers.trace import note_head
from prefect_genvideo.providers.unpack import CODINGS, BrokenCodingError, unpacked
from prefect_genvideo.providers.unreachable import cause_of
from prefect_genvideo.providers.waits import answered_at, retry_after

CONNECT_TIMEOUT = 10.0
"""Seconds for looking a name up and connecting."""
WRITE_TIMEOUT = 60.0
"""Seconds for each piece of a request to leave."""
POOL_TIMEOUT = 10.0
"""Seconds to wait for a connection of the pool."""
READ_TIMEOUT = 60.0
"""Seconds without a byte of an answer."""
CONNECTIONS = 100
"""Of any client, at one time."""
KEPT_CONNECTIONS = 16
"""Of a client that uses them again."""
ANSWER_LIMIT = 2 * 1024 * 1024
"""Bytes of an API's answer. A list of a thousand models has a tenth of it."""
VALUES_LIMIT = 50_000
"""Values in an API's answer; reading so many takes some 40 ms, and eight megabytes of them took seconds."""
SLOWEST_RATE = 1024
"""Bytes per second below which a body counts as stuck, although single bytes still drip."""
RATE_WINDOW = 30.0
"""Seconds of waiting over which the rate of a body is taken."""
SLOWEST_UPLOAD = 32 * 1024
"""Bytes per second: what a request's own body may take at most, on top of the time for its answer."""

NOT_SENT = "not sent"
"""Failure of a request of which no byte left."""
TIMED_OUT = "timeout"
"""Failure of a request that had no whole answer in time."""
LOST = "connection lost"
"""Failure of a request whose connection ended early."""
TOO_LARGE = "answer too large"
"""Failure of an answer of more bytes or values than are read."""

# Values from which an answer is read in a thread, so that other requests of the process go on meanwhile.
_MANY_VALUES = 5_000

# A letter as URLs may have it; `30%` is none.
_ESCAPED = re.compile(rb"%[0-9a-fA-F]{2}")

# Everything that fails before the first byte of the request is on the wire.
_BEFORE_SENDING = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
)
_KEEPALIVE = 5.0  # shorter than any gateway's idle limit, so that a poll rarely meets a dead connection


@functools.lru_cache(maxsize=1)
def user_agent() -> str:
    """`prefect-genvideo/<version>`."""
    try:
        return f"prefect-genvideo/{version('prefect-genvideo')}"
    except PackageNotFoundError:
        return "prefect-genvideo"


# Set while a request of ours is sent.
_sending: ContextVar[bool] = ContextVar("prefect_genvideo_sending", default=False)


# httpcore logs every header of an answer at DEBUG: signed redirects would stand in the log. Only what it says about our
# own requests is dropped.
for _name in ("httpcore.http11", "httpcore.connection", "httpcore.proxy", "httpcore.socks"):
    logging.getLogger(_name).addFilter(lambda _: not _sending.get())


class Client:
    """Sends requests as they are: follows no redirect, carries no key, keeps no cookie, logs no link.

    `httpx.AsyncClient` does all that and has to be talked out of it, at a sixth of what a request costs.

    Attributes:
        places: As many as it has connections, for exchanges with an API.
    """

    def __init__(
        self,
        *,
        read_timeout: float = READ_TIMEOUT,
        keep_alive: bool = True,
        guard: Guard | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Make a client; connections are made when requests need them.

        Args:
            read_timeout: Seconds without a byte before giving up.
            keep_alive: False opens a fresh connection for every request. A create needs that: a request lost on a
                connection that the other side was just closing has an unknown outcome.
            guard: Decides which hosts may be private; None for hosts that the operator configured.
            transport: Stands in for the network; its owner closes it.
        """
        limits = httpx.Limits(
            max_connections=CONNECTIONS,
            max_keepalive_connections=KEPT_CONNECTIONS if keep_alive else 0,
            keepalive_expiry=_KEEPALIVE,
        )
        timeout = httpx.Timeout(read_timeout, connect=CONNECT_TIMEOUT, write=WRITE_TIMEOUT, pool=POOL_TIMEOUT)
        self._transport = NetworkTransport(limits, guard=guard, substitute=transport)
        self._extensions = {"timeout": timeout.as_dict()}
        self._headers = {"Accept": "*/*", "User-Agent": user_agent(), "Accept-Encoding": "identity"}
        # Who waits for a connection waits here, without a time limit: httpx would give up after a while, and slows down
        # with the square of those that wait.
        self.places = asyncio.Semaphore(KEPT_CONNECTIONS if keep_alive else CONNECTIONS)

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close every connection."""
        await self._transport.aclose()

    def request(
        self,
        method: str,
        url: httpx.URL | str,
        *,
        headers: Mapping[str, str],
        content: bytes | None = None,
        files: Mapping[str, Any] | None = None,
    ) -> httpx.Request:
        """Return a request for `send`.

        Args:
            method: HTTP method.
            url: Absolute http(s) URL.
            headers: Of this request only, e.g. the key.
            content: Body.
            files: Multipart fields; files are streamed.

        Raises:
            httpx.InvalidURL: The URL is none.
            ValueError: A header or a file cannot be sent.
            TypeError: Likewise.
        """
        return httpx.Request(
            method,
            url,
            headers={**self._headers, **headers},
            content=content,
            files=files,
            extensions=dict(self._extensions),
        )

    async def send(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return its answer, the body still to come; the caller closes it.

        Args:
            request: From this client.

        Raises:
            httpx.TransportError: The request failed.
            DownloadError: The client's guard refuses the address.
        """
        token = _sending.set(True)
        try:
            return await self._transport.handle_async_request(request)
        finally:
            _sending.reset(token)


@dataclass(frozen=True)
class Reply:
    """What came of one request.

    Attributes:
        status: HTTP status; 0 when there was no answer.
        body: The answer, possibly cut when `failure` is set.
        json: The body as JSON; None when it is none.
        failure: `not sent`, `timeout`, `connection lost` or `answer too large`; empty when the answer came whole.
        content_type: As declared, lower case.
        retry_after: Seconds the other side asked us to wait.
        answered_at: When it answered, by its own clock; None where it does not say.
        request_id: The other side's own id of the call, in a header.
        cause: What kept a request that was not sent from being sent, in words of ours.
    """

    status: int = 0
    body: bytes = b""
    json: Any = None
    failure: str = ""
    content_type: str = ""
    retry_after: float | None = None
    answered_at: datetime | None = None
    request_id: str | None = None
    cause: str = field(default="", compare=False)

    @property
    def is_html(self) -> bool:
        """Whether the body is a web page."""
        start = self.body[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
        looks = start.startswith((b"<!doctype html", b"<html", b"<head", b"<body"))
        return self.json is None and (looks or ("html" in self.content_type and start.startswith(b"<")))


async def exchange(
    client: Client,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    content: bytes | None = None,
    files: Mapping[str, Any] | None = None,
    deadline: float = CONNECT_TIMEOUT + 2 * READ_TIMEOUT,
    secret: str = "",
    id_header: str = "",
    size: int = 1,
) -> Reply:
    """Send one request and return what came of it. Raises nothing but cancellation.

    Args:
        client: Sends it.
        method: HTTP method.
        url: Absolute URL.
        headers: Of this request only, e.g. the key.
        content: Body.
        files: Multipart fields; files are streamed.
        deadline: Seconds for everything together; a large body of the request gets more, at `SLOWEST_UPLOAD`.
        secret: Text that is blanked out in the answer: some gateways echo the key.
        id_header: The header that carries the other side's id of the call; it is kept before the body is read.
        size: How many times `ANSWER_LIMIT` and `VALUES_LIMIT` the answer may have.
    """
    try:
        request = client.request(method, url, headers=headers, content=content, files=files)
    except (httpx.InvalidURL, ValueError, TypeError) as error:
        return Reply(failure=NOT_SENT, cause=cause_of(error, url))
    body, failure, response, request_id = bytearray(), TIMED_OUT, None, None
    try:
        with anyio.move_on_after(deadline + int(request.headers.get("content-length", 0)) / SLOWEST_UPLOAD):
            response = await client.send(request)
            request_id = note_head(response.headers, id_header)
            failure = await _read(response, body, size * ANSWER_LIMIT)
    except _BEFORE_SENDING as error:
        return Reply(failure=NOT_SENT, cause=cause_of(error, url))
    except httpx.TimeoutException:
        return Reply(failure=TIMED_OUT)
    except (httpx.HTTPError, OSError, ValueError):
        return Reply(failure=LOST)
    finally:
        if response is not None and not response.is_closed:
            with anyio.CancelScope(shield=True):
                await response.aclose()
    if response is None:
        return Reply(failure=failure)
    return replace(await _reply(response, bytes(body), failure, secret, size), request_id=request_id)


async def _read(response: httpx.Response, body: bytearray, limit: int) -> str:
    """Read the body into `body`; returns what went wrong, or an empty text."""
    try:
        async for chunk in content_chunks(response):
            body += chunk
            if len(body) > limit:
                return TOO_LARGE
    except httpx.TimeoutException:
        return TIMED_OUT
    except (httpx.HTTPError, httpx.StreamError, OSError, ValueError, BrokenCodingError):
        return LOST
    return ""


async def _reply(response: httpx.Response, content: bytes, failure: str, secret: str, size: int) -> Reply:
    content = content[: size * ANSWER_LIMIT]
    if secret:
        content = content.replace(secret.encode(), b"***")
    values = sum(map(content.count, (b",", b"[", b"{")))
    begins = content.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if not failure and values > size * VALUES_LIMIT and begins in (b"{", b"[", b'"'):
        failure = TOO_LARGE
    return Reply(
        status=response.status_code,
        body=content,
        json=None if failure else await _json(content, values, secret),
        failure=failure,
        content_type=response.headers.get("content-type", "").lower(),
        retry_after=retry_after(response.headers),
        answered_at=answered_at(response.headers),
    )


async def _json(content: bytes, values: int, secret: str) -> Any:
    if values > _MANY_VALUES:
        return await anyio.to_thread.run_sync(_parsed, content, secret)
    return _parsed(content, secret)


def _parsed(content: bytes, secret: str) -> Any:
    value = parse_json(content)
    if isinstance(value, str):  # some gateways write an answer as JSON twice
        value = parse_json(value.encode("utf-8", "replace")) or value
    # A key whose letters are escaped shows only now.
    escaped = secret and (b"\\" in content or _ESCAPED.search(content))
    return without_secret(value, secret) if escaped else value


def without_secret(value: Any, secret: str) -> Any:
    """Return a JSON value without a secret in any of its texts, percent-encoded ones included.

    Args:
        value: Any JSON value; objects and arrays are changed in place.
        secret: The text to blank out.
    """
    holder: list[Any] = [value]
    left: list[dict[str, Any] | list[Any]] = [holder]
    while left:
        node = left.pop()
        for place, inner in node.items() if isinstance(node, dict) else enumerate(node):
            if isinstance(inner, dict | list):
                left.append(cast("dict[str, Any] | list[Any]", inner))
            elif isinstance(inner, str) and (secret in inner or ("%" in inner and secret in unquote(inner))):
                cast("dict[Any, Any]", node)[place] = unquote(inner).replace(secret, "***")
    return holder[0]


def raw_chunks(response: httpx.Response, window: float | None = None) -> AsyncIterator[bytes]:
    """The body as it comes off the wire, or at once when a transport delivered it whole.

    Args:
        response: Its head has come.
        window: Seconds of waiting over which its rate is taken; None is `RATE_WINDOW`.

    Raises:
        httpx.ReadTimeout: It drips below `SLOWEST_RATE`. What the reader takes for itself does not count.
    """
    if response.is_stream_consumed:
        return response.aiter_bytes()
    return _paced(response.aiter_raw(), RATE_WINDOW if window is None else window)


async def _paced(chunks: AsyncIterator[bytes], window: float) -> AsyncIterator[bytes]:
    arrived, waited = 0, 0.0
    while True:
        before = anyio.current_time()
        chunk = await anext(chunks, None)
        if chunk is None:
            return
        arrived, waited = arrived + len(chunk), waited + anyio.current_time() - before
        if waited > window:
            if arrived < SLOWEST_RATE * waited:
                raise httpx.ReadTimeout(f"less than {SLOWEST_RATE} bytes per second")
            arrived, waited = 0, 0.0
        yield chunk


def coding_of(response: httpx.Response) -> str:
    """The content coding that is to be undone; empty where there is none, or the transport has undone it."""
    named = response.headers.get("content-encoding", "").strip().lower()
    return named if named in CODINGS and not response.is_stream_consumed else ""


def content_chunks(response: httpx.Response, window: float | None = None) -> AsyncIterator[bytes]:
    """The body, unpacked: we ask for no compression, yet some proxies compress all the same.

    Args:
        response: Its head has come.
        window: As of `raw_chunks`.
    """
    coding, chunks = coding_of(response), raw_chunks(response, window)
    return unpacked(chunks, coding) if coding else chunks
