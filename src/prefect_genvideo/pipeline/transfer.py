"""Fetches a video from its provider into an upload: resumed when cut, begun again when it must be, and proved.

Retries of a download never lead to a new create, and never end by themselves while bytes keep coming.
"""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Generator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from prefect_genvideo.errors import DownloadError, GenVideoError, LinkExpiredError, TransientError
from prefect_genvideo.media.mp4 import Movie, Mp4Reader
from prefect_genvideo.models import Generation
from prefect_genvideo.polling import Backoff, Sleep
from prefect_genvideo.providers.answers import url_parts
from prefect_genvideo.storage.base import Upload


class VideoBytes(Protocol):
    """A stream of a video's bytes, as `VideoClient.open_video` gives it."""

    @property
    def size(self) -> int | None:
        """Bytes of the whole file, when known."""
        ...

    @property
    def etag(self) -> str | None:
        """Strong ETag."""
        ...

    @property
    def offset(self) -> int:
        """Byte of the file at which the stream begins."""
        ...

    @property
    def resumable(self) -> bool:
        """Whether a cut stream can be gone on with."""
        ...

    def chunks(self, prover: Prover | None) -> AsyncIterator[bytes]:
        """Feed the prover every byte once, before it is yielded, and let it judge the end."""
        ...


class VideoSource(Protocol):
    """The two things that fetching asks of a provider's client."""

    def open_video(
        self, url: str, *, offset: int = 0, if_range: str | None = None
    ) -> AbstractAsyncContextManager[VideoBytes]:
        """Open a result.

        Args:
            url: Its link.
            offset: Byte to go on from; heeded only together with `if_range`.
            if_range: ETag of the earlier bytes.
        """
        ...

    async def get(self, task_id: str) -> Generation:
        """Ask about a task, here for a fresh link."""
        ...


# A cut download is gone on with soon; a server that asks for more than five minutes gets a later run.
_BACKOFF = Backoff(first=1.0, ceiling=30.0, longest_hint=300.0)


@dataclass(frozen=True)
class Patience:
    """How long a download is tried.

    Attributes:
        attempts: Failures in a row that brought no byte further than ever before.
        total: Failures in all.
        backoff: Pauses between tries; a server's Retry-After is believed up to its `longest_hint`.
    """

    attempts: int = 5
    total: int = 100
    backoff: Backoff = _BACKOFF


@dataclass(frozen=True)
class Received:
    """A whole, proved video.

    Attributes:
        size: Bytes.
        sha256: Hash of the bytes, hex.
        movie: What its boxes say.
        surplus: Bytes behind its last box, kept as they came.
        host: Where it came from.
    """

    size: int
    sha256: str
    movie: Movie
    surplus: int = 0
    host: str | None = None


