"""What Ark takes for each model, what it says of anything else, and what a film costs. Written from the documents."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

Json = Mapping[str, Any]

FPS = 24
"""Frames per second of every film."""
_RATIOS = ("16:9", "4:3", "1:1", "3:4", "9:16", "21:9")
# Seconds that a reference video adds to the bill: the simulator fetches none, and this is the least that counts.
_INPUT_S = 4
# Of the answer when the model chooses the length.
_CHOSEN_S = 5
_URL = re.compile(r"https?://[^/\s]+|asset://asset-\S+")
_INLINE = {
    "image_url": re.compile(r"data:image/[a-z0-9+.\-]+;base64,"),
    "audio_url": re.compile(r"data:audio/(?:wav|mp3|mpeg);base64,"),
}
_REFERENCE_ROLES = {"image_url": "reference_image", "video_url": "reference_video", "audio_url": "reference_audio"}
_FRAME_ROLES = ("first_frame", "last_frame")
_FLAGS = ("generate_audio", "watermark", "camera_fixed", "return_last_frame", "draft")
# What a final film takes over from its draft.
_OF_THE_DRAFT = ("duration", "ratio", "seed", "generate_audio", "omni_reference_task_type", "draft")


def _sizes(text: str) -> dict[str, tuple[int, int]]:
    """Pixels by ratio, from a row of the documented table."""
    pairs = (tuple(int(side) for side in pair.split("x")) for pair in text.split())
    return dict(zip(_RATIOS, ((wide, high) for wide, high in pairs), strict=True))


_1080P_2 = _sizes("1920x1080 1664x1248 1440x1440 1248x1664 1080x1920 2206x946")
_720P_2 = _sizes("1280x720 1112x834 960x960 834x1112 720x1280 1470x630")
_480P_2 = _sizes("864x496 752x560 640x640 560x752 496x864 992x432")
_SIZES_2 = {
    "480p": _480P_2,
    "720p": _720P_2,
    "1080p": _1080P_2,
    "4k": _sizes("3840x2160 3326x2494 2880x2880 2494x3326 2160x3840 4398x1886"),
}
_SIZES_25 = {**_SIZES_2, "480p": _sizes("854x480 752x560 640x640 560x752 480x854 992x432")}
_SIZES_1 = {
    "480p": _sizes("864x480 736x544 640x640 544x736 480x864 960x416"),
    "720p": _sizes("1248x704 1120x832 960x960 832x1120 704x1248 1504x640"),
    "1080p": _sizes("1920x1088 1664x1248 1440x1440 1248x1664 1088x1920 2176x928"),
}


@dataclass(frozen=True)
class ArkModel:
    """What one family of models takes.

    Attributes:
        family: As refusals name it, e.g. `doubao-seedance-2-0`.
        seconds: Least and most.
        resolutions: Those that are taken.
        sizes: Pixels by resolution and ratio.
        resolution: The default.
        chooses: Whether -1 lets the model choose the length.
        length: Seconds by default.
        references: Most images, videos, audios, and all together; all 0 where none are taken.
        last_frame: Whether a last frame is taken.
        audio_alone: Whether audio needs no picture beside it.
        has_audio: Whether films have sound, and records tell so.
        ranks: Whether there is a priority: all of 2.x.
        flex: Whether the cheaper tier is offered.
    """

    family: str
    seconds: tuple[int, int]
    resolutions: tuple[str, ...]
    sizes: Mapping[str, Mapping[str, tuple[int, int]]]
    resolution: str = "720p"
    chooses: bool = True
    length: int = 5
    references: tuple[int, int, int, int] = (0, 0, 0, 0)
    last_frame: bool = True
    audio_alone: bool = False
    has_audio: bool = True
    ranks: bool = True
    flex: bool = False


_UP_TO_1080 = ("480p", "720p", "1080p")
_20 = ArkModel("doubao-seedance-2-0", (4, 15), (*_UP_TO_1080, "4k"), _SIZES_2, references=(9, 3, 3, 15))
_FAST = ArkModel("doubao-seedance-2-0-fast", (4, 15), _UP_TO_1080[:2], _SIZES_2, references=(9, 3, 3, 15))
_MINI = ArkModel("doubao-seedance-2-0-mini", (4, 15), _UP_TO_1080[:2], _SIZES_2, references=(9, 3, 3, 15))
_25 = ArkModel(
    "doubao-seedance-2-5", (4, 30), _UP_TO_1080, _SIZES_25, length=-1, references=(30, 10, 10, 50), audio_alone=True
)
_15 = ArkModel("doubao-seedance-1-5-pro", (4, 12), _UP_TO_1080, _SIZES_2, ranks=False, flex=True)
_1: dict[str, Any] = {
    "resolution": "1080p", "chooses": False, "has_audio": False, "ranks": False, "flex": True,
}  # fmt: skip
_10 = ArkModel("doubao-seedance-1-0-pro", (2, 12), _UP_TO_1080, _SIZES_1, **_1)
_10_FAST = ArkModel("doubao-seedance-1-0-pro-fast", (2, 12), _UP_TO_1080, _SIZES_1, last_frame=False, **_1)
_DRAFTING = (_25, _15)
_BY_VERSION = {
    "seedance-2-5-260628": _25,
    "seedance-2-0-260128": _20,
    "seedance-2-0-fast-260128": _FAST,
    "seedance-2-0-mini-260615": _MINI,
    "seedance-1-5-pro-251215": _15,
    "seedance-1-0-pro-250528": _10,
    "seedance-1-0-pro-fast-251015": _10_FAST,
}
ARK_MODELS: dict[str, ArkModel] = {
    **{f"doubao-{name}": model for name, model in _BY_VERSION.items()},
    **{f"dreamina-{name}" if model.ranks else name: model for name, model in _BY_VERSION.items()},
}
"""What each model takes, by its name in China and abroad."""
OF_ENDPOINTS = "doubao-seedance-2-0-260128"
"""The model behind every `ep-…` and behind names that are offered beside the documented ones."""


class ArkProblem(NamedTuple):
    """Why a request is refused.

    Attributes:
        param: The field, as the refusal names it.
        message: Its words, without the id of the call.
    """

    param: str
    message: str
    code: str = "InvalidParameter"


def invalid(param: str, words: str) -> ArkProblem:
    """A field that is wrong.

    Args:
        param: Its name, e.g. `content[1]`.
        words: What is wrong.
    """
    return ArkProblem(param, f"The parameter `{param}` specified in the request is not valid: {words}.")


def _items(body: Json) -> list[Json]:
    return cast("list[Json]", body["content"])


def _media(body: Json) -> Iterator[tuple[int, str, Json]]:
    """Number, type and item of all media."""
    for number, item in enumerate(_items(body)):
        if item.get("type") in _REFERENCE_ROLES:
            yield number, str(item["type"]), item


def link_of(item: Json) -> str:
    """The link of a medium; empty where there is none."""
    inner: object = item.get(str(item.get("type")))
    return str(cast("Json", inner).get("url") or "") if isinstance(inner, Mapping) else ""


def _missing(body: Json, _: ArkModel) -> ArkProblem | None:
    content: object = body.get("content")
    if not isinstance(content, list) or not content:
        return ArkProblem("content", "The request is missing the parameter content.", "MissingParameter")
    for number, item in enumerate(cast("list[object]", content)):
        kind = cast("Json", item).get("type") if isinstance(item, Mapping) else None
        if kind not in (*_REFERENCE_ROLES, "text", "draft_task"):
            return invalid(f"content[{number}].type", "it must be one of text, image_url, video_url, audio_url")
        if kind == "draft_task" and not draft_of(cast("Json", item)):
            return invalid(f"content[{number}].draft_task.id", "it must be the id of a task")
    return None


def draft_of(item: Json) -> str:
    """The task that a final film is made of; empty where the item names none."""
    inner: object = item.get("draft_task")
    found: object = cast("Json", inner).get("id") if isinstance(inner, Mapping) else None
    return found if isinstance(found, str) else ""


def _links(body: Json, _: ArkModel) -> ArkProblem | None:
    for number, kind, item in _media(body):
        link = link_of(item)
        inline = _INLINE.get(kind)
        if not _URL.match(link) and not (inline and inline.match(link)):
            return invalid(f"content[{number}].{kind}.url", "it must be a valid URL")
    return None


def roles(body: Json) -> list[str]:
    """The role of each medium; a single picture without one is the first frame."""
    found = [(kind, str(item.get("role") or "")) for _, kind, item in _media(body)]
    return ["first_frame"] if found == [("image_url", "")] else [role for _, role in found]


def _mode(body: Json, model: ArkModel) -> ArkProblem | None:
    found, kinds = roles(body), [kind for _, kind, _ in _media(body)]
    frames = sorted(role for role in found if role in _FRAME_ROLES)
    if not frames:
        return _references(found, kinds, model)
    if len(frames) != len(found):
        return ArkProblem("content", "first/last frame content cannot be mixed with reference media content.")
    allowed = [["first_frame"], ["first_frame", "last_frame"]][: 1 + model.last_frame]
    return None if frames in allowed else _unfit("task_type", model, "flf2v")


def _references(found: list[str], kinds: list[str], model: ArkModel) -> ArkProblem | None:
    if not kinds:
        return None
    if any(role != _REFERENCE_ROLES[kind] for role, kind in zip(found, kinds, strict=True)):
        return invalid("content", "the role of a medium does not fit its type")
    *most, total = model.references
    if not total:
        return _unfit("task_type", model, "r2v")
    if len(kinds) > total or any(kinds.count(kind) > limit for kind, limit in zip(_REFERENCE_ROLES, most, strict=True)):
        return invalid("content", f"there are too many media for model {model.family} in r2v")
    alone = not model.audio_alone and set(kinds) == {"audio_url"}
    return invalid("content", "audio needs an image or a video beside it") if alone else None


def _unfit(param: str, model: ArkModel, task: str) -> ArkProblem:
    words = f"the parameter {param} specified in the request is not valid for model {model.family} in {task}"
    return ArkProblem(param, words)


def task_type(body: Json) -> str:
    """The provider's short word for what is made of what."""
    found = roles(body)
    if not found:
        return "t2v"
    return "i2v" if set(found) <= set(_FRAME_ROLES) else "r2v"


