"""Shots that continue one another: what each asks for, the frame between them, the film they become."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from pydantic import ValidationError

from prefect_genvideo.errors import InvalidRequestError
from prefect_genvideo.media.inspect import MediaInfo, inspect_bytes
from prefect_genvideo.models import Problem, StoredVideo, VideoRequest
from prefect_genvideo.pipeline.assets import ReferenceAssets
from prefect_genvideo.pipeline.make import Attempt, Maker
from prefect_genvideo.pipeline.pipeline import Pipeline
from prefect_genvideo.pipeline.storyboard import Shot, frame_after, going_on, join_shots, problems_going_on
from prefect_genvideo.providers import ArkClient
from tests.fixtures.money import MemoryStore
from tests.fixtures.pipelines import SENSEAUDIO, SUDASHUI, Pipelines

NOTHING = ReferenceAssets({}, {}, {})
PICTURE = MediaInfo("image", "image/png", 1_000, width=640, height=360)


async def shoot(pipeline: Pipeline, request: VideoRequest, key: str) -> StoredVideo:
    outcome = await Maker().make([Attempt(pipeline, request, key)])
    assert outcome.made is not None
    assert outcome.made.video is not None
    return outcome.made.video


def test_a_shot_takes_from_the_storyboard_what_it_does_not_say() -> None:
    """Model and seconds of its own go first; whole seconds are whole numbers."""
    plain = Shot(prompt="a").request("m", 5.0, "16:9", "720p")
    assert plain == VideoRequest(model="m", prompt="a", duration=5, aspect_ratio="16:9", resolution="720p")
    assert isinstance(plain.duration, int)
    own = Shot(prompt="a", model="n", duration=4.5, images=("x.jpg",), options={"seed": 1})
    request = own.request("m", 5, "1:1", None)
    assert (request.model, request.duration, request.images, request.options) == ("n", 4.5, ("x.jpg",), {"seed": 1})
    assert Shot(prompt="a").request("m", 0, "1:1", None).duration is None


def test_a_shot_that_is_misspelt_is_refused() -> None:
    """A field that no shot has is no typo to overlook."""
    with pytest.raises(ValidationError):
        Shot.model_validate({"prompt": "a", "cuts": True})


def test_a_model_that_takes_a_first_frame_alone_begins_with_it(pipelines: Pipelines) -> None:
    """Seedance at SenseAudio: exactly the frame the shot before ended with."""
    request = going_on(pipelines.senseaudio, SENSEAUDIO, "last.png")
    assert (request.first_frame, request.images) == ("last.png", ())


@pytest.mark.parametrize(
    ("model", "ratio"), [("doubao-seedance-2-5-260628", "adaptive"), ("doubao-seedance-2-0-260128", "9:16")]
)
def test_a_model_that_keeps_the_ratio_of_a_frame_is_sent_no_other(pipelines: Pipelines, model: str, ratio: str) -> None:
    """The frame has the ratio of the shot before; what the shot asks for is sent where the model takes it."""
    client = ArkClient("key")
    pipeline = replace(pipelines.senseaudio, client=client)
    shot = VideoRequest(model=model, prompt="a cat", duration=4, aspect_ratio="9:16")
    request = going_on(pipeline, shot, "https://example.com/last.png")
    assert (request.first_frame, client.body(request)["ratio"]) == ("https://example.com/last.png", ratio)
    assert problems_going_on(pipeline, shot, NOTHING) == []


def test_a_model_that_wants_both_frames_gets_the_frame_as_first_reference(pipelines: Pipelines) -> None:
    """Sudashui: `@image1` is where the shot before ended; the shot's own pictures move one on."""
    request = going_on(pipelines.sudashui, SUDASHUI.model_copy(update={"images": ("cat.jpg",)}), "last.png")
    assert (request.first_frame, request.images) == (None, ("last.png", "cat.jpg"))


def test_a_shot_with_references_keeps_them(pipelines: Pipelines) -> None:
    """Frames and references exclude one another; what the shot asks for stays."""
    request = going_on(pipelines.senseaudio, SENSEAUDIO.model_copy(update={"images": ("cat.jpg",)}), "last.png")
    assert (request.first_frame, request.images) == (None, ("last.png", "cat.jpg"))


def test_what_going_on_breaks_is_known_before_the_first_shot(pipelines: Pipelines) -> None:
    """Nine references are allowed; the frame would be the tenth, found out after the shot before was paid."""
    nine = SUDASHUI.model_copy(update={"images": tuple(f"{number}.png" for number in range(9))})
    references = ReferenceAssets({}, {f"images[{number}]": PICTURE for number in range(9)}, {})
    assert pipelines.sudashui.problems(nine, references) == []
    assert [problem.field for problem in problems_going_on(pipelines.sudashui, nine, references)] == ["images"]
    eight = nine.model_copy(update={"images": nine.images[:8]})
    assert problems_going_on(pipelines.sudashui, eight, references) == []
    assert problems_going_on(pipelines.senseaudio, SENSEAUDIO, NOTHING) == []


