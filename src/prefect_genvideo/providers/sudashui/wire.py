"""What Sudashui's answers mean: envelopes, error tables, status words, places of the result.

The API is an open gateway (New API). It answers in two JSON envelopes and, when something stands before it, in none:

- `relay`: `{"code", "message", "data": null}`, from the task relay. It refunds and stores no task.
- `error`: `{"error": {"message", "type", "code"}}`, from keys, limits and routing, before anything is made.
"""

from __future__ import annotations

import re
from typing import Any

from prefect_genvideo.errors import (
    AuthenticationError,
    ModelUnavailableError,
    QuotaError,
    RateLimitedError,
    RejectedError,
    TaskLostError,
    TransientError,
    UnknownOutcomeError,
)
from prefect_genvideo.models import NO_REASON, GenerationState
from prefect_genvideo.providers.answers import JsonObject, as_link, as_list, as_object, as_text, as_word, parse_json
from prefect_genvideo.providers.classify import Facts, Row
from prefect_genvideo.providers.http import NOT_SENT, Reply

RELAY, ERROR, JSON, HTML, OTHER = "relay", "error", "json", "html", "other"

_SUCCESS_CODES = frozenset({"", "success", "0", "200"})
# Codes that say only that something failed; the message beside them says what.
_GENERIC_CODES = frozenset({"", "fail_to_fetch_task", "invalid_request"})

STATES: dict[str, GenerationState] = {
    "NOT_START": "queued",
    "SUBMITTED": "queued",
    "QUEUED": "queued",
    "IN_PROGRESS": "running",
    "PROCESSING": "running",
    "SUCCESS": "succeeded",
    "SUCCEEDED": "succeeded",
    "COMPLETED": "succeeded",
    "FAILURE": "failed",
    "FAILED": "failed",
}
"""Status words, of the document and of other deployments of the gateway, in either case. Any other word: running."""

WRONG_ADDRESS = "this is not the API's address (check the base URL, without /v1); nothing was made"

_2XX, _3XX, _4XX, _5XX = range(200, 300), range(300, 400), range(400, 500), range(500, 600)
_GATEWAY = frozenset({RELAY, ERROR})
_MONEY_CODES = frozenset({"insufficient_user_quota", "pre_consume_token_quota_failed"})
_NOTHING_MADE = frozenset(
    {
        "do_request_failed",
        "get_channel_failed",
        "read_response_body_failed",
        "unmarshal_response_failed",
        "task_insert_failed",
    }
)

CREATE: tuple[Row, ...] = (
    # What no machine may send again, whatever the status
    Row(
        UnknownOutcomeError,
        "billing failed, but the task was kept",
        codes=frozenset({"task_billing_settlement_failed"}),
    ),
    # Refused whatever the status
    Row(RejectedError, "the payload is wrong", codes=frozenset({"build_request_failed"})),
    Row(QuotaError, "no money", codes=_MONEY_CODES),
    Row(ModelUnavailableError, "the model is wrong or not served now", codes=frozenset({"model_not_found"})),
    Row(RejectedError, "the parameters are refused", envelopes=(RELAY,), codes=frozenset({"invalid_request"})),
    # By status
    Row(RateLimitedError, "too many requests; nothing was made", statuses=(429,), reason="rate_limited"),
    Row(QuotaError, "the key or the account is exhausted", statuses=(401, 402, 403), money=True),
    Row(QuotaError, "no money", statuses=(402,)),
    Row(AuthenticationError, "the key is missing, wrong, expired or exhausted", statuses=(401,)),
    Row(RejectedError, "the account, the address or the model is not allowed", statuses=(403,)),
    Row(RejectedError, WRONG_ADDRESS, statuses=_3XX, reason="wrong address"),
    Row(RejectedError, WRONG_ADDRESS, statuses=(404, 405), envelopes=(HTML, OTHER), reason="wrong address"),
    Row(RejectedError, "the request is too large", statuses=(413,), reason="request too large"),
    Row(TransientError, "the gateway gave up and refunded", statuses=(408, 425), envelopes=_GATEWAY),
    Row(UnknownOutcomeError, "the outcome is unknown", statuses=(408, 425, 499), reason="outcome unknown"),
    Row(RejectedError, "refused", statuses=_4XX),
    Row(TransientError, "a fault of the gateway; refunded, no task stored", statuses=_5XX, envelopes=_GATEWAY),
    Row(
        TransientError,
        "a fault of the gateway; refunded, no task stored",
        statuses=_2XX,
        envelopes=(RELAY,),
        codes=_NOTHING_MADE,
    ),
    Row(RejectedError, "refused", statuses=_2XX, envelopes=_GATEWAY),
    Row(RejectedError, WRONG_ADDRESS, statuses=_2XX, envelopes=(HTML,), reason="wrong address"),
    Row(
        UnknownOutcomeError,
        "success was answered without a task id; the outcome is unknown",
        statuses=_2XX,
        envelopes=(JSON,),
        reason="outcome unknown: success without task id",
    ),
    Row(TransientError, "the request was not sent", statuses=(0,), codes=frozenset({NOT_SENT})),
    Row(UnknownOutcomeError, "the outcome is unknown", reason="outcome unknown"),
)
"""Meaning of a create's answer that brought no task id."""

