"""What grows with a ledger and a batch: 100,000 records, 5,000 rows, 10,000 waits.

    python benchmarks/growth.py [--records 100000] [--rows 100,1000,5000] [--waits 10000]

- `records`: a bucket (the S3 double) and a folder with so many records, of which a hundred are unfinished: seconds and
  memory of `genvideo ledger list` and of `reconcile`. They must not read what has ended.
- `rows`: a batch planned and made against the simulator, without Prefect: CPU a row must not grow with their number.
- `waits`: so many waits in one process, each having asked once, without a network: memory above the imports.

Every figure is of a process of its own. The last line is `RESULT` and JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parent.parent))

from benchmarks.servers import BUCKET, S3_KEY, peak_kb
from prefect_genvideo.ledger.record import LedgerRecord
from prefect_genvideo.ledger.reservations import RESERVED, Reservation
from prefect_genvideo.simulator import SimulatorConfig, running_simulator
from prefect_genvideo.simulator.object_store import running_object_store

MODEL = "sd-2-fast-720p"
UNFINISHED = 100
#: Of the records, so many were made by batches, a hundred under one reservation; the others alone.
_IN_BATCHES = 0.8
_ACCOUNT = "0123456789abcdef"


def objects(records: int) -> dict[str, bytes]:
    """What a ledger of so many records looks like: all saved but the last hundred, which a killed batch left."""
    now = datetime.now(timezone.utc)
    facts: dict[str, Any] = {"provider": "sudashui", "model": MODEL, "account": _ACCOUNT, "fingerprint": "0" * 64}
    facts |= {"request": {"model": MODEL, "prompt": "a cat " * 20}, "submitted_at": now, "seconds": 4}
    record = LedgerRecord(key="KEY", task_id="task_KEY", state="saved", **facts).to_bytes()
    made = {f"_ledger/k{number:06}.json": record.replace(b"KEY", b"k%06d" % number) for number in range(records)}
    left = [f"k{number:06}" for number in range(records - UNFINISHED, records)]
    for key in left:
        made[f"_ledger/{key}.json"] = made[f"_ledger/{key}.json"].replace(b'"saved"', b'"submitted"')
    for number in range(int(records * _IN_BATCHES) // 100):
        made[f"{RESERVED}/{_day(now, number)}/{_ACCOUNT}/b{number:06}~100x400s.json"] = b""
    for number in range(int(records * (1 - _IN_BATCHES))):
        made[f"{RESERVED}/{_day(now, number)}/{_ACCOUNT}/s{number:06}~1x4s.json"] = b""
    still = Reservation(expires_at=now + timedelta(hours=20), keys=left).model_dump_json().encode()
    return made | {f"{RESERVED}/{now:%Y-%m-%d}/{_ACCOUNT}/open~100x400s.json": still}


def _day(now: datetime, number: int) -> str:
    return f"{now - timedelta(days=number % 60):%Y-%m-%d}"


def child(work: str, **facts: Any) -> dict[str, float]:
    """Do `work` in a process of its own; its figures."""
    command = [sys.executable, "-m", "benchmarks.growth", "--child", json.dumps({"work": work, **facts})]
    settings = {"PREFECT_LOGGING_LEVEL": "ERROR", "PREFECT_HOME": tempfile.mkdtemp(prefix="genvideo-growth-")}
    done = subprocess.run(
        command,
        env={**os.environ, **settings},
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{work} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def _destination(place: str) -> Any:
    from prefect_genvideo import LocalDestination, S3Destination

    if not place.startswith("http"):
        return LocalDestination(path=place)
    return S3Destination.model_validate(
        {
            "bucket": BUCKET,
            "endpoint_url": place,
            "region": "us-east-1",
            "access_key_id": S3_KEY,
            "secret_access_key": S3_KEY,
        }
    )


async def list_records(place: str) -> int:
    """What `genvideo ledger list` reads."""
    from prefect_genvideo.ledger.listing import unfinished

    return len([found async for found in unfinished(_destination(place).get_ledger())])


async def reconcile_records(place: str) -> int:
    """A reconciliation of another account: it reads what is unfinished and asks no provider."""
    from prefect_genvideo.pipeline import Pipeline
    from prefect_genvideo.pipeline.reconcile import reconcile
    from prefect_genvideo.providers import SudashuiClient

    async with SudashuiClient("sk-growth") as client:
        return len((await reconcile(Pipeline(client, _destination(place).get_ledger(), "{task_id}.mp4"))).rows)


async def make_rows(place: str, count: int, simulator: str) -> int:
    """Plan a batch and make it, without Prefect."""
    from prefect_genvideo.batch.plan import expect, plan_batch, unclaimed
    from prefect_genvideo.pipeline import Pipeline
    from prefect_genvideo.pipeline.make import Maker
    from prefect_genvideo.providers import SudashuiClient

    async def derive(fingerprint: str) -> str:
        return f"batch-{fingerprint[:8]}"

    url, files = f"{simulator}/sudashui", f"{simulator}/sudashui-files"
    async with SudashuiClient("sk-sim-demo", base_url=url, files_url=files) as client:
        pipeline = Pipeline(client, _destination(place).get_ledger(), "{task_id}.mp4", poll_interval=0.01)
        requests = [{"model": MODEL, "prompt": f"a cat {number}", "duration": 4} for number in range(count)]
        batch = await plan_batch(requests, [pipeline], derive=derive)
        free = await unclaimed(pipeline.ledger, batch.items)
        expect(batch.items, free)
        maker, places = Maker(free=free), asyncio.Semaphore(50)

        async def one(item: Any) -> bool:
            async with places:
                return (await maker.make(item.alternatives)).made is not None

        made = await asyncio.gather(*map(one, batch.items))
        await pipeline.ledger.finish()
        return sum(made)


async def wait_for_many(count: int, place: str) -> int:
    """So many waits that have asked once. The answers come from memory: what is measured is the waiting."""
    import httpx

    from prefect_genvideo.ledger.store import Entry
    from prefect_genvideo.pipeline import Pipeline
    from prefect_genvideo.providers import SudashuiClient

    asked, all_asked = 0, asyncio.Event()

    def answer(request: httpx.Request) -> httpx.Response:
        nonlocal asked
        asked += 1
        if asked == count:
            all_asked.set()
        task_id = request.url.path.rpartition("/")[2]
        row = {"task_id": task_id, "status": "IN_PROGRESS", "progress": "30%"}
        return httpx.Response(200, json={"code": "success", "data": row})

    facts: dict[str, Any] = {"provider": "sudashui", "model": MODEL, "account": _ACCOUNT, "fingerprint": "0" * 64}
    async with SudashuiClient("sk-growth", transport=httpx.MockTransport(answer)) as client:
        pipeline = Pipeline(client, _destination(place).get_ledger(), "{task_id}.mp4", poll_interval=0.01)
        waits: list[asyncio.Task[Any]] = []
        for number in range(count):
            record = LedgerRecord(key=f"k{number}", task_id=f"task_{number}", state="submitted", **facts)
            waits.append(asyncio.create_task(pipeline.follow(Entry(record, "e"))))
        await all_asked.wait()
        for wait in waits:
            wait.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
    return asked


WORK: dict[str, Callable[..., Any]] = {
    "list": list_records,
    "reconcile": reconcile_records,
    "rows": make_rows,
    "waits": wait_for_many,
}


def run_child(job: dict[str, Any]) -> None:
    """Do one piece of work and print its figures."""
    import prefect_genvideo.blocks
    import prefect_genvideo.pipeline.reconcile
    import prefect_genvideo.storage.s3.store  # noqa: F401 - importing is not what is measured

    base = peak_kb()
    began, cpu = time.monotonic(), time.process_time()
    count = asyncio.run(WORK[job.pop("work")](**job))
    peak = peak_kb()
    figures = {"seconds": time.monotonic() - began, "cpu_s": time.process_time() - cpu, "count": count}
    print(json.dumps(figures | {"mb": (peak - base) / 1024}))


def records(count: int) -> dict[str, Any]:
    """List and reconcile a bucket and a folder of so many records."""
    result: dict[str, Any] = {}
    made = objects(count)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(prefix="genvideo-growth-") as folder, running_object_store() as url:
        _fill_bucket(url, made)
        for key, data in made.items():
            path = Path(folder, key)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        for kind, place in (("s3", url), ("folder", folder)):
            for work in ("list", "reconcile"):
                figures = child(work, place=place)
                assert figures["count"] == UNFINISHED, figures
                result[f"{kind}_{work}"] = {name: round(figures[name], 1) for name in ("seconds", "mb")}
                print(f"{count:>7} records, {kind:<6} {work:<9} {figures['seconds']:>7.1f} s {figures['mb']:>7.1f} MB")
    return result


def _fill_bucket(url: str, made: dict[str, bytes]) -> None:
    """Put objects into the double behind its back: by HTTP it takes ten minutes, and is not what is measured."""
    import httpx
    from moto.s3.models import s3_backends  # pyright: ignore[reportMissingTypeStubs]

    assert urlsplit(url).hostname == "127.0.0.1"
    httpx.put(f"{url}/{BUCKET}").raise_for_status()
    (backend,) = [one for account in s3_backends.values() for one in account.values() if BUCKET in one.buckets]
    for key, data in made.items():
        backend.put_object(BUCKET, key, data)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=100_000, help="records in the ledger; 0 leaves this out")
    parser.add_argument("--rows", default="100,1000,5000", help="rows of batches, separated by commas; empty: none")
    parser.add_argument("--waits", type=int, default=10_000, help="waits in one process; 0 leaves this out")
    parser.add_argument("--child", default="", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        run_child(json.loads(options.child))
        return
    result: dict[str, Any] = {}
    if options.records:
        result["records"] = records(options.records)
    for count in map(int, filter(None, options.rows.split(","))):
        config = SimulatorConfig(clock="immediate", fps=1)
        with tempfile.TemporaryDirectory(prefix="genvideo-growth-") as folder, running_simulator(config) as simulator:
            figures = child("rows", place=folder, count=count, simulator=simulator.url)
        assert figures["count"] == count, figures
        each = figures["cpu_s"] * 1000 / count
        result.setdefault("rows", {})[str(count)] = {"cpu_ms_each": round(each, 1), "mb": round(figures["mb"], 1)}
        print(f"{count:>7} rows    {figures['seconds']:>7.1f} s {each:>7.1f} CPU ms each {figures['mb']:>7.1f} MB")
    if options.waits:
        with tempfile.TemporaryDirectory(prefix="genvideo-growth-") as folder:
            figures = child("waits", count=options.waits, place=folder)
        result["waits"] = {"mb": round(figures["mb"], 1), "seconds": round(figures["seconds"], 1)}
        print(f"{options.waits:>7} waits   {figures['seconds']:>7.1f} s {figures['mb']:>7.1f} MB")
    print("RESULT " + json.dumps(result))


if __name__ == "__main__":
    main()
