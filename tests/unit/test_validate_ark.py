"""Every limit of Ark's document, model by model, and what a request says where it leaves something open."""

from __future__ import annotations

import base64
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from prefect_genvideo.errors import InvalidRequestError
from prefect_genvideo.media.inspect import MediaInfo
from prefect_genvideo.models import VideoRequest
from prefect_genvideo.providers import ArkClient, SenseAudioClient, SudashuiClient, read_model_rules
from prefect_genvideo.providers.ark.checks import MB
from prefect_genvideo.providers.ark.rules import MODELS
from tests.fixtures.pictures import png

KEY = "sk-test"
LINK = "https://e.com/a"
V25, V20, FAST = "doubao-seedance-2-5-260628", "doubao-seedance-2-0-260128", "doubao-seedance-2-0-fast-260128"
V15, V10, V10F = (
    "doubao-seedance-1-5-pro-251215",
    "doubao-seedance-1-0-pro-250528",
    "doubao-seedance-1-0-pro-fast-251015",
)
ENDPOINT, UNKNOWN = "ep-20261101120000-aaaaa", "some-new-model"
ALL = tuple(MODELS)


def asked(**fields: Any) -> VideoRequest:
    given: dict[str, Any] = {"model": V20, "prompt": "x", **fields}
    return VideoRequest(**given)


def broken(media: dict[str, MediaInfo] | None = None, /, **fields: Any) -> list[str]:
    """The fields that break a rule."""
    return [problem.field for problem in ArkClient(KEY).validate(asked(**fields), media)]


def body(**fields: Any) -> dict[str, Any]:
    return ArkClient(KEY).body(asked(**fields))


def links(count: int) -> tuple[str, ...]:
    return tuple(f"{LINK}{i}" for i in range(count))


# Figures


@pytest.mark.parametrize(
    ("model", "good", "bad"),
    [
        (V25, [4, 30, -1, 5.0], [3, 31, 0, -2, 4.5]),
        (V20, [4, 15, -1], [3, 16, True]),
        (FAST, [4, 15, -1], [3, 16]),
        ("dreamina-seedance-2-0-mini-260615", [4, 15], [16]),
        (V15, [4, 12, -1], [3, 13]),
        (V10, [2, 12], [1, 13, -1]),
        (V10F, [2, 12], [1, 13, -1]),
        (ENDPOINT, [1, 600, -1], [0, -2, 4.5, float("nan"), float("inf")]),
    ],
)
def test_duration(model: str, good: list[float], bad: list[float]) -> None:
    """Whole seconds; -1 where the model chooses them."""
    assert all(broken(model=model, duration=value) == [] for value in good)
    assert all(broken(model=model, duration=value) == ["duration"] for value in bad)


@pytest.mark.parametrize(
    ("model", "good", "bad"),
    [
        (V25, ["480p", "720p", "1080p"], ["4k", "2k"]),
        (V20, ["480p", "1080p", "4k"], ["4K", "720P", ""]),
        (FAST, ["480p", "720p"], ["1080p", "4k"]),
        (V15, ["480p", "1080p"], ["4k"]),
        (V10, ["480p", "1080p"], ["4k"]),
        (ENDPOINT, ["8k"], []),
    ],
)
def test_resolution(model: str, good: list[str], bad: list[str]) -> None:
    """By model; an endpoint's id does not tell its model."""
    assert all(broken(model=model, resolution=value) == [] for value in good)
    assert all(broken(model=model, resolution=value) == ["resolution"] for value in bad)


@pytest.mark.parametrize("model", [V25, V20, FAST, V15, ENDPOINT])
def test_aspect_ratio_of_a_text(model: str) -> None:
    """Any of the document's, and adaptive."""
    assert all(broken(model=model, aspect_ratio=value) == [] for value in ("16:9", "21:9", "3:4", "adaptive"))
    assert all(broken(model=model, aspect_ratio=value) == ["aspect_ratio"] for value in ("", "wide", "16x9"))


@pytest.mark.parametrize("model", [V10, V10F])
def test_older_models_adapt_to_pictures_only(model: str) -> None:
    """A text has no ratio."""
    assert broken(model=model, aspect_ratio="adaptive") == ["aspect_ratio"]
    assert broken(model=model, aspect_ratio="adaptive", first_frame=LINK) == []


