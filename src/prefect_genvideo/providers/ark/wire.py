"""What Ark's answers mean: codes, error tables, places of links.

Errors are `{"error": {"code", "message", "param", "type"}}`, and `{"ResponseMetadata": {"Error": {"Code", "Message"}}}`
from the gateways before it. The code decides, then the HTTP status; words are looked at only to tell the three meanings
of `QuotaExceeded` apart. A 4xx has made nothing. A 5xx proves nothing, whatever its code is.
"""

from __future__ import annotations

import re
from dataclasses import replace

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
from prefect_genvideo.providers import classify
from prefect_genvideo.providers.answers import as_text, as_word
from prefect_genvideo.providers.classify import (
    BARRED_QUERY,
    CREATED_WITHOUT_ID,
    ERROR,
    HTML,
    IN_2XX,
    IN_4XX,
    REFUSED_BY_STATUS,
    SAYS_NOTHING,
    WRONG_ADDRESS,
    Facts,
    Row,
)
from prefect_genvideo.providers.evidence import keyed, opened
from prefect_genvideo.providers.http import NOT_SENT, Reply
from prefect_genvideo.providers.refusals import codes_of, is_success
from prefect_genvideo.providers.words import normalised, state_of

# Kinds of codes, as the tables below name them.
_ADDRESS, _MODEL, _MONEY, _KEY, _SPENT = "ark: address", "ark: model", "ark: money", "ark: key", "ark: spent"
_BUSY, _CONCURRENCY, _QUEUE, _GONE = "ark: busy", "ark: concurrency", "ark: queue", "ark: gone"
_QUOTA = "ark: quota"  # one of `_SPENT` and `_QUEUE`, which only the words tell

# Codes in lower case without separators but the point (错误码). What is not here is judged by its status.
_KINDS: tuple[tuple[str, re.Pattern[str]], ...] = (
    (_ADDRESS, re.compile(r"^(?:invalidaction|pathnotfound|invalidpath)")),
    (
        _MODEL,
        re.compile(
            r"^(?:modelnot(?:open|found|exist)|invalidendpoint|unsupportedmodel|endpointnotfound|invalidmodel)"
            r"|servicenotopen|modelidaccessdisabled|closedendpoint"
        ),
    ),
    (_MONEY, re.compile(r"overdue|arrear|insufficientbalance|^invalidsubscription|^invalidaccountstatus")),
    (
        _KEY,
        re.compile(
            r"^authenticationerror|^unauthorized|(?:^|\.)(?:access|permission)denied|apikey|authorizationheader"
        ),
    ),
    (_BUSY, re.compile(r"overloaded|bursttoofast|serverbusy|modelloading")),
    (_CONCURRENCY, re.compile(r"inflightbatchsize|concurren")),
    (_SPENT, re.compile(r"setlimitexceeded")),
    (_QUOTA, re.compile(r"quotaexceeded")),
    (_GONE, re.compile(r"^(?:task|resource)?(?:id)?notfound(?:\.|$)")),
)
_SEPARATORS = re.compile(r"[^a-z0-9.]+")
# `QuotaExceeded` of a queue that is full, which the error page words as "The request has exceeded the quota.", and of a
# trial, a plan or a window of time, which waiting does not help against. What is neither is taken for the latter.
_OF_A_QUEUE = re.compile(r"queue|排队|排隊|队列|隊列", re.IGNORECASE)
_OVER_THE_QUOTA = re.compile(r"exceeded the quota\b", re.IGNORECASE)
_OF_A_PLAN = re.compile(r"trial|usage|plan\b|hour|da(?:y|ily)|week|month|reset|试用|免费|套餐", re.IGNORECASE)
# Messages end in the id of the call, which support asks for; not every answer has it in a header.
_MAX_MESSAGE = 4000
_CALL = re.compile(r"request[ _-]?id\s*[:：]\s*([\w-]{8,80})", re.IGNORECASE)
# Seconds. "Bounded, slow": a load or a queue does not pass at once, and a rising rate is itself the fault.
_SLOW = 30.0

