"""A few cells of the matrix with the real flow `generate_video` against a Prefect server: each run a new flow run.

As a script (`python -m benchmarks.money_flows JSON`) it is one of those runs.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.money_cells import FAULTS, UNKNOWN_KILLS, Cell, Order
from benchmarks.money_child import KEY, Fuse, FusedStore, Place
from benchmarks.money_runner import STUCK_SECONDS, Bench, Outcome
from benchmarks.servers import Servers

KILLS = ("before record", "recorded", "video there", "before return")
POLL_SECONDS = "0.2"


def cells() -> Iterator[Cell]:
    """One cell for each moment that the store sees, two faults, and a second run after a good one."""
    table = "flow runs"
    yield Cell(table, "none", "asked again", (Order(), Order()))
    for fault in ("lost after", "cut"):
        yield Cell(table, fault, "no kill", (Order(fault), Order()), FAULTS[fault].unknown)
    for kill in KILLS:
        yield Cell(table, "none", kill, (Order(kill=kill), Order()), kill in UNKNOWN_KILLS)


def play_flows(bench: Bench, said: Callable[[Cell, Outcome], None]) -> dict[Cell, Outcome]:
    """Play the cells, one after the other: a flow run costs seconds of CPU."""
    results = dict[Cell, Outcome]()
    for cell in cells():
        results[cell] = bench.play(cell, partial(start, bench.servers))
        said(cell, results[cell])
    return results


def start(servers: Servers, place: Place, order: Order) -> dict[str, Any]:
    """One flow run in a process of its own."""
    task = json.dumps({"place": asdict(place), "order": asdict(order)})
    environment = servers.environment() | {"PREFECT_INTEGRATIONS_GENVIDEO_POLL_INTERVAL": POLL_SECONDS}
    command = [sys.executable, "-m", "benchmarks.money_flows", task]
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run(
        command, cwd=root, env=environment, capture_output=True, text=True, timeout=STUCK_SECONDS, check=False
    )
    if done.returncode == -signal.SIGKILL:
        return {"killed": 1}
    lines = done.stdout.splitlines()
    return json.loads(lines[-1]) if lines else {"error": done.stderr[-300:] or f"exit code {done.returncode}"}


async def run(place: Place, order: Order) -> dict[str, Any]:
    """Run the flow with a store that has a fuse."""
    from prefect_genvideo import S3Destination, SudashuiCredentials, generate_video
    from prefect_genvideo.errors import GenVideoError

    class FusedDestination(S3Destination):
        _block_type_name = "Fused S3 Destination"
        _block_type_slug = "fused-s3-destination"

        def get_store(self) -> FusedStore:
            store = FusedStore(**place.s3)
            store.fuse = Fuse(order)
            return store

    destination = FusedDestination(bucket=place.s3["bucket"])
    credentials = SudashuiCredentials.model_validate({"api_key": place.key, "base_url": place.base_url})
    try:
        video = await generate_video(
            place.prompt,
            model="sd-2-720p",
            credentials=credentials,
            destination=destination,
            duration=4,
            idempotency_key=KEY,
        )
    except GenVideoError as error:
        return {"error": type(error).__name__, "message": str(error)}
    return {"task_id": video.task_id, "sha256": video.sha256, "reused": video.reused}


if __name__ == "__main__":
    given = json.loads(sys.argv[1])
    print(json.dumps(asyncio.run(run(Place(**given["place"]), Order(**given["order"])))))
