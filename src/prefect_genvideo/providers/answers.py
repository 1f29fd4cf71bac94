"""Reading answers that may hold anything: every function here takes any JSON value and never raises."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any, cast
from urllib.parse import urlsplit

JsonObject = dict[str, Any]

_EPOCH_MIN = 946_684_800  # 2000-01-01: anything earlier is a zero value or garbage
_EPOCH_MAX = 4_102_444_800  # 2100-01-01
_MAX_DIGITS = 30
_MAX_URL = 8192
_MAX_ID = 256
_PERCENT = re.compile(r"\s*(\d{1,6}(?:\.\d{1,6})?)\s*%?\s*")
_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_FULL_ID = re.compile(r'"task_id"\s*:\s*"([^"\\\s]{1,256})"')

RETRY_AFTER_MAX = 3600.0


def parse_json(body: bytes) -> Any:
    """Return the JSON value of a body, or None when it holds none.

    Bad UTF-8 is replaced rather than refused, so that one broken message does not cost a task id. Numbers that JSON
    does not know (NaN, Infinity) or that are absurdly long become None.
    """
    try:
        value = json.loads(
            body.decode("utf-8-sig", "replace"),
            parse_int=_bounded_int,
            parse_float=_finite_float,
            parse_constant=lambda _: None,
        )
        if _ESCAPED_SURROGATE.search(body):
            # Half a surrogate pair cannot be written anywhere again; replace it here, once.
            value = json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    return value


def _bounded_int(digits: str) -> int | None:
    return int(digits) if len(digits) <= _MAX_DIGITS else None


def _finite_float(digits: str) -> float | None:
    value = float(digits)
    return value if math.isfinite(value) else None


def as_object(value: Any) -> JsonObject:
    """Return the JSON object, or an empty one for anything else."""
    return cast(JsonObject, value) if isinstance(value, dict) else {}


def as_list(value: Any) -> list[Any]:
    """Return the JSON array, or an empty one for anything else."""
    return cast("list[Any]", value) if isinstance(value, list) else []


def as_text(value: Any) -> str:
    """Return the string without outer blanks, or an empty one for anything else."""
    return value.strip() if isinstance(value, str) else ""


def as_word(value: Any) -> str:
    """Return a code as text, whether it came as a string or as a whole number."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return as_text(value)


def as_id(value: Any) -> str | None:
    """Return a task id, or None when the value cannot be one."""
    word = as_word(value)
    return word if word and len(word) <= _MAX_ID and word.isprintable() else None


def as_number(value: Any) -> float | None:
    """Return a number that is not negative, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        return None
    return float(value)


def as_percent(value: Any) -> int | None:
    """Return 0-100 from `30`, `30.0`, `"30"` or `"30%"`, clamped; None for anything else."""
    if isinstance(value, str):
        found = _PERCENT.fullmatch(value)
        value = float(found[1]) if found and found[1].isascii() else None
    number = as_number(value)
    return None if number is None else int(min(number, 100))


def as_time(value: Any) -> datetime | None:
    """Return the moment of a Unix time in seconds; None for zero, the absurd and anything else."""
    number = as_number(value)
    if number is None or not _EPOCH_MIN <= number <= _EPOCH_MAX:
        return None
    return datetime.fromtimestamp(number, tz=timezone.utc)


def as_link(value: Any) -> str | None:
    """Return an http(s) link with a host, or None."""
    text = as_text(value)
    return text if is_link(text) else None


def is_link(text: str) -> bool:
    """Whether `text` is one http(s) URL with a host: no blanks, no control characters, a sane port."""
    if not text or len(text) > _MAX_URL or not text.isprintable() or " " in text:
        return False
    try:
        parts = urlsplit(text)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def salvage_id(body: bytes) -> str | None:
    """Return a task id that stands whole in a body that is otherwise cut, for a person to go by."""
    found = _FULL_ID.search(body.decode("utf-8", "replace"))
    return as_id(found[1]) if found else None


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Return the seconds of a Retry-After header, 0 to 3600; None when it is absent or garbage.

    Args:
        headers: With case-insensitive look-up.
        now: The moment an HTTP date is measured from; the present by default.
    """
    text = headers.get("retry-after", "").strip()
    try:
        seconds = float(text) if text.isascii() else math.nan
    except ValueError:
        seconds = _seconds_until(text, now or datetime.now(timezone.utc))
    return min(max(seconds, 0.0), RETRY_AFTER_MAX) if math.isfinite(seconds) else None


def _seconds_until(text: str, now: datetime) -> float:
    try:
        moment = parsedate_to_datetime(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp() - now.timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return math.nan
