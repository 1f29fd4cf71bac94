"""The routes: all providers on one port, and the control calls below `/_sim`."""

from __future__ import annotations

import contextlib
import html
import ipaddress
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from functools import partial
from typing import Any, cast

import anyio
from pydantic import TypeAdapter
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from prefect_genvideo.simulator import ark, senseaudio, sudashui
from prefect_genvideo.simulator.accounts import Accounts, refused
from prefect_genvideo.simulator.config import SimulatorConfig
from prefect_genvideo.simulator.dialects import dialects
from prefect_genvideo.simulator.faults import Fault
from prefect_genvideo.simulator.files import ARK_FILES, FILES, SENSE_FILES, Files
from prefect_genvideo.simulator.headers import ResponseHeaders
from prefect_genvideo.simulator.manners import Told
from prefect_genvideo.simulator.state import SimulatorState
from prefect_genvideo.simulator.tasks import Task
from prefect_genvideo.simulator.wire import Answer, Call, Handler, always, drain, page, respond, with_fault

SUDASHUI, SENSEAUDIO, ARK = "/sudashui", "/senseaudio", "/ark/api/v3"
"""Paths of the providers' APIs."""
# Tasks on the page for people.
_SHOWN = 50
# A key that is accepted and has no money, and one that is no longer accepted.
_PENNILESS, _EXPIRED = "sk-sim-broke", "sk-sim-expired"
_FAULTS = TypeAdapter(list[Fault])
KeyRefusal = Callable[[str | None], Answer] | None


def create_app(config: SimulatorConfig | None = None, state: SimulatorState | None = None) -> Starlette:
    """Build the ASGI application.

    Args:
        config: How it behaves.
        state: A state to use instead of a new one made from `config`.
    """
    state = state or SimulatorState(config or SimulatorConfig())
    files = Files(state)
    side = ark.Ark(state, files)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncGenerator[None]:
        async with side.callbacks.running():
            yield
        state.close()

    routes = [
        *_sudashui_routes(state, files),
        *_senseaudio_routes(state, files),
        *_ark_routes(state, files, side),
        *_Control(state, files).routes(),
    ]
    app = Starlette(routes=routes, lifespan=lifespan, middleware=[Middleware(ResponseHeaders, purse=state.purse)])
    app.state.simulator = state
    return app


def _sudashui_routes(state: SimulatorState, files: Files) -> list[Route]:
    side, accounts = sudashui.Sudashui(state, files), Accounts(state)

    on, key = partial(_route, state, "sudashui", sudashui.FAULT_ANSWERS), sudashui.refused

    async def lost(request: Request) -> Response:
        if request.path_params.get("rest", "").startswith("v1/"):
            path = request.url.path.removeprefix(SUDASHUI)
            text = f"Invalid URL ({request.method} {path})"
            return respond((404, {"error": {"message": text, "type": "invalid_request_error", "code": ""}}))
        return respond((200, sudashui.WEB_PAGE))

    return [
        on(f"{SUDASHUI}/v1/video/generations", "POST", "create", side.create, key),
        on(f"{SUDASHUI}/v1/video/generations/{{task_id}}", "GET", "status", side.status, key),
        on(f"{SUDASHUI}/v1/models", "GET", "models", side.models, key),
        on(f"{SUDASHUI}/v1/videos/{{task_id}}/content", "GET", "content", side.content, key),
        on(FILES, "POST", "upload", files.upload, always(sudashui.UNAUTHORIZED)),
        on(f"{FILES}/", "POST", "upload", files.upload, always(sudashui.UNAUTHORIZED)),
        on(f"{FILES}/proxy/generating/{{file_id}}/output.mp4", "GET", "download", files.sudashui_clip, None),
        on(f"{FILES}/proxy/generating/{{file_id}}/first.jpg", "GET", "cover", files.sudashui_clip, None),
        on(f"{FILES}/proxy/{{rest:path}}", "GET", "asset", files.sudashui_asset, None),
        on(f"{SUDASHUI}/api/usage/token/", "GET", "usage", accounts.handler("usage"), refused),
        on(f"{SUDASHUI}/api/log/token", "GET", "log", accounts.handler("log"), refused),
        *(
            on(f"{SUDASHUI}{root}/dashboard/billing/{name}", "GET", "billing", accounts.handler(told), key)
            for root in ("", "/v1")
            for name, told in (("subscription", "subscription"), ("usage", "used"))
        ),
        on(f"{SUDASHUI}/api/pricing", "GET", "pricing", accounts.handler("pricing"), None),
        on(f"{SUDASHUI}/api/status", "GET", "site", accounts.handler("status"), None),
        Route(SUDASHUI, lost, methods=["GET", "POST"]),
        Route(f"{SUDASHUI}/{{rest:path}}", lost, methods=["GET", "POST"]),
    ]


