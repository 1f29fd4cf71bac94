"""Is a lost create ever tied to somebody else's task? A thousand seeded days of an account, over real HTTP.

    python benchmarks/adoption.py [--runs 1000] [--seed 0]

Each run is one ledger, used by two machines whose clocks are up to a minute apart, and one API key at a gateway whose
clock is off as well. Some creates lose their answers: before, after or while they are accepted, with or without the
gateway's id of the call; some senders die. In some runs strangers use the key too, for the same model in the same
second. The gateway is of the newest tree, of today's, or older; its log is whole, late, cut, without charges, or not
there. Then the machines reconcile, at once and twenty minutes later.

*Healed* is a charged create whose own task is in its record; *left to person* what stays open with its evidence;
*wrong* is another task than its own, a key that was freed although it was charged, or one that was charged twice. The
share that is healed depends on how often each kind of gateway and log is drawn: see the table. Exits with 1 when
anything is wrong. The last line is `RESULT {…}`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from prefect_genvideo.errors import GenVideoError, UnknownOutcomeError
from prefect_genvideo.ledger.listing import every_record
from prefect_genvideo.ledger.record import LedgerRecord
from prefect_genvideo.ledger.store import Entry, Ledger
from prefect_genvideo.models import VideoRequest
from prefect_genvideo.pipeline.pipeline import Pipeline
from prefect_genvideo.pipeline.reconcile import reconcile
from prefect_genvideo.providers import SudashuiClient
from prefect_genvideo.providers.budgets import CallBudget
from prefect_genvideo.simulator import Fault, Simulator, SimulatorConfig, running_simulator
from prefect_genvideo.storage import LocalStore

MODEL, OTHER_MODEL = "sd-2-720p", "sd-2-fast-720p"
MEMORY = Path("/dev/shm")
"""Where files cost no disk."""
BETWEEN, LATER = 900.0, 1200.0
"""Seconds between the two bursts of creates, and from then to the last look."""
TREES: dict[str, dict[str, Any]] = {
    "names tasks": {"task_ids": True},
    "of 2026-08": {},
    "without ids": {"row_ids": False},
    "local time": {"row_ids": False, "local_ids": 8, "refund_rows": False, "zeroes_quota": False},
}
LOGS: dict[str, dict[str, Any]] = {
    "whole": {},
    "late": {"log_delay_s": LATER / 2},
    "later still": {"log_delay_s": 10 * LATER},
    "cut": {"log_rows": 3},
    "no charges": {"consume_log": False},
    "absent": {"absent": ["log"]},
}
LOSSES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("cut_answer", {}),
    ("cut_answer", {}),
    ("lost_after", {}),
    ("lost_before", {}),
    ("502_html", {"accepted": True}),
    ("502_html", {}),
    ("timeout", {"seconds": 2}),
)
"""Ways to lose an answer; those twice that leave the id of the call."""


@dataclass
class Tally:
    """What became of the lost creates of one or many runs.

    Attributes:
        certain: Charged ones whose id is known, at a gateway whose rows name tasks and whose log is whole.
        certain_healed: Those of them that healed.
    """

    runs: int = 0
    lost: int = 0
    charged: int = 0
    healed: int = 0
    certain: int = 0
    certain_healed: int = 0
    left_to_person: int = 0
    wrong: int = 0
    log_calls: int = 0
    faults: list[str] = field(default_factory=list[str])

    def add(self, other: Tally) -> None:
        for name, value in vars(other).items():
            setattr(self, name, max(self.log_calls, value) if name == "log_calls" else getattr(self, name) + value)


@dataclass(frozen=True)
class Day:
    """How one run is dealt."""

    seed: int
    tree: str
    log: str
    strangers: bool
    gateway_ahead: float
    machine_ahead: float

    @classmethod
    def dealt(cls, seed: int) -> Day:
        deal = random.Random(seed)
        return cls(
            seed,
            deal.choice(list(TREES)),
            deal.choice(["whole", "whole", *LOGS]),
            deal.random() < 0.5,
            deal.uniform(-60, 60),
            deal.uniform(-60, 60),
        )


class World:
    """One run: an account, a ledger, two machines, and perhaps strangers."""

    def __init__(self, day: Day, sim: Simulator, folder: Path) -> None:
        self.day, self.sim = day, sim
        self.key = f"sk-sim-adoption-{day.seed}"
        self.deal = random.Random(f"{day.seed} deals")
        self.ledger = Ledger(LocalStore(folder))
        self.lost: dict[str, bool] = {}
        sim.reset()
        sim.configure(clock="manual", clip_bytes=4096)
        manner = {**TREES[day.tree], **LOGS[day.log]}
        sim.money(bucket=0, clock_ahead_s=day.gateway_ahead - BETWEEN - LATER, **manner)

    @property
    def dealt(self) -> tuple[str, ...]:
        """What of the deal decides how much heals."""
        return f"gateway {self.day.tree}", f"log {self.day.log}"

    def client(self) -> SudashuiClient:
        client = SudashuiClient(self.key, self.sim.sudashui_url, self.sim.sudashui_files_url, timeout=0.4)
        client.call_budget = CallBudget(16, LATER)
        return client

    def pipeline(self, client: SudashuiClient) -> Pipeline:
        ours = not self.day.strangers
        return Pipeline(client, Ledger(self.ledger.store), "{task_id}.mp4", key_is_ours=ours, timeout=0.01)

    async def play(self) -> Tally:
        async with self.client() as one, self.client() as other:
            machines = (self.pipeline(one), self.pipeline(other))
            for burst, pause in enumerate((BETWEEN, LATER)):
                await self.burst(burst, machines)
                for pipeline in machines:
                    await self.look(pipeline)
                await self.pass_time(pause)
            for pipeline in machines:
                await self.look(pipeline)
            calls = max(16 - _left(client.call_budget) for client in (one, other))
        return replace(await self.judged(), runs=1, log_calls=calls)

    async def burst(self, number: int, machines: Sequence[Pipeline]) -> None:
        """Everything that happens in the same second."""
        losses = self.deal.choice((1, 1, 1, 2))
        doing = [self.lose(f"lost-{number}-{place}", self.deal.randrange(2), machines) for place in range(losses)]
        good = range(self.deal.randint(0, 2))
        doing += [self.make(f"good-{number}-{place}", machines[self.deal.randrange(2)]) for place in good]
        if self.deal.random() < 0.1:
            doing.append(self.die(f"lost-{number}-killed", machines[0]))
        if self.day.strangers:
            strangers = range(self.deal.randint(1, 3))
            doing += [self.stranger(f"stranger-{number}-{place}", machines[1]) for place in strangers]
        self.deal.shuffle(doing)
        await asyncio.gather(*doing)

    def request(self, key: str) -> VideoRequest:
        model = OTHER_MODEL if key.startswith("good") and self.deal.random() < 0.3 else MODEL
        return VideoRequest(model=model, prompt=key, duration=4)

    async def make(self, key: str, pipeline: Pipeline) -> None:
        request = self.request(key)
        try:
            await pipeline.create(request, pipeline.draft(key, request, {}))
        except UnknownOutcomeError:
            self.lost[key] = True  # also one that this machine was too slow for

    async def stranger(self, key: str, pipeline: Pipeline) -> None:
        with suppress(UnknownOutcomeError):
            await pipeline.client.create(self.request(key))

    async def lose(self, key: str, machine: int, machines: Sequence[Pipeline]) -> None:
        """A create whose answer is lost, on one of the machines; the second one's clock is off."""
        kind, params = self.deal.choice(LOSSES)
        self.sim.faults.add(Fault(kind, "create", times=1, match=f'"{key}"', params=params))
        self.lost[key] = True
        pipeline = machines[machine]
        await self.make(key, pipeline)
        if machine:
            await self.redate(key, self.day.machine_ahead, holder="machine-b:1")

    async def die(self, key: str, pipeline: Pipeline) -> None:
        """A sender that is killed before or after its request left: an intent stays behind."""
        request = self.request(key)
        claimed = await pipeline.ledger.claim(pipeline.draft(key, request, {}))
        assert claimed is not None
        self.lost[key] = True
        if self.deal.random() < 0.6:
            with suppress(UnknownOutcomeError):
                await pipeline.client.create(pipeline.client.marked(request, claimed.record.claim))
        await pipeline.ledger.move(claimed, "intent", holder="machine-b:2")

    async def look(self, pipeline: Pipeline) -> None:
        """One reconciliation, by a process of its own."""
        policy = replace(pipeline.policy, stale_after=0.0)
        await reconcile(replace(pipeline, ledger=Ledger(self.ledger.store), policy=policy))

    async def pass_time(self, seconds: float) -> None:
        """The gateway's clock goes on, some of its tasks end, and everything that was recorded becomes older."""
        for task in self.sim.tasks:
            if not task.done and self.deal.random() < 0.5:
                self.sim.fail(task.task_id, "no faces")
        self.sim.purse.settle(self.sim.tasks)
        self.sim.money(clock_ahead_s=self.sim.purse.manner.clock_ahead_s + seconds)
        async for entry in every_record(self.ledger):
            if isinstance(entry, Entry):
                await self.redate(entry.record.key, -seconds)

    async def redate(self, key: str, seconds: float, **facts: Any) -> None:
        """Move the times of a record, and what it knows of the gateway's clock along with them."""
        entry = await self.ledger.existing(key)
        record, span = entry.record, timedelta(seconds=seconds)
        times = ("created_at", "updated_at", "submitted_at", "sent_at", "gave_up_at", "finished_at")
        moved = {name: value + span for name in times if (value := getattr(record, name)) is not None}
        if record.clock_ahead is not None:
            moved["clock_ahead"] = record.clock_ahead - seconds
        changed = LedgerRecord.model_validate({**record.model_dump(), **moved, **facts})
        await self.ledger.store.put(self.ledger.path(key), changed.to_bytes(), if_match=entry.etag)

    async def judged(self) -> Tally:
        """What the records say, held against what the gateway has done."""
        made = defaultdict[str, list[str]](list)
        for task in self.sim.tasks:
            made[task.wanted.prompt].append(task.task_id)
        tally = Tally()
        async for entry in every_record(self.ledger):
            assert isinstance(entry, Entry), entry
            tally.add(self.judge(entry.record, made[entry.record.key]))
        return tally

    def judge(self, record: LedgerRecord, tasks: list[str]) -> Tally:
        own = tasks[0] if tasks else None
        freed = record.state == "rejected" and own is not None
        wrong = len(tasks) > 1 or freed or (record.task_id is not None and record.task_id != own)
        told = [f"{self.day}: {record.key} {record.state} {record.task_id}, its own is {own}"] if wrong else []
        tally = Tally(wrong=int(wrong), faults=told)
        if record.key in self.lost:
            tally.lost, tally.charged = 1, int(own is not None)
            tally.healed = int(own is not None and record.task_id == own)
            exact = record.request_id is not None and (self.day.tree, self.day.log) == ("names tasks", "whole")
            tally.certain = int(exact and own is not None)
            tally.certain_healed = tally.certain * tally.healed
            tally.left_to_person = int(record.state == "unknown")
        return tally


