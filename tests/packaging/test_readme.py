"""What the README says is what happens: its commands and snippets run, its tables are held against the code.

Both languages hold the same code, so the English page is the one that runs. A line of a snippet is changed only as
`Reader.fitted` shows: a key, a bucket, a port and an id take the place of the reader's own.
"""

from __future__ import annotations

import re
import runpy
import shlex
import shutil
import socket
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

from prefect_genvideo import errors
from prefect_genvideo.media import MediaInfo
from prefect_genvideo.models import VideoRequest
from prefect_genvideo.providers import SenseAudioClient, SudashuiClient, VideoClient
from prefect_genvideo.providers.sudashui_rules import UPLOAD_LIMITS
from prefect_genvideo.simulator import Simulator
from prefect_genvideo.simulator.faults import Fault
from tests.fixtures.prefect import PrefectServer, end
from tests.fixtures.s3 import S3Server
from tests.packaging.markdown import Fence, codes, fences, links, table, tables
from tests.packaging.sources import ROOT

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ENGLISH, CHINESE = ROOT / "README.md", ROOT / "README.zh-CN.md"
README = ENGLISH.read_text(encoding="utf-8")
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CLIENTS: dict[str, VideoClient] = {"Sudashui": SudashuiClient("sk-x"), "SenseAudio": SenseAudioClient("sk-x")}
RATIOS = ("1:1", "3:4", "4:3", "9:16", "16:9", "21:9", "adaptive")
RESOLUTIONS = ("480p", "720p", "1080p")


# Running it


def free_port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


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
        from prefect_genvideo.cli import app

        in_a_thread(lambda: app(words))

    def python(self, words: list[str]) -> None:
        """A file of the clone."""
        in_a_thread(lambda: runpy.run_path(str(ROOT / words[0]), run_name="__main__"))
        save(self.blocks)  # as above

    def prefect(self, words: list[str]) -> None:
        """Prefect's command. What deploys or never ends stands in the file that the deployments' tests deploy."""
        if words[:2] == ["block", "register"]:
            subprocess.run([sys.executable, "-m", "prefect", *words], check=True, capture_output=True)
        else:
            assert f"#   prefect {' '.join(words)}\n" in DEPLOYMENTS

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
    "python": Reader.python,
    "prefect": Reader.prefect,
    "curl": Reader.curl,
    "make": Reader.make,
    "pip": Reader.pip,
}
(BATCH,) = (fence for fence in fences(ENGLISH, "python") if "cities.yaml" in fence.text)
DEPLOYMENTS = (ROOT / "deployments" / "prefect.yaml").read_text(encoding="utf-8")
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
    (found,) = (fence for fence in fences(ENGLISH, "sh") if word in fence.text)
    return found.text.splitlines()


@pytest.mark.parametrize("fence", [fence for fence in fences(ENGLISH, "python") if fence != BATCH], ids=str)
def test_snippets_run(fence: Fence, reader: Reader, capsys: pytest.CaptureFixture[str]) -> None:
    """Every snippet is a whole program; what it prints is a video's place in the reader's bucket."""
    if "storyboard" in fence.text:
        reader.sim.configure(full_size=True)  # the small previews would be refused as first frames
    reader.run_python(fence)
    printed = capsys.readouterr().out
    assert ("print(" not in fence.text) or f"s3://{reader.bucket}/" in printed


def test_the_batch_makes_every_row_once(reader: Reader, capsys: pytest.CaptureFixture[str]) -> None:
    """The manifest's two rows are two videos under the keys that its template names; a rerun pays nothing."""
    for _ in range(2):
        reader.run_python(BATCH)
    assert f"2 videos: 2 saved s3://{reader.bucket}/" in capsys.readouterr().out
    assert reader.sim.billed == 2
    reader.run_line("genvideo ledger show cities-oslo --at s3://my-videos/clips")


