"""Decides when to ask a provider again. No clock, no I/O; callers pass in ages and clock values in seconds.

Two things cost while a generation runs: calls, and the lag between its end and the check that sees it. `Schedule`
takes one call to be worth `_COST` seconds of lag. Under a constant hazard `h` of ending, the least
`E[lag] + cost · E[calls]` comes from checks `sqrt(2 · cost / h)` apart. The hazard of a real generation changes with
its age, so the rule is summed up: the next check is due once the integral of `sqrt(h / (2 · cost))` has grown by one.
That leaps over ages at which nothing ends, and is dense where most end. The hazard is that of a mixture: a prior, and
a triangle on the logarithmic axis around every duration of a comparable generation seen so far.

For any fixed interval, lag × calls is half the mean duration, whatever the interval; `benchmarks/waiting.py`
measures what a schedule makes of that.

`Backoff`, `Deadline` and `Grace` bound a wait: by answers that say nothing, by time, and by odd answers.
"""

from __future__ import annotations

import hashlib
import json
import math
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import accumulate, pairwise
from statistics import median
from typing import Any, Literal, cast

Sleep = Callable[[float], Awaitable[None]]
"""Waits for so many seconds; `anyio.sleep` but in tests."""
CEILING = 300.0
"""Longest gap in seconds."""
# Seconds of lag that one call is worth: more of it means fewer calls and a later answer. With this, a generation of two
# to three minutes takes about ten calls and is seen five seconds after its end.
_COST = 0.5
_LONGEST = 30 * 86_400.0
# Durations that a history keeps.
_KEPT = 64

# Durations are weighed on a logarithmic axis: cell k holds those from `_EDGES[k]` to `_EDGES[k + 1]`, from 1 s to 6 h.
_CELL = 0.01
_EDGES = tuple(math.exp(_CELL * k) for k in range(1001))
_CELLS = len(_EDGES) - 1

# Log-normal bells: (median in seconds, width of the logarithm, share). The first three make a plateau from one to five
# minutes, where generations were recorded, so that neither a fast nor a slow model is bet on. The fourth keeps the
# hazard above zero everywhere: refusals after seconds, jobs stuck in a queue for an hour.
_PRIOR = ((75.0, 0.25, 0.31), (125.0, 0.25, 0.31), (210.0, 0.25, 0.31), (125.0, 1.5, 0.07))
_NARROWEST, _WIDEST = round(0.07 / _CELL), round(0.5 / _CELL)
# The first check waits for more than one unit: the hazard is rising there, which the rule for a constant one ignores.
# Measured: 1.8 makes lag × calls 1-15 % less than 1.0 does, by the distributions of `benchmarks/waiting.py`.
_FIRST = 1.8
# Tasks begin within 0.8 of a unit, which costs them nothing measurable, and stay apart from there.
_SPREAD, _DRIFT = 0.8, 0.02


def history_key(provider: str, model: str, seconds: float | None, resolution: str | None) -> str:
    """Name the bucket of comparable generations, e.g. `sudashui/vidu-q3/5s/720p`.

    Args:
        provider: Name of the provider.
        model: Name of the model.
        seconds: Length of the clip; None where the request did not say.
        resolution: e.g. `720p`; None where the request did not say.
    """
    length = "-" if seconds is None else f"{seconds:g}s"
    return "/".join((provider, model, length, (resolution or "-").lower()))


class History:
    """The 64 most recent durations of comparable generations, oldest first.

    Args:
        durations: Seconds from created to finished. What is not a positive number below 30 days is dropped.
    """

    def __init__(self, durations: Iterable[object] = ()) -> None:
        self.durations: tuple[float, ...] = tuple(_sane(durations))[-_KEPT:]

    def add(self, seconds: float) -> None:
        """Remember one finished generation.

        Args:
            seconds: Its duration by the provider's own times where it gives them, else its age when it was seen done.
                That includes the lag, which is small beside the spread and does not add up.
        """
        self.durations = (*self.durations, *_sane([seconds]))[-_KEPT:]

    def to_json(self) -> str:
        """Return a JSON document that `from_json` reads."""
        return json.dumps({"durations": [round(seconds, 2) for seconds in self.durations]})

    @classmethod
    def from_json(cls, text: str | bytes | None) -> History:
        """Read `to_json`. Garbage gives an empty history: what is lost is a few calls.

        Args:
            text: The document; None is an empty history.
        """
        try:
            document: Any = json.loads(text or "{}")
        except (ValueError, RecursionError):
            return cls()
        found = cast("dict[str, Any]", document).get("durations") if isinstance(document, dict) else None
        return cls(cast("list[object]", found) if isinstance(found, list) else ())

    @property
    def typical(self) -> float:
        """Seconds that half of comparable generations take less than; the prior's median without any."""
        return median(self.durations) if self.durations else _PRIOR[1][0]

    def __len__(self) -> int:
        return len(self.durations)


