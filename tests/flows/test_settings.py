"""Every setting does what it says: each is changed in the environment, and its effect is seen in a run."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from prefect import flow

from benchmarks.servers import free_port
from prefect_genvideo.blocks import S3Destination, SudashuiCredentials
from prefect_genvideo.blocks.session import open_pipeline
from prefect_genvideo.errors import (
    DestinationError,
    DownloadError,
    GenerationTimeoutError,
    GenVideoError,
    InvalidRequestError,
    RateLimitedError,
    TransientError,
    UnknownOutcomeError,
)
from prefect_genvideo.ledger.decisions import release
from prefect_genvideo.ledger.listing import every_record
from prefect_genvideo.pipeline.hooks import Lineage
from prefect_genvideo.pipeline.reconcile import reconcile
from prefect_genvideo.providers import SudashuiClient
from prefect_genvideo.runtime import asset_teller
from prefect_genvideo.settings import GenVideoSettings
from prefect_genvideo.simulator.faults import Fault
from tests.fixtures.file_server import running_file_server
from tests.fixtures.mp4 import mp4
from tests.fixtures.runs import materialized
from tests.flows.batches import make, wanted
from tests.flows.conftest import Place

ErrorT = TypeVar("ErrorT", bound=GenVideoError)
Effect = Callable[[Place, Path], Awaitable[None]]
EFFECTS: dict[str, tuple[object, Effect]] = {}
"""A value other than the default by setting, and what is seen of it."""


def effect(value: object) -> Callable[[Effect], Effect]:
    """Note what a setting does when it is changed to `value`; the function has the setting's name."""

    def note(check: Effect) -> Effect:
        EFFECTS[check.__name__] = (value, check)
        return check

    return note


async def refused(kind: type[ErrorT], place: Place, **changes: Any) -> tuple[ErrorT, float]:
    """The error that a run ends with, and after how many seconds."""
    began = time.monotonic()
    with pytest.raises(kind) as caught:
        await place.straight(**changes)
    return caught.value, time.monotonic() - began


@effect(0.05)
async def poll_interval(place: Place, folder: Path) -> None:
    """Four questions take less time than the learned schedule leaves between two."""
    place.sim.configure(polls_to_finish=4)
    began = time.monotonic()
    await place.straight()
    assert time.monotonic() - began < SudashuiClient.poll_floor


@effect(0.3)
async def timeout(place: Place, folder: Path) -> None:
    """A generation without an end is left to a later run; here a flow run, which reads its settings likewise."""
    place.sim.configure(polls_to_finish=10_000)
    with pytest.raises(GenerationTimeoutError) as caught:
        await place.make()
    error = caught.value
    assert (error.task_id, "submitted") == (place.record()["task_id"], place.record()["state"])


@effect(0)
async def create_patience(place: Place, folder: Path) -> None:
    """A rate limit is not waited out."""
    place.sim.faults.add(Fault("429", "create", times=1, params={"retry_after": 20}))
    _, seconds = await refused(RateLimitedError, place)
    assert seconds < 15
    assert place.sim.billed == 0


@effect(1)
async def create_attempts(place: Place, folder: Path) -> None:
    """A proven refusal is not sent again, as it is by default."""
    place.sim.faults.add(Fault("500_e1", "create", times=1))
    await refused(TransientError, place)
    assert place.sim.billed == 0


@effect(0.2)
async def stale_after(place: Place, folder: Path) -> None:
    """An intent that nobody moves counts as crashed before the default's three minutes."""
    place.sim.faults.add(Fault("lost_after", "create", times=1))
    await refused(UnknownOutcomeError, place, idempotency_key="slot")
    ledger = place.destination.get_ledger()
    (held,) = [entry async for entry in every_record(ledger)]
    assert not isinstance(held, GenVideoError)
    await release(ledger, "slot", force=True)
    # The record of a process on another machine, of which nothing can be known but its age.
    await ledger.claim(held.record.model_copy(update={"state": "intent", "holder": "elsewhere:1", "reason": None}))
    _, seconds = await refused(UnknownOutcomeError, place, idempotency_key="slot")
    assert seconds < 60
    assert place.sim.billed == 1


@effect(0.2)
async def ledger_patience(place: Place, folder: Path) -> None:
    """A store that is down ends the run before the default's ten minutes, and before anything is paid."""
    settings = place.destination.model_dump(context={"include_secrets": True})
    gone = S3Destination.model_validate(settings | {"endpoint_url": f"http://127.0.0.1:{free_port()}"})
    _, seconds = await refused(DestinationError, place, destination=gone)
    assert seconds < 60
    assert place.sim.billed == 0


@effect("true")
async def allow_private(place: Place, folder: Path) -> None:
    """A video on a private address that is not the provider's own is fetched."""
    with running_file_server(mp4(6_000), []) as files:
        block = SudashuiCredentials.model_validate({"api_key": "sk-1"})
        async with block.get_client() as client, client.open_video(f"{files.url}/v.mp4") as stream:
            assert sum([len(chunk) async for chunk in stream]) > 0


@effect("false")
async def allow_local_files(place: Place, folder: Path) -> None:
    """A file that is there is not read."""
    picture = folder / "cat.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n")
    error, _ = await refused(InvalidRequestError, place, images=[str(picture)])
    assert [problem.field for problem in error.problems] == ["images[0]"]
    assert "not allowed" in error.problems[0].limit


