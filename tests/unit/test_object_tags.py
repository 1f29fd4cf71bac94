"""Tags and cost centers as S3 object tags, read back from real servers."""

from __future__ import annotations

import logging
from pathlib import Path
from urllib.parse import parse_qs

import pytest

from prefect_genvideo.errors import DestinationError
from prefect_genvideo.pipeline.hooks import Labels
from prefect_genvideo.pipeline.provenance import manifest_key
from prefect_genvideo.pipeline.save import SaveJob, save_generation
from prefect_genvideo.storage import CreateOnlyStore, LocalStore, S3Store, StoreAround
from prefect_genvideo.storage.base import TAGS_REFUSED, ObjectStore
from prefect_genvideo.storage.s3.object_tags import MOST_TAGS, tagging
from tests.fixtures.lossy_proxy import Fault, LossyProxy
from tests.fixtures.mp4 import mp4
from tests.fixtures.s3 import S3Server
from tests.fixtures.scripted_source import Answer, ScriptedSource, generation

MIB = 1024 * 1024
KEY = "clips/task_1.mp4"
WANTED = Labels(("spring", "新品", "a=b"), "marketing").pairs()
ACCESS_DENIED = b"<Error><Code>AccessDenied</Code><Message>s3:PutObjectTagging</Message></Error>"


def tags_of(server: S3Server, store: ObjectStore, key: str) -> dict[str, str]:
    """The tags of an object, asked past our own code."""
    found = server.client.get_object_tagging(Bucket=store.bucket, Key=store.full_key(key))["TagSet"]
    return {tag["Key"]: tag["Value"] for tag in found}


async def save(store: ObjectStore, size: int, *, cover: bytes | None = None) -> None:
    async def fetch_cover(url: str) -> bytes | None:
        return cover

    job = SaveJob(generation("task_1", cover_url="http://127.0.0.1/c.jpg" if cover else None), KEY, "sd-2")
    source = ScriptedSource([Answer(mp4(size))])
    await save_generation(source, store.tagged(WANTED), job, fetch_cover=fetch_cover if cover else None)


@pytest.mark.parametrize("size", [10_000, 6 * MIB], ids=["one PUT", "in parts"])
async def test_a_video_has_the_tags_of_its_record(s3: S3Server, size: int) -> None:
    """Its cover and its manifest have them too; what lies in the ledger's folder has none."""
    store = s3.store("videos", object_tags=True, part_size=5 * MIB)
    await save(store, size, cover=b"\xff\xd8\xff\xe0picture")
    await store.tagged(WANTED).put("_ledger/daily.json", b"{}")
    names = [info.key async for info in store.list("clips/")]
    assert len(names) == 3
    assert all(tags_of(s3, store, name) == WANTED for name in names)
    assert tags_of(s3, store, "_ledger/daily.json") == {}
    assert WANTED == {"cost_center": "marketing", "spring": "true", "新品": "true", "a=b": "true"}


async def test_tags_go_to_the_videos_store_and_not_to_the_ledgers(s3: S3Server, tmp_path: Path) -> None:
    """A ledger elsewhere, or one that is only created, changes nothing about it."""
    apart, alone = s3.store("videos", object_tags=True), s3.store("videos", object_tags=True)
    await save(StoreAround(apart, LocalStore(tmp_path)), 10_000)
    await save(CreateOnlyStore(alone), 10_000)
    for key in (KEY, manifest_key(KEY)):
        assert tags_of(s3, apart, key) == tags_of(s3, alone, key) == WANTED


async def test_no_tags_where_none_are_wanted(s3: S3Server) -> None:
    """The option is off by itself: it needs a permission of its own."""
    store = s3.store("videos")
    await save(store, 10_000)
    assert tags_of(s3, store, KEY) == {}


async def test_a_store_that_ignores_tags_keeps_the_video(strict_s3: S3Server) -> None:
    """rclone takes the header and keeps nothing of it."""
    store = strict_s3.store("videos", object_tags=True)
    await store.tried()
    await save(store, 10_000)
    assert await store.head(KEY) is not None


async def test_refused_tags_are_told_before_money_is_spent(lossy: tuple[LossyProxy, S3Server]) -> None:
    """The trial that comes before the first create says what to grant, or to switch off; it is asked once."""
    proxy, server = lossy
    plain = server.store("videos")
    assert await plain.conditional_writes()
    store = S3Store(plain.bucket, "videos", **server.settings, object_tags=True)
    proxy.faults.append(Fault("PUT", "/.probe-0-", status=403, body=ACCESS_DENIED))
    with pytest.raises(DestinationError) as refusal:
        await store.conditional_writes()
    assert (refusal.value.reason, refusal.value.status_code) == (TAGS_REFUSED, 403)
    assert "s3:PutObjectTagging" in str(refusal.value)
    assert not refusal.value.retryable
    assert await store.conditional_writes()  # granted meanwhile
    before = len(proxy.seen)
    assert await store.conditional_writes()
    assert len(proxy.seen) == before


@pytest.mark.parametrize("name", ["", "x" * 129, "tab\there", "aws:own", " blank", "a,b", "😀"])
def test_a_tag_that_s3_does_not_take_is_left_out_and_told_once(caplog: pytest.LogCaptureFixture, name: str) -> None:
    """The others are kept."""
    with caplog.at_level(logging.WARNING):
        assert tagging({name: "true", "spring": "true"}) == tagging({name: "true", "spring": "true"}) == "spring=true"
    assert [record.args[0] for record in caplog.records if isinstance(record.args, tuple)] == [name]


def test_a_blank_is_written_as_every_store_reads_it() -> None:
    """Ceph reads a plus sign as a plus sign."""
    assert tagging({"cost center": "a +b"}) == "cost%20center=a%20%2Bb"


def test_the_cost_center_and_the_first_nine_tags_are_kept() -> None:
    """Ten is S3's limit; a value that is too long is no value."""
    tags = Labels(tuple(f"tag {number}" for number in range(40)), "marketing").pairs()
    kept = parse_qs(tagging(tags))
    assert list(kept) == ["cost_center", *(f"tag {number}" for number in range(MOST_TAGS - 1))]
    assert tagging(Labels((), "x" * 257).pairs()) == ""
    assert tagging(Labels(("cost_center",), "a").pairs()) == "cost_center=a"
