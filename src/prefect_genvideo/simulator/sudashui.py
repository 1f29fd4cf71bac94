"""The Sudashui side: bodies, rows and errors as documented and as recorded."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any, cast

from starlette.responses import RedirectResponse, Response

from prefect_genvideo.simulator import clock
from prefect_genvideo.simulator.faults import ON_SUCCESS_ONLY
from prefect_genvideo.simulator.files import Side
from prefect_genvideo.simulator.rules import SUDASHUI_MODELS, sudashui_problem
from prefect_genvideo.simulator.tasks import Task, Wanted
from prefect_genvideo.simulator.wire import BAD_GATEWAY, EXPIRED_XML, Answer, Call, always, respond

WEB_PAGE = "<!doctype html><html><head><title>New API</title></head><body></body></html>"
"""The gateway's own page, which an unknown path is answered with."""

# Stage to outer status, progress and inner state.
_STAGES: dict[int, tuple[str, str, str]] = {
    clock.STORED: ("NOT_START", "0%", ""),
    clock.SUBMITTED: ("SUBMITTED", "10%", "queueing"),
    clock.QUEUED: ("QUEUED", "20%", "queueing"),
    clock.RUNNING: ("IN_PROGRESS", "30%", "processing"),
}


def relay_error(status: int, code: str, message: str) -> Answer:
    """Envelope of the relay: `{"code", "message", "data": null}`.

    Args:
        status: HTTP status.
        code: The relay's slug.
        message: Its words.
    """
    return status, {"code": code, "message": message, "data": None}


def gateway_error(status: int, message: str, code: str = "") -> Answer:
    """Envelope of authentication and routing: `{"error": {"message", "type", "code"}}`.

    Args:
        status: HTTP status.
        message: Its words.
        code: Its slug, often empty.
    """
    request_id = time.strftime("%Y%m%d%H%M%S") + secrets.token_hex(8)
    text = f"{message} (request id: {request_id})"
    return status, {"error": {"message": text, "type": "new_api_error", "code": code}}


def invalid(message: str) -> Answer:
    """A broken rule, in JSON inside JSON as the document shows it."""
    inner = _inner("failed", message, "invalid_request")
    return relay_error(400, "fail_to_fetch_task", json.dumps(inner, ensure_ascii=False, separators=(",", ":")))


def _inner(state: str, message: str = "", code: str = "", *creations: dict[str, Any]) -> dict[str, Any]:
    """What the supplier behind the gateway says."""
    return {"state": state, "message": message, "err_code": code, "creations": list(creations)}


_NO_MONEY = relay_error(403, "insufficient_user_quota", "预扣费额度失败, 用户剩余额度: ＄0.10, 需要预扣费额度: ＄0.83")
UNAUTHORIZED: Answer = (401, {"error": "unauthorized"})
"""What the file host says about a bad key."""


def _server_error(op: str) -> Answer:
    by_op: dict[str, Answer] = {
        "status": relay_error(500, "get_task_failed", "Error 1040: Too many connections"),
        "upload": (500, {"error": "internal server error"}),
        "download": (500, EXPIRED_XML.replace("AccessDenied", "InternalError").replace("Request has expired", "")),
    }
    masked = 'Post "https://***.com/***": dial tcp ***.***.***.***:443: i/o timeout'
    return by_op.get(op, relay_error(500, "do_request_failed", masked))


FAULT_ANSWERS: dict[str, Callable[[str], Answer]] = {
    "500_e1": _server_error,
    "502_html": always((502, BAD_GATEWAY)),
    "html_200": always((200, WEB_PAGE)),
    "429": lambda _: gateway_error(429, "您已达到请求数限制：1分钟内最多请求10次"),
    "quota": always(_NO_MONEY),
    "concurrency": always(relay_error(429, "fail_to_fetch_task", "too many running tasks")),
    "not_found": always(relay_error(400, "task_not_exist", "task_not_exist")),
    "expired_link": always((403, EXPIRED_XML)),
}
"""What a fault that is just another answer says, by operation."""


