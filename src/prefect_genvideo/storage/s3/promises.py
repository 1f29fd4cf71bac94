"""What a store keeps of the promises that S3 makes, found out by trying it before any money is spent.

Stores that speak S3 differ most in conditional writes: some refuse the headers, some ignore them, some honour one
spelling of an ETag only, some honour them for small objects and not for uploads in parts, some look and write in two
steps between which others come. What is not tried is not believed.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

from prefect_genvideo.errors import DestinationError, counted
from prefect_genvideo.storage.base import PreconditionFailedError
from prefect_genvideo.storage.s3.answers import plain_etag
from prefect_genvideo.storage.s3.client import StartLine, other_body, unsigned_body
from prefect_genvideo.storage.threads import finish

if TYPE_CHECKING:
    from prefect_genvideo.storage.s3.store import S3Store

logger = logging.getLogger(__name__)

PROBES = "_ledger/.probe-"
"""How the keys of probes begin; the second of the epoch at which each was made follows."""
STANDARD_HEADER = "If-None-Match"
"""Amazon's header for a write that must not replace anything."""
# What vendors have instead, each with the value `true`: OSS, COS, KS3, TOS (PutObject in their API references).
_VENDOR_HEADERS = tuple(f"x-{vendor}-forbid-overwrite" for vendor in ("oss", "cos", "kss", "tos"))
CREATE_HEADERS = (STANDARD_HEADER, *_VENDOR_HEADERS)
"""Every header that is tried, the preferred one first."""
UNREPLACED = "If-Match does not keep a write from replacing a changed object"
UNGUARDED = "nothing keeps the end of an upload in parts from replacing an object"
# Writers that create one key at the same time: with two, a store that looks and writes in two steps often passes.
_RACERS = 8
# Races at most, and how many of them must have had one winner. In one without a winner all may have met a 409, or an
# answer was lost.
_ROUNDS = 4
_FAIR_ROUNDS = 2
# HTTP status of a server that may answer otherwise in a moment; anything else to a condition means "no".
_PASSING = frozenset({408, 429, 500, 502, 503, 504})
_NOT_IMPLEMENTED = 501
# Codes for a body that does not fit the signature.
_MISMATCH = frozenset({"XAmzContentSHA256Mismatch", "SignatureDoesNotMatch"})


@dataclass(frozen=True)
class Promises:
    """What a store has been seen to keep.

    Attributes:
        create: Header that lets one of several writers create a key; None: there is no such header.
        replace: How an ETag is spelled in `If-Match`; None: the store has no such condition.
        complete: Whether `create` also guards the end of an upload in parts.
        md5_etags: Whether the ETag of a small object is its MD5.
        signed: Whether a body is refused that does not fit the SHA-256 in the request's signature.
        unsigned: Whether a body is taken without that SHA-256, where nobody looks at it.
        create_only: The ledger in the store is kept in the create-only mode.
        faults: What is missing, in words.
    """

    create: str | None = STANDARD_HEADER
    replace: Literal["quoted", "bare"] | None = "quoted"
    complete: bool = True
    md5_etags: bool = True
    signed: bool = False
    unsigned: bool = False
    create_only: bool = False
    faults: tuple[str, ...] = ()

    def creating(self) -> dict[str, Any]:
        """Parameters of a request that must not replace anything; none where the store has no such condition."""
        if self.create is None:
            return {}
        return {"IfNoneMatch": "*"} if self.create == STANDARD_HEADER else {"headers": {self.create: "true"}}

    def replacing(self, etag: str) -> dict[str, Any]:
        """Parameters of a request that replaces only what has this ETag."""
        return {"IfMatch": etag if self.replace == "bare" else f'"{etag}"'}


ASSUMED = Promises()
"""What is assumed of a store before it has been tried: all that Amazon's own keeps."""


