"""Reference files on their way to a provider: known by content, checked before money is spent, then made fetchable."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode, urlsplit

import anyio
import anyio.to_thread

from prefect_genvideo.errors import DestinationError, DownloadError, InvalidRequestError, shown
from prefect_genvideo.media.inspect import MediaInfo, asset_kind, inspect_file, split_data_url
from prefect_genvideo.models import Problem, VideoRequest
from prefect_genvideo.providers.ssrf import public_addresses
from prefect_genvideo.storage import ObjectStore, find_object

if TYPE_CHECKING:
    from prefect_genvideo.providers.base import VideoClient

# Query parameters that sign a link and change each time it is made; they do not say what the link shows.
_SIGNATURES = frozenset({"expires", "signature", "sig", "token", "sign", "key-pair-id", "policy", "awsaccesskeyid"})
_LARGEST = 64 * 1024 * 1024
# Bytes of a file's name that every file system takes, with room for what uploads add.
_LONGEST_NAME = 200
# Seconds a provider has to fetch a presigned reference.
_LINK_LIFE = 6 * 3600


@dataclass(frozen=True)
class ReferenceAssets:
    """Reference assets of a request as local files, with what is known of each.

    Attributes:
        files: Local file of every asset that is a local path or was fetched from S3, by field.
        media: What each of those files is, by field.
        identities: What stands for each asset in the request's fingerprint, by field.
        problems: Assets that are missing, unreadable or not allowed; `Pipeline.check` raises them with all others.
    """

    files: Mapping[str, Path]
    media: Mapping[str, MediaInfo]
    identities: Mapping[str, str]
    problems: Sequence[Problem] = ()


@asynccontextmanager
async def reference_assets(
    request: VideoRequest, home: ObjectStore | None = None, *, allow_local: bool = True
) -> AsyncGenerator[ReferenceAssets]:
    """Bring the request's local and S3 assets within reach, for the length of the context.

    Args:
        request: The request as the caller gave it.
        home: The destination's store; its credentials read `s3://` assets of the same bucket.
        allow_local: Whether paths on this machine may be read. Off where parameters come from strangers.
    """
    files, media, problems = dict[str, Path](), dict[str, MediaInfo](), list[Problem]()
    if not request.assets():
        yield ReferenceAssets(files, media, {}, problems)
        return
    with tempfile.TemporaryDirectory(prefix="genvideo-", ignore_cleanup_errors=True) as folder:
        for field, asset in request.assets().items():
            try:
                path = await _bring(field, asset, Path(folder), home, allow_local)
                if path is not None:
                    files[field] = path
                    media[field] = await anyio.to_thread.run_sync(inspect_file, path)
            except (DestinationError, InvalidRequestError) as error:
                problems.append(Problem(field, shown(asset), str(error)))
        identities = {field: _identity(asset, media.get(field)) for field, asset in request.assets().items()}
        yield ReferenceAssets(files, media, identities, problems)


async def _bring(field: str, asset: str, folder: Path, home: ObjectStore | None, allow_local: bool) -> Path | None:
    kind = asset_kind(asset)
    if kind == "s3":
        return await _fetch(asset, folder / field.strip("]").replace("[", "-"), home)
    if kind != "local":
        return None
    if not allow_local:
        raise InvalidRequestError("files of this machine are not allowed here; give an http(s) link or an s3:// URI")
    try:
        path = Path(asset).expanduser()
        found = await anyio.to_thread.run_sync(path.is_file)
    except (OSError, ValueError, RuntimeError):  # too long a name, a NUL, no such user after `~`
        raise InvalidRequestError("this is no path that this machine could have") from None
    if not found:
        raise InvalidRequestError("there is no such file on this machine")
    return path


async def _fetch(uri: str, folder: Path, home: ObjectStore | None) -> Path:
    """Copy an S3 object into a file of its own name."""
    store, key = find_object(uri, home)
    info = await store.head(key)
    if info is None:
        raise InvalidRequestError("there is no such object")
    if info.size > _LARGEST:
        raise InvalidRequestError(f"{info.size} bytes; at most {_LARGEST} bytes are taken as a reference")
    await anyio.Path(folder).mkdir(parents=True, exist_ok=True)
    name = Path(key).name or "asset"
    # A key's last segment may be longer than a file system's names; the type is told by the end of it.
    path = folder / (name if len(name.encode()) <= _LONGEST_NAME else f"asset{Path(name).suffix[:16]}")
    await store.download(key, path)
    return path


def _identity(asset: str, media: MediaInfo | None) -> str:
    if media is not None and media.sha256:
        return f"sha256:{media.sha256}"
    try:
        if asset_kind(asset) == "data":
            return f"sha256:{hashlib.sha256(split_data_url(asset)[1]).hexdigest()}"
        parts = urlsplit(asset)
    except (InvalidRequestError, ValueError):
        return asset  # neither a data URL nor a link: the rules refuse it, and name its field
    kept = [(k, v) for k, v in parse_qsl(parts.query, keep_blank_values=True) if not _signs(k)]
    return parts._replace(query=urlencode(kept), fragment="").geturl()


def _signs(name: str) -> bool:
    return name.lower() in _SIGNATURES or name.lower().startswith(("x-amz-", "x-goog-", "x-oss-", "x-tos-"))


async def make_fetchable(
    client: VideoClient,
    store: ObjectStore,
    request: VideoRequest,
    references: ReferenceAssets,
    upload: Callable[[str], Awaitable[str]],
) -> VideoRequest:
    """Return the request with every local, S3 and data asset turned into something the provider can fetch.

    Args:
        client: Whose provider.
        store: Takes files that a provider without uploads must fetch by a presigned link.
        request: As the caller gave it.
        references: Its files.
        upload: Uploads one file (path or data URL) and returns its link. Only called for providers with uploads.

    Raises:
        InvalidRequestError: A file can neither be uploaded nor be fetched by a presigned link.
    """

    async def resolve(name: str, asset: str) -> tuple[str, str]:
        source = str(references.files[name]) if name in references.files else asset
        if name not in references.files and not asset.startswith("data:"):
            return name, asset
        if client.uploads:
            return name, await upload(source)
        if name in references.files and references.media[name].kind not in client.inlines:
            return name, await _presigned_reference(client, store, name, references)
        return name, source

    return request.with_assets(dict(await asyncio.gather(*(resolve(*item) for item in request.assets().items()))))


async def _presigned_reference(client: VideoClient, store: ObjectStore, name: str, references: ReferenceAssets) -> str:
    """Put a file beside the videos and return a link to it that lives long enough for the provider to fetch it."""
    path, media = references.files[name], references.media[name]
    object_key = f"_assets/{media.sha256}{path.suffix.lower()}"
    link = await store.presign(object_key, _LINK_LIFE)
    limit = f"{client.title} takes no uploads of this kind: give an http(s) link, or use an S3 destination"
    if link is not None:
        host, api = urlsplit(link).hostname or "", urlsplit(client.base_url).hostname or ""
        limit = (
            f"{client.title} cannot fetch from the private address {host}: give a public link, or use a public store"
        )
        if await _is_private(host) and not await _is_private(api):
            link = None
    if link is None:
        raise InvalidRequestError(
            "A reference cannot be sent.", problems=[Problem(name, path.name, limit, client.title)]
        )
    if await store.head(object_key) is None:
        await store.upload_file(object_key, path, content_type=media.media_type)
    return link


async def _is_private(host: str) -> bool:
    """Whether a host is known to be out of reach from the internet; a name that nobody here knows may be public."""
    if "." not in host and ":" not in host:  # `minio`, `localhost`
        return True
    try:
        await public_addresses(host, 443)
    except DownloadError as error:
        return not error.retryable
    return False
