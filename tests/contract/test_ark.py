"""What only Ark has: a list of tasks, cancelling, callbacks, errors of its own; recorded cases and their siblings."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import pytest_asyncio

from prefect_genvideo import errors
from prefect_genvideo.models import VideoRequest
from prefect_genvideo.providers import ArkClient
from tests.contract import cases
from tests.contract.cases import KEY, Case, case_id, verdict_of
from tests.contract.server import Answer, HostMap, Received, ScriptedServer
from tests.contract.test_cases import client_of
from tests.fixtures.pictures import png

TASK = "cgt-20261101120000-aaaaa"
TASKS = "/contents/generations/tasks"
URL = "https://media.example.invalid/v.mp4?X-Tos-Signature=0"
REQUEST = VideoRequest(model="doubao-seedance-2-0-260128", prompt="x")
RID = "021793505600000000000000000000000000000000000000000ab"


def whole(body: Any) -> Any:
    """A body with a real picture where the recorded one is cut short."""
    picture = base64.b64encode(png(320, 320)).decode()
    return json.loads(json.dumps(body).replace("base64,iVBORw0KGgo=", f"base64,{picture}"))


def recorded(direction: str) -> list[Case]:
    return [case for case in cases.ARK if case["direction"] == direction]


@pytest_asyncio.fixture
async def ark(server: ScriptedServer) -> AsyncIterator[ArkClient]:
    """A client that talks to the local server without any seam."""
    async with ArkClient(KEY, f"{server.url}/api/v3", timeout=5, stall_timeout=1) as client:
        yield client


def serve(server: ScriptedServer, body: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
    content = body.encode() if isinstance(body, str) else json.dumps(body, ensure_ascii=False).encode()
    server.handler = lambda _: Answer(status, headers or {}, content)


def error(code: str, message: str = f"words. Request id: {RID}", **more: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "param": "", "type": "x", **more}}


def task(status: str, **more: Any) -> dict[str, Any]:
    return {
        "id": TASK,
        "model": "doubao-seedance-2-0-260128",
        "status": status,
        "created_at": 1793505600,
        "updated_at": 1793505656,
        **more,
    }


# The recorded cases that the other providers have nothing like


@pytest.mark.parametrize("case", recorded("list"), ids=case_id)
async def test_recorded_lists(case: Case, server: ScriptedServer) -> None:
    """What is asked, and which tasks come, in the order of the answer."""
    server.handler = cases.playing(case)
    client, network = client_of(case, server)
    asked: dict[str, str] = dict(parse_qsl(urlsplit(str(case["request"]["path"])).query))
    assert isinstance(client, ArkClient)
    async with client:
        call = client.tasks(
            page=int(asked["page_num"]),
            page_size=int(asked["page_size"]),
            status=asked.get("filter.status"),
            model=asked.get("filter.model"),
        )
        if case["expected"]["kind"] == "listed":
            page = await call
            assert (page.total, page.unread) == (case["expected"]["total"], 0)
            assert [one.task_id for one in page.generations] == case["expected"]["task_ids"]
        else:
            with pytest.raises(errors.GenVideoError) as caught:
                await call
            assert verdict_of(caught.value) == (case["expected"]["kind"], case["expected"]["retryable"])
            assert caught.value.reason == case["expected"]["reason"]
    await network.aclose()
    (request,) = server.received
    assert (request.method, request.target) == (case["request"]["method"], case["request"]["path"])


@pytest.mark.parametrize("case", recorded("delete"), ids=case_id)
async def test_recorded_deletions(case: Case, server: ScriptedServer) -> None:
    """One call, sent once whatever comes back."""
    server.handler = cases.playing(case)
    client, network = client_of(case, server)
    assert isinstance(client, ArkClient)
    async with client:
        if case["expected"]["kind"] == "accepted":
            await client.delete(TASK)
        else:
            with pytest.raises(errors.GenVideoError) as caught:
                await client.delete(TASK)
            assert verdict_of(caught.value) == (case["expected"]["kind"], case["expected"]["retryable"])
            assert (caught.value.reason, caught.value.task_id) == (case["expected"]["reason"], TASK)
    await network.aclose()
    (request,) = server.received
    assert (request.method, request.target) == (case["request"]["method"], case["request"]["path"])


def called_back(case: Case) -> bytes:
    body = case["request"]["body"]
    return body.encode() if isinstance(body, str) else json.dumps(body).encode()


@pytest.mark.parametrize("case", [c for c in recorded("callback") if c["expected"]["kind"] != "transient"], ids=case_id)
def test_recorded_callbacks(case: Case) -> None:
    """The request is Ark's; its body is the task's object."""
    told, expected = ArkClient(KEY).read_callback(called_back(case)), case["expected"]
    assert (told.state, told.task_id) == (expected["kind"], expected["task_id"])
    assert told.video_url == expected.get("video_url")
    assert told.reason == expected.get("reason")


@pytest.mark.parametrize("case", [c for c in recorded("callback") if c["expected"]["kind"] == "transient"], ids=case_id)
def test_recorded_calls_that_say_nothing(case: Case) -> None:
    """Anybody can post there."""
    with pytest.raises(errors.TransientError) as caught:
        ArkClient(KEY).read_callback(called_back(case))
    assert caught.value.reason == case["expected"]["reason"]


@pytest.mark.parametrize("case", [c for c in recorded("create") if c["expected"]["kind"] == "accepted"], ids=case_id)
async def test_recorded_requests_are_sent_as_they_were(case: Case, server: ScriptedServer) -> None:
    """What a recorded body says is said; what it left open is said too, since a watermark or sound is paid for."""
    server.handler = cases.playing(case)
    client, network = client_of(case, server)
    asked = whole(case["request"]["body"])
    async with client:
        await client.create(cases.request_of("ark", asked))
    await network.aclose()
    sent = json.loads(server.received[0].body)
    added = {name: value for name, value in sent.items() if name not in asked}
    assert {name: sent.get(name) for name in asked} == asked
    assert set(added) <= {"watermark", "generate_audio"}
    assert added.get("watermark") is not True


REFUSED_HERE = {
    "ark-create-references-on-15-pro",
    "ark-create-resolution-on-fast",
    "ark-create-frames-and-references",
    "ark-create-flex-on-20",
    "ark-create-type-breach-at-once",
    "ark-create-missing-content",
}


@pytest.mark.parametrize("case", recorded("create"), ids=case_id)
def test_requests_that_break_a_rule_are_never_sent(case: Case) -> None:
    """What Ark was recorded to refuse for its parameters is refused here, where a portable request can say it."""
    problems = ArkClient(KEY).validate(cases.request_of("ark", whole(case["request"]["body"])))
    assert bool(problems) == (case["id"] in REFUSED_HERE)


# Siblings of the cases: other codes of the error page, other forms of the same answer

REJECTED, RATE = ("rejected", False), ("transient", True)
UNKNOWN = ("transient", False)
CODES: list[tuple[int, str, type[errors.GenVideoError]]] = [
    (400, "MissingParameter.content", errors.RejectedError),
    (400, "InvalidParameter.model", errors.RejectedError),
    (400, "InvalidImageURL.EmptyURL", errors.RejectedError),
    (400, "InvalidArgumentError", errors.RejectedError),
    (400, "InvalidParameter.TaskTypeMismatch", errors.RejectedError),
    (400, "InputVideoSensitiveContentDetected.PrivacyInformation", errors.RejectedError),
    (400, "InputAudioSensitiveContentDetected", errors.RejectedError),
    (400, "InputTextRiskDetection", errors.RejectedError),
    (400, "InvalidEndpoint.ClosedEndpoint", errors.ModelUnavailableError),
    (400, "InvalidSubscription", errors.QuotaError),
    (401, "InvalidAccountStatus", errors.QuotaError),
    (401, "authenticationError", errors.AuthenticationError),
    (403, "AccountOverdueError", errors.QuotaError),
    (403, "OperationDenied.ServiceOverdue", errors.QuotaError),
    (403, "AccessDenied", errors.AuthenticationError),
    (403, "OperationDenied.TosAccessDenied", errors.RejectedError),
    (403, "OperationDenied.InvalidState", errors.RejectedError),
    (403, "OperationDenied.PermissionDenied", errors.AuthenticationError),
    (403, "OperationDenied.ServiceNotOpen", errors.ModelUnavailableError),
    (404, "ModelNotOpen", errors.ModelUnavailableError),
    (404, "InvalidEndpointOrModel.ModelIDAccessDisabled", errors.ModelUnavailableError),
    (404, "INVALIDENDPOINTORMODEL.NOTFOUND", errors.ModelUnavailableError),
    (404, "PathNotFound", errors.RejectedError),
    (409, "SomethingElse", errors.RejectedError),
    (429, "SetLimitExceeded", errors.QuotaError),
    (429, "QuotaExceeded.AgentPlanQuotaExceeded", errors.QuotaError),
    (429, "AccountQuotaExceeded", errors.QuotaError),
    (429, "ModelLoadingError", errors.RateLimitedError),
    (429, "RateLimitExceeded.EndpointTPMExceeded", errors.RateLimitedError),
    (429, "RateLimitExceeded.EndpointFlexTPMExceeded", errors.RateLimitedError),
    (429, "ModelAccountIpmRateLimitExceeded", errors.RateLimitedError),
    (429, "ModelAccountFlexTpmRateLimitExceeded", errors.RateLimitedError),
    (429, "AccountRateLimitExceeded", errors.RateLimitedError),
    (429, "InflightBatchsizeExceeded", errors.RateLimitedError),
    (429, "NobodyKnowsThis", errors.RateLimitedError),
    (500, "InternalServiceError", errors.UnknownOutcomeError),
    (500, "AccountOverdueError", errors.UnknownOutcomeError),
    (502, "ModelNotOpen", errors.UnknownOutcomeError),
    (503, "ServerOverloaded", errors.UnknownOutcomeError),
    (503, "QuotaExceeded", errors.UnknownOutcomeError),
    (408, "RequestTimeout", errors.UnknownOutcomeError),
]


def forms(code: str) -> list[Any]:
    """The same error in every envelope that was seen, and without the request's id."""
    return [
        error(code),
        {"ResponseMetadata": {"RequestId": RID, "Error": {"Code": code, "Message": f"words. Request ID: {RID}"}}},
        {"code": code, "message": f"words. request id: {RID}"},
        {"error": {"code": code, "message": "words."}},
        {"data": error(code)},
        {"error": error(code)},
        {"error": json.dumps(error(code)["error"])},
        {"error": {"message": "words."}, "code": code},
    ]


