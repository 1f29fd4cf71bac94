"""The SenseAudio side: bodies and errors as documented and as recorded."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

from starlette.responses import Response

from prefect_genvideo.simulator import clock
from prefect_genvideo.simulator.files import SENSE_FILES, Side
from prefect_genvideo.simulator.rules import SENSEAUDIO_MODELS, senseaudio_problem
from prefect_genvideo.simulator.tasks import Task, Wanted
from prefect_genvideo.simulator.wire import BAD_GATEWAY, EXPIRED_XML, Answer, Call, always, json_object, respond

MOST_BODY = 64 * 1024 * 1024
"""Bytes of a request."""
_IMAGE_ROLES = ("first_frame", "reference", "last_frame")


def error(status: int, code: str, message: str, ref_code: int | None = None) -> Answer:
    """The one envelope there is; `ref_code` is what a client should branch on.

    Args:
        status: HTTP status.
        code: Slug or prose.
        message: Prose.
        ref_code: What a client branches on; None = left out.
    """
    body: dict[str, Any] = {"code": code, "message": message}
    return status, body if ref_code is None else {**body, "ref_code": ref_code}


def invalid(words: str) -> Answer:
    """A refused parameter: the prose stands in both fields."""
    return error(400, words, words, 400_000)


_BUSY = error(500, "internal", "服务繁忙，请稍后再试", 500_000)
_NO_MONEY = error(400, "invalid", "余额不足", 400_001)
_CONCURRENCY = error(400, "invalid", "并发已满", 400_015)
UNAUTHORIZED = error(401, "authentication_error", "incorrect API key provided")
"""What is said about a bad key."""

FAULT_ANSWERS: dict[str, Callable[[str], Answer]] = {
    "500_e1": always(_BUSY),
    "502_html": always((502, BAD_GATEWAY)),
    "html_200": always((200, "<!doctype html><html></html>")),
    "429": always(error(429, "too_many_requests", "请求过于频繁", 429_000)),
    "quota": always(_NO_MONEY),
    "concurrency": always(_CONCURRENCY),
    "not_found": always(error(404, "not_found", "任务不存在", 404_000)),
    "expired_link": always((403, EXPIRED_XML)),
}
"""What a fault that is just another answer says, by operation."""


class SenseAudio(Side):
    """Handlers of `/v1/…` below the SenseAudio base."""

    async def create(self, call: Call) -> Response:
        """Check, bill, answer with the task id and nothing else."""
        raw, account = await call.request.body(), call.account
        if len(raw) > MOST_BODY:
            return respond((413, "<html><head><title>413 Request Entity Too Large</title></head></html>"))
        body = json_object(raw)
        if body is None:
            return respond(error(400, "invalid", "invalid JSON", 400_000))
        model = SENSEAUDIO_MODELS.get(str(body.get("model")))
        if model is None:
            return respond(_BUSY)  # recorded: a model that is not known is answered as a busy server
        if words := senseaudio_problem(body, model):
            return respond(invalid(words))
        most = self.state.config.max_concurrency
        if most is not None and self.state.open_tasks(account) >= most:
            return respond(_CONCURRENCY)
        content = await self._without_inline_data(body["content"], call.origin)
        if content is None:
            return respond(invalid("图片链接无效"))
        task = self.state.accept("senseaudio", account, _wanted({**body, "content": content}))
        if (facts := call.struck_by("moderation")) is not None:
            self.state.doom(task, str(facts.get("reason", "内容审核未通过")), facts.get("message"))
        return respond((200, {"task_id": task.task_id}))

    async def _without_inline_data(self, content: list[dict[str, Any]], origin: str) -> list[dict[str, Any]] | None:
        """Replace data URLs by links of our own, as the real answers show them; None if one is broken."""
        stored: list[dict[str, Any]] = []
        for item in content:
            url = await self.files.keep_inline(str(item.get("url", "")), origin)
            if url is None:
                return None
            stored.append({**item, "url": url} if "url" in item else item)
        return stored

    async def status(self, call: Call) -> Response:
        """Answer with the flat record of the task."""
        task = self.state.find(call.request.query_params.get("id", ""), call.account)
        if task is None:
            return respond(FAULT_ANSWERS["not_found"]("status"))
        self.state.poll(task)
        record = self._record(task, call.origin)
        if (facts := call.struck_by("unknown_word")) is not None:
            record |= {"status": str(facts.get("word", "moderating")), "progress": 60}
            record.pop("video_url", None)
        elif record["status"] == "completed":
            text = f"{task.task_id} {task.wanted.prompt}"
            if self.state.faults.take("status", "senseaudio", text, ("empty_creations",))[1]:
                record["video_url"] = ""
        return respond((200, record))

    def _record(self, task: Task, base: str) -> dict[str, Any]:
        wanted = task.wanted
        options = wanted.request.get("provider_specific")
        extra: dict[str, Any] = dict(cast("Mapping[str, Any]", options)) if isinstance(options, Mapping) else {}
        marked = SENSEAUDIO_MODELS[wanted.model].watermark and wanted.request.get("watermark") is not False
        if marked and task.done and not task.failed:
            extra["watermark_url"] = f"{base}{SENSE_FILES}/logo2.png"
        record: dict[str, Any] = {
            "id": task.record_id,
            "model": wanted.model,
            "task_id": task.task_id,
            "status": "pending",  # recorded: covers the whole run, "processing" was never seen
            "progress": 50 if task.stage >= clock.QUEUED else 0,
            "duration": int(wanted.seconds),
            "is_new": True,
            "created_at": int(task.created),
            "prompt": "",
            "resolution": wanted.resolution,
            "content": wanted.request["content"],
            "ratio": wanted.ratio,
            "provider_specific": extra,
        }
        if not task.done:
            return record
        record |= {"progress": 100, "completed_at": int(task.done_at or task.created)}
        if task.failed:
            return record | {"status": "failed"} | ({"error_message": task.message} if task.message else {})
        path = f"video_add_watermark/{task.file_id}/{task.file_id}.mp4" if marked else f"video/{task.file_id}"
        return record | {"status": "completed", "video_url": f"{base}{SENSE_FILES}/{path}"}

    async def models(self, call: Call) -> Response:
        """List the video models."""
        wanted = call.request.query_params.get("mode", "video") == "video"
        data = [
            {"id": name, "display_name": name, "mode": "video", "owned_by": "senseaudio"}
            for name in SENSEAUDIO_MODELS
            if wanted
        ]
        return respond((200, {"object": "list", "data": data, "has_more": False}))


def _wanted(body: Mapping[str, Any]) -> Wanted:
    content = cast("list[dict[str, Any]]", body["content"])
    text = next(str(item["text"]) for item in content if item.get("type") == "text")
    images = sorted(
        (item for item in content if item.get("type") == "image"), key=lambda item: _IMAGE_ROLES.index(item["role"])
    )
    return Wanted(
        model=str(body["model"]),
        prompt=text,
        seconds=float(body["duration"]),
        ratio=str(body["ratio"]),
        resolution=str(body["resolution"]),
        images=tuple(str(item["url"]) for item in images),
        request=body,
    )
