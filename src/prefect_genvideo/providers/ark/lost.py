"""Creates whose answers were lost, looked for in the account's list of tasks, which is free.

Lists show no prompt and no id of a call. They show `execution_expires_after` as it was sent: a create whose request has
no timeout gets the API's default less a number that follows from the ledger's claim, which tells its task from all
others. A task that is not listed proves nothing: how soon a list shows a task is not documented.
"""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Protocol

import anyio

from prefect_genvideo.errors import RateLimitedError, counted
from prefect_genvideo.models import Generation, VideoRequest
from prefect_genvideo.polling import Backoff
from prefect_genvideo.prices.facts import Candidate
from prefect_genvideo.providers.answers import as_figure, as_flag, as_text
from prefect_genvideo.providers.ark.tasks import LARGEST_PAGE, TaskPage, row_of
from prefect_genvideo.providers.lost import FoundCreate, LostCreate, Span

if TYPE_CHECKING:
    from prefect_genvideo.providers.answers import JsonObject

EXPIRY = 172_800
"""Seconds after which the API ends a task that is not done, where a request does not say (创建视频生成任务)."""
MARKS = 43_200
"""Values of the mark, in seconds below `EXPIRY`: a marked task ends at most half a day sooner."""
LATE = timedelta(minutes=2)
"""How long after its create was given up a task may have been made: the API goes on when its client has gone."""
# A create that was left behind by a crash is open until somebody finds it; no body takes longer to send.
_LONGEST_POST = timedelta(hours=1)
# Pages of a list that are read: 10,000 tasks of a week.
_MAX_PAGES = 20
# Seconds between two questions for a list, of which an account has one a second.
_PACE = 1.1
# How often a list is asked for that the account asks too often for, and how long is waited in between.
_TRIES, _BACKOFF = 4, Backoff(first=_PACE, longest_hint=30.0)
# Seconds for which a list answers for the creates that were lost before it was read.
_FRESH = 10.0
_EVER = datetime.min.replace(tzinfo=timezone.utc)
# A list is read a day further back than a create was sent, whatever clocks say.
_DAY = timedelta(days=1)
# How long a list shows a task (查询视频生成任务列表).
_LISTED = timedelta(days=7)
# Candidates that the evidence names.
_SHOWN = 5


class AskPage(Protocol):
    """Asks for a page of `LARGEST_PAGE` tasks."""

    def __call__(self, *, page: int, model: str, service_tier: str | None) -> Awaitable[TaskPage]:
        """Ask; raises as `ArkClient.tasks`.

        Args:
            page: From 1 on.
            model: Only tasks that were sent with this model or endpoint id.
            service_tier: Only tasks of this tier.
        """
        ...


def expiry_of(request: VideoRequest, claim: str) -> int | None:
    """Return the seconds that mark a create; None where the request has a timeout of its own, which marks nothing.

    Args:
        request: As the caller gave it.
        claim: Random id of the ledger's claim that it is sent under.
    """
    if not claim or request.timeout is not None or "execution_expires_after" in request.options:
        return None
    digest = hashlib.sha256(claim.encode()).digest()
    return EXPIRY - 1 - int.from_bytes(digest[:8], "big") % MARKS


def marked(request: VideoRequest, claim: str) -> VideoRequest:
    """Return the request with its mark as its timeout.

    Args:
        request: As the caller gave it.
        claim: Random id of the ledger's claim that it is sent under.
    """
    expiry = expiry_of(request, claim)
    return request if expiry is None else request.model_copy(update={"timeout": expiry})


@dataclass(frozen=True)
class Listing:
    """An account's tasks of one model, as far as they were read.

    Attributes:
        tasks: In the order in which they came, each once.
        covers: Since when no task can be missing; None where any may be.
        clock_ahead: Seconds that the API's clock is ahead of ours; None where no answer told.
        read_at: When reading began, by our clock.
    """

    tasks: tuple[Generation, ...] = ()
    covers: datetime | None = _EVER
    clock_ahead: float | None = None
    read_at: datetime = field(default_factory=lambda: datetime.now(timezone.utc))


