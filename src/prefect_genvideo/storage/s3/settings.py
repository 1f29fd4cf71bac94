"""What an S3 destination may be told, and the rules for buckets, endpoints and URIs that need no network."""

from __future__ import annotations

import re
from collections.abc import Hashable
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Literal
from urllib.parse import urlsplit

from prefect_genvideo.errors import InvalidRequestError
from prefect_genvideo.models import Problem

Addressing = Literal["auto", "virtual", "path"]
"""Where the bucket's name goes: into the host name, into the path, or where the store wants it."""

# Amazon S3 User Guide, "multipart upload limits": smallest part but the last, bytes.
MIN_PART_SIZE = 5 * 1024 * 1024
# Bytes. A request costs about the CPU of hashing a megabyte, and what fits a part needs one instead of six. Three parts
# of an upload are in memory at a time, four where the store is slow.
PART_SIZE = 7 * 1024 * 1024
_SOURCE = "settings of an S3 destination"
_SCHEME = "s3://"
_NO_ADDRESS = "begin with http:// or https:// and name a host"
# An access point's ARN has slashes or colons of its own: arn:aws:s3:eu-west-1:123456789012:accesspoint/name.
_ARN = re.compile(r"arn:[^/:\s]+:s3[a-z-]*:[^/\s]*?(?:outpost[/:][^/:\s]+[/:])?accesspoint[/:][^/:\s]+")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,253}[A-Za-z0-9]")


@dataclass(frozen=True)
class S3Settings:
    """How to reach a store. Stores with equal settings share one client in a process.

    Attributes:
        region: Region of the bucket; None is what the environment says.
        endpoint_url: Address of an S3-compatible store; None is the environment's, else Amazon's.
        access_key_id: With `secret_access_key`; None is boto3's own chain.
        secret_access_key: Secret of `access_key_id`.
        session_token: With temporary credentials.
        addressing: Where the bucket's name goes.
        lender: Credentials block of prefect-aws whose boto3 session is used instead of keys.
    """

    region: str | None = None
    endpoint_url: str | None = None
    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    addressing: Addressing = "auto"
    lender: Hashable = field(default=None, repr=False)


def bucket_fault(bucket: str) -> str | None:
    """Say what a bucket's name must, in words that follow that; None when it can be one."""
    if _ARN.fullmatch(bucket) or (_BUCKET.fullmatch(bucket) and not bucket.startswith("arn:")):
        return None
    return (
        "be a bucket name without s3:// and folders (3 to 255 letters, digits, `.`, `-`, `_`) or an access point's ARN"
    )


def endpoint_fault(endpoint_url: str, bucket: str = "") -> str | None:
    """Say what an endpoint URL must, in words that follow that; None when it can be one. Empty is Amazon's.

    Args:
        endpoint_url: The address, e.g. `http://minio:9000`.
        bucket: Name of the bucket, which must not end its path.
    """
    if not endpoint_url:
        return None
    try:
        parts = urlsplit(endpoint_url)
        port = parts.port
    except ValueError:
        return _NO_ADDRESS
    named = parts.scheme.lower() in {"http", "https"} and bool(parts.hostname) and port != 0
    surplus = parts.username or parts.password or parts.query or parts.fragment
    faults = (
        (not named or any(map(str.isspace, endpoint_url)), _NO_ADDRESS),
        (bool(surplus), "be an address without user, password, query and fragment"),
        (
            bool(bucket) and parts.path.strip("/").split("/")[-1] == bucket,
            "be an address without the bucket in its path",
        ),
    )
    return next((limit for broken, limit in faults if broken), None)


def is_address(host: str) -> bool:
    """Whether a host is an IP address, before which no bucket's name can stand."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def split_uri(uri: str) -> tuple[str, str]:
    """Return bucket and key of `s3://bucket/key`; the scheme in any case, the key as it stands, perhaps empty.

    Raises:
        InvalidRequestError: It is no such URI.
    """
    if uri[: len(_SCHEME)].lower() == _SCHEME:
        rest = uri[len(_SCHEME) :]
        arn = _ARN.match(rest)
        bucket, _, key = (arn[0], "/", rest[arn.end() :].removeprefix("/")) if arn else rest.partition("/")
        if bucket_fault(bucket) is None:
            return bucket, key
    raise InvalidRequestError(
        "An S3 URI is written s3://bucket/key.",
        problems=[Problem("uri", ascii(uri[:120]), "must be s3://bucket/key", _SOURCE)],
    )


def check_settings(
    bucket: str, settings: S3Settings, sse: str | None, sse_kms_key_id: str | None, part_size: int
) -> None:
    """Refuse settings that cannot be right, all at once, before anything is sent.

    Args:
        bucket: Name or ARN.
        settings: How the store is reached.
        sse: Server-side encryption.
        sse_kms_key_id: Its key.
        part_size: Bytes of a part of an upload.

    Raises:
        InvalidRequestError: With one problem for each broken rule.
    """
    endpoint = settings.endpoint_url or ""
    lonely = bool(settings.access_key_id) != bool(settings.secret_access_key)
    rules = (
        ("bucket", bucket, bucket_fault(bucket)),
        ("endpoint_url", _without_user(endpoint), endpoint_fault(endpoint, bucket)),
        (
            "access_key_id",
            "***" if settings.access_key_id else "",
            "be given together with secret_access_key" if lonely else None,
        ),
        (
            "sse_kms_key_id",
            sse_kms_key_id or "",
            "be used with sse='aws:kms'" if sse_kms_key_id and sse != "aws:kms" else None,
        ),
        (
            "part_size",
            str(part_size),
            f"be at least {MIN_PART_SIZE} bytes (5 MiB)" if part_size < MIN_PART_SIZE else None,
        ),
    )
    problems = [Problem(name, value, f"must {limit}", _SOURCE) for name, value, limit in rules if limit]
    if problems:
        raise InvalidRequestError("these settings of the S3 destination cannot be right", problems=problems)


def _without_user(endpoint: str) -> str:
    scheme, mark, rest = endpoint.partition("://")
    return f"{scheme}{mark}{rest.rpartition('@')[2]}"