# By code, wherever a refusal comes.
_REFUSALS: tuple[Row, ...] = (
    Row(RejectedError, WRONG_ADDRESS, codes=(_ADDRESS,)),
    Row(ModelUnavailableError, "the model cannot be used by this account", codes=(_MODEL,)),
    Row(QuotaError, "no money, or the account is not in order", codes=(_MONEY,)),
    Row(QuotaError, "a limit is used up", codes=(_SPENT,)),
    Row(AuthenticationError, "the key is missing, wrong or not allowed to do this", codes=(_KEY,)),
    Row(
        RateLimitedError,
        "the queue is full; nothing was made",
        codes=(_QUEUE,),
        reason="queue full",
        retry_after=_SLOW,
    ),
    Row(RateLimitedError, "busy; nothing was made", codes=(_BUSY,), reason="busy", retry_after=_SLOW),
    Row(
        RateLimitedError,
        "too many generations at once; nothing was made",
        codes=(_CONCURRENCY,),
        reason="max concurrency",
        retry_after=_SLOW,
    ),
)
# A 4xx of these may come from a proxy that did not wait for the answer.
_UNDECIDED = frozenset({408, 425, 499})
_REFUSED = frozenset(IN_4XX) - _UNDECIDED
_RATE = Row(RateLimitedError, "too many requests", statuses=(429,), reason="rate_limited")
# Where a wrong guess costs nothing, also as a code beside another status.
_ANY_RATE = replace(_RATE, statuses=(), codes=("429",))

CREATE: tuple[Row, ...] = (
    *(replace(row, statuses=_REFUSED) for row in _REFUSALS),
    *(replace(row, statuses=IN_2XX, refused=True) for row in _REFUSALS),
    _RATE,
    Row(AuthenticationError, "the key is missing or wrong", statuses=(401,)),
    Row(QuotaError, "no money", statuses=(402,)),
    Row(QuotaError, "no money", statuses=(403,), money=True),
    Row(RejectedError, "the account is not allowed to do this", statuses=(403,)),
    Row(RejectedError, "the request is too large", statuses=(413,)),
    *REFUSED_BY_STATUS,
    # The API has no web page of its own: one with a success is a proxy's, which may have passed the create on.
    Row(UnknownOutcomeError, "a web page came", statuses=IN_2XX, envelopes=(HTML,), reason="outcome unknown"),
    *CREATED_WITHOUT_ID,
)
"""Meaning of a create's answer that brought no task id."""

QUERY: tuple[Row, ...] = (
    Row(TransientError, WRONG_ADDRESS, codes=(_ADDRESS,)),
    Row(TaskLostError, "the task id is unknown", statuses=(*IN_2XX, *IN_4XX), codes=(_GONE,)),
    Row(TransientError, "the answer says nothing about the task", statuses=(404,), codes=(_MODEL,)),
    Row(TaskLostError, "the task id is unknown", statuses=(404, 410), envelopes=(ERROR,)),
    Row(RateLimitedError, "busy", statuses=IN_4XX, codes=(_BUSY,), reason="busy"),
    _RATE,
    BARRED_QUERY,
    *SAYS_NOTHING,
)
"""Meaning of a query's answer that says nothing usable about the task."""

LIST: tuple[Row, ...] = (
    *(replace(row, statuses=_REFUSED) for row in _REFUSALS),
    _ANY_RATE,
    Row(AuthenticationError, "the key is missing, wrong or not allowed to do this", statuses=(401, 403)),
    Row(TransientError, "the tasks could not be listed", statuses=_UNDECIDED),
    Row(RejectedError, "the tasks may not be listed", statuses=range(300, 500)),
    *(replace(row, statuses=IN_2XX, refused=True) for row in _REFUSALS),
    Row(RejectedError, "the tasks may not be listed", statuses=IN_2XX, refused=True),
    Row(TransientError, WRONG_ADDRESS, statuses=IN_2XX, envelopes=(HTML,), reason="HTML instead of JSON"),
    Row(TransientError, "the tasks could not be listed"),
)
"""Meaning of an answer without a list of tasks."""

