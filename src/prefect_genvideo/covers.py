"""A cover picture for a video whose provider gave none. Decoration: it never fails anything."""

from __future__ import annotations

import tempfile
from pathlib import Path

import anyio
import anyio.to_thread

from prefect_genvideo.errors import GenVideoError
from prefect_genvideo.storage.base import ObjectStore

#: Bytes; a larger video is not read back for its first picture.
_LARGEST = 64 * 1024 * 1024


async def cover_from_video(store: ObjectStore, key: str, size: int) -> bytes | None:
    """Read a saved video back and take its first picture that shows something.

    Args:
        store: Where it is.
        key: Its key, relative to the store's prefix.
        size: Its bytes.

    Returns:
        A JPEG; None for large videos, without the extra `media`, or when it cannot be read or decoded.
    """
    if size > _LARGEST:
        return None
    from prefect_genvideo.film import cover_of

    try:
        with tempfile.TemporaryDirectory(prefix="genvideo-", ignore_cleanup_errors=True) as folder:
            path = Path(folder) / "video.mp4"
            async with await anyio.open_file(path, "wb") as file:
                async for chunk in store.read(key):
                    await file.write(chunk)
            return await anyio.to_thread.run_sync(cover_of, path)
    except (GenVideoError, OSError):  # a full disk, too
        return None
