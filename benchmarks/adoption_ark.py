"""Is a lost create at Ark ever tied to somebody else's task? Seeded days of an account, over real HTTP.

    python -m benchmarks.adoption_ark [--runs 300] [--seed 0]

As `benchmarks.adoption`, with Ark's list of tasks instead of a gateway's log. Each run is one ledger, used by two
machines whose clocks are up to a minute apart, and one API key. Some creates lose their answers: before, after or while
they are accepted; some senders die. In some runs strangers use the key too, for the same model in the same second: some
without a timeout, some with another ledger of this plugin. The list answers, answers later, or never does.

*Healed* is a charged create whose own task is in its record, *wrong* is another task than its own, a key that was freed
although it was charged, or one that was charged twice. Exits with 1 when anything is wrong. The last line is
`RESULT {…}`.
"""

from __future__ import annotations

import random
import sys
import uuid
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.adoption import BETWEEN, LATER, Day, Tally, World, main
from prefect_genvideo.errors import UnknownOutcomeError
from prefect_genvideo.ledger.store import Ledger
from prefect_genvideo.models import VideoRequest
from prefect_genvideo.pipeline.pipeline import Pipeline
from prefect_genvideo.pipeline.reconcile import reconcile
from prefect_genvideo.providers import ArkClient
from prefect_genvideo.providers.ark.lost import Lists
from prefect_genvideo.providers.ark.tasks import LARGEST_PAGE
from prefect_genvideo.simulator import Fault, Simulator

MODEL, OTHER_MODEL = "doubao-seedance-2-0-fast-260128", "doubao-seedance-2-0-mini-260615"
LISTS = ("answers", "answers", "answers later", "never answers")
"""How the list is dealt."""


async def _at_once(seconds: float) -> None:
    """The pace of lists, which the simulator is told to let pass."""


class _Client(ArkClient):
    """Ark's client, which does not wait between two lists."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._lists = Lists(partial(self.tasks, page_size=LARGEST_PAGE), _at_once)


class ArkWorld(World):
    """One run at Ark."""

    def __init__(self, day: Day, sim: Simulator, folder: Path) -> None:
        super().__init__(replace(day, gateway_ahead=0.0), sim, folder)
        sim.configure(clock="manual", clip_bytes=4096, list_every_s=0.0)
        self.list = random.Random(f"{day.seed} list").choice(LISTS)
        if self.list != "answers":
            sim.faults.add(Fault("502_html", "list"))

    @property
    def dealt(self) -> tuple[str, ...]:
        return (f"list {self.list}",)

    def _opened(self) -> ArkClient:
        return _Client(self.key, self.sim.ark_url, timeout=0.4)

    async def play(self) -> Tally:
        async with self._opened() as one, self._opened() as other:
            machines = [Pipeline(client, Ledger(self.ledger.store), "{task_id}.mp4") for client in (one, other)]
            for burst, pause in enumerate((BETWEEN, LATER)):
                await self.burst(burst, machines)
                await self.look(machines[0])
                await self.pass_time(pause)
        if self.list == "answers later":
            self.sim.faults.clear()
        await self.look(machines[0])
        return replace(await self.judged(), runs=1)

    def request(self, key: str) -> VideoRequest:
        model = OTHER_MODEL if key.startswith("good") and self.deal.random() < 0.3 else MODEL
        return VideoRequest(model=model, prompt=key, duration=4, resolution="480p")

    async def stranger(self, key: str, pipeline: Pipeline) -> None:
        request = self.request(key)
        if self.deal.random() < 0.5:
            request = pipeline.client.marked(request, uuid.UUID(int=self.deal.getrandbits(128)).hex)
        with suppress(UnknownOutcomeError):
            await pipeline.client.create(request)

    async def look(self, pipeline: Pipeline) -> None:
        policy = replace(pipeline.policy, stale_after=0.0)
        async with self._opened() as client:
            ledger = Ledger(self.ledger.store)
            await reconcile(Pipeline(client, ledger, "{task_id}.mp4", policy=policy, timeout=0.01))

    async def pass_time(self, seconds: float) -> None:
        for task in self.sim.tasks:
            task.created -= seconds
        await super().pass_time(seconds)


if __name__ == "__main__":
    sys.exit(main(ArkWorld, 300, __doc__))
