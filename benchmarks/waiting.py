"""When to ask: lag × calls of the learned schedule, against fixed intervals, backoff and other vendors' wait loops.

`python -m benchmarks.waiting` simulates on a virtual clock. `--peers` also waits over HTTP, at 1/20 of the real times,
with our own client and with the wait helpers of openai, runwayml and fal-client. The last line is `RESULT {…}`.

The figure is `mean(lag) × mean(calls) / (mean(duration) / 2)`: lag from the real end to the check that sees it, the
last call counted too. Every fixed interval gives 1.00, whatever it is: a shorter one only pays lag with calls. So the
figure says what knowledge is worth, not what somebody's taste in intervals is. `limit` is what the distribution itself
allows: with its hazard known exactly and checks without number, `(∫ √(density · survival))² / mean`.
"""

from __future__ import annotations

import argparse
import bisect
import json
import math
import random
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from prefect_genvideo.polling import History, Schedule

SEEN = (0, 5, 20, 64)
TRIALS = 30
JOBS = 1000
END = 3000.0
Draw = Callable[[random.Random], float]
Gap = Callable[[float], float]
# 5 % of the durations are shorter than 60 s, 5 % longer than 300 s.
_MU, _SIGMA = math.log(math.sqrt(60.0 * 300.0)), math.log(5.0) / 2.0 / 1.6449


def _lognormal_open(rng: random.Random) -> float:
    return rng.lognormvariate(_MU, _SIGMA)


def _lognormal(rng: random.Random) -> float:
    while not 60.0 <= (seconds := _lognormal_open(rng)) <= 300.0:
        pass
    return seconds


def _tight(rng: random.Random) -> float:
    return max(1.0, rng.gauss(90.0, 8.0))


def _uniform(rng: random.Random) -> float:
    return rng.uniform(60.0, 300.0)


def _two_modes(rng: random.Random) -> float:
    return max(1.0, rng.gauss(70.0, 8.0) if rng.random() < 0.5 else rng.gauss(240.0, 25.0))


DISTRIBUTIONS: dict[str, tuple[str, Draw]] = {
    "lognormal": ("log-normal, 60-300 s", _lognormal),
    "lognormal_open": ("log-normal, 5-95 % at 60-300 s", _lognormal_open),
    "tight": ("90 ± 8 s", _tight),
    "uniform": ("uniform, 60-300 s", _uniform),
    "two_modes": ("70 ± 8 s or 240 ± 25 s", _two_modes),
}


@dataclass(frozen=True)
class Cost:
    """Mean lag in seconds, mean calls, and the ratio to any fixed interval."""

    lag: float
    calls: float
    ratio: float

    def __str__(self) -> str:
        return f"{self.ratio:5.2f} ({self.lag:4.1f} s, {self.calls:5.1f})"


def measured(pairs: Sequence[tuple[float, float]], durations: Sequence[float]) -> Cost:
    """The cost of (lag, calls) pairs."""
    lag = sum(pair[0] for pair in pairs) / len(pairs)
    calls = sum(pair[1] for pair in pairs) / len(pairs)
    return Cost(lag, calls, lag * calls / (sum(durations) / len(durations) / 2.0))


def sample(draw: Draw, count: int) -> list[float]:
    """A sample without luck: the middle quantiles of many draws, ascending."""
    rng = random.Random(2024)
    many = sorted(draw(rng) for _ in range(count * 40))
    return many[20::40]


def looks(gap: Gap, start: float = 0.0) -> list[float]:
    """Ages of all checks until `END`, and one for whatever is later."""
    age, ages = start, [start] if start else []
    while age < END:
        age += gap(age)
        ages.append(age)
    return [*ages, math.inf]


def watch(ages: Sequence[float], durations: Sequence[float]) -> list[tuple[float, float]]:
    """Lag and calls of each duration under a list of checks."""
    places = [bisect.bisect_left(ages, seconds) for seconds in durations]
    return [(ages[i] - seconds, i + 1.0) for i, seconds in zip(places, durations, strict=True)]