class Lists:
    """The account's lists, a page a second. One that was read after a create was lost does for it too.

    Args:
        ask: Asks for a page.
        sleep: Seam for tests.
    """

    def __init__(self, ask: AskPage, sleep: Callable[[float], Awaitable[None]] = anyio.sleep) -> None:
        self._ask, self._sleep = ask, sleep
        self._lock = anyio.Lock()
        self._seed = uuid.uuid4().hex  # of the waits, so that those who failed together do not return together
        self._asked_at = float("-inf")
        self._read: dict[tuple[str, str | None], Listing] = {}

    async def after(self, lost: LostCreate) -> Listing:
        """Return a list that was read after the create was given up.

        Raises:
            RejectedError: The key or the model was refused.
            TransientError: There was no list in the answer.
        """
        tier = as_text(lost.request.options.get("service_tier")) or None
        asked = (lost.request.model, tier)
        async with self._lock:
            known, now = self._read.get(asked), datetime.now(timezone.utc)
            given_up = lost.gave_up_at or now
            fresh = known is not None and known.read_at >= given_up and (now - known.read_at).total_seconds() < _FRESH
            if known is None or not fresh or (known.covers is not None and known.covers > lost.sent_at - _DAY):
                known = await self._all(*asked, lost.sent_at - _DAY)
                self._read = {asked: known}  # one, so that a client stays small
            return known

    async def _all(self, model: str, tier: str | None, since: datetime) -> Listing:
        read_at, ahead, read = datetime.now(timezone.utc), None, 0
        tasks = dict[str, Generation]()
        for number in range(1, _MAX_PAGES + 1):
            page = await self._page(number, model, tier)
            told = next((task.answered_at for task in page.generations if task.answered_at is not None), None)
            ahead = (told - datetime.now(timezone.utc)).total_seconds() if told is not None else ahead
            tasks |= {task.task_id: task for task in page.generations}
            size = len(page.generations) + page.unread
            read += size
            more = size == LARGEST_PAGE if page.total is None else page.total > read
            if not more:
                return Listing(tuple(tasks.values()), _EVER, ahead, read_at)
            if _is_past(page, since):
                return Listing(tuple(tasks.values()), since, ahead, read_at)
            if not size:
                break
        return Listing(tuple(tasks.values()), None, ahead, read_at)

    async def _page(self, number: int, model: str, tier: str | None) -> TaskPage:
        """One page, asked for again while others of the account ask as well: whoever loses an answer asks at once."""
        for attempt in range(1, _TRIES + 1):
            await self._sleep(max(0.0, self._asked_at + _PACE - time.monotonic()))
            self._asked_at = time.monotonic()
            try:
                return await self._ask(page=number, model=model, service_tier=tier)
            except RateLimitedError as error:
                if attempt == _TRIES or _BACKOFF.is_beyond(error.retry_after):
                    raise
                await self._sleep(_BACKOFF.delay(attempt, error.retry_after, task_id=self._seed))
        raise AssertionError("unreachable: the last try returns or raises")


def _is_past(page: TaskPage, since: datetime) -> bool:
    """Whether a list that has the newest first has come to what is older."""
    times = [task.created_at for task in page.generations]
    known = [moment for moment in times if moment is not None]
    newest_first = len(known) == len(times) and known == sorted(known, reverse=True)
    return newest_first and bool(known) and known[-1] < since


@dataclass(frozen=True)
class _Looked:
    """A list, looked through for one create."""

    listed: Listing
    lost: LostCreate

    @property
    def span(self) -> Span:
        whole = self.lost.span(self.listed.read_at, self.listed.clock_ahead)
        return Span(whole.opens, min(whole.closes, whole.opens + _LONGEST_POST))

    @property
    def expiry(self) -> int | None:
        return expiry_of(self.lost.request, self.lost.claim)

    def doubt(self, task: Generation) -> str | None:
        """Why a task is not surely this create's: empty where it is, None where it surely is not."""
        row, lost, span = row_of(task.raw), self.lost, self.span
        expires = as_figure(row.get("executionexpiresafter"))
        ours = expires is not None and expires == self.expiry
        in_time = task.created_at is not None and span.holds(task.created_at, LATE)
        if not ours and not (in_time and self._may_bear(expires)):
            return None
        reasons = {
            "its task is in another record": task.task_id in lost.known_task_ids,
            "its request had a timeout of its own, which marks nothing": self.expiry is None,
            "it does not show the timeout that was sent": self.expiry is not None and not ours,
            f"it was not made {span}": not in_time,
            "another model": not _is_of(row, lost.request.model),
            "the list is cut": self.listed.covers is None or self.listed.covers > span.opens,
            **{f"another {name}": True for name in _contradicted(row, lost.request)},
        }
        return ", ".join(reason for reason, holds in reasons.items() if holds)

    def _may_bear(self, expires: float | None) -> bool:
        """Whether the create's task may show this timeout: not the mark of another claim, nor another timeout."""
        request = self.lost.request
        own = request.timeout or as_figure(request.options.get("execution_expires_after"))
        return expires is None or (expires == own if own else not EXPIRY - MARKS <= expires < EXPIRY)

    def as_candidate(self, task: Generation, doubt: str) -> Candidate:
        """The task as a person weighs it."""
        sent = self.span.opens + timedelta(seconds=self.lost.clock_doubt)
        return Candidate(
            at=task.created_at,
            seconds=None if task.created_at is None else round((task.created_at - sent).total_seconds(), 1),
            model=as_text(row_of(task.raw).get("model"))[:300],
            task_id=task.task_id[:1024],
            doubt=doubt[:300],
        )


