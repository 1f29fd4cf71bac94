"""The same promises asked of a real Ceph: `TESTS_RADOSGW=1 pytest -n 0 tests/contract/stores/test_radosgw.py`."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import boto3.session
import pytest
from botocore.config import Config

from prefect_genvideo import S3Destination
from prefect_genvideo.simulator import Simulator
from prefect_genvideo.storage import PreconditionFailedError, S3Store
from prefect_genvideo.storage.base import CLASS_REFUSED
from prefect_genvideo.storage.s3.client import Connection
from prefect_genvideo.storage.s3.trials import NOTES
from tests.contract.stores.conftest import Pipelines
from tests.contract.stores.personas import BUCKET
from tests.contract.stores.radosgw import ACCESS_KEY_ID, SECRET_ACCESS_KEY, missing, running_radosgw
from tests.fixtures import money_child

pytestmark = pytest.mark.skipif("TESTS_RADOSGW" not in os.environ, reason="TESTS_RADOSGW=1 starts a real Ceph")

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def ceph() -> Iterator[S3Destination]:
    """A destination in a bucket of a real gateway."""
    assert missing() == [], "apt-get install --no-install-recommends radosgw ceph-mon ceph-osd ceph-common"
    keys = {"access_key_id": ACCESS_KEY_ID, "secret_access_key": SECRET_ACCESS_KEY, "region": "us-east-1"}
    with tempfile.TemporaryDirectory(prefix="rgw") as folder, running_radosgw(Path(folder)) as url:
        session: Any = boto3.session.Session(ACCESS_KEY_ID, SECRET_ACCESS_KEY, region_name="us-east-1")
        client = session.client("s3", endpoint_url=url, config=Config(s3={"addressing_style": "path"}))
        client.create_bucket(Bucket=BUCKET)
        yield S3Destination.model_validate({"bucket": BUCKET, "prefix": "clips", "endpoint_url": url, **keys})


async def test_a_real_ceph_is_what_the_persona_is(ceph: S3Destination) -> None:
    """Creates exclude each other, an ETag matches without quotes only, the end of an upload in parts is unguarded."""
    store = ceph.get_store()
    assert await store.conditional_writes()
    assert not await store.exclusive_uploads()
    etag = await store.put("k", b"1", if_absent=True)
    newer = await store.put("k", b"2", if_match=etag)
    with pytest.raises(PreconditionFailedError):
        await store.put("k", b"3", if_match=etag)
    assert await store.get("k") == (b"2", newer)
    await store.delete("k")
    assert [info.key async for info in store.list() if not info.key.startswith(NOTES)] == []


@pytest.mark.parametrize("mode", ["strict", "create-only"])
async def test_twenty_runs_of_one_key_pay_once(
    mode: str, ceph: S3Destination, pipelines: Pipelines, sim: Simulator
) -> None:
    """In both modes that never pay twice."""
    place = ceph.model_copy(update={"prefix": mode, "ledger_mode": mode})
    rows = await asyncio.gather(*(money_child.run(pipelines(place), "k") for _ in range(20)))
    assert [row for row in rows if "error" in row] == []
    assert sim.billed == 1


async def test_a_video_in_parts_replaces_nobody(ceph: S3Destination, pipelines: Pipelines, sim: Simulator) -> None:
    """Its name has the task's id, and another's object stays."""
    place = ceph.model_copy(update={"prefix": "large"})
    store = place.get_store()
    await store.put("cat.mp4", b"theirs")
    sim.configure(clip_bytes=9 * MIB)
    row = await money_child.run(replace(pipelines(place), key_template="dog.mp4"), "k")
    assert "error" not in row, row
    names = [info.key async for info in store.list() if info.key.endswith(".mp4")]
    assert names == ["cat.mp4", f"dog.{row['task_id']}.mp4"]
    found = await store.get("cat.mp4")
    assert found is not None
    assert found[0] == b"theirs"


async def test_a_storage_class_that_the_zone_has_not_is_told_before_paying(
    ceph: S3Destination, pipelines: Pipelines, sim: Simulator
) -> None:
    """It would show when the video is saved."""
    place = ceph.model_copy(update={"prefix": "class", "storage_class": "STANDARD_IA"})
    row = await money_child.run(pipelines(place), "k")
    assert row["reason"] == CLASS_REFUSED
    assert sim.billed == 0


async def test_tags_are_kept_as_they_were_given(ceph: S3Destination) -> None:
    """Of an object in one piece; a blank is none that a form would send."""
    place = ceph.model_copy(update={"prefix": "tags", "object_tags": True})
    wanted = {"cost_center": "a b", "spring": "x+y"}
    store = place.get_store().tagged(wanted)
    await store.put("cat.mp4", b"1")

    def tags(connection: Connection) -> dict[str, str]:
        found = connection.client.get_object_tagging(Bucket=BUCKET, Key=store.full_key("cat.mp4"))
        return {tag["Key"]: tag["Value"] for tag in found["TagSet"]}

    assert isinstance(store, S3Store)
    assert await store.run("get_object_tagging", "", tags) == wanted
