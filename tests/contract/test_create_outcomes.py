"""Money: whatever happens to a create, it is known whether it may be sent again, and the answer is never guessed."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from benchmarks.servers import free_port
from prefect_genvideo import errors
from prefect_genvideo.models import VideoRequest
from prefect_genvideo.providers import SenseAudioClient, SudashuiClient, VideoClient
from tests.contract.cases import KEY
from tests.contract.server import Answer, Received, ScriptedServer

SUDASHUI = VideoRequest(model="sd-2-720p", prompt="x")
SENSEAUDIO = VideoRequest(model="Seedance-2.0", prompt="x")
E1: dict[str, Any] = {"message": "m", "data": None}
HTML = "<html><body>502</body></html>"


def answering(status: int, body: Any, **headers: str) -> Answer:
    content = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
    return Answer(status, headers, content)


async def refusal(client: VideoClient, server: ScriptedServer, answer: Answer) -> errors.GenVideoError:
    server.handler = lambda _: answer
    with pytest.raises(errors.GenVideoError) as caught:
        await client.create(SUDASHUI if isinstance(client, SudashuiClient) else SENSEAUDIO)
    return caught.value


SUDASHUI_TABLE: list[tuple[int, Any, type[errors.GenVideoError]]] = [
    # 400: refused, in either envelope
    (400, {"code": "invalid_request", **E1}, errors.RejectedError),
    (400, {"code": "model_price_error", **E1}, errors.RejectedError),
    (400, {"code": "task_failed", **E1}, errors.RejectedError),
    (400, {"error": {"message": "m", "type": "t", "code": ""}}, errors.RejectedError),
    (422, {"code": "fail_to_fetch_task", **E1}, errors.RejectedError),
    (400, "", errors.RejectedError),
    # 401, 402, 403: key, money, permission
    (401, {"error": {"message": "无效的令牌", "type": "t"}}, errors.AuthenticationError),
    (401, {"error": {"message": "该令牌额度已用尽", "type": "t"}}, errors.QuotaError),
    (403, {"error": {"message": "餘額不足", "type": "t"}}, errors.QuotaError),
    (403, {"error": {"message": "quota used up", "type": "t"}}, errors.QuotaError),
    (200, json.dumps(json.dumps({"code": "invalid_request", "message": "no"})), errors.RejectedError),
    (200, json.dumps(json.dumps({"message": "no"})), errors.UnknownOutcomeError),
    (401, "", errors.AuthenticationError),
    (402, "", errors.QuotaError),
    (403, {"code": "insufficient_user_quota", **E1}, errors.QuotaError),
    (403, {"code": "pre_consume_token_quota_failed", **E1}, errors.QuotaError),
    (403, {"error": {"message": "用户额度不足", "code": "insufficient_user_quota"}}, errors.QuotaError),
    (403, {"error": {"message": "ip not allowed", "code": ""}}, errors.RejectedError),
    (403, {"code": "quota_not_enough", **E1}, errors.QuotaError),
    (400, {"code": "insufficient_balance", **E1}, errors.QuotaError),
    (400, {"error": {"message": "m", "code": "billing_hard_limit_reached"}}, errors.QuotaError),
    (403, {"error": {"message": "out of credits", "type": "t"}}, errors.QuotaError),
    (403, HTML, errors.RejectedError),
    # the model
    (503, {"error": {"message": "m", "code": "model_not_found"}}, errors.ModelUnavailableError),
    (404, {"error": {"message": "m", "code": "model_not_found"}}, errors.ModelUnavailableError),
    (503, {"error": {"message": "当前分组 a 下对于模型 b 无可用渠道", "type": "t"}}, errors.ModelUnavailableError),
    (503, {"error": {"message": "No available channel for model b", "type": "t"}}, errors.ModelUnavailableError),
    # load
    (429, {"code": "fail_to_fetch_task", **E1}, errors.RateLimitedError),
    (429, {"error": {"message": "m", "code": ""}}, errors.RateLimitedError),
    (429, "", errors.RateLimitedError),
    (429, HTML, errors.RateLimitedError),
    (400, {"code": 429, "message": "m"}, errors.RateLimitedError),
    (403, {"error": {"message": "m", "code": "token_concurrency_limit_reached"}}, errors.RateLimitedError),
    (200, {"error": {"message": "m", "code": "rate_limit_exceeded"}}, errors.RateLimitedError),
    (200, {"code": "too_many_requests", **E1}, errors.RateLimitedError),
    # refunded by the gateway: no task stored
    (500, {"code": "do_request_failed", **E1}, errors.TransientError),
    (500, {"code": "get_channel_failed", **E1}, errors.TransientError),
    (500, {"code": "read_response_body_failed", **E1}, errors.TransientError),
    (500, {"code": "unmarshal_response_failed", **E1}, errors.TransientError),
    (500, {"code": "task_insert_failed", **E1}, errors.TransientError),
    (502, {"code": "fail_to_fetch_task", **E1}, errors.TransientError),
    (500, {"code": "something_new", **E1}, errors.TransientError),
    (503, {"error": {"message": "overloaded", "type": "t", "code": "x"}}, errors.TransientError),
    (504, {"code": "fail_to_fetch_task", **E1}, errors.TransientError),
    (408, {"code": "do_request_failed", **E1}, errors.TransientError),
    # never refunded, or wrong for good
    (500, {"code": "build_request_failed", **E1}, errors.RejectedError),
    (500, {"code": "task_billing_settlement_failed", **E1}, errors.UnknownOutcomeError),
    (200, {"code": "task_billing_settlement_failed", **E1}, errors.UnknownOutcomeError),
    # a crash in the middle of a call: neither a refund nor the supplier's task is known
    (500, {"error": {"message": "Panic detected, error: x", "type": "new_api_panic"}}, errors.UnknownOutcomeError),
    (500, {"error": {"message": "Internal server error", "type": "shell_api_panic"}}, errors.UnknownOutcomeError),
    # in whichever case a fork writes its codes
    (500, {"code": "TASK_BILLING_SETTLEMENT_FAILED", **E1}, errors.UnknownOutcomeError),
    (500, {"code": "TaskBillingSettlementFailed", **E1}, errors.UnknownOutcomeError),
    (500, {"code": "build-request-failed", **E1}, errors.RejectedError),
    (403, {"code": "InsufficientUserQuota", **E1}, errors.QuotaError),
    (503, {"error": {"message": "m", "code": "MODEL_NOT_FOUND"}}, errors.ModelUnavailableError),
    # 200 that is none
    (200, {"code": "fail_to_fetch_task", **E1}, errors.RejectedError),
    (200, {"code": "insufficient_user_quota", **E1}, errors.QuotaError),
    (200, {"code": "queue_full", **E1}, errors.RejectedError),
    (200, {"code": "maintenance", **E1}, errors.RejectedError),
    # words that do not say no
    (200, {"code": "OK", **E1}, errors.UnknownOutcomeError),
    (200, {"code": "submitted", **E1}, errors.UnknownOutcomeError),
    (200, {"code": "internal_error", **E1}, errors.UnknownOutcomeError),
    (200, {"code": 1, **E1}, errors.UnknownOutcomeError),
    (200, {"code": "do_request_failed", **E1}, errors.TransientError),
    (200, {"error": {"message": "m", "code": ""}}, errors.RejectedError),
    (200, {"success": "false", "message": "m"}, errors.RejectedError),
    (200, {"code": 1102, "message": "Account balance not enough"}, errors.QuotaError),
    (200, {"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}}, errors.QuotaError),
    (200, {"message": "Account balance not enough"}, errors.UnknownOutcomeError),
    (200, HTML, errors.RejectedError),
    (200, {"code": "success", "message": "", "data": None}, errors.UnknownOutcomeError),
    (200, {"code": "success", "data": {}}, errors.UnknownOutcomeError),
    (200, {"id": None, "task_id": ""}, errors.UnknownOutcomeError),
    (200, {"id": True}, errors.UnknownOutcomeError),
    (200, {"code": "failed", "data": {"task_id": "task_x"}}, errors.UnknownOutcomeError),
    (200, [], errors.UnknownOutcomeError),
    (200, "null", errors.UnknownOutcomeError),
    (200, "", errors.UnknownOutcomeError),
    (200, '{"task_id": "task_', errors.UnknownOutcomeError),
    (204, "", errors.UnknownOutcomeError),
    # wrong address
    (301, "", errors.RejectedError),
    (308, "", errors.RejectedError),
    (404, HTML, errors.RejectedError),
    (404, "", errors.RejectedError),
    (405, HTML, errors.RejectedError),
    (413, HTML, errors.RejectedError),
    # nobody knows
    (408, "", errors.UnknownOutcomeError),
    (425, HTML, errors.UnknownOutcomeError),
    (500, "", errors.UnknownOutcomeError),
    (500, HTML, errors.UnknownOutcomeError),
    (500, {"message": "Internal Server Error"}, errors.UnknownOutcomeError),
    (500, {"code": "x", "message": "m", "data": {"task_id": "task_x"}}, errors.UnknownOutcomeError),
    (500, {"error": "upstream"}, errors.UnknownOutcomeError),
    # what stands before the gateway speaks of itself: it knows nothing of refunds
    (500, {"code": 500, **E1}, errors.UnknownOutcomeError),
    (504, {"code": "504", **E1}, errors.UnknownOutcomeError),
    (503, {"error": {"code": 503, "message": "upstream connect error"}}, errors.UnknownOutcomeError),
    (500, {"error": {"message": "The server had an error"}}, errors.UnknownOutcomeError),
    (
        504,
        {"error": {"message": "An error occurred", "code": "FUNCTION_INVOCATION_TIMEOUT"}},
        errors.UnknownOutcomeError,
    ),
    (500, {"code": "INTERNAL_ERROR", "message": "m"}, errors.UnknownOutcomeError),
    (500, {"code": "fail_to_fetch_task", "message": "a fork leaves data out"}, errors.TransientError),
    *((status, HTML, errors.UnknownOutcomeError) for status in (502, 504, 520, 521, 522, 523, 524, 599)),
]

SENSEAUDIO_TABLE: list[tuple[int, Any, type[errors.GenVideoError]]] = [
    (401, {"code": "authentication_error", "message": "m"}, errors.AuthenticationError),
    (400, {"code": "c", "ref_code": 400000}, errors.RejectedError),
    (400, {"code": "c"}, errors.RejectedError),
    (400, {"code": "c", "ref_code": "400033"}, errors.ModelUnavailableError),
    (400, {"code": "c", "ref_code": 400015}, errors.RateLimitedError),
    *((400, {"code": "c", "ref_code": ref}, errors.QuotaError) for ref in (400001, 400900, 400901, "400902")),
    (400, {"code": 400001}, errors.QuotaError),
    (400, {"error": {"code": 400015}}, errors.RateLimitedError),
    (429, {"code": "c", "ref_code": 429000}, errors.RateLimitedError),
    (429, {"code": "c", "ref_code": 429002}, errors.RateLimitedError),
    (400, {"code": "c", "ref_code": 429001}, errors.RateLimitedError),
    (400, {"code": "c", "ref_code": 400015.0}, errors.RateLimitedError),
    (200, {"code": "too_many_requests", "message": "m"}, errors.RateLimitedError),
    (429, {"code": "c", "ref_code": 400001}, errors.QuotaError),
    (429, "", errors.RateLimitedError),
    (200, {"code": "400015", "message": "m"}, errors.RateLimitedError),
    (200, {"code": "参数错误", "message": "m"}, errors.RejectedError),
    (200, {}, errors.UnknownOutcomeError),
    (200, HTML, errors.RejectedError),
    (402, "", errors.QuotaError),
    (403, {"code": "forbidden"}, errors.RejectedError),
    (404, HTML, errors.RejectedError),
    (413, "", errors.RejectedError),
    (302, "", errors.RejectedError),
    (408, "", errors.UnknownOutcomeError),
    (500, {"code": "internal"}, errors.UnknownOutcomeError),
    (500, {"code": "internal", "ref_code": 500001}, errors.UnknownOutcomeError),
    (500, HTML, errors.UnknownOutcomeError),
    (502, HTML, errors.UnknownOutcomeError),
    (503, "", errors.UnknownOutcomeError),
    (504, "", errors.UnknownOutcomeError),
]


@pytest.mark.parametrize(("status", "body", "expected"), SUDASHUI_TABLE)
async def test_sudashui_table(
    status: int, body: Any, expected: type[errors.GenVideoError], sudashui: SudashuiClient, server: ScriptedServer
) -> None:
    """Every row of the classification, with exactly the class that says what to do."""
    error = await refusal(sudashui, server, answering(status, body))
    assert type(error) is expected
    assert (error.status_code, error.provider) == (status, "sudashui")
    assert error.reason


@pytest.mark.parametrize(("status", "body", "expected"), SENSEAUDIO_TABLE)
async def test_senseaudio_table(
    status: int, body: Any, expected: type[errors.GenVideoError], senseaudio: SenseAudioClient, server: ScriptedServer
) -> None:
    """Every row of the classification, with exactly the class that says what to do."""
    error = await refusal(senseaudio, server, answering(status, body))
    assert type(error) is expected
    assert (error.status_code, error.provider) == (status, "senseaudio")
    assert error.reason


LOST: list[Answer] = [
    Answer(reset=True),
    Answer(200, {}, b"", length=100, cut_after=0),
    Answer(200, {}, b'{"task_id": "task_abc", "x": "', length=500, cut_after=30),
    Answer(200, {}, b'{"task_id"' * 9, chunked=True, cut_after=20),
    Answer(200, {"Content-Encoding": "gzip"}, b"no gzip at all"),
    Answer(502, {}, b"", length=100, cut_after=0),
]


@pytest.mark.parametrize("answer", LOST)
async def test_an_answer_that_is_lost_leaves_the_outcome_unknown(
    answer: Answer, client: VideoClient, server: ScriptedServer
) -> None:
    """The request was read by the other side; nobody but a person may send it again."""
    error = await refusal(client, server, answer)
    assert type(error) is errors.UnknownOutcomeError
    assert not error.retryable
    assert len(server.received) == 1


async def test_a_task_id_in_a_cut_answer_is_kept_for_the_person_who_decides(
    sudashui: SudashuiClient, server: ScriptedServer
) -> None:
    """It is not trusted as an answer, yet it is what `ledger adopt` needs."""
    error = await refusal(sudashui, server, LOST[2])
    assert error.task_id == "task_abc"


@pytest.mark.parametrize("status", [500, 502, 504, 408])
@pytest.mark.parametrize("body", [{"task_id": "task_x"}, {"code": "x", "message": "m", "data": {"task_id": "task_x"}}])
async def test_a_task_id_in_a_fault_is_kept_for_the_person_who_decides(
    status: int, body: Any, client: VideoClient, server: ScriptedServer
) -> None:
    """The fault may have come after the task was made."""
    error = await refusal(client, server, answering(status, body))
    assert (type(error), error.task_id) == (errors.UnknownOutcomeError, "task_x")


async def test_what_is_refused_names_no_task(client: VideoClient, server: ScriptedServer) -> None:
    """An id in a refusal is that of the call."""
    error = await refusal(client, server, answering(400, {"id": "req-1", "error": {"message": "m", "code": "bad"}}))
    assert (type(error), error.task_id) == (errors.RejectedError, None)


async def test_a_silent_server_leaves_the_outcome_unknown(server: ScriptedServer) -> None:
    """A read timeout comes after sending."""
    async with SudashuiClient(KEY, server.url, timeout=0.1) as client:
        error = await refusal(client, server, Answer(silent=True))
    assert type(error) is errors.UnknownOutcomeError


async def test_a_dripping_answer_is_given_up(server: ScriptedServer) -> None:
    """An answer that stalls in its middle ends in the same timeout."""
    async with SudashuiClient(KEY, server.url, timeout=0.1) as client:
        error = await refusal(client, server, Answer(200, {}, b'{"id":', length=99, stall_after=6))
    assert type(error) is errors.UnknownOutcomeError


@pytest.mark.parametrize("cls", [SudashuiClient, SenseAudioClient])
async def test_a_refused_connection_proves_that_nothing_was_sent(cls: type[VideoClient]) -> None:
    """Only then may a machine send it again."""
    async with cls(KEY, f"http://127.0.0.1:{free_port()}") as client:
        with pytest.raises(errors.TransientError) as caught:
            await client.create(SUDASHUI if cls is SudashuiClient else SENSEAUDIO)
    assert caught.value.retryable
    assert caught.value.reason == "not sent"


async def test_every_create_has_a_connection_of_its_own(sudashui: SudashuiClient, server: ScriptedServer) -> None:
    """On a kept connection that the other side is just closing, a create would be lost without a verdict."""
    server.handler = lambda _: answering(200, {"task_id": "task_x"})
    for _ in range(3):
        await sudashui.create(SUDASHUI)
    assert server.connections == 3


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("0.5", 0.5), ("999999", 3600.0), ("-5", 0.0), ("soon", None), ("nan", None), ("", None)],
)
async def test_retry_after_is_heeded_within_bounds(
    header: str, seconds: float | None, sudashui: SudashuiClient, server: ScriptedServer
) -> None:
    """Seconds from 0 to an hour; garbage is as good as nothing."""
    error = await refusal(sudashui, server, answering(429, "", **{"Retry-After": header}))
    assert error.retry_after == seconds


async def test_a_used_up_quota_window_asks_for_a_long_wait(
    senseaudio: SenseAudioClient, server: ScriptedServer
) -> None:
    """429002 does not go away in seconds."""
    error = await refusal(senseaudio, server, answering(429, {"code": "c", "ref_code": 429002}))
    assert (error.reason, error.retry_after) == ("limit reached", 300.0)


@pytest.mark.parametrize(
    "task_id", [0, -1, "0", "-1", "null", "None", "undefined", "N/A", "false", "unknown", "-", " ", [], {}]
)
async def test_what_stands_for_no_id_is_none(task_id: Any, client: VideoClient, server: ScriptedServer) -> None:
    """A paid task under such an id would never be found again."""
    error = await refusal(client, server, answering(200, {"code": "success", "data": {"task_id": task_id}}))
    assert (type(error), error.task_id) == (errors.UnknownOutcomeError, None)
    server.handler = lambda _: answering(200, {"task_id": task_id, "data": {"task_id": "task_x"}})
    assert await client.create(SUDASHUI if isinstance(client, SudashuiClient) else SENSEAUDIO) == "task_x"


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("您的 IP 不在令牌允许访问的列表中 (request id: 20260101)", "您的 IP 不在令牌允许访问的列表中"),
        ("分组 vip 已被禁用，请联系管理员", "分组 vip 已被禁用"),
        ("无效的请求，unexpected end of JSON input", "无效的请求"),
        ("模型 sdas-hn-sd2.0-fast-720p 未开放 (request id: 20260101)", "模型 sdas-hn-sd2.0-fast-720p 未开放"),
        ("该令牌额度已用尽 !token.UnlimitedQuota", "该令牌额度已用尽"),
    ],
)
async def test_the_reason_is_the_first_clause(
    message: str, reason: str, sudashui: SudashuiClient, server: ScriptedServer
) -> None:
    """With the foreign words in it; the detail behind it stays in the error's text."""
    error = await refusal(sudashui, server, answering(403, {"error": {"message": message, "type": "t", "code": ""}}))
    assert error.reason == reason


