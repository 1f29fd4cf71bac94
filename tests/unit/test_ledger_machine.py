"""No sequence of steps, crashes, cancellations, outages, reruns and decisions of people bills a key twice."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from prefect_genvideo.errors import DestinationError, GenerationFailedError, GenVideoError, InvalidRequestError
from prefect_genvideo.ledger.create import CreatePolicy
from prefect_genvideo.ledger.decisions import adopt, release
from prefect_genvideo.ledger.record import LedgerRecord
from prefect_genvideo.ledger.reservations import RESERVED, Reservation
from prefect_genvideo.ledger.store import Ledger
from prefect_genvideo.models import Generation
from prefect_genvideo.pipeline.pipeline import Pipeline
from prefect_genvideo.pipeline.reconcile import reconcile
from tests.fixtures.money import TEMPLATE, FakeProvider, done, on_its_way
from tests.fixtures.scheduled_runs import HELD, How, Run, World

T = TypeVar("T")
KEYS = st.sampled_from(["a", "a", "a", "b"])
HOWS = st.sampled_from(["fail", "lost", "kill", "refuse", "limit", "reject"])
# Where a run stands, and how often it passes there before. The second `put` is the intent, the third the task id.
STOPS = st.sampled_from(
    [("POST", 0), ("ANSWER", 0), ("put", 1), ("put", 2), ("POST", 1), ("sleep", 0), ("put", 0), ("get", 0), ("get", 1)]
)
Stop = tuple[str, int]
NUMBERS = st.integers(0, 5)
FOREVER = 1e9


class LedgerMachine(RuleBasedStateMachine):
    """Up to four live runs over two keys, which stop at every call of the store, at their POSTs and at their sleeps."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.world = World()
        self.runs: list[Run] = []

    def play(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def settle(self) -> None:
        """Let everything move until nothing moves any more."""

        async def quiet() -> None:
            same, seen = 0, None
            while same < 12:
                await asyncio.sleep(0)
                now = [(id(run.stop), run.ended) for run in self.runs]
                same, seen = (same + 1, seen) if now == seen else (0, now)

        self.play(quiet())
        for run in self.runs:
            self.judge(run)

    def judge(self, run: Run) -> None:
        """What a run that has ended by itself owes to people."""
        if run.dead or run.task is None or not run.task.done():
            return
        error = None if run.task.cancelled() else run.task.exception()
        assert error is None or isinstance(error, GenVideoError), repr(error)
        if not run.task.cancelled() and error is None:
            entry = run.task.result().entry
            assert entry.record.task_id in self.world.recorded[run.key]
        if run.answered is not None and run.answered not in self.world.recorded[run.key]:
            told = " ".join([str(error), *run.log])
            assert run.answered in told, "a paid task is neither recorded nor named"

    def live(self) -> list[Run]:
        return [run for run in self.runs if not run.ended]

    @initialize()
    def begin(self) -> None:
        self.settle()

    @precondition(lambda self: len(self.live()) < 4)
    @rule(
        key=KEYS,
        other=st.sampled_from([False, False, False, True]),
        stale_after=st.sampled_from([-FOREVER, FOREVER]),
        grace=st.sampled_from([0.0, 30.0]),
        patience=st.sampled_from([-1.0, 600.0]),
    )
    def start(self, key: str, other: bool, stale_after: float, grace: float, patience: float) -> None:
        """A run wants the key. One that takes every intent for stale stands for clocks that differ."""
        policy = CreatePolicy(attempts=2, stale_after=stale_after, heartbeat=1, cancel_grace=grace)
        run = Run(self.world, key, f"{key} other" if other else key, policy, patience)
        run.start(self.loop)
        self.runs.append(run)
        self.settle()

    @precondition(lambda self: bool(self.live()))
    @rule(number=NUMBERS, stop=STOPS, how=HOWS)
    def strike(self, number: int, stop: Stop, how: How) -> None:
        """All goes well for a run until it stands somewhere for the n-th time; there this happens."""
        run = self.reach(number, stop)
        if run.stop is not None:
            run.go(how if run.at == "POST" or how in ("ok", "fail", "lost", "kill") else "lost")
            self.settle()

    @precondition(lambda self: bool(self.live()))
    @rule(number=NUMBERS, stop=STOPS)
    def delay(self, number: int, stop: Stop) -> None:
        """A run comes so far and stands still, while others move."""
        self.reach(number, stop)

    @precondition(lambda self: bool(self.live()))
    @rule(number=NUMBERS)
    def finish(self, number: int) -> None:
        """A run has luck to its end, or waits for another."""
        self.reach(number, ("the end", 0))

    def reach(self, number: int, stop: Stop) -> Run:
        run = self.live()[number % len(self.live())]
        where, skip = stop
        for _ in range(14):
            if run.stop is None or (run.at == where and skip == 0):
                break
            skip -= run.at == where
            run.go("ok")
            self.settle()
        return run

    @precondition(lambda self: bool(self.live()))
    @rule(number=NUMBERS, stop=STOPS)
    def kill(self, number: int, stop: Stop) -> None:
        """SIGKILL: nothing of the run moves ever again, but what it has sent may still be accepted."""
        self.reach(number, stop).dead = True
        self.settle()

    @precondition(lambda self: bool(self.live()))
    @rule(number=NUMBERS, stop=STOPS)
    def cancel(self, number: int, stop: Stop) -> None:
        """SIGTERM or a cancelled flow run."""
        run = self.reach(number, stop)
        assert run.task is not None
        run.task.cancel()
        self.settle()

    @precondition(lambda self: bool(self.live()))
    @rule(number=NUMBERS, stop=STOPS, steps=st.integers(1, 6))
    def outage(self, number: int, stop: Stop, steps: int) -> None:
        """The store goes away while a run moves on, and comes back."""
        run = self.reach(number, stop)
        self.world.down = True
        for _ in range(steps):
            if run.stop is not None:
                run.go("ok")
                self.settle()
        self.world.down = False

    @precondition(lambda self: bool(self.ghosts()))
    @rule(number=NUMBERS)
    def accept_late(self, number: int) -> None:
        """A create whose sender is gone is accepted after all."""
        ghosts = self.ghosts()
        self.world.accept(ghosts[number % len(ghosts)])

    def ghosts(self) -> list[str]:
        left = list(self.world.on_the_wire)
        for run in self.live():
            if run.at == "POST":
                left.remove(run.key)
        return left

    @rule(key=KEYS, force=st.booleans())
    def release(self, key: str, force: bool) -> None:
        """A person frees a key."""
        self.decide(key, force, freed=True)

    @rule(key=KEYS, force=st.booleans())
    def adopt(self, key: str, force: bool) -> None:
        """A person ties the youngest task of a key that its record does not name to it."""
        record = self.world.record(key)
        found = [task for task in self.world.bills[key] if record is None or task != record.task_id]
        if found:
            self.decide(key, force, adopted=found[-1])

    def decide(self, key: str, force: bool, *, adopted: str = "", freed: bool = False) -> None:
        ledger = Ledger(self.world, patience=-1)
        self.world.by_force = force
        with contextlib.suppress(InvalidRequestError, DestinationError):
            if freed:
                self.play(release(ledger, key, force=force))
                self.world.free(key)
            else:
                self.play(adopt(ledger, key, adopted, force=force))
        self.world.by_force = False

    @rule(
        stale_after=st.sampled_from([-FOREVER, FOREVER]),
        answer=st.sampled_from([done(), on_its_way(), on_its_way("queued"), done(state="failed", reason="moderation")]),
    )
    def look_after(self, stale_after: float, answer: Generation) -> None:
        """A reconciliation, which may take an intent that is under way for a stale one."""
        client = FakeProvider()
        client.answers = [answer] * 4
        pipeline = Pipeline(client, Ledger(self.world, patience=-1), TEMPLATE, CreatePolicy(stale_after=stale_after))
        with contextlib.suppress(DestinationError):
            self.play(reconcile(pipeline))

    @invariant()
    def every_promise_is_kept(self) -> None:
        """One bill a key unless a person frees it; moves as documented; no paid task is given up by a machine."""
        assert self.world.broken == []

    @invariant()
    def every_record_can_be_read(self) -> None:
        """Whatever was torn apart: what is in the store is a record, and one that holds a task names it."""
        for key, data in self.world.objects.items():
            if key.startswith("_ledger/") and key.count("/") == 1:
                record = LedgerRecord.model_validate_json(data)
                assert record.task_id or record.state not in HELD
                unsettled = record.state in ("intent", "submitted", "succeeded", "unknown")
                assert not unsettled or self.is_reserved(record.key)

    def is_reserved(self, key: str) -> bool:
        """Whether a reconciliation would find the key."""
        reserved = [data for path, data in self.world.objects.items() if path.startswith(RESERVED) and data]
        return any(key in Reservation.model_validate_json(data).keys for data in reserved)

    def teardown(self) -> None:
        """However it ended: a person and one more run bring every key to a video, and pay at most what is allowed."""
        try:
            self.world.down = False
            self.world.on_the_wire.clear()
            for run in self.runs:
                run.dead = True
            for key in ("a", "b"):
                self.bring_home(key)
            self.every_promise_is_kept()
        finally:
            self.close()

    def bring_home(self, key: str) -> None:
        record = self.world.record(key)
        if record is None or record.state == "failed":
            return
        if record.state in ("intent", "unknown"):
            lost = [task for task in self.world.bills[key] if task not in self.world.recorded[key]]
            ledger = Ledger(self.world)
            self.play(adopt(ledger, key, lost[-1]) if lost else release(ledger, key, force=True))
            if not lost:
                self.world.free(key)
        before = list(self.world.bills[key])
        run = Run(self.world, key, str(self.world.record(key)), CreatePolicy(stale_after=FOREVER), 600)
        record = self.world.record(key)
        assert record is not None
        paid = record.task_id if record.state in HELD else None
        run.start(self.loop, fingerprint=record.fingerprint)
        self.runs.append(run)
        for _ in range(40):
            self.settle()
            if run.stop is None:
                break
            run.go("ok")
        assert run.task is not None
        assert run.task.done(), run.at
        with contextlib.suppress(GenerationFailedError):
            submission = run.task.result()
            assert submission.reused == (paid is not None)
            assert paid in (None, submission.entry.record.task_id)
            assert len(self.world.bills[key]) == len(before) + (paid is None)

    def close(self) -> None:
        for run in self.runs:
            run.dead = True
        for _ in range(5):
            left = asyncio.all_tasks(self.loop)
            for task in left:
                task.cancel()
            if left:
                self.play(asyncio.wait(left, timeout=1))  # type: ignore[arg-type] # it is a coroutine
        self.loop.close()


TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
