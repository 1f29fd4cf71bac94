"""What a store was found to keep is noted for the next process, which believes the note only as far as it can see."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from prefect_genvideo.errors import DestinationError
from prefect_genvideo.ledger.listing import every_record
from prefect_genvideo.simulator import Simulator
from prefect_genvideo.storage import S3Store
from prefect_genvideo.storage.s3.trials import NOTES
from tests.contract.stores.conftest import Pipelines, Serve, destination
from tests.contract.stores.personas import BUCKET, KEY_ID, PERSONAS
from tests.contract.stores.server import PersonaServer, Stored
from tests.fixtures import money_child

NUMBERS = count()
FOLDER = f"clips/{NOTES}"
ONE = f"{KEY_ID}-of-one"
"""Credentials with which a store was tried, on another server of the same manners: it costs 25 requests each time."""


def looked_at_anew(server: PersonaServer, **more: Any) -> S3Store:
    """A store of which this process remembers nothing."""
    store = destination(server, **{"region": f"region-{next(NUMBERS)}", **more}).get_store()
    assert isinstance(store, S3Store)
    return store


async def asked(server: PersonaServer, **more: Any) -> int:
    """Requests of a first look at the store."""
    before = server.seen.total()
    assert await looked_at_anew(server, **more).exclusive_creates()
    return server.seen.total() - before


def notes(server: PersonaServer) -> list[str]:
    """Keys of the notes in a store."""
    return sorted(key for key in server.objects if key.startswith(FOLDER))


@pytest.fixture(scope="module")
async def noted() -> str:
    """What the first look at a store leaves for the next process: a note's key."""
    with PersonaServer(PERSONAS["aws"]) as server, pytest.MonkeyPatch.context() as patched:
        patched.setenv("HTTP_PROXY", server.url)
        await asked(server, access_key_id=ONE)
        (key,) = notes(server)
        return key


def with_note(serve: Serve, key: str, name: str = "aws") -> PersonaServer:
    """A store in which something is noted."""
    server = serve(name)
    server.objects[key] = Stored(b"{}", "1", {})
    return server


@pytest.mark.parametrize("name", ["aws", "ks3", "ceph", "oss"])
async def test_the_second_process_asks_two_things(name: str, serve: Serve) -> None:
    """It lists, and sees that the note found there cannot be created again; it believes the same as the first."""
    server = serve(name)
    first = await looked_at_anew(server).tried(note=True)
    assert await asked(server) == 2
    assert await looked_at_anew(server).tried() == first


async def test_a_note_is_believed(noted: str, serve: Serve) -> None:
    """The control of what follows: as it was written, it saves the next process everything but two requests."""
    assert await asked(with_note(serve, noted), access_key_id=ONE) == 2


@pytest.mark.parametrize(
    ("piece", "text"),
    [
        (0, "0" * 16),
        (2, "a week ago"),
        (2, "in an hour"),
        (2, "yesterday"),
        (2, "9" * 400),
        (3, "9q1110.json"),
        (3, "0x1110.json"),
        (3, "0q1190.json"),
        (3, "0q111.json"),
        (3, "0q1110"),
        (3, "0q1110.json/more"),
    ],
)
async def test_a_note_of_something_else_is_not_believed(piece: int, text: str, noted: str, serve: Serve) -> None:
    """Everything is tried again, and noted anew."""
    pieces = noted.removeprefix(FOLDER).split("-")
    times = {"a week ago": -8 * 24 * 3600, "in an hour": 3600}
    text = str(int(time.time()) + times[text]) if text in times else text
    server = with_note(serve, FOLDER + "-".join([*pieces[:piece], text, *pieces[piece + 1 :]]))
    assert await asked(server, access_key_id=ONE) > 20
    assert await asked(server, access_key_id=ONE) == 2


async def test_a_note_that_was_copied_is_not_believed(noted: str, serve: Serve) -> None:
    """Buckets and folders are copied as a whole."""
    copied = noted.replace("clips/", "elsewhere/")
    assert await asked(with_note(serve, copied), access_key_id=ONE, prefix="elsewhere") > 20


async def test_credentials_note_side_by_side(serve: Serve) -> None:
    """Two sets that take turns do not try the store each time; a new note takes the place of one's own old one."""
    server = serve("aws")
    one, another = {"access_key_id": f"{KEY_ID}-1"}, {"access_key_id": f"{KEY_ID}-2"}
    await asked(server, **one)
    (mine,) = notes(server)
    assert await asked(server, **another) == 6  # two as above, three to show what they may do, and the note
    assert (await asked(server, **one), await asked(server, **another)) == (2, 2)
    (other,) = set(notes(server)) - {mine}
    assert other.split("-")[2:] == mine.split("-")[2:]  # it is of the same trial, and as old
    place, owner, _, findings = mine.removeprefix(FOLDER).split("-")
    outdated = f"{FOLDER}{place}-{owner}-1000000000-{findings}"
    server.objects = {outdated: server.objects.pop(mine)}
    await asked(server, **one)
    assert len(notes(server)) == 1
    assert outdated not in notes(server)


