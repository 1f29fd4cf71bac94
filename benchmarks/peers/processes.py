"""The processes of the clients: forked from one that has imported the SDK, and killed by SIGKILL.

Importing an SDK takes up to seven seconds of computing, and each cell runs its script twice: forking after the import
keeps the matrix short, and its short timeouts honest. Forking needs a POSIX system.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

from benchmarks.peers.vendors import SDK_TIMEOUT, Peer

START_SECONDS = 90.0
"""Time for the import."""

_CLIENTS = Path(__file__).with_name("clients.py")


class ClientHost:
    """A process of an SDK's environment which runs its script once per order, each time in a new child."""

    def __init__(self, peer: Peer, python: Path, certificate: Path) -> None:
        environment = {
            "PATH": os.environ.get("PATH", ""),
            "HOME": str(certificate.parent),
            "SSL_CERT_FILE": str(certificate),
            "PYTHONWARNINGS": "ignore",
        }
        self._process = subprocess.Popen(
            [str(python), str(_CLIENTS), peer.name],
            env=environment,
            cwd=certificate.parent,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def run(self, base: str, out: Path, armed: Callable[[Callable[[], None]], None], seconds: float) -> str | None:
        """Runs the script once.

        Args:
            base: URL of the server.
            out: File for the video; what the script prints goes beside it, as `.log`.
            armed: Called with a function that kills the script, before the script begins.
            seconds: When to kill it at the latest.

        Returns:
            None for success, else what the script said last.
        """
        log = out.with_suffix(".log")
        pid = 0

        def kill() -> None:
            if pid:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

        armed(kill)
        pid = int(self._ask({"base": base, "out": str(out), "log": str(log), "timeout": SDK_TIMEOUT}) or 0)
        if not pid:
            return "the SDK could not be imported"
        late = threading.Timer(seconds, kill)
        late.start()
        # The script waits for this line, so that no kill comes before its process is known.
        code = self._ask({"go": True})
        late.cancel()
        pid = 0
        if code == "0":
            return None
        said = log.read_text().strip().splitlines() if log.exists() else []
        return "killed" if code == "-9" else (said[-1].strip() if said else f"exit code {code}")[:160]

    @property
    def alive(self) -> bool:
        """Whether it can run another script."""
        return self._process.poll() is None

    def close(self) -> None:
        """Ends the host; between two runs it has no child."""
        self._process.kill()
        self._process.communicate()

    def _ask(self, order: dict[str, object]) -> str:
        """Sends one line and reads one; an empty one when the host has ended."""
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            return ""
        stuck = threading.Timer(START_SECONDS, self._process.kill)
        stuck.start()
        try:
            stdin.write(json.dumps(order) + "\n")
            stdin.flush()
            return stdout.readline().strip()
        except BrokenPipeError:
            return ""
        finally:
            stuck.cancel()
