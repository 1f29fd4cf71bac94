"""Which providers there are: three built in, and those that other packages announce by entry points."""

from __future__ import annotations

from collections.abc import Container
from importlib.metadata import EntryPoint, entry_points
from typing import TypeVar

from prefect_genvideo.errors import InvalidRequestError
from prefect_genvideo.models import Problem
from prefect_genvideo.providers.ark.client import ArkClient
from prefect_genvideo.providers.base import VideoClient
from prefect_genvideo.providers.senseaudio.client import SenseAudioClient
from prefect_genvideo.providers.sudashui.client import SudashuiClient

ENTRY_POINT_GROUP = "prefect_genvideo.providers"
"""Entry points of clients: the provider's name, and a subclass of `VideoClient`."""

_BUILT_IN: dict[str, type[VideoClient]] = {
    SudashuiClient.name: SudashuiClient,
    SenseAudioClient.name: SenseAudioClient,
    ArkClient.name: ArkClient,
}

KindT = TypeVar("KindT")


def provider_names() -> list[str]:
    """Return the names of all providers, built-in and installed, in alphabetical order. Loads none."""
    return sorted({*_BUILT_IN, *(point.name for point in plugins(ENTRY_POINT_GROUP, _BUILT_IN))})


def get_provider(name: str) -> type[VideoClient]:
    """Return the client class of a provider.

    Raises:
        InvalidRequestError: There is no such provider, two plugins claim the name, or the plugin is broken; the
            message names the plugin.
    """
    if name in _BUILT_IN:
        return _BUILT_IN[name]
    found = [point for point in plugins(ENTRY_POINT_GROUP, _BUILT_IN) if point.name == name]
    if not found:
        problem = Problem("provider", name, f"one of {', '.join(provider_names())}")
        raise InvalidRequestError("There is no such provider.", problems=[problem])
    loaded = load_plugin(found, VideoClient)
    if getattr(loaded, "name", None) != name:
        raise InvalidRequestError(
            f"The provider plugin {_origin(found[0])} has another name than {name!r}.", reason="another name"
        )
    return loaded


def plugins(group: str, built_in: Container[str]) -> list[EntryPoint]:
    """Return the entry points of other packages, each value once. A plugin cannot replace what is built in.

    Args:
        group: Group of the entry points.
        built_in: Names that are ours; our own entry points list them too, for all to see.
    """
    found = {(point.name, point.value): point for point in entry_points(group=group) if point.name not in built_in}
    return list(found.values())


def load_plugin(points: list[EntryPoint], kind: type[KindT]) -> type[KindT]:
    """Load the one class that entry points of one name lead to.

    Args:
        points: The entry points of the name, at least one.
        kind: What the class must be a subclass of.

    Raises:
        InvalidRequestError: Several packages claim the name, or the plugin cannot be loaded or is something else; the
            message names the plugin.
    """
    point = points[0]
    if len(points) > 1:
        claims = ", ".join(sorted(map(_origin, points)))
        raise InvalidRequestError(
            f"Several plugins call themselves provider {point.name!r}: {claims}.", reason="several"
        )
    try:
        loaded: object = point.load()
    except Exception as error:
        # A plugin may fail in any way while it is imported; say which one it was.
        raise InvalidRequestError(
            f"The provider plugin {_origin(point)} cannot be loaded: {error!r}.", reason="broken"
        ) from error
    if not (isinstance(loaded, type) and issubclass(loaded, kind)):
        raise InvalidRequestError(
            f"The provider plugin {_origin(point)} is no subclass of {kind.__name__}.", reason="no subclass"
        )
    return loaded


def _origin(point: EntryPoint) -> str:
    return f"{point.dist.name if point.dist else 'unknown package'} ({point.value})"