BUSY: dict[str, Any] = {"code": "internal", "message": "服务繁忙，请稍后再试", "ref_code": 500000}


@pytest.mark.parametrize(
    ("models", "model", "expected"),
    [
        (answering(200, {"data": [{"id": "Seedance-2.0"}]}), "Seedance-2.0", errors.TransientError),
        (answering(200, {"data": [{"id": "other"}]}), "Seedance-2.0", errors.ModelUnavailableError),
        (answering(200, {"data": []}), "Seedance-2.0", errors.ModelUnavailableError),
        (answering(200, {"data": [{"id": "o"}], "has_more": True}), "Seedance-2.0", errors.TransientError),
        (answering(200, {"data": [None, {"id": 7}], "has_more": True}), "new", errors.ModelUnavailableError),
        (answering(500, HTML), "Seedance-2.0", errors.TransientError),
        (answering(200, {"data": None}), "new", errors.ModelUnavailableError),
        (Answer(reset=True), "new", errors.ModelUnavailableError),
    ],
)
async def test_busy_is_told_from_a_wrong_model_by_the_list(
    models: Answer, model: str, expected: type[Exception], senseaudio: SenseAudioClient, server: ScriptedServer
) -> None:
    """The API calls an unknown model busy too. Without a list, the documents' models stand in for it."""

    def handle(request: Received) -> Answer:
        return models if request.target == "/v1/models?mode=video" else answering(500, BUSY)

    server.handler = handle
    with pytest.raises(errors.GenVideoError) as caught:
        await senseaudio.create(VideoRequest(model=model, prompt="x"))
    assert type(caught.value) is expected


