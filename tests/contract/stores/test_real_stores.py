r"""The same promises asked of LocalStack and SeaweedFS, which run here without Docker (docs/stores.md).

TESTS_LOCALSTACK=/path/to/its/bin/python TESTS_SEAWEEDFS=/path/to/weed \
  pytest -n 0 tests/contract/stores/test_real_stores.py
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3.session
import httpx
import pytest

from benchmarks.servers import free_port
from prefect_genvideo import S3Destination
from prefect_genvideo.simulator import Simulator
from prefect_genvideo.storage import PreconditionFailedError
from tests.contract.stores.conftest import Pipelines
from tests.contract.stores.personas import BUCKET
from tests.fixtures import money_child

MIB = 1024 * 1024
START_SECONDS = 120
KEYS = {"access_key_id": "test" * 4, "secret_access_key": "test" * 4, "region": "us-east-1"}


@dataclass(frozen=True)
class Server:
    """How a store is started.

    Attributes:
        command: Program and arguments.
        url: Where it listens.
        health: Path that is answered 200 once it serves.
        settings: Its environment, beside `HOME` and `PATH`.
    """

    command: list[str]
    url: str
    health: str
    settings: Mapping[str, str] = field(default_factory=dict[str, str])


def _localstack(python: str, folder: Path) -> Server:
    address = f"127.0.0.1:{free_port()}"
    settings = {"GATEWAY_LISTEN": address, "SERVICES": "s3", "DISABLE_EVENTS": "1"}
    settings["FILESYSTEM_ROOT"] = str(folder / "root")
    return Server([python, "-m", "localstack.runtime.main"], f"http://{address}", "/_localstack/health", settings)


def _seaweedfs(weed: str, folder: Path) -> Server:
    names = ("master.port", "master.port.grpc", "volume.port", "volume.port.grpc")
    names += ("filer.port", "filer.port.grpc", "s3.port", "s3.port.grpc")
    ports = {name: free_port() for name in names}
    credentials = {"accessKey": KEYS["access_key_id"], "secretKey": KEYS["secret_access_key"]}
    user = {"name": "t", "credentials": [credentials], "actions": ["Admin", "Read", "List", "Tagging", "Write"]}
    (folder / "s3.json").write_text(json.dumps({"identities": [user]}))
    command = [weed, "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3"]
    command += [
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-master.volumeSizeLimitMB=64",
        f"-s3.config={folder / 's3.json'}",
    ]
    command += [f"-{name}={port}" for name, port in ports.items()]
    return Server(command, f"http://127.0.0.1:{ports['s3.port']}", "/healthz")


@pytest.fixture(scope="module", params=[("TESTS_LOCALSTACK", _localstack), ("TESTS_SEAWEEDFS", _seaweedfs)])
def store_place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Destination]:
    """A destination in a bucket of a store that was started here."""
    name, start = request.param
    if not (program := os.environ.get(name)):
        pytest.skip(f"{name}=PROGRAM starts this store")
    folder = tmp_path_factory.mktemp("store")
    server: Server = start(program, folder)
    settings = {**server.settings, "HOME": str(folder), "PATH": os.environ["PATH"]}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(server.command, env=settings, stdout=log, stderr=log, start_new_session=True)
    try:
        _wait_for(process, server.url + server.health, folder / "log")
        session: Any = boto3.session.Session(KEYS["access_key_id"], KEYS["secret_access_key"], region_name="us-east-1")
        session.client("s3", endpoint_url=server.url).create_bucket(Bucket=BUCKET)
        yield S3Destination.model_validate({"bucket": BUCKET, "prefix": "clips", "endpoint_url": server.url, **KEYS})
    finally:
        with suppress(ProcessLookupError):  # it has ended itself
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_for(process: subprocess.Popen[bytes], health: str, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(health, timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    pytest.fail(f"the store did not start:\n{log.read_text()[-2000:]}")


async def _content(link: str | None) -> bytes:
    assert link is not None
    async with httpx.AsyncClient() as client:
        return (await client.get(link)).raise_for_status().content


async def test_conditions_hold(store_place: S3Destination) -> None:
    """For small objects and for the end of an upload in parts."""
    store = store_place.get_store()
    assert await store.conditional_writes()
    assert await store.exclusive_uploads()
    etag = await store.put("k", b"1", if_absent=True)
    await store.put("k", b"2", if_match=etag)
    with pytest.raises(PreconditionFailedError):
        await store.put("k", b"3", if_match=etag)
    await store.delete("k")


async def test_twenty_runs_of_one_key_pay_once(
    store_place: S3Destination, pipelines: Pipelines, sim: Simulator
) -> None:
    """One of them sends, the others use its task."""
    place = store_place.model_copy(update={"prefix": "twenty"})
    rows = await asyncio.gather(*(money_child.run(pipelines(place), "k") for _ in range(20)))
    assert [row for row in rows if "error" in row] == []
    assert sim.billed == 1


async def test_a_video_in_parts_is_saved_whole(
    store_place: S3Destination, pipelines: Pipelines, sim: Simulator
) -> None:
    """Above the size of a part, and its link is good."""
    place = store_place.model_copy(update={"prefix": "large"})
    sim.configure(clip_bytes=12 * MIB)
    row = await money_child.run(pipelines(place), "k")
    assert "error" not in row, row
    store = place.get_store()
    (video,) = [info async for info in store.list() if info.key.endswith(".mp4")]
    assert video.size == 12 * MIB
    assert len(await _content(await store.presign(video.key, 60))) == 12 * MIB


async def test_names_come_back_as_they_were_given(store_place: S3Destination) -> None:
    """Listed, read and linked to; also those that mean something in an address."""
    store = store_place.model_copy(update={"prefix": "names"}).get_store()
    names = sorted(["a b", "a+b", "a%20b", "a&b=c?d#e", "日本/語", "e\u0301", "é", "q'\"<>", "%2F", "~", "😀"])
    for name in names:
        await store.put(name, name.encode())
        assert await _content(await store.presign(name, 60)) == name.encode()
    assert sorted([info.key async for info in store.list()]) == names
