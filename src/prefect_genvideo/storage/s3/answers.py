"""What an answer of S3 says of an object: its version, its bytes, its age."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any


def plain_etag(answer: Mapping[str, Any]) -> str:
    """The ETag of an answer without its quotes; empty where the store gives none."""
    return str(answer.get("ETag") or "").strip('"')


def plain_md5(answer: Mapping[str, Any]) -> str | None:
    """The MD5 of what the store holds, where its ETag may be one: encrypted objects and some stores have others."""
    etag = plain_etag(answer).lower()
    return etag if len(etag) == 32 and not answer.get("ServerSideEncryption") else None


def dated_by(answer: Mapping[str, Any], then: datetime | None) -> float | None:
    """Seconds from a time that the store names to its answer; None where it does not date its answers.

    Args:
        answer: Of any request.
        then: By the store's clock, as the answer's own date is, so that no clock of ours has a part in it.
    """
    from botocore.utils import parse_timestamp

    try:
        now = parse_timestamp(answer["ResponseMetadata"]["HTTPHeaders"]["date"])
        return (now - then).total_seconds() if then is not None else None
    except (KeyError, ValueError, TypeError):
        return None
