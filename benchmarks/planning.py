"""How long a plan takes and how much memory: `python benchmarks/planning.py [--rows 10000] [--reused 1000]`.

A manifest of so many rows with templates, every tenth with a fallback, is read, checked, keyed, priced, held against a
ledger in a folder of which so many rows are paid for, and its plan file is written: what `genvideo plan` does. The
balance is asked where nobody answers. Memory is that of the process at its peak, less what the imports take.
`cpu_seconds` is what the process itself worked, whatever else the machine did. The last line is `RESULT` and JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from prefect_genvideo.batch.plan import plan_batch
from prefect_genvideo.finance import make_plan, save_plan
from prefect_genvideo.ledger.record import LedgerRecord
from prefect_genvideo.ledger.store import Ledger
from prefect_genvideo.pipeline.pipeline import Pipeline
from prefect_genvideo.prices import PriceTable
from prefect_genvideo.providers import SudashuiClient
from prefect_genvideo.storage import LocalStore

MODEL, OTHER = "sd-2-fast-720p", "sd-2-1080p"
PRICES = {"currency": "CNY", "prices": [{"models": "sd-2-*", "per": "second", "amount": "0.5"}]}
# Nothing listens there: the plan says that the balance could not be asked, as behind a gateway that is down.
NOWHERE = "http://127.0.0.1:9"


def manifest(rows: int) -> str:
    """So many rows as JSONL."""
    return "\n".join(
        json.dumps(
            {
                "model": MODEL,
                "prompt": "scene {{ n }}, a cat discovers the sea",
                "duration": 4 + n % 8,
                "vars": {"n": n},
            }
            | ({"fallback": [{"model": OTHER}]} if n % 10 == 0 else {})
        )
        for n in range(rows)
    )


def peak() -> float:
    """Peak memory of this process in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def measure(rows: int, reused: int, folder: Path) -> dict[str, Any]:
    """Plan once to know the keys, mark some as paid for, and plan again with the clock running."""
    file, store = folder / "wishes.jsonl", LocalStore(folder / "videos")
    file.write_text(manifest(rows))

    async def derive(fingerprint: str) -> str:
        return f"run-{fingerprint[:8]}"

    async with SudashuiClient("sk-benchmark", NOWHERE, allow_private=True) as client:
        client.price_table = PriceTable.model_validate(PRICES)
        pipeline = Pipeline(client, Ledger(store), "{task_id}.mp4")
        small = await plan_batch(str(file), [pipeline], derive=derive, key="bench", rows=f"1-{max(reused, 1)}")
        for item in small.items[:reused]:
            one = item.alternatives[0]
            record: LedgerRecord = pipeline.draft(one.idempotency_key, one.request, {})
            paid = record.model_copy(update={"state": "saved", "task_id": f"task_{item.number}"})
            await store.put(pipeline.ledger.path(record.key), paid.to_bytes())
        del small
        before, began, began_cpu = peak(), time.perf_counter(), time.process_time()
        batch = await plan_batch(str(file), [pipeline], derive=derive, key="bench")
        plan = await save_plan(store, await make_plan(batch, [pipeline]))
        seconds, cpu = time.perf_counter() - began, time.process_time() - began_cpu
    assert (len(plan.rows), len(plan.of("reused"))) == (rows, reused)
    return {
        "rows": rows,
        "reused": reused,
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu, 2),
        "mib": round(peak() - before, 1),
        "cost": str(plan.sums),
    }


def main() -> None:
    """Measure in a folder of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--reused", type=int, default=1_000)
    options = parser.parse_args()
    imports = peak()
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(measure(options.rows, options.reused, Path(folder)))
    found["mib"] = round(peak() - imports, 1)
    print("RESULT " + json.dumps(found | {"peak_mib": round(peak(), 1)}))


if __name__ == "__main__":
    main()
