"""Models beyond the tables: what a user states is a rule, what is known of others is a warning, and defaults fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from prefect_genvideo.blocks import SenseAudioCredentials, SudashuiCredentials
from prefect_genvideo.errors import InvalidRequestError
from prefect_genvideo.media.inspect import MediaInfo
from prefect_genvideo.models import VideoRequest
from prefect_genvideo.pipeline.make import Attempt, Maker
from prefect_genvideo.providers import (
    ModelLimits,
    SenseAudioClient,
    SudashuiClient,
    VideoClient,
    read_model_rules,
)
from prefect_genvideo.simulator import Simulator
from prefect_genvideo.storage import LocalStore
from tests.fixtures.pipelines import open_pipelines

KEY = "sk-test"
STATED = {
    "sudashui": {
        "sdas-2-long": {"seconds": [15, 30]},
        "sdas-2-*": {"seconds": "4-30", "aspect_ratios": ["16:9", "9:16"], "images": 30, "audios": 0, "references": 35},
        "sd-2-720p": {"seconds": "4-20"},
    },
    "senseaudio": {"new-model": {"seconds": 8, "resolutions": ["4k"], "images": 2}},
}


def links(count: int) -> tuple[str, ...]:
    return tuple(f"https://e.com/{i}" for i in range(count))


def broken(client: VideoClient, model: str, **fields: Any) -> list[str]:
    request = VideoRequest(model=model, prompt="x", **fields)
    return [problem.field for problem in client.validate(request)]


def warned(client: VideoClient, model: str, **fields: Any) -> list[str]:
    return [problem.field for problem in client.warnings(VideoRequest(model=model, prompt="x", **fields))]


@pytest.fixture(params=["text", "file"])
def stated(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The rules as a setting may hold them."""
    text = json.dumps(STATED)
    if request.param == "text":
        return text
    path = tmp_path / "models.json"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("model", "fields", "expected"),
    [
        ("sdas-2-pro", {"duration": 30, "images": links(30)}, []),
        ("sdas-2-pro", {"duration": 31}, ["duration"]),
        ("sdas-2-pro", {"duration": 3}, ["duration"]),
        ("sdas-2-pro", {"aspect_ratio": "1:1"}, ["aspect_ratio"]),
        ("sdas-2-pro", {"images": links(31)}, ["images"]),
        ("sdas-2-pro", {"audios": links(1), "images": links(1)}, ["audios"]),
        ("sdas-2-pro", {"images": links(30), "videos": links(6)}, ["images + videos + audios"]),
        ("sdas-2-long", {"duration": 15, "aspect_ratio": "1:1"}, []),
        ("sdas-2-long", {"duration": 20}, ["duration"]),
        ("sd-2-720p", {"duration": 20}, []),
        ("sd-2-720p", {"duration": 21}, ["duration"]),
        ("sd-2-720p", {"images": links(10)}, ["images"]),
        ("other", {"duration": 60, "images": links(50)}, []),
    ],
)
def test_what_a_user_states_is_a_rule(stated: str, model: str, fields: dict[str, Any], expected: list[str]) -> None:
    """By name before pattern; where a built-in table speaks of the same fact, the user's word counts."""
    client = SudashuiClient(KEY, model_rules=read_model_rules(stated)["sudashui"])
    assert broken(client, model, **fields) == expected


def test_the_other_provider_takes_them_too(stated: str) -> None:
    """Alike, with its own defaults."""
    client = SenseAudioClient(KEY, model_rules=read_model_rules(stated)["senseaudio"])
    assert broken(client, "new-model", resolution="4k", images=links(2)) == []
    assert broken(client, "new-model", duration=5, resolution="720p", images=links(3)) == [
        "duration",
        "resolution",
        "images",
    ]


@pytest.mark.parametrize(("model", "seconds"), [("sdas-2-pro", 4), ("sdas-2-long", 15), ("sd-2-720p", 4), ("other", 4)])
def test_the_default_duration_is_one_that_the_model_takes(stated: str, model: str, seconds: int) -> None:
    """The usual one, else the shortest."""
    client = SudashuiClient(KEY, model_rules=read_model_rules(stated)["sudashui"])
    body = client.body(VideoRequest(model=model, prompt="x"))
    assert body["duration"] == seconds
    assert json.loads(body["metadata"]["payload"])["aspectRatio"] == "16:9"
    other = SenseAudioClient(KEY, model_rules=read_model_rules(stated)["senseaudio"])
    body = other.body(VideoRequest(model="new-model", prompt="x"))
    assert (body["duration"], body["resolution"], body["ratio"]) == (8, "4k", "16:9")


