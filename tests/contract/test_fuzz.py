"""Whatever is asked and whatever comes back, the outcome is a result or an error of our tree."""

from __future__ import annotations

import asyncio
import copy
import json
import math
from collections.abc import AsyncIterator
from typing import Any

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prefect_genvideo import errors
from prefect_genvideo.models import Generation, VideoRequest
from prefect_genvideo.providers import ArkClient, SudashuiClient, VideoClient
from prefect_genvideo.providers.ark import rules as ark_rules
from prefect_genvideo.providers.senseaudio import rules as senseaudio_rules
from prefect_genvideo.providers.sudashui import rules as sudashui_rules
from tests.contract.cases import ARK, CASES, CLIENTS, KEEPS_THE_RULES, KEY

TASK = "task_DrwbCgmERlqqvftqyf2o59FaWynwJPDN"
FUZZ = settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


class Scripted(httpx.AsyncBaseTransport):
    """Answers everything alike, in pieces, without a network."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self._status, self._headers, self._body = status, headers, body
        self.sent: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        return httpx.Response(self._status, headers=self._headers, stream=Pieces(self._body))


class Pieces(httpx.AsyncByteStream):
    """A body in pieces of seven bytes at first."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._body[:7]
        yield self._body[7:]


# Answers

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
HOSTILE: list[Any] = [
    "", " ", "https://e.com/v.mp4", "http://", "\ud800", "x" * 5000, 10**400, -1, math.nan, [], {}, [[]], TASK
]  # fmt: skip
ODD: st.SearchStrategy[Any] = st.one_of(
    JSON,
    st.sampled_from(HOSTILE),
)
ANSWERS = [case["response"] for case in CASES + ARK if isinstance(case["response"]["body"], dict)]
STATUSES = st.sampled_from([200, 200, 200, 201, 204, 301, 400, 401, 403, 404, 408, 413, 429, 500, 502, 503, 504, 524])
HEADERS = st.dictionaries(
    st.sampled_from(["retry-after", "content-type", "content-encoding", "etag", "content-range", "location"]),
    st.sampled_from(
        [
            "7",
            "-1",
            "1e400",
            "30s",
            "2814, 2",
            "gzip",
            "text/html",
            "application/json",
            '"x"',
            "Sun, 06 Nov 1994 99:99",
            "x",
        ]
    ),
    max_size=3,
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A recorded answer with some of its values replaced, removed or doubled, possibly cut."""
    body: dict[str, Any] = copy.deepcopy(draw(st.sampled_from(ANSWERS))["body"])
    for _ in range(draw(st.integers(0, 3))):
        place: dict[str, Any] = body
        key: str = draw(st.sampled_from(sorted(place))) if place else ""
        while isinstance(place.get(key), dict) and place[key] and draw(st.booleans()):
            place = place[key]
            key = draw(st.sampled_from(sorted(place)))
        if draw(st.booleans()):
            place[key] = draw(ODD)
        else:
            place.pop(key, None)
    text = json.dumps(body).encode()
    return text[: draw(st.integers(0, len(text)))] if draw(st.integers(0, 4)) == 0 else text


BODIES = st.one_of(
    mutated(),
    st.binary(max_size=60),
    JSON.map(lambda value: json.dumps(value).encode()),
    st.sampled_from(
        [b"[" * 100_000, b'{"a":' * 20_000, b"9" * 5000, b'{"task_id": ' + b"9" * 5000 + b"}", b"\xff\xfe"]
    ),
)


def run(client: VideoClient, step: str) -> Generation | str | list[str] | None:
    """One step, with every error of our tree caught and checked."""

    async def once() -> Generation | str | list[str] | None:
        async with client:
            try:
                if step == "create":
                    return await client.create(KEEPS_THE_RULES[client.name])
                if step == "get":
                    return await client.get(TASK)
                if step == "models":
                    return await client.models()
                if step == "upload":
                    return (await client.upload(b"\xff\xd8\xff\xe0" + b"\0" * 60)).url
                async with client.open_video("https://e.com/v.mp4", offset=3, if_range='"x"') as stream:
                    return str(len([chunk async for chunk in stream]))
            except errors.GenVideoError as error:
                check(error, step)
                return None

    return asyncio.run(once())


def check(error: errors.GenVideoError, step: str) -> None:
    """An error is complete, and only a create's outcome can be unknown."""
    assert str(error)
    assert KEY not in f"{error} {error.reason}"
    assert not (isinstance(error, errors.UnknownOutcomeError) and (step != "create" or error.retryable))
    assert error.retry_after is None or 0 <= error.retry_after <= 3600
    if step == "get":
        # A key that may not ask ends the wait, and the task id is kept.
        assert isinstance(error, errors.TransientError | errors.TaskLostError | errors.AuthenticationError)


@given(
    provider=st.sampled_from(sorted(CLIENTS)),
    step=st.sampled_from(["create", "get", "get", "models", "upload", "download"]),
    status=STATUSES,
    headers=HEADERS,
    body=BODIES,
)
@settings(FUZZ, max_examples=200)
def test_any_answer_ends_in_the_tree(
    provider: str, step: str, status: int, headers: dict[str, str], body: bytes
) -> None:
    """And what is believed can be written down again."""
    transport = Scripted(status, headers, body)
    result = run(CLIENTS[provider](KEY, transport=transport), step)
    if isinstance(result, Generation):
        assert Generation.model_validate_json(result.model_dump_json()).task_id == TASK
        assert (result.state == "succeeded") == bool(result.video_url)
        assert result.progress is None or 0 <= result.progress <= 100
    if step == "create":
        assert sum(request.method == "POST" for request in transport.sent) == 1


# Requests

ASSETS = st.sampled_from(
    ["https://e.com/a.jpg", "http://e.com", "https://", "s3://b/k", "s3://b", "data:image/png;base64,AA==", "data:,",
     "/no/such", "", " ", "ftp://e.com/x", "file:///etc/passwd", "https://e.com/ü", "a\0b", "~nobody-x/y", "/dev/zero"]
)  # fmt: skip
SANE: dict[str, st.SearchStrategy[Any]] = {
    "prompt": st.sampled_from(["a cat", "@image1 and a cat"]),
    "duration": st.none() | st.sampled_from([5, 10, 10.0]),
    "aspect_ratio": st.none() | st.just("16:9"),
    "resolution": st.none() | st.just("720p"),
    "images": st.just(("https://e.com/a.jpg",)) | st.just(()),
    "first_frame": st.none(),
    "last_frame": st.none(),
    "videos": st.just(()),
    "audios": st.just(()),
    "timeout": st.none(),
    "options": st.just({}),
}
WILD: dict[str, st.SearchStrategy[Any]] = {
    "prompt": st.text(max_size=30) | st.sampled_from(["@image1", "@video0", "@audio" + "9" * 5000, "a@image7.com"]),
    "duration": st.integers() | st.floats() | st.sampled_from([math.nan, math.inf, True]),
    "aspect_ratio": st.sampled_from(["adaptive", "0:1", "", "9" * 999 + ":1"]) | st.text(max_size=5),
    "resolution": st.sampled_from(["480p", "1080p"]) | st.text(max_size=5),
    "images": st.lists(ASSETS | st.just("asset://a-1"), max_size=11).map(tuple),
    "videos": st.lists(ASSETS, max_size=4).map(tuple),
    "audios": st.lists(ASSETS, max_size=4).map(tuple),
    "first_frame": ASSETS,
    "last_frame": ASSETS,
    "timeout": st.integers(),
    "options": st.dictionaries(
        st.sampled_from(
            [
                "mode",
                "model",
                "watermark",
                "generate_audio",
                "provider_specific",
                "seed",
                "metadata",
                "frames",
                "draft_task_id",
                "omni_reference_task_type",
                "content",
            ]
        )
        | st.text(max_size=4),
        JSON,
        max_size=3,
    ),
}
MODELS = st.sampled_from([*sudashui_rules.MODELS, *senseaudio_rules.MODELS, *ark_rules.MODELS, "new-model"])


@st.composite
def requests(draw: st.DrawFn) -> VideoRequest:
    """A sane request with up to three fields gone wild."""
    wild = draw(st.sets(st.sampled_from(sorted(WILD)), max_size=3))
    fields = {name: draw(WILD[name] if name in wild else SANE[name]) for name in SANE}
    return VideoRequest(model=draw(MODELS | st.text(min_size=1, max_size=9)), **fields)


@given(request=requests(), cls=st.sampled_from(list(CLIENTS.values())))
@settings(FUZZ, max_examples=120)
def test_any_request_is_sent_whole_or_not_at_all(request: VideoRequest, cls: type[VideoClient]) -> None:
    """What has a problem is not sent; what has none is sent as valid JSON, without a forbidden field."""
    transport = Scripted(200, {}, b'{"task_id": "task_x"}')

    async def create() -> str | None:
        async with cls(KEY, transport=transport) as client:
            try:
                return await client.create(request)
            except errors.InvalidRequestError:
                return None

    task_id = asyncio.run(create())
    assert (task_id == "task_x") == (len(transport.sent) == 1)
    if task_id:
        assert cls(KEY).validate(request) == []
        check_body(json.loads(transport.sent[0].content), cls)


def check_body(body: dict[str, Any], cls: type[VideoClient]) -> None:
    if cls is SudashuiClient:
        payload = json.loads(body["metadata"]["payload"])
        assert not sudashui_rules.FORBIDDEN_OUTER & set(body)
        assert not sudashui_rules.FORBIDDEN_INNER & set(payload)
        assert payload["mode"] in ("references", "frames")
        assert not {"imageUrls", "videoUrls", "audioUrls"} & set(payload) or payload["mode"] == "references"
    elif cls is ArkClient:
        assert body["content"]
        assert body["watermark"] in (True, False)
        assert isinstance(body.get("duration", 1), int)
    else:
        assert {"model", "content", "duration", "resolution", "ratio"} <= set(body)
        assert body["content"]
        assert isinstance(body["duration"], int)
