"""Keys and signatures are found nowhere but in the blocks: not in the database, results, logs, ledger or artifacts."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import pickle
import re
import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from prefect import flow, task
from prefect.settings import get_current_settings
from pydantic import ValidationError

from benchmarks.leaks import leaks, opened
from prefect_genvideo.blocks import SudashuiCredentials
from prefect_genvideo.errors import AuthenticationError, GenVideoError
from prefect_genvideo.ready import content_calendar
from prefect_genvideo.simulator import Fault
from tests.fixtures.prefect import PrefectServer
from tests.fixtures.runs import deliver
from tests.flows.conftest import Place

SECRET = "SECRETxyz0123456789"


@dataclass
class Database:
    """What a test has written into the server's database: other tests' rows are theirs to search, and are many.

    Attributes:
        file: The database.
        began: UTC as the server writes it; rows that were there already and are updated later count as well.
        last: Number of each table's last row at the beginning.
    """

    file: Path
    began: str = ""
    last: dict[str, int] = field(default_factory=dict[str, int])

    def __post_init__(self) -> None:
        self.began = f"{datetime.now(timezone.utc):%F %T.%f}"
        with self.opened() as server:
            names = [name for (name,) in server.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            self.last = {name: server.execute(f'SELECT max(rowid) FROM "{name}"').fetchone()[0] or 0 for name in names}

    def opened(self) -> closing[sqlite3.Connection]:
        """A connection that only reads."""
        return closing(sqlite3.connect(f"file:{self.file}?mode=ro", uri=True))

    def written(self) -> dict[str, str]:
        """Everything as text, by table."""
        with self.opened() as server:
            found = dict[str, str]()
            for name, last in self.last.items():
                columns = [column for _, column, *_ in server.execute(f'PRAGMA table_info("{name}")')]
                since = f"OR updated >= '{self.began}'" if "updated" in columns else ""
                rows = server.execute(f'SELECT * FROM "{name}" WHERE rowid > ? {since}', (last,)).fetchall()
                found[name] = str(rows)
            return found


@pytest.fixture
def database(prefect_server: PrefectServer) -> Database:
    """The server's database, from here on."""
    return Database(prefect_server.home / "prefect.db")


def around(tables: dict[str, str], text: str) -> list[str]:
    """Where a text stands in the database, with what is around it."""
    found = {name: content.find(text) for name, content in tables.items()}
    return [f"{name}: {tables[name][max(0, at - 300) : at + 100]}" for name, at in found.items() if at >= 0]


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def secret_place(place: Place) -> Place:
    """A place whose keys can be looked for."""
    place.sudashui = place.account(SECRET)
    place.senseaudio, place.ark = place.sense_account(SECRET), place.ark_account(SECRET)
    place.destination = place.bucket(access_key_id="AKIDACCESS", secret_access_key=f"s3-{SECRET}")
    return place


