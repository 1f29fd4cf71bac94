"""One video on its run's page: a moving picture, its prompt, a link that plays it, and the facts."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import anyio.to_thread

from prefect_genvideo.artifacts.markdown import artifact_key, code, grid, lives, plain, play
from prefect_genvideo.artifacts.pages import attempt, show_page
from prefect_genvideo.errors import shorten
from prefect_genvideo.ledger.record import LedgerRecord
from prefect_genvideo.models import StoredVideo, VideoRequest
from prefect_genvideo.pipeline.pipeline import Pipeline
from prefect_genvideo.pipeline.play import PlayLink

_COVER_WIDTH = 480
_NOT_MADE = "The artifact could not be made"


async def show_video(pipeline: Pipeline, video: StoredVideo, request: VideoRequest) -> None:
    """Create the video's artifact. Its failure is logged, and nothing more: the video is safe already.

    Args:
        pipeline: Whose store has the cover.
        video: The saved video.
        request: What was asked for.
    """

    async def work() -> None:
        [link] = await play_links(pipeline, [video])
        page = video_markdown(video, request, await picture_of(pipeline, video), link)
        told = f"{shorten(request.prompt or 'Video', 140)} · {video.model}"
        await show_page(page, artifact_key("video", video.task_id), told)

    await attempt(work(), _NOT_MADE)


async def show_reuse(record: LedgerRecord) -> None:
    """Say in the run's artifacts that nothing was paid, since its key had a task already."""
    page = f"Nothing was paid: task {code(record.task_id or '')} of {code(record.key)} is used again.\n"
    told = f"Paid for earlier: {shorten(str(record.request.get('prompt') or record.key), 140)}"
    await attempt(show_page(page, artifact_key("reused", record.task_id or record.key), told), _NOT_MADE)


async def play_links(pipeline: Pipeline, videos: Sequence[StoredVideo | None]) -> list[PlayLink | None]:
    """A link that plays each video, or None.

    Args:
        pipeline: Whose destination says what links there are.
        videos: Saved videos; None where there is none.
    """
    return await pipeline.links.to(pipeline.ledger.store, videos)


async def picture_of(pipeline: Pipeline, video: StoredVideo, width: int = _COVER_WIDTH) -> str | None:
    """A picture for a page: the moving preview of a video that was saved just now, else its cover.

    A small picture inside the text needs no signed link and never dies.

    Args:
        pipeline: Whose store has the cover.
        video: The saved video.
        width: Pixels of a cover.

    Returns:
        A data URL; None when there is neither.
    """
    moving = pipeline.pictures.preview(video)
    if moving is not None:
        return f"data:image/webp;base64,{base64.b64encode(moving).decode()}"
    cover = await pipeline.pictures.cover(pipeline.ledger.store, video)
    return await anyio.to_thread.run_sync(thumbnail, cover, width) if cover else None


def thumbnail(picture: bytes, width: int = _COVER_WIDTH) -> str | None:
    """Scale a picture, for a text that carries it.

    Args:
        picture: JPEG, PNG, GIF or WebP.
        width: Pixels; the result is at most as wide and as high.

    Returns:
        A JPEG as data URL; None for what is no picture or too large to open, or without Pillow.
    """
    from prefect_genvideo import media

    image = media.thumbnail(picture, (width, width))
    if image is None:
        return None
    small = io.BytesIO()
    image.save(small, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(small.getvalue()).decode()}"


def video_markdown(video: StoredVideo, request: VideoRequest, picture: str | None, link: PlayLink | None = None) -> str:
    """The artifact's text.

    Args:
        video: The saved video.
        request: What was asked for.
        picture: Image URL or data URL of the cover or preview.
        link: What plays the video.
    """
    pixels = f"{video.width}×{video.height} pixels" if video.width and video.height else "size unknown"
    seconds = f"{video.duration:g} s" if video.duration else "length unknown"
    facts = {
        "Model": f"{plain(video.model)} ({video.provider})",
        "Video": f"{seconds}, {pixels}, {video.size:,} bytes",
        "Paid": "earlier; this run used it again" if video.reused else "by this run",
        "Cost": "unknown" if video.cost is None else f"{_number(video.cost)}, as the provider counts",
        "Task id": code(video.task_id),
        "Key": code(video.idempotency_key or "none"),
        "SHA-256": code(video.sha256),
    }
    shown = f"![preview]({picture})" if picture else ""
    prompt = "> " + (plain(request.prompt) or "(no prompt)")
    # Prefect's pages take the address from an `s3://` link: what is left is to be copied. Too long for a table's cell.
    places = f"Video: {code(video.uri)}\n\nManifest: {code(video.manifest_uri)}"
    # The first fact is the table's head: an empty one would be shown as a bar.
    first, *others = facts.items()
    table = grid(dict.fromkeys(first, "left"), [list(fact) for fact in others])
    return "\n\n".join(filter(None, (shown, prompt, play(link, "Play the video"), places, table, lives(link))))


def _number(value: float) -> str:
    return f"{value:,.0f}" if value.is_integer() else f"{value:,.6g}"
