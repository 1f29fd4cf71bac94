"""What Prefect's server spends on writing task runs down, by how many it writes at once.

    python -m benchmarks.recorder --batches 1,20,100 [--count 300] [--rounds 3] [--postgres /usr/lib/postgresql/15/bin]

States of task runs reach the server as events, and its recorder writes them to the database. For each batch size
(`PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE`) a server of its own is started. Rounds go through all of them,
one after the other, so that a busy minute hits all: one flow run with `--count` empty task runs, side by side, in a
process of its own. Printed are medians a task run: CPU of the server, with that of Postgres where it is used, and how
long after the end of the run the last task run is seen as completed. As root, Postgres runs as the user `postgres`.
"""

from __future__ import annotations

import argparse
import json
import os
import pwd
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx

from benchmarks.servers import Servers, free_port, prefect_server, running_process, wait_for

SETTING = "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER"
SEEN_WITHIN = 120.0
"""Seconds in which the recorder must have written everything."""


def cpu_of_session(leader: int) -> float:
    """CPU seconds of a session's living processes, and of those that its leader has outlived."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == leader:
            ticks += int(fields[11]) + int(fields[12])
            if stat.parent.name == str(leader):
                ticks += int(fields[13]) + int(fields[14])
    return ticks / os.sysconf("SC_CLK_TCK")


@contextmanager
def postgres(binaries: Path, folder: Path) -> Generator[tuple[int, str]]:
    """A Postgres of our own; its process and the address of its databases."""
    user: dict[str, Any] = {}
    data, port = folder / "postgres", free_port()
    data.mkdir(mode=0o700)
    if os.getuid() == 0:
        owner = pwd.getpwnam("postgres")
        folder.chmod(0o755)
        os.chown(data, owner.pw_uid, owner.pw_gid)
        user = {"user": "postgres", "group": "postgres", "extra_groups": [], "cwd": "/"}
    initdb = [str(binaries / "initdb"), "-D", str(data), "-U", "prefect", "--auth=trust"]
    subprocess.run(initdb, check=True, capture_output=True, **user)
    options = ["-p", str(port), "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "fsync=off"]
    command = [str(binaries / "postgres"), "-D", str(data), *options]
    with running_process(command, folder / "postgres.log", **user) as process:
        ready = [str(binaries / "pg_isready"), "-h", "127.0.0.1", "-p", str(port)]
        wait_for(lambda: subprocess.run(ready, capture_output=True, check=False).returncode == 0, "Postgres")
        yield process, f"127.0.0.1:{port}"


def one_round(servers: Servers, count: int, database: int) -> dict[str, float]:
    """Run `count` empty task runs and return what writing them down took."""

    def cpu() -> float:
        return servers.server_cpu() + (cpu_of_session(database) if database else 0.0)

    servers.settle()
    before = cpu()
    command = [sys.executable, "-m", "benchmarks.contenders", json.dumps({"contender": "steps", "count": count})]
    known = completed(servers)
    root = Path(__file__).parent.parent
    subprocess.run(command, env=servers.environment(), cwd=root, capture_output=True, timeout=600, check=True)
    ended = time.monotonic()
    while completed(servers) < known + count:
        if time.monotonic() > ended + SEEN_WITHIN:
            sys.exit("task runs are missing")
        time.sleep(0.1)
    lag = time.monotonic() - ended
    servers.settle()
    return {"cpu_ms": (cpu() - before) / count * 1000, "lag_s": lag}


def completed(servers: Servers) -> int:
    """Task runs that the API shows as completed."""
    only = {"task_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}}
    return httpx.post(f"{servers.prefect}/task_runs/count", json=only, timeout=60).raise_for_status().json()


def measure(batches: Sequence[int], count: int, rounds: int, binaries: Path | None) -> dict[int, dict[str, float]]:
    """Medians by batch size."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="genvideo-bench-")))
        database, address = stack.enter_context(postgres(binaries, folder)) if binaries else (0, "")
        started = dict[int, Servers]()
        for batch in batches:
            settings = {f"{SETTING}_BATCH_SIZE": str(batch), f"{SETTING}_FLUSH_INTERVAL": "1"}
            if binaries:
                create = [
                    str(binaries / "createdb"),
                    "-h",
                    "127.0.0.1",
                    "-p",
                    address.rpartition(":")[2],
                    "-U",
                    "prefect",
                ]
                subprocess.run([*create, f"batch{batch}"], check=True)
                url = f"postgresql+asyncpg://prefect@{address}/batch{batch}"
                settings["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = url
            home = folder / f"batch-{batch}"
            home.mkdir()
            started[batch] = stack.enter_context(prefect_server(home, settings))
        figures: dict[int, list[dict[str, float]]] = {batch: [] for batch in batches}
        for _ in range(rounds):
            for batch, servers in started.items():
                figures[batch].append(one_round(servers, count, database))
    return {
        batch: {name: statistics.median(one[name] for one in found) for name in found[0]}
        for batch, found in figures.items()
    }


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", default="1,20,100")
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--postgres", type=Path, help="folder of initdb; SQLite when not given")
    given = parser.parse_args()
    batches = [int(batch) for batch in given.batches.split(",")]
    found = measure(batches, given.count, given.rounds, given.postgres)
    first = found[batches[0]]["cpu_ms"]
    print("| at once | server CPU a task run | ratio | seen after |\n|---|---|---|---|")
    for batch, one in found.items():
        print(f"| {batch} | {one['cpu_ms']:.1f} ms | {one['cpu_ms'] / first:.2f} | {one['lag_s']:.1f} s |")


if __name__ == "__main__":
    main()