@pytest.mark.parametrize(("status", "code", "expected"), CODES)
@pytest.mark.parametrize("form", range(8))
async def test_every_code_of_a_create(
    status: int, code: str, expected: type[Exception], form: int, ark: ArkClient, server: ScriptedServer
) -> None:
    """The code decides in a 4xx, and nothing is decided by a 5xx, whoever wrapped it."""
    serve(server, forms(code)[form], status)
    with pytest.raises(errors.GenVideoError) as caught:
        await ark.create(REQUEST)
    assert type(caught.value) is expected
    assert len(server.received) == 1
    if expected is not errors.RateLimitedError and expected is not errors.UnknownOutcomeError:
        assert caught.value.reason == "words."
    if expected is errors.UnknownOutcomeError:
        assert (caught.value.reason, caught.value.retryable) == ("outcome unknown", False)


@pytest.mark.parametrize(
    ("headers", "request_id"), [({}, RID), ({"X-Request-Id": "from-the-header"}, "from-the-header")]
)
async def test_the_call_has_an_id(
    headers: dict[str, str], request_id: str, ark: ArkClient, server: ScriptedServer
) -> None:
    """Support asks for it; the message, where it stands too, is for people."""
    serve(server, error("InvalidParameter"), 400, headers)
    with pytest.raises(errors.RejectedError) as caught:
        await ark.create(REQUEST)
    assert (caught.value.request_id, caught.value.reason) == (request_id, "words.")


