"""The recorded request/response pairs, and how to play one against a client.

`cases.json` says of each pair what a client must make of it, in the words `kind` and `retryable`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from prefect_genvideo import errors
from prefect_genvideo.models import VideoRequest
from prefect_genvideo.providers import SenseAudioClient, SudashuiClient, VideoClient
from tests.contract.server import Answer, Received, mp4

Case = dict[str, Any]

KEY = "sk-TESTKEY000000"
CLIENTS: dict[str, type[VideoClient]] = {"sudashui": SudashuiClient, "senseaudio": SenseAudioClient}
LISTED = {"sudashui": ["sd-2-720p"], "senseaudio": ["doubao-seedance-2-0-260128"]}

# What the caller must do, in the words of cases.json. The first class that fits counts.
KINDS: tuple[tuple[type[errors.GenVideoError], str], ...] = (
    (errors.InvalidRequestError, "rejected"),
    (errors.RejectedError, "rejected"),
    (errors.UnknownOutcomeError, "transient"),
    (errors.TransientError, "transient"),
)


# Requests that break a documented rule never leave. Their answers are played to one that keeps the rules.
KEEPS_THE_RULES = {
    "sudashui": VideoRequest(model="sd-api-2-fast-720p", prompt="x"),
    "senseaudio": VideoRequest(model="doubao-seedance-2-0-260128", prompt="x"),
}


def _load(name: str) -> Any:
    return json.loads((Path(__file__).parent / name).read_text(encoding="utf-8"))


CASES: list[Case] = _load("cases.json")
EXAMPLES: dict[str, list[dict[str, Any]]] = _load("documented_examples.json")


def of(direction: str) -> list[Case]:
    return [case for case in CASES if case["direction"] == direction]


def case_id(case: Any) -> str:
    return str(case["id"])


def verdict_of(error: errors.GenVideoError) -> tuple[str, bool]:
    """(kind, retryable) of an error."""
    if isinstance(error, errors.DownloadError):
        return ("transient" if error.retryable else "failed"), error.retryable
    return next(kind for cls, kind in KINDS if isinstance(error, cls)), error.retryable


def answer_of(case: Case) -> Answer:
    """The case's response, to be sent by the scripted server."""
    response = case["response"]
    if response["http_status"] == 0:
        return Answer(silent=True) if "timeout" in response["transport"] else Answer(reset=True)
    headers = {name: value for name, value in response["headers"].items() if name not in _FRAMING}
    body: Any = response["body"]
    if "binary" in (body or ()):
        return Answer(
            response["http_status"],
            headers,
            mp4(body["length"]),
            chunked="Transfer-Encoding" in response["headers"],
            cut_after=body.get("closes_early"),
        )
    text = body if isinstance(body, str) else json.dumps(body, ensure_ascii=False)
    return Answer(response["http_status"], headers, text.encode())


_FRAMING = {"Content-Length", "Transfer-Encoding"}


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
    """The portable request behind a body of either provider; any request for a body that is no JSON."""
    if isinstance(body, str):
        return KEEPS_THE_RULES[provider]
    return _from_sudashui(body) if provider == "sudashui" else _from_senseaudio(body)


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
    )


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
        first_frame=roles.get("first_frame"),
        last_frame=roles.get("last_frame"),
        timeout=body.get("timeout"),
        options=options,
    )
