"""The same durations over HTTP at 1/20 of their time: our own client beside the wait helpers of other SDKs.

A local server plays the vendors' protocols, ends every job on time, and alone measures: the calls that asked for a job,
and the lag from its end to the first answer that said so. Intervals of the peers are divided by 20 as well: openai's
1 s, runwayml's 6 ± 1.5 s, fal-client's 0.1 s.
"""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anyio

from benchmarks.peers.environment import PeerUnavailableError, interpreter
from benchmarks.peers.vendors import PEERS, Job, Vendor
from benchmarks.waiting import DISTRIBUTIONS, Cost, measured, sample
from prefect_genvideo.errors import GenVideoError
from prefect_genvideo.pipeline.wait import Waiter
from prefect_genvideo.polling import Schedule
from prefect_genvideo.providers import SudashuiClient

SPEED = 20.0
RUN_SECONDS = 90.0
# Jobs per distribution, and how many wait at a time. With more, two cores would be measured instead of the loops: a
# fal-client asks 200 times a second at this speed.
OURS = (16, 24)
LOADS = {"openai": (8, 6), "runwayml": (16, 16), "fal-client": (3, 3)}
KINDS = ("lognormal", "tight", "uniform", "two_modes")
_DURATION = re.compile(rb"wait=([0-9.]+)/(\w+)")


@dataclass
class Watched:
    """One job of the server: when it ends, and how it was asked for. Clock values of `time.monotonic`."""

    distribution: str
    seconds: float
    end: float
    calls: int = 0
    seen: float | None = None

    def ask(self) -> bool:
        """Count a call; True when the job is over."""
        now, over = time.monotonic(), False
        if now >= self.end:
            over, self.seen = True, self.seen or now
        self.calls += 1
        return over


@dataclass
class Board:
    """All jobs of one run."""

    vendor: Vendor | None
    jobs: dict[str, Watched] = field(default_factory=dict[str, Watched])
    lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self, distribution: str, seconds: float) -> str:
        """Begin a job of so many real seconds; it takes a twentieth of them."""
        with self.lock:
            name = f"job-{len(self.jobs)}"
            self.jobs[name] = Watched(distribution, seconds, time.monotonic() + seconds / SPEED)
            return name

    def answer(self, method: str, path: str, body: bytes, base: str) -> dict[str, Any] | None:
        """The JSON answer of one request; None for what is not of this protocol."""
        if self.vendor is None:
            return _sudashui(name := path.rpartition("/")[2], self.jobs[name].ask())
        found = self.vendor.match(method, path)
        if found is None:
            return None
        step, name = found[0].step, found[1]
        if step == "create":
            wanted = _DURATION.search(body)
            name = self.start(wanted[2].decode(), float(wanted[1])) if wanted else ""
            return self.vendor.created(Job(name), base, False) if name else None
        over = self.jobs[name].ask()
        return (self.vendor.result if step == "result" else self.vendor.state)(Job(name), base, over)

    def costs(self) -> dict[str, Cost]:
        """What the run cost, by distribution, in real seconds. Jobs nobody saw the end of are an error."""
        found: dict[str, Cost] = {}
        for distribution in (*KINDS, "together"):
            jobs = [job for job in self.jobs.values() if distribution in (job.distribution, "together")]
            pairs = [((job.seen - job.end) * SPEED, float(job.calls)) for job in jobs if job.seen is not None]
            if not jobs or len(pairs) < len(jobs):
                raise PeerUnavailableError(f"{len(pairs)} of {len(jobs)} jobs were seen done")
            found[distribution] = measured(pairs, [job.seconds for job in jobs])
        return found


def _sudashui(name: str, over: bool) -> dict[str, Any]:
    url = "https://files.example/video.mp4"
    inner = {"state": "success", "creations": [{"id": "1", "url": url, "cover_url": ""}]} if over else None
    row = {"task_id": name, "status": "SUCCESS" if over else "IN_PROGRESS", "progress": "30%", "data": inner}
    return {"code": "success", "message": "", "data": row}


