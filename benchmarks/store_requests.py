"""What a video costs the store: requests, counted by the S3 server itself.

    python -m benchmarks.store_requests [--rows 100]

A single video is counted for a store's first process ever, for a later process and for a later video of that process;
for a process with a role's credentials, which are its own; and without covers. Batches are counted by the row.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from typing import Any

from benchmarks.counted_store import COUNTS
from benchmarks.servers import BUCKET, S3_KEY, Servers, running

_RUN = """
import asyncio, json, sys
import httpx
from prefect_genvideo import S3Destination, SudashuiCredentials, generate_video, generate_videos

job = json.loads(sys.argv[1])
payer = SudashuiCredentials.model_validate(job["credentials"])
target = S3Destination.model_validate(job["destination"])
wanted = {"model": "sd-2-fast-720p", "duration": 4}

async def main():
    for count in job["runs"]:
        httpx.get(job["counts"])
        if count == 1:
            await generate_video("A cat discovers the sea", credentials=payer, destination=target, **wanted)
        else:
            rows = [{"prompt": f"A cat, take {n}", **wanted} for n in range(count)]
            await generate_videos(rows, payer, target, max_in_flight=count)
        print("COUNT", sum(httpx.get(job["counts"]).json().values()) / count, flush=True)

asyncio.run(main())
"""


def counted(servers: Servers, prefix: str, runs: list[int], **settings: Any) -> list[float]:
    """Requests a video of the runs of one process.

    Args:
        servers: What it runs against.
        prefix: Of the destination.
        runs: Videos of each run: 1 is `generate_video`, more are a batch.
        settings: Of the destination.
    """
    store = {"bucket": BUCKET, "endpoint_url": servers.s3, "region": "us-east-1"}
    keys = {"access_key_id": S3_KEY, "secret_access_key": S3_KEY}
    job = {
        "credentials": {
            "api_key": "sk-sim-demo",
            "base_url": f"{servers.simulator}/sudashui",
            "files_url": f"{servers.simulator}/sudashui-files",
        },
        "destination": {"prefix": prefix, **store, **keys, **settings},
        "counts": servers.s3 + COUNTS,
        "runs": runs,
    }
    env = servers.environment() | {"PREFECT_INTEGRATIONS_GENVIDEO_POLL_INTERVAL": "1"}
    done = subprocess.run(
        [sys.executable, "-c", _RUN, json.dumps(job)], env=env, check=True, capture_output=True, text=True, timeout=900
    )
    return [float(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("COUNT ")]


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100, help="rows of the batches")
    rows = parser.parse_args().rows
    lent = {"access_key_id": f"{S3_KEY}-lent", "session_token": "lent"}
    found = dict[str, float]()
    with running('{"polls_to_finish": 2, "fps": 1}') as servers:
        (found["single, a store's first"],) = counted(servers, "s", [1])
        found["single, a process's first"], found["single, later in it"] = counted(servers, "s", [1, 1])
        (found["single, a role's process"],) = counted(servers, "s", [1], **lent)
        bare = counted(servers, "s", [1, 1], covers=False)
        found["without covers: a process's first"], found["without covers: later in it"] = bare
        (found[f"a row of {rows}"],) = counted(servers, "s", [rows])
        (found[f"without covers: a row of {rows}"],) = counted(servers, "s", [rows], covers=False)
    for name, count in found.items():
        print(f"{name:<36} {count:>6.2f}")
    print("RESULT " + json.dumps(found))


if __name__ == "__main__":
    main()
