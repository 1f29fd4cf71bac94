"""Lineage for catalogues: what was made in the destination, and what it was made from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from prefect_genvideo.errors import counted
from prefect_genvideo.ledger.record import LedgerRecord
from prefect_genvideo.pipeline.hooks import Lineage
from prefect_genvideo.pipeline.money import request_of

if TYPE_CHECKING:
    from prefect_genvideo.pipeline.pipeline import Pipeline
    from prefect_genvideo.pipeline.storyboard import StoredFilm


async def tell_video(pipeline: Pipeline, record: LedgerRecord) -> None:
    """Tell of a video that has been saved, if somebody wants to know.

    Args:
        pipeline: Whose store has the video.
        record: Its record, which is `saved`.
    """
    if pipeline.lineage is None or record.stored is None:
        return
    video = record.stored
    facts = record.model_dump(
        mode="json",
        exclude_none=True,
        exclude_defaults=True,
        include={"key", "provider", "model", "task_id", "tags", "cost_center", "seconds", "resolution"},
    )
    measured = video.model_dump(include={"manifest_uri", "size", "sha256", "width", "height"}, exclude_none=True)
    request = request_of(record)
    # Links may carry signatures, and paths mean nothing here.
    references = [asset for asset in request.assets().values() if asset.startswith("s3://")]
    pipeline.lineage(
        Lineage(
            uri=video.uri,
            name=video.key.rpartition("/")[2],
            description=request.prompt,
            link=await _link(pipeline, video.key),
            upstream=tuple(dict.fromkeys(references)),
            facts=facts | measured,
        )
    )


async def tell_film(pipeline: Pipeline, film: StoredFilm, name: str) -> None:
    """Tell of a film that has been joined, if somebody wants to know.

    Args:
        pipeline: Whose store has the film.
        film: The film, made of its shots.
        name: What people know it by.
    """
    if pipeline.lineage is None:
        return
    pipeline.lineage(
        Lineage(
            uri=film.uri,
            name=name,
            description=f"Film of {counted(len(film.shots), 'shot')}, {film.seconds:.1f} s",
            link=await _link(pipeline, film.key),
            upstream=tuple(dict.fromkeys(shot.uri for shot in film.shots)),
            facts=film.model_dump(include={"manifest_uri", "size", "sha256", "seconds", "reencoded"}),
        )
    )


def tell_report(pipeline: Pipeline, uri: str, name: str, summary: str, videos: Sequence[str]) -> None:
    """Tell of a batch's report that has been stored, if somebody wants to know.

    Args:
        pipeline: Whose store has the report.
        uri: The report.
        name: Its name.
        summary: What became of the batch, in a line.
        videos: URIs of the videos that it tells of.
    """
    if pipeline.lineage is not None:
        made = tuple(dict.fromkeys(videos))
        pipeline.lineage(Lineage(uri, name, f"Report: {summary}", upstream=made, facts={"videos": len(made)}))


async def _link(pipeline: Pipeline, key: str) -> str | None:
    """A link for everybody to see: not a presigned one, nor one whose template may carry a token."""
    if not pipeline.links.lasting or urlsplit(pipeline.links.template).query:
        return None
    store = pipeline.ledger.store
    [link] = await pipeline.links.of(store, [store.relative_key(key)])
    return link.url if link else None