def learned(draw: Draw, floor: float, trials: int) -> dict[int, Cost]:
    """The schedule after so many jobs, each watched by what those before taught: the ages at which they were seen."""
    durations = sample(draw, JOBS)
    pairs: dict[int, list[tuple[float, float]]] = {seen: [] for seen in SEEN}
    for trial in range(trials):
        rng, history = random.Random(trial), History()
        for job in range(max(SEEN) + 1):
            schedule = Schedule(history, floor=floor, task_id=f"{trial}/{job}")
            if job in SEEN:
                pairs[job] += watch(looks(schedule.next_gap), durations)
            seconds = draw(rng)
            age = 0.0
            while age < seconds:
                age += schedule.next_gap(age)
            history.add(age)
    return {seen: measured(found, durations) for seen, found in pairs.items()}


def _doubling(ceiling: float) -> Gap:
    """1, 2, 4 … seconds: after the n-th check the age is 2^n - 1."""
    return lambda age: min(age + 1.0, ceiling)


RIVALS: dict[str, Gap] = {
    "every 5 s": lambda age: 5.0,
    "every 10 s": lambda age: 10.0,
    "doubling from 1 s": _doubling(math.inf),
    "doubling to 30 s": _doubling(30.0),
}


def rival(gap: Gap, draw: Draw) -> Cost:
    """A loop that learns nothing; its phase is spread evenly, as jobs and ticks do not know each other."""
    durations = sample(draw, JOBS)
    pairs = [pair for k in range(50) for pair in watch(looks(gap, gap(0.0) * (k + 1) / 50), durations)]
    return measured(pairs, durations)


def limit(draw: Draw) -> float:
    """What the distribution allows, from 300,000 draws in bins of 2 s."""
    rng, width, count = random.Random(1), 2.0, 300_000
    bins = [0] * int(END / width)
    total = 0.0
    for _ in range(count):
        seconds = draw(rng)
        total += seconds
        bins[min(int(seconds / width), len(bins) - 1)] += 1
    alive = [count]
    for found in bins:
        alive.append(alive[-1] - found)
    area = sum(
        math.sqrt(found * (before + after) / 2.0 * width)
        for found, (before, after) in zip(bins, pairwise(alive), strict=True)
    )
    return (area / count) ** 2 / (total / count)


def _head(first: str, columns: Sequence[str]) -> str:
    return f"{first:<32}" + "".join(f"{column:>23}" for column in columns)


def virtual(trials: int) -> dict[str, Any]:
    """Print the tables of the virtual clock and return their ratios."""
    result: dict[str, Any] = {}
    print("Lag × calls, any fixed interval = 1.00 (mean lag, mean calls)\n")
    print(_head("learned schedule, floor 1 s", ["cold", *(f"after {seen}" for seen in SEEN[1:]), "limit"]))
    for name, (title, draw) in DISTRIBUTIONS.items():
        costs, bound = learned(draw, 1.0, trials), limit(draw)
        print(_head(title, [*(str(cost) for cost in costs.values()), f"{bound:.2f}"]))
        ratios = {"cold" if not seen else f"after{seen}": round(cost.ratio, 3) for seen, cost in costs.items()}
        result[name] = {**ratios, "limit": round(bound, 3)}
    print("\n" + _head("with a provider's own refresh", ["5 s, cold", "5 s, after 20", "15 s, cold", "15 s, after 20"]))
    for title, draw in DISTRIBUTIONS.values():
        five, fifteen = learned(draw, 5.0, trials // 3), learned(draw, 15.0, trials // 3)
        print(_head(title, [str(cost) for cost in (five[0], five[20], fifteen[0], fifteen[20])]))
    print("\n" + _head("loops that learn nothing", list(RIVALS)))
    for title, draw in DISTRIBUTIONS.values():
        print(_head(title, [str(rival(gap, draw)) for gap in RIVALS.values()]))
    return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; 0 also when a peer cannot be installed, which the table then says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.waiting", description=__doc__)
    parser.add_argument("--peers", action="store_true", help="also over HTTP beside other SDKs (two minutes more)")
    parser.add_argument("--trials", type=int, default=TRIALS, help=f"histories per distribution, default {TRIALS}")
    given = parser.parse_args(arguments)
    began = time.monotonic()
    result = virtual(given.trials)
    if given.peers:
        from benchmarks.waiting_http import over_http

        result["http"] = over_http()
    print(f"\n{time.monotonic() - began:.0f} s")
    print("RESULT " + json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
