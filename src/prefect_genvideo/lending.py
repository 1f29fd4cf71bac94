"""References on their way to a provider: every asset becomes something that it can fetch."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import anyio

from prefect_genvideo.errors import InvalidRequestError
from prefect_genvideo.models import Problem, VideoRequest
from prefect_genvideo.staging import Staged
from prefect_genvideo.steps import Studio


async def make_fetchable(
    studio: Studio,
    request: VideoRequest,
    staged: Staged,
    upload: Callable[[str, str], Awaitable[str]],
) -> VideoRequest:
    """Return the request with every local, S3 and data asset turned into something the provider can fetch.

    Args:
        studio: Whose provider.
        request: As the caller gave it.
        staged: Its files.
        upload: Uploads one file: (field, path or data URL) → link. Only called for providers with uploads.
    """

    async def resolve(name: str, asset: str) -> tuple[str, str]:
        source = str(staged.files[name]) if name in staged.files else asset
        if name not in staged.files and not asset.startswith("data:"):
            return name, asset
        if studio.client.uploads:
            return name, await upload(name, source)
        if name in staged.files and staged.media[name].kind != "image":
            return name, await _lend(studio, name, staged)
        return name, source

    return request.with_assets(dict(await asyncio.gather(*(resolve(*item) for item in request.assets().items()))))


async def _lend(studio: Studio, name: str, staged: Staged) -> str:
    """Put a file beside the videos and return a link to it that lives long enough for the provider to fetch it."""
    store, path = studio.ledger.store, staged.files[name]
    key = f"_assets/{staged.media[name].sha256}{path.suffix.lower()}"
    link = await store.presign(key, 6 * 3600)
    if link is None:
        limit = f"{studio.client.title} takes no uploads of this kind: give an http(s) link, or use an S3 destination"
        raise InvalidRequestError(
            "A reference cannot be sent.", problems=[Problem(name, path.name, limit, "SenseAudio")]
        )
    if await store.head(key) is None:
        async with store.upload(key, content_type=staged.media[name].media_type) as upload:
            async with await anyio.open_file(path, "rb") as file:
                while chunk := await file.read(1024 * 1024):
                    await upload.write(chunk)
            await upload.commit()
    return link
