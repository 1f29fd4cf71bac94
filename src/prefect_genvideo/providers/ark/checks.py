"""What of a request for Ark belongs together, and limits of reference assets; `ark.rules` says for which models."""

from __future__ import annotations

import re
from collections.abc import Iterator

from prefect_genvideo.errors import counted
from prefect_genvideo.providers import media_rules as m
from prefect_genvideo.providers import references
from prefect_genvideo.providers import rules as r
from prefect_genvideo.providers.ark import options as o
from prefect_genvideo.providers.rules import Broken, Rule, Wanted

_MEDIA = "Ark API: content"

# Refusals name 15.2 and 30.2 s as the limit where the documents say 15 and 30.
_TOLERANCE = 0.2

# Share by which two ratios may differ and be called the same: 992x432 is 21:9 to the API.
_SAME_RATIO = 0.03

# Fields as text: which of the two counts where both are given, is not documented.
_SETTINGS = re.compile(
    r"(?:^|\s)--(?:rs|resolution|rt|ratio|dur|duration|frames|fps|framespersecond|seed|cf|camerafixed|wm|watermark)\s+\S+"
)

# What a prompt's length is counted in.
_CHINESE, _ENGLISH = re.compile(r"[\u4e00-\u9fff]"), re.compile(r"[A-Za-z]+(?:['’-][A-Za-z]+)*")

MB = 1024 * 1024
"""The documents do not say what a MB is; 1024² refuses nothing that the provider may take."""
BODY_LIMIT = 64 * MB
"""Bytes of a request."""
IMAGE_LIMIT = 30 * MB - 1
"""Bytes of one image; the document says less than 30 MB."""
VIDEO_LIMIT = 200 * MB
"""Bytes of one reference video."""
AUDIO_LIMIT = 15 * MB
"""Bytes of one reference audio."""


def content_given(wanted: Wanted) -> Iterator[Broken]:
    """There is a prompt, an asset or a draft."""
    if o.DRAFT not in wanted.request.options:
        yield from r.content_given()(wanted)


def draft_alone(wanted: Wanted) -> Iterator[Broken]:
    """What a draft has settled is not said again."""
    request = wanted.request
    if o.DRAFT not in request.options:
        return
    if request.prompt.strip():
        yield "prompt", request.prompt
    yield from r.absent("images", "videos", "audios", "first_frame", "last_frame", "duration", "aspect_ratio")(wanted)
    for name in ("seed", "generate_audio", o.TASK_TYPE, "draft"):
        if name in request.options:
            yield f"options.{name}", request.options[name]


def final_resolution(wanted: Wanted) -> Iterator[Broken]:
    """The final video of a draft has 1080p."""
    if o.DRAFT in wanted.request.options and wanted.request.resolution not in (None, "1080p"):
        yield "resolution", wanted.request.resolution


def draft_resolution(wanted: Wanted) -> Iterator[Broken]:
    """A draft has 480p."""
    if wanted.request.options.get("draft") is True and wanted.request.resolution not in (None, "480p"):
        yield "resolution", wanted.request.resolution


def last_frame_of_draft(wanted: Wanted) -> Iterator[Broken]:
    """A draft has no last frame to return."""
    options = wanted.request.options
    if options.get("draft") is True and options.get("return_last_frame") is True:
        yield "options.return_last_frame", True


def frames_or_duration(wanted: Wanted) -> Iterator[Broken]:
    """A number of frames wins over a duration."""
    if "frames" in wanted.request.options and wanted.request.duration is not None:
        yield "duration", wanted.request.duration


def ratio_of_frames(wanted: Wanted) -> Iterator[Broken]:
    """A ratio that is asked for beside frames is theirs, where their sides are known."""
    width, _, height = (wanted.request.aspect_ratio or "").partition(":")
    if not (width.isdecimal() and height.isdecimal() and int(height)):
        return
    asked = int(width) / int(height)
    for field, info in wanted.of("frames").items():
        own = info.width / info.height if info.width and info.height else asked
        if abs(own / asked - 1) > _SAME_RATIO:
            yield "aspect_ratio", f"{wanted.request.aspect_ratio}, {field} is {info.width}x{info.height}"


def ratio_beside_frames(wanted: Wanted) -> Iterator[Broken]:
    """With a first or last frame, the ratio is theirs, whatever is asked for."""
    if wanted.request.mode == "frames" and wanted.request.aspect_ratio not in (None, "adaptive"):
        yield "aspect_ratio", wanted.request.aspect_ratio


def adaptive_of_pictures(wanted: Wanted) -> Iterator[Broken]:
    """A ratio that adapts has a frame to adapt to."""
    if wanted.request.aspect_ratio == "adaptive" and wanted.request.mode != "frames":
        yield "aspect_ratio", "adaptive"


