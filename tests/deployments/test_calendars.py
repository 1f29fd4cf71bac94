"""Calendars: what is due now, under keys that say the slot, whenever the run comes."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from prefect_genvideo import LocalDestination
from prefect_genvideo.batch.calendar import due_slots
from tests.fixtures.expected import refusing

NOW = datetime(2026, 11, 22, 10, 30, tzinfo=timezone.utc)
DAY = timedelta(days=1)


async def slots(folder: Path, rows: list[dict[str, Any]], now: datetime = NOW, window: timedelta = 2 * DAY) -> Any:
    """The due slots of a calendar of these rows."""
    file = folder / "calendar.json"
    file.write_text(json.dumps(rows))
    return await due_slots(str(file), LocalDestination(path=str(folder)).get_store(), window, now=now)


def row(due: str, prompt: str = "the sea", **more: Any) -> dict[str, Any]:
    """A row of a calendar."""
    return {"model": "sd-2-fast-720p", "due": due, "prompt": prompt, **more}


async def test_only_rows_whose_time_has_come_are_wanted(tmp_path: Path) -> None:
    """Not the future, not what lies further back than the window, and nothing without a date."""
    found = await slots(
        tmp_path,
        [row("2026-11-22T10:30Z"), row("2026-11-22T10:31Z"), row("2026-11-20T10:30Z"), {"model": "m", "prompt": "p"}],
    )
    [wanted] = found.due.rows
    assert wanted.key.startswith("slot-20261122T103000Z-")


async def test_a_slot_has_one_key_in_every_zone_and_at_every_time_of_the_run(tmp_path: Path) -> None:
    """A late run and a repeated run find the slot taken."""
    one = await slots(tmp_path, [row("2026-11-22T10:00+01:00")])
    other = await slots(tmp_path, [row("2026-11-22T09:00Z")], now=NOW + timedelta(hours=20))
    assert one.due.rows[0].key == other.due.rows[0].key


async def test_today_in_a_template_is_the_day_of_the_slot_not_of_the_run(tmp_path: Path) -> None:
    """Else a repeated run on the next day would want another video, and pay for it."""
    rows = [row("2026-11-21", "news of {{ today }}"), row("2026-11-22", "news of {{ today }}")]
    found = await slots(tmp_path, rows)
    assert [wanted.request.prompt for wanted in found.due.rows] == ["news of 2026-11-21", "news of 2026-11-22"]
    later = await slots(tmp_path, rows, now=NOW + timedelta(hours=12))
    assert [wanted.key for wanted in later.due.rows] == [wanted.key for wanted in found.due.rows]


async def test_equal_videos_of_one_slot_are_wanted_variations(tmp_path: Path) -> None:
    """Each has a key of its own, in the order of the calendar; a row's own key is kept."""
    rows = [row("2026-11-22"), row("2026-11-22"), row("2026-11-22", key="mine-{{ date }}")]
    keys = [wanted.key for wanted in (await slots(tmp_path, rows)).due.rows]
    assert keys[1] == f"{keys[0]}-2"
    assert keys[2] == "mine-2026-11-22"


async def test_a_row_keeps_its_place_and_is_rendered_once(tmp_path: Path) -> None:
    """Braces that came from a variable stay text; the number is that of the calendar, where people look for it."""
    later = row("2026-11-23")
    found = await slots(tmp_path, [later, row("2026-11-22", "say {{ words }}", vars={"words": "{{ 1 + 1 }}"})])
    [wanted] = found.due.rows
    assert (wanted.number, wanted.request.prompt) == (2, "say {{ 1 + 1 }}")


async def test_a_broken_row_does_not_keep_the_good_ones_from_being_made(tmp_path: Path) -> None:
    """Its problems are at hand for the end of the run, so that people see them."""
    found = await slots(tmp_path, [row("2026-11-22"), row("2026-11-22", duration="long")])
    assert len(found.due.rows) == 1
    with refusing("row 2: duration"):
        found.manifest.check()
