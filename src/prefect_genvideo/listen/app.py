"""The routes of the event door."""

from __future__ import annotations

import hashlib
import logging
import sqlite3
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.to_thread
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from prefect_genvideo.listen.config import ListenConfig, Source
from prefect_genvideo.listen.metrics import Metrics
from prefect_genvideo.listen.queue import DeliveryQueue, QueueFullError
from prefect_genvideo.listen.reading import UnreadableError, parse
from prefect_genvideo.listen.sender import Sender
from prefect_genvideo.listen.shapes import Reading, read
from prefect_genvideo.listen.signatures import ID_HEADER, MAX_ID, signature_refusal, token_refusal

logger = logging.getLogger(__name__)

BODY_SECONDS = 10.0
"""Seconds in which a body must have come."""
RETRY_AFTER_S = 30
"""What a sender is told when the queue is full."""
# Where senders that hold a token put the id of a delivery. A signature covers the first alone.
_ID_HEADERS = (ID_HEADER, "x-delivery-id", "idempotency-key", "ce-id")
_JSON = ("application/json", "application/cloudevents+json", "application/cloudevents-batch+json", "text/json")
_ANSWERS = {
    "accepted": 202,
    "repeated": 200,
    "ignored": 200,
    "bad": 400,
    "unauthorised": 401,
    "slow": 408,
    "too large": 413,
    "no JSON": 415,
    "full": 503,
}


@dataclass(eq=False)
class _RefusedError(Exception):
    """An answer that takes nothing: its word in metrics, and why in a few words of ours."""

    outcome: str
    why: str


def create_app(config: ListenConfig, sources: Mapping[str, Source], queue: DeliveryQueue) -> Starlette:
    """Return the application; while it runs, what it takes goes to the Prefect API.

    Args:
        config: Bounds.
        sources: Who is heard, by name.
        queue: Where events wait; closed when the application ends.
    """
    endpoints = _Endpoints(config, sources, queue)
    routes = [
        Route("/hooks/{source}", endpoints.take, methods=["POST"]),
        Route("/hooks/{source}/{token}", endpoints.take, methods=["POST"]),
        Route("/healthz", endpoints.state),
        Route("/readyz", endpoints.state),
        Route("/metrics", endpoints.counted),
    ]
    return Starlette(routes=routes, lifespan=endpoints.open)


class _Endpoints:
    def __init__(self, config: ListenConfig, sources: Mapping[str, Source], queue: DeliveryQueue) -> None:
        self.config, self.sources, self.queue = config, sources, queue
        self.metrics = Metrics()
        self.sender = Sender(queue, self.metrics, config.remember_days * 86_400, config.give_up_hours * 3600)

    @asynccontextmanager
    async def open(self, app: Starlette) -> AsyncGenerator[None, None]:
        """Deliver while the application runs. What is under way when it ends is sent again by the next one."""
        del app
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self.sender.run)
                yield
                group.cancel_scope.cancel()
        finally:
            self.queue.close()

    async def take(self, request: Request) -> Response:
        """Answer a delivery."""
        name = request.path_params["source"]
        source = self.sources.get(name)
        if source is None:
            self.metrics.deliveries.labels("(unknown)", "unknown source").inc()
            return JSONResponse({"error": "unknown source"}, 404)
        try:
            body = await self._proved_body(request, source)
            reading = _read(source, request, body)
            accepted = await self._keep(reading)
        except _RefusedError as refused:
            self.metrics.deliveries.labels(name, refused.outcome).inc()
            logger.info("%s: %s (%s)", name, refused.outcome, refused.why)
            after = {"Retry-After": str(RETRY_AFTER_S)} if refused.outcome == "full" else {}
            return JSONResponse({"error": refused.why}, _ANSWERS[refused.outcome], headers=after)
        return self._answer(name, reading, accepted)

    def _answer(self, name: str, reading: Reading, accepted: int) -> Response:
        counts = {
            "accepted": accepted,
            "repeated": len(reading.events) - accepted,
            "ignored": reading.ignored,
            "unusable": reading.unusable,
        }
        outcome = "accepted" if accepted else "repeated" if reading.events else "ignored"
        for word, count in counts.items():
            self.metrics.records.labels(name, word).inc(count)
        self.metrics.deliveries.labels(name, outcome).inc()
        logger.info("%s: %s", name, ", ".join(f"{count} {word}" for word, count in counts.items() if count) or outcome)
        return JSONResponse(counts, _ANSWERS[outcome])

    async def _proved_body(self, request: Request, source: Source) -> bytes:
        """The body of a sender that has proved itself; one with a token does so before its body is read."""
        auth, limit = source.shape.auth, self.config.body_kib * 1024
        in_path = request.path_params.get("token", "")
        if auth != "signature" and (why := token_refusal(source.secrets, request.headers, in_path, auth)):
            raise _RefusedError("unauthorised", why)
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() not in _JSON:
            raise _RefusedError("no JSON", "content-type: application/json")
        body = await _body(request, limit)
        if auth == "signature":
            why = signature_refusal(source.secrets, request.headers, body, time.time(), self.config.replay_seconds)
            if why:
                raise _RefusedError("unauthorised", why)
        return body

    async def _keep(self, reading: Reading) -> int:
        """Put events on disk; how many of them are new."""
        try:
            accepted = await anyio.to_thread.run_sync(self.queue.add, reading.events) if reading.events else 0
        except QueueFullError:
            raise _RefusedError("full", "the queue is full") from None
        except sqlite3.Error as error:
            logger.error("The queue cannot be written (%s).", type(error).__name__)
            raise _RefusedError("full", "the queue cannot be written") from None
        except ValueError as error:
            raise _RefusedError("too large", str(error)) from None
        if accepted:
            self.sender.wake.set()
        return accepted

    async def state(self, request: Request) -> Response:
        """Whether the queue can be read, and for `/readyz` whether deliveries are taken: also while the API is away."""
        try:
            depth = await anyio.to_thread.run_sync(self.queue.depth)
        except sqlite3.Error as error:
            return JSONResponse({"queue": type(error).__name__}, 503)
        facts: dict[str, Any] = {"full": self.queue.full, "api_up": self.sender.up, "events": depth.counts}
        return JSONResponse(facts, 503 if request.url.path == "/readyz" and self.queue.full else 200)

    async def counted(self, request: Request) -> Response:
        """Metrics."""
        del request
        text = await anyio.to_thread.run_sync(self.metrics.text, self.queue)
        return Response(text, media_type="text/plain; version=0.0.4")


async def _body(request: Request, limit: int) -> bytes:
    """The body, as far as it keeps within size and time."""
    too_large = _RefusedError("too large", f"at most {limit} bytes")
    stated = request.headers.get("content-length", "")
    if stated.isascii() and stated.isdigit() and (len(stated) > 12 or int(stated) > limit):
        raise too_large
    body = bytearray()
    try:
        with anyio.fail_after(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > limit:
                    raise too_large
    except TimeoutError:
        raise _RefusedError("slow", f"the body within {BODY_SECONDS:g} s") from None
    except ClientDisconnect:
        raise _RefusedError("bad", "the body was cut off") from None
    return bytes(body)


def _read(source: Source, request: Request, body: bytes) -> Reading:
    names = _ID_HEADERS[:1] if source.shape.auth == "signature" else _ID_HEADERS
    given = next((value for name in names if 0 < len(value := request.headers.get(name, "")) <= MAX_ID), "")
    try:
        return read(source.shape, source.name, parse(body), given or hashlib.sha256(body).hexdigest())
    except UnreadableError as error:
        raise _RefusedError("bad", str(error)) from None
