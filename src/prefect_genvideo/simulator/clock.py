"""How far a task has come at a given time. Pure functions; the stages are shared by all sides."""

from __future__ import annotations

import math
import random

from prefect_genvideo.simulator.config import SimulatorConfig

STORED, SUBMITTED, QUEUED, RUNNING, DONE = range(5)
"""Stages of a task, in their order."""

_PATH = (STORED, SUBMITTED, QUEUED, RUNNING)
_SHORT_PATHS = {1: (), 2: (RUNNING,), 3: (SUBMITTED, RUNNING), 4: (STORED, SUBMITTED, RUNNING)}
WAITING_SHARE = 0.08
"""Share of the run after which each stage is left: most of a run is spent generating."""
# Of the log-normal distribution of durations.
_SIGMA = 0.3
_SHARES = ((0.01, STORED), (0.03, SUBMITTED), (WAITING_SHARE, QUEUED), (1.0, RUNNING))


def stage_after_polls(polls: int, polls_to_finish: int) -> int:
    """Stage that query number `polls` (from 1) reports when query `polls_to_finish` reports the end.

    Args:
        polls: Queries so far.
        polls_to_finish: The query that reports the end, counted from 1.
    """
    if polls >= polls_to_finish:
        return DONE
    path = _SHORT_PATHS.get(polls_to_finish, _PATH)
    return path[min(polls, len(path)) - 1] if polls > 0 else STORED


def stage_at(elapsed: float, run_s: float) -> int:
    """Stage of a task that was created `elapsed` seconds ago and runs `run_s` seconds.

    Args:
        elapsed: Seconds since the create.
        run_s: Seconds that it takes.
    """
    if elapsed >= run_s:
        return DONE
    return next((stage for share, stage in _SHARES if elapsed < share * run_s), DONE)


def last_refresh(now: float, started: float, every: float) -> float:
    """Moment of the latest refresh of all rows, which is what a query sees; `now` without refreshes.

    Args:
        now: Monotonic seconds.
        started: When the loop began, alike.
        every: Seconds between refreshes; 0 is always fresh.
    """
    return now if every <= 0 else started + math.floor((now - started) / every) * every


def draw_duration(config: SimulatorConfig, rng: random.Random) -> float:
    """Seconds that a new task will run, scaled to real time.

    Args:
        config: Which distribution.
        rng: Where chance comes from.
    """
    stretch = math.exp(rng.gauss(0.0, _SIGMA)) if config.duration_kind == "lognormal" else 1.0
    return config.duration_median_s * stretch * config.scale
