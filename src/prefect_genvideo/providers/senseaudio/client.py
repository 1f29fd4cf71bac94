"""SenseAudio: create, query, download. It has no upload. `senseaudio.wire` says what its answers mean."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

from prefect_genvideo.errors import GenVideoError
from prefect_genvideo.media.inspect import asset_kind
from prefect_genvideo.models import Generation, Problem, VideoRequest
from prefect_genvideo.providers.answers import JsonObject, as_figure, as_object, as_text
from prefect_genvideo.providers.assets import inlined, not_links
from prefect_genvideo.providers.base import VideoClient
from prefect_genvideo.providers.classify import Facts, Row
from prefect_genvideo.providers.knowledge import with_defaults
from prefect_genvideo.providers.limits import ModelLimits
from prefect_genvideo.providers.money import ToldClip
from prefect_genvideo.providers.readings import Manners
from prefect_genvideo.providers.rules import Rule, layered, of_others
from prefect_genvideo.providers.senseaudio import wire
from prefect_genvideo.providers.senseaudio.rules import (
    DEFAULT_ASPECT_RATIO,
    DEFAULT_DURATION,
    DEFAULT_RESOLUTION,
    GENERAL,
    MODELS,
    RESERVED,
    alike,
)

_MODELS_PATH = "/v1/models?mode=video"
# Seconds; a longer clip is a figure in another unit, or garbage.
_LONGEST_CLIP = 3600.0


class SenseAudioClient(VideoClient):
    """Client of the SenseAudio API (创建视频生成任务, 查询视频生成状态)."""

    name: ClassVar[str] = "senseaudio"
    title: ClassVar[str] = "SenseAudio"
    uploads: ClassVar[bool] = False
    poll_floor: ClassVar[float] = 5.0
    reports_queue: ClassVar[bool] = False  # `pending` covers the whole run
    default_base_url: ClassVar[str] = "https://api.senseaudio.cn"

    documented_models: ClassVar[tuple[str, ...]] = tuple(MODELS)
    default_model: ClassVar[str] = "doubao-seedance-2-0-260128"
    _create_path: ClassVar[str] = "/v1/video/create"
    _query_path: ClassVar[str] = "/v1/video/status?id={task_id}"
    _manners: ClassVar[Manners] = Manners(plain_ids=False, video_links=wire.VIDEO_LINKS)
    _create_table: ClassVar[tuple[Row, ...]] = wire.CREATE
    _query_table: ClassVar[tuple[Row, ...]] = wire.QUERY
    _instead_of_uploads: ClassVar[str] = (
        "no upload: local images go into the request as they are; for videos and audios give an http(s) link, or "
        "an s3:// URI of a bucket that can presign"
    )

    def rules(self, model: str) -> tuple[Rule, ...]:
        """Return the general rules, and its own for a documented model; see `senseaudio.rules`."""
        known = MODELS.get(model)
        return layered(GENERAL, known.all_rules()) if known else GENERAL

    def related_rules(self, model: str) -> tuple[Rule, ...]:
        """Return what is known only of other models of the family; nothing for a documented one."""
        kin = None if model in MODELS else alike(model)
        return of_others(kin.all_rules()) if kin else ()

    def effective(self, request: VideoRequest) -> VideoRequest:
        """Fill in duration, aspect ratio and resolution: the API requires all three of every model."""
        model = MODELS.get(request.model)
        usual = {
            "duration": model.default_duration if model else DEFAULT_DURATION,
            "aspect_ratio": DEFAULT_ASPECT_RATIO,
            "resolution": DEFAULT_RESOLUTION,
        }
        return with_defaults(request, self.model_rules.of(request.model).fitting(usual))

    def body(self, request: VideoRequest) -> dict[str, Any]:
        """Return the JSON body. Local images are read and inlined as data URLs."""
        full = self.effective(request)
        body: dict[str, Any] = {
            "model": full.model,
            "content": list(_content(full)),
            "duration": int(full.duration or 0),
            "resolution": full.resolution,
            "ratio": full.aspect_ratio,
        }
        if full.timeout is not None:
            body["timeout"] = full.timeout
        return body | _vendor_fields(full)

    def known_limits(self, model: str) -> tuple[ModelLimits, str]:
        """Return the documented limits, or those of the family; see `VideoClient.known_limits`."""
        if model in MODELS:
            return MODELS[model].limits, "documented"
        kin = alike(model)
        return (kin.limits, "family") if kin else super().known_limits(model)

    async def models(self) -> list[str]:
        """Return the names of the video models that the account is offered now."""
        return (await self._listed_models(_MODELS_PATH, wire.MODELS))[0]

    def clip_told(self, generation: Generation) -> ToldClip:
        """Return length and resolution as the answer has them; an odd length, e.g. -1, is none."""
        raw = generation.raw
        clip = as_object(raw.get("data")) or raw
        seconds = as_figure(clip.get("duration")) or None
        odd = seconds is not None and seconds > _LONGEST_CLIP
        return ToldClip(None if odd else seconds, as_text(clip.get("resolution")).lower() or None)

    def _unsendable(self, request: VideoRequest) -> list[Problem]:
        """Images may be inlined; everything else must be a link."""
        return [
            problem
            for problem in not_links(request)
            if problem.field.startswith(("videos", "audios"))
            or asset_kind(request.assets()[problem.field]) not in {"local", "data"}
        ]

    async def _refusal(self, facts: Facts, request: VideoRequest, task_id: str | None) -> GenVideoError:
        if wire.BUSY not in facts.codes:
            return await super()._refusal(facts, request, task_id)
        row = wire.BUSY_OFFERED if await self._is_offered(request.model) else wire.BUSY_NOT_OFFERED
        return self._error((row,), facts)

    async def _is_offered(self, model: str) -> bool:
        """Whether the API lists the model; when it does not tell, whether the documents do."""
        try:
            names, complete = await self._listed_models(_MODELS_PATH, wire.MODELS)
        except GenVideoError:
            return model in MODELS
        return model in names or (not complete and model in MODELS)


def _content(request: VideoRequest) -> Iterator[JsonObject]:
    """The content array: the text, then the images with their roles, then videos and audios."""
    if request.prompt.strip():
        yield {"type": "text", "text": request.prompt}
    images = [
        *((image, "reference") for image in request.images),
        (request.first_frame, "first_frame"),
        (request.last_frame, "last_frame"),
    ]
    for image, role in images:
        if image:
            yield {"type": "image", "url": inlined(image, SenseAudioClient.name), "role": role}
    for video in request.videos:
        yield {"type": "video", "video_url": video}
    for audio in request.audios:
        yield {"type": "audio", "audio_url": audio}


def _vendor_fields(request: VideoRequest) -> JsonObject:
    """`watermark` beside the other fields, everything else inside `provider_specific`."""
    model = MODELS.get(request.model)
    given = {name: value for name, value in request.options.items() if name not in RESERVED}
    specific = as_object(given.pop("provider_specific", None))
    fields: JsonObject = {}
    if "watermark" in given:
        fields["watermark"] = given.pop("watermark")
    elif model and model.watermark:
        # The API's own default is true: a paid video must not get a watermark by omission.
        fields["watermark"] = False
    specific = {**specific, **given}
    return {**fields, "provider_specific": specific} if specific else fields
