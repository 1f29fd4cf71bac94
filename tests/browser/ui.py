"""Prefect's UI with real servers behind it, as a person sees it: what tests open, press, fill in and wait for."""

from __future__ import annotations

import base64
import io
import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from benchmarks.servers import BUCKET, S3_KEY, Servers
from tests.fixtures.prefect import end

ROOT = Path(__file__).parents[2]
PICTURES = ROOT / "docs" / "img"
POOL = "browser"
CREDENTIALS = "sudashui-credentials/simulator"
"""Saved block of the account that pays, at the simulator."""
DESTINATION = "s3-video-destination/my-videos"
"""Saved block of the destination, whose links are presigned."""
PRESET = "teaser"
"""Name of a saved Video Job."""
DEPLOYED = ("generate_video", "generate_videos", "reconcile_videos", "run_preset", "storyboard")
"""Flows of `prefect_genvideo.flows` that are deployed, each by its module path."""
# A worker looks for runs every 2 s, starts a process that imports Prefect, and the machine may be busy.
PATIENCE = 120.0
# Bytes that a logo has less of, and a screenshot more.
_LOGO = 10_000
T = TypeVar("T")

_SETUP = """
import asyncio, sys
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.flows import EntrypointType
from prefect_genvideo import S3Destination, SudashuiCredentials, VideoJob, flows

async def main(simulator, s3, bucket, key, pool, preset, *names):
    payer = SudashuiCredentials(
        api_key="sk-sim-demo", base_url=simulator + "/sudashui", files_url=simulator + "/sudashui-files"
    )
    await payer.save("simulator")
    target = S3Destination(
        bucket=bucket, endpoint_url=s3, region="us-east-1", access_key_id=key, secret_access_key=key,
        link="presigned",
    )
    await target.save("my-videos")
    teaser = VideoJob(
        credentials=payer, destination=target, model="sd-2-fast-720p", duration=4, aspect_ratio="9:16",
        prompt="{prompt}. Studio light, slow orbit, no text",
    )
    await teaser.save(preset)
    async with get_client() as client:
        await client.create_work_pool(WorkPoolCreate(name=pool, type="process"))
    for name in names:
        flow = getattr(flows, name)
        made = await flow.ato_deployment(pool, work_pool_name=pool, entrypoint_type=EntrypointType.MODULE_PATH)
        print(name, await made.aapply())

asyncio.run(main(*sys.argv[1:]))
"""


