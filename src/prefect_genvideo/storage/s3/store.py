"""Amazon S3 and what speaks its protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Hashable, Mapping
from contextlib import asynccontextmanager, closing
from copy import copy
from typing import TYPE_CHECKING, Any, Literal, cast
from uuid import uuid4

from prefect_genvideo.errors import DestinationError
from prefect_genvideo.storage.base import DAY, ObjectInfo, ObjectStore, PreconditionFailedError
from prefect_genvideo.storage.keys import clean_listing, foreign_key
from prefect_genvideo.storage.s3.addressing import Route, known_route
from prefect_genvideo.storage.s3.answers import dated_by, plain_etag
from prefect_genvideo.storage.s3.calls import BucketCalls
from prefect_genvideo.storage.s3.client import Connection, prepare
from prefect_genvideo.storage.s3.extras import try_extras
from prefect_genvideo.storage.s3.object_tags import tagging
from prefect_genvideo.storage.s3.orphans import sweep
from prefect_genvideo.storage.s3.promises import Promises
from prefect_genvideo.storage.s3.settings import PART_SIZE, Addressing, S3Settings, check_settings, split_uri
from prefect_genvideo.storage.s3.trials import find_out, known, remember
from prefect_genvideo.storage.s3.upload import MIB, WRITE_ID, S3Upload, settle
from prefect_genvideo.storage.threads import finish

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

# Seconds: Signature Version 4 signs for seven days at most.
_MAX_PRESIGN_SECONDS = 7 * 24 * 3600
# Bytes of an object that is read whole; records and manifests have a few thousand.
_MAX_SMALL = 16 * MIB
# Pages of one listing, of up to 1,000 names each, after which a store is taken to repeat itself.
_MAX_PAGES = 20_000


class S3Store(BucketCalls, ObjectStore):
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
        storage_class: Of videos, e.g. `STANDARD_IA`; None is the bucket's default, which small objects always have.
        addressing: Where the bucket's name goes: `virtual` (host name), `path`, or `auto`: as the store wants it.
        object_tags: Whether `tagged` gives objects their tags, which needs s3:PutObjectTagging.
        lender: Credentials block of prefect-aws whose boto3 session is used instead of keys.
        part_size: Bytes of one part of a multipart upload, at least 5 MiB. An upload holds three of them at most,
                and a fourth where the store is slow.

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
        addressing: Addressing = "auto",
        object_tags: bool = False,
        lender: Hashable = None,
        part_size: int = PART_SIZE,
    ) -> None:
        settings = S3Settings(
            region or None,
            endpoint_url or None,
            access_key_id or None,
            secret_access_key or None,
            session_token or None,
            addressing,
            lender,
        )
        check_settings(bucket, settings, sse, sse_kms_key_id, part_size)
        known_route(settings, bucket)  # refuses an endpoint with another bucket in front
        super().__init__(bucket, prefix, settings, _given(ServerSideEncryption=sse, SSEKMSKeyId=sse_kms_key_id))
        self._storage_class = _given(StorageClass=storage_class)
        self._part_size = part_size
        self._object_tags = object_tags
        self._tagging: dict[str, str] = {}
        self._bucket_seen = False
        self._probing = asyncio.Lock()

    @classmethod
    def from_client(cls, client: S3Client, bucket: str, prefix: str = "") -> S3Store:
        """A store that uses a ready boto3 client, with that client's own addressing, timeouts and retries.

        Args:
            client: The client.
            bucket: Bucket name.
            prefix: Where everything of this store lives in the bucket.
        """
        store = cls(bucket, prefix, endpoint_url=client.meta.endpoint_url)
        prepare(client)
        store._given = Connection(client, Route("auto", client.meta.endpoint_url))
        return store

    def tagged(self, tags: Mapping[str, str]) -> S3Store:
        """This store with object tags on all that is no ledger's; as many as S3 takes, if any are wanted."""
        store = copy(self)
        store._tagging = _given(Tagging=tagging(tags) if self._object_tags else None)
        return store

    def _facts(self, key: str, content_type: str) -> dict[str, str]:
        lasting = self._tagging | (self._storage_class if content_type.startswith("video/") else {})
        return {"ContentType": content_type, **({} if key.startswith("_") else lasting)}

    def other_bucket(self, bucket: str) -> S3Store:
        """Another bucket of the same account and endpoint, to read from: any key that exists there can be named."""
        store = copy(self)
        check_settings(bucket, S3Settings(), None, None, PART_SIZE)
        store._bucket, store._prefix, store._bucket_seen, store._foreign = bucket, "", False, True
        return store

    async def get(self, key: str) -> tuple[bytes, str] | None:
        """Whole small object and its ETag; None when the store says that there is no such key."""
        full = self.full_key(key)

        def fetch(connection: Connection) -> tuple[bytes, str]:
            answer = connection.client.get_object(Bucket=self._bucket, Key=full)
            with closing(answer["Body"]) as body:
                data = body.read(_MAX_SMALL + 1)
            if len(data) > _MAX_SMALL:
                raise DestinationError(f"{self.uri(key)}: more than {_MAX_SMALL} bytes, which no small object has")
            return data, plain_etag(answer)

        try:
            found = await self.run("get_object", full, fetch)
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
        """Write a small object at once and return its ETag."""
        # A conditional write is marked with an id of its own. When the client's retry of a write whose answer was lost
        # finds the condition broken, the mark tells our own write from somebody else's.
        params: dict[str, Any] = self._facts(key, content_type)
        answer: dict[str, Any] | None
        if not if_absent and if_match is None:
            answer = await self.send_body("put_object", key, data, **params)
        else:
            write_id = uuid4().hex
            params["Metadata"] = {WRITE_ID: write_id}
            params |= await self._condition(key, if_match)
            answer = await settle(
                self, key, write_id, lambda: self._put_existing(key, data, params), creating=if_match is None
            )
        if answer is not None and plain_etag(answer):
            return plain_etag(answer)
        own = await self.head(key)
        if own is None:
            raise DestinationError(f"{self.uri(key)}: written, and gone a moment later", retryable=True)
        return own.etag

    async def _condition(self, key: str, if_match: str | None) -> dict[str, Any]:
        """Parameters of a conditional write; where the store has no such condition, a look is all there is."""
        promises = await self._tried_or_assumed()
        if (promises.create if if_match is None else promises.replace) is None:
            there = await self.head(key)
            if (there.etag if there else None) != if_match:
                raise PreconditionFailedError(f"{self.uri(key)}: somebody else's object is there, or it has changed")
            return {}
        return promises.creating() if if_match is None else promises.replacing(if_match)

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
        return ObjectInfo(key, answer["ContentLength"], plain_etag(answer), metadata)

    async def age(self, key: str) -> float | None:
        """Seconds between the write and the store's answer, both dated by the store."""
        answer = await self.call("head_object", key)
        return dated_by(answer, answer.get("LastModified"))

    async def list(self, prefix: str = "") -> AsyncIterator[ObjectInfo]:
        """Every object whose key starts with `prefix`, page by page."""
        root = f"{self._prefix}/" if self._prefix else ""
        full = root + clean_listing(prefix)
        page: dict[str, Any] = {"Bucket": self._bucket, "Prefix": full}
        before: set[str] = set()
        for _ in range(_MAX_PAGES):
            request = dict(page)
            answer = await self.run(
                "list_objects_v2",
                full,
                lambda found, r=request: found.listed or found.client.list_objects_v2(**r),
                listing=request,
            )
            items = [item for item in answer.get("Contents", []) if item.get("Key", "") not in before]
            for item in items:
                name = item.get("Key", "")[len(root) :]
                if name and not name.endswith("/"):  # consoles make such objects to show folders
                    yield ObjectInfo(name, item.get("Size", 0), plain_etag(item), modified=item.get("LastModified"))
            if not answer.get("IsTruncated"):
                return
            if not items:
                break
            # Some stores forget the token, some do not know it; where the last page ended, all understand.
            token, before = answer.get("NextContinuationToken"), {item.get("Key", "") for item in items}
            page = {"Bucket": self._bucket, "Prefix": full, "StartAfter": items[-1].get("Key", "")}
            page |= {"ContinuationToken": token} if token else {}
        raise DestinationError(
            f"s3://{self._bucket}/{full}: the store repeats a page of its listing and never ends it",
            reason="EndlessListing",
        )

    async def delete(self, key: str) -> None:
        """Remove an object; no error when there is none."""
        await self.call("delete_object", key)

    async def read(self, key: str) -> AsyncIterator[bytes]:
        """The object's bytes in chunks of at most 1 MiB; `DestinationError` when there is no such object."""
        body = (await self.call("get_object", key))["Body"]
        full = self.full_key(key)
        try:
            while chunk := await self.run("get_object", full, lambda _: cast("bytes", body.read(MIB))):
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
        if if_absent:
            await self._tried_or_assumed()
        upload = S3Upload(
            self,
            key,
            options={**self._facts(key, content_type), **self._encryption},
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
        full, lifetime = self.full_key(key), max(1, min(seconds, _MAX_PRESIGN_SECONDS))
        return await self.run(
            "generate_presigned_url", full, lambda connection: connection.presign(self._bucket, full, lifetime)
        )

    async def tried(self, *, note: bool = False) -> Promises:
        """What the store keeps; looked up or tried once per process.

        Args:
            note: Whether what was found is noted for the next process.

        Raises:
            DestinationError: The store failed, or a permission is missing that saving a video will need.
        """
        async with self._probing:  # the rows of a batch all ask at once
            found = known(self._identity) or await find_out(self, note=note)
            remember(self._identity, found)
            await try_extras(self, self._identity, self._extras())
        return found

    def _extras(self) -> dict[str, str]:
        """What the videos are written with beside their bytes."""
        return _given(
            ServerSideEncryption=self._encryption.get("ServerSideEncryption"),
            StorageClass=self._storage_class.get("StorageClass"),
            Tagging="genvideo=probe" if self._object_tags else None,
        )

    async def _tried_or_assumed(self) -> Promises:
        """What the store keeps; Amazon's own manners where asking is not permitted: a paid task is to be recorded."""
        try:
            return await self.tried()
        except DestinationError as error:
            if error.retryable:
                raise
            return self.promises

    async def conditional_writes(self) -> bool:
        """Whether the store honours `if_absent` and `if_match`; tried once per process."""
        promises = await self.tried(note=True)
        if promises.create_only:
            raise DestinationError(
                f"The ledger at {self.uri('')} is kept in create-only mode, where another mode would not find what is "
                "paid for: set ledger_mode='create-only' on the destination block.",
                reason="create-only ledger",
            )
        return promises.create is not None and promises.replace is not None

    async def exclusive_creates(self) -> bool:
        """Whether one of several writers that create a key with `if_absent` wins; tried once per process."""
        return (await self.tried(note=True)).create is not None

    async def exclusive_uploads(self) -> bool:
        """Whether no upload with `if_absent` replaces an object; tried once per process."""
        promises = await self.tried()
        return promises.create is not None and promises.complete

    async def shortcomings(self) -> tuple[str, ...]:
        """What the store was seen not to keep, in words."""
        return (await self.tried()).faults

    async def sweep(self, older_than: float = DAY) -> int:
        """Remove probes and abort uploads in parts that killed processes of ours have left behind."""
        return await sweep(self, older_than)


def find_object(uri: str, home: ObjectStore | None = None) -> tuple[ObjectStore, str]:
    """Where the object of an `s3://bucket/key` is: the store to read from and the key in it.

    Args:
        uri: Of an object of anybody's.
        home: A store whose account and endpoint read it; else boto3's own chain does.

    Raises:
        InvalidRequestError: It is no URI of an object.
    """
    bucket, key = split_uri(uri)
    foreign_key(key)
    store = home.other_bucket(bucket) if home is not None else None
    return store or S3Store(bucket).other_bucket(bucket), key


def _given(**options: str | None) -> dict[str, str]:
    return {name: value for name, value in options.items() if value}
