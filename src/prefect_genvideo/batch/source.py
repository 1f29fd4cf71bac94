"""Fetches a batch's file from this machine, http(s) or S3, within a size and a time."""

from __future__ import annotations

from collections.abc import AsyncIterable
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

import anyio
import anyio.to_thread
import httpx

from prefect_genvideo.batch.model import ManifestLimits, unusable
from prefect_genvideo.errors import DownloadError, InvalidRequestError, redact
from prefect_genvideo.media.inspect import asset_kind
from prefect_genvideo.providers.answers import url_parts

# One place follows redirects, and one decides which addresses may be reached; a second copy would drift.
from prefect_genvideo.providers.download import follow
from prefect_genvideo.providers.http import Client, raw_chunks
from prefect_genvideo.providers.ssrf import Guard
from prefect_genvideo.providers.video_stream import DownloadRules
from prefect_genvideo.storage import ObjectStore, find_object

# Seconds without a byte after which a server is taken for dead.
_STALL_SECONDS = 20.0
# Statuses below 500 after which asking again may help.
_AGAIN = frozenset({408, 425, 429})


async def fetch(
    source: str | Path,
    *,
    home: ObjectStore | None,
    allow_local: bool,
    allow_private: bool,
    limits: ManifestLimits,
) -> tuple[str, bytes]:
    """Return the name of the file and its bytes.

    Args:
        source: Path, http(s) link or `s3://bucket/key`.
        home: The destination's store; an S3 store lends its account.
        allow_local: Whether a path on this machine may be read.
        allow_private: Whether a link may lead to a private or loopback address.
        limits: Most bytes, and seconds of a download.

    Raises:
        InvalidRequestError: There is no such file, it is not allowed here, or it is too large.
        DownloadError: The download failed or was refused.
        DestinationError: The S3 store failed or has no such object.
    """
    text = str(source)
    kind = "local" if isinstance(source, Path) else asset_kind(text)
    if kind == "http":
        path = unquote(url_parts(text).path, errors="replace")
        return PurePosixPath(path).name, await _download(text, allow_private, limits)
    if kind == "s3":
        store, key = find_object(text, home)
        return PurePosixPath(key).name, await _gather(text, store.read(key), limits.max_bytes)
    if kind == "data":
        raise unusable(text, "must be a file, an http(s) link or an s3:// URI, not a data URL")
    if not allow_local:
        raise unusable(text, "files of this machine are not allowed here; give an http(s) link or an s3:// URI")
    return Path(text).name, await anyio.to_thread.run_sync(_read, text, limits.max_bytes)


def _read(text: str, limit: int) -> bytes:
    try:
        path = Path(text).expanduser()
        # Only regular files: a pipe would block for ever, a device never end.
        if not path.is_file():
            raise unusable(text, "there is no such file on this machine")
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except (OSError, ValueError, RuntimeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not a valid path"
        raise unusable(text, f"cannot be read: {why}") from None
    if len(data) > limit:
        raise _too_large(text, limit)
    return data


async def _download(url: str, allow_private: bool, limits: ManifestLimits) -> bytes:
    rules = DownloadRules(origin="", key="", stall_timeout=_STALL_SECONDS, max_size=limits.max_bytes)
    guard = Guard(allow_private=allow_private)
    with anyio.move_on_after(limits.download_seconds):
        async with Client(read_timeout=_STALL_SECONDS, guard=guard) as client:
            response = await follow(client, rules, url, {})
            try:
                return await _body(url, response, limits.max_bytes)
            finally:
                with anyio.CancelScope(shield=True):
                    await response.aclose()
    raise DownloadError(f"The manifest did not arrive within {limits.download_seconds:g} s.", reason="timeout")


async def _body(url: str, response: httpx.Response, limit: int) -> bytes:
    status = response.status_code
    if status != 200:
        again = status >= 500 or status in _AGAIN
        told = f"The manifest's server answered HTTP {status}."
        raise DownloadError(told, retryable=again, status_code=status, reason=f"HTTP {status}")
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding not in {"", "identity"} and not response.is_stream_consumed:
        # Unpacking what somebody else packed has no bound; nobody was asked to pack.
        told = f"The manifest comes packed ({redact(encoding, 40)}); it must come plain."
        raise DownloadError(told, retryable=False, reason="packed")
    try:
        return await _gather(url, raw_chunks(response), limit)
    except httpx.TimeoutException:
        told, reason = f"No byte of the manifest arrived for {_STALL_SECONDS:g} s.", "stalled"
    except (httpx.HTTPError, httpx.StreamError, OSError):
        told, reason = "The manifest's connection was lost before the end.", "connection lost"
    raise DownloadError(told, reason=reason)


async def _gather(source: str, chunks: AsyncIterable[bytes], limit: int) -> bytes:
    data = bytearray()
    async for chunk in chunks:
        data += chunk
        if len(data) > limit:
            raise _too_large(source, limit)
    return bytes(data)


def _too_large(source: str, limit: int) -> InvalidRequestError:
    return unusable(source, f"is larger than the allowed {limit} bytes; split it")
