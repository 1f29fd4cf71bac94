"""Plays cells: arms the provider, forks the runs, plays the person where one is needed, and counts."""

from __future__ import annotations

import asyncio
import hashlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from benchmarks import money_child
from benchmarks.money_cells import ENDS_BADLY, FAULTS, Cell, Order
from benchmarks.money_child import KEY, Place
from benchmarks.money_sums import Sums, compared, totals
from benchmarks.processes import Console, Forks
from benchmarks.servers import BUCKET, Servers
from prefect_genvideo.ledger.store import Ledger
from prefect_genvideo.storage import S3Store

PROVIDER_KEY = "sk-sim-demo"
STUCK_SECONDS = 150.0
SETTLING_SECONDS = 20.0
"""How long a provider's money may take to rest."""
ROUNDS = 4
"""How often a person may have to decide in one cell."""
CLIP_BYTES = 65_536


# Base URLs on the simulator.
_PATHS = {"sudashui": "/sudashui", "ark": "/ark/api/v3"}
Start = Callable[[Place, Order], dict[str, Any]]


@dataclass
class Outcome:
    """What came of a cell.

    Attributes:
        billed: Creates that the provider accepted.
        delivered: Accepted tasks whose proved video is in the bucket and in the record.
        by_machine: The same before any person did anything.
        runs: Processes that were started.
        killed: How many of them died by SIGKILL.
        unknown: How often a run ended because a create's fate was not known.
        adopted: Tasks a person tied to the key.
        released: How often a person freed the key.
        errors: Other errors that runs ended with.
        alone: What the three sums were before a person decided; the same as `sums` where none had to.
        sums: What they are in the end.
    """

    billed: int = 0
    delivered: int = 0
    by_machine: int = 0
    runs: int = 0
    killed: int = 0
    unknown: int = 0
    adopted: int = 0
    released: int = 0
    errors: list[str] = field(default_factory=list[str])
    alone: Sums = field(default_factory=Sums)
    sums: Sums = field(default_factory=Sums)

    @property
    def needed_person(self) -> bool:
        """Whether a person had to decide."""
        return bool(self.adopted or self.released)

    def problems(self, cell: Cell) -> list[str]:
        """Promises that were not kept."""
        wanted = {
            "billed more than once": self.billed <= cell.paid,
            "not delivered": self.delivered == (not cell.fails),
            "a person was needed and should not have been": cell.unknown or not self.needed_person,
            "stuck": "stuck" not in self.errors,
        }
        broken = [problem for problem, holds in wanted.items() if not holds]
        return [*broken, *self.alone.problems("before a person decided"), *self.sums.problems("in the end")]


