"""Pages of the UI: keys that are allowed and differ, tables that strangers' texts cannot break, names of runs."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefect_genvideo import S3Destination, SudashuiCredentials
from prefect_genvideo.artifacts import artifact_key
from prefect_genvideo.artifacts.ledger import decisions_markdown, in_order, reconciled_markdown
from prefect_genvideo.artifacts.report import batch_markdown
from prefect_genvideo.artifacts.video import film_markdown
from prefect_genvideo.batch.report import BatchReport, BatchRow
from prefect_genvideo.flows import generate_video, reconcile_videos
from prefect_genvideo.flows.names import place_name, run_name
from prefect_genvideo.models import StoredVideo
from prefect_genvideo.pipeline.play import PlayLink
from prefect_genvideo.pipeline.reconcile import ReconciledRow
from prefect_genvideo.pipeline.storyboard import StoredFilm
from prefect_genvideo.prices.facts import Candidate
from tests.unit.test_strangers_texts import HOSTILE, parsed

ALLOWED = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@given(st.text(), st.text())
def test_keys_are_allowed_short_and_differ(one: str, other: str) -> None:
    """Prefect refuses other characters; two batches must not share a page."""
    keys = [artifact_key("batch", name) for name in (one, other)]
    assert all(ALLOWED.fullmatch(key) and len(key) <= 32 for key in keys)
    if not one.isascii() or not other.isascii():
        assert (keys[0] == keys[1]) == (one == other)


@pytest.mark.parametrize(
    ("one", "other"), [("春节活动", "中秋活动"), ("春节2", "中秋2"), ("", "春"), ("a" * 40, "a" * 41)]
)
def test_chinese_and_long_names_keep_keys_of_their_own(one: str, other: str) -> None:
    """Nothing of a Chinese name is left in a key but its hash; the description has the name."""
    assert artifact_key("videos", one) != artifact_key("videos", other)


def test_plain_names_stay_readable() -> None:
    """As people wrote them."""
    assert artifact_key("batch", "Spring 2026") == "batch-spring-2026"


def video(text: str = "t") -> StoredVideo:
    return StoredVideo(
        uri="s3://b/a.mp4",
        key="a.mp4",
        size=1,
        sha256="0",
        manifest_uri="s3://b/a.json",
        task_id=text,
        provider="p",
        model="m",
    )


def tables(markdown: str) -> tuple[list[Any], int]:
    """All tokens, and the rows of the tables."""
    found = parsed(markdown)
    return found, sum(token.type == "tr_open" for token in found)


@pytest.mark.parametrize("text", HOSTILE)
def test_a_batch_page_links_to_its_videos_alone(text: str) -> None:
    """Prompts and reasons of strangers make neither rows nor links."""
    rows = [
        BatchRow(number=1, key="k", model="m", provider="p", prompt=text, state="saved", video=video()),
        BatchRow(number=2, key="l", model="m", provider="p", prompt=text, state="failed", reason=text),
    ]
    page = batch_markdown(BatchReport(key="k", rows=rows), [PlayLink("https://cdn.example/a.mp4", 2), None], None)
    tokens, count = tables(page)
    assert [token.attrs["href"] for token in tokens if token.type == "link_open"] == ["https://cdn.example/a.mp4"]
    assert [token for token in tokens if token.type in ("image", "html_block", "html_inline")] == []
    assert count == 3
    assert "live for 2 h" in page


def test_a_batch_page_has_no_column_that_is_empty() -> None:
    """Videos in a folder have no links: their column took the prompts' room. What to do is a sentence of its own."""
    rows = [BatchRow(number=1, key="k", model="m", provider="p", state="saved", video=video())]
    assert "Video" not in batch_markdown(BatchReport(key="k", rows=rows), [None], None)
    bad = BatchRow(number=2, key="l", model="m", provider="p", state="failed", reason="No faces.", error="QuotaError")
    page = batch_markdown(BatchReport(key="k", rows=[*rows, bad]), [None, None], None)
    assert "No faces. See to the account" in page
    assert "Video" not in page