class Probe:
    """Tries one store with a few objects of one byte, and removes them.

    Args:
        store: The store.
    """

    def __init__(self, store: S3Store) -> None:
        self._store = store
        self._keys: list[str] = []
        self._faults: list[str] = []

    async def run(self) -> Promises:
        """Try what saving a video and its ledger record will need.

        Raises:
            DestinationError: The store failed, or a permission is missing that cannot be done without.
        """
        try:
            key, md5_etags = await self._plain()
            signed = await self._signing(key)
            unsigned = not signed and await self._unsigned(key)
            create = await self._creating(key)
            replace = await self._replacing(key)
            complete = await self._completing(key, create)
        except DestinationError as error:
            if error.status_code != _NOT_IMPLEMENTED:
                raise
            # A store that cannot do the simplest things promises nothing; the first write that counts says why.
            return Promises(None, None, complete=False, faults=(str(error),))
        finally:
            await finish(self._clean())
        return Promises(create, replace, complete, md5_etags, signed, unsigned, faults=tuple(self._faults))

    async def permitted(self, there: str) -> bool:
        """Whether these credentials may read, and upload in parts, as those did that have tried the store.

        Args:
            there: Key of an object; it is not changed.

        Raises:
            DestinationError: The store failed, and may answer otherwise in a moment.
        """
        try:
            if await self._store.get(there) is None:
                return False
            key = self._new_key()  # no object comes to be there
            await finish(self._abort(key, await self._begin(key)))
        except DestinationError as error:
            _raise_if_passing(error)
            return False
        return True

    async def _plain(self) -> tuple[str, bool]:
        """Write, read and list without conditions: what fails here is a missing permission, not a missing feature."""
        key = self._new_key()
        try:
            answer = await self._store.send_body("put_object", key, b"1")
        except DestinationError as error:
            if error.status_code is not None and error.status_code < 500:
                self._keys.remove(key)  # it was refused, so there is nothing to clean
            raise
        found = await self._store.get(key)
        if found is None or found[0] != b"1":
            raise DestinationError(
                f"{self._store.uri(key)}: written, and not there a moment later", retryable=True, reason="not readable"
            )
        if key not in [info.key async for info in self._store.list(key)]:
            raise DestinationError(
                f"{self._store.uri(key)}: written, and not in the store's listing", retryable=True, reason="not listed"
            )
        return key, plain_etag(answer).lower() in {"", hashlib.md5(b"1", usedforsecurity=False).hexdigest()}

    async def _signing(self, key: str) -> bool:
        """Whether the store looks at the SHA-256 that a request is signed with: many copies of S3 do not."""
        unchanged = other_body.set(b"9")
        try:
            await self._store.call("put_object", key, Body=b"1")
        except DestinationError as error:
            _raise_if_passing(error)
            return error.reason in _MISMATCH
        finally:
            other_body.reset(unchanged)
        return False

    async def _unsigned(self, key: str) -> bool:
        """Whether hashing for a store that does not look at the hash can be left out."""
        token = unsigned_body.set(True)
        try:
            return await _is_accepted(lambda: self._store.call("put_object", key, Body=b"1"))
        finally:
            unsigned_body.reset(token)

    async def _creating(self, taken: str) -> str | None:
        """The header that keeps several writers of one key apart."""
        for header in CREATE_HEADERS:
            condition = Promises(create=header).creating()
            if not await is_refused(lambda c=condition: self._store.send_body("put_object", taken, b"0", **c)):
                continue
            winners = await self._race(condition)
            if winners == 1:
                return header
            self._faults.append(
                f"{winners} of {_RACERS} writers that created one key at the same time with {header} succeeded"
            )
        self._faults.append("no header keeps a write from replacing an object")
        return None

    async def _race(self, condition: Mapping[str, Any]) -> int:
        """Most writers of one key that succeeded; 1 when only ever one did."""

        async def create(key: str, line: StartLine) -> bool:
            line.enter()
            return await _is_accepted(lambda: self._store.send_body("put_object", key, b"2", **condition))

        fair = 0
        for _ in range(_ROUNDS):
            key, line = self._new_key(), StartLine(_RACERS)
            winners = sum(await asyncio.gather(*(create(key, line) for _ in range(_RACERS))))
            if winners > 1:
                return winners
            fair += winners
            if fair == _FAIR_ROUNDS:
                break
        return min(fair, 1)

    async def _replacing(self, key: str) -> Literal["quoted", "bare"] | None:
        """The spelling of an ETag that lets the right one through and the wrong one not."""
        there = await self._store.head(key)
        if there is None or not there.etag:
            self._faults.append("the store gives no ETags")
            return None
        for spelling in ("quoted", "bare"):
            promises = Promises(replace=spelling)
            wrong, right = promises.replacing("0" * 32), promises.replacing(there.etag)
            if not await is_refused(lambda p=wrong: self._store.send_body("put_object", key, b"0", **p)):
                continue
            if await _is_accepted(lambda p=right: self._store.send_body("put_object", key, b"3", **p)):
                return spelling
        self._faults.append(UNREPLACED)
        return None

    async def _completing(self, taken: str, create: str | None) -> bool:
        """Whether an upload in parts can be guarded too; that it can be made and dropped is shown on the way."""
        upload = await self._begin(taken)
        try:
            part = await self._store.send_body("upload_part", taken, b"4", UploadId=upload, PartNumber=1)
            parts = {"Parts": [{"PartNumber": 1, "ETag": part.get("ETag") or _quoted_md5(b"4")}]}
            guarded = create is not None and await is_refused(
                lambda: self._store.call(
                    "complete_multipart_upload",
                    taken,
                    UploadId=upload,
                    MultipartUpload=parts,
                    **Promises(create=create).creating(),
                )
            )
        finally:
            await finish(self._abort(taken, upload))
        if create is not None and not guarded:
            self._faults.append(UNGUARDED)
        return guarded

    async def _begin(self, key: str) -> str:
        """Id of an upload in parts."""
        return (await self._store.call("create_multipart_upload", key))["UploadId"]

    async def _abort(self, key: str, upload: str) -> None:
        try:
            await self._store.call("abort_multipart_upload", key, UploadId=upload)
        except DestinationError as error:
            if error.reason != "NoSuchUpload" and error.status_code != 404:
                logger.warning("A broken upload will stay in the store until a lifecycle rule removes it: %s", error)

    async def _clean(self) -> None:
        for number, key in enumerate(self._keys):
            try:
                await self._store.call("delete_object", key)
            except DestinationError as error:
                if error.reason == "NoCredentialsError":
                    return  # nothing was ever sent
                # Locked buckets and roles without s3:DeleteObject keep everything; nothing that is needed deletes.
                left = counted(len(self._keys) - number, "probe of one byte stays", "probes of one byte stay")
                logger.warning("%s in the store: %s", left, error)
                return

    def _new_key(self) -> str:
        self._keys.append(f"{PROBES}{int(time.time())}-{uuid4().hex}")
        return self._keys[-1]


async def is_refused(write: Callable[[], Awaitable[object]]) -> bool:
    """Whether a write whose condition does not hold is refused for that; any other answer means "no".

    Raises:
        DestinationError: The store failed, and may answer otherwise in a moment.
    """
    try:
        await write()
    except PreconditionFailedError:
        return True
    except DestinationError as error:
        if error.reason == "NoSuchKey":  # S3's answer to If-Match on a key without an object
            return True
        _raise_if_passing(error)
    return False


async def _is_accepted(write: Callable[[], Awaitable[object]]) -> bool:
    try:
        await write()
    except DestinationError as error:
        if not isinstance(error, PreconditionFailedError):
            _raise_if_passing(error)
        return False
    return True


def _raise_if_passing(error: DestinationError) -> None:
    if error.status_code is None or error.status_code in _PASSING:
        raise error


def _quoted_md5(data: bytes) -> str:
    return f'"{hashlib.md5(data, usedforsecurity=False).hexdigest()}"'