def test_frames_of_2_5_keep_their_ratio() -> None:
    """Any other ratio makes a task that fails later: `adaptive` is sent, and what is asked for must be the frame's."""
    wide = {"first_frame": MediaInfo("image", "image/png", 1000, 992, 432)}
    for given in ({"aspect_ratio": "16:9"}, {"aspect_ratio": "adaptive"}, {}):
        assert body(model=V25, first_frame=LINK, **given)["ratio"] == "adaptive"
        assert broken(model=V25, first_frame=LINK, **given) == []
        assert broken(wide, model=V25, first_frame=LINK, **given) == (
            ["aspect_ratio"] if "16:9" in given.values() else []
        )
    assert broken(wide, model=V25, first_frame=LINK, aspect_ratio="21:9") == []
    assert broken(wide, model=V20, first_frame=LINK, aspect_ratio="16:9") == []
    assert body(model=V20, first_frame=LINK, aspect_ratio="16:9")["ratio"] == "16:9"
    assert body(model=V25, aspect_ratio="16:9")["ratio"] == "16:9"


@pytest.mark.parametrize("timeout", [3600, 172_799, 259_200])
def test_timeout(timeout: int) -> None:
    """The provider gives up after so many seconds."""
    assert broken(timeout=timeout) == []
    assert body(timeout=timeout)["execution_expires_after"] == timeout
    assert broken(timeout=3599) == broken(timeout=259_201) == ["timeout"]


# Modes


@pytest.mark.parametrize("model", [V25, V20, ENDPOINT])
def test_modes_are_never_mixed(model: str) -> None:
    """Frames or references."""
    assert broken(model=model, first_frame=LINK, images=[LINK]) == ["images"]
    assert broken(model=model, first_frame=LINK, videos=[LINK]) == ["videos"]
    assert "audios" in broken(model=model, first_frame=LINK, audios=[LINK])
    assert broken(model=model, last_frame=LINK) == ["first_frame"]
    assert broken(model=model, first_frame=LINK, last_frame=LINK) == []


@pytest.mark.parametrize("model", [V15, V10, V10F])
def test_older_models_take_no_references(model: str) -> None:
    """Text or frames; the fast one a first frame only."""
    for field in ("images", "videos", "audios"):
        assert broken(model=model, **{field: [LINK]}) == [field]
    assert broken(model=model, first_frame=LINK) == []
    assert broken(model=model, first_frame=LINK, last_frame=LINK) == (["last_frame"] if model == V10F else [])


@pytest.mark.parametrize(
    ("model", "images", "videos", "audios", "together"),
    [(V25, 30, 10, 10, 50), (V20, 9, 3, 3, 15), (FAST, 9, 3, 3, 15)],
)
def test_how_many_references(model: str, images: int, videos: int, audios: int, together: int) -> None:
    """Each kind, and all of them."""
    assert broken(model=model, images=links(images), videos=links(videos), audios=links(audios)) == []
    assert images + videos + audios == together
    assert "images" in broken(model=model, images=links(images + 1))
    assert "videos" in broken(model=model, videos=links(videos + 1))
    assert "audios" in broken(model=model, images=[LINK], audios=links(audios + 1))


def test_audio_by_itself() -> None:
    """Only the newest model is content with it."""
    assert broken(audios=[LINK]) == ["audios"]
    assert broken(model=V25, prompt="", audios=[LINK]) == []


@pytest.mark.parametrize("model", [*ALL, ENDPOINT])
def test_something_must_be_shown(model: str) -> None:
    """A text is optional as soon as there is a picture."""
    assert broken(model=model, prompt=" ") == ["prompt"]
    assert broken(model=model, prompt="", first_frame=LINK) == []


# Media

FILM = MediaInfo("video", "video/mp4", 1000, 1280, 720, 5.0, fps=24.0)


@pytest.mark.parametrize(
    ("changes", "fine"),
    [
        ({"seconds": 15.2}, True),
        ({"seconds": 15.3}, False),
        ({"seconds": 1.9}, False),
        ({"width": 640, "height": 638}, True),
        ({"width": 400, "height": 400}, False),
        ({"width": 3840, "height": 2161}, False),
        ({"fps": 61.0}, False),
        ({"fps": 23.976}, True),
        ({"size": 200 * MB}, True),
        ({"size": 200 * MB + 1}, False),
    ],
)
def test_reference_videos(changes: dict[str, Any], fine: bool) -> None:
    """Seconds have the tolerance that refusals name."""
    media = {"videos[0]": replace(FILM, **changes)}
    assert bool(broken(media, videos=[LINK])) is not fine


