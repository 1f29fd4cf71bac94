"""Small writes that take no thread: signed by boto3's signer, sent by the caller's own connections.

boto3 blocks, so each of its requests takes a thread, and twice the CPU of an exchange on the event loop. A batch writes
five small objects for each video. What goes this way needs nothing of boto3 but its signature. Whatever the store
answers other than success, boto3 sends again and judges the answer: redirects, retries and errors are its alone.
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote, urlsplit

from prefect_genvideo.storage.s3.client import Connection
from prefect_genvideo.storage.s3.quiet import untold
from prefect_genvideo.storage.s3.settings import S3Settings

if TYPE_CHECKING:
    from botocore.auth import S3SigV4Auth

logger = logging.getLogger(__name__)

LARGEST = 256 * 1024
"""Bytes of a body; larger ones are hashed in a thread, not on the event loop."""

Exchange = Callable[[str, str, Mapping[str, str], bytes], Awaitable[tuple[int, Mapping[str, str]]]]
"""Sends method, URL, headers and body as they are; returns status and headers, which are found by lower-case names.

Raises `OSError` where nothing was answered.
"""

# How requests of this context are sent, and the event loop that this is good for.
_exchange: ContextVar[tuple[asyncio.AbstractEventLoop, Exchange] | None] = ContextVar(
    "prefect_genvideo_s3_exchange", default=None
)
# Answers that tell of the object or of the moment, not of the way that the request took; so do all from 500 on.
_NO_FAULT = frozenset({404, 408, 409, 412, 429})
# Directory buckets are signed with a session of their own, access points with the region in their ARN.
_SIGNED_OTHERWISE = re.compile(r"arn:|.*--x-s3$")
# Buckets whose way a process remembers.
_MOST = 64
_ways: OrderedDict[tuple[int, S3Settings, str], DirectWay] = OrderedDict()


def is_open() -> bool:
    """Whether small writes of this context may take the direct way."""
    opened = _exchange.get()
    return opened is not None and opened[0] is asyncio.get_running_loop()


@contextmanager
def direct_writes(exchange: Exchange) -> Generator[None]:
    """Let small writes of this context, and of the tasks that it starts, go through `exchange`.

    Args:
        exchange: Sends a request.
    """
    token = _exchange.set((asyncio.get_running_loop(), exchange))
    try:
        yield
    finally:
        _exchange.reset(token)


@dataclass
class DirectWay:
    """The way to one bucket past boto3's connections.

    Attributes:
        base: URL in front of a key.
        connection: Whose credentials sign.
        works: False where there is none, and once the store has answered something that only boto3 can deal with.
    """

    base: str
    connection: Connection
    works: bool

    async def put(self, key: str, body: bytes, params: Mapping[str, Any]) -> dict[str, Any] | None:
        """Write an object; None where boto3 must do it.

        Args:
            key: Full key.
            body: At most `LARGEST` bytes.
            params: Of boto3's `put_object`, without bucket, key and body.
        """
        opened = _exchange.get()
        if opened is None:
            return None
        request = self._signed(key, body, params)
        if request is None:
            return None
        try:
            status, headers = await opened[1]("PUT", *request, body)
        except OSError as error:
            logger.debug("boto3 sends what had no answer: %s", type(error).__name__)
            return None
        if status == 200 and headers.get("etag"):
            return {"ETag": headers["etag"], "ServerSideEncryption": headers.get("x-amz-server-side-encryption", "")}
        self.works = status in _NO_FAULT or status >= 500
        return None

    def _signed(self, key: str, body: bytes, params: Mapping[str, Any]) -> tuple[str, dict[str, str]] | None:
        """URL and signed headers; None where a parameter is no header, or the credentials have to be renewed."""
        from botocore.awsrequest import AWSRequest

        headers, signer = self._headers(params), self._signer()
        if headers is None or signer is None:
            return None
        url = self.base + quote(key, safe="/~")
        request = AWSRequest("PUT", url, headers=headers, data=body)
        with untold():
            signer.add_auth(request)
        return url, {**dict(request.headers.items()), "content-length": str(len(body))}

    def _headers(self, params: Mapping[str, Any]) -> dict[str, str] | None:
        meta: Any = self.connection.client.meta
        members: Any = meta.service_model.operation_model("PutObject").input_shape.members
        headers: dict[str, str] = {"user-agent": meta.config.user_agent}
        for name, value in params.items():
            told = members[name].serialization
            if told.get("location") == "headers":
                headers |= {f"{told['name']}{mark}": text for mark, text in value.items()}
            elif told.get("location") == "header" and isinstance(value, str):
                headers[told["name"]] = value
            else:
                return None
        return headers if all(text.isascii() and text.isprintable() for text in headers.values()) else None

    def _signer(self) -> S3SigV4Auth | None:
        from botocore.auth import S3SigV4Auth
        from botocore.credentials import RefreshableCredentials

        credentials = self.connection.session.get_credentials()
        if credentials is None or (isinstance(credentials, RefreshableCredentials) and credentials.refresh_needed()):
            return None
        return S3SigV4Auth(
            credentials.get_frozen_credentials(), "s3", self.connection.client.meta.region_name or "us-east-1"
        )


def known_way(settings: S3Settings, bucket: str) -> DirectWay | None:
    """The direct way to a bucket; None where it has not been looked for.

    Args:
        settings: How the store is reached.
        bucket: Name or ARN.
    """
    return _ways.get((os.getpid(), settings, bucket))


def find_way(settings: S3Settings, bucket: str, connection: Connection) -> DirectWay:
    """Look whether a bucket has a direct way: without proxy, own certificates, and signatures of another kind.

    Args:
        settings: How the store is reached.
        bucket: Name or ARN.
        connection: The one that boto3 uses.
    """
    base = _base(connection, bucket) if settings.lender is None and not _SIGNED_OTHERWISE.match(bucket) else ""
    way = _ways[os.getpid(), settings, bucket] = DirectWay(base, connection, works=bool(base))
    if len(_ways) > _MOST:
        _ways.popitem(last=False)
    return way


def _base(connection: Connection, bucket: str) -> str:
    """URL in front of a bucket's keys; empty where only boto3 knows the way."""
    from botocore.session import Session
    from botocore.utils import get_environ_proxies

    link = urlsplit(connection.presign(bucket, "k", 60))  # the library's own view of where a key lies
    base = f"{link.scheme}://{link.netloc}{link.path}"
    if get_environ_proxies(base) or not base.endswith("/k"):
        return ""
    if link.scheme == "https":
        own = os.environ.get("REQUESTS_CA_BUNDLE") or cast("Any", Session()).get_config_variable("ca_bundle")
        if own:  # certificates that only boto3 knows
            return ""
    return base.removesuffix("k")
