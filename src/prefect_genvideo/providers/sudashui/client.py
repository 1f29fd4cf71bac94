"""Sudashui: upload assets, create, query, download. `sudashui.wire` says what its answers mean."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

import anyio.to_thread
import httpx

from prefect_genvideo.models import UploadedAsset, VideoRequest
from prefect_genvideo.prices.table import PriceTable
from prefect_genvideo.providers.account import checked_address
from prefect_genvideo.providers.answers import JsonObject, as_link, url_parts
from prefect_genvideo.providers.base import READ_TIMEOUT, STALL_TIMEOUT
from prefect_genvideo.providers.classify import Facts, Row
from prefect_genvideo.providers.http import Reply
from prefect_genvideo.providers.knowledge import with_defaults
from prefect_genvideo.providers.lifetimes import reliable_until
from prefect_genvideo.providers.limits import ModelLimits, ModelRules
from prefect_genvideo.providers.links import content_url
from prefect_genvideo.providers.readings import Manners
from prefect_genvideo.providers.rules import Rule, layered, of_others
from prefect_genvideo.providers.sudashui import wire
from prefect_genvideo.providers.sudashui.account import SudashuiAccount
from prefect_genvideo.providers.sudashui.rules import (
    DEFAULT_ASPECT_RATIO,
    DEFAULT_DURATION,
    DOCUMENTED,
    FAMILIES,
    GENERAL,
    LIMITS,
    MODELS,
    RESERVED,
)
from prefect_genvideo.providers.sudashui.upload import opened, prepare
from prefect_genvideo.providers.video_stream import MAX_SIZE

_UPLOAD_STAMP = re.compile(r"^\d{10,}-")


class SudashuiClient(SudashuiAccount):
    """Client of the Sudashui API (视频生成 API 文档)."""

    name: ClassVar[str] = "sudashui"
    title: ClassVar[str] = "Sudashui"
    uploads: ClassVar[bool] = True
    poll_floor: ClassVar[float] = 15.0
    # Links are said to live two hours; the rest is for the provider to fetch them.
    upload_lifetime: ClassVar[timedelta | None] = timedelta(minutes=90)
    default_base_url: ClassVar[str] = "https://api.sudashuiapi.com"
    documented_models: ClassVar[tuple[str, ...]] = tuple(MODELS)
    default_model: ClassVar[str] = "sd-2-fast-720p"
    default_files_url: ClassVar[str] = "https://files.sudashuiapi.com"

    _id_header: ClassVar[str] = "x-oneapi-request-id"
    _create_path: ClassVar[str] = "/v1/video/generations"
    _query_path: ClassVar[str] = "/v1/video/generations/{task_id}"
    _manners: ClassVar[Manners] = Manners(video_links=wire.VIDEO_LINKS)
    _create_table: ClassVar[tuple[Row, ...]] = wire.CREATE
    _query_table: ClassVar[tuple[Row, ...]] = wire.QUERY

    def __init__(
        self,
        api_key: str,
        base_url: str | None = None,
        files_url: str | None = None,
        *,
        timeout: float = READ_TIMEOUT,
        stall_timeout: float = STALL_TIMEOUT,
        transport: httpx.AsyncBaseTransport | None = None,
        allow_private: bool = False,
        max_video_size: int = MAX_SIZE,
        model_rules: ModelRules | None = None,
        prices: PriceTable | None = None,
    ) -> None:
        """Make a client; see `VideoClient`.

        Args:
            api_key: The account's key; goes to the hosts of both URLs only.
            base_url: Where the API is, without `/v1`.
            files_url: Where assets are uploaded.
            timeout: Seconds without a byte of an answer before a call is given up.
            stall_timeout: Seconds without a byte of a video before a download is given up.
            transport: Stands in for the network. The caller closes it.
            allow_private: Whether results may come from private and loopback hosts.
            max_video_size: Bytes; a larger video is refused.
            model_rules: What is known of models beyond the built-in tables.
            prices: What the user pays for generations.
        """
        super().__init__(
            api_key,
            base_url,
            timeout=timeout,
            stall_timeout=stall_timeout,
            transport=transport,
            allow_private=allow_private,
            max_video_size=max_video_size,
            model_rules=model_rules,
            prices=prices,
        )
        self.files_url = self._checked("files_url", checked_address, files_url or self.default_files_url)

    def rules(self, model: str) -> tuple[Rule, ...]:
        """Return the general rules, and the documented ones for a documented model; see `sudashui.rules`."""
        return layered(GENERAL, DOCUMENTED) if model in MODELS else GENERAL

    def related_rules(self, model: str) -> tuple[Rule, ...]:
        """Return what is known only of the model's family or of other models; nothing for a documented one."""
        return () if model in MODELS else layered(of_others(DOCUMENTED), FAMILIES.of(model).rules(FAMILIES.source))

    def effective(self, request: VideoRequest) -> VideoRequest:
        """Fill in duration and aspect ratio, which the API requires of every model, and a known model's resolution."""
        usual = {"duration": DEFAULT_DURATION, "aspect_ratio": DEFAULT_ASPECT_RATIO}
        defaults = self.model_rules.of(request.model).fitting(usual)
        if request.model in MODELS:
            defaults["resolution"] = MODELS[request.model]
        return with_defaults(request, defaults)

    def body(self, request: VideoRequest) -> dict[str, Any]:
        """Return the JSON body; `metadata.payload` is a JSON string, as the document demands."""
        full = self.effective(request)
        payload = json.dumps(_payload(full), ensure_ascii=False, separators=(",", ":"))
        return {
            "model": full.model,
            "prompt": full.prompt,
            "duration": int(full.duration or 0),  # the gateway is written in Go, where 4.0 does not fit an integer
            "metadata": {"payload": payload},
        }

    async def upload(
        self, source: str | Path | bytes, filename: str | None = None, media_type: str | None = None
    ) -> UploadedAsset:
        """Upload a reference file, streamed from disk; see `VideoClient.upload`.

        Args:
            source: Path, data URL or content.
            filename: Name to give it; the path's by default.
            media_type: What it is when its content does not show it.
        """
        prepared = await anyio.to_thread.run_sync(prepare, source, filename, media_type)
        with opened(prepared.content) as file:
            files = {"file": (prepared.name, file, prepared.media_type)}
            # Slow ones must not keep questions waiting.
            reply = await self._exchange("POST", f"{self.files_url}/", files=files, fresh=True)
        named = wire.named_links(reply)
        url = next(filter(None, map(as_link, named)), None)
        if url is None:
            raise self._error((wire.UNUSABLE_LINK,) if named else wire.UPLOAD, wire.upload_facts(reply))
        planned = self.upload_lifetime or timedelta(0)
        return UploadedAsset(url=url, expires_at=reliable_until(reply.json, url, planned))

    async def models(self) -> list[str]:
        """Return the names of the models that the account is offered now."""
        return (await self._listed_models("/v1/models", wire.MODELS))[0]

    def content_url(self, task_id: str) -> str | None:
        """Return the gateway's own address of a task's video."""
        return content_url(self.base_url, task_id)

    def known_limits(self, model: str) -> tuple[ModelLimits, str]:
        """Return the documented limits, or the widest that were seen of the family; see `VideoClient.known_limits`."""
        return (LIMITS, "documented") if model in MODELS else (FAMILIES.of(model), "family")

    def link_identity(self, url: str) -> str | None:
        """The file's name: links are `…/proxy/<milliseconds>/<milliseconds>-<name>?<signature>`."""
        parts = url_parts(url)
        own = parts.hostname == urlsplit(self.files_url).hostname and "/proxy/" in parts.path
        return f"upload:{_UPLOAD_STAMP.sub('', parts.path.rpartition('/')[2])}" if own else None

    def _trusted_hosts(self) -> frozenset[str]:
        return super()._trusted_hosts() | {urlsplit(self.files_url).hostname or ""}

    def _facts_of(self, reply: Reply) -> Facts:
        return wire.facts_of(reply)

    def _silence_of(self, reply: Reply) -> Facts:
        return wire.silence_of(reply)


def _payload(request: VideoRequest) -> JsonObject:
    """The object inside `metadata.payload`, in the document's order, without what is not given."""
    fields: JsonObject = {
        "aspectRatio": request.aspect_ratio,
        "mode": request.mode,
        "imageUrls": list(request.images),
        "videoUrls": list(request.videos),
        "audioUrls": list(request.audios),
        "firstFrameUrl": request.first_frame,
        "lastFrameUrl": request.last_frame,
    }
    given = {field: value for field, value in fields.items() if value}
    return given | {name: value for name, value in request.options.items() if name not in RESERVED}
