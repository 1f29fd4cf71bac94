"""One way to talk HTTP: timeouts by phase, no link in any log, and a reply that never raises.

A create that failed is only safe to send again when it cannot have arrived. So every exchange ends in a `Reply` that
says what came back and, when nothing did, whether the request can have been sent.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import AsyncIterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import anyio
import httpx

from prefect_genvideo.providers.answers import parse_json
from prefect_genvideo.providers.network import NetworkTransport
from prefect_genvideo.providers.ssrf import Guard
from prefect_genvideo.providers.unpack import CODINGS, BrokenCodingError, unpacked
from prefect_genvideo.providers.waits import retry_after

CONNECT_TIMEOUT = 10.0
WRITE_TIMEOUT = 60.0
POOL_TIMEOUT = 10.0
READ_TIMEOUT = 60.0
CONNECTIONS = 100
"""Of any client, at one time."""
KEPT_CONNECTIONS = 16
"""Of a client that uses them again. Each request looks through all of them, so that more make each slower."""
ANSWER_LIMIT = 8 * 1024 * 1024

NOT_SENT = "not sent"
TIMED_OUT = "timeout"
LOST = "connection lost"
TOO_LARGE = "answer too large"

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


def _not_ours(record: logging.LogRecord) -> bool:
    del record
    return not _sending.get()


# httpx logs every URL at INFO, and httpcore every header of an answer at DEBUG: signed links and redirects would stand
# in the log. Only what they say about our own requests is dropped.
for _name in ("httpx", "httpcore.http11", "httpcore.connection", "httpcore.proxy", "httpcore.socks"):
    logging.getLogger(_name).addFilter(_not_ours)


def new_client(
    *,
    read_timeout: float = READ_TIMEOUT,
    keep_alive: bool = True,
    guard: Guard | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
) -> httpx.AsyncClient:
    """Return a client that follows no redirect, carries no key and keeps no cookie. Requests go out by `send`.

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
    return httpx.AsyncClient(
        transport=NetworkTransport(limits, guard=guard, substitute=transport),
        trust_env=False,  # proxies are the transport's; a .netrc has no say in who is paid
        follow_redirects=False,
        timeout=httpx.Timeout(read_timeout, connect=CONNECT_TIMEOUT, write=WRITE_TIMEOUT, pool=POOL_TIMEOUT),
        headers={"User-Agent": user_agent(), "Accept-Encoding": "identity"},
        # Nothing that one answer sets travels with another request.
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
    )


async def send(client: httpx.AsyncClient, request: httpx.Request) -> httpx.Response:
    """Send a request and return its answer, the body still to come; the caller closes it. Logs no URL.

    Raises:
        httpx.TransportError: The request failed.
        DownloadError: The client's guard refuses the address.
    """
    token = _sending.set(True)
    try:
        return await client.send(request, stream=True, auth=None)
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
    """

    status: int = 0
    body: bytes = b""
    json: Any = None
    failure: str = ""
    content_type: str = ""
    retry_after: float | None = None

    @property
    def is_html(self) -> bool:
        """Whether the body is a web page."""
        start = self.body[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
        looks = start.startswith((b"<!doctype html", b"<html", b"<head", b"<body"))
        return self.json is None and (looks or ("html" in self.content_type and start.startswith(b"<")))


class Line:
    """A client, and as many places as it has connections: who waits for one waits here, without a time limit.

    httpx would give up after a while, and slows down with the square of those that wait.

    Args:
        keep_alive: As for `new_client`.
        read_timeout: As for `new_client`.
        transport: As for `new_client`.
    """

    def __init__(self, *, keep_alive: bool, read_timeout: float, transport: httpx.AsyncBaseTransport | None) -> None:
        self.client = new_client(keep_alive=keep_alive, read_timeout=read_timeout, transport=transport)
        self.places = anyio.CapacityLimiter(KEPT_CONNECTIONS if keep_alive else CONNECTIONS)


async def exchange(
    client: httpx.AsyncClient,
    method: str,
    url: str,
    *,
    headers: Mapping[str, str],
    content: bytes | None = None,
    files: Mapping[str, Any] | None = None,
    deadline: float | None = None,
    secret: str = "",
) -> Reply:
    """Send one request and return what came of it. Raises nothing but cancellation.

    Args:
        client: From `new_client`.
        method: HTTP method.
        url: Absolute URL.
        headers: Of this request only, e.g. the key.
        content: Body.
        files: Multipart fields; files are streamed.
        deadline: Seconds for everything together. None where a body of any size goes out.
        secret: Text that is blanked out in the answer: some gateways echo the key.
    """
    with anyio.move_on_after(deadline):
        try:
            request = client.build_request(method, url, headers=headers, content=content, files=files)
        except (httpx.InvalidURL, ValueError, TypeError):
            return Reply(failure=NOT_SENT)
        try:
            response = await send(client, request)
        except _BEFORE_SENDING:
            return Reply(failure=NOT_SENT)
        except httpx.TimeoutException:
            return Reply(failure=TIMED_OUT)
        except (httpx.HTTPError, OSError, ValueError):
            return Reply(failure=LOST)
        try:
            return await _read(response, secret)
        finally:
            with anyio.CancelScope(shield=True):
                await response.aclose()
    return Reply(failure=TIMED_OUT)


async def _read(response: httpx.Response, secret: str) -> Reply:
    body = bytearray()
    failure = ""
    try:
        async for chunk in content_chunks(response):
            body += chunk
            if len(body) > ANSWER_LIMIT:
                failure = TOO_LARGE
                break
    except httpx.TimeoutException:
        failure = TIMED_OUT
    except (httpx.HTTPError, httpx.StreamError, OSError, ValueError, BrokenCodingError):
        failure = LOST
    content = bytes(body[:ANSWER_LIMIT])
    if secret:
        content = content.replace(secret.encode(), b"***")
    return Reply(
        status=response.status_code,
        body=content,
        json=None if failure else parse_json(content),
        failure=failure,
        content_type=response.headers.get("content-type", "").lower(),
        retry_after=retry_after(response.headers),
    )


def raw_chunks(response: httpx.Response) -> AsyncIterator[bytes]:
    """The body as it comes off the wire, or at once when a transport delivered it whole."""
    return response.aiter_bytes() if response.is_stream_consumed else response.aiter_raw()


def coding_of(response: httpx.Response) -> str:
    """The content coding that is to be undone; empty where there is none, or the transport has undone it."""
    named = response.headers.get("content-encoding", "").strip().lower()
    return named if named in CODINGS and not response.is_stream_consumed else ""


def content_chunks(response: httpx.Response) -> AsyncIterator[bytes]:
    """The body, unpacked: we ask for no compression, yet some proxies compress all the same."""
    coding = coding_of(response)
    return unpacked(raw_chunks(response), coding) if coding else raw_chunks(response)
