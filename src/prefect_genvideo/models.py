"""Plain data that the steps hand to one another; serialisable, so that any process can take over."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

from prefect_genvideo.errors import printable, redact, shorten

GenerationState = Literal["queued", "running", "succeeded", "failed"]
NO_REASON = "(no reason given)"
"""Stands for a reason that the provider did not give."""

# What is before or after is the zero of some language or a slip: days cannot be added to it or taken from it.
_FIRST, _LAST = (datetime(year, 1, 1, tzinfo=timezone.utc) for year in (1970, 9000))


def _in_utc(moment: datetime) -> datetime:
    return min(max(moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc), _FIRST), _LAST)


Moment = Annotated[datetime, AfterValidator(_in_utc)]
"""A time that is kept, from 1970 to 9000. Who mends a record by hand and leaves the zone out means UTC."""


@dataclass(frozen=True)
class Problem:
    """One broken rule. However it is made, its texts are short, printable and without secrets.

    Attributes:
        field: The request's field, e.g. `duration` or `images[2]`.
        value: What was given; `errors.shown` makes it of anything.
        limit: What is allowed, in words and numbers.
        source: Where the rule comes from, e.g. `Sudashui API: 基础参数`.
    """

    field: str
    value: str
    limit: str
    source: str = "prefect-genvideo"

    def __post_init__(self) -> None:
        # Names of fields and words of limits come from strangers' files and servers too, not only values.
        object.__setattr__(self, "field", printable(self.field)[:200])
        object.__setattr__(self, "value", redact(self.value, 200))
        object.__setattr__(self, "limit", shorten(self.limit, 1000))

    def __str__(self) -> str:
        return f"{self.field} = {self.value}: {self.limit} [{self.source}]"


class VideoRequest(BaseModel):
    """One wanted video, in terms that every provider shares.

    Assets are strings: an http(s) URL, an `s3://bucket/key` URI, a data URL or a local path. What a model allows is
    checked by `validate()` of the provider's client; here only the shape is.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(min_length=1, max_length=200, description="Model name as the provider lists it.")
    prompt: str = Field(default="", max_length=20_000, description="What the video shows.")
    duration: int | float | None = Field(default=None, description="Length in seconds; None = model's default.")
    aspect_ratio: str | None = Field(default=None, description="Width to height, e.g. `16:9`.")
    resolution: str | None = Field(default=None, description="e.g. `720p`; part of the model name at Sudashui.")
    images: tuple[str, ...] = Field(default=(), description="Reference images, `@image1` being the first.")
    videos: tuple[str, ...] = Field(default=(), description="Reference videos, `@video1` being the first.")
    audios: tuple[str, ...] = Field(default=(), description="Reference audios, `@audio1` being the first.")
    first_frame: str | None = Field(default=None, description="Image the video starts with.")
    last_frame: str | None = Field(default=None, description="Image the video ends with.")
    timeout: int | None = Field(default=None, description="Seconds after which the provider itself gives up.")
    options: dict[str, JsonValue] = Field(default_factory=dict, description="Vendor fields, e.g. camera_fixed.")

    @property
    def mode(self) -> Literal["references", "frames"]:
        """`frames` when a first or last frame is given, else `references`."""
        return "frames" if self.first_frame or self.last_frame else "references"

    def assets(self) -> dict[str, str]:
        """All assets by field, e.g. `{"images[0]": "cat.jpg", "first_frame": "s3://b/k.png"}`."""
        found = {
            f"{field}[{i}]": value
            for field in ("images", "videos", "audios")
            for i, value in enumerate(getattr(self, field))
        }
        frames = {"first_frame": self.first_frame, "last_frame": self.last_frame}
        return found | {field: value for field, value in frames.items() if value}

    def with_assets(self, resolved: dict[str, str]) -> VideoRequest:
        """Return a copy whose assets are replaced, keyed as in `assets()`."""
        update: dict[str, Any] = {
            field: tuple(resolved.get(f"{field}[{i}]", value) for i, value in enumerate(getattr(self, field)))
            for field in ("images", "videos", "audios")
        }
        for field in ("first_frame", "last_frame"):
            if getattr(self, field):
                update[field] = resolved.get(field, getattr(self, field))
        return self.model_copy(update=update)

    def fingerprint(self, identities: dict[str, str] | None = None) -> str:
        """SHA-256 (hex) of what is wanted, stable across processes.

        Args:
            identities: Asset identities that stand in for the strings, keyed as in `assets()`: a content hash for
                a local file, a link without its signature.
        """
        wanted = self.with_assets(identities or {}).model_dump(mode="json", exclude_defaults=True)
        canonical = json.dumps(wanted, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()


def duration_or_default(seconds: float) -> int | float | None:
    """Return the duration that a form or a command line means.

    Args:
        seconds: 0 stands for the model's default, since forms have no empty number.

    Returns:
        None for the default; whole seconds as an `int`, which is what providers take.
    """
    return (int(seconds) if float(seconds).is_integer() else seconds) or None


def word_or_default(word: str) -> str | None:
    """Return a choice of a form or a command line; None for `default`, which leaves it to the model.

    Args:
        word: An aspect ratio or a resolution.
    """
    return None if word == "default" else word


class UploadedAsset(BaseModel):
    """A reference file that the provider can fetch.

    Attributes:
        url: Signed link; a secret while it lives, so it is not shown.
        expires_at: When the link dies; None when it does not say.
    """

    model_config = ConfigDict(frozen=True)

    url: str = Field(repr=False)
    expires_at: datetime | None = None


class Generation(BaseModel):
    """What a provider says about one task.

    Attributes:
        state: `queued`, `running`, `succeeded` or `failed`. `running` with a `reason` means: reported done, but no
            usable link yet.
        progress: Percent, 0-100. Decoration: it may stand still or fall.
        reason: Why it failed, or why a reported success does not count yet.
        moderation: Whether `reason` speaks of what the video shows or would show.
        unfamiliar: The provider's status word where nobody knows it and nothing else proves an end. Such an answer says
            that the task is not over, and not that work has begun.
        started_at: When the provider began, where it says so.
        answered_at: When it said all this. This and the times before it are by the provider's clock, which may differ
            from ours: only differences between them mean anything.
        cost: The provider's own opaque figure, where it gives one. None is unknown, never 0.
        idempotency_key: Key of the ledger's record, when the task was created under one.
        reused: Whether its key had paid for it before, so that this create cost nothing.
        raw: The provider's answer as it came.
    """

    provider: str
    task_id: str
    state: GenerationState
    progress: int | None = None
    video_url: str | None = Field(default=None, repr=False)
    cover_url: str | None = Field(default=None, repr=False)
    reason: str | None = None
    moderation: bool = False
    unfamiliar: str | None = None
    created_at: Moment | None = None
    started_at: Moment | None = None
    finished_at: Moment | None = None
    answered_at: Moment | None = None
    cost: float | None = None
    idempotency_key: str | None = None
    reused: bool = False
    raw: dict[str, Any] = Field(default_factory=dict, repr=False)


class StoredVideo(BaseModel):
    """A proved video in the destination.

    Attributes:
        uri: `s3://bucket/key` or `file:///path`.
        bucket: Bucket, or None for a local destination.
        key: Key in the bucket, or path below the local destination.
        size: Bytes.
        sha256: Hash of the bytes, hex.
        manifest_uri: The JSON document beside the video.
        cover_uri: The cover picture beside it, when there is one.
        reused: Whether an earlier generation was used instead of a new one.
    """

    uri: str
    bucket: str | None = None
    key: str
    size: int
    sha256: str
    manifest_uri: str
    cover_uri: str | None = None
    task_id: str
    provider: str
    model: str
    idempotency_key: str | None = None
    etag: str | None = None
    duration: float | None = None
    width: int | None = None
    height: int | None = None
    created_at: Moment | None = None
    saved_at: Moment | None = None
    cost: float | None = None
    reused: bool = False
