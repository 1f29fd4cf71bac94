"""The local S3 server: of many conditional writes of a key, one wins."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from prefect_genvideo.simulator.object_store import one_writer, running_object_store


def test_one_request_at_a_time_changes_anything() -> None:
    """The application behind it looks, waits and writes, as moto does: without order all sixteen would create."""
    created, reading = list[bytes](), threading.Barrier(4, timeout=10)

    def racy(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] == "GET":
            reading.wait()  # reads go on side by side
            return [b""]
        if created:
            return [b"412"]
        time.sleep(0.01)
        created.append(environ["wsgi.input"].read())
        return [b"200"]

    served = one_writer(racy)

    def call(method: str) -> bytes:
        environ = {"REQUEST_METHOD": method, "CONTENT_LENGTH": "4", "wsgi.input": io.BytesIO(b"body")}
        return b"".join(served(environ, print))

    with ThreadPoolExecutor(16) as clients:
        assert sorted(clients.map(call, ["PUT"] * 16)) == [b"200"] + [b"412"] * 15
        assert list(clients.map(call, ["GET"] * 4)) == [b""] * 4
    assert created == [b"body"]


def test_it_serves_s3() -> None:
    """Until its context ends, over one connection."""
    with running_object_store() as url, httpx.Client(base_url=url) as client:
        assert client.put("/bucket").status_code == 200
        answer = client.get("/")
        assert "bucket" in answer.text
        assert answer.headers.get("connection") != "close"
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)