@pytest.mark.parametrize(
    "word", ["make demo", "make test", "pip install", "block register", "genvideo models", "--to videos", "deploy"]
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
        reader.sim.state.faults.add(Fault("lost_after", op="create", times=1))
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
    named = ["make demo", "make test", "pip install", "block register", "genvideo models", "--to videos", "deploy"]
    named += ["ledger list", "ledger adopt", "genvideo simulate"]
    assert [fence for fence in fences(ENGLISH, "sh") if sum(word in fence.text for word in named) != 1] == []
    assert len(fences(ENGLISH, "sh")) == len(named)


def test_every_fence_is_of_a_kind_that_is_tested() -> None:
    """Nothing hides in a block without a language."""
    assert {fence.language for fence in fences(ENGLISH)} == {"sh", "python", "yaml"}


# The tables


def numbers(cell: str) -> list[int]:
    """The whole numbers of a cell: `409,600–927,408` is two."""
    return [int(found.replace(",", "")) for found in re.findall(r"\d[\d,]*", cell)]


MODELS = [(row["provider"], model, row) for row in table(README, "models") for model in codes(row["model"])]


def refused(provider: str, model: str, row: dict[str, str], **changes: Any) -> set[str]:
    """The fields that the provider's rules complain about, in a request that keeps the row but for the changes."""
    seconds = numbers(row["seconds"])[0]
    resolution = None if provider == "Sudashui" else codes(row["resolution"])[0]
    request = VideoRequest(
        model=model, prompt="a cat", duration=seconds, aspect_ratio="16:9", resolution=resolution
    ).model_copy(update=changes)
    return {problem.field for problem in CLIENTS[provider].validate(request)}


def test_the_table_has_every_documented_model() -> None:
    """No model more, none less, each at its provider."""
    listed = {name: {model for provider, model, _ in MODELS if provider == name} for name in CLIENTS}
    assert listed == {name: set(client.documented_models) for name, client in CLIENTS.items()}


@pytest.mark.parametrize(("provider", "model", "row"), MODELS, ids=[model for _, model, _ in MODELS])
def test_the_table_of_models_is_what_the_rules_say(provider: str, model: str, row: dict[str, str]) -> None:
    """Each cell is tried: what it allows passes, what it does not is refused."""

    def fields(**changes: Any) -> set[str]:
        return refused(provider, model, row, **changes)

    shortest, longest = numbers(row["seconds"])
    allowed = {shortest, longest} if " or " in row["seconds"] else set(range(shortest, longest + 1))
    assert {seconds for seconds in range(1, 40) if not fields(duration=seconds)} == allowed

    ratios = codes(row["aspect ratio"])
    if ratios == ["n:m"]:
        assert not fields(aspect_ratio="7:5")
    else:
        assert {ratio for ratio in (*RATIOS, "7:5") if not fields(aspect_ratio=ratio)} == set(ratios)

    resolutions = codes(row["resolution"])
    given = {resolution for resolution in RESOLUTIONS if not fields(resolution=resolution)}
    assert given == set(resolutions)

    link, picture = "https://example.com/a", "https://example.com/a.jpg"
    for column in ("images", "videos", "audios"):
        (most,) = numbers(row[column])
        beside = {"images": (picture,)} if column == "audios" and most else {}
        assert not fields(**{**beside, column: (link,) * most})
        assert column in fields(**{column: (link,) * (most + 1)})

    first, last, both = (
        not fields(**frames)
        for frames in (
            {"first_frame": picture},
            {"last_frame": picture},
            {"first_frame": picture, "last_frame": picture},
        )
    )
    assert (
        row["frames"]
        == {
            (False, False, True): "both",
            (True, False, True): "first, or both",
            (False, False, False): "none",
        }[first, last, both]
    )


def test_the_notes_below_the_models_are_what_the_rules_say() -> None:
    """Sums over references, whole seconds, audio alone, frames beside references."""
    sudashui, seedance = "sd-2-720p", "Seedance-2.0"
    rows = {model: row for _, model, row in MODELS}
    link = "https://example.com/a"

    def fields(provider: str, model: str, **changes: Any) -> set[str]:
        return refused(provider, model, rows[model], **changes)

    assert fields("SenseAudio", seedance, duration=4.5)
    assert not fields("Sudashui", sudashui, duration=4.5)
    assert fields("Sudashui", sudashui, images=(link,) * 9, videos=(link,) * 3, audios=(link,))
    assert not fields("Sudashui", sudashui, images=(link,) * 9, videos=(link,) * 3)
    assert fields("SenseAudio", seedance, audios=(link,))
    frames = {"first_frame": link, "last_frame": link}
    for column in ("images", "videos", "audios"):
        assert fields("Sudashui", sudashui, **frames, **{column: (link,)})
    assert fields("SenseAudio", seedance, **frames, images=(link,))
    for column, sums in {"audios": {15.5: True, 15.0: False}, "videos": {1.5: True, 2.0: False, 15.5: True}}.items():
        for seconds, broken in sums.items():
            assert bool(media_problems("Sudashui", column, seconds=seconds)) is broken


def media_problems(provider: str, column: str, **facts: Any) -> list[str]:
    """What the rules say about one reference with these facts."""
    kinds = {"images": ("image", "image/jpeg"), "videos": ("video", "video/mp4"), "audios": ("audio", "audio/mpeg")}
    kind, media_type = kinds[column]
    usual: dict[str, Any] = {
        "kind": kind,
        "media_type": media_type,
        "size": 1_000_000,
        "width": 800,
        "height": 800,
        "seconds": 5.0,
    }
    info = MediaInfo(**{**usual, **facts})
    model, resolution = {"Sudashui": ("sd-2-720p", None), "SenseAudio": ("Seedance-2.0", "720p")}[provider]
    request = VideoRequest(model=model, prompt="a", duration=5, resolution=resolution)
    request = request.model_copy(update={column: ("https://example.com/a",)})
    problems = CLIENTS[provider].validate(request, {f"{column}[0]": info})
    return [str(problem) for problem in problems]


def test_the_table_of_files_is_what_the_rules_say() -> None:
    """Kinds, bytes, pixels and ratios, at both sides of each limit."""
    sudashui, senseaudio = table(README, "files")
    mb = 1024 * 1024
    words = {"image": "images", "video": "videos", "audio": "audios"}
    for media_type, limit in UPLOAD_LIMITS.items():
        column = words[limit.kind]
        assert limit.extensions[-1].strip(".") in sudashui[column]
        below = next(int(found) for found in re.findall(r"below (\d+) MB", sudashui[column])) * mb
        assert not media_problems("Sudashui", column, media_type=media_type, size=below - 1)
        assert media_problems("Sudashui", column, media_type=media_type, size=below)
    fewest, most = numbers(sudashui["videos"].rpartition("MB")[2])
    assert not media_problems("Sudashui", "videos", width=fewest, height=1)
    assert media_problems("Sudashui", "videos", width=fewest - 1, height=1)
    assert not media_problems("Sudashui", "videos", width=most, height=1)
    assert media_problems("Sudashui", "videos", width=most + 1, height=1)
    at_most, low, high = numbers(senseaudio["images"].partition("ratio")[0])
    assert not media_problems("SenseAudio", "images", size=at_most * mb)
    assert media_problems("SenseAudio", "images", size=at_most * mb + 1)
    assert media_problems("SenseAudio", "images", width=low - 1, height=low)
    assert media_problems("SenseAudio", "images", width=high + 1, height=high)
    assert not media_problems("SenseAudio", "images", width=low, height=low)
    narrow, wide = re.findall(r"\d\.\d", senseaudio["images"])
    assert not media_problems("SenseAudio", "images", width=int(1000 * float(wide)), height=1000)
    assert media_problems("SenseAudio", "images", width=int(1000 * float(wide)) + 10, height=1000)
    assert media_problems("SenseAudio", "images", width=int(1000 * float(narrow)) - 10, height=1000)


def test_the_table_of_errors_is_the_tree() -> None:
    """Every class of `errors.py` in its order, with what a machine may do."""
    classes = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.GenVideoError) and kind is not errors.GenVideoError
    ]
    rows = [(codes(row["error"])[0], row["again"]) for row in table(README, "errors")]
    assert rows == [(kind.__name__, "yes" if kind.retryable else "no") for kind in classes]


