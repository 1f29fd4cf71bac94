"""What orchestrating costs: time over the provider's own, for N videos at once.

    python benchmarks/overhead.py --n 1,10,100,1000 [--rounds 3] [--apart]

Contenders, each in a process of its own, against the same simulator, S3 server and Prefect server:

- `bare`: asyncio, httpx and boto3, no orchestrator.
- `steps`: one flow run with an empty task run a video, which is what showing them costs in Prefect itself.
- `floor`: both at once: one flow run, a task run a video, and in it the bare work. The same bytes lie in S3 afterwards.
- `ours`: `generate_videos` with its steps visible in the UI, ledger and proof included.
- `no_covers`: the same without cover pictures beside the videos.
- `prefect_aws`: what an engineer who knows Prefect writes, with httpx and prefect-aws (left out where that is missing).
- `by_hand`: what a data engineer would write: three sync tasks, `requests`, `time.sleep`, 10 threads.

Every simulated generation takes the same `--seconds`; that time is taken off. All ask every 0.5 s; those that have a
thousand generations under way at once ask for each every 5 s. Rounds go through all contenders, one after the other, so
that a busy minute hits all of them; the figures are medians. The S3 server counts its requests. With `--apart` the
servers have one half of the cores and the contenders the other, as if they were elsewhere.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.counted_store import COUNTS
from benchmarks.servers import BUCKET, S3_KEY, Servers, halves, running

CONTENDERS = ("bare", "steps", "floor", "ours", "no_covers", "prefect_aws", "by_hand")


def measure(servers: Servers, contender: str, count: int, seconds: float, limit: float) -> dict[str, float] | None:
    """Run one contender in a child process and return its figures; None when it took too long."""
    job = {
        "contender": contender,
        "count": count,
        "simulator": servers.simulator,
        "s3": servers.s3,
        "bucket": BUCKET,
        "s3_key": S3_KEY,
    }
    command = [sys.executable, "-m", "benchmarks.contenders", json.dumps(job)]
    before = servers.server_cpu()
    httpx.get(servers.s3 + COUNTS)
    try:
        done = subprocess.run(
            command,
            env=servers.environment(),
            cwd=Path(__file__).parent.parent,
            capture_output=True,
            text=True,
            timeout=limit,
            check=True,
        )
    except subprocess.TimeoutExpired:
        return None
    except subprocess.CalledProcessError as error:
        sys.exit(f"{contender} × {count} failed:\n{error.stderr[-3000:]}")
    figures: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    own = 0.0 if contender == "steps" else seconds
    figures["requests"] = float(sum(httpx.get(servers.s3 + COUNTS).json().values()))
    figures["overhead_s"] = figures["wall_s"] - own
    servers.settle()  # before it is read, and before the next contender begins
    figures["server_cpu_s"] = servers.server_cpu() - before
    return figures


def medians(rounds: list[dict[str, float] | None]) -> dict[str, float] | None:
    """The median of each figure; None when no round was finished."""
    done = [figures for figures in rounds if figures is not None]
    return {name: statistics.median(one[name] for one in done) for name in done[0]} if done else None


def summarise(rows: dict[str, dict[str, float] | None], count: int) -> dict[str, Any]:
    """The figures of one N as RESULT gives them."""
    floor, ours = rows.get("floor"), rows.get("ours")
    result: dict[str, Any] = {
        f"{name}_s": row and round(row["overhead_s"], 2) for name, row in rows.items() if name in CONTENDERS
    }
    return result | {
        "ours_per_floor": round(ours["overhead_s"] / floor["overhead_s"], 2) if ours and floor else None,
        "ours_cpu_ms": ours and round(ours["cpu_s"] * 1000 / count, 1),
        "floor_cpu_ms": floor and round(floor["cpu_s"] * 1000 / count, 1),
        "ours_mb": ours and round(ours["peak_mb"], 1),
        "server_cpu_ms": ours and round(ours["server_cpu_s"] * 1000 / count, 1),
        "floor_server_cpu_ms": floor and round(floor["server_cpu_s"] * 1000 / count, 1),
        "requests_each": ours and round(ours["requests"] / count, 2),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", default="1,10,100", help="videos at once, several separated by commas")
    parser.add_argument("--rounds", type=int, default=3, help="rounds of which the medians are printed")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long a simulated generation takes")
    parser.add_argument("--only", default="", help="contenders, separated by commas; all by default")
    parser.add_argument("--by-hand-limit", type=float, default=240.0, help="seconds after which by_hand is given up")
    parser.add_argument("--apart", action="store_true", help="servers and contenders on different cores")
    options = parser.parse_args()
    wanted = options.only.split(",") if options.only else list(CONTENDERS)
    if importlib.util.find_spec("prefect_aws") is None and "prefect_aws" in wanted:
        print("prefect_aws: left out, the package prefect-aws is not installed")
        wanted.remove("prefect_aws")
    # One frame a second: what the simulator renders is the provider's work, and would be counted as everybody's here.
    config = {"clock": "time", "duration_kind": "fixed", "duration_median_s": options.seconds, "refresh_s": 0, "fps": 1}
    result: dict[str, Any] = {}
    cores = halves() if options.apart else None
    if cores:
        os.sched_setaffinity(0, cores[0])  # the servers' processes have it from this one
    with running(json.dumps(config)) as servers:
        print(
            f"{'N':>5} {'contender':<11} {'overhead s':>10} {'CPU ms each':>11} {'peak MB':>8} {'S3 requests each':>16}"
        )
        if cores:
            os.sched_setaffinity(0, cores[1])
        measure(servers, "ours", 1, options.seconds, 240)  # the first run of all tries out the store
        for count in map(int, options.n.split(",")):
            rounds: dict[str, list[dict[str, float] | None]] = {name: [] for name in wanted}
            for _ in range(options.rounds):
                for contender in wanted:
                    limit = options.by_hand_limit if contender == "by_hand" else 1800
                    rounds[contender].append(measure(servers, contender, count, options.seconds, limit))
            rows = {name: medians(figures) for name, figures in rounds.items()}
            for contender, figures in rows.items():
                if figures is None:
                    print(f"{count:>5} {contender:<11} {'> ' + format(options.by_hand_limit, 'g'):>10}")
                    continue
                print(
                    f"{count:>5} {contender:<11} {figures['overhead_s']:>10.2f} "
                    f"{figures['cpu_s'] * 1000 / count:>11.1f} {figures['peak_mb']:>8.1f} "
                    f"{figures['requests'] / count:>13.2f}",
                    flush=True,
                )
            result[str(count)] = summarise(rows, count)
    print("RESULT " + json.dumps(result))


if __name__ == "__main__":
    main()