def test_lengths_count_together() -> None:
    """30 s of the newest model, 15 s of the others, each kind by itself."""
    media = {f"videos[{i}]": replace(FILM, seconds=10.0) for i in range(3)}
    assert broken(media, videos=links(3)) == ["videos"]
    assert broken(media, model=V25, videos=links(3)) == []
    sounds = {f"audios[{i}]": MediaInfo("audio", "audio/wav", 1000, seconds=8.0) for i in range(2)}
    assert broken(sounds, images=[LINK], audios=links(2)) == ["audios"]


@pytest.mark.parametrize(
    ("model", "kind", "fine"),
    [
        (V20, "image/heic", True),
        (V10, "image/heic", False),
        (V10, "image/gif", True),
        (V20, "image/avif", False),
    ],
)
def test_kinds_of_pictures(model: str, kind: str, fine: bool) -> None:
    """HEIC came later."""
    media = {"first_frame": MediaInfo("image", kind, 1000, 640, 640)}
    assert bool(broken(media, model=model, first_frame=LINK)) is not fine


@pytest.mark.parametrize(("size", "fine"), [(30 * MB - 1, True), (30 * MB, False)])
@pytest.mark.parametrize("field", ["images[0]", "first_frame"])
def test_sizes_of_pictures(size: int, fine: bool, field: str) -> None:
    """Less than 30 MB."""
    given = {"first_frame": LINK} if field == "first_frame" else {"images": [LINK]}
    assert broken({field: MediaInfo("image", "image/png", size, 640, 640)}, **given) == ([] if fine else [field])


@pytest.mark.parametrize(
    ("width", "height", "fine"),
    [(300, 300, True), (299, 600, False), (6000, 2400, True), (6001, 3000, False), (3000, 1000, False)],
)
def test_sides_of_pictures(width: int, height: int, fine: bool) -> None:
    """300 to 6000 pixels, 0.4 to 2.5."""
    media = {"images[0]": MediaInfo("image", "image/png", 1000, width, height)}
    assert bool(broken(media, images=[LINK])) is not fine


def test_kinds_of_sounds_and_films() -> None:
    """wav and mp3, mp4 and mov."""
    for kind, fine in (("audio/wav", True), ("audio/mpeg", True), ("audio/flac", False)):
        media = {"audios[0]": MediaInfo("audio", kind, 1000, seconds=3.0)}
        assert bool(broken(media, images=[LINK], audios=[LINK])) is not fine
    assert broken({"videos[0]": replace(FILM, media_type="video/webm")}, videos=[LINK]) == ["videos[0]"]
    assert broken({"images[0]": FILM}, model=ENDPOINT, images=[LINK]) == ["images[0]"]


def test_the_whole_body_has_a_limit() -> None:
    """Pictures travel as base64, which makes 29 MB to 39."""
    media = {f"images[{i}]": MediaInfo("image", "image/png", 29 * MB, 640, 640) for i in range(2)}
    assert broken(media, images=links(2)) == ["images"]


# Options


@pytest.mark.parametrize(
    ("name", "good", "bad", "models"),
    [
        ("watermark", [True, False], [1, "true", None], set(ALL)),
        ("return_last_frame", [True], [0], set(ALL)),
        ("callback_url", ["https://h.example/x"], ["h.example", "ftp://h/x", 1], set(ALL)),
        ("safety_identifier", ["a" * 64], ["a" * 65, "", "é", 5], set(ALL)),
        ("seed", [-1, 0, 2**31 - 1], [-2, 2**31, 1.0, True, "7"], set(ALL)),
        ("generate_audio", [True, False], ["false"], {V25, V20, FAST, V15}),
        ("priority", [0, 9], [-1, 10, True], {V25, V20, FAST}),
        ("tools", [[{"type": "web_search"}]], [[], [{"type": "x"}], "web_search"], {V25, V20, FAST}),
        ("output_format", ["mp4", "mov"], ["webm", "MP4"], {V25}),
        ("omni_reference_task_type", ["auto", "reference"], ["other"], {V25}),
        ("service_tier", ["default", "flex"], ["fast"], {V15, V10, V10F}),
        ("camera_fixed", [True], ["yes"], {V15, V10, V10F}),
        ("frames", [29, 33, 289], [28, 30, 293, 29.0, "29"], {V10, V10F}),
    ],
)
def test_options_by_model(name: str, good: list[Any], bad: list[Any], models: set[str]) -> None:
    """A model's own fields with their values; an endpoint's model may know any of them."""
    field = f"options.{name}"
    for model in (V25, V20, FAST, V15, V10, V10F):
        known = model in models
        assert all((broken(model=model, options={name: value}) == []) is known for value in good)
        assert all(field in broken(model=model, options={name: value}) for value in (*bad, *([] if known else good)))
    assert all(broken(model=ENDPOINT, options={name: value}) == [] for value in good)
    assert all(broken(model=ENDPOINT, options={name: value}) == [field] for value in bad)