def refused(key: str | None) -> Answer:
    """What is said about a bad key."""
    return gateway_error(401, "无效的令牌" if key else "未提供令牌")


class Sudashui(Side):
    """Handlers of `/v1/…` below the Sudashui base."""

    async def create(self, call: Call) -> Response:
        """Check, bill, answer with the task object."""
        wanted = self._read(await call.request.body())
        if not isinstance(wanted, Wanted):
            return respond(wanted)
        purse, account = self.state.purse, call.account
        if purse.lacks(account, purse.price_of(wanted.model, wanted.seconds, account)):
            return respond(_NO_MONEY)
        task = self.state.accept("sudashui", account, wanted)
        purse.charge(task, call.request.state.request_id)
        if (facts := call.struck_by("moderation")) is not None:
            reason = str(facts.get("reason", "Real human faces are not supported."))
            self.state.doom(task, reason, facts.get("message"))
        elif any(map(self.files.link_is_dead, _links(wanted.request))):
            # Recorded: the reason stands inside only.
            self.state.doom(task, "", "asset download failed")
        told = {"object": "video", "model": wanted.model, "status": "queued", "progress": 0}
        return respond((200, {"id": task.task_id, "task_id": task.task_id, **told, "created_at": int(task.created)}))

    def _offered(self) -> tuple[str, ...]:
        return (*SUDASHUI_MODELS, *self.state.config.models)

    def _read(self, raw: bytes) -> Wanted | Answer:
        body = _object(raw)
        if not isinstance(body, dict):
            return body
        if refused := self._bad_model(body.get("model")):
            return refused
        prompt = body.get("prompt")
        if not isinstance(prompt, str) or not prompt.strip():
            return relay_error(400, "invalid_request", "prompt is required")
        payload = _payload(body)
        if not isinstance(payload, dict):
            return payload
        model = str(body["model"])
        if words := sudashui_problem(body, payload, documented=model in SUDASHUI_MODELS):
            return invalid(words)
        frames = [payload[name] for name in ("firstFrameUrl", "lastFrameUrl") if name in payload]
        return Wanted(
            model=model,
            prompt=prompt,
            seconds=float(body["duration"]),
            ratio=str(payload["aspectRatio"]),
            resolution=SUDASHUI_MODELS.get(model, "1080p" if model.endswith("1080p") else "720p"),
            images=tuple(frames or payload.get("imageUrls", ())),
            request={**body, "metadata": {"payload": payload}},
        )

    def _bad_model(self, model: object) -> Answer | None:
        if not isinstance(model, str) or not model:
            return gateway_error(400, "未指定模型名称，模型名称不能为空")
        if model in self._offered():
            return None
        return gateway_error(503, f"分组 default 下模型 {model} 无可用渠道（distributor）", "model_not_found")

    async def status(self, call: Call) -> Response:
        """Answer with the row of the task."""
        task = self.state.find(str(call.request.path_params["task_id"]), call.account)
        if task is None:
            return respond(FAULT_ANSWERS["not_found"]("status"))
        self.state.purse.settle([task])  # the end shows first, and the money moves after
        self.state.poll(task)
        row = self._row(task, call.origin)
        if (facts := call.struck_by("unknown_word")) is not None:
            row |= {"status": str(facts.get("word", "PAUSED_BY_OPERATOR")), "data": {"state": "processing"}}
            row.pop("result_url", None)
        elif row["status"] == "SUCCESS":
            text = f"{task.task_id} {task.wanted.prompt}"
            row |= self._spoiled(task, call.origin, text)
        return respond((200, {"code": "success", "message": "", "data": row}))

    def _row(self, task: Task, base: str) -> dict[str, Any]:
        wanted, created = task.wanted, int(task.created)
        row: dict[str, Any] = {
            "id": task.row_id,
            "created_at": created,
            "updated_at": int(time.time()),
            "task_id": task.task_id,
            "platform": "52",
            "user_id": 1,
            "group": "default",
            "channel_id": 27,
            "quota": self.state.purse.bills[task.task_id].quota,
            "action": "referenceGenerate" if wanted.images else "textGenerate",
            "status": "",
            "fail_reason": "",
            "submit_time": created,
            "start_time": int(task.started_at or 0),
            "finish_time": int(task.done_at or 0),
            "progress": "",
            "properties": {
                "input": wanted.prompt,
                "upstream_model_name": wanted.model,
                "origin_model_name": wanted.model,
            },
            "data": None,
        }
        return row | (self._end(task, base) if task.done else _running(task.stage))

    def _end(self, task: Task, base: str) -> dict[str, Any]:
        if task.failed:
            said = {"fail_reason": task.reason, "result_url": task.reason}
            inner = _inner("failed", task.message, task.reason)
            return {"status": "FAILURE", "progress": "100%", **said, "data": inner}
        clip, cover = (f"{base}{path}" for path in self.files.result_paths(task))
        creation = {"id": task.file_id.replace("-", "")[:24], "url": clip, "cover_url": cover}
        inner = _inner("success", "", "", creation)
        return {"status": "SUCCESS", "progress": "100%", "result_url": clip, "data": inner}

    def _spoiled(self, task: Task, base: str, text: str) -> dict[str, Any]:
        _, fault = self.state.faults.take("status", "sudashui", text, ON_SUCCESS_ONLY)
        if fault is None:
            return {}
        proxy = f"{base}/sudashui/v1/videos/{task.task_id}/content"
        return {"result_url": proxy if fault.kind == "proxy_link" else "", "data": _inner("success")}

    async def models(self, call: Call) -> Response:
        """List the ids."""
        data = [
            {"id": name, "object": "model", "created": 1_626_777_600, "owned_by": "vidu"} for name in self._offered()
        ]
        return respond((200, {"object": "list", "success": True, "data": data}))

    async def content(self, call: Call) -> Response:
        """The gateway's own link to the clip: needs the key, redirects to the file."""
        task = self.state.find(str(call.request.path_params["task_id"]), call.account)
        kind = "invalid_request_error"
        if task is None:
            return respond((404, {"error": {"message": "Task not found", "type": kind, "code": ""}}))
        if not task.done or task.failed:
            word = "FAILURE" if task.done else _STAGES[task.stage][0]
            text = f"Task is not completed yet, current status: {word}"
            return respond((400, {"error": {"message": text, "type": kind}}))
        return RedirectResponse(f"{call.origin}{self.files.result_paths(task)[0]}", 302)


