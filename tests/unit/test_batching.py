"""From a list to rows that are checked and keyed, before the first one costs money."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from prefect_genvideo.batch.plan import Batch, Item, plan_batch, unclaimed
from prefect_genvideo.errors import DestinationError, InvalidRequestError
from prefect_genvideo.models import VideoRequest
from prefect_genvideo.simulator import Simulator
from prefect_genvideo.storage.base import ObjectInfo
from tests.fixtures.expected import refusing
from tests.fixtures.pipelines import Pipelines, derive, open_pipelines, rows
from tests.fixtures.s3 import S3Server

MODEL = "sd-2-fast-720p"


def key_of(item: Item) -> str:
    return item.alternatives[0].idempotency_key


async def plan(pipelines: Pipelines, requests: Any, allow_local: bool = True, **facts: Any) -> Batch:
    given: dict[str, Any] = {"key": "batch", **facts}
    both = pipelines.both if allow_local else [replace(one, allow_local=False) for one in pipelines.both]
    return await plan_batch(requests, both, derive=derive, **given)


def keys(batch: Batch) -> dict[str, str]:
    return {item.alternatives[0].request.prompt: key_of(item) for item in batch.items}


async def refused(pipelines: Pipelines, requests: Any, **facts: Any) -> list[tuple[str, str, str]]:
    with pytest.raises(InvalidRequestError) as caught:
        await plan(pipelines, requests, **facts)
    return [(problem.field, problem.value, problem.limit) for problem in caught.value.problems]


async def test_every_broken_rule_of_every_row_is_told_at_once(sim: Simulator, pipelines: Pipelines) -> None:
    """The report names row, field, value and limit, in the order of the list; fallbacks are checked like rows."""
    wanted = [
        *rows("fine"),
        *rows("too long", duration=99, aspect_ratio="7:3", key="spring-1"),
        {"model": "Seedance-2.0", "prompt": "wrong size", "resolution": "4k"},
        *rows("alternative", fallback=[{"model": "Seedance-2.0", "duration": 99}]),
        {"model": MODEL, "prompt": "misspelt", "promt": "x"},
    ]
    problems = await refused(pipelines, wanted)
    assert [(field, value) for field, value, _ in problems] == [
        ("row 5: promt", "x"),
        ("row 2 (key spring-1): duration", "99"),
        ("row 2 (key spring-1): aspect_ratio", "7:3"),
        ("row 3: resolution", "4k"),
        ("row 4, fallback 1: duration", "99"),
    ]
    limits = [limit for _, _, limit in problems]
    assert "from 4 to 15" in limits[1]
    assert sim.calls == {}


async def test_an_account_that_was_not_given_is_a_problem_of_each_row_that_needs_it(pipelines: Pipelines) -> None:
    """Also where only a fallback needs it: found before the first row is paid, not when the fallback is due."""
    wanted = [
        *rows("a", duration=99),
        *rows("b", provider="senseaudio"),
        *rows("c", fallback=[{"model": "Seedance-2.0", "provider": "senseaudio"}]),
    ]
    with refusing("row 1: duration", "row 2: provider", "row 3, fallback 1: provider") as caught:
        await plan_batch(wanted, [pipelines.sudashui], derive=derive)
    assert [problem.limit.rpartition(" ")[2] for problem in caught.value.problems[1:]] == ["sudashui"] * 2


async def test_rows_go_to_the_account_that_can_make_them(pipelines: Pipelines) -> None:
    """A named provider decides, else the one that documents the model, else the first account."""
    wanted = [
        *rows("a"),
        {"model": "Seedance-2.0", "prompt": "b"},
        {"model": "new-model", "prompt": "c"},
        {"model": "new-model", "prompt": "d", "provider": "senseaudio"},
    ]
    batch = await plan(pipelines, wanted)
    names = [item.alternatives[0].pipeline.client.name for item in batch.items]
    assert names == ["sudashui", "senseaudio", "sudashui", "senseaudio"]


async def test_a_row_keeps_its_key_when_others_come_go_or_move(pipelines: Pipelines) -> None:
    """So a rerun of a mended list pays for what is new only."""
    before = keys(await plan(pipelines, rows("a", "b", "c")))
    after = keys(await plan(pipelines, rows("c", "x", "a")))
    assert before["a"] == after["a"]
    assert before["c"] == after["c"]
    assert len({*before.values(), *after.values()}) == 4


async def test_equal_rows_are_videos_of_their_own(pipelines: Pipelines) -> None:
    """Three times the same request is three wanted variations: keys differ by the place among the equal ones."""
    batch = await plan(pipelines, rows("a", "a", "b", "a"))
    assert len({key_of(item) for item in batch.items}) == 4
    fewer = await plan(pipelines, rows("a", "a"))
    assert [key_of(item) for item in fewer.items] == [key_of(item) for item in batch.items[:2]]


async def test_a_changed_request_is_a_new_key_and_an_own_key_stays(pipelines: Pipelines) -> None:
    """The key of a row that names none follows its request; one that is named is the caller's."""
    first = await plan(pipelines, [*rows("a"), *rows("b", key="mine")])
    second = await plan(pipelines, [*rows("a", aspect_ratio="9:16"), *rows("b", key="mine")])
    assert first.items[0].alternatives[0].idempotency_key != second.items[0].alternatives[0].idempotency_key
    assert first.items[1].alternatives[0].idempotency_key == second.items[1].alternatives[0].idempotency_key == "mine"