def test_the_table_of_deployments_is_the_file() -> None:
    """Each as `flow/deployment`; a flow is named like its function."""
    found = re.findall(r"^  - name: (\S+)\n    entrypoint: \S+[:.](\w+)$", DEPLOYMENTS, re.M)
    listed = [codes(row["deployment"])[0] for row in table(README, "deployments")]
    assert sorted(listed) == sorted(f"{flow.replace('_', '-')}/{name}" for name, flow in found)


def test_the_table_of_blocks_names_their_slugs() -> None:
    """As flows and deployments write them."""
    import prefect_genvideo

    (rows,) = (found[1:] for found in tables(README) if found[0][:2] == ["block", "slug"])
    for block, slug, _ in rows:
        kind: Any = getattr(prefect_genvideo, codes(block)[0])
        assert codes(slug) == [kind.get_block_type_slug()]


def test_the_extras_are_those_of_the_project() -> None:
    """No extra is forgotten or invented."""
    (rows,) = (found[1:] for found in tables(README) if found[0][0] == "extra")
    assert [codes(row[0])[0] for row in rows] == list(PROJECT["project"]["optional-dependencies"])


# Both languages


def test_both_languages_hold_the_same_code() -> None:
    """Blocks are the same to the letter and in the same order."""
    assert [(f.language, f.text) for f in fences(CHINESE)] == [(f.language, f.text) for f in fences(ENGLISH)]


def test_both_languages_hold_the_same_tables() -> None:
    """Names, figures and limits; the words between them are each language's own."""

    def facts(path: Path) -> list[list[list[object]]]:
        found = tables(path.read_text(encoding="utf-8"))
        return [
            [[codes(cell), re.findall(r"\d+(?:[.,]\d+)*", cell)] for row in rows[1:] for cell in row] for rows in found
        ]

    assert facts(CHINESE) == facts(ENGLISH)


@pytest.mark.parametrize("path", [ENGLISH, CHINESE], ids=["en", "zh"])
def test_links_lead_somewhere(path: Path) -> None:
    """Every relative link is a file or folder of the clone."""
    text = path.read_text(encoding="utf-8")
    relative = [link.partition("#")[0] for link in links(text) if "://" not in link]
    assert relative
    assert [link for link in relative if not (ROOT / link).exists()] == []


def test_both_languages_link_the_same() -> None:
    """Only the link to the other language differs."""
    own = {path: list(links(path.read_text(encoding="utf-8"))) for path in (ENGLISH, CHINESE)}
    assert own[ENGLISH][0] == CHINESE.name
    assert own[CHINESE][0] == ENGLISH.name
    assert own[ENGLISH][1:] == own[CHINESE][1:]