@pytest.mark.parametrize(
    ("message", "expected", "reason"),
    [
        ("Your queued requests have exceeded the quota.", errors.RateLimitedError, "queue full"),
        ("The number of tasks in the Queue has exceeded the quota", errors.RateLimitedError, "queue full"),
        ("排队任务数已超过配额", errors.RateLimitedError, "queue full"),
        (f"The request has exceeded the quota. Request ID: {RID}", errors.RateLimitedError, "queue full"),
        ("You have exceeded the quota of your plan.", errors.QuotaError, "You have exceeded the quota of your plan."),
        ("Your account [1] has exhausted its free trial quota for the [m] model.", errors.QuotaError, None),
        ("You have used up your 5-hour usage quota.", errors.QuotaError, "You have used up your 5-hour usage quota."),
        ("weekly quota exceeded", errors.QuotaError, "weekly quota exceeded"),
        ("", errors.QuotaError, "QuotaExceeded"),
    ],
)
async def test_the_three_meanings_of_a_quota(
    message: str, expected: type[Exception], reason: str | None, ark: ArkClient, server: ScriptedServer
) -> None:
    """Only the words tell; in doubt it is a limit that waiting does not help against. Nothing was made either way."""
    serve(server, error("QuotaExceeded", message), 429)
    with pytest.raises(errors.GenVideoError) as caught:
        await ark.create(REQUEST)
    assert (type(caught.value), caught.value.reason) == (expected, reason or message)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("ServerOverloaded", "busy"),
        ("RequestBurstTooFast", "busy"),
        ("ModelLoadingError", "busy"),
        ("InflightBatchsizeExceeded", "max concurrency"),
        ("RateLimitExceeded.EndpointRPMExceeded", "rate_limited"),
    ],
)
async def test_waits_are_honoured(code: str, reason: str, ark: ArkClient, server: ScriptedServer) -> None:
    """A header names the wait; a load passes slowly where there is none."""
    serve(server, error(code), 429, {"Retry-After": "7"})
    with pytest.raises(errors.RateLimitedError) as caught:
        await ark.create(REQUEST)
    assert (caught.value.reason, caught.value.retry_after) == (reason, 7)
    serve(server, error(code), 429)
    with pytest.raises(errors.RateLimitedError) as caught:
        await ark.create(REQUEST)
    assert caught.value.retry_after == (None if reason == "rate_limited" else 30)


