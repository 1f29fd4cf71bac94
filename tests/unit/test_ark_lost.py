"""What the list of Ark says of a lost create: its own mark, in its own time, ties a task to it, and nothing less."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_genvideo.errors import RateLimitedError
from prefect_genvideo.models import Generation, VideoRequest
from prefect_genvideo.providers import ArkClient, LostCreate, TaskPage
from prefect_genvideo.providers.ark.lost import EXPIRY, MARKS, Listing, Lists, expiry_of, marked, resolve
from prefect_genvideo.providers.ark.tasks import LARGEST_PAGE

MODEL = "doubao-seedance-2-0-260128"
REQUEST = VideoRequest(model=MODEL, prompt="x", resolution="720p", options={"generate_audio": True})
SENT = datetime(2026, 11, 27, 12, 0, tzinfo=timezone.utc)
LOST = LostCreate(REQUEST, SENT, SENT + timedelta(seconds=60), claim="0123abcd")
MARK = expiry_of(REQUEST, LOST.claim)


def task(task_id: str = "cgt-1", after: float | None = 1.0, **fields: Any) -> Generation:
    """An entry of a list, as one that runs is told; `after` is when it was made, in seconds after the create."""
    raw = {"id": task_id, "model": MODEL, "status": "running", "execution_expires_after": MARK, **fields}
    created = None if after is None else SENT + timedelta(seconds=after)
    return Generation(provider="ark", task_id=task_id, state="running", created_at=created, raw=raw)


def listing(*tasks: Generation, **facts: Any) -> Listing:
    return replace(Listing(tasks, read_at=SENT + timedelta(minutes=5)), **facts)


@given(st.text(min_size=1))
def test_a_mark_is_a_timeout_that_the_api_takes(claim: str) -> None:
    """Half a day below the API's default at most, never the default itself, and the same for the same claim."""
    found = marked(REQUEST, claim)
    assert found.timeout is not None
    assert EXPIRY - MARKS <= found.timeout < EXPIRY
    assert marked(REQUEST, claim) == found
    assert ArkClient("k").validate(found) == []


def test_a_timeout_of_the_user_s_own_is_kept() -> None:
    own = REQUEST.model_copy(update={"timeout": 7200})
    assert marked(own, "claim") == own


@pytest.mark.parametrize(
    "found",
    [
        task(),
        task(after=-4),  # clocks tell whole seconds, and differ by some
        task(after=180),  # the API goes on when its client has gone
        task(execution_expires_after=str(MARK)),
        task(resolution="720P", generate_audio=True, draft=False, service_tier="default"),
    ],
)
def test_the_one_task_with_the_mark_is_the_create_s(found: Generation) -> None:
    told = resolve(listing(task("cgt-9", execution_expires_after=EXPIRY - 1 if MARK != EXPIRY - 1 else 1), found), LOST)
    assert (told.outcome, told.certainty, told.task_ids) == ("found", "by mark", ("cgt-1",))


@pytest.mark.parametrize(
    ("found", "doubt"),
    [
        (task(after=-3600), "it was not made from 11:59:55 to 12:01:05 UTC"),
        (task(after=3600), "it was not made from 11:59:55 to 12:01:05 UTC"),
        (task(after=None), "it was not made from 11:59:55 to 12:01:05 UTC"),
        (task(model="doubao-seedance-2-5-260628"), "another model"),
        (task(model=None), "another model"),
        (task(resolution="480p"), "another resolution"),
        (task(generate_audio=False), "another generate_audio"),
        (task(execution_expires_after=EXPIRY), "it does not show the timeout that was sent"),
        (task(execution_expires_after=None), "it does not show the timeout that was sent"),
        (task(execution_expires_after={"a": 1}), "it does not show the timeout that was sent"),
    ],
)
def test_less_than_that_is_for_a_person(found: Generation, doubt: str) -> None:
    """It is shown with what speaks against it."""
    told = resolve(listing(found), LOST)
    assert (told.outcome, told.task_ids) == ("ambiguous", ())
    assert [(one.task_id, one.doubt) for one in told.rows] == [("cgt-1", doubt)]
    assert "cgt-1" in told.evidence
    assert f"execution_expires_after {MARK}" in told.evidence


@pytest.mark.parametrize(
    "found",
    [
        task(execution_expires_after=EXPIRY - 1 if MARK != EXPIRY - 1 else EXPIRY - 2),
        task(execution_expires_after=EXPIRY, after=3600),
        task(execution_expires_after=None, after=None),
    ],
    ids=["another claim's mark", "made at another time", "made at no known time"],
)
def test_what_is_surely_another_s_is_not_shown(found: Generation) -> None:
    told = resolve(listing(found), LOST)
    assert (told.outcome, told.certainty, told.rows) == ("unknown", "not listed", ())
    assert f"execution_expires_after {MARK}" in told.evidence


def test_two_with_one_mark_are_for_a_person() -> None:
    told = resolve(listing(task("cgt-1"), task("cgt-2")), LOST)
    assert (told.outcome, told.candidates) == ("ambiguous", 2)
    assert {one.doubt for one in told.rows} == {"others bear the same mark"}


@pytest.mark.parametrize("covers", [None, SENT])
def test_a_list_that_is_cut_proves_nothing(covers: datetime | None) -> None:
    """What it lacks may bear the same mark."""
    assert resolve(listing(task(), covers=covers), LOST).outcome == "ambiguous"


