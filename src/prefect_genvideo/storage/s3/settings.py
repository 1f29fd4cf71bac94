"""Settings of an S3 destination, and the rules that need no network."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from prefect_genvideo.errors import InvalidRequestError
from prefect_genvideo.models import Problem

MIN_PART_SIZE = 5 * 1024 * 1024
"""Smallest part but the last (Amazon S3 User Guide, "multipart upload limits")."""


@dataclass(frozen=True)
class S3Settings:
    """How to reach a store; stores with equal settings share one client in a process."""

    region: str | None = None
    endpoint_url: str | None = None
    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: str | None = field(default=None, repr=False)
    session_token: str | None = field(default=None, repr=False)
    path_style: bool | None = None

    @property
    def addressing(self) -> Literal["path", "virtual", "auto"]:
        """Bucket in the path or in the host name; path style is what self-hosted stores understand."""
        if self.path_style is None:
            return "path" if self.endpoint_url else "auto"
        return "path" if self.path_style else "virtual"


def check_settings(
    bucket: str, settings: S3Settings, sse: str | None, sse_kms_key_id: str | None, part_size: int
) -> None:
    """Refuse settings that cannot be right, all at once, before anything is sent.

    Raises:
        InvalidRequestError: With one problem for each broken rule.
    """
    endpoint = settings.endpoint_url or ""
    arn = bucket.startswith("arn:")
    rules = (
        ("bucket", bucket, not bucket or ("/" in bucket and not arn), "a bare bucket name, without s3:// or a path"),
        (
            "endpoint_url",
            endpoint,
            bool(endpoint) and not endpoint.startswith(("http://", "https://")),
            "an http:// or https:// address",
        ),
        (
            "access_key_id",
            "***" if settings.access_key_id else "",
            bool(settings.access_key_id) != bool(settings.secret_access_key),
            "given together with secret_access_key",
        ),
        ("sse_kms_key_id", sse_kms_key_id or "", bool(sse_kms_key_id) and sse != "aws:kms", "used with sse='aws:kms'"),
        ("part_size", str(part_size), part_size < MIN_PART_SIZE, f"at least {MIN_PART_SIZE} bytes (5 MiB)"),
    )
    problems = [
        Problem(name, value, f"must be {limit}", "settings of an S3 destination")
        for name, value, broken, limit in rules
        if broken
    ]
    if problems:
        raise InvalidRequestError("these settings of the S3 destination cannot be right", problems=problems)