def test_unknown_options() -> None:
    """An unknown field may be ignored in silence: a known model's are all known here. Others' pass."""
    assert broken(options={"negative_prompt": "x"}) == ["options.negative_prompt"]
    assert broken(model=UNKNOWN, options={"negative_prompt": "x"}) == []
    assert body(model=UNKNOWN, options={"negative_prompt": "x"})["negative_prompt"] == "x"


@pytest.mark.parametrize("name", ["model", "content", "resolution", "ratio", "duration", "execution_expires_after"])
@pytest.mark.parametrize("model", [V20, ENDPOINT])
def test_fields_of_the_request_are_no_options(name: str, model: str) -> None:
    """An option would overwrite one."""
    assert f"options.{name}" in broken(model=model, options={name: 1})
    assert body(model=model, options={name: "other"}).get(name) != "other"


def test_frames_leave_no_duration() -> None:
    """The number of frames wins, and the price follows it; a duration beside it is allowed and does nothing."""
    assert "duration" not in body(model=V10, options={"frames": 57})
    both = asked(model=V10, duration=12, options={"frames": 121})
    assert ArkClient(KEY).validate(both) == []
    assert [problem.field for problem in ArkClient(KEY).warnings(both)] == ["duration"]
    assert ArkClient(KEY).billable(both).seconds == (Decimal("5"),)


def test_drafts() -> None:
    """480p, and a final video of 1080p that repeats nothing."""
    draft = {"draft": True}
    assert body(model=V25, options=draft)["resolution"] == "480p"
    assert broken(model=V25, options=draft, resolution="720p") == ["resolution"]
    assert broken(model=V20, options=draft) == ["options.draft"]
    last = draft | {"return_last_frame": True}
    assert broken(model=V15, options=last) == ["options.return_last_frame"]
    assert broken(model=V15, options=last | {"return_last_frame": False}) == broken(model=V25, options=last) == []
    final: dict[str, Any] = {"model": V25, "prompt": "", "options": {"draft_task_id": "cgt-1"}}
    assert broken(**final) == []
    assert body(**final) == {
        "model": V25,
        "content": [{"type": "draft_task", "draft_task": {"id": "cgt-1"}}],
        "resolution": "1080p",
        "watermark": False,
    }
    assert broken(**(final | {"resolution": "720p"})) == ["resolution"]
    assert broken(**(final | {"model": V15, "resolution": "720p"})) == []
    assert "resolution" not in body(**(final | {"model": V15}))
    assert broken(**(final | {"prompt": "x", "duration": 5, "images": [LINK], "aspect_ratio": "1:1"})) == [
        "prompt",
        "images",
        "duration",
        "aspect_ratio",
    ]
    assert broken(**(final | {"options": {"draft_task_id": "cgt-1", "seed": 1}})) == ["options.seed"]
    assert broken(**(final | {"options": {"draft_task_id": ""}})) == ["options.draft_task_id"]


def test_editing_and_extending() -> None:
    """They take a video, whose ratio stays; what is edited keeps its length."""
    edit, extend = ({"omni_reference_task_type": kind} for kind in ("edit", "extend"))
    assert broken(model=V25, options=edit, videos=[LINK]) == []
    assert body(model=V25, options=edit, videos=[LINK])["duration"] == -1
    assert broken(model=V25, options=edit, videos=[LINK], duration=5) == ["duration"]
    assert broken(model=V25, options=extend, videos=[LINK], duration=5) == []
    assert broken(model=V25, options=extend, videos=[LINK], aspect_ratio="1:1") == ["aspect_ratio"]
    assert broken(model=V25, options=edit, images=[LINK]) == ["videos"]
    short = {"videos[0]": replace(FILM, seconds=3.0)}
    assert broken(short, model=V25, options=edit, videos=[LINK]) == ["videos[0]"]
    assert broken(short, model=V25, options=extend, videos=[LINK]) == []
    for task_type in (edit, extend):  # the prompt says what is done to the video
        assert broken(model=V25, options=task_type, videos=[LINK], prompt="") == ["prompt"]
    named = {"omni_reference_task_type": "reference"}
    assert broken(model=V25, options=named, first_frame=LINK) == ["options.omni_reference_task_type"]
    assert broken(model=ENDPOINT, options=named, first_frame=LINK) == ["options.omni_reference_task_type"]
    auto = {"omni_reference_task_type": "auto"}
    assert broken(model=V25, options=auto, first_frame=LINK) == broken(model=V25, options=named, images=[LINK]) == []


