"""Clients of the S3 library: one for each way of reaching a store, shared in a process."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from io import BytesIO
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit
from uuid import uuid4

from prefect_genvideo.storage.s3.addressing import Route, find_route, known_route, name_no_bucket
from prefect_genvideo.storage.s3.settings import S3Settings
from prefect_genvideo.storage.threads import STORE_THREADS

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

# Headers of one request that the client library has no parameter for.
extra_headers: ContextVar[dict[str, str]] = ContextVar("prefect_genvideo_s3_headers")

# Whether the bodies of this context go without the SHA-256 that a signature covers: their MD5 proves them.
unsigned_body: ContextVar[bool] = ContextVar("prefect_genvideo_s3_unsigned_body", default=False)

# A body that is sent instead of the signed one, as if it had changed on its way; of the same length.
other_body: ContextVar[bytes | None] = ContextVar("prefect_genvideo_s3_other_body", default=None)
# Where the request of this context waits for others before its last byte.
_place: ContextVar[_Place | None] = ContextVar("prefect_genvideo_s3_place", default=None)
# Seconds; who waits longer goes alone, for instance when the threads of the process are all at work.
_LONGEST_WAIT = 5.0

# Clients kept in a process: more stores than these are seldom in use at one time.
_MOST_CLIENTS = 32
# Buckets of which a process remembers how they are named.
_MOST_ROUTES = 1000
_routes: dict[tuple[S3Settings, str], Route] = {}
# Making a client is not thread-safe.
_lock = threading.Lock()
# A store that does not answer must not hold up the others in this process, so asking has locks of its own.
_asking = tuple(threading.Lock() for _ in range(16))


class StartLine:
    """Lets several requests reach a store at the same time: each waits for the others before it sends its body.

    Without it, connecting and signing set them apart by more than a store takes from looking to writing.

    Args:
        count: How many requests there are, each with a body.
    """

    def __init__(self, count: int) -> None:
        self._barrier = threading.Barrier(count)

    def enter(self) -> None:
        """Let the next request of the running task wait here."""
        _place.set(_Place(self))

    def wait(self) -> None:
        """Return when all are here, or when that takes too long."""
        with suppress(threading.BrokenBarrierError):
            self._barrier.wait(_LONGEST_WAIT)


@dataclass
class _Place:
    """One request's place in a line; its repetition, or another one after it, does not wait."""

    line: StartLine
    taken: bool = False


class _HeldBody(BytesIO):
    """A small body that goes out when all of its line are ready; the head of the request has been sent by then."""

    def __init__(self, body: bytes, line: StartLine) -> None:
        super().__init__(body)
        self._line = line

    def read(self, size: int | None = -1, /) -> bytes:
        """The body, after the wait."""
        if self.tell() == 0:
            self._line.wait()
        return super().read(size)


@dataclass(frozen=True)
class Access:
    """How a store is reached, without a secret.

    Attributes:
        endpoint: Its address.
        credentials: A hash that tells the credentials from others, 16 hex digits; where they are not known, a new
            one each time.
        is_lent: Whether they are a role's, which lends them for a while to one process.
    """

    endpoint: str
    credentials: str
    is_lent: bool


@dataclass(frozen=True)
class Connection:
    """A client and the way a bucket is addressed through it.

    Attributes:
        client: The client.
        route: The way.
        session: Whose credentials it uses.
        listed: The store's answer to the listing that has just shown the way; None when that was known.
    """

    client: S3Client
    route: Route
    session: Any = None
    listed: Any = None

    def access(self) -> Access:
        """How this connection reaches its store, without a secret."""
        credentials = self.session.get_credentials() if self.session is not None else None
        frozen = credentials.get_frozen_credentials() if credentials is not None else None
        key_id = str(frozen.access_key) if frozen is not None else uuid4().hex
        return Access(
            str(self.client.meta.endpoint_url),
            hashlib.sha256(key_id.encode()).hexdigest()[:16],
            is_lent=frozen is None or bool(frozen.token),
        )

    def presign(self, bucket: str, key: str, seconds: int) -> str:
        """A signed link that reads an object.

        Args:
            bucket: Name or ARN.
            key: Full key.
            seconds: How long the link lives.
        """
        params = {"Bucket": bucket, "Key": key}
        return self.client.generate_presigned_url("get_object", Params=params, ExpiresIn=seconds)


def connect(settings: S3Settings, bucket: str, listing: Mapping[str, Any] | None = None) -> Connection:
    """The connection for a bucket. The first one to an unknown store asks it how its buckets are named.

    Args:
        settings: How the store is reached.
        bucket: Name or ARN.
        listing: Parameters of a listing that is wanted, by which it can be asked; else it is for one name.

    Raises:
        Exception: What the client library raises.
    """
    asked, answer = (settings, bucket), None
    with _asking[hash(asked) % len(_asking)]:
        route = _routes.get(asked)
        if route is None:
            route, answer = _route(settings, bucket, listing or {"Bucket": bucket, "MaxKeys": 1})
            _routes[asked] = route
            if len(_routes) > _MOST_ROUTES:
                del _routes[next(iter(_routes))]
    connection = _connection(settings, route, bucket)
    return connection if listing is None or answer is None else replace(connection, listed=answer)


