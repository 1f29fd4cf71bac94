"""Answers that all sides share: broken connections, ranges of files, faults as tables."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import anyio
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import Receive, Scope, Send

from prefect_genvideo.simulator.faults import Fault
from prefect_genvideo.simulator.render import Content

CUT_EXTENSION = "genvideo.cut"
"""ASGI extension by which a connection is cut."""
LONG = 3600.0
"""Seconds; longer than any client waits."""
BAD_GATEWAY = "<html><head><title>502 Bad Gateway</title></head><body></body></html>"
"""A gateway's page."""
EXPIRED_XML = (
    '<?xml version="1.0" encoding="UTF-8"?>\n'
    "<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>"
)
"""What an object store says of an expired link."""
# Answers that are not the gateway's own: they lack its headers.
_OF_A_PROXY = ("502_html", "html_200")
Answer = tuple[int, "str | dict[str, Any]"]


@dataclass(frozen=True)
class Call:
    """A call of one of the APIs.

    Attributes:
        request: As it came.
        fault: What strikes it, if anything.
    """

    request: Request
    fault: Fault | None = None

    @property
    def account(self) -> str:
        """The key that was sent; empty at a public address."""
        return str(getattr(self.request.state, "account", ""))

    @property
    def origin(self) -> str:
        """Scheme and host as the client wrote them, so that links work through any name or port mapping."""
        return f"{self.request.url.scheme}://{self.request.headers.get('host', 'localhost')}"

    def struck_by(self, kind: str) -> Mapping[str, Any] | None:
        """Facts of the fault where it is of this kind, else None."""
        return self.fault.params if self.fault is not None and self.fault.kind == kind else None


Handler = Callable[[Call], Awaitable[Response]]


def respond(answer: Answer, headers: Mapping[str, str] | None = None) -> Response:
    """Send an object as JSON, a text as the HTML or XML it is.

    Args:
        answer: HTTP status and body.
        headers: Further headers.
    """
    status, body = answer
    if isinstance(body, str):
        kind = "application/xml" if body.startswith("<?xml") else "text/html"
        return Response(body, status, headers, media_type=kind)
    return JSONResponse(body, status, headers)


class Cut(Response):
    """No answer: the connection is closed instead.

    Args:
        reset: By a reset, as when a gateway dies; else by an orderly end.
    """

    def __init__(self, reset: bool = True) -> None:
        super().__init__()
        self._reset = reset

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Close the connection and wait until that is known, so that the server does not answer 500."""
        cut = scope.get("extensions", {}).get(CUT_EXTENSION)
        if cut is None:
            raise ConnectionAbortedError("cut by the simulator")
        cut(self._reset)
        await _client_gone(receive)


class CutShort(Response):
    """An answer that says it is longer than what comes; then the connection is closed.

    Args:
        body: What comes of it.
        announced: Its Content-Length.
    """

    def __init__(self, body: bytes, announced: int) -> None:
        super().__init__(None, 200, {"Content-Length": str(announced)}, "application/json")
        self._sent = body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the head and the body, and nothing more: the server closes what is not whole."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self._sent, "more_body": True})


class Hang(Response):
    """No answer until the client gives up, or for `seconds`; then the connection is closed."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Wait, then close."""
        with anyio.move_on_after(self._seconds):
            await _client_gone(receive)
            return
        await Cut()(scope, receive, send)


async def _client_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class FileResponse(Response):
    """A file with ranges, entity tag and the two faults that files have: `cut` and `stall`.

    Args:
        call: What is answered.
        content: What is sent.
        media_type: Its Content-Type.
        sent: Called with the number of bytes of every piece that was handed over.
        whole_status: Status of an answer to a request for the whole file.
    """

    def __init__(
        self,
        call: Call,
        content: Content,
        media_type: str,
        sent: Callable[[int], None],
        whole_status: int = 200,
    ) -> None:
        self._content, self._fault, self._sent = content, call.fault, sent
        self._head_only = call.request.method == "HEAD"
        status, self._start, self._stop = _span(call.request, content)
        status = whole_status if status == 200 else status
        headers = {"ETag": content.etag, "Accept-Ranges": "bytes", "Content-Length": str(self._stop - self._start)}
        if status == 206:
            headers["Content-Range"] = f"bytes {self._start}-{self._stop - 1}/{content.size}"
        elif status == 416:
            headers["Content-Range"] = f"bytes */{content.size}"
        super().__init__(None, status, headers, media_type)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the head and the pieces; on `cut` stop early, which makes the server close the connection."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if self._head_only:
            await send({"type": "http.response.body", "body": b""})
            return
        params: Mapping[str, Any] = self._fault.params if self._fault else {}
        length = self._stop - self._start
        turn = self._start + int(length * float(params.get("fraction", 0.5))) if self._fault else self._stop
        await self._pieces(self._start, turn, send)
        if self._fault and self._fault.kind == "cut":
            return
        if self._fault:
            with anyio.move_on_after(float(params.get("seconds", LONG))):
                await _client_gone(receive)
                return
        await self._pieces(turn, self._stop, send)
        await send({"type": "http.response.body", "body": b""})

    async def _pieces(self, start: int, stop: int, send: Send) -> None:
        for piece in self._content.chunks(start, stop):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            self._sent(len(piece))


