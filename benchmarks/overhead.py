"""What orchestrating costs: time over the provider's own, for N videos at once.

    python benchmarks/overhead.py --n 1,10,100,1000

Contenders, each in a process of its own, against the same simulator, S3 server and Prefect server:

- `bare`: asyncio, httpx and boto3, no orchestrator.
- `empty`: one empty Prefect flow run. `floor` = bare + empty.
- `steps`: one flow run with an empty task run a video, which is what showing them costs in Prefect itself.
- `ours`: `generate_videos` with its steps visible in the UI, ledger and proof included.
- `by_hand`: what a data engineer would write: three sync tasks, `requests`, `time.sleep`, 10 threads.

Every simulated generation takes the same `--seconds`; that time is taken off. All ask every 0.5 s; those that have a
thousand generations under way at once ask for each every 5 s.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.servers import BUCKET, S3_KEY, Servers, running

CONTENDERS = ("bare", "empty", "steps", "ours", "by_hand")


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
    own = 0.0 if contender in ("empty", "steps") else seconds
    figures["overhead_s"] = figures["wall_s"] - own
    servers.settle()  # before it is read, and before the next contender begins
    figures["server_cpu_s"] = servers.server_cpu() - before
    return figures


def summarise(rows: dict[str, dict[str, float] | None], count: int) -> dict[str, Any]:
    """The figures of one N as RESULT gives them."""
    bare, empty, steps, ours, by_hand = (rows.get(name) for name in CONTENDERS)
    floor = bare["overhead_s"] + empty["overhead_s"] if bare and empty else None
    return {
        "floor_s": floor and round(floor, 2),
        "bare_s": bare and round(bare["overhead_s"], 2),
        "steps_s": steps and round(steps["overhead_s"], 2),
        "ours_s": ours and round(ours["overhead_s"], 2),
        "by_hand_s": by_hand and round(by_hand["overhead_s"], 2),
        "ours_per_floor": round(ours["overhead_s"] / floor, 2) if ours and floor else None,
        "ours_cpu_ms": ours and round(ours["cpu_s"] * 1000 / count, 1),
        "bare_cpu_ms": bare and round(bare["cpu_s"] * 1000 / count, 1),
        "ours_mb": ours and round(ours["peak_mb"], 1),
        "server_cpu_ms": ours and round(ours["server_cpu_s"] * 1000 / count, 1),
        "steps_server_cpu_ms": steps and round(steps["server_cpu_s"] * 1000 / count, 1),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", default="1,10,100", help="videos at once, several separated by commas")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long a simulated generation takes")
    parser.add_argument("--by-hand-limit", type=float, default=240.0, help="seconds after which by_hand is given up")
    options = parser.parse_args()
    # One frame a second: what the simulator renders is the provider's work, and would be counted as everybody's here.
    config = {"clock": "time", "duration_kind": "fixed", "duration_median_s": options.seconds, "refresh_s": 0, "fps": 1}
    result: dict[str, Any] = {}
    with running(json.dumps(config)) as servers:
        print(f"{'N':>5} {'contender':<9} {'overhead s':>10} {'CPU ms each':>11} {'peak MB':>8} {'server CPU ms':>13}")
        for count in map(int, options.n.split(",")):
            rows: dict[str, dict[str, float] | None] = {}
            for contender in CONTENDERS:
                limit = options.by_hand_limit if contender == "by_hand" else 1800
                rows[contender] = figures = measure(servers, contender, count, options.seconds, limit)
                if figures is None:
                    print(f"{count:>5} {contender:<9} {'> ' + format(limit, 'g'):>10}")
                    continue
                print(
                    f"{count:>5} {contender:<9} {figures['overhead_s']:>10.2f} "
                    f"{figures['cpu_s'] * 1000 / count:>11.1f} {figures['peak_mb']:>8.1f} "
                    f"{figures['server_cpu_s'] * 1000 / count:>13.1f}",
                    flush=True,
                )
            result[str(count)] = summarise(rows, count)
    print("RESULT " + json.dumps(result))


if __name__ == "__main__":
    main()
