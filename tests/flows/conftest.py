"""A place to make videos: each provider's account at the simulator, a bucket of the test's own, the real server."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest
from prefect.client.schemas.objects import State
from prefect.context import SettingsContext, get_settings_context
from prefect.settings import PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW, Settings, temporary_settings

from prefect_genvideo import generate_video
from prefect_genvideo.blocks import ArkCredentials, S3Destination, SenseAudioCredentials, SudashuiCredentials
from prefect_genvideo.blocks.session import open_pipeline
from prefect_genvideo.models import StoredVideo, VideoRequest
from prefect_genvideo.pipeline.make import Steps, make_video
from prefect_genvideo.providers.budgets import budget_of
from prefect_genvideo.runtime import derive_key
from prefect_genvideo.simulator import Simulator
from tests.fixtures.accounts import REQUESTS, settings_of
from tests.fixtures.prefect import PrefectServer
from tests.fixtures.s3 import S3Server

SETTINGS: Mapping[str, str] = {"PREFECT_INTEGRATIONS_GENVIDEO_POLL_INTERVAL": "0.05"}
"""The learned schedule asks Sudashui every 15 seconds at most; tests cannot wait for it."""


@dataclass
class Place:
    """Everything a flow needs, and what it leaves in the store.

    Attributes:
        sudashui: An account that no other test uses.
        senseaudio: The same at SenseAudio.
        ark: The same at Ark.
        destination: An empty bucket.
    """

    sim: Simulator
    s3: S3Server
    name: str = field(default_factory=lambda: f"test-{uuid4().hex[:10]}")
    sudashui: SudashuiCredentials = field(init=False)
    senseaudio: SenseAudioCredentials = field(init=False)
    ark: ArkCredentials = field(init=False)
    destination: S3Destination = field(init=False)
    _saved: object = None

    def __post_init__(self) -> None:
        self.sudashui, self.senseaudio = self.account("sudashui"), self.sense_account("senseaudio")
        self.ark = self.ark_account("ark")
        self.destination = self.bucket()
        self.s3.asked_before(self.destination.open_store())

    def account(self, key: str) -> SudashuiCredentials:
        """A Sudashui account of this test."""
        return SudashuiCredentials(**settings_of(self.sim, "sudashui", f"{self.name}-{key}"))

    def sense_account(self, key: str) -> SenseAudioCredentials:
        """A SenseAudio account of this test."""
        return SenseAudioCredentials(**settings_of(self.sim, "senseaudio", f"{self.name}-{key}"))

    def ark_account(self, key: str) -> ArkCredentials:
        """An Ark account of this test."""
        return ArkCredentials(**settings_of(self.sim, "ark", f"{self.name}-{key}"))

    def bucket(self, **settings: Any) -> S3Destination:
        """A destination in a new bucket."""
        return S3Destination(bucket=self.s3.new_bucket(), **{**self.s3.settings, **settings})

    @property
    def request(self) -> dict[str, Any]:
        """The least that `generate_video` needs, for Sudashui."""
        return {
            "prompt": "a cat discovers the sea",
            "model": "sd-2-fast-720p",
            "credentials": self.sudashui,
            "destination": self.destination,
        }

    @property
    def sense_request(self) -> dict[str, Any]:
        """The same for SenseAudio."""
        return self.request | {"model": "Seedance-2.0", "credentials": self.senseaudio}

    @property
    def ark_request(self) -> dict[str, Any]:
        """The same for Ark."""
        return self.request | {"model": REQUESTS["ark"].model, "credentials": self.ark}

    def request_of(self, provider: str) -> dict[str, Any]:
        """The least that `generate_video` needs for a provider."""
        return {"sudashui": self.request, "senseaudio": self.sense_request, "ark": self.ark_request}[provider]

    async def make(self, **changes: Any) -> StoredVideo:
        """Run `generate_video` with `request` and changes."""
        run: Any = generate_video
        return await run(**self.request | changes)

    async def ended(self, **changes: Any) -> State[Any]:
        """Run `generate_video` with `request` and changes, and return its last state."""
        run: Any = generate_video
        return await run(**self.request | changes, return_state=True)

    async def straight(self, **changes: Any) -> StoredVideo:
        """Make the video that `make` makes, by the walk and the settings of the flow, without its run and task runs.

        For what the walk itself decides; a run costs a second of the machine, most of it in Prefect's server.
        """
        given: dict[str, Any] = {"aspect_ratio": "16:9", **self.request, **changes}
        credentials, destination = given.pop("credentials"), given.pop("destination")
        key, timeout = given.pop("idempotency_key", ""), given.pop("timeout", None)

        async def key_of(fingerprint: str) -> str:
            return key or await derive_key(fingerprint)

        async with open_pipeline(credentials, destination, timeout=timeout) as pipeline:
            made = await make_video(pipeline, VideoRequest.model_validate(given), key_of, Steps())
        assert made.video is not None
        return made.video

    async def saved(self) -> dict[str, str]:
        """Save the blocks and return their names, as parameters of a flow run in another process."""
        if self._saved != (self.sudashui, self.destination):
            await self.sudashui.asave(self.name, overwrite=True)
            await self.destination.asave(self.name, overwrite=True)
            self._saved = (self.sudashui, self.destination)
        names = {
            "credentials": f"sudashui-credentials/{self.name}",
            "destination": f"s3-video-destination/{self.name}",
        }
        return self.request | names

    def objects(self, folder: str = "") -> dict[str, bytes]:
        """Every object of the bucket below a folder, by key."""
        bucket, found = self.destination.bucket, dict[str, bytes]()
        for page in self.s3.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=folder):
            for entry in page.get("Contents", []):
                found[entry["Key"]] = self.s3.client.get_object(Bucket=bucket, Key=entry["Key"])["Body"].read()
        return found

    def records(self) -> list[dict[str, Any]]:
        """The ledger's records."""
        notes = ("_ledger/.", "_ledger/_")  # of what the store keeps, and of what is unfinished
        objects = self.objects("_ledger/").items()
        flat = {key: data for key, data in objects if key.count("/") == 1 and not key.startswith(notes)}
        return [json.loads(data) for data in flat.values()]

    def record(self) -> dict[str, Any]:
        """The only record of the ledger."""
        (only,) = self.records()
        return only

    def videos(self) -> dict[str, bytes]:
        """The saved videos by key."""
        return {key: data for key, data in self.objects().items() if key.endswith(".mp4")}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask the simulator as often as it likes to be asked."""
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def place(prefect_server: PrefectServer, sim: Simulator, s3: S3Server) -> Place:
    """A place of this test's own."""
    budget_of.cache_clear()  # all tests of a process ask one host, and would share its bucket of calls
    return Place(sim, s3)


@pytest.fixture(scope="session")
def unlogged() -> Settings:
    """Settings of a process that calls tasks outside of flows; made once, as reading them all takes 50 ms."""
    with temporary_settings({PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW: "ignore"}) as settings:
        return settings


@pytest.fixture
def standalone(unlogged: Settings) -> Iterator[None]:
    """Tasks called outside of flows: Prefect cannot send their logs to the API and would warn of it."""
    with SettingsContext(profile=get_settings_context().profile, settings=unlogged):
        yield
