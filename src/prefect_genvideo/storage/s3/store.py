"""Amazon S3 and what speaks its protocol. The only file that knows boto3.

boto3 blocks, so every request runs in a thread. Integrity does not lean on the store's checksum extensions, which
many S3-compatible servers refuse: every body carries its MD5 (`Content-MD5`), and plain ETags are compared.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, closing
from copy import copy
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast
from uuid import uuid4

from prefect_genvideo.errors import DestinationError
from prefect_genvideo.storage.base import ObjectInfo, ObjectStore, PreconditionFailedError
from prefect_genvideo.storage.keys import clean_key, clean_listing, clean_prefix
from prefect_genvideo.storage.s3.errors import explain
from prefect_genvideo.storage.s3.settings import MIN_PART_SIZE, S3Settings, check_settings
from prefect_genvideo.storage.s3.upload import MIB, WRITE_ID, S3Upload, plain_md5, settle
from prefect_genvideo.storage.threads import STORE_THREADS, finish, in_thread

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

T = TypeVar("T")

MAX_PRESIGN_SECONDS = 7 * 24 * 3600


# Making a client costs 100 ms and more and is not thread-safe. The process id keeps a forked child from sharing its
# parent's connections.
_clients: dict[tuple[int, S3Settings], S3Client] = {}
_clients_lock = threading.Lock()
_probed: dict[tuple[object, str, str], bool] = {}


def _client(settings: S3Settings) -> S3Client:
    identity = (os.getpid(), settings)
    with _clients_lock:
        if identity not in _clients:
            _clients[identity] = _new_client(settings)
        return _clients[identity]


def _new_client(settings: S3Settings) -> S3Client:
    import boto3.session
    from botocore.config import Config

    session = cast("Any", boto3.session.Session())  # its stub's overloads name every service of Amazon
    client = session.client(
        "s3",
        region_name=settings.region,
        endpoint_url=settings.endpoint_url,
        aws_access_key_id=settings.access_key_id,
        aws_secret_access_key=settings.secret_access_key,
        aws_session_token=settings.session_token,
        config=Config(
            signature_version="s3v4",
            connect_timeout=10,
            read_timeout=60,
            max_pool_connections=STORE_THREADS,
            retries={"mode": "standard", "total_max_attempts": 4},
            s3={"addressing_style": settings.addressing},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )
    client.meta.events.register_last("before-call.s3", _send_at_once)
    return client


def _send_at_once(params: dict[str, Any], **_: Any) -> None:
    """Leave out `Expect: 100-continue`: it costs a round trip for each write, and ours are a part long at most."""
    params["headers"].pop("Expect", None)


class S3Store(ObjectStore):
    """A bucket below a prefix.

    Args:
        bucket: Bucket name, or the ARN of an access point.
        prefix: Where everything of this store lives in the bucket, e.g. `videos`.
        region: Region of the bucket; else what the environment says.
        endpoint_url: Address of an S3-compatible store, e.g. `http://minio:9000`; None is Amazon's.
        access_key_id: With `secret_access_key`; else boto3's own chain (environment, profile, role).
        secret_access_key: Secret of `access_key_id`.
        session_token: With temporary credentials.
        sse: Server-side encryption, `AES256` or `aws:kms`; None leaves it to the bucket.
        sse_kms_key_id: Key for `aws:kms`.
        storage_class: e.g. `STANDARD_IA`; None is the bucket's default.
        path_style: Bucket in the path instead of the host name; None means: with an `endpoint_url`.
        part_size: Bytes of one part of a multipart upload, at least 5 MiB. An upload holds three of them.

    Raises:
        InvalidRequestError: A setting cannot be right.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str = "",
        *,
        region: str | None = None,
        endpoint_url: str | None = None,
        access_key_id: str | None = None,
        secret_access_key: str | None = None,
        session_token: str | None = None,
        sse: Literal["AES256", "aws:kms"] | None = None,
        sse_kms_key_id: str | None = None,
        storage_class: str | None = None,
        path_style: bool | None = None,
        part_size: int = 6 * MIB,
    ) -> None:
        settings = S3Settings(
            region or None,
            endpoint_url or None,
            access_key_id or None,
            secret_access_key or None,
            session_token or None,
            path_style,
        )
        check_settings(bucket, settings, sse, sse_kms_key_id, part_size)
        self._bucket = bucket
        self._prefix = clean_prefix(prefix)
        self._endpoint = settings.endpoint_url
        self._identity: object = settings
        self._get_client = partial(_client, settings)
        self._write_options = _given(ServerSideEncryption=sse, SSEKMSKeyId=sse_kms_key_id, StorageClass=storage_class)
        self._part_size = part_size
        self._bucket_seen = False
        self._probing = asyncio.Lock()

    @classmethod
    def from_client(
        cls,
        client: S3Client,
        bucket: str,
        prefix: str = "",
        *,
        sse: Literal["AES256", "aws:kms"] | None = None,
        sse_kms_key_id: str | None = None,
        storage_class: str | None = None,
        part_size: int = 6 * MIB,
    ) -> S3Store:
        """A store that uses a ready boto3 client, with that client's own timeouts and retries."""
        store = cls(
            bucket,
            prefix,
            sse=sse,
            sse_kms_key_id=sse_kms_key_id,
            storage_class=storage_class,
            part_size=part_size,
        )
        store._endpoint = client.meta.endpoint_url
        store._identity = client
        store._get_client = lambda: client
        return store

    @classmethod
    def beside(cls, other: S3Store, bucket: str, prefix: str = "") -> S3Store:
        """Another bucket of the same account and endpoint, e.g. one that a reference file lies in."""
        store = copy(other)
        check_settings(bucket, S3Settings(), None, None, MIN_PART_SIZE)
        store._bucket, store._prefix, store._bucket_seen = bucket, clean_prefix(prefix), False
        return store

    @property
    def bucket(self) -> str:
        """Bucket name."""
        return self._bucket

    @property
    def prefix(self) -> str:
        """Prefix of every key, without slashes at its ends; may be empty."""
        return self._prefix

    def uri(self, key: str) -> str:
        """`s3://bucket/prefix/key`; of an empty key that of the store itself."""
        return f"s3://{self._bucket}/{self.full_key(key) if key else self._prefix}"

    def full_key(self, key: str) -> str:
        """Key with the prefix."""
        return clean_key(key, prefix=self._prefix)

    async def get(self, key: str) -> tuple[bytes, str] | None:
        """Whole small object and its ETag; None when the store says that there is no such key."""
        full = self.full_key(key)

        def fetch(client: S3Client) -> tuple[bytes, str]:
            answer = client.get_object(Bucket=self._bucket, Key=full)
            with closing(answer["Body"]) as body:
                return body.read(), _plain(answer["ETag"])

        try:
            found = await self._run("get_object", full, fetch)
        except DestinationError as error:
            if error.reason != "NoSuchKey":
                raise
            found = None
        self._bucket_seen = True
        return found

    async def put(
        self,
        key: str,
        data: bytes,
        *,
        content_type: str = "application/octet-stream",
        if_absent: bool = False,
        if_match: str | None = None,
    ) -> str:
        """Write a small object at once and return its ETag.

        A conditional write is marked with an id of its own. When the client's retry of a write whose answer was lost
        finds the condition broken, the mark tells our own write from somebody else's.
        """
        params: dict[str, Any] = {"ContentType": content_type}
        if not if_absent and if_match is None:
            return _plain((await self.send_body("put_object", key, data, **params))["ETag"])
        write_id = uuid4().hex
        params["Metadata"] = {WRITE_ID: write_id}
        params |= {"IfNoneMatch": "*"} if if_absent else {"IfMatch": f'"{if_match}"'}
        answer = await settle(self, key, write_id, lambda: self._put_existing(key, data, params))
        if answer is not None:
            return _plain(answer["ETag"])
        own = await self.head(key)
        if own is None:
            raise DestinationError(f"{self.uri(key)}: written, and gone a moment later", retryable=True)
        return own.etag

    async def _put_existing(self, key: str, data: bytes, params: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return await self.send_body("put_object", key, data, **params)
        except DestinationError as error:
            # With If-Match, S3 answers 404 instead of 412 when the object has been deleted.
            if error.reason == "NoSuchKey" and "IfMatch" in params:
                raise PreconditionFailedError(str(error), status_code=404, reason=error.reason) from error
            raise

    async def head(self, key: str) -> ObjectInfo | None:
        """What is at the key, or None when it is definitely not there."""
        try:
            answer = await self.call("head_object", key)
        except DestinationError as error:
            if error.status_code != 404:
                raise
            # A HEAD has no body: 404 may also mean that there is no bucket. A GET tells them apart, once.
            if not self._bucket_seen:
                await self.get(key)
            return None
        self._bucket_seen = True
        metadata = {name.lower(): value for name, value in answer.get("Metadata", {}).items()}
        return ObjectInfo(key, answer["ContentLength"], _plain(answer["ETag"]), metadata)

    async def list(self, prefix: str = "") -> AsyncIterator[ObjectInfo]:
        """Every object whose key starts with `prefix`, page by page."""
        root = f"{self._prefix}/" if self._prefix else ""
        full = root + clean_listing(prefix)
        page: dict[str, Any] = {"Bucket": self._bucket, "Prefix": full}
        while True:
            request = dict(page)
            answer = await self._run("list_objects_v2", full, lambda client, r=request: client.list_objects_v2(**r))
            for item in answer.get("Contents", []):
                name = item.get("Key", "")[len(root) :]
                if name and not name.endswith("/"):  # consoles make such objects to show folders
                    yield ObjectInfo(name, item.get("Size", 0), _plain(item.get("ETag", "")))
            if not answer.get("IsTruncated"):
                return
            page["ContinuationToken"] = answer.get("NextContinuationToken")

    async def delete(self, key: str) -> None:
        """Remove an object; no error when there is none."""
        await self.call("delete_object", key)

    async def read(self, key: str) -> AsyncIterator[bytes]:
        """The object's bytes in chunks of at most 1 MiB; `DestinationError` when there is no such object."""
        body = (await self.call("get_object", key))["Body"]
        full = self.full_key(key)
        try:
            while chunk := await self._run("get_object", full, lambda _: cast("bytes", body.read(MIB))):
                yield chunk
        finally:
            body.close()

    @asynccontextmanager
    async def upload(
        self,
        key: str,
        *,
        content_type: str,
        metadata: Mapping[str, str] | None = None,
        if_absent: bool = False,
    ) -> AsyncGenerator[S3Upload, None]:
        """Begin a streamed write: one PUT when it fits a part, else a multipart upload."""
        upload = S3Upload(
            self,
            key,
            options={"ContentType": content_type, **self._write_options},
            metadata=metadata or {},
            part_size=self._part_size,
            if_absent=if_absent,
        )
        try:
            yield upload
        finally:
            await finish(upload.close())

    async def presign(self, key: str, seconds: int) -> str:
        """A signed link that reads the object; at most 7 days, and no longer than the credentials live."""
        params = {"Bucket": self._bucket, "Key": self.full_key(key)}
        lifetime = max(1, min(seconds, MAX_PRESIGN_SECONDS))
        return await self._run(
            "generate_presigned_url",
            params["Key"],
            lambda client: client.generate_presigned_url("get_object", Params=params, ExpiresIn=lifetime),
        )

    async def conditional_writes(self) -> bool:
        """Whether the store honours both conditions; asked once per process with a tiny object."""
        identity = (self._identity, self._bucket, self._prefix)
        async with self._probing:  # the rows of a batch all ask at once
            if identity not in _probed:
                _probed[identity] = await self._probe()
        return _probed[identity]

    async def _probe(self) -> bool:
        key = f"_ledger/.probe-{uuid4().hex}"
        try:
            etag = await self.put(key, b"1", if_absent=True)
            if not await self._refuses(key, if_absent=True) or not await self._refuses(key, if_match="0" * 32):
                return False
            await self.put(key, b"2", if_match=etag)
        except DestinationError as error:
            if isinstance(error, PreconditionFailedError) or error.status_code == 501:
                return False
            raise
        finally:
            await finish(self.delete(key))
        return True

    async def _refuses(self, key: str, *, if_absent: bool = False, if_match: str | None = None) -> bool:
        try:
            await self.put(key, b"0", if_absent=if_absent, if_match=if_match)
        except PreconditionFailedError:
            return True
        return False

    async def call(self, operation: str, key: str, **params: Any) -> dict[str, Any]:
        """Call the client's method `operation` on a key of this store."""
        full = self.full_key(key)
        given = {"Bucket": self._bucket, "Key": full, **params}
        return await self._run(operation, full, lambda client: getattr(client, operation)(**given))

    async def send_body(self, operation: str, key: str, body: bytes | bytearray, **params: Any) -> dict[str, Any]:
        """Call a method that carries a body, with its MD5, and compare a plain ETag with that."""
        full = self.full_key(key)
        options = self._write_options if operation == "put_object" else {}
        given = {"Bucket": self._bucket, "Key": full, "Body": body, **options, **params}

        def send(client: S3Client) -> tuple[dict[str, Any], str]:
            digest = hashlib.md5(body, usedforsecurity=False)
            given["ContentMD5"] = base64.b64encode(digest.digest()).decode()
            return getattr(client, operation)(**given), digest.hexdigest()

        answer, md5 = await self._run(operation, full, send)
        if plain_md5(answer) not in (None, md5):
            raise DestinationError(
                f"s3://{self._bucket}/{full}: the store confirmed other bytes than were sent", retryable=True
            )
        return answer

    async def _run(self, operation: str, full: str, work: Callable[[S3Client], T]) -> T:
        try:
            return await in_thread(lambda: work(self._get_client()))
        except Exception as error:
            raise explain(error, operation, f"s3://{self._bucket}/{full}", self._endpoint) from error


def _plain(etag: str) -> str:
    return etag.strip('"')


def _given(**options: str | None) -> dict[str, str]:
    return {name: value for name, value in options.items() if value}