def test_the_cheaper_tier_has_no_priority() -> None:
    """No documented model knows both; behind an endpoint's id there may be any."""
    assert broken(model=ENDPOINT, options={"priority": 1, "service_tier": "flex"}) == ["options.priority"]
    assert broken(model=ENDPOINT, options={"priority": 1, "service_tier": "default"}) == []


# What is said where a request leaves it open


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"model": V25}, ("720p", "adaptive", 5, True)),
        ({"model": V25, "videos": [LINK]}, ("720p", "adaptive", -1, True)),
        ({"model": V20}, ("720p", "adaptive", 5, True)),
        ({"model": V10}, ("1080p", "16:9", 5, None)),
        ({"model": V10, "first_frame": LINK}, ("1080p", "adaptive", 5, None)),
        ({"model": ENDPOINT}, (None, None, None, None)),
        ({"model": UNKNOWN}, (None, None, None, None)),
    ],
)
def test_defaults(fields: dict[str, Any], expected: tuple[Any, ...]) -> None:
    """A known model's are said, so that a price can be told; of others only that there is no watermark."""
    sent = body(**fields)
    assert tuple(sent.get(name) for name in ("resolution", "ratio", "duration", "generate_audio")) == expected
    assert sent["watermark"] is False


def test_what_is_said_stands() -> None:
    """Sound and watermark as the caller wants them."""
    sent = body(options={"generate_audio": False, "watermark": True}, duration=4.0)
    assert (sent["generate_audio"], sent["watermark"], sent["duration"]) == (False, True, 4)
    assert isinstance(sent["duration"], int)


def test_stated_rules_go_before_the_built_in_ones() -> None:
    """Also for endpoints, of which nothing is known."""
    stated = read_model_rules('{"ark": {"ep-*": {"seconds": "4-30", "open_length": true, "images": 1}}}')["ark"]
    client = ArkClient(KEY, model_rules=stated)
    assert [p.field for p in client.validate(asked(model=ENDPOINT, duration=31, images=links(2)))] == [
        "duration",
        "images",
    ]
    assert client.validate(asked(model=ENDPOINT, duration=-1)) == []
    assert client.validate(asked(model=ENDPOINT)) == []


# Families


@pytest.mark.parametrize(
    ("model", "fields", "warned"),
    [
        ("doubao-seedance-2-0-270101", {"duration": 16}, ["duration"]),
        ("doubao-seedance-2-0-fast-270101", {"resolution": "1080p"}, ["resolution"]),
        ("dreamina-seedance-2-5-270101", {"duration": 30}, []),
        (ENDPOINT, {"duration": 60}, []),
        (UNKNOWN, {"duration": 60}, []),
        (V20, {}, []),
        (V15, {}, ["model"]),
        (V25, {"first_frame": LINK, "aspect_ratio": "16:9"}, ["aspect_ratio"]),
        (V25, {"first_frame": LINK}, []),
        (V20, {"prompt": "a cat --dur 10 --wm false"}, ["prompt"]),
        (ENDPOINT, {"prompt": "a cat --rs 1080p"}, ["prompt"]),
        (V20, {"prompt": "a cat -- during 10 minutes --"}, []),
        (V20, {"options": {"seed": 7}}, ["options.seed"]),
        ("doubao-seedance-2-9-990101", {"options": {"seed": 7}}, ["options.seed"]),
        (V10, {"options": {"seed": 7}}, []),
        (V20, {"prompt": "猫" * 500}, []),
        (V20, {"prompt": "猫" * 501}, ["prompt"]),
        (V20, {"prompt": "a " * 1000}, []),
        (ENDPOINT, {"prompt": "a " * 1001}, ["prompt"]),
        ("doubao-seedance-1-0-lite-i2v-250428", {"images": [LINK]}, ["model"]),
    ],
)
def test_what_is_only_likely_warns(model: str, fields: dict[str, Any], warned: list[str]) -> None:
    """Another version of a model, and one that is retired, are for the provider to judge."""
    client, request = ArkClient(KEY), asked(model=model, **fields)
    assert client.validate(request) == []
    assert [problem.field for problem in client.warnings(request)] == warned