ACCEPTED: list[Any] = [
    {"task_id": "task_x", "id": "other"},
    {"id": "task_x", "status": "queued"},
    {"code": "success", "data": {"task_id": "task_x"}},
    {"code": "success", "message": "", "data": "task_x"},
    {"code": 0, "data": {"task_id": "task_x"}},
    {"task_id": "task_x", "error": None},
    {"id": 690033, "task_id": "task_x"},
    {"data": {"id": 690033, "taskId": "task_x"}},
]


@pytest.mark.parametrize("body", ACCEPTED)
async def test_a_task_id_is_found_wherever_a_gateway_puts_it(
    body: Any, sudashui: SudashuiClient, server: ScriptedServer
) -> None:
    """The paid task is not lost to a change of envelope."""
    server.handler = lambda _: answering(200, body)
    assert await sudashui.create(SUDASHUI) == "task_x"


async def test_one_broken_byte_does_not_cost_the_task_id(sudashui: SudashuiClient, server: ScriptedServer) -> None:
    """A message in another encoding, a byte order mark, an absurd number and gzip are all survived."""
    body = b'\xef\xbb\xbf{"task_id": "task_x", "message": "\xce\xde\xd0\xa7", "n": ' + b"9" * 5000 + b', "f": NaN}'
    server.handler = lambda _: Answer(200, {"Content-Encoding": "gzip"}, gzip.compress(body))
    assert await sudashui.create(SUDASHUI) == "task_x"