def _left(budget: CallBudget) -> int:
    """Calls that a budget still has."""
    for taken in range(budget.calls):
        try:
            budget.take("count")
        except GenVideoError:
            return taken
    return budget.calls


async def play(seed: int, sim: Simulator, kind: type[World] = World) -> tuple[World, Tally]:
    """One run, which a seed tells whole but for the machine's own timing."""
    with tempfile.TemporaryDirectory(prefix="adoption-", dir=MEMORY if MEMORY.is_dir() else None) as folder:
        world = kind(Day.dealt(seed), sim, Path(folder))
        return world, await world.play()


async def play_all(seeds: range, sim: Simulator, kind: type[World]) -> tuple[Tally, dict[str, Tally]]:
    """All runs, one after the other; the sum, and sums by what was dealt."""
    whole, parts = Tally(), defaultdict[str, Tally](Tally)
    for seed in seeds:
        world, tally = await play(seed, sim, kind)
        whole.add(tally)
        for name in (*world.dealt, "shared" if world.day.strangers else "own key"):
            parts[name].add(tally)
        for fault in tally.faults:
            print(f"WRONG {fault}", flush=True)
    return whole, dict(sorted(parts.items()))


def rows(parts: dict[str, Tally]) -> Iterator[str]:
    """The table that is printed."""
    yield f"{'dealt':24} {'lost':>6} {'charged':>8} {'healed':>7} {'of charged':>11} {'person':>7} {'wrong':>6}"
    for name, part in parts.items():
        share = part.healed / part.charged if part.charged else 0.0
        counted = f"{part.lost:6} {part.charged:8} {part.healed:7} {share:11.0%} {part.left_to_person:7} {part.wrong:6}"
        yield f"{name:24} {counted}"


def main(kind: type[World] = World, runs: int = 1000, told: str | None = __doc__) -> int:
    """Play the runs and print what became of the lost creates.

    Args:
        kind: What is played.
        runs: How often, where the command line does not say.
        told: What the help begins with.
    """
    parser = argparse.ArgumentParser(description=(told or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=runs)
    parser.add_argument("--seed", type=int, default=0, help="first seed")
    given = parser.parse_args()
    began = time.monotonic()
    with running_simulator(SimulatorConfig(clock="manual", clip_bytes=4096)) as sim:
        whole, parts = asyncio.run(play_all(range(given.seed, given.seed + given.runs), sim, kind))
    print("\n".join(rows({"all": whole, **parts})))
    report = {name: value for name, value in vars(whole).items() if name not in ("faults", "log_calls")}
    share = round(whole.healed / whole.charged, 4) if whole.charged else None
    report |= {"healed_of_charged": share, "log_calls_max": whole.log_calls, "seconds": round(time.monotonic() - began)}
    print("RESULT " + json.dumps(report))
    return 1 if whole.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
