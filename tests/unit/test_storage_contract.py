"""What every store promises, asked of a directory, of moto and of rclone alike."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import cast

import anyio
import pytest

from prefect_genvideo.errors import DestinationError, InvalidRequestError
from prefect_genvideo.storage import LocalStore, ObjectStore, PreconditionFailedError, S3Store
from prefect_genvideo.storage.s3.trials import NOTES
from tests.fixtures.s3 import S3Server

MIB = 1024 * 1024


@pytest.fixture(params=["local", "moto", "rclone"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """A fresh store of each kind."""
    if request.param == "local":
        return LocalStore(tmp_path / "videos")
    server = cast(S3Server, request.getfixturevalue("s3" if request.param == "moto" else "strict_s3"))
    return server.store("videos", part_size=5 * MIB)


@pytest.fixture(params=["local", "moto"])
def conditional(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """A fresh store of each kind that knows conditional writes."""
    if request.param == "local":
        return LocalStore(tmp_path / "videos")
    return cast(S3Server, request.getfixturevalue("s3")).store("videos")


async def test_nothing_there_is_none(store: ObjectStore) -> None:
    """A missing object reads as None everywhere, and deleting it is no error."""
    assert await store.get("no/such.json") is None
    assert await store.head("no/such.json") is None
    assert [info async for info in store.list()] == []
    await store.delete("no/such.json")


async def test_what_was_put_is_there(store: ObjectStore) -> None:
    """`put` answers with the ETag that `get` and `head` report too."""
    etag = await store.put("a/b.json", b"{}", content_type="application/json")
    assert await store.get("a/b.json") == (b"{}", etag)
    info = await store.head("a/b.json")
    assert info is not None
    assert (info.key, info.size, info.etag) == ("a/b.json", 2, etag)


async def test_a_put_replaces(store: ObjectStore) -> None:
    """An unconditional put is the last word, also an empty one."""
    first = await store.put("a.json", b"one")
    second = await store.put("a.json", b"")
    assert first != second
    assert await store.get("a.json") == (b"", second)


async def test_reading_a_missing_object_fails(store: ObjectStore) -> None:
    """`read` promises bytes, so a missing object is an error that no retry mends."""
    with pytest.raises(DestinationError) as caught:
        assert [chunk async for chunk in store.read("nothing.mp4")] == []
    assert caught.value.reason in ("NoSuchKey", "ENOENT")
    assert not caught.value.retryable


async def test_listing_is_by_prefix_and_in_byte_order(store: ObjectStore) -> None:
    """A prefix is a text, not a folder; the order is that of the keys' bytes."""
    for key in ("b/2", "b/10", "a", "b-x", "b/é"):
        await store.put(key, b"x")
    assert [info.key async for info in store.list()] == ["a", "b-x", "b/10", "b/2", "b/é"]
    assert [info.key async for info in store.list("b/")] == ["b/10", "b/2", "b/é"]
    assert [info.key async for info in store.list("b/1")] == ["b/10"]
    assert [info.size async for info in store.list("nothing/")] == []


async def test_deleted_is_gone(store: ObjectStore) -> None:
    """Deleting removes the object from every view."""
    await store.put("a/b", b"x")
    await store.delete("a/b")
    assert await store.get("a/b") is None
    assert [info.key async for info in store.list()] == []