@pytest.mark.parametrize(
    "body",
    [
        b'{"message": "line\nbreak\tand tab", "task_id": "task_x"}',
        '{"task_id": "task_x"}'.encode("utf-16"),
        b"\xfe\xff" + '{"task_id": "task_x"}'.encode("utf-16-be"),
        b'{"task_id": "", "taskId": "task_x"}',
    ],
)
async def test_loose_json_is_read(body: bytes, client: VideoClient, server: ScriptedServer) -> None:
    """Whoever writes JSON by hand."""
    server.handler = lambda _: answering(200, body)
    assert await client.create(SUDASHUI if isinstance(client, SudashuiClient) else SENSEAUDIO) == "task_x"


async def test_a_gzip_bomb_is_cut(sudashui: SudashuiClient, server: ScriptedServer) -> None:
    """Answers are read up to 8 MiB, unpacked bytes counted."""
    bomb = gzip.compress(b" " * (20 * 1024 * 1024))
    error = await refusal(sudashui, server, Answer(400, {"Content-Encoding": "gzip"}, bomb))
    assert type(error) is errors.RejectedError


async def test_the_key_is_nowhere_in_an_error(sudashui: SudashuiClient, server: ScriptedServer) -> None:
    """Neither in the text nor in a reason nor in a chained exception, even if the gateway echoes it."""
    body = {"error": {"message": f"bad key {KEY} for Bearer {KEY}", "code": ""}}
    error = await refusal(sudashui, server, answering(401, body))
    assert KEY not in f"{error} {error.reason} {error.__dict__}"
    assert error.__cause__ is None
    assert error.__context__ is None


