"""Answers that S3 does not give and some stores do: each has a bound, and costs no video."""

from __future__ import annotations

from dataclasses import replace

import pytest

from prefect_genvideo.errors import DestinationError
from prefect_genvideo.pipeline.reconcile import reconcile
from prefect_genvideo.simulator import Simulator
from prefect_genvideo.storage import PreconditionFailedError
from tests.contract.stores.conftest import Pipelines, Serve, destination
from tests.contract.stores.personas import BUCKET, KEY_ID
from tests.fixtures import money_child

MIB = 1024 * 1024


@pytest.mark.parametrize("name", ["aws", "no-token", "token-ignored"])
async def test_a_listing_of_several_pages_is_whole(name: str, serve: Serve) -> None:
    """Also where the store gives no token, or does not look at it."""
    store = destination(serve(name)).get_store()
    for number in range(8):
        await store.put(f"n/{number}", b"x")
    assert [info.key async for info in store.list("n/")] == [f"n/{number}" for number in range(8)]


async def test_an_endless_listing_ends_in_a_word(serve: Serve) -> None:
    """A store that gives the first page again and again is told from one with many pages."""
    server = serve("endless")
    store = destination(server).get_store()
    for number in range(8):
        await store.put(f"n/{number}", b"x")
    with pytest.raises(DestinationError) as caught:
        assert [info.key async for info in store.list("n/")]
    assert caught.value.reason == "EndlessListing"
    assert server.seen["GET", "ListBucket"] < 8


@pytest.mark.parametrize("name", ["no-etags", "random-etags", "unsigned-no-etags", "unsigned-random-etags"])
async def test_an_upload_in_parts_needs_no_etags(name: str, serve: Serve) -> None:
    """Signature or Content-MD5 have proved the bytes; an ETag that is no MD5, or none, proves nothing against them."""
    server = serve(name)
    store = destination(server).get_store()
    data = bytes(range(256)) * (11 * MIB // 256)
    async with store.upload("v.mp4", content_type="video/mp4") as upload:
        await upload.write(data)
        info = await upload.commit()
    assert info.size == len(data)
    assert server.objects["clips/v.mp4"].data == data


async def test_a_dropped_upload_is_begun_again(serve: Serve, pipelines: Pipelines, sim: Simulator) -> None:
    """409 at the end of an upload in parts: S3 wants a new upload, so the bytes are fetched and sent once more."""
    server = serve("complete-409")
    pipeline = pipelines(destination(server))
    sim.configure(clip_bytes=9 * MIB)
    row = await money_child.run(pipeline, "k")
    assert "error" not in row, row
    assert sim.billed == 1
    assert server.uploads == {}


async def test_where_the_end_of_an_upload_is_unguarded_names_cannot_collide(
    serve: Serve, pipelines: Pipelines, sim: Simulator
) -> None:
    """On Ceph, a video of several parts would replace somebody else's object: it gets its task's id into its name."""
    server = serve("ceph")
    pipeline = replace(pipelines(destination(server)), key_template="cat.mp4")
    sim.configure(clip_bytes=9 * MIB)
    row = await money_child.run(pipeline, "k")
    assert "error" not in row, row
    (name,) = [key for key in server.objects if key.endswith(".mp4")]
    assert name == f"clips/cat.{row['task_id']}.mp4"


async def test_an_unguarded_upload_looks_before_it_ends(serve: Serve) -> None:
    """Another's object that is there at the end of an upload in parts stays."""
    server = serve("ceph")
    store = destination(server).get_store()
    assert await store.conditional_writes()
    assert not await store.exclusive_uploads()

    async def late() -> None:
        async with store.upload("v.mp4", content_type="video/mp4", if_absent=True) as upload:
            await upload.write(b"x" * (11 * MIB))
            await store.put("v.mp4", b"theirs")
            await upload.commit()

    with pytest.raises(PreconditionFailedError):
        await late()
    assert server.objects["clips/v.mp4"].data == b"theirs"
    assert server.uploads == {}


async def test_what_a_killed_process_left_is_swept(serve: Serve) -> None:
    """Old probes and uploads of ours go; young ones, and those of others, stay."""
    server = serve("aws")
    store = destination(server).get_store()
    target = f"{server.persona.endpoint_url}/{BUCKET}/clips/theirs.mp4?uploads"
    assert server.answer("POST", target, {"authorization": KEY_ID}, b"").status == 200
    theirs = dict(server.uploads)
    async with store.upload("v.mp4", content_type="video/mp4") as upload:
        await upload.write(b"x" * (9 * MIB))
        await store.put("_ledger/.probe-1700000000-0", b"1")
        kept = dict(server.uploads)
        assert await store.sweep() == 1
        assert server.uploads == kept
        assert await store.sweep(older_than=-1) == 1
        assert server.uploads == theirs
    assert [info.key async for info in store.list()] == []


async def test_reconcile_sweeps(serve: Serve, pipelines: Pipelines) -> None:
    """Also where nothing is unfinished; a store that forbids it fails nothing."""
    server = serve("aws")
    pipeline = pipelines(destination(server))
    await pipeline.ledger.store.put("_ledger/.probe-1700000000-0", b"1")
    assert (await reconcile(pipeline)).rows == []
    assert server.objects == {}
    denied = pipelines(destination(serve("no-delete")))
    await denied.ledger.store.put("_ledger/.probe-1700000000-0", b"1")
    assert (await reconcile(denied)).rows == []