DELETE: tuple[Row, ...] = (
    Row(RejectedError, "there is no such task", statuses=(404, 410), envelopes=(ERROR,), codes=(_GONE,)),
    *(replace(row, statuses=_REFUSED) for row in _REFUSALS),
    _ANY_RATE,
    Row(AuthenticationError, "the key is missing, wrong or not allowed to do this", statuses=(401, 403)),
    Row(RejectedError, "it runs, and can no longer be cancelled; it is billed", statuses=(409,)),
    Row(TransientError, "get the task before asking again", statuses=_UNDECIDED),
    Row(RejectedError, "not cancelled", statuses=range(300, 500)),
    Row(RejectedError, "not cancelled", statuses=IN_2XX, refused=True),
    Row(RejectedError, WRONG_ADDRESS, statuses=IN_2XX, envelopes=(HTML,), reason="wrong address"),
    Row(TransientError, "the request was not sent", codes=(NOT_SENT,)),
    Row(TransientError, "whether it was cancelled is not known; get the task before asking again"),
)
"""Meaning of a deletion's answer that is no plain yes."""

VIDEO_LINKS: tuple[tuple[str, ...], ...] = (("content", "videourl"), ("videourl",))
"""Where the result's link stands, from the task's object on."""


def facts_of(reply: Reply) -> Facts:
    """Open the envelope of an error answer and add the kinds of its codes."""
    reply = _in_its_form(reply)
    facts = classify.facts_of(reply)
    named = _CALL.search(as_text(keyed(keyed(reply.json).get("error")).get("message"))[:_MAX_MESSAGE])
    plain = [_SEPARATORS.sub("", code.lower()) for code in facts.codes]
    kinds = {kind for kind, pattern in _KINDS if any(map(pattern.search, plain))}
    if _QUOTA in kinds:
        kinds.add(_QUEUE if _is_of_a_queue(facts.message) else _SPENT)
    if reply.status != 404:
        kinds.discard(_ADDRESS)  # elsewhere the same word speaks of a state
    request_id = facts.request_id or (named[1] if named else None)
    return replace(facts, codes=facts.codes | kinds, request_id=request_id)


# Status words of a deletion that was done, which are ends of a task elsewhere.
_DELETED = frozenset(("deleted", "cancelled", "canceled"))


def is_yes(reply: Reply) -> bool:
    """Whether the answer to a deletion is a plain yes: a success that says nothing else, nor cannot be read."""
    facts, fields = facts_of(reply), keyed(reply.json)
    whole = reply.json is not None or reply.body.strip() in (b"", b"null")
    if reply.status not in IN_2XX or reply.failure or not whole or facts.refused or facts.codes:
        return False
    spoken = bool(facts.message) and not any(map(is_success, codes_of(reply.json)))
    word = as_text(fields.get("status"))
    failed = state_of(word) == "failed" and normalised(word) not in _DELETED and "id" not in fields
    return not spoken and not failed


def _is_of_a_queue(message: str) -> bool:
    over = _OVER_THE_QUOTA.search(message) and not _OF_A_PLAN.search(message)
    return bool(over or _OF_A_QUEUE.search(message))


def silence_of(reply: Reply) -> Facts:
    """Return what an answer shows that brought nothing; a fault of the server is told by its code."""
    facts = facts_of(reply)
    fields = keyed(_in_its_form(reply).json)
    code = as_word(keyed(fields.get("error")).get("code")) or as_word(fields.get("code"))
    return replace(facts, reason=code) if code and reply.status >= 500 else facts


def _in_its_form(reply: Reply) -> Reply:
    """The reply, a gateway's error in the form of the API's own: what is wrapped is looked for in refusals alone."""
    fields = keyed(reply.json)
    error, outer = keyed(fields.get("responsemetadata")).get("error"), fields.get("error")
    if error is None and reply.status >= 400:
        error = opened(outer or keyed(fields.get("data")).get("error"))
        error = opened(keyed(error).get("error")) or error
    wrapped = isinstance(error, dict) and error is not outer
    return replace(reply, json={"error": error}) if wrapped else reply
