"""Answers judged by tables: what a status, an envelope and a code mean, first matching row wins.

A provider's wire module holds the tables; a reader can hold them against the provider's document row by row. What
counts as a sign of refusal is the same everywhere: see `refusals`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Container, Iterable, Sequence
from dataclasses import dataclass

from prefect_genvideo.errors import (
    GenVideoError,
    QuotaError,
    RateLimitedError,
    RejectedError,
    TransientError,
    UnknownOutcomeError,
)
from prefect_genvideo.providers.answers import JsonObject, as_text, as_word
from prefect_genvideo.providers.evidence import keyed
from prefect_genvideo.providers.http import NOT_SENT, Reply
from prefect_genvideo.providers.moderation import refused_for_content
from prefect_genvideo.providers.reasons import said_in
from prefect_genvideo.providers.refusals import MONEY, codes_of, is_refusal, is_success, slug_of
from prefect_genvideo.providers.waits import asked_wait

RELAY, ERROR, JSON, HTML, OTHER = "relay", "error", "json", "html", "other"
"""Forms of a body: `{"code", "message"}`, `{"error": {…}}`, other JSON, a web page, anything else."""
IN_2XX, IN_3XX, IN_4XX, IN_5XX = range(200, 300), range(300, 400), range(400, 500), range(500, 600)
"""Classes of HTTP statuses."""


@dataclass(frozen=True)
class Facts:
    """What a reply shows once its envelope is opened.

    Attributes:
        status: HTTP status; 0 when there was no answer.
        envelope: Name of the form the body has, as the provider's wire module defines them.
        codes: Every code in the body, their families, `429` for that status, and the failure of the exchange.
        reason: The provider's own word for the cause.
        message: Everything the provider said.
        money: Whether the words speak of an exhausted account.
        refused: Whether there is a positive sign that the provider refused.
        upstream: Whether the words are those of the provider's own supplier, passed on.
        moderation: Whether the words speak of what a video shows.
        passing: Whether the body is a page about a fault that passes.
        retry_after: Seconds the provider asked us to wait.
        request_id: The provider's id of the call.
    """

    status: int
    envelope: str
    codes: frozenset[str] = frozenset()
    reason: str = ""
    message: str = ""
    money: bool = False
    refused: bool = False
    upstream: bool = False
    moderation: bool = False
    passing: bool = False
    retry_after: float | None = None
    request_id: str | None = None


@dataclass(frozen=True)
class Row:
    """One row of a table. Empty conditions match everything.

    Attributes:
        error: What is raised.
        says: The meaning, in words for the user.
        statuses: HTTP statuses.
        envelopes: Forms of the body.
        codes: Any of these codes.
        money: Only when the words speak of an exhausted account.
        refused: Only with a positive sign of refusal.
        upstream: Only when a supplier's words are passed on.
        moderation: Only when the words speak of what a video shows.
        passing: Only for a page about a fault that passes.
        reason: The reason to give; the provider's own by default.
        retry_after: Seconds to wait when the provider named none.
    """

    error: type[GenVideoError]
    says: str
    statuses: Container[int] = ()
    envelopes: Container[str] = ()
    codes: Collection[str] = ()
    money: bool = False
    refused: bool = False
    upstream: bool = False
    moderation: bool = False
    passing: bool = False
    reason: str = ""
    retry_after: float | None = None

    def matches(self, facts: Facts) -> bool:
        """Whether every condition holds."""
        return (
            (not self.statuses or facts.status in self.statuses)
            and (not self.envelopes or facts.envelope in self.envelopes)
            and (not self.codes or not facts.codes.isdisjoint(self.codes))
            and all(getattr(facts, sign) for sign in _SIGNS if getattr(self, sign))
        )


# Conditions of a row that are a plain yes.
_SIGNS = ("money", "refused", "upstream", "moderation", "passing")

# Titles of pages about faults that pass.
_HEADINGS = re.compile(rb"<(?:title|h1)[^>]{0,200}>([^<]{0,300})", re.IGNORECASE)
_PASSING = re.compile(
    rb"\b(?:50[0-9]|52[0-9])\b|bad gateway|gateway time|unavailable|maintenance|try again|timed? ?out", re.IGNORECASE
)
# A limit of how often, or of how many at once: all of these mean what the status 429 means.
_RATE = re.compile(r"429[0-9]{3}|.*(?:too_many_requests|rate_?limit|concurrency_limit|throttl).*")


def facts_of(reply: Reply) -> Facts:
    """Open the envelope of an error answer, whatever its form: codes and words count wherever they stand."""
    said, answer = said_in(reply.json), keyed(reply.json)
    places = (answer, keyed(answer.get("error")))
    codes = [code for code in codes_of(reply.json) if not is_success(code)]
    message = next(iter(said.texts), "")
    word = _outer_code(places, codes)
    return facts_from(
        reply,
        envelope=ERROR if codes or _has_words(places) else form_of(reply),
        codes=codes,
        inner_codes=said.codes,
        reason=message or word or reply.failure,
        message=message or word,
    )


def _outer_code(places: Sequence[JsonObject], codes: Sequence[str]) -> str:
    """The code that stands farthest outside; the most specific one where none of these is a `code`."""
    outer = (as_word(place.get("code")) for place in places)
    return next((code for code in outer if code in codes), next(iter(codes), ""))


def _has_words(places: Sequence[JsonObject]) -> bool:
    """Whether the API itself speaks: a router's `{"detail": "Not Found"}` is none of its own answers."""
    return any(as_text(place.get(name)) for place in places for name in ("message", "msg", "error"))


