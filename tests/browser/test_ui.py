"""Prefect's V2 UI in a real browser: the forms that the blocks and flows become, and what a finished run shows.

Run by `make browser`, which installs Chromium and Selenium; skipped elsewhere. With SCREENSHOTS=1 the pictures
of the README are taken anew.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from benchmarks.servers import BUCKET, S3_KEY, Servers, running

webdriver: Any = pytest.importorskip("selenium.webdriver", reason="make browser installs it")

pytestmark = pytest.mark.browser
ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "docs" / "img"
PROMPT = "A cat discovers the sea, golden hour"
T = TypeVar("T")

_SETUP = """
import asyncio, sys
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.flows import EntrypointType
from prefect_genvideo import S3Destination, SudashuiCredentials, generate_video

async def main(simulator, s3, bucket, key):
    payer = SudashuiCredentials(
        api_key="sk-sim-demo", base_url=simulator + "/sudashui", files_url=simulator + "/sudashui-files"
    )
    await payer.save("simulator")
    target = S3Destination(
        bucket=bucket, endpoint_url=s3, region="us-east-1", access_key_id=key, secret_access_key=key,
        link="presigned",
    )
    await target.save("my-videos")
    async with get_client() as client:
        await client.create_work_pool(WorkPoolCreate(name="browser", type="process"))
    deployment = await generate_video.ato_deployment(
        "browser", work_pool_name="browser", entrypoint_type=EntrypointType.MODULE_PATH
    )
    print(await deployment.aapply())

asyncio.run(main(*sys.argv[1:]))
"""


@dataclass
class Ui:
    """The servers, a browser, and the deployment that is tried."""

    servers: Servers
    browser: Any
    deployment: str

    def api(self, path: str, body: dict[str, Any]) -> Any:
        """POST to Prefect's API."""
        return httpx.post(f"{self.servers.prefect}{path}", json=body, timeout=30).raise_for_status().json()

    def open(self, path: str, shows: str) -> str:
        """Open a page and return its text once it shows what it should."""
        self.browser.get(self.servers.prefect.removesuffix("/api") + path)
        return self.until(shows, lambda: text if shows in (text := self.text()) else "")

    def text(self) -> str:
        """What the page says now."""
        return str(self.browser.execute_script("return document.body ? document.body.innerText : ''"))

    def elements(self, selector: str) -> list[Any]:
        """Elements of the page, by CSS selector."""
        return list(self.browser.find_elements("css selector", selector))

    def until(self, what: str, look: Callable[[], T], seconds: float = 60) -> T:
        """Return the first true result of `look`."""
        deadline = time.monotonic() + seconds
        while not (found := look()):
            assert time.monotonic() < deadline, f"the page never showed {what!r}; it says: {self.text()[:2000]}"
            time.sleep(0.3)
        return found

    def picture(self, name: str) -> None:
        """Take a picture for the README when that was asked for."""
        if os.environ.get("SCREENSHOTS"):
            time.sleep(2)
            assert self.browser.save_screenshot(str(PICTURES / name))

    def pick(self, option: str) -> None:
        """Choose a saved block in the first picker that is still empty."""
        empty = next(one for one in self.elements("select, button, [role=combobox]") if "None" in one.text)
        empty.click()
        found = f"//*[normalize-space(text())='{option}']"
        shown = self.until(
            option, lambda: [one for one in self.browser.find_elements("xpath", found) if one.is_displayed()]
        )
        shown[-1].click()


def _browser() -> Any:
    options = webdriver.ChromeOptions()
    for flag in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
        "--window-size=1300,1500",
    ):
        options.add_argument(flag)
    options.binary_location = "/usr/bin/chromium"
    return webdriver.Chrome(options=options, service=webdriver.ChromeService("/usr/bin/chromedriver"))


@pytest.fixture(scope="module")
def ui() -> Generator[Ui]:
    """Servers with a deployment of `generate_video` by module path, and a headless Chromium."""
    if not Path("/usr/bin/chromium").exists():
        pytest.skip("make browser installs Chromium")
    with running(json.dumps({"polls_to_finish": 3}), ui=True) as servers:
        arguments = [servers.simulator, servers.s3, BUCKET, S3_KEY]
        made = subprocess.run(
            [sys.executable, "-c", _SETUP, *arguments],
            env=servers.environment(),
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        browser = _browser()
        try:
            yield Ui(servers, browser, made.stdout.strip().splitlines()[-1])
        finally:
            browser.quit()


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
    ui.browser.set_window_size(1300, 2600)
    text = ui.open(f"/deployments/deployment/{ui.deployment}/run", "idempotency_key")
    for words in ("What the video shows", "Whose account pays", "Where the video goes", "Width to height"):
        assert words in text
    prompt, model = ui.until("the fields", lambda: ui.elements("textarea"))[:2]
    prompt.send_keys(PROMPT)
    model.send_keys("sd-2-fast-720p")
    ui.pick("simulator")
    ui.pick("my-videos")
    ui.picture("form.png")
    next(one for one in ui.elements("button") if one.text.strip() == "Submit").click()
    run = ui.until("a run", lambda: ui.api("/flow_runs/filter", {}))[0]
    _work(ui.servers)
    ended = ui.api("/flow_runs/filter", {"flow_runs": {"id": {"any_": [run["id"]]}}})[0]
    assert (ended["state_name"], ended["parameters"]["prompt"]) == ("Completed", PROMPT)
    assert ui.servers.state()["billed"] == 1

    ui.browser.set_window_size(1300, 1500)
    text = ui.open(f"/v2/runs/flow-run/{run['id']}", "Saved s3://")
    assert f"{PROMPT} · sd-2-fast-720p" in text
    ui.picture("run.png")
    shown = ui.api("/artifacts/filter", {"artifacts": {"type": {"any_": ["markdown"]}}})[0]
    text = ui.open(f"/v2/artifacts/artifact/{shown['id']}", "SHA-256")
    assert "by this run" in text
    assert "live for 24 h" in text
    preview = ui.until("the moving preview", lambda: ui.elements("img[src^='data:image/webp']"))[0]
    ui.until("a picture", lambda: ui.browser.execute_script("return arguments[0].naturalWidth", preview))
    first = preview.screenshot_as_png
    ui.until("another picture", lambda: preview.screenshot_as_png != first)
    ui.picture("artifact.png")
    link = next(one for one in ui.elements("a") if one.text == "Play the video").get_attribute("href")
    assert link.startswith(ui.servers.s3)
    ui.browser.get(link)
    script = "const v = document.querySelector('video'); if (v) { v.muted = true; v.play(); return v.currentTime }"
    ui.until("a video that plays", lambda: (ui.browser.execute_script(script) or 0) > 0.5)


def _work(servers: Servers) -> None:
    """Let a process worker do what is queued, then end."""
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "browser", "--run-once"]
    settings = {
        "PREFECT_INTEGRATIONS_GENVIDEO_POLL_INTERVAL": "1",
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "PREFECT_LOGGING_LEVEL": "INFO",
    }
    subprocess.run(
        command, env=servers.environment() | settings, cwd=servers.folder, check=True, timeout=170, capture_output=True
    )
