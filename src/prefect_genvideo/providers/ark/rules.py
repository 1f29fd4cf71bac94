"""Ark's documented limits, model by model (创建视频生成任务), and what a request says where it leaves something open.

Names differ between Volcengine (`doubao-…`) and BytePlus (`dreamina-…`, or no prefix); the models are the same. An
endpoint's id (`ep-…`) does not tell its model: there, and for any other unknown name, the general rules are all. Where
editions of the document contradict each other, the looser rule stands.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit

from prefect_genvideo.errors import counted
from prefect_genvideo.models import VideoRequest
from prefect_genvideo.providers import media_rules as m
from prefect_genvideo.providers import references
from prefect_genvideo.providers import rules as r
from prefect_genvideo.providers.ark import options as o
from prefect_genvideo.providers.limits import ModelLimits
from prefect_genvideo.providers.rules import Broken, Rule, Wanted

_DOC = "Ark API: "
_CREATE = _DOC + "创建视频生成任务"
_MEDIA = _DOC + "content"

MB = 1024 * 1024
"""The documents do not say what a MB is; 1024² refuses nothing that the provider may take."""
BODY_LIMIT = 64 * MB
"""Bytes of a request."""
IMAGE_LIMIT = 30 * MB
"""Bytes of one image."""
VIDEO_LIMIT = 200 * MB
"""Bytes of one reference video."""
AUDIO_LIMIT = 15 * MB
"""Bytes of one reference audio."""
FRAMES_PER_SECOND = 24
"""Of every model's output."""
ASPECT_RATIOS = ("16:9", "4:3", "1:1", "3:4", "9:16", "21:9", "adaptive")
"""Values of `ratio`."""
DEFAULT_DURATION = 5
"""Seconds. Seedance 2.5 would choose up to 30 itself, which nobody can tell the price of."""

DRAFT = o.DRAFT
"""Option that names the draft a final video is made of."""
RESERVED = frozenset({"model", "content", "resolution", "ratio", "duration", "execution_expires_after", DRAFT})
"""Fields of the body that are no options: an option of that name would overwrite one."""


@dataclass(frozen=True)
class Model:
    """What a model takes.

    Attributes:
        limits: Its limits that are plain figures.
        options: Vendor fields that it knows.
        rules: Its other limits.
        resolution: Its own default.
        text_ratio: Its own default where there is no image.
        edits: Whether a reference video may be taken for one to edit, whose length is then the output's.
        retired: Since when it is off, in words; empty for a model that is served.
    """

    limits: ModelLimits
    options: frozenset[str]
    rules: tuple[Rule, ...]
    resolution: str = "720p"
    text_ratio: str = "adaptive"
    edits: bool = False
    retired: str = ""

    def all_rules(self) -> tuple[Rule, ...]:
        """Return its limits, figures first."""
        return (*self.limits.rules(_CREATE), o.only(self.options), *self.rules)


# Checks of what belongs together


def _content_given(wanted: Wanted) -> Iterator[Broken]:
    if DRAFT not in wanted.request.options:
        yield from r.content_given()(wanted)


def _draft_alone(wanted: Wanted) -> Iterator[Broken]:
    """What a draft has settled is not said again."""
    request = wanted.request
    if DRAFT not in request.options:
        return
    if request.prompt.strip():
        yield "prompt", request.prompt
    yield from r.absent("images", "videos", "audios", "first_frame", "last_frame", "duration", "aspect_ratio")(wanted)
    for name in ("seed", "generate_audio", o.TASK_TYPE, "draft"):
        if name in request.options:
            yield f"options.{name}", request.options[name]


def _final_resolution(wanted: Wanted) -> Iterator[Broken]:
    if DRAFT in wanted.request.options and wanted.request.resolution not in (None, "1080p"):
        yield "resolution", wanted.request.resolution


def _draft_resolution(wanted: Wanted) -> Iterator[Broken]:
    if wanted.request.options.get("draft") is True and wanted.request.resolution not in (None, "480p"):
        yield "resolution", wanted.request.resolution


