"""How long an answer asks us to wait: in the header, in a field, or in words."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import Any

from prefect_genvideo.providers.answers import as_date, as_list, as_number, as_object, as_text, as_time

RETRY_AFTER_MAX = 3600.0
"""Seconds; whatever is asked for, no longer."""

# Seconds of a unit.
_UNITS = {
    **dict.fromkeys(("ms", "millisecond", "milliseconds", "毫秒"), 0.001),
    **dict.fromkeys(("", "s", "sec", "secs", "second", "seconds", "秒", "秒钟", "秒鐘"), 1.0),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes", "分", "分钟", "分鐘"), 60.0),
    **dict.fromkeys(("h", "hr", "hour", "hours", "小时", "小時"), 3600.0),
}
_UNIT = "|".join(sorted(filter(None, _UNITS), key=len, reverse=True))
_NUMBER = r"[0-9]{1,9}(?:\.[0-9]{1,6})?"
_PARTS = re.compile(rf"({_NUMBER})\s*({_UNIT})?", re.IGNORECASE)
# `90`, `90 s` or `1m30s`, as one group.
_AMOUNT = rf"((?:{_NUMBER}\s*(?:{_UNIT})\s*){{1,4}}|{_NUMBER})"
# `2814, 2` is what becomes of two headers; the first one was set by who is nearest to the limit.
_DURATION = re.compile(
    rf"-?(?=[0-9])(?:{_NUMBER}\s*(?:{_UNIT})\s*)*(?:{_NUMBER}\s*)?(?:[,;].*)?", re.IGNORECASE | re.DOTALL
)
# What some write around a number; a minus is none of it.
_AROUND = " \t+~≈约\"'."
# Sentences that name a wait, in Chinese and English.
_WORDS = (
    re.compile(rf"(?:等待|等候|稍等|稍候|冷却|间隔|冷卻|間隔)(?:时间|時間)?[\s:：约約]*{_AMOUNT}", re.IGNORECASE),
    re.compile(rf"{_AMOUNT}\s*(?:之|以)?[后後]", re.IGNORECASE),
    re.compile(
        r"\b(?:retry|try again|wait|available|resets?|cool ?down)"
        rf"(?:[\s:=_-]+(?:after|in|for|again|about|at least))*[\s:=+~]+{_AMOUNT}\b(?![-:/])",
        re.IGNORECASE,
    ),
)
# Fields of a body without case and separators, and the seconds of their unit.
_FIELDS = {
    **dict.fromkeys(
        ("retryafter", "retryafterseconds", "retryaftersec", "retryaftersecs", "retrydelay", "retryin", "waitseconds"),
        1.0,
    ),
    **dict.fromkeys(("retryafterms", "retryaftermilliseconds"), 0.001),
}
_SEPARATORS = re.compile(r"[^a-z]+")
# Characters of a message that are looked through.
_LIMIT = 2000


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Return the seconds of a Retry-After header, 0 to 3600; None when it is absent or garbage.

    Args:
        headers: With case-insensitive look-up.
        now: The moment an HTTP date is measured from; the answer's own `Date` by default, and our clock without one.

    Returns:
        Seconds; 0 for a negative number or a date that has passed.
    """
    text = headers.get("retry-after", "").strip()[:_LIMIT]
    if not text:
        milliseconds = _duration(headers.get("retry-after-ms", "").strip()[:_LIMIT])
        return None if milliseconds is None else _bounded(milliseconds / 1000)
    until = as_time(text) or as_date(text)
    if until is None:
        seconds = _duration(text)
        return None if seconds is None else _bounded(seconds)
    since = now or answered_at(headers) or datetime.now(timezone.utc)
    return _bounded((until - since).total_seconds())


def answered_at(headers: Mapping[str, str]) -> datetime | None:
    """Return when an answer was given by its giver's clock (`Date`, RFC 9110); None where that tells no sane time."""
    return as_time(as_date(headers.get("date", "").strip()[:_LIMIT]))


def asked_wait(answer: Any) -> float | None:
    """Return the seconds that an answer's body asks for, 0 to 3600; None when it does not.

    Args:
        answer: The body as JSON; also looked through are `error`, `data` and the details of an error.
    """
    top = as_object(answer)
    error = as_object(top.get("error"))
    inner = [
        place.get(name) for name in ("data", "detail", "details", "parameters", "metadata") for place in (top, error)
    ]
    for several in (error.get("details"), top.get("errors")):
        inner += as_list(several)[:10]
    places = [top, error, *map(as_object, inner)]
    found = [*_fields(places), *_sentences(places), *_sentences([{"message": top.get("error")}])]
    return next(filter(None, map(_bounded, found)), None)


def _fields(places: Iterable[dict[str, Any]]) -> Iterable[float]:
    for place in places:
        for name, value in place.items():
            scale = _FIELDS.get(_SEPARATORS.sub("", name.lower()))
            if scale is None:
                continue
            number = as_number(value)
            seconds = _duration(as_text(value)) if number is None else number
            if seconds is not None:
                yield seconds * scale


def _sentences(places: Iterable[dict[str, Any]]) -> Iterable[float]:
    for place in places:
        for name in ("message", "msg", "code", "detail"):
            text = " ".join(as_text(place.get(name))[:_LIMIT].split())
            for pattern in _WORDS:
                if found := pattern.search(text):
                    yield _summed(found[1])


def _duration(text: str) -> float | None:
    """Seconds of `30`, `+30`, `"30"`, `~30s`, `1m30s` or `2814, 2`."""
    text = text.strip(_AROUND)
    if not _DURATION.fullmatch(text):
        return None
    seconds = _summed(re.split(r"[,;]", text, maxsplit=1)[0])
    return -seconds if text.startswith("-") else seconds


def _summed(parts: str) -> float:
    return sum(float(part[1]) * _UNITS[(part[2] or "").lower()] for part in _PARTS.finditer(parts))


def _bounded(seconds: float) -> float | None:
    return min(max(seconds, 0.0), RETRY_AFTER_MAX) if math.isfinite(seconds) else None
