"""Where a bucket's name goes in a request: into the host name, into the path, or nowhere.

Amazon and self-hosted stores understand the path style; Aliyun OSS, Tencent COS and Volcengine TOS refuse it. An
endpoint can also be one bucket's own host name (a CNAME), where the bucket is named nowhere. The client library
knows the first two; the third is a rewritten address.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from urllib.parse import urlsplit

from prefect_genvideo.errors import InvalidRequestError
from prefect_genvideo.models import Problem
from prefect_genvideo.storage.s3.errors import DEMANDS_VIRTUAL, code_of, is_known
from prefect_genvideo.storage.s3.settings import S3Settings, is_address

if TYPE_CHECKING:
    from botocore.awsrequest import AWSRequest
    from mypy_boto3_s3.client import S3Client

# The bucket that requests of this context name nowhere.
_unnamed: ContextVar[str] = ContextVar("prefect_genvideo_unnamed_bucket", default="")

Style = Literal["auto", "virtual", "path", "bucket"]
"""`auto` is left to the client library; `bucket`: the endpoint is the bucket's own host name."""


@dataclass(frozen=True)
class Route:
    """How requests for one bucket are addressed.

    Attributes:
        style: Where the bucket's name goes.
        endpoint_url: Address without the bucket; None is Amazon's.
    """

    style: Style
    endpoint_url: str | None


class Vendor(NamedTuple):
    """A store whose manners are known from its host name.

    Attributes:
        name: For messages.
        host: Pattern of the endpoint's host name without a bucket.
        style: What it understands, by its documentation.
    """

    name: str
    host: re.Pattern[str]
    style: Style


# Style as each vendor documents it: "Use Amazon S3 SDKs to access OSS" (alibabacloud.com), "path-style issues"
# (tencentcloud.com 436/75050), "Compatibility with Amazon S3" (docs.byteplus.com, TOS), KS3's and R2's S3 pages.
VENDORS: tuple[Vendor, ...] = (
    Vendor("Aliyun OSS", re.compile(r"(?:s3\.)?oss-[a-z0-9-]+\.aliyuncs\.com"), "virtual"),
    Vendor(
        "Tencent COS", re.compile(r"cos(?:-internal)?\.[a-z0-9-]+\.(?:myqcloud\.com|tencentcos\.(?:cn|com))"), "virtual"
    ),
    Vendor("Volcengine TOS", re.compile(r"tos-(?:s3-)?[a-z0-9-]+\.i?(?:volces|bytepluses)\.com"), "virtual"),
    Vendor("Kingsoft KS3", re.compile(r"ks3-[a-z0-9-]+\.ksyun(?:cs)?\.com"), "virtual"),
    Vendor("Baidu BOS", re.compile(r"s3\.[a-z0-9-]+\.bcebos\.com"), "virtual"),
    Vendor("Huawei OBS", re.compile(r"obs\.[a-z0-9-]+\.myhuaweicloud\.com"), "virtual"),
    Vendor("Cloudflare R2", re.compile(r"[0-9a-f]{32}(?:\.[a-z]+)?\.r2\.cloudflarestorage\.com"), "path"),
    Vendor("DigitalOcean Spaces", re.compile(r"[a-z0-9]+\.digitaloceanspaces\.com"), "path"),
    Vendor("Amazon S3", re.compile(r"s3[a-z0-9.-]*\.amazonaws\.com(?:\.cn)?"), "auto"),
)


def known_route(settings: S3Settings, bucket: str) -> Route | None:
    """The route that settings and host name settle; None where only the store can tell.

    Args:
        settings: How the store is reached.
        bucket: Name or ARN.

    Raises:
        InvalidRequestError: The endpoint has another bucket in front.
    """
    endpoint = settings.endpoint_url
    if endpoint is None or bucket.startswith("arn:"):
        return Route("auto" if settings.addressing == "path" and endpoint is None else settings.addressing, endpoint)
    host = urlsplit(endpoint).hostname or ""
    for vendor in VENDORS:
        if vendor.host.fullmatch(host):
            return Route(_chosen(settings, vendor.style), endpoint)
        front = re.fullmatch(rf"(.+?)\.(?:{vendor.host.pattern})", host)
        if front is None:
            continue
        if front[1] == bucket.lower():
            return Route(_chosen(settings, vendor.style), _without_front(endpoint, front[1]))
        base = host[len(front[1]) + 1 :]
        raise InvalidRequestError(
            f"This endpoint of {vendor.name} has a name in front that is not the bucket's.",
            problems=[
                Problem("endpoint_url", host, f"must be {base}, or have the bucket {bucket} in front", vendor.name)
            ],
        )
    return None if settings.addressing == "auto" else Route(settings.addressing, endpoint)


