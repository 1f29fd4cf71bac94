"""A new user's first hour, by pip alone: from an empty folder to videos of a schedule and of an event.

The wheel is installed into an environment of its own, which takes its dependencies from the one that runs the tests;
nothing of the checkout is on its path. The commands are the README's.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
import time
import venv
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.servers import free_port
from tests.fixtures.prefect import kill_marked, template_file
from tests.packaging.markdown import first_hour
from tests.packaging.sources import ROOT, built

# It runs where a new user's installation is tried: on Prefect's newest version, by `make test-next`.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PATIENCE_S = 300
MARK = "GENVIDEO_FIRST_HOUR"
VIA = "#!/bin/sh\nexec '{python}' -m prefect \"$@\"\n"


@dataclass(frozen=True)
class Newcomer:
    """Somebody with Python, an empty folder and the wheel.

    Attributes:
        bin: The commands that pip has installed.
        folder: Where the commands are typed.
        port: Of the Prefect server; the simulator has the next one.
    """

    bin: Path
    folder: Path
    port: int

    @property
    def environment(self) -> dict[str, str]:
        """What a fresh shell has, and two ports of their own; no variable of the tests is among it."""
        return {
            "PATH": f"{self.bin}:/usr/bin:/bin",
            "HOME": str(self.folder.parent),
            "PREFECT_HOME": str(self.home),
            "GENVIDEO_SIMULATOR_URL": f"http://127.0.0.1:{self.port + 1}",
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_WORKER_QUERY_SECONDS": "2",
            "DO_NOT_TRACK": "1",
            "LANG": "C.UTF-8",
            "TMPDIR": str(self.folder.parent),
            MARK: str(self.folder),
        }

    @property
    def home(self) -> Path:
        """Where Prefect's database is."""
        return self.folder.parent / "prefect-home"

    def fitted(self, line: str) -> str:
        """A line with free ports in place of those that everybody uses."""
        for written, own in {
            ":4200": f":{self.port}",
            "prefect server start": f"prefect server start --port {self.port}",
            "genvideo simulate": f"genvideo simulate --port {self.port + 1}",
        }.items():
            line = line.replace(written, own)
        return line

    def shell(self, *lines: str, log: Path) -> subprocess.Popen[bytes]:
        """Type lines into a shell, which ends at the first that fails."""
        with log.open("wb") as out:
            return subprocess.Popen(
                ["bash", "-e", "-o", "pipefail", "-c", "\n".join(map(self.fitted, lines))],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def runs(self) -> list[dict[str, Any]]:
        """All flow runs, latest first; none while the server is too busy to say."""
        url = f"http://127.0.0.1:{self.port}/api/flow_runs/filter"
        try:
            answer = httpx.post(url, json={"sort": "START_TIME_DESC"}, timeout=30, trust_env=False)
        except httpx.TransportError:
            return []
        return answer.json() if answer.is_success else []

    def videos(self) -> list[Path]:
        """What has been saved."""
        return list((self.folder / "studio" / "videos").rglob("*.mp4"))


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel, and the folder of its commands."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    where = [sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check"]
    wheel = built("wheel", tmp_path_factory.mktemp("wheel"))
    subprocess.run([*where, "install", "--quiet", "--no-index", "--no-deps", str(wheel)], check=True)
    # A line of a .pth file is a folder; the links to the checkout, which are such files inside it, are not read then.
    own = next(folder.glob("lib/python*/site-packages"))
    (own / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    command = folder / "bin" / "prefect"
    command.write_text(VIA.format(python=python))
    command.chmod(0o755)
    return folder / "bin"


@pytest.fixture
def newcomer(installed: Path, tmp_path: Path) -> Generator[Newcomer]:
    """A newcomer in an empty folder; whatever was started is gone afterwards."""
    someone = Newcomer(installed, tmp_path / "empty", free_port())
    someone.folder.mkdir()
    someone.home.mkdir()
    if template_file().exists():  # migrating an empty database takes a first start a quarter of a minute
        shutil.copy(template_file(), someone.home / "prefect.db")
    with processes_ended(someone):
        yield someone


@contextmanager
def processes_ended(someone: Newcomer) -> Generator[None]:
    """End what carries the newcomer's mark, which is in the environment of everything that a line has started."""
    try:
        yield
    finally:
        kill_marked(f"{MARK}={someone.folder}")


def until(told: str, true: Any, *logs: Path) -> None:
    """Wait until something is true; what was printed is shown when it never is."""
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        if time.monotonic() > deadline:
            words = "\n".join(log.read_text(errors="replace")[-4000:] for log in logs)
            pytest.fail(f"not within {PATIENCE_S} s: {told}\n{words}")
        time.sleep(0.3)


def test_the_wheel_is_what_is_tried(newcomer: Newcomer) -> None:
    """Not the checkout, which the environment of the tests is linked to."""
    program = "import prefect, prefect_genvideo; print(prefect_genvideo.__file__)"
    command = [str(newcomer.bin / "python"), "-c", program]
    done = subprocess.run(
        command, cwd=newcomer.folder, env=newcomer.environment, capture_output=True, text=True, check=True
    )
    assert Path(done.stdout.strip()).is_relative_to(newcomer.bin.parent)
    assert not Path(done.stdout.strip()).is_relative_to(ROOT / "src")


def test_the_demo_makes_a_video_of_each_provider_in_an_empty_folder(newcomer: Newcomer) -> None:
    """The README's `genvideo demo`."""
    log = newcomer.folder.parent / "demo.log"
    # A home of another version is left alone: its database may be a newer one.
    other = newcomer.folder / "demo-output" / "prefect-99.0" / "prefect.db"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"no database")
    shutil.copytree(newcomer.home, newcomer.folder / "demo-output" / f"prefect-{version('prefect')}")
    demo = newcomer.shell("genvideo demo", log=log)
    until("the demo has ended", lambda: demo.poll() is not None, log)
    assert demo.returncode == 0, log.read_text(errors="replace")[-4000:]
    made = {path.name: path.read_bytes()[4:8] for path in (newcomer.folder / "demo-output").glob("*.mp4")}
    assert made == dict.fromkeys(("ark.mp4", "senseaudio.mp4", "sudashui.mp4"), b"ftyp")