@effect(1e-6)
async def max_video_gib(place: Place, folder: Path) -> None:
    """A video of more than 1,073 bytes is not saved."""
    place.sim.configure(clip_bytes=14_930)
    await refused(DownloadError, place)
    assert place.videos() == {}
    assert place.record()["state"] == "succeeded"


@effect(0.3)
async def stall_timeout(place: Place, folder: Path) -> None:
    """A download that stands still is taken up again at once; by default only after 45 seconds."""
    place.sim.faults.add(Fault("stall", "download", times=1))
    began = time.monotonic()
    await place.straight()
    assert time.monotonic() - began < 40


@effect('{"sudashui": {"sd-2-fast-720p": {"seconds": "4-5"}}}')
async def model_rules(place: Place, folder: Path) -> None:
    """A duration that the built-in table allows is refused where the operator says so."""
    error, _ = await refused(InvalidRequestError, place, duration=8)
    assert [problem.field for problem in error.problems] == ["duration"]


@effect("true")
async def exclusive_keys(place: Place, folder: Path) -> None:
    """A create of which nothing came back is found by elimination, and not sent again."""
    place.sim.money(task_ids=True)
    place.sim.faults.add(Fault("lost_after", "create", times=1))
    await refused(UnknownOutcomeError, place)
    async with open_pipeline(place.sudashui, place.destination) as pipeline:
        report = await reconcile(pipeline)
    assert [row.task_id for row in report.rows] == [place.record()["task_id"]]
    assert (place.record()["state"], place.sim.billed) == ("submitted", 1)


@effect('{"sudashui": {"currency": "CNY", "prices": [{"models": "*", "per": "video", "amount": "4.50"}]}}')
async def prices(place: Place, folder: Path) -> None:
    """What a video is expected to cost stands in its record."""
    await place.straight()
    assert place.record()["money"]["estimate"]["expected"] == "4.5"


@effect("refuse")
async def balance_check(place: Place, folder: Path) -> None:
    """A batch that the key cannot pay to its end is not begun; without the setting it is warned of and goes on."""
    place.sim.money(granted=500_000)
    table = '{"sudashui": {"currency": "unit", "prices": [{"models": "*", "per": "video", "amount": "0.6"}]}}'
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_INTEGRATIONS_GENVIDEO_PRICES", table)
        with pytest.raises(InvalidRequestError) as caught:
            await make(place, wanted("a", "b"))
        assert [(one.field, one.value) for one in caught.value.problems] == [("balance.sudashui", "1 unit")]
        assert place.sim.billed == 0
        patch.setenv("PREFECT_INTEGRATIONS_GENVIDEO_BALANCE_CHECK", "warn")
        place.sim.money(granted=50_000_000)
        assert (await make(place, wanted("a"))).counts == {"saved": 1}


@effect(2)
async def money_calls(place: Place, folder: Path) -> None:
    """The third question about the balance is not sent, whichever run asks it."""
    for asked in range(3):
        async with open_pipeline(place.sudashui, place.destination) as pipeline:
            if asked < 2:
                await pipeline.client.balance()
                continue
            with pytest.raises(RateLimitedError):
                await pipeline.client.balance()
    assert place.sim.calls["usage"] == 2


async def told(place: Place) -> dict[str, Any]:
    """What Prefect is told of an object that a flow run says it made."""
    uri = f"s3://{place.destination.bucket}/made.mp4"

    @flow
    def telling() -> None:
        if (tell := asset_teller()) is not None:
            tell(Lineage(uri, "made"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PREFECT_INTEGRATIONS_GENVIDEO_ASSETS", "always")
        telling()
    return await materialized(uri)


@effect("always")
async def assets(place: Place, folder: Path) -> None:
    """A server that shows no assets is told of them all the same."""
    run: Any = flow(place.straight)
    assert await materialized((await run()).uri)


@effect("video team, ops")
async def asset_owners(place: Place, folder: Path) -> None:
    """They stand in the asset's properties."""
    assert (await told(place))["resource"]["prefect.asset.owners"] == '["video team", "ops"]'


@effect("launch,spring")
async def asset_tags(place: Place, folder: Path) -> None:
    """They stand among the asset's facts."""
    assert (await told(place))["payload"]["tags"] == ["launch", "spring"]


@pytest.mark.parametrize("name", GenVideoSettings.model_fields)
async def test_a_changed_setting_is_seen(
    name: str, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A setting without an entry here fails: nobody has seen what it does."""
    value, check = EFFECTS[name]
    monkeypatch.setenv(f"PREFECT_INTEGRATIONS_GENVIDEO_{name.upper()}", str(value))
    await check(place, tmp_path)


async def test_by_default_private_addresses_are_refused_and_small_videos_saved(place: Place) -> None:
    """The other side of two settings, whose effect is that something goes well."""
    with running_file_server(mp4(6_000), []) as files:
        block = SudashuiCredentials.model_validate({"api_key": "sk-1"})
        async with block.get_client() as client:
            with pytest.raises(DownloadError):
                await client.open_video(f"{files.url}/v.mp4").__aenter__()
    place.sim.faults.add(Fault("500_e1", "create", times=1))
    place.sim.configure(clip_bytes=14_930)
    assert (await place.straight()).size > 1_073
