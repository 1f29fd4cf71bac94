"""Runs the simulator: in a thread for tests, in the foreground for people."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from collections.abc import Callable, Generator
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from prefect_genvideo.simulator.app import ARK, SENSEAUDIO, SUDASHUI, create_app
from prefect_genvideo.simulator.config import SimulatorConfig
from prefect_genvideo.simulator.files import FILES
from prefect_genvideo.simulator.purse import MoneyManner
from prefect_genvideo.simulator.state import SimulatorState
from prefect_genvideo.simulator.wire import CUT_EXTENSION

DEMO_KEY = "sk-sim-demo"
"""A key that is accepted."""
_START_S = 15.0
_INTERVAL = "PREFECT_INTEGRATIONS_GENVIDEO_POLL_INTERVAL"


class CuttableProtocol(H11Protocol):
    """Uvicorn's HTTP protocol, with a way for the application to cut its connection."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        inner: ASGIApp = self.app

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            scope.setdefault("extensions", {})[CUT_EXTENSION] = self._cut
            await inner(scope, receive, send)

        self.app = app

    def _cut(self, reset: bool) -> None:
        sock = self.transport.get_extra_info("socket")
        if sock is not None and reset:
            # Closing without lingering sends a reset instead of an orderly end.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()


class _Server(uvicorn.Server):
    """Tells when it listens, and stops without waiting for calls that hang on purpose."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], object]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType] - untyped union
        await super().shutdown(sockets)


class Simulator(SimulatorState):
    """A running simulator, steered from Python. Every method may be called from any thread.

    Args:
        config: How it behaves.
        url: Where it listens, e.g. `http://127.0.0.1:40123`.

    Attributes:
        key: A key that is accepted.
    """

    key = DEMO_KEY

    def __init__(self, config: SimulatorConfig, url: str) -> None:
        super().__init__(config)
        self.url = url

    @property
    def sudashui_url(self) -> str:
        """Base URL of the Sudashui API."""
        return f"{self.url}{SUDASHUI}"

    @property
    def sudashui_files_url(self) -> str:
        """Base URL of the Sudashui upload host."""
        return f"{self.url}{FILES}/"

    @property
    def senseaudio_url(self) -> str:
        """Base URL of the SenseAudio API."""
        return f"{self.url}{SENSEAUDIO}"

    @property
    def ark_url(self) -> str:
        """Base URL of the Ark API, with its `/api/v3`."""
        return f"{self.url}{ARK}"

    def speak(self, **chosen: str) -> dict[str, str]:
        """Answer in another manner of the field, e.g. `speak(create="wrapped", status="link_late")`.

        Args:
            chosen: Name of a dialect by operation; `documented` switches one off.

        Returns:
            What is on afterwards.

        Raises:
            ValueError: An operation or a name is not known.
        """
        return self.spoken.choose(chosen)

    def money(self, account: str | None = None, **changes: Any) -> MoneyManner:
        """Handle money in another way while running, e.g. `money(absent=["log"], settles_at=1.05)`.

        Args:
            account: The only key that is handled so; see `Purse.choose`.
            **changes: Attributes of `MoneyManner`.

        Returns:
            How it is handled now.

        Raises:
            ValueError: A name or a value is not known.
        """
        return self.purse.choose(changes, account)


@contextlib.contextmanager
def running_simulator(config: SimulatorConfig | None = None, port: int = 0) -> Generator[Simulator]:
    """Run a simulator in a thread of this process, on 127.0.0.1.

    Meanwhile flows of this process, and of those it starts, ask as often as fits the simulator's clock: the learned
    schedule would wait for a real provider's minutes. A `PREFECT_INTEGRATIONS_GENVIDEO_POLL_INTERVAL` of yours stays.

    Args:
        config: How it behaves.
        port: TCP port; 0 = any free one.

    Yields:
        The running simulator.

    Raises:
        OSError: The port is taken.
        RuntimeError: The server did not come up.
    """
    sock = _listen("127.0.0.1", port)
    simulator = Simulator(config or SimulatorConfig(), _url("127.0.0.1", sock.getsockname()[1]))
    ready = threading.Event()
    server = _server(simulator, ready.set)
    thread = threading.Thread(target=server.run, args=([sock],), name="genvideo-simulator", daemon=True)
    thread.start()
    try:
        if not ready.wait(_START_S):
            raise RuntimeError("the simulator did not come up")
        with _paced(simulator.config):
            yield simulator
    finally:
        server.should_exit = True
        thread.join(_START_S)
        sock.close()
        simulator.close()


def pace(config: SimulatorConfig) -> float:
    """Seconds between questions that fit a simulator: a fraction of how fast its tasks go on."""
    return max(0.2, 5 * config.scale) if config.clock == "time" else 0.2


@contextlib.contextmanager
def _paced(config: SimulatorConfig) -> Generator[None]:
    if _INTERVAL in os.environ:
        yield
        return
    os.environ[_INTERVAL] = f"{pace(config):g}"
    try:
        yield
    finally:
        os.environ.pop(_INTERVAL, None)


def serve(host: str = "127.0.0.1", port: int = 8787, config: SimulatorConfig | None = None) -> None:
    """Run a simulator in the foreground until Ctrl-C, after saying where it is and how to use it.

    Args:
        host: Address to listen on. Anyone who reaches it can steer it: only loopback is safe.
        port: TCP port; 0 = any free one.
        config: How it behaves; None = real durations at a tenth of the time.

    Raises:
        OSError: The port is taken.
    """
    sock = _listen(host, port)
    simulator = Simulator(config or SimulatorConfig(clock="time", scale=0.1), _url(host, sock.getsockname()[1]))
    try:
        with contextlib.suppress(KeyboardInterrupt):
            _server(simulator, lambda: print(usage(simulator), flush=True)).run([sock])
    finally:
        sock.close()
        simulator.close()


def usage(simulator: Simulator) -> str:
    """What a person needs to know to use it: addresses, keys, control calls."""
    return f"""genvideo simulator: {simulator.url}  (tasks and clips in the browser)

