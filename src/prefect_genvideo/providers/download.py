"""Downloads: where a link leads, with which key, and what an answer that brings no video says.

The key goes to the API's own origin and only for its content path, never across a redirect.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from urllib.parse import urljoin

import anyio
import httpx

from prefect_genvideo.errors import DownloadError, LinkExpiredError
from prefect_genvideo.providers.answers import as_text, is_link, parse_json
from prefect_genvideo.providers.evidence import keyed
from prefect_genvideo.providers.http import (
    CONNECT_TIMEOUT,
    POOL_TIMEOUT,
    Client,
    content_chunks,
    without_secret,
)
from prefect_genvideo.providers.unpack import BrokenCodingError
from prefect_genvideo.providers.video_stream import DownloadRules, VideoStream, failed, stalled, too_large
from prefect_genvideo.providers.waits import retry_after

MAX_REDIRECTS = 5
"""Redirects of one download; a content network needs two."""
SMALL_FILE_SECONDS = 60.0
"""Seconds for a whole small file, from its first request to its last byte."""

# Bytes of an error page that are read, and seconds that it may take: its words are decoration.
_MAX_ERROR_BODY = 16 * 1024
_ERROR_BODY_SECONDS = 5.0
# Statuses by what they mean for the link: the file comes, it leads on, a fresh one may work, the file is gone for good.
_WHOLE = frozenset({200, 201, 203})
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_REFUSED = frozenset({401, 403, 404})
_FINAL = frozenset({410, 451})
# Google's and Amazon's stores say 400, in XML, of a link whose time has passed.
_EXPIRED = re.compile(r"expired", re.IGNORECASE)
_XML_MESSAGE = re.compile(rb"<Message>([^<]{1,500})</Message>")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_CONTENT_PATH = re.compile(r"/v1/videos/[^/]+/content")
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
_DEFAULT_PORTS = {"http": 80, "https": 443}


@asynccontextmanager
async def open_video(
    client: Client, rules: DownloadRules, url: str, *, offset: int = 0, if_range: str | None = None
) -> AsyncGenerator[VideoStream, None]:
    """Open a result; see `VideoClient.open_video`.

    Args:
        client: Guards every connection.
        rules: What the download may do.
        url: The generation's `video_url`.
        offset: Byte to go on from; heeded only together with `if_range`.
        if_range: ETag of the earlier bytes.

    Yields:
        The stream, its first bytes read.

    Raises:
        LinkExpiredError: The link is refused.
        DownloadError: It is no video, or does not come.
    """
    response, start, size = await _answered(client, rules, url, offset, if_range)
    try:
        if response.status_code not in _WHOLE and (start is None or response.status_code != 206):
            raise await _refusal(response, rules)
        if (size or 0) > rules.max_size:
            raise too_large(rules)
        stream = VideoStream(response, rules, offset=start or 0, size=size)
        try:
            await stream.begin()
        except DownloadError:
            if response.status_code in _WHOLE:
                raise
            raise await _refusal(response, rules, stream.head) from None
        yield stream
    finally:
        with anyio.CancelScope(shield=True):
            await response.aclose()


async def _answered(
    client: Client, rules: DownloadRules, url: str, offset: int, if_range: str | None
) -> tuple[httpx.Response, int | None, int | None]:
    """Ask for the file from `offset` on, or for all of it where that is not to be had."""
    if offset > 0 and if_range:
        response = await follow(client, rules, url, {"Range": f"bytes={offset}-", "If-Range": if_range})
        start, size = _extent(response, offset, if_range)
        if start is not None:
            return response, start, size
        # The server answered a part that is not ours to use, or refused the range: start over.
        await response.aclose()
    response = await follow(client, rules, url, {})
    return response, *_extent(response, 0, None)


async def fetch_small(client: Client, rules: DownloadRules, url: str, seconds: float | None = None) -> bytes:
    """Fetch a small file, such as a cover picture or a manifest, under the same rules of conduct as a video.

    Args:
        client: Guards every connection.
        rules: What the download may do; `max_size` is the file's.
        url: Where it is.
        seconds: For all of it; None is `SMALL_FILE_SECONDS`.

    Raises:
        DownloadError: It does not come, or is larger than `rules.max_size`.
    """
    most = SMALL_FILE_SECONDS if seconds is None else seconds
    with anyio.move_on_after(most):
        return await _whole(client, rules, url)
    raise failed(rules, f"The file did not come within {most:g} s.", reason="timeout")


async def _whole(client: Client, rules: DownloadRules, url: str) -> bytes:
    response = await follow(client, rules, url, {})
    try:
        if response.status_code not in _WHOLE:
            raise await _refusal(response, rules)
        data = bytearray()
        async for chunk in content_chunks(response, rules.stall_timeout):
            data += chunk
            if len(data) > rules.max_size:
                raise too_large(rules)
        return bytes(data)
    except httpx.TimeoutException:
        raise stalled(rules) from None
    except (httpx.HTTPError, httpx.StreamError, OSError, BrokenCodingError):
        raise failed(rules, "The file did not come whole.", reason="connection lost") from None
    finally:
        with anyio.CancelScope(shield=True):
            await response.aclose()


async def follow(client: Client, rules: DownloadRules, url: str, headers: dict[str, str]) -> httpx.Response:
    """Request `url` and go along with at most five redirects; the client's guard checks each connection.

    Args:
        client: Guards every connection.
        rules: What the download may do.
        url: Any http(s) link; a user and a password in it are not sent.
        headers: Of the request; the key is added where it belongs.

    Raises:
        DownloadError: The link is none, nobody answers, or there are too many redirects.
    """
    target = _parsed(rules, url)
    key = _key_header(rules, target)
    for _ in range(MAX_REDIRECTS + 1):
        response = await _request(client, rules, target, {**headers, **key})
        if response.status_code not in _REDIRECTS:
            return response
        await response.aclose()
        key = {}
        target = _redirected(rules, target, response.headers.get("location", ""))
    raise failed(rules, f"More than {MAX_REDIRECTS} redirects.", reason="too many redirects", retryable=False)


def _redirected(rules: DownloadRules, base: httpx.URL, location: str) -> httpx.URL:
    try:
        joined = location if _SCHEME.match(location) else urljoin(str(base), location) if location else ""
    except ValueError:
        joined = ""
    return _parsed(rules, joined)


def _parsed(rules: DownloadRules, url: str) -> httpx.URL:
    """Return the URL without user and password, or refuse what is no http(s) link."""
    try:
        if is_link(url):
            # Without this, httpx would turn a user in the link into an Authorization header.
            return httpx.URL(url).copy_with(username=None, password=None, fragment=None)
    except (httpx.InvalidURL, ValueError):
        pass
    raise failed(rules, "The link is no http(s) URL.", reason="bad link", retryable=False)


def _key_header(rules: DownloadRules, url: httpx.URL) -> dict[str, str]:
    own = _origin(url) == _origin(httpx.URL(rules.origin)) and _CONTENT_PATH.search(url.path)
    return {"Authorization": f"Bearer {rules.key}"} if own else {}


def _origin(url: httpx.URL) -> tuple[str, str, int]:
    return url.scheme, url.host.lower(), url.port or _DEFAULT_PORTS.get(url.scheme, 0)


async def _request(client: Client, rules: DownloadRules, url: httpx.URL, headers: dict[str, str]) -> httpx.Response:
    error: DownloadError
    try:
        # Of the head of the answer alone; single bytes of it may come just often enough to stall nothing.
        with anyio.fail_after(CONNECT_TIMEOUT + POOL_TIMEOUT + 2 * rules.stall_timeout):
            return await client.send(client.request("GET", url, headers=headers))
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError):
        error = failed(rules, f"{url.host} does not answer.", reason="not connected")
    except (httpx.TimeoutException, TimeoutError):
        error = failed(rules, f"{url.host} did not answer in time.", reason="timeout")
    except (httpx.HTTPError, OSError, ValueError):
        error = failed(rules, f"The connection to {url.host} was lost.", reason="connection lost")
    # Raised out here so that no request, with its key, hangs on the error.
    raise error


def _extent(response: httpx.Response, offset: int, if_range: str | None) -> tuple[int | None, int | None]:
    """Return (first byte, size of the whole file); the first byte is None when the answer is not of use."""
    length = response.headers.get("content-length", "")
    size = int(length) if re.fullmatch(r"[0-9]{1,18}", length) else None
    if response.status_code == 206:
        return _part(response, offset, if_range, size)
    if response.status_code == 416 and offset:
        return None, None
    return 0, size


def _part(
    response: httpx.Response, offset: int, if_range: str | None, length: int | None
) -> tuple[int | None, int | None]:
    """What a 206 brings: the wanted rest of the same file, or, although nothing was asked for, the whole file."""
    found = _CONTENT_RANGE.fullmatch(response.headers.get("content-range", "").strip())
    if found is None:
        # Nothing was asked for: what came is judged by its bytes.
        return (None, None) if offset else (0, length)
    first, last, total = int(found[1]), int(found[2]), None if found[3] == "*" else int(found[3])
    if offset:
        proved = first == offset and total == last + 1 and response.headers.get("etag") == if_range
        return (offset, total) if proved else (None, None)
    whole = first == 0 and total in (None, last + 1) and length in (None, last + 1)
    return (0, last + 1) if whole else (None, None)


async def _refusal(response: httpx.Response, rules: DownloadRules, head: bytes = b"") -> DownloadError:
    """The error of an answer that brings no video; `head` is what has been read of it."""
    status = response.status_code
    said = await _said(response, head, rules.key)
    detail = f" ({said})" if said else ""
    if status in _REFUSED or (status == 400 and _EXPIRED.search(said)):
        error = LinkExpiredError(
            f"The link is refused (HTTP {status}){detail}; query the task for a fresh one.",
            status_code=status,
            reason=said or "link refused",
        )
    else:
        error = DownloadError(
            f"The file server answered HTTP {status}{detail}.",
            retryable=status not in _FINAL,
            status_code=status,
            reason=said or f"HTTP {status}",
            retry_after=retry_after(response.headers),
        )
    error.provider = rules.provider or None
    return error


async def _said(response: httpx.Response, head: bytes, key: str) -> str:
    """What an error answer says, when it is short JSON or a store's XML; an echoed key is blanked out."""
    body = bytearray(head)
    with anyio.move_on_after(_ERROR_BODY_SECONDS):
        try:
            async for chunk in content_chunks(response):
                body += chunk
                if len(body) > _MAX_ERROR_BODY:
                    break
        except (httpx.HTTPError, httpx.StreamError, OSError, BrokenCodingError):
            pass
    in_xml = _XML_MESSAGE.search(body)
    value = {"message": in_xml[1].decode("utf-8", "replace")} if in_xml else parse_json(bytes(body))
    answer = keyed(without_secret(value, key) if key else value)
    inner = keyed(answer.get("error"))
    return as_text(inner.get("message")) or as_text(answer.get("message"))
