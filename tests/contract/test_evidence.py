"""Evidence: the same facts are found in every spelling and envelope, by both clients alike."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

import pytest

from prefect_genvideo import errors
from prefect_genvideo.models import VideoRequest
from prefect_genvideo.providers import VideoClient
from prefect_genvideo.providers.readings import NO_LINK
from prefect_genvideo.providers.words import normalised, state_of
from tests.contract.cases import KEEPS_THE_RULES
from tests.contract.server import Answer, ScriptedServer

TASK = "task_DrwbCgmERlqqvftqyf2o59FaWynwJPDN"
URL = "https://cdn.example.invalid/out.mp4"
REQUEST = VideoRequest(model="new", prompt="x")


def serve(server: ScriptedServer, body: Any, status: int = 200) -> None:
    server.handler = lambda _: Answer(status, {}, json.dumps(body).encode())


# Words

QUEUED = (
    "queued queueing pending submitted waiting created accepted scheduled throttled preparing in_queue 排队中 排隊中"
)
RUNNING = "running in_progress processing generating rendering started not_completed incomplete 生成中"
SUCCEEDED = "succeeded success succeed successful completed complete finished finish done ready 已完成 任務完成"
FAILED = "failed failure fail error rejected cancelled canceled aborted expired timeout timed_out 失败 失敗 審核未通過"


def spellings(word: str) -> list[str]:
    camel = "".join(part.capitalize() for part in word.split("_"))
    return [word, word.upper(), word.replace("_", "-"), word.replace("_", " ").title(), camel, f" {word} ", f"{word}."]


@pytest.mark.parametrize(
    ("words", "state"), [(QUEUED, "queued"), (RUNNING, "running"), (SUCCEEDED, "succeeded"), (FAILED, "failed")]
)
def test_words_are_known_in_every_spelling(words: str, state: str) -> None:
    """Case, separators and an enum's prefix say nothing."""
    for word in words.split():
        for spelling in [*spellings(word), f"TASK_STATUS_{word.upper()}", f"JOB_STATE_{word.upper()}"]:
            assert (spelling, state_of(spelling)) == (spelling, state)


@pytest.mark.parametrize(
    ("word", "state"),
    [
        *(("VIDEO_FAILED", "failed"), ("generation.completed", "succeeded"), ("TaskQueued", "queued")),
        *(("task_ready", None), ("task_x", None), ("TASK", None)),
    ],
)
def test_words_are_known_with_what_they_are_said_of(word: str, state: str | None) -> None:
    """But a task may be ready to start."""
    assert state_of(word) == state


@pytest.mark.parametrize(
    "word", ["unsuccessful", "failures", "paused", "moderating", "unknown", "x", "", "…", "200", "好"]
)
def test_parts_of_words_are_not_words(word: str) -> None:
    """Nor is what nobody knows."""
    assert state_of(word) is None


def test_a_provider_adds_words_of_its_own() -> None:
    """They come before the shared ones."""
    assert state_of("Ready", {normalised("ready"): "queued"}) == "queued"


# Envelopes

ENVELOPES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "flat": lambda row: row,
    "data": lambda row: {"code": "success", "message": "", "data": row},
    "data, code 0": lambda row: {"code": 0, "message": "ok", "data": row},
    "data list": lambda row: {"code": 200, "data": [{"task_id": "other", "status": "failed"}, row]},
    "data text": lambda row: {"code": "success", "data": json.dumps(row)},
    "result": lambda row: {"result": row},
    "response": lambda row: {"response": row},
    "task": lambda row: {"task": row},
    "output": lambda row: {"request_id": "r", "output": row},
    "list": lambda row: {"code": 0, "data": {"list": [row]}},
    "operation": lambda row: {"operation": row},
    "two deep": lambda row: {"status": "success", "data": {"task": row}},
    "choices": lambda row: {"id": "chat", "choices": [{"message": {"content": json.dumps(row)}}]},
    "text": json.dumps,
}


