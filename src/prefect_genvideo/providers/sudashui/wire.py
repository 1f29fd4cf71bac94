"""What Sudashui's answers mean: envelopes, error tables, status words, places of the result.

The API is an open gateway (New API). It answers in two JSON envelopes and, when something stands before it, in none:

- `relay`: `{"code", "message", "data": null}`, from the task relay. It refunds and stores no task.
- `error`: `{"error": {"message", "type", "code"}}`, from keys, limits and routing, before anything is made.

What its supplier said is passed on inside a `relay` envelope with the code `fail_to_fetch_task`, and so is the
supplier's HTTP status: a 401 there is about the gateway's own account at that supplier, not about the user's key.
"""

from __future__ import annotations

import re
from dataclasses import replace
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
from prefect_genvideo.providers.answers import JsonObject, as_link, as_object, as_text, as_word, is_link, names
from prefect_genvideo.providers.classify import (
    BARRED_QUERY,
    CREATED_WITHOUT_ID,
    ERROR,
    HTML,
    IN_2XX,
    IN_3XX,
    IN_4XX,
    IN_5XX,
    NOT_LISTED,
    REFUSED_BY_STATUS,
    RELAY,
    SAYS_NOTHING,
    Facts,
    Row,
    facts_from,
    form_of,
)
from prefect_genvideo.providers.evidence import walk
from prefect_genvideo.providers.http import Reply
from prefect_genvideo.providers.reasons import said_in
from prefect_genvideo.providers.refusals import is_refusing, is_success

# Codes that say only that something failed; the message beside them says what.
_GENERIC_CODES = frozenset({"", "fail_to_fetch_task", "invalid_request"})

# Forms that only the gateway itself answers in.
_GATEWAY = frozenset({RELAY, ERROR})
_MONEY_CODES = frozenset({"insufficient_user_quota", "pre_consume_token_quota_failed"})
# Faults after which the gateway refunds and stores no task.
_NOTHING_MADE = frozenset(
    names("do_request_failed get_channel_failed read_response_body_failed unmarshal_response_failed task_insert_failed")
)

# Codes that tell the relay's envelope even where a fork leaves `data` out.
_RELAYED = _GENERIC_CODES | _MONEY_CODES | _NOTHING_MADE

CRASHED = "*crashed*"
"""Stands for every type of the gateway's answer after a crash of its own: `new_api_panic`, also where it is renamed."""

# The gateway's, Ark's and Vidu's words for a model that is not served.
_MODEL_CODES = frozenset(
    names(
        "model_not_found model_unavailable ModelUnavailable ModelNotOpen InvalidEndpointOrModel.NotFound"
        " InvalidEndpointOrModel.ModelIDAccessDisabled"
    )
)

CREATE: tuple[Row, ...] = (
    # What no machine may send again, whatever the status
    Row(UnknownOutcomeError, "billing failed, but the task was kept", codes=("task_billing_settlement_failed",)),
    Row(
        UnknownOutcomeError,
        "the gateway crashed in the middle of the call; the outcome is unknown",
        codes=(CRASHED,),
        reason="outcome unknown",
    ),
    # Refused whatever the status
    Row(RejectedError, "the payload is wrong", codes=("build_request_failed",)),
    Row(QuotaError, "no money", codes=_MONEY_CODES),
    Row(QuotaError, "a limit of the account's plan", statuses=IN_4XX, codes=("entitlement_*",)),
    Row(ModelUnavailableError, "the model is wrong or not served now", codes=_MODEL_CODES),
    Row(
        RateLimitedError, "too many requests; nothing was made", statuses=IN_4XX, codes=("429",), reason="rate_limited"
    ),
    Row(RejectedError, "refused for what it would show", envelopes=_GATEWAY, moderation=True),
    Row(RejectedError, "the parameters are refused", envelopes=(RELAY,), codes=("invalid_request",)),
    # The supplier's verdict on the gateway's own account: this model's trouble, not the user's
    Row(ModelUnavailableError, "the gateway's supplier does not know the model", statuses=(404,), upstream=True),
    Row(RejectedError, "the gateway's supplier refused", statuses=(400, 401, 402, 403), upstream=True),
    # By status
    Row(QuotaError, "the key or the account is exhausted", statuses=(400, 401, 402, 403), money=True),
    Row(QuotaError, "no money", statuses=(402,)),
    Row(AuthenticationError, "the key is missing, wrong, expired or exhausted", statuses=(401,)),
    Row(RejectedError, "the account, the address or the model is not allowed", statuses=(403,)),
    Row(TransientError, "the gateway gave up and refunded", statuses=(408, 425), envelopes=_GATEWAY),
    Row(TransientError, "a fault of the gateway; refunded, no task stored", statuses=IN_5XX, envelopes=_GATEWAY),
    Row(
        TransientError,
        "a fault of the gateway; refunded, no task stored",
        statuses=IN_2XX,
        envelopes=(RELAY,),
        codes=_NOTHING_MADE,
    ),
    Row(RejectedError, "refused by the gateway's supplier", statuses=IN_2XX, refused=True, upstream=True),
    *REFUSED_BY_STATUS,
    *CREATED_WITHOUT_ID,
)
"""Meaning of a create's answer that brought no task id."""

