"""Every limit of Sudashui's document, at both of its ends, and all broken ones at once."""

from __future__ import annotations

import base64
import math
from pathlib import Path
from typing import Any

import pytest

from prefect_genvideo.errors import InvalidRequestError, redact
from prefect_genvideo.media.inspect import MediaInfo, split_data_url
from prefect_genvideo.models import VideoRequest
from prefect_genvideo.providers import SudashuiClient
from prefect_genvideo.providers.sudashui.rules import MB, MODELS
from tests.fixtures.expected import refusing
from tests.media.recipes import image

KEY = "sk-test"
LINK = "https://files.sudashuiapi.com/proxy/a"
IMAGE = MediaInfo("image", "image/jpeg", 1000, 800, 600)
VIDEO = MediaInfo("video", "video/mp4", 1000, 720, 1280, 5.0)
AUDIO = MediaInfo("audio", "audio/mpeg", 1000, seconds=5.0)


def broken(media: dict[str, MediaInfo] | None = None, **fields: Any) -> list[str]:
    """The fields that break a rule."""
    given: dict[str, Any] = {"model": "sd-2-720p", "prompt": "x", **fields}
    request = VideoRequest(**given)
    return [problem.field for problem in SudashuiClient(KEY).validate(request, media)]


def links(count: int) -> tuple[str, ...]:
    return tuple(f"{LINK}{i}" for i in range(count))


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(
    ("duration", "fine"), [(3, False), (4, True), (4.0, True), (4.5, False), (15, True), (15.01, False), (16, False)]
)
def test_duration(model: str, duration: float, fine: bool) -> None:
    """基础参数: 4 to 15 seconds, whole ones: the gateway's number is an integer."""
    assert broken(model=model, duration=duration) == ([] if fine else ["duration"])


@pytest.mark.parametrize("model", ["sd-2-720p", "unknown"])
@pytest.mark.parametrize("duration", [math.nan, math.inf, -math.inf, -1, 0, 4.5, 1e300])
def test_no_sensible_duration(model: str, duration: float) -> None:
    """Refused for every model, once."""
    assert broken(model=model, duration=duration) == ["duration"]


def test_a_bool_is_no_duration() -> None:
    """Should one get past the model."""
    request = VideoRequest(model="sd-2-720p", prompt="x").model_copy(update={"duration": True})
    assert {problem.field for problem in SudashuiClient(KEY).validate(request)} == {"duration"}


@pytest.mark.parametrize("ratio", ["1:1", "3:4", "4:3", "9:16", "16:9", "21:9", "adaptive"])
def test_aspect_ratios(ratio: str) -> None:
    """metadata.payload 参数: these seven."""
    assert broken(aspect_ratio=ratio) == []


@pytest.mark.parametrize("ratio", ["2:1", "", "16x9", "ADAPTIVE", "16:9 "])
def test_other_aspect_ratios(ratio: str) -> None:
    """And no other, for a documented model."""
    assert broken(aspect_ratio=ratio) == ["aspect_ratio"]
    assert broken(aspect_ratio=ratio, model="unknown") == []


@pytest.mark.parametrize(
    ("model", "resolution", "fine"),
    [
        ("sd-2-720p", "720p", True),
        ("sd-2-720p", "1080p", False),
        ("sd-2-1080p", "1080p", True),
        ("sdas-new-1080p", "1080p", True),
        ("sdas-new-1080p", "720p", False),
        ("sdas-new", "720p", False),
    ],
)
def test_the_resolution_is_the_models(model: str, resolution: str, fine: bool) -> None:
    """模型列表: said again it is accepted and not sent; another one is a mistake."""
    assert broken(model=model, resolution=resolution) == ([] if fine else ["resolution"])