@pytest.mark.parametrize(
    ("body", "task_id"),
    [
        ({"id": TASK}, TASK),
        ({"ID": TASK}, TASK),
        ({"data": {"id": TASK}}, TASK),
        ({"ResponseMetadata": {"RequestId": RID}, "Result": {"id": TASK}}, TASK),
        ({"id": TASK, "error": None}, TASK),
        ({"id": TASK, "error": {"code": 0, "message": "ok"}}, TASK),
        ({"id": TASK, "error": {"code": "success", "message": "created"}}, TASK),
        ({"id": TASK, "code": "OK", "message": "created"}, TASK),
        ({"id": f" {TASK} ", "safety_identifier": "a"}, TASK),
        ({"code": 0, "message": "success", "data": {"task_id": TASK}}, TASK),
    ],
)
async def test_where_a_new_id_may_stand(body: Any, task_id: str, ark: ArkClient, server: ScriptedServer) -> None:
    """As the document has it, or as a gateway before it wraps it."""
    serve(server, body)
    assert await ark.create(REQUEST) == task_id


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"id": None}, errors.UnknownOutcomeError),
        ({"id": "null"}, errors.UnknownOutcomeError),
        ({"id": 0}, errors.UnknownOutcomeError),
        ([], errors.UnknownOutcomeError),
        ("", errors.UnknownOutcomeError),
        ('{"id": "cgt-2026', errors.UnknownOutcomeError),
        ("<html></html>", errors.UnknownOutcomeError),
        ({"safety_identifier": "a"}, errors.UnknownOutcomeError),
        ({"error": None}, errors.UnknownOutcomeError),
        (error("InvalidParameter"), errors.RejectedError),
        (error("ModelNotOpen"), errors.ModelUnavailableError),
        (error("AccountOverdueError"), errors.QuotaError),
        (error("ServerOverloaded"), errors.RateLimitedError),
        # A fault inside, before or after the task was made, as the same words with a 500
        (error("InternalServiceError"), errors.UnknownOutcomeError),
        (error("GatewayTimeout"), errors.UnknownOutcomeError),
        ({"error": {"message": "no", "type": "upstream_error"}}, errors.UnknownOutcomeError),
        ({"error": {"message": "no", "code": 502}}, errors.UnknownOutcomeError),
        (error("unknown_error"), errors.UnknownOutcomeError),
        (error("OK"), errors.UnknownOutcomeError),  # an error that is none
        ({"error": {"code": 0, "message": "done"}}, errors.UnknownOutcomeError),
        (error("unknown_parameter"), errors.RejectedError),  # what is unknown is named
        (error("upstream_model_not_found"), errors.RejectedError),
        (error("gateway_rejected"), errors.RejectedError),
        ({"error": {"message": "no", "code": 13, "status": "INTERNAL"}}, errors.UnknownOutcomeError),
        ({"error": {"message": "no", "code": 500, "type": "invalid_request_error"}}, errors.RejectedError),
        ({"error": {"message": "insufficient balance", "type": "upstream_error"}}, errors.QuotaError),
        ({"error": {"message": "no", "type": "invalid_request_error"}}, errors.RejectedError),
        ({"error": {"message": "no"}}, errors.RejectedError),
        ({"ResponseMetadata": {"Error": {"Code": "AccessDenied", "Message": "no"}}}, errors.AuthenticationError),
        ({**error("InvalidParameter"), "id": TASK}, errors.UnknownOutcomeError),
    ],
)
async def test_a_success_without_an_id(
    body: Any, expected: type[Exception], ark: ArkClient, server: ScriptedServer
) -> None:
    """It is a refusal only where there is a positive sign of one; an id beside one is kept for a person."""
    serve(server, body)
    with pytest.raises(errors.GenVideoError) as caught:
        await ark.create(REQUEST)
    assert type(caught.value) is expected
    assert caught.value.task_id == (TASK if TASK in json.dumps(body) else None)


