"""A local S3 server for the demo, tests and benchmarks: moto's, with one writer at a time.

moto answers several requests at once and looks before it writes without a lock, so two conditional writes of one key
can both succeed. A real store with conditional writes never does that, and a store that does is refused.
"""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Any

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def one_writer(application: Application) -> Application:
    """Let one request at a time change anything; bodies are read before, so that a slow one holds up nobody.

    Args:
        application: A WSGI application.
    """
    lock = threading.Lock()

    def serve(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            return application(environ, start_response)
        length = environ.get("CONTENT_LENGTH")
        if length or environ.get("wsgi.input_terminated"):
            body = environ["wsgi.input"].read(int(length) if length else -1)
            environ |= {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        with lock:
            return list(application(environ, start_response))

    return serve


def new_server(port: int) -> Any:
    """A server of werkzeug's that speaks S3 on 127.0.0.1; port 0 is a free one."""
    from moto.moto_server.werkzeug_app import create_backend_app  # pyright: ignore[reportMissingTypeStubs]
    from werkzeug.serving import make_server

    # Of S3 alone: moto's dispatcher looks for the service anew in each request, by listing the folders of its package.
    application: Any = create_backend_app("s3")
    return make_server("127.0.0.1", port, one_writer(application), threaded=True)


@contextmanager
def running_object_store() -> Generator[str]:
    """Serve S3 on 127.0.0.1 in a thread of this process, for the length of the context.

    Yields:
        Its address, `http://127.0.0.1:PORT`. Any keys are accepted; a bucket is made by PUT.
    """
    server = new_server(0)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join(10)
        server.server_close()


if __name__ == "__main__":
    running = new_server(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
    sys.stdout.write(f"Running on http://127.0.0.1:{running.server_port}\n")
    sys.stdout.flush()
    running.serve_forever()
