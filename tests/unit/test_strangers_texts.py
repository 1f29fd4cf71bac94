"""What strangers write is shown and does nothing: no markup in artifacts, no orders to a terminal, no forged lines."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from prefect_genvideo.artifacts import plain, video_markdown
from prefect_genvideo.cli.app import app
from prefect_genvideo.ledger.store import Ledger
from prefect_genvideo.models import StoredVideo, VideoRequest
from prefect_genvideo.pipeline.play import PlayLink
from prefect_genvideo.storage import LocalStore
from tests.fixtures.money import draft

URI = "s3://videos/2026-11-26/task_1.mp4"
ESC = "\x1b[2J\x1b]8;;https://evil.example\x07click\x1b]8;;\x07"
BIDI = "\u202egpj.exe\u202c"
FORGED = "a cat\n12:00:00.000 | INFO    | Flow run 'x' - Finished in state Completed()"

HOSTILE = (
    "![](https://evil.example/t.png)",
    "[win](javascript:alert(1))",
    "<img src=https://evil.example/t.png onerror=alert(1)>",
    "<https://evil.example>",
    "see https://evil.example/?q=(1), www.evil.example. or me@evil.example",
    "HTTPS\\://evil.example and WWW.evil.example",
    "# heading",
    "- item",
    "1. item",
    "2) item",
    "a | b | c",
    "text\n===",
    "***bold*** `code` ``more` ~~gone~~",
    "[^1] [ref][1]\n\n[1]: https://evil.example",
    "&lt;b&gt; &#60;img src=x&#62;",
    "```mermaid\ngraph TD\n```",
    "$$\\href{https://evil.example}{x}$$",
    "\\![](https://evil.example/t.png)",
    ESC,
    BIDI,
    FORGED,
)

AUTOLINK = re.compile(r"https?://|www\.|[-.\w+]+@[-\w]+\.|(mailto|xmpp):", re.IGNORECASE)
"""What GitHub's Markdown makes links of in a text that has been parsed, whatever was escaped in it."""


def parsed(markdown: str) -> list[Any]:
    """Every token of a Markdown text with tables and raw HTML, as Prefect's UI reads it."""
    found: list[Any] = []
    for token in MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(markdown):
        found += [token, *(token.children or [])]
    return found


def effects(markdown: str) -> set[str]:
    """What a Markdown text would do beyond showing words and code."""
    tokens = parsed(markdown)
    harmless = {"paragraph_open", "paragraph_close", "inline", "text", "code_inline", "text_special"}
    found = {str(token.type) for token in tokens} - harmless
    return found | {
        f"link {token.content}" for token in tokens if token.type == "text" and AUTOLINK.search(token.content)
    }


@pytest.mark.parametrize("text", HOSTILE)
def test_a_hostile_text_is_shown_and_does_nothing(text: str) -> None:
    """As a text of its own and behind a mark of ours."""
    assert effects(plain(text)) == set()
    assert effects("> " + plain(text)) <= {"blockquote_open", "blockquote_close"}
    assert plain(text).isprintable()


@given(st.text(max_size=80) | st.text("\\`*_{}[]()<>#|!~&$-+=.:/@w1 \n\x1b\u202eh", max_size=60))
def test_any_text_is_shown_and_does_nothing(text: str) -> None:
    """Whatever its characters are."""
    assert effects(plain(text)) == set()


def test_words_are_still_readable() -> None:
    """A prompt as people write it looks as they wrote it."""
    prompt = "A cat, cinematic: golden hour (wide), 35 mm & no text!"
    assert "".join(token.content for token in parsed(plain(prompt)) if token.type != "inline") == prompt
    assert plain("a cat — 猫 🐈 👩\u200d🚀") == "a cat — 猫 🐈 👩\u200d🚀"


@pytest.mark.parametrize("text", HOSTILE)
def test_an_artifact_links_to_its_video_alone(text: str) -> None:
    """Prompt, model, ids: nothing of them becomes a link, a picture or another row of the table."""
    video = StoredVideo(
        uri=URI,
        bucket="videos",
        key="2026-11-26/task_1.mp4",
        size=1,
        sha256="0" * 64,
        manifest_uri=URI + ".json",
        task_id=text,
        provider="sudashui",
        model=text,
        idempotency_key=text,
    )
    link = PlayLink("https://cdn.example/a.mp4?X-Amz-Signature=(1)|2")
    tokens = parsed(video_markdown(video, VideoRequest(model="m", prompt=text), "data:image/jpeg;base64,AA==", link))
    [played] = [token.attrs["href"] for token in tokens if token.type == "link_open"]
    assert played == "https://cdn.example/a.mp4?X-Amz-Signature=%281%29%7C2"
    assert [token.attrs["src"] for token in tokens if token.type == "image"] == ["data:image/jpeg;base64,AA=="]
    assert not [token for token in tokens if token.type in ("html_block", "html_inline", "fence", "heading_open")]
    assert len([token for token in tokens if token.type == "tr_open"]) == 7
    loose = [token.content for token in tokens if token.type == "text" and AUTOLINK.search(token.content)]
    assert [text for text in loose if not text.startswith("s3://")] == []


@pytest.mark.parametrize("text", [ESC, BIDI, FORGED, "\x9b2J"])
def test_a_terminal_is_not_driven_by_a_record(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A reason that a provider or a person gave, in a table and as JSON."""
    ledger = Ledger(LocalStore(tmp_path))

    async def write() -> None:
        entry = await ledger.claim(draft("a").model_copy(update={"request": {"prompt": text}}))
        assert entry is not None
        await ledger.move(entry, "unknown", reason=text)

    anyio.run(write)
    for words in (["list"], ["list", "--json"], ["show", "a"]):
        app(["ledger", *words, "--at", str(tmp_path)], result_action="return_value", exit_on_error=False)
        printed = capsys.readouterr().out
        assert [char for char in printed if not char.isprintable() and char != "\n"] == []
        if "show" in words:
            assert json.loads(printed)["request"]["prompt"] == text
        else:
            assert len(printed.splitlines()) == (1 if "--json" in words else 5)
