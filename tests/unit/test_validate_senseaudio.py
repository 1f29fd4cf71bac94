"""Every limit of SenseAudio's document, model by model, and those of its later edition."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from prefect_genvideo.errors import InvalidRequestError
from prefect_genvideo.media.inspect import MediaInfo
from prefect_genvideo.models import VideoRequest
from prefect_genvideo.providers import SenseAudioClient
from prefect_genvideo.providers.senseaudio.rules import MB, SEEDANCE_2
from tests.fixtures.expected import refusing
from tests.fixtures.pictures import png

KEY = "sk-test"
LINK = "https://e.com/a"
V1, PRO, UNKNOWN = "SenseAudio-Video-1.0", "Seedance-Pro-1.5", "some-new-model"


def broken(media: dict[str, MediaInfo] | None = None, **fields: Any) -> list[str]:
    """The fields that break a rule."""
    given: dict[str, Any] = {"model": "Seedance-2.0", "prompt": "x", **fields}
    request = VideoRequest(**given)
    return [problem.field for problem in SenseAudioClient(KEY).validate(request, media)]


def links(count: int) -> tuple[str, ...]:
    return tuple(f"{LINK}{i}" for i in range(count))


@pytest.mark.parametrize(
    ("model", "good", "bad"),
    [
        (V1, [10, 15, 10.0], [9, 11, 14, 16, 10.5]),
        (PRO, [2, 7, 12], [1, 13, 2.5, 0, -3]),
        *((model, [4, 15], [3, 16, 4.5]) for model in SEEDANCE_2),
        (UNKNOWN, [1, 30, 600], [0, -1, 4.5, float("nan"), float("inf")]),
    ],
)
def test_duration(model: str, good: list[float], bad: list[float]) -> None:
    """Whole seconds."""
    assert all(broken(model=model, duration=value) == [] for value in good)
    assert all(broken(model=model, duration=value) == ["duration"] for value in bad)


@pytest.mark.parametrize(
    ("model", "good", "bad"),
    [
        (V1, ["720p"], ["1080p", "480p", "720P", ""]),
        (PRO, ["720p", "1080p"], ["480p"]),
        ("Seedance-2.0", ["480p", "720p", "1080p"], ["2k"]),
        (UNKNOWN, ["4k"], []),
    ],
)
def test_resolution(model: str, good: list[str], bad: list[str]) -> None:
    """By model."""
    assert all(broken(model=model, resolution=value) == [] for value in good)
    assert all(broken(model=model, resolution=value) == ["resolution"] for value in bad)


@pytest.mark.parametrize(
    ("model", "good", "bad"),
    [
        (V1, ["16:9", "9:16", "21:9", "2:1"], ["0:1", "16/9", "wide", "", "16:9:1"]),
        (PRO, ["9:16", "16:9", "1:1", "4:3", "3:4"], ["21:9"]),
        ("Seedance-2.0-Fast", ["16:9", "4:3", "1:1", "3:4", "9:16"], ["21:9"]),
    ],
)
def test_aspect_ratio(model: str, good: list[str], bad: list[str]) -> None:
    """Any `n:m` for one model, five for the others."""
    assert all(broken(model=model, aspect_ratio=value) == [] for value in good)
    assert all(broken(model=model, aspect_ratio=value) == ["aspect_ratio"] for value in bad)


@pytest.mark.parametrize(
    ("model", "fields", "expected"),
    [
        (V1, {"images": links(1)}, []),
        (V1, {"images": links(2)}, ["images"]),
        (V1, {"first_frame": LINK}, ["first_frame"]),
        (V1, {"videos": links(1), "audios": links(1)}, ["videos", "audios"]),
        (PRO, {"first_frame": LINK}, []),
        (PRO, {"first_frame": LINK, "last_frame": LINK}, []),
        (PRO, {"last_frame": LINK}, ["first_frame"]),
        (PRO, {"images": links(1)}, ["images"]),
        (PRO, {"videos": links(1)}, ["videos"]),
        ("Seedance-2.0", {"images": links(9)}, []),
        ("Seedance-2.0", {"images": links(10)}, ["images"]),
        ("Seedance-2.0", {"first_frame": LINK, "images": links(1)}, ["images"]),
        ("Seedance-2.0", {"last_frame": LINK}, ["first_frame"]),
        ("Seedance-2.0", {"videos": links(3), "audios": links(3)}, []),
        ("Seedance-2.0", {"videos": links(4)}, ["videos"]),
        ("Seedance-2.0", {"videos": links(1), "audios": links(4)}, ["audios"]),
        ("Seedance-2.0", {"audios": links(1)}, ["audios"]),
        ("Seedance-2.0", {"audios": links(1), "images": links(1)}, []),
        (UNKNOWN, {"images": links(20), "audios": links(1)}, []),
        (UNKNOWN, {"first_frame": LINK, "images": links(1)}, ["images"]),
    ],
)
def test_assets(model: str, fields: dict[str, Any], expected: list[str]) -> None:
    """Counts, roles and what goes together."""
    assert broken(model=model, **fields) == expected


def test_text() -> None:
    """Required of the known models; content must not be empty for any."""
    for model in (V1, PRO, *SEEDANCE_2):
        assert "prompt" in broken(model=model, prompt=" ")
    assert broken(model=UNKNOWN, prompt="") == ["prompt"]
    assert broken(model=UNKNOWN, prompt="", images=links(1)) == []


@pytest.mark.parametrize(("timeout", "fine"), [(3599, False), (3600, True), (172_800, True), (172_801, False)])
def test_timeout_of_seedance_2(timeout: int, fine: bool) -> None:
    """3599 was recorded to be refused."""
    assert broken(timeout=timeout) == ([] if fine else ["timeout"])


def test_timeout_of_the_others() -> None:
    """Any positive number."""
    assert broken(model=PRO, timeout=60) == []
    assert broken(model=PRO, timeout=0) == ["timeout"]


@pytest.mark.parametrize(
    ("model", "options", "expected"),
    [
        (V1, {"generate_audio": True}, ["options.generate_audio"]),
        (V1, {"provider_specific": {}}, ["options.provider_specific"]),
        (PRO, {"generate_audio": True, "camera_fixed": False}, []),
        (PRO, {"provider_specific": {"camera_fixed": True}}, []),
        (
            PRO,
            {"provider_specific": {"seed": 1, "camera_fixed": 1}},
            ["options.provider_specific.seed", "options.provider_specific.camera_fixed"],
        ),
        (PRO, {"generate_audio": "yes"}, ["options.generate_audio"]),
        (PRO, {"watermark": False}, ["options.watermark"]),
        ("Seedance-2.0", {"watermark": True, "generate_audio": False}, []),
        ("Seedance-2.0", {"camera_fixed": True}, ["options.camera_fixed"]),
        (UNKNOWN, {"seed": 1, "watermark": True}, []),
        (
            UNKNOWN,
            {"model": "x", "content": [], "duration": 1},
            ["options.model", "options.content", "options.duration"],
        ),
        (UNKNOWN, {"x": float("inf")}, ["options.x"]),
    ],
)
def test_options(model: str, options: dict[str, Any], expected: list[str]) -> None:
    """What a model knows, with its type; never a field of the body itself."""
    assert broken(model=model, options=options) == expected


@pytest.mark.parametrize(
    ("width", "height", "fine"),
    [
        (300, 300, True),
        (299, 400, False),
        (6000, 6000, True),
        (6001, 6000, False),
        (300, 750, True),
        (300, 751, False),
        (750, 300, True),
        (751, 300, False),
    ],
)
def test_sides_of_images(width: int, height: int, fine: bool) -> None:
    """300 to 6000 pixels a side, ratio 0.4 to 2.5."""
    info = MediaInfo("image", "image/png", 9, width, height)
    assert broken({"images[0]": info}, images=links(1)) == ([] if fine else ["images[0]"])
    assert broken({"first_frame": info}, first_frame=LINK) == ([] if fine else ["first_frame"])
    assert broken({"images[0]": info}, images=links(1), model=UNKNOWN) == []


def test_sizes_of_images() -> None:
    """At most 30 MB each, and 64 MB for the whole body once they are base64."""

    def info(size: int) -> MediaInfo:
        return MediaInfo("image", "image/png", size, 400, 400)

    assert broken({"images[0]": info(30 * MB)}, images=links(1)) == []
    assert broken({"images[0]": info(30 * MB + 1)}, images=links(1)) == ["images[0]"]
    assert broken({"images[0]": info(23 * MB), "images[1]": info(23 * MB)}, images=links(2)) == []
    assert broken({"images[0]": info(25 * MB), "images[1]": info(25 * MB)}, images=links(2)) == ["images"]


@pytest.mark.parametrize("kind", ["jpeg", "png", "webp", "bmp", "tiff", "gif"])
def test_images_that_are_taken(kind: str) -> None:
    """Six formats."""
    assert broken({"images[0]": MediaInfo("image", f"image/{kind}", 9, 400, 400)}, images=links(1)) == []


@pytest.mark.parametrize(
    ("info", "fine"),
    [
        (MediaInfo("image", "image/heic", 9, 400, 400), False),
        (MediaInfo("video", "video/mp4", 50 * MB, 720, 1280, 15.0, "", 24.0), True),
        (MediaInfo("video", "video/quicktime", 9, 640, 640, 2.0, "", 60.0), True),
        (MediaInfo("video", "video/mp4", 9, 640, 640, 5.0, "", 23.976), True),
        (MediaInfo("video", "video/mp4", 9), True),
        (MediaInfo("video", "video/webm", 9, 640, 640), False),
        (MediaInfo("video", "video/mp4", 50 * MB + 1), False),
        (MediaInfo("video", "video/mp4", 9, seconds=1.9), False),
        (MediaInfo("video", "video/mp4", 9, seconds=15.5), False),
        (MediaInfo("video", "video/mp4", 9, 640, 639), False),
        (MediaInfo("video", "video/mp4", 9, 834, 1113), False),
        (MediaInfo("video", "video/mp4", 9, 290, 2000), False),
        (MediaInfo("video", "video/mp4", 9, 400, 1200), False),
        (MediaInfo("video", "video/mp4", 9, 640, 640, 5.0, "", 23.0), False),
        (MediaInfo("video", "video/mp4", 9, 640, 640, 5.0, "", 61.0), False),
        (MediaInfo("audio", "audio/mpeg", 15 * MB, seconds=15.0), True),
        (MediaInfo("audio", "audio/wav", 9, seconds=2.0), True),
        (MediaInfo("audio", "audio/wav", 15 * MB + 1), False),
        (MediaInfo("audio", "audio/aac", 9), False),
        (MediaInfo("audio", "audio/wav", 9, seconds=1.9), False),
        (MediaInfo("audio", "audio/wav", 9, seconds=15.5), False),
    ],
)
def test_reference_assets_of_seedance_2(info: MediaInfo, fine: bool) -> None:
    """Formats, sizes, seconds, pixels, ratio and frame rate, at both of their ends."""
    lists = f"{info.kind}s"
    fields: dict[str, Any] = {"images": links(1), lists: links(1)}
    found = set(broken({f"{lists}[0]": info}, **fields)) - {lists}
    assert found == (set() if fine else {f"{lists}[0]"})
    assert broken({f"{lists}[0]": info}, model=UNKNOWN, **fields) == []


@pytest.mark.parametrize(("lists", "kind"), [("videos", "video/mp4"), ("audios", "audio/mpeg")])
@pytest.mark.parametrize(("seconds", "fine"), [([7.0, 8.0], True), ([7.5, 8.0], False), ([15.0, None], True)])
def test_seconds_together(lists: str, kind: str, seconds: list[float | None], fine: bool) -> None:
    """At most 15."""
    facts = {f"{lists}[{i}]": MediaInfo(kind[:5], kind, 9, seconds=value) for i, value in enumerate(seconds)}  # type: ignore[arg-type]
    fields: dict[str, Any] = {"images": links(1), lists: links(len(seconds))}
    assert broken(facts, **fields) == ([] if fine else [lists])


def test_kinds_of_assets() -> None:
    """For every model."""
    wrong = MediaInfo("audio", "audio/wav", 9)
    assert broken({"images[0]": wrong}, images=links(1), model=UNKNOWN) == ["images[0]"]
    assert broken({"videos[0]": wrong}, videos=links(1), model=UNKNOWN) == ["videos[0]"]
    assert broken({"first_frame": wrong}, first_frame=LINK, model=UNKNOWN) == ["first_frame"]


def test_local_images_travel_in_the_body(tmp_path: Path) -> None:
    """Read when the body is made, typed by their content; data URLs go as they are."""
    path = tmp_path / "cat.jpg"
    path.write_bytes(png(400, 300))
    packed = base64.b64encode(png(400, 300)).decode()
    client = SenseAudioClient(KEY)
    request = VideoRequest(model=PRO, prompt="x", first_frame=str(path), last_frame=f"data:image/png;base64,{packed}")
    assert client.validate(request) == []
    _, first, last = client.body(request)["content"]
    assert first == {"type": "image", "url": f"data:image/png;base64,{packed}", "role": "first_frame"}
    assert last["url"] == request.last_frame


def test_data_urls_go_out_in_their_strict_form() -> None:
    """However they were written; the type is the content's."""
    picture = png(400, 300)
    loose = f" data:image/jpg ;base64,\n{base64.urlsafe_b64encode(picture).decode().rstrip('=')}\n"
    request = VideoRequest(model="Seedance-2.0", prompt="x", images=(loose,))
    client = SenseAudioClient(KEY)
    assert client.validate(request) == []
    strict = f"data:image/png;base64,{base64.b64encode(picture).decode()}"
    assert client.body(request)["content"][1]["url"] == strict


