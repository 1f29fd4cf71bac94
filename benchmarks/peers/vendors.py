"""The peers: which package, how it is used, and the job protocol that its vendor speaks.

The shapes are those that the pinned SDKs send and parse (their sources and types), reduced to what one text-to-video
job needs. None of these SDKs sends an idempotency key on a create (openai and runwayml make one, but their
clients name no header for it), and none of the vendors documents one for it: so no server here removes duplicates.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

SDK_TIMEOUT = 3.0
"""Seconds that each SDK is told to wait for an answer: short enough to measure a timeout, long for a busy machine."""

STAMP = "2026-01-01T00:00:00Z"


@dataclass
class Job:
    """A job that the vendor accepted, and bills."""

    id: str
    polls: int = 0

    @property
    def video(self) -> bytes:
        """512 KiB which say whose they are, so that a file on disk proves which job was delivered."""
        head = b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom"
        return head + (self.id.encode() * (512 * 1024 // len(self.id)))


Answer = Callable[[Job, str, bool], dict[str, Any]]


@dataclass(frozen=True)
class Route:
    """One request of the protocol: `step` is `create`, `status`, `result` or `download`."""

    step: str
    method: str
    pattern: re.Pattern[str]
    status: int = 200


@dataclass(frozen=True)
class Vendor:
    """A job protocol. The answers are functions of (job, base URL, ready)."""

    routes: tuple[Route, ...]
    created: Answer
    state: Answer
    result: Answer
    polls_before_ready: int = 1

    def match(self, method: str, path: str) -> tuple[Route, str] | None:
        """Finds the route of a request, and the id in its path (empty for a create)."""
        for route in self.routes:
            found = route.pattern.fullmatch(path) if route.method == method else None
            if found:
                return route, found.groupdict().get("id", "")
        return None


@dataclass(frozen=True)
class Peer:
    """An SDK under test.

    Attributes:
        name: Its name in tables, and in `clients.CLIENTS`.
        requirement: The pinned package: the newest that could be installed when the table was made.
        vendor: The protocol that its server plays.
        way: How it is used.
        options: What differs from its defaults.
        at_once: Clients running at a time: more where they mostly sleep.
    """

    name: str
    requirement: str
    vendor: Vendor
    way: str
    options: str
    at_once: int = 1


def _route(step: str, method: str, pattern: str, status: int = 200) -> Route:
    return Route(step, method, re.compile(pattern), status)


def _openai_video(job: Job, base: str, ready: bool) -> dict[str, Any]:
    return {
        "id": job.id,
        "object": "video",
        "status": "completed" if ready else "queued",
        "progress": 100 if ready else 0,
        "model": "sora-2",
        "created_at": 1767225600,
        "seconds": "4",
        "size": "1280x720",
    }


def _runway_created(job: Job, base: str, ready: bool) -> dict[str, Any]:
    return {"id": job.id}


def _runway_task(job: Job, base: str, ready: bool) -> dict[str, Any]:
    if not ready:
        return {"id": job.id, "createdAt": STAMP, "status": "PENDING", "estimatedCost": {"credits": 40}}
    links = [f"{base}/files/{job.id}.mp4"]
    return {"id": job.id, "createdAt": STAMP, "status": "SUCCEEDED", "cost": {"credits": 40}, "output": links}


def _fal_created(job: Job, base: str, ready: bool) -> dict[str, Any]:
    url = f"{base}/fal-ai/veo3/requests/{job.id}"
    return {
        "request_id": job.id,
        "response_url": url,
        "status_url": f"{url}/status",
        "cancel_url": f"{url}/cancel",
        "status": "IN_QUEUE",
        "queue_position": 0,
    }


def _fal_status(job: Job, base: str, ready: bool) -> dict[str, Any]:
    word = "COMPLETED" if ready else "IN_PROGRESS"
    return {**_fal_created(job, base, ready), "status": word, "logs": None, "metrics": {}}


def _fal_result(job: Job, base: str, ready: bool) -> dict[str, Any]:
    return {"video": {"url": f"{base}/files/{job.id}.mp4", "content_type": "video/mp4", "file_name": "output.mp4"}}


def _replicate_prediction(job: Job, base: str, ready: bool) -> dict[str, Any]:
    return {
        "id": job.id,
        "model": "google/veo-3",
        "version": "hidden",
        "status": "succeeded" if ready else "starting",
        "input": {},
        "output": f"{base}/files/{job.id}.mp4" if ready else None,
        "logs": "",
        "error": None,
        "metrics": {},
        "created_at": STAMP,
        "started_at": STAMP,
        "completed_at": STAMP if ready else None,
        "urls": {"get": f"{base}/v1/predictions/{job.id}", "cancel": f"{base}/v1/predictions/{job.id}/cancel"},
    }


_FILES = _route("download", "GET", r"/files/(?P<id>[\w-]+)\.mp4")

OPENAI = Vendor(
    routes=(
        _route("create", "POST", "/v1/videos"),
        _route("status", "GET", r"/v1/videos/(?P<id>[\w-]+)"),
        _route("download", "GET", r"/v1/videos/(?P<id>[\w-]+)/content"),
    ),
    created=_openai_video,
    state=_openai_video,
    result=_openai_video,
)
RUNWAY = Vendor(
    routes=(
        _route("create", "POST", "/v1/text_to_video"),
        _route("status", "GET", r"/v1/tasks/(?P<id>[\w-]+)"),
        _FILES,
    ),
    created=_runway_created,
    state=_runway_task,
    result=_runway_task,
    polls_before_ready=0,  # its poll helper sleeps 4.5-7.5 s before each question, by a constant
)
FAL = Vendor(
    routes=(
        _route("create", "POST", "/fal-ai/veo3"),
        _route("status", "GET", r"/fal-ai/veo3/requests/(?P<id>[\w-]+)/status"),
        _route("result", "GET", r"/fal-ai/veo3/requests/(?P<id>[\w-]+)"),
        _FILES,
    ),
    created=_fal_created,
    state=_fal_status,
    result=_fal_result,
)
REPLICATE = Vendor(
    routes=(
        _route("create", "POST", "/v1/models/google/veo-3/predictions", 201),
        _route("status", "GET", r"/v1/predictions/(?P<id>[\w-]+)"),
        _FILES,
    ),
    created=_replicate_prediction,
    state=_replicate_prediction,
    result=_replicate_prediction,
)

_TIMEOUT = f"timeout {SDK_TIMEOUT:g} s"

_PEERS = (
    Peer(
        "openai",
        "openai==3.54.0",
        OPENAI,
        "videos.create, videos.retrieve until completed, videos.download_content",
        f"{_TIMEOUT} (default 600); retries as shipped (2)",
    ),
    Peer(
        "runwayml",
        "runwayml==5.24.0",
        RUNWAY,
        "text_to_video.create().wait_for_task_output(), then the link with httpx",
        f"{_TIMEOUT} (default 60); retries as shipped (2)",
        at_once=5,
    ),
    Peer(
        "fal-client",
        "fal-client==1.0.3",
        FAL,
        "subscribe(), then the link with httpx",
        f"default_{_TIMEOUT} (default 120); retries as shipped (10 attempts)",
    ),
    Peer(
        "replicate",
        "replicate==1.0.7",
        REPLICATE,
        "run(), then FileOutput.read()",
        f"wait={SDK_TIMEOUT:g} (default 60), so that a create times out after {SDK_TIMEOUT + 0.5:g} s; "
        "retries as shipped (10 attempts of reads, none of a create)",
    ),
    Peer(
        "litellm",
        "litellm==1.106.2",
        OPENAI,
        "video_generation, video_status until completed, video_content (model openai/sora-2)",
        f"{_TIMEOUT} (default 600); retries as shipped (none)",
        at_once=2,
    ),
)

PEERS: dict[str, Peer] = {peer.name: peer for peer in _PEERS}