def forget() -> None:
    """Drop the clients, since credentials that one has borrowed have expired; a new one is made in milliseconds."""
    with _lock:
        _new_connection.cache_clear()


def prepare(client: S3Client) -> None:
    """Make a client send and sign a request as its context says, and wait where that says so."""
    client.meta.events.register_last("before-call.s3", _adjust, unique_id="genvideo-headers")
    client.meta.events.register_first("before-send.s3", _hold, unique_id="genvideo-hold")


def _route(settings: S3Settings, bucket: str, listing: Mapping[str, Any]) -> tuple[Route, Any]:
    if settings.endpoint_url is None and not bucket.startswith("arn:"):
        # Variables and profiles may name another server; the client knows what they say.
        configured = _connection(settings, Route("auto", None), bucket).client.meta.endpoint_url
        if not (urlsplit(configured).hostname or "").endswith((".amazonaws.com", ".amazonaws.com.cn")):
            settings = replace(settings, endpoint_url=configured)
    route = known_route(settings, bucket)
    if route is not None:
        return route, None
    return find_route(settings, bucket, lambda route: _connection(settings, route, bucket).client, listing)


def _connection(settings: S3Settings, route: Route, bucket: str) -> Connection:
    with _lock:
        return _new_connection(os.getpid(), settings, route, bucket if route.style == "bucket" else "")


@lru_cache(maxsize=1)
def _shared_loader() -> Any:
    """What reads S3's description, 35,000 objects of it: read once, a further client takes 8 ms instead of 90."""
    from botocore.loaders import create_loader
    from botocore.session import Session

    return create_loader(Session().get_config_variable("data_path"))


def _new_session(settings: S3Settings) -> Any:
    """A session of boto3 with the settings' own keys, or with what its chain of providers finds."""
    from boto3 import Session
    from botocore.session import Session as Core

    core, loader = cast("Any", Core()), _shared_loader()
    core.register_component("data_loader", loader)
    known = list(loader.search_paths)
    session = Session(
        aws_access_key_id=settings.access_key_id or None,
        aws_secret_access_key=settings.secret_access_key or None,
        aws_session_token=settings.session_token or None,
        botocore_session=core,
    )
    loader.search_paths[:] = dict.fromkeys([*known, *loader.search_paths])  # each session adds boto3's own once more
    return session


# Making the first client costs 100 ms and more. The process id keeps a forked child from sharing its parent's
# connections.
@lru_cache(maxsize=_MOST_CLIENTS)
def _new_connection(process: int, settings: S3Settings, route: Route, bucket: str) -> Connection:
    from botocore.config import Config

    del process

    lender = cast("Any", settings.lender)
    session = lender.get_boto3_session() if lender else _new_session(settings)
    lent: dict[str, Any] = lender.aws_client_parameters.get_params_override() if lender else {}
    style = "path" if route.style == "bucket" else route.style
    client = session.client(
        "s3",
        region_name=settings.region,
        endpoint_url=route.endpoint_url,
        config=Config(
            signature_version="s3v4",
            connect_timeout=10,
            read_timeout=60,
            max_pool_connections=STORE_THREADS,
            retries={"mode": "standard", "total_max_attempts": 4},
            s3={"addressing_style": style},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            user_agent="prefect-genvideo",  # the library puts its own together for each request, a fifth of its time
        ),
        **{name: lent[name] for name in ("verify", "use_ssl") if name in lent},
    )
    prepare(client)
    unnamed = bucket if route.style == "bucket" else ""
    client.meta.events.register_first("before-sign.s3", partial(name_no_bucket, bucket=unnamed))
    return Connection(client, route, session)


def _adjust(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    # `Expect: 100-continue` costs a round trip for each write, and ours are a part long at most.
    params["headers"].pop("Expect", None)
    params["headers"].update(extra_headers.get({}))
    if unsigned_body.get():
        context["client_config"] = _unsigning(context["client_config"])


@lru_cache(maxsize=_MOST_CLIENTS)
def _unsigning(config: Any) -> Any:
    """A client's configuration with bodies left out of signatures, where it does not say itself what is wanted."""
    from botocore.config import Config

    told: dict[str, Any] = {"payload_signing_enabled": False, **(config.s3 or {})}
    return config.merge(Config(s3=cast("Any", told)))


def _hold(request: Any, **_: Any) -> None:
    place, body = _place.get(), request.body
    other = other_body.get()
    if other is not None:
        request.body = other
    if place is not None and not place.taken:
        place.taken = True
        request.body = _HeldBody(body.read() if hasattr(body, "read") else bytes(body), place.line)
