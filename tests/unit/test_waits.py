"""How long an answer asks us to wait: in the header, in a field, or in words."""

from __future__ import annotations

from typing import Any

import pytest

from prefect_genvideo.providers.waits import answered_at, asked_wait, retry_after


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("2814, 2", 2814),
        ("30s", 30),
        ("1m30s", 90),
        ("500ms", 0.5),
        ("2 h", 3600),
        ("1h, 5", 3600),
        ("+5", 5),
        ('"5"', 5),
        (" ~5 sec. ", 5),
        ("约5秒", 5),
        ("+-5", 0),
        ("1:30", None),
        ("1" * 60, None),
        ("2026-11-27T06:00:30Z", 30),
        ("1795759230", 30),
        ("1795759230000", 30),
        ("Fri, 27 Nov 2026 06:00:30 GMT", 30),
        ("Fri Nov 27 06:00:30 2026", 30),
    ],
)
def test_waits_in_the_header(header: str, seconds: float | None) -> None:
    """Two headers joined, units, moments by the answer's own clock; garbage at once."""
    assert retry_after({"retry-after": header, "date": "Fri, 27 Nov 2026 06:00:00 GMT"}) == seconds


@pytest.mark.parametrize("date", ["Fri, 31 Dec 9999 23:59:59 GMT", "Mon, 31 Dec 0101 00:00:00 GMT", "soon", ""])
def test_an_answer_of_another_age_is_not_dated(date: str) -> None:
    """Spans and a log's begin are reckoned with a provider's clock; millennia off lead out of all years."""
    assert answered_at({"date": date}) is None


@pytest.mark.parametrize(("header", "seconds"), [("1500", 1.5), ("soon", None), ("", None)])
def test_waits_in_milliseconds(header: str, seconds: float | None) -> None:
    """A header of its own, which several gateways pass on."""
    assert retry_after({"retry-after-ms": header}) == seconds


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        ({"retry_after": 20}, 20),
        ({"error": {"retryAfter": "20s"}}, 20),
        ({"data": {"retry_after_ms": 500}}, 0.5),
        ({"error": {"details": [{"@type": "RetryInfo", "retryDelay": "7s"}]}}, 7),
        ({"message": "请求过于频繁，请等待 30 秒后再试"}, 30),
        ({"error": {"message": "请2分钟后重试"}}, 120),
        ({"error": "Rate limited. Please try again in 12s."}, 12),
        ({"message": "retry after 90 seconds"}, 90),
        ({"error": {"message": "Please try again in 1m2.5s."}}, 62.5),
        ({"message": "请1分30秒后重试"}, 90),
        ({"message": "請 5 秒後再試"}, 5),
        ({"retry_after_secs": "+5"}, 5),
        ({"message": "請求過於頻繁，請在1分鐘後再試"}, 60),
        ({"message": "剩余等待时间：12秒"}, 12),
        ({"message": "Try again after 2026-11-27T11:00:00Z"}, None),
        ({"message": "Try again at 11:00:00"}, None),
        ({"detail": "Request was throttled. Expected available in 45.0 seconds."}, 45),
        ({"message": "rate limited, retry_after=12"}, 12),
        ({"message": "Retry-After: 12"}, 12),
        ({"message": "please wait for at least +12 seconds"}, 12),
        ({"message": "No video is available for 480p"}, None),
        ({"error": {"data": {"retry_after": 5}}}, 5),
        ({"errors": [{"message": "x", "retry_after": 5}]}, 5),
        ({"detail": {"retry_after": 5}}, 5),
        ({"error": {"message": "x", "metadata": {"retry_after_seconds": 9}}}, 9),
        ({"retry_after": 1e9}, 3600),
        ({"message": "1分钟内最多请求10次"}, None),
        ({"message": "wait"}, None),
        ({"retry_after": -1}, None),
        (["x"], None),
    ],
)
def test_waits_in_the_body(body: Any, seconds: float | None) -> None:
    """A field, or a sentence in English or Chinese; at most an hour."""
    assert asked_wait(body) == seconds
