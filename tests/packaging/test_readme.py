"""What the README says is what happens: its commands and snippets run.

Both languages hold the same code, so the English page is the one that runs. A line of a snippet is changed only as
`Reader.fitted` shows: a key, a bucket, a port and an id take the place of the reader's own.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import httpx
import pytest
from packaging.requirements import Requirement

from benchmarks.servers import free_port
from prefect_genvideo.simulator import Simulator
from prefect_genvideo.simulator.faults import Fault
from tests.fixtures.prefect import PrefectServer, end
from tests.fixtures.s3 import S3Server
from tests.packaging.markdown import Fence, fences, first_hour
from tests.packaging.sources import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ENGLISH = ROOT / "README.md"
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


# Running it


@dataclass
class Reader:
    """Somebody who follows the README: a folder, an environment, saved blocks, and the servers behind them.

    Attributes:
        blocks: What is saved as `production`; the last is the destination.
        port: Stands for the simulator's 8787.
    """

    sim: Simulator
    blocks: list[Any]
    setenv: Callable[[str, str], None]
    port: int = field(default_factory=free_port)

    @property
    def bucket(self) -> str:
        """Stands for `my-videos`."""
        return self.blocks[-1].bucket

    def fitted(self, text: str) -> str:
        """The text with what is the reader's own in place of the README's examples."""
        for written, own in {
            "sk-...": self.sim.key,
            "SENSEAUDIO_API_KEY=...": f"SENSEAUDIO_API_KEY={self.sim.key}",
            "my-videos": self.bucket,
            "genvideo simulate": f"genvideo simulate --port {self.port}",
            ":8787": f":{self.port}",
        }.items():
            text = text.replace(written, own)
        return text

    def run_python(self, fence: Fence) -> None:
        """Run a snippet as a file of its own would be: in a thread without a loop, as `__main__`."""
        code = compile("\n" * (fence.line - 1) + self.fitted(fence.text), fence.page, "exec")
        in_a_thread(lambda: exec(code, {"__name__": "__main__"}))
        if '.save("production"' in fence.text:
            save(self.blocks)  # the reader's own addresses again, for the tests that follow

    def run_line(self, line: str) -> None:
        """Run one line of a shell block."""
        words = shlex.split(self.fitted(line))
        COMMANDS[words[0]](self, words[1:])

    def export(self, words: list[str]) -> None:
        name, _, value = words[0].partition("=")
        self.setenv(name, value)

    def genvideo(self, words: list[str]) -> None:
        """The command's own entry point, in this process."""
        from prefect_genvideo.cli.app import app

        if words[0] in RUN_IN_THE_FIRST_HOUR:
            assert f"genvideo {words[0]}" in FIRST_HOUR_TEST + "\n".join(first_hour())
            return
        in_a_thread(lambda: app(words))

    def prefect(self, words: list[str]) -> None:
        """Prefect's command. It takes its time, so it runs once: in the tests of the blocks and of the first hour."""
        if words[:2] == ["block", "register"]:
            assert ", ".join(f'"{word}"' for word in words) in BLOCK_TESTS
        else:
            assert [line for line in first_hour() if line.startswith(f"prefect {' '.join(words)}")]

    def curl(self, words: list[str]) -> None:
        """A call of the simulator, which a machine without curl understands too."""
        url, *rest = words
        answer = httpx.post(url, content=rest[1]) if rest[:1] == ["-d"] else httpx.get(url)
        assert answer.status_code == 200, answer.text

    def make(self, words: list[str]) -> None:
        """What runs us cannot be run by us; the demo is run by its own test."""
        assert [word for word in words if not re.search(rf"^{word}:", MAKEFILE, re.M)] == []

    def pip(self, words: list[str]) -> None:
        """Nothing is installed; what the line asks for must be what the project says it needs."""
        assert words[0] == "install"
        ours, *others = map(Requirement, words[1:])
        assert ours.name == PROJECT["project"]["name"]
        assert ours.extras <= set(PROJECT["project"]["optional-dependencies"])
        assert [str(other) for other in others if str(other) not in PROJECT["dependency-groups"]["dev"]] == []


