"""Ark: create, query, list, cancel, download. It has no upload. `ark.wire` says what its answers mean."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import Any, ClassVar

from prefect_genvideo.errors import GenVideoError, InvalidRequestError, RejectedError, TransientError, shown
from prefect_genvideo.media.inspect import MediaInfo, MediaKind, asset_kind
from prefect_genvideo.models import Generation, Problem, VideoRequest
from prefect_genvideo.prices.estimate import Billable
from prefect_genvideo.providers.answers import JsonObject, as_figure, as_flag, as_object, as_text, as_time
from prefect_genvideo.providers.ark import rules, tasks, wire
from prefect_genvideo.providers.ark.lost import Lists, is_listed_no_more, marked, resolve
from prefect_genvideo.providers.assets import inlined, not_links
from prefect_genvideo.providers.base import VideoClient
from prefect_genvideo.providers.classify import Facts, Row
from prefect_genvideo.providers.http import Reply
from prefect_genvideo.providers.knowledge import with_defaults
from prefect_genvideo.providers.limits import ModelLimits
from prefect_genvideo.providers.lost import FoundCreate, LostCreate
from prefect_genvideo.providers.money import ToldClip
from prefect_genvideo.providers.readings import Manners
from prefect_genvideo.providers.rules import Rule, layered, of_others

_TASKS = "/contents/generations/tasks"
_ID = re.compile(r"[A-Za-z0-9_-]{1,200}")
# Seconds; a longer clip is a figure in another unit, or garbage.
_LONGEST_CLIP = 3600.0
# What the API calls the content of an audio file where ours is the registered name.
_DATA_URL_NAMES = {"data:audio/mpeg;": "data:audio/mp3;"}


class ArkClient(VideoClient):
    """Client of the Ark API (创建视频生成任务, 查询视频生成任务) of Volcengine and of BytePlus."""

    name: ClassVar[str] = "ark"
    title: ClassVar[str] = "Volcengine Ark"
    uploads: ClassVar[bool] = False
    inlines: ClassVar[frozenset[MediaKind]] = frozenset({"image", "audio"})
    takes_asset_ids: ClassVar[bool] = True
    # How often the samples of its SDK ask; an account has 20 questions a second for all its tasks.
    poll_floor: ClassVar[float] = 10.0
    default_base_url: ClassVar[str] = "https://ark.cn-beijing.volces.com/api/v3"

    documented_models: ClassVar[tuple[str, ...]] = tuple(rules.MODELS)
    default_model: ClassVar[str] = "doubao-seedance-2-0-fast-260128"
    _id_header: ClassVar[str] = "x-request-id"
    _create_path: ClassVar[str] = _TASKS
    _query_path: ClassVar[str] = f"{_TASKS}/{{task_id}}"
    _manners: ClassVar[Manners] = Manners(video_links=wire.VIDEO_LINKS)
    _create_table: ClassVar[tuple[Row, ...]] = wire.CREATE
    _query_table: ClassVar[tuple[Row, ...]] = wire.QUERY
    _instead_of_uploads: ClassVar[str] = (
        "no upload: local images and audios go into the request as they are; for videos give an http(s) link, an "
        "asset:// id, or an s3:// URI of a bucket that can presign"
    )

    _lists: Lists | None = None

    def rules(self, model: str) -> tuple[Rule, ...]:
        """Return the general rules, and its own for a documented model; see `ark.rules`."""
        known = rules.MODELS.get(model)
        return layered(rules.GENERAL, known.all_rules()) if known else rules.GENERAL

    def related_rules(self, model: str) -> tuple[Rule, ...]:
        """Return what is known only of other models of the family, and what should be known of this one."""
        kin = None if model in rules.MODELS else rules.alike(model)
        return (*(of_others(kin.all_rules()) if kin else ()), *rules.advice(model))

    def effective(self, request: VideoRequest) -> VideoRequest:
        """Fill in a documented model's defaults, so that what is paid for stands in the request; see `ark.rules`."""
        model = rules.MODELS.get(request.model)
        options = rules.default_options(model, request.options) | request.options
        full = request.model_copy(update={"options": options})
        if model is None:
            return full
        return with_defaults(full, self.model_rules.of(full.model).fitting(rules.defaults(model, full)))

    def body(self, request: VideoRequest) -> dict[str, Any]:
        """Return the JSON body. Local images and audios are read and inlined as data URLs."""
        full = self.effective(request)
        fields: JsonObject = {
            "model": full.model,
            "content": list(_content(full)),
            "resolution": full.resolution,
            "ratio": rules.ratio_to_send(full),
            "duration": None if full.duration is None else int(full.duration),
            "execution_expires_after": full.timeout,
        }
        given = {name: value for name, value in fields.items() if value is not None}
        return given | {name: value for name, value in full.options.items() if name not in rules.RESERVED}

    def known_limits(self, model: str) -> tuple[ModelLimits, str]:
        """Return the documented limits, or those of the family; see `VideoClient.known_limits`."""
        if model in rules.MODELS:
            return rules.MODELS[model].limits, "documented"
        kin = rules.alike(model)
        return (kin.limits, "family") if kin else super().known_limits(model)

    async def models(self) -> list[str]:
        """Return the documented models that the address serves: the API has no list of models.

        The free list of tasks is asked for, so that a wrong key or address is told as it is elsewhere.
        """
        await self.tasks(page_size=1)
        return rules.served_at(self.base_url)

    async def tasks(
        self,
        *,
        page: int = 1,
        page_size: int = 20,
        status: str | None = None,
        model: str | None = None,
        task_ids: Iterable[str] = (),
        service_tier: str | None = None,
    ) -> tasks.TaskPage:
        """List the account's tasks of the last seven days, one page of them. Free, once a second for an account.

        Args:
            page: From 1 to 500.
            page_size: Tasks of a page, from 1 to 500.
            status: Only tasks with this status word, e.g. `running`.
            model: Only tasks that were sent with this model or endpoint id.
            task_ids: Only these.
            service_tier: `default` or `flex`; whether the first is meant where none is given, is not documented.

        Raises:
            InvalidRequestError: There can be no such page; nothing was sent.
            RejectedError: The key or a filter was refused.
            TransientError: There was no list of tasks in the answer.
        """
        limit = f"a whole number from 1 to {tasks.LARGEST_PAGE}"
        for field, value in (("page", page), ("page_size", page_size)):
            if not 1 <= value <= tasks.LARGEST_PAGE:
                raise self._unasked(field, value, limit)
        asked = tasks.query(page, page_size, status, model, task_ids, service_tier)
        size = 1 + page_size // 100
        reply = await self._exchange("GET", f"{_TASKS}?{asked}", size=size)
        items = tasks.items_of(reply)
        if items is None:
            raise self._error(wire.LIST, wire.silence_of(reply))
        named = tasks.named(reply, items)
        found = tuple(self._listed(one, task_id) for task_id, one in named)
        return tasks.TaskPage(tasks.total_of(reply), found, len(items) - len(named))

    async def delete(self, task_id: str) -> None:
        """Take a queued task out of the queue, or remove the record of a finished one, and its link with it.

        The answer does not say which of the two happened; `cancel` never removes what it saw finished.

        Raises:
            InvalidRequestError: This is no task's id; nothing was sent.
            RejectedError: It runs, or there is no such task.
            TransientError: What happened is not known; get the task before asking again.
        """
        if not _ID.fullmatch(task_id):  # an empty one would stand for all tasks
            raise self._unasked("task_id", task_id, "the id of a task: letters, digits, _ and -")
        reply = await self._exchange("DELETE", f"{_TASKS}/{task_id}")
        if not wire.is_yes(reply):
            raise self._error(wire.DELETE, wire.silence_of(reply), task_id)

    async def cancel(self, task_id: str) -> Generation:
        """Cancel a task that is still queued; see `VideoClient.cancel`. One that was cancelled before will do, too.

        Args:
            task_id: The provider's id.
        """
        now = await self.get(task_id)
        if now.state == "queued":
            await self.delete(task_id)
            now = await self.get(task_id)
        if now.state == "queued":
            raise TransientError(
                f"{self.title}: the task is still queued.", provider=self.name, task_id=task_id, reason="still queued"
            )
        if not tasks.is_cancelled(now):
            raise RejectedError(
                f"{self.title}: only a queued task can be cancelled; this one is {now.state}.",
                provider=self.name,
                task_id=task_id,
                reason=f"not queued: {now.state}",
            )
        return now

    def read_callback(self, body: bytes) -> Generation:
        """Return what a call to a request's `callback_url` says. It is not signed: get the task before trusting it.

        Args:
            body: Of the POST, as it came.

        Raises:
            TransientError: It says nothing about a task.
        """
        reply = tasks.as_reply(body)
        task_id = tasks.named_in(reply.json)
        if task_id is None:
            reason = "not JSON" if reply.json is None else "no task in the answer"
            raise TransientError(f"{self.title}: a callback without a task.", provider=self.name, reason=reason)
        return self._generation_of(reply, task_id)

    def billable(self, request: VideoRequest, media: Mapping[str, MediaInfo] | None = None) -> Billable:
        """Return what of a request its price depends on; a number of frames says how long the clip is.

        Args:
            request: What is wanted.
            media: Facts of assets, keyed as in `request.assets()`.
        """
        wanted, seconds = super().billable(request, media), _seconds_of(request.options.get("frames"))
        return wanted if seconds is None else replace(wanted, seconds=(Decimal(str(seconds)),))

    def clip_told(self, generation: Generation) -> ToldClip:
        """Return length, resolution, sound and tokens as the answer has them; an odd length, e.g. -1, is none."""
        clip = tasks.row_of(generation.raw)
        seconds = as_figure(clip.get("duration")) or _seconds_of(clip.get("frames"))
        odd = seconds is not None and not 0 < seconds <= _LONGEST_CLIP
        return ToldClip(
            seconds=None if odd else seconds,
            resolution=as_text(clip.get("resolution")).lower() or None,
            sound=as_flag(clip.get("generateaudio")),
            tokens=tasks.tokens_of(clip),
        )

    def marked(self, request: VideoRequest, claim: str) -> VideoRequest:
        """Return the request with a timeout that marks it, where it has none of its own; see `ark.lost`."""
        return marked(request, claim)

    async def find_created(self, lost: LostCreate) -> FoundCreate:
        """Return what the account's list of tasks says of a lost create; see `VideoClient.find_created`."""
        if is_listed_no_more(lost):
            return FoundCreate(certainty="too old")
        if self._lists is None:
            self._lists = Lists(partial(self.tasks, page_size=tasks.LARGEST_PAGE))
        return resolve(await self._lists.after(lost), lost)

    def _unasked(self, field: str, value: object, limit: str) -> InvalidRequestError:
        problem = Problem(field, shown(value), limit, self.title)
        return InvalidRequestError(f"{self.title}: nothing was sent.", problems=[problem], provider=self.name)

    def _unsendable(self, request: VideoRequest) -> list[Problem]:
        """Images and audios may be inlined; everything else must be a link or an id."""
        return [
            problem
            for problem in not_links(request)
            if (kind := asset_kind(request.assets()[problem.field])) != "asset"
            and (problem.field.startswith("videos") or kind not in {"local", "data"})
        ]

    def _listed(self, reply: Reply, task_id: str) -> Generation:
        """An entry of a list; one that says nothing of its state is not over as far as anybody knows."""
        try:
            return self._generation_of(reply, task_id)
        except GenVideoError:
            return Generation(provider=self.name, task_id=task_id, state="running", raw=as_object(reply.json))

    def _generation_of(self, reply: Reply, task_id: str) -> Generation:
        found = super()._generation_of(reply, task_id)
        # The last change of a task that is over is its end; of one that runs it says nothing.
        over = found.state in {"succeeded", "failed"} and found.finished_at is None
        ended = as_time(tasks.row_of(found.raw).get("updatedat")) if over else None
        return found.model_copy(update={"finished_at": ended}) if ended else found

    def _facts_of(self, reply: Reply) -> Facts:
        return wire.facts_of(reply)

    def _silence_of(self, reply: Reply) -> Facts:
        return wire.silence_of(reply)


