"""What a query's answer says about a task, and that nothing but a terminal word ends it."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

import pytest

from benchmarks.servers import free_port
from prefect_genvideo import errors
from prefect_genvideo.models import NO_REASON
from prefect_genvideo.providers import SenseAudioClient, SudashuiClient, VideoClient
from tests.contract.cases import CLIENTS, KEY
from tests.contract.server import Answer, ScriptedServer

TASK = "task_DrwbCgmERlqqvftqyf2o59FaWynwJPDN"
URL = "https://files.sudashuiapi.com/proxy/out.mp4"
OWN = f"/v1/videos/{TASK}/content"
CONTENT = f"https://api.sudashuiapi.com{OWN}"


def row(**fields: Any) -> dict[str, Any]:
    return {"code": "success", "message": "", "data": {"task_id": TASK, **fields}}


def serve(server: ScriptedServer, body: Any, status: int = 200) -> None:
    content = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
    server.handler = lambda _: Answer(status, {}, content)


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("NOT_START", "queued"),
        ("SUBMITTED", "queued"),
        ("QUEUED", "queued"),
        ("queued", "queued"),
        ("IN_PROGRESS", "running"),
        ("in_progress", "running"),
        ("processing", "running"),
        ("UNKNOWN", "running"),
        ("NOT_COMPLETED", "running"),
        ("FAILURES", "running"),
        ("SUCCESS", "succeeded"),
        ("SUCCESSFUL", "succeeded"),
        ("succeeded", "succeeded"),
        ("completed", "succeeded"),
        ("FAILURE", "failed"),
        ("failed", "failed"),
        ("CANCELLED", "failed"),
    ],
)
@pytest.mark.parametrize("flat", [False, True])
async def test_sudashui_words(
    word: str, state: str, flat: bool, sudashui: SudashuiClient, server: ScriptedServer
) -> None:
    """Whole words in either case and either envelope; any other word means: keep polling."""
    body = row(status=word, url=URL)
    serve(server, body["data"] if flat else body)
    generation = await sudashui.get(TASK)
    assert generation.state == state
    assert generation.video_url == (URL if state == "succeeded" else None)


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("pending", "queued"),
        ("Processing", "running"),
        ("moderating", "running"),
        ("COMPLETED", "succeeded"),
        ("failed", "failed"),
    ],
)
async def test_senseaudio_words(word: str, state: str, senseaudio: SenseAudioClient, server: ScriptedServer) -> None:
    """Four words, in either case."""
    serve(server, {"id": "record", "task_id": TASK, "status": word, "video_url": URL})
    assert (await senseaudio.get(TASK)).state == state
    assert server.received[0].target == f"/v1/video/status?id={TASK}"


@pytest.mark.parametrize(
    ("fields", "url"),
    [
        ({"data": {"creations": [{"url": URL}]}, "result_url": "https://b.c/2"}, URL),
        ({"data": {"creations": []}, "result_url": URL, "url": "https://b.c/2"}, URL),
        ({"data": None, "url": URL, "video_url": "https://b.c/2"}, URL),
        ({"video_url": URL, "data": {"volcesVideoUrl": "https://b.c/2"}}, URL),
        ({"data": {"volcesVideoUrl": URL}, "fail_reason": "https://b.c/2"}, URL),
        ({"fail_reason": URL}, URL),
        ({"result_url": CONTENT, "fail_reason": URL}, URL),
        ({"result_url": CONTENT}, "{base}" + OWN),
        ({"result_url": f"http://localhost:3000{OWN}"}, "{base}" + OWN),
        ({"result_url": OWN}, "{base}" + OWN),
        ({"result_url": OWN[1:]}, "{base}" + OWN),
        ({"data": json.dumps({"creations": [{"url": URL}]})}, URL),
        ({"result_url": "content policy", "url": URL}, URL),
        ({"result_url": "ftp://e.com/x"}, None),
        ({"result_url": "https://"}, None),
        ({"result_url": "/proxy/out.mp4"}, "{base}/proxy/out.mp4"),
        ({"result_url": "javascript:alert(1)"}, None),
        ({"data": {"creations": [None]}, "result_url": ["https://e.com/1", "https://e.com/2"]}, "https://e.com/1"),
        ({}, None),
    ],
)
async def test_sudashui_links_in_their_order(
    fields: dict[str, Any], url: str | None, sudashui: SudashuiClient, server: ScriptedServer
) -> None:
    """Only http(s) with a host, the gateway's proxy last; success without a link is not over yet."""
    serve(server, row(status="SUCCESS", **fields))
    generation = await sudashui.get(TASK)
    assert generation.video_url == (url and url.replace("{base}", server.url))
    assert generation.state == ("succeeded" if url else "running")
    assert bool(generation.reason) == (url is None)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"fail_reason": "a b", "data": {"message": "c"}}, "a b"),
        ({"fail_reason": "slug", "data": {"message": "A sentence.", "err_code": "slug"}}, "A sentence."),
        ({"fail_reason": "slug", "data": {"err_code": "slug"}}, "slug"),
        ({"fail_reason": "", "data": {"error_message": "c"}}, "c"),
        ({"data": {"err_code": "slug"}, "result_url": "text"}, "slug"),
        ({"result_url": "text", "data": None}, "text"),
        ({"result_url": URL}, NO_REASON),
        ({"error": {"message": "m"}}, "m"),
        ({"fail_reason": "Bearer abc said no"}, "Bearer *** said no"),
        ({"fail_reason": {"not": "text"}}, NO_REASON),
    ],
)
async def test_sudashui_reasons_in_their_order(
    fields: dict[str, Any], reason: str, sudashui: SudashuiClient, server: ScriptedServer
) -> None:
    """The most telling words, without secrets."""
    serve(server, row(status="FAILURE", **fields))
    generation = await sudashui.get(TASK)
    assert (generation.state, generation.reason) == ("failed", reason)


