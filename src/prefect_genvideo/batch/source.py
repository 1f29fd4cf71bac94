"""Fetches a batch's file from this machine, http(s) or S3, within a size and a time."""

from __future__ import annotations

from collections.abc import AsyncIterable
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

import anyio.to_thread

from prefect_genvideo.batch.model import ManifestLimits, unusable
from prefect_genvideo.errors import DownloadError, InvalidRequestError
from prefect_genvideo.media.inspect import asset_kind
from prefect_genvideo.providers.answers import url_parts
from prefect_genvideo.providers.download import fetch_small
from prefect_genvideo.providers.http import Client
from prefect_genvideo.providers.ssrf import Guard
from prefect_genvideo.providers.video_stream import TOO_LARGE, DownloadRules
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
    try:
        async with Client(read_timeout=_STALL_SECONDS, guard=guard) as client:
            return await fetch_small(client, rules, url, limits.download_seconds)
    except DownloadError as error:
        if error.reason == TOO_LARGE:
            raise _too_large(url, limits.max_bytes) from None
        status = error.status_code
        if status is None:
            raise
        # What an answer says of a video's link is not what it says of a manifest's.
        again, told = status >= 500 or status in _AGAIN, f"The manifest's server answered HTTP {status}."
        raise DownloadError(told, retryable=again, status_code=status, reason=f"HTTP {status}") from None


async def _gather(source: str, chunks: AsyncIterable[bytes], limit: int) -> bytes:
    data = bytearray()
    async for chunk in chunks:
        data += chunk
        if len(data) > limit:
            raise _too_large(source, limit)
    return bytes(data)


def _too_large(source: str, limit: int) -> InvalidRequestError:
    return unusable(source, f"is larger than the allowed {limit} bytes; split it")
