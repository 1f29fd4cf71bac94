"""The recorded request/response pairs, and how to play one against a client.

`cases.json` (the documents and the wire), `ark_cases.json` (the same of Ark) and `field_cases.json` (public bug
reports, gateways' sources, other clients) say of each pair what a client must make of it, in the words `kind` and
`retryable`.
"""

from __future__ import annotations

import base64
import gzip
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from prefect_genvideo import errors
from prefect_genvideo.models import VideoRequest
from prefect_genvideo.providers import AccountLog, ArkClient, SenseAudioClient, SudashuiClient, VideoClient
from tests.contract.server import Answer, Received, mp4

Case = dict[str, Any]

KEY = "sk-TESTKEY000000"
CLIENTS: dict[str, type[VideoClient]] = {
    "sudashui": SudashuiClient,
    "senseaudio": SenseAudioClient,
    "ark": ArkClient,
}
LISTED = {"sudashui": ["sd-2-720p"], "senseaudio": ["doubao-seedance-2-0-260128"]}

# What the caller must do, in the words of cases.json. The first class that fits counts.
KINDS: tuple[tuple[type[errors.GenVideoError], str], ...] = (
    (errors.InvalidRequestError, "rejected"),
    (errors.RejectedError, "rejected"),
    (errors.UnknownOutcomeError, "transient"),
    (errors.TransientError, "transient"),
    (errors.TaskLostError, "transient"),
)


# Requests that break a documented rule never leave. Their answers are played to one that keeps the rules.
KEEPS_THE_RULES = {
    "sudashui": VideoRequest(model="sd-api-2-fast-720p", prompt="x"),
    "senseaudio": VideoRequest(model="doubao-seedance-2-0-260128", prompt="x"),
    "ark": VideoRequest(model="doubao-seedance-2-0-260128", prompt="x"),
}


def _load(name: str) -> Any:
    return json.loads((Path(__file__).parent / name).read_text(encoding="utf-8"))


CASES: list[Case] = _load("cases.json")
ARK: list[Case] = _load("ark_cases.json")
FIELD: list[Case] = _load("field_cases.json")
EXAMPLES: dict[str, list[dict[str, Any]]] = _load("documented_examples.json")

# Cases that are read wrongly as yet. Strict: who puts one right takes it off the list.
NOT_YET: frozenset[str] = frozenset(
    {
        # answers
    }
)


def of(direction: str) -> list[Case]:
    """The recorded cases of a direction, with bodies of requests as they were sent."""
    return [case for case in CASES if case["direction"] == direction]


def playable(*directions: str) -> list[Any]:
    """Parameters of a test: every case of the directions, of all files."""
    wrong = pytest.mark.xfail(strict=True, reason="not yet read rightly")
    return [
        pytest.param(case, id=case_id(case), marks=[wrong] if case["id"] in NOT_YET else [])
        for case in CASES + ARK + FIELD
        if case["direction"] in directions
    ]


def case_id(case: Any) -> str:
    return str(case["id"])


def verdict_of(error: errors.GenVideoError) -> tuple[str, bool]:
    """(kind, retryable) of an error."""
    if isinstance(error, errors.DownloadError):
        return ("transient" if error.retryable else "failed"), error.retryable
    # An id that is not known may be too new: the waiter asks again for a while.
    asks_again = error.retryable or isinstance(error, errors.TaskLostError)
    return next(kind for cls, kind in KINDS if isinstance(error, cls)), asks_again


def answer_of(case: Case) -> Answer:
    """The case's response, to be sent by the scripted server."""
    response = case["response"]
    how: str = response.get("transport", "")
    if response["http_status"] == 0:
        return Answer(silent=True) if "timeout" in how else Answer(reset=True)
    headers = {name: value for name, value in response["headers"].items() if name not in _FRAMING}
    length = int(response["headers"].get("Content-Length", -1)) if response.get("closes") else -1
    body: Any = response["body"]
    content = _content(body)
    return Answer(
        response["http_status"],
        headers,
        content,
        length=None if length < 0 else length,
        chunked=how == "chunked" or "Transfer-Encoding" in response["headers"],
        close_delimited=how in {"http10", "until-close"},
        cut_after=len(content) if response.get("closes") else _member(body, "closes_early"),
        version="1.0" if how == "http10" else "1.1",
        before=response.get("before", "").encode(),
    )


_FRAMING = {"Content-Length", "Transfer-Encoding"}


def net_of(log: AccountLog) -> int:
    """What the rows of a log cost together."""
    return sum(row.net for row in log.rows)


def _raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


_PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "deflate": _raw_deflate,
    "br-junk": lambda data: b"\x8b\x02\x80" + data[::-1],
}


def _member(body: Any, name: str) -> Any:
    return cast(Case, body).get(name) if isinstance(body, dict) else None