def test_local_images_are_checked(tmp_path: Path) -> None:
    """As any other."""
    path = tmp_path / "cat.png"
    path.write_bytes(png(200, 300))
    assert broken(images=(str(path), "/no/such")) == ["images[1]", "images[0]"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"images": ("s3://b/k.png",)}, ["images[0]"]),
        ({"images": links(1), "videos": ("s3://b/k.mp4",)}, ["videos[0]"]),
    ],
)
async def test_create_takes_links_and_local_images(fields: dict[str, Any], expected: list[str]) -> None:
    """Everything else is presigned first, by whoever calls; `validate` knows that and lets it pass."""
    assert broken(**fields) == []
    with pytest.raises(InvalidRequestError) as caught:
        await SenseAudioClient(KEY).create(VideoRequest(model="Seedance-2.0", prompt="x", **fields))
    assert [problem.field for problem in caught.value.problems] == expected


def test_a_local_file_that_went_away_is_an_invalid_request(tmp_path: Path) -> None:
    """Should it go between the check and the reading."""
    with refusing(reason="unreadable file"):
        SenseAudioClient(KEY).body(VideoRequest(model=PRO, prompt="x", first_frame=str(tmp_path / "gone.png")))


def test_the_body_is_json(tmp_path: Path) -> None:
    """With nothing but what the document names."""
    body = SenseAudioClient(KEY).body(VideoRequest(model="Seedance-2.0", prompt="猫", timeout=3600))
    assert json.loads(json.dumps(body)) == {
        "model": "Seedance-2.0",
        "content": [{"type": "text", "text": "猫"}],
        "duration": 5,
        "resolution": "720p",
        "ratio": "16:9",
        "timeout": 3600,
        "watermark": False,
    }
