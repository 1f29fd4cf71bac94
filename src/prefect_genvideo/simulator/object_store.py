"""A local S3 server for the demo, tests and benchmarks: moto's, with one writer at a time.

moto answers several requests at once and looks before it writes without a lock, so two conditional writes of one key
can both succeed. A real store with conditional writes never does that, and a store that does is refused.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Any

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

# Requests that are answered side by side, and connections that are kept open, as real stores do.
_THREADS, _CONNECTIONS = 8, 1000
# Bytes of one request, and of those that are held in memory instead of a file; a part of an upload is some MiB.
_LARGEST, _IN_MEMORY = 5 * 1024**3, 16 * 1024**2


def one_writer(application: Application) -> Application:
    """Let one request at a time change anything.

    Args:
        application: A WSGI application, called when a request's body is there, so that a slow one holds up nobody.
    """
    lock = threading.Lock()

    def serve(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ["REQUEST_METHOD"] in ("GET", "HEAD"):
            return application(environ, start_response)
        with lock:
            return list(application(environ, start_response))

    return serve


class ObjectStore:
    """The S3 server, on 127.0.0.1. It listens when it has been made, and answers while `serve` runs.

    Args:
        port: Where to listen; 0 is a free port.
        around: What is put around the application.

    Attributes:
        url: Its address, `http://127.0.0.1:PORT`. Any keys are accepted; a bucket is made by PUT.
    """

    def __init__(self, port: int, around: Callable[[Application], Application] = one_writer) -> None:
        from moto.moto_server.werkzeug_app import create_backend_app  # pyright: ignore[reportMissingTypeStubs] - it has none
        from waitress.server import create_server  # pyright: ignore[reportMissingModuleSource] - of an extra

        # Of S3 alone: moto's dispatcher looks for the service anew in each request, by listing its package's folders.
        application: Any = create_backend_app("s3")
        self._sockets: dict[int, Any] = {}
        self._server: Any = create_server(
            around(application),
            map=self._sockets,
            host="127.0.0.1",
            port=port,
            threads=_THREADS,
            connection_limit=_CONNECTIONS,
            asyncore_use_poll=True,  # `select` knows 1,024 files
            max_request_body_size=_LARGEST,
            inbuf_overflow=_IN_MEMORY,
        )
        self.url = f"http://127.0.0.1:{self._server.effective_port}"

    def serve(self) -> None:
        """Answer until `stop` is called."""
        self._server.run()
        self._server.task_dispatcher.shutdown()

    def stop(self) -> None:
        """Let `serve` return; may be called from any thread."""
        self._server.trigger.pull_trigger(self._close)

    def _close(self) -> None:
        for channel in list(self._sockets.values()):
            channel.close()


@contextmanager
def running_object_store() -> Generator[str]:
    """Serve S3 in a thread of this process, for the length of the context.

    Yields:
        Its address.
    """
    store = ObjectStore(0)
    thread = threading.Thread(target=store.serve, daemon=True)
    thread.start()
    try:
        yield store.url
    finally:
        store.stop()
        thread.join(10)


if __name__ == "__main__":
    running = ObjectStore(int(sys.argv[1]) if len(sys.argv) > 1 else 0)
    sys.stdout.write(f"Running on {running.url}\n")
    sys.stdout.flush()
    running.serve()