async def test_no_secret_is_left_behind(
    secret_place: Place,
    prefect_server: PrefectServer,
    database: Database,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """Videos that work and that fail in many ways; then everything that was written anywhere is searched."""
    place = secret_place
    from PIL import Image

    picture = tmp_path / "cat.png"
    Image.effect_noise((400, 400), 50).save(picture)
    await place.saved()
    await place.make(images=[str(picture)], prompt="@image1 runs")
    await place.make(**place.sense_request)
    await place.make(**place.ark_request | {"images": [str(picture)]})
    told = {"status": 401, "body": {"error": {"message": f"bad key {place.sudashui.api_key.get_secret_value()}"}}}
    for fault in (
        Fault("502_html", "create", times=1),
        Fault("lost_after", "create", times=1),
        Fault("answer", "create", times=1, params=told),
        Fault("moderation", "create", times=1),
    ):
        place.sim.faults.add(fault)
        with pytest.raises(GenVideoError) as caught:
            await place.make(prompt=fault.kind)
        assert SECRET not in str(caught.value)
    place.sim.faults.add(
        Fault("answer", "status", times=1, params=told), Fault("answer", "upload", times=1, params=told)
    )
    await place.make(prompt="the key comes back while it waits")
    with pytest.raises(GenVideoError):
        await place.make(images=[str(picture)], prompt="@image1 walks", credentials=place.account(f"{SECRET}2"))
    await deliver()

    tables = database.written()
    assert around(tables, SECRET) == [], "blocks are encrypted, and nothing else knows the key"
    assert around(tables, "?expires=") == []
    assert around(tables, place.sudashui.account), "the account's fingerprint is what events show instead"

    results = get_current_settings().home / "storage"
    assert any(str(path) for path in results.iterdir()), "uploads are cached there"
    everything = files(results) | place.objects()
    everything["output"] = "".join(capfd.readouterr()).encode()
    everything["server"] = prefect_server.log.encode()
    everything = {name: opened(data) for name, data in everything.items()}
    assert [name for name, data in everything.items() if SECRET.encode() in data] == []
    # A cached upload is its link; whoever reads the result storage could fetch the reference file while it lives.
    signed = [name for name, data in everything.items() if b"?expires=" in data]
    assert [name for name in signed if not name.startswith(str(results))] == []


CHATTY = (
    "prefect", "prefect_genvideo", "httpx", "httpcore", "botocore", "boto3", "s3transfer", "urllib3", "asyncio", "anyio"
)  # fmt: skip

# In the same process here; what a provider's server logs is its own matter.
SERVERS = ("uvicorn", "werkzeug", "moto")


@contextmanager
def everything_logged() -> Generator[io.StringIO]:
    """What every logger of this process says at DEBUG, those that were silenced or set apart included."""
    told, loop = io.StringIO(), asyncio.get_running_loop()
    loggers = [logging.getLogger(), *map(logging.getLogger, CHATTY)]
    known = [one for one in logging.root.manager.loggerDict.values() if isinstance(one, logging.Logger)]
    loggers += [one for one in known if one.name.partition(".")[0] not in SERVERS]
    handler, levels = logging.StreamHandler(told), {one: one.level for one in loggers}
    handler.setFormatter(logging.Formatter("%(name)s %(message)s"))
    loop.set_debug(True)
    for one in loggers:
        one.setLevel(logging.DEBUG)
        if one.parent is None or not one.propagate:
            one.addHandler(handler)
    try:
        yield told
    finally:
        loop.set_debug(False)
        for one, level in levels.items():
            one.setLevel(level)
            one.removeHandler(handler)


async def test_a_run_at_debug_tells_no_secret_in_any_form(
    place: Place,
    prefect_server: PrefectServer,
    database: Database,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """With keys that JSON, links and base64 write in other ways, a video in parts, an upload, a signed reference."""
    from PIL import Image

    hidden = {"api": "DEBUG/a+b=0123456789", "s3": "s3/DEBUG+c=0123456789", "token": "token/DEBUG+d=0123456789"}
    place.sudashui, place.senseaudio = place.account(hidden["api"]), place.sense_account(hidden["api"])
    place.destination = place.bucket(
        access_key_id="AKIDACCESS", secret_access_key=hidden["s3"], session_token=hidden["token"]
    )
    place.sim.configure(clip_bytes=9 * 1024 * 1024)
    picture = tmp_path / "cat.png"
    Image.effect_noise((400, 400), 50).save(picture)
    place.s3.client.upload_file(str(picture), place.destination.bucket, "cat.png")
    told = {"status": 401, "body": {"error": {"message": f"bad key {place.sudashui.api_key.get_secret_value()}"}}}
    with everything_logged() as log:
        await place.saved()
        await place.make(images=[str(picture)], prompt="@image1 runs")
        place.sim.configure(clip_bytes=50_000)
        await place.make(**place.sense_request | {"images": [f"s3://{place.destination.bucket}/cat.png"]})
        faults = Fault("expired_link", "download", times=1), Fault("answer", "status", times=1, params=told)
        place.sim.faults.add(*faults)
        await place.make(prompt="the key comes back, and a link that is dead")
        assert [place.sim.faults.hits[fault.kind] for fault in faults] == [1, 1]
        place.sim.faults.add(Fault("answer", "create", times=1, params=told))
        with pytest.raises(AuthenticationError):
            await place.make(prompt="refused")
        await deliver()
    logged = log.getvalue() + "".join(capfd.readouterr())
    for name in ("prefect.flow_runs", "asyncio", "httpx"):
        assert name in logged, "it was at DEBUG"

    kept = get_current_settings().home / "storage"
    # Other tests of this server leave links in artifacts that they signed with their own key.
    others = re.compile(rf"X-Amz-Algorithm=[^'\"\s)]*{place.s3.access_key_id}[^'\"\s)]*")
    tables = database.written()
    assert around(tables, "the key comes back"), "what the test has written is searched"
    written = {name: others.sub("", data).encode() for name, data in tables.items()}
    written |= {"log": logged.encode(), "server": prefect_server.log.encode(), **place.objects()}
    assert leaks(written, hidden.values()) == []
    results = {name: data for name, data in files(kept).items() if b"?expires=" not in opened(data)}
    assert leaks(results, hidden.values()) == []


async def test_the_users_own_boto3_log_stays(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    """Only our requests are silenced, in whichever thread they are made."""
    await place.destination.get_store().put("a", b"1")
    with caplog.at_level(logging.DEBUG, "botocore"):
        place.s3.client.head_object(Bucket=place.destination.bucket, Key="a")
        told = len(caplog.records)
        await place.destination.get_store().head("a")
    assert (told > 5, len(caplog.records)) == (True, told)


async def test_signed_links_of_a_calendar_are_no_parameters_of_a_run(
    place: Place, database: Database, capfd: pytest.CaptureFixture[str]
) -> None:
    """Prefect's server keeps parameters in the clear, and shows them to everybody who sees the run."""
    signature = "X-Amz-Signature=SIGNEDxyz0123456789"
    image = f"{place.sim.sudashui_files_url}/cat.jpg?X-Amz-Expires=600&{signature}"
    row = {
        "model": "sd-2-fast-720p",
        "prompt": "@image1 runs",
        "images": [image],
        "due": f"{datetime.now(timezone.utc):%F}",
    }
    place.s3.client.put_object(Bucket=place.destination.bucket, Key="calendar.json", Body=json.dumps([row]).encode())
    names = await place.saved()
    run: Any = content_calendar
    calendar = f"s3://{place.destination.bucket}/calendar.json"
    report = await run(calendar, names["credentials"], names["destination"])
    assert [(made.state, made.reason) for made in report.rows] == [("saved", "")]
    assert place.sim.tasks[0].wanted.images == (image,)
    await deliver()
    tables = database.written()
    assert around(tables, place.name), "what the test has written is searched"
    assert around(tables, signature) == []
    written = place.objects() | {"output": "".join(capfd.readouterr()).encode()}
    assert [name for name, data in written.items() if signature.encode() in data] == ["calendar.json"]


async def test_a_pickled_error_holds_no_key(secret_place: Place) -> None:
    """Prefect pickles what a task raised into the result storage; our errors carry no request and no headers."""
    import cloudpickle  # pyright: ignore[reportMissingTypeStubs]  # what Prefect pickles with

    wrong = {"api_key": f"sk-wrong-{SECRET}", "base_url": secret_place.sim.sudashui_url}
    refused = SudashuiCredentials.model_validate(wrong)
    with pytest.raises(AuthenticationError) as caught:
        await secret_place.make(credentials=refused)
    pickled = io.BytesIO()
    cloudpickle.dump(caught.value, pickled)  # pyright: ignore[reportUnknownMemberType]  # untyped
    assert SECRET.encode() not in pickled.getvalue()
    assert caught.value.__cause__ is None


@task(persist_result=True)
async def hand_over(text: str) -> str:
    """A result that Prefect keeps."""
    return text


async def test_what_is_searched_shows_what_prefect_pickled(place: Place) -> None:
    """Else the search above could not fail."""
    mark = "PICKLEDxyz0123456789"

    @flow
    async def keeping() -> None:
        await hand_over(mark)

    await keeping()
    kept = files(get_current_settings().home / "storage")
    assert [name for name, data in kept.items() if mark.encode() in data] == []
    assert len([name for name, data in kept.items() if mark.encode() in opened(data)]) == 1


WRONG: dict[str, dict[str, Any]] = {
    "a blank in the key": {"api_key": f"Bearer sk-{SECRET} x"},
    "a letter that no header carries": {"api_key": f"sk-é{SECRET}"},
    "a password in an address": {"api_key": "sk-1", "base_url": f"https://user:{SECRET}@api.example.com"},
    "a password in no address": {"api_key": "sk-1", "base_url": f"ftp://user:{SECRET}@["},
    "nothing but a key": {"key": SECRET},
}


@pytest.mark.parametrize("values", WRONG.values(), ids=WRONG)
def test_a_refused_block_does_not_repeat_its_values(values: dict[str, Any]) -> None:
    """Neither in its text nor in what a result storage would keep of it."""
    with pytest.raises(ValidationError) as caught:
        SudashuiCredentials.model_validate(values)
    shown = [str(caught.value), repr(caught.value), str(caught.value.errors()), caught.value.json()]
    assert [text for text in shown if SECRET in text] == []
    assert SECRET.encode() not in pickle.dumps(caught.value)


async def test_a_refused_block_in_a_run_is_left_nowhere(
    place: Place, database: Database, capfd: pytest.CaptureFixture[str]
) -> None:
    """A flow that makes its block of what was pasted fails; state, logs and results hold none of it."""
    mark = "PASTEDxyz0123456789"

    @task(persist_result=True, result_storage_key="refused")
    async def open_account(number: int) -> None:
        SudashuiCredentials.model_validate({"api_key": f"Bearer sk-{mark} {number}"})

    @flow
    async def pasting() -> None:
        await open_account(1)

    with pytest.raises(ValidationError):
        await pasting()
    await deliver()
    tables = database.written()
    assert around(tables, "pasting"), "what the test has written is searched"
    assert around(tables, mark) == []
    kept = files(get_current_settings().home / "storage")
    kept["output"] = "".join(capfd.readouterr()).encode()
    assert [name for name, data in kept.items() if mark.encode() in opened(data)] == []


def test_what_people_copy_from_a_console_is_a_key() -> None:
    """The header's scheme and blanks around it are no part of it."""
    for pasted in ("sk-1", " sk-1\n", "Bearer sk-1", "bearer  sk-1 "):
        block = SudashuiCredentials.model_validate({"api_key": pasted})
        assert block.api_key.get_secret_value() == "sk-1"
