"""The money matrix in short: `kill -9` at every step, the worst faults and reruns, with real processes, HTTP and S3."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from benchmarks.money import markdown
from benchmarks.money_cells import FAULTS, KILLS, Cell, Order, all_cells, quick_cells
from benchmarks.money_runner import CLIP_BYTES, Bench, Outcome, summed
from benchmarks.servers import BUCKET, Servers
from prefect_genvideo.simulator import Simulator
from tests.fixtures.s3 import S3Server

CELLS = {cell.name: cell for cell in all_cells()}
SHORT = [
    *(f"first run | none | {kill}" for kill in KILLS),
    "first run | lost after | no kill",
    "first run | refused | no kill",
    "rerun | lost after | polling",
    "rerun | cut | saving",
    "S3 down | record submitted | answer lost",
    "S3 down | record submitted | for good",
]


@pytest.fixture(scope="session")
def bench(simulator: Simulator, s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """The benchmark's own runner on the session's servers."""
    s3.client.create_bucket(Bucket=BUCKET)
    folder: Path = tmp_path_factory.mktemp("money")
    with closing(Bench(Servers(simulator.url, s3.endpoint_url, "", 0, folder))) as bench:
        yield bench


@pytest.mark.slow
@pytest.mark.parametrize("name", SHORT)
def test_one_is_billed_and_one_is_delivered(bench: Bench, sim: Simulator, name: str) -> None:
    """Whatever dies or gets lost; a person decides only where an answer was on the wire."""
    sim.configure(clip_bytes=CLIP_BYTES)
    cell = CELLS[name]
    outcome = bench.play(cell)
    assert outcome.problems(cell) == [], outcome
    assert sim.billed == 1
    assert outcome.killed == sum(bool(order.kill) for order in cell.orders)


def test_the_matrix_has_every_fault_with_every_kill() -> None:
    """As first run or as rerun; no cell twice; the quick form is a part of the whole."""
    seen = {(cell.row, cell.column) for cell in all_cells() if cell.table in ("first run", "rerun")}
    assert seen >= {(fault, kill) for fault in FAULTS for kill in KILLS}
    assert len(CELLS) == len(all_cells()) > 200
    assert {cell.name for cell in quick_cells()} <= set(CELLS)


def test_a_broken_promise_is_called_by_its_name() -> None:
    """What makes the benchmark exit with 1."""
    cell = Cell("t", "r", "c", (Order(),))
    assert Outcome(billed=1, delivered=1).problems(cell) == []
    assert Outcome(billed=2, delivered=1).problems(cell) == ["billed more than once"]
    assert Outcome(billed=1).problems(cell) == ["not delivered"]
    assert Outcome(billed=1, delivered=1, adopted=1).problems(cell) == ["a person was needed and should not have been"]


def test_figures_and_table_say_what_was_measured() -> None:
    """Billed per wanted, delivered per billed, and what a person did."""
    one, two = Cell("t", "lost", "no kill", (Order(),), unknown=True), Cell("t", "lost", "polling", (Order(),))
    results = {
        one: Outcome(billed=1, delivered=1, by_machine=0, unknown=1, adopted=1, runs=3),
        two: Outcome(billed=1, delivered=1, by_machine=1, runs=2, killed=1),
    }
    figures = summed(results)
    assert figures["billed_per_wanted_max"] == 1.0
    assert (figures["delivered_per_billed"], figures["delivered_per_billed_without_a_person"]) == (1.0, 0.5)
    assert (figures["unknown"], figures["adopted"], figures["cells"], figures["killed"]) == (1, 1, 2, 1)
    assert "| lost | 1.00 1.00 a | 1.00 1.00 |" in markdown(results)
