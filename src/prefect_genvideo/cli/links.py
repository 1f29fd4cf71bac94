"""Links that play saved videos, for whoever asks at a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from prefect_genvideo.cli.console import out
from prefect_genvideo.models import StoredVideo
from prefect_genvideo.pipeline.play import PlayLink, PlayLinks
from prefect_genvideo.storage import ObjectStore


async def links_of(
    links: PlayLinks, store: ObjectStore, videos: Sequence[StoredVideo | None], *, asked: bool = False
) -> list[PlayLink | None]:
    """Links that may be printed. Those that are secrets only where somebody looks: what is piped ends in logs.

    Args:
        links: How the destination makes them.
        store: Where the videos are.
        videos: Those that are there.
        asked: The command's very purpose is the link.
    """
    if not (links.lasting or asked or out.is_terminal):
        return [None] * len(videos)
    return await links.to(store, videos)


def told(link: PlayLink | None) -> str:
    """A line for people; empty without a link."""
    if link is None:
        return ""
    return f"play {link.url}" + (f" (for {link.hours:g} h, whoever has it)" if link.hours else "")


def facts_of(link: PlayLink | None) -> dict[str, Any]:
    """Fields for programs; none without a link."""
    return {} if link is None else {"link": link.url} | ({"link_hours": link.hours} if link.hours else {})
