"""The credentials block of each provider: ours, and those of provider plugins."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any

from prefect.blocks.core import Block

from prefect_genvideo.errors import InvalidRequestError
from prefect_genvideo.providers import get_provider, load_plugin, plugins

CREDENTIALS_GROUP = "prefect_genvideo.credentials"
"""Entry points of credentials blocks: the provider's name, and a subclass of `ProviderCredentials`."""

logger = logging.getLogger(__name__)

# By provider, in the order of their definition; one entry a credentials class, so it stays small.
_known: dict[str, type[Any]] = {}
_watchers: list[Callable[[], None]] = []


def register(provider: str, kind: type[Block]) -> None:
    """Take a credentials class, which is called for every one that is defined. The first of a provider stays.

    Args:
        provider: Name of the provider.
        kind: The class.
    """
    if provider and _known.setdefault(provider, kind) is kind:
        for told in _watchers:
            told()


def watch(told: Callable[[], None]) -> None:
    """Call `told` each time a provider's credentials become known."""
    _watchers.append(told)


def known_credentials() -> tuple[type[Any], ...]:
    """Return the credentials classes that are known so far, ours first."""
    return tuple(_known.values())


def load_plugins() -> None:
    """Import the credentials blocks of provider plugins, which makes them known. A broken one is left out and named."""
    for point in plugins(CREDENTIALS_GROUP, _known):
        # Whoever imported a plugin first is importing it now: its class becomes known when it is defined.
        if point.module in sys.modules:
            continue
        try:
            load_plugin([point], Block)
        except InvalidRequestError as error:
            logger.warning("%s", error)


def credentials_type(provider: str) -> type[Any]:
    """Return the credentials class of a provider.

    Raises:
        InvalidRequestError: There is no such provider, or its plugin has no usable credentials block.
    """
    load_plugins()
    if provider in _known:
        return _known[provider]
    get_provider(provider)
    found = [point for point in plugins(CREDENTIALS_GROUP, _known) if point.name == provider]
    if found:
        load_plugin(found, Block)
    named = f"an entry point {provider!r} of the group {CREDENTIALS_GROUP}"
    raise InvalidRequestError(f"The plugin of provider {provider!r} has no credentials block: it needs {named}.")
