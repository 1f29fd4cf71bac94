"""SenseAudio's documented limits, model by model (创建视频生成任务: 模型各个参数说明), and those of its later edition.

Any other model name passes with the general rules only: the live list changes, and the provider judges. What is known
of its family is a warning there. Where the editions contradict each other, the looser rule stands: sides, ratio and
size of images include both ends, which one edition leaves open.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from prefect_genvideo.providers import media_rules as m
from prefect_genvideo.providers import rules as r
from prefect_genvideo.providers.limits import ModelLimits
from prefect_genvideo.providers.rules import Broken, Rule, Wanted

_DOC = "SenseAudio API: "
_MODELS_SECTION = _DOC + "模型各个参数说明"
_LATER = _DOC + "later edition"

MB = 1024 * 1024
"""The documents do not say what a MB is; 1024² refuses nothing that the provider may take."""
BODY_LIMIT = 64 * MB
"""Bytes of a request."""
IMAGE_LIMIT = 30 * MB
"""Bytes of one image."""
VIDEO_LIMIT = 50 * MB
"""Bytes of one reference video."""
AUDIO_LIMIT = 15 * MB
"""Bytes of one reference audio."""

SEEDANCE_2 = ("Seedance-2.0", "Seedance-2.0-Fast", "doubao-seedance-2-0-260128")
"""Names that take what Seedance 2.0 takes."""


@dataclass(frozen=True)
class Model:
    """What a model takes. Everything the API requires has a default here, for no document names one.

    Attributes:
        default_duration: Seconds; the cheapest that the model is known to do well.
        limits: Its limits that are plain figures.
        source: Where those stand.
        rules: Its other limits.
        watermark: Whether it knows the field `watermark`. Its own default is true, so ours is always sent.
    """

    default_duration: int
    limits: ModelLimits
    source: str
    rules: tuple[Rule, ...]
    watermark: bool = False

    def all_rules(self) -> tuple[Rule, ...]:
        """Return its limits, figures first."""
        return self.limits.rules(self.source) + self.rules


def _specific_only(names: Sequence[str]) -> r.Check:
    """`provider_specific` given as an object holds only known fields, each a boolean."""

    def check(wanted: Wanted) -> Iterator[Broken]:
        given = wanted.request.options.get("provider_specific")
        for name, value in given.items() if isinstance(given, dict) else ():
            if name not in names or not isinstance(value, bool):
                yield f"options.provider_specific.{name}", value

    return check


_IMAGES = frozenset({"image/jpeg", "image/png", "image/webp", "image/bmp", "image/tiff", "image/gif"})
_VIDEOS = frozenset({"video/mp4", "video/quicktime"})
_AUDIOS = frozenset({"audio/wav", "audio/mpeg"})

# Where the editions contradict each other, the looser rule stands.
_LOOSER = "one edition leaves the ends out"
_IMAGE_RULES: tuple[Rule, ...] = tuple(
    rule
    for lists in ("images", "frames")
    for rule in (
        Rule(m.media_types(lists, _IMAGES), "jpeg, png, webp, bmp, tiff or gif", _LATER, f"kind of {lists}"),
        Rule(m.within(lists, m.BYTES, 0, IMAGE_LIMIT), f"at most 30 MB; {_LOOSER}", _LATER),
        Rule(m.within(lists, m.SIDES, 300, 6000), f"300 to 6000 pixels a side; {_LOOSER}", _LATER),
        Rule(m.within(lists, m.SIDES_RATIO, 0.4, 2.5), f"width to height from 0.4 to 2.5; {_LOOSER}", _LATER),
    )
)
_VIDEO_RULES: tuple[Rule, ...] = (
    Rule(m.media_types("videos", _VIDEOS), "mp4 or mov", _LATER, "kind of videos"),
    Rule(m.within("videos", m.BYTES, 0, VIDEO_LIMIT), "at most 50 MB each", _LATER),
    Rule(m.within("videos", m.SECONDS, 2, 15), "2 to 15 seconds each", _LATER),
    Rule(m.seconds_together("videos", 0, 15), "at most 15 seconds together", _LATER),
    Rule(m.within("videos", m.PIXELS, 409_600, 927_408), "409600 to 927408 pixels", _LATER),
    Rule(m.within("videos", m.SIDES, 300, 6000), "300 to 6000 pixels a side", _LATER),
    Rule(m.within("videos", m.SIDES_RATIO, 0.4, 2.5), "width to height from 0.4 to 2.5", _LATER),
    Rule(m.within("videos", m.RATE, 24, 60), "24 to 60 frames a second", _LATER),
)
_AUDIO_RULES: tuple[Rule, ...] = (
    Rule(m.media_types("audios", _AUDIOS), "wav or mp3", _LATER, "kind of audios"),
    Rule(m.within("audios", m.BYTES, 0, AUDIO_LIMIT), "at most 15 MB each", _LATER),
    Rule(m.within("audios", m.SECONDS, 2, 15), "2 to 15 seconds each", _LATER),
    Rule(m.seconds_together("audios", 0, 15), "at most 15 seconds together", _LATER),
)

SENSEAUDIO_VIDEO_1 = Model(
    default_duration=10,
    limits=ModelLimits(seconds=(10, 15), resolutions=("720p",), images=1, videos=0, audios=0),
    source=_MODELS_SECTION,
    rules=(
        Rule(r.prompt_given(), "a text: it is required", _MODELS_SECTION),
        Rule(
            r.absent("first_frame", "last_frame"),
            "left out: first_frame and last_frame are not supported",
            _MODELS_SECTION,
        ),
        Rule(r.options_only({}), "left out: provider_specific is not supported", _MODELS_SECTION),
        *_IMAGE_RULES,
    ),
)
"""SenseAudio-Video-1.0."""

SEEDANCE_PRO_1_5 = Model(
    default_duration=5,
    limits=ModelLimits(
        seconds=tuple(range(2, 13)),
        resolutions=("720p", "1080p"),
        aspect_ratios=("9:16", "16:9", "1:1", "4:3", "3:4"),
        videos=0,
        audios=0,
    ),
    source=_MODELS_SECTION,
    rules=(
        Rule(r.prompt_given(), "a text: it is required", _MODELS_SECTION),
        Rule(
            r.absent("images"),
            "left out: give the image as first_frame or last_frame",
            _DOC + "role字段说明",
            "images",
        ),
        Rule(r.first_with_last(), "given whenever last_frame is", _MODELS_SECTION),
        Rule(
            r.options_only({"generate_audio": bool, "camera_fixed": bool, "provider_specific": dict}),
            "generate_audio or camera_fixed, true or false",
            _DOC + "provider_specific字段说明",
        ),
        Rule(
            _specific_only(("generate_audio", "camera_fixed")),
            "generate_audio or camera_fixed, true or false",
            _DOC + "provider_specific字段说明",
        ),
        *_IMAGE_RULES,
    ),
)
"""Seedance-Pro-1.5."""

SEEDANCE_2_0 = Model(
    default_duration=5,
    limits=ModelLimits(
        seconds=tuple(range(4, 16)),
        resolutions=("480p", "720p", "1080p"),
        aspect_ratios=("16:9", "4:3", "1:1", "3:4", "9:16"),
        images=9,
        videos=3,
        audios=3,
    ),
    source=_LATER,
    watermark=True,
    rules=(
        Rule(r.prompt_given(), "a text: always send one", _LATER),
        Rule(r.first_with_last(), "given whenever last_frame is", _LATER),
        Rule(r.audio_accompanied(), "with an image or a video: audio alone is refused", _LATER),
        Rule(r.timeout_between(3600, 172_800), "3600 to 172800 seconds", _LATER, "timeout"),
        Rule(
            r.options_only({"generate_audio": bool, "watermark": bool, "provider_specific": dict}),
            "generate_audio or watermark, true or false",
            _LATER,
        ),
        Rule(_specific_only(("generate_audio",)), "generate_audio, true or false", _LATER),
        *_IMAGE_RULES,
        *_VIDEO_RULES,
        *_AUDIO_RULES,
    ),
)
"""Seedance 2.0, of the later edition."""

MODELS: dict[str, Model] = {
    "SenseAudio-Video-1.0": SENSEAUDIO_VIDEO_1,
    "Seedance-Pro-1.5": SEEDANCE_PRO_1_5,
    **dict.fromkeys(SEEDANCE_2, SEEDANCE_2_0),
}
"""The documented models by name."""

DEFAULT_DURATION = 5
"""The API requires all three (请求参数), and names no default. The documents' examples use these."""
DEFAULT_ASPECT_RATIO = "16:9"
"""As in the examples of the documents."""
DEFAULT_RESOLUTION = "720p"
"""As in the examples of the documents."""