def _content(body: Any) -> bytes:
    """The bytes of a body: text as it stands, JSON, or one of the forms that JSON cannot hold."""
    if isinstance(body, str):
        return body.encode()
    told: Case = cast(Case, body) if isinstance(body, dict) else {}
    if not {"binary", "packed", "raw_b64"} & set(told):
        return b"" if body is None else json.dumps(body, ensure_ascii=False).encode()
    if "raw_b64" in told:
        content = base64.b64decode(told["raw_b64"])
    elif "binary" in told:
        content = mp4(told["length"])
    else:
        content = json.dumps(told["json"], ensure_ascii=False).encode()
    head, tail = (bytes.fromhex(told.get(name, "")) for name in ("head_hex", "tail_hex"))
    content = head + content + tail
    return _PACKERS[told["packed"]](content) if "packed" in told else content


def plain_body(case: Case) -> bytes:
    """The content of a case's response, unpacked: what a download of it must yield."""
    body = case["response"]["body"]
    if not isinstance(body, dict):
        return _content(body)
    return _content({name: value for name, value in cast(Case, body).items() if name != "packed"})


def playing(case: Case) -> Any:
    """A handler that plays the case, and lists models where a client looks one up."""
    answer = answer_of(case)

    def handle(request: Received) -> Answer:
        if request.target.startswith("/v1/models"):
            entries = [{"id": name} for name in LISTED[case["provider"]]]
            return Answer(200, {}, json.dumps({"object": "list", "data": entries}).encode())
        return answer

    return handle


def request_of(provider: str, body: Any) -> VideoRequest:
    """The portable request behind a body of any provider; any request for a body that is not told."""
    if body is None or isinstance(body, str):
        return KEEPS_THE_RULES[provider]
    return {"sudashui": _from_sudashui, "senseaudio": _from_senseaudio, "ark": _from_ark}[provider](body)


def _from_sudashui(body: dict[str, Any]) -> VideoRequest:
    payload = body["metadata"]["payload"]
    inner = json.loads(payload) if isinstance(payload, str) else payload
    return VideoRequest(
        model=body["model"],
        prompt=body["prompt"],
        duration=body["duration"],
        aspect_ratio=inner["aspectRatio"],
        images=tuple(inner.get("imageUrls", ())) + tuple(body.get("images", ())),
        videos=tuple(inner.get("videoUrls", ())),
        audios=tuple(inner.get("audioUrls", ())),
        first_frame=inner.get("firstFrameUrl"),
        last_frame=inner.get("lastFrameUrl"),
        options={name: value for name, value in inner.items() if name not in _PORTABLE},
    )


_PORTABLE = {"aspectRatio", "mode", "imageUrls", "videoUrls", "audioUrls", "firstFrameUrl", "lastFrameUrl"}


def _from_senseaudio(body: dict[str, Any]) -> VideoRequest:
    content = body["content"]
    roles = {item["role"]: item["url"] for item in content if item["type"] == "image"}
    options = {name: body[name] for name in ("watermark", "provider_specific") if name in body}
    return VideoRequest(
        model=body["model"],
        prompt="".join(item["text"] for item in content if item["type"] == "text"),
        duration=body["duration"],
        resolution=body["resolution"],
        aspect_ratio=body["ratio"],
        images=tuple(item["url"] for item in content if item.get("role") == "reference"),
        videos=tuple(item["video_url"] for item in content if item["type"] == "video"),
        audios=tuple(item["audio_url"] for item in content if item["type"] == "audio"),
        first_frame=roles.get("first_frame"),
        last_frame=roles.get("last_frame"),
        timeout=body.get("timeout"),
        options=options,
    )


_ARK_FIELDS = {"model", "content", "resolution", "ratio", "duration", "execution_expires_after"}


def _from_ark(body: dict[str, Any]) -> VideoRequest:
    content: list[dict[str, Any]] = body["content"]
    links = [(item.get("role"), item[item["type"]]["url"]) for item in content if item["type"].endswith("_url")]
    roles = dict(links)
    options = {name: value for name, value in body.items() if name not in _ARK_FIELDS}
    drafts = [item["draft_task"]["id"] for item in content if item["type"] == "draft_task"]
    return VideoRequest(
        model=body["model"],
        prompt="".join(item["text"] for item in content if item["type"] == "text"),
        duration=body.get("duration"),
        resolution=body.get("resolution"),
        aspect_ratio=body.get("ratio"),
        images=tuple(link for role, link in links if role == "reference_image"),
        videos=tuple(link for role, link in links if role == "reference_video"),
        audios=tuple(link for role, link in links if role == "reference_audio"),
        first_frame=roles.get("first_frame"),
        last_frame=roles.get("last_frame"),
        timeout=body.get("execution_expires_after"),
        options=options | ({"draft_task_id": drafts[0]} if drafts else {}),
    )