def frames_are_auto(wanted: Wanted) -> Iterator[Broken]:
    """Frames are told from references by themselves: every type that can be named is one of references."""
    task_type = wanted.request.options.get(o.TASK_TYPE)
    if wanted.request.mode == "frames" and task_type in ("reference", "edit", "extend"):
        yield f"options.{o.TASK_TYPE}", task_type


def edit(wanted: Wanted) -> Iterator[Broken]:
    """Editing and extending take a video, whose ratio stays, and words; an edited one keeps its length as well."""
    request, task_type = wanted.request, wanted.request.options.get(o.TASK_TYPE)
    if task_type not in ("edit", "extend"):
        return
    if not request.prompt.strip():
        yield "prompt", request.prompt
    if not request.videos:
        yield "videos", "(none)"
    if request.aspect_ratio not in (None, "adaptive"):
        yield "aspect_ratio", request.aspect_ratio
    if task_type == "edit" and request.duration not in (None, -1):
        yield "duration", request.duration


def edited_length(wanted: Wanted) -> Iterator[Broken]:
    """A video to edit is long enough, where its length is known."""
    if wanted.request.options.get(o.TASK_TYPE) == "edit":
        yield from m.within("videos", m.SECONDS, 4, 30 + _TOLERANCE)(wanted)


def ratio(wanted: Wanted) -> Iterator[Broken]:
    """The ratio, when given, is a ratio or `adaptive`."""
    if wanted.request.aspect_ratio != "adaptive":
        yield from r.ratio_formed()(wanted)


def settings_in_prompt(wanted: Wanted) -> Iterator[Broken]:
    """The prompt ends in no settings, e.g. `--dur 10`, as older examples have them."""
    if found := _SETTINGS.search(wanted.request.prompt):
        yield "prompt", found[0].strip()


def long_prompt(wanted: Wanted) -> Iterator[Broken]:
    """The prompt is no longer than the document recommends."""
    prompt = wanted.request.prompt
    for words, found, most in (("Chinese characters", _CHINESE, 500), ("English words", _ENGLISH, 1000)):
        if (count := sum(1 for _ in found.finditer(prompt))) > most:
            yield "prompt", f"{count} {words}"


def seed(wanted: Wanted) -> Iterator[Broken]:
    """There is no seed."""
    if wanted.request.options.get("seed", -1) != -1:
        yield "options.seed", wanted.request.options["seed"]


def priority_of_tier(wanted: Wanted) -> Iterator[Broken]:
    """The cheaper tier has no priority."""
    options = wanted.request.options
    if options.get("service_tier") == "flex" and "priority" in options:
        yield "options.priority", options["priority"]


def still_camera(wanted: Wanted) -> Iterator[Broken]:
    """The camera is not held still beside reference images."""
    if "camera_fixed" in wanted.request.options and wanted.request.images:
        yield "options.camera_fixed", wanted.request.options["camera_fixed"]


def references_exist(wanted: Wanted) -> Iterator[Broken]:
    """Frames are numbered as images: by kind and order in `content`."""
    request = wanted.request
    frames = sum(1 for frame in (request.first_frame, request.last_frame) if frame)
    given = {"image": len(request.images) + frames, "video": len(request.videos), "audio": len(request.audios)}
    for found, kind, number in references.written(request.prompt):
        if not 1 <= number <= given[kind]:
            yield "prompt", f"{found} with {counted(given[kind], kind)}"


_IMAGES = frozenset({"image/jpeg", "image/png", "image/webp", "image/bmp", "image/tiff", "image/gif"})
_LATER_IMAGES = _IMAGES | {"image/heic", "image/heif"}
_VIDEOS = frozenset({"video/mp4", "video/quicktime"})
_AUDIOS = frozenset({"audio/wav", "audio/mpeg"})


def _image_rules(allowed: frozenset[str], words: str) -> tuple[Rule, ...]:
    return tuple(
        rule
        for lists in ("images", "frames")
        for rule in (
            Rule(m.media_types(lists, allowed), words, _MEDIA, f"kind of {lists}"),
            Rule(m.within(lists, m.BYTES, 0, IMAGE_LIMIT), "less than 30 MB", _MEDIA),
            Rule(m.within(lists, m.SIDES, 300, 6000), "300 to 6000 pixels a side", _MEDIA),
            Rule(m.within(lists, m.SIDES_RATIO, 0.4, 2.5), "width to height from 0.4 to 2.5", _MEDIA),
        )
    )


def film_rules(longest: int) -> tuple[Rule, ...]:
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


EARLY_IMAGES = _image_rules(_IMAGES, "jpeg, png, webp, bmp, tiff or gif")
"""Limits of images and frames of the models before 1.5."""
ALL_IMAGES = _image_rules(_LATER_IMAGES, "jpeg, png, webp, bmp, tiff, gif, heic or heif")
"""Limits of images and frames of the models since then."""
