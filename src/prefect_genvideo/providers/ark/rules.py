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

from prefect_genvideo.models import VideoRequest
from prefect_genvideo.providers import media_rules as m
from prefect_genvideo.providers import references
from prefect_genvideo.providers import rules as r
from prefect_genvideo.providers.ark import checks as c
from prefect_genvideo.providers.ark import options as o
from prefect_genvideo.providers.limits import ModelLimits
from prefect_genvideo.providers.rules import Broken, Rule, Wanted

_DOC = "Ark API: "
_CREATE = _DOC + "创建视频生成任务"
_MEDIA = _DOC + "content"

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
        final_resolution: The only one of a final video that is made of a draft; None: any.
        keeps_ratio: Whether the ratio of frames is the output's: any other makes a task that fails later.
        edits: Whether a reference video may be taken for one to edit, whose length is then the output's.
        retired: Since when it is off, in words; empty for a model that is served.
    """

    limits: ModelLimits
    options: frozenset[str]
    rules: tuple[Rule, ...]
    resolution: str = "720p"
    text_ratio: str = "adaptive"
    final_resolution: str | None = None
    keeps_ratio: bool = False
    edits: bool = False
    retired: str = ""

    def all_rules(self) -> tuple[Rule, ...]:
        """Return its limits, figures first."""
        return (*self.limits.rules(_CREATE), o.only(self.options), *self.rules)


# Models

_DRAFT_RULE = Rule(c.draft_resolution, "480p for a draft", _CREATE)
_ACCOMPANIED = Rule(
    r.audio_accompanied(), "with an image or a video: audio alone is refused", _CREATE, "audio by itself"
)

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
        Rule(c.ratio_of_frames, "the ratio of first_frame and last_frame, which this model keeps", _CREATE),
        Rule(
            c.edit,
            "edit and extend: a prompt that says so, a video, ratio adaptive, and for edit a duration of -1",
            _CREATE,
        ),
        Rule(c.final_resolution, "1080p for the final video of a draft", _CREATE),
        Rule(c.edited_length, "4 to 30 seconds for a video to edit", _CREATE),
        _DRAFT_RULE,
        *c.ALL_IMAGES,
        *c.film_rules(30),
    ),
    final_resolution="1080p",
    keeps_ratio=True,
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
    rules=(_ACCOMPANIED, *c.ALL_IMAGES, *c.film_rules(15)),
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
    rules=(
        _DRAFT_RULE,
        Rule(c.last_frame_of_draft, "left out for a draft of this model", _CREATE),
        *c.ALL_IMAGES,
    ),
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
    Rule(c.adaptive_of_pictures, "width:height; adaptive needs a first_frame", _CREATE),
    *c.EARLY_IMAGES,
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
    Rule(c.content_given, "a text, an image, a video or an audio", _MEDIA),
    Rule(
        r.whole_seconds((-1, *range(1, 3601)), required=False),
        "a positive whole number of seconds, or -1",
        _CREATE,
        "seconds",
    ),
    Rule(c.ratio, "width:height, e.g. 16:9, or adaptive", _CREATE, "aspect_ratios"),
    Rule(r.timeout_between(3600, 259_200), "3600 to 259200 seconds", _DOC + "execution_expires_after", "timeout"),
    Rule(r.frames_alone("images", "videos", "audios"), "left out with first_frame and last_frame, never both", _MEDIA),
    Rule(r.first_with_last(), "given whenever last_frame is", _MEDIA),
    Rule(r.options_not(RESERVED - {DRAFT}), "not an option: it is a field of the request", _CREATE),
    Rule(r.options_writable(), "a finite JSON value", _CREATE),
    *o.VALUES,
    Rule(c.draft_alone, f"left out with options.{DRAFT}: the draft has settled it", _CREATE),
    Rule(c.still_camera, "left out with reference images", _CREATE),
    Rule(c.frames_are_auto, "auto with first_frame or last_frame; the others are of references", _CREATE),
    Rule(c.priority_of_tier, "left out with the service tier flex", _CREATE),
    Rule(c.references_exist, "an asset for every @image, @video, @audio number, counted from 1", _MEDIA),
    Rule(m.media_kind("images", "image"), "an image", _MEDIA, "kind of images"),
    Rule(m.media_kind("frames", "image"), "an image", _MEDIA, "kind of frames"),
    Rule(m.media_kind("videos", "video"), "a video", _MEDIA, "kind of videos"),
    Rule(m.media_kind("audios", "audio"), "an audio file", _MEDIA, "kind of audios"),
    Rule(m.fit_inline(c.BODY_LIMIT, "images", "frames", "audios"), f"{c.BODY_LIMIT} bytes for the whole body", _CREATE),
)
"""Limits of every model."""


def _retired(wanted: Wanted) -> Iterator[Broken]:
    yield "model", wanted.request.model


def alike(model: str) -> Model | None:
    """The documented model that stands for the family of another name, if there is one."""
    return next((kin for pattern, kin in FAMILIES if fnmatchcase(model.lower(), pattern)), None)


def advice(model: str) -> Iterator[Rule]:
    """Yield what is no reason to refuse a request and should be known, e.g. that the model is retired."""
    yield Rule(c.settings_in_prompt, "a field or an option: it may count more or less than what the body says", _CREATE)
    yield Rule(c.frames_or_duration, "left out beside options.frames, which wins", _CREATE)
    yield Rule(c.long_prompt, "at most 500 Chinese characters or 1000 English words are recommended", _MEDIA)
    if fnmatchcase(model.lower(), "*seedance-2-*"):
        yield Rule(c.seed, "left out: the newest edition documents it for Seedance 1.x only", _CREATE)
    since = next((since for pattern, since in _RETIRED if fnmatchcase(model.lower(), pattern)), "")
    if since:
        yield Rule(_retired, f"another model: this one is {since}", _DOC + "model")
    if model in MODELS and MODELS[model].keeps_ratio:
        yield Rule(c.ratio_beside_frames, "adaptive is sent: this model keeps the ratio of frames", _CREATE)


def ratio_to_send(request: VideoRequest) -> str | None:
    """Return the `ratio` of a body: that of frames where a documented model keeps it."""
    known = MODELS.get(request.model)
    keeps = known is not None and known.keeps_ratio and request.mode == "frames"
    return "adaptive" if keeps else request.aspect_ratio


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
        return {"resolution": model.final_resolution} if model.final_resolution else {}
    draft = request.options.get("draft") is True
    usual: dict[str, Any] = {
        "resolution": "480p" if draft else model.resolution,
        "aspect_ratio": "adaptive" if request.mode == "frames" else model.text_ratio,
    }
    if "frames" not in request.options:
        edits = model.edits and (request.videos or request.options.get(o.TASK_TYPE) == "edit")
        usual["duration"] = -1 if edits else DEFAULT_DURATION
    return usual


def in_its_words(prompt: str) -> str:
    """Return the prompt with references as Ark's models know them: `图片1` in a Chinese text, else `Image 1`."""
    chinese = any("\u4e00" <= letter <= "\u9fff" for letter in prompt)
    names = {"image": "图片", "video": "视频", "audio": "音频"}
    return references.rewritten(
        prompt, lambda kind, number: f"{names[kind]}{number}" if chinese else f"{kind.capitalize()} {number}"
    )
