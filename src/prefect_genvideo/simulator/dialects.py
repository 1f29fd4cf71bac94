"""Dialects: other shapes of a right answer, as gateways and providers were seen to give them.

A dialect changes how an answer looks, not what has happened: what was accepted is billed, what was refused is not. It
stays on until another one is chosen.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from starlette.responses import Response

from prefect_genvideo.simulator.manners import ALL, Dialect, FileManner, Json, Told
from prefect_genvideo.simulator.wire import CutShort, respond

_SUDASHUI, _SENSEAUDIO, _ARK = ALL[:1], ALL[1:2], ALL[2:]
# Queries after the end that do not know the link yet.
_LATE = 2


def _json(status: int, make: Callable[[Told], Json]) -> Callable[[Told], Response]:
    return lambda told: respond((status, make(told)))


def _raw(media_type: str, pack: Callable[[bytes], bytes] = bytes, **headers: str) -> Callable[[Told], Response]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    def shape(told: Told) -> Response:
        return Response(pack(_text(told.right)), 200, named, media_type)

    return shape


def _text(body: Json) -> bytes:
    return json.dumps(body, ensure_ascii=False).encode()


def _refused(note: str, status: int, body: Json, providers: tuple[str, ...] = ALL) -> Dialect:
    return Dialect(note, lambda _: respond((status, body)), providers, "refused", makes=False)


def _nested(code: str, message: str) -> Json:
    """An upstream's refusal inside the gateway's envelope."""
    inner = json.dumps({"error": {"code": code, "message": message}})
    return {"code": "fail_to_fetch_task", "message": inner, "data": None}


def _ark_error(code: str, message: str, kind: str, param: str = "") -> Json:
    told = f"{message} Request id: 0217935056000000000000000000000000000"
    return {"error": {"code": code, "message": told, "param": param, "type": kind}}


_FACE = (
    "InputImageSensitiveContentDetected.PrivacyInformation",
    "The request failed because the input image 'content[1]' may contain real person.",
)
_TRIAL = ("QuotaExceeded", "Your account has exhausted its free trial quota for the model.")

CREATE: dict[str, Dialect] = {
    "wrapped": Dialect(
        "the id inside an envelope", _json(200, lambda t: {"code": "success", "data": {"task_id": t.task_id}})
    ),
    "code_zero": Dialect(
        "code 0 and taskId inside", _json(200, lambda t: {"code": 0, "message": "ok", "data": {"taskId": t.task_id}})
    ),
    "id_only": Dialect("the id as id", _json(200, lambda t: {"id": t.task_id, "status": "pending"})),
    "created_201": Dialect("HTTP 201", _json(201, lambda t: t.right)),
    "text_plain": Dialect("JSON that calls itself text", _raw("text/plain")),
    "gzip": Dialect(
        "gzip although none was asked for", _raw("application/json", gzip.compress, Content_Encoding="gzip")
    ),
    "byte_order_mark": Dialect(
        "JSON after a byte order mark", _raw("application/json", lambda body: b"\xef\xbb\xbf" + body)
    ),
    "no_id": Dialect(
        "accepted, in words without an id",
        _json(200, lambda _: {"code": "success", "message": "任务已提交", "data": {}}),
        ends="unknown",
    ),
    "cut_after_id": Dialect(
        "the connection ends before the answer does, after the id",
        lambda t: CutShort(_text(t.right), announced=5000),
        ends="unknown",
    ),
    "refused_success_false": _refused(
        "a refusal with HTTP 200", 200, {"success": False, "message": "不支持的请求参数"}
    ),
    "refused_code_200": _refused(
        "the gateway's refusal with HTTP 200",
        200,
        {"code": "invalid_request", "message": "prompt is not allowed", "data": None},
        _SUDASHUI,
    ),
    "refused_ref_code_200": _refused(
        "a refusal's ref_code with HTTP 200",
        200,
        {"code": "内容不能为空", "message": "内容不能为空", "ref_code": 400_000},
        _SENSEAUDIO,
    ),
    "upstream_401": _refused(
        "the upstream's key is refused, not the user's",
        401,
        _nested("AuthenticationError", "The API key in the request is missing or invalid."),
        _SUDASHUI,
    ),
    "upstream_402": _refused(
        "the upstream has no money, not the user",
        402,
        _nested("invalid_request_error", "Insufficient Balance"),
        _SUDASHUI,
    ),
    "moderated": _refused(
        "the prompt is refused for its content",
        500,
        {
            "error": {
                "message": "user sensitive words detected",
                "type": "new_api_error",
                "code": "sensitive_words_detected",
            }
        },
        _SUDASHUI,
    ),
    "moderated_image": _refused(
        "the image is refused for its content",
        400,
        {"code": "图片内容包含敏感或违规信息", "message": "图片内容包含敏感或违规信息", "ref_code": 400_501},
        _SENSEAUDIO,
    ),
    "moderated_face": _refused("the picture shows a person", 400, _ark_error(*_FACE, "BadRequest", "content[1]"), _ARK),
    "gateway_envelope": _refused(
        "a refusal in the envelope of the control plane",
        403,
        {"ResponseMetadata": {"Error": {"Code": "AccessDenied", "Message": "The key may not use this model."}}},
        _ARK,
    ),
    "trial_over": _refused("a 429 that no waiting helps against", 429, _ark_error(*_TRIAL, "TooManyRequests"), _ARK),
}
"""How a create is answered."""


def _words(
    note: str, queued: str, running: str, succeeded: str, failed: str, providers: tuple[str, ...] = ALL
) -> Dialect:
    """Another vocabulary, without the inner object that says it again."""
    words = {"queued": queued, "running": running, "succeeded": succeeded, "failed": failed}

    def rows(told: Told) -> Json:
        said = {name: told.row[name] for name in told.says if name in told.row}
        return told.wrapped({**told.bare(), **said, "status": words[told.state]})

    return Dialect(note, _json(200, rows), providers)


def _placed(note: str, place: Callable[[Told], Json], providers: tuple[str, ...] = ALL) -> Dialect:
    """A success whose link stands elsewhere."""

    def rows(told: Told) -> Json:
        return told.wrapped({**told.bare(), **place(told)}) if told.state == "succeeded" else told.right

    return Dialect(note, _json(200, rows), providers)


def _failing(note: str, status: str, place: Json, providers: tuple[str, ...] = ALL) -> Dialect:
    """A generation that ends badly, and where the reason stands."""

    def rows(told: Told) -> Json:
        ended = told.state in ("succeeded", "failed")
        return told.wrapped({**told.bare(), "status": status, "progress": 100, **place}) if ended else told.right

    return Dialect(note, _json(200, rows), providers, ends="failed")


def _flat(told: Told) -> Json:
    words = {"queued": "queued", "running": "processing", "succeeded": "completed", "failed": "failed"}
    body: Json = {"id": told.task_id, "task_id": told.task_id, "object": "video", "status": words[told.state]}
    return body | ({"url": told.link} if told.state == "succeeded" else {})


def _content(told: Told, host: str) -> str:
    return f"{host}/v1/videos/{told.task_id}/content"


def _late(told: Told) -> Json:
    known = told.task is not None and told.task.end_polls > _LATE
    return {"result_url" if told.provider == "sudashui" else "video_url": told.link} if known else {}


def _timed(change: Callable[[int], Any]) -> Callable[[Told], Json]:
    names = ("created_at", "submit_time", "start_time", "finish_time", "updated_at", "completed_at")

    def rows(told: Told) -> Json:
        times = {name: change(value) for name, value in told.row.items() if name in names and value}
        return told.wrapped({**told.row, **times})

    return rows


def _fraction(told: Told) -> Json:
    share = {"queued": 0.0, "running": 0.55}.get(told.state, 1.0)
    return told.wrapped({**told.row, "progress": share})


_SENSITIVE = "输出视频含敏感内容"
_JSON_REASON = json.dumps({"error": {"code": "OutputVideoSensitiveContentDetected", "message": _SENSITIVE}})

STATUS: dict[str, Dialect] = {
    "flat": Dialect("a flat lower-case answer", _json(200, _flat), _SUDASHUI),
    "wrapped_code_zero": Dialect(
        "code 0 around the record",
        _json(200, lambda t: {"code": 0, "message": "success", "data": t.right}),
        _SENSEAUDIO,
    ),
    "words_lower": _words("queued, processing, completed, failed", "queued", "processing", "completed", "failed"),
    "words_upper": _words("PENDING, RUNNING, SUCCEEDED, FAILED", "PENDING", "RUNNING", "SUCCEEDED", "FAILED"),
    "words_past": _words("created, generating, finished, error", "created", "generating", "finished", "error"),
    "words_short": _words("submitted, processing, succeed, fail", "submitted", "processing", "succeed", "fail"),
    "words_blank": _words(
        "Not Started, In Progress, Complete, Aborted", "Not Started", "In Progress", "Complete", "Aborted"
    ),
    "words_gateway": _words("pending, processing, completed", "pending", "processing", "completed", "failed", _ARK),
    "word_unknown": _words(
        "an end that nobody knows, with link and time", "QUEUED", "RUNNING", "VIDEO_READY", "FAILED", ALL[:2]
    ),
    "link_metadata": _placed("the link as metadata.url", lambda t: {"metadata": {"url": t.link}}),
    "link_video_object": _placed("the link as video.url", lambda t: {"video": {"url": t.link, "duration": 4}}),
    "link_list": _placed("the link in result_urls", lambda t: {"result_urls": [t.link]}),
    "link_content": _placed(
        "the link as content.video_url inside", lambda t: {"data": {"content": {"video_url": t.link}}}, _SUDASHUI
    ),
    "link_inner": _placed("the link as url inside", lambda t: {"data": {"state": "success", "url": t.link}}, _SUDASHUI),
    "link_second_creation": _placed(
        "the link in the second creation",
        lambda t: {"data": {"state": "success", "creations": [{"id": "a", "url": ""}, {"id": "b", "url": t.link}]}},
        _SUDASHUI,
    ),
    "link_relative": _placed(
        "a link without a host", lambda t: {"result_url": _content(t, "").removeprefix("/")}, _SUDASHUI
    ),
    "link_localhost": _placed(
        "the gateway under its default name",
        lambda t: {"result_url": _content(t, "http://localhost:3000")},
        _SUDASHUI,
    ),
    "link_none": _placed("success without a link; the content address has it", lambda _: {}, _SUDASHUI),
    "link_late": _placed("success first, the link with the third answer", _late),
    "progress_fraction": Dialect("progress from 0 to 1", _json(200, _fraction)),
    "times_ms": Dialect("times in milliseconds", _json(200, _timed(lambda value: value * 1000))),
    "failed_error_object": _failing(
        "the reason in error.message", "failed", {"error": {"code": "x", "message": _SENSITIVE}}
    ),
    "failed_error_text": _failing("the reason in error", "failed", {"error": _SENSITIVE}),
    "failed_json_text": _failing("the reason as JSON text", "FAILURE", {"fail_reason": _JSON_REASON}),
    "failed_inner": _failing(
        "the reason inside only", "FAILURE", {"data": {"state": "failed", "fail_reason": _SENSITIVE}}, _SUDASHUI
    ),
    "failed_silent": _failing("no reason at all", "failed", {"error": None}, _ARK),
    "cancelled": _failing("ended as cancelled", "CANCELLED", {"fail_reason": "cancelled by the operator"}),
    "expired": _failing("ended as expired", "expired", {"error_message": "the task expired in the queue"}),
}
"""How a query is answered."""


UPLOAD: dict[str, Dialect] = {
    "data_url_field": Dialect("the link inside data", _json(200, lambda t: {"code": 0, "data": t.right}), _SUDASHUI),
    "created_201": Dialect("HTTP 201", _json(201, lambda t: t.right), _SUDASHUI),
    "unsafe_link": _refused("a link that is none", 200, {"url": "javascript:alert(1)"}, _SUDASHUI),
    "relative_link": _refused("a link without a host", 200, {"url": "/proxy/uploads/a.jpg"}, _SUDASHUI),
    "refused_code": _refused(
        "a refusal's code with HTTP 200",
        200,
        {"code": "unsupported_type", "message": "不支持的文件类型", "data": None},
        _SUDASHUI,
    ),
    "refused_error": _refused("a refusal's text with HTTP 200", 200, {"error": "File too large"}, _SUDASHUI),
    "refused_success_false": _refused("success: false", 200, {"success": False, "message": "文件过大"}, _SUDASHUI),
}
"""How an upload is answered."""

# A title and an artist, as some gateways' media proxies append them.
_ID3V1 = b"TAG" + b"clip".ljust(30, b"\0") + b"\0" * 95

DOWNLOAD: dict[str, FileManner] = {
    "gzip": FileManner(
        "packed although none was asked for",
        gzip.compress,
        {"Content-Encoding": "gzip"},
        without=("accept-ranges", "etag"),
    ),
    "trailing_zeros": FileManner("zeros behind the last box", lambda data: data + bytes(64)),
    "trailing_newline": FileManner("a line break behind the last box", lambda data: data + b"\r\n"),
    "trailing_id3": FileManner("an ID3 tag behind the last box", lambda data: data + _ID3V1),
    "text_html": FileManner("called text/html", headers={"Content-Type": "text/html"}),
    "octet_stream": FileManner("called application/octet-stream", headers={"Content-Type": "application/octet-stream"}),
    "no_length": FileManner("chunked, without a length", without=("content-length", "accept-ranges", "etag")),
    "part_206": FileManner("HTTP 206 for the whole file, unasked", status=206),
}
"""How a clip is sent."""

DIALECTS: Mapping[str, Mapping[str, Dialect | FileManner]] = MappingProxyType(
    {"create": CREATE, "status": STATUS, "upload": UPLOAD, "download": DOWNLOAD}
)
"""All dialects by operation and name."""


class Spoken:
    """Which dialect is on for each operation; `documented` is none."""

    def __init__(self) -> None:
        self._on: dict[str, str] = {}

    def choose(self, chosen: Mapping[str, str]) -> dict[str, str]:
        """Switch dialects on, by operation; `documented` switches one off.

        Args:
            chosen: Name of a dialect by operation, e.g. `{"create": "wrapped", "status": "link_late"}`.

        Returns:
            What is on afterwards.

        Raises:
            ValueError: An operation or a name is not known.
        """
        for op, name in chosen.items():
            if op not in DIALECTS:
                raise ValueError(f"unknown operation {op!r}; known: {', '.join(DIALECTS)}")
            if name != "documented" and name not in DIALECTS[op]:
                raise ValueError(f"unknown dialect {name!r}; known for {op}: documented, {', '.join(DIALECTS[op])}")
        self._on = {op: name for op, name in {**self._on, **chosen}.items() if name != "documented"}
        return dict(self._on)

    def clear(self) -> None:
        """Answer as documented again."""
        self._on = {}

    @property
    def on(self) -> dict[str, str]:
        """The dialects that are on."""
        return dict(self._on)

    def answer(self, op: str, provider: str) -> Dialect | None:
        """The dialect in which `provider` is to answer, if one is on.

        Args:
            op: What is asked.
            provider: One of `manners.ALL`.
        """
        found = DIALECTS[op].get(self._on[op]) if op in self._on else None
        return found if isinstance(found, Dialect) and provider in found.providers else None

    def file(self) -> FileManner | None:
        """How clips are to be sent, if not plainly."""
        found = DIALECTS["download"].get(self._on.get("download", ""))
        return found if isinstance(found, FileManner) else None


def dialects() -> Iterator[tuple[str, str, Dialect | FileManner]]:
    """Every dialect with its operation and name."""
    for op, named in DIALECTS.items():
        for name, dialect in named.items():
            yield op, name, dialect
