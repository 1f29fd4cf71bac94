"""Reading answers that may hold anything: every function here takes any JSON value and never raises."""

from __future__ import annotations

import json
import math
import re
from datetime import datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from typing import Any, cast
from urllib.parse import SplitResult, urlsplit

JsonObject = dict[str, Any]


def names(text: str) -> tuple[str, ...]:
    """Return the words of a table that is written as text."""
    return tuple(text.split())


# Unix seconds of 2000-01-01 and 2100-01-01: anything outside is a zero value or garbage.
_EPOCH_MIN = 946_684_800
_EPOCH_MAX = 4_102_444_800
# Digits of a number; longer ones cost time to read and mean nothing.
_MAX_DIGITS = 30
# Characters of a link; servers take no longer ones.
_MAX_URL = 8192
# Characters of a host's name; DNS takes no longer one.
_MAX_HOST = 253
# Characters of a task's id; names of long-running operations have hundreds.
_MAX_ID = 1024
# Where a list of models stands, how deep, and the names in its entries.
_LIST_KEYS = names("data models list items result")
_MAX_WRAPPERS = 2
_NAME_KEYS = names("id model_name model name")
_FIGURE = re.compile(r"[0-9]{1,18}(?:\.[0-9]{1,6})?")
# Texts that stand where an id would, and are none.
_NO_IDS = frozenset(names("none null nil undefined nan n/a false true unknown -"))
# Whole numbers that lost nothing when a gateway wrote them as a fraction, e.g. `400015.0`.
_SAFE_FRACTION = 1e9
_PERCENT = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)\s{0,9}(%?)")
_ESCAPED_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_FULL_IDS = tuple(
    re.compile(rf'"{name}"\s*:\s*(?:"([^"\\\s]{{1,{_MAX_ID}}})"|([0-9]{{6,{_MAX_DIGITS}}})(?=\s*[,}}]))')
    for name in ("task_?[iI]d", "id")
)
# Fields of a moment that is written as an object, without case and marks: of Protocol Buffers, Firestore, Java, MongoDB
# and Go. What it has beside them is less than a second.
_MOMENT_KEYS = frozenset(names("seconds epochsecond date numberlong time"))
_MAX_MOMENT_DEPTH = 3
# Dates of mails and of HTTP, with their zone.
_MAIL_DATE = re.compile(
    r"[A-Za-z]{3,9}, [0-9]{1,2}[ -][A-Za-z]{3}[ -]20[0-9]{2} [0-9:]{8} (?:GMT|UTC|[+-][0-9]{4})", re.IGNORECASE
)
# Dates of ISO 8601, and as Go and Java print them: `2026-09-28 15:19:10.1 +0800 CST`.
_ISO = re.compile(
    r"([0-9]{4})[-/]([0-9]{2})[-/]([0-9]{2})[T ]([0-9]{2}):([0-9]{2})(?::([0-9]{2}))?(?:[.,]([0-9]{1,9}))?"
    r"\s*(?:(Z|UTC|GMT)|([+-])([0-9]{2})(?::?([0-9]{2}))?(?: [A-Z]{2,5})?)?",
    re.IGNORECASE,
)