def _chosen(settings: S3Settings, style: Style) -> Style:
    return style if settings.addressing == "auto" else settings.addressing


def _without_front(endpoint: str, front: str) -> str:
    parts = urlsplit(endpoint)
    return parts._replace(netloc=parts.netloc[len(front) + 1 :]).geturl()


def find_route(
    settings: S3Settings, bucket: str, client_of: Callable[[Route], S3Client], request: Mapping[str, Any]
) -> tuple[Route, Any]:
    """Ask an unknown store how it wants its buckets named, with up to three listings.

    Args:
        settings: How the store is reached, with an endpoint.
        bucket: Name.
        client_of: Makes a client for a route.
        request: Parameters of the listing that is asked for with the bucket in the path, as nearly all have it.

    Returns:
        The route that the store answered to, path style where it said nothing of addressing; and the store's answer to
        `request`, or None where that was none.

    Raises:
        Exception: What the client library raises when the store cannot be reached or fails for the moment.
    """
    path, virtual, own = (Route(style, settings.endpoint_url) for style in ("path", "virtual", "bucket"))
    answer, refusal = _listed(client_of(path), request)
    if _names(answer, bucket):
        return path, answer
    short = {"Bucket": bucket, "MaxKeys": 1}
    with unnamed(bucket):
        found, _ = _listed(client_of(path), short)
    if _names(found, bucket):
        return own, None
    if refusal is not None and _is_virtual(
        settings, refusal, lambda: _names(_listed(client_of(virtual), short)[0], bucket)
    ):
        return virtual, None
    return path, answer


def _is_virtual(settings: S3Settings, refusal: Exception, answers: Callable[[], bool]) -> bool:
    """Whether a store that has refused the path style wants the bucket in the host name."""
    code, status = code_of(refusal)
    # A 5xx may also have been a video of the bucket's name: so it is raised after the question for the bucket's own.
    if status is None or status >= 500:
        raise refusal
    if code in DEMANDS_VIRTUAL:
        return True
    return not is_known(code) and not is_address(urlsplit(settings.endpoint_url or "").hostname or "") and answers()


def _names(answer: Any, bucket: str) -> bool:
    """Whether a listing is of this bucket: one of the service has no name, one of another bucket another."""
    return answer is not None and answer.get("Name") == bucket


def _listed(client: S3Client, request: Mapping[str, Any]) -> tuple[Any, Exception | None]:
    """The answer to a listing, or None and what the store answered instead.

    Raises:
        Exception: There was no answer.
    """
    try:
        return client.list_objects_v2(**request), None
    except Exception as error:
        if code_of(error)[1] is None:
            raise
        return None, error


@contextmanager
def unnamed(bucket: str) -> Generator[None]:
    """Let requests of this context name a bucket nowhere, by a client that would name it in the path.

    Args:
        bucket: Name.
    """
    token = _unnamed.set(bucket)
    try:
        yield
    finally:
        _unnamed.reset(token)


def name_no_bucket(request: AWSRequest, bucket: str, **_: Any) -> None:
    """Take a bucket out of the path of a request, or of a link, that is about to be signed.

    Args:
        request: The client library's request; its `url` is changed.
        bucket: Name; else that of the context, where it has one.
    """
    bucket = bucket or _unnamed.get()
    if not bucket:
        return
    parts = urlsplit(str(request.url))
    path = parts.path.replace(f"/{bucket}", "", 1)
    request.url = parts._replace(path=path or "/").geturl()