@pytest.mark.parametrize("envelope", ENVELOPES)
@pytest.mark.parametrize("id_key", ["task_id", "taskId", "Task-ID"])
async def test_a_task_is_found_in_every_envelope(
    envelope: str, id_key: str, client: VideoClient, server: ScriptedServer
) -> None:
    """The object that names our task speaks, not what it is wrapped in."""
    for word, state in (("PENDING", "queued"), ("running", "running"), ("done", "succeeded"), ("EXPIRED", "failed")):
        serve(server, ENVELOPES[envelope]({id_key: TASK, "status": word, "video_url": URL}))
        assert (await client.get(TASK)).state == state


@pytest.mark.parametrize("envelope", ENVELOPES)
async def test_another_task_is_never_believed(envelope: str, client: VideoClient, server: ScriptedServer) -> None:
    """Whatever wraps it."""
    serve(server, ENVELOPES[envelope]({"task_id": "task_other", "status": "done", "video_url": URL}))
    with pytest.raises(errors.TransientError) as caught:
        await client.get(TASK)
    assert caught.value.reason == "task_id mismatch"


@pytest.mark.parametrize("envelope", ENVELOPES)
@pytest.mark.parametrize("id_key", ["task_id", "taskId", "id"])
async def test_a_new_tasks_id_is_found_in_every_envelope(
    envelope: str, id_key: str, client: VideoClient, server: ScriptedServer
) -> None:
    """Or the outcome is unknown; never is the answer a refusal."""
    if envelope in {"choices", "data list"}:
        return
    serve(server, ENVELOPES[envelope]({id_key: TASK, "status": "queued"}))
    assert await client.create(KEEPS_THE_RULES[client.name]) == TASK


# Ends

OVER: dict[str, Any] = {"task_id": TASK, "status": "VIDEO_READY"}


@pytest.mark.parametrize(
    ("facts", "state", "unfamiliar"),
    [
        ({"video_url": URL, "completed_at": 1790580103}, "succeeded", None),
        ({"video_url": URL, "finish_time": 1790580103000}, "succeeded", None),
        ({"video_url": URL, "finished_at": "2026-09-28 15:19:10"}, "succeeded", None),
        ({"video_url": URL, "progress": 100}, "succeeded", None),
        ({"video_url": URL, "progress": "100%"}, "succeeded", None),
        ({"video_url": URL, "progress": 1.0}, "succeeded", None),
        ({"video_url": URL}, "running", "VIDEO_READY"),
        ({"video_url": URL, "progress": 1}, "running", "VIDEO_READY"),
        ({"video_url": URL, "finish_time": 0}, "running", "VIDEO_READY"),
        ({"error_message": "no luck here", "completed_at": 1790580103}, "failed", None),
        ({"error": {"message": "no luck here"}, "end_time": "2026-09-28T15:19:10Z"}, "failed", None),
        ({"error_message": "no luck here"}, "running", "VIDEO_READY"),
        ({"message": "it is being checked", "completed_at": 1790580103}, "running", "VIDEO_READY"),
        ({"error_message": "", "completed_at": 1790580103}, "running", "VIDEO_READY"),
        ({"error_message": "no luck here", "progress": 100}, "running", "VIDEO_READY"),
        ({"progress": "100%"}, "running", "VIDEO_READY"),
    ],
)
async def test_a_word_nobody_knows_ends_nothing_without_a_final_fact(
    facts: dict[str, Any], state: str, unfamiliar: str | None, client: VideoClient, server: ScriptedServer
) -> None:
    """A link and an end, or the text of an error and an end time. Anything less starts no deadline either."""
    serve(server, OVER | facts)
    generation = await client.get(TASK)
    assert (generation.state, generation.unfamiliar) == (state, unfamiliar)
    assert generation.video_url == (URL if state == "succeeded" else None)