def _senseaudio_routes(state: SimulatorState, files: Files) -> list[Route]:
    side = senseaudio.SenseAudio(state, files)

    on, key = partial(_route, state, "senseaudio", senseaudio.FAULT_ANSWERS), always(senseaudio.UNAUTHORIZED)
    marked = f"{SENSE_FILES}/video_add_watermark/{{folder}}/{{file_id}}"
    return [
        on(f"{SENSEAUDIO}/v1/video/create", "POST", "create", side.create, key),
        on(f"{SENSEAUDIO}/v1/video/status", "GET", "status", side.status, key),
        on(f"{SENSEAUDIO}/v1/models", "GET", "models", side.models, key),
        on(f"{SENSE_FILES}/video/{{file_id}}", "GET", "download", files.senseaudio_file, None),
        on(marked, "GET", "download", files.senseaudio_file, None),
        on(f"{SENSE_FILES}/image/{{name}}", "GET", "asset", files.senseaudio_image, None),
    ]


def _ark_routes(state: SimulatorState, files: Files, side: ark.Ark) -> list[Route]:
    on, key = partial(_route, state, "ark", ark.FAULT_ANSWERS), ark.refused

    async def lost(_: Request) -> Response:
        return respond(ark.wrong_address())

    tasks = f"{ARK}/contents/generations/tasks"
    return [
        on(tasks, "POST", "create", side.create, key),
        on(tasks, "GET", "list", side.list, key),
        on(f"{tasks}/{{task_id}}", "GET", "status", side.status, key),
        on(f"{tasks}/{{task_id}}", "DELETE", "delete", side.delete, key),
        on(f"{ARK_FILES}/{{name}}.mp4", "GET", "download", files.ark_file, None),
        on(f"{ARK_FILES}/{{name}}.jpeg", "GET", "cover", files.ark_file, None),
        Route("/ark/{rest:path}", lost, methods=["GET", "POST", "DELETE"]),
    ]


def _route(
    state: SimulatorState,
    provider: str,
    answers: dict[str, Callable[[str], Answer]],
    path: str,
    method: str,
    op: str,
    handler: Handler,
    refuse_key: KeyRefusal,
) -> Route:
    """Count the call, let faults strike, check the key (no refusal: nobody needs one), then handle it."""

    async def checked(call: Call) -> Response:
        if refuse_key is not None:
            key = _bearer(call.request)
            penniless = key == _PENNILESS and op == "create"
            if penniless or not _is_good(key):
                return respond(answers["quota"](op) if penniless else refuse_key(key))
            call.request.state.account = key
        dialect = state.spoken.answer(op, provider)
        if dialect is None:
            return await handler(call)
        if not dialect.makes:
            await drain(call.request)
            return dialect.shape(Told(provider, call.origin))
        right = await handler(call)
        return dialect.shape(_told(state, provider, call, right)) if right.status_code == 200 else right

    async def endpoint(request: Request) -> Response:
        state.calls[op] += 1
        delay, fault = 0.0, None
        if state.faults.on:
            delay, fault = state.faults.take(op, provider, await _text(state, request, op))
        if delay:
            await anyio.sleep(delay)
        if fault is None:
            return await checked(Call(request))
        return await with_fault(request, fault, checked, answers, op)

    return Route(path, endpoint, methods=[method])


