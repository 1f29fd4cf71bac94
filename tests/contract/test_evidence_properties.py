"""What holds for every answer: no refusal without a sign of one, no lost link, no reader that fails."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, cast

import httpx
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prefect_genvideo import errors
from prefect_genvideo.models import Generation
from prefect_genvideo.providers import answers
from prefect_genvideo.providers.answers import names
from prefect_genvideo.providers.evidence import created_ids, find_task, opened
from prefect_genvideo.providers.links import LinkPlaces
from prefect_genvideo.providers.moderation import refused_for_content
from prefect_genvideo.providers.reasons import said_in
from prefect_genvideo.providers.refusals import is_refusal
from prefect_genvideo.providers.waits import asked_wait, retry_after
from prefect_genvideo.providers.words import STATES, state_of
from tests.contract.cases import CLIENTS, KEEPS_THE_RULES, KEY

TASK = "task_DrwbCgmERlqqvftqyf2o59FaWynwJPDN"
SLOW = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)
MANY = settings(max_examples=60, suppress_health_check=SLOW)
PROVIDERS = st.sampled_from(sorted(CLIENTS))


def asked(provider: str, step: str, status: int, body: Any) -> Generation | str | errors.GenVideoError:
    """One step against an answer, whatever comes of it."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()

    def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/v1/models":
            return httpx.Response(200, json={"data": [{"id": KEEPS_THE_RULES[provider].model}]})
        return httpx.Response(status, content=content)

    async def once() -> Generation | str | errors.GenVideoError:
        async with CLIENTS[provider](KEY, transport=httpx.MockTransport(handle)) as client:
            try:
                return await (client.create(KEEPS_THE_RULES[provider]) if step == "create" else client.get(TASK))
            except errors.GenVideoError as error:
                return error

    return asyncio.run(once())


# Values that answers are made of

SAID = "ok success failed 余额不足 invalid 任务已提交 error https://e.com/v.mp4 {} [1] 50412 429"
TEXTS = st.text(max_size=12) | st.sampled_from([*names(SAID), TASK])
FIELDS = (
    "id task_id taskId status state message msg data result task output url video_url items request_id progress detail"
    " content choices fail_reason model created_at name video"
)
NAMES = st.sampled_from(names(FIELDS))
JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 1000) | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=10,
)
# Signs of nothing: codes of success, of no known meaning, and of faults that may come after the task was made.
CODES: tuple[Any, ...] = (
    *(0, 200, "0", "200", "success", "SUCCESS", "ok", "", None, "submitted", "提交成功", 1, -1, 10000, True, [], {}),
    *("timeout", "internal_error", "server_busy", "unknown", 500, 502, 504, 408),
)
NO_ERRORS: tuple[Any, ...] = (None, "", {}, [], False, 0, "text alone", {"message": ""}, {"code": None}, {"code": 0})
NO_SIGNS: dict[str, st.SearchStrategy[Any]] = {
    "code": st.sampled_from(CODES),
    "error": st.sampled_from(NO_ERRORS),
    "success": st.sampled_from([True, None, "true", 1]),
    "ref_code": st.sampled_from([None, 0, "", 200]),
    "base_resp": st.sampled_from([None, {"status_code": 0, "status_msg": "success"}]),
}


@st.composite
def without_a_sign(draw: st.DrawFn) -> Any:
    """An answer of any shape that holds no sign of refusal where signs stand."""
    body: dict[str, Any] = draw(st.dictionaries(NAMES, JSON, max_size=5))
    for name in draw(st.sets(st.sampled_from(sorted(NO_SIGNS)))):
        body[name] = draw(NO_SIGNS[name])
    return draw(st.sampled_from([body, body, body, [body], json.dumps(body)]))


@given(provider=PROVIDERS, status=st.sampled_from([200, 200, 201, 202, 204]), body=without_a_sign())
@MANY
def test_no_refusal_without_a_sign_of_one(provider: str, status: int, body: Any) -> None:
    """A 2xx is a task that is named, or an outcome that nobody knows: a rerun does not pay again."""
    got = asked(provider, "create", status, body)
    assert isinstance(got, str | errors.UnknownOutcomeError), (got, body)


NO_OBJECTS = JSON.filter(lambda value: not isinstance(value, dict))


@given(
    provider=PROVIDERS,
    status=st.sampled_from([408, 425, 499, 500, 502, 503, 504, 520, 524]),
    body=st.binary(max_size=40) | NO_OBJECTS.map(lambda value: json.dumps(value).encode()),
)
@MANY
def test_no_resend_after_a_fault_that_proves_nothing(provider: str, status: int, body: bytes) -> None:
    """A fault without the gateway's own envelope may have come after the task was made."""
    assert isinstance(asked(provider, "create", status, body), errors.UnknownOutcomeError)


