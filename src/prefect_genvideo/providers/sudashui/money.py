"""What the gateway's answers about money mean: balance, dashboard, prices, units, log rows.

None of these addresses was ever seen on Sudashui's own wire; they are those of the gateway it runs on (New API), from
its earliest trees to those of 2026-08. So each may be absent, switched off or of another age: see `NotTold`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from math import floor
from typing import Any

from prefect_genvideo.errors import (
    AuthenticationError,
    RateLimitedError,
    RejectedError,
    TransientError,
    redact,
)
from prefect_genvideo.prices.amounts import places
from prefect_genvideo.providers.answers import JsonObject, as_id, as_list, as_object, as_text, as_time, parse_json
from prefect_genvideo.providers.classify import IN_2XX, IN_3XX, IN_5XX, Row, judge, to_error
from prefect_genvideo.providers.http import TOO_LARGE, Reply
from prefect_genvideo.providers.money import CHARGE, AccountLog, Balance, ListedPrice, LogRow, NotTold, PriceList, Site
from prefect_genvideo.providers.reasons import said_in
from prefect_genvideo.providers.sudashui import wire

USAGE, LOG = "/api/usage/token/", "/api/log/token"
"""Balance of the key, with its slash, and log of the key. Both share one small bucket of calls."""
SUBSCRIPTION, USED = "/v1/dashboard/billing/subscription", "/v1/dashboard/billing/usage"
"""Limit and use of the key or its account, in the figures of the dashboard."""
PRICING, STATUS = "/api/pricing", "/api/status"
"""Price list and units of the site; both are asked without a key."""

LARGEST_QUOTA = 10**18
"""What is larger is no figure of an account."""
ROWS = 1000
"""Rows that a log has at most; there is no second page."""
WINDOW = 1200.0
"""Seconds for which an empty bucket stays closed where a refusal does not say."""

_MAX_MODELS = 10_000
_MAX_ROWS = 20_000
_MAX_OTHER = 16 * 1024  # characters of a row's `other`
# What the dashboard shows as limit of a key without one.
_UNLIMITED = Decimal(100_000_000)
_WHOLE = re.compile(r"-?[0-9]{1,18}")
_BAD_KEY = re.compile(
    r"无效的令牌|未提供令牌|令牌(?:状态不可用|已过期|额度已用尽|已禁用|不可用)|用户已被封禁|未登录"
    r"|(?:invalid|wrong|disabled|expired|exhausted) (?:bearer )?(?:token|api key)|no authorization|token not provided"
    r"|token (?:is |has )?(?:been )?(?:invalid|expired|disabled|exhausted)|user (?:is |has been )?banned",
    re.IGNORECASE,
)
_STARTS = re.compile(r"([0-9]{14})[0-9]{0,9}")
_REQUEST_ID = re.compile(r"[0-9A-Za-z._-]{8,128}")
_SETTLED = re.compile(r"\s*(?:token重算|adaptor计费调整|按量重算|结算)")
_ACTION = re.compile(r"操作 ?[A-Za-z]")
_SETTLING_STAGES = frozenset({"settle", "settled", "settlement", "adjust", "adjustment", "final", "finalize"})
# Zones of the earth are half hours apart and an hour at least from UTC: seconds.
_HALF_HOUR, _NEAREST_ZONE = 1800, 3600

_REFUSED: tuple[Row, ...] = (
    Row(RejectedError, "the address leads elsewhere", statuses=IN_3XX, reason="redirect"),
    Row(RateLimitedError, "too many questions about money", statuses=(429,), reason="rate_limited", retry_after=WINDOW),
    Row(TransientError, "the gateway could not be asked about money", statuses=(0, 408, 425)),
    Row(TransientError, "the gateway could not be asked about money", statuses=IN_5XX),
    Row(TransientError, "the answer about money broke off", statuses=IN_2XX),
    Row(
        AuthenticationError,
        "the key is missing, wrong, disabled, or its account is blocked or exhausted",
        statuses=(401, 403),
        reason="credentials",
    ),
    Row(RejectedError, "the question about money is refused"),
)
_BAD_KEY_ROW = (Row(AuthenticationError, "the key is missing, wrong, disabled or exhausted", reason="credentials"),)


def told(reply: Reply, title: str, provider: str, *, with_key: bool = True) -> JsonObject | NotTold:
    """Return the object of an answer about money.

    Args:
        reply: What came.
        title: The provider's name for people.
        provider: Its short name.
        with_key: Whether the key was sent; without it a refusal is no word about the key.

    Returns:
        `NotTold` where the address is absent, switched off or unreadable.

    Raises:
        RejectedError: The key is refused, or the address leads elsewhere.
        TransientError: It could not be asked now.
    """
    if (absent := _absent(reply, with_key=with_key)) is not None:
        return NotTold(absent)
    facts = wire.facts_of(reply)
    if reply.status not in IN_2XX or reply.failure:
        raise to_error(judge(_REFUSED, facts), facts, title=title, provider=provider)
    answer = as_object(reply.json)
    if not answer:
        return NotTold("not JSON" if reply.json is None else "no figures")
    if answer.get("success") is not False and not answer.get("error"):
        return answer
    words = _words(reply)
    if with_key and _BAD_KEY.search(words):
        raise to_error(judge(_BAD_KEY_ROW, facts), facts, title=title, provider=provider)
    return NotTold(words or "refused")


def _absent(reply: Reply, *, with_key: bool) -> str | None:
    """Why an address is not there for us; None where it may be."""
    if reply.status in (404, 405, 410, 501):
        return "not offered"
    if reply.failure == TOO_LARGE:
        return TOO_LARGE
    if with_key or reply.status not in (401, 403):
        return None
    return "login required" if reply.status == 401 else _words(reply) or "switched off"


def _words(reply: Reply) -> str:
    return redact(next(iter(said_in(reply.json).texts), ""), 200)


def balance_of(answer: JsonObject) -> Balance | NotTold:
    """Read the balance of a key."""
    data = as_object(answer.get("data"))
    left, used, granted = (whole(data.get(name)) for name in ("total_available", "total_used", "total_granted"))
    unlimited = data.get("unlimited_quota") is True
    if left is None and granted is not None and used is not None:
        left = granted - used
    if left is None and not unlimited:
        return NotTold("no figures")
    return Balance(
        # What an unlimited key shows as left keeps falling and means nothing.
        remaining=None if unlimited or left is None else Decimal(left),
        used=None if used is None else Decimal(used),
        unlimited=unlimited,
        expires_at=as_time(data.get("expires_at")),
        models=_allowed(data) if data.get("model_limits_enabled") is True else None,
    )


def _allowed(data: JsonObject) -> tuple[str, ...]:
    """The models that a key with limits may call."""
    return tuple(name for name, on in list(as_object(data.get("model_limits")).items())[:_MAX_MODELS] if on is True)


def shown_limit(answer: JsonObject) -> Balance | NotTold:
    """Read the dashboard's limit: everything that was ever granted, in the figures it shows."""
    limit = decimal(answer.get("hard_limit_usd"))
    if limit is None:
        return NotTold("no figures")
    unlimited = limit >= _UNLIMITED
    return Balance(remaining=None if unlimited else places(limit, 6), counted_in="display", unlimited=unlimited)


