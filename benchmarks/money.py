"""Does anybody pay twice, or pay and get nothing? Every fault × `kill -9` at every step × rerun.

    python benchmarks/money.py [--quick] [--no-peers] [--prefect] [--json FILE]

Each cell is one wanted video. Its runs are real processes: our steps with the real client against the provider's
simulator over HTTP and an S3 server, which die by SIGKILL where the cell says. When no machine can go on, a person's
part is played: look into the provider's console, then `ledger adopt` (found) or `ledger release` (not there), and
`ledger reconcile`. Then the same faults on other vendors' SDKs; see `benchmarks/peers`.

Exits with 1 when something was billed twice, not delivered, or needed a person where none should be needed. The last
line is `RESULT {…}`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.money_cells import Cell, all_cells, ark_cells, dealt, field_cells, quick_cells
from benchmarks.money_runner import CLIP_BYTES, Bench, Outcome, as_rows, summed
from benchmarks.money_sums import billed
from benchmarks.servers import running

SIMULATOR = json.dumps({
    "clock": "time", "duration_kind": "fixed", "duration_median_s": 0.3, "refresh_s": 0, "clip_bytes": CLIP_BYTES
})  # fmt: skip
CROWD = 20
PEER_FIGURES = ("billed_per_wanted_max", "billed_per_wanted_one_run_max", "delivered_per_billed", "lost", "cells")


def main() -> int:
    """Run the matrix."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="each fault, kill and failing write once; no peers")
    parser.add_argument("--no-peers", action="store_true", help="without the other vendors' SDKs")
    parser.add_argument("--prefect", action="store_true", help="also the real flow against a Prefect server")
    parser.add_argument("--only", default="", help="cells whose name holds this text")
    parser.add_argument("--json", type=Path, help="write every cell to this file")
    given = parser.parse_args()
    known = quick_cells() if given.quick else all_cells()
    at_ark = [] if given.quick else ark_cells()
    cells = [cell for cell in [*dealt(known), *at_ark] if given.only in cell.name]
    field = [cell for cell in dealt(field_cells()) if given.only in cell.name and not given.quick]
    ours, sound = measure(cells, field, prefect=given.prefect, file=given.json)
    report: dict[str, Any] = {"ours": ours}
    if not given.no_peers and not given.quick:
        report |= peers()
    print("RESULT " + json.dumps(report))
    return 0 if sound else 1


def measure(
    cells: Sequence[Cell], field: Sequence[Cell] = (), *, prefect: bool = False, file: Path | None = None
) -> tuple[dict[str, Any], bool]:
    """Play our cells and print them; returns the figures and whether every promise was kept."""
    began = time.monotonic()
    with running(SIMULATOR, prefect=prefect) as servers, closing(Bench(servers)) as bench:
        results = bench.play_all(cells, _say)
        for cell in field:
            results[cell] = bench.play(cell)
            _say(cell, results[cell])
        commanded = by_command(bench, results)
        crowd = bench.crowd(CROWD)
        if prefect:
            from benchmarks.money_flows import play_flows

            results |= play_flows(bench, _say)
    for table in dict.fromkeys(cell.table for cell in results):
        print(markdown({cell: outcome for cell, outcome in results.items() if cell.table == table}))
    print(
        f"\n{crowd['processes']} processes with one key at once: {crowd['billed']} billed, {crowd['results']} results"
    )
    if file is not None:
        file.write_text(json.dumps(as_rows(results), indent=1))
    broken = {cell.name: problems for cell, outcome in results.items() if (problems := outcome.problems(cell))}
    for name, fault in commanded.items():
        broken.setdefault(name, []).append(fault)
    for name, problems in broken.items():
        print(f"BROKEN {name}: {', '.join(problems)}")
    sound = not broken and (crowd["billed"], crowd["results"], crowd["tasks"]) == (1, CROWD, 1)
    figures: dict[str, Any] = {"broken": len(broken), "crowd": crowd, "seconds": round(time.monotonic() - began)}
    for provider in dict.fromkeys(cell.provider for cell in results):
        # Units at the gateway and tokens at Ark are no sum.
        figures[provider] = summed({cell: one for cell, one in results.items() if cell.provider == provider})
    return figures, sound


def by_command(bench: Bench, results: dict[Cell, Outcome]) -> dict[str, str]:
    """Faults of `genvideo bill`, run for one cell of each way of settling and of each tree, by the cell's name."""
    faults = dict[str, str]()
    logged = [cell for cell in results if results[cell].sums.settled and cell.provider == "sudashui"]
    chosen = {(cell.purse, cell.tree): cell for cell in logged}
    for cell in chosen.values():
        said, known = billed(bench.by_command(bench.places[cell])), results[cell].sums.bill
        if said != known:
            faults[cell.name] = f"genvideo bill says {said}, the log {known}"
    print(f"\n`genvideo bill` for {len(chosen)} cells, one of each purse and tree: {len(faults)} differ")
    return faults


def _say(cell: Cell, outcome: Outcome) -> None:
    said = f"{mark(outcome)}  {outcome.runs} runs  {cell.purse}: {outcome.sums}  {' '.join(outcome.errors)}"
    print(f"{cell.name:<60} {said}", file=sys.stderr, flush=True)


def mark(outcome: Outcome) -> str:
    """`billed/wanted delivered/billed`, and what a person did: `a`dopted a task, `r`eleased the key."""
    share = f"{outcome.delivered / outcome.billed:.2f}" if outcome.billed else "–"
    return f"{outcome.billed:.2f} {share}{' a' * outcome.adopted}{' r' * outcome.released}"


def markdown(results: dict[Cell, Outcome]) -> str:
    """One table: rows are faults, columns moments of death."""
    table = next(iter(results)).table
    columns = list(dict.fromkeys(cell.column for cell in results))
    lines = [
        f"\n**{table}**: billed/wanted, delivered/billed; a: a person adopted the task, r: released the key\n",
        f"| | {' | '.join(columns)} |",
        "|---" * (len(columns) + 1) + "|",
    ]
    for row in dict.fromkeys(cell.row for cell in results):
        found = {cell.column: mark(outcome) for cell, outcome in results.items() if cell.row == row}
        lines.append(f"| {row} | {' | '.join(found.get(column, '') for column in columns)} |")
    return "\n".join(lines)


def peers() -> dict[str, Any]:
    """The same faults on other vendors' SDKs."""
    from benchmarks.peers import run_peers
    from benchmarks.peers.__main__ import summary

    report = run_peers()
    print(summary(report))
    return {
        name: {figure: found[figure] for figure in PEER_FIGURES} if "rows" in found else {"skipped": found["skipped"]}
        for name, found in report.items()
    }


if __name__ == "__main__":
    sys.exit(main())
