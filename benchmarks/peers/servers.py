"""A vendor on this machine: plays one job protocol over TLS, counts what it accepts, and breaks as it is told.

It speaks TLS since two of the SDKs write `https://` into their addresses; the clients trust its certificate by
`SSL_CERT_FILE`, so nothing in them is patched.
"""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import json
import re
import socket
import ssl
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from benchmarks.peers.faults import FAULTS, Fault, Reply
from benchmarks.peers.vendors import Job, Route, Vendor

SILENCE_SECONDS = 20.0
"""How long a silent server keeps a connection that its client does not close."""

_IDEMPOTENCY = re.compile("idempotency", re.IGNORECASE)


@dataclass(frozen=True)
class Certificate:
    """A self-signed certificate of 127.0.0.1, made anew for each run of the benchmark."""

    chain: Path
    key: Path

    @classmethod
    def create(cls, folder: Path) -> Certificate:
        """Makes key and certificate, and writes both as PEM into `folder`."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "peer benchmark")])
        now = datetime.datetime.now(datetime.timezone.utc)
        address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        public = key.public_key()
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(address, critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .sign(key, hashes.SHA256())
        )
        made = cls(folder / "server.pem", folder / "server.key")
        made.chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        made.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return made

    def context(self) -> ssl.SSLContext:
        """The server's side of TLS."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.chain, self.key)
        return context


@dataclass
class Exchange:
    """What the vendor knows and what is planned for it; shared by the connections of one cell.

    Attributes:
        vendor: The protocol.
        jobs: Every accepted job by id; each one is billed.
        idempotency_key_seen: Whether a create carried a header with "idempotency" in its name.
        answered: Creates of this run that were answered as they should be.
    """

    vendor: Vendor
    jobs: dict[str, Job] = field(default_factory=dict)
    idempotency_key_seen: bool = False
    answered: int = 0
    _fault: Fault = FAULTS["none"]
    _left: int = 0
    _kill: str = ""
    _on_kill: Callable[[], None] = lambda: None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def arm(self, fault: Fault, kill: str) -> None:
        """Plans the next run of the client: at most one fault and one kill."""
        with self._lock:
            self._fault, self._left, self._kill = fault, fault.times, kill
            self.answered = 0

    def on_kill(self, action: Callable[[], None]) -> None:
        """Names what kills the client of this run."""
        self._on_kill = action

    def accept(self) -> Job:
        """Accepts, and bills, a job."""
        with self._lock:
            job = Job(id=f"job-{len(self.jobs) + 1:04d}")
            self.jobs[job.id] = job
            return job

    def take_fault(self, step: str) -> Fault | None:
        """Takes one strike of the planned fault, when it is one of this step."""
        with self._lock:
            if self._fault.step != step or self._left == 0:
                return None
            self._left -= 1
            return self._fault

    def killed(self, moment: str) -> bool:
        """Kills the client when that is planned for this moment."""
        with self._lock:
            due, self._kill = self._kill == moment, "" if self._kill == moment else self._kill
        if due:
            self._on_kill()
        return due


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30
    server: _Listener  # pyright: ignore[reportIncompatibleVariableOverride]  # the only one that uses it

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: standard error belongs to the benchmark's own lines."""

    def _serve(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        found = self.server.exchange.vendor.match(self.command, self.path.partition("?")[0])
        if found is None:
            self._send_json(404, {"error": {"message": "no such route"}})
            return
        route, job_id = found
        if route.step == "create":
            self._create(route)
            return
        job = self.server.exchange.jobs.get(job_id)
        if job is None:
            self._send_json(404, {"error": {"message": "no such job"}})
            return
        answers = {"status": self._status, "result": self._result, "download": self._download}
        answers[route.step](job)

    def _create(self, route: Route) -> None:
        exchange = self.server.exchange
        exchange.idempotency_key_seen |= any(_IDEMPOTENCY.search(name) for name in self.headers)
        if exchange.killed("before_post"):
            self._hang_up()
            return
        fault = exchange.take_fault("create")
        if fault is not None and not fault.accepted:
            self._break(fault)
            return
        job = exchange.accept()
        if exchange.killed("after_post"):
            self._hang_up()
        elif fault is not None:
            self._break(fault)
        else:
            exchange.answered += 1
            self._send_json(route.status, exchange.vendor.created(job, self.server.base, False))

    def _status(self, job: Job) -> None:
        exchange = self.server.exchange
        if exchange.killed("polling"):
            self._hang_up()
            return
        ready = job.polls >= exchange.vendor.polls_before_ready
        job.polls += 1
        self._send_json(200, exchange.vendor.state(job, self.server.base, ready))

    def _result(self, job: Job) -> None:
        self._send_json(200, self.server.exchange.vendor.result(job, self.server.base, True))

    def _download(self, job: Job) -> None:
        fault = self.server.exchange.take_fault("download")
        if fault is not None and isinstance(fault.how, Reply):
            self._send(fault.how)
            return
        video = job.video
        half = len(video) // 2
        self.send_response(200)
        self.send_header("Content-Type", "video/mp4")
        self.send_header("Content-Length", str(len(video)))
        self.end_headers()
        self.wfile.write(video[:half])
        if fault is not None or self.server.exchange.killed("downloading"):
            self._hang_up()
            return
        self.wfile.write(video[half:])

    def _break(self, fault: Fault) -> None:
        if isinstance(fault.how, Reply):
            self._send(fault.how)
            return
        if fault.how == "silence":
            self._wait_until_left()
        self._hang_up()

    def _wait_until_left(self) -> None:
        """Returns when the client has closed the connection, or has waited long enough."""
        self.connection.settimeout(SILENCE_SECONDS)
        with contextlib.suppress(OSError):
            self.connection.recv(1)

    def _hang_up(self) -> None:
        """Ends the connection in the middle: the client reads the end of the stream."""
        self.close_connection = True
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)

    def _send_json(self, status: int, body: dict[str, object]) -> None:
        self._send(Reply(status, "application/json", json.dumps(body)))

    def _send(self, reply: Reply) -> None:
        payload = reply.body.encode()
        self.send_response(reply.status)
        for name, value in reply.headers:
            self.send_header(name, value)
        self.send_header("Content-Type", reply.media_type)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, exchange: Exchange, tls: ssl.SSLContext) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.exchange = exchange
        self.base = f"https://127.0.0.1:{self.server_address[1]}"
        self._tls = tls

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Runs in the thread of one connection: TLS first, so that a slow handshake holds up nobody else."""
        if self.exchange.take_fault("connect"):
            # Zero linger makes the close a reset: what a client sees when the port is shut.
            request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            request.close()
            return
        request.settimeout(_Handler.timeout)
        # Clients are killed and give up on purpose: their broken connections are the experiment, not an error.
        with contextlib.suppress(OSError), self._tls.wrap_socket(request, server_side=True) as secure:
            _Handler(secure, client_address, self)


class PeerServer:
    """A running vendor: `with PeerServer(vendor, tls) as server: server.exchange.arm(...)`."""

    def __init__(self, vendor: Vendor, tls: ssl.SSLContext) -> None:
        self.exchange = Exchange(vendor)
        self._listener = _Listener(self.exchange, tls)
        self._thread = threading.Thread(target=self._listener.serve_forever, args=(0.05,), daemon=True)

    @property
    def base(self) -> str:
        """The URL to give to the client, without a trailing slash."""
        return self._listener.base

    def __enter__(self) -> PeerServer:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown()
        self._listener.server_close()
        self._thread.join()
