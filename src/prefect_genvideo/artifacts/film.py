"""A film on its run's page: its shots with their covers, and links that play film and shots."""

from __future__ import annotations

import asyncio

from prefect_genvideo.artifacts.markdown import artifact_key, code, grid, lives, plain, play
from prefect_genvideo.artifacts.pages import attempt, show_page
from prefect_genvideo.artifacts.video import picture_of, play_links
from prefect_genvideo.errors import counted, shorten
from prefect_genvideo.models import StoredVideo
from prefect_genvideo.pipeline.pipeline import Pipeline
from prefect_genvideo.pipeline.play import PlayLink
from prefect_genvideo.pipeline.storyboard import StoredFilm

_WIDTH = 240
# Shots with a picture: more would make a page of megabytes.
_PICTURED = 30


async def show_film(pipeline: Pipeline, film: StoredFilm, name: str, prompts: list[str]) -> None:
    """Create the film's artifact. Its failure is logged, and nothing more: the film is safe already.

    Args:
        pipeline: Whose store has film and covers.
        film: The joined film.
        name: What people know it by.
        prompts: What each shot shows.
    """

    async def work() -> None:
        store = pipeline.ledger.store
        [link] = await pipeline.links.of(store, [store.relative_key(film.key)])
        links = await play_links(pipeline, film.shots)
        pictures = await asyncio.gather(*(picture_of(pipeline, shot, _WIDTH) for shot in film.shots[:_PICTURED]))
        page = film_markdown(film, prompts, [*pictures, *[None] * len(film.shots)], [link, *links])
        told = f"{shorten(name, 140)} · film of {counted(len(film.shots), 'shot')}, {film.seconds:.1f} s"
        await show_page(page, artifact_key("film", film.sha256[:12]), told)

    await attempt(work(), "The film's artifact could not be made")


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
        [str(number), f"![shot {number}]({picture})" if picture else "", _told(shot, prompt, link)]
        for number, (shot, prompt, picture, link) in enumerate(
            zip(film.shots, prompts, pictures, links[1:], strict=False), start=1
        )
    ]
    table = grid({"": "right", "Shot": "left", "What it shows": "left"}, rows)
    return "\n\n".join(
        filter(None, (play(links[0], "Play the film"), facts, f"Film: {code(film.uri)}", table, lives(*links)))
    )


def _told(shot: StoredVideo, prompt: str, link: PlayLink | None) -> str:
    return " · ".join(filter(None, (plain(shorten(prompt, 200)), play(link), code(shot.task_id))))
