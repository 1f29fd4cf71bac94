"""One local server for the session; every test gives it a handler of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from prefect_genvideo.providers import SenseAudioClient, SudashuiClient, VideoClient
from tests.contract.cases import CLIENTS, KEY
from tests.contract.server import HostMap, ScriptedServer


@pytest_asyncio.fixture(scope="session")
async def shared_server() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as server:
        yield server


@pytest.fixture
def server(shared_server: ScriptedServer) -> ScriptedServer:
    """The local server with an empty memory."""
    shared_server.received.clear()
    shared_server.connections = 0
    return shared_server


@pytest_asyncio.fixture
async def network(server: ScriptedServer) -> AsyncIterator[HostMap]:
    """A transport on which every host name is the local server."""
    transport = HostMap(server.port)
    yield transport
    await transport.aclose()


@pytest_asyncio.fixture
async def sudashui(server: ScriptedServer) -> AsyncIterator[SudashuiClient]:
    """A client that talks to the local server without any seam."""
    async with SudashuiClient(KEY, server.url, server.url, timeout=5, stall_timeout=1) as client:
        yield client


@pytest_asyncio.fixture
async def senseaudio(server: ScriptedServer) -> AsyncIterator[SenseAudioClient]:
    """A client that talks to the local server without any seam."""
    async with SenseAudioClient(KEY, server.url, timeout=5, stall_timeout=1) as client:
        yield client


@pytest_asyncio.fixture(params=sorted(CLIENTS))
async def client(request: pytest.FixtureRequest, server: ScriptedServer) -> AsyncIterator[VideoClient]:
    """Either client, for what both must do alike."""
    async with CLIENTS[request.param](KEY, server.url, timeout=5, stall_timeout=1) as client:
        yield client
