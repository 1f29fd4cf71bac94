"""Real servers for the benchmarks, each in a process of its own: simulator, S3, Prefect."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

S3_KEY = "BENCHMARKBENCHMARK"
BUCKET = "benchmark"
PREFECT_APP = "prefect.server.api.server:create_app"
#: CPU seconds a second that a Prefect server without work uses at most.
_RESTING = 0.12
_SIMULATOR = """
import json, sys, threading
from prefect_genvideo.simulator import SimulatorConfig, running_simulator
with running_simulator(SimulatorConfig(**json.loads(sys.argv[1])), port=int(sys.argv[2])):
    threading.Event().wait()
"""


@dataclass(frozen=True)
class Servers:
    """Where they listen.

    Attributes:
        simulator: Address of the provider simulator.
        s3: Address of the S3 server; the bucket `benchmark` exists.
        prefect: Address of the Prefect API; empty when it was not wanted.
        prefect_pid: Process id of the Prefect server, to read its CPU seconds.
        folder: Scratch folder.
    """

    simulator: str
    s3: str
    prefect: str
    prefect_pid: int
    folder: Path

    def environment(self) -> dict[str, str]:
        """Environment of a child process that uses these servers."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "AWS_"))}
        return kept | {
            "PREFECT_HOME": str(self.folder / "client"),
            "PREFECT_API_URL": self.prefect,
            "PREFECT_LOGGING_LEVEL": "ERROR",
            "PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED": "false",
            "DO_NOT_TRACK": "1",
        }

    def state(self) -> dict[str, object]:
        """What the simulator has counted."""
        return httpx.get(f"{self.simulator}/_sim/state", timeout=60).json()

    def server_cpu(self) -> float:
        """CPU seconds the Prefect server has used so far."""
        fields = Path(f"/proc/{self.prefect_pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def settle(self) -> None:
        """Return when the Prefect server rests: it records what it was told for seconds after a run has ended."""
        for _ in range(60):
            before = self.server_cpu()
            time.sleep(2)
            if self.server_cpu() - before < _RESTING * 2:
                return


def halves() -> tuple[set[int], set[int]]:
    """The cores of the servers and those of the contenders."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(cores) < 2:
        raise SystemExit("--apart needs two cores, and a system that can tell processes where to run")
    return set(cores[: len(cores) // 2]), set(cores[len(cores) // 2 :])


def peak_kb() -> int:
    """The most memory that this process has held, in KiB; unlike `ru_maxrss` it does not begin with its parent's."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def free_port() -> int:
    """A free port below those that the kernel gives to connections: nothing takes it before its server does."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


@contextmanager
def running(simulator: str, *, prefect: bool = True, ui: bool = False, api: str = PREFECT_APP) -> Generator[Servers]:
    """Run the servers for the length of the context.

    Args:
        simulator: JSON of `SimulatorConfig` fields.
        prefect: Whether a Prefect server is wanted too; it takes some 20 s to start.
        ui: Whether the Prefect server serves its pages.
        api: Factory of the Prefect server's app, `module:name`.
    """
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="genvideo-bench-", ignore_cleanup_errors=True))
        )
        sim, s3, port = free_port(), free_port(), free_port()
        stack.enter_context(
            running_process([sys.executable, "-c", _SIMULATOR, simulator, str(sim)], folder / "simulator.log")
        )
        moto = [sys.executable, str(Path(__file__).with_name("counted_store.py")), str(s3)]
        stack.enter_context(running_process(moto, folder / "s3.log"))
        pid = stack.enter_context(_prefect(folder, port, ui, api)) if prefect else 0
        wait_for(lambda: httpx.get(f"http://127.0.0.1:{sim}/_sim/state").status_code == 200, "simulator")
        wait_for(lambda: httpx.put(f"http://127.0.0.1:{s3}/{BUCKET}").status_code == 200, "S3 server")
        url = f"http://127.0.0.1:{port}/api" if prefect else ""
        if prefect:
            wait_for(lambda: httpx.get(f"{url}/health").status_code == 200, "Prefect server")
        yield Servers(f"http://127.0.0.1:{sim}", f"http://127.0.0.1:{s3}", url, pid, folder)


@contextmanager
def prefect_server(folder: Path, settings: Mapping[str, str]) -> Generator[Servers]:
    """Run a Prefect server alone, with settings of its own."""
    port = free_port()
    with _prefect(folder, port, False, PREFECT_APP, settings) as process:
        url = f"http://127.0.0.1:{port}/api"
        wait_for(lambda: httpx.get(f"{url}/health").status_code == 200, "Prefect server")
        yield Servers("", "", url, process, folder)


@contextmanager
def _prefect(folder: Path, port: int, ui: bool, api: str, more: Mapping[str, str] | None = None) -> Generator[int]:
    settings = {
        "PREFECT_HOME": str(folder / "server"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_ENABLED": str(ui).lower(),
        "PREFECT_SERVER_UI_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT__SERVER_FINAL": "1",
        "PREFECT_LOGGING_LEVEL": "ERROR",
        **(more or {}),
    }
    command = [sys.executable, "-m", "uvicorn", "--factory", api]
    command += ["--host", "127.0.0.1", "--port", str(port), "--log-level", "warning"]
    with running_process(command, folder / "prefect.log", settings) as process:
        yield process


@contextmanager
def running_process(
    command: list[str], log: Path, settings: Mapping[str, str] | None = None, **options: Any
) -> Generator[int]:
    """Run a process in a session of its own for the length of the context; yields its id.

    Args:
        command: What to run.
        log: Takes its output.
        settings: Added to its environment, which has none of ours for Prefect and AWS.
        options: Of `subprocess.Popen`.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "AWS_"))}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            env={**kept, **(settings or {})},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **options,
        )
    try:
        yield process.pid
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for(ready: Callable[[], bool], what: str, seconds: float = 240) -> None:
    """Return when `ready` is true; a refused connection means not yet.

    Raises:
        RuntimeError: It took too long.
    """
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if ready():
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise RuntimeError(f"the {what} did not start")