@pytest.mark.parametrize("status", [400, 401, 403, 409, 422, 429])
async def test_a_refusal_that_names_a_task_keeps_its_id(
    client: VideoClient, server: ScriptedServer, status: int
) -> None:
    """A person may go by it; an `id` alone may be that of the call."""
    for body in ({"data": {"task_id": "task_9"}, "message": "no"}, {"error": {"code": "x"}, "taskId": "task_9"}):
        assert (await refusal(client, server, answering(status, body))).task_id == "task_9"
    for body in ({"id": "req_9", "error": {"code": "x", "message": "no"}}, {"error": {"code": "x"}}):
        assert (await refusal(client, server, answering(status, body))).task_id is None


@pytest.mark.parametrize("status", [200, 500, 502, 504])
async def test_an_error_that_names_a_task_keeps_its_id(
    client: VideoClient, server: ScriptedServer, status: int
) -> None:
    """Wherever the outcome is unknown; what is said in a text speaks of another exchange."""
    told = {"code": "upstream_error", "message": "no"}
    error = await refusal(client, server, answering(status, {"error": {**told, "task_id": "task_9"}}))
    assert (type(error), error.task_id) == (errors.UnknownOutcomeError, "task_9")
    error = await refusal(client, server, answering(status, {"error": {**told, "message": '{"task_id": "task_9"}'}}))
    assert error.task_id is None