def test_a_shot_may_speak_of_the_frame_that_it_will_get(pipelines: Pipelines) -> None:
    """`@image1` without a picture of its own is the frame; `@image2` is then one too many."""
    one, two = [SUDASHUI.model_copy(update={"prompt": f"@image{number} goes on"}) for number in (1, 2)]
    assert problems_going_on(pipelines.sudashui, one, NOTHING) == []
    assert [problem.field for problem in problems_going_on(pipelines.sudashui, two, NOTHING)] == ["prompt"]


def test_problems_of_a_shot_s_own_pictures_keep_their_numbers(pipelines: Pipelines) -> None:
    """The frame comes first, yet the report counts as the storyboard does."""
    request = SUDASHUI.model_copy(update={"images": ("gone.png", "huge.png")})
    huge = MediaInfo("image", "image/png", 40 * 1024 * 1024, width=640, height=360)
    references = ReferenceAssets(
        {}, {"images[1]": huge}, {}, [Problem("images[0]", "gone.png", "there is no such file", "test")]
    )
    found = [(problem.field, problem.limit) for problem in problems_going_on(pipelines.sudashui, request, references)]
    assert found == [("images[0]", "there is no such file"), ("images[1]", "less than 30 MB each")]


async def test_the_frame_between_two_shots_is_kept_beside_the_first(pipelines: Pipelines) -> None:
    """A rerun on another machine asks for exactly the same next shot: the same bytes, taken once."""
    shot, store = await shoot(pipelines.sudashui, SUDASHUI, "shot"), pipelines.sudashui.ledger.store
    async with frame_after(pipelines.sudashui, shot) as path:
        first = Path(path).read_bytes()
    assert inspect_bytes(first).media_type == "image/png"
    kept = await store.get(f"{store.relative_key(shot.key).removesuffix('.mp4')}.last.png")
    assert kept is not None
    assert kept[0] == first
    await store.delete(store.relative_key(shot.key))
    async with frame_after(pipelines.sudashui, shot) as path:
        assert Path(path).read_bytes() == first
    assert not Path(path).exists()


async def test_shots_become_one_film_without_encoding_again(pipelines: Pipelines) -> None:
    """Equal shots are copied bit by bit; the film's manifest names them; joining them again does nothing."""
    store = pipelines.sudashui.ledger.store
    shots = [await shoot(pipelines.sudashui, SUDASHUI, f"shot-{number}") for number in range(3)]
    film = await join_shots(store, shots, "summer")
    assert (film.reencoded, film.reason, film.shots) == (False, "", shots)
    assert film.seams == pytest.approx([4, 8], abs=0.2)
    assert film.seconds == pytest.approx(12, abs=0.3)
    assert film.size == (await store.head(store.relative_key(film.key))).size  # type: ignore[union-attr]  # it is there
    manifest = await store.get(f"{store.relative_key(film.key).removesuffix('.mp4')}.json")
    assert manifest is not None
    assert [shot["task_id"] for shot in json.loads(manifest[0])["shots"]] == [shot.task_id for shot in shots]
    await store.delete(store.relative_key(film.key))
    assert await join_shots(store, shots, "summer") == film.model_copy(update={"reused": True})


async def test_other_shots_are_another_film(pipelines: Pipelines) -> None:
    """The film's name holds a hash of its shots, so a shot that was made again cannot hide in an old film."""
    store = pipelines.sudashui.ledger.store
    shots = [await shoot(pipelines.sudashui, SUDASHUI, "shot-1")]
    shots.append(await shoot(pipelines.sudashui, SUDASHUI.model_copy(update={"prompt": "a dog"}), "shot-2"))
    both, reverse = [await join_shots(store, order, "summer") for order in (shots, shots[::-1])]
    assert both.key != reverse.key
    assert both.key.startswith("films/summer-")


async def test_names_cannot_leave_the_folder(pipelines: Pipelines) -> None:
    """A key may hold anything; the film's name is a plain word."""
    shot = await shoot(pipelines.sudashui, SUDASHUI, "shot")
    film = await join_shots(pipelines.sudashui.ledger.store, [shot], "../../夏 film")
    assert film.key.startswith("films/")
    assert ".." not in film.key


async def test_a_shot_that_is_no_video_makes_no_film() -> None:
    """Nothing is left in the store then."""
    store = MemoryStore()
    await store.put("shot.mp4", b"no video")
    facts = {"uri": "", "size": 8, "sha256": "0", "manifest_uri": "", "task_id": "t", "provider": "p", "model": "m"}
    shot = StoredVideo.model_validate({"key": "shot.mp4", **facts})
    with pytest.raises(InvalidRequestError):
        await join_shots(store, [shot], "film")
    assert list(store.objects) == ["shot.mp4"]
