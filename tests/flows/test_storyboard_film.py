"""`storyboard-film`: a schedule makes a film each time, a rerun makes none twice."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
from prefect.runtime import flow_run

from prefect_genvideo.ready import storyboard_film
from prefect_genvideo.ready.film import dated
from tests.flows.conftest import Place


def scheduled(monkeypatch: pytest.MonkeyPatch, day: int) -> None:
    """Let the current run be scheduled for a day of November 2026, as Prefect's own documentation mocks it."""
    when = datetime(2026, 11, day, 9, tzinfo=timezone.utc)
    monkeypatch.setattr(flow_run, "scheduled_start_time", when, raising=False)


def test_a_title_names_the_week_or_day_of_its_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the scheduled time, which a late start does not change; other braces are left as they are."""
    scheduled(monkeypatch, 30)
    assert dated("weekly {week}, {date}, {other}") == "weekly 2026-W49, 2026-11-30, {other}"


async def test_the_next_weeks_film_is_another_one(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the same week's is the same."""
    names = await place.saved()
    run: Any = storyboard_film
    for day in (23, 24, 30):
        scheduled(monkeypatch, day)
        await run(
            "weekly {week}",
            [{"prompt": "a lighthouse"}],
            names["credentials"],
            names["destination"],
            model="sd-2-fast-720p",
        )
    assert place.sim.billed == 2
