"""`python -m benchmarks.peers`: the tables on standard error, the report as JSON on standard output."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from benchmarks.peers.faults import FAULTS, KILLS
from benchmarks.peers.runner import MATRIX_SECONDS, run_peers
from benchmarks.peers.vendors import PEERS


def main() -> int:
    """Runs the matrix. Exits with 1 when no peer could be measured."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    parser.add_argument("--peers", nargs="*", choices=list(PEERS), help="default: all")
    parser.add_argument("--faults", nargs="*", choices=list(FAULTS), help="default: the standard matrix")
    parser.add_argument("--kills", nargs="*", choices=list(KILLS), help="default: all")
    parser.add_argument("--cross", action="store_true", help="also each kill with each fault on the rerun")
    parser.add_argument("--seconds", type=float, default=MATRIX_SECONDS, help="time for all cells")
    given = parser.parse_args()
    report = run_peers(given.faults, kills=given.kills, peers=given.peers, cross=given.cross, seconds=given.seconds)
    print(summary(report), file=sys.stderr)
    print(json.dumps(report, indent=1))
    return 0 if any("rows" in result for result in report.values()) else 1


def summary(report: dict[str, dict[str, Any]]) -> str:
    """The result as two Markdown tables: by peer, and billed/delivered by fault."""
    measured = {name: result for name, result in report.items() if "rows" in result}
    lines = ["", "| peer | cells | billed/wanted max, one run | with reruns | delivered/billed | paid and lost |"]
    lines.append("|---|---|---|---|---|---|")
    lines += [
        f"| {result['requirement']} | {result['cells']} | {result['billed_per_wanted_one_run_max']:.2f} "
        f"| {result['billed_per_wanted_max']:.2f} | {result['delivered_per_billed']:.2f} | {result['lost']} |"
        for result in measured.values()
    ]
    lines += [f"| {result['requirement']} | skipped: {result['skipped']} | | | | |"
              for result in report.values() if "skipped" in result]  # fmt: skip
    if not measured:
        return "\n".join(lines)
    lines += ["", "billed/delivered after the first run, and after the reruns where there were any", ""]
    lines += [f"| fault | {' | '.join(measured)} |", "|---" * (len(measured) + 1) + "|"]
    by_cell: dict[str, dict[str, str]] = {}
    for name, result in measured.items():
        for row in result["rows"]:
            label = " + ".join(filter(None, [row["kill"] and f"kill {row['kill']}", row["fault"]]))
            text = f"{row['billed_first']}/{row['delivered_first']}"
            text += f", {row['billed']}/{row['delivered']}" if row["runs"] > 1 else ""
            by_cell.setdefault(label, {})[name] = text
    lines += [
        f"| {label} | {' | '.join(texts.get(name, '') for name in measured)} |" for label, texts in by_cell.items()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
