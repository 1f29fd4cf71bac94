"""A small S3 server in memory with the manners of one `Persona` at a time."""

from __future__ import annotations

import base64
import hashlib
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from uuid import uuid4
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from tests.contract.stores.personas import BUCKET, KEY_ID, Persona

PAGE = 3
"""Names on one page of a listing, so that short listings have several."""
RACE_SECONDS = 0.05
"""Between looking and writing, where those are two steps."""


@dataclass
class Stored:
    """An object."""

    data: bytes
    etag: str
    headers: dict[str, str]


@dataclass
class Answer(Exception):
    """An answer of the server; raised where a request ends."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict[str, str])


def fault(status: int, code: str) -> Answer:
    """An error as S3 gives it."""
    return Answer(status, f"<Error><Code>{code}</Code><Message>as told</Message></Error>".encode())


@dataclass
class Request:
    """What was asked, past addressing."""

    method: str
    bucket: str
    key: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def action(self) -> str:
        """Name of the permission that it needs."""
        if "uploads" in self.query:
            return "CreateMultipartUpload" if self.method == "POST" else "ListBucketMultipartUploads"
        if "uploadId" in self.query and self.method == "DELETE":
            return "AbortMultipartUpload"
        if not self.key:
            return "ListBucket"
        return {"GET": "GetObject", "HEAD": "GetObject", "DELETE": "DeleteObject"}.get(self.method, "PutObject")


class PersonaServer:
    """The server.

    Attributes:
        persona: Whose manners it has.
        objects: What the bucket holds.
        uploads: Uploads in parts: their key, headers and parts.
        seen: How often each (method, action) was asked for.
        hashes: What each part came with when it came last, by its number.
        hosts: Host names that requests were sent to.
    """

    def __init__(self, persona: Persona) -> None:
        self.persona = persona
        self.objects: dict[str, Stored] = {}
        self.uploads: dict[str, tuple[str, dict[str, str], dict[int, Stored]]] = {}
        self.seen: Counter[tuple[str, str]] = Counter()
        self.hashes: dict[str, set[str]] = {}
        self.hosts: set[str] = set()
        self._conflicts = persona.conflicts
        self._expired = persona.expired
        self._lock = threading.RLock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        """Address as a proxy: every host name leads here."""

    def __enter__(self) -> PersonaServer:
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.shutdown()
        self._http.server_close()

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Answer:
        """Answer one request."""
        try:
            return self._act(self._addressed(method, target, headers, body))
        except Answer as answer:
            return answer

    def _addressed(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Request:
        parts, persona = urlsplit(target), self.persona
        host = parts.hostname or headers.get("host", "").partition(":")[0]
        self.hosts.add(host)
        path = unquote(parts.path).removeprefix("/")
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        if KEY_ID not in headers.get("authorization", "") + query.get("X-Amz-Credential", ""):
            raise fault(403, "InvalidAccessKeyId")
        if persona.owns and host == persona.host:
            return Request(method, BUCKET, path, query, headers, body)
        if host.endswith(f".{persona.host}") and persona.virtual:
            return Request(method, host.removesuffix(f".{persona.host}"), path, query, headers, body)
        if host != persona.host:
            raise fault(400, "InvalidHostName")
        if not path:
            raise Answer(200, b"<ListAllMyBucketsResult><Buckets></Buckets></ListAllMyBucketsResult>")
        if persona.path_refusal:
            raise fault(403, persona.path_refusal)
        bucket, _, key = path.partition("/")
        return Request(method, bucket, key, query, headers, body)

    def _act(self, request: Request) -> Answer:
        self.seen[request.method, request.action] += 1
        if self._expired and request.method == "PUT":
            self._expired -= 1
            raise fault(400, "ExpiredToken")
        if request.bucket != BUCKET:
            raise fault(404, "NoSuchBucket")
        if request.action in self.persona.denied:
            raise fault(403, "AccessDenied")
        for name in self.persona.unknown.keys() & request.headers.keys():
            raise fault(*self.persona.unknown[name])
        self._look_at_body(request)
        if request.method == "GET" and not request.key:
            return self._list(request)
        if "uploads" in request.query or "uploadId" in request.query:
            return self._in_parts(request)
        return getattr(self, f"_{request.method.lower()}")(request)

    def _look_at_body(self, request: Request) -> None:
        digest = request.headers.get("content-md5")
        if digest and base64.b64decode(digest) != hashlib.md5(request.body, usedforsecurity=False).digest():
            raise fault(400, "BadDigest")
        signed = request.headers.get("x-amz-content-sha256", "")
        if self.persona.signed and len(signed) == 64 and hashlib.sha256(request.body).hexdigest() != signed:
            raise fault(400, "XAmzContentSHA256Mismatch")
        if signed == "UNSIGNED-PAYLOAD" and not self.persona.unsigned:
            raise fault(400, "InvalidArgument")
        if "partNumber" in request.query:
            hashes = (("Content-MD5", digest is not None), ("SHA-256", signed != "UNSIGNED-PAYLOAD"))
            self.hashes[request.query["partNumber"]] = {name for name, given in hashes if given}

    def _put(self, request: Request) -> Answer:
        if "x-amz-copy-source" in request.headers:
            raise fault(501, "NotImplemented")
        return self._write(request, request.key, request.body, request.headers, guarded=True)

    def _write(
        self, request: Request, key: str, data: bytes, headers: dict[str, str], *, guarded: bool, tag: str | None = None
    ) -> Answer:
        if self.persona.atomic:
            with self._lock:
                self._check(request, key, guarded)
                return self._store(key, data, headers, tag)
        self._check(request, key, guarded)
        time.sleep(RACE_SECONDS)
        return self._store(key, data, headers, tag)

    def _check(self, request: Request, key: str, guarded: bool) -> None:
        persona, headers = self.persona, request.headers
        taken = key in self.objects or any(key.endswith(marker) for marker in persona.markers)
        if persona.forbid and headers.get(persona.forbid) == "true" and taken:
            raise fault(*persona.exists)
        wanted = headers.get("if-match"), headers.get("if-none-match")
        if wanted == (None, None) or persona.conditions == "ignored" or not guarded:
            return
        if persona.conditions == "refused":
            raise fault(*persona.refusal)
        if wanted[1] == "*" and taken:
            raise fault(412, "PreconditionFailed")
        if wanted[0] is not None:
            there = self.objects.get(key)
            if there is None:
                raise fault(404, "NoSuchKey")
            given = wanted[0].strip('"') if persona.spelling == "any" else wanted[0]
            if given != there.etag:
                raise fault(412, "PreconditionFailed")

    def _store(self, key: str, data: bytes, headers: dict[str, str], tag: str | None = None) -> Answer:
        etag = tag or self._etag(data)
        kept = {name: value for name, value in headers.items() if name.startswith("x-amz-meta-")}
        kept |= {name: headers[name] for name in ("content-type", "x-amz-storage-class") if name in headers}
        with self._lock:
            self.objects[key] = Stored(data, etag, kept)
        return Answer(200, headers=_tag(etag))

    def _etag(self, data: bytes) -> str:
        if self.persona.etags == "none":
            return ""
        return uuid4().hex if self.persona.etags == "random" else hashlib.md5(data, usedforsecurity=False).hexdigest()

    def _get(self, request: Request) -> Answer:
        there = self.objects.get(request.key)
        if there is None:
            raise fault(404, "NoSuchKey")
        return Answer(200, there.data, {**there.headers, **_tag(there.etag)})

    _head = _get

    def _delete(self, request: Request) -> Answer:
        with self._lock:
            self.objects.pop(request.key, None)
        return Answer(204)

    def _list(self, request: Request) -> Answer:
        names = sorted(key for key in self.objects if key.startswith(request.query.get("prefix", "")))
        after = request.query.get("start-after", "")
        token = request.query.get("continuation-token", "")
        if token and self.persona.truncated == "sound":
            after = token
        if self.persona.truncated == "endless":
            after = ""
        names = [name for name in names if name > after]
        page = names[: min(PAGE, int(request.query.get("max-keys", PAGE)))]
        more = len(names) > len(page)
        items = "".join(
            f"<Contents><Key>{escape(name)}</Key><Size>{len(self.objects[name].data)}</Size></Contents>"
            for name in page
        )
        follow = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
        if self.persona.truncated == "without token":
            follow = ""
        told = f"<Name>{BUCKET}</Name><IsTruncated>{str(more).lower()}</IsTruncated>{items}{follow}"
        return Answer(200, f"<ListBucketResult>{told}</ListBucketResult>".encode(), {"content-type": "application/xml"})

    def _in_parts(self, request: Request) -> Answer:
        if request.method == "POST" and "uploads" in request.query:
            upload = uuid4().hex
            self.uploads[upload] = (request.key, request.headers, {})
            return Answer(200, f"<R><UploadId>{upload}</UploadId></R>".encode())
        upload = request.query["uploadId"]
        if upload not in self.uploads:
            raise fault(404, "NoSuchUpload")
        key, headers, parts = self.uploads[upload]
        if request.method == "PUT":
            part = Stored(request.body, self._etag(request.body), {})
            parts[int(request.query["partNumber"])] = part
            return Answer(200, headers=_tag(part.etag))
        if request.method == "DELETE":
            del self.uploads[upload]
            return Answer(204)
        return self._complete(request, upload, key, headers, parts)

    def _complete(
        self, request: Request, upload: str, key: str, headers: dict[str, str], parts: dict[int, Stored]
    ) -> Answer:
        if self._conflicts and not key.rpartition("/")[2].startswith(".probe-"):
            self._conflicts -= 1
            del self.uploads[upload]
            raise fault(409, "ConditionalRequestConflict")
        numbers = [
            int(item.text or 0)
            for item in ElementTree.fromstring(request.body).iter()
            if item.tag.endswith("PartNumber")
        ]
        data = b"".join(parts[number].data for number in numbers)
        digests = b"".join(bytes.fromhex(parts[number].etag) for number in numbers)
        tag = "" if self.persona.etags == "none" else f"{self._etag(digests)}-{len(numbers)}"
        self._write(request, key, data, headers, guarded=self.persona.complete, tag=tag)
        del self.uploads[upload]
        return Answer(200, f"<R><ETag>{tag}</ETag></R>".encode())


def _tag(etag: str) -> dict[str, str]:
    return {"etag": f'"{etag}"'} if etag else {}


def _handler(server: PersonaServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # head and body are two packets: the second would wait 40 ms for an answer

        def do_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            answer = server.answer(self.command, self.path, headers, body)
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = do_any

        def log_message(self, format: str, *args: Any) -> None:
            """Be silent."""

    return Handler
