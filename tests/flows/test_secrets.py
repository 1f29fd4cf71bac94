"""Keys and signatures are found nowhere but in the blocks: not in the database, results, logs, ledger or artifacts."""

from __future__ import annotations

import io
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from prefect.settings import get_current_settings

from prefect_genvideo.blocks import SudashuiCredentials
from prefect_genvideo.errors import AuthenticationError, GenVideoError
from prefect_genvideo.simulator import Fault
from tests.fixtures.prefect import PrefectServer
from tests.fixtures.runs import deliver
from tests.flows.conftest import Place

SECRET = "SECRETxyz0123456789"


def tables(database: Path) -> dict[str, str]:
    """Everything in the server's database as text, by table."""
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as server:
        names = [name for (name,) in server.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: str(server.execute(f'SELECT * FROM "{name}"').fetchall()) for name in names}


def around(database: dict[str, str], text: str) -> list[str]:
    """Where a text stands in the database, with what is around it."""
    found = {name: content.find(text) for name, content in database.items()}
    return [f"{name}: {database[name][max(0, at - 300) : at + 100]}" for name, at in found.items() if at >= 0]


def files(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def secret_place(place: Place) -> Place:
    """A place whose keys can be looked for."""
    place.sudashui = place.account(SECRET)
    place.senseaudio = place.sense_account(SECRET)
    place.destination = place.bucket(access_key_id="AKIDACCESS", secret_access_key=f"s3-{SECRET}")
    return place


async def test_no_secret_is_left_behind(
    secret_place: Place, prefect_server: PrefectServer, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Videos that work and that fail in many ways; then everything that was written anywhere is searched."""
    place = secret_place
    from PIL import Image

    picture = tmp_path / "cat.png"
    Image.effect_noise((400, 400), 50).save(picture)
    await place.saved()
    await place.make(images=[str(picture)], prompt="@image1 runs")
    await place.make(**place.sense_request)
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
    await deliver()

    database = tables(prefect_server.home / "prefect.db")
    assert around(database, SECRET) == [], "blocks are encrypted, and nothing else knows the key"
    assert around(database, "?expires=") == []
    assert around(database, place.sudashui.account), "the account's fingerprint is what events show instead"

    results = get_current_settings().home / "storage"
    assert any(str(path) for path in results.iterdir()), "uploads are cached there"
    everything = files(results) | place.objects()
    everything["output"] = "".join(capfd.readouterr()).encode()
    everything["server"] = prefect_server.log.encode()
    assert [name for name, data in everything.items() if SECRET.encode() in data] == []
    # A cached upload is its link; whoever reads the result storage could fetch the reference file while it lives.
    signed = [name for name, data in everything.items() if b"?expires=" in data]
    assert [name for name in signed if not name.startswith(str(results))] == []


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
