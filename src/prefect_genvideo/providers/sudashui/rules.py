"""Sudashui's documented limits, section by section of its API document (视频生成 API 文档).

Checked for the six documented models. An unknown model name passes with the general rules only: the live list changes
weekly, some of its models break the documented limits, and the provider judges.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from prefect_genvideo.providers import media_rules as m
from prefect_genvideo.providers import references
from prefect_genvideo.providers import rules as r
from prefect_genvideo.providers.limits import ModelLimits, ModelRules
from prefect_genvideo.providers.rules import Broken, Rule, Wanted

_DOC = "Sudashui API: "

MODELS: dict[str, str] = {
    "sd-2-720p": "720p",
    "sd-2-1080p": "1080p",
    "sd-api-2-720p": "720p",
    "sd-api-2-1080p": "1080p",
    "sd-2-fast-720p": "720p",
    "sd-api-2-fast-720p": "720p",
}
"""模型列表: the resolution is part of the model's name."""


@dataclass(frozen=True)
class UploadLimit:
    """One row of 文件类型与限制."""

    kind: str
    extensions: tuple[str, ...]
    below: int  # bytes; the document says 小于, so the figure itself is too large


MB = 1024 * 1024
"""The document does not say what a MB is; 1024² refuses nothing that the provider may take."""
UPLOAD_LIMITS: dict[str, UploadLimit] = {
    "image/jpeg": UploadLimit("image", (".jpeg", ".jpg"), 30 * MB),
    "image/png": UploadLimit("image", (".png",), 30 * MB),
    "image/webp": UploadLimit("image", (".webp",), 30 * MB),
    "video/mp4": UploadLimit("video", (".mp4",), 50 * MB),
    "video/quicktime": UploadLimit("video", (".mov",), 50 * MB),
    "audio/mpeg": UploadLimit("audio", (".mp3",), 15 * MB),
    "audio/wav": UploadLimit("audio", (".wav",), 15 * MB),
}
"""What the upload takes, by media type: 文件类型与限制."""

ASPECT_RATIOS = ("1:1", "3:4", "4:3", "9:16", "16:9", "21:9", "adaptive")
"""`metadata.payload` 参数: aspectRatio 可选值."""
PAYLOAD_FIELDS = ("aspectRatio", "mode", "imageUrls", "videoUrls", "audioUrls", "firstFrameUrl", "lastFrameUrl")
"""Everything that the object inside `metadata.payload` supports."""

FORBIDDEN_OUTER = frozenset((*PAYLOAD_FIELDS, "images", "resolution"))
"""基础参数: 不要在外层传 …"""
FORBIDDEN_INNER = frozenset({"model", "resolution", "duration", "prompt"})
"""参数规则: metadata.payload 内不能传 …"""
RESERVED = FORBIDDEN_OUTER | FORBIDDEN_INNER | {"metadata", "payload"}
"""Names that no option may have."""

DEFAULT_DURATION = 4
"""Nothing in the document names a default; its examples use these, and 4 s is the cheapest."""
DEFAULT_ASPECT_RATIO = "16:9"
"""As in the examples of the document."""

_IMAGES = frozenset(kind for kind, row in UPLOAD_LIMITS.items() if row.kind == "image")
_VIDEOS = frozenset(kind for kind, row in UPLOAD_LIMITS.items() if row.kind == "video")
_AUDIOS = frozenset(kind for kind, row in UPLOAD_LIMITS.items() if row.kind == "audio")


def _resolution_of_model(wanted: Wanted) -> Iterator[Broken]:
    given, model = wanted.request.resolution, wanted.request.model
    if given is not None and given != MODELS.get(model, given if model.endswith(f"-{given}") else None):
        yield "resolution", given