@pytest.mark.parametrize(
    "body",
    [
        {"status": "error", "message": "Incorrect API key provided"},
        {"status": "failed", "error": {"message": "Incorrect API key provided", "code": "x"}},
        {"status": "success", "message": "ok"},
        {"status": "401", "message": "Incorrect API key provided"},
        {"status": 3, "task_id": TASK, "video_url": URL, "progress": 100},
        {"task_id": TASK, "status": None, "video_url": URL},
    ],
)
async def test_what_speaks_of_the_call_says_nothing_of_the_task(
    body: Any, client: VideoClient, server: ScriptedServer
) -> None:
    """A question that was refused ended no generation."""
    serve(server, body)
    with pytest.raises(errors.TransientError):
        await client.get(TASK)


@pytest.mark.parametrize("word", ["PENDING", "IN_PROGRESS"])
@pytest.mark.parametrize(
    ("facts", "over"),
    [
        ({"video_url": URL, "completed_at": 1790580103}, True),
        ({"video_url": URL, "progress": "100%"}, False),
        ({"video_url": URL}, False),
        ({"completed_at": 1790580103, "error_message": "no luck here"}, False),
    ],
)
async def test_a_link_and_an_end_time_outweigh_a_word_that_was_not_kept_up_to_date(
    word: str, facts: dict[str, Any], over: bool, client: VideoClient, server: ScriptedServer
) -> None:
    """Less than that does not."""
    serve(server, {"task_id": TASK, "status": word, **facts})
    assert (await client.get(TASK)).state == ("succeeded" if over else state_of(word))


@pytest.mark.parametrize("name", ["state", "value", "name"])
async def test_a_word_may_be_wrapped(name: str, client: VideoClient, server: ScriptedServer) -> None:
    """In an object of its own."""
    serve(server, {"task_id": TASK, "status": {name: "FAILED", "message": "no luck here"}})
    assert (await client.get(TASK)).state == "failed"


async def test_a_long_running_operation_ends_with_an_error(client: VideoClient, server: ScriptedServer) -> None:
    """Google's form: `done`, and either an answer or an error."""
    serve(server, {"name": "operations/x", "done": True, "error": {"code": 3, "message": "no luck here"}})
    ended = await client.get(TASK)
    assert (ended.state, ended.reason) == ("failed", "no luck here")
    serve(server, {"error": {"code": 3, "message": "no luck here"}})
    with pytest.raises(errors.TransientError):
        await client.get(TASK)


async def test_the_outer_word_wins(client: VideoClient, server: ScriptedServer) -> None:
    """A gateway looks at its supplier's answer before it says that a task is done."""
    inner = {"state": "success", "creations": [{"url": URL}]}
    serve(server, {"task_id": TASK, "status": "IN_PROGRESS", "data": inner})
    assert (await client.get(TASK)).state == "running"
    serve(server, {"task_id": TASK, "status": "SUCCESS", "data": {"state": "queueing"}})
    waiting = await client.get(TASK)
    assert (waiting.state, waiting.reason) == ("queued", None)
    serve(server, {"task_id": TASK, "status": "success", "task_status": "processing"})
    assert (await client.get(TASK)).reason is None
    serve(server, {"task_id": TASK, "status": None, "data": inner})
    assert (await client.get(TASK)).video_url == URL


# Links