def _told(state: SimulatorState, provider: str, call: Call, right: Response) -> Told:
    """What a right answer says, for another manner of saying it."""
    body = cast("dict[str, Any]", json.loads(bytes(right.body)))
    asked = call.request
    ids = (body.get("task_id"), asked.path_params.get("task_id"), asked.query_params.get("id"), body.get("id"))
    return Told(provider, call.origin, body, next(filter(None, (state.by_id.get(str(one)) for one in ids)), None))


def _bearer(request: Request) -> str | None:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() or None if scheme.lower() == "bearer" else None


def _is_good(key: str | None) -> bool:
    return key is not None and key.startswith("sk-sim") and key != _EXPIRED


async def _text(state: SimulatorState, request: Request, op: str) -> str:
    """What a fault's `match` looks into: the path, the prompt, and for a create the body."""
    parts = [request.url.path, request.url.query]
    if op == "create":
        body = (await request.body()).decode(errors="replace")
        # Bodies may carry their Chinese as \\u escapes; a match must find it either way.
        parts += [body, body.encode().decode("unicode_escape", errors="replace") if "\\u" in body else ""]
    ids = {part.removesuffix(".mp4") for part in request.url.path.split("/")} | {request.query_params.get("id", "")}
    for name in ids:
        if task := state.by_id.get(name) or state.files.get(name):
            parts += [task.task_id, task.wanted.prompt]
    return "\n".join(parts)