GENERAL: tuple[Rule, ...] = (
    Rule(r.prompt_given(), "a prompt: the gateway refuses a blank one", _DOC + "基础参数"),
    Rule(r.whole_seconds(range(1, 3601)), "a positive whole number of seconds", _DOC + "基础参数", "seconds"),
    Rule(_resolution_of_model, "left out: the model's name decides the resolution", _DOC + "模型列表"),
    Rule(r.absent("timeout"), "left out: this API has no timeout field", _DOC + "基础参数"),
    Rule(
        r.frames_alone("images", "videos", "audios"),
        "left out with first_frame and last_frame (mode=frames)",
        _DOC + "参数规则",
    ),
    Rule(r.options_not(RESERVED), "not an option: the client sets or must not send it", _DOC + "参数规则"),
    Rule(r.options_writable(), "a finite JSON value", _DOC + "metadata.payload 参数"),
)
"""Limits of every model."""

LIMITS = ModelLimits(
    seconds=tuple(range(4, 16)), aspect_ratios=ASPECT_RATIOS, images=9, videos=3, audios=3, references=12
)
"""The document says number of seconds; its gateway takes integers only."""
DOCUMENTED: tuple[Rule, ...] = (
    *LIMITS.rules(
        _DOC + "生成任务素材限制",
        {"seconds": _DOC + "基础参数", "aspect_ratios": _DOC + "metadata.payload 参数"},
    ),
    Rule(r.both_frames(), "both first_frame and last_frame (mode=frames)", _DOC + "参数规则"),
    Rule(
        references.references_exist(),
        "an asset for every @image, @video, @audio number, counted from 1",
        _DOC + "素材顺序对应",
    ),
    Rule(
        references.references_well_written(),
        "lower case, in English, without a blank: @image1, @video1, @audio1",
        _DOC + "素材顺序对应",
    ),
    Rule(
        r.options_only({}),
        "no further fields: metadata.payload supports only " + ", ".join(PAYLOAD_FIELDS),
        _DOC + "metadata.payload 参数",
    ),
    Rule(m.media_types("images", _IMAGES), "jpg, jpeg, png or webp", _DOC + "生成任务素材限制"),
    Rule(m.media_types("frames", _IMAGES), "jpg, jpeg, png or webp", _DOC + "文件类型与限制"),
    Rule(m.media_types("audios", _AUDIOS), "mp3 or wav", _DOC + "生成任务素材限制"),
    Rule(m.media_types("videos", _VIDEOS), "mp4 or mov", _DOC + "文件类型与限制"),
    Rule(m.within("images", m.BYTES, 0, 30 * MB - 1), "less than 30 MB each", _DOC + "生成任务素材限制"),
    Rule(m.within("frames", m.BYTES, 0, 30 * MB - 1), "less than 30 MB each", _DOC + "文件类型与限制"),
    Rule(m.within("audios", m.BYTES, 0, 15 * MB - 1), "less than 15 MB each", _DOC + "生成任务素材限制"),
    Rule(m.within("videos", m.BYTES, 0, 50 * MB - 1), "less than 50 MB each", _DOC + "生成任务素材限制"),
    Rule(m.seconds_together("audios", 0, 15), "at most 15 seconds together", _DOC + "生成任务素材限制"),
    Rule(m.seconds_together("videos", 2, 15), "2 to 15 seconds together", _DOC + "生成任务素材限制"),
    Rule(
        m.within("videos", m.PIXELS, 409_600, 927_408),
        "409600 to 927408 pixels, e.g. 640x640 to 834x1112",
        _DOC + "生成任务素材限制",
    ),
)
"""Limits of the documented models."""


# Names seen on live lists, and the widest that was seen of them: up to 30 s, some with fixed durations, up to 30
# images, 10 videos and 10 audios. Which name takes what is not documented, so that this warns and never refuses.
_WIDER = ModelLimits(seconds=tuple(range(4, 31)), images=30, videos=10, audios=10, references=50)
FAMILIES = ModelRules(tuple((pattern, _WIDER) for pattern in ("sdas-*", "bf-sdas-*", "ld-*")), "seen of this family")
"""What is likely of names that begin like these."""
