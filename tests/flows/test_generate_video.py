"""One video from parameters to S3, through real tasks on a real Prefect server."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

import pytest
from prefect import get_client

from prefect_genvideo.blocks import LocalDestination
from prefect_genvideo.errors import (
    AuthenticationError,
    GenerationFailedError,
    GenVideoError,
    InvalidRequestError,
    QuotaError,
    UnknownOutcomeError,
)
from prefect_genvideo.models import StoredVideo
from prefect_genvideo.simulator import Fault
from tests.fixtures.expected import failing, refusing
from tests.fixtures.runs import artifacts, flow_run_of, logs, task_runs
from tests.flows.conftest import Place

CAT = Path(__file__).parents[2] / "src" / "prefect_genvideo" / "simulator" / "cat.jpg"


@pytest.mark.parametrize("provider", ["sudashui", "senseaudio", "ark"])
async def test_a_prompt_becomes_a_proved_video_in_s3(place: Place, provider: str) -> None:
    """At each provider: one create, one video whose bytes are those of its hash, a manifest and a settled record."""
    wanted = place.request_of(provider)
    video = await place.make(**wanted)
    ((key, data),) = place.videos().items()
    assert video.uri == f"s3://{place.destination.bucket}/{key}"
    assert (video.size, video.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    assert (video.provider, video.model, video.reused) == (provider, wanted["model"], False)
    assert place.sim.billed == 1
    record = place.record()
    assert (record["state"], record["task_id"], record["provider"]) == ("saved", video.task_id, provider)
    manifest = json.loads(place.objects()[video.manifest_uri.partition(f"{place.destination.bucket}/")[2]])
    assert manifest["request"]["prompt"] == wanted["prompt"]


@pytest.mark.parametrize(
    ("provider", "dialects"),
    [
        ("sudashui", {"create": "code_zero", "status": "link_none", "download": "gzip"}),
        ("sudashui", {"create": "text_plain", "status": "words_past", "download": "trailing_id3"}),
        ("senseaudio", {"create": "wrapped", "status": "wrapped_code_zero", "download": "part_206"}),
    ],
)
async def test_the_field_s_manners_change_nothing(place: Place, provider: str, dialects: dict[str, str]) -> None:
    """Whatever shape answers have: one create, one saved video; a second run with the key uses it."""
    place.sim.speak(**dialects)
    wanted = place.request_of(provider) | ({} if provider == "sudashui" else {"resolution": "480p"})
    first = await place.straight(**wanted, idempotency_key="one")
    again = await place.straight(**wanted, idempotency_key="one")
    assert place.sim.billed == 1
    assert (again.task_id, again.uri) == (first.task_id, first.uri)
    assert list(place.videos()) == [first.key]


@pytest.mark.parametrize("covers", [True, False])
async def test_a_destination_may_do_without_covers(place: Place, covers: bool) -> None:
    """Then the store has the video and its manifest, and nothing else of it."""
    video = await place.straight(destination=place.destination.model_copy(update={"covers": covers}))
    stem = video.key.removesuffix(".mp4")
    beside = {key.removeprefix(stem) for key in place.objects() if key.startswith(stem)}
    assert beside == {".mp4", ".json", *([".cover.jpg"] if covers else [])}


async def test_the_run_shows_what_it_does(place: Place) -> None:
    """Names of runs say what is made; the artifact has the cover, the place and the facts; progress ends at 100."""
    state = await place.ended()
    video, run_id = await state.aresult(), flow_run_of(state)
    assert isinstance(video, StoredVideo)
    async with get_client() as client:
        assert (await client.read_flow_run(run_id)).name == "a cat discovers the sea · sd-2-fast-720p"
    assert [run["name"] for run in await task_runs(run_id)] == [
        "submit sd-2-fast-720p: a cat discovers the sea",
        f"wait for {video.task_id}",
        f"save {video.task_id}",
    ]
    shown = {artifact["type"]: artifact for artifact in await artifacts(run_id)}
    assert shown["progress"]["data"] == 100
    text = shown["markdown"]["data"]
    for fact in (video.uri, video.manifest_uri, "568×320 pixels", "by this run", "1,656,000"):
        assert fact in text
    preview = base64.b64decode(text.partition("](data:image/webp;base64,")[2].partition(")")[0])
    assert (preview[:4], preview[8:16], b"ANIM" in preview) == (b"RIFF", b"WEBPVP8X", True)
    told = await logs(run_id, "Saved s3://")
    assert f"Sudashui accepted task {video.task_id}" in told
    assert f"Task {video.task_id}: succeeded" in told


async def test_references_from_everywhere_reach_the_provider(place: Place) -> None:
    """A local file, an S3 object and a data URL are uploaded; the create names three links with the same content."""
    data = CAT.read_bytes()
    place.s3.client.put_object(Bucket=place.destination.bucket, Key="in/cat.jpg", Body=data)
    images = [
        str(CAT),
        f"s3://{place.destination.bucket}/in/cat.jpg",
        f"data:image/jpeg;base64,{base64.b64encode(data + b'other').decode()}",
    ]
    await place.make(**{"prompt": "@image1 @image2 @image3", "images": images})
    (task,) = place.sim.tasks
    uploaded = {upload.sha256 for upload in place.sim.uploads.values()}
    assert len(task.wanted.images) == 3
    assert uploaded == {hashlib.sha256(data).hexdigest(), hashlib.sha256(data + b"other").hexdigest()}


@pytest.mark.parametrize("provider", ["senseaudio", "ark"])
async def test_a_provider_without_uploads_gets_images_inside_the_request(place: Place, provider: str) -> None:
    """A local picture travels as a data URL."""
    await place.straight(**place.request_of(provider) | {"resolution": "480p", "images": (str(CAT),)})
    assert place.sim.calls.get("upload", 0) == 0
    assert place.sim.billed == 1


async def test_a_lost_answer_of_ark_costs_nothing_and_nobody_s_time(place: Place, tmp_path: Path) -> None:
    """The run finds the task that it has paid for, and ends with its video as if nothing had been lost."""
    place.sim.faults.add(Fault("lost_after", "create", times=1))
    video = await place.straight(**place.ark_request | {"destination": LocalDestination(path=str(tmp_path))})
    (task,) = place.sim.tasks
    assert (video.task_id, place.sim.billed) == (task.task_id, 1)
    assert hashlib.sha256((tmp_path / video.key).read_bytes()).hexdigest() == video.sha256


async def test_the_form_makes_the_final_video_of_a_draft(place: Place, tmp_path: Path) -> None:
    """It repeats nothing that the draft has settled: every choice of the form can be left to the model."""
    form = place.ark_request | {
        "model": "doubao-seedance-2-5-260628",
        "destination": LocalDestination(path=str(tmp_path)),
    }
    draft = await place.straight(**form | {"options": {"draft": True}})
    final = await place.make(
        **form | {"prompt": "", "aspect_ratio": "default", "options": {"draft_task_id": draft.task_id}}
    )
    bodies = [task.wanted.request for task in place.sim.tasks]
    assert [body["resolution"] for body in bodies] == ["480p", "1080p"]
    assert bodies[1]["content"] == [{"type": "draft_task", "draft_task": {"id": draft.task_id}}]
    assert "ratio" not in bodies[1]
    assert (tmp_path / final.key).stat().st_size == final.size


async def test_a_folder_is_a_destination_too(place: Place, tmp_path: Path) -> None:
    """The same walk without S3."""
    video = await place.straight(destination=LocalDestination(path=str(tmp_path)))
    assert video.bucket is None
    assert hashlib.sha256((tmp_path / video.key).read_bytes()).hexdigest() == video.sha256


async def test_every_broken_rule_is_told_and_nothing_is_sent(place: Place) -> None:
    """All problems at once, files and numbers alike, before any call to the provider."""
    wrong = {"duration": 99, "images": ["/nowhere/cat.jpg"], "aspect_ratio": "4:3", "prompt": "@image3 runs"}
    with pytest.raises(InvalidRequestError) as caught:
        await place.straight(**wrong)
    assert {"duration", "images[0]", "prompt"} <= {problem.field for problem in caught.value.problems}
    assert place.sim.calls == {}
    assert place.records() == []


@pytest.mark.parametrize(
    ("field", "name"),
    [("credentials", "sudashui-credentials/nobody"), ("credentials", "no block"), ("destination", "s3-bucket/none")],
)
async def test_a_name_of_no_block_is_an_invalid_request(place: Place, field: str, name: str) -> None:
    """The error names the parameter, what was given and how a name is written."""
    with refusing(field):
        await place.straight(**{field: name})


async def test_a_block_of_the_wrong_kind_is_an_invalid_request(place: Place) -> None:
    """A destination cannot pay."""
    names = await place.saved()
    with refusing("credentials"):
        await place.make(**names | {"credentials": names["destination"]})


@pytest.mark.parametrize(("key", "error"), [("sk-sim-expired", AuthenticationError), ("sk-sim-broke", QuotaError)])
async def test_a_refusal_frees_the_key(place: Place, key: str, error: type[Exception]) -> None:
    """An account without a valid key or without money makes nothing, and the record says so."""
    broke = place.sudashui.model_copy(update={"api_key": place.account("x").api_key.__class__(key)})
    with pytest.raises(error):
        await place.straight(credentials=broke)
    assert place.record()["state"] == "rejected"
    assert place.sim.billed == 0


@pytest.mark.parametrize(
    ("kind", "error", "reason", "state"),
    [
        ("moderation", GenerationFailedError, "content_policy_violation", "failed"),
        ("lost_after", UnknownOutcomeError, "outcome unknown", "unknown"),
    ],
)
async def test_what_was_paid_for_is_not_sent_again(
    place: Place, kind: str, error: type[GenVideoError], reason: str, state: str
) -> None:
    """What the provider ended stays ended, and a create whose answer was lost is held for a person."""
    place.sim.faults.add(Fault(kind, "create", times=1, params={"reason": reason}))
    for make in (place.make, place.straight):
        with failing(error, reason):
            await make(idempotency_key="order-7")
    assert place.record()["state"] == state
    assert place.sim.billed == 1


async def test_a_failed_picture_of_the_run_does_not_fail_the_run(place: Place) -> None:
    """The cover is a courtesy: its loss leaves the video as it is."""
    place.sim.faults.add(Fault("500_e1", "cover", times=20))
    state = await place.ended()
    assert state.is_completed()
    assert len(place.videos()) == 1


def test_a_run_without_a_name_is_called_video() -> None:
    """The name is made of parameters that anybody may leave empty; outside of runs there are none."""
    from prefect_genvideo.flows.generate import _run_name  # pyright: ignore[reportPrivateUsage]  # the name's rule itself

    assert _run_name() == "video"