# Queries


@pytest.mark.parametrize(
    ("body", "state", "reason"),
    [
        (task("Queued"), "queued", None),
        (task("pending"), "queued", None),
        (task("RUNNING"), "running", None),
        (task("completed", content={"video_url": URL}), "succeeded", None),
        (task("SUCCEEDED", content={"video_url": URL}, error={}), "succeeded", None),
        ({"data": task("succeeded", content={"video_url": URL})}, "succeeded", None),
        (task("failed", error={"code": "X"}), "failed", "X"),
        (task("failed", failure_reason={"code": "X", "message": f"raw Request ID: {RID}"}), "failed", "raw"),
        (task("failed", error={"code": "", "message": ""}), "failed", "(no reason given)"),
        (task("Cancelled", error=None), "failed", "cancelled"),
        (task("canceled"), "failed", "canceled"),
        (task("expired"), "failed", "expired"),
        (task("cancelling"), "running", None),  # and may be finished all the same
        (task("Canceling"), "running", None),
        (task("paused"), "running", None),
    ],
)
async def test_words_of_a_task(
    body: Any, state: str, reason: str | None, ark: ArkClient, server: ScriptedServer
) -> None:
    """In either case, also a gateway's; a word nobody knows is not an end."""
    serve(server, body)
    told = await ark.get(TASK)
    assert (told.state, told.reason) == (state, reason)
    assert told.video_url == (URL if state == "succeeded" else None)


@pytest.mark.parametrize(
    "content",
    [
        None,
        {},
        {"video_url": ""},
        {"video_url": "ftp://h/v.mp4"},
        {"last_frame_url": "https://h/last.png"},
        [],
        "none",
    ],
)
async def test_a_success_without_a_link_is_waited_for(content: Any, ark: ArkClient, server: ScriptedServer) -> None:
    """The last frame is no video."""
    serve(server, task("succeeded", content=content))
    told = await ark.get(TASK)
    assert (told.state, told.video_url) == ("running", None)
    assert told.reason


@pytest.mark.parametrize(
    "code",
    [
        "OutputVideoSensitiveContentDetected",
        "OutputAudioSensitiveContentDetected.DeepFake",
        "SensitiveContentDetected.Violence",
        "VideoSensitiveContentDetected",
    ],
)
async def test_a_failure_for_its_content_is_told(code: str, ark: ArkClient, server: ScriptedServer) -> None:
    """No other provider may be asked to make the same after all."""
    serve(server, task("failed", error={"code": code, "message": "the output was refused"}))
    assert (await ark.get(TASK)).moderation


async def test_a_failure_of_parameters_is_not_for_content(ark: ArkClient, server: ScriptedServer) -> None:
    """A rule that was broken in a way that shows late."""
    serve(server, task("failed", error={"code": "InvalidParameter.TaskTypeMismatch", "message": "wrong task type"}))
    assert not (await ark.get(TASK)).moderation


