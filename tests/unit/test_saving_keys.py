"""Names of videos: what a template may say, and that no value can leave the destination."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_genvideo.errors import InvalidRequestError
from prefect_genvideo.ledger import LedgerRecord
from prefect_genvideo.models import Generation
from prefect_genvideo.pipeline.names import (
    CONTAINERS,
    DEFAULT_TEMPLATE,
    FIELDS,
    check_template,
    media_type_of,
    name_task,
    object_key_of,
    slug,
    stem_of,
)
from prefect_genvideo.storage import clean_key

RECORD = LedgerRecord(
    key="daily-2026-11-22",
    provider="sudashui",
    model="sd-2-720p",
    account="a",
    fingerprint="f",
    request={"prompt": "A cat, surfing: at dusk!"},
    flow_run_id="6f1c",
    created_at=datetime(2026, 11, 22, 1, 30, tzinfo=timezone.utc),
)
TASK = Generation(provider="sudashui", task_id="task_0a1b", state="succeeded")


def test_the_default_name() -> None:
    """Day, model, task id."""
    assert object_key_of(DEFAULT_TEMPLATE, RECORD, TASK) == "2026-11-22/sd-2-720p/task_0a1b.mp4"
    assert check_template(DEFAULT_TEMPLATE) == []


@pytest.mark.parametrize(
    ("options", "ending"),
    [
        ({"output_format": "mov"}, "mov"),
        ({"output_format": "mp4"}, "mp4"),
        ({"output_format": "exe"}, "mp4"),
        ({}, "mp4"),
    ],
)
@pytest.mark.parametrize("template", [DEFAULT_TEMPLATE, "{task_id}.{ext}"])
def test_the_ending_is_that_of_the_container_that_was_asked_for(
    template: str, options: dict[str, str], ending: str
) -> None:
    """A player goes by it, and so does the media type; a second task's name keeps it."""
    record = RECORD.model_copy(update={"request": {"prompt": "x", "options": options}})
    key = object_key_of(template, record, TASK)
    assert (key.endswith(f"task_0a1b.{ending}"), stem_of(key)) == (True, key[:-4])
    assert media_type_of(key) == CONTAINERS[ending]
    assert name_task(key, "task_2") == f"{key[:-4]}.task_2.{ending}"


def test_every_field_can_be_used() -> None:
    """Each is replaced by one harmless segment."""
    template = "/".join(f"{{{field}}}" for field in FIELDS) + ".mp4"
    assert object_key_of(template, RECORD, TASK) == (
        "2026-11-22/2026/11/22/sudashui/sd-2-720p/task_0a1b/a-cat-surfing-at-dusk/daily-2026-11-22/6f1c/mp4.mp4"
    )


def test_a_name_of_many_long_parts_is_one_that_file_systems_take() -> None:
    """It is made when the video is paid for; two that differ in what is cut stay two."""
    template = (
        "{idempotency_key}-{prompt_slug}-{model}-{flow_run}/{prompt_slug}-{idempotency_key}-{flow_run}-{task_id}.mp4"
    )
    facts = {"request": {"prompt": "猫" * 200}, "flow_run_id": "f" * 36, "key": "k" * 300}
    record = RECORD.model_copy(update=facts)
    keys = [
        object_key_of(template, record, TASK.model_copy(update={"task_id": f"task_{'x' * 60}{end}"})) for end in "ab"
    ]
    keys += [name_task(key, "another" * 20) for key in keys]
    assert len(set(keys)) == 4
    for key in keys:
        assert max(len(segment.encode()) for segment in key.split("/")) <= 240
        assert key.endswith(".mp4")
        assert clean_key(key) == key


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{modle}/{task_id}.mp4", "{modle} is no field; the fields are {date}"),
        ("{}.mp4", "{} is no field"),
        ("{task_id.__class__}.mp4", "is no field"),
        ("{task_id!r}.mp4", "no format or conversion"),
        ("{date:%Y}.mp4", "no format or conversion"),
        ("{task_id.mp4", "braces do not match"),
        ("{task_id}", "must end in .mp4"),
        ("videos/.mp4", "must end in .mp4"),
        ("/{task_id}.mp4", "relative"),
        ("../{task_id}.mp4", "relative"),
        ("a//{task_id}.mp4", "relative"),
        ("a\\{task_id}.mp4", "backslashes"),
        ("_ledger/{task_id}.mp4", "the ledger's"),
    ],
)
def test_bad_templates_are_told_before_anything_is_paid(template: str, words: str) -> None:
    """A block with such a template cannot be saved; rendering one fails too."""
    assert words in "; ".join(check_template(template))
    with pytest.raises(InvalidRequestError):
        object_key_of(template, RECORD, TASK)


@given(st.text(min_size=1), st.text())
def test_no_value_leaves_its_segment(task_id: str, prompt: str) -> None:
    """Whatever a provider or a prompt contains, the name has the template's segments and is a valid key."""
    record = RECORD.model_copy(update={"request": {"prompt": prompt}})
    task = TASK.model_copy(update={"task_id": task_id})
    key = object_key_of("{task_id}/{prompt_slug}.mp4", record, task)
    assert clean_key(key) == key
    assert key.count("/") == 1
    assert all(len(segment.encode()) <= 255 for segment in key.split("/"))


def test_ids_that_lose_characters_stay_apart() -> None:
    """Two ids never become one name; a plain id stays as it is."""
    assert slug("a/b", identity=True) != slug("a:b", identity=True)
    assert slug("task_1", identity=True) == "task_1"
    assert slug("x" * 500, identity=True) != slug("x" * 501, identity=True)
    assert slug("///", identity=True)


def test_other_scripts_are_kept() -> None:
    """A Chinese prompt gives a readable name, cut at whole characters."""
    assert slug("一只猫，在冲浪") == "一只猫-在冲浪"
    assert len(slug("猫" * 200, limit=60).encode()) == 60


def test_the_day_does_not_depend_on_the_machine() -> None:
    """Days are UTC; a missing value becomes a word."""
    evening = datetime(2026, 11, 21, 22, 0, tzinfo=timezone(timedelta(hours=-5)))
    record = RECORD.model_copy(update={"created_at": evening, "flow_run_id": None, "request": {}})
    key = object_key_of("{date}-{year}{month}{day}-{flow_run}-{prompt_slug}.mp4", record, TASK)
    assert key == "2026-11-22-20261122-none-none.mp4"