BARE = "https://cdn.example.invalid/v/8f3a?sig=a%2Fb"  # no name of a file: its place must tell what it is
PLACES: list[dict[str, Any]] = [
    {"url": URL},
    {"video_url": [URL]},
    {"videoUrl": URL},
    {"result_urls": [URL]},
    {"metadata": {"url": URL}},
    {"video": {"url": URL}},
    {"video": URL},
    {"videos": [{"id": "1", "url": URL}]},
    {"content": {"video_url": URL}},
    {"data": [{"url": URL}]},
    {"data": {"creations": [{"url": ""}, {"url": "https://e.com/cover.jpg"}, {"url": URL}]}},
    {"data": {"task_result": {"videos": [{"url": URL}]}}},
    {"data": {"output": {"video_url": URL}}},
    {"data": {"output": [URL]}},
    {"data": {"resultJson": json.dumps({"resultUrls": [URL]})}},
    {"data": {"response": {"generateVideoResponse": {"generatedSamples": [{"video": {"uri": URL}}]}}}},
    {"data": {"file": {"download_url": URL}}},
    *(
        {"data": {place: BARE}}
        for place in (
            *("final_video_url", "video_result", "generated_video", "video_url_no_watermark", "hdVideoUrl"),
            *("oss_url", "cdn_url", "asset_url", "resource_url", "unsigned_urls", "sample", "content_url"),
        )
    ),
    {"data": {"somewhere": {"else": URL}}},
    {"data": {"choices": [{"message": {"content": f"Done: ![video]({URL})."}}]}},
    {"fail_reason": URL},
    {"result_url": f"`{URL}`"},
    {"result_url": f"{URL}, https://cdn.example.invalid/2.mp4"},
    {"result_url": f"Your video: {URL} (valid 24 h)"},
    {"video_url": f"视频链接：{URL}，24小时内有效"},
    {"result_url": "a sentence", "cover_url": "https://e.com/c.mp4", "url": URL},
    {"result_url": "http://10.0.0.7/local.mp4", "data": {"url": URL}},
    {"properties": {"input": "https://e.com/asked.mp4"}, "url": URL},
    {"outputs": [{"type": "image", "url": "https://e.com/i/1"}, {"type": "video", "url": BARE}]},
    {"outputs": [{"media_type": "image/png", "url": "https://e.com/i/1"}, {"media_type": "video/mp4", "url": BARE}]},
    {"type": "image", "url": BARE},
    {"content": [{"type": "video", "video_url": "https://e.com/reference.mp4"}], "result": {"url": URL}},
]


@pytest.mark.parametrize("place", PLACES, ids=json.dumps)
async def test_a_link_is_found_wherever_it_stands(
    place: dict[str, Any], client: VideoClient, server: ScriptedServer
) -> None:
    """Not those of pictures, of what was sent, or of a private network."""
    serve(server, {"task_id": TASK, "status": "succeeded", **place})
    assert (await client.get(TASK)).video_url in {URL, BARE}


@pytest.mark.parametrize(
    "place",
    [
        *(
            {name: BARE}
            for name in ("ref_video", "source_video_url", "video_status_url", "share_url", "video_page_url")
        ),
        {"materials": [{"url": BARE}]},
        {"video_url": "https://e.com/cover.jpg"},
        {"cover_url": URL, "last_frame_url": URL},
        {"properties": {"url": URL}, "input": {"video_url": URL}},
        {"content": [{"type": "video", "video_url": URL}]},
        {"provider_specific": {"watermark_url": URL}},
        {"video_url": "data:video/mp4;base64,AAAA"},
        {"fail_reason": f"cannot fetch {URL} for you"},
        {"video_url": f"Your page: {BARE} (valid 24 h)"},
        {"video_url": "https://["},
        {"message": "see https://\u2100.invalid/1.mp4"},
    ],
    ids=json.dumps,
)
async def test_other_links_are_no_result(place: dict[str, Any], client: VideoClient, server: ScriptedServer) -> None:
    """The success waits for its link."""
    serve(server, {"task_id": TASK, "status": "succeeded", **place})
    generation = await client.get(TASK)
    assert (generation.state, generation.video_url) == ("running", None)
    assert (generation.reason or "").startswith(NO_LINK)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("https://cdn.example.invalid/my clip 1.mp4", "https://cdn.example.invalid/my%20clip%201.mp4"),
        ("//cdn.example.invalid/out.mp4", "http://cdn.example.invalid/out.mp4"),
        ("/video/abc", "{base}/video/abc"),
        (f"http://localhost:3000/v1/videos/{TASK}/content", f"{{base}}/v1/videos/{TASK}/content"),
        (f"https://other.example/v1/videos/{TASK}/content?x=1", f"{{base}}/v1/videos/{TASK}/content"),
        (f"{{base}}/v1/videos/{TASK}/content?x=1", f"{{base}}/v1/videos/{TASK}/content?x=1"),
        ("https://other.example/v1/videos/video_9/content", "https://other.example/v1/videos/video_9/content"),
        ("{base}/v1/videos/task_other/content", None),
        ("https://e.com broke while fetching", None),
        *(
            (written, URL)
            for written in (
                *(URL + "\u200b", "\ufeff" + URL, URL + ";", f"({URL})", f"[{URL}]", f"![a video]({URL})"),
                *(URL.replace("/", "\\/"), "https%3A%2F%2Fcdn.example.invalid%2Fout.mp4"),
            )
        ),
        ("https://e.com/v?a=1&amp;b=2", "https://e.com/v?a=1&b=2"),
        ("https://e.com/a_(1).mp4", "https://e.com/a_(1).mp4"),
    ],
)
async def test_links_are_made_fetchable(
    given: str, found: str | None, client: VideoClient, server: ScriptedServer
) -> None:
    """The gateway's other names lead to its own address; another task's video there is none of ours."""
    body = {"task_id": TASK, "status": "succeeded", "video_url": given.replace("{base}", server.url)}
    serve(server, body)
    assert (await client.get(TASK)).video_url == (found and found.replace("{base}", server.url))


