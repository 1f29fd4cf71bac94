"""One worker of the soak: makes videos, or reconciles, with a store that fails now and then and a clock that jumps."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import random
import signal
import socket
import sys
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, ClassVar

from anyio import CancelScope, move_on_after

from benchmarks.processes import Answer
from prefect_genvideo.errors import DestinationError
from prefect_genvideo.ledger.account import AccountThrottle
from prefect_genvideo.ledger.create import CreatePolicy
from prefect_genvideo.ledger.decisions import adopt, release
from prefect_genvideo.ledger.spent import Expected
from prefect_genvideo.ledger.store import Ledger
from prefect_genvideo.models import VideoRequest
from prefect_genvideo.pipeline.make import Attempt, BoundedSteps, Maker
from prefect_genvideo.pipeline.pipeline import Pipeline
from prefect_genvideo.pipeline.reconcile import reconcile
from prefect_genvideo.providers import ArkClient, SenseAudioClient, SudashuiClient
from prefect_genvideo.providers.network import tls_context
from prefect_genvideo.storage import LocalStore, ObjectStore, S3Store

TEMPLATE = "{date}/{provider}-{task_id}.mp4"
STALE_AFTER = 6.0
"""Seconds; longer than any create of a worker that lives."""
TIMEOUT = 2.0
LONGEST_PAUSE = 0.4
MIB = 1024 * 1024

tls_context()  # made once before the processes are forked


@dataclass(frozen=True)
class Wish:
    """One wanted video.

    Attributes:
        idempotency_key: Its key.
        prompt: Tells it apart at the provider.
    """

    idempotency_key: str
    prompt: str


@dataclass(frozen=True)
class Place:
    """An account and a destination.

    Attributes:
        provider: A name in `CLIENTS`.
        url: Its address.
        key: API key.
        s3: Keyword arguments of an `S3Store`; empty for a folder.
        folder: A folder's path.
    """

    provider: str
    url: str
    key: str = field(repr=False)
    s3: Mapping[str, Any] = field(default_factory=dict[str, Any], hash=False, repr=False)
    folder: str = ""

    def store(self) -> ObjectStore:
        """The destination as it is."""
        return S3Store(**self.s3) if self.s3 else LocalStore(self.folder)


@dataclass(frozen=True)
class Weather:
    """What goes wrong in one process.

    Attributes:
        seed: Of its chances.
        trouble: Probability that a call of the store fails.
        clock: Seconds by which its clock is wrong, before and after a jump.
        jump: Seconds after its start at which that jump comes.
        host: Name that it takes for its machine's.
        log: File of everything it says.
        loud: Whether the S3 client tells everything, too.
    """

    seed: int = 0
    trouble: float = 0.0
    clock: tuple[float, float] = (0.0, 0.0)
    jump: float = 0.0
    host: str = ""
    log: str = ""
    loud: bool = False


class Unsteady(ObjectStore):
    """Mixin before a real store: calls fail by chance, before they are done or after."""

    chance: ClassVar[random.Random]
    trouble: ClassVar[float] = 0.0

    async def get(self, key: str) -> tuple[bytes, str] | None:
        return await self._by_chance(key, super().get(key))

    async def put(self, key: str, data: bytes, **conditions: Any) -> str:
        return await self._by_chance(key, super().put(key, data, **conditions))

    async def delete(self, key: str) -> None:
        await self._by_chance(key, super().delete(key))

    @asynccontextmanager
    async def upload(self, key: str, **options: Any) -> AsyncGenerator[Any, None]:
        async with super().upload(key, **options) as upload:
            await self._by_chance(key, asyncio.sleep(0))
            yield upload

    async def _by_chance(self, key: str, work: Any) -> Any:
        strikes, after = self.chance.random() < self.trouble, self.chance.random() < 0.5
        full = isinstance(self, LocalStore) and self.chance.random() < 0.3
        error = DestinationError(f"{key}: the disk is full", reason="ENOSPC") if full else None
        error = error or DestinationError(
            f"{key}: the store is down", retryable=True, reason=errno.errorcode[errno.EIO]
        )
        if strikes and not after:
            work.close()
            raise error
        done = await work
        if strikes and not full:
            raise error
        return done


class UnsteadyS3(Unsteady, S3Store):
    """A bucket that fails now and then."""


class UnsteadyFolder(Unsteady, LocalStore):
    """A folder that fails now and then."""


class QuickSudashui(SudashuiClient):
    poll_floor = 0.05


class QuickSenseAudio(SenseAudioClient):
    poll_floor = 0.05


class QuickArk(ArkClient):
    poll_floor = 0.05


CLIENTS = {
    "sudashui": (QuickSudashui, "sd-2-fast-720p", None),
    "senseaudio": (QuickSenseAudio, "Seedance-2.0", "480p"),
    "ark": (QuickArk, "doubao-seedance-2-0-fast-260128", "480p"),
}
PATHS = {"sudashui": "/sudashui", "senseaudio": "/senseaudio", "ark": "/ark/api/v3"}
"""Base URLs on the simulator."""


async def hurried(seconds: float) -> None:
    """A sleep whose length is bounded, so that a minute sees many videos."""
    await asyncio.sleep(min(seconds, LONGEST_PAUSE))


def set_wrong(weather: Weather) -> None:
    """Let the wall clock of this process, as the package reads it, be wrong, and jump once."""
    before, after = (timedelta(seconds=seconds) for seconds in weather.clock)
    began, true_time = time.monotonic(), time.time

    def off() -> timedelta:
        return before if time.monotonic() - began < weather.jump else after

    class AsPlain(type):
        def __instancecheck__(cls, instance: object) -> bool:
            return isinstance(instance, datetime)

    class Wrong(datetime, metaclass=AsPlain):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]  # a plain one is what is stored
            return datetime.now(tz) + off()

    for name, module in list(sys.modules.items()):
        if name.startswith("prefect_genvideo.") and getattr(module, "datetime", None) is datetime:
            vars(module)["datetime"] = Wrong
    time.time = lambda: true_time() + off().total_seconds()


def listen(weather: Weather) -> None:
    """Write everything that anybody logs, prints or dies with into one file."""
    out = os.open(weather.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    logging.basicConfig(stream=sys.stderr, level=logging.DEBUG, force=True)
    for name in ("botocore", "s3transfer", "boto3", "urllib3"):
        logging.getLogger(name).setLevel(logging.DEBUG if weather.loud else logging.INFO)


@asynccontextmanager
async def pipeline_at(place: Place, weather: Weather) -> AsyncGenerator[Pipeline, None]:
    """The pipeline of a worker."""
    socket.gethostname = lambda: weather.host or "soak"
    Unsteady.chance, Unsteady.trouble = random.Random(weather.seed), weather.trouble
    store = UnsteadyS3(**place.s3) if place.s3 else UnsteadyFolder(place.folder)
    client, _, _ = CLIENTS[place.provider]
    said = logging.getLogger("soak")
    ledger = Ledger(store, patience=6, sleep=hurried, on_trouble=said.warning)
    policy = CreatePolicy(patience=3, stale_after=STALE_AFTER, look_every=0.2, heartbeat=1, cancel_grace=1)
    async with client(place.key, place.url, timeout=TIMEOUT, stall_timeout=1, allow_private=True) as provider:
        pipeline = Pipeline(
            provider,
            ledger,
            TEMPLATE,
            policy,
            AccountThrottle(sleep=hurried),
            poll_interval=0.1,
            timeout=15,
            say=said.info,
            sleep=hurried,
        )
        try:
            yield pipeline
        finally:
            with CancelScope(shield=True), move_on_after(2):
                await ledger.finish()


async def make(place: Place, weather: Weather, wishes: tuple[Wish, ...]) -> Answer:
    """Make videos side by side, as a batch does; SIGTERM and SIGINT cancel it."""
    listen(weather)
    set_wrong(weather)
    whole = asyncio.current_task()
    assert whole is not None
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, whole.cancel)
    _, model, resolution = CLIENTS[place.provider]
    ended: dict[str, str] = {}
    try:
        async with pipeline_at(place, weather) as pipeline:
            maker = Maker(BoundedSteps())
            # As a batch does; some keys have records already.
            creates = {wish.idempotency_key: Expected(4.0) for wish in wishes}
            pipeline.ledger.reservations.expect(pipeline.client.account, creates)

            async def one(wish: Wish) -> None:
                request = VideoRequest(model=model, prompt=wish.prompt, duration=4, resolution=resolution)
                outcome = await maker.make([Attempt(pipeline, request, wish.idempotency_key)])
                ended[wish.idempotency_key] = type(outcome.error).__name__ if outcome.error else "saved"
                if outcome.error:
                    logging.getLogger("soak").info("%s ended: %s", wish.idempotency_key, outcome.error)

            await asyncio.gather(*map(one, wishes))
    except asyncio.CancelledError:
        return {"ended": ended, "error": "cancelled"}
    return {"ended": ended}


async def tidy(place: Place, weather: Weather, at_last: bool = False) -> Answer:
    """Reconcile; `at_last` when nothing is under way any more, so that what was left behind need not be a day old."""
    listen(weather)
    set_wrong(weather)
    async with pipeline_at(place, weather) as pipeline:
        report = await reconcile(pipeline)
        if at_last:
            await pipeline.ledger.store.sweep(older_than=-1)
    logging.getLogger("soak").info("%s", json.dumps([row.model_dump() for row in report.rows], default=str))
    internal = [row.detail for row in report.rows if "internal error" in row.detail]
    return {"counts": report.counts} | ({"error": f"internal: {internal}"} if internal else {})


async def decide(place: Place, weather: Weather, key: str, task_id: str) -> Answer:
    """What a person does about an unknown outcome: tie the task that was found to the key, or free the key."""
    listen(weather)
    async with pipeline_at(place, weather) as pipeline:
        ledger = pipeline.ledger
        await (adopt(ledger, key, task_id) if task_id else release(ledger, key, force=True))
    return {}


def written(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