def parse_json(body: bytes) -> Any:
    """Return the JSON value of a body, or None when it holds none.

    Bytes that are no UTF-8 are read as GBK or replaced rather than refused, so that one broken message does not cost a
    task id. Numbers that JSON does not know (NaN, Infinity) or that are absurdly long become None.
    """
    try:
        value = _JSON.decode(_decoded(body))
        if _ESCAPED_SURROGATE.search(body):
            # Half a surrogate pair cannot be written anywhere again; replace it here, once.
            value = json.loads(json.dumps(value, ensure_ascii=False).encode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    return value


def _decoded(body: bytes) -> str:
    if body[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return body.decode("utf-16", "replace")
    body = body.removeprefix(b"\xef\xbb\xbf").rstrip(b"\0")
    for encoding in ("utf-8", "gb18030"):
        try:
            return body.decode(encoding)
        except UnicodeDecodeError:
            continue
    return body.decode("utf-8", "replace")


def _whole(digits: str) -> int | None:
    return int(digits) if digits.isascii() and len(digits) <= _MAX_DIGITS else None


def _finite_float(digits: str) -> float | None:
    value = float(digits)
    return value if math.isfinite(value) else None


# Not strict: a gateway that copies its supplier's words leaves line breaks in them as they are.
_JSON = json.JSONDecoder(parse_int=_whole, parse_float=_finite_float, parse_constant=lambda _: None, strict=False)


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
    """Return a code as text, whether it came as a string or as a whole number, be it written as `400015.0`."""
    if isinstance(value, float) and value.is_integer() and abs(value) < _SAFE_FRACTION:
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return as_text(value)


def as_flag(value: Any) -> bool | None:
    """Return a yes or no, also one that was written as a number or a word; None for anything else."""
    if isinstance(value, bool):
        return value
    return {"true": True, "1": True, "false": False, "0": False}.get(as_word(value).lower())


def as_id(value: Any) -> str | None:
    """Return a task id, or None when the value cannot be one: a zero, `null` as a text."""
    word = as_word(value)
    if not word.lstrip("-0") or len(word) > _MAX_ID or not word.isprintable():
        return None
    return None if word.lower() in _NO_IDS or (word[0] == "-" and word[1:].isdigit()) else word


def as_number(value: Any) -> float | None:
    """Return a number that is not negative, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        return None
    return float(value)


def as_figure(value: Any) -> float | None:
    """Return a number that is not negative, also one that was written as a text, or None."""
    return as_number(float(value) if isinstance(value, str) and _FIGURE.fullmatch(value) else value)


def as_percent(value: Any) -> int | None:
    """Return 0-100 from `30`, `30.0`, `"30"`, `"30%"` or the fraction `0.3`, clamped; None for anything else."""
    fraction = isinstance(value, float)
    if isinstance(value, str):
        found = _PERCENT.fullmatch(value.strip())
        value, fraction = (float(found[1]), "." in found[1] and not found[2]) if found else (None, False)
    number = as_number(value)
    if number is None:
        return None
    # A whole 1 is one per cent; only a number with a point can be meant as a share.
    share = number * 100 + 1e-6 if fraction and number <= 1 else number
    return int(min(share, 100))


def as_time(value: Any) -> datetime | None:
    """Return the moment of a Unix time in seconds or finer, or of an ISO date with its zone, be it in an object.

    Zero times, the absurd and dates without a zone are None: a time that is hours off is worse than none.
    """
    moment = _moment(value)
    return moment if moment is not None and moment.tzinfo is not None else None


def is_moment(value: Any) -> bool:
    """Whether a value is some moment, be it in an unknown zone."""
    return _moment(value) is not None


def _moment(value: Any) -> datetime | None:
    value = _unboxed(value)
    if isinstance(value, str):
        text = value.strip()[:100]
        found = _ISO.fullmatch(text)
        if found:
            return _iso_moment(found)
        value = as_date(text) if _MAIL_DATE.fullmatch(text) else _whole(text) if text.isdigit() else as_figure(text)
    if isinstance(value, datetime):
        return value if _EPOCH_MIN <= value.timestamp() <= _EPOCH_MAX else None
    number = as_number(value) or 0.0
    for scale in (1, 1e3, 1e6, 1e9):  # seconds, milliseconds, microseconds, nanoseconds
        if _EPOCH_MIN <= number / scale <= _EPOCH_MAX:
            return datetime.fromtimestamp(number / scale, tz=timezone.utc)
    return None


def _unboxed(value: Any) -> Any:
    """The number or the date in a moment that is an object."""
    for _ in range(_MAX_MOMENT_DEPTH):
        fields = as_object(value).items()
        value = next((inner for name, inner in fields if name.strip("$_").lower() in _MOMENT_KEYS), value)
    return value


def as_date(text: str) -> datetime | None:
    """Return the moment of an HTTP date (RFC 9110), which is in UTC where it names no zone; None for anything else."""
    try:
        moment = parsedate_to_datetime(text)
        return moment.astimezone(timezone.utc) if moment.tzinfo else moment.replace(tzinfo=timezone.utc)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def _iso_moment(found: re.Match[str]) -> datetime | None:
    fraction = int((found[7] or "0").ljust(6, "0")[:6])
    offset = timedelta(hours=int(found[10] or 0), minutes=int(found[11] or 0)) * (-1 if found[9] == "-" else 1)
    try:
        zone = timezone(offset) if found[8] or found[9] else None
        year, month, day, hour, minute, second = (int(found[part] or 0) for part in range(1, 7))
        moment = datetime(year, month, day, hour, minute, second, fraction, tzinfo=zone)
        sane = _EPOCH_MIN <= moment.replace(tzinfo=moment.tzinfo or timezone.utc).timestamp() <= _EPOCH_MAX
    except (ValueError, OverflowError):
        return None
    return moment if sane else None


def as_link(value: Any) -> str | None:
    """Return an http(s) link with a host, or None."""
    text = as_text(value)
    return text if is_link(text) else None


def is_link(text: str) -> bool:
    """Whether `text` is one http(s) URL with a host: no blanks, no control characters, a sane port."""
    if not text or len(text) > _MAX_URL or not text.isprintable() or " " in text:
        return False
    parts = url_parts(text)
    try:
        return parts.scheme in {"http", "https"} and 0 < len(parts.hostname or "") <= _MAX_HOST and parts.port != 0
    except ValueError:  # the port
        return False


def url_parts(text: str) -> SplitResult:
    """Return the parts of a URL that anybody may have written; all are empty where it is none, e.g. `https://[`."""
    try:
        return urlsplit(text)
    except ValueError:
        return SplitResult("", "", "", "", "")


def listed_names(answer: Any) -> list[str] | None:
    """Return the names in a list of models, each once; None where an answer holds no list.

    Args:
        answer: The list, or what it is wrapped in; its entries are names or objects with an `id`.
    """
    found: Any = answer
    for _ in range(_MAX_WRAPPERS):
        fields = as_object(found)
        found = next((fields[key] for key in _LIST_KEYS if isinstance(fields.get(key), list | dict)), found)
    if not isinstance(found, list):
        return None
    told = (entry if isinstance(entry, str) else _first_text(entry, _NAME_KEYS) for entry in as_list(found))
    return list(dict.fromkeys(filter(None, map(as_text, told))))


def _first_text(entry: Any, keys: tuple[str, ...]) -> str:
    fields = as_object(entry)
    return next(filter(None, (as_text(fields.get(key)) for key in keys)), "")


def salvage_id(body: bytes) -> str | None:
    """Return a task id that stands whole in a body that is otherwise cut, for a person to go by."""
    text = body.decode("utf-8", "replace")
    found = next(filter(None, (pattern.search(text) for pattern in _FULL_IDS)), None)
    return as_id(found[1] or found[2]) if found else None
