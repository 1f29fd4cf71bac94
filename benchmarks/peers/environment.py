"""An environment for each SDK, outside of this project's: made once, kept in the user's cache."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.peers.vendors import PEERS, Peer

INSTALL_SECONDS = 240.0


class PeerUnavailableError(Exception):
    """The SDK cannot be installed here; the message says why."""


def cache_folder() -> Path:
    """The folder of all environments; another set of pins is another folder."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    pins = "\n".join([version, *(peer.requirement for peer in PEERS.values())])
    return root / "prefect-genvideo" / f"peers-{hashlib.sha256(pins.encode()).hexdigest()[:12]}"


def interpreter(peer: Peer) -> Path:
    """Installs the SDK of a peer unless it is there, and returns the Python that has it.

    Raises:
        PeerUnavailableError: No environment could be made, or the package not be installed in time.
    """
    folder = cache_folder() / peer.name
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp = folder / "installed"
    if stamp.exists():
        return python
    # A half-made environment of an interrupted run is of no use.
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _run([sys.executable, "-m", "venv", str(folder)])
    _run([str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", peer.requirement])
    stamp.write_text(peer.requirement)
    return python


def _run(command: list[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeerUnavailableError(f"{type(error).__name__} in {' '.join(command[1:3])}") from error
    if done.returncode:
        said = [line for line in (done.stderr or done.stdout).splitlines() if "ERROR" in line or "Error" in line]
        raise PeerUnavailableError((said[-1] if said else f"exit code {done.returncode}")[:200])
