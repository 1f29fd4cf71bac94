"""Small writes past boto3's connections: the same objects, and boto3's own judgement of whatever goes wrong."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from botocore.credentials import RefreshableCredentials

from prefect_genvideo.errors import DestinationError
from prefect_genvideo.providers.signed import SignedRequests
from prefect_genvideo.storage import PreconditionFailedError, S3Store, direct_writes
from prefect_genvideo.storage.s3.client import connect
from prefect_genvideo.storage.s3.direct import LARGEST, find_way
from tests.fixtures.lossy_proxy import Fault, LossyProxy
from tests.fixtures.s3 import S3Server

Lossy = tuple[LossyProxy, S3Server]


@asynccontextmanager
async def direct() -> AsyncGenerator[list[int]]:
    """Let small writes go directly; yields the statuses of their answers, 0 where none came."""
    requests, seen = SignedRequests(), list[int]()

    async def send(method: str, url: str, headers: Mapping[str, str], body: bytes) -> tuple[int, Mapping[str, str]]:
        seen.append(0)
        seen[-1], told = await requests.send(method, url, headers, body)
        return seen[-1], told

    with direct_writes(send):
        yield seen
    await requests.aclose()


@pytest.mark.parametrize("name", ["k.json", "a b/é+(1)~&=.json"])
@pytest.mark.parametrize("server", ["s3", "strict_s3"])
async def test_what_is_written_directly_is_there(server: str, name: str, request: pytest.FixtureRequest) -> None:
    """Also where signatures are checked, and with names that a URL has to spell."""
    store = request.getfixturevalue(server).store("videos")
    async with direct() as seen:
        await store.tried()
        etag = await store.put(name, b"mine", content_type="application/json")
        assert seen == [200]
        assert await store.get(name) == (b"mine", etag)


async def test_the_object_is_the_one_that_boto3_writes(s3: S3Server) -> None:
    """Type, metadata, encryption, class and tags."""
    options: dict[str, Any] = {"sse": "AES256", "storage_class": "STANDARD_IA", "object_tags": True}
    store = s3.store(**options).tagged({"team": "a b", "cost": "1+1"})
    heads = list[dict[str, Any]]()
    await store.tried()
    await store.put("plain.mp4", b"x", content_type="video/mp4", if_absent=True)
    async with direct() as seen:
        await store.put("direct.mp4", b"x", content_type="video/mp4", if_absent=True)
        assert seen == [200]
    for name in ("plain.mp4", "direct.mp4"):
        head = s3.client.head_object(Bucket=store.bucket, Key=name)
        tags = s3.client.get_object_tagging(Bucket=store.bucket, Key=name)["TagSet"]
        facts = {key: head.get(key) for key in ("ContentType", "ServerSideEncryption", "StorageClass", "ETag")}
        heads.append({**facts, "tags": tags, "metadata": sorted(head["Metadata"])})
    assert heads[0] == heads[1]


async def test_conditions_hold(s3: S3Server) -> None:
    """boto3 tells of a refusal, which is no reason to leave the direct way."""
    store = s3.store()
    async with direct() as seen:
        await store.tried()
        etag = await store.put("k.json", b"1", if_absent=True)
        with pytest.raises(PreconditionFailedError):
            await store.put("k.json", b"2", if_absent=True)
        await store.put("k.json", b"3", if_match=etag)
        assert seen == [200, 412, 200]


async def test_a_lost_answer_is_found_by_boto3(lossy: Lossy) -> None:
    """The write was done: the repetition meets our own object."""
    proxy, server = lossy
    store = server.store()
    async with direct() as seen:
        await store.tried()
        proxy.faults.append(Fault("PUT", "/k.json"))
        etag = await store.put("k.json", b"mine", if_absent=True)
        assert seen == [0]
        assert await store.get("k.json") == (b"mine", etag)


@pytest.mark.parametrize(("status", "again"), [(503, [503, 200]), (403, [403]), (301, [301])])
async def test_what_only_boto3_can_deal_with_ends_the_direct_way(lossy: Lossy, status: int, again: list[int]) -> None:
    """A store that is busy does not."""
    proxy, server = lossy
    store = server.store()
    async with direct() as seen:
        await store.tried()
        proxy.faults.append(Fault("PUT", "/k.json", status=status))
        await store.put("k.json", b"1")
        await store.put("k.json", b"2")
        assert await store.get("k.json") is not None
        assert seen == again


async def test_an_error_is_the_one_of_boto3(lossy: Lossy) -> None:
    """With its reason, after its own tries."""
    proxy, server = lossy
    store = server.store()
    async with direct() as seen:
        await store.tried()
        proxy.faults.append(
            Fault("PUT", "/k.json", times=9, status=403, body=b"<Error><Code>AccessDenied</Code></Error>")
        )
        with pytest.raises(DestinationError) as refusal:
            await store.put("k.json", b"1")
        assert (refusal.value.reason, seen) == ("AccessDenied", [403])


async def test_a_store_that_confirms_other_bytes_is_not_believed(s3: S3Server) -> None:
    """Where no signature proves the bytes, the ETag has to be their MD5."""
    store = s3.store()
    await store.tried()
    assert not store.promises.signed

    async def lying(method: str, url: str, headers: Mapping[str, str], body: bytes) -> tuple[int, Mapping[str, str]]:
        assert (method, headers["Content-MD5"], len(body), store.bucket in url) == (
            "PUT",
            "xMpCOKC5I4INzFCab3WEmw==",
            1,
            True,
        )
        return 200, {"etag": f'"{"0" * 32}"'}

    with direct_writes(lying), pytest.raises(DestinationError) as refusal:
        await store.put("k.json", b"1")
    assert (refusal.value.reason, refusal.value.retryable) == ("other bytes", True)


async def test_what_does_not_fit_goes_by_boto3(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large bodies, clients of one's own, a store that has not been tried, and what runs outside."""
    store = s3.store()
    own = S3Store.from_client(s3.client, store.bucket)
    async with direct() as seen:
        await store.put("untried.json", b"1")
        await store.tried()
        await store.put("large.bin", b"x" * (LARGEST + 1))
        await own.tried()
        await own.put("own.json", b"1")
        assert seen == []
    await store.put("outside.json", b"1")
    assert seen == []
    settings = store._settings  # pyright: ignore[reportPrivateUsage]
    connection = connect(settings, store.bucket)
    assert find_way(settings, store.bucket, connection).works
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    assert not find_way(settings, store.bucket, connection).works
    assert not find_way(settings, f"{store.bucket}--x-s3", connection).works


async def test_credentials_that_have_to_be_renewed_are_boto3_s(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Renewing them asks a server, which would hold up the event loop."""
    store = s3.store()
    soon = datetime.now(timezone.utc) + timedelta(minutes=1)
    ageing = RefreshableCredentials("a", "b", "c", soon, lambda: {}, "test")
    async with direct() as seen:
        await store.tried()
        connection = connect(store._settings, store.bucket)  # pyright: ignore[reportPrivateUsage]
        monkeypatch.setattr(connection.session, "get_credentials", lambda: ageing)
        await store.put("k.json", b"1")
        assert seen == []
