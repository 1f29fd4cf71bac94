"""The Ark side: task objects, lists and refusals as documented and as recorded."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from starlette.requests import Request
from starlette.responses import Response

from prefect_genvideo.media.thumbnail import picture_sides
from prefect_genvideo.simulator import ark_rules as rules
from prefect_genvideo.simulator import clock
from prefect_genvideo.simulator.ark_rules import ARK_MODELS, ArkModel
from prefect_genvideo.simulator.callbacks import Callbacks
from prefect_genvideo.simulator.files import Files, Side, tos_expired
from prefect_genvideo.simulator.state import SimulatorState
from prefect_genvideo.simulator.tasks import Task, Wanted
from prefect_genvideo.simulator.wire import BAD_GATEWAY, Answer, Call, always, json_object, respond

MOST_BODY = 64 * 1024 * 1024
"""Bytes of a request."""
# Tasks that may wait behind those that run; of an old page, no newer one states it.
_LONGEST_QUEUE = 120
_EXPIRES_AFTER = 172_800


def error(status: int, kind: str, code: str, message: str, param: str = "") -> Answer:
    """The one envelope there is; its message ends in the id of the call.

    Args:
        status: HTTP status.
        kind: The `type`, e.g. `BadRequest`.
        code: What a client branches on.
        message: Prose.
        param: The field it is about.
    """
    message = message.encode(errors="replace").decode()  # half a pair may stand in what is quoted
    told = f"{message} Request id: 0217{secrets.token_hex(24)}"
    return status, {"error": {"code": code, "message": told, "param": param, "type": kind}}


def _invalid(problem: rules.ArkProblem) -> Answer:
    return error(400, "BadRequest", problem.code, problem.message, problem.param)


def _too_many(code: str, message: str) -> Callable[[str], Answer]:
    return lambda _: error(429, "TooManyRequests", code, message)


def refused(key: str | None) -> Answer:
    """What is said about a bad key."""
    del key
    words = "the API key or AK/SK in the request is missing or invalid."
    return error(401, "Unauthorized", "AuthenticationError", words)


def wrong_address() -> Answer:
    """What is said about a path that is none of Ark's."""
    return error(404, "NotFound", "InvalidAction", "The operation is unsupported by endpoint.")


_RATE = _too_many("APIAccountRpmRateLimitExceeded", "The account has exceeded the rate limit of this API.")
_QUEUE_FULL = _too_many("QuotaExceeded", "The number of your queued requests has exceeded the quota.")
_INTERNAL = "The service encountered an unexpected internal error."

FAULT_ANSWERS: dict[str, Callable[[str], Answer]] = {
    "500_e1": lambda _: error(500, "InternalServerError", "InternalServiceError", _INTERNAL),
    "502_html": always((502, BAD_GATEWAY)),
    "html_200": always((200, "<!doctype html><html><head><title>Console</title></head></html>")),
    "429": _RATE,
    "quota": lambda _: error(
        403, "Forbidden", "AccountOverdueError", "The request failed because your account has an overdue balance."
    ),
    "concurrency": _QUEUE_FULL,
    "not_found": lambda _: error(404, "NotFound", "ResourceNotFound", "The specified task is not found."),
    "expired_link": lambda _: tos_expired(),
}
"""What a fault that is just another answer says, by operation."""
_OUTPUT_REFUSED = "The request failed because the output video may contain sensitive information."


class Asked(NamedTuple):
    """A request that is right.

    Attributes:
        body: Its object, with links instead of inline data.
        model: What its model takes.
    """

    body: dict[str, Any]
    model: ArkModel


