"""A thousand generations in one flow run while 5 % of everything goes wrong; and the same killed in the middle.

    python benchmarks/thousand.py [--n 1000] [--rate 0.05] [--lost 0.0]

Against a real Prefect server, an S3 server and the provider simulator, each a process of its own. At the given rate
creates are refused (500, 429), answers come late, polls are lost (502), downloads are cut, and generations end as
refused by moderation, which are paid for like the others and have no video.

1. `whole`: one flow run. Every good video must be in the bucket, none may have been made twice.
2. `killed`: another batch, SIGKILL when half of it is billed. `rerun`: the same idempotency key in a new process.
   Creates that were on the wire at the kill are `unknown`: no machine sends them again. `settled`: a person has looked
   them up at the provider, adopted or released each, and runs the batch once more.

With `--lost` some answers of creates are lost too. Such an outcome is unknown and stops the account until a person has
looked, so few are made then; the point is that none is made twice.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import httpx

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.servers import BUCKET, S3_KEY, Servers, running

MODEL = "sd-2-fast-720p"
REFUSED = "GenerationFailedError"
COLUMNS = ("wanted", "billed", "twice", "saved", "refused", "given up", "unknown", "skipped")
COSTS = ("wall s", "peak MB", "client CPU s", "server CPU s")


def faults(rate: float, lost: float) -> list[dict[str, Any]]:
    """What goes wrong, as the simulator takes it."""
    all_kinds: list[dict[str, Any]] = [
        {"kind": "late", "op": "create", "rate": rate, "params": {"seconds": 1.0}},
        {"kind": "late", "op": "status", "rate": rate, "params": {"seconds": 1.0}},
        {"kind": "lost_after", "op": "create", "rate": lost},
        {"kind": "500_e1", "op": "create", "rate": rate},
        {"kind": "429", "op": "create", "rate": rate, "params": {"retry_after": 1}},
        {"kind": "moderation", "op": "create", "rate": rate},
        {"kind": "502_html", "op": "status", "rate": rate},
        {"kind": "cut", "op": "download", "rate": rate},
    ]
    return [fault for fault in all_kinds if fault["rate"] > 0]


# The child: one flow run


@dataclass(frozen=True)
class Job:
    """What a child process does.

    Attributes:
        key: Idempotency key of the batch, and its folder in the bucket.
        settle: Task ids by idempotency key that a person found at the provider; empty text where there was none.
    """

    simulator: str
    s3: str
    key: str
    count: int
    in_flight: int
    poll: float
    settle: Mapping[str, str] = field(default_factory=dict[str, str])


def run_job(job: Job) -> dict[str, Any]:
    """Run the batch in this process; its report and what it cost."""
    os.environ["PREFECT_INTEGRATIONS_GENVIDEO_POLL_INTERVAL"] = str(job.poll)
    # With every tenth create refused, one video in a thousand meets three refusals in a row: the default gives up then.
    os.environ["PREFECT_INTEGRATIONS_GENVIDEO_CREATE_ATTEMPTS"] = "6"
    from prefect_genvideo import S3Destination, SudashuiCredentials, VideoRequest, generate_videos
    from prefect_genvideo.ledger.decisions import adopt, release

    credentials = SudashuiCredentials.model_validate(
        {
            "api_key": "sk-sim-demo",
            "base_url": f"{job.simulator}/sudashui",
            "files_url": f"{job.simulator}/sudashui-files",
        }
    )
    destination = S3Destination.model_validate(
        {
            "bucket": BUCKET,
            "prefix": job.key,
            "endpoint_url": job.s3,
            "region": "us-east-1",
            "access_key_id": S3_KEY,
            "secret_access_key": S3_KEY,
        }
    )
    requests: list[VideoRequest | dict[str, Any]] = [
        {"model": MODEL, "prompt": f"a cat {number}", "duration": 4} for number in range(job.count)
    ]

    async def everything() -> Any:
        ledger = destination.get_ledger()
        for key, task_id in job.settle.items():
            await (adopt(ledger, key, task_id) if task_id else release(ledger, key))
        return await generate_videos(
            requests, credentials, destination, max_in_flight=job.in_flight, fail_on="never", idempotency_key=job.key
        )

    began, cpu = time.monotonic(), time.process_time()
    report = asyncio.run(everything())
    return {
        "rows": [
            row.model_dump(mode="json", include={"key", "prompt", "state", "error", "reason"}) for row in report.rows
        ],
        "wall s": time.monotonic() - began,
        "client CPU s": time.process_time() - cpu,
        "peak MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


# The parent: servers, kills and figures


class Bench:
    """One provider, one bucket, one Prefect server.

    Args:
        servers: Where they listen.
        options: Command line.
    """

    def __init__(self, servers: Servers, options: argparse.Namespace) -> None:
        self.servers, self.options = servers, options
        self.wanted: int = options.n

    def begin_anew(self) -> None:
        """Let the provider forget all tasks and bills, and let things go wrong."""
        for path, body in (("reset", None), ("faults", faults(self.options.rate, self.options.lost))):
            httpx.post(f"{self.servers.simulator}/_sim/{path}", json=body, timeout=60).raise_for_status()

    @contextmanager
    def started(self, key: str, settle: Mapping[str, str] | None = None) -> Generator[subprocess.Popen[str]]:
        """A flow run of the batch in a process of its own; killed when the context is left."""
        in_flight = self.options.in_flight or self.wanted
        job = [self.servers.simulator, self.servers.s3, key, self.wanted, in_flight, self.options.poll, settle or {}]
        with (self.servers.folder / f"{key}.log").open("a") as log:
            child = subprocess.Popen(
                [sys.executable, str(Path(__file__)), "--child"],
                env=self.servers.environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        assert child.stdin is not None
        try:
            child.stdin.write(json.dumps(job))
            child.stdin.close()
            yield child
        finally:
            with suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()

    def run(self, key: str, settle: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Run the batch to its end and return its figures, held against the provider's bill and the bucket."""
        before = self.servers.server_cpu()
        with self.started(key, settle) as child:
            assert child.stdout is not None
            told = child.stdout.read()
            child.wait()
        if child.returncode:
            sys.exit(f"{key} failed:\n{(self.servers.folder / f'{key}.log').read_text()[-3000:]}")
        figures = json.loads(told.strip().splitlines()[-1])
        return figures | self.count(key, figures["rows"]) | {"server CPU s": self.servers.server_cpu() - before}

    def count(self, key: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """What was wanted, paid and saved."""
        states = Counter(row["state"] for row in rows)
        refused = sum(row["error"] == REFUSED for row in rows)
        prompts = Counter(task["prompt"] for task in self.tasks())
        in_bucket = self.videos(key)
        if in_bucket != states["saved"]:
            sys.exit(f"{key}: {states['saved']} videos are reported as saved and {in_bucket} are in the bucket")
        return {
            "wanted": self.wanted,
            "billed": sum(prompts.values()),
            "twice": sum(count - 1 for count in prompts.values()),
            "saved": states["saved"],
            "refused": refused,
            "given up": states["failed"] - refused,
            "unknown": states["unknown"],
            "skipped": states["skipped"],
        }

    def tasks(self) -> list[dict[str, Any]]:
        """The provider's tasks."""
        return cast("list[dict[str, Any]]", self.servers.state()["tasks"])

    def videos(self, key: str) -> int:
        """How many videos lie in the batch's folder."""
        import boto3

        s3: Any = boto3.client(  # pyright: ignore[reportUnknownMemberType] - one overload a service
            "s3",
            endpoint_url=self.servers.s3,
            region_name="us-east-1",
            aws_access_key_id=S3_KEY,
            aws_secret_access_key=S3_KEY,
        )
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{key}/")
        return sum(entry["Key"].endswith(".mp4") for page in pages for entry in page.get("Contents", []))

    def kill_in_the_middle(self, key: str) -> dict[str, Any]:
        """Start the batch and kill its process when half of it is billed."""
        before, began = self.servers.server_cpu(), time.monotonic()
        with self.started(key) as child:
            while cast("int", self.servers.state()["billed"]) < self.wanted // 2 and child.poll() is None:
                time.sleep(0.2)
        cost = {"wall s": time.monotonic() - began, "server CPU s": self.servers.server_cpu() - before}
        billed = cast("int", self.servers.state()["billed"])
        return {"wanted": self.wanted, "billed": billed, "saved": self.videos(key), **cost}

    def look_up(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, str]:
        """What a person finds at the provider about the creates whose fate is unknown."""
        by_prompt = {task["prompt"]: str(task["task_id"]) for task in self.tasks()}
        return {row["key"]: by_prompt.get(row["prompt"], "") for row in rows if row["state"] == "unknown"}


def show(name: str, figures: Mapping[str, Any]) -> None:
    """Print one row of the table."""
    counts = " ".join(f"{figures.get(column, ''):>8}" for column in COLUMNS)
    costs = " ".join(f"{figures[cost]:>12.1f}" if cost in figures else " " * 12 for cost in COSTS)
    print(f"{name:<8} {counts} {costs}", flush=True)
    rows = (row for row in figures.get("rows", ()) if row["state"] == "failed" and row["error"] != REFUSED)
    for told, count in Counter(f"{row['error']}: {row['reason'][:200]}" for row in rows).most_common(5):
        print(f"         given up: {count} × {told}", flush=True)


def check(figures: Mapping[str, Any], name: str) -> None:
    """End with an error when a promise was not kept.

    Every wanted video is saved, refused by the provider, proven not to have been made, or held for a person.
    """
    told = {column: figures[column] for column in COLUMNS}
    ends = ("saved", "refused", "given up", "unknown", "skipped")
    whole = sum(figures[end] for end in ends) == figures["wanted"]
    paid_for_nothing = figures["billed"] - figures["saved"] - figures["refused"] - figures["unknown"]
    if figures["twice"] or figures["billed"] > figures["wanted"] or not whole or paid_for_nothing > 0:
        sys.exit(f"{name}: a promise was broken: {told}")


def measure(bench: Bench) -> dict[str, Any]:
    """Run both scenarios; the figures of RESULT."""
    print(" ".join(f"{name:>8}" for name in ("", *COLUMNS)), " ".join(f"{cost:>12}" for cost in COSTS))
    bench.begin_anew()
    whole = bench.run("whole")
    show("whole", whole)
    check(whole, "whole")
    bench.begin_anew()
    killed = bench.kill_in_the_middle("killed")
    show("killed", killed)
    rerun = bench.run("killed")
    show("rerun", rerun)
    check(rerun, "rerun")
    settled = bench.run("killed", bench.look_up(rerun["rows"]))
    show("settled", settled)
    check(settled, "settled")
    kept = ("wanted", "billed", "twice", "saved", "refused", "given up", "unknown", "skipped")
    names = {"wall s": "wall_s", "peak MB": "peak_mb", "client CPU s": "cpu_s", "server CPU s": "server_cpu_s"}

    def plain(figures: Mapping[str, Any]) -> dict[str, Any]:
        counts = {name.replace(" ", "_"): figures[name] for name in kept if name in figures}
        return counts | {short: round(figures[name], 1) for name, short in names.items() if name in figures}

    return plain(whole) | {"killed": plain(killed), "rerun": plain(rerun), "settled": plain(settled)}


def main() -> None:
    """Measure and print; with `--child` be the flow run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=1000, help="videos wanted")
    parser.add_argument("--rate", type=float, default=0.05, help="share of calls that go wrong, of each kind")
    parser.add_argument("--lost", type=float, default=0.0, help="share of creates whose answer is lost")
    parser.add_argument("--in-flight", type=int, default=0, help="generations under way at most; 0 is all of them")
    parser.add_argument("--seconds", type=float, default=20.0, help="median of the simulated generations")
    parser.add_argument("--poll", type=float, default=5.0, help="seconds between questions about a generation")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(run_job(Job(*json.load(sys.stdin)))))
        return
    config = {"clock": "time", "duration_median_s": options.seconds, "refresh_s": 0}
    with running(json.dumps(config)) as servers:
        result = measure(Bench(servers, options))
    print("RESULT " + json.dumps(result))


if __name__ == "__main__":
    main()
