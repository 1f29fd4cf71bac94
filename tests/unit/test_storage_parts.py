"""How an S3 upload cuts its parts, and that it does not believe a store that holds another length."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import anyio
import pytest

from prefect_genvideo.errors import DestinationError
from prefect_genvideo.storage import ObjectInfo, S3Store
from prefect_genvideo.storage.s3 import upload as upload_module
from prefect_genvideo.storage.s3.orphans import NOTES
from prefect_genvideo.storage.s3.upload import S3Upload
from tests.fixtures.expected import failing

MIB = 1024 * 1024


class CountingCalls(S3Store):
    """A store that only counts what an upload asks of it."""

    def __init__(self, reported_size: int | None = None) -> None:
        super().__init__("bucket")
        self.parts: list[int] = []
        self.reported_size = reported_size

    async def head(self, key: str) -> ObjectInfo | None:
        size = sum(self.parts) if self.reported_size is None else self.reported_size
        return ObjectInfo(key, size, "etag")

    async def call(
        self, operation: str, key: str, headers: Mapping[str, str] | None = None, **params: Any
    ) -> dict[str, Any]:
        return {"UploadId": "1"}

    async def send_body(self, operation: str, key: str, body: bytes | bytearray, **params: Any) -> dict[str, Any]:
        if key.startswith(NOTES):
            assert json.loads(body) in ({"key": "k"}, {"key": "k", "upload_id": "1"})
        else:
            self.parts.append(len(body))
        return {"ETag": "x"}


def uploading(calls: CountingCalls, *, part_size: int) -> S3Upload:
    return S3Upload(calls, "k", options={}, metadata={}, part_size=part_size, if_absent=False)


async def test_without_a_length_the_parts_double() -> None:
    """After a thousand parts the size doubles, so that 10,000 parts reach Amazon's largest object."""
    calls = CountingCalls()
    upload = uploading(calls, part_size=8)
    await upload.write(b"x" * (8 * 1000 + 17))
    await upload.commit()
    assert calls.parts == [8] * 1000 + [16, 1]
    assert sum(6 * MIB * 2**step * 1000 for step in range(10)) > 5 * 1024**2 * MIB


async def test_the_digest_is_of_all_that_was_written() -> None:
    """Of parts on their way and of what fills the next one; more may follow, and a restart begins anew."""
    upload = uploading(CountingCalls(), part_size=8)
    data = bytes(range(61))
    for begin in (0, 8, 30, 53):
        await upload.write(data[begin : {0: 8, 8: 30, 30: 53, 53: 61}[begin]])
    assert await upload.digest() == hashlib.sha256(data).hexdigest()
    await upload.write(b"more")
    assert await upload.digest() == hashlib.sha256(data + b"more").hexdigest()
    await upload.restart()
    await upload.write(b"again")
    assert await upload.digest() == hashlib.sha256(b"again").hexdigest()


class SlowCalls(CountingCalls):
    """A store that takes its time, and counts the parts on their way."""

    on_their_way = 0
    most = 0

    async def send_body(self, operation: str, key: str, body: bytes | bytearray, **params: Any) -> dict[str, Any]:
        SlowCalls.on_their_way += 1
        SlowCalls.most = max(SlowCalls.most, SlowCalls.on_their_way)
        await anyio.sleep(0.001)
        SlowCalls.on_their_way -= 1
        return await super().send_body(operation, key, body, **params)


@pytest.mark.parametrize(
    ("slow_after", "uploads", "least", "most"),
    [(60, 1, 2, 2), (0, 1, 3, 3), (60, 8, 9, 10), (0, 8, 10, 10), (60, 20, 20, 22)],
)
async def test_parts_on_their_way_are_bounded(
    slow_after: float, uploads: int, least: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two of one upload, three to a slow store; of many, one of each and two further ones in the process."""
    monkeypatch.setattr(upload_module, "SLOW_AFTER", slow_after)
    SlowCalls.most = 0

    async def one() -> None:
        calls = SlowCalls()
        upload = uploading(calls, part_size=8)
        for _ in range(40):
            await upload.write(b"x" * 8)
        await upload.commit()
        assert calls.parts == [8] * 40
        await upload.close()

    for _ in range(2):  # places are given back
        await asyncio.gather(*(one() for _ in range(uploads)))
        assert least <= SlowCalls.most <= most


class OnePartLate(CountingCalls):
    """A store in which the first part arrives after the sixth."""

    def __init__(self) -> None:
        super().__init__()
        self.sixth = asyncio.Event()
        self.completed: list[tuple[int, str]] = []

    async def call(
        self, operation: str, key: str, headers: Mapping[str, str] | None = None, **params: Any
    ) -> dict[str, Any]:
        if operation == "complete_multipart_upload":
            self.completed = [(part["PartNumber"], part["ETag"]) for part in params["MultipartUpload"]["Parts"]]
        return await super().call(operation, key, headers, **params)

    async def send_body(self, operation: str, key: str, body: bytes | bytearray, **params: Any) -> dict[str, Any]:
        number = params.get("PartNumber")
        if number == 6:
            self.sixth.set()
        if number == 1:
            await self.sixth.wait()
        await super().send_body(operation, key, body, **params)
        return {"ETag": f"{number}-{bytes(body[:1]).decode()}"}


async def test_a_part_that_takes_long_holds_up_no_other() -> None:
    calls, data = OnePartLate(), b"".join(bytes([letter]) * 8 for letter in b"abcdefghi")
    upload = uploading(calls, part_size=8)
    with anyio.fail_after(5):
        await upload.write(data)
        assert await upload.digest() == hashlib.sha256(data).hexdigest()
        await upload.commit()
    assert calls.completed == [(number, f"{number}-{letter}") for number, letter in enumerate("abcdefghi", 1)]


async def test_what_fits_a_part_is_one_put() -> None:
    """Exactly one part is no reason for a multipart upload."""
    calls = CountingCalls()
    upload = uploading(calls, part_size=8)
    await upload.write(b"x" * 8)
    await upload.commit()
    assert calls.parts == [8]


async def test_a_store_that_holds_another_length_fails_the_commit() -> None:
    """What the store says afterwards has to agree with what was written."""
    upload = uploading(CountingCalls(reported_size=3), part_size=8)
    await upload.write(b"x" * 5)
    with failing(DestinationError, "another size") as caught:
        await upload.commit()
    assert caught.value.retryable