QUERY: tuple[Row, ...] = (
    Row(TaskLostError, "the task id is unknown", codes=("task_not_exist", "task_not_found", "TaskNotFound")),
    BARRED_QUERY,
    Row(RateLimitedError, "too many queries", statuses=(429,), reason="rate_limited"),
    *SAYS_NOTHING,
)
"""Meaning of a query's answer that says nothing usable about the task."""

UPLOAD: tuple[Row, ...] = (
    Row(QuotaError, "no money", codes=_MONEY_CODES),
    Row(QuotaError, "the key or the account is exhausted", statuses=(401, 402, 403), money=True),
    Row(QuotaError, "no money", statuses=(402,)),
    Row(AuthenticationError, "the key is missing, wrong, expired or exhausted", statuses=(401,)),
    Row(RejectedError, "the file is too large", statuses=(413,), reason="file too large"),
    Row(RateLimitedError, "too many uploads", statuses=(429,), reason="rate_limited"),
    Row(TransientError, "the upload did not get through", statuses=(408, 425, 499)),
    Row(RejectedError, "this is not the file host's address", statuses=IN_3XX, reason="wrong address"),
    Row(RejectedError, "the file is refused", statuses=IN_4XX),
    Row(RejectedError, "the file is refused", statuses=IN_2XX, refused=True),
    Row(TransientError, "a page about a fault came instead of JSON", statuses=IN_2XX, passing=True),
    Row(
        RejectedError, "this is not the file host's address", statuses=IN_2XX, envelopes=(HTML,), reason="wrong address"
    ),
    Row(TransientError, "the answer names no link", statuses=IN_2XX, reason="no url in reply"),
    Row(TransientError, "the upload did not get through"),
)
"""Meaning of an upload's answer without a link. Repeating an upload is harmless, and useless after a refusal."""

UNUSABLE_LINK = Row(RejectedError, "the answer's url is no http(s) link", reason="url is no http(s) link")
"""An upload's answer that is whole and names something else: it will not be better the next time."""

MODELS: tuple[Row, ...] = (
    Row(QuotaError, "the key or the account is exhausted", statuses=(401, 402, 403), money=True),
    Row(AuthenticationError, "the key is missing, wrong or expired", statuses=(401,)),
    Row(RateLimitedError, "too many requests", statuses=(429,), reason="rate_limited"),
    *NOT_LISTED,
)
"""Meaning of an answer without a list of models."""

# The first clause of a Chinese sentence tells the cause; what follows is detail.
_CHINESE_CLAUSE = re.compile(r"[\u4e00-\u9fff]{2}(?:[^,.:;!?(，。：；！？（]|[.,:](?=[0-9]))*")
# Of older gateways, which have no code for it.
_NO_CHANNEL = re.compile("无可用渠道|no available channels? for", re.IGNORECASE)
# The gateway's codes are words; what stands before it speaks of itself, often by the number of its status.
_WORD = re.compile("[A-Za-z][A-Za-z0-9_.:-]*")
_OWN_STATUS = re.compile("5[0-9]{2}")
# Codes and types under which the gateway passes a supplier's answer on.
_PASSED_ON = frozenset({"fail_to_fetch_task", "bad_response_status_code", "upstream_error"})
# Of a supplier's codes, those that say the same about the gateway's own request.
_SHARED_CODES = frozenset({"invalid_request"}) | _MODEL_CODES