@pytest.mark.parametrize("prompt", ["", " ", "\n\t"])
def test_a_blank_prompt_is_refused_for_every_model(prompt: str) -> None:
    """The gateway does so."""
    assert broken(prompt=prompt) == ["prompt"]
    assert broken(prompt=prompt, model="unknown") == ["prompt"]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"images": links(9)}, []),
        ({"images": links(10)}, ["images"]),
        ({"videos": links(3), "audios": links(3), "images": links(6)}, []),
        ({"videos": links(4)}, ["videos"]),
        ({"audios": links(4)}, ["audios"]),
        ({"videos": links(3), "audios": links(3), "images": links(7)}, ["images + videos + audios"]),
        ({"first_frame": LINK, "last_frame": LINK}, []),
        ({"first_frame": LINK}, ["last_frame"]),
        ({"last_frame": LINK}, ["first_frame"]),
        ({"first_frame": LINK, "last_frame": LINK, "images": links(1)}, ["images"]),
        ({"first_frame": LINK, "last_frame": LINK, "videos": links(1), "audios": links(1)}, ["videos", "audios"]),
    ],
)
def test_counts_and_modes(fields: dict[str, Any], expected: list[str]) -> None:
    """生成任务素材限制 and 参数规则."""
    assert broken(**fields) == expected


def test_an_unknown_model_is_left_to_the_provider() -> None:
    """Its limits may be wider; only what holds for every model is checked."""
    assert broken(model="sdas-new", duration=30, images=links(30), aspect_ratio="2:1", prompt="@image31") == []
    assert broken(model="sdas-new", first_frame=LINK) == []
    assert broken(model="sdas-new", first_frame=LINK, images=links(1)) == ["images"]
    assert broken(model="sdas-new", timeout=9) == ["timeout"]


@pytest.mark.parametrize(
    ("prompt", "fine"),
    [
        ("让@image1里的@image2动", True),
        ("@image1, @video1 and @audio1.", True),
        ("@image3", False),
        ("@image0", False),
        ("@video2", False),
        ("@audio99999999999999999999", False),
        ("write to foo@image9.com", True),
        ("@@image9", True),
        ("@image9th", True),
        ("@image", True),
        ("@imagery9", True),
        ("image9", True),
    ],
)
def test_prompt_references(prompt: str, fine: bool) -> None:
    """素材顺序对应: lower case, from 1, each kind by itself. Only what the provider would take for one counts."""
    fields: dict[str, Any] = {"images": links(2), "videos": links(1), "audios": links(1)}
    assert broken(prompt=prompt, **fields) == ([] if fine else ["prompt"])


@pytest.mark.parametrize(
    ("written", "right"),
    [
        ("@Image1", "@image1"),
        ("@IMAGE2", "@image2"),
        ("＠image1", "@image1"),
        ("@图片1", "@image1"),
        ("@图2", "@image2"),
        ("@图像１", "@image1"),
        ("@image 1", "@image1"),
        ("@image_1", "@image1"),
        ("@image#1", "@image1"),
        ("@images1", "@image1"),
        ("@image01", "@image1"),
        ("@Video1", "@video1"),
        ("@视频1", "@video1"),
        ("@Audio1", "@audio1"),
        ("＠音频 1", "@audio1"),
        ("@image９", "@image9"),
    ],
)
def test_references_written_another_way(written: str, right: str) -> None:
    """The provider would take them for plain text, and the paid video would not show what was meant."""
    request = VideoRequest(
        model="sd-2-720p", prompt=f"让{written}动", images=links(2), videos=links(1), audios=links(1)
    )
    (problem,) = SudashuiClient(KEY).validate(request)
    assert problem.field == "prompt"
    assert problem.value == f"{written}: write {right}"


@pytest.mark.parametrize(
    "prompt", ["me@Image1.com", "@photographer1", "@图书馆", "@image16x9", "@videography2", "图片1"]
)
def test_what_is_no_reference(prompt: str) -> None:
    """Mail addresses, names and plain words."""
    assert broken(prompt=prompt) == []


def test_frames_cannot_be_referred_to() -> None:
    """The references count the reference lists, and frames mode has none."""
    assert broken(prompt="@image1", first_frame=LINK, last_frame=LINK) == ["prompt"]


@pytest.mark.parametrize(
    "name", ["images", "aspectRatio", "mode", "resolution", "model", "prompt", "duration", "metadata", "firstFrameUrl"]
)
def test_forbidden_options(name: str) -> None:
    """For every model."""
    assert broken(options={name: "x"}, model="unknown") == [f"options.{name}"]
    assert f"options.{name}" in broken(options={name: "x"})


def test_undocumented_options() -> None:
    """metadata.payload supports seven fields; an unknown model may know more."""
    assert broken(options={"generate_audio": True}) == ["options.generate_audio"]
    assert broken(options={"generate_audio": True}, model="unknown") == []
    assert broken(options={"seed": math.nan}, model="unknown") == ["options.seed"]


