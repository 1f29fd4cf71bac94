"""Links that a person opens to see a saved video."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import SplitResult, parse_qs, quote, urlsplit

from prefect_genvideo.errors import GenVideoError
from prefect_genvideo.models import StoredVideo
from prefect_genvideo.storage.base import ObjectStore

LinkKind = Literal["console", "public", "presigned", "none"]
LONGEST_PRESIGNED = 7 * 24.0
"""Hours that a presigned link lives at most, AWS Signature Version 4: X-Amz-Expires."""

_FIELDS = frozenset({"bucket", "key"})
_AWS_HOST = re.compile(r"(?:^|\.)s3[a-z0-9.-]*\.amazonaws\.com(\.cn)?$")
_CONSOLES = {None: "console.aws.amazon.com", ".cn": "console.amazonaws.cn"}
# A key that any store takes; only its address is looked at.
_ANY_KEY = "x"


def check_link_template(template: str) -> str:
    """What a template of links must be, when it is not; empty for a usable one.

    Args:
        template: An http(s) base address that a video's key is appended to, or one with `{bucket}` and `{key}`.
    """
    try:
        names = {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}
        parts = urlsplit(template)
        host = parts.hostname
    except ValueError:
        return "be an http(s) address, with `{bucket}` and `{key}` as its only fields"
    if parts.scheme not in ("http", "https") or not host or "@" in parts.netloc or any(map(str.isspace, template)):
        return "be an http(s) address without a user, e.g. https://videos.example.com/"
    if names - _FIELDS or (names and "key" not in names):
        return "have `{key}`, and `{bucket}` where wanted, as its only fields"
    return ""


@dataclass(frozen=True)
class PlayLink:
    """A link to one video.

    Attributes:
        url: The link; a presigned one is a secret while it lives, so it is not shown.
        hours: How long it lives; None: as long as the video is where it is.
    """

    url: str
    hours: float | None = None

    def __repr__(self) -> str:
        return "PlayLink(url=***)" if self.hours else f"PlayLink(url={self.url!r})"


@dataclass(frozen=True)
class PlayLinks:
    """How links to the videos of a destination are made. No request is sent for them.

    Attributes:
        kind: The page of the AWS console, a public address, a presigned link, or none.
        template: Base address or template of console and public links; empty: the store's own.
        hours: Life of presigned links.
    """

    kind: LinkKind = "none"
    template: str = ""
    hours: float = 24.0

    @property
    def lasting(self) -> bool:
        """Whether links may be kept in reports and events: they are no secrets and do not die."""
        return self.kind in ("console", "public")

    async def of(self, store: ObjectStore, keys: Sequence[str | None]) -> list[PlayLink | None]:
        """Links to videos.

        Args:
            store: Where they are.
            keys: Their keys, relative to the store's prefix; None where there is no video.

        Returns:
            A link for each, None where there is none, e.g. the console's outside of AWS.
        """
        try:
            if self.kind == "presigned":
                return [await self._presigned(store, key) if key else None for key in keys]
            template = (self.template or await self._own(store)) if self.lasting else ""
        except GenVideoError:
            return [None] * len(keys)
        return [PlayLink(_filled(template, store, key)) if template and key else None for key in keys]

    async def to(self, store: ObjectStore, videos: Sequence[StoredVideo | None]) -> list[PlayLink | None]:
        """Links to saved videos; None for those that are not there.

        Args:
            store: Where they are.
            videos: What was saved.
        """
        return await self.of(store, [store.relative_key(video.key) if video else None for video in videos])

    async def _presigned(self, store: ObjectStore, key: str) -> PlayLink | None:
        url = await store.presign(key, round(self.hours * 3600))
        return PlayLink(url, self.hours) if url else None

    async def _own(self, store: ObjectStore) -> str:
        """The template that the store's own addresses follow; empty where it has none of this kind."""
        signed = await store.presign(_ANY_KEY, 60)
        if signed is None:
            return ""
        address = urlsplit(signed)
        if self.kind == "public":
            front = f"{address.scheme}://{address.netloc}{address.path.removesuffix(store.full_key(_ANY_KEY))}"
            return front.replace("{", "{{").replace("}", "}}") + "{key}"
        return _console(address)


def _filled(template: str, store: ObjectStore, key: str) -> str:
    path = quote(store.full_key(key), safe="/~")
    if "{" not in template:
        return f"{template.rstrip('/')}/{path}"
    return template.format(bucket=quote(store.bucket or "", safe=""), key=path)


def _console(address: SplitResult) -> str:
    aws = _AWS_HOST.search(address.hostname or "")
    scope = parse_qs(address.query).get("X-Amz-Credential", [""])[0].split("/")
    if aws is None or len(scope) != 5:  # access key id, date, region, service, aws4_request
        return ""
    region = quote(scope[2], safe="")
    return f"https://{region}.{_CONSOLES[aws[1]]}/s3/object/{{bucket}}?region={region}&prefix={{key}}"
