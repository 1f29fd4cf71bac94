"""Assets of Prefect: what is told of saved videos, films and reports, to whom, and what never is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from prefect import flow
from prefect.assets import Asset, materialize
from prefect.settings import PREFECT_API_URL, PREFECT_CLOUD_API_URL, temporary_settings

from prefect_genvideo import create_video, reconcile_videos, save_video, wait_for_video
from prefect_genvideo.blocks.session import open_pipeline
from prefect_genvideo.pipeline.hooks import Lineage
from prefect_genvideo.runtime import asset_key, asset_teller
from tests.fixtures.runs import events, flow_run_of, materialized, related, told_of
from tests.flows.batches import make, wanted
from tests.flows.conftest import Place
from tests.flows.test_generate_video import CAT

SETTING = "PREFECT_INTEGRATIONS_GENVIDEO_ASSETS"


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Assets are told of, whatever the server shows."""
    monkeypatch.setenv(SETTING, "always")


def test_cloud_is_told(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """`auto` looks at the address of the API; `never` does not."""
    assert asset_teller() is None
    with temporary_settings({PREFECT_CLOUD_API_URL: PREFECT_API_URL.value()}):
        assert asset_teller() is not None
        monkeypatch.setenv(SETTING, "never")
        assert asset_teller() is None


@pytest.mark.usefixtures("told")
async def test_a_video_is_made_from_its_references(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reference in S3 is upstream, the play link its address; owners and tags are the operator's."""
    monkeypatch.setenv("PREFECT_INTEGRATIONS_GENVIDEO_ASSET_OWNERS", "video team, ops@example.com")
    monkeypatch.setenv("PREFECT_INTEGRATIONS_GENVIDEO_ASSET_TAGS", "launch")
    home = place.bucket(link="public", link_template="https://cdn.example.com/v/")
    place.s3.client.put_object(Bucket=home.bucket, Key="in/cat.jpg", Body=CAT.read_bytes())
    reference = f"s3://{home.bucket}/in/cat.jpg"
    links = {"images": [reference, "https://example.com/dog.jpg?X-Amz-Signature=abc"]}
    state = await place.ended(destination=home, idempotency_key="asset-1", **links)
    video = await state.aresult()

    event = await materialized(video.uri)
    resource = event["resource"]
    assert resource["prefect.resource.id"] == video.uri == f"s3://{home.bucket}/{video.key}"
    assert resource["prefect.resource.name"] == video.key.rpartition("/")[2]
    assert resource["prefect.asset.description"] == "a cat discovers the sea"
    assert resource["prefect.asset.url"] == f"https://cdn.example.com/v/{video.key}"
    assert json.loads(resource["prefect.asset.owners"]) == ["video team", "ops@example.com"]
    assert related(event, "asset") == [reference]
    assert related(event, "asset-materialized-by") == ["prefect-genvideo"]
    assert related(event, "flow-run") == [f"prefect.flow-run.{flow_run_of(state)}"]
    facts = event["payload"]
    assert (facts["key"], facts["provider"], facts["task_id"]) == ("asset-1", "sudashui", video.task_id)
    assert (facts["size"], facts["sha256"], facts["tags"]) == (video.size, video.sha256, ["launch"])
    (referenced,) = await events("prefect.asset.referenced", reference)
    assert "sk-sim-" not in str([event, referenced])
    assert "X-Amz" not in str([event, referenced])


@pytest.mark.usefixtures("told")
async def test_a_report_is_made_from_its_videos(place: Place) -> None:
    """Each row is an asset with its own tags, the report one made from them; presigned links are in none of them."""
    place.destination = place.bucket(link="presigned")
    rows = [*wanted("one", tags=["spring"]), *wanted("two", "three")]
    report = await make(place, rows, tags=["campaign"])
    assert report.report_uri is not None
    made = await materialized(report.report_uri)
    assert sorted(related(made, "asset")) == sorted(video.uri for video in report.saved)
    assert made["resource"]["prefect.asset.description"].startswith("Report: 3 videos")
    first = await materialized(report.rows[0].uri)
    assert first["payload"]["tags"] == ["campaign", "spring"]
    assert "prefect.asset.url" not in first["resource"]
    assert "X-Amz" not in str([made, first])


@pytest.mark.usefixtures("told", "standalone")
async def test_what_is_fetched_late_is_told_late_and_only_in_a_run(place: Place) -> None:
    """The flow that reconciles tells of what it saves; the command line, which is no run, does not."""
    place.sim.configure(clock="manual")
    request = place.request | {"duration": 4}
    ours = {name: request[name] for name in ("model", "prompt", "duration")}
    late = await create_video(ours, place.sudashui, place.destination, "late")
    by_hand = await create_video(ours, place.sudashui, place.destination, "by-hand")
    place.sim.finish(by_hand.task_id)
    async with open_pipeline(place.sudashui, place.destination) as pipeline:
        entry = await pipeline.entry(by_hand)
        quiet = await pipeline.save(entry, await pipeline.client.get(by_hand.task_id))
    place.sim.finish(late.task_id)
    (row,) = await reconcile_videos(place.sudashui, place.destination)
    assert row.uri is not None
    assert (await materialized(row.uri))["payload"]["key"] == "late"
    assert await told_of(quiet.uri) == []


@pytest.mark.usefixtures("told")
async def test_what_a_user_makes_of_a_video_has_it_upstream(place: Place) -> None:
    """A task of the user's own that takes the result of `save_video` goes on with the lineage."""
    summary = f"s3://{place.destination.bucket}/summary.json"

    @materialize(Asset(key=summary))
    def summarise(video: Any) -> str:
        return video.uri

    @flow
    async def users() -> str:
        request = {name: place.request[name] for name in ("model", "prompt")}
        sent = await create_video(request, place.sudashui, place.destination, "users")
        done = await wait_for_video(sent, place.sudashui, place.destination)
        return summarise(await save_video(done, place.sudashui, place.destination))

    uri = await users()
    assert related(await materialized(summary), "asset") == [uri]


@pytest.mark.parametrize("forbidden", [" ", "%", "?", "#", "'", "[", "\n"])
def test_a_key_that_prefect_does_not_take_gets_a_stand_in(forbidden: str) -> None:
    """Different objects stay different assets."""
    keys = {asset_key(f"s3://bucket/a{character}b.mp4") for character in (forbidden, "_", "|")}
    assert len(keys) == 3
    assert all(Asset(key=key).key == key for key in keys)


def test_a_long_key_is_cut_and_kept_apart() -> None:
    """512 characters are the most."""
    one, other = (asset_key(f"s3://bucket/{'长' * 600}{end}.mp4") for end in "ab")
    assert one != other
    assert {len(Asset(key=one).key), len(Asset(key=other).key)} == {512}


@pytest.mark.usefixtures("told")
async def test_upstream_is_bounded(place: Place) -> None:
    """Prefect refuses events that relate to more than a hundred resources; the rest is counted."""
    many = tuple(f"s3://{place.destination.bucket}/{number}.mp4" for number in range(130))
    report = f"s3://{place.destination.bucket}/report.json"

    @flow
    def telling() -> None:
        tell = asset_teller()
        assert tell is not None
        tell(Lineage(report, "report", upstream=many))

    telling()
    event = await materialized(report)
    assert set(related(event, "asset")) == set(many[:50])
    assert event["payload"]["upstream_not_named"] == 80
