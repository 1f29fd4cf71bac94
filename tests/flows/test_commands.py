"""`genvideo check`, `batch`, `doctor`, and how every command speaks to people and to programs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from benchmarks.servers import free_port
from prefect_genvideo.cli import console
from prefect_genvideo.cli.app import app, main
from prefect_genvideo.cli.console import AGAIN, DECIDE, FAILED, USAGE
from prefect_genvideo.cli.demo import called
from prefect_genvideo.cli.progress import shown_progress
from prefect_genvideo.ledger.store import Ledger
from prefect_genvideo.runtime import announce
from prefect_genvideo.simulator import Fault, Simulator
from prefect_genvideo.storage import LocalStore
from tests.fixtures.money import draft
from tests.fixtures.prefect import PrefectServer

MANIFEST = """
defaults: {model: sd-2-fast-720p, duration: 4}
rows:
  - {prompt: "one red kite", key: kite}
  - {prompt: "two red kites"}
"""


@dataclass
class Spoken:
    """What a command said, and how it ended."""

    status: object
    out: str
    err: str

    @property
    def objects(self) -> list[dict[str, Any]]:
        """JSON objects of stdout, one a line."""
        return [json.loads(line) for line in self.out.splitlines()]


Type = Callable[..., Spoken]


@pytest.fixture
def typed(
    prefect_server: PrefectServer,
    sim: Simulator,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Type:
    """Types a command in a folder of its own, with the simulator as the environment's provider."""
    sim.configure(polls_to_finish=1)
    monkeypatch.setenv("SUDASHUI_API_KEY", f"{sim.key}-{tmp_path.name}")
    monkeypatch.setenv("SUDASHUI_BASE_URL", sim.sudashui_url)
    monkeypatch.chdir(tmp_path)
    Path("kites.yaml").write_text(MANIFEST)

    def run(*words: str) -> Spoken:
        capfd.readouterr()
        status: object = 0
        try:
            app(list(words), result_action="return_value", exit_on_error=False)
        except SystemExit as ended:
            status = ended.code
        printed = capfd.readouterr()
        return Spoken(status, printed.out, printed.err)

    return run