async def test_times_cost_progress_and_cover(sudashui: SudashuiClient, server: ScriptedServer) -> None:
    """Everything the row tells; zero times are none."""
    serve(
        server,
        row(
            id=690033,
            status="SUCCESS",
            progress="100%",
            quota=1656000,
            created_at=1780990464,
            start_time=1780990479,
            finish_time=0,
            data={"creations": [{"url": URL, "cover_url": "https://e.com/c.jpg"}]},
        ),
    )
    generation = await sudashui.get(TASK)
    assert generation.progress == 100
    assert generation.cost == 1656000
    assert generation.cover_url == "https://e.com/c.jpg"
    assert generation.created_at == datetime.fromtimestamp(1780990464, timezone.utc)
    assert generation.started_at == datetime.fromtimestamp(1780990479, timezone.utc)
    assert generation.finished_at is None
    assert generation.raw["data"]["id"] == 690033


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("30%", 30),
        (" 7 % ", 7),
        (45, 45),
        (45.9, 45),
        ("250%", 100),
        (-3, None),
        ("half", None),
        (None, None),
        (True, None),
        ([], None),
    ],
)
async def test_progress_is_decoration(
    given: Any, shown: int | None, sudashui: SudashuiClient, server: ScriptedServer
) -> None:
    """Shown when it can be read; never a reason to fail."""
    serve(server, row(status="IN_PROGRESS", progress=given))
    assert (await sudashui.get(TASK)).progress == shown


NOTHING: list[tuple[int, Any, str]] = [
    (200, row(status=None), "no task in the answer"),
    (200, {"code": "success", "data": None}, "no task in the answer"),
    (200, {"code": "success", "data": []}, "no task in the answer"),
    (200, "null", "not JSON"),
    (200, "[]", "no task in the answer"),
    (200, '{"code": "succ', "not JSON"),
    (200, "", "not JSON"),
    (200, "<html></html>", "HTML instead of JSON"),
    (200, {"code": "fail_to_fetch_task", "message": "busy", "data": None}, "fail_to_fetch_task"),
    (200, {"task_id": "task_other", "status": "completed", "url": URL}, "task_id mismatch"),
    (200, {"id": "task_other", "status": "completed", "url": URL}, "task_id mismatch"),
    (401, {"error": {"message": "m", "code": ""}}, "cannot query with this key"),
    (403, "", "cannot query with this key"),
    (404, "<html></html>", "HTTP 404"),
    (408, "", "HTTP 408"),
    (500, row(status="FAILURE"), "HTTP 500"),
    (502, "<html></html>", "HTTP 502"),
]


@pytest.mark.parametrize(("status", "body", "reason"), NOTHING)
async def test_what_says_nothing_about_the_task(
    status: int, body: Any, reason: str, sudashui: SudashuiClient, server: ScriptedServer
) -> None:
    """The id is kept, and the error says why there was no news."""
    serve(server, body, status)
    with pytest.raises(errors.TransientError) as caught:
        await sudashui.get(TASK)
    assert (caught.value.reason, caught.value.task_id, caught.value.status_code) == (reason, TASK, status)
    assert caught.value.retryable