async def test_each_way_has_a_key_of_its_own(pipelines: Pipelines) -> None:
    """One key stands for one request, so fallbacks cannot share the row's."""
    fallback = [{"model": "Seedance-2.0", "on": ["quota"]}, {"model": "sd-2-720p"}]
    (item,) = (await plan(pipelines, rows("a", key="mine", fallback=fallback))).items
    assert [attempt.idempotency_key for attempt in item.alternatives] == ["mine", "mine.alt1", "mine.alt2"]
    assert [sorted(attempt.on) for attempt in item.alternatives] == [
        [],
        ["quota"],
        ["model_unavailable", "provider_down", "quota"],
    ]
    assert [attempt.pipeline.client.name for attempt in item.alternatives] == ["sudashui", "senseaudio", "sudashui"]


async def test_keys_without_a_record_are_found_by_one_listing(
    pipelines: Pipelines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They need no look of their own; a key that has a record is looked at."""
    ledger, batch = pipelines.sudashui.ledger, await plan(pipelines, rows("one", "two", "three"))
    taken = batch.items[1].alternatives[0]
    await ledger.claim(pipelines.sudashui.draft(taken.idempotency_key, taken.request, {}))
    looks = list[str]()
    monkeypatch.setattr(ledger.store, "get", looks.append)
    assert await unclaimed(ledger, batch.items) == {
        key_of(batch.items[0]),
        key_of(batch.items[2]),
    }
    assert not looks


async def test_keys_that_have_nothing_in_common_are_looked_at_one_by_one(pipelines: Pipelines) -> None:
    """A listing of the whole ledger would cost more than it saves."""
    batch = await plan(pipelines, [*rows("one", key="spring"), *rows("two", key="winter")])
    assert await unclaimed(pipelines.sudashui.ledger, batch.items) == frozenset()


async def test_a_store_that_cannot_be_listed_leaves_every_key_to_be_looked_at(
    pipelines: Pipelines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The listing is a short cut, not a condition."""
    batch = await plan(pipelines, rows("one", "two"))

    async def failing(prefix: str) -> AsyncIterator[ObjectInfo]:
        raise DestinationError("the store is away", retryable=True)
        yield

    monkeypatch.setattr(pipelines.sudashui.ledger.store, "list", failing)
    assert await unclaimed(pipelines.sudashui.ledger, batch.items) == frozenset()


async def test_a_batch_among_very_many_records_of_others_is_looked_at_row_by_row(
    pipelines: Pipelines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A listing ends when it has become dearer than what it saves."""
    batch, listed = await plan(pipelines, rows("one", "two")), 0

    async def endless(prefix: str) -> AsyncIterator[ObjectInfo]:
        nonlocal listed
        while True:
            listed += 1
            yield ObjectInfo(f"{prefix}{listed}.json", 1, "")

    monkeypatch.setattr(pipelines.sudashui.ledger.store, "list", endless)
    assert await unclaimed(pipelines.sudashui.ledger, batch.items) == frozenset()
    assert listed < 6_000


async def test_one_key_cannot_stand_for_two_rows(pipelines: Pipelines) -> None:
    """The second one would be refused by the ledger after the first was paid."""
    ((field, value, limit),) = await refused(pipelines, [*rows("a", key="k"), *rows("b", key="k")])
    assert (field, value) == ("row 2 (key k): key", "k")
    assert "row 1" in limit


async def test_the_batch_key_is_derived_from_all_rows_when_none_is_given(pipelines: Pipelines) -> None:
    """The same list in the same flow run is the same batch."""
    first, second, other = [
        (await plan(pipelines, rows(*prompts), key=None)).key for prompts in (("a", "b"), ("a", "b"), ("a", "c"))
    ]
    assert first == second
    assert first != other


async def test_a_mended_manifest_keeps_the_keys_of_the_rows_that_were_right(
    pipelines: Pipelines, tmp_path: Path
) -> None:
    """Its key is that of its place, so that a retry of the run after a repair does not pay for everything again."""
    source = tmp_path / "wanted.json"
    source.write_text(json.dumps(rows("a", "b")))
    before = await plan(pipelines, str(source), key=None)
    source.write_text(json.dumps(rows("a", "mended", "new")))
    after = await plan(pipelines, str(source), key=None)
    assert before.key == after.key
    assert keys(before)["a"] == keys(after)["a"]
    assert len({*keys(before).values(), *keys(after).values()}) == 4
    other = tmp_path / "other.json"
    other.write_text(source.read_text())
    assert (await plan(pipelines, str(other), key=None)).key != after.key


@pytest.mark.parametrize("key", ["x" * 295, "line\nbreak"])
async def test_a_batch_key_that_no_row_could_use_is_refused_at_once(pipelines: Pipelines, key: str) -> None:
    """A key may have 300 printable characters, with what the rows add to it."""
    ((field, _, limit),) = await refused(pipelines, rows("a"), key=key)
    assert (field, limit) == ("idempotency_key", "1 to 300 printable characters")


def numbers(items: tuple[Item, ...]) -> list[int]:
    return [item.number for item in items]


@pytest.mark.parametrize(("span", "picked"), [("", [1, 2, 3, 4]), ("2-3", [2, 3]), ("3-99", [3, 4]), (" 4-4 ", [4])])
async def test_a_slice_picks_rows_and_changes_no_key(pipelines: Pipelines, span: str, picked: list[int]) -> None:
    """Shards of one list share the keys of the whole one."""
    whole = await plan(pipelines, rows("a", "b", "a", "a"), key=None)
    part = await plan(pipelines, rows("a", "b", "a", "a"), key=None, rows=span)
    assert numbers(part.items) == picked
    all_keys = [key_of(item) for item in whole.items]
    assert [key_of(item) for item in part.items] == [all_keys[number - 1] for number in picked]
    assert part.key == whole.key


@pytest.mark.parametrize("span", ["0-3", "3-2", "5-9", "2", "a-b", "-1-2", "1-", "²-³", "1-" + "9" * 5000])
async def test_a_slice_that_means_nothing_is_refused(pipelines: Pipelines, span: str) -> None:
    """A misspelt slice must not end as a batch of no videos that went well."""
    ((field, _, limit),) = await refused(pipelines, rows("a", "b", "a", "a"), rows=span)
    assert field == "rows"
    assert limit.endswith(" 4")


async def test_an_empty_list_is_refused(pipelines: Pipelines) -> None:
    """Nothing wanted is most likely a mistake."""
    with refusing("requests"):
        await plan(pipelines, [])


async def test_many_problems_are_counted_and_the_first_ones_listed(pipelines: Pipelines) -> None:
    """A thousand broken rows make one readable error."""
    with pytest.raises(InvalidRequestError) as caught:
        await plan(pipelines, rows(*(str(number) for number in range(300)), duration=99))
    assert len(caught.value.problems) == 200
    assert "300" in str(caught.value)


async def test_a_manifest_file_names_its_lines(pipelines: Pipelines, tmp_path: Path) -> None:
    """Rows of JSONL are counted as an editor counts them."""
    source = tmp_path / "wanted.jsonl"
    lines = [{"model": MODEL, "prompt": "a", "duration": 4}, {"model": MODEL, "prompt": "b", "duration": 99}]
    source.write_text("\n\n".join(map(json.dumps, lines)))
    ((field, value, _),) = await refused(pipelines, str(source))
    assert (field, value) == ("line 3: duration", "99")
    with pytest.raises(InvalidRequestError):
        await plan(pipelines, str(source), allow_local=False)


async def test_the_name_of_a_file_cannot_forge_a_line(pipelines: Pipelines, tmp_path: Path) -> None:
    """It comes from a link or a folder of strangers, and stands in the error."""
    source = tmp_path / "a\n- row 9: duration = 0: pay me.json"
    source.write_text(json.dumps(rows("a", duration=99)))
    with pytest.raises(InvalidRequestError) as caught:
        await plan(pipelines, str(source))
    assert len(str(caught.value).splitlines()) == 2


@pytest.mark.parametrize("key", ["half \ud800", "\x1b[2J", "a\x9bb", "tab\t"])
async def test_keys_that_no_store_or_terminal_could_take_are_refused(pipelines: Pipelines, key: str) -> None:
    """Before anything is asked or written."""
    ((field, value, _),) = await refused(pipelines, rows("a"), key=key)
    assert field == "idempotency_key"
    assert value.isprintable()


async def test_a_manifest_in_the_destination_s_bucket(sim: Simulator, s3: S3Server) -> None:
    """`s3://` is read with the destination's own keys; templates are filled in."""
    store = s3.store("videos")
    row = {"model": MODEL, "prompt": "{{ city }} at dawn", "duration": 4, "vars": {"city": "Oslo"}}
    s3.client.put_object(Bucket=store.bucket, Key="in/list.jsonl", Body=json.dumps(row).encode())
    async with open_pipelines(sim, store) as pipelines:
        batch = await plan(pipelines, f"s3://{store.bucket}/in/list.jsonl")
    assert [item.alternatives[0].request.prompt for item in batch.items] == ["Oslo at dawn"]
    assert batch.items[0].label == "1: Oslo at dawn"


async def test_assets_are_looked_at_before_anything_is_paid(pipelines: Pipelines, tmp_path: Path) -> None:
    """A missing file, one that is no picture and one that may not be read are problems of their rows."""
    words = tmp_path / "words.jpg"
    words.write_text("no picture")
    wanted = [*rows("a", images=[str(tmp_path / "gone.jpg")]), *rows("b", images=[str(words)])]
    problems = await refused(pipelines, wanted)
    assert [field for field, _, _ in problems] == ["row 1: images[0]", "row 2: images[0]"]
    assert "no such file" in problems[0][2]
    assert "no image" in problems[1][2]
    problems = await refused(pipelines, rows("a", images=[str(words)]), allow_local=False)
    assert problems[0][0] == "row 1: images[0]"


async def test_a_fault_of_our_own_in_one_row_does_not_hide_the_others(
    pipelines: Pipelines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a problem of its row, with its type; nothing is sent."""
    validate = pipelines.sudashui.client.validate

    def failing(request: VideoRequest, *facts: Any) -> Any:
        if request.prompt == "odd":
            raise KeyError(request.prompt)
        return validate(request, *facts)

    monkeypatch.setattr(pipelines.sudashui.client, "validate", failing)
    problems = await refused(pipelines, [*rows("fine", "odd"), *rows("long", duration=99)])
    assert [(field, value) for field, value, _ in problems] == [("row 2: (row)", "KeyError"), ("row 3: duration", "99")]


NO_REFERENCES = [
    "https://[",
    "http://",
    "https://host:99999/a.jpg",
    "https://h\x1bost/a.jpg",
    "http://a b/",
    "https://" + "x" * 5_000,
    "https://host/" + "x" * 9_000,
    "~nosuchuser/x.jpg",
    "~/nothing/x.jpg",
    "x" * 5_000 + ".jpg",
    "a/" * 2_500,
    "a\nb.jpg",
    " ",
    "ftp://host/x.jpg",
    "file:///etc/passwd",
    "/dev/zero",
    "s3://",
    "s3://bucket",
    "s3://b/" + "k" * 5_000,
    "s3://b/\u202ek.jpg",
    "data:image/png;base64,%%%",
    "data:,",
    "data:image/png;base64," + "A" * 5_000,
]


async def test_references_that_cannot_be_are_problems_of_their_rows(sim: Simulator, pipelines: Pipelines) -> None:
    """Whatever stands there, the error names row and field, shows a short printable value, and no other row is lost."""
    wanted = [row for text in NO_REFERENCES for row in (*rows("a", images=[text]), *rows("b", videos=[text]))]
    problems = await refused(pipelines, [*rows("fine"), *wanted])
    named = {field for field, _, _ in problems}
    assert named == {
        f"row {number}: {'videos[0]' if number % 2 else 'images[0]'}" for number in range(2, len(wanted) + 2)
    }
    for field, value, limit in problems:
        assert len(value) <= 200, field
        assert (value + limit).isprintable()
    assert sim.calls == {}


async def test_requests_in_memory_may_be_models(pipelines: Pipelines) -> None:
    """A list may mix `VideoRequest` and plain fields."""
    batch = await plan(pipelines, [VideoRequest(model=MODEL, prompt="a"), *rows("b" * 100)])
    assert [item.label for item in batch.items] == ["1: a", f"2: {'b' * 59}…"]
