"""Prefect's V2 UI in a real browser: the forms that the blocks and flows become, and what a finished run shows.

Run by `make browser`, which installs Chromium and Selenium; skipped elsewhere. With SCREENSHOTS=1 the pictures
of the README are taken anew.
"""

from __future__ import annotations

import httpx
import pytest

from tests.browser.ui import Ui

pytestmark = pytest.mark.browser
PROMPT = "A cat discovers the sea, golden hour"


def test_the_block_form_says_what_each_field_is(ui: Ui) -> None:
    """Somebody who never saw the code can fill it in."""
    slug = "sudashui-credentials"
    kind = httpx.get(f"{ui.servers.prefect}/block_types/slug/{slug}").raise_for_status().json()["slug"]
    text = ui.open(f"/v2/blocks/catalog/{kind}/create", "API address")
    assert "`" not in text
    for words in ("API key of the provider", "Address that reference files are uploaded to"):
        assert words in text


def test_the_run_form_starts_a_run_and_the_run_shows_its_video(ui: Ui) -> None:
    """Prompt, model and two picks are all that a run needs; its artifact has the cover and the facts."""
    ui.browser.set_window_size(1300, 2900)
    text = ui.open(f"/v2/deployments/deployment/{ui.deployments['generate_video']}/run", "idempotency_key")
    for words in ("What the video shows", "Whose account pays", "Where the video goes", "Width to height"):
        assert words in text
    prompt, model = ui.until("the fields", lambda: ui.elements("textarea"))[:2]
    prompt.send_keys(PROMPT)
    model.send_keys("sd-2-fast-720p")
    ui.pick("simulator")
    ui.pick("my-videos")
    ui.picture("form.png", height=1480)
    billed = int(str(ui.servers.state()["billed"]))
    run = ui.submit()
    ended = ui.reaches(run, "Completed")
    assert ended["parameters"]["prompt"] == PROMPT
    assert ui.servers.state()["billed"] == billed + 1

    ui.browser.set_window_size(1300, 1500)
    text = ui.open(f"/v2/runs/flow-run/{run}", "Saved s3://")
    assert f"{PROMPT} · sd-2-fast-720p" in text
    ui.picture("run.png")
    text = ui.opens(ui.artifact(run, "markdown"), "SHA-256")
    assert "by this run" in text
    assert "live for 24 h" in text
    preview = ui.sees("img[src^='data:image/webp']")
    first = preview.screenshot_as_png
    ui.until("another picture", lambda: preview.screenshot_as_png != first)
    ui.picture("artifact.png")
    ui.plays("Play the video")