@pytest.mark.parametrize(
    ("model", "fields", "expected"),
    [
        ("sd-2-720p", {"duration": 4}, []),
        ("some-model", {"duration": 20}, ["duration"]),
        ("some-model", {"duration": 5, "images": links(10)}, ["images"]),
        ("some-model", {"aspect_ratio": "2:1"}, ["aspect_ratio"]),
        ("some-model", {"first_frame": links(1)[0]}, ["last_frame"]),
        ("sdas-2-pro", {"duration": 30, "images": links(30)}, []),
        ("bf-sdas-x", {"duration": 31}, ["duration"]),
        ("ld-x", {"videos": links(11)}, ["videos"]),
    ],
)
def test_what_is_known_of_other_models_only_warns(model: str, fields: dict[str, Any], expected: list[str]) -> None:
    """Such a request passes, and may be refused by the provider."""
    client = SudashuiClient(KEY)
    assert broken(client, model, **fields) == []
    assert warned(client, model, **fields) == expected


def test_what_was_stated_is_not_warned_of(stated: str) -> None:
    """The user knows better."""
    client = SudashuiClient(KEY, model_rules=read_model_rules(stated)["sudashui"])
    assert warned(client, "sdas-2-pro", images=links(31)) == []
    assert warned(client, "sdas-2-pro", videos=links(11)) == ["videos"]


def test_families_of_senseaudio() -> None:
    """A newer model of a known family, and a name of none."""
    client = SenseAudioClient(KEY)
    assert warned(client, "doubao-seedance-2-5-260628", duration=30) == ["duration"]
    assert warned(client, "Seedance-Pro-1.6", duration=13) == ["duration"]
    assert warned(client, "kling-3", duration=30) == []
    facts = {"images[0]": MediaInfo("image", "image/heic", 9)}
    request = VideoRequest(model="doubao-seedance-2-5-260628", prompt="x", images=links(1))
    assert [problem.field for problem in client.warnings(request, facts)] == ["images[0]"]


@pytest.mark.parametrize(
    ("stated", "fields"),
    [
        ("{", ["model_rules"]),
        ("[]", ["model_rules"]),
        ("/no/such/file.json", ["model_rules"]),
        ("~nosuchuser/file.json", ["model_rules"]),
        ("\0", ["model_rules"]),
        ("[" * 100_000, ["model_rules"]),
        ('{"sudashui": []}', ["sudashui"]),
        ('{"sudashui": {"a": {"seconds": "x"}}}', ["sudashui.a.seconds"]),
        ('{"sudashui": {"a": {"seconds": "30-4"}}}', ["sudashui.a.seconds"]),
        ('{"sudashui": {"a": {"seconds": [4.5, 0]}}}', ["sudashui.a.seconds.0", "sudashui.a.seconds.1"]),
        ('{"sudashui": {"a": {"images": -1, "sconds": 4}}}', ["sudashui.a.images", "sudashui.a.sconds"]),
        ('{"sudashui": {"a": {"aspect_ratios": []}}}', ["sudashui.a.aspect_ratios"]),
    ],
)
def test_rules_that_cannot_be_used(stated: str, fields: list[str]) -> None:
    """One error that names every field."""
    with pytest.raises(InvalidRequestError) as caught:
        read_model_rules(stated)
    assert [problem.field for problem in caught.value.problems] == fields


def test_a_file_has_a_bound(tmp_path: Path) -> None:
    """It is read whole."""
    path = tmp_path / "big.json"
    path.write_bytes(b" " * (1024 * 1024 + 1))
    with pytest.raises(InvalidRequestError):
        read_model_rules(str(path))


def test_the_setting_reaches_the_clients(stated: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the provider that it names."""
    monkeypatch.setenv("PREFECT_INTEGRATIONS_GENVIDEO_MODEL_RULES", stated)
    sudashui = SudashuiCredentials(api_key=KEY).get_client()  # type: ignore[arg-type]
    senseaudio = SenseAudioCredentials(api_key=KEY).get_client()  # type: ignore[arg-type]
    assert broken(sudashui, "sdas-2-pro", duration=31) == ["duration"]
    assert broken(senseaudio, "new-model", duration=9) == ["duration"]
    assert broken(senseaudio, "sdas-2-pro", duration=31) == []


def test_limits_in_a_line() -> None:
    """For a list of models."""
    limits = ModelLimits.model_validate(STATED["sudashui"]["sdas-2-*"])
    assert str(limits) == "a whole number of seconds from 4 to 30, 16:9 9:16, 30 images, no audios"
    assert str(ModelLimits(seconds=(15, 30))) == "15 or 30 seconds"
    assert str(ModelLimits()) == ""


async def test_an_unlisted_model_makes_a_video_and_what_is_doubtful_is_said(sim: Simulator, tmp_path: Path) -> None:
    """The provider judges; the run's log has what is known of other models."""
    sim.configure(models=("sdas-2-pro",))
    async with open_pipelines(sim, LocalStore(tmp_path)) as pipelines:
        for number, seconds in enumerate((None, 31)):
            request = VideoRequest(model="sdas-2-pro", prompt="x", duration=seconds)
            row = await Maker().make([Attempt(pipelines.sudashui, request, f"key{number}")])
            assert row.error is None
    assert [task.wanted.seconds for task in sim.tasks] == [4, 31]
    assert [said for said in pipelines.said if "duration = 31" in said and "seen of this family" in said]
    assert not [said for said in pipelines.said if "duration = 4" in said]
