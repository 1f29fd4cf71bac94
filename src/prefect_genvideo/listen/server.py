"""Running the event door in the foreground."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import uvicorn
from prefect.settings import PREFECT_API_URL
from uvicorn.protocols.http.h11_impl import H11Protocol

from prefect_genvideo.errors import InvalidRequestError
from prefect_genvideo.listen.app import create_app
from prefect_genvideo.listen.config import ListenConfig, Source
from prefect_genvideo.listen.queue import DeliveryQueue
from prefect_genvideo.models import Problem

# Connections at once; further ones are answered with 503.
_MAX_CONNECTIONS = 256
# Bytes of a request's line and headers.
_MAX_HEAD = 16 * 1024
# Seconds in which the head of a request must have come, and the rest of a body that nobody waits for any more.
_HEAD_S = 10.0
_STOP_S = 10


class PromptProtocol(H11Protocol):
    """Closes connections of which no request comes: silent ones would take all places, and senders have none left."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._timer = self.loop.call_later(_HEAD_S, transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._wait_no_more()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take in bytes; while none of them is a request's that is being answered, the time runs."""
        super().data_received(data)
        cycle: Any = self.cycle
        if cycle is not None and not cycle.response_complete:
            self._wait_no_more()
        elif self._timer is None:
            self._timer = self.loop.call_later(_HEAD_S, self.transport.close)

    def _wait_no_more(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()


def serve(
    config: ListenConfig, sources: Mapping[str, Source], queue_file: Path, host: str, port: int, *, revive: bool = False
) -> None:
    """Listen until SIGTERM or Ctrl-C, which let the requests under way be answered.

    Args:
        config: Bounds.
        sources: Who is heard, by name.
        queue_file: Where events wait while the Prefect API is away; its folder is made.
        host: Address to listen on.
        port: TCP port, 1 to 65535.
        revive: Send what was set aside once more.

    Raises:
        InvalidRequestError: No Prefect API is configured, or another listener owns the queue.
        OSError: The port is taken, or the queue's folder cannot be made.
    """
    if not PREFECT_API_URL.value():
        problem = Problem("PREFECT_API_URL", "(not set)", "the address of a Prefect API", "genvideo listen")
        raise InvalidRequestError("There is no Prefect API to give events to.", problems=[problem])
    # Uvicorn ends the process with a stack when the port is taken; here it is an error like others.
    socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    queue_file.parent.mkdir(parents=True, exist_ok=True)
    queue = DeliveryQueue(queue_file, max_events=config.queue_events, max_bytes=config.queue_mib * 2**20)
    if revive:
        queue.revive()
    _log()
    # Uvicorn raises the signal that ended it once more when all is closed; that is no failure.
    signal.signal(signal.SIGTERM, _end)
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(config, sources, queue),
            host=host,
            port=port,
            http=PromptProtocol,
            ws="none",
            lifespan="on",
            log_config=None,
            log_level="warning",
            access_log=False,  # addresses may hold a token
            server_header=False,
            limit_concurrency=_MAX_CONNECTIONS,
            h11_max_incomplete_event_size=_MAX_HEAD,
            timeout_keep_alive=15,
            timeout_graceful_shutdown=_STOP_S,
        )
    )
    with suppress(KeyboardInterrupt):
        server.run()


def _end(number: int, frame: FrameType | None) -> NoReturn:
    del number, frame
    sys.exit(0)


def _log() -> None:
    """Say on stderr what is taken and refused: names and counts, never a body, a header or an address."""
    ours = logging.getLogger("prefect_genvideo.listen")
    if not ours.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        ours.addHandler(handler)
        ours.setLevel(logging.INFO)
        ours.propagate = False
