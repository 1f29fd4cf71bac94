"""Rows of a batch: fields, defaults, keys, alternatives, calendars, and all problems at once."""

from __future__ import annotations

import math
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from prefect_genvideo.batch.formats import RawRow, Table
from prefect_genvideo.batch.manifest import due_rows, rows_from
from prefect_genvideo.batch.model import DEFAULT_KINDS, Manifest, ManifestLimits
from prefect_genvideo.batch.rows import read_rows
from prefect_genvideo.errors import InvalidRequestError
from prefect_genvideo.models import VideoRequest
from tests.fixtures.expected import refusing

TODAY = date(2026, 11, 22)
LIMITS = ManifestLimits()


def batch(*rows: Any, defaults: Any = None, limits: ManifestLimits = LIMITS) -> Manifest:
    """The rows of a file, read on a fixed day."""
    table = Table([RawRow(number, row) for number, row in enumerate(rows, 1)], defaults=defaults or {})
    return read_rows("", table, today=TODAY, limits=limits)


def good(*rows: Any, **options: Any) -> Manifest:
    """A batch without problems."""
    manifest = batch(*rows, **options)
    manifest.check()
    return manifest


def limits_by_field(*rows: Any, **options: Any) -> dict[str, str]:
    """What is wrong, by field."""
    return {found.problem.field: found.problem.limit for found in batch(*rows, **options).problems}


def test_a_row_sets_every_field_of_a_request() -> None:
    """The fields of a row are those of a request, and a few of its own."""
    fields = {
        "model": "m",
        "prompt": "p",
        "duration": 5,
        "aspect_ratio": "9:16",
        "resolution": "720p",
        "images": ["a.jpg", "s3://b/k.png"],
        "videos": ["v.mp4"],
        "audios": ["a.mp3"],
        "timeout": 600,
        "options": {"camera_fixed": True},
    }
    [row] = good({**fields, "key": "k", "provider": "sudashui", "tags": ["a", "b"], "vars": {"x": 1}}).rows
    assert row.request == VideoRequest.model_validate(fields)
    assert (row.number, row.key, row.provider, row.tags, row.vars) == (1, "k", "sudashui", ("a", "b"), {"x": 1})


def test_requests_and_mappings_are_the_same() -> None:
    """A `VideoRequest` in the list counts with the fields that were set."""
    rows = rows_from([VideoRequest(model="m", prompt="{{ row }}"), {"model": "m", "prompt": "{{ row }}"}]).rows
    assert [row.request.prompt for row in rows] == ["1", "2"]
    assert [row.request.model_fields_set for row in rows] == [{"model", "prompt"}] * 2


def test_defaults_apply_to_what_a_row_leaves_out() -> None:
    """Null is not given; `vars` and `options` are merged name by name."""
    defaults = {"model": "d", "duration": 5, "options": {"a": 1, "b": 1}, "vars": {"brand": "X", "city": "?"}}
    [row] = good(
        {"model": None, "prompt": "{{ brand }} {{ city }}", "options": {"b": 2}, "vars": {"city": "Oslo"}},
        defaults=defaults,
    ).rows
    assert (row.request.model, row.request.duration, row.request.prompt) == ("d", 5, "X Oslo")
    assert row.request.options == {"a": 1, "b": 2}


def test_one_text_stands_for_a_list_of_one() -> None:
    """`images: cat.jpg` is what people write."""
    [row] = good({"model": "m", "images": "cat.jpg", "tags": "x", "first_frame": Path("f.png")}).rows
    assert (row.request.images, row.tags, row.request.first_frame) == (("cat.jpg",), ("x",), "f.png")


def test_all_problems_come_at_once() -> None:
    """Every broken rule of every row is named with row, key, field, value and limit; the good rows are there too."""
    manifest = batch(
        {"model": "m", "duration": "long", "images": [1, "a.jpg"], "key": "spring"},
        {"model": "m"},
        {"prompt": "no model", "due": "tomorrow", "provider": "nobody"},
        "not a row",
    )
    assert [(p.row, p.key, p.problem.field, p.problem.value) for p in manifest.problems] == [
        (1, "spring", "duration", "long"),
        (1, "spring", "images[0]", "1"),
        (3, None, "due", "tomorrow"),
        (3, None, "model", "(not given)"),
        (3, None, "provider", "nobody"),
        (4, None, "(row)", "str"),
        (4, None, "model", "(not given)"),
    ]
    assert [row.number for row in manifest.rows] == [2]
    with pytest.raises(InvalidRequestError) as caught:
        manifest.check()
    assert [problem.field for problem in caught.value.problems][:3] == [
        "row 1 (key spring): duration",
        "row 1 (key spring): images[0]",
        "row 3: due",
    ]
    assert len(caught.value.problems) == 7


def test_a_broken_default_is_told_once() -> None:
    """A thousand rows do not repeat what is wrong with the defaults."""
    manifest = batch(*[{"prompt": "p"}] * 50, defaults={"model": "m", "duration": "x", "colour": "red"})
    assert [(p.row, p.problem.field) for p in manifest.problems] == [(0, "colour"), (0, "duration")]
    assert manifest.where(manifest.problems[0]) == "defaults"
    assert not manifest.rows


