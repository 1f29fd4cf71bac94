"""What the event door reads of strangers' bodies, and what it passes on."""

from __future__ import annotations

import json
from collections.abc import Callable
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_genvideo.listen.reading import (
    MAX_DEPTH,
    MAX_TEXT,
    MAX_VALUES,
    UnreadableError,
    identifier,
    parse,
    plain,
    text,
)
from prefect_genvideo.listen.shapes import MAX_RECORDS, SHAPES, Reading, read

LEAK = "not for you"

STORE = {"eventSource": "minio:s3", "eventName": "s3:ObjectCreated:Put", "eventTime": "2026-01-01T00:00:00Z"}


def s3(key: str, source: str = "minio:s3", name: str = "s3:ObjectCreated:Put", **more: Any) -> dict[str, Any]:
    """A record of a bucket notification."""
    thing = {"key": key, "size": 488, "eTag": "e1", "sequencer": "14E11E32397D42C4", "userMetadata": {"x": LEAK}}
    bucket = {"name": "photos", "ownerIdentity": {"principalId": LEAK}, "arn": "arn:aws:s3:::photos"}
    return {**STORE, "eventSource": source, "eventName": name, "s3": {"bucket": bucket, "object": {**thing, **more}}}


EVENTBRIDGE = {
    "version": "0",
    "id": "17793124-05d4-b198-2fde-7ededc63b103",
    "detail-type": "Object Created",
    "source": "aws.s3",
    "account": "111122223333",
    "detail": {
        "version": "0",
        "bucket": {"name": "photos"},
        "object": {"key": "new/cup one.jpg", "size": 5, "etag": "b1946ac9", "version-id": "IYV3", "sequencer": "0062"},
        "requester": LEAK,
        "reason": "PutObject",
    },
}
OSS = {
    "eventName": "ObjectCreated:PutObject",
    "eventSource": "acs:oss",
    "eventTime": "2026-01-15T10:30:00.000Z",
    "region": "cn-hangzhou",
    "oss": {
        "bucket": {"arn": "acs:oss:cn-hangzhou:1:photos", "name": "photos", "ownerIdentity": LEAK},
        "object": {"deltaSize": 0, "eTag": "1371", "key": "new/cup one.jpg", "size": 12990},
        "ruleId": "demo",
    },
    "responseElements": {"requestId": "5D08884070BC12B192C6"},
    "userIdentity": {"principalId": LEAK},
}
COS = {
    "cos": {
        "cosBucket": {"appid": "1253970026", "name": "photos", "region": "gz"},
        "cosNotificationId": "unkown",
        "cosObject": {
            "key": "/1253970026/photos/new/cup one.jpg",
            "meta": {"x-cos-request-id": "NWMxOWY4MGFf", "Content-Type": LEAK},
            "size": "1029",
            "url": f"http://photos-1253970026.example.com/{LEAK}",
        },
    },
    "event": {
        "eventName": "cos:ObjectCreated:Post",
        "eventTime": 1545205770,
        "reqid": 179398952,
        "requestParameters": {"requestHeaders": {"Authorization": LEAK}},
    },
}
ARK = {
    "id": "cgt-20261101120000-aaaaa",
    "model": LEAK,
    "status": "succeeded",
    "updated_at": 1793505656,
    "content": {"video_url": f"https://media.example.invalid/0001.mp4?{LEAK}"},
}


def only(shape: str, body: dict[str, Any], delivery_id: str = "d1") -> tuple[str, dict[str, Any]]:
    """Resource and payload of the only event of a body."""
    (event,) = read(SHAPES[shape], "door", parse(json.dumps(body).encode()), delivery_id).events
    assert event.name == SHAPES[shape].event
    assert LEAK not in json.dumps([event.payload, event.resource])
    return event.resource["prefect.resource.id"], event.payload