class Bench:
    """Runs cells against running servers."""

    def __init__(self, servers: Servers, workers: int = 2) -> None:
        self.servers = servers
        self._workers = workers
        self._console = Console(servers.simulator)
        self._forks = Forks("benchmarks.money_child")
        self._lock = threading.Lock()
        self._numbers = 0
        self._dialect = ""  # the operation that is answered in a manner of the field
        self.places: dict[Cell, Place] = {}

    def close(self) -> None:
        """Close the connections to the simulator."""
        self._console.close()

    def place(self, cell: str, provider: str = "sudashui") -> Place:
        """A prefix of its own in the bucket, and a prompt of its own.

        Args:
            cell: What is played there.
            provider: Whose side of the simulator is asked.
        """
        with self._lock:
            self._numbers += 1
            number = self._numbers
        s3: dict[str, Any] = {
            "bucket": BUCKET,
            "prefix": f"cell-{number}",
            "endpoint_url": self.servers.s3,
            "access_key_id": "money",
            "secret_access_key": "money-money",
            "region": "us-east-1",
        }
        address = f"{self.servers.simulator}{_PATHS[provider]}"
        return Place(provider, address, f"{PROVIDER_KEY}-{number}", s3, f"({number}) {cell}")

    def play_all(self, cells: Sequence[Cell], said: Callable[[Cell, Outcome], None]) -> dict[Cell, Outcome]:
        """Play cells, a few at a time.

        Args:
            cells: What to play.
            said: Called with each result as it comes.
        """

        def play(cell: Cell) -> Outcome:
            outcome = self.play(cell)
            said(cell, outcome)
            return outcome

        with ThreadPoolExecutor(self._workers) as pool:
            return dict(zip(cells, pool.map(play, cells), strict=True))

    def play(self, cell: Cell, start: Start | None = None) -> Outcome:
        """One wanted video, from its first run to its delivery.

        Args:
            cell: What happens.
            start: Runs one process to its end and returns what it said; the plain steps by default.
        """
        place, outcome = self.place(cell.name, cell.provider), Outcome()
        self._console.tell("money", {"bucket": 0})
        self._console.tell("money", {"account": place.key, **cell.handled})
        start = start or partial(self._fork, money_child.make)
        for order in cell.orders:
            self._arm(order, place)
            _take_in(start(place, order), outcome)
        outcome.sums = outcome.alone = self._keep_up(place, outcome)
        self.places[cell] = place
        self._count(place, outcome)
        outcome.by_machine = outcome.delivered
        for _ in range(ROUNDS):
            if outcome.delivered or (cell.fails and not outcome.alone.undecided):
                break
            self._decide(place, outcome)
            _take_in(start(place, Order()), outcome)
            self._count(place, outcome)
            outcome.sums = self._keep_up(place, outcome)
            if cell.fails and not outcome.sums.undecided:
                break
        return outcome

    def _keep_up(self, place: Place, outcome: Outcome) -> Sums:
        """Upkeep by machines once the provider's money rests; the three sums after it."""
        asked = self._console.tokens if place.provider == "ark" else self._console.bills
        bills = asked(place.key)
        deadline = time.monotonic() + SETTLING_SECONDS
        while not all(bill["settled"] for bill in bills.values()) and time.monotonic() < deadline:
            time.sleep(0.1)
            bills = asked(place.key)
        answer = self._fork(money_child.upkeep, place)
        if "error" in answer:
            outcome.errors.append(f"upkeep: {answer['error']}")
            return Sums(broken=answer["error"])
        return compared(bills, answer["records"], answer["bill"])

    def by_command(self, place: Place) -> dict[str, Any]:
        """The month's bill as `genvideo bill` prints it, in a process of its own."""
        at = f"s3://{place.s3['bucket']}/{place.s3['prefix']}"
        command = [sys.executable, "-c", "from prefect_genvideo.cli import main; main()"]
        environment = self.servers.environment() | {
            "AWS_ENDPOINT_URL_S3": place.s3["endpoint_url"],
            "AWS_ACCESS_KEY_ID": place.s3["access_key_id"],
            "AWS_SECRET_ACCESS_KEY": place.s3["secret_access_key"],
            "AWS_DEFAULT_REGION": place.s3["region"],
            "SUDASHUI_API_KEY": place.key,
            "SUDASHUI_BASE_URL": place.base_url,
        }
        done = subprocess.run(
            [*command, "bill", "--at", at, "--provider", "sudashui", "--json"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=STUCK_SECONDS,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"genvideo bill: {done.stderr[-500:]}")
        return json.loads(done.stdout)

    def crowd(self, size: int) -> dict[str, int | float]:
        """So many processes that want one key at the same moment."""
        place, began = self.place("crowd"), time.monotonic()
        with ThreadPoolExecutor(size) as pool:
            work = partial(self._fork, money_child.make, place, Order())
            answers = list(pool.map(lambda _: work(), range(size)))
        outcome = Outcome()
        self._count(place, outcome)
        results = [answer for answer in answers if answer.get("task_id")]
        return {
            "processes": size,
            "billed": outcome.billed,
            "results": len(results),
            "tasks": len({answer["task_id"] for answer in results}),
            "seconds": round(time.monotonic() - began, 1),
        }

    def _arm(self, order: Order, place: Place) -> None:
        op, _, name = order.dialect.partition(" ")
        spoken = ({self._dialect: "documented"} if self._dialect else {}) | ({op: name} if op else {})
        if spoken:
            self._console.tell("dialect", spoken)
        self._dialect = op
        fault = FAULTS.get(order.fault) or ENDS_BADLY[order.fault]
        if fault.kind:
            facts = {"kind": fault.kind, "op": fault.op, "times": fault.times, "params": fault.params}
            self._console.tell("faults", {**facts, "match": place.prompt})

    def _decide(self, place: Place, outcome: Outcome) -> None:
        """A person reads the error, looks into the provider's console, and types one command."""
        state = asyncio.run(self._record_state(place))
        if state not in ("intent", "unknown"):
            return
        tasks = self._tasks(place)
        answer = self._fork(money_child.decide, place, tasks[-1] if tasks else "")
        outcome.adopted += bool(answer.get("adopted"))
        outcome.released += bool(answer.get("released"))
        if "error" in answer:
            outcome.errors.append(f"decision: {answer['error']}")

    def _fork(self, work: Any, *arguments: Any) -> dict[str, Any]:
        return self._forks.start(work, *arguments).result(STUCK_SECONDS)

    def _tasks(self, place: Place) -> list[str]:
        return [task["task_id"] for task in self._console.tasks(place.prompt)]

    def _count(self, place: Place, outcome: Outcome) -> None:
        tasks = self._tasks(place)
        outcome.billed = len(tasks)
        outcome.delivered = int(asyncio.run(self._delivered(place)) in tasks)

    async def _record_state(self, place: Place) -> str:
        entry = await Ledger(S3Store(**place.s3)).read(KEY)
        return entry.record.state if entry else ""

    async def _delivered(self, place: Place) -> str:
        """Task of the video that the record names, if its bytes are in the bucket and have the recorded hash."""
        store = S3Store(**place.s3)
        entry = await Ledger(store).read(KEY)
        stored = entry.record.stored if entry else None
        if stored is None:
            return ""
        found = await store.get(store.relative_key(stored.key))
        whole = found is not None and hashlib.sha256(found[0]).hexdigest() == stored.sha256
        # Bytes that a sender put behind the last box are kept as they came.
        return stored.task_id if whole and stored.size >= CLIP_BYTES else ""


def _take_in(answer: dict[str, Any], outcome: Outcome) -> None:
    outcome.runs += 1
    outcome.killed += answer.get("killed", 0)
    error = answer.get("error", "")
    outcome.unknown += error == "UnknownOutcomeError"
    if error and error != "UnknownOutcomeError":
        outcome.errors.append(error)


def summed(results: dict[Cell, Outcome]) -> dict[str, Any]:
    """The figures of the last line."""
    # What ends badly, or is freed by a person, is paid for and not delivered.
    wanted = [outcome for cell, outcome in results.items() if cell.paid == 1 and not cell.fails]
    billed = sum(outcome.billed for outcome in wanted)
    return {
        "billed_per_wanted_max": max(outcome.billed / cell.paid for cell, outcome in results.items()),
        "delivered_per_billed": round(sum(outcome.delivered for outcome in wanted) / billed, 3) if billed else None,
        "delivered_per_billed_without_a_person": (
            round(sum(outcome.by_machine for outcome in wanted) / billed, 3) if billed else None
        ),
        "unknown": sum(bool(outcome.unknown or outcome.adopted) for outcome in results.values()),
        "adopted": sum(outcome.adopted for outcome in results.values()),
        "released": sum(outcome.released for outcome in results.values()),
        "lost": billed - sum(outcome.delivered for outcome in wanted),
        "cells": len(results),
        "runs": sum(outcome.runs for outcome in results.values()),
        "killed": sum(outcome.killed for outcome in results.values()),
        "money": totals(outcome.sums for outcome in results.values()),
        "before_a_person": totals(outcome.alone for outcome in results.values()),
        "healed": {tree: _healed(results, tree) for tree in dict.fromkeys(cell.tree for cell in results)},
    }


def _healed(results: dict[Cell, Outcome], tree: str) -> dict[str, Any]:
    """Of cells that lost an answer: how many machines brought to their end, and how many a person.

    A machine takes up a task that the log names, and frees no key: what was not charged is left to a person, and so is
    everything where the gateway keeps no log.
    """
    lost = [outcome for cell, outcome in results.items() if cell.unknown and cell.tree == tree]
    logged = [outcome for outcome in lost if outcome.alone.tasks and outcome.alone.bill is not None]
    machine, healed = (sum(not outcome.needed_person for outcome in some) for some in (lost, logged))
    return {
        "lost": len(lost),
        "by_machine": machine,
        "by_a_person": len(lost) - machine,
        "charged_and_logged": len(logged),
        "of_these_by_machine": healed,
        "share": round(healed / len(logged), 3) if logged else None,
    }


def as_rows(results: dict[Cell, Outcome]) -> list[dict[str, Any]]:
    """Every cell as plain data."""
    return [
        {"table": cell.table, "row": cell.row, "column": cell.column, "purse": cell.purse, **asdict(outcome)}
        for cell, outcome in results.items()
    ]