@pytest.mark.parametrize(
    ("status", "body", "expected", "reason"),
    [
        (404, error("ResourceNotFound"), errors.TaskLostError, "words."),
        (404, error("NotFound"), errors.TaskLostError, "words."),
        (404, error("NotFound.id"), errors.TaskLostError, "words."),
        (404, {"error": {"message": "gone"}}, errors.TaskLostError, "gone"),
        (404, error("InvalidAction"), errors.TransientError, "words."),
        (404, error("ModelNotOpen"), errors.TransientError, "words."),
        (404, "", errors.TransientError, "HTTP 404"),
        (404, "<html></html>", errors.TransientError, "HTTP 404"),
        (400, error("InvalidParameter"), errors.TransientError, "words."),
        (403, error("AccessDenied"), errors.TransientError, "cannot query with this key"),
        (429, error("ServerOverloaded"), errors.RateLimitedError, "busy"),
        (429, "", errors.RateLimitedError, "rate_limited"),
        (500, error("InternalServiceError"), errors.TransientError, "InternalServiceError"),
        (503, error("ServiceUnavailable"), errors.TransientError, "ServiceUnavailable"),
        (503, "", errors.TransientError, "HTTP 503"),
        (200, "", errors.TransientError, "not JSON"),
        (200, {}, errors.TransientError, "no task in the answer"),
        (200, {"id": TASK}, errors.TransientError, "no task in the answer"),
    ],
)
async def test_what_says_nothing_of_a_task(
    status: int, body: Any, expected: type[Exception], reason: str, ark: ArkClient, server: ScriptedServer
) -> None:
    """The id is kept; only an answer about the id itself says that it is unknown."""
    serve(server, body, status)
    with pytest.raises(errors.GenVideoError) as caught:
        await ark.get(TASK)
    assert (type(caught.value), caught.value.reason) == (expected, reason)
    assert caught.value.task_id == TASK


@pytest.mark.parametrize(
    ("more", "seconds"),
    [
        ({"duration": 5}, 5.0),
        ({"duration": "5"}, 5.0),
        ({"duration": -1}, None),
        ({"duration": 0}, None),
        ({"frames": 121}, 5.0),
        ({"frames": 57, "duration": None}, 56 / 24),
        ({}, None),
    ],
)
async def test_the_length_of_a_clip(
    more: dict[str, Any], seconds: float | None, ark: ArkClient, server: ScriptedServer
) -> None:
    """Seconds, or frames where those were asked for; -1 was a wish and is no length."""
    serve(server, task("succeeded", content={"video_url": URL}, resolution="720P", **more))
    told = ark.clip_told(await ark.get(TASK))
    assert told.seconds == (None if seconds is None else pytest.approx(seconds))
    assert told.resolution == "720p"


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"completion_tokens": 108_900, "total_tokens": 108_900}, 108_900),
        ({"completion_tokens": "108900"}, 108_900),
        ({"total_tokens": 108_900}, 108_900),
        ({"completion_tokens": 0, "total_tokens": 108_900}, 108_900),
        (json.dumps({"completion_tokens": 108_900}), 108_900),
        ({"completion_tokens": -1}, None),
        ({"completion_tokens": True}, None),
        (None, None),
    ],
)
@pytest.mark.parametrize("wrapper", [None, "data", "result", "Result", "task"])
async def test_what_is_billed_stands_in_the_tasks_own_object(
    usage: Any, tokens: int | None, wrapper: str | None, ark: ArkClient, server: ScriptedServer
) -> None:
    """Both figures are the same; a gateway's wrapping hides neither them nor the task's end."""
    row = task("succeeded", content={"video_url": URL}, usage=usage)
    serve(server, {"code": 0, wrapper: row} if wrapper else row)
    told = await ark.get(TASK)
    assert told.finished_at
    assert ark.clip_told(told).tokens == tokens


async def test_a_task_ends_with_its_last_change(ark: ArkClient, server: ScriptedServer) -> None:
    """While it runs, the last change says nothing."""
    serve(server, task("succeeded", content={"video_url": URL}))
    told = await ark.get(TASK)
    assert told.finished_at
    assert told.created_at
    assert (told.finished_at - told.created_at).total_seconds() == 56
    serve(server, task("running"))
    assert (await ark.get(TASK)).finished_at is None


# Lists, cancelling, callbacks