@pytest.mark.parametrize(
    ("shape", "body", "bucket", "etag"),
    [
        ("s3", {"EventName": "x", "Records": [s3("new%2Fcup+one.jpg")]}, "photos", "e1"),
        ("s3", {"Records": [s3("new/cup+one.jpg", "aws:s3", "ObjectCreated:CompleteMultipartUpload")]}, "photos", "e1"),
        ("s3", {"Records": [s3("new/cup one.jpg", "ceph:s3", "ObjectCreated:Put", eTag='"e1"')]}, "photos", "e1"),
        ("s3", {"Records": [s3("new/cup one.jpg", "ceph:s3", eTag=None, etag="e1")]}, "photos", "e1"),
        ("eventbridge", EVENTBRIDGE, "photos", "b1946ac9"),
        ("oss", {"events": [OSS]}, "photos", "1371"),
        ("oss", {"events": [OSS | {"eventName": "Oss:ObjectCreated:PostObject"}]}, "photos", "1371"),
        ("oss", {"id": "1", "source": "acs.oss", "type": "oss:ObjectCreated:PutObject", "data": OSS}, "photos", "1371"),
        ("cos", {"Records": [COS]}, "photos-1253970026", "NWMxOWY4MGFf"),
    ],
)
def test_an_object_is_the_same_event_whatever_the_store(shape: str, body: Any, bucket: str, etag: str) -> None:
    """Bucket, key and ETag stand where EventBridge has them, so that one trigger fits all."""
    resource, payload = only(shape, body)
    assert resource == f"s3://{bucket}/new/cup one.jpg"
    assert payload["bucket"] == {"name": bucket}
    assert (payload["object"]["key"], payload["object"]["etag"]) == ("new/cup one.jpg", etag)
    assert set(payload["object"]) <= {"key", "etag", "size", "version-id", "sequencer"}


def test_a_callback_is_a_hint_without_its_link() -> None:
    """Nobody signs it; the task is asked for before anything is believed."""
    resource, payload = only("callback", ARK)
    assert resource == "genvideo.callback.door.cgt-20261101120000-aaaaa"
    assert payload == {"task_id": "cgt-20261101120000-aaaaa", "status": "succeeded"}


def test_a_webhook_passes_on_what_is_open_alone() -> None:
    """Also of a field that is open, only a value of a plain kind."""
    body = {"prompt": "a\u0000 cup\n", "duration": 5, "images": ["a", 3], "first_frame": {"x": LEAK}, "model": LEAK}
    resource, payload = only("webhook", body)
    assert resource == "genvideo.listen.door"
    assert payload == {"prompt": "a cup\n", "duration": 5}


@pytest.mark.parametrize(
    ("shape", "body"),
    [
        ("s3", {"Records": [s3("a", name="s3:ObjectRemoved:Delete")]}),
        ("eventbridge", EVENTBRIDGE | {"detail-type": "Object Deleted"}),
        ("eventbridge", EVENTBRIDGE | {"source": "my.own"}),
        ("oss", {"events": [OSS | {"eventName": "ObjectCreated:UploadPart"}]}),
        ("oss", {"events": [OSS | {"eventName": "ObjectCreated:InitiateMultipartUpload"}]}),
        ("cos", {"Records": [COS | {"event": {"eventName": "cos:ObjectRemove:Delete"}}]}),
    ],
)
def test_what_is_no_new_object_is_ignored(shape: str, body: Any) -> None:
    """It is no error: a store that got one would send it for ever."""
    assert read(SHAPES[shape], "door", body, "d1") == Reading(ignored=1)


def test_a_store_that_introduces_itself_is_ignored() -> None:
    """Its body has no records."""
    assert read(SHAPES["s3"], "door", {"Service": "Amazon S3", "Event": "s3:TestEvent"}, "d1") == Reading()


@pytest.mark.parametrize("key", ["", "a\nb", "a\u0000", "\ud800", "k" * 1025, 7.5, None, "%ff"])
def test_a_key_that_is_none_makes_its_record_unusable_and_no_other(key: Any) -> None:
    """Whoever may upload chooses the keys."""
    reading = read(SHAPES["s3"], "door", {"Records": [s3(key), s3("good.jpg")]}, "d1")
    assert (len(reading.events), reading.unusable) == (1, 1)