QUERY: tuple[Row, ...] = (
    Row(TaskLostError, "the task id is unknown", codes=frozenset({"task_not_exist"})),
    Row(
        TransientError,
        "the task cannot be queried with this key",
        statuses=(401, 403),
        reason="cannot query with this key",
    ),
    Row(RateLimitedError, "too many queries", statuses=(429,), reason="rate_limited"),
    Row(
        TransientError,
        "a web page came instead of JSON; the base URL may be wrong",
        statuses=_2XX,
        envelopes=(HTML,),
        reason="HTML instead of JSON",
    ),
    Row(TransientError, "the answer says nothing about the task"),
)
"""Meaning of a query's answer that says nothing usable about the task."""

UPLOAD: tuple[Row, ...] = (
    Row(QuotaError, "no money", codes=_MONEY_CODES),
    Row(QuotaError, "the key or the account is exhausted", statuses=(401, 402, 403), money=True),
    Row(QuotaError, "no money", statuses=(402,)),
    Row(AuthenticationError, "the key is missing, wrong, expired or exhausted", statuses=(401,)),
    Row(RejectedError, "the file is too large", statuses=(413,), reason="file too large"),
    Row(RateLimitedError, "too many uploads", statuses=(429,), reason="rate_limited"),
    Row(TransientError, "the upload did not get through", statuses=(408, 425)),
    Row(RejectedError, "this is not the file host's address", statuses=_3XX, reason="wrong address"),
    Row(RejectedError, "the file is refused", statuses=_4XX),
    Row(
        TransientError,
        "a web page came instead of JSON; the files URL may be wrong",
        statuses=_2XX,
        envelopes=(HTML,),
        reason="HTML instead of JSON",
    ),
    Row(TransientError, "the answer names no link", statuses=_2XX, reason="no url in reply"),
    Row(TransientError, "the upload did not get through"),
)
"""Meaning of an upload's answer without a link. Repeating an upload is harmless."""

MODELS: tuple[Row, ...] = (
    Row(QuotaError, "the key or the account is exhausted", statuses=(401, 402, 403), money=True),
    Row(AuthenticationError, "the key is missing, wrong or expired", statuses=(401,)),
    Row(RateLimitedError, "too many requests", statuses=(429,), reason="rate_limited"),
    Row(TransientError, "the models could not be listed", statuses=(408, 425)),
    Row(RejectedError, "the models may not be listed", statuses=range(300, 500)),
    Row(TransientError, "the models could not be listed"),
)
"""Meaning of an answer without a list of models."""

_REQUEST_ID = re.compile(r"\s*\(request id: [^)]*\)")
_KEY_ECHO = re.compile(r"^\[[^\]]{0,80}\]\s*")
_CHINESE_CLAUSE = re.compile(r"[\u4e00-\u9fff]{2,}")
_MONEY = re.compile(r"额度|余额|欠费|用尽|quota|exhausted|insufficient|balance", re.IGNORECASE)


