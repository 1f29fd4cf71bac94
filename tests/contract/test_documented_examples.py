"""Every request body printed in either document is what `body` makes of the portable request behind it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from prefect_genvideo.models import VideoRequest
from prefect_genvideo.providers import SenseAudioClient, SudashuiClient
from prefect_genvideo.providers.senseaudio import rules as senseaudio_rules
from prefect_genvideo.providers.sudashui import rules as sudashui_rules
from tests.contract import cases
from tests.contract.cases import CLIENTS, EXAMPLES, KEY

DOCUMENTED = [(provider, example) for provider, examples in EXAMPLES.items() for example in examples]


@pytest.mark.parametrize(("provider", "example"), DOCUMENTED, ids=lambda value: str(value)[:60])
def test_the_example_is_what_we_send(provider: str, example: dict[str, Any]) -> None:
    """Equal in meaning as JSON, and the request passes every rule."""
    client = CLIENTS[provider](KEY)
    request = cases.request_of(provider, example["body"])
    assert client.validate(request) == []
    assert client.body(request) == example["body"]


@pytest.mark.parametrize("example", EXAMPLES["sudashui"], ids=lambda example: str(example["title"]))
def test_the_payload_is_the_documents_string_byte_for_byte(example: dict[str, Any]) -> None:
    """`metadata.payload` has the document's field order and no blanks."""
    body = SudashuiClient(KEY).body(cases.request_of("sudashui", example["body"]))
    assert body["metadata"]["payload"] == example["body"]["metadata"]["payload"]


@pytest.mark.parametrize("model", sudashui_rules.MODELS)
def test_sudashui_needs_only_model_and_prompt(model: str) -> None:
    """The rest has defaults, and the resolution, decided by the name, is not sent."""
    client = SudashuiClient(KEY)
    request = VideoRequest(model=model, prompt="一只猫")
    assert client.validate(request) == []
    assert client.effective(request).resolution == model.rpartition("-")[2]
    assert client.body(request) == {
        "model": model,
        "prompt": "一只猫",
        "duration": 4,
        "metadata": {"payload": '{"aspectRatio":"16:9","mode":"references"}'},
    }


@pytest.mark.parametrize("model", [*senseaudio_rules.MODELS, "some-new-model"])
def test_senseaudio_needs_only_model_and_prompt(model: str) -> None:
    """The API requires duration, resolution and ratio of every model, so all three have defaults."""
    client = SenseAudioClient(KEY)
    request = VideoRequest(model=model, prompt="一只猫")
    assert client.validate(request) == []
    body = client.body(request)
    assert {"duration", "resolution", "ratio"} <= set(body)
    assert body["content"] == [{"type": "text", "text": "一只猫"}]


def test_an_unknown_sudashui_model_gets_what_the_api_requires() -> None:
    """Duration and aspect ratio are required of every model; all else is sent as it is, and the provider judges."""
    client = SudashuiClient(KEY)
    body = client.body(VideoRequest(model="sdas-new", prompt="x", duration=30, options={"seed": 7}))
    assert body["duration"] == 30
    assert json.loads(body["metadata"]["payload"]) == {"aspectRatio": "16:9", "mode": "references", "seed": 7}
    assert client.body(VideoRequest(model="sdas-new", prompt="x"))["duration"] == 4


def test_no_forbidden_field_is_ever_sent() -> None:
    """Options that would put one into the body are refused by `validate`, and even `body` leaves them out."""
    forbidden = sudashui_rules.FORBIDDEN_OUTER | sudashui_rules.FORBIDDEN_INNER
    client = SudashuiClient(KEY)
    request = VideoRequest(model="sdas-new", prompt="x", options=dict.fromkeys(sorted(forbidden), "2:1"))
    assert {problem.field for problem in client.validate(request)} == {f"options.{name}" for name in forbidden}
    body = client.body(request)
    assert set(body) == {"model", "prompt", "duration", "metadata"}
    assert json.loads(body["metadata"]["payload"]) == {"aspectRatio": "16:9", "mode": "references"}


def test_a_whole_duration_is_sent_as_an_integer() -> None:
    """The gateway is written in Go, where 6.0 is no int."""
    body = SudashuiClient(KEY).body(VideoRequest(model="sd-2-720p", prompt="x", duration=6.0))
    assert json.dumps(body["duration"]) == "6"


def test_watermarks_are_declined_unless_wanted() -> None:
    """Seedance 2 adds one by default; models that do not know the field never get it."""
    client = SenseAudioClient(KEY)
    for model in senseaudio_rules.SEEDANCE_2:
        assert client.body(VideoRequest(model=model, prompt="x"))["watermark"] is False
        wanted = VideoRequest(model=model, prompt="x", options={"watermark": True})
        assert client.body(wanted)["watermark"] is True
    assert "watermark" not in client.body(VideoRequest(model="Seedance-Pro-1.5", prompt="x"))


def test_generate_audio_is_nested() -> None:
    """A flat field is ignored by the API, so the option goes into `provider_specific`."""
    request = VideoRequest(model="Seedance-2.0", prompt="x", options={"generate_audio": True})
    body = SenseAudioClient(KEY).body(request)
    assert body["provider_specific"] == {"generate_audio": True}
    assert "generate_audio" not in body


def test_reference_videos_and_audios_of_seedance_2() -> None:
    """They travel as `video_url` and `audio_url`, without a role."""
    request = VideoRequest(
        model="Seedance-2.0",
        prompt="x",
        images=("https://e.com/i.png",),
        videos=("https://e.com/v.mp4",),
        audios=("https://e.com/a.mp3",),
    )
    assert SenseAudioClient(KEY).body(request)["content"][1:] == [
        {"type": "image", "url": "https://e.com/i.png", "role": "reference"},
        {"type": "video", "video_url": "https://e.com/v.mp4"},
        {"type": "audio", "audio_url": "https://e.com/a.mp3"},
    ]