@given(provider=PROVIDERS, body=without_a_sign(), cut=st.integers(0, 60))
@MANY
def test_no_refusal_in_a_cut_answer(provider: str, body: Any, cut: int) -> None:
    """What is left of one may read like anything."""
    content = json.dumps(body).encode()[:cut]
    got = asked(provider, "create", 200, content)
    assert isinstance(got, str | errors.UnknownOutcomeError)


# Links

URL = "https://cdn.example.invalid/v/out.mp4?sig=1"
PLACES: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [
        {"video_url": URL},
        {"url": URL},
        {"result_url": URL},
        {"result_urls": [URL]},
        {"videoUrl": URL},
        {"video": {"url": URL}},
        {"videos": [{"url": URL}]},
        {"metadata": {"url": URL}},
        {"content": {"video_url": URL}},
        {"data": {"creations": [{"url": URL}]}},
        {"data": [{"url": URL}]},
        {"data": json.dumps({"resultUrls": [URL]})},
        {"data": {"output": {"video_url": URL}}},
        {"fail_reason": URL},
    ]
)
NOISE = st.dictionaries(
    st.sampled_from(names("message model prompt cover_url usage object fail_reason properties group")),
    st.none() | st.integers(0, 99) | st.sampled_from(["", "x", "https://e.com/cover.jpg", "任务已完成"]),
    max_size=4,
)
ENVELOPES: tuple[Callable[[Any], Any], ...] = (
    lambda row: row,
    lambda row: {"code": "success", "message": "", "data": row},
    lambda row: {"code": 0, "data": [row]},
    lambda row: {"result": row},
    lambda row: {"response": {"task": row}},
    lambda row: {"status": "success", "data": row},
    lambda row: {"code": "anything", "message": "m", "data": row},
    json.dumps,
)
DONE = st.sampled_from(sorted(word for word, state in STATES.items() if state == "succeeded"))
LETTERS = st.characters(codec="ascii", categories=["Lu", "Ll"])
NEW = st.text(LETTERS, min_size=3, max_size=9).filter(lambda word: state_of(word) is None)
ENDS: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [{}, {"progress": "100%"}, {"progress": 100}, {"completed_at": 1790580103}, {"finish_time": 1790580103123}]
)


@st.composite
def with_a_link(draw: st.DrawFn) -> Any:
    """Our task with a link, and a word of success or a final fact."""
    ended = draw(ENDS)
    word = draw(DONE.map(str.upper) | DONE) if not ended else draw(DONE | NEW | st.none())
    if "progress" not in ended and ended:
        word = draw(st.just(word) | st.sampled_from(["IN_PROGRESS", "pending"]))
    row = {draw(st.sampled_from(["task_id", "taskId"])): TASK, **draw(NOISE), **draw(PLACES), **ended}
    if word is not None:
        row["status"] = word
    # A word that is missing leaves only the facts to speak: an end time, that is.
    if word is None and "progress" in row:
        row["status"] = "success"
    return draw(st.sampled_from(ENVELOPES))(row)


@given(provider=PROVIDERS, body=with_a_link())
@MANY
def test_no_link_is_lost(provider: str, body: Any) -> None:
    """A paid video that the answer leads to is a success with that link, whatever the shape."""
    got = asked(provider, "get", 200, body)
    assert isinstance(got, Generation), (got, body)
    assert (got.state, got.video_url) == ("succeeded", URL)


# Readers

ODD: tuple[Any, ...] = (
    *("[" * 500, "\ud800", 10**400, 1e308, "x" * 9000, {"data": "{" * 300}, {"id": {"id": {"id": []}}}),
    json.loads("[" * 90 + "]" * 90),
)
HOSTILE: st.SearchStrategy[Any] = JSON | st.sampled_from(ODD)


@given(value=HOSTILE, other=TEXTS)
@MANY
def test_readers_never_raise(value: Any, other: str) -> None:
    """Each takes whatever JSON can hold."""
    task = find_task(value, other, plain_ids=True)
    if task is not None:
        assert task.progress is None or 0 <= task.progress <= 100
        assert task.created_at is None or isinstance(task.created_at, datetime)
        link = LinkPlaces("https://e.com", other).video(task)
        assert link is None or answers.is_link(link)
        LinkPlaces("https://e.com", other).cover(task)
    ids = created_ids(value)
    assert all(found is None or answers.as_id(found) == found for found in (ids.task_id, ids.suspect))
    said = said_in(value, other)
    assert isinstance(opened(said.reason()), str)
    assert isinstance(refused_for_content(" ".join(said.texts), said.codes), bool)
    assert isinstance(is_refusal(value), bool)
    wait = asked_wait(value)
    assert wait is None or 0 <= wait <= 3600
    retry_after(cast("Mapping[str, str]", {"retry-after": other}))