def _resolution(body: Json, model: ArkModel) -> ArkProblem | None:
    wrong = body.get("resolution", model.resolution) not in model.resolutions
    return _unfit("resolution", model, task_type(body)) if wrong else None


def _ratio(body: Json, model: ArkModel) -> ArkProblem | None:
    ratio, task = body.get("ratio", "adaptive"), task_type(body)
    adaptive = ratio == "adaptive" and (model.chooses or task != "t2v" or "ratio" not in body)
    return None if adaptive or ratio in _RATIOS else _unfit("ratio", model, task)


def _number(body: Json, name: str) -> int | None:
    """A whole number; None where it is left out, -2 where it is none."""
    value: object = body.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None if value is None else -2


def _length(body: Json, model: ArkModel) -> ArkProblem | None:
    frames, seconds = _number(body, "frames"), _number(body, "duration")
    if frames is not None:
        fits = 29 <= frames <= 289 and (frames - 25) % 4 == 0 and model.sizes is _SIZES_1
        return None if fits else _unfit("frames", model, task_type(body))
    if seconds is None or (seconds == -1 and model.chooses) or model.seconds[0] <= seconds <= model.seconds[1]:
        return None
    return _unfit("duration", model, task_type(body))


def _within(name: str, least: int, most: int) -> Callable[[Json, ArkModel], ArkProblem | None]:
    def check(body: Json, _: ArkModel) -> ArkProblem | None:
        value = _number(body, name)
        return None if value is None or least <= value <= most else invalid(name, f"it must be {least} to {most}")

    return check


