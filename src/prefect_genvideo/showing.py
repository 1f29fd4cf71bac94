"""What people find in the UI when a video is done: its cover, a link and the facts."""

from __future__ import annotations

import base64
import io
import re
from urllib.parse import quote

from prefect.artifacts import acreate_markdown_artifact

from prefect_genvideo.errors import DestinationError
from prefect_genvideo.models import StoredVideo, VideoRequest
from prefect_genvideo.steps import Studio
from prefect_genvideo.studio import run_logger

_COVER_WIDTH = 480
_COVER_LIMIT = 4 * 1024 * 1024


async def show_video(studio: Studio, video: StoredVideo, request: VideoRequest) -> None:
    """Create the video's artifact. Showing is a courtesy: its failure is logged, the video is safe already."""
    try:
        # A small picture inside the text needs no signed link and never dies.
        cover = await cover_bytes(studio, video)
        await acreate_markdown_artifact(
            markdown=video_markdown(video, request, thumbnail(cover) if cover else None),
            key=artifact_key("video", video.task_id),
            description=f"{video.model}: {' '.join(request.prompt.split())[:120]}",
        )
    except Exception as error:
        run_logger().warning("The artifact could not be made: %s", type(error).__name__)


def artifact_key(kind: str, name: str) -> str:
    """A key as Prefect wants it: lower-case letters, digits and dashes."""
    return f"{kind}-{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-')}"


async def cover_bytes(studio: Studio, video: StoredVideo) -> bytes | None:
    """The cover that lies beside the video; None when there is none or the store cannot be read now."""
    if video.cover_uri is None:
        return None
    store = studio.ledger.store
    name = store.relative_key(video.key).removesuffix(".mp4") + ".cover." + video.cover_uri.rpartition(".")[2]
    try:
        found = await store.get(name)
    except DestinationError:
        return None
    return found[0] if found and len(found[0]) <= _COVER_LIMIT else None


def thumbnail(picture: bytes, width: int = _COVER_WIDTH) -> str | None:
    """A picture scaled to at most `width` pixels, as a JPEG data URL; None for no picture or no Pillow."""
    try:
        from PIL import Image
    except ImportError:
        return None
    small = io.BytesIO()
    try:
        image = Image.open(io.BytesIO(picture))
        image.thumbnail((width, width))
        image.convert("RGB").save(small, "JPEG", quality=80)
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
    return f"data:image/jpeg;base64,{base64.b64encode(small.getvalue()).decode()}"


def video_markdown(video: StoredVideo, request: VideoRequest, cover: str | None) -> str:
    """The artifact's text.

    Args:
        video: The saved video.
        request: What was asked for.
        cover: Image URL or data URL of the cover.
    """
    pixels = f"{video.width}×{video.height} pixels" if video.width and video.height else "size unknown"
    seconds = f"{video.duration:g} s" if video.duration else "length unknown"
    facts = {
        "Model": f"{_plain(video.model)} ({video.provider})",
        "Video": f"{seconds}, {pixels}, {video.size:,} bytes",
        "Paid": "earlier; this run used it again" if video.reused else "by this run",
        "Cost": "unknown" if video.cost is None else f"{_number(video.cost)}, as the provider counts",
        "Task id": _code(video.task_id),
        "Key": _code(video.idempotency_key or "none"),
        "SHA-256": _code(video.sha256),
    }
    # The first fact is the table's head: an empty one would be shown as a bar. Addresses are too long for cells.
    first, *others = (f"| {name} | {value} |" for name, value in facts.items())
    picture = f"![cover]({cover})\n\n" if cover else ""
    prompt = "> " + (_plain(request.prompt) or "(no prompt)")
    places = f"{_link(video.uri)}\n\nManifest: {_link(video.manifest_uri)}"
    return f"{picture}{prompt}\n\n{places}\n\n" + "\n".join([first, "|---|---|", *others]) + "\n"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value.is_integer() else f"{value:,.6g}"


def _link(uri: str) -> str:
    # Prefect's UI shows the text of links as it is, escapes and all: what could be markup is percent-encoded instead.
    text = "".join(char if char.isalnum() or char in ":/._-" else quote(char) for char in uri)
    return f"[{text}]({quote(uri, safe=':/')})"


def _plain(text: str) -> str:
    """Text of strangers that must not become markup."""
    return re.sub(r"([\\`*_{}\[\]()<>#|!~])", r"\\\1", " ".join(text.split()))


def _code(text: str) -> str:
    return "`" + text.replace("`", "'").replace("|", "¦") + "`"