def test_the_api_s_clock_counts() -> None:
    """By an answer to the create itself, else by the list's."""
    late = task(after=3600)
    assert resolve(listing(late), replace(LOST, clock_ahead=3600.0)).outcome == "found"
    assert resolve(listing(late, clock_ahead=3600.0), LOST).outcome == "found"
    assert resolve(listing(late, clock_ahead=3600.0), replace(LOST, clock_ahead=0.0)).outcome == "ambiguous"


def test_what_a_crash_left_behind_was_sent_in_the_hour_that_followed() -> None:
    """It was given up when somebody found it, which says nothing of when it was sent."""
    left = replace(LOST, gave_up_at=SENT + timedelta(days=2))
    assert resolve(listing(task(after=600)), left).outcome == "found"
    assert resolve(listing(task(after=7200)), left).outcome == "ambiguous"


def test_an_endpoint_s_tasks_show_its_model() -> None:
    """The list was asked for the endpoint's own."""
    lost = replace(LOST, request=REQUEST.model_copy(update={"model": "ep-20260101-abcde"}))
    assert resolve(listing(task()), lost).outcome == "found"


class Pages:
    """An account's tasks by pages, on a clock of its own."""

    def __init__(self, tasks: Sequence[Generation], *, total: int | None = None, size: int = LARGEST_PAGE) -> None:
        self.tasks, self.total, self.size = tasks, total, size
        self.asked: list[tuple[int, str, str | None]] = []
        self.slept: list[float] = []

    async def __call__(self, *, page: int, model: str, service_tier: str | None) -> TaskPage:
        self.asked.append((page, model, service_tier))
        return TaskPage(self.total, tuple(self.tasks[(page - 1) * self.size : page * self.size]))

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def read(self, lost: LostCreate = LOST) -> Listing:
        return await Lists(self, self.sleep).after(lost)


def many(count: int, *, apart: float = 1.0, newest_first: bool = True) -> list[Generation]:
    """Tasks of a busy account, made one after another."""
    found = [task(f"cgt-{number}", 60 - number * apart, execution_expires_after=EXPIRY) for number in range(count)]
    return found if newest_first else found[::-1]


@pytest.mark.parametrize("told", [True, False], ids=["total", "no total"])
@pytest.mark.parametrize(("count", "pages"), [(0, 1), (7, 1), (501, 2), (1300, 3)])
async def test_every_page_is_read_once_and_a_second_apart(count: int, pages: int, told: bool) -> None:
    asked = Pages(many(count), total=count if told else None)
    found = await asked.read()
    assert (len(found.tasks), len(asked.asked)) == (count, pages)
    assert asked.asked[0] == (1, MODEL, None)
    assert found.covers is not None
    assert found.covers < SENT - timedelta(days=7)
    assert all(seconds > 0.9 for seconds in asked.slept[1:])


async def test_a_list_with_the_newest_first_is_read_to_the_day_before() -> None:
    asked = Pages(many(5000, apart=200), total=5000)
    found = await asked.read()
    assert len(asked.asked) == 1
    assert found.covers == SENT - timedelta(days=1)


@pytest.mark.parametrize("size", [LARGEST_PAGE, 100, 0], ids=["endless", "small pages", "nothing behind the total"])
async def test_a_list_without_an_end_is_cut(size: int) -> None:
    """A bound on what is read; what may be missing proves nothing."""
    asked = Pages(many(30_000, apart=0.001, newest_first=False), total=10**9, size=size)
    found = await asked.read()
    assert len(asked.asked) <= 20
    assert found.covers is None


class Busy(Pages):
    """A list that others ask for as well."""

    refusals = 0
    retry_after: float | None = None

    async def __call__(self, *, page: int, model: str, service_tier: str | None) -> TaskPage:
        found = await super().__call__(page=page, model=model, service_tier=service_tier)
        if len(self.asked) <= self.refusals:
            raise RateLimitedError("429", retry_after=self.retry_after)
        return found


@pytest.mark.parametrize(("refusals", "retry_after", "asked"), [(3, None, 4), (1, 5.0, 2), (4, None, 4), (1, 600.0, 1)])
async def test_a_list_that_is_asked_for_too_often_is_asked_for_again(
    refusals: int, retry_after: float | None, asked: int
) -> None:
    """Whoever loses an answer in one moment asks in one moment; not for ever, and not for as long as it likes."""
    busy = Busy(many(3))
    busy.refusals, busy.retry_after = refusals, retry_after
    if asked > refusals:
        assert len((await busy.read()).tasks) == 3
    else:
        with pytest.raises(RateLimitedError):
            await busy.read()
    assert len(busy.asked) == asked
    assert sum(busy.slept) < 20


async def test_one_list_does_for_creates_that_were_lost_before_it_was_read() -> None:
    """Fifty that are lost in one moment ask once, not for a minute; one that is lost later asks again."""
    asked = Pages(many(3))
    lists, now = Lists(asked, asked.sleep), datetime.now(timezone.utc)
    for _ in range(50):
        await lists.after(replace(LOST, sent_at=now, gave_up_at=now))
    assert len(asked.asked) == 1
    await lists.after(replace(LOST, sent_at=now, gave_up_at=None))
    assert len(asked.asked) == 2
    await lists.after(replace(LOST, request=REQUEST.model_copy(update={"options": {"service_tier": "flex"}})))
    assert asked.asked[-1] == (1, MODEL, "flex")