class Ark(Side):
    """Handlers of `/contents/generations/tasks` below the Ark base.

    Args:
        state: Tasks and money.
        files: Where results are served.
    """

    def __init__(self, state: SimulatorState, files: Files) -> None:
        super().__init__(state, files)
        self.callbacks = Callbacks(state, status_of)

    async def create(self, call: Call) -> Response:
        """Check, take the task, answer with its id alone."""
        asked = await self._asked(call)
        if not isinstance(asked, Asked):
            return respond(asked)
        body, model = asked
        task = self.state.accept("ark", call.account, self._wanted(body, model))
        if (facts := call.struck_by("moderation")) is not None:
            reason = str(facts.get("reason", "OutputVideoSensitiveContentDetected"))
            self.state.doom(task, reason, str(facts.get("message", _OUTPUT_REFUSED)))
        elif words := rules.fails_later(body, model):
            self.state.doom(task, "InvalidParameter.TaskTypeConstraint", words)
        if url := body.get("callback_url"):
            self.callbacks.follow(task, str(url), partial(self.record, task, call.origin))
        echoed = {"safety_identifier": body["safety_identifier"]} if "safety_identifier" in body else {}
        return respond((200, {"id": task.task_id, **echoed}))

    async def _asked(self, call: Call) -> Asked | Answer:
        """What is asked for, if it is right, with links instead of inline data."""
        raw = await call.request.body()
        if len(raw) > MOST_BODY:
            return 413, "<html><head><title>413 Request Entity Too Large</title></head></html>"
        body = json_object(raw)
        if body is None:
            return error(400, "BadRequest", "InvalidParameter", "The request body is not valid JSON.")
        body = {name: value for name, value in body.items() if value is not None}
        name = str(body.get("model", ""))
        model = self._model(name)
        if model is None:
            words = f"The model or endpoint {name} does not exist or you do not have access to it."
            return error(404, "NotFound", "InvalidEndpointOrModel.NotFound", words)
        if problem := rules.ark_problem(body, model):
            return _invalid(problem)
        most = self.state.config.max_concurrency
        if most is not None and self.state.open_tasks(call.account) >= most + _LONGEST_QUEUE:
            return _QUEUE_FULL("create")
        stored = await self._stored(body, call.origin)
        return _invalid(stored) if isinstance(stored, rules.ArkProblem) else Asked(stored, model)

    def _model(self, name: str) -> ArkModel | None:
        if name.startswith("ep-") or name in self.state.config.models:
            return ARK_MODELS[rules.OF_ENDPOINTS]
        return ARK_MODELS.get(name)

    async def _stored(self, body: dict[str, Any], origin: str) -> dict[str, Any] | rules.ArkProblem:
        """The body with links instead of inline data, or why it is refused."""
        content: list[dict[str, Any]] = []
        for number, item in enumerate(body["content"]):
            kind = item["type"]
            link = rules.link_of(item)
            kept = await self.files.keep_inline(link, origin)
            if kept is None:
                return rules.invalid(f"content[{number}].{kind}.url", "resource download failed")
            content.append({**item, kind: {"url": kept}} if link else item)
        return {**body, "content": content}

    def _wanted(self, body: dict[str, Any], model: ArkModel) -> Wanted:
        pictures = tuple(rules.link_of(item) for item in body["content"] if item["type"] == "image_url")
        ratio = str(body.get("ratio", "adaptive"))
        if ratio == "adaptive":
            first = self.files.find_upload(pictures[0]) if pictures else None
            ratio = rules.nearest_ratio(picture_sides(first.path.read_bytes()) if first else None)
        return Wanted(
            model=str(body["model"]),
            prompt=" ".join(str(item.get("text", "")) for item in body["content"] if item["type"] == "text"),
            seconds=float(rules.frames_of(body, model) // rules.FPS),
            ratio=ratio,
            resolution=str(body.get("resolution", model.resolution)),
            images=pictures,
            request=body,
            tokens=rules.tokens_of(body, model, ratio),
            patience_s=float(body.get("execution_expires_after", _EXPIRES_AFTER)),
        )

    async def status(self, call: Call) -> Response:
        """Answer with the flat task object."""
        if self.state.asks_too_often("status", call.account):
            return respond(_RATE("status"))
        task = self.state.find(str(call.request.path_params["task_id"]), call.account)
        if task is None:
            return respond(FAULT_ANSWERS["not_found"]("status"))
        self.state.poll(task)
        record = self.record(task, call.origin)
        if (facts := call.struck_by("unknown_word")) is not None:
            record["status"] = str(facts.get("word", "processing"))
            for name in ("content", "usage", "error"):
                record.pop(name, None)
        elif "content" in record:
            text = f"{task.task_id} {task.wanted.prompt}"
            if self.state.faults.take("status", "ark", text, ("empty_creations",))[1]:
                record["content"] = {}
        return respond((200, record))

    def record(self, task: Task, origin: str) -> dict[str, Any]:
        """The task object of queries, lists and callbacks; prompt and media are never told.

        Args:
            task: What is told.
            origin: Scheme and host of the links.
        """
        body = task.wanted.request
        name = rules.OF_ENDPOINTS if task.wanted.model.startswith("ep-") else task.wanted.model
        model = self._model(name) or ARK_MODELS[rules.OF_ENDPOINTS]
        record: dict[str, Any] = {
            "id": task.task_id,
            "model": name,
            "status": status_of(task),
            "created_at": int(task.created),
            "updated_at": int(task.done_at or task.created),
            "service_tier": body.get("service_tier", "default"),
            "execution_expires_after": body.get("execution_expires_after", _EXPIRES_AFTER),
            **_echoed(body, model),
        }
        if not task.done or task.ended_as:
            return record
        return record | (_failure(task) if task.failed else self._film(task, model, origin))

    def _film(self, task: Task, model: ArkModel, origin: str) -> dict[str, Any]:
        body, wanted = task.wanted.request, task.wanted
        clip, last = (f"{origin}{path}" for path in self.files.ark_paths(task))
        seed = body.get("seed", -1)
        told: dict[str, Any] = {
            "content": {"video_url": clip} | ({"last_frame_url": last} if body.get("return_last_frame") else {}),
            "usage": {"completion_tokens": wanted.tokens, "total_tokens": wanted.tokens},
            "seed": int(task.file_id[:7], 16) if seed == -1 else seed,
            "resolution": wanted.resolution,
            "ratio": wanted.ratio,
            "framespersecond": rules.FPS,
        }
        told |= {"frames": body["frames"]} if "frames" in body else {"duration": int(wanted.seconds)}
        drafts = [rules.draft_of(item) for item in body["content"] if item["type"] == "draft_task"]
        return told | ({"draft_task_id": drafts[0]} if drafts else {})

    async def list(self, call: Call) -> Response:
        """The key's tasks of the last days, newest first, once a second."""
        if self.state.asks_too_often("list", call.account):
            return respond(_RATE("list"))
        query = call.request.query_params
        page, size = _page(query.get("page_num", "1")), _page(query.get("page_size", "20"))
        for name, number in (("page_num", page), ("page_size", size)):
            if number is None:
                return respond(_invalid(rules.invalid(name, "it must be 1 to 500")))
        found = [task for task in self.state.of("ark", call.account) if _fits(task, call.request)]
        start = ((page or 1) - 1) * (size or 1)
        items = [self.record(task, call.origin) for task in found[start : start + (size or 1)]]
        return respond((200, {"total": len(found), "items": items}))

    async def delete(self, call: Call) -> Response:
        """Cancel what waits, forget what is over; what runs cannot be stopped."""
        if self.state.asks_too_often("delete", call.account):
            return respond(_RATE("delete"))
        task = self.state.find(str(call.request.path_params["task_id"]), call.account)
        if task is None:
            return respond(FAULT_ANSWERS["not_found"]("delete"))
        if self.state.take_back(task):
            return respond((200, {}))
        words = f"The task is {status_of(task)} and cannot be cancelled."
        return respond(error(409, "Conflict", "TaskRunningCannotCancel", words))


def _echoed(body: Mapping[str, Any], model: ArkModel) -> dict[str, Any]:
    usual = {"generate_audio": True, "draft": False} if model.has_audio else {}
    usual |= {"priority": 0} if model.ranks else {}
    usual |= {"output_format": "mp4"} if model.length == -1 else {}
    return {
        **{name: body.get(name, default) for name, default in usual.items()},
        **{name: body[name] for name in ("safety_identifier", "tools") if name in body},
    }


def _failure(task: Task) -> dict[str, Any]:
    said = {"code": task.reason, "message": task.message}
    return {"error": {name: text for name, text in said.items() if text} or None}


def status_of(task: Task) -> str:
    """Ark's word for how far a task is."""
    if task.done:
        return task.ended_as or task.state
    return "running" if task.stage == clock.RUNNING else "queued"


def _fits(task: Task, request: Request) -> bool:
    query, body = request.query_params, task.wanted.request
    asked: Mapping[str, object] = {
        "filter.status": status_of(task),
        "filter.model": body["model"],
        "filter.service_tier": body.get("service_tier", "default"),
    }
    ids = query.getlist("filter.task_ids")
    return all(query.get(name) in (None, "", value) for name, value in asked.items()) and (
        not ids or task.task_id in ids
    )


def _page(text: str) -> int | None:
    return int(text) if text.isdecimal() and len(text) < 4 and 1 <= int(text) <= 500 else None