def _frames_or_duration(wanted: Wanted) -> Iterator[Broken]:
    if "frames" in wanted.request.options and wanted.request.duration is not None:
        yield "duration", wanted.request.duration


def _adaptive_frames(wanted: Wanted) -> Iterator[Broken]:
    if wanted.request.mode == "frames" and wanted.request.aspect_ratio not in (None, "adaptive"):
        yield "aspect_ratio", wanted.request.aspect_ratio


def _adaptive_of_pictures(wanted: Wanted) -> Iterator[Broken]:
    if wanted.request.aspect_ratio == "adaptive" and wanted.request.mode != "frames":
        yield "aspect_ratio", "adaptive"


def _edit(wanted: Wanted) -> Iterator[Broken]:
    """Editing and extending take a video, whose ratio stays; the length of an edited one stays as well."""
    request, task_type = wanted.request, wanted.request.options.get(o.TASK_TYPE)
    if task_type not in ("edit", "extend"):
        return
    if not request.videos:
        yield "videos", "(none)"
    if request.aspect_ratio not in (None, "adaptive"):
        yield "aspect_ratio", request.aspect_ratio
    if task_type == "edit" and request.duration not in (None, -1):
        yield "duration", request.duration


def _still_camera(wanted: Wanted) -> Iterator[Broken]:
    if "camera_fixed" in wanted.request.options and wanted.request.images:
        yield "options.camera_fixed", wanted.request.options["camera_fixed"]


def _references_exist(wanted: Wanted) -> Iterator[Broken]:
    """Frames are numbered as images: by kind and order in `content`."""
    request = wanted.request
    frames = sum(1 for frame in (request.first_frame, request.last_frame) if frame)
    given = {"image": len(request.images) + frames, "video": len(request.videos), "audio": len(request.audios)}
    for found, kind, number in references.written(request.prompt):
        if not 1 <= number <= given[kind]:
            yield "prompt", f"{found} with {counted(given[kind], kind)}"


def _retired(wanted: Wanted) -> Iterator[Broken]:
    yield "model", wanted.request.model


# Media

_IMAGES = frozenset({"image/jpeg", "image/png", "image/webp", "image/bmp", "image/tiff", "image/gif"})
_LATER_IMAGES = _IMAGES | {"image/heic", "image/heif"}
_VIDEOS = frozenset({"video/mp4", "video/quicktime"})
_AUDIOS = frozenset({"audio/wav", "audio/mpeg"})
# Refusals name 15.2 and 30.2 s as the limit where the documents say 15 and 30.
_TOLERANCE = 0.2


def _image_rules(allowed: frozenset[str], words: str) -> tuple[Rule, ...]:
    return tuple(
        rule
        for lists in ("images", "frames")
        for rule in (
            Rule(m.media_types(lists, allowed), words, _MEDIA, f"kind of {lists}"),
            Rule(m.within(lists, m.BYTES, 0, IMAGE_LIMIT), "at most 30 MB", _MEDIA),
            Rule(m.within(lists, m.SIDES, 300, 6000), "300 to 6000 pixels a side", _MEDIA),
            Rule(m.within(lists, m.SIDES_RATIO, 0.4, 2.5), "width to height from 0.4 to 2.5", _MEDIA),
        )
    )