COMMANDS: dict[str, Callable[[Reader, list[str]], None]] = {
    "export": Reader.export,
    "genvideo": Reader.genvideo,
    "prefect": Reader.prefect,
    "curl": Reader.curl,
    "make": Reader.make,
    "pip": Reader.pip,
}
(BATCH,) = (fence for fence in fences(ENGLISH, "python") if "cities.yaml" in fence.text)
FIRST_HOUR_TEST = (ROOT / "tests" / "packaging" / "test_first_hour.py").read_text(encoding="utf-8")
RUN_IN_THE_FIRST_HOUR = {"demo", "deploy"}
"""Commands that take their time; they run once, in the test of the first hour."""
BLOCK_TESTS = (ROOT / "tests" / "flows" / "test_block_standards.py").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


class CommandFailedError(Exception):
    """A command ended with another code than 0."""


def in_a_thread(work: Callable[[], object]) -> None:
    """Do something that runs an event loop of its own."""

    def guarded() -> None:
        try:
            work()
        except SystemExit as ended:
            if ended.code:
                raise CommandFailedError(ended.code) from None

    with ThreadPoolExecutor(1) as pool:
        pool.submit(guarded).result()


def save(blocks: Iterable[Any]) -> None:
    """Save the README's blocks under the name that it uses."""
    in_a_thread(lambda: [block.save("production", overwrite=True) for block in blocks])


@pytest.fixture(scope="module")
def blocks(simulator: Simulator, s3: S3Server, prefect_server: PrefectServer) -> list[Any]:
    """What the README's reader has saved, with the simulator and moto behind the addresses."""
    from prefect_genvideo import S3Destination, SenseAudioCredentials, SudashuiCredentials

    found = [
        SudashuiCredentials.model_validate(
            {
                "api_key": simulator.key,
                "base_url": simulator.sudashui_url,
                "files_url": simulator.sudashui_files_url,
            }
        ),
        SenseAudioCredentials.model_validate({"api_key": simulator.key, "base_url": simulator.senseaudio_url}),
        S3Destination.model_validate({"bucket": s3.new_bucket(), "prefix": "clips", **s3.settings}),
    ]
    save(found)
    return found


@pytest.fixture
def reader(tmp_path: Path, sim: Simulator, s3: S3Server, blocks: list[Any], monkeypatch: pytest.MonkeyPatch) -> Reader:
    """A reader with saved blocks, the environment of the shell lines, and a folder with the files they name."""
    variables = {
        "SUDASHUI_BASE_URL": sim.sudashui_url,
        "SUDASHUI_FILES_URL": sim.sudashui_files_url,
        "SUDASHUI_API_KEY": sim.key,
        "SENSEAUDIO_BASE_URL": sim.senseaudio_url,
        "AWS_ENDPOINT_URL": s3.endpoint_url,
        "AWS_ACCESS_KEY_ID": s3.access_key_id,
        "AWS_SECRET_ACCESS_KEY": s3.secret_access_key,
        "AWS_DEFAULT_REGION": "us-east-1",
        "PREFECT_INTEGRATIONS_GENVIDEO_POLL_INTERVAL": "0.05",
        "COLUMNS": "250",  # wide enough for tables of ids
    }
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    with as_file(files("prefect_genvideo.simulator") / "cat.jpg") as picture:
        shutil.copy(picture, "cat.jpg")
    (tmp_path / "cities.yaml").write_text(fences(ENGLISH, "yaml")[0].text, encoding="utf-8")
    return Reader(sim, blocks, monkeypatch.setenv)


def shell(word: str) -> list[str]:
    """The lines of the shell block that holds a word."""
    (found,) = (fence for fence in fences(ENGLISH, "sh") if word in fence.text and "server start" not in fence.text)
    return found.text.splitlines()


