"""`genvideo`, and runs, when something is wrong: one message, no stack and none of Prefect's own noise."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prefect import flow

from prefect_genvideo.cli.app import app
from prefect_genvideo.simulator import Fault, Simulator
from tests.fixtures.prefect import PrefectServer
from tests.fixtures.runs import flow_run_of, logs
from tests.fixtures.s3 import S3Server
from tests.flows.conftest import Place

Told = Callable[..., list[str]]


@pytest.fixture
def told(
    prefect_server: PrefectServer,
    sim: Simulator,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> Told:
    """Runs a command that fails; the lines on stderr, without Prefect's records of the run, which has begun well."""
    monkeypatch.setenv("SUDASHUI_API_KEY", f"{sim.key}-line")
    monkeypatch.setenv("SUDASHUI_BASE_URL", sim.sudashui_url)

    def run(*words: str) -> list[str]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            app(list(words), result_action="return_value", exit_on_error=False)
        assert ended.value.code == 1
        printed = capfd.readouterr()
        assert printed.out == ""
        assert "Traceback" not in printed.err
        return [line for line in printed.err.splitlines() if "| INFO " not in line]

    return run


GENERATE = ("generate", "a cat", "--model", "sd-2-fast-720p")


def test_everything_that_is_wrong_is_said_at_once(told: Told, tmp_path: Path) -> None:
    """The choices of the run form do not hide the other rules."""
    first, *problems = told(*GENERATE, "--to", str(tmp_path), "--aspect-ratio", "5:4", "--duration", "99")
    assert first.startswith("InvalidRequestError:")
    assert sorted(line.split()[1] for line in problems) == ["aspect_ratio", "duration"]


@pytest.mark.parametrize("to", ["s3://", "s3://ab", "s3://videos?key_template={x}"])
def test_a_place_that_is_none_is_one_message(told: Told, to: str) -> None:
    """Field and rule, before anything is sent."""
    lines = told(*GENERATE, "--to", to)
    assert 1 <= len(lines) <= 3
    assert told("ledger", "list", "--at", to)


def test_a_bucket_that_is_not_there_is_one_message(
    told: Told, s3: S3Server, sim: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Found before the create."""
    for name in ("endpoint_url", "access_key_id", "secret_access_key"):
        monkeypatch.setenv(f"AWS_{name.upper()}", s3.settings[name])
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    (line,) = told(*GENERATE, "--to", "s3://no-such-bucket-here")
    assert line.startswith("DestinationError:")
    assert sim.billed == 0


def test_a_refusal_is_told_once(told: Told, sim: Simulator, tmp_path: Path) -> None:
    """The run has begun, and Prefect has its own words and stacks for how it ended."""
    sim.faults.add(Fault("quota", "create"))
    (line,) = told(*GENERATE, "--to", str(tmp_path))
    assert line.startswith("QuotaError:")


def test_a_port_that_is_taken_is_one_message(told: Told) -> None:
    """Of the simulator."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        (line,) = told("simulate", "--port", str(taken.getsockname()[1]))
    assert line.startswith("OSError:")


@pytest.mark.parametrize(("command", "extra"), [("simulate", "simulator"), ("demo", "demo")])
def test_an_extra_that_is_missing_is_named_at_the_start(
    told: Told, command: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the line that installs it."""
    from prefect_genvideo.cli import console

    monkeypatch.setattr(console, "find_spec", lambda name: None if name in ("moto", "python_multipart") else name)  # pyright: ignore[reportUnknownLambdaType, reportUnknownArgumentType]
    (line,) = told(command)
    assert f'pip install "prefect-genvideo[{extra}]"' in line


async def test_the_log_of_a_run_has_no_stack_of_a_known_error(place: Place) -> None:
    """Its message says what to do; a fault that nobody foresaw keeps its stack."""
    state = await place.ended(duration=99)
    told = await logs(flow_run_of(state), "Finished in state")
    assert "InvalidRequestError" in told
    assert "Traceback" not in told

    @flow
    async def unforeseen() -> None:
        raise RuntimeError("nobody foresaw this")

    run: Any = unforeseen
    state = await run(return_state=True)
    assert "Traceback" in await logs(flow_run_of(state), "Finished in state")
