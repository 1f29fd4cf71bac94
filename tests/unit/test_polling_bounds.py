"""`Backoff`, `Deadline` and `Grace`: what bounds a wait."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_genvideo.polling import Backoff, Deadline, Grace


def test_backoff_grows_and_is_bounded() -> None:
    """Each failure in a row doubles the wait, up to the ceiling and a quarter of jitter."""
    delays = [Backoff().delay(n) for n in range(1, 12)]
    assert 2.0 <= delays[0] <= 2.5
    assert 4.0 <= delays[1] <= 5.0
    assert 60.0 <= delays[-1] <= 75.0


def test_the_servers_hint_goes_first() -> None:
    """Retry-After beats our own attempt, in both directions, and is never undercut."""
    assert 120.0 <= Backoff().delay(1, 120.0) <= 150.0
    assert 3.0 <= Backoff().delay(9, 3.0) <= 3.75


@pytest.mark.parametrize("hint", [math.nan, math.inf, -5.0, None])
def test_a_senseless_hint_is_ignored(hint: float | None) -> None:
    """What is no waiting time leaves our own."""
    assert Backoff().delay(3, hint) == Backoff().delay(3)


def test_hints_are_held_within_reason() -> None:
    """Zero does not mean a tight loop, and a day does not mean a day."""
    assert Backoff().delay(1, 0.0) >= 2.0
    assert Backoff().delay(1, 86_400.0) <= 900.0 * 1.25


@settings(max_examples=60, deadline=None)
@given(
    failures=st.integers(-5, 10**9),
    hint=st.none() | st.floats(),
    task_id=st.text(max_size=20),
)
def test_any_delay_is_finite_and_positive(failures: int, hint: float | None, task_id: str) -> None:
    """No count, hint or id yields a wait that is endless or none."""
    assert 2.0 <= Backoff().delay(failures, hint, task_id=task_id) <= 900.0 * 1.25


def test_tasks_that_failed_together_return_apart() -> None:
    """The jitter comes from the task id, the same way every time."""
    delays = {Backoff().delay(2, task_id=f"task_{i}") for i in range(100)}
    assert len(delays) > 90
    assert Backoff().delay(2, task_id="task_1") in delays


def test_a_deadline_runs_from_the_start() -> None:
    """Time in the queue does not count; the first start does."""
    deadline = Deadline(100.0)
    assert deadline.left(10_000.0) == math.inf
    assert not deadline.passed(10_000.0)
    deadline.start(10_000.0)
    deadline.start(10_050.0)
    assert deadline.left(10_060.0) == 40.0
    assert deadline.passed(10_100.0)
    assert deadline.left(10_200.0) == 0.0


def test_a_resumed_deadline_counts_the_time_before() -> None:
    """A task that has run for 80 s already has 20 s left of 100."""
    deadline = Deadline(100.0)
    deadline.start(5.0, age=80.0)
    assert deadline.left(5.0) == 20.0


def test_no_limit_never_passes() -> None:
    """None is without end."""
    deadline = Deadline(None)
    deadline.start(0.0)
    assert not deadline.passed(1e12)


def test_an_unknown_id_needs_both_time_and_tries() -> None:
    """Five tries within a second are not enough, nor are two tries within an hour."""
    hasty = Grace.of("unknown_task")
    assert not any(hasty.strike(now / 10) for now in range(8))
    assert hasty.strike(121.0)
    rare = Grace.of("unknown_task")
    assert not any(rare.strike(now) for now in (0.0, 3600.0, 7200.0, 10_800.0))
    assert rare.strike(14_400.0)


def test_a_success_without_a_link_is_borne_for_five_minutes() -> None:
    """Only time counts here, not tries."""
    grace = Grace.of("no_video")
    assert not grace.strike(1000.0)
    assert not grace.strike(1299.0)
    assert grace.strike(1300.0)


def test_the_fifth_refusal_in_a_row_ends_it() -> None:
    """A lone 401 says nothing; any other answer breaks the row."""
    grace = Grace.of("unauthorized")
    assert [grace.strike(0.0) for _ in range(4)] == [False] * 4
    grace.clear()
    assert [grace.strike(1.0) for _ in range(5)] == [False] * 4 + [True]
    assert grace.count == 5