_SHAPES: Mapping[str, Callable[[object], bool]] = {
    **dict.fromkeys(_FLAGS, lambda value: isinstance(value, bool)),
    "output_format": lambda value: value in ("mp4", "mov"),
    "safety_identifier": lambda value: isinstance(value, str) and value.isascii() and len(value) <= 64,
    "callback_url": lambda value: isinstance(value, str) and _URL.match(value) is not None,
    "omni_reference_task_type": lambda value: value in ("auto", "reference", "edit", "extend"),
    "tools": lambda value: value in ([], [{"type": "web_search"}]),
}


def _shapes(body: Json, _: ArkModel) -> ArkProblem | None:
    wrong = next((name for name, fits in _SHAPES.items() if name in body and not fits(body[name])), None)
    return invalid(wrong, "it has not the documented form") if wrong else None


def _unsupported(body: Json, model: ArkModel) -> ArkProblem | None:
    tiers = ("default", "flex") if model.flex else ("default",)
    known = {
        **dict.fromkeys(("priority", "tools"), model.ranks),
        **dict.fromkeys(("output_format", "omni_reference_task_type"), model is _25),
        "generate_audio": model.has_audio,
        "draft": model in _DRAFTING or body.get("draft") is False,
    }
    wrong = [name for name, is_known in known.items() if name in body and not is_known]
    wrong += ["service_tier"] * (body.get("service_tier", "default") not in tiers)
    for name in wrong:
        words = f"The parameter {name} is not supported by this model."
        return ArkProblem(name, words, "InvalidParameter.UnsupportedParameter")
    return None


