"""`Schedule` and `History`: when to ask next, for any past and at any age."""

from __future__ import annotations

import bisect
import json
import math
import random
from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_genvideo.polling import CEILING, History, Schedule, history_key

DURATIONS = st.lists(st.floats(min_value=1e-3, max_value=1e6), max_size=80)
JSON = st.recursive(st.none() | st.booleans() | st.floats() | st.text(max_size=5), st.lists, max_leaves=10)
AGES = st.floats(allow_nan=True, allow_infinity=True)


def checks(schedule: Schedule, until: float) -> list[float]:
    """Ages at which a task that never ends is looked at."""
    age, found = 0.0, list[float]()
    while age < until:
        age += schedule.next_gap(age)
        found.append(age)
    return found


def lag_times_calls(schedule: Schedule, durations: Sequence[float]) -> float:
    """Mean lag × mean calls, as a share of what any fixed interval gives."""
    seen = checks(schedule, 2 * max(durations))
    places = [bisect.bisect_left(seen, duration) for duration in durations]
    lag = sum(seen[i] - duration for i, duration in zip(places, durations, strict=True)) / len(durations)
    calls = sum(i + 1 for i in places) / len(durations)
    return lag * calls / (sum(durations) / len(durations) / 2.0)


def tight(rng: random.Random) -> float:
    return rng.gauss(90, 8)


def uniform(rng: random.Random) -> float:
    return rng.uniform(60, 300)


def two_modes(rng: random.Random) -> float:
    return rng.gauss(70, 8) if rng.random() < 0.5 else rng.gauss(240, 25)


@settings(max_examples=150, deadline=None)
@given(
    durations=DURATIONS,
    age=AGES,
    floor=st.floats(min_value=0.1, max_value=60.0),
    task_id=st.text(max_size=40),
)
def test_every_gap_lies_between_floor_and_ceiling(
    durations: list[float], age: float, floor: float, task_id: str
) -> None:
    """Whatever was seen and however old the task is, the gap is finite, never shorter than the provider's refresh."""
    schedule = Schedule(durations, floor=floor, task_id=task_id)
    assert floor <= schedule.next_gap(age) <= CEILING


@settings(max_examples=40, deadline=None)
@given(durations=DURATIONS, ages=st.tuples(st.floats(0, 20_000), st.floats(0, 20_000)))
def test_an_older_task_is_never_due_before_a_younger_one(durations: list[float], ages: tuple[float, float]) -> None:
    """The instant of the next check does not fall with the age, so a slow answer cannot reorder the plan."""
    schedule = Schedule(durations, floor=0.001)
    young, old = sorted(ages)
    assert young + schedule.next_gap(young) <= old + schedule.next_gap(old) + 1e-6


def test_without_history_the_prior_waits_a_while_and_then_asks_steadily() -> None:
    """A first generation is not looked at in its first half minute, and then every few seconds."""
    seen = checks(Schedule(), 300.0)
    assert 40 < seen[0] < 75
    assert 15 <= len(seen) <= 35
    assert all(later - earlier < 15 for earlier, later in pairwise(seen))


def test_a_tight_history_gathers_the_checks_around_it() -> None:
    """With durations of 90 ± 8 s, nothing is asked in the first minute and most checks fall within two widths."""
    rng = random.Random(1)
    seen = checks(Schedule([rng.gauss(90, 8) for _ in range(40)]), 130.0)
    assert seen[0] > 65
    assert sum(74 <= age <= 106 for age in seen) >= 0.6 * len(seen)


def test_between_two_modes_nothing_is_asked_for_long() -> None:
    """After the fast mode (70 s) has passed, the gap leaps towards the slow one (240 s)."""
    rng = random.Random(2)
    schedule = Schedule([two_modes(rng) for _ in range(40)])
    assert max(schedule.next_gap(age) for age in range(100, 160, 5)) > 40
    assert schedule.next_gap(75.0) < 10
    assert schedule.next_gap(235.0) < 20


def test_equal_durations_do_not_collapse_to_one_instant() -> None:
    """Sixty-four times exactly 100 s is still a bell with a width: there are checks before, around and after."""
    seen = checks(Schedule([100.0] * 64), 125.0)
    assert 75 < seen[0] < 100
    assert sum(90 <= age <= 110 for age in seen) >= 3


def test_far_later_than_anything_seen_gaps_grow_and_stay_bounded() -> None:
    """A task that is stuck for hours is asked more and more rarely, and never less than once per ceiling."""
    schedule = Schedule([90.0 + i % 5 for i in range(64)])
    gaps = [schedule.next_gap(age) for age in (150.0, 600.0, 3600.0, 21_990.0, 86_400.0, 10 * 86_400.0)]
    assert gaps == sorted(gaps)
    assert gaps[1] < 60
    assert gaps[-1] <= CEILING