@pytest.mark.parametrize(
    ("field", "info", "fine"),
    [
        ("images[0]", IMAGE, True),
        ("images[0]", MediaInfo("image", "image/webp", 30 * MB - 1), True),
        ("images[0]", MediaInfo("image", "image/png", 30 * MB), False),
        ("images[0]", MediaInfo("image", "image/gif", 9), False),
        ("images[0]", VIDEO, False),
        ("audios[0]", MediaInfo("audio", "audio/wav", 15 * MB - 1, seconds=15.0), True),
        ("audios[0]", MediaInfo("audio", "audio/wav", 15 * MB), False),
        ("audios[0]", MediaInfo("audio", "audio/aac", 9), False),
        ("audios[0]", IMAGE, False),
        ("videos[0]", MediaInfo("video", "video/quicktime", 50 * MB - 1), True),
        ("videos[0]", MediaInfo("video", "video/mp4", 50 * MB), False),
        ("videos[0]", MediaInfo("video", "video/webm", 9), False),
        ("videos[0]", MediaInfo("video", "video/mp4", 9, 640, 640), True),
        ("videos[0]", MediaInfo("video", "video/mp4", 9, 640, 639), False),
        ("videos[0]", MediaInfo("video", "video/mp4", 9, 834, 1112), True),
        ("videos[0]", MediaInfo("video", "video/mp4", 9, 834, 1113), False),
        ("videos[0]", AUDIO, False),
    ],
)
def test_facts_of_assets(field: str, info: MediaInfo, fine: bool) -> None:
    """文件类型与限制 and 生成任务素材限制: sizes strictly below, pixels from 409600 to 927408."""
    assert broken({field: info}, **{field.partition("[")[0]: links(1)}) == ([] if fine else [field])


@pytest.mark.parametrize(
    ("lists", "seconds", "fine"),
    [
        ("audios", [5.0, 10.0], True),
        ("audios", [5.0, 10.1], False),
        ("audios", [0.1], True),
        ("audios", [16.0, None], False),
        ("videos", [2.0], True),
        ("videos", [1.0, 1.0], True),
        ("videos", [1.9], False),
        ("videos", [1.0, None], True),
        ("videos", [7.5, 7.5], True),
        ("videos", [7.5, 7.6], False),
    ],
)
def test_seconds_together(lists: str, seconds: list[float | None], fine: bool) -> None:
    """The lower end counts only when every length is known."""
    sample = VIDEO if lists == "videos" else AUDIO
    facts = {
        f"{lists}[{i}]": MediaInfo(sample.kind, sample.media_type, 9, seconds=value) for i, value in enumerate(seconds)
    }
    assert broken(facts, **{lists: links(len(seconds))}) == ([] if fine else [lists])


@pytest.mark.parametrize(
    "asset",
    [
        "https://",
        "https:///x",
        "http://e.com/a b",
        "s3://bucket",
        "s3://",
        "ftp://e.com/a",
        "file:///a",
        "",
        " ",
        "data:image/png;base64,A",
    ],
)
def test_assets_must_be_well_formed(asset: str) -> None:
    """For every model; each with its place in the list."""
    assert broken(images=(LINK, asset)) == ["images[1]"]
    assert broken(images=(LINK, asset), model="unknown") == ["images[1]"]


def test_local_files_are_looked_at(tmp_path: Path) -> None:
    """Existence, kind and size, without the network."""
    jpeg = image("JPEG")
    good, text = tmp_path / "a.jpg", tmp_path / "b.jpg"
    good.write_bytes(jpeg)
    text.write_text("no picture")
    packed = base64.b64encode(jpeg).decode()
    assert broken(images=(str(good), "s3://bucket/cat.jpg", f"data:image/jpeg;base64,{packed}")) == []
    assert broken(images=(str(text), str(tmp_path), "/no/such/file")) == ["images[0]", "images[1]", "images[2]"]
    assert broken(audios=(str(good),)) == ["audios[0]"]


def test_facts_given_save_the_look(tmp_path: Path) -> None:
    """What the mapping says counts, even of a file that is not here."""
    assert broken({"images[0]": IMAGE}, images=(str(tmp_path / "elsewhere.jpg"),)) == []


