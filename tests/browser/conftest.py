"""What the tests in a browser share: servers, a worker, what is deployed, and a headless Chromium."""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.servers import running
from tests.browser.ui import Ui, deploy, working

CHROMIUM, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"


def _browser(webdriver: Any) -> Any:
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
    options.binary_location = CHROMIUM
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))


@pytest.fixture(scope="session")
def session_ui() -> Generator[Ui]:
    """Servers, deployments of the flows by module path, a worker that runs them, and a headless Chromium."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="make browser installs it")
    if not Path(CHROMIUM).exists():
        pytest.skip("make browser installs Chromium")
    with running(json.dumps({"polls_to_finish": 3}), ui=True) as servers:
        deployments = deploy(servers)
        with working(servers):
            browser = _browser(webdriver)
            try:
                yield Ui(servers, browser, deployments)
            finally:
                browser.quit()


@pytest.fixture
def ui(session_ui: Ui) -> Ui:
    """The session's UI with a window of the usual size."""
    session_ui.browser.set_window_size(1300, 1500)
    return session_ui
