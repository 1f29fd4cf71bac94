"""The local S3 server with a count of what it is asked: `python benchmarks/counted_store.py PORT`."""

from __future__ import annotations

import json
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from prefect_genvideo.simulator.object_store import Application, ObjectStore, one_writer

COUNTS = "/_requests"
"""Path that tells how often each method was used since it was asked last, as JSON. It is no bucket's name."""


def counting(application: Application) -> Application:
    """Count requests by method, so that what a client claims to send can be held against what came.

    Args:
        application: A WSGI application.
    """
    counts, lock = Counter[str](), threading.Lock()

    def serve(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        with lock:
            if environ["PATH_INFO"] != COUNTS:
                counts[environ["REQUEST_METHOD"]] += 1
                told = None
            else:
                told = json.dumps(counts).encode()
                counts.clear()
        if told is None:
            return application(environ, start_response)
        start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(told)))])
        return [told]

    return serve


if __name__ == "__main__":
    ObjectStore(int(sys.argv[1]), around=lambda application: counting(one_writer(application))).serve()