# Reasons

REASONS: list[tuple[dict[str, Any], str]] = [
    ({"error": {"code": "x_y", "message": "It broke."}}, "It broke."),
    ({"error": "It broke."}, "It broke."),
    ({"fail_reason": json.dumps({"error": {"message": "It broke."}})}, "It broke."),
    ({"fail_reason": 'upstream: {"code":50412,"message":"Text Risk Not Pass"}'}, "Text Risk Not Pass"),
    ({"fail_reason": "Error code: 400 - {'error': {'message': 'It broke.', 'type': 'x'}}"}, "It broke."),
    ({"fail_reason": '{"error":{"message":"It broke and was cu'}, "It broke and was cu"),
    ({"error": {"message": json.dumps({"error": {"message": "It broke."}})}}, "It broke."),
    ({"message": "SUCCEED", "data": {"data": {"task_status_msg": "It broke."}}}, "It broke."),
    ({"fail_reason": "task failed", "data": {"message": "It broke."}}, "It broke."),
    ({"fail_reason": "slug", "result_url": "It broke."}, "It broke."),
    ({"url": "It broke."}, "It broke."),
    ({"data": {"base_resp": {"status_code": 1026, "status_msg": "It broke."}}}, "It broke."),
    ({"fail_reason": "It broke. (request id: 20260203113641101064610dirTcn8H)"}, "It broke."),
    ({"fail_reason": "<html><head><title>502 Bad Gateway</title></head></html>"}, "502 Bad Gateway"),
    ({"fail_reason": ["It broke.", "x"]}, "It broke."),
    ({"fail_reason": "[系统检测到敏感内容]"}, "[系统检测到敏感内容]"),
    ({"fail_reason": "[sk-a***b] It broke."}, "It broke."),
    ({"fail_reason": 'Error: {"message": "It can\'t do that", "code'}, "It can't do that"),
    ({"type": "video", "object": "video"}, "(no reason given)"),
    ({"data": {"err_code": "slug"}}, "slug"),
    ({"ref_code": 400501, "code": "图片内容包含敏感或违规信息"}, "图片内容包含敏感或违规信息"),
    ({"fail_reason": "内容审核未通过"}, "内容审核未通过"),
    ({"fail_reason": "task failed"}, "task failed"),
    *(({name: "It broke."}, "It broke.") for name in ("err", "taskError", "failureMessage", "status_detail", "remark")),
    ({"fail_reason": '{"foo": 1}'}, "(no reason given)"),
    ({"message": "操作成功"}, "(no reason given)"),
]


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("EXPIRED", "expired"),
        ("Cancelled", "cancelled"),
        ("FAILURE", "(no reason given)"),
        ("生成失败", "(no reason given)"),
        ("VIDEO_FAILED", "(no reason given)"),
    ],
)
async def test_a_word_is_the_reason_where_nothing_else_is_said(
    word: str, reason: str, client: VideoClient, server: ScriptedServer
) -> None:
    """Where it tells more than that it failed."""
    serve(server, {"task_id": TASK, "status": word})
    assert (await client.get(TASK)).reason == reason