def test_from_an_empty_folder_to_a_scheduled_and_a_requested_video(newcomer: Newcomer) -> None:
    """The README's lines as they stand; only the morning comes within the minute, and ports are free ones."""
    log = newcomer.folder.parent / "lines.log"
    init, *others = first_hour()
    hurry = "sed -i 's/cron: \"0 6 /cron: \"* * /' studio/prefect.yaml"
    typed = newcomer.shell(init, hurry, *others, log=log)
    until("all lines are typed", lambda: typed.poll() is not None, log)
    assert typed.returncode == 0, log.read_text(errors="replace")[-6000:]
    until("both videos are there", lambda: len(newcomer.videos()) == 2, log)

    paid = newcomer.shell("cd studio", "genvideo ledger list --at videos --everything --json", log=log)
    assert paid.wait(PATIENCE_S) == 0
    assert len([line for line in log.read_text().splitlines() if line.startswith("{")]) == 2

    def mornings() -> list[dict[str, Any]]:
        scheduled = [run for run in newcomer.runs() if run["auto_scheduled"] and "manifest" in run["parameters"]]
        return [run for run in scheduled if run["state_type"] == "COMPLETED"]

    until("the schedule has fired", mornings, log)
    assert len(newcomer.videos()) == 2, "the morning's run wants what was made by hand: nothing is made twice"
    state = httpx.get(f"http://127.0.0.1:{newcomer.port + 1}/_sim/state", trust_env=False).json()
    assert state["billed"] == 2
    assert [run["name"] for run in newcomer.runs() if run["state_type"] in ("FAILED", "CRASHED")] == []
