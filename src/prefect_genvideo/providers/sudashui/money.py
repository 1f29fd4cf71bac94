"""What the gateway's answers about money mean: balance, dashboard, prices, units, log rows.

None of these addresses was ever seen on Sudashui's own wire; they are those of the gateway it runs on (New API), from
its earliest trees to those of 2026-08. So each may be absent, switched off or of another age: see `NotTold`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from typing import Any

from prefect_genvideo.errors import (
    AuthenticationError,
    RateLimitedError,
    RejectedError,
    TransientError,
    redact,
)
from prefect_genvideo.prices.amounts import places
from prefect_genvideo.providers.answers import (
    JsonObject,
    as_flag,
    as_list,
    as_object,
    as_text,
    as_time,
)
from prefect_genvideo.providers.classify import IN_2XX, IN_3XX, IN_5XX, Row, judge, to_error
from prefect_genvideo.providers.http import TOO_LARGE, Reply
from prefect_genvideo.providers.money import Balance, ListedPrice, NotTold, PriceList, Site
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
WINDOW = 1200.0
"""Seconds for which an empty bucket stays closed where a refusal does not say."""

_MAX_MODELS = 10_000
# What the dashboard shows as limit of a key without one.
_UNLIMITED = Decimal(100_000_000)
_BAD_KEY = re.compile(
    r"无效的令牌|未提供令牌|令牌(?:状态不可用|已过期|额度已用尽|已禁用|不可用)|用户已被封禁|未登录"
    r"|(?:invalid|wrong|disabled|expired|exhausted) (?:bearer )?(?:token|api key)|no authorization|token not provided"
    r"|token (?:is |has )?(?:been )?(?:invalid|expired|disabled|exhausted)|user (?:is |has been )?banned",
    re.IGNORECASE,
)

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
# What is asked without a key is under the limit of all addresses alone, whose window is short: seconds.
_PUBLIC_WINDOW = 180.0
_REFUSED_IN_PUBLIC = tuple(
    replace(row, retry_after=_PUBLIC_WINDOW) if row.statuses == (429,) else row for row in _REFUSED
)
_BAD_KEY_ROW = (Row(AuthenticationError, "the key is missing, wrong, disabled or exhausted", reason="credentials"),)


def object_of(reply: Reply, title: str, provider: str, *, with_key: bool = True) -> JsonObject | NotTold:
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
        rows = _REFUSED if with_key else _REFUSED_IN_PUBLIC
        raise to_error(judge(rows, facts), facts, title=title, provider=provider)
    listed = as_list(reply.json)
    answer = {"data": listed} if listed else as_object(reply.json)  # some relay leaves the envelope out
    if not answer:
        return NotTold("not JSON" if reply.json is None else "no figures")
    if not _says_no(answer):
        return answer
    if with_key and _BAD_KEY.search(facts.message):
        raise to_error(judge(_BAD_KEY_ROW, facts), facts, title=title, provider=provider)
    return NotTold(_words(reply) or "refused")


def _says_no(answer: JsonObject) -> bool:
    """Whether an answer that came well says that it failed: by a flag, an error, or a code without anything else."""
    success, code = as_flag(answer.get("success")), as_text(answer.get("code")).lower()
    if success is False or answer.get("code") is False or answer.get("error"):
        return True
    return success is None and code not in ("", "success", "ok") and answer.get("data") is None


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
    data = as_object(answer.get("data", answer))
    left, used, granted = (whole_number(data.get(name)) for name in ("total_available", "total_used", "total_granted"))
    unlimited = as_flag(data.get("unlimited_quota")) is True
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
        models=_allowed(data.get("model_limits")) if as_flag(data.get("model_limits_enabled")) is True else None,
    )


def _allowed(limits: Any) -> tuple[str, ...] | None:
    """The models that a key with limits may call; None where the limits cannot be read, which forbids nothing."""
    if isinstance(limits, dict):
        return tuple(name for name, on in list(as_object(limits).items())[:_MAX_MODELS] if as_flag(on) is True)
    named = limits.split(",") if isinstance(limits, str) else limits
    if not isinstance(named, list):
        return None
    return tuple(filter(None, map(as_text, as_list(named)[:_MAX_MODELS]))) or None


def shown_limit(answer: JsonObject) -> Balance | NotTold:
    """Read the dashboard's limit: everything that was ever granted, in the figures it shows."""
    told = map(decimal, map(answer.get, ("hard_limit_usd", "system_hard_limit_usd", "soft_limit_usd")))
    limit = next((figure for figure in told if figure is not None), None)
    if limit is None:
        return NotTold("no figures")
    unlimited = limit == _UNLIMITED  # more is a true figure, of a site that shows its whole ones
    return Balance(
        remaining=None if unlimited else places(limit, 6),
        counted_in="display",
        unlimited=unlimited,
        expires_at=as_time(answer.get("access_until")),
    )


