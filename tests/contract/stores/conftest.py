"""A server with a persona's manners, and a pipeline whose destination it is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest

from prefect_genvideo import S3Destination
from prefect_genvideo.blocks import VideoDestination
from prefect_genvideo.ledger.create import CreatePolicy
from prefect_genvideo.pipeline.pipeline import Pipeline
from prefect_genvideo.providers import SudashuiClient
from prefect_genvideo.simulator import Simulator
from tests.contract.stores.personas import BUCKET, KEY_ID, PERSONAS, SECRET
from tests.contract.stores.server import PersonaServer
from tests.fixtures.money_child import TEMPLATE

Serve = Callable[[str], PersonaServer]
Pipelines = Callable[[VideoDestination], Pipeline]


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Starts a server with the manners of a named persona; every host name leads to it."""
    with ExitStack() as stack:

        def start(name: str) -> PersonaServer:
            server = stack.enter_context(PersonaServer(PERSONAS[name]))
            monkeypatch.setenv("HTTP_PROXY", server.url)
            monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
            return server

        yield start


def destination(server: PersonaServer, **more: Any) -> S3Destination:
    """A destination block as a user of that store writes it."""
    return S3Destination.model_validate(
        {
            "bucket": BUCKET,
            "prefix": "clips",
            "region": "eu-central-1",
            "endpoint_url": server.persona.endpoint_url,
            # Clients and what was seen of a store are remembered by settings: each server is a store of its own.
            "access_key_id": f"{KEY_ID}-{urlsplit(server.url).port}",
            "secret_access_key": SECRET,
            **more,
        }
    )


@pytest.fixture
async def pipelines(sim: Simulator) -> AsyncIterator[Pipelines]:
    """Pipelines from the simulator to a destination."""
    sim.configure(polls_to_finish=1, clip_bytes=4096)
    async with SudashuiClient(sim.key, sim.sudashui_url) as client:
        yield lambda place: Pipeline(
            client, place.get_ledger(), TEMPLATE, CreatePolicy(look_every=0.1), poll_interval=0.05
        )