def _film_rules(longest: int) -> tuple[Rule, ...]:
    """Limits of reference videos and audios, which last `longest` seconds at most, each and together."""
    most = longest + _TOLERANCE
    return (
        Rule(m.media_types("videos", _VIDEOS), "mp4 or mov", _MEDIA, "kind of videos"),
        Rule(m.within("videos", m.BYTES, 0, VIDEO_LIMIT), "at most 200 MB each", _MEDIA),
        Rule(m.within("videos", m.SECONDS, 2, most), f"2 to {longest} seconds each", _MEDIA),
        Rule(m.seconds_together("videos", 0, most), f"at most {longest} seconds together", _MEDIA),
        Rule(m.within("videos", m.PIXELS, 407_696, 8_295_044), "407696 to 8295044 pixels", _MEDIA),
        Rule(m.within("videos", m.SIDES, 300, 6000), "300 to 6000 pixels a side", _MEDIA),
        Rule(m.within("videos", m.SIDES_RATIO, 0.4, 2.5), "width to height from 0.4 to 2.5", _MEDIA),
        Rule(m.within("videos", m.RATE, 24, 60), "24 to 60 frames a second", _MEDIA),
        Rule(m.media_types("audios", _AUDIOS), "wav or mp3", _MEDIA, "kind of audios"),
        Rule(m.within("audios", m.BYTES, 0, AUDIO_LIMIT), "at most 15 MB each", _MEDIA),
        Rule(m.within("audios", m.SECONDS, 2, most), f"2 to {longest} seconds each", _MEDIA),
        Rule(m.seconds_together("audios", 0, most), f"at most {longest} seconds together", _MEDIA),
    )


_EARLY_IMAGES = _image_rules(_IMAGES, "jpeg, png, webp, bmp, tiff or gif")
_ALL_IMAGES = _image_rules(_LATER_IMAGES, "jpeg, png, webp, bmp, tiff, gif, heic or heif")

# Models

_DRAFT_RULE = Rule(_draft_resolution, "480p for a draft", _CREATE)
_ACCOMPANIED = Rule(
    r.audio_accompanied(), "with an image or a video: audio alone is refused", _CREATE, "audio by itself"
)
_STILL = Rule(_still_camera, "left out with reference images", _CREATE)

SEEDANCE_2_5 = Model(
    limits=ModelLimits(
        seconds=tuple(range(4, 31)),
        open_length=True,
        resolutions=("480p", "720p", "1080p"),
        aspect_ratios=ASPECT_RATIOS,
        images=30,
        videos=10,
        audios=10,
        references=50,
    ),
    options=o.OF_ALL | {"generate_audio", "priority", "draft", DRAFT, "output_format", o.TASK_TYPE, "tools", "seed"},
    rules=(
        Rule(_adaptive_frames, "adaptive with first_frame or last_frame", _CREATE),
        Rule(_edit, "edit and extend: at least one video, ratio adaptive, and for edit a duration of -1", _CREATE),
        _DRAFT_RULE,
        *_ALL_IMAGES,
        *_film_rules(30),
    ),
    edits=True,
)
"""Seedance 2.5."""

_SEEDANCE_2_0_LIMITS = ModelLimits(
    seconds=tuple(range(4, 16)),
    open_length=True,
    resolutions=("480p", "720p", "1080p", "4k"),
    aspect_ratios=ASPECT_RATIOS,
    images=9,
    videos=3,
    audios=3,
    references=15,
)
SEEDANCE_2_0 = Model(
    limits=_SEEDANCE_2_0_LIMITS,
    options=o.OF_ALL | {"generate_audio", "priority", "tools", "seed"},
    rules=(_ACCOMPANIED, *_ALL_IMAGES, *_film_rules(15)),
)
"""Seedance 2.0."""
SEEDANCE_2_0_FAST = Model(
    limits=_SEEDANCE_2_0_LIMITS.model_copy(update={"resolutions": ("480p", "720p")}),
    options=SEEDANCE_2_0.options,
    rules=SEEDANCE_2_0.rules,
)
"""Seedance 2.0 fast and mini."""

SEEDANCE_1_5_PRO = Model(
    limits=ModelLimits(
        seconds=tuple(range(4, 13)),
        open_length=True,
        resolutions=("480p", "720p", "1080p"),
        aspect_ratios=ASPECT_RATIOS,
        images=0,
        videos=0,
        audios=0,
    ),
    options=o.OF_ALL | {"generate_audio", "draft", DRAFT, "camera_fixed", "service_tier", "seed"},
    rules=(_DRAFT_RULE, *_ALL_IMAGES),
    retired="off at BytePlus since 2026-11-11, and going offline at Volcengine",
)
"""Seedance 1.5 pro."""