def shown_use(answer: JsonObject) -> Decimal | NotTold:
    """Read what the dashboard shows as used, in its figures; it answers in hundredths, as a binary fraction."""
    used = decimal(answer.get("total_usage"))
    return NotTold("no figures") if used is None else places(used / 100, 6)


def site_of(answer: JsonObject) -> Site | NotTold:
    """Read how the site counts."""
    data = as_object(answer.get("data")) or ({} if "data" in answer or "quota_per_unit" not in answer else answer)
    if not data:
        return NotTold("no figures")
    per_unit = decimal(data.get("quota_per_unit"))
    display = as_text(data.get("quota_display_type")).upper() or _older_display(data.get("display_in_currency"))
    rate = decimal(data.get("usd_exchange_rate")) if display == "CNY" else Decimal(1)
    return Site(
        quota_per_unit=_above_0(per_unit),
        display=display,
        rate=None if display in (None, "TOKENS") else _above_0(rate),
        version=redact(as_text(data.get("version")), 100) or None,
    )


def _above_0(figure: Decimal | None) -> Decimal | None:
    return figure if figure is not None and figure > 0 else None


def _older_display(in_currency: Any) -> str | None:
    """What older sites show: they say only whether it is money."""
    flag = as_flag(in_currency)
    return None if flag is None else "USD" if flag else "TOKENS"


def prices_of(answer: JsonObject) -> PriceList | NotTold:
    """Read the price list. A model whose price cannot be read is not in it."""
    listed = answer.get("data")
    if not isinstance(listed, list) and ("data" not in answer or listed is not None):
        return NotTold("no list")
    found = _one_price_each(map(as_object, as_list(listed)[:_MAX_MODELS]))
    ratios = ((name, decimal(ratio)) for name, ratio in list(as_object(answer.get("group_ratio")).items())[:1000])
    return PriceList(
        models={name: price for name, price in found.items() if price is not None},
        group_ratios={name: ratio for name, ratio in ratios if ratio is not None and ratio >= 0},
    )


def _one_price_each(entries: Iterable[JsonObject]) -> dict[str, ListedPrice | None]:
    """Prices by model; None for one that cannot be read, or that is listed with several."""
    found = dict[str, ListedPrice | None]()
    for entry in entries:
        name, price = as_text(entry.get("model_name")), _listed(entry)
        if name:
            found[name] = price if found.get(name, price) == price else None
    return found


def _listed(entry: JsonObject) -> ListedPrice | None:
    named = (as_text(group) for group in as_list(entry.get("enable_groups"))[:1000])
    groups = tuple(group for group in named if group)
    if as_text(entry.get("billing_mode")) or as_text(entry.get("billing_expr")):
        return None  # by an expression of the operator's own
    price, ratio = decimal(entry.get("model_price")), decimal(entry.get("model_ratio"))
    if whole_number(entry.get("quota_type")) == 1 and price is not None and price >= 0:
        return ListedPrice("per_call", unit_price=price, groups=groups)
    if whole_number(entry.get("quota_type")) == 0 and ratio is not None and ratio >= 0:
        return ListedPrice("per_token", ratio=ratio, groups=groups)
    return None


def says_no_refund(reason: str) -> bool:
    """Whether a failure's words say that the money is not given back: a sweep of tasks from before 2026-02-22 does."""
    return "不进行退款" in reason


def whole_number(value: Any) -> int | None:
    """Return a whole number of either sign, however it was written; None for anything else."""
    found = decimal(value)
    if found is None or abs(found) >= (2**53 if isinstance(value, float) else LARGEST_QUOTA):
        return None
    return int(found) if found == found.to_integral_value() else None


def decimal(value: Any) -> Decimal | None:
    """Return a number as the decimal that was written; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        found = Decimal(value.strip()[:40] if isinstance(value, str) else str(value))
    except InvalidOperation:
        return None
    return found if found.is_finite() and abs(found) <= LARGEST_QUOTA else None
