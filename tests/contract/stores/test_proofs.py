"""What proves that a store holds the bytes that were sent, and with how few requests."""

from __future__ import annotations

import pytest

from prefect_genvideo.errors import DestinationError
from prefect_genvideo.storage import S3Store
from prefect_genvideo.storage.s3.client import other_body
from prefect_genvideo.storage.s3.settings import PART_SIZE
from tests.contract.stores.conftest import Serve, destination

MIB = 1024 * 1024


def store_of(serve: Serve, name: str) -> S3Store:
    store = destination(serve(name)).get_store()
    assert isinstance(store, S3Store)
    return store


@pytest.mark.parametrize(("name", "signed"), [("aws", True), ("unsigned", False)])
@pytest.mark.parametrize("size", [10, 2 * PART_SIZE])  # two equal parts: a longer body begins the next request
async def test_a_body_that_changes_on_its_way_is_refused(name: str, signed: bool, size: int, serve: Serve) -> None:
    """By the SHA-256 of the signature where the store looks at it, by the MD5 elsewhere; nothing appears.

    A part's MD5 is compared with its ETag, so nobody refuses it, and the upload is dropped.
    """
    store = store_of(serve, name)
    assert (await store.tried()).signed is signed

    async def send() -> None:
        async with store.upload("v.mp4", content_type="video/mp4") as upload:
            other_body.set(b"x" * min(size, PART_SIZE))
            await upload.write(b"y" * size)
            await upload.commit()

    with pytest.raises(DestinationError) as caught:
        await send()
    other_body.set(None)
    unsigned = "BadDigest" if size < PART_SIZE else "other bytes"
    assert caught.value.reason == ("XAmzContentSHA256Mismatch" if signed else unsigned)
    assert caught.value.retryable
    assert await store.head("v.mp4") is None


@pytest.mark.parametrize(
    ("name", "hashes"),
    [
        ("aws", {"SHA-256"}),
        ("unsigned", set[str]()),  # its ETags are compared before anything is visible
        ("unsigned-refused", {"SHA-256"}),  # as before, and not looked at
        ("unsigned-no-etags", {"Content-MD5"}),
        ("unsigned-random-etags", {"Content-MD5"}),
    ],
)
async def test_a_part_is_hashed_no_oftener_than_its_proof_needs(name: str, hashes: set[str], serve: Serve) -> None:
    """Nothing is hashed for a store that does not look, and it need not hash what its ETag proves."""
    server = serve(name)
    store = destination(server).get_store()
    await store.exclusive_uploads()
    data = bytes(range(256)) * ((2 * PART_SIZE + MIB) // 256)
    async with store.upload("v.mp4", content_type="video/mp4") as upload:
        await upload.write(data)
        await upload.commit()
    assert server.objects["clips/v.mp4"].data == data
    assert server.hashes == dict.fromkeys("123", hashes)


@pytest.mark.parametrize(
    ("name", "size", "heads"),
    [
        ("aws", 10, 0),
        ("aws", PART_SIZE + 1, 0),
        ("unsigned", 10, 0),
        ("unsigned", PART_SIZE + 1, 0),
        ("random-etags", 10, 0),
        ("random-etags", PART_SIZE + 1, 1),
        ("no-etags", 10, 1),
        ("no-etags", PART_SIZE + 1, 3),  # the two notes of an upload in parts are looked at as well
    ],
)
async def test_the_store_is_asked_what_it_holds_only_where_its_answer_does_not_say(
    name: str, size: int, heads: int, serve: Serve
) -> None:
    """The ETag of an object of several parts is one of theirs; where it is not, a HEAD has to tell the size."""
    server = serve(name)
    store = destination(server).get_store()
    await store.exclusive_uploads()
    before = server.seen["HEAD", "GetObject"]
    async with store.upload("v.mp4", content_type="video/mp4") as upload:
        await upload.write(b"y" * size)
        info = await upload.commit()
    assert (info.size, server.seen["HEAD", "GetObject"] - before) == (size, heads)
    assert server.objects["clips/v.mp4"].data == b"y" * size