def facts_from(
    reply: Reply,
    *,
    envelope: str,
    codes: Iterable[str],
    reason: str,
    message: str,
    upstream: bool = False,
    inner_codes: Iterable[str] = (),
) -> Facts:
    """Gather what a reply shows whose envelope is opened.

    Args:
        reply: What came.
        envelope: The body's form.
        codes: Every code in it that the tables judge.
        reason: The provider's own word for the cause.
        message: Everything it said.
        upstream: Whether these are the words of the provider's own supplier.
        inner_codes: Codes of the supplier. They tell what a refusal is about, not whose it is.
    """
    named = frozenset({*codes, reply.failure} - {""})
    families = {family for code in named for family in _families(code)}
    if reply.status == 429:
        families.add("429")
    said = reply.json is not None
    return Facts(
        status=reply.status,
        envelope=envelope,
        codes=named | families,
        reason=reason or ("not JSON" if envelope == OTHER and reply.status in IN_2XX else ""),
        message=message or reply.cause,
        money=any(MONEY.search(text.replace("_", " ")) for text in (message, *map(slug_of, named))),
        refused=is_refusal(reply.json),
        upstream=upstream,
        moderation=said and refused_for_content(f"{message} {' '.join(named)}", {*named, *inner_codes}),
        passing=reply.is_html and any(map(_PASSING.search, _HEADINGS.findall(reply.body[:8192]))),
        retry_after=reply.retry_after if reply.retry_after is not None else asked_wait(reply.json),
        request_id=reply.request_id,
    )


def _families(code: str) -> Iterable[str]:
    """Names that tables use for a code: as a slug, in whichever case it came, and of its family, e.g. `4xxxxx`."""
    yield slug_of(code)
    if code.startswith("entitlement_"):
        yield "entitlement_*"
    if _RATE.fullmatch(slug_of(code)):
        yield "429"
    if re.fullmatch(r"4[0-9]{5}", code):
        yield "4xxxxx"


def form_of(reply: Reply) -> str:
    """Return the form of a body that is no error's: JSON, a web page, anything else."""
    return JSON if reply.json is not None else HTML if reply.is_html else OTHER


def judge(table: Sequence[Row], facts: Facts) -> Row:
    """Return the first row that matches.

    Args:
        table: Ends with a row that always matches.
        facts: What the answer shows.
    """
    return next(row for row in table if row.matches(facts))


