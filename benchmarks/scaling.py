"""What one generation costs of memory, CPU and calls to Prefect's server, and what a flow run costs to start.

    python -m benchmarks.scaling [--waiting 500] [--made 100] [--single 10]

Against a real Prefect server (SQLite), an S3 server and the provider simulator, each a process of its own.

1. `waiting`: one flow run holds that many generations that do not end. Memory of the process, CPU while it waits.
2. `made`: one `generate_videos` run from create to save. Calls to the Prefect API, CPU of client and server per video.
3. `collect`: the same with `wait="collect"`, where nothing is held; then one `reconcile_videos` fetches all.
4. `single`: `generate_video` runs side by side, each step a task run of its own.
5. `start`: a process that imports the plugin and runs a flow of one video.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.servers import BUCKET, S3_KEY, Servers, running

MODEL = "sd-2-fast-720p"
CALLS: Counter[str] = Counter()


# The child: one process of flow runs


def count_calls() -> None:
    """Count what this process asks of the Prefect API, over every client that Prefect makes."""
    api = os.environ["PREFECT_API_URL"]
    plain_async, plain = httpx.AsyncClient.send, httpx.Client.send

    async def send_async(self: Any, request: Any, **options: Any) -> Any:
        CALLS["prefect" if str(request.url).startswith(api) else "other"] += 1
        return await plain_async(self, request, **options)

    def send(self: Any, request: Any, **options: Any) -> Any:
        CALLS["prefect" if str(request.url).startswith(api) else "other"] += 1
        return plain(self, request, **options)

    httpx.AsyncClient.send, httpx.Client.send = send_async, send  # type: ignore[method-assign]  # this process only counts


def blocks(job: dict[str, Any]) -> tuple[Any, Any]:
    """Credentials and destination on the benchmark's servers."""
    from prefect_genvideo import S3Destination, SudashuiCredentials

    url = job["simulator"]
    keys = {"access_key_id": S3_KEY, "secret_access_key": S3_KEY, "region": "us-east-1"}
    return (
        SudashuiCredentials.model_validate(
            {"api_key": "sk-sim-demo", "base_url": f"{url}/sudashui", "files_url": f"{url}/sudashui-files"}
        ),
        S3Destination.model_validate({"bucket": BUCKET, "prefix": job["name"], "endpoint_url": job["s3"], **keys}),
    )


async def work(job: dict[str, Any]) -> None:
    """Do what the job says."""
    from prefect_genvideo import generate_video, generate_videos, reconcile_videos

    payer, target = blocks(job)
    count = job["count"]
    rows: Any = [{"model": MODEL, "prompt": f"{job['name']} {number}", "duration": 4} for number in range(count)]
    if job["name"] == "reconcile":
        target = target.model_copy(update={"prefix": "collect"})
        found = await reconcile_videos(payer, target, at_once=32)
        assert sum(row.outcome == "saved" for row in found) == count
    elif job["name"] in ("single", "start", "warm"):
        await asyncio.gather(
            *(
                generate_video(row["prompt"], MODEL, payer, target, duration=4, idempotency_key=row["prompt"])
                for row in rows
            )
        )
    else:
        wait = "collect" if job["name"] == "collect" else "finish"
        await generate_videos(rows, payer, target, max_in_flight=2000, wait=wait)


def child(job: dict[str, Any]) -> None:
    """Run a job and print what it cost."""
    os.environ["PREFECT_INTEGRATIONS_GENVIDEO_POLL_INTERVAL"] = str(job["poll"])
    count_calls()
    began = time.monotonic()
    asyncio.run(work(job))
    usage = resource.getrusage(resource.RUSAGE_SELF)
    figures = {
        "wall_s": time.monotonic() - began,
        "client_cpu_s": time.process_time(),
        "peak_mb": usage.ru_maxrss / 1024,
        "prefect_calls": CALLS["prefect"],
    }
    print(json.dumps(figures))


# The parent


def command(servers: Servers, name: str, count: int, poll: float) -> list[str]:
    """A child's command line."""
    job = {"name": name, "count": count, "poll": poll, "simulator": servers.simulator, "s3": servers.s3}
    return [sys.executable, "-m", "benchmarks.scaling", "--child", json.dumps(job)]


def measure(servers: Servers, name: str, count: int) -> dict[str, float]:
    """Run a job to its end; its figures with the server's CPU, all but memory and time per video."""
    before = servers.server_cpu()
    done = subprocess.run(
        command(servers, name, count, 0.5),
        env=servers.environment(),
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(done.stderr[-3000:])
    figures: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    time.sleep(5)  # the server writes events and task runs a little later
    figures["server_cpu_s"] = servers.server_cpu() - before
    for key in ("client_cpu_s", "server_cpu_s", "prefect_calls"):
        figures[f"{key}_each"] = figures[key] / count
    return figures


def measure_waiting(servers: Servers, count: int, poll: float = 15.0, watch: float = 60.0) -> dict[str, float]:
    """Hold that many generations and look at the process."""
    before = billed(servers)
    process = subprocess.Popen(
        command(servers, f"waiting-{count}", count, poll),
        env=servers.environment(),
        cwd=Path(__file__).parent.parent,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while billed(servers) - before < count:
            if process.poll() is not None:
                sys.exit("the flow run ended while it should wait")
            time.sleep(0.5)
        time.sleep(poll + 5)  # all have asked once
        cpu, server = process_cpu(process.pid), servers.server_cpu()
        time.sleep(watch)
        return {
            "rss_mb": memory(process.pid),
            "client_cpu_ms_a_minute_each": (process_cpu(process.pid) - cpu) / count / watch * 60_000,
            "server_cpu_ms_a_minute_each": (servers.server_cpu() - server) / count / watch * 60_000,
        }
    finally:
        process.kill()
        process.wait()


def billed(servers: Servers) -> int:
    """Generations that the simulator has accepted so far."""
    return int(str(servers.state()["billed"]))


def memory(pid: int) -> float:
    """Resident memory of a process in MB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))) / 1024


def process_cpu(pid: int) -> float:
    """CPU seconds of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def show(name: str, figures: dict[str, float]) -> None:
    """Print one line of figures."""
    print(f"{name:<16}" + "  ".join(f"{key} {value:.3g}" for key, value in figures.items()), flush=True)


def main() -> None:
    """Measure everything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--waiting", type=int, default=500)
    parser.add_argument("--made", type=int, default=100)
    parser.add_argument("--single", type=int, default=10)
    parser.add_argument("--child", type=json.loads)
    options = parser.parse_args()
    if options.child:
        return child(options.child)
    with running('{"polls_to_finish": 1}') as servers:
        show("warm", measure(servers, "warm", 1))
        show("start", measure(servers, "start", 1))
        show("made", measure(servers, "made", options.made))
        show("collect", measure(servers, "collect", options.made))
        show("reconcile", measure(servers, "reconcile", options.made))
        show("single", measure(servers, "single", options.single))
    with running('{"clock": "manual"}') as servers:
        few, many = measure_waiting(servers, 10), measure_waiting(servers, options.waiting)
        show("waiting 10", few)
        show(f"waiting {options.waiting}", many)
        grown = (many["rss_mb"] - few["rss_mb"]) / (options.waiting - 10) * 1024
        print(f"memory of one more waiting generation: {grown:.0f} kB")
    return None


if __name__ == "__main__":
    main()