class Prover:
    """Checks, reads and, where nobody else does, hashes a video's bytes in one pass.

    Args:
        hashing: Whether `finish` is to say the SHA-256; an upload knows it of what it was given.

    Attributes:
        broken: Whether the bytes so far cannot be a whole MP4: going on after them would keep them.
    """

    def __init__(self, *, hashing: bool = True) -> None:
        self.broken = False
        self._hash = hashlib.sha256() if hashing else None
        self._reader = Mp4Reader()

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._reader.size

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes.

        Raises:
            DownloadError: They cannot be a whole MP4.
        """
        if self._hash is not None:
            self._hash.update(chunk)
        with self._judged():
            self._reader.feed(chunk)

    def finish(self, host: str | None = None, sha256: str = "") -> Received:
        """Say that there are no more bytes.

        Args:
            host: Where they came from.
            sha256: Their hash, for a prover that takes none.

        Raises:
            DownloadError: They are not a whole MP4.
        """
        with self._judged():
            if not self.size:
                raise DownloadError("The file is empty.", reason="empty body")
            movie = self._reader.finish()
        sha256 = sha256 if self._hash is None else self._hash.hexdigest()
        return Received(self.size, sha256, movie, self._reader.surplus, host)

    @contextmanager
    def _judged(self) -> Generator[None]:
        try:
            yield
        except DownloadError:
            self.broken = True
            raise


class Fetch:
    """Moves one video from its provider into an upload, which the caller commits.

    Args:
        source: The provider's client.
        generation: The task; its `video_url` is the first link.
        upload: Where the bytes go.
        patience: How long to try.
        sleep: Waits between tries.
    """

    def __init__(
        self,
        source: VideoSource,
        generation: Generation,
        upload: Upload,
        *,
        patience: Patience,
        sleep: Sleep,
    ) -> None:
        self._source = source
        self._generation = generation
        self._upload = upload
        self._patience = patience
        self._sleep = sleep
        self._url = generation.video_url or ""
        self._link_is_stale = not self._url
        self._refused: set[str] = set()
        self._prover = Prover(hashing=False)
        self._size: int | None = None
        self._etag: str | None = None
        self._resumable = False

    async def run(self) -> Received:
        """Fetch until every byte is there and proved.

        Raises:
            LinkExpiredError: The provider has no link that works (any more).
            DownloadError: It did not come whole; `retryable` says whether a later run may have more luck.
            DestinationError: The upload failed.
            GenVideoError: The provider refused to be asked for a fresh link.
        """
        failures = total = best = 0
        while True:
            try:
                return await self._attempt()
            except (DownloadError, TransientError) as error:
                failure = self._judge(error)
            failures, best = (failures + 1, best) if self._prover.size <= best else (1, self._prover.size)
            total += 1
            if failures >= self._patience.attempts or total >= self._patience.total:
                raise self._given_up(failure, total) from failure
            task_id = self._generation.task_id
            await self._sleep(self._patience.backoff.delay(failures, failure.retry_after, task_id=task_id))

    async def _attempt(self) -> Received:
        if self._link_is_stale:
            await self._renew_link()
        offset = self._prover.size if self._resumable else 0
        async with self._source.open_video(self._url, offset=offset, if_range=self._etag if offset else None) as stream:
            await self._accept(stream, offset)
            async for chunk in stream.chunks(self._prover):
                await self._upload.write(chunk)
        if self._size is not None and self._prover.size != self._size:
            raise self._error(f"{self._prover.size} of {self._size} bytes arrived.", "incomplete")
        self._resumable = False
        return self._prover.finish(url_parts(self._url).hostname, await self._upload.digest())

    async def _accept(self, stream: VideoBytes, offset: int) -> None:
        """Go on where the earlier stream was cut, or start over."""
        same = (stream.size, stream.etag) == (self._size, self._etag)
        if stream.offset and (stream.offset != offset or not same):
            self._resumable = False
            raise self._error("The server went on with another file.", "another file")
        if not stream.offset and self._prover.size:
            await self._upload.restart()
            self._prover = Prover(hashing=False)
        self._size, self._etag, self._resumable = stream.size, stream.etag, stream.resumable

    def _judge(self, error: DownloadError | TransientError) -> GenVideoError:
        """Prepare the next attempt, or raise what no further attempt can mend."""
        if not error.retryable:
            raise error
        if isinstance(error, LinkExpiredError):
            if self._url in self._refused:
                raise self._expired("is refused, also after a fresh query") from error
            self._link_is_stale = True
        if self._prover.broken or (self._size is not None and self._prover.size >= self._size):
            self._resumable = False
        return error

    async def _renew_link(self) -> None:
        """Ask the provider for a link. The same one is tried once more: a CDN may lag behind its API."""
        fresh = await self._source.get(self._generation.task_id)
        if not fresh.video_url:
            raise self._expired(f"has died, and the provider gives no other (the task is {fresh.state})")
        if self._url:
            self._refused.add(self._url)
        # An ETag speaks for one resource only: another path is another file.
        self._resumable = self._resumable and _resource(fresh.video_url) == _resource(self._url)
        self._url = fresh.video_url
        self._link_is_stale = False

    def _expired(self, what: str) -> LinkExpiredError:
        generation = self._generation
        return LinkExpiredError(
            f"The link to the video of task {generation.task_id} {what}.",
            retryable=False,
            provider=generation.provider,
            task_id=generation.task_id,
            reason="link expired",
        )

    def _error(self, message: str, reason: str) -> DownloadError:
        return DownloadError(
            message, provider=self._generation.provider, task_id=self._generation.task_id, reason=reason
        )

    def _given_up(self, error: GenVideoError, total: int) -> DownloadError:
        of = f" of {self._size}" if self._size is not None else ""
        return DownloadError(
            f"The video of task {self._generation.task_id} did not come whole in {total} tries; "
            f"{self._prover.size}{of} bytes had arrived. The last failure: {error}",
            provider=self._generation.provider,
            task_id=self._generation.task_id,
            status_code=error.status_code,
            reason=error.reason,
            retry_after=error.retry_after,
        )


def _resource(url: str) -> tuple[str, str]:
    parts = url_parts(url)
    return parts.netloc, parts.path
