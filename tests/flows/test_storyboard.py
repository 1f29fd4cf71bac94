"""A film of shots that go on from one another, every shot under the ledger."""

from __future__ import annotations

import hashlib
import json
import sys
from typing import Any

import pytest

from prefect_genvideo.errors import GenerationFailedError, InvalidRequestError
from prefect_genvideo.flows.storyboard import storyboard
from prefect_genvideo.pipeline.storyboard import Shot, StoredFilm
from prefect_genvideo.simulator import Fault
from tests.fixtures.expected import refusing
from tests.fixtures.runs import artifacts, flow_run_of, materialized, related, task_runs
from tests.flows.conftest import Place


async def film_of(place: Place, *shots: str | Shot, **facts: Any) -> Any:
    parameters: dict[str, Any] = {
        "credentials": place.senseaudio,
        "model": "Seedance-2.0",
        "resolution": "480p",
        **facts,
    }
    parameters = {"destination": place.destination, "duration": 4, "idempotency_key": "film", **parameters}
    flow: Any = storyboard  # its overloads take `Any` for `return_state=True`
    return await flow([Shot(prompt=shot) if isinstance(shot, str) else shot for shot in shots], **parameters)


def pictures(place: Place) -> list[list[tuple[str, str]]]:
    """Role and content hash of the pictures that each generation was asked with."""
    uploads = {upload["name"]: upload["sha256"] for upload in place.sim.snapshot()["uploads"]}

    def digest(url: str) -> str:
        return next(sha256 for name, sha256 in uploads.items() if name in url)

    return [
        [(item["role"], digest(item["url"])) for item in task.wanted.request["content"] if item["type"] == "image"]
        for task in place.sim.tasks
    ]


def frames(place: Place) -> list[str]:
    """Hashes of the kept last frames."""
    kept = {key: data for key, data in place.objects().items() if key.endswith(".last.png")}
    return [hashlib.sha256(data).hexdigest() for data in kept.values()]


async def test_each_shot_begins_where_the_one_before_ended(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three shots, the third one a cut: one frame is handed on, and the film is joined bit by bit.

    The film is an asset made from its shots. A rerun that finds it joined makes nothing, and so tells of nothing.
    """
    monkeypatch.setenv("PREFECT_INTEGRATIONS_GENVIDEO_ASSETS", "always")
    shots = ("a wave rises", "it breaks", Shot(prompt="the beach", cut=True))
    state = await film_of(place, *shots, return_state=True)
    film: StoredFilm = await state.aresult()
    (frame,) = frames(place)
    assert pictures(place) == [[], [("first_frame", frame)], []]
    assert (film.reencoded, len(film.shots), len(film.seams)) == (False, 3, 2)
    assert film.seconds == pytest.approx(12, abs=0.3)
    data = place.objects()[film.key]
    assert (film.size, film.sha256) == (len(data), hashlib.sha256(data).hexdigest())
    manifest = json.loads(place.objects("films/")[film.key.replace(".mp4", ".json")])
    assert [shot["task_id"] for shot in manifest["shots"]] == [task.task_id for task in place.sim.tasks]
    run_id = flow_run_of(state)
    names = [run["name"] for run in await task_runs(run_id)]
    assert names[:3] == ["shot 1: a wave rises", "shot 2: it breaks", "shot 3: the beach"]
    (shown,) = await artifacts(run_id)
    assert film.uri in shown["data"]
    assert "without encoding again" in shown["data"]
    assert await film_of(place, *shots) == film.model_copy(update={"reused": True})
    assert (place.sim.billed, place.sim.downloads) == (3, 3)
    made = await materialized(film.uri)
    assert sorted(related(made, "asset")) == sorted(shot.uri for shot in film.shots)
    assert made["resource"]["prefect.asset.description"] == f"Film of 3 shots, {film.seconds:.1f} s"
    assert all([await materialized(shot.uri) for shot in film.shots])


async def test_a_failed_shot_is_made_again_alone(place: Place) -> None:
    """The second of three is refused. Mended, and with the same key, only it and the third are paid."""
    place.sim.faults.add(Fault("moderation", "create", match="bad two"))
    with pytest.raises(GenerationFailedError):
        await film_of(place, "one", "bad two", "three")
    assert place.sim.billed == 2
    film = await film_of(place, "one", "good two", "three")
    assert place.sim.billed == 4
    first, refused, second, third = place.sim.tasks
    assert [shot.task_id for shot in film.shots] == [first.task_id, second.task_id, third.task_id]
    assert pictures(place)[1] == pictures(place)[2]
    assert refused.failed


async def test_where_no_first_frame_is_taken_alone_the_frame_is_a_reference(place: Place) -> None:
    """Sudashui wants both frames or none: the frame is uploaded and becomes `@image1`."""
    film = await film_of(
        place, "one", "@image1 goes on", credentials=place.sudashui, model="sd-2-fast-720p", resolution="default"
    )
    assert not film.reencoded
    (frame,) = frames(place)
    (upload,) = place.sim.snapshot()["uploads"]
    assert upload["sha256"] == frame
    payload = place.sim.tasks[1].wanted.request["metadata"]["payload"]
    assert payload["mode"] == "references"
    assert [url.partition("?")[0].endswith(upload["name"]) for url in payload["imageUrls"]] == [True]


async def test_nothing_is_paid_when_a_later_shot_cannot_be_made(place: Place) -> None:
    """All problems of all shots at once, also those that come only with the frame that is handed on."""
    many = tuple(f"https://example.com/{number}.jpg" for number in range(9))
    with pytest.raises(InvalidRequestError) as caught:
        await film_of(
            place, Shot(prompt="one", images=many), Shot(prompt="two", images=many), Shot(prompt="x", duration=99)
        )
    assert [problem.field for problem in caught.value.problems] == ["shot 2: images", "shot 3: duration"]
    with refusing("shots"):
        await film_of(place)
    assert (place.sim.billed, place.sim.calls) == (0, {})


@pytest.mark.parametrize("package", ["av.filter", "PIL"])
async def test_nothing_is_paid_where_the_shots_could_not_be_joined(
    place: Place, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    """Without the extra `media` the film could not be made of the first shot."""
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InvalidRequestError) as caught:
        await film_of(place, "a wave rises")
    assert [problem.field for problem in caught.value.problems] == ["shots"]
    assert (place.sim.billed, place.sim.calls) == (0, {})
