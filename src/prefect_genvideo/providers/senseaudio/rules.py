"""SenseAudio's documented limits, model by model (创建视频生成任务: 模型各个参数说明), and those of its later edition.

An unknown model name passes with the general rules only: the live list changes, and the provider judges.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from prefect_genvideo.providers import rules as r
from prefect_genvideo.providers.rules import Broken, Rule, Wanted

_DOC = "SenseAudio API: "
_MODELS_SECTION = _DOC + "模型各个参数说明"
_LATER = _DOC + "later edition"

MB = 1024 * 1024
BODY_LIMIT = 64 * MB
IMAGE_LIMIT = 30 * MB
_BODY_SLACK = 64 * 1024  # the JSON around the images

SEEDANCE_2 = ("Seedance-2.0", "Seedance-2.0-Fast", "doubao-seedance-2-0-260128")


@dataclass(frozen=True)
class Model:
    """What a model takes. Everything the API requires has a default here, for no document names one.

    Attributes:
        default_duration: Seconds; the cheapest that the model is known to do well.
        specific: Fields of `provider_specific`, with their type.
        watermark: Whether it knows the field `watermark`. Its own default is true, so ours is always sent.
        rules: Its limits.
    """

    default_duration: int
    rules: tuple[Rule, ...]
    specific: tuple[str, ...] = ()
    watermark: bool = False


def _specific_only(names: Sequence[str]) -> r.Check:
    """`provider_specific` given as an object holds only known fields, each a boolean."""

    def check(wanted: Wanted) -> Iterator[Broken]:
        given = wanted.request.options.get("provider_specific")
        for name, value in given.items() if isinstance(given, dict) else ():
            if name not in names or not isinstance(value, bool):
                yield f"options.provider_specific.{name}", value

    return check


def _body_fits(wanted: Wanted) -> Iterator[Broken]:
    """Images travel inside the body as base64, four bytes for every three."""
    packed = sum(-(-info.size // 3) * 4 for info in wanted.of("images", "frames").values())
    size = packed + len(wanted.request.prompt.encode("utf-8", "replace")) + _BODY_SLACK
    if size > BODY_LIMIT:
        yield "images", f"{size} bytes as a request body"


SENSEAUDIO_VIDEO_1 = Model(
    default_duration=10,
    rules=(
        Rule(r.whole_seconds(frozenset({10, 15})), "10 or 15 seconds", _MODELS_SECTION),
        Rule(r.one_of("resolution", ("720p",)), "720p", _MODELS_SECTION),
        Rule(r.prompt_given(), "a text: it is required", _MODELS_SECTION),
        Rule(r.at_most("images", 1), "at most 1 image, role reference", _MODELS_SECTION),
        Rule(
            r.absent("first_frame", "last_frame"),
            "left out: first_frame and last_frame are not supported",
            _MODELS_SECTION,
        ),
        Rule(r.absent("videos", "audios"), "left out: only text and image", _DOC + "content 数组结构"),
        Rule(r.options_only({}), "left out: provider_specific is not supported", _MODELS_SECTION),
    ),
)

SEEDANCE_PRO_1_5 = Model(
    default_duration=5,
    specific=("generate_audio", "camera_fixed"),
    rules=(
        Rule(r.whole_seconds(range(2, 13)), "a whole number of seconds from 2 to 12", _MODELS_SECTION),
        Rule(r.one_of("resolution", ("720p", "1080p")), "720p or 1080p", _MODELS_SECTION),
        Rule(
            r.one_of("aspect_ratio", ("9:16", "16:9", "1:1", "4:3", "3:4")),
            "9:16, 16:9, 1:1, 4:3 or 3:4",
            _MODELS_SECTION,
        ),
        Rule(r.prompt_given(), "a text: it is required", _MODELS_SECTION),
        Rule(r.absent("images"), "left out: give the image as first_frame or last_frame", _DOC + "role字段说明"),
        Rule(r.first_with_last(), "given whenever last_frame is", _MODELS_SECTION),
        Rule(r.absent("videos", "audios"), "left out: only text and image", _DOC + "content 数组结构"),
        Rule(
            r.options_only(
                {"generate_audio": bool, "camera_fixed": bool, "provider_specific": dict},
            ),
            "generate_audio or camera_fixed, true or false",
            _DOC + "provider_specific字段说明",
        ),
        Rule(
            _specific_only(("generate_audio", "camera_fixed")),
            "generate_audio or camera_fixed, true or false",
            _DOC + "provider_specific字段说明",
        ),
    ),
)

SEEDANCE_2_0 = Model(
    default_duration=5,
    specific=("generate_audio",),
    watermark=True,
    rules=(
        Rule(r.whole_seconds(range(4, 16)), "a whole number of seconds from 4 to 15", _LATER),
        Rule(r.one_of("resolution", ("480p", "720p", "1080p")), "480p, 720p or 1080p", _LATER),
        Rule(
            r.one_of("aspect_ratio", ("16:9", "4:3", "1:1", "3:4", "9:16")),
            "16:9, 4:3, 1:1, 3:4 or 9:16",
            _LATER,
        ),
        Rule(r.prompt_given(), "a text: always send one", _LATER),
        Rule(r.at_most("images", 9), "at most 9 reference images", _LATER),
        Rule(r.first_with_last(), "given whenever last_frame is", _LATER),
        Rule(r.at_most("audios", 3), "at most 3", _LATER),
        Rule(r.at_most("videos", 3), "at most 3", _LATER),
        Rule(r.audio_accompanied(), "with an image or a video: audio alone is refused", _LATER),
        Rule(r.timeout_between(3600, 172_800), "3600 to 172800 seconds", _LATER),
        Rule(
            r.options_only({"generate_audio": bool, "watermark": bool, "provider_specific": dict}),
            "generate_audio or watermark, true or false",
            _LATER,
        ),
        Rule(_specific_only(("generate_audio",)), "generate_audio, true or false", _LATER),
    ),
)

MODELS: dict[str, Model] = {
    "SenseAudio-Video-1.0": SENSEAUDIO_VIDEO_1,
    "Seedance-Pro-1.5": SEEDANCE_PRO_1_5,
    **dict.fromkeys(SEEDANCE_2, SEEDANCE_2_0),
}

# The API requires all three (请求参数), and names no default. The documents' examples use these.
DEFAULT_DURATION = 5
DEFAULT_ASPECT_RATIO = "16:9"
DEFAULT_RESOLUTION = "720p"

# The body's own fields; an option of that name would overwrite one.
RESERVED = frozenset({"model", "content", "duration", "resolution", "ratio", "timeout"})

GENERAL: tuple[Rule, ...] = (
    Rule(r.content_given(), "a text or an image: content must not be empty", _DOC + "content 数组结构"),
    Rule(r.whole_seconds(range(1, 3601)), "a whole number of seconds", _DOC + "请求参数"),
    Rule(r.ratio_formed(), "width:height, e.g. 16:9", _MODELS_SECTION),
    Rule(r.timeout_between(1, 31_536_000), "a positive number of seconds", _DOC + "请求参数"),
    Rule(r.frames_alone("images"), "left out with first_frame and last_frame, never both", _LATER),
    Rule(r.options_not(RESERVED), "not an option: it is a field of the request", _DOC + "请求参数"),
    Rule(r.options_writable(), "a finite JSON value", _DOC + "provider_specific字段说明"),
    Rule(r.media_kind("images", "image"), "an image", _DOC + "content 数组结构"),
    Rule(r.media_kind("frames", "image"), "an image", _DOC + "content 数组结构"),
    Rule(r.media_kind("videos", "video"), "a video", _LATER),
    Rule(r.media_kind("audios", "audio"), "an audio file", _LATER),
    Rule(_body_fits, f"{BODY_LIMIT} bytes for the whole body", _LATER),
)

_IMAGE_RULES: tuple[Rule, ...] = tuple(
    rule
    for lists in ("images", "frames")
    for rule in (
        Rule(r.bytes_below(lists, IMAGE_LIMIT, inclusive=True), "at most 30 MB", _LATER),
        Rule(r.sides_between(lists, 300, 6000), "300 to 6000 pixels a side", _LATER),
        Rule(r.sides_ratio_between(lists, 0.4, 2.5), "width to height from 0.4 to 2.5", _LATER),
    )
)


def rules_for(model: str) -> tuple[Rule, ...]:
    """The rules of a model: general and its own for a known one, general for any other."""
    known = MODELS.get(model)
    return GENERAL + known.rules + _IMAGE_RULES if known else GENERAL
