"""The assets of a request: are the strings well formed, and what do the local ones hold. No network."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from pathlib import Path

from prefect_genvideo.errors import InvalidRequestError, shown
from prefect_genvideo.media.inspect import (
    MediaInfo,
    asset_kind,
    inspect_bytes,
    inspect_file,
    sniff,
    split_data_url,
)
from prefect_genvideo.models import Problem, VideoRequest
from prefect_genvideo.providers.answers import is_link

_S3 = re.compile(r"s3://[^/\s?#]{1,255}/[^\x00-\x1f]{1,1024}", re.IGNORECASE)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]{1,20}://")
_FORMS = "http(s) link with a host, s3://bucket/key, data URL or local path"
# Longest beginning of a data URL that is looked at for its media type.
_DATA_HEAD = 100
_SOURCE = "VideoRequest: assets"
# Ids that a provider resolves by itself, e.g. of Ark's library of assets.
_ASSET_ID = re.compile(r"asset://[A-Za-z0-9_-]{1,200}", re.IGNORECASE)


def gather(
    request: VideoRequest, known: Mapping[str, MediaInfo], *, takes_asset_ids: bool = False
) -> tuple[dict[str, MediaInfo], list[Problem]]:
    """Look at every asset.

    Args:
        request: The request.
        known: Facts found elsewhere, keyed as in `request.assets()`; those assets are not looked at again.
        takes_asset_ids: Whether `asset://` ids of the provider's own library will do.

    Returns:
        The facts by field, and what is wrong with the strings or with the files they name.
    """
    facts: dict[str, MediaInfo] = {}
    problems: list[Problem] = []
    for field, text in request.assets().items():
        if field in known:
            facts[field] = known[field]
            continue
        if takes_asset_ids and _ASSET_ID.fullmatch(text):
            continue
        limit, info = _look(text)
        if limit:
            problems.append(Problem(field, _shown(text), limit, _SOURCE))
        if info:
            facts[field] = info
    return facts, problems


def not_links(request: VideoRequest) -> list[Problem]:
    """Every asset that is not an http(s) link yet."""
    return [
        Problem(field, _shown(text), "an http(s) link by now: upload or presign the asset first", _SOURCE)
        for field, text in request.assets().items()
        if not is_link(text)
    ]


def inlined(asset: str, provider: str) -> str:
    """Return a local file or a data URL as a data URL in its strict form, however loosely it was written.

    Args:
        asset: Any asset; links and ids are returned as they are.
        provider: Name for the error.

    Raises:
        InvalidRequestError: The file cannot be read.
    """
    kind = asset_kind(asset)
    if kind == "data":
        declared, data = split_data_url(asset)
    elif kind == "local":
        declared, data = "", _content_of(asset, provider)
    else:
        return asset
    media_type = sniff(data[:64]) or declared or "application/octet-stream"
    return f"data:{media_type};base64,{base64.b64encode(data).decode('ascii')}"


def _content_of(path: str, provider: str) -> bytes:
    try:
        return Path(path).expanduser().read_bytes()
    except (OSError, ValueError, RuntimeError):
        raise InvalidRequestError(f"{path} cannot be read.", provider=provider, reason="unreadable file") from None


def _shown(text: str) -> str:
    """An asset without its content or query: a broken link may still hold a working signature."""
    kind = asset_kind(text)
    if kind == "data":
        head, comma, _ = text.strip()[:_DATA_HEAD].partition(",")
        return shown(f"{head},***" if comma else "data:***")
    path, mark, _ = text.partition("?")
    return shown(f"{path}?***" if mark and kind != "local" else text)


def _look(text: str) -> tuple[str, MediaInfo | None]:
    kind = asset_kind(text)
    if kind == "http":
        return ("" if is_link(text) else _FORMS), None
    if kind == "s3":
        return ("" if _S3.fullmatch(text) else _FORMS), None
    if not text.strip() or (kind == "local" and _SCHEME.match(text)):
        return _FORMS, None
    try:
        if kind == "data":
            return "", inspect_bytes(split_data_url(text)[1], digest=False)
        return "", inspect_file(text, digest=False)
    except InvalidRequestError as error:
        return str(error), None