def _running(stage: int) -> dict[str, Any]:
    status, progress, state = _STAGES[stage]
    return {"status": status, "progress": progress, "data": _inner(state) if state else None}


def _object(raw: bytes) -> dict[str, Any] | Answer:
    try:
        body: object = json.loads(raw)
    except ValueError:
        return gateway_error(400, "无效的请求，unexpected end of JSON input")
    if not isinstance(body, dict):
        return gateway_error(400, "无效的请求，json: cannot unmarshal into Go value")
    return cast("dict[str, Any]", body)


def _payload(body: Mapping[str, Any]) -> dict[str, Any] | Answer:
    metadata = body.get("metadata")
    text: object = cast("dict[str, Any]", metadata).get("payload") if isinstance(metadata, dict) else None
    if text is None:
        return invalid("metadata.payload is required.")
    if not isinstance(text, str):
        kind = "object" if isinstance(text, dict) else "value"
        words = f"json: cannot unmarshal {kind} into Go struct field requestPayload.payload of type string"
        return relay_error(500, "build_request_failed", words)
    try:
        payload: object = json.loads(text)
    except ValueError:
        payload = None
    if not isinstance(payload, dict):
        return invalid("metadata.payload must be a JSON string of an object.")
    return cast("dict[str, Any]", payload)


def _links(request: Mapping[str, Any]) -> list[str]:
    payload = request["metadata"]["payload"]
    lists = (payload.get(name, ()) for name in ("imageUrls", "videoUrls", "audioUrls"))
    frames = (payload[name] for name in ("firstFrameUrl", "lastFrameUrl") if name in payload)
    return [*(link for links in lists for link in links), *frames]