_SEEDANCE_1_0_LIMITS = ModelLimits(
    seconds=tuple(range(2, 13)),
    resolutions=("480p", "720p", "1080p"),
    aspect_ratios=ASPECT_RATIOS,
    images=0,
    videos=0,
    audios=0,
)
_SEEDANCE_1_0_RULES = (
    Rule(_adaptive_of_pictures, "width:height; adaptive needs a first_frame", _CREATE),
    Rule(_frames_or_duration, "left out beside options.frames, which wins", _CREATE),
    *_EARLY_IMAGES,
)
SEEDANCE_1_0_PRO = Model(
    limits=_SEEDANCE_1_0_LIMITS,
    options=o.OF_ALL | {"frames", "camera_fixed", "service_tier", "seed"},
    rules=_SEEDANCE_1_0_RULES,
    resolution="1080p",
    text_ratio="16:9",
)
"""Seedance 1.0 pro."""
SEEDANCE_1_0_PRO_FAST = Model(
    limits=_SEEDANCE_1_0_LIMITS,
    options=SEEDANCE_1_0_PRO.options,
    rules=(
        Rule(r.absent("last_frame"), "left out: this model takes a first frame only", _CREATE),
        *_SEEDANCE_1_0_RULES,
    ),
    resolution="1080p",
    text_ratio="16:9",
)
"""Seedance 1.0 pro fast."""

MODELS: dict[str, Model] = {
    "doubao-seedance-2-5-260628": SEEDANCE_2_5,
    "doubao-seedance-2-0-260128": SEEDANCE_2_0,
    "doubao-seedance-2-0-fast-260128": SEEDANCE_2_0_FAST,
    "doubao-seedance-2-0-mini-260615": SEEDANCE_2_0_FAST,
    "doubao-seedance-1-5-pro-251215": SEEDANCE_1_5_PRO,
    "doubao-seedance-1-0-pro-250528": SEEDANCE_1_0_PRO,
    "doubao-seedance-1-0-pro-fast-251015": SEEDANCE_1_0_PRO_FAST,
    "dreamina-seedance-2-5-260628": SEEDANCE_2_5,
    "dreamina-seedance-2-0-260128": SEEDANCE_2_0,
    "dreamina-seedance-2-0-fast-260128": SEEDANCE_2_0_FAST,
    "dreamina-seedance-2-0-mini-260615": SEEDANCE_2_0_FAST,
    "seedance-1-5-pro-251215": SEEDANCE_1_5_PRO,
    "seedance-1-0-pro-250528": SEEDANCE_1_0_PRO,
    "seedance-1-0-pro-fast-251015": SEEDANCE_1_0_PRO_FAST,
}
"""The documented models by name."""

FAMILIES: tuple[tuple[str, Model], ...] = (
    ("*seedance-2-5*", SEEDANCE_2_5),
    ("*seedance-2-0-fast*", SEEDANCE_2_0_FAST),
    ("*seedance-2-0-mini*", SEEDANCE_2_0_FAST),
    ("*seedance-2-0*", SEEDANCE_2_0),
    ("*seedance-1-5-pro*", SEEDANCE_1_5_PRO),
    ("*seedance-1-0-pro-fast*", SEEDANCE_1_0_PRO_FAST),
    ("*seedance-1-0-pro*", SEEDANCE_1_0_PRO),
)
"""Names of other versions: what one version takes is likely, not known, of another. The first that fits counts."""

_RETIRED = (
    ("*seedance-1-5-pro*", SEEDANCE_1_5_PRO.retired),
    ("*seedance-1-0-lite*", "off at BytePlus since 2026-05-13, and no longer documented"),
)