@pytest.mark.parametrize("fence", [fence for fence in fences(ENGLISH, "python") if fence != BATCH], ids=str)
def test_snippets_run(fence: Fence, reader: Reader, capsys: pytest.CaptureFixture[str]) -> None:
    """Every snippet is a whole program; what it prints is a video's place in the reader's bucket."""
    reader.run_python(fence)
    printed = capsys.readouterr().out
    assert ("print(" not in fence.text) or f"s3://{reader.bucket}/" in printed


def test_the_batch_makes_every_row_once(reader: Reader, capsys: pytest.CaptureFixture[str]) -> None:
    """The manifest's two rows are two videos under the keys that its template names; a rerun pays nothing."""
    for _ in range(2):
        reader.run_python(BATCH)
    assert f"2 videos: 2 saved s3://{reader.bucket}/" in capsys.readouterr().out
    for line in shell("genvideo check"):
        reader.run_line(line)
    assert reader.sim.billed == 2
    reader.run_line("genvideo ledger show cities-oslo --at s3://my-videos/clips")


@pytest.mark.parametrize(
    "word",
    ["make demo", "make test", "[media]", "genvideo demo", "block register", "genvideo models", "--to videos", "--env"],
)
def test_commands_run(word: str, reader: Reader) -> None:
    """Every line of every shell block that needs nothing from the ones before."""
    for line in shell(word):
        reader.run_line(line)


def test_the_ledger_commands_run_in_their_order(reader: Reader, capsys: pytest.CaptureFixture[str]) -> None:
    """Generate, list, show, reconcile, as they stand."""
    for line in shell("ledger list"):
        reader.run_line(line)
    printed = capsys.readouterr().out
    assert "roof-1 saved" in " ".join(printed.split())
    assert '"state": "saved"' in printed
    assert reader.sim.billed == 1


def test_an_unknown_outcome_is_adopted_or_released(reader: Reader, capsys: pytest.CaptureFixture[str]) -> None:
    """The provider took the job and the answer was lost: the two ways out, and the video arrives."""
    adopt, release = shell("ledger adopt")
    generate, *_, reconcile = shell("ledger list")
    for key, line in {"lost-1": adopt, "lost-2": release}.items():
        reader.sim.faults.add(Fault("lost_after", op="create", times=1))
        with pytest.raises(CommandFailedError):
            reader.run_line(generate.replace("roof-1", key))
        task_id = reader.sim.tasks[-1].task_id
        reader.run_line(line.replace("KEY", key).replace("TASK_ID", task_id))
    assert "UnknownOutcomeError" in capsys.readouterr().err
    for _ in range(3):
        reader.run_line(reconcile)
    assert f"s3://{reader.bucket}/clips/" in capsys.readouterr().out
    assert reader.sim.billed == 2


def test_the_simulator_is_steered_as_written(reader: Reader) -> None:
    """It runs until it is stopped, so it is a process here; the calls are made at it."""
    start, *calls = shell("genvideo simulate")
    with background(shlex.split(reader.fitted(start))):
        for line in calls:
            reader.run_line(line)


@contextmanager
def background(words: list[str]) -> Generator[None, None, None]:
    """Run `genvideo …` until it has said where it is, and to the end of the block."""
    command = [str(Path(sys.executable).with_name(words[0])), *words[1:]]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    try:
        assert "genvideo simulator" in process.stdout.readline()
        yield
    finally:
        end(process)
        process.stdout.close()


def test_no_command_is_left_out() -> None:
    """The words above name every shell block once; a new block needs a test."""
    named = ["make demo", "make test", "[media]", "genvideo demo", "block register", "genvideo models", "--to videos"]
    named += ["genvideo check", "--env", "ledger list", "ledger adopt", "genvideo simulate"]
    tried = [fence for fence in fences(ENGLISH, "sh") if fence.text.splitlines() != first_hour()]
    assert [fence for fence in tried if sum(word in fence.text for word in named) != 1] == []
    assert len(tried) == len(named)


def test_every_fence_is_of_a_kind_that_is_tested() -> None:
    """Nothing hides in a block without a language."""
    assert {fence.language for fence in fences(ENGLISH)} == {"sh", "python", "yaml"}