@pytest.mark.parametrize(
    ("model", "basis", "seconds"),
    [(V20, "documented", 15), ("doubao-seedance-2-5-270101", "family", 30), (ENDPOINT, "", 0)],
)
def test_known_limits(model: str, basis: str, seconds: int) -> None:
    """For lists of models and for estimates."""
    limits, found = ArkClient(KEY).known_limits(model)
    assert (found, max(limits.seconds or (0,))) == (basis, seconds)


# Prompts and assets


@pytest.mark.parametrize(
    ("prompt", "sent"),
    [
        ("@image1 walks to @Image2, as in @video1 to @audio1", "Image 1 walks to Image 2, as in Video 1 to Audio 1"),
        ("@image1的人物在@图片2中,参考@video1,配合@audio1", "图片1的人物在图片2中,参考视频1,配合音频1"),
        ("Image 1 and 图片2", "Image 1 and 图片2"),
        ("write to me@image1.com", "write to me@image1.com"),
    ],
)
def test_references_in_a_prompt(prompt: str, sent: str) -> None:
    """One way to write them for all providers; Ark's models have their own names for them."""
    request = asked(prompt=prompt, images=links(2), videos=links(1), audios=links(1))
    assert ArkClient(KEY).validate(request) == []
    assert ArkClient(KEY).body(request)["content"][0] == {"type": "text", "text": sent}


@pytest.mark.parametrize("model", [V20, ENDPOINT])
def test_a_reference_has_its_asset(model: str) -> None:
    """Counted from 1, each kind by itself; frames are images too."""
    assert broken(model=model, prompt="@image2", images=links(1)) == ["prompt"]
    assert broken(model=model, prompt="@image0", images=links(1)) == ["prompt"]
    assert broken(model=model, prompt="@video1", images=links(1)) == ["prompt"]
    assert broken(model=model, prompt="@image2", first_frame=LINK, last_frame=LINK) == []


def test_the_content_is_in_its_order() -> None:
    """Text, images, videos, audios, each with its role."""
    sent = body(images=links(2), videos=[LINK], audios=[LINK])["content"]
    assert [(item["type"], item.get("role")) for item in sent] == [
        ("text", None),
        ("image_url", "reference_image"),
        ("image_url", "reference_image"),
        ("video_url", "reference_video"),
        ("audio_url", "reference_audio"),
    ]
    frames = body(first_frame=LINK, last_frame=f"{LINK}b", prompt="")["content"]
    assert frames == [
        {"type": "image_url", "image_url": {"url": LINK}, "role": "first_frame"},
        {"type": "image_url", "image_url": {"url": f"{LINK}b"}, "role": "last_frame"},
    ]


def test_ids_of_the_asset_library() -> None:
    """Ark's own; to any other provider they are nothing."""
    asset = "asset://asset-20261101120000-aaaaa"
    assert body(images=[asset], videos=[asset])["content"][1]["image_url"] == {"url": asset}
    assert broken(images=[asset], videos=[asset], model=ENDPOINT) == []
    assert broken(images=["asset://"]) == broken(images=["asset://a/../b"]) == ["images[0]"]
    for client, model in ((SudashuiClient(KEY), "sd-2-720p"), (SenseAudioClient(KEY), "Seedance-2.0")):
        assert [problem.field for problem in client.validate(asked(model=model, images=[asset]))] == ["images[0]"]


async def test_local_files_travel_inside_the_body(tmp_path: Path) -> None:
    """Images and audios as data URLs in the API's own spelling; a video cannot."""
    picture, sound = tmp_path / "a.bin", tmp_path / "b.bin"
    picture.write_bytes(png(320, 320))
    sound.write_bytes(b"\xff\xfb\x90\x64" + b"\0" * 413)
    sent = body(images=[str(picture)], audios=[str(sound)])["content"]
    assert sent[1]["image_url"]["url"] == f"data:image/png;base64,{base64.b64encode(png(320, 320)).decode()}"
    assert sent[2]["audio_url"]["url"].startswith("data:audio/mp3;base64,//uQZ")
    given = f"data:IMAGE/PNG;base64,{base64.b64encode(png(320, 320)).decode()}"
    assert body(first_frame=given)["content"][1]["image_url"]["url"].startswith("data:image/png;base64,")
    with pytest.raises(InvalidRequestError) as caught:
        await ArkClient(KEY).create(asked(videos=[f"data:video/mp4;base64,{'A' * 40}"]))
    assert [problem.field for problem in caught.value.problems] == ["videos[0]"]