def test_a_misspelt_field_is_an_error_with_a_hint() -> None:
    """What nobody reads would silently change what is paid for."""
    wrong = limits_by_field({"model": "m", "prmopt": "x", "city": "Rome"})
    assert "did you mean prompt?" in wrong["prmopt"]
    assert "`vars`" in wrong["city"]


def test_one_key_is_one_row() -> None:
    """The second row of a key names the first; rendered keys count."""
    manifest = batch(
        {"model": "m", "key": "a-{{ row }}"}, {"model": "m", "key": "b"}, {"model": "m", "key": "a-1"}, {"model": "m"}
    )
    [found] = manifest.problems
    assert (found.row, found.key, found.problem.field) == (3, "a-1", "key")
    assert "row 1 has it too" in found.problem.limit
    assert [row.key for row in manifest.rows] == ["a-1", "b", None]


@pytest.mark.parametrize("key", ["", " ", "x" * 301, "a\nb", "a\x9bb", True, 1.5, ["k"], "{{ nothing }}"])
def test_keys_that_nobody_can_name(key: Any) -> None:
    """A key is 1 to 300 printable characters."""
    assert list(limits_by_field({"model": "m", "key": key})) == ["key"]


def test_a_number_may_be_a_key() -> None:
    """Spreadsheets and YAML make numbers of digits."""
    assert good({"model": "m", "key": 20261122}).rows[0].key == "20261122"


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-22", datetime(2026, 11, 22, tzinfo=timezone.utc)),
        ("2026-11-22T09:00Z", datetime(2026, 11, 22, 9, tzinfo=timezone.utc)),
        ("2026-11-22 09:00:30.5+0100", datetime(2026, 11, 22, 8, 0, 30, 500_000, timezone.utc)),
        (date(2026, 11, 22), datetime(2026, 11, 22, tzinfo=timezone.utc)),
        (datetime(2026, 11, 22, 9, tzinfo=timezone.utc), datetime(2026, 11, 22, 9, tzinfo=timezone.utc)),
    ],
)
def test_due_is_a_moment(text: Any, moment: datetime) -> None:
    """A date is its first moment in UTC; a time brings its zone."""
    assert good({"model": "m", "due": text}).rows[0].due == moment


@pytest.mark.parametrize(
    "text", ["2026-11-22T09:00", "2026-13-01", "22.11.2026", "1066-10-14", 20261122, True, "2026-11-22T25:00Z", "", "٢"]
)
def test_due_that_is_no_moment(text: Any) -> None:
    """A time without a zone would mean another moment on every machine."""
    assert list(limits_by_field({"model": "m", "due": text})) == ["due"]


def test_a_calendar_gives_what_is_due() -> None:
    """(now - window, now]; consecutive runs meet every row once; a row without `due` is in no calendar."""
    hours = [f"2026-11-22T{hour:02}:00Z" for hour in range(6)]
    manifest = good(*({"model": "m", "due": due} for due in hours), {"model": "m"})
    now = datetime(2026, 11, 22, 2, tzinfo=timezone.utc)
    window = timedelta(hours=2)
    assert [row.number for row in due_rows(manifest, now, window)] == [2, 3]
    assert [row.number for row in due_rows(manifest, now + window, window)] == [4, 5]
    assert not due_rows(manifest, now - timedelta(days=9), window)
    assert len(due_rows(manifest, now + window, timedelta.max)) == 5


def test_a_calendar_needs_a_zone_and_a_window() -> None:
    """What cannot mean anything is refused."""
    manifest = good({"model": "m"})
    with pytest.raises(InvalidRequestError):
        due_rows(manifest, datetime(2026, 11, 22), timedelta(hours=1))
    with pytest.raises(InvalidRequestError):
        due_rows(manifest, datetime(2026, 11, 22, tzinfo=timezone.utc), timedelta(0))


def test_an_alternative_is_the_row_with_other_fields() -> None:
    """Templates are rendered, null takes a field away, a bare name is another model."""
    [row] = good(
        {
            "model": "m",
            "prompt": "{{ row }}",
            "resolution": "720p",
            "fallback": [
                "other",
                {
                    "provider": "senseaudio",
                    "model": "s",
                    "resolution": None,
                    "prompt": "again {{ row }}",
                    "on": ["rejected"],
                },
            ],
        }
    ).rows
    first, second = row.fallback
    assert (first.on, first.provider) == (DEFAULT_KINDS, None)
    assert first.request == VideoRequest(model="other", prompt="1", resolution="720p")
    assert (second.on, second.provider) == (frozenset({"rejected"}), "senseaudio")
    assert second.request == VideoRequest(model="s", prompt="again 1")