VIDEO_LINKS: tuple[tuple[str, ...], ...] = (
    ("data", "creations", "url"),
    ("resulturl",),
    ("url",),
    ("videourl",),
    ("data", "volcesvideourl"),
    ("failreason",),
)
"""Where the result's link stands, the best first, from the task's object on. Old builds put it into `fail_reason`."""


def facts_of(reply: Reply) -> Facts:
    """Open the envelope of an error answer."""
    envelope, code, error_type = _opened(reply, as_object(reply.json))
    said = said_in(reply.json)
    upstream = not _PASSED_ON.isdisjoint({code, error_type})
    judged = _SHARED_CODES.intersection(said.codes) if upstream else said.codes
    inner_code = next((word for word in said.codes if word not in {code, error_type}), "")
    message = next(iter(said.texts), "")
    marks = {CRASHED} if error_type.endswith("panic") else set[str]()
    if envelope == ERROR and _NO_CHANNEL.search(message):
        marks.add("model_not_found")
    return facts_from(
        reply,
        envelope=envelope,
        codes={code, error_type, *judged, *marks},
        inner_codes=said.codes,
        reason=_reason(code, inner_code, message, reply),
        message=message,
        upstream=upstream,
    )


def _opened(reply: Reply, answer: JsonObject) -> tuple[str, str, str]:
    """Return (envelope, code, type)."""
    error = as_object(answer.get("error"))
    if error.get("message") is not None or error.get("code") is not None:
        code, error_type = as_word(error.get("code")), as_word(error.get("type"))
        own = bool(error_type) and not _OWN_STATUS.fullmatch(code)
        return ERROR if own else form_of(reply), code, error_type
    code = as_word(answer.get("code"))
    whole = code in _RELAYED or ("data" in answer and _WORD.fullmatch(code) is not None)
    if whole and "message" in answer and answer.get("data") is None and not is_success(code):
        return RELAY, code, ""
    return form_of(reply), code, ""


def _reason(code: str, inner_code: str, words: str, reply: Reply) -> str:
    """The provider's own word for the cause: its slug when that is a specific one, else what it wrote."""
    if is_success(code):
        code = ""
    if code not in _GENERIC_CODES and not code.lstrip("-").isdigit():
        return code
    if "***" in words:
        # Masked: what is left of the words misleads.
        return inner_code or code
    clause = _CHINESE_CLAUSE.match(words)
    return (clause[0].rstrip() if clause else words) or code or reply.failure


def silence_of(reply: Reply) -> Facts:
    """Open the envelope of a query's answer without a task: its code tells more than what a supplier said."""
    code = _opened(reply, as_object(reply.json))[1] or reply.failure
    facts = facts_of(reply)
    return facts if is_success(code) else replace(facts, reason=code)


# Uploads

# "Try later": the file itself is not refused.
_PASSING_WORDS = re.compile(r"稍[后後候]|[重再][试試]|繁忙|超[时時]|later|again|busy|time(?:d |-)?out", re.IGNORECASE)
_URL_KEYS = names(
    "url fileurl link href src uri downloadurl publicurl signedurl accessurl fullurl imageurl location urls"
)
_URL_HOLDERS = frozenset(("data", "result", "response", "file", "files", "image"))


def named_links(reply: Reply) -> list[Any]:
    """Return what stands where an upload's answer has its link, the likeliest first: in `data`, in a list, or alone."""
    if reply.status not in IN_2XX:
        return []
    if reply.json is not None and not isinstance(reply.json, str):
        return _named_in(reply.json)
    alone = as_link(reply.json or reply.body.decode("utf-8", "replace"))
    return [alone] if alone else []


def _named_in(answer: Any) -> list[Any]:
    places = [node for node in walk(answer) if node.path and set(node.path[:-1]) <= _URL_HOLDERS]
    told = [(node.path[-1], node.value) for node in places if node.value not in (None, "")]
    named = [value for key in _URL_KEYS for name, value in told if name == key]
    return named + [value for name, value in told if name in _URL_HOLDERS and is_link(as_text(value))]


def upload_facts(reply: Reply) -> Facts:
    """Open the envelope of an upload's answer. Here words are enough for a refusal: a mistake costs no money."""
    facts, said = facts_of(reply), said_in(reply.json)
    spoken = bool(as_text(as_object(reply.json).get("error"))) or any(map(is_refusing, said.texts))
    passes = any(map(_PASSING_WORDS.search, said.texts))
    return replace(facts, refused=(facts.refused or spoken) and not passes)