@pytest.mark.parametrize(
    ("body", "total", "ids", "unread"),
    [
        ({"total": 0, "items": None}, 0, [], 0),
        ({"total": 0}, 0, [], 0),
        ({"total": "2", "items": [task("queued")]}, 2, [TASK], 0),
        ({"items": [task("queued")]}, None, [TASK], 0),
        ({"data": {"total": 1, "items": [task("queued")]}}, 1, [TASK], 0),
        ({"Result": {"Total": 1, "Items": [task("queued")]}}, 1, [TASK], 0),
        ({"total": 1, "items": [{"id": TASK, **error("NotFound.id")}]}, 1, [TASK], 0),
        ([task("queued")], None, [TASK], 0),
        ({"items": [{"id": 7, "task_id": TASK, "status": "queued"}]}, None, [TASK], 0),
        ({"total": 3, "items": [None, {"status": "queued"}, {"id": TASK}]}, 3, [TASK], 2),
    ],
)
async def test_forms_of_a_list(
    body: Any, total: int | None, ids: list[str], unread: int, ark: ArkClient, server: ScriptedServer
) -> None:
    """An entry without a state is a task all the same; one without an id is counted."""
    serve(server, body)
    page = await ark.tasks()
    assert (page.total, [one.task_id for one in page.generations], page.unread) == (total, ids, unread)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, {}, errors.TransientError),
        (200, {"items": {}}, errors.TransientError),
        (200, error("AccessDenied"), errors.AuthenticationError),
        (400, error("InvalidParameter"), errors.RejectedError),
        (401, error("AuthenticationError"), errors.AuthenticationError),
        (403, error("AccessDenied"), errors.AuthenticationError),
        (500, error("InternalServiceError"), errors.TransientError),
    ],
)
async def test_a_list_of_tasks_that_does_not_come(
    status: int, body: Any, expected: type[Exception], ark: ArkClient, server: ScriptedServer
) -> None:
    """What is not listed is not taken for an empty list: absence would look like proof."""
    serve(server, body, status)
    with pytest.raises(errors.GenVideoError) as caught:
        await ark.tasks()
    assert type(caught.value) is expected


async def test_several_ids_are_asked_for_one_by_one(ark: ArkClient, server: ScriptedServer) -> None:
    """A list with commas is refused by the API."""
    serve(server, {"total": 0, "items": []})
    await ark.tasks(page=2, page_size=3, task_ids=["a", "b&c"], service_tier="flex")
    assert server.received[0].target == (
        f"/api/v3{TASKS}?page_num=2&page_size=3&filter.service_tier=flex&filter.task_ids=a&filter.task_ids=b%26c"
    )


@pytest.mark.parametrize("asked", [{"page": 0}, {"page": 501}, {"page_size": 0}, {"page_size": 501}])
async def test_pages_that_cannot_be(asked: dict[str, int], ark: ArkClient, server: ScriptedServer) -> None:
    """Nothing is sent."""
    with pytest.raises(errors.InvalidRequestError) as caught:
        await ark.tasks(page=asked.get("page", 1), page_size=asked.get("page_size", 20))
    assert [problem.field for problem in caught.value.problems] == list(asked)
    assert server.received == []


@pytest.mark.parametrize("task_id", ["", " ", "..", "a/b", "a?b", "x" * 201])
async def test_ids_that_cannot_be_deleted(task_id: str, ark: ArkClient, server: ScriptedServer) -> None:
    """An empty one would stand for all tasks, and a path for something else."""
    with pytest.raises(errors.InvalidRequestError) as caught:
        await ark.delete(task_id)
    assert [problem.field for problem in caught.value.problems] == ["task_id"]
    assert server.received == []


async def test_the_models_are_those_of_the_document(ark: ArkClient, server: ScriptedServer) -> None:
    """The API lists none; the free list of tasks shows that key and address are right."""
    serve(server, {"total": 0, "items": []})
    offered = await ark.models()
    assert "doubao-seedance-2-0-260128" in offered
    assert "doubao-seedance-1-5-pro-251215" not in offered
    assert not [name for name in offered if name.startswith("dreamina")]
    assert server.received[0].target == f"/api/v3{TASKS}?page_num=1&page_size=1"


async def test_byteplus_has_names_of_its_own(server: ScriptedServer, network: HostMap) -> None:
    """Its address tells which names count there."""
    serve(server, {"total": 0, "items": []})
    async with ArkClient(KEY, "https://ark.ap-southeast.bytepluses.com/api/v3", transport=network) as client:
        offered = await client.models()
    assert "dreamina-seedance-2-5-260628" in offered
    assert not [name for name in offered if name.startswith("doubao")]


@pytest.mark.parametrize("state", ["running", "succeeded", "failed", "expired", "cancelling"])
async def test_only_a_queued_task_is_cancelled(state: str, ark: ArkClient, server: ScriptedServer) -> None:
    """DELETE would remove the record of a finished task, and the link that was paid for."""
    serve(server, task(state, content={"video_url": URL}))
    with pytest.raises(errors.RejectedError):
        await ark.cancel(TASK)
    assert [request.method for request in server.received] == ["GET"]


