"""Videos and films on their runs' pages: moving pictures, prompts, links that play them, and the facts."""

from __future__ import annotations

import asyncio
import base64

import anyio.to_thread

from prefect_genvideo.artifacts.markdown import artifact_key, code, grid, lives, plain, play
from prefect_genvideo.artifacts.pages import attempt, show_page
from prefect_genvideo.errors import counted, shorten
from prefect_genvideo.ledger.record import LedgerRecord
from prefect_genvideo.media.thumbnail import saved, thumbnail
from prefect_genvideo.models import StoredVideo, VideoRequest
from prefect_genvideo.pipeline.pipeline import Pipeline
from prefect_genvideo.pipeline.play import PlayLink
from prefect_genvideo.pipeline.storyboard import StoredFilm

_COVER_WIDTH, _SHOT_WIDTH = 480, 240
# Shots with a picture: more would make a page of megabytes.
_PICTURED = 30
_NOT_MADE = "The artifact could not be made"


async def show_video(pipeline: Pipeline, video: StoredVideo, request: VideoRequest) -> None:
    """Create the video's artifact. Its failure is logged, and nothing more: the video is safe already.

    Args:
        pipeline: Whose store has the cover.
        video: The saved video.
        request: What was asked for.
    """
    with attempt(_NOT_MADE):
        [link] = await pipeline.links.to(pipeline.ledger.store, [video])
        page = video_markdown(video, request, await _picture_of(pipeline, video), link)
        told = f"{shorten(request.prompt or 'Video', 140)} · {video.model}"
        await show_page(page, artifact_key("video", video.task_id), told)


async def show_reuse(record: LedgerRecord) -> None:
    """Say in the run's artifacts that nothing was paid, since its key had a task already."""
    page = f"Nothing was paid: task {code(record.task_id or '')} of {code(record.key)} is used again.\n"
    told = f"Paid for earlier: {shorten(str(record.request.get('prompt') or record.key), 140)}"
    with attempt(_NOT_MADE):
        await show_page(page, artifact_key("reused", record.task_id or record.key), told)


async def _picture_of(pipeline: Pipeline, video: StoredVideo, width: int = _COVER_WIDTH) -> str | None:
    """A data URL of the moving preview of a video that was saved just now, else of its cover; None without either.

    A small picture inside the text needs no signed link and never dies.
    """
    moving = pipeline.pictures.preview(video)
    if moving is not None:
        return data_url("image/webp", moving)
    cover = await pipeline.pictures.cover(pipeline.ledger.store, video)
    image = await anyio.to_thread.run_sync(thumbnail, cover, (width, width)) if cover else None
    return None if image is None else data_url("image/jpeg", saved(image, "JPEG", quality=80))


def data_url(media_type: str, content: bytes) -> str:
    """Return the content as a URL of its own.

    Args:
        media_type: E.g. `image/jpeg`.
        content: The file.
    """
    return f"data:{media_type};base64,{base64.b64encode(content).decode()}"


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
    table = grid(first, others)
    return "\n\n".join(filter(None, (shown, prompt, play(link, "Play the video"), places, table, lives(link))))


def _number(value: float) -> str:
    return f"{value:,.0f}" if value.is_integer() else f"{value:,.6g}"


async def show_film(pipeline: Pipeline, film: StoredFilm, name: str, prompts: list[str]) -> None:
    """Create the film's artifact. Its failure is logged, and nothing more: the film is safe already.

    Args:
        pipeline: Whose store has film and covers.
        film: The joined film.
        name: What people know it by.
        prompts: What each shot shows.
    """
    with attempt("The film's artifact could not be made"):
        store = pipeline.ledger.store
        [link] = await pipeline.links.of(store, [store.relative_key(film.key)])
        links = await pipeline.links.to(store, film.shots)
        pictures = await asyncio.gather(*(_picture_of(pipeline, shot, _SHOT_WIDTH) for shot in film.shots[:_PICTURED]))
        page = film_markdown(film, prompts, [*pictures, *[None] * len(film.shots)], [link, *links])
        told = f"{shorten(name, 140)} · film of {counted(len(film.shots), 'shot')}, {film.seconds:.1f} s"
        await show_page(page, artifact_key("film", film.sha256[:12]), told)


def film_markdown(
    film: StoredFilm, prompts: list[str], pictures: list[str | None], links: list[PlayLink | None]
) -> str:
    """The artifact's text.

    Args:
        film: The joined film.
        prompts: What each shot shows.
        pictures: Data URL of each shot's cover; None for those without.
        links: What plays the film, then what plays each shot.
    """
    joined = f"by encoding again: {plain(film.reason)}" if film.reencoded else "without encoding again"
    facts = f"{film.seconds:.1f} s, {film.size:,} bytes, {counted(len(film.shots), 'shot')} joined {joined}."
    rows = [
        [str(number), f"![shot {number}]({picture})" if picture else "", _caption(shot, prompt, link)]
        for number, (shot, prompt, picture, link) in enumerate(
            zip(film.shots, prompts, pictures, links[1:], strict=False), start=1
        )
    ]
    table = grid(("", "Shot", "What it shows"), rows, right=("",))
    return "\n\n".join(
        filter(None, (play(links[0], "Play the film"), facts, f"Film: {code(film.uri)}", table, lives(*links)))
    )


def _caption(shot: StoredVideo, prompt: str, link: PlayLink | None) -> str:
    return " · ".join(filter(None, (plain(shorten(prompt, 200)), play(link), code(shot.task_id))))
