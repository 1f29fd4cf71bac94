"""Providers of generated videos, and how to find one by name.

Two are built in; others join by an entry point of the group `prefect_genvideo.providers` whose value is a subclass
of `VideoClient`.
"""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from prefect_genvideo.errors import InvalidRequestError
from prefect_genvideo.providers.assets import not_links
from prefect_genvideo.providers.base import VideoClient
from prefect_genvideo.providers.classify import Facts, Row
from prefect_genvideo.providers.download import VideoStream
from prefect_genvideo.providers.http import NOT_SENT, Reply
from prefect_genvideo.providers.rules import Rule
from prefect_genvideo.providers.senseaudio.client import SenseAudioClient
from prefect_genvideo.providers.sudashui.client import SudashuiClient

ENTRY_POINT_GROUP = "prefect_genvideo.providers"

_BUILT_IN: dict[str, type[VideoClient]] = {
    SudashuiClient.name: SudashuiClient,
    SenseAudioClient.name: SenseAudioClient,
}


def provider_names() -> list[str]:
    """Return the names of all providers, built-in and installed, in alphabetical order. Loads none."""
    return sorted({*_BUILT_IN, *(point.name for point in _plugins())})


def get_provider(name: str) -> type[VideoClient]:
    """Return the client class of a provider.

    Raises:
        InvalidRequestError: There is no such provider, two plugins claim the name, or the plugin is broken; the
            message names the plugin.
    """
    if name in _BUILT_IN:
        return _BUILT_IN[name]
    found = {point.value: point for point in _plugins() if point.name == name}
    if not found:
        raise InvalidRequestError(f"There is no provider {name!r}; there are {', '.join(provider_names())}.")
    if len(found) > 1:
        claims = ", ".join(sorted(map(_origin, found.values())))
        raise InvalidRequestError(f"Several plugins call themselves provider {name!r}: {claims}.")
    return _load(next(iter(found.values())))


def _plugins() -> list[EntryPoint]:
    """Entry points of other packages. Ours list the built-in ones, for all to see; a plugin cannot replace those."""
    return [point for point in entry_points(group=ENTRY_POINT_GROUP) if point.name not in _BUILT_IN]


def _load(point: EntryPoint) -> type[VideoClient]:
    try:
        loaded: object = point.load()
    except Exception as error:
        # A plugin may fail in any way while it is imported; say which one it was.
        raise InvalidRequestError(f"The provider plugin {_origin(point)} cannot be loaded: {error!r}.") from error
    if not (isinstance(loaded, type) and issubclass(loaded, VideoClient)):
        raise InvalidRequestError(f"The provider plugin {_origin(point)} is no subclass of VideoClient.")
    if getattr(loaded, "name", None) != point.name:
        raise InvalidRequestError(f"The provider plugin {_origin(point)} has another name than {point.name!r}.")
    return loaded


def _origin(point: EntryPoint) -> str:
    return f"{point.dist.name if point.dist else 'unknown package'} ({point.value})"


__all__ = [
    "NOT_SENT",
    "Facts",
    "Reply",
    "Row",
    "Rule",
    "SenseAudioClient",
    "SudashuiClient",
    "VideoClient",
    "VideoStream",
    "get_provider",
    "not_links",
    "provider_names",
]
