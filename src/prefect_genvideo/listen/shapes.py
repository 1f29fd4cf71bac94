"""What senders send, as data: where the facts of a delivery stand, which of them are passed on, and as what event."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast
from urllib.parse import unquote_plus
from uuid import NAMESPACE_URL, UUID, uuid5

from prefect_genvideo.events import OPEN_FIELDS
from prefect_genvideo.listen.reading import Kind, Record, UnreadableError, at, identifier, number, plain

Auth = Literal["signature", "token", "path"]
"""How a sender proves itself: a signature over time and body, a token in a header, or a token in the address."""
MAX_RECORDS = 500
"""Most records of one delivery."""
PLACEHOLDER = re.compile(r"\{([\w.-]+)\}")
"""A fact's name in the id of a resource."""
# Notifications of S3 have the object's key as a form would encode it, `red+flower.jpg`; those of Ceph have it plain.
_PLAIN_KEYS = ("ceph:s3",)


@dataclass(frozen=True)
class Fact:
    """One fact of a record that is passed on.

    Attributes:
        take: Finds it in a record.
        kind: What it must be; anything else is not passed on.
        required: Without it the record is unusable.
    """

    take: Callable[[Record], Any]
    kind: Kind = plain
    required: bool = False


@dataclass(frozen=True)
class Shape:
    """How one kind of sender writes.

    Attributes:
        about: Who writes like this.
        auth: How such senders can prove themselves.
        event: Name of the Prefect event.
        resource: Id of the event's resource; `{name}` is a fact, `{source}` the configured name.
        facts: All that is passed on, by its place in the event's payload, e.g. `object.key`.
        records: Names under which a body may hold its records; none: the body is the only one.
        wanted: What a record must say to be passed on, by path; the others are ignored.
        identity: Facts of the record, as paths, that stay the same when it is delivered again; none: the sender's
            delivery id does, or the body's digest.
    """

    about: str
    auth: Auth
    event: str
    resource: str
    facts: Mapping[str, Fact]
    records: tuple[str, ...] = ()
    wanted: Mapping[str, re.Pattern[str]] = field(default_factory=dict[str, re.Pattern[str]])
    identity: tuple[str, ...] = ()


@dataclass(frozen=True)
class Event:
    """An event as the Prefect API takes it.

    Attributes:
        id: The same for the same delivery, which makes a repeat harmless to Prefect too.
        name: Name of the event.
        resource: Labels of what it is about.
        payload: The facts.
    """

    id: UUID
    name: str
    resource: dict[str, str]
    payload: dict[str, Any]


@dataclass
class Reading:
    """What a body had in it.

    Attributes:
        events: What is wanted.
        ignored: Records of another kind, such as removed objects.
        unusable: Records that lack what is required.
    """

    events: list[Event] = field(default_factory=list[Event])
    ignored: int = 0
    unusable: int = 0


def read(shape: Shape, source: str, body: Record, delivery_id: str) -> Reading:
    """Return the events that a body asks for.

    Args:
        shape: How the sender writes.
        source: The sender's configured name.
        body: What it sent.
        delivery_id: The sender's id of this delivery, or a digest of it.

    Returns:
        The events, and how many records are none.

    Raises:
        UnreadableError: The body is not of this shape, or has more than `MAX_RECORDS` records.
    """
    reading = Reading()
    for place, record in enumerate(_records(shape, body)):
        if not all(_says(record, path, pattern) for path, pattern in shape.wanted.items()):
            reading.ignored += 1
            continue
        found = {name: fact.kind(fact.take(record)) for name, fact in shape.facts.items()}
        if any(found[name] is None for name, fact in shape.facts.items() if fact.required):
            reading.unusable += 1
            continue
        identity = _identity(shape, record) or f"{delivery_id}#{place}"
        event_id = uuid5(NAMESPACE_URL, f"genvideo-listen:{source}:{identity}")
        labels = {"prefect.resource.id": _resource(shape, source, found), "genvideo.source": source}
        reading.events.append(Event(event_id, shape.event, labels, _nested(found)))
    return reading


def _records(shape: Shape, body: Record) -> Sequence[Record]:
    if not shape.records:
        return [body]
    found = next((body[name] for name in shape.records if name in body), None)
    if found is None:
        # Stores announce a new subscription with a body that has no records; it is nothing to refuse.
        return []
    entries: list[Any] = cast("list[Any]", found) if isinstance(found, list) else [found]
    if len(entries) > MAX_RECORDS:
        raise UnreadableError(f"more than {MAX_RECORDS} records")
    if not all(isinstance(entry, dict) for entry in entries):
        raise UnreadableError("records that are no objects")
    return entries


def _says(record: Record, path: str, pattern: re.Pattern[str]) -> bool:
    said = at(path)(record)
    return isinstance(said, str) and bool(pattern.fullmatch(said))


def _identity(shape: Shape, record: Record) -> str:
    parts = [identifier(at(path)(record)) for path in shape.identity]
    if not any(parts):
        return ""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _resource(shape: Shape, source: str, found: Mapping[str, Any]) -> str:
    values = {**found, "source": source}
    return PLACEHOLDER.sub(lambda match: identifier(values.get(match[1])) or "unknown", shape.resource)


def _nested(found: Mapping[str, Any]) -> dict[str, Any]:
    """`{"object.key": "a"}` as `{"object": {"key": "a"}}`, less what was not found."""
    payload: dict[str, Any] = {}
    for name, value in found.items():
        if value is None:
            continue
        *parents, last = name.split(".")
        place = payload
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return payload