class _Control:
    """What tests and people steer the simulator with; no key is asked."""

    def __init__(self, state: SimulatorState, files: Files) -> None:
        self._state, self._files = state, files

    def routes(self) -> list[Route]:
        controls: tuple[tuple[str, str, Callable[[Request], Awaitable[Response]]], ...] = (
            ("GET", "state", self.report),
            ("POST", "config", self.configure),
            ("POST", "faults", self.add_faults),
            ("DELETE", "faults", self.clear_faults),
            ("GET", "dialect", self.dialects),
            ("POST", "dialect", self.speak),
            ("GET", "money", self.show_money),
            ("POST", "money", self.choose_money),
            ("POST", "reset", self.reset),
            ("POST", "expire-links", self.expire),
            ("POST", "tasks/{task_id}/{verb}", self.steer),
        )
        return [
            Route("/", _of_this_site(self.index)),
            *(Route(f"/_sim/{path}", _of_this_site(control), methods=[method]) for method, path, control in controls),
        ]

    async def dialects(self, _: Request) -> Response:
        known: dict[str, dict[str, str]] = {}
        for op, name, dialect in dialects():
            known.setdefault(op, {})[name] = dialect.note
        return JSONResponse({"on": self._state.spoken.on, "known": known})

    async def speak(self, request: Request) -> Response:
        return JSONResponse(self._state.spoken.choose(await _object(request)))

    async def show_money(self, _: Request) -> Response:
        self._state.settle()
        return JSONResponse(self._state.purse.snapshot())

    async def choose_money(self, request: Request) -> Response:
        chosen = await _object(request)
        account = chosen.pop("account", None)
        self._state.purse.choose(chosen, account if account is None else str(account))
        return JSONResponse(self._state.purse.snapshot())

    async def report(self, _: Request) -> Response:
        return JSONResponse(self._state.snapshot())

    async def configure(self, request: Request) -> Response:
        self._state.configure(**await _object(request))
        return JSONResponse(self._state.snapshot()["config"])

    async def add_faults(self, request: Request) -> Response:
        body = await _json(request)
        self._state.faults.add(*_FAULTS.validate_python(body if isinstance(body, list) else [body]))
        return JSONResponse(self._state.snapshot()["faults"])

    async def clear_faults(self, _: Request) -> Response:
        self._state.faults.clear()
        return JSONResponse(self._state.snapshot()["faults"])

    async def reset(self, _: Request) -> Response:
        self._state.reset()
        return JSONResponse({"billed": 0})

    async def expire(self, request: Request) -> Response:
        self._state.expire_links("upload" if request.query_params.get("kind") == "upload" else "result")
        return JSONResponse({"expired": True})

    async def steer(self, request: Request) -> Response:
        task_id, verb = str(request.path_params["task_id"]), request.path_params["verb"]
        body = await _json(request)
        facts = cast("dict[str, Any]", body) if isinstance(body, dict) else {}
        reason = str(facts.get("reason", "content_policy_violation"))
        verbs: dict[str, Callable[[], Task]] = {
            "advance": lambda: self._state.advance(task_id),
            "finish": lambda: self._state.finish(task_id),
            "fail": lambda: self._state.fail(task_id, reason, facts.get("message")),
            "expire": lambda: self._state.expire(task_id),
        }
        if verb not in verbs:
            return _bad(f"known: {', '.join(verbs)}", 404)
        try:
            return JSONResponse(verbs[verb]().to_json())
        except KeyError:
            return _bad("no such task", 404)

    async def index(self, request: Request) -> Response:
        rows = "".join(self._row(task) for task in reversed(self._state.tasks[-_SHOWN:]))
        head = "<tr><th>Task<th>Provider<th>Prompt<th>State<th>Clip</tr>"
        base, billed = html.escape(Call(request).origin), self._state.billed
        return page(
            f"<body><h1>genvideo simulator</h1><p>Sudashui <code>{base}{SUDASHUI}</code>, files "
            f"<code>{base}{FILES}/</code> · SenseAudio <code>{base}{SENSEAUDIO}</code> · Ark "
            f"<code>{base}{ARK}</code> · keys start with <code>sk-sim</code> · {billed} generations billed · "
            f"<a href='/_sim/state'>state</a></p>"
            f"<table>{head}{rows}</table></body>",
        )

    def _row(self, task: Task) -> str:
        link = ""
        if task.has_film:
            clip, cover = self._files.result_paths(task)
            link = f"<a href='{html.escape(clip)}'><img height=48 loading=lazy src='{html.escape(cover)}'></a>"
        cells = (task.task_id, task.provider, task.wanted.prompt[:80], f"{task.state} {task.reason}")
        return "<tr>" + "".join(f"<td>{html.escape(cell)}" for cell in cells) + f"<td>{link}</tr>"


def _of_this_site(control: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """Refuse what cannot be done, and what another site's page makes a browser ask: there is no password."""

    async def guarded(request: Request) -> Response:
        sent_by = request.headers.get("origin", "")
        foreign = request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin")
        if foreign or sent_by not in ("", Call(request).origin) or not _is_local_name(request.url.hostname or ""):
            return _bad("the simulator is not steered from pages of other sites", 403)
        try:
            return await control(request)
        except (ValueError, TypeError) as problem:
            return _bad(str(problem))

    return guarded


def _is_local_name(host: str) -> bool:
    """An address, `localhost`, or a name without a dot: no name that a stranger's resolver could point here."""
    try:
        ipaddress.ip_address(host.strip("[]"))
        return True
    except ValueError:
        return "." not in host or host.endswith((".localhost", ".local", ".internal"))


async def _json(request: Request) -> object:
    try:
        return await request.json()
    except ValueError:
        return None


async def _object(request: Request) -> dict[str, Any]:
    body = await _json(request)
    if not isinstance(body, dict):
        raise ValueError("send an object: settings, or the name of a dialect by operation")
    return cast("dict[str, Any]", body)


def _bad(text: str, status: int = 400) -> Response:
    return JSONResponse({"error": text}, status)
