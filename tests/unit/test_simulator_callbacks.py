"""Ark's callbacks: the task object at each change, and again where the last word was not taken."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

import pytest

from prefect_genvideo.simulator import Simulator
from tests.fixtures.simulator_calls import Calls


class Hook(ThreadingHTTPServer):
    """Takes callbacks; the first ones are answered with the statuses in `refusals`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), HookHandler)
        self.refusals: list[int] = []
        self.told: queue.Queue[dict[str, Any]] = queue.Queue()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/ark/0001"

    def next(self) -> dict[str, Any]:
        """The next object that comes."""
        return self.told.get(timeout=10)


class HookHandler(BaseHTTPRequestHandler):
    """Answers a POST of any path with an empty body."""

    def do_POST(self) -> None:
        """Keep the object."""
        hook = cast("Hook", self.server)
        hook.told.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(hook.refusals.pop(0) if hook.refusals else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Be silent."""


@pytest.fixture
def hook() -> Iterator[Hook]:
    server = Hook()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_each_change_is_told(sim: Simulator, calls: Calls, hook: Hook) -> None:
    """The bodies are those of a query; the address stands in none of them."""
    sim.configure(clock="manual")
    task_id = calls.ark_id(callback_url=hook.url)
    assert (hook.next()["status"], sim.by_id[task_id].polls) == ("queued", 0)
    for _ in range(3):
        sim.advance(task_id)
    assert hook.next()["status"] == "running"
    film = calls.ark_done(task_id)
    assert hook.next() == film
    assert "callback_url" not in film


def test_the_last_word_is_said_again(sim: Simulator, calls: Calls, hook: Hook) -> None:
    """Four times at most; other words once, and of a task that was cancelled nothing is told."""
    sim.configure(clock="manual")
    hook.refusals = [500] * 5
    failed = calls.ark_id(callback_url=hook.url)
    assert hook.next()["status"] == "queued"
    sim.fail(failed, "InternalServiceError")
    assert [hook.next()["error"]["code"] for _ in range(4)] == ["InternalServiceError"] * 4
    cancelled = calls.ark_id(callback_url=hook.url)
    assert hook.next()["id"] == cancelled
    calls.ark_delete(cancelled)
    after = calls.ark_id(callback_url=hook.url)
    assert hook.next()["id"] == after
    assert hook.refusals == []
