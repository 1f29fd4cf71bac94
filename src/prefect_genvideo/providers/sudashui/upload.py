"""A reference file made ready for Sudashui's upload: its kind told from the content, its size held to the table."""

from __future__ import annotations

import io
import re
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from prefect_genvideo.errors import InvalidRequestError, shown
from prefect_genvideo.media.inspect import asset_kind, inspect_bytes, inspect_file, split_data_url
from prefect_genvideo.models import Problem
from prefect_genvideo.providers.sudashui.rules import UPLOAD_LIMITS

_SOURCE = "Sudashui API: 文件类型与限制"
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_MAX_STEM = 80


@dataclass(frozen=True)
class Prepared:
    """What goes into the multipart field `file`."""

    content: Path | bytes
    name: str
    media_type: str


def prepare(source: str | Path | bytes, filename: str | None, media_type: str | None) -> Prepared:
    """Check a file before it is sent.

    Args:
        source: Path, data URL or content.
        filename: Name to give it; the path's by default.
        media_type: What it is when the content does not show it.

    Raises:
        InvalidRequestError: It is missing, of a kind that is not taken, or too large.
    """
    content, name = _content_of(source)
    name = filename or name
    try:
        # Whether it can be decoded is looked at before a request is made of it; here only its kind decides.
        info = (
            inspect_bytes(content, digest=False, check=False)
            if isinstance(content, bytes)
            else inspect_file(content, digest=False, check=False)
        )
        found, size = info.media_type, info.size
    except InvalidRequestError:
        size = len(content) if isinstance(content, bytes) else _size(content)
        if not size or media_type not in UPLOAD_LIMITS:
            raise
        found = media_type
    limit = UPLOAD_LIMITS.get(found)
    if limit is None:
        raise _refused(name, found, "jpg, png, webp, mp4, mov, mp3 or wav")
    if size >= limit.below:
        raise _refused(name, f"{size} bytes", f"less than {limit.below} bytes for a file of kind {limit.kind}")
    return Prepared(content, _safe_name(name, limit.extensions), found)


@contextmanager
def opened(content: Path | bytes) -> Generator[BinaryIO, None, None]:
    """Open the content for one upload.

    Raises:
        InvalidRequestError: The file has gone since it was checked.
    """
    try:
        file: BinaryIO = io.BytesIO(content) if isinstance(content, bytes) else content.open("rb")
    except OSError as error:
        raise InvalidRequestError(f"{content} cannot be read: {error.strerror}.", reason="unreadable file") from None
    with file:
        yield file


def _content_of(source: str | Path | bytes) -> tuple[Path | bytes, str]:
    if isinstance(source, bytes):
        return source, "asset"
    text = str(source)
    kind = "local" if isinstance(source, Path) else asset_kind(text)
    if kind == "data":
        return split_data_url(text)[1], "asset"
    if kind != "local":
        raise InvalidRequestError(
            f"{shown(text)} is no local file; only files, data URLs and bytes are uploaded.", reason="no local file"
        )
    try:
        path = Path(text).expanduser()
    except RuntimeError:
        raise InvalidRequestError(
            f"{shown(text)} cannot be read: not a valid path.", reason="unreadable file"
        ) from None
    return path, path.name


def _size(path: Path) -> int:
    try:
        return path.stat().st_size if path.is_file() else 0
    except (OSError, ValueError):
        return 0


def _safe_name(name: str, extensions: tuple[str, ...]) -> str:
    """A name that survives any file host: plain characters, and the extension that the content asks for."""
    stem, dot, extension = name.replace("\\", "/").rpartition("/")[2].rpartition(".")
    if not dot or f".{extension.lower()}" not in extensions:
        stem, extension = stem or extension, extensions[-1][1:]
    stem = _UNSAFE.sub("_", stem).strip("._")[:_MAX_STEM]
    return f"{stem or 'asset'}.{extension}"


def _refused(name: str, value: str, limit: str) -> InvalidRequestError:
    problem = Problem("file", f"{shown(name)}: {value}", limit, _SOURCE)
    return InvalidRequestError(
        "Sudashui would refuse this file; nothing was sent:", problems=[problem], provider="sudashui"
    )
