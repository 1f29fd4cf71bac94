"""One run of one process: our steps with the real client over HTTP and S3, and a fuse that may kill it anywhere."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import httpx

from benchmarks.money_cells import Order
from prefect_genvideo.errors import DestinationError
from prefect_genvideo.finance.bill import month_of
from prefect_genvideo.finance.sources import account_records, bill_of
from prefect_genvideo.ledger.account import AccountThrottle
from prefect_genvideo.ledger.create import CreatePolicy
from prefect_genvideo.ledger.decisions import adopt, release
from prefect_genvideo.ledger.record import LedgerRecord
from prefect_genvideo.ledger.store import Ledger
from prefect_genvideo.models import Generation, VideoRequest
from prefect_genvideo.pipeline import money as settlement
from prefect_genvideo.pipeline.pipeline import Pipeline
from prefect_genvideo.pipeline.reconcile import reconcile
from prefect_genvideo.prices import PriceTable
from prefect_genvideo.providers import ArkClient, SudashuiClient, VideoClient
from prefect_genvideo.providers.network import tls_context
from prefect_genvideo.storage import ObjectInfo, S3Store, Upload

TEMPLATE = "{date}/{task_id}.mp4"
KEY = "the-key"
FASTER = 0.02
"""Waits of the ledger, of resends and of downloads are shortened to this part of their length."""
CLOSED = "http://127.0.0.1:9"
"""Nobody listens there."""
SHORT_TIMEOUT = 1.5
LONG_TIMEOUT = 60.0
SETTLED_AFTER = 1.0
"""Seconds after an end from which its money is taken to rest; the plugin waits minutes."""
LOOKS = 5
_TOLD = {"key", "state", "task_id", "money"}

tls_context()  # made once before the processes are forked: 80 ms of CPU each otherwise


#: The rest of what is wanted, by provider.
_ASKED: Mapping[str, dict[str, Any]] = {
    "sudashui": {"model": "sd-2-720p"},
    "ark": {"model": "doubao-seedance-2-0-fast-260128", "resolution": "480p"},
}
#: A price by which a cost is the number of its tokens, where tokens are billed.
_PER_TOKEN = PriceTable.model_validate(
    {"currency": "CNY", "failed": "free", "prices": [{"models": "doubao-*", "per": "1000_tokens", "amount": "1000"}]}
)


@dataclass(frozen=True)
class Place:
    """Where a run works.

    Attributes:
        provider: Its name.
        base_url: Of its API.
        key: API key.
        s3: Keyword arguments of an `S3Store`.
        prompt: What is wanted; tells the cells apart at the provider.
    """

    provider: str
    base_url: str
    key: str
    s3: Mapping[str, Any]
    prompt: str

    @property
    def request(self) -> VideoRequest:
        return VideoRequest(prompt=self.prompt, duration=4, **_ASKED[self.provider])


@dataclass
class Fuse:
    """Kills the process where the order says, and lets the store fail where it says."""

    order: Order
    struck: int = field(default=0)

    def burn(self, moment: str) -> None:
        if moment and moment == self.order.kill:
            os.kill(os.getpid(), signal.SIGKILL)

    def strikes(self, write: str) -> bool:
        if write != self.order.down or (self.order.times and self.struck >= self.order.times):
            return False
        self.struck += 1
        return True


#: Moments of `KILLS` before and after a write is made.
_BEFORE = {
    "reservation": "reserving",
    "record intent": "claiming",
    "record submitted": "before record",
    "manifest": "video there",
    "record saved": "before saved",
    "closing": "closing",
}
_AFTER = {"record submitted": "recorded", "record saved": "before return"}


class FusedStore(S3Store):
    """A real bucket with a fuse at every write."""

    fuse = Fuse(Order())

    async def put(self, key: str, data: bytes, **conditions: Any) -> str:
        name = name_of(key, data)
        self.fuse.burn(_BEFORE.get(name, ""))
        etag = await self.watched(name, super().put(key, data, **conditions))
        self.fuse.burn(_AFTER.get(name, ""))
        return etag

    async def delete(self, key: str) -> None:
        await self.watched("closing" if "/_reserved/" in key else "probe", super().delete(key))

    async def watched(self, name: str, write: Any) -> Any:
        strikes = self.fuse.strikes(name)
        if strikes and not self.fuse.order.after:
            write.close()
            raise DestinationError(f"{name}: the store is down", retryable=True)
        done = await write
        if strikes:
            raise DestinationError(f"{name}: the answer was lost", retryable=True)
        return done

    @asynccontextmanager
    async def upload(self, key: str, **options: Any) -> AsyncGenerator[Any, None]:
        async with super().upload(key, **options) as upload:
            yield FusedUpload(upload, self)


class FusedUpload(Upload):
    """A video on its way into the bucket."""

    def __init__(self, upload: Upload, store: FusedStore) -> None:
        self._upload, self._store = upload, store

    async def write(self, chunk: bytes) -> None:
        await self._upload.write(chunk)
        self._store.fuse.burn("saving")

    async def restart(self) -> None:
        await self._upload.restart()

    async def digest(self) -> str:
        return await self._upload.digest()

    async def commit(self) -> ObjectInfo:
        return await self._store.watched("video", self._upload.commit())


def name_of(key: str, data: bytes) -> str:
    """What a write writes, as in `WRITES`."""
    if not key.startswith("_ledger/"):
        return "manifest"
    if key.startswith("_ledger/_reserved/"):
        return "reservation" if data else "closing"
    if key.startswith("_ledger/_history/"):
        return "history"
    return "probe" if "/.probe" in key else f"record {json.loads(data)['state']}"


class FusedClient(VideoClient):
    """The real client with a fuse before the request and at each query."""

    poll_floor = 0.05
    fuse = Fuse(Order())

    async def create(self, request: VideoRequest) -> str:
        self.fuse.burn("before post")
        if self.fuse.order.fault != "refused":
            return await super().create(request)
        address, self.base_url = self.base_url, CLOSED
        try:
            return await super().create(request)
        finally:
            self.base_url = address

    async def get(self, task_id: str) -> Generation:
        self.fuse.burn("polling")
        return await super().get(task_id)


class FusedSudashui(FusedClient, SudashuiClient):
    """Sudashui's."""


