"""How long an answer asks us to wait: in the header, in a field, or in words."""

from __future__ import annotations

from typing import Any

import pytest

from prefect_genvideo.providers.waits import asked_wait, retry_after


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("2814, 2", 2814),
        ("30s", 30),
        ("1m30s", 90),
        ("500ms", 0.5),
        ("2 h", 3600),
        ("1h, 5", 3600),
        ("1" * 60, None),
    ],
)
def test_waits_in_the_header(header: str, seconds: float | None) -> None:
    """Two headers joined, units; garbage at once."""
    assert retry_after({"retry-after": header}) == seconds


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