@pytest.mark.parametrize("text", HOSTILE)
def test_a_film_page_links_to_film_and_shots_alone(text: str) -> None:
    """The same for a film."""
    film = StoredFilm(
        uri="s3://b/f.mp4", key="f.mp4", size=1, sha256="0", seconds=8, seams=[4], reencoded=True, reason=text,
        manifest_uri="s3://b/f.json", shots=[video(text), video(text)],
    )  # fmt: skip
    links = [PlayLink("https://cdn.example/f.mp4"), PlayLink("https://cdn.example/1.mp4"), None]
    tokens, count = tables(film_markdown(film, [text, text], [None, "data:image/jpeg;base64,AA=="], links))
    hrefs = [token.attrs["href"] for token in tokens if token.type == "link_open"]
    assert hrefs == ["https://cdn.example/f.mp4", "https://cdn.example/1.mp4"]
    assert [token.attrs["src"] for token in tokens if token.type == "image"] == ["data:image/jpeg;base64,AA=="]
    assert count == 3


def reconciled(outcome: str, text: str, link: bool = False) -> ReconciledRow:
    """A row of a reconciliation whose every text is somebody else's."""
    return ReconciledRow(
        key=text, provider="p", model=text, task_id=text, outcome=outcome, detail=text, prompt=text,
        object_key="a.mp4" if link else None,
    )  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE)
def test_pages_of_the_ledger_link_to_videos_alone(text: str) -> None:
    """Prompts, keys and reasons make neither rows nor links; what a person decides has its key, to be copied."""
    rows = [reconciled("unknown", text), reconciled("saved", text, link=True)]
    page = reconciled_markdown(rows, [None, PlayLink("https://cdn.example/a.mp4", 2)], 3)
    tokens, count = tables(page)
    assert [token.attrs["href"] for token in tokens if token.type == "link_open"] == ["https://cdn.example/a.mp4"]
    assert [token for token in tokens if token.type in ("image", "html_block", "html_inline")] == []
    assert count == 3
    assert "live for 2 h" in page
    assert "1 more" in page
    tokens, count = tables(decisions_markdown(rows[:1]))
    assert [token for token in tokens if token.type in ("image", "html_block", "html_inline", "link_open")] == []
    assert count == 0


@pytest.mark.parametrize("text", HOSTILE)
def test_charges_of_a_lost_create_stay_in_their_row(text: str) -> None:
    """The provider's log is somebody else's, too. Each is a line of a list: a table's last column had a word a line."""
    candidate = Candidate(model=text[:300], quota=1, request_id=text[:200], task_id=text[:1024], doubt=text[:300])
    row = reconciled("unknown", "k").model_copy(update={"candidates": (candidate, Candidate())})
    tokens, count = tables(decisions_markdown([row]))
    assert [token for token in tokens if token.type in ("image", "html_block", "html_inline", "link_open")] == []
    assert count == 0
    assert sum(token.type == "list_item_open" for token in tokens) == 2


def test_a_decision_shows_the_key_whole_and_the_prompt_in_chinese() -> None:
    """The key goes into a form; however long it is, nothing of it is cut."""
    key = f"event-{'8d7f6e5d' * 8}"
    page = decisions_markdown([reconciled("unknown", "一只猫发现大海").model_copy(update={"key": key})])
    assert f"`{key}`" in page
    assert "一只猫发现大海" in page


def test_what_waits_comes_first_on_a_page_of_the_ledger() -> None:
    """However many others there are."""
    rows = [reconciled(outcome, outcome) for outcome in ("waiting", "saved", "unknown", "trouble")]
    assert [row.outcome for row in in_order(rows)] == ["unknown", "trouble", "saved", "waiting"]


def test_forms_have_no_backticks() -> None:
    """Prefect's pages show them as they are."""
    blocks = [kind.model_json_schema() for kind in (S3Destination, SudashuiCredentials)]
    flows = [one.parameters.model_dump() for one in (generate_video, reconcile_videos)]
    forms = [form for schema in blocks + flows for form in (schema, *schema.get("definitions", {}).values())]
    told = [field.get("description", "") for form in forms for field in form.get("properties", {}).values()]
    assert len(told) > 40
    assert [text for text in told if "`" in str(text)] == []


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("https://x.example/a/wishes.csv?X-Amz-Signature=secret", "wishes.csv"),
        ("s3://bucket/calendar.yaml", "calendar.yaml"),
        ("sudashui-credentials/production", "production"),
        ('[{"prompt": "a cat"}]', "inline list"),
        (None, ""),
    ],
)
def test_runs_are_named_after_what_people_know(value: Any, name: str) -> None:
    """Never by a link's signature, which would stand in every list of runs."""
    assert place_name(value) == name


def test_a_name_is_one_short_line() -> None:
    """Whatever is in it."""
    told = run_name("a\nb" * 100, "", "\x1b[2J春")
    assert len(told) < 140
    assert told.isprintable()
