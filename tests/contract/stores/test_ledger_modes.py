"""Ledgers on stores that can only refuse to overwrite, and ledgers apart from the videos."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from prefect_genvideo import LocalDestination, S3Destination
from prefect_genvideo.errors import DestinationError
from prefect_genvideo.ledger.listing import every_record
from prefect_genvideo.ledger.store import Entry
from prefect_genvideo.simulator import Simulator
from prefect_genvideo.storage import CreateOnlyStore, ObjectStore, PreconditionFailedError
from tests.contract.stores.conftest import Pipelines, Serve, destination
from tests.fixtures import money_child
from tests.fixtures.expected import failing
from tests.fixtures.money import MemoryStore

CREATE_ONLY = ("cos", "oss", "oss-cname", "aws")


# The manners of a store do not depend on how many come: a crowd of twenty is in `test_processes`.
@pytest.mark.parametrize(("name", "runs"), list(zip(CREATE_ONLY, (8, 4, 4, 4), strict=True)))
async def test_create_only_bills_and_saves_once(
    name: str, runs: int, serve: Serve, pipelines: Pipelines, sim: Simulator
) -> None:
    """Runs of one key at the same time: one bill, a result each, and every move of the record is an object."""
    server = serve(name)
    sim.configure(polls_to_finish=2)
    place = destination(server, ledger_mode="create-only")
    rows = await asyncio.gather(*(money_child.run(pipelines(place), "k") for _ in range(runs)))
    assert [row for row in rows if "error" in row] == []
    assert len({row["sha256"] for row in rows}) == 1
    assert sim.billed == 1
    versions = [key for key in server.objects if key.startswith("clips/_ledger/k.json/")]
    assert versions == [f"clips/_ledger/k.json/{number:04}" for number in range(1, len(versions) + 1)]
    found = [entry async for entry in every_record(place.get_ledger())]
    assert [entry.record.state for entry in found if isinstance(entry, Entry)] == ["saved"]


@pytest.mark.parametrize("name", ["cos-racy", "oss-versioned", "tos", "ignores-conditions"])
async def test_create_only_is_refused_where_it_does_not_hold(
    name: str, serve: Serve, pipelines: Pipelines, sim: Simulator
) -> None:
    """A header that is ignored, or that lets two writers through, is no ground to pay on."""
    row = await money_child.run(pipelines(destination(serve(name), ledger_mode="create-only")), "k")
    assert row["error"] == "DestinationError"
    assert sim.billed == 0


@pytest.mark.parametrize(("name", "mode"), [("oss", "create-only"), ("ceph", "strict")])
async def test_a_process_that_did_not_pay_knows_the_store_too(
    name: str, mode: str, serve: Serve, pipelines: Pipelines, sim: Simulator
) -> None:
    """Who takes up what another has paid for moves the record with the condition that the store understands."""
    server = serve(name)
    first = pipelines(destination(server, ledger_mode=mode))
    await first.create(money_child.REQUEST, first.draft("k", money_child.REQUEST, {}))
    # Settings of its own: this is the first that a process sees of the store.
    other = pipelines(destination(server, ledger_mode=mode, region="eu-west-1"))
    held = await other.ledger.read("k")
    assert held is not None
    moved = await other.ledger.move(held, "succeeded", link="https://files.example.com/v.mp4")
    assert (moved.record.state, sim.billed) == ("succeeded", 1)


async def test_another_mode_does_not_overlook_what_create_only_paid(
    serve: Serve, pipelines: Pipelines, sim: Simulator
) -> None:
    """A ledger that is kept in versions is not taken for an empty one."""
    server = serve("aws")
    assert "error" not in await money_child.run(pipelines(destination(server, ledger_mode="create-only")), "k")
    for mode in ("strict", "weak"):
        # Settings of their own: nothing that was seen is remembered.
        other = destination(server, ledger_mode=mode, region="eu-west-1")
        row = await money_child.run(pipelines(other), "k2")
        assert row["reason"] == "create-only ledger"
    assert sim.billed == 1


async def test_create_only_finds_what_the_strict_mode_paid(serve: Serve, pipelines: Pipelines, sim: Simulator) -> None:
    """A record without versions is the first one."""
    server = serve("aws")
    first = await money_child.run(pipelines(destination(server)), "k")
    again = await money_child.run(pipelines(destination(server, ledger_mode="create-only")), "k")
    assert (again["task_id"], again["reused"]) == (first["task_id"], True)
    assert sim.billed == 1


@pytest.mark.parametrize("name", ["tos", "cos-racy", "refuses-with-403"])
@pytest.mark.parametrize("kind", ["folder", "bucket", "block"])
async def test_a_ledger_apart_from_the_videos(
    name: str, kind: str, serve: Serve, pipelines: Pipelines, sim: Simulator, tmp_path: Path, s3: Any
) -> None:
    """Videos go to a store that keeps no promises, the ledger to one that does: strict all the same."""
    server = serve(name)
    bucket = s3.new_bucket()
    ledgers: dict[str, Any] = {
        "folder": {"path": str(tmp_path)},
        "bucket": {"bucket": bucket, "prefix": "money", **s3.settings},
        "block": LocalDestination(path=str(tmp_path)),
    }
    for reused in (False, True):
        row = await money_child.run(pipelines(destination(server, ledger=ledgers[kind])), "k")
        assert row.get("reused") is reused, row
    assert sim.billed == 1
    assert len([key for key in server.objects if key.endswith(".mp4")]) == 1
    assert not [key for key in server.objects if "_ledger/k" in key]
    if kind == "bucket":
        assert await s3.store("money", bucket=bucket).get("_ledger/k.json")
    else:
        assert (tmp_path / "_ledger" / "k.json").is_file()


@pytest.mark.usefixtures("prefect_server")
async def test_a_saved_destination_keeps_its_ledger_and_hides_its_secrets() -> None:
    """The ledger's keys are secrets of the block document."""
    ledger = S3Destination.model_validate(
        {"bucket": "money", "access_key_id": "a", "secret_access_key": "sk-very-secret-ledger"}
    )
    place = S3Destination(bucket="my-videos", ledger=ledger)  # pyright: ignore[reportArgumentType] - turned into a place
    await place.asave("apart", overwrite=True)
    loaded = await S3Destination.aload("apart")
    assert loaded.ledger == place.ledger
    assert "sk-very-secret-ledger" not in str(loaded) + repr(place)
    assert "ledger.secret_access_key" in str(S3Destination.model_json_schema()["secret_fields"])


@pytest.fixture
def versioned() -> ObjectStore:
    """A store that keeps its promises, used as one that can only create."""
    return CreateOnlyStore(MemoryStore())


async def test_a_record_changes_by_its_next_version(versioned: ObjectStore) -> None:
    """Only one of two moves from one version is made, and what is removed is gone."""
    key = "_ledger/k.json"
    assert await versioned.get(key) is None
    first = await versioned.put(key, b"1", if_absent=True)
    with pytest.raises(PreconditionFailedError):
        await versioned.put(key, b"other", if_absent=True)
    second = await versioned.put(key, b"2", if_match=first)
    with pytest.raises(PreconditionFailedError):
        await versioned.put(key, b"other", if_match=first)
    assert await versioned.get(key) == (b"2", second)
    assert [info.key async for info in versioned.list("_ledger/")] == [key]
    await versioned.delete(key)
    assert [info.key async for info in versioned.list("_ledger/")] == []


async def test_a_record_has_an_end(versioned: ObjectStore) -> None:
    """Nothing counts for ever."""
    with failing(DestinationError, "too many versions"):
        await versioned.put("_ledger/k.json", b"x", if_match="9999")