def test_one_outlier_and_early_failures_do_not_spoil_the_rest() -> None:
    """A job of two hours and two refused after 3 s among thirty of 90 s leave the checks where the thirty end."""
    normal = [85.0 + i % 10 for i in range(30)]
    spoiled = Schedule([*normal, 7200.0, 3.0, 3.5])
    around = [age for age in checks(spoiled, 110.0) if 75 <= age <= 110]
    assert len(around) >= 4
    assert lag_times_calls(spoiled, normal) < 0.35


def test_it_may_learn_from_its_own_sight() -> None:
    """Ends that are known only as the age of the check that saw them, lag included, do not lead it astray."""
    rng, history = random.Random(4), History()
    for _ in range(150):
        schedule, age, end = Schedule(history), 0.0, tight(rng)
        while age < end:
            age += schedule.next_gap(age)
        history.add(age)
    assert 88 < sum(history.durations) / len(history) < 96
    assert lag_times_calls(Schedule(history), [tight(rng) for _ in range(500)]) < 0.25


@pytest.mark.parametrize(
    ("draw", "cold", "learned"),
    [
        pytest.param(tight, 0.60, 0.23, id="tight"),
        pytest.param(uniform, 0.78, 0.70, id="uniform"),
        pytest.param(two_modes, 0.78, 0.55, id="two-modes"),
    ],
)
def test_it_beats_fixed_intervals_and_learns(
    draw: Callable[[random.Random], float], cold: float, learned: float
) -> None:
    """Lag × calls is less than any fixed interval's (1.0) before anything is known, and far less after 20 jobs."""
    rng = random.Random(3)
    durations = [draw(rng) for _ in range(2000)]
    assert lag_times_calls(Schedule(floor=0.5), durations) < cold
    ratios = [lag_times_calls(Schedule(durations[i : i + 20], floor=0.5), durations[1000:]) for i in range(0, 600, 20)]
    assert sum(ratios) / len(ratios) < learned


def test_a_thousand_tasks_do_not_ask_in_the_same_second() -> None:
    """The task id shifts the first check, the same way every time."""
    first = [Schedule(task_id=f"task_{i}").next_gap(0.0) for i in range(1000)]
    busiest = max(sum(second <= gap < second + 1 for gap in first) for second in range(200))
    assert busiest < 200
    assert first[7] == Schedule(task_id="task_7").next_gap(0.0)
    assert len({Schedule(task_id=f"task_{i}", floor=60.0).next_gap(100.0) for i in range(100)}) == 100


@pytest.mark.parametrize("floor", [0.0, -1.0, 301.0, math.nan])
def test_senseless_limits_are_refused(floor: float) -> None:
    """A schedule that could ask without pause or never cannot be built."""
    with pytest.raises(ValueError, match="need 0 < floor"):
        Schedule(floor=floor)


def test_history_keeps_the_most_recent() -> None:
    """The reservoir is bounded; what is old makes room."""
    history = History([1.0, 2.0])
    for seconds in range(3, 67):
        history.add(seconds)
    assert history.durations == tuple(range(3, 67))
    assert len(history) == 64


def test_history_survives_the_way_through_json() -> None:
    """What is stored is what comes back, to the hundredth of a second."""
    history = History([61.234, 120.0])
    assert History.from_json(history.to_json()).durations == (61.23, 120.0)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "nonsense",
        b"\xff\xfe",
        "[]",
        "null",
        "7",
        '{"durations": 3}',
        '{"durations": {"a": 1}}',
        "[" * 100_000,
    ],
)
def test_garbage_is_an_empty_history(text: str | bytes | None) -> None:
    """A damaged file costs a few calls, not a run."""
    assert History.from_json(text).durations == ()


def test_garbage_among_durations_is_dropped() -> None:
    """Only positive finite numbers count."""
    text = json.dumps({"durations": [80, "90", None, True, -1, 0, math.nan, math.inf, [5], 1e300, 100.5]})
    assert History.from_json(text).durations == (80.0, 100.5)


@settings(max_examples=40, deadline=None)
@given(JSON)
def test_any_json_is_read(document: object) -> None:
    """No document makes it fail, and a schedule can be built from whatever came out."""
    history = History.from_json(json.dumps({"durations": document}))
    assert Schedule(history).next_gap(0.0) > 0


def test_keys_of_comparable_generations() -> None:
    """One bucket per provider, model, length and resolution; what is not said is a dash."""
    assert history_key("sudashui", "vidu-q3", 5, "720P") == "sudashui/vidu-q3/5s/720p"
    assert history_key("senseaudio", "m", 2.5, None) == "senseaudio/m/2.5s/-"
    assert history_key("senseaudio", "m", None, None) == "senseaudio/m/-/-"