def test_the_same_object_told_again_is_the_same_event() -> None:
    """However it is wrapped; another version, time or sender is another."""

    def event_id(source: str, record: dict[str, Any]) -> str:
        (event,) = read(SHAPES["s3"], source, {"Records": [record]}, "whatever").events
        return str(event.id)

    first = event_id("door", s3("a.jpg"))
    assert event_id("door", s3("a.jpg", contentType="x")) == first
    others = [("door", s3("b.jpg")), ("door", s3("a.jpg", sequencer="2")), ("window", s3("a.jpg"))]
    assert len({event_id(*other) for other in others} | {first}) == 4


def test_a_delivery_id_is_the_senders() -> None:
    """Two senders may call theirs alike."""
    ids = {
        read(SHAPES["webhook"], source, {"prompt": "x"}, delivery).events[0].id
        for source in ("shop", "blog")
        for delivery in ("1", "2")
    }
    assert len(ids) == 4


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"{",
        b"[]",
        b"1",
        b'{"a": NaN}',
        b'{"a": ' + b"9" * 10_000 + b"}",
        b'{"a": ' + b"[" * 100_000,
        b'{"a": ' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}",
        b'{"a": [' + b"1," * MAX_VALUES + b"1]}",
    ],
    ids=lambda body: repr(body[:12]),
)
def test_a_body_beyond_the_bounds_is_unreadable(body: bytes) -> None:
    """Size in bytes is bounded before; depth, count and form are here."""
    with pytest.raises(UnreadableError):
        parse(body)


def test_records_are_bounded() -> None:
    """And are objects."""
    with pytest.raises(UnreadableError):
        read(SHAPES["s3"], "door", {"Records": [s3("a")] * (MAX_RECORDS + 1)}, "d1")
    with pytest.raises(UnreadableError):
        read(SHAPES["s3"], "door", {"Records": [1]}, "d1")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@given(st.sampled_from(sorted(SHAPES)), st.dictionaries(st.sampled_from(["Records", "events", "data", "id"]), JSON))
def test_no_body_breaks_a_parser(shape: str, body: dict[str, Any]) -> None:
    """Whatever stands where a record, an object or a text should."""
    try:
        reading = read(SHAPES[shape], "door", body, "d1")
    except UnreadableError:
        return
    for event in reading.events:
        json.dumps([event.payload, event.resource]).encode()
        assert len(event.resource["prefect.resource.id"]) < 4096


REAL: list[tuple[str, dict[str, Any]]] = [
    ("s3", {"Records": [s3("new%2Fcup+one.jpg")]}),
    ("eventbridge", EVENTBRIDGE),
    ("oss", {"events": [OSS]}),
    ("cos", {"Records": [COS]}),
    ("callback", ARK),
    ("webhook", {"prompt": "a cup", "duration": 5, "images": ["https://example.com/a.jpg"]}),
]


def replaced(value: Any, draw: Callable[[], bool], other: Any) -> Any:
    """A copy of a body in which some of what is in it is something else."""
    if draw():
        return other
    if isinstance(value, dict):
        entries: dict[str, Any] = value  # pyright: ignore[reportUnknownVariableType]
        return {name: replaced(inner, draw, other) for name, inner in entries.items()}
    return [replaced(inner, draw, other) for inner in value] if isinstance(value, list) else value  # pyright: ignore[reportUnknownVariableType]


@given(st.sampled_from(REAL), JSON, st.randoms(use_true_random=False))
def test_a_real_body_with_strange_parts_breaks_nothing(real: tuple[str, Any], other: Any, random: Random) -> None:
    """What is read of it can be stored, and is no longer than it may be."""
    shape, body = real
    changed = {name: replaced(value, lambda: random.random() < 0.15, other) for name, value in body.items()}
    try:
        reading = read(SHAPES[shape], "door", changed, "d1")
    except UnreadableError:
        return
    for event in reading.events:
        kept = json.dumps([event.payload, event.resource], ensure_ascii=False)
        kept.encode()
        assert LEAK not in kept
        assert "\\u0000" not in kept


@given(JSON)
def test_what_is_passed_on_can_be_stored(value: Any) -> None:
    """No NUL, which PostgreSQL refuses, and no lone surrogate, which no database takes."""
    for kept in (plain(value), identifier(value), text(value)):
        written = json.dumps(kept, ensure_ascii=False)
        written.encode()
        assert "\\u0000" not in written
        assert len(written) <= 13 * 2 * (MAX_TEXT + 4)