@pytest.mark.parametrize(
    ("fallback", "field", "limit"),
    [
        ([{"model": "x", "on": ["moderation"]}], "fallback[0].on", "never tried elsewhere"),
        ([{"model": "x", "on": ["sunday"]}], "fallback[0].on", "no kind of failure"),
        ([{"model": "x", "on": list[str]()}], "fallback[0].on", "at least one"),
        ([{"on": ["quota"]}], "fallback[0]", "another model"),
        ([{"modle": "x", "model": "y"}], "fallback[0].modle", "did you mean model?"),
        ([{"model": ""}], "fallback[0].model", "model's name"),
        ([{"provider": "nobody"}], "fallback[0].provider", "no provider"),
        ([{"prompt": "{{ nothing }}"}], "fallback[0].prompt", "'nothing' is undefined"),
        ([5], "fallback[0]", "model's name or an object"),
        (5, "fallback", "list of at most"),
        (["x"] * 9, "fallback", "list of at most"),
    ],
)
def test_alternatives_that_cannot_be_used(fallback: Any, field: str, limit: str) -> None:
    """A moderation refusal never leads to another provider; the rest is checked like a row."""
    assert limit in limits_by_field({"model": "m", "fallback": fallback})[field]


def test_an_alternative_does_not_repeat_the_rows_faults() -> None:
    """What is wrong with the row is said once."""
    assert list(limits_by_field({"model": "m", "duration": "x", "fallback": ["a", "b"]})) == ["duration"]


def nested(depth: int) -> Any:
    """A list in a list in a list."""
    return [nested(depth - 1)] if depth else 1


@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, 10**5000, 2**63, nested(40), b"bytes", {1: 2}, "\ud800", "a\0b", object(), {"\udfff": 1}],
    ids=lambda value: type(value).__name__,
)
def test_values_that_no_store_can_hold(value: Any) -> None:
    """They are problems of their row, wherever they stand."""
    for fields in ({"options": {"x": value}}, {"vars": {"x": value}}, {"prompt": value}, {"unknown": value}):
        manifest = batch({"model": "m", **fields})
        assert manifest.problems
        str(manifest.problems).encode()


def test_variables_are_small() -> None:
    """A template works on words, not on files."""
    assert "vars.x" in limits_by_field({"model": "m", "vars": {"x": "a" * 20_001}})
    assert "vars.x" in limits_by_field({"model": "m", "vars": {"x": ["a" * 100] * 2_000}})
    assert "vars" in limits_by_field({"model": "m", "vars": {"x": ["ab"] * 40_000}})
    assert "vars" in limits_by_field({"model": "m", "vars": {f"x{number}": 1 for number in range(1_001)}})
    assert "options" in limits_by_field({"model": "m", "options": {"x": [{}] * 10_000}})
    assert "vars" in limits_by_field({"model": "m", "vars": 5})
    assert "tags" in limits_by_field({"model": "m", "tags": [1]})
    assert "images" in limits_by_field({"model": "m", "images": ["a"] * 101})


def test_a_batch_has_limits() -> None:
    """Rows, growth, time and the list of problems are bounded."""
    with refusing("manifest", limit="100000 rows"):
        rows_from([{"model": "m"}] * 100_001)
    with refusing("manifest", limit="too large"):
        batch(*[{"prompt": "p"}] * 9, defaults={"options": {"a": "x" * 200}}, limits=ManifestLimits(max_expanded=1000))
    with refusing("manifest", limit="-1 s"):
        batch({"model": "m"}, limits=ManifestLimits(seconds=-1))
    manifest = batch(*[{}] * 5, limits=ManifestLimits(max_problems=2))
    assert (len(manifest.problems), manifest.unlisted) == (2, 3)
    with refusing("row 1: model", "row 2: model"):
        manifest.check()


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({f"field{number}": 1 for number in range(200_000)}, {"(row)", "model"}),
        ({"model": "m", "images": [1] * 200_000}, {"images"}),
        ({"model": "m", "tags": [1] * 200_000}, {"tags"}),
        ({"model": "m", "fallback": [5] * 200_000}, {"fallback"}),
        ({"model": "m", "fallback": [{"model": "n", "on": [5] * 5_000}]}, {"fallback[0].on"}),
        ({"model": "m", "images": [1] * 101, "fallback": [{"model": "n"}] * 9}, {"images", "fallback"}),
    ],
    ids=["fields", "images", "tags", "fallback", "on", "inherited"],
)
def test_a_row_of_very_many_mistakes_has_few_problems(fields: Any, told: set[str]) -> None:
    """What is too long is told as a whole, before its parts are looked at one by one."""
    problems = batch(fields).problems
    assert {found.problem.field for found in problems} == told
    assert len(problems) == len(told)


def test_the_same_key_is_told_even_when_its_first_row_is_broken() -> None:
    """Else mending that row would bring the next error."""
    fields = [found.problem.field for found in batch({"key": "k"}, {"model": "m", "key": "k"}).problems]
    assert fields == ["model", "key"]


def test_secrets_are_not_shown() -> None:
    """A signed link in a broken row stays out of the report."""
    [found] = batch({"model": "m", "imags": "https://host/a.jpg?X-Amz-Signature=abcdef"}).problems
    assert "abcdef" not in str(found)