@dataclass
class Ui:
    """The servers, a browser, and what is deployed.

    Attributes:
        servers: Simulator, S3 and Prefect.
        browser: Selenium's driver.
        deployments: Ids of the deployments by the flow's name in Python.
    """

    servers: Servers
    browser: Any
    deployments: Mapping[str, str]

    def api(self, path: str, body: dict[str, Any]) -> Any:
        """POST to Prefect's API, which answers 503 while its SQLite is locked, as on a busy machine."""
        deadline = time.monotonic() + PATIENCE
        while True:
            answer = httpx.post(f"{self.servers.prefect}{path}", json=body, timeout=30)
            if answer.status_code != 503 or time.monotonic() > deadline:
                return answer.raise_for_status().json()
            time.sleep(1)

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

    def picture(self, name: str, height: int = 0) -> None:
        """Take a picture for the documentation when that was asked for.

        Args:
            name: File below `docs/img`.
            height: Pixels from the top that are kept; 0: the whole window.
        """
        if os.environ.get("SCREENSHOTS"):
            self._draw_logos()
            time.sleep(2)
            save_small(self.browser.get_screenshot_as_png(), PICTURES / name, height)

    def _draw_logos(self) -> None:
        """Put our logos where their links lead to: the machine that takes the pictures has no network."""
        script = (
            "for (const i of document.images) if (i.src.endsWith('/docs/img/' + arguments[0])) i.src = arguments[1]"
        )
        for path in PICTURES.glob("*.png"):
            if path.stat().st_size < _LOGO:
                data = base64.b64encode(path.read_bytes()).decode()
                self.browser.execute_script(script, path.name, f"data:image/png;base64,{data}")

    def pick(self, option: str) -> None:
        """Choose a saved block in the first picker that is still empty."""
        empty = self.until("a picker", lambda: [one for one in self.elements("button") if "Select a block" in one.text])
        empty[0].click()
        found = f"//*[normalize-space(text())='{option}']"
        shown = self.until(
            option, lambda: [one for one in self.browser.find_elements("xpath", found) if one.is_displayed()]
        )
        shown[-1].click()

    def press(self, button: str) -> None:
        """Press the button that says this."""
        self.choose(button, "button")

    def choose(self, option: str, selector: str) -> None:
        """Press what says this among elements that just opened, e.g. a menu's.

        Args:
            option: What it says.
            selector: CSS selector of all of them.
        """
        found = self.until(option, lambda: [one for one in self.elements(selector) if one.text.strip() == option])
        found[0].click()

    def start(self, flow: str, **parameters: object) -> str:
        """Start a run of a deployment without its form; the id of the run.

        Args:
            flow: The flow's name in Python.
            parameters: Of the run.
        """
        made = self.api(f"/deployments/{self.deployments[flow]}/create_flow_run", {"parameters": parameters})
        return str(made["id"])

    def submit(self) -> str:
        """Press `Submit` in a run form; the id of the run that it makes."""

        def known() -> set[str]:
            return {one["id"] for one in self.api("/flow_runs/filter", {"sort": "EXPECTED_START_TIME_DESC"})}

        before = known()
        self.press("Submit")
        return self.until("a run", lambda: known() - before).pop()

    def run(self, run: str) -> dict[str, Any]:
        """What Prefect knows of a flow run."""
        return httpx.get(f"{self.servers.prefect}/flow_runs/{run}").raise_for_status().json()

    def reaches(self, run: str, state: str, seconds: float = PATIENCE) -> dict[str, Any]:
        """Return a flow run once it is in the state of this name."""
        return self.until(state, lambda: found if (found := self.run(run))["state_name"] == state else {}, seconds)

    def artifacts(self, run: str, kind: str) -> list[dict[str, Any]]:
        """Artifacts of a flow run.

        Args:
            run: Id of the flow run.
            kind: Type: `markdown`, `table` or `progress`.
        """
        wanted = {"artifacts": {"type": {"any_": [kind]}, "flow_run_id": {"any_": [run]}}, "sort": "CREATED_DESC"}
        return list(self.api("/artifacts/filter", wanted))

    def artifact(self, run: str, kind: str, prefix: str = "") -> dict[str, Any]:
        """The newest artifact of a flow run.

        Args:
            run: Id of the flow run.
            kind: Type, as for `artifacts`.
            prefix: What its key begins with.
        """
        found = [one for one in self.artifacts(run, kind) if (one["key"] or "").startswith(prefix)]
        assert found, f"the run has no {kind} artifact with a key of {prefix}…"
        return found[0]

    def control(self, what: str, body: dict[str, Any] | None = None) -> None:
        """Steer the simulator.

        Args:
            what: Path below `/_sim/`, e.g. `config`.
            body: What is sent.
        """
        httpx.post(f"{self.servers.simulator}/_sim/{what}", json=body or {}).raise_for_status()

    def opens(self, artifact: Mapping[str, Any], shows: str) -> str:
        """Open an artifact's page and return its text once it shows what it should."""
        return self.open(f"/v2/artifacts/artifact/{artifact['id']}", shows)

    def plays(self, link: str) -> None:
        """Follow the link that says this, and see that the browser plays what it fetches from the S3 server."""
        address = next(one for one in self.elements("a") if one.text == link).get_attribute("href")
        assert address.startswith(self.servers.s3)
        self.browser.get(address)
        script = "const v = document.querySelector('video'); if (v) { v.muted = true; v.play(); return v.currentTime }"
        self.until("a video that plays", lambda: (self.browser.execute_script(script) or 0) > 0.5)

    def sees(self, selector: str) -> Any:
        """The first picture that fits a CSS selector, once the browser has drawn it."""
        script = "const i = document.querySelector(arguments[0]); return i && i.naturalWidth ? i : null"
        return self.until(selector, lambda: self.browser.execute_script(script, selector))


def save_small(picture: bytes, path: Path, height: int = 0) -> None:
    """Write a screenshot with a palette, a third of its size.

    Args:
        picture: PNG.
        path: Where to.
        height: Pixels from the top that are kept; 0: all.
    """
    pillow: Any = pytest.importorskip("PIL.Image")
    shot = pillow.open(io.BytesIO(picture))
    kept = shot.convert("RGB").crop((0, 0, shot.width, min(height or shot.height, shot.height)))
    kept.quantize(128, dither=pillow.Dither.NONE).save(path, optimize=True)


def deploy(servers: Servers) -> dict[str, str]:
    """Save the blocks, make the work pool and deploy the flows; ids of the deployments by the flows' names."""
    arguments = [servers.simulator, servers.s3, BUCKET, S3_KEY, POOL, PRESET, *DEPLOYED]
    made = subprocess.run(
        [sys.executable, "-c", _SETUP, *arguments],
        env=servers.environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=180,
    )
    return dict(line.split() for line in made.stdout.splitlines() if line.startswith(DEPLOYED))


@contextmanager
def working(servers: Servers, pool: str = POOL, **more: str) -> Generator[None]:
    """Run a process worker meanwhile.

    Args:
        servers: The servers.
        pool: Work pool that it takes runs from.
        more: Variables of the worker and its runs.
    """
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", pool]
    settings = {
        "PREFECT_INTEGRATIONS_GENVIDEO_POLL_INTERVAL": "1",
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "PREFECT_LOGGING_LEVEL": "INFO",
    }
    with (servers.folder / f"worker-{pool}.log").open("ab") as log:
        process = subprocess.Popen(
            command,
            env=servers.environment() | settings | more,
            cwd=servers.folder,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield
        finally:
            end(process)