def facts_of(reply: Reply) -> Facts:
    """Open the envelope of an error answer."""
    answer = as_object(reply.json)
    envelope, code, message = _opened(reply, answer)
    inner = as_object(parse_json(message.encode("utf-8", "replace"))) if message.startswith("{") else {}
    inner_code = as_word(inner.get("err_code"))
    codes = {code, inner_code, reply.failure} - {""}
    words = as_text(inner.get("message")) or message
    return Facts(
        status=reply.status,
        envelope=envelope,
        codes=frozenset(codes),
        reason=_reason(code, inner_code, words, reply),
        message=_REQUEST_ID.sub("", words),
        money=bool(_MONEY.search(message)),
        retry_after=reply.retry_after,
    )


def _opened(reply: Reply, answer: JsonObject) -> tuple[str, str, str]:
    """Return (envelope, code, message)."""
    error = answer.get("error")
    if isinstance(error, dict):
        body = as_object(error)
        if body.get("message") is not None or body.get("code") is not None:
            return ERROR, as_word(body.get("code")), as_text(body.get("message"))
    code, message = as_word(answer.get("code")), as_text(answer.get("message"))
    if "message" in answer and answer.get("data") is None and not is_success(code):
        return RELAY, code, message
    if reply.json is not None:
        return JSON, code, message or as_text(error)
    return (HTML if reply.is_html else OTHER), "", ""


def _reason(code: str, inner_code: str, words: str, reply: Reply) -> str:
    """The provider's own word for the cause: its slug when that is a specific one, else what it wrote."""
    if is_success(code):
        code = ""
    if code not in _GENERIC_CODES:
        return code
    said = _KEY_ECHO.sub("", _REQUEST_ID.sub("", words)).strip()
    if "***" in said or said.startswith("<"):
        # Masked or a web page: what is left of the words misleads.
        return inner_code or code
    clause = _CHINESE_CLAUSE.match(said)
    return (clause[0] if clause else said) or code or reply.failure


def is_success(code: str) -> bool:
    """Whether an outer code, which may be missing, speaks of success."""
    return code.lower() in _SUCCESS_CODES


def code_of(reply: Reply) -> str:
    """The outer code of an answer, for a query's reason."""
    return _opened(reply, as_object(reply.json))[1] or reply.failure


# The query's row


def row_of(reply: Reply) -> JsonObject:
    """The task's row in a query's answer: inside `data`, or the flat form; empty when there is none."""
    answer = as_object(reply.json)
    if reply.status not in _2XX:
        return {}
    if "code" not in answer and "status" in answer:
        return answer
    return as_object(answer.get("data")) if is_success(as_word(answer.get("code"))) else {}


def inner_of(row: JsonObject) -> JsonObject:
    """The upstream's own object, whether it comes as JSON or as JSON text."""
    inner = row.get("data")
    return as_object(parse_json(inner.encode("utf-8", "replace")) if isinstance(inner, str) else inner)


def first_creation(row: JsonObject) -> JsonObject:
    """The first of the upstream's results, or an empty object."""
    creations = as_list(inner_of(row).get("creations"))
    return as_object(creations[0]) if creations else {}


_CONTENT_LINK = re.compile(r"https?://[^?#]*/v1/videos/[^/?#]+/content(?:[?#].*)?")


def video_url(row: JsonObject) -> str | None:
    """The result's link: the first usable one in the documented order, the gateway's own proxy only as the last."""
    places: tuple[Any, ...] = (
        first_creation(row).get("url"),
        row.get("result_url"),
        row.get("url"),
        row.get("video_url"),
        inner_of(row).get("volcesVideoUrl"),
        row.get("fail_reason"),
    )
    links = [link for link in map(as_link, places) if link]
    direct = [link for link in links if not _CONTENT_LINK.fullmatch(link)]
    return next(iter(direct + links), None)


def failure_reason(row: JsonObject) -> str:
    """Why a task failed, in the provider's most telling words."""
    inner = inner_of(row)
    outer, slug = as_text(row.get("fail_reason")), as_word(inner.get("err_code"))
    places = [
        # A fail_reason that only repeats the slug yields to the sentence beside it.
        outer if outer != slug else "",
        as_text(inner.get("message")),
        as_text(inner.get("error_message")),
        as_text(as_object(row.get("error")).get("message")) or as_text(row.get("error")),
        slug,
        "" if as_link(row.get("result_url")) else as_text(row.get("result_url")),
    ]
    return next(filter(None, places), NO_REASON)
