"""The money matrix in short: `kill -9` at every step, the worst faults and reruns, with real processes, HTTP and S3."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.money import SIMULATOR, markdown
from benchmarks.money_cells import FAULTS, KILLS, PURSES, Cell, Order, all_cells, ark_cells, dealt, quick_cells
from benchmarks.money_runner import Bench, Outcome, summed
from benchmarks.money_sums import Sums, compared
from benchmarks.servers import BUCKET, Servers
from prefect_genvideo.simulator import Simulator
from tests.fixtures.s3 import S3Server

CELLS = {cell.name: cell for cell in all_cells()}
AT_ARK = {cell.name: cell for cell in ark_cells()}
SHORT = [
    *(f"first run | none | {kill}" for kill in KILLS),
    "first run | lost after | no kill",
    "first run | refused | no kill",
    "rerun | lost after | polling",
    "rerun | cut | saving",
    "S3 down | record submitted | answer lost",
    "S3 down | record submitted | for good",
    "Ark: first run | lost after | no kill",
    "Ark: rerun | timeout | before record",
]


@pytest.fixture(scope="session")
def bench(simulator: Simulator, s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """The benchmark's own runner on the session's servers."""
    s3.client.create_bucket(Bucket=BUCKET)
    folder: Path = tmp_path_factory.mktemp("money")
    with closing(Bench(Servers(simulator.url, s3.endpoint_url, "", 0, folder))) as bench:
        yield bench


def test_what_is_settled_stands_in_ledger_and_bill(bench: Bench, sim: Simulator) -> None:
    """To the last unit: a create whose sender was killed before it could record the task, which machines find."""
    sim.configure(**json.loads(SIMULATOR))
    cell = replace(CELLS["first run | none | before record"], purse="cheaper", tree="newer")
    outcome = bench.play(cell)
    assert outcome.problems(cell) == [], outcome
    assert not outcome.needed_person
    assert outcome.sums.settled == outcome.sums.ledger == outcome.sums.bill == sum(sim.purse.used.values()) > 0


def test_the_tokens_of_a_create_whose_sender_was_killed_are_known_at_ark(bench: Bench, sim: Simulator) -> None:
    """Machines find its task in the list, and the ledger has what it was billed."""
    sim.configure(**json.loads(SIMULATOR))
    cell = AT_ARK["Ark: first run | none | before record"]
    outcome = bench.play(cell)
    assert outcome.problems(cell) == [], outcome
    assert not outcome.needed_person
    assert outcome.sums.settled == outcome.sums.ledger == sum(sim.tokens.values()) > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", SHORT)
def test_one_is_billed_and_one_is_delivered(bench: Bench, sim: Simulator, name: str) -> None:
    """Whatever dies or gets lost; a person decides only where an answer was on the wire."""
    sim.configure(**json.loads(SIMULATOR))
    cell = (CELLS | AT_ARK)[name]
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


def test_purses_are_dealt_to_all() -> None:
    """Every way of settling meets many cells, and what loses an answer is played at both kinds of gateway."""
    cells = dealt(all_cells())
    assert {cell.purse for cell in cells} == set(PURSES)
    assert len({cell.name for cell in cells}) == len(cells)
    doubled = [cell for cell in cells if cell.tree == "newer"]
    assert len(doubled) == sum(cell.unknown for cell in all_cells())


TASK = {"pre_charged": 100, "moved": -30, "settled": True}
MONEY = {"charge": {"quota": 100}, "refund": {"quota": 30}, "quota": 70, "basis": "log", "final": True}
RECORD = {"key": "k", "state": "saved", "task_id": "t", "money": MONEY}
LINE = {"kind": "agrees", "key": "k", "billed": {"amount": "0.00014", "currency": "unit"}}
STRAY = {"kind": "charge without video", "key": None, "billed": {"amount": "70", "currency": "quota"}}


@pytest.mark.parametrize(
    ("record", "lines", "faults"),
    [
        pytest.param(RECORD, [LINE], 0, id="all three agree"),
        pytest.param({**RECORD, "state": "unknown", "task_id": None, "money": None}, [STRAY], 0, id="named as unknown"),
        pytest.param({**RECORD, "money": {**MONEY, "quota": 71}}, [LINE], 1, id="its parts make another sum"),
        pytest.param({**RECORD, "money": {**MONEY, "refund": None, "quota": 100}}, [LINE], 2, id="a refund is missing"),
        pytest.param({**RECORD, "money": {**MONEY, "final": False}}, [LINE], 1, id="not final"),
        pytest.param(RECORD, [], 2, id="not billed"),
        pytest.param(RECORD, [STRAY], 2, id="billed, and not tied to its record"),
        pytest.param({**RECORD, "state": "rejected", "task_id": None}, [STRAY], 2, id="paid, and in no record"),
    ],
)
def test_sums_are_held_against_each_other(record: dict[str, Any], lines: list[dict[str, Any]], faults: int) -> None:
    """To the last unit; what is not known is named, and nothing else may differ."""
    found = compared({"t": TASK}, [record], {"source": "log", "lines": lines})
    assert len(found.faults) == faults, found
    assert found.settled == 70


def test_a_broken_promise_is_called_by_its_name() -> None:
    """What makes the benchmark exit with 1."""
    cell = Cell("t", "r", "c", (Order(),))
    assert Outcome(billed=1, delivered=1).problems(cell) == []
    assert Outcome(billed=2, delivered=1).problems(cell) == ["billed more than once"]
    assert Outcome(billed=1).problems(cell) == ["not delivered"]
    assert Outcome(billed=1, delivered=1, adopted=1).problems(cell) == ["a person was needed and should not have been"]
    assert Outcome(billed=1, delivered=1, sums=Sums(faults=("1 too much",))).problems(cell) == ["1 too much in the end"]
    freed = Cell("t", "r", "c", (Order("moderation"), Order(freed=True)), fails=True)
    assert Outcome(billed=2, delivered=0).problems(freed) == []


def test_figures_and_table_say_what_was_measured() -> None:
    """Billed per wanted, delivered per billed, and what a person did."""
    one, two = Cell("t", "lost", "no kill", (Order(),), unknown=True), Cell("t", "lost", "polling", (Order(),))
    results = {
        one: Outcome(billed=1, delivered=1, by_machine=0, unknown=1, adopted=1, runs=3, alone=Sums(tasks=1, bill=7)),
        two: Outcome(billed=1, delivered=1, by_machine=1, runs=2, killed=1),
    }
    figures = summed(results)
    assert figures["billed_per_wanted_max"] == 1.0
    assert (figures["delivered_per_billed"], figures["delivered_per_billed_without_a_person"]) == (1.0, 0.5)
    assert figures["healed"]["of 2026-08"] == {
        "lost": 1,
        "by_machine": 0,
        "by_a_person": 1,
        "charged_and_logged": 1,
        "of_these_by_machine": 0,
        "share": 0.0,
    }
    assert (figures["unknown"], figures["adopted"], figures["cells"], figures["killed"]) == (1, 1, 2, 1)
    assert "| lost | 1.00 1.00 a | 1.00 1.00 |" in markdown(results)