In the shell of genvideo, or where flows run; the last line because the learned schedule waits for real minutes:

  export SUDASHUI_API_KEY={simulator.key} SUDASHUI_BASE_URL={simulator.sudashui_url} \\
         SUDASHUI_FILES_URL={simulator.sudashui_files_url}
  export SENSEAUDIO_API_KEY={simulator.key} SENSEAUDIO_BASE_URL={simulator.senseaudio_url}
  export ARK_API_KEY={simulator.key} ARK_BASE_URL={simulator.ark_url}
  export {_INTERVAL}={pace(simulator.config):g}

In Python:

  SudashuiCredentials(api_key="{simulator.key}", base_url="{simulator.sudashui_url}",
                      files_url="{simulator.sudashui_files_url}")
  SenseAudioCredentials(api_key="{simulator.key}", base_url="{simulator.senseaudio_url}")
  ArkCredentials(api_key="{simulator.key}", base_url="{simulator.ark_url}")

Any key that starts with sk-sim is one account; sk-sim-broke has no money, sk-sim-expired is refused.

  curl {simulator.url}/_sim/state
  curl {simulator.url}/_sim/faults -d '{{"kind": "lost_after", "op": "create", "times": 1}}'
  clock {simulator.config.clock}, scale {simulator.config.scale:g}; Ctrl-C stops it"""


def _server(state: SimulatorState, ready: Callable[[], object]) -> _Server:
    config = uvicorn.Config(
        create_app(state=state),
        http=CuttableProtocol,
        loop="asyncio",
        ws="none",
        lifespan="on",
        log_config=None,
        log_level="critical",
        access_log=False,
        timeout_graceful_shutdown=1,
        backlog=2048,
        date_header=False,  # the gateway's clock may be off, see `ResponseHeaders`
    )
    return _Server(config, ready)


def _listen(host: str, port: int) -> socket.socket:
    # With the protocol named, asyncio sets TCP_NODELAY on connections; without, each answer takes 40 ms.
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    return sock


def _url(host: str, port: int) -> str:
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)  # noqa: S104 - shown, not bound
    return f"http://{shown}:{port}"