def _s3_key(record: Record) -> Any:
    key = at("s3.object.key")(record)
    if not isinstance(key, str) or at("eventSource")(record) in _PLAIN_KEYS:
        return key
    try:
        return unquote_plus(key, errors="strict")
    except UnicodeDecodeError:
        return None


def _etag(value: Any) -> str | None:
    """An entity tag without its quotes."""
    return identifier(value.strip('"') if isinstance(value, str) else value)


def _cos_bucket(record: Record) -> Any:
    """Tencent's buckets are called `<name>-<account>` everywhere but in their notifications."""
    name, account = (identifier(at(f"cos.cosBucket.{part}")(record)) for part in ("name", "appid"))
    return f"{name}-{account}" if name and account else name


def _cos_key(record: Record) -> Any:
    """Tencent's notifications have `/<account>/<bucket>/` in front of the key."""
    key = at("cos.cosObject.key")(record)
    name, account = (identifier(at(f"cos.cosBucket.{part}")(record)) for part in ("name", "appid"))
    front = f"/{account}/{name}/"
    return key.removeprefix(front if key.startswith(front) else "/") if isinstance(key, str) else None


def _object(
    bucket: Callable[[Record], Any], key: Callable[[Record], Any], etag: Callable[[Record], Any], rest: str
) -> dict[str, Fact]:
    """The facts of an object, laid out as Amazon EventBridge does, so that one trigger fits every store."""
    return {
        "bucket.name": Fact(bucket, identifier, required=True),
        "object.key": Fact(key, identifier, required=True),
        "object.etag": Fact(etag, _etag),
        "object.size": Fact(at(f"{rest}.size"), number),
        # Amazon has two spellings of its own.
        "object.version-id": Fact(at(f"{rest}.version-id", f"{rest}.versionId"), identifier),
        "object.sequencer": Fact(at(f"{rest}.sequencer"), identifier),
    }


_OBJECT = "s3://{bucket.name}/{object.key}"

SHAPES: dict[str, Shape] = {
    "webhook": Shape(
        about="any program that signs as Standard Webhooks do",
        auth="signature",
        event="video.requested",
        resource="genvideo.listen.{source}",
        facts={name: Fact(at(name)) for name in sorted(OPEN_FIELDS)},
    ),
    "s3": Shape(
        about="bucket notifications of MinIO and Ceph, and those of AWS S3 that a function forwards",
        auth="token",
        event="aws.s3.object-created",
        resource=_OBJECT,
        records=("Records",),
        wanted={"eventName": re.compile(r"(s3:)?ObjectCreated:.*")},
        facts=_object(at("s3.bucket.name"), _s3_key, at("s3.object.eTag", "s3.object.etag"), "s3.object"),
        identity=("s3.bucket.name", "s3.object.key", "s3.object.versionId", "s3.object.sequencer", "eventTime"),
    ),
    "eventbridge": Shape(
        about="Amazon EventBridge, by an API destination",
        auth="token",
        event="aws.s3.object-created",
        resource=_OBJECT,
        wanted={"source": re.compile(r"aws\.s3"), "detail-type": re.compile("Object Created")},
        facts=_object(at("detail.bucket.name"), at("detail.object.key"), at("detail.object.etag"), "detail.object"),
        identity=("id",),
    ),
    "oss": Shape(
        about="Aliyun OSS, by EventBridge or a function",
        auth="token",
        event="aliyun.oss.object-created",
        resource=_OBJECT,
        records=("events", "data"),
        # The parts of an upload are no objects yet.
        wanted={"eventName": re.compile(r"((?i:oss):)?ObjectCreated:(?!InitiateMultipartUpload|UploadPart).*")},
        facts=_object(at("oss.bucket.name"), at("oss.object.key"), at("oss.object.eTag"), "oss.object"),
        identity=("oss.bucket.name", "oss.object.key", "eventName", "responseElements.requestId", "eventTime"),
    ),
    "cos": Shape(
        about="Tencent COS, by a cloud function that forwards its event",
        auth="token",
        event="tencent.cos.object-created",
        resource=_OBJECT,
        records=("Records",),
        wanted={"event.eventName": re.compile(r"cos: ?ObjectCreated:.*")},
        facts=_object(
            _cos_bucket,
            _cos_key,
            # Not every notification has an ETag; the id of the upload tells two contents of one key apart as well.
            at("cos.cosObject.meta.ETag", "cos.cosObject.meta.x-cos-request-id"),
            "cos.cosObject",
        ),
        identity=("cos.cosObject.key", "cos.cosObject.meta.x-cos-request-id", "event.eventTime", "event.reqid"),
    ),
    "callback": Shape(
        about="a provider that calls back when a task changes, such as Volcengine Ark",
        auth="path",
        event="genvideo.callback.received",
        resource="genvideo.callback.{source}.{task_id}",
        # Nobody signs these: they are a hint to look, and no link of theirs is passed on.
        facts={
            "task_id": Fact(at("task_id", "id", "data.task_id", "data.id"), identifier, required=True),
            "status": Fact(at("status", "state", "data.status"), identifier),
        },
        identity=("task_id", "id", "data.task_id", "status", "state", "data.status", "updated_at"),
    ),
}
"""The kinds of senders, by the name that a configuration calls them."""
