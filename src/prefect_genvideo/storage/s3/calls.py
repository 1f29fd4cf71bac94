"""Requests for one bucket: in a thread, with a proof of the body, and with errors that say what to check.

boto3 blocks, so every request runs in a thread. Integrity does not lean on the store's checksum extensions, which
many S3-compatible servers refuse. A body is proved by the SHA-256 in the request's signature where the store was seen
to look at it; else by its MD5, which takes twice as long: sent along (`Content-MD5`) and compared with plain ETags, or
compared alone where nothing becomes visible before that.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Any, TypeVar
from uuid import uuid4

from prefect_genvideo.errors import DestinationError, GenVideoError
from prefect_genvideo.storage.base import UploadLostError
from prefect_genvideo.storage.keys import clean_key, clean_prefix, foreign_key
from prefect_genvideo.storage.s3.answers import plain_md5
from prefect_genvideo.storage.s3.client import Connection, connect, extra_headers, forget, unsigned_body
from prefect_genvideo.storage.s3.direct import LARGEST, find_way, is_open, known_way
from prefect_genvideo.storage.s3.errors import explain
from prefect_genvideo.storage.s3.promises import ASSUMED, PROBES, Promises
from prefect_genvideo.storage.s3.quiet import untold
from prefect_genvideo.storage.s3.settings import S3Settings
from prefect_genvideo.storage.s3.trials import known
from prefect_genvideo.storage.threads import finish, in_thread

T = TypeVar("T")

# Reason of an error: what the store says it holds is not what was sent.
_OTHER_BYTES = "other bytes"
# Codes of temporary credentials that have run out.
_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"})


class BucketCalls:
    """Sends the requests of a store.

    Args:
        bucket: Name or ARN.
        prefix: Where everything of the store lives in the bucket.
        settings: How the store is reached.
        encryption: Parameters of everything that is written.
    """

    def __init__(self, bucket: str, prefix: str, settings: S3Settings, encryption: Mapping[str, str]) -> None:
        self._bucket = bucket
        self._prefix = clean_prefix(prefix)
        self._foreign = False
        self._settings = settings
        self._encryption = encryption
        self._given: Connection | None = None

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
        return foreign_key(key) if self._foreign else clean_key(key, prefix=self._prefix)

    @property
    def promises(self) -> Promises:
        """What the store keeps, as tried in this process."""
        return known(self._identity) or ASSUMED

    @property
    def _identity(self) -> Hashable:
        return (self._settings, self._given, self._bucket, self._prefix)

    async def call(
        self, operation: str, key: str, headers: Mapping[str, str] | None = None, **params: Any
    ) -> dict[str, Any]:
        """Call the client's method `operation` on a key of this store.

        Args:
            operation: e.g. `head_object`.
            key: Relative to the prefix.
            headers: More headers, for which the client has no parameter.
            **params: The method's own parameters.

        Raises:
            DestinationError: The store refused or failed.
        """
        full = self.full_key(key)
        given = {"Bucket": self._bucket, "Key": full, **params}
        return await self.run(
            operation, full, lambda connection: getattr(connection.client, operation)(**given), headers, asked=params
        )

    async def send_body(
        self,
        operation: str,
        key: str,
        body: bytes | bytearray,
        *,
        headers: Mapping[str, str] | None = None,
        md5: Awaitable[str] | None = None,
        **params: Any,
    ) -> dict[str, Any]:
        """Call a method that carries a body, and see that the store holds these bytes.

        Where the store was seen to refuse a body that does not fit the SHA-256 in the request's signature, that proves
        them. Else the MD5 goes along, and a plain ETag is compared with it. A body of which nothing is visible yet goes
        without: its MD5 is taken while it is sent, and the store need not take it twice. It is sent again with its MD5
        where ETags are none.

        Args:
            operation: `put_object` or `upload_part`.
            key: Relative to the prefix.
            body: The bytes.
            headers: More headers, for which the client has no parameter.
            md5: The body's, hex, being taken; only for a body that is not visible before the answer has been seen.
            **params: The method's own parameters.

        Raises:
            DestinationError: The store refused or failed, or confirmed other bytes than were sent.
            UploadLostError: It did so of a part: not every store lets one be replaced.
        """
        params = {**(self._encryption if operation == "put_object" else {}), **params}
        if operation == "put_object" and not headers:
            answer = await self._put_directly(key, body, params)
            if answer is not None:
                return answer
        if self.promises.signed:
            return await self.call(operation, key, headers, Body=body, **params)
        if md5 is not None:
            answer, _ = await self._send(operation, key, body, headers, params, with_md5=False)
            told = plain_md5(answer)
            if told == await md5:
                return answer
            if told is not None and await self.etags_are_md5():
                raise UploadLostError(self._other_bytes(key), reason=_OTHER_BYTES)
        return await self._confirmed(key, *await self._send(operation, key, body, headers, params))

    async def _confirmed(self, key: str, answer: dict[str, Any], md5: str) -> dict[str, Any]:
        if plain_md5(answer) not in (None, md5) and await self.etags_are_md5():
            raise DestinationError(self._other_bytes(key), retryable=True, reason=_OTHER_BYTES)
        return answer

    def _other_bytes(self, key: str) -> str:
        return f"{self.uri(key)}: the store confirmed other bytes than were sent"

    async def _put_directly(
        self, key: str, body: bytes | bytearray, params: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """Write a small object past boto3's connections; None where that cannot be, or was not answered well."""
        if len(body) > LARGEST or not is_open() or self._given is not None or self.promises is ASSUMED:
            return None
        full, (settings, bucket) = self.full_key(key), (self._settings, self._bucket)
        way = known_way(settings, bucket)
        way = way or await self.run("put_object", full, lambda found: find_way(settings, bucket, found))
        if not way.works:
            return None
        if self.promises.signed:
            return await finish(way.put(full, bytes(body), params))
        told, md5 = _md5(body)
        answer = await finish(way.put(full, bytes(body), {**params, **told}))
        return answer and await self._confirmed(key, answer, md5)

    async def _send(
        self,
        operation: str,
        key: str,
        body: bytes | bytearray,
        headers: Mapping[str, str] | None,
        params: Mapping[str, Any],
        *,
        with_md5: bool = True,
    ) -> tuple[dict[str, Any], str]:
        """Send a body that no signature proves; returns the answer, and its MD5 in hex where that goes along."""
        full = self.full_key(key)
        given = {"Bucket": self._bucket, "Key": full, "Body": body, **params}

        def send(connection: Connection) -> tuple[dict[str, Any], str]:
            unsigned_body.set(self.promises.unsigned)  # of this thread's copy of the context
            told, md5 = _md5(body) if with_md5 else ({}, "")
            return getattr(connection.client, operation)(**given, **told), md5

        return await self.run(operation, full, send, headers, asked=params)

    async def run(
        self,
        operation: str,
        full: str,
        work: Callable[[Connection], T],
        headers: Mapping[str, str] | None = None,
        listing: Mapping[str, Any] | None = None,
        asked: Mapping[str, Any] | None = None,
    ) -> T:
        """Work with the client in a thread; what it raises becomes a `DestinationError`.

        Args:
            operation: Name of the client's method, for the error.
            full: Key with the prefix, for the error.
            work: What to do with the connection.
            headers: More headers of the request.
            listing: Of a listing its parameters, see `connect`.
            asked: Of other requests their parameters, for the error.
        """

        def send() -> T:
            extra_headers.set(dict(headers or {}))  # of this thread's copy of the context
            try:
                with untold():
                    return work(self._given or connect(self._settings, self._bucket, listing))
            except GenVideoError:
                raise
            except Exception as error:
                uri, endpoint = f"s3://{self._bucket}/{full}", self._settings.endpoint_url
                raise explain(error, operation, uri, endpoint, asked) from error

        try:
            return await in_thread(send)
        except DestinationError as error:
            if self._settings.lender is None or error.reason not in _EXPIRED:
                raise
        forget()  # what the block lent has run out; it can lend anew
        return await in_thread(send)

    async def etags_are_md5(self) -> bool:
        """Whether an ETag of 32 hex digits says anything of the bytes: in some stores it is a random id."""
        found = known(self._identity)
        if found is not None:
            return found.md5_etags
        key = f"{PROBES}0-{uuid4().hex}"
        try:
            answer, md5 = await self._send("put_object", key, b"1", None, self._encryption)
        finally:
            await finish(self.call("delete_object", key))
        return plain_md5(answer) == md5


def _md5(body: bytes | bytearray) -> tuple[dict[str, str], str]:
    """The parameter that tells a body's MD5, and the MD5 in hex."""
    digest = hashlib.md5(body, usedforsecurity=False)
    return {"ContentMD5": base64.b64encode(digest.digest()).decode()}, digest.hexdigest()