@contextmanager
def serving(board: Board) -> Iterator[str]:
    """Serve the board on a free local port; yields the base URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = -1

        def _reply(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            base = f"http://{self.headers['Host']}"
            found = board.answer(self.command, self.path.partition("?")[0], body, base)
            data = json.dumps(found or {"error": "not found"}).encode()
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = _reply

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def work(count: int) -> list[tuple[str, float]]:
    """`count` durations of every distribution, the longest first so that few wait for the last."""
    jobs = [(name, seconds) for name in KINDS for seconds in sample(DISTRIBUTIONS[name][1], count)]
    return sorted(jobs, key=lambda job: -job[1])


def ours(history: int) -> dict[str, Cost]:
    """The plugin's own waiter and client, after so many jobs of each kind; sleep and clock run 20 times as fast."""
    board = Board(None)
    past = {name: sample(DISTRIBUTIONS[name][1], max(history, 1))[:history] for name in KINDS}
    limit = anyio.Semaphore(OURS[1])

    async def wait(client: SudashuiClient, name: str, seconds: float) -> None:
        async with limit:
            task_id = board.start(name, seconds)
            schedule = Schedule(past[name], task_id=task_id)
            await Waiter(client, schedule, clock=_fast_clock, sleep=_fast_sleep).wait(task_id)

    async def run(url: str) -> None:
        client = SudashuiClient("key", url, allow_private=True)
        with anyio.fail_after(RUN_SECONDS):
            async with client, anyio.create_task_group() as group:
                for name, seconds in work(OURS[0]):
                    group.start_soon(wait, client, name, seconds)

    with serving(board) as url:
        anyio.run(run, url)
    return board.costs()


def _fast_clock() -> float:
    return time.monotonic() * SPEED


async def _fast_sleep(seconds: float) -> None:
    await anyio.sleep(seconds / SPEED)


def peer(name: str) -> dict[str, Cost]:
    """One SDK's own wait helper, in an environment of its own.

    Raises:
        PeerUnavailableError: It cannot be installed or run here, or did not end in time.
    """
    python = interpreter(PEERS[name])
    count, at_once = LOADS[name]
    jobs = [f"{seconds:.3f}/{distribution}" for distribution, seconds in work(count)]
    board = Board(PEERS[name].vendor)
    script = Path(__file__).with_name("waiting_peers.py")
    with serving(board) as url:
        command = [str(python), str(script), name, url, str(SPEED), str(at_once), *jobs]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_SECONDS, check=False)
        except subprocess.TimeoutExpired as error:
            raise PeerUnavailableError(f"not done after {RUN_SECONDS:g} s") from error
    if done.returncode:
        raise PeerUnavailableError((done.stderr.strip().splitlines() or ["no reason"])[-1][:200])
    return board.costs()


def over_http() -> dict[str, Any]:
    """Print the table over HTTP and return its ratios; a peer that cannot be measured is a line that says why."""
    runs = {"ours, cold": lambda: ours(0), "ours, after 20": lambda: ours(20)}
    runs |= {name: lambda name=name: peer(name) for name in LOADS}
    print(f"\nover HTTP at 1/{SPEED:g} of the time: ratio (mean lag in real seconds, mean calls)\n")
    print(f"{'':<18}" + "".join(f"{name:>23}" for name in (*KINDS, "together")))
    result: dict[str, Any] = {}
    for name, run in runs.items():
        try:
            costs = run()
        except (PeerUnavailableError, GenVideoError, OSError) as error:
            print(f"{name:<18}  not measured: {error}")
            result[name] = None
            continue
        print(f"{name:<18}" + "".join(f"{cost!s:>23}" for cost in costs.values()), flush=True)
        result[name] = {distribution: round(cost.ratio, 3) for distribution, cost in costs.items()}
    return result