def _seconds_of(frames: Any) -> float | None:
    """Bills count one frame more than the seconds hold: 121 for 5 s."""
    count = as_figure(frames) or 0
    return (count - 1) / rules.FRAMES_PER_SECOND if 1 < count <= _LONGEST_CLIP * rules.FRAMES_PER_SECOND else None


def _content(request: VideoRequest) -> Iterator[JsonObject]:
    """The content array: a draft alone, or the text, then images with their roles, videos and audios."""
    draft = request.options.get(rules.DRAFT)
    if draft is not None:
        yield {"type": "draft_task", "draft_task": {"id": draft}}
    if request.prompt.strip():
        yield {"type": "text", "text": rules.in_its_words(request.prompt)}
    media = [
        *(("image", image, "reference_image") for image in request.images),
        ("image", request.first_frame, "first_frame"),
        ("image", request.last_frame, "last_frame"),
        *(("video", video, "reference_video") for video in request.videos),
        *(("audio", audio, "reference_audio") for audio in request.audios),
    ]
    for kind, asset, role in media:
        if asset:
            yield {"type": f"{kind}_url", f"{kind}_url": {"url": _url(asset)}, "role": role}


def _url(asset: str) -> str:
    """The link, the id, or the content as a data URL."""
    url = inlined(asset, ArkClient.name)
    return next((new + url[len(old) :] for old, new in _DATA_URL_NAMES.items() if url.startswith(old)), url)