def shown_use(answer: JsonObject) -> Decimal | NotTold:
    """Read what the dashboard shows as used, in its figures; it answers in hundredths, as a binary fraction."""
    used = decimal(answer.get("total_usage"))
    return NotTold("no figures") if used is None else places(used / 100, 6)


def site_of(answer: JsonObject) -> Site | NotTold:
    """Read how the site counts."""
    data = as_object(answer.get("data"))
    if not data:
        return NotTold("no figures")
    per_unit = decimal(data.get("quota_per_unit"))
    display = as_text(data.get("quota_display_type")).upper() or _older_display(data.get("display_in_currency"))
    exchanged = decimal(data.get("usd_exchange_rate")) if display == "CNY" else Decimal(1)
    return Site(
        quota_per_unit=per_unit if per_unit is not None and per_unit > 0 else None,
        display=display,
        rate=None if display in (None, "TOKENS") or not exchanged or exchanged <= 0 else exchanged,
        version=redact(as_text(data.get("version")), 100) or None,
    )


def _older_display(in_currency: Any) -> str | None:
    """What older sites show: they say only whether it is money."""
    return "USD" if in_currency is True else "TOKENS" if in_currency is False else None


def prices_of(answer: JsonObject) -> PriceList | NotTold:
    """Read the price list. A model whose price cannot be read is not in it."""
    if not isinstance(answer.get("data"), list):
        return NotTold("no list")
    entries = map(as_object, as_list(answer.get("data"))[:_MAX_MODELS])
    found = ((as_text(entry.get("model_name")), _listed(entry)) for entry in entries)
    ratios = ((name, decimal(ratio)) for name, ratio in list(as_object(answer.get("group_ratio")).items())[:1000])
    return PriceList(
        models={name: price for name, price in found if name and price is not None},
        group_ratios={name: ratio for name, ratio in ratios if ratio is not None and ratio >= 0},
    )