@pytest.mark.parametrize("size", [0, 1, 5 * MIB, 12 * MIB + 1])
async def test_a_stream_arrives_whole(store: ObjectStore, size: int) -> None:
    """An upload of any size, in chunks of odd sizes, reads back byte for byte."""
    data = bytes(range(256)) * (size // 256) + b"." * (size % 256)
    async with store.upload("v/x.mp4", content_type="video/mp4") as upload:
        for start in range(0, size, 700_001):
            await upload.write(data[start : start + 700_001])
        assert await store.head("v/x.mp4") is None
        info = await upload.commit()
    assert info.size == size
    digest = hashlib.sha256()
    async for chunk in store.read("v/x.mp4"):
        assert len(chunk) <= MIB
        digest.update(chunk)
    assert digest.hexdigest() == hashlib.sha256(data).hexdigest()
    there = await store.head("v/x.mp4")
    assert there is not None
    assert info.etag in ("", there.etag)  # where a store may tell another one later, none is told


async def test_leaving_without_commit_leaves_nothing(store: ObjectStore) -> None:
    """An error in the middle of a stream leaves neither object nor parts."""

    async def broken() -> None:
        async with store.upload("v/x.mp4", content_type="video/mp4") as upload:
            await upload.write(b"x" * (11 * MIB))
            raise LookupError

    with pytest.raises(LookupError):
        await broken()
    assert await store.head("v/x.mp4") is None
    assert [info.key async for info in store.list()] == []


async def test_a_cancelled_upload_leaves_nothing(store: ObjectStore) -> None:
    """Cancelling in the middle of a stream cleans up before the cancellation goes on."""
    with anyio.CancelScope() as scope:
        async with store.upload("v/x.mp4", content_type="video/mp4") as upload:
            await upload.write(b"x" * (6 * MIB))
            scope.cancel()
            await upload.write(b"x" * (6 * MIB))
    assert scope.cancelled_caught
    assert await store.head("v/x.mp4") is None


@pytest.mark.parametrize("before", [3, 12 * MIB])
async def test_restart_forgets_what_came_before(store: ObjectStore, before: int) -> None:
    """A restarted upload holds only what was written afterwards."""
    async with store.upload("v/x.mp4", content_type="video/mp4") as upload:
        await upload.write(b"x" * before)
        await upload.restart()
        await upload.write(b"good")
        await upload.commit()
    found = await store.get("v/x.mp4")
    assert found is not None
    assert found[0] == b"good"


async def test_many_writers_at_once(store: ObjectStore) -> None:
    """Forty puts side by side all arrive."""
    async with anyio.create_task_group() as group:
        for number in range(40):
            group.start_soon(store.put, f"n/{number:02}", str(number).encode())
    assert len([info async for info in store.list("n/")]) == 40


async def test_if_absent_lets_one_writer_win(conditional: ObjectStore) -> None:
    """Of ten racing claims one gets through, and the object is the winner's."""
    won: list[bytes] = []

    async def claim(name: bytes) -> None:
        try:
            await conditional.put("_ledger/k.json", name, if_absent=True)
        except PreconditionFailedError:
            return
        won.append(name)

    async with anyio.create_task_group() as group:
        for number in range(10):
            group.start_soon(claim, b"writer %d" % number)
    found = await conditional.get("_ledger/k.json")
    assert found is not None
    assert won == [found[0]]


async def test_if_match_writes_only_over_what_was_read(conditional: ObjectStore) -> None:
    """A stale ETag is refused, and so is one of an object that has gone."""
    etag = await conditional.put("k.json", b"1", if_absent=True)
    newer = await conditional.put("k.json", b"2", if_match=etag)
    with pytest.raises(PreconditionFailedError) as caught:
        await conditional.put("k.json", b"3", if_match=etag)
    assert not caught.value.retryable
    assert await conditional.get("k.json") == (b"2", newer)
    await conditional.delete("k.json")
    with pytest.raises(PreconditionFailedError):
        await conditional.put("k.json", b"3", if_match=newer)


async def test_if_match_lets_one_of_many_win(conditional: ObjectStore) -> None:
    """Ten racing updates of one version: one gets through."""
    etag = await conditional.put("k.json", b"0")
    refused: list[int] = []

    async def update(number: int) -> None:
        try:
            await conditional.put("k.json", b"writer %d" % number, if_match=etag)
        except PreconditionFailedError:
            refused.append(number)

    async with anyio.create_task_group() as group:
        for number in range(10):
            group.start_soon(update, number)
    assert len(refused) == 9


@pytest.mark.parametrize("size", [3, 11 * MIB])
async def test_an_exclusive_upload_does_not_replace(conditional: ObjectStore, size: int) -> None:
    """With `if_absent` the commit fails when somebody was faster, and the other object stays."""

    async def late() -> None:
        async with conditional.upload("v.mp4", content_type="video/mp4", if_absent=True) as upload:
            await upload.write(b"x" * size)
            await conditional.put("v.mp4", b"theirs")
            await upload.commit()

    with pytest.raises(PreconditionFailedError):
        await late()
    found = await conditional.get("v.mp4")
    assert found is not None
    assert found[0] == b"theirs"


async def test_an_exclusive_upload_goes_where_nothing_is(conditional: ObjectStore) -> None:
    """With `if_absent` and a free key the commit is an ordinary one; the metadata comes along."""
    async with conditional.upload(
        "v.mp4", content_type="video/mp4", metadata={"task-id": "t1"}, if_absent=True
    ) as upload:
        await upload.write(b"x" * (11 * MIB))
        await upload.commit()
    info = await conditional.head("v.mp4")
    assert info is not None
    assert info.metadata["task-id"] == "t1"


@pytest.mark.parametrize(("kind", "known"), [("local", True), ("s3", True), ("strict_s3", False)])
async def test_the_probe_tells_the_truth_and_cleans_up(
    kind: str, known: bool, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Only stores that honour both conditions are said to; nothing of the probe stays but a note of what was found."""
    store = LocalStore(tmp_path) if kind == "local" else cast(S3Server, request.getfixturevalue(kind)).store("p")
    assert await store.conditional_writes() is known
    assert await store.conditional_writes() is known
    left = [info.key async for info in store.list()]
    assert len(left) == (kind == "s3")
    assert all(key.startswith(NOTES) for key in left)


@pytest.mark.parametrize(
    "key", ["", "/a", "a/", "a//b", "../a", "a/../b", "./a", "a\\b", "a\nb", "a\x00b", "é" * 600, "\udcff"]
)
@pytest.mark.parametrize("store", [LocalStore("never-made"), S3Store("never-asked", "videos")], ids=["local", "s3"])
async def test_no_key_leaves_the_prefix(store: ObjectStore, key: str) -> None:
    """A key that is not plainly relative is refused before anything is sent, with the rule."""
    with pytest.raises(InvalidRequestError) as caught:
        await store.put(key, b"x")
    assert caught.value.problems[0].field == "key"
    with pytest.raises(InvalidRequestError):
        await store.head(key)