async def test_lent_credentials_are_seen_to_be_permitted_and_noted_by_none(serve: Serve) -> None:
    """A role lends every process credentials of its own: none of them tries it all again, or leaves a note."""
    server = serve("aws")
    await asked(server, access_key_id=f"{KEY_ID}-0", session_token="t")
    there = notes(server)
    for process in range(3):
        assert await asked(server, access_key_id=f"{KEY_ID}-of-{process}", session_token="t") == 5
    assert notes(server) == there


async def test_void_notes_go(serve: Serve) -> None:
    """Whoever notes something removes what is too old or of another release, and leaves what others go by."""
    server = serve("aws")
    now = int(time.time())
    young = f"{FOLDER}{'a' * 16}-{'b' * 16}-{now - 1000}-0q1110.json"
    void = (f"{FOLDER}{'a' * 16}-{'b' * 16}-1000000000-0q1110.json", f"{FOLDER}{'a' * 16}-{now}-0q1110.json")
    server.objects |= {key: Stored(b"{}", "1", {}) for key in (young, *void)}
    await asked(server)
    assert set(notes(server)) & {young, *void} == {young}
    assert len(notes(server)) == 2


@pytest.mark.parametrize("conditions", ["ignored", "refused"])
async def test_a_store_that_has_stopped_keeping_promises_is_refused_before_paying(
    conditions: str, serve: Serve, pipelines: Pipelines, sim: Simulator
) -> None:
    """As a bucket of OSS does when it gets versions: the note says yes, the store no longer."""
    server = serve("aws")
    await asked(server)
    server.persona = replace(server.persona, conditions=conditions)
    row = await money_child.run(pipelines(destination(server)), "k")
    assert (row["error"], sim.billed) == ("DestinationError", 0)


@pytest.mark.parametrize(
    ("denied", "permission"),
    [
        ("PutObject", "s3:PutObject"),
        ("GetObject", "s3:GetObject"),
        ("ListBucket", "s3:ListBucket"),
        ("CreateMultipartUpload", "s3:PutObject"),
    ],
)
async def test_permissions_are_those_of_the_process(
    denied: str, permission: str, serve: Serve, pipelines: Pipelines, sim: Simulator
) -> None:
    """Other credentials than those that were tried are tried themselves."""
    server = serve("aws")
    await asked(server, access_key_id="persona-access-of-another")
    server.persona = replace(server.persona, denied=frozenset({denied}))
    row = await money_child.run(pipelines(destination(server)), "k")
    assert permission in row["message"]
    assert sim.billed == 0


@pytest.mark.parametrize("name", ["racy", "cos-racy", "tos", "ignores-conditions"])
async def test_what_refuses_a_destination_is_not_noted(name: str, serve: Serve) -> None:
    """A bucket that was mended is taken at once."""
    server = serve(name)
    assert not await destination(server).get_store().exclusive_creates()
    assert not notes(server)


async def test_where_no_ledger_is_kept_nothing_is_noted(serve: Serve) -> None:
    """Beside videos alone, no folder appears."""
    server = serve("aws")
    assert await looked_at_anew(server).exclusive_uploads()
    assert server.objects == {}


async def test_the_note_is_no_record(serve: Serve) -> None:
    """A ledger that holds nothing else is empty."""
    server = serve("aws")
    await asked(server)
    assert [found async for found in every_record(destination(server).get_ledger())] == []


class WithoutNotes(S3Store):
    """Refuses to write the note."""

    async def send_body(self, operation: str, key: str, body: bytes | bytearray, **params: Any) -> dict[str, Any]:
        if key.startswith(NOTES):
            raise DestinationError("no")
        return await super().send_body(operation, key, body, **params)


async def test_a_note_that_cannot_be_written_fails_nothing(serve: Serve) -> None:
    """The next process tries everything again."""
    server = serve("aws")
    block = destination(server)
    store = WithoutNotes(
        BUCKET,
        "clips",
        region="none",
        endpoint_url=block.endpoint_url,
        access_key_id=f"{KEY_ID}-9",
        secret_access_key="s",
    )
    assert await store.exclusive_creates()
    assert not notes(server)