def _sane(values: Iterable[object]) -> Iterator[float]:
    for value in values:
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0.0 < value <= _LONGEST:
            yield float(value)


class Schedule:
    """When to look at one task.

    Args:
        history: Durations of comparable generations, in seconds; without any, the prior alone decides.
        floor: Shortest gap in seconds: the provider shows nothing new any sooner (Sudashui 15, SenseAudio 5).
        task_id: Seeds the phase, so that a thousand tasks do not ask in the same second; without one, the middle.

    Raises:
        ValueError: `floor` is not positive, or above `CEILING`.
    """

    def __init__(self, history: History | Iterable[float] = (), *, floor: float = 1.0, task_id: str = "") -> None:
        if not 0.0 < floor <= CEILING:
            raise ValueError(f"need 0 < floor <= {CEILING:g}, not {floor}")
        durations = history.durations if isinstance(history, History) else History(history).durations
        self.floor = floor
        self._due = _due(tuple(sorted(durations)))
        self._phase = _fraction(task_id) if task_id else 0.5

    def next_gap(self, age_s: float) -> float:
        """Return how long to wait before the next check of a task that is not finished.

        Args:
            age_s: Seconds since the task was created; 0 gives the first check.

        Returns:
            Seconds, between `floor` and `CEILING`.
        """
        age = min(max(age_s, 0.0), _LONGEST) if not math.isnan(age_s) else 0.0
        # At the floor, too, tasks drift apart.
        return min(CEILING, max(self._gap(age), self.floor * (1.0 + _DRIFT * self._phase)))

    def _gap(self, age: float) -> float:
        """Return the gap that pays best, not yet held against floor and ceiling."""
        if age < _EDGES[-1]:
            first = _FIRST + _SPREAD * (self._phase - 0.5)
            due = max(_interpolate(age, _EDGES, self._due) + 1.0, first)
            if due < self._due[-1]:
                return _interpolate(due, self._due, _EDGES) - age
        # Later than anything thought of: as if the hazard were 2 / age, so that gaps grow with the age's root.
        return math.sqrt(_COST * age)


def _fraction(seed: str) -> float:
    digest = hashlib.blake2b(seed.encode("utf-8", "replace"), digest_size=4).digest()
    return int.from_bytes(digest, "big") / 2**32


@lru_cache(maxsize=64)
def _due(durations: tuple[float, ...]) -> tuple[float, ...]:
    """How many checks are due until each edge: the sum of `dt / gap` with `gap = sqrt(2 · cost / hazard)`."""
    chances, beyond = _mixture(durations)
    alive = [*accumulate(reversed(chances), initial=beyond)][::-1]
    rates = (
        math.sqrt(chance * (high - low) / (_COST * (before + after)))
        for chance, (low, high), (before, after) in zip(chances, pairwise(_EDGES), pairwise(alive), strict=True)
    )
    return tuple(accumulate(rates, initial=0.0))


def _interpolate(x: float, xs: tuple[float, ...], ys: tuple[float, ...]) -> float:
    """Read the line through the rising points (xs, ys) at `x`, which lies below the last of `xs`."""
    i = bisect_right(xs, x)
    if i == 0:
        return ys[0]
    part = (x - xs[i - 1]) / (xs[i] - xs[i - 1])
    return ys[i - 1] + part * (ys[i] - ys[i - 1])


def _mixture(durations: tuple[float, ...]) -> tuple[list[float], float]:
    """Chance of every cell, and of all beyond the last; `durations` are sorted."""
    prior, beyond = _prior()
    # The prior fades slowly: few observations say little about tails.
    trust = 1.0 + 0.25 * math.sqrt(len(durations))
    total = trust + len(durations)
    slopes = [0.0] * (_CELLS + 1)
    logs = [math.log(max(seconds, 1.0)) for seconds in durations]
    for i, position in enumerate(logs):
        reach = min(max(round(2.4 * _distance(logs, i) / _CELL), _NARROWEST), _WIDEST)
        middle = min(max(round(position / _CELL), reach), _CELLS - reach)
        slope = 1.0 / (reach * reach * total)
        slopes[middle - reach] += slope
        slopes[middle] -= 2.0 * slope
        slopes[middle + reach] += slope
    # Summed once the slopes are steps, summed twice they are triangles: one around every observation.
    triangles = accumulate(accumulate(slopes))
    share = trust / total
    return [share * chance + max(0.0, height) for chance, height in zip(prior, triangles, strict=False)], share * beyond


