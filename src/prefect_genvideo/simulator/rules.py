"""What each side refuses, in its own words. Written from the official documents, not from the clients.

The clients have tables of their own; these are the other side of the wire and must not share a line with them.
Words that no document and no recording gives are modelled on those that were given.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import urlsplit

Json = Mapping[str, Any]

# Sudashui -----------------------------------------------------------------------------------------------------

SUDASHUI_MODELS: dict[str, str] = {
    "sd-2-720p": "720p",
    "sd-2-1080p": "1080p",
    "sd-api-2-720p": "720p",
    "sd-api-2-1080p": "1080p",
    "sd-2-fast-720p": "720p",
    "sd-api-2-fast-720p": "720p",
}
"""Model name to resolution: 模型列表."""

_RATIOS = ("1:1", "3:4", "4:3", "9:16", "16:9", "21:9", "adaptive")
_MODES = ("references", "frames")
_MEDIA_LIMITS = {"imageUrls": 9, "videoUrls": 3, "audioUrls": 3}
_FRAMES = ("firstFrameUrl", "lastFrameUrl")
_TOTAL = 12
_TOP_MEDIA = ("images", "imageUrls", "videoUrls", "audioUrls")
_TOP_OTHER = ("firstFrameUrl", "lastFrameUrl", "aspectRatio", "mode", "resolution")
_NOT_IN_PAYLOAD = ("model", "resolution", "duration", "prompt")


@dataclass(frozen=True)
class SudashuiRule:
    """One rule of the payload: `broken(body, payload)` tells, `words` is what the provider then says.

    Attributes:
        documented: Whether it is a limit of the documented models alone; others take more.
    """

    broken: Callable[[Json, Json], object]
    words: str
    documented: bool = False


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_link(value: object) -> bool:
    if not isinstance(value, str) or re.match(r"https?://[^/\s]", value) is None:
        return False
    try:
        return bool(urlsplit(value).hostname)
    except ValueError:  # e.g. a bracket without its end
        return False


def _items(payload: Json, name: str) -> Sequence[Any]:
    value: object = payload.get(name)
    return cast("list[Any]", value) if isinstance(value, list) else ()


def _list_rules(name: str, limit: int) -> tuple[SudashuiRule, ...]:
    field = f"metadata.payload.{name}"
    return (
        SudashuiRule(
            lambda _, p: p.get("mode") == "frames" and name in p, f"{field} is not allowed when mode is frames."
        ),
        SudashuiRule(lambda _, p: name in p and not isinstance(p[name], list), f"{field} must be an array."),
        SudashuiRule(
            lambda _, p: len(_items(p, name)) > limit, f"{field} must contain at most {limit} items.", documented=True
        ),
        SudashuiRule(
            lambda _, p: not all(_is_link(item) for item in _items(p, name)), f"{field} must contain valid URLs."
        ),
    )


def _frame_rules(name: str) -> tuple[SudashuiRule, ...]:
    field = f"metadata.payload.{name}"
    return (
        SudashuiRule(
            lambda _, p: p.get("mode") == "references" and name in p,
            f"{field} is not allowed when mode is references.",
        ),
        SudashuiRule(
            lambda _, p: p.get("mode") == "frames" and not p.get(name), f"{field} is required when mode is frames."
        ),
        SudashuiRule(lambda _, p: bool(p.get(name)) and not _is_link(p[name]), f"{field} must be a valid URL."),
    )


SUDASHUI_RULES: tuple[SudashuiRule, ...] = (
    SudashuiRule(
        lambda b, _: any(name in b for name in _TOP_MEDIA),
        "Do not pass top-level images, imageUrls, videoUrls, audioUrls.",
    ),
    SudashuiRule(lambda b, _: any(name in b for name in _TOP_OTHER), f"Do not pass top-level {', '.join(_TOP_OTHER)}."),
    SudashuiRule(
        lambda b, _: not _is_number(b.get("duration")) or not 4 <= b["duration"] <= 15,
        "duration must be from 4 to 15 seconds.",
        documented=True,
    ),
    SudashuiRule(
        lambda b, _: not _is_number(b.get("duration")) or not 0 < b["duration"] <= 60, "duration is not supported."
    ),
    SudashuiRule(
        lambda _, p: any(name in p for name in _NOT_IN_PAYLOAD),
        f"Do not pass {', '.join(_NOT_IN_PAYLOAD)} in metadata.payload.",
    ),
    SudashuiRule(
        lambda _, p: p.get("aspectRatio") not in _RATIOS,
        f"metadata.payload.aspectRatio must be one of {', '.join(_RATIOS)}.",
    ),
    SudashuiRule(
        lambda _, p: p.get("mode") not in _MODES, f"metadata.payload.mode must be one of {', '.join(_MODES)}."
    ),
    *(rule for name, limit in _MEDIA_LIMITS.items() for rule in _list_rules(name, limit)),
    *(rule for name in _FRAMES for rule in _frame_rules(name)),
    SudashuiRule(
        lambda _, p: sum(len(_items(p, name)) for name in _MEDIA_LIMITS) > _TOTAL,
        f"The total number of imageUrls, videoUrls and audioUrls must be at most {_TOTAL}.",
        documented=True,
    ),
)
"""In the order in which they are looked at; the first broken one is told."""


def sudashui_problem(body: Json, payload: Json, *, documented: bool = True) -> str | None:
    """The first broken rule in the provider's words, or None.

    Args:
        body: The request's JSON object.
        payload: The object inside `metadata.payload`.
        documented: Whether the model is a documented one; the limits of those do not hold for others.
    """
    due = (rule for rule in SUDASHUI_RULES if documented or not rule.documented)
    return next((rule.words for rule in due if rule.broken(body, payload)), None)


UPLOAD_LIMITS: dict[str, tuple[str, int]] = {
    ".jpg": ("image/jpeg", 30),
    ".jpeg": ("image/jpeg", 30),
    ".png": ("image/png", 30),
    ".webp": ("image/webp", 30),
    ".mp4": ("video/mp4", 50),
    ".mov": ("video/quicktime", 50),
    ".mp3": ("audio/mpeg", 15),
    ".wav": ("audio/wav", 15),
}
"""Extension to media type and size limit in MB: 文件类型与限制."""

# SenseAudio ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SenseAudioModel:
    """What one model takes: 模型各个参数说明.

    Attributes:
        ratios: Allowed ratios; empty = any `n:m`.
        roles: Allowed roles of images, with the most that may have each.
        media: Whether audio and video references are taken.
        timeout: Least and most seconds of `timeout`.
        watermark: Whether results carry a watermark unless it is switched off.
    """

    durations: tuple[int, ...]
    resolutions: tuple[str, ...]
    ratios: tuple[str, ...]
    roles: Mapping[str, int]
    media: bool = False
    timeout: tuple[int, int] = (1, 10**9)
    watermark: bool = False


_FIVE_RATIOS = ("9:16", "16:9", "1:1", "4:3", "3:4")
_SEEDANCE_2 = SenseAudioModel(
    durations=tuple(range(4, 16)),
    resolutions=("480p", "720p", "1080p"),
    ratios=_FIVE_RATIOS,
    roles={"reference": 9, "first_frame": 1, "last_frame": 1},
    media=True,
    timeout=(3600, 172_800),
    watermark=True,
)
SENSEAUDIO_MODELS: dict[str, SenseAudioModel] = {
    "SenseAudio-Video-1.0": SenseAudioModel((10, 15), ("720p",), (), {"reference": 1}),
    "Seedance-Pro-1.5": SenseAudioModel(
        tuple(range(2, 13)), ("720p", "1080p"), _FIVE_RATIOS, {"first_frame": 1, "last_frame": 1}
    ),
    "Seedance-2.0": _SEEDANCE_2,
    "Seedance-2.0-Fast": _SEEDANCE_2,
    "doubao-seedance-2-0-260128": _SEEDANCE_2,
}
"""What each model takes."""

_IMAGE_DATA = re.compile(r"data:image/[a-z+.\-]+;base64,")
_MOST_MEDIA = 3


def _of_type(body: Json, kind: str) -> list[Json]:
    content: object = body.get("content")
    items = cast("list[Any]", content) if isinstance(content, list) else []
    return [
        cast("Json", item) for item in items if isinstance(item, Mapping) and cast("Json", item).get("type") == kind
    ]


def _roles(body: Json) -> list[str]:
    return [str(item.get("role")) for item in _of_type(body, "image")]


def _ratio_is_wrong(body: Json, model: SenseAudioModel) -> bool:
    ratio = body.get("ratio")
    if model.ratios:
        return ratio not in model.ratios
    return not (isinstance(ratio, str) and re.fullmatch(r"[1-9]\d?:[1-9]\d?", ratio))


def _duration_is_wrong(body: Json, model: SenseAudioModel) -> bool:
    value = body.get("duration")
    return not isinstance(value, int) or isinstance(value, bool) or value not in model.durations


def _timeout_is_wrong(body: Json, model: SenseAudioModel) -> bool:
    value, (least, most) = body.get("timeout"), model.timeout
    return value is not None and (not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most)


def _roles_are_wrong(body: Json, model: SenseAudioModel) -> bool:
    roles = _roles(body)
    mixed = "reference" in roles and len(set(roles)) > 1
    orphan = "last_frame" in roles and "first_frame" not in roles
    return mixed or orphan or any(roles.count(role) > model.roles.get(role, 0) for role in roles)


def _media_are_wrong(body: Json, model: SenseAudioModel) -> bool:
    videos, audios = _of_type(body, "video"), _of_type(body, "audio")
    alone = bool(audios) and not videos and not _of_type(body, "image")
    many = len(videos) > _MOST_MEDIA or len(audios) > _MOST_MEDIA
    return alone or many or (bool(videos or audios) and not model.media)


def _an_item_is_wrong(body: Json, _: SenseAudioModel) -> bool:
    known = sum(len(_of_type(body, kind)) for kind in ("text", "image", "video", "audio"))
    return known != len(cast("list[Any]", body["content"]))


def _a_link_is_wrong(body: Json, kind: str, key: str) -> bool:
    links = [str(item.get(key, "")) for item in _of_type(body, kind)]
    return not all(_is_link(link) or (kind == "image" and _IMAGE_DATA.match(link)) for link in links)


def _text_is_missing(body: Json, _: SenseAudioModel) -> bool:
    return not any(str(item.get("text") or "").strip() for item in _of_type(body, "text"))


SENSEAUDIO_RULES: tuple[tuple[Callable[[Json, SenseAudioModel], bool], str], ...] = (
    (_text_is_missing, "内容不能为空"),
    (_an_item_is_wrong, "参数错误：content"),
    (_duration_is_wrong, "不支持的视频时长"),
    (lambda body, model: body.get("resolution") not in model.resolutions, "参数错误：resolution"),
    (_ratio_is_wrong, "参数错误：ratio"),
    (_timeout_is_wrong, "不支持的超时时间"),
    (_roles_are_wrong, "参数错误：role"),
    (_media_are_wrong, "参数错误：content"),
    (lambda body, _: len(_of_type(body, "text")) > 1, "参数错误：content"),
    (lambda body, _: _a_link_is_wrong(body, "image", "url"), "图片链接无效"),
    (lambda body, _: _a_link_is_wrong(body, "video", "video_url"), "视频链接无效"),
    (lambda body, _: _a_link_is_wrong(body, "audio", "audio_url"), "音频链接无效"),
)
"""In the order in which they are looked at; the first broken one is told."""


def senseaudio_problem(body: Json, model: SenseAudioModel) -> str | None:
    """The first broken rule in the provider's words, or None.

    Args:
        body: The request's JSON object.
        model: What its model takes.
    """
    return next((words for broken, words in SENSEAUDIO_RULES if broken(body, model)), None)