class FusedArk(FusedClient, ArkClient):
    """Ark's."""


class FusedWire(httpx.AsyncHTTPTransport):
    """The real transport with a fuse at the moment the answer of a create arrives."""

    fuse = Fuse(Order())

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await super().handle_async_request(request)
        if request.method == "POST":
            self.fuse.burn("after post")
        return response


async def faster(seconds: float) -> None:
    await asyncio.sleep(seconds * FASTER)


@asynccontextmanager
async def pipeline_at(place: Place, order: Order) -> AsyncGenerator[Pipeline, None]:
    """A pipeline with fuses."""
    fuse = Fuse(order)
    store = FusedStore(**place.s3)
    wire = FusedWire(verify=tls_context(), limits=httpx.Limits(max_keepalive_connections=0))
    timeout = SHORT_TIMEOUT if order.fault == "timeout" else LONG_TIMEOUT
    options: dict[str, Any] = {"timeout": timeout, "transport": wire, "allow_private": True}
    if place.provider == "ark":
        client: FusedClient = FusedArk(place.key, place.base_url, prices=_PER_TOKEN, **options)
    else:
        client = FusedSudashui(place.key, place.base_url, **options)
    store.fuse = wire.fuse = client.fuse = fuse
    patience = 0.5 if order.down and not order.times else 600
    ledger = Ledger(store, patience=patience, sleep=faster)
    policy = CreatePolicy(look_every=0.3 / FASTER)
    async with client:
        yield Pipeline(client, ledger, TEMPLATE, policy, AccountThrottle(sleep=faster), poll_interval=2.0, sleep=faster)
    await wire.aclose()


async def make(place: Place, order: Order) -> dict[str, Any]:
    """From the beginning to the saved video, as every run does it."""
    async with pipeline_at(place, order) as pipeline:
        if order.freed:
            await release(pipeline.ledger, KEY, force=True)
        if "closing" in (order.kill, order.down):
            await pipeline.client.price_list()  # a price that the list calls fixed is final with the success
        submission = await pipeline.create(place.request, pipeline.draft(KEY, place.request, {}))
        done = await pipeline.wait(submission.entry)
        video = await pipeline.save(await pipeline.ledger.existing(KEY), done)
    return {"task_id": video.task_id, "sha256": video.sha256, "reused": submission.reused}


async def decide(place: Place, found: str) -> dict[str, Any]:
    """What a person does about an unknown outcome: tie the task that was found to the key, or free the key."""
    async with pipeline_at(place, Order()) as pipeline:
        if not found:
            await release(pipeline.ledger, KEY)
            return {"released": True}
        await adopt(pipeline.ledger, KEY, found)
        return {"adopted": found}


async def upkeep(place: Place) -> dict[str, Any]:
    """What machines do without a run: reconcile until nothing moves any more, then the month's bill.

    Returns:
        `records` of the account and its `bill`.
    """
    settlement.QUIET = settlement.LOG_QUIET = settlement.LONGEST = timedelta(seconds=SETTLED_AFTER)
    async with pipeline_at(place, Order()) as pipeline:
        keeper = replace(pipeline, key_is_ours=True)
        records = list[LedgerRecord]()
        for _ in range(LOOKS):
            await reconcile(keeper)
            records, troubles = await account_records(pipeline)
            if troubles:
                return {"error": "; ".join(troubles)}
            if not any(record.money_is_open for record in records):
                break
            await asyncio.sleep(SETTLED_AFTER)
        bill = await bill_of(pipeline, records, month_of(""))
    return {
        "records": [record.model_dump(mode="json", include=_TOLD) for record in records],
        "bill": bill.model_dump(mode="json"),
    }
