"""What a row of the gateway's log means: whose charge, refund or settlement it is, and when its call came.

Rows come in the forms of all trees and forks: other envelopes, numbers as texts, the oldest first, without ids.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from math import floor
from typing import Any

from prefect_genvideo.errors import redact
from prefect_genvideo.providers.answers import (
    JsonObject,
    as_flag,
    as_id,
    as_list,
    as_object,
    as_text,
    as_time,
    parse_json,
)
from prefect_genvideo.providers.money import CHARGE, AccountLog, LogRow, NotTold
from prefect_genvideo.providers.sudashui.money import whole_number

ROWS = 1000
"""Rows that a log has at most; there is no second page."""
_MAX_ROWS = 20_000
_MAX_OTHER = 16 * 1024  # characters of a row's `other`
# Names of the list of rows in the envelopes of relays.
_LISTS = ("items", "logs", "list", "records", "rows", "data")
_STARTS = re.compile(r"([0-9]{14})[0-9]{0,9}")
_REQUEST_ID = re.compile(r"[0-9A-Za-z._-]{8,128}")
_SETTLED = re.compile(r"\s*(?:token重算|adaptor计费调整|按量重算|结算)")
_ACTION = re.compile(r"操作 ?[A-Za-z]")
_SETTLING_STAGES = frozenset({"settle", "settled", "settlement", "adjust", "adjustment", "final", "finalize"})
# Zones of the earth are half hours apart and an hour at least from UTC: seconds.
_HALF_HOUR, _NEAREST_ZONE = 1800, 3600


def log_of(answer: JsonObject, clock_ahead: float | None, read_at: datetime | None = None) -> AccountLog | NotTold:
    """Read the rows of a log, newest first; those that are no rows are left out.

    Args:
        answer: The answer's object.
        clock_ahead: Seconds that the gateway's clock is ahead of ours.
        read_at: When it was read; now by default.
    """
    holder, entries = _entries(answer)
    if entries is None:
        return NotTold("no list")
    rows = [row for row in map(_row, entries[:_MAX_ROWS]) if row is not None]
    cut = len(entries) >= ROWS or (whole_number(holder.get("total")) or 0) > len(entries)
    unread = min(len(entries), _MAX_ROWS) - len(rows)
    return AccountLog(_newest_first(rows), cut, clock_ahead, read_at or datetime.now(timezone.utc), unread)


def _newest_first(rows: list[LogRow]) -> tuple[LogRow, ...]:
    if rows and _is_before(rows[0], rows[-1]):
        rows = rows[::-1]  # earlier trees have the oldest first
    oldest = datetime.min.replace(tzinfo=timezone.utc)
    ordered = sorted(rows, key=lambda row: row.at or oldest, reverse=True)
    # An id is of one call: what stands twice with all its figures is the end of a page and the begin of the next.
    once = dict.fromkeys((row, row.request_id or place) for place, row in enumerate(ordered))
    return tuple(row for row, _ in once)


def _entries(answer: JsonObject) -> tuple[JsonObject, list[Any] | None]:
    """The list of rows, and the object that holds it, which may tell how many there are; None where there is none."""
    holder: JsonObject = answer
    found: Any = answer.get("data", answer)
    for _ in range(2):
        if inside := as_object(found):
            holder = inside
            found = next((inside[name] for name in _LISTS if isinstance(inside.get(name), list)), inside)
            if found is inside and inside.get("total") == 0:
                found = None  # an empty page has no list
    if found is None:
        return holder, []
    return holder, as_list(found) if isinstance(found, list) else None


def _is_before(row: LogRow, other: LogRow) -> bool:
    return row.at is not None and other.at is not None and row.at < other.at


def _other(value: Any) -> JsonObject:
    """What a row says beside its columns: JSON in a text, in forks an object, or a text in a text."""
    for _ in range(2):
        if isinstance(value, str):
            value = parse_json(value.encode("utf-8", "replace")) if 0 < len(value) <= _MAX_OTHER else None
    return as_object(value)


def _row(value: Any) -> LogRow | None:
    row = as_object(value)
    kind, quota = whole_number(row.get("type")), whole_number(row.get("quota"))
    if kind is None or quota is None:
        return None
    other = _other(row.get("other"))
    request_id, content = as_text(row.get("request_id")), as_text(row.get("content"))
    return LogRow(
        type=kind,
        quota=quota,
        at=as_time(row.get("created_at")),
        model=redact(as_text(row.get("model_name")), 200),
        request_id=request_id if _REQUEST_ID.fullmatch(request_id) else None,
        task_id=as_id(other.get("task_id")) or as_id(row.get("task_id")),
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
    if (said := as_flag(other.get("is_task"))) is not None:
        return said
    if path := as_text(other.get("request_path")):
        return "/video" in path
    return True if _ACTION.match(content) else None


def _first(other: JsonObject, names: Iterable[str]) -> int | None:
    return next((found for name in names if (found := whole_number(other.get(name))) is not None), None)


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
