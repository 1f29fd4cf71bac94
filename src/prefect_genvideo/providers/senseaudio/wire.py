"""What SenseAudio's answers mean: codes, error tables, status words.

Errors are `{"code": slug or prose, "message"?, "ref_code"?, "ref_scope"?}`; the `ref_code` decides, then the HTTP
status, never the prose. Older answers have the number in `code` or nest everything in `error`.
"""

from __future__ import annotations

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
from prefect_genvideo.providers.answers import JsonObject, as_object, as_text, as_word
from prefect_genvideo.providers.classify import Facts, Row
from prefect_genvideo.providers.http import NOT_SENT, Reply

ERROR, JSON, HTML, OTHER = "error", "json", "html", "other"

STATES: dict[str, GenerationState] = {
    "pending": "queued",
    "processing": "running",
    "completed": "succeeded",
    "failed": "failed",
}
"""Status words, in either case. `pending` was seen to cover the whole run. Any other word: running."""

BUSY = "500000"
"""Busy, and also an invalid model: only the list of models tells them apart."""

WRONG_ADDRESS = "this is not the API's address (check the base URL, without /v1); nothing was made"

_2XX, _3XX, _4XX = range(200, 300), range(300, 400), range(400, 500)
_USAGE_WAIT = 300.0  # seconds; a used-up quota window does not come back quickly
_MONEY_CODES = frozenset({"400001", "400900", "400901", "400902"})

_LIMITS: tuple[Row, ...] = (
    Row(
        RateLimitedError,
        "too many generations at once; nothing was made",
        codes=frozenset({"400015"}),
        reason="max concurrency",
    ),
    Row(RateLimitedError, "too many requests", codes=frozenset({"429000"}), reason="rate_limited"),
    Row(
        RateLimitedError,
        "the usage limit is reached",
        codes=frozenset({"429002"}),
        reason="limit reached",
        retry_after=_USAGE_WAIT,
    ),
    Row(RateLimitedError, "too many requests", statuses=(429,), reason="rate_limited"),
)

CREATE: tuple[Row, ...] = (
    # By ref_code, whatever the status
    *_LIMITS,
    Row(QuotaError, "no money, or the account is not in order", codes=_MONEY_CODES),
    Row(ModelUnavailableError, "the model does not exist", codes=frozenset({"400033"})),
    Row(RejectedError, "the parameters are refused", codes=frozenset({"400000"})),
    # By status
    Row(AuthenticationError, "the key is missing or wrong", statuses=(401,)),
    Row(QuotaError, "no money", statuses=(402,)),
    Row(RejectedError, "the account is not allowed to do this", statuses=(403,)),
    Row(RejectedError, WRONG_ADDRESS, statuses=_3XX, reason="wrong address"),
    Row(RejectedError, WRONG_ADDRESS, statuses=(404, 405), envelopes=(HTML, OTHER), reason="wrong address"),
    Row(RejectedError, "the request is too large", statuses=(413,), reason="request too large"),
    Row(UnknownOutcomeError, "the outcome is unknown", statuses=(408, 425, 499), reason="outcome unknown"),
    Row(RejectedError, "refused", statuses=_4XX),
    Row(RejectedError, "refused", statuses=_2XX, envelopes=(ERROR,)),
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
"""Meaning of a create's answer that brought no task id. `BUSY` is settled before this table."""

BUSY_OFFERED = Row(TransientError, "busy; nothing was made", reason="busy")
BUSY_NOT_OFFERED = Row(
    ModelUnavailableError,
    "the model is not offered (the API calls that busy)",
    reason="model not offered (looks like busy)",
)

QUERY: tuple[Row, ...] = (
    Row(TaskLostError, "the task id is unknown", codes=frozenset({"404000"})),
    Row(TaskLostError, "the task id is unknown", statuses=(404,), envelopes=(ERROR,)),
    Row(
        TransientError,
        "the task cannot be queried with this key",
        statuses=(401, 403),
        reason="cannot query with this key",
    ),
    *_LIMITS,
    Row(TransientError, "busy", codes=frozenset({BUSY}), reason="busy"),
    Row(
        TransientError,
        "a web page came instead of JSON; the base URL may be wrong",
        statuses=_2XX,
        envelopes=(HTML,),
        reason="HTML instead of JSON",
    ),
    Row(
        TransientError,
        "the answer says nothing about the task",
        statuses=_2XX,
        envelopes=(JSON,),
        reason="no task in the answer",
    ),
    Row(TransientError, "the answer says nothing about the task"),
)
"""Meaning of a query's answer that says nothing usable about the task."""

MODELS: tuple[Row, ...] = (
    *_LIMITS,
    Row(QuotaError, "no money, or the account is not in order", codes=_MONEY_CODES),
    Row(AuthenticationError, "the key is missing or wrong", statuses=(401,)),
    Row(TransientError, "the models could not be listed", statuses=(408, 425)),
    Row(RejectedError, "the models may not be listed", statuses=range(300, 500)),
    Row(TransientError, "the models could not be listed"),
)
"""Meaning of an answer without a list of models."""


def facts_of(reply: Reply) -> Facts:
    """Open the envelope of an error answer."""
    answer = as_object(reply.json)
    error = answer.get("error")
    nested = as_object(error)
    codes = [as_word(place.get(field)) for place in (answer, nested) for field in ("ref_code", "code")]
    message = as_text(answer.get("message")) or as_text(nested.get("message")) or as_text(error)
    word = next(filter(None, (codes[1], codes[3], codes[0], codes[2])), "")
    if any(codes) or message:
        envelope = ERROR
    elif reply.json is not None:
        envelope = JSON
    else:
        envelope = HTML if reply.is_html else OTHER
    return Facts(
        status=reply.status,
        envelope=envelope,
        codes=frozenset({*codes, reply.failure} - {""}),
        reason=message or word or reply.failure,
        message=message or word,
        retry_after=reply.retry_after,
    )


def row_of(reply: Reply) -> JsonObject:
    """The task in a query's answer; empty when there is none."""
    answer = as_object(reply.json)
    if not 200 <= reply.status < 300:
        return {}
    return answer if "status" in answer else as_object(answer.get("data"))


def failure_reason(row: JsonObject) -> str:
    """Why a task failed; the message may be missing."""
    return as_text(row.get("error_message")) or as_text(row.get("message")) or NO_REASON