def _span(request: Request, content: Content) -> tuple[int, int, int]:
    """Status, first byte and byte after the last one for the asked range."""
    whole = (200, 0, content.size)
    if_range = request.headers.get("if-range")
    asked = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("range", "").strip())
    if asked is None or asked.group() == "bytes=-" or (if_range is not None and if_range != content.etag):
        return whole
    first, last = asked.groups()
    start = int(first) if first else max(0, content.size - int(last))
    stop = min(int(last) + 1, content.size) if first and last else content.size
    if start >= content.size or start >= stop:
        return 416, 0, 0
    return 206, start, stop


def json_object(raw: bytes) -> dict[str, Any] | None:
    """What a request's body says; None where it is no object."""
    try:
        body: object = json.loads(raw)
    except ValueError:
        return None
    return cast("dict[str, Any]", body) if isinstance(body, dict) else None


def always(answer: Answer) -> Callable[[object], Answer]:
    """An answer that is the same for every operation or key."""
    return lambda _: answer


async def with_fault(
    request: Request, fault: Fault, handler: Handler, answers: Mapping[str, Callable[[str], Answer]], op: str
) -> Response:
    """Let one fault strike a call.

    Args:
        request: What came.
        fault: What strikes.
        handler: Does the right thing; it knows the faults that change a task or a file.
        answers: The provider's words for kinds that are just another answer, by operation.
        op: What the call is.
    """
    params = fault.params
    accepted = params.get("accepted", fault.kind in ("lost_after", "timeout"))
    is_answer = fault.kind == "answer" or fault.kind in answers
    if fault.kind not in ("lost_before", "lost_after", "timeout") and not is_answer:
        right = await handler(Call(request, fault))
        return CutShort(b"", announced=len(right.body)) if fault.kind == "cut_answer" else right
    request.state.from_proxy = fault.kind in _OF_A_PROXY
    if accepted:
        await handler(Call(request))
    else:
        await drain(request)
    if fault.kind == "timeout":
        return Hang(float(params.get("seconds", LONG)))
    if not is_answer:
        return Cut(bool(params.get("reset", True)))
    answer = (
        (int(params.get("status", 200)), params.get("body", {})) if fault.kind == "answer" else answers[fault.kind](op)
    )
    return respond(_reworded(answer, params), _headers(params))


async def drain(request: Request) -> None:
    """Read the body of a request whose handler is not called."""
    # The body of an upload is read before the fault, so that the client fails on the answer and not while sending.
    if not hasattr(request, "_body"):
        async for _ in request.stream():
            pass


def _headers(params: Mapping[str, Any]) -> dict[str, str]:
    headers = {str(name): str(value) for name, value in dict(params.get("headers", {})).items()}
    if "retry_after" in params:
        headers["Retry-After"] = str(params["retry_after"])
    return headers


def _reworded(answer: Answer, params: Mapping[str, Any]) -> Answer:
    status, body = answer
    if not isinstance(body, dict):
        return answer
    inner: object = body.get("error")
    if isinstance(inner, dict):
        return status, {**body, "error": _with(cast("dict[str, Any]", inner), params)}
    return status, _with(body, params)


def _with(body: dict[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    return {**body, **{name: params[name] for name in ("code", "message") if name in params and name in body}}


def page(body: str) -> HTMLResponse:
    """A small page for people, of HTML that is escaped."""
    style = "body{font:16px/1.5 system-ui;margin:2rem auto;max-width:60rem}td,th{padding:.2rem .8rem;text-align:left}"
    return HTMLResponse(
        f"<!doctype html><html><head><title>genvideo simulator</title><style>{style}</style></head>{body}</html>"
    )
