"""Runs every cell of the matrix: the client with one fault or one kill, and its rerun when it did not deliver."""

from __future__ import annotations

import contextlib
import ssl
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.peers.environment import PeerUnavailableError, interpreter
from benchmarks.peers.faults import DEFAULT_FAULTS, FAULTS, KILLS
from benchmarks.peers.processes import ClientHost
from benchmarks.peers.servers import Certificate, PeerServer
from benchmarks.peers.vendors import PEERS, Peer

CHILD_SECONDS = 60.0
MATRIX_SECONDS = 270.0
GRACE_SECONDS = 25.0
"""What the cells that run when the time is up may still take: the whole stays within five minutes."""
ATTEMPTS = 3
"""Measurements of a cell until one is undisturbed."""


@dataclass(frozen=True)
class Cell:
    """One experiment: a run with a fault or a kill, or a kill and then a fault; and after them a run without."""

    fault: str
    kill: str = ""

    @property
    def plan(self) -> list[tuple[str, str]]:
        """The (fault, kill) of each run; the runs end when one has delivered."""
        bad = [("none", self.kill)] * bool(self.kill) + [(self.fault, "")] * (self.fault != "none")
        return [*bad, ("none", "")]


@dataclass
class Row:
    """The result of a cell.

    Attributes:
        fault: Name of the fault, `none` for the control and for kills alone.
        kill: Name of the moment of `kill -9`, or empty.
        wanted: Always 1.
        billed: Jobs that the vendor accepted, over all runs.
        delivered: Accepted jobs whose whole video a successful run left on disk.
        runs: 1, or more when a run failed and the script ran again.
        billed_first: Jobs accepted by the end of the first run.
        delivered_first: Delivered by the end of the first run.
        corrupt: Runs that ended with success and a file that is no job's video.
        error: What the first failing run said last.
    """

    fault: str
    kill: str
    wanted: int = 1
    billed: int = 0
    delivered: int = 0
    runs: int = 0
    billed_first: int = 0
    delivered_first: int = 0
    corrupt: int = 0
    error: str = ""


def run_peers(
    faults: Sequence[str] | None = None,
    *,
    kills: Sequence[str] | None = None,
    peers: Sequence[str] | None = None,
    cross: bool = False,
    seconds: float = MATRIX_SECONDS,
) -> dict[str, dict[str, Any]]:
    """Measures the SDKs.

    Args:
        faults: Names in `FAULTS`; the standard matrix by default. The control `none` always runs.
        kills: Names in `KILLS`; all by default.
        peers: Names in `PEERS`; all by default.
        cross: Also each kill, with each fault on its rerun, and then a third run (about four times as many cells).
        seconds: Time for all cells, without the installation. Cells not begun by then are counted as `not_run`, and
            so are those that the machine disturbed in each of `ATTEMPTS` measurements.

    Returns:
        By peer: `billed_per_wanted_max`, `billed_per_wanted_one_run_max`, `delivered_per_billed`, `cells`, `rows`
        and the circumstances; or `skipped` with the reason.
    """
    cells = list(_cells(faults or DEFAULT_FAULTS, tuple(KILLS) if kills is None else kills, cross))
    chosen = [PEERS[name] for name in peers or PEERS]
    report: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="genvideo-peers-") as scratch, contextlib.ExitStack() as pools:
        installing = pools.enter_context(ThreadPoolExecutor(2))
        ready = list(zip(chosen, installing.map(_install, chosen), strict=True))
        bench = pools.enter_context(contextlib.closing(_Bench(Path(scratch), time.monotonic() + seconds)))
        rows = {
            peer.name: pools.enter_context(ThreadPoolExecutor(peer.at_once)).map(
                partial(bench.measure, peer, python), cells
            )
            for peer, python in ready
            if isinstance(python, Path)
        }
        for peer, python in ready:
            if isinstance(python, str):
                report[peer.name] = {"requirement": peer.requirement, "skipped": python}
            else:
                report[peer.name] = _report(peer, list(rows[peer.name]), bench)
    return report


def _cells(faults: Iterable[str], kills: Iterable[str], cross: bool) -> Iterator[Cell]:
    names = [name for name in faults if FAULTS[name].step]
    yield Cell("none")
    yield from (Cell(name) for name in names)
    for kill in kills:
        yield Cell("none", kill)
        if cross:
            yield from (Cell(name, kill) for name in names)


def _install(peer: Peer) -> Path | str:
    try:
        return interpreter(peer)
    except PeerUnavailableError as error:
        print(f"{peer.name}: skipped, {peer.requirement} cannot be installed: {error}", file=sys.stderr)
        return str(error)


