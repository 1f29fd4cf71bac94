"""Results as streams of verified bytes.

Trusts bytes, not headers: a film's first box at the start, every announced byte, whole MP4 boxes at the end.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Protocol

import httpx

from prefect_genvideo.errors import DownloadError
from prefect_genvideo.media.mp4 import FIRST_BOXES, Mp4Reader
from prefect_genvideo.providers.http import SLOWEST_RATE, coding_of, raw_chunks
from prefect_genvideo.providers.unpack import BrokenCodingError, unpacked

MAX_SIZE = 8 * 1024**3
"""Bytes of a result where nobody says otherwise."""
TOO_LARGE = "too large"
"""Reason of the error of a file that is larger than the rules allow."""

# Bytes that show whether a film begins: the head of its first box.
_HEAD_END = 8


@dataclass(frozen=True)
class DownloadRules:
    """What a download may do.

    Attributes:
        origin: The API's base URL; the key goes nowhere else.
        key: The account's key.
        stall_timeout: Seconds without progress before giving up: without a byte, or with less than `SLOWEST_RATE`.
        provider: Name, for errors.
        max_size: Bytes; a larger file is refused.
    """

    origin: str
    key: str = field(repr=False)
    stall_timeout: float = 45.0
    provider: str = ""
    max_size: int = MAX_SIZE


class Prover(Protocol):
    """What proves a video's bytes as they pass, e.g. `media.mp4.Mp4Reader`."""

    def feed(self, chunk: bytes, /) -> None:
        """Take the next bytes; raises `DownloadError` when they cannot be a whole video."""
        ...

    def finish(self) -> object:
        """Take note of the end; raises `DownloadError` when the video is not whole."""
        ...


class VideoStream:
    """A result while it arrives. Iterate it once.

    Attributes:
        size: Bytes of the whole file; None when the server does not say, or says it of a compressed body.
        etag: Strong ETag, quotes included; None when there is none.
        offset: Byte of the file at which this stream starts: 0, or the wanted one when the server proved it.
        resumable: Whether a cut stream can be gone on with by `offset` and `if_range=etag`.
        head: The first bytes, read by `begin` and yielded again.
    """

    def __init__(self, response: httpx.Response, rules: DownloadRules, *, offset: int, size: int | None) -> None:
        coding = coding_of(response)
        self.head = b""
        self.offset = offset
        self.size = None if coding else size
        self.etag = _strong_etag(response)
        ranges = response.headers.get("accept-ranges", "").strip().lower() == "bytes"
        # A range of a compressed body cannot be unpacked by itself.
        self.resumable = bool(self.etag and self.size) and (ranges or response.status_code == 206)
        self._rules = rules
        self._on_wire = offset
        self._announced = size
        chunks = self._counted(raw_chunks(response, rules.stall_timeout))
        self._chunks = unpacked(chunks, coding) if coding else chunks

    async def begin(self) -> None:
        """Read the first bytes and see that they are a video's.

        Raises:
            DownloadError: They are not.
        """
        while self.offset == 0 and len(self.head) < _HEAD_END:
            chunk = await self._next()
            if chunk is None:
                break
            self.head += chunk
        if self.offset == 0 and self.head[4:8] not in FIRST_BOXES:
            what = "empty body" if not self.head else "not a video"
            raise failed(self._rules, f"The answer is no MP4 file ({what}).", reason=what)

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the file's bytes in order, as `chunks` does; a stream that starts later is not proved as a whole."""
        return self.chunks(Mp4Reader() if self.offset == 0 else None)

    async def chunks(self, prover: Prover | None) -> AsyncIterator[bytes]:
        """Yield the file's bytes in order; the end is reached only when they are proved whole.

        Args:
            prover: Is fed every byte once, before it is yielded. For a stream that starts later, it is the one that
                has seen the bytes before.

        Raises:
            DownloadError: The stream was cut, stalled, is larger than announced or allowed, or no whole MP4 file.
        """
        position = self.offset
        chunk: bytes | None = self.head or await self._next()
        while chunk is not None:
            position += len(chunk)
            if position > self._rules.max_size:
                raise too_large(self._rules)
            if prover:
                prover.feed(chunk)
            yield chunk
            chunk = await self._next()
        if self._announced is not None and self._on_wire != self._announced:
            raise failed(self._rules, f"{self._on_wire} of {self._announced} bytes arrived.", reason="incomplete")
        if prover:
            prover.finish()

    async def _counted(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The body as it comes off the wire, held to its length."""
        async for chunk in chunks:
            self._on_wire += len(chunk)
            if self._on_wire > self._rules.max_size:
                raise too_large(self._rules)
            if self._announced is not None and self._on_wire > self._announced:
                told = f"More than the announced {self._announced} bytes arrived."
                raise failed(self._rules, told, reason="too long")
            yield chunk

    async def _next(self) -> bytes | None:
        error: DownloadError
        try:
            return await anext(self._chunks, None)
        except httpx.TimeoutException:
            error = stalled(self._rules)
        except BrokenCodingError:
            error = failed(self._rules, "The compressed body is broken or cut.", reason="broken compression")
        except (httpx.HTTPError, httpx.StreamError, OSError):
            error = failed(self._rules, "The connection was lost before the end.", reason="connection lost")
        # Raised out here so that no request, with its key, hangs on the error.
        raise error


def failed(rules: DownloadRules, message: str, *, reason: str, retryable: bool | None = None) -> DownloadError:
    """Return the error of a download.

    Args:
        rules: Name the provider.
        message: For people.
        reason: For machines.
        retryable: Whether another try may help; None is the class's own word.
    """
    return DownloadError(message, retryable=retryable, provider=rules.provider or None, reason=reason)


def stalled(rules: DownloadRules) -> DownloadError:
    """Return the error of a file of which no byte comes, or hardly any."""
    slow = f"Less than {SLOWEST_RATE} bytes per second came for {rules.stall_timeout:g} s."
    return failed(rules, slow, reason="stalled")


def too_large(rules: DownloadRules) -> DownloadError:
    """Return the error of a file that is larger than the rules allow."""
    return failed(
        rules,
        f"The file is larger than the allowed {rules.max_size} bytes.",
        reason=TOO_LARGE,
        retryable=False,
    )


def _strong_etag(response: httpx.Response) -> str | None:
    etag = response.headers.get("etag", "").strip()
    return etag if len(etag) > 2 and etag.startswith('"') and etag.endswith('"') else None