def _listed(entry: JsonObject) -> ListedPrice | None:
    named = (as_text(group) for group in as_list(entry.get("enable_groups"))[:1000])
    groups = tuple(group for group in named if group)
    if as_text(entry.get("billing_mode")) or as_text(entry.get("billing_expr")):
        return None  # by an expression of the operator's own
    price, ratio = decimal(entry.get("model_price")), decimal(entry.get("model_ratio"))
    if entry.get("quota_type") == 1 and price is not None and price >= 0:
        return ListedPrice("per_call", unit_price=price, groups=groups)
    if entry.get("quota_type") == 0 and ratio is not None and ratio >= 0:
        return ListedPrice("per_token", ratio=ratio, groups=groups)
    return None


def log_of(answer: JsonObject, clock_ahead: float | None, read_at: datetime | None = None) -> AccountLog | NotTold:
    """Read the rows of a log, newest first; those that are no rows are left out.

    Args:
        answer: The answer's object.
        clock_ahead: Seconds that the gateway's clock is ahead of ours.
        read_at: When it was read; now by default.
    """
    data = answer.get("data")
    entries = as_object(data).get("items") if isinstance(data, dict) else data
    if entries is not None and not isinstance(entries, list):
        return NotTold("no list")
    rows = [row for row in map(_row, as_list(entries)[:_MAX_ROWS]) if row is not None]
    oldest = datetime.min.replace(tzinfo=timezone.utc)
    rows.sort(key=lambda row: row.at or oldest, reverse=True)  # earlier trees have the oldest first
    return AccountLog(tuple(rows), len(rows) >= ROWS, clock_ahead, read_at or datetime.now(timezone.utc))


def _row(value: Any) -> LogRow | None:
    row = as_object(value)
    kind, quota = whole(row.get("type")), whole(row.get("quota"))
    if kind is None or quota is None:
        return None
    text = as_text(row.get("other"))
    other = as_object(parse_json(text.encode()) if 0 < len(text) <= _MAX_OTHER else row.get("other"))
    request_id, content = as_text(row.get("request_id")), as_text(row.get("content"))
    return LogRow(
        type=kind,
        quota=quota,
        at=as_time(row.get("created_at")),
        model=redact(as_text(row.get("model_name")), 200),
        request_id=request_id if _REQUEST_ID.fullmatch(request_id) else None,
        task_id=as_id(other.get("task_id")),
        is_task=_is_task(other, content),
        reason=redact(as_text(other.get("reason")), 300) or None,
        pre_charged=_first(other, ("pre_consumed_quota", "original_quota")),
        actual=_first(other, ("actual_quota", "final_quota")),
        settles=_settles(kind, quota, other, content),
    )


def _settles(kind: int, quota: int, other: JsonObject, content: str) -> bool:
    stages = {as_text(other.get(name)).lower() for name in ("billing_stage", "task_billing_stage")}
    signs = (_SETTLED.match(content), not _SETTLING_STAGES.isdisjoint(stages), "settlement_direction" in other)
    return any(signs) or (kind == CHARGE and quota < 0)


def _is_task(other: JsonObject, content: str) -> bool | None:
    if isinstance(said := other.get("is_task"), bool):
        return said
    if path := as_text(other.get("request_path")):
        return "/video" in path
    return True if _ACTION.match(content) else None


def _first(other: JsonObject, names: Iterable[str]) -> int | None:
    return next((found for name in names if (found := whole(other.get(name))) is not None), None)


def says_no_refund(reason: str) -> bool:
    """Whether a failure's words say that the money is not given back: a sweep of tasks from before 2026-02-22 does."""
    return "不进行退款" in reason


def time_of(row: LogRow) -> datetime | None:
    """Return when the gateway received the call of a row: by its request id, else when the row was written.

    Trees before 2026-01-22 write ids in the server's local time. A row is written seconds or minutes after its call
    came, so that the zone shows as whole half hours between the two.
    """
    received = time_in(row.request_id)
    if received is None or row.at is None:
        return received or row.at
    zone = floor(((row.at - received).total_seconds() + 5) / _HALF_HOUR) * _HALF_HOUR
    return received + timedelta(seconds=zone) if abs(zone) >= _NEAREST_ZONE else received


def time_in(request_id: str | None) -> datetime | None:
    """Return the time that a request id begins with, in UTC; None where it begins with none."""
    found = _STARTS.match(request_id or "")
    try:
        return datetime.strptime(found[1], "%Y%m%d%H%M%S").replace(tzinfo=timezone.utc) if found else None
    except ValueError:
        return None


def whole(value: Any) -> int | None:
    """Return a whole number of either sign, however it was written; None for anything else."""
    if isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
        return int(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < LARGEST_QUOTA else None


def decimal(value: Any) -> Decimal | None:
    """Return a number as the decimal that was written; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = Decimal(value.strip()[:40] if isinstance(value, str) else str(value))
    except InvalidOperation:
        return None
    return found if found.is_finite() and abs(found) <= Decimal(10**15) else None