@pytest.mark.parametrize(("facts", "reason"), REASONS)
async def test_a_reason_is_found_wherever_it_stands(
    facts: dict[str, Any], reason: str, client: VideoClient, server: ScriptedServer
) -> None:
    """As a sentence: no JSON, no word of success, no request's id."""
    serve(server, {"task_id": TASK, "status": "failed", **facts})
    assert (await client.get(TASK)).reason == reason


@pytest.mark.parametrize(
    ("facts", "moderation"),
    [
        ({"fail_reason": "The output video may contain sensitive information."}, True),
        ({"error": {"code": "50412", "message": "request failed"}}, True),
        ({"data": {"err_code": "AuditSubmitIllegal", "message": "submit failed"}}, True),
        ({"fail_reason": "asset download failed"}, False),
    ],
)
async def test_a_refusal_for_content_is_a_fact(
    facts: dict[str, Any], moderation: bool, client: VideoClient, server: ScriptedServer
) -> None:
    """Of the generation, and of the error where a create is refused."""
    serve(server, {"task_id": TASK, "status": "failed", **facts})
    assert (await client.get(TASK)).moderation is moderation
    serve(server, {"code": "invalid_request", "message": "x", **facts}, 400)
    with pytest.raises(errors.RejectedError) as caught:
        await client.create(KEEPS_THE_RULES[client.name])
    if "data" not in facts:
        assert caught.value.moderation is moderation


# Times


@pytest.mark.parametrize(
    "value",
    [
        *(1790579946, 1790579946000, "1790579946", "1790579946000000000", 1790579946e6, "1790579946.0"),
        *("2026-09-28T15:19:06+08:00", "2026-09-28 07:19:06Z", "2026-09-28T15:19:06+08"),
        *("2026-09-28 07:19:06 +0000 UTC", "2026-09-28 15:19:06.0 +0800 CST", "Mon, 28 Sep 2026 07:19:06 GMT"),
        *({"seconds": 1790579946, "nanos": 5}, {"$date": {"$numberLong": "1790579946000"}}),
        *({"_seconds": 1790579946}, {"Time": "2026-09-28T07:19:06Z", "Valid": True}),
    ],
)
async def test_times_in_every_unit(value: Any, client: VideoClient, server: ScriptedServer) -> None:
    """Seconds, milliseconds, microseconds, text."""
    serve(server, {"task_id": TASK, "status": "failed", "created_at": value, "completed_at": value})
    generation = await client.get(TASK)
    moment = datetime(2026, 9, 28, 7, 19, 6, tzinfo=timezone.utc)
    assert (generation.created_at, generation.finished_at) == (moment, moment)


@pytest.mark.parametrize(
    "value",
    [
        *(0, -62135596800, 1e40, "0001-01-01T00:00:00Z", "2026-09-28 15:19:06", "soon", True),
        *("Mon, 28 Sep 2026 07:19:06", "Mon, 01 Jan 0001 00:00:00 GMT", "Mon, 99 Sep 2026 07:19:06 GMT", "9" * 60),
        *({}, {"seconds": 5}, {"Time": "0001-01-01T00:00:00Z", "Valid": False}, [1790579946]),
        {"$date": {"$date": {"$date": {"$date": 1790579946}}}},
    ],
)
async def test_times_that_are_none(value: Any, client: VideoClient, server: ScriptedServer) -> None:
    """A date without a zone may be eight hours off: worse than none."""
    serve(server, {"task_id": TASK, "status": "running", "created_at": value})
    assert (await client.get(TASK)).created_at is None