async def test_what_became_of_a_cancelled_task_is_told(ark: ArkClient, server: ScriptedServer) -> None:
    """The answer to DELETE does not say it."""
    gone = list[str]()

    def handle(request: Received) -> Answer:
        if request.method == "DELETE":
            gone.append(request.target)
            return Answer(200, {}, b"{}")
        return Answer(200, {}, json.dumps(task("cancelled" if gone else "queued")).encode())

    server.handler = handle
    told = await ark.cancel(TASK)
    assert (told.state, told.reason) == ("failed", "cancelled")
    assert gone == [f"/api/v3{TASKS}/{TASK}"]
    assert await ark.cancel(TASK) == told, "one whose cancelling was not heard of is cancelled"
    assert len(gone) == 1


async def test_a_task_that_stays_queued_is_not_taken_for_cancelled(ark: ArkClient, server: ScriptedServer) -> None:
    """The answer to DELETE proves nothing."""
    serve(server, task("queued"))
    with pytest.raises(errors.TransientError) as caught:
        await ark.cancel(TASK)
    assert (caught.value.reason, caught.value.task_id) == ("still queued", TASK)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, "", None),
        (204, "", None),
        (200, {"id": TASK}, None),
        (200, error("TaskRunningCannotCancel"), REJECTED),
        (200, "<html></html>", REJECTED),
        (400, error("InvalidParameter"), REJECTED),
        (401, error("AuthenticationError"), REJECTED),
        (404, error("NotFound.id"), REJECTED),
        (409, "", REJECTED),
        (500, error("InternalServiceError"), RATE),
        (504, "", RATE),
        # A success that says that something broke, or cannot be read, is no yes
        (200, error("InternalServiceError"), RATE),
        (200, {"code": 500, "message": "internal error"}, RATE),
        (200, {"code": -1, "message": "x"}, RATE),
        (200, "upstream connect error", RATE),
        (200, '{"err', RATE),
        (200, {"message": "task is running"}, RATE),
        (200, {"status": "error"}, RATE),
        (200, error("APIAccountRpmRateLimitExceeded"), RATE),
        (200, {"code": 0, "message": "success"}, None),
        (200, {"code": "200", "msg": "deleted"}, None),
        (200, {"status": "deleted"}, None),
        (200, {"id": TASK, "status": "cancelled"}, None),
        (200, {"ResponseMetadata": {"RequestId": "x"}}, None),
        (200, "null", None),
    ],
)
async def test_forms_of_a_deletion(
    status: int, body: Any, kind: tuple[str, bool] | None, ark: ArkClient, server: ScriptedServer
) -> None:
    """Accepted, refused, or not known."""
    serve(server, body, status)
    if kind is None:
        await ark.delete(TASK)
        return
    with pytest.raises(errors.GenVideoError) as caught:
        await ark.delete(TASK)
    assert not isinstance(caught.value, errors.TaskLostError)
    assert verdict_of(caught.value) == kind


@pytest.mark.parametrize(
    ("body", "reason"),
    [(b"", "not JSON"), (b"null", "not JSON"), (b"[1]", "no task in the answer"), (b"{}", "no task in the answer")],
)
def test_callbacks_of_strangers(body: bytes, reason: str) -> None:
    """Anybody can post there."""
    with pytest.raises(errors.TransientError) as caught:
        ArkClient(KEY).read_callback(body)
    assert caught.value.reason == reason


async def test_a_broken_connection_leaves_a_create_open(ark: ArkClient, server: ScriptedServer) -> None:
    """Also one that is cut in the middle of its answer; an id in what came is kept for a person."""
    content = json.dumps({"id": TASK, "safety_identifier": "0" * 100}).encode()
    server.handler = lambda _: Answer(200, {}, content, cut_after=len(content) - 50)
    with pytest.raises(errors.UnknownOutcomeError) as caught:
        await ark.create(REQUEST)
    assert caught.value.task_id == TASK


def test_the_cases_are_all_played() -> None:
    """Every direction of the recorded cases has a test; a new one must not pass unseen."""
    assert {case["direction"] for case in cases.ARK} == {"create", "status", "list", "delete", "callback", "download"}
    assert len(cases.ARK) == 88