def _distance(logs: list[float], index: int) -> float:
    """How far the k-th neighbour is, k growing with the root of the number: wide where observations are sparse."""
    k = math.ceil(1.5 * math.sqrt(len(logs)))
    around = sorted(abs(x - logs[index]) for x in logs[max(0, index - k) : index + k + 1])
    return around[k] if k < len(around) else max(around[-1], 0.2)


@lru_cache(maxsize=1)
def _prior() -> tuple[list[float], float]:
    def survival(log: float) -> float:
        return sum(
            share * 0.5 * math.erfc((log - math.log(median)) / (width * math.sqrt(2.0)))
            for median, width, share in _PRIOR
        )

    alive = [1.0, *(survival(_CELL * k) for k in range(1, _CELLS + 1))]
    return [here - there for here, there in pairwise(alive)], alive[-1]


@dataclass(frozen=True)
class Backoff:
    """Waits after an answer that says nothing: doubled each time and bounded; the server's Retry-After goes first.

    Attributes:
        first: Seconds after the first failure.
        ceiling: Longest wait of our own attempt, in seconds.
        longest_hint: Longest Retry-After that is believed, in seconds.
    """

    first: float = 2.0
    ceiling: float = 60.0
    longest_hint: float = 900.0

    def is_beyond(self, retry_after: float | None) -> bool:
        """Whether the server asks for longer than is believed, so that asking again before that is in vain."""
        return retry_after is not None and retry_after > self.longest_hint

    def delay(self, failures: int, retry_after: float | None = None, *, task_id: str = "") -> float:
        """Return the seconds to wait after a failure.

        Args:
            failures: Failures in a row, from 1.
            retry_after: What the server asked for, in seconds.
            task_id: Seeds up to a quarter on top, so that tasks that failed together do not return together.
        """
        stretch = 1.0 + 0.25 * _fraction(f"{task_id}/{failures}")
        if retry_after is not None and 0.0 <= retry_after < math.inf:
            return max(self.first, min(retry_after, self.longest_hint)) * stretch
        growth = 2.0 ** min(max(failures - 1, 0), 64)
        return min(self.first * growth, self.ceiling) * stretch


@dataclass
class Deadline:
    """How long a generation may take once it has started. Waiting in the provider's queue does not count.

    Attributes:
        limit: Seconds; None is without end.
        started: Clock value of the start; None until `start`.
    """

    limit: float | None
    started: float | None = None

    def start(self, now: float, *, age: float = 0.0) -> None:
        """Let it run; only the first call counts.

        Args:
            now: Clock value.
            age: Seconds for which it has been running.
        """
        if self.started is None:
            self.started = now - max(age, 0.0)

    def left(self, now: float) -> float:
        """Return the seconds left: infinite before the start or without a limit, never below 0."""
        if self.limit is None or self.started is None:
            return math.inf
        return max(0.0, self.started + self.limit - now)

    def passed(self, now: float) -> bool:
        """Whether the time is over."""
        return self.left(now) <= 0.0


Oddity = Literal["no_video", "unknown_task", "unauthorized"]
GRACES: dict[Oddity, tuple[float, int]] = {
    "no_video": (300.0, 1),
    "unknown_task": (120.0, 5),
    "unauthorized": (0.0, 5),
}
"""Seconds and tries that must both be reached before an odd answer is believed."""


@dataclass
class Grace:
    """Patience with one kind of odd answer: believed once it came `tries` times in a row over `seconds`.

    Attributes:
        seconds: Time since the first of the row.
        tries: How many in a row.
    """

    seconds: float
    tries: int
    count: int = field(default=0, init=False)
    since: float = field(default=0.0, init=False)

    @classmethod
    def of(cls, oddity: Oddity) -> Grace:
        """Return the patience with a success without a link, an id nobody knows, or a 401/403."""
        return cls(*GRACES[oddity])

    def strike(self, now: float) -> bool:
        """Count one more at clock value `now`; True when patience is over."""
        if self.count == 0:
            self.since = now
        self.count += 1
        return self.count >= self.tries and now - self.since >= self.seconds

    def clear(self) -> None:
        """Forget the odd answers counted so far, since another kind of answer came."""
        self.count = 0