def test_a_manifest_is_checked_without_a_key_and_without_a_call(
    typed: Type, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Good rows are counted with what they will cost, as far as that is known."""
    monkeypatch.delenv("SUDASHUI_API_KEY")
    before = dict(sim.calls)
    good = typed("check", "kites.yaml", "--json")
    assert (good.status, [fact["rows"] for fact in good.objects]) == (0, [2])
    assert sim.calls == before


def test_what_a_provider_may_refuse_is_told(typed: Type) -> None:
    """A limit of the model's family, and a retired model, are no reason to stop."""
    rows = [
        {"provider": "ark", "model": "doubao-seedance-2-0-270101", "prompt": "a", "duration": 40},
        {"provider": "ark", "model": "doubao-seedance-1-5-pro-251215", "prompt": "b"},
    ]
    Path("likely.json").write_text(json.dumps(rows))
    told = typed("check", "likely.json", "--json")
    assert (told.status, [fact["rows"] for fact in told.objects]) == (0, [2])
    (warnings,) = [fact["warnings"] for fact in told.objects]
    assert [(": duration" in text, ": model" in text) for text in warnings] == [(True, False), (False, True)]


def test_everything_that_is_wrong_with_a_manifest_is_told_at_once(typed: Type) -> None:
    """Rules of models, fields of the format, fallbacks, and models that nobody knows; with the row's place."""
    rows = [
        {"model": "sd-2-fast-720p", "prompt": "a", "duration": 40, "aspect_ratio": "5:4"},
        {"model": "nobodys", "prompt": "b"},
        {"model": "sd-2-fast-720p", "prompt": "c", "images": ["missing.jpg"], "duration": 4},
        {"model": "sd-2-fast-720p", "prompt": "d", "duration": 4, "fallback": [{"duration": 1}]},
        {"model": "sd-2-fast-720p", "promt": "e"},
    ]
    Path("bad.json").write_text(json.dumps(rows))
    bad = typed("check", "bad.json", "--json")
    assert (bad.status, bad.out) == (FAILED, "")
    fields = [problem["field"].split(": ") for problem in json.loads(bad.err)["problems"]]
    assert {(place.split(" ")[1].rstrip(","), field.split("[")[0]) for place, field in fields} >= {
        ("1", "duration"),
        ("1", "aspect_ratio"),
        ("2", "model"),
        ("3", "images"),
        ("4", "duration"),
        ("5", "promt"),
    }


def test_a_batch_is_made_and_the_same_command_again_pays_nothing(typed: Type, sim: Simulator) -> None:
    """By its plan or without, under one key. A row an object for programs; places alone for quiet people."""
    (planned,) = typed("plan", "kites.yaml", "--to", "videos", "--json").objects
    first = typed("batch", "kites.yaml", "--to", "videos", "--json", "--plan", planned["hash"])
    (after,) = typed("plan", "kites.yaml", "--to", "videos", "--json").objects
    assert [row["standing"] for found in (planned, after) for row in found["rows"]] == ["new"] * 2 + ["reused"] * 2
    assert planned["hash"] == after["hash"]
    assert [(row["state"], row["uri"][:7]) for row in first.objects] == [("saved", "file://")] * 2
    again = typed("batch", "kites.yaml", "--to", "videos", "--quiet")
    assert [row["uri"] in again.out for row in first.objects] == [True, True]
    assert "| INFO" not in again.err
    assert sim.billed == 2


def test_a_batch_with_a_bad_video_prints_all_rows_and_fails(typed: Type, sim: Simulator) -> None:
    """What was made is saved and named."""
    sim.faults.add(Fault("moderation", times=1))
    ended = typed("batch", "kites.yaml", "--to", "videos", "--json")
    assert ended.status == FAILED
    assert sorted(row["state"] for row in ended.objects) == ["failed", "saved"]
    assert typed("batch", "kites.yaml", "--to", "videos", "--fail-on", "never").status == 0


@pytest.mark.parametrize(
    ("fault", "status", "error"),
    [("lost_after", DECIDE, "UnknownOutcomeError"), ("quota", FAILED, "QuotaError")],
)
def test_the_exit_code_says_who_has_to_act(fault: str, status: int, error: str, typed: Type, sim: Simulator) -> None:
    """A person decides, or mends; programs read the rest in one object on stderr."""
    sim.faults.add(Fault(fault, "create", times=1))
    ended = typed("generate", "a kite", "--model", "sd-2-fast-720p", "--to", "videos", "--json")
    assert (ended.status, ended.out) == (status, "")
    told = json.loads(ended.err.splitlines()[-1])
    assert (told["error"], told["retryable"], told["provider"]) == (error, False, "sudashui")


def test_what_may_work_later_has_a_code_of_its_own(typed: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the address that did not answer is named."""
    address = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("SUDASHUI_BASE_URL", address)
    ended = typed("models", "--provider", "sudashui")
    assert ended.status == AGAIN
    assert address in ended.err


def test_a_wrong_command_line_has_a_code_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Of the program itself."""
    monkeypatch.setattr("sys.argv", ["genvideo", "models", "--provider", "sudashui", "--jsn"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == USAGE
    assert "--json" in capfd.readouterr().err


@pytest.mark.parametrize("shown", ["--provider", "--key", "--json"])
def test_the_help_says_nothing_of_what_is_empty_or_off(typed: Type, shown: str) -> None:
    """A default is told where there is one."""
    told = typed("batch", "--help").out
    assert shown in told
    assert "[default: 20]" in told
    assert 'default: ""' not in told
    assert "default: False" not in told


@pytest.mark.parametrize("found", [True, False])
def test_the_demo_names_programs_as_this_shell_finds_them(
    found: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After `pip install` there is no `.venv`."""
    (program := tmp_path / "bin" / "genvideo").parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(program.with_name("python")))
    monkeypatch.setenv("PATH", str(program.parent) if found else "/nowhere")
    assert called("genvideo") == ("genvideo" if found else str(program))
    monkeypatch.chdir(tmp_path)
    assert called("genvideo") == ("genvideo" if found else "bin/genvideo")


def test_a_result_is_all_that_quiet_leaves(typed: Type) -> None:
    """The place of the video, and as JSON all that is known of it."""
    words = ("generate", "a kite", "--model", "sd-2-fast-720p", "--to", "videos", "--key", "kite")
    quiet = typed(*words, "--quiet")
    (facts,) = typed(*words, "--json").objects
    assert quiet.out.strip() == facts["uri"]
    assert facts["key"].endswith(".mp4")


def test_the_table_comes_when_the_lines_of_progress_are_at_rest(
    typed: Type, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when videos failed: it was written between lines that changed."""
    order: list[str] = []

    @contextmanager
    def lines(ledger: Ledger) -> Generator[None]:
        yield
        order.append("lines at rest")

    async def table(*_: object) -> None:
        order.append("table")

    monkeypatch.setattr("prefect_genvideo.cli.progress.shown_progress", lines)
    monkeypatch.setattr("prefect_genvideo.cli.make._print", table)
    sim.faults.add(Fault("moderation", match="two red"))
    assert typed("batch", "kites.yaml", "--to", "videos").status == FAILED
    assert order == ["lines at rest", "table"]


def test_a_batch_names_the_rows_whose_provider_is_not_known(typed: Type) -> None:
    """All of them, and all else that is wrong, as `check` does."""
    Path("mixed.csv").write_text("model,prompt,duration\nsd-2-fast-720p,a,4\nsd-9,b,4\nsd-8,c,4\nsd-2-fast-720p,d,x\n")
    told = typed("batch", "mixed.csv", "--to", "videos", "--json")
    assert told.status == FAILED
    fields = {problem["field"] for problem in json.loads(told.err)["problems"]}
    assert fields == {"line 3: model", "line 4: model", "line 5: duration"}


@pytest.mark.parametrize("words", [["ledger", "list", "--at", "s3-video-destination/x"], ["approve", "some-run"]])
def test_a_prefect_server_that_is_away_is_one_line(words: list[str], typed: Type) -> None:
    """And the same command may work later."""
    with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{free_port()}/api"}):
        away = typed(*words, "--json")
    assert away.status == AGAIN
    (line,) = away.err.splitlines()
    assert "PREFECT_API_URL" in json.loads(line)["message"]


def verdicts(spoken: Spoken) -> dict[str, str]:
    """What the doctor found, by what was looked at."""
    return {one["what"]: one["verdict"] for one in spoken.objects}


def test_the_doctor_finds_a_sound_place(typed: Type) -> None:
    """Server, key, clock, destination and its conditional writes; nothing is left behind there."""
    sound = typed("doctor", "--at", "videos", "--json")
    assert sound.status == 0
    found = verdicts(sound)
    wanted = {"server", "key of sudashui", "clock", "destination", "conditional writes"}
    assert {what for what, verdict in found.items() if verdict == "ok"} >= wanted
    assert [path for path in Path("videos").rglob("*") if path.is_file() and "locks" not in str(path)] == []


def test_the_doctor_names_all_that_is_bad_and_what_to_do(
    typed: Type, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refused key and a place that cannot be written, in one go."""
    monkeypatch.setenv("SUDASHUI_API_KEY", "sk-sim-expired")
    Path("file").write_text("no folder")
    ill = typed("doctor", "--at", "file/videos", "--json")
    assert ill.status == FAILED
    bad = [one for one in ill.objects if one["verdict"] == "bad"]
    assert [one["what"].partition(",")[0] for one in bad] == ["key of sudashui", "destination"]
    assert all(one["todo"] for one in bad)
    assert "sk-sim-expired" not in ill.out + ill.err


def test_a_provider_that_is_asked_too_often_says_nothing_against_the_key(typed: Type, sim: Simulator) -> None:
    """A warning, and no failure of whoever runs the doctor before each deployment."""
    sim.faults.add(Fault("429", "models", times=1))
    limited = typed("doctor", "--json")
    assert (limited.status, verdicts(limited)["key of sudashui"]) == (0, "warn")


def test_the_doctor_compares_clocks(typed: Type, monkeypatch: pytest.MonkeyPatch) -> None:
    """S3 refuses a clock that is a quarter of an hour off, and leases suffer from less."""
    from prefect_genvideo.cli import doctor

    for limit, verdict in (("_SKEW_S", "warn"), ("_SKEW_BAD_S", "bad")):
        monkeypatch.setattr(doctor, limit, -1)  # whatever the difference is, it is too much
        assert verdicts(typed("doctor", "--json"))["clock"] == verdict


@pytest.mark.parametrize(
    ("prompt", "told"), [("[red]a kite", "[red]a kite"), ("一只猫" * 30, "一只猫一只猫")], ids=["markup", "chinese"]
)
async def test_a_terminal_shows_a_line_a_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prompt: str, told: str
) -> None:
    """Where it stands, and after how long comparable ones were done, in 80 columns; prompts are no markup."""
    import io

    from rich.cells import cell_len
    from rich.console import Console

    screen = io.StringIO()
    monkeypatch.setattr(
        "prefect_genvideo.cli.progress.err", terminal := Console(file=screen, force_terminal=True, width=80)
    )
    monkeypatch.setattr(console, "err", terminal)
    ledger = Ledger(LocalStore(tmp_path))
    record = draft("kite").model_copy(update={"request": {"prompt": prompt}, "task_id": "t"})
    from prefect_genvideo.ledger.record import bucket_of

    await ledger.durations.learn(bucket_of(record), 42)
    with shown_progress(ledger):
        announce("generation.submitted", record)
        import asyncio

        for _ in range(50):
            await asyncio.sleep(0.02)
            if "after 42 s" in screen.getvalue():
                break
        announce("video.saved", record)
    shown = screen.getvalue()
    assert told in shown
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).replace("\r", "\n").split("\n")
    assert max(map(cell_len, lines)) <= 80
    assert "usually done after 42 s" in shown
    assert "saved" in shown
    announce("video.saved", record)
    assert screen.getvalue() == shown, "nobody listens any more"