RESERVED = frozenset({"model", "content", "duration", "resolution", "ratio", "timeout"})
"""The body's own fields; an option of that name would overwrite one."""

GENERAL: tuple[Rule, ...] = (
    Rule(r.content_given(), "a text or an image: content must not be empty", _DOC + "content 数组结构"),
    Rule(r.whole_seconds(range(1, 3601)), "a positive whole number of seconds", _DOC + "请求参数", "seconds"),
    Rule(r.ratio_formed(), "width:height, e.g. 16:9", _MODELS_SECTION, "aspect_ratios"),
    Rule(r.timeout_between(1, 31_536_000), "a positive number of seconds", _DOC + "请求参数", "timeout"),
    Rule(r.frames_alone("images"), "left out with first_frame and last_frame, never both", _LATER),
    Rule(r.options_not(RESERVED), "not an option: it is a field of the request", _DOC + "请求参数"),
    Rule(r.options_writable(), "a finite JSON value", _DOC + "provider_specific字段说明"),
    Rule(m.media_kind("images", "image"), "an image", _DOC + "content 数组结构", "kind of images"),
    Rule(m.media_kind("frames", "image"), "an image", _DOC + "content 数组结构", "kind of frames"),
    Rule(m.media_kind("videos", "video"), "a video", _LATER, "kind of videos"),
    Rule(m.media_kind("audios", "audio"), "an audio file", _LATER, "kind of audios"),
    Rule(m.fit_inline(BODY_LIMIT, "images", "frames"), f"{BODY_LIMIT} bytes for the whole body", _LATER),
)
"""Limits of every model."""

FAMILIES: tuple[tuple[str, Model], ...] = (
    ("*seedance-2*", SEEDANCE_2_0),
    ("*seedance-pro-1*", SEEDANCE_PRO_1_5),
    ("*seedance-1-5-pro*", SEEDANCE_PRO_1_5),
    ("senseaudio-video-*", SENSEAUDIO_VIDEO_1),
)
"""Names of the same makers' models: what one of them takes is likely, not known, of another."""


def alike(model: str) -> Model | None:
    """The documented model that stands for the family of another name, if there is one."""
    return next((kin for pattern, kin in FAMILIES if fnmatchcase(model.lower(), pattern)), None)