def _is_of(row: JsonObject, model: str) -> bool:
    """Whether a task is of a model. Tasks show a model's name, also those that were sent with an endpoint's id."""
    return model.startswith("ep-") or as_text(row.get("model")) == model


def _contradicted(row: JsonObject, request: VideoRequest) -> list[str]:
    """Fields in which a task is another one than was asked for; what it does not show contradicts nothing."""
    options = request.options
    flags = {name: (as_flag(options.get(name)), as_flag(row.get(name.replace("_", "")))) for name in _FLAGS}
    pairs = {
        **flags,
        "service tier": (as_text(options.get("service_tier")) or None, as_text(row.get("servicetier")) or None),
        "resolution": ((request.resolution or "").lower() or None, as_text(row.get("resolution")).lower() or None),
    }
    return [name for name, (asked, shown) in pairs.items() if None not in (asked, shown) and asked != shown]


# Echoed as they were sent.
_FLAGS = ("generate_audio", "draft")


def resolve(listed: Listing, lost: LostCreate) -> FoundCreate:
    """Return what a list says of a lost create.

    Args:
        listed: As it was read after the create was given up.
        lost: What is known of the create.
    """
    looked = _Looked(listed, lost)
    doubts = {task.task_id: (task, doubt) for task in listed.tasks if (doubt := looked.doubt(task)) is not None}
    certain = [task for task, doubt in doubts.values() if not doubt]
    if len(certain) == 1:
        (task,) = certain
        told = f"the list of tasks shows {task.task_id}, sent with a timeout of {looked.expiry} s as this create was"
        return FoundCreate("found", "by mark", task_ids=(task.task_id,), candidates=1, evidence=f"{told} (by its mark)")
    if not doubts:
        what = f"no task of {lost.request.model} that was made {looked.span} and may be it"
        told = f"the list of {counted(len(listed.tasks), 'task')} shows {what}. "
        told += "That proves nothing: a list may be late or cut."
        told += _shown_by(looked.expiry)
        return FoundCreate("unknown", "not listed", evidence=told)
    rows = [looked.as_candidate(task, doubt or "others bear the same mark") for task, doubt in doubts.values()]
    rows.sort(key=lambda one: abs(one.seconds) if one.seconds is not None else float("inf"))
    shown = tuple(rows[:_SHOWN])
    told = f"tasks that fit ({len(rows)}): {'; '.join(map(_in_words, shown))}."
    told += _shown_by(looked.expiry)
    return FoundCreate("ambiguous", "candidates", candidates=len(rows), evidence=told, rows=shown)


def is_listed_no_more(lost: LostCreate) -> bool:
    """Whether a create is so old that no list can show its task, so that what was seen of it before stands."""
    return datetime.now(timezone.utc) - lost.sent_at > _LISTED + _DAY


def _shown_by(expiry: int | None) -> str:
    """What tells the create's own task from others, for a person who looks later or with another key."""
    return "" if expiry is None else f" Its own task shows execution_expires_after {expiry}."


def _in_words(one: Candidate) -> str:
    at = f"{one.at:%H:%M:%S} UTC, {one.seconds:+g} s" if one.at and one.seconds is not None else "made at no known time"
    return f"task {one.task_id}, {at} ({one.doubt})"