class _Bench:
    """What the cells share: the certificate, the scratch folder, the deadline and what the servers saw."""

    def __init__(self, scratch: Path, deadline: float) -> None:
        self._scratch = scratch
        self._deadline = deadline
        self._certificate = Certificate.create(scratch)
        self._tls: ssl.SSLContext = self._certificate.context()
        self.idempotency_key_seen: set[str] = set()
        self.disturbed: dict[str, str] = {}
        self._hosts: list[ClientHost] = []
        self._idle: dict[str, list[ClientHost]] = {name: [] for name in PEERS}

    def close(self) -> None:
        """Ends the processes of all SDKs."""
        for host in self._hosts:
            host.close()

    @contextlib.contextmanager
    def _host(self, peer: Peer, python: Path) -> Iterator[ClientHost]:
        """Lends a process that nobody uses, or a new one: as many as cells run at once."""
        idle = self._idle[peer.name]
        try:
            host = idle.pop()
        except IndexError:
            host = ClientHost(peer, python, self._certificate.chain)
            self._hosts.append(host)
        yield host
        if host.alive:
            idle.append(host)

    def measure(self, peer: Peer, python: Path, cell: Cell) -> Row | None:
        """Measures one cell, again when the machine disturbed it; None when the time or the attempts are up."""
        for _ in range(ATTEMPTS):
            if time.monotonic() > self._deadline:
                return None
            with self._host(peer, python) as host:
                row = self._attempt(peer, host, cell)
            _say(peer, cell, row)
            if row is not None:
                return row
        return None

    def _attempt(self, peer: Peer, host: ClientHost, cell: Cell) -> Row | None:
        """Runs the client, and again while it has not delivered; None when the machine was too slow for a result.

        It was when a run without a fault fails, or when a client creates again after a proper answer: both would be
        counted against the SDK.
        """
        row = Row(cell.fault, cell.kill)
        delivered: set[str] = set()
        with PeerServer(peer.vendor, self._tls) as server, tempfile.TemporaryDirectory(dir=self._scratch) as folder:
            exchange = server.exchange
            for fault, kill in cell.plan:
                row.runs += 1
                exchange.arm(FAULTS[fault], kill)
                out = Path(folder) / f"video-{row.runs}.mp4"
                error = host.run(server.base, out, exchange.on_kill, min(CHILD_SECONDS, max(self._left(), 0.1)))
                clean = fault == "none" and not kill
                if exchange.answered > 1 or (error and clean) or self._left() <= 0:
                    self.disturbed[peer.name] = error or "a second create after a proper answer"
                    return None
                if error is None:
                    content = out.read_bytes() if out.exists() else b""
                    found = {job.id for job in exchange.jobs.values() if job.video == content}
                    delivered |= found
                    row.corrupt += not found
                row.error = row.error or error or ""
                row.billed, row.delivered = len(exchange.jobs), len(delivered)
                if row.runs == 1:
                    row.billed_first, row.delivered_first = row.billed, row.delivered
                if delivered:
                    break
            if exchange.idempotency_key_seen:
                self.idempotency_key_seen.add(peer.name)
        return row

    def _left(self) -> float:
        """Seconds until even a running cell is given up."""
        return self._deadline + GRACE_SECONDS - time.monotonic()


def _report(peer: Peer, rows: Sequence[Row | None], bench: _Bench) -> dict[str, Any]:
    done = [row for row in rows if row is not None]
    if not any(row.fault == "none" and not row.kill for row in done):
        reason = bench.disturbed.get(peer.name, "no time")
        return {"requirement": peer.requirement, "skipped": f"its control run did not deliver: {reason}"}
    billed, delivered = sum(row.billed for row in done), sum(row.delivered for row in done)
    return {
        "requirement": peer.requirement,
        "way": peer.way,
        "options": peer.options,
        "idempotency_key_sent": peer.name in bench.idempotency_key_seen,
        "cells": len(done),
        "not_run": len(rows) - len(done),
        "billed_per_wanted_max": max(row.billed / row.wanted for row in done),
        "billed_per_wanted_one_run_max": max(row.billed_first / row.wanted for row in done),
        "delivered_per_billed": round(delivered / billed, 3),
        "lost": billed - delivered,
        "corrupt": sum(row.corrupt for row in done),
        "rows": [asdict(row) for row in done],
    }


def _say(peer: Peer, cell: Cell, row: Row | None) -> None:
    what = f"{peer.name:<11} {' + '.join(filter(None, [cell.kill and f'kill {cell.kill}', cell.fault])):<32}"
    said = "disturbed, not counted"
    if row is not None:
        said = f"first run {row.billed_first} billed {row.delivered_first} delivered"
        said += f"; with reruns {row.billed} billed {row.delivered} delivered" if row.runs > 1 else ""
        said += f"  ({row.error[:80]})" if row.error else ""
    print(f"{what} {said}", file=sys.stderr, flush=True)
