"""What runs leave in Prefect's V2 UI, read and followed as a person does: progress, batch, film, ledger, preset."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from tests.browser.ui import CREDENTIALS, DESTINATION, PRESET, Ui

pytestmark = pytest.mark.browser
BLOCKS = {"credentials": CREDENTIALS, "destination": DESTINATION}
MODEL = "sd-2-fast-720p"
WISHES = (
    "A red kite over the dunes, wide shot",
    "一只猫第一次看见大海，金色夕阳",
    "Rain on a tram window at night",
    "A paper boat in a gutter, macro",
)


@contextmanager
def configured(ui: Ui, changed: dict[str, Any], before: dict[str, Any]) -> Generator[None]:
    """Let the simulator behave otherwise meanwhile."""
    ui.control("config", changed)
    try:
        yield
    finally:
        ui.control("config", before)


def wanted(*prompts: str) -> list[dict[str, Any]]:
    """Requests of a batch."""
    return [{"prompt": prompt, "model": MODEL, "duration": 4} for prompt in prompts]


def test_a_preset_is_a_pick_and_a_prompt(ui: Ui) -> None:
    """Nothing else is asked for; the preset's own prompt is around the one that was typed."""
    ui.open(f"/v2/deployments/deployment/{ui.deployments['run_preset']}/run", "What this video shows")
    ui.pick(PRESET)
    ui.until("the fields", lambda: ui.elements("textarea"))[0].send_keys("A cup of tea")
    ui.picture("preset.png", height=850)
    run = ui.submit()
    ui.reaches(run, "Completed")
    assert "A cup of tea. Studio light, slow orbit, no text" in ui.opens(ui.artifact(run, "markdown"), "SHA-256")


def test_a_running_video_shows_how_far_it_is(ui: Ui) -> None:
    """While it is made: the state, how often was asked, and when next; at the end all of it."""
    with configured(ui, {"clock": "manual"}, {"clock": "immediate"}):
        run = ui.start("generate_video", prompt=WISHES[0], model=MODEL, **BLOCKS)
        ui.reaches(run, "Running")
        shown = ui.until("progress", lambda: ui.artifacts(run, "progress"))[0]
        text = ui.open(f"/v2/runs/flow-run/{run}", "1 question")
        assert "first check in 1 s" in text
        ui.picture("progress.png", height=1180)
        assert "queued, 1 s waited, 1 question" in ui.opens(shown, "Progress: ")
        task = text.partition("accepted task ")[2].split()[0]
        ui.control(f"tasks/{task}/finish")
        ui.reaches(run, "Completed")
    assert ui.artifacts(run, "progress")[0]["data"] == 100.0


def test_a_batch_has_a_table_covers_and_links(ui: Ui) -> None:
    """One page for people who look, one table for those who count; a prompt in Chinese is read in both."""
    run = ui.start("generate_videos", requests=wanted(*WISHES), **BLOCKS)
    ui.reaches(run, "Completed")
    text = ui.open(f"/v2/runs/flow-run/{run}", "4 videos")
    assert WISHES[0] in text
    text = ui.opens(ui.artifact(run, "markdown", "videos-"), WISHES[1])
    assert "4 videos: 4 saved" in text
    assert text.count("play") >= len(WISHES)
    ui.sees("img[src^='data:image/jpeg']")
    ui.picture("batch.png", height=960)
    ui.plays("play")
    text = ui.opens(ui.artifact(run, "table", "batch-"), WISHES[1])
    assert all(wish in text for wish in WISHES)
    ui.picture("batch-table.png", height=700)


def test_a_film_has_its_shots_and_plays(ui: Ui) -> None:
    """The film first, its shots below it."""
    shots = [{"prompt": WISHES[2], "duration": 4}, {"prompt": WISHES[3], "duration": 4}]
    run = ui.start("storyboard", shots=shots, model=MODEL, idempotency_key="雨夜", **BLOCKS)
    ui.reaches(run, "Completed", 240)
    assert "film · 雨夜 · 2 shots" in ui.open(f"/v2/runs/flow-run/{run}", "雨夜")
    text = ui.opens(ui.artifact(run, "markdown", "film-"), WISHES[3])
    assert "2 shots joined" in text
    ui.sees("img[src^='data:image/']")
    ui.picture("film.png", height=960)
    ui.plays("Play the film")


def test_the_ledgers_page_says_what_waits_for_whom(ui: Ui) -> None:
    """What was left behind and is saved now has a link; what a person decides comes first, with its key to copy."""
    ui.control("faults", {"kind": "lost_after", "op": "create", "times": 1})
    ui.reaches(ui.start("generate_video", prompt=WISHES[0], model=MODEL, idempotency_key="kite-1", **BLOCKS), "Failed")
    left = ui.start("generate_videos", requests=wanted(*WISHES[1:3]), wait="collect", **BLOCKS)
    ui.reaches(left, "Completed")
    text = ""
    for _ in range(5):  # the simulator is done after three looks
        if "saved" in text:
            break
        run = ui.start("reconcile_videos", **BLOCKS)
        ui.reaches(run, "Completed")
        text = ui.opens(ui.artifact(run, "markdown", "reconciled-"), WISHES[0])
    assert text.index(WISHES[0]) < text.index(WISHES[1])
    assert "Look for each in the provider's console" in text
    ui.picture("ledger.png", height=900)
    ui.plays("play")


def test_a_kind_of_block_has_a_frame_for_its_logo(ui: Ui) -> None:
    """Logos are links, the only kind that Prefect's client takes; without a network there is an even frame, no text."""
    slug = "sudashui-credentials"
    kind = httpx.get(f"{ui.servers.prefect}/block_types/slug/{slug}").raise_for_status().json()
    assert kind["logo_url"].startswith("https://")
    ui.open(f"/v2/blocks/catalog/{slug}/create", kind["name"])
    logo = ui.until("the logo's frame", lambda: ui.elements("main img"))[0]
    assert logo.size["width"] == logo.size["height"] > 0
