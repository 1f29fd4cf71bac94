"""Whatever an answer about money holds: it is typed data, `NotTold`, or an error of our tree."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_genvideo.errors import GenVideoError
from prefect_genvideo.models import VideoRequest
from prefect_genvideo.providers import AccountLog, LostCreate, NotTold, PriceList, Reply
from prefect_genvideo.providers.answers import names, parse_json
from prefect_genvideo.providers.sudashui import money
from prefect_genvideo.providers.sudashui.log import log_of
from prefect_genvideo.providers.sudashui.lost import resolve

NAMES = st.sampled_from(
    names(
        "success message data items error code total_available total_used total_granted unlimited_quota model_limits"
        " model_limits_enabled expires_at hard_limit_usd total_usage quota_per_unit quota_display_type version"
        " display_in_currency usd_exchange_rate model_name quota_type model_price model_ratio enable_groups group_ratio"
        " type quota created_at request_id other content task_id is_task reason actual_quota pre_consumed_quota"
        " billing_stage"
    )
)
PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(0, 10),
    st.floats(),
    st.sampled_from(
        ["", "1", "2", "-5", "1e400", "无效的令牌", "sd-2-720p", "20261127000102000000001", "{", "null", "操作 x"]
    ),
    st.text(max_size=20),
)
ANSWERS = st.recursive(
    PLAIN, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(NAMES, inner, max_size=8), max_leaves=40
)
READERS: tuple[Callable[[dict[str, Any]], object], ...] = (
    money.balance_of,
    money.shown_limit,
    money.shown_use,
    money.site_of,
    money.prices_of,
    lambda answer: log_of(answer, None),
)
NOW = datetime(2026, 11, 27, tzinfo=timezone.utc)
LOST = LostCreate(VideoRequest(model="sd-2-720p"), NOW, NOW + timedelta(minutes=1), key_is_ours=True)


@settings(max_examples=300, deadline=None)
@given(ANSWERS, st.sampled_from([200, 201, 301, 401, 403, 404, 429, 500, 502]), st.booleans())
def test_any_answer_is_survived(body: Any, status: int, with_key: bool) -> None:
    """As JSON off the wire, through every reader."""
    content = json.dumps(body).encode()
    try:
        answer = money.object_of(Reply(status, content, parse_json(content)), "Sudashui", "sudashui", with_key=with_key)
    except GenVideoError:
        return
    if isinstance(answer, NotTold):
        assert answer.reason
        return
    for read in READERS:
        found = read(answer)
        if isinstance(found, PriceList):
            assert all(price.quota(None, found.ratio_of(None) or Decimal(1)) is None for price in found.models.values())


ROW = st.dictionaries(NAMES, PLAIN, max_size=8).map(
    lambda row: {"type": 2, "quota": 5, "model_name": "sd-2-720p", "created_at": 1795737665, **row}
)


@settings(max_examples=200, deadline=None)
@given(st.lists(ROW, max_size=6), st.none() | st.just("20261127000102000000001"))
def test_any_log_is_judged(rows: list[dict[str, Any]], request_id: str | None) -> None:
    """Every row is a whole number, every task has its money, and a verdict that names a task names one."""
    content = json.dumps({"success": True, "data": rows}).encode()
    log = log_of(parse_json(content), None)
    assert isinstance(log, AccountLog)
    assert all(isinstance(row.net, int) for row in log.rows)
    for told in log.tasks().values():
        assert told.refunded >= 0
        assert told.supplement >= 0
    lost = LostCreate(LOST.request, LOST.sent_at, LOST.gave_up_at, request_id=request_id, key_is_ours=True)
    verdict = resolve(log, lost)
    assert (verdict.outcome == "found") == (len(verdict.task_ids) == 1)