@pytest.mark.parametrize("status", [200, 400, 404])
async def test_sudashui_does_not_know_the_id(status: int, sudashui: SudashuiClient, server: ScriptedServer) -> None:
    """Said at once; the grace right after a create is the waiter's business."""
    serve(server, {"code": "task_not_exist", "message": "task_not_exist", "data": None}, status)
    with pytest.raises(errors.TaskLostError) as caught:
        await sudashui.get(TASK)
    assert (caught.value.task_id, caught.value.reason) == (TASK, "task_not_exist")


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (404, {"code": "not_found", "ref_code": 404000}, errors.TaskLostError),
        (400, {"code": "c", "ref_code": "404000"}, errors.TaskLostError),
        (404, {"code": "任务不存在"}, errors.TaskLostError),
        (404, "<html></html>", errors.TransientError),
        (404, {"detail": "Not Found"}, errors.TransientError),
        (200, {"status": "completed", "task_id": "other", "video_url": URL}, errors.TransientError),
        (200, {"task_id": TASK}, errors.TransientError),
        (401, {"code": "authentication_error"}, errors.AuthenticationError),
        (429, {"code": "c", "ref_code": 429000}, errors.RateLimitedError),
        (500, {"code": "internal", "ref_code": 500000}, errors.TransientError),
        (200, {"code": "c", "ref_code": 400000}, errors.TransientError),
    ],
)
async def test_senseaudio_answers_without_a_task(
    status: int, body: Any, expected: type[Exception], senseaudio: SenseAudioClient, server: ScriptedServer
) -> None:
    """Only an unknown id means lost. 401 comes for a wrong key and for an account without money alike."""
    serve(server, body, status)
    with pytest.raises(errors.GenVideoError) as caught:
        await senseaudio.get(TASK)
    assert type(caught.value) is expected


@pytest.mark.parametrize("answer", [Answer(reset=True), Answer(200, {}, b"{}", length=99, cut_after=1)])
async def test_a_lost_answer_says_nothing(answer: Answer, client: VideoClient, server: ScriptedServer) -> None:
    """A query costs nothing and is simply asked again."""
    server.handler = lambda _: answer
    with pytest.raises(errors.TransientError) as caught:
        await client.get(TASK)
    assert caught.value.reason == "connection lost"


@pytest.mark.parametrize("cls", CLIENTS.values())
async def test_an_unreachable_api_says_nothing(cls: type[VideoClient]) -> None:
    """Nor does a refused connection."""
    async with cls(KEY, f"http://127.0.0.1:{free_port()}") as client:
        with pytest.raises(errors.TransientError) as caught:
            await client.get(TASK)
    assert caught.value.reason == "not sent"


async def test_ids_are_quoted_into_the_path(client: VideoClient, server: ScriptedServer) -> None:
    """Whatever a provider calls a task, it cannot lead to another endpoint."""
    serve(server, "", 500)
    with pytest.raises(errors.TransientError):
        await client.get("../a?b=c&d #é")
    assert server.received[0].target.endswith("..%2Fa%3Fb%3Dc%26d%20%23%C3%A9")


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({"object": "list", "data": [{"id": "b"}, {"id": "a"}, {"id": "b"}]}, ["b", "a"]),
        ({"data": [{"id": " x "}, {}, None, 7, {"id": None}]}, ["x"]),
        ({"data": []}, []),
        ({"success": True, "data": {"models": [{"name": "a"}, {"model_name": "b"}]}}, ["a", "b"]),
        ({"models": ["a", "b", "a"]}, ["a", "b"]),
        ([{"id": "a"}], ["a"]),
    ],
)
@pytest.mark.parametrize("cls", [SudashuiClient, SenseAudioClient])
async def test_models_are_listed(cls: type[VideoClient], body: Any, names: list[str], server: ScriptedServer) -> None:
    """Names only, each once."""
    serve(server, body)
    async with cls(KEY, server.url) as client:
        assert await client.models() == names


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, {"data": None}, errors.TransientError),
        (200, "<html></html>", errors.TransientError),
        (401, "", errors.AuthenticationError),
        (404, "", errors.RejectedError),
        (429, "", errors.RateLimitedError),
        (500, "", errors.TransientError),
    ],
)
async def test_a_list_that_does_not_come(
    status: int, body: Any, expected: type[Exception], client: VideoClient, server: ScriptedServer
) -> None:
    """The caller learns whether the key, the address or the moment is at fault."""
    serve(server, body, status)
    with pytest.raises(errors.GenVideoError) as caught:
        await client.models()
    assert type(caught.value) is expected


@pytest.mark.parametrize(
    "body",
    [
        {"code": "server_error", "status": "failed", "message": "x"},
        {"code": 500, "status": "failed", "message": "x"},
        {"code": "upstream_timeout", "state": "failure"},
        {"status": "failed", "error": {"code": "internal_error", "message": "x"}},
        {"code": "invalid_request", "status": "failed", "message": "x"},
    ],
)
async def test_a_failure_with_a_code_and_without_a_task_is_the_question_s(
    client: VideoClient, server: ScriptedServer, body: dict[str, Any]
) -> None:
    """Whatever broke: the task is paid for and goes on. Where the same names the task, it ended."""
    serve(server, body)
    with pytest.raises(errors.TransientError):
        await client.get(TASK)
    serve(server, {**body, "task_id": TASK})
    assert (await client.get(TASK)).state == "failed"