def to_error(row: Row, facts: Facts, *, title: str, provider: str, task_id: str | None = None) -> GenVideoError:
    """Build the error of a row, with everything the provider said.

    Args:
        row: What the answer means.
        facts: What it shows.
        title: The provider's name for people.
        provider: Its short name.
        task_id: The task in question, if there is one.
    """
    where = f" (HTTP {facts.status})" if facts.status else ""
    said = f": {facts.message}" if facts.message else ""
    wait = f"; it asks for a wait of {facts.retry_after:g} s" if facts.retry_after else ""
    return row.error(
        f"{title}: {row.says}{where}{said}{wait}",
        provider=provider,
        task_id=task_id,
        status_code=facts.status or None,
        reason=row.reason or facts.reason or (f"HTTP {facts.status}" if facts.status else None),
        retry_after=facts.retry_after if facts.retry_after is not None else row.retry_after,
        moderation=facts.moderation and not issubclass(row.error, RateLimitedError),
        request_id=facts.request_id,
    )


# Rows that mean the same at every provider

WRONG_ADDRESS = "this is not the API's address (check the base URL); nothing was made"
"""What a redirect, a 404 without the API's envelope or a web page means."""

REFUSED_BY_STATUS: tuple[Row, ...] = (
    Row(RejectedError, WRONG_ADDRESS, statuses=IN_3XX, reason="wrong address"),
    Row(RejectedError, WRONG_ADDRESS, statuses=(404, 405), envelopes=(HTML, OTHER), reason="wrong address"),
    Row(RejectedError, "the request is too large", statuses=(413,), reason="request too large"),
    Row(UnknownOutcomeError, "the outcome is unknown", statuses=(408, 425, 499), reason="outcome unknown"),
    Row(RejectedError, "refused", statuses=IN_4XX),
)
"""What is left of a create's answers with a status of 3xx and 4xx, for what nothing more special holds."""

CREATED_WITHOUT_ID: tuple[Row, ...] = (
    Row(
        RateLimitedError,
        "too many requests; nothing was made",
        statuses=IN_2XX,
        codes=("429",),
        refused=True,
        reason="rate_limited",
    ),
    Row(QuotaError, "no money", statuses=IN_2XX, refused=True, money=True),
    Row(RejectedError, "refused", statuses=IN_2XX, refused=True),
    Row(UnknownOutcomeError, "a page about a fault came", statuses=IN_2XX, passing=True, reason="outcome unknown"),
    Row(RejectedError, WRONG_ADDRESS, statuses=IN_2XX, envelopes=(HTML,), reason="wrong address"),
    Row(
        UnknownOutcomeError,
        "no task id was answered, and no clear refusal; the outcome is unknown",
        statuses=IN_2XX,
        envelopes=(RELAY, ERROR, JSON),
        reason="outcome unknown: success without task id",
    ),
    Row(TransientError, "the request was not sent", statuses=(0,), codes=(NOT_SENT,)),
    Row(UnknownOutcomeError, "the outcome is unknown", reason="outcome unknown"),
)
"""The end of every create's table: a 2xx without an id is a refusal only where there is a positive sign of one."""

ID_AND_REFUSAL = Row(
    UnknownOutcomeError,
    "an id and a refusal came in one answer; the outcome is unknown",
    reason="outcome unknown: an id and a refusal",
)
"""A create's answer that says both."""

NOT_LISTED: tuple[Row, ...] = (
    Row(TransientError, "the models could not be listed", statuses=(408, 425)),
    Row(RejectedError, "the models may not be listed", statuses=range(300, 500)),
    Row(TransientError, "the models could not be listed"),
)
"""The end of every table for an answer without a list of models."""

BARRED_QUERY = Row(
    TransientError,
    "the task cannot be queried with this key",
    statuses=(401, 403),
    reason="cannot query with this key",
)
"""A query that the key is refused for: it says nothing of the task, which is paid for."""

SAYS_NOTHING: tuple[Row, ...] = (
    Row(
        TransientError,
        "a web page came instead of JSON; the base URL may be wrong",
        statuses=IN_2XX,
        envelopes=(HTML,),
        reason="HTML instead of JSON",
    ),
    Row(
        TransientError,
        "the answer says nothing about the task",
        statuses=IN_2XX,
        envelopes=(JSON,),
        reason="no task in the answer",
    ),
    Row(TransientError, "the answer says nothing about the task"),
)
"""The end of every query's table."""
