"""The simulator as a program: it says where it is, refuses a taken port, and ends when told."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from prefect_genvideo import ArkCredentials, SenseAudioCredentials, SudashuiCredentials
from prefect_genvideo.runtime import get_settings
from prefect_genvideo.simulator import Fault, Simulator, SimulatorConfig, create_app, running_simulator, serve
from prefect_genvideo.simulator.server import usage


def test_the_command_prints_its_addresses_and_ends_on_a_signal() -> None:
    """What is printed is true: the server answers at the printed address as soon as it is printed."""
    command = [str(Path(sys.executable).parent / "genvideo"), "simulate", "--port", "0", "--scale", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
        assert found is not None
        assert httpx.get(f"{found.group()}/_sim/state").json()["billed"] == 0
        process.terminate()
        process.communicate(timeout=10)


def test_a_taken_port_is_said_at_once(simulator: Simulator) -> None:
    """Neither way to run it hides that the port is in use."""
    port = int(simulator.url.rsplit(":", 1)[1])
    with pytest.raises(OSError, match="in use"), running_simulator(port=port):
        pass
    with pytest.raises(OSError, match="in use"):
        serve(port=port)


def test_the_usage_names_every_address(simulator: Simulator) -> None:
    """A person can copy the block values from the text, and what a shell needs."""
    text = usage(simulator)
    assert simulator.ark_url.endswith("/api/v3")
    for value in (simulator.sudashui_url, simulator.sudashui_files_url, simulator.senseaudio_url, simulator.ark_url):
        assert value in text
    assert simulator.key in text
    for cls in (SudashuiCredentials, SenseAudioCredentials, ArkCredentials):
        assert all(f" {variable}=" in text for variable in cls.environment().values())


def test_flows_ask_as_often_as_fits_the_simulators_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """While it runs, and only where nobody has said otherwise."""
    monkeypatch.delenv("PREFECT_INTEGRATIONS_GENVIDEO_POLL_INTERVAL", raising=False)
    for config, seconds in ((SimulatorConfig(), 0.2), (SimulatorConfig(clock="time", scale=0.1), 0.5)):
        with running_simulator(config) as simulator:
            assert get_settings().poll_interval == seconds
            assert f"POLL_INTERVAL={seconds:g}" in usage(simulator)
        assert get_settings().poll_interval is None
    monkeypatch.setenv("PREFECT_INTEGRATIONS_GENVIDEO_POLL_INTERVAL", "7")
    with running_simulator():
        assert get_settings().poll_interval == 7
    assert get_settings().poll_interval == 7


async def test_the_application_runs_without_a_server() -> None:
    """`create_app` is plain ASGI; a cut connection is then an exception of the transport."""
    app = create_app()
    app.state.simulator.faults.add(Fault("lost_before"))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://sim") as client:
        with pytest.raises(ConnectionAbortedError):
            await client.get("/sudashui/v1/models")
        assert (await client.get("/_sim/state")).json()["faults"]["hits"] == {"lost_before": 1}