def _drafted(body: Json, model: ArkModel) -> ArkProblem | None:
    """A draft has 480p; the final film made of one repeats nothing that it has settled."""
    if body.get("draft") is True and body.get("resolution") != "480p":
        return invalid("resolution", "a draft has 480p")
    if not any(item.get("type") == "draft_task" for item in _items(body)):
        return None
    if len(_items(body)) > 1 or model not in _DRAFTING:
        return invalid("content", "a draft task goes alone, and to a model that makes drafts")
    if model is _25 and body.get("resolution") != "1080p":
        return invalid("resolution", "the final video of a draft has 1080p")
    again = next((name for name in _OF_THE_DRAFT if name in body), None)
    return invalid(again, "the draft has settled it") if again else None


def _edited(body: Json, _: ArkModel) -> ArkProblem | None:
    """What is edited has ratio and length of its input, and what is extended its ratio."""
    kind = body.get("omni_reference_task_type")
    if kind in ("reference", "edit", "extend") and task_type(body) == "i2v":
        return ArkProblem("content", f"First and last frames are no {kind}.", "InvalidParameter.TaskTypeConstraint")
    fixed = {"edit": {"ratio": "adaptive", "duration": -1}, "extend": {"ratio": "adaptive"}}.get(str(kind), {})
    wrong = [name for name, only in fixed.items() if body.get(name, only) != only]
    if fixed and not any(name == "video_url" for _, name, _ in _media(body)):
        return ArkProblem("content", f"To {kind} needs a video.", "InvalidParameter.TaskTypeConstraint")
    if not wrong:
        return None
    rules = " and ".join(f"{name} must be {only}" for name, only in fixed.items())
    issues = "; ".join(f"[{number}] `{name}` is {body[name]}" for number, name in enumerate(wrong))
    named = "editing" if kind == "edit" else "extension"
    words = f"The task was set to video {named}; {rules}. Issues: {issues}."
    return ArkProblem(wrong[0], words, "InvalidParameter.TaskTypeConstraint")


_RULES: tuple[Callable[[Json, ArkModel], ArkProblem | None], ...] = (
    _missing,
    _links,
    _mode,
    _resolution,
    _ratio,
    _length,
    _shapes,
    _unsupported,
    _drafted,
    _edited,
    _within("execution_expires_after", 3600, 259_200),
    _within("seed", -1, 2**31 - 1),
    _within("priority", 0, 9),
)


def ark_problem(body: Json, model: ArkModel) -> ArkProblem | None:
    """The first broken rule, or None.

    Args:
        body: The request's JSON object.
        model: What its model takes.
    """
    return next(filter(None, (rule(body, model) for rule in _RULES)), None)


def fails_later(body: Json, model: ArkModel) -> str:
    """Words of a breach that is only found when the film is made: frames whose ratio is set, on 2.5; else empty."""
    ratio = body.get("ratio", "adaptive")
    if model is not _25 or task_type(body) != "i2v" or ratio == "adaptive":
        return ""
    return f"The output ratio follows the first frame; ratio must be adaptive. Issues: [0] `ratio` is {ratio}."


def frames_of(body: Json, model: ArkModel) -> int:
    """Frames of a film.

    Args:
        body: A request that is right.
        model: What its model takes.
    """
    seconds = _number(body, "duration") or model.length
    return _number(body, "frames") or FPS * (_CHOSEN_S if seconds == -1 else seconds) + 1


def tokens_of(body: Json, model: ArkModel, ratio: str) -> int:
    """What a film is billed: its pixels and those of the videos that it was made from.

    Args:
        body: A request that is right.
        model: What its model takes.
        ratio: Of the film, one of the table.
    """
    wide, high = model.sizes[body.get("resolution", model.resolution)][ratio]
    videos = sum(kind == "video_url" for _, kind, _ in _media(body))
    return wide * high * (frames_of(body, model) + videos * _INPUT_S * FPS) // 1024


def nearest_ratio(sides: tuple[float, float] | None) -> str:
    """The ratio of the table that a picture is closest to; 16:9 without one."""
    if sides is None:
        return _RATIOS[0]

    def distance(ratio: str) -> float:
        wide, high = (int(part) for part in ratio.split(":"))
        return abs(wide / high - sides[0] / sides[1])

    return min(_RATIOS, key=distance)