GENERAL: tuple[Rule, ...] = (
    Rule(_content_given, "a text, an image, a video or an audio", _MEDIA),
    Rule(
        r.whole_seconds((-1, *range(1, 3601)), required=False),
        "a positive whole number of seconds, or -1",
        _CREATE,
        "seconds",
    ),
    Rule(r.timeout_between(3600, 259_200), "3600 to 259200 seconds", _DOC + "execution_expires_after", "timeout"),
    Rule(r.frames_alone("images", "videos", "audios"), "left out with first_frame and last_frame, never both", _MEDIA),
    Rule(r.first_with_last(), "given whenever last_frame is", _MEDIA),
    Rule(r.options_not(RESERVED - {DRAFT}), "not an option: it is a field of the request", _CREATE),
    Rule(r.options_writable(), "a finite JSON value", _CREATE),
    *o.VALUES,
    Rule(_draft_alone, f"left out with options.{DRAFT}: the draft has settled it", _CREATE),
    Rule(_final_resolution, "1080p for the final video of a draft", _CREATE),
    Rule(_STILL.check, _STILL.limit, _STILL.source),
    Rule(_references_exist, "an asset for every @image, @video, @audio number, counted from 1", _MEDIA),
    Rule(m.media_kind("images", "image"), "an image", _MEDIA, "kind of images"),
    Rule(m.media_kind("frames", "image"), "an image", _MEDIA, "kind of frames"),
    Rule(m.media_kind("videos", "video"), "a video", _MEDIA, "kind of videos"),
    Rule(m.media_kind("audios", "audio"), "an audio file", _MEDIA, "kind of audios"),
    Rule(m.fit_inline(BODY_LIMIT, "images", "frames", "audios"), f"{BODY_LIMIT} bytes for the whole body", _CREATE),
)
"""Limits of every model."""


def alike(model: str) -> Model | None:
    """The documented model that stands for the family of another name, if there is one."""
    return next((kin for pattern, kin in FAMILIES if fnmatchcase(model.lower(), pattern)), None)


def retired(model: str) -> tuple[Rule, ...]:
    """Return the warning that a model is retired, if it is."""
    since = next((since for pattern, since in _RETIRED if fnmatchcase(model.lower(), pattern)), "")
    return (Rule(_retired, f"another model: this one is {since}", _DOC + "model"),) if since else ()


def served_at(base_url: str) -> list[str]:
    """Return the documented models that an address serves: BytePlus and Volcengine name them differently."""
    at_byteplus = (urlsplit(base_url).hostname or "").endswith("bytepluses.com")
    return [name for name, model in MODELS.items() if name.startswith("doubao-") != at_byteplus and not model.retired]


def default_options(model: Model | None, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return options that are said although they are the API's own defaults: a watermark or sound is paid for.

    Args:
        model: A documented model, or None.
        given: The request's options.
    """
    sound = model is not None and "generate_audio" in model.options and DRAFT not in given
    return {"watermark": False} | ({"generate_audio": True} if sound else {})


def defaults(model: Model, request: VideoRequest) -> dict[str, Any]:
    """Return what a documented model does where a request leaves it open, by field of the request.

    Args:
        model: The model.
        request: The request.
    """
    if DRAFT in request.options:
        return {"resolution": "1080p"}
    draft = request.options.get("draft") is True
    usual: dict[str, Any] = {
        "resolution": "480p" if draft else model.resolution,
        "aspect_ratio": "adaptive" if request.mode == "frames" else model.text_ratio,
    }
    if "frames" not in request.options:
        usual["duration"] = -1 if model.edits and request.videos else DEFAULT_DURATION
    return usual


def in_its_words(prompt: str) -> str:
    """Return the prompt with references as Ark's models know them: `图片1` in a Chinese text, else `Image 1`."""
    chinese = any("\u4e00" <= letter <= "\u9fff" for letter in prompt)
    names = {"image": "图片", "video": "视频", "audio": "音频"}
    return references.rewritten(
        prompt, lambda kind, number: f"{names[kind]}{number}" if chinese else f"{kind.capitalize()} {number}"
    )