def test_all_problems_at_once() -> None:
    """Each with field, value, limit and the section it comes from."""
    request = VideoRequest(
        model="sd-2-720p", prompt="@image2", duration=3, aspect_ratio="2:1", images=("https://",), options={"seed": 1}
    )
    problems = SudashuiClient(KEY).validate(request)
    assert [problem.field for problem in problems] == [
        "images[0]",
        "duration",
        "aspect_ratio",
        "prompt",
        "options.seed",
    ]
    assert (problems[1].value, problems[1].source) == ("3", "Sudashui API: 基础参数")


# Bytes behind the end marker, as phones add them: here for every letter of the alphabet of base64.
JPEG = image("JPEG", (16, 16)) + bytes(range(251)) + b"\xfb\xff\xbe" * 20


@pytest.mark.parametrize(
    "written",
    [
        base64.encodebytes(JPEG).decode(),
        "\r\n ".join(base64.b64encode(JPEG).decode()[i : i + 4] for i in range(0, 4000, 4)),
        base64.urlsafe_b64encode(JPEG).decode(),
        base64.b64encode(JPEG).decode().rstrip("="),
        base64.b64encode(JPEG).decode().replace("+", "%2B").replace("/", "%2f").replace("=", "%3D"),
    ],
    ids=["lines", "blanks", "url-safe", "unpadded", "percent"],
)
@pytest.mark.parametrize("head", ["data:image/jpeg;base64,", " DATA:image/jpeg; charset=x ;Base64,\n"])
def test_data_urls_as_people_make_them(head: str, written: str) -> None:
    """With line breaks and blanks, in the URL-safe alphabet, without padding: all one picture."""
    assert broken(images=(head + written,)) == []
    media_type, content = split_data_url(head + written)
    assert (media_type, content) == ("image/jpeg", JPEG)


@pytest.mark.parametrize("spoilt", ["SECRET!", "SECRETSECRETS", "SECR ET\nSECRET SECRET!"])
def test_the_error_of_a_broken_data_url_shows_no_content(spoilt: str) -> None:
    """Neither the problem nor an error around it, however the content is broken over lines."""
    for asset in (f"data:image/png;base64,{spoilt}", f"data:{spoilt}", f"data:image/png;base64,AAAA\n{spoilt}"):
        (problem,) = SudashuiClient(KEY).validate(VideoRequest(model="sd-2-720p", prompt="x", images=(asset,)))
        assert problem.field == "images[0]"
        assert "SEC" not in str(problem)
        assert problem.value.startswith("data:")


def test_content_of_data_urls_is_redacted_to_its_end() -> None:
    """Line breaks and blanks do not end it."""
    lines = base64.encodebytes(JPEG).decode()
    for text in (f"bad image data:image/png;base64,{lines}", f'{{"url":"data:image/png;base64,{lines}","a":1}}'):
        hidden = redact(text)
        assert not any(line in hidden for line in lines.split())
        assert "data:image/png;base64,***" in hidden
    assert redact("data:text/plain,hello%20world and more") == "data:text/plain,*** and more"


@pytest.mark.parametrize("asset", ["s3://bucket/cat.jpg", "data:image/jpeg;base64,/9j/4AAA", __file__])
async def test_create_takes_links_only(asset: str) -> None:
    """Everything else is uploaded first, by whoever calls."""
    with pytest.raises(InvalidRequestError) as caught:
        await SudashuiClient(KEY).create(VideoRequest(model="unknown", prompt="x", images=(LINK, asset)))
    assert [problem.field for problem in caught.value.problems] == ["images[1]"]


async def test_text_that_is_no_utf_8_is_an_invalid_request() -> None:
    """Half a surrogate pair, for example."""
    request = VideoRequest(model="sd-2-720p", prompt="x").model_copy(update={"prompt": "\ud800"})
    with refusing("(request)", limit="UTF-8"):
        await SudashuiClient(KEY).create(request)


def test_problems_show_no_secrets() -> None:
    """Values are shortened and redacted."""
    asset = f"https://e.com/a b?signature=SECRET{'x' * 500}"
    (problem,) = SudashuiClient(KEY).validate(VideoRequest(model="sd-2-720p", prompt="x", images=(asset,)))
    assert "SECRET" not in str(problem)
    assert len(problem.value) <= 80
