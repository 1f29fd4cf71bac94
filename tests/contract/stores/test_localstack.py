"""The same promises asked of LocalStack, which runs without Docker from an environment of its own (docs/stores.md).

TESTS_LOCALSTACK=/path/to/its/bin/python pytest -n 0 tests/contract/stores/test_localstack.py
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Iterator
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

PYTHON = os.environ.get("TESTS_LOCALSTACK", "")
pytestmark = pytest.mark.skipif(not PYTHON, reason="TESTS_LOCALSTACK=PYTHON starts LocalStack by that interpreter")

MIB = 1024 * 1024
KEYS = {"access_key_id": "test" * 4, "secret_access_key": "test" * 4, "region": "us-east-1"}


@pytest.fixture(scope="module")
def localstack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Destination]:
    """A destination in a bucket of a LocalStack that was started here."""
    folder = tmp_path_factory.mktemp("localstack")
    url = f"http://127.0.0.1:{free_port()}"
    settings = {"GATEWAY_LISTEN": url.removeprefix("http://"), "SERVICES": "s3", "DISABLE_EVENTS": "1"}
    settings |= {"FILESYSTEM_ROOT": str(folder / "root"), "HOME": str(folder), "PATH": os.environ["PATH"]}
    with (folder / "log").open("wb") as log:
        command = [PYTHON, "-m", "localstack.runtime.main"]
        process = subprocess.Popen(command, env=settings, stdout=log, stderr=log, start_new_session=True)
    try:
        _wait_for(f"{url}/_localstack/health", folder / "log")
        session: Any = boto3.session.Session(KEYS["access_key_id"], KEYS["secret_access_key"], region_name="us-east-1")
        session.client("s3", endpoint_url=url).create_bucket(Bucket=BUCKET)
        yield S3Destination.model_validate({"bucket": BUCKET, "prefix": "clips", "endpoint_url": url, **KEYS})
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_for(health: str, log: Path) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            if httpx.get(health, timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.5)
    pytest.fail(f"LocalStack did not start:\n{log.read_text()[-2000:]}")


async def test_conditions_hold(localstack: S3Destination) -> None:
    """For small objects and for the end of an upload in parts."""
    store = localstack.get_store()
    assert await store.conditional_writes()
    assert await store.exclusive_uploads()
    etag = await store.put("k", b"1", if_absent=True)
    await store.put("k", b"2", if_match=etag)
    with pytest.raises(PreconditionFailedError):
        await store.put("k", b"3", if_match=etag)
    await store.delete("k")


async def test_twenty_runs_of_one_key_pay_once(localstack: S3Destination, pipelines: Pipelines, sim: Simulator) -> None:
    """One of them sends, the others use its task."""
    place = localstack.model_copy(update={"prefix": "twenty"})
    rows = await asyncio.gather(*(money_child.run(pipelines(place), "k") for _ in range(20)))
    assert [row for row in rows if "error" in row] == []
    assert sim.billed == 1


async def test_a_video_in_parts_is_saved_whole(localstack: S3Destination, pipelines: Pipelines, sim: Simulator) -> None:
    """Above the size of a part, proved by the store's own hash."""
    place = localstack.model_copy(update={"prefix": "large"})
    sim.configure(clip_bytes=12 * MIB)
    row = await money_child.run(pipelines(place), "k")
    assert "error" not in row, row
    store = place.get_store()
    (video,) = [info async for info in store.list() if info.key.endswith(".mp4")]
    assert video.size == 12 * MIB
