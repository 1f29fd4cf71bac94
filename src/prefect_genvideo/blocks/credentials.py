"""Credentials blocks, one type for each provider, ours and plugins'; clients shared by all on one event loop."""

from __future__ import annotations

import asyncio
import logging
import re
import sys
from abc import ABC
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

from prefect.blocks.abstract import CredentialsBlock
from prefect.blocks.core import Block
from pydantic import Field, SecretStr, field_validator

from prefect_genvideo.blocks._discreet import DOCS, DiscreetBlock, Secret, logo
from prefect_genvideo.errors import InvalidRequestError
from prefect_genvideo.prices import read_price_tables
from prefect_genvideo.providers import (
    ArkClient,
    SenseAudioClient,
    SudashuiClient,
    VideoClient,
    checked_address,
    checked_key,
    get_provider,
    load_plugin,
    plugins,
    read_model_rules,
)
from prefect_genvideo.runtime import get_settings

CREDENTIALS_GROUP = "prefect_genvideo.credentials"
"""Entry points of credentials blocks: the provider's name, and a subclass of `ProviderCredentials`."""

logger = logging.getLogger(__name__)

# By provider, in the order of their definition; one entry a credentials class, so it stays small.
_known: dict[str, type[Any]] = {}
_watchers: list[Callable[[], None]] = []


def _register(provider: str, kind: type[Block]) -> None:
    """Take a credentials class, which is called for every one that is defined. The first of a provider stays."""
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


@dataclass
class _Shared:
    """A client in use, and by how many."""

    client: VideoClient
    users: int = 0


_SHARED: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[Any, ...], _Shared]] = WeakKeyDictionary()


class ProviderCredentials(
    DiscreetBlock, CredentialsBlock, ABC
):  # with ABC among its bases, a class is no block type of its own
    """What every provider's credentials share. A plug-in provider subclasses it and names its provider."""

    provider: ClassVar[str] = ""

    api_key: Secret = Field(
        default=..., title="API key", description="API key of the provider. Generations are paid by its account."
    )

    _urls: ClassVar[tuple[str, ...]] = ("base_url",)

    @field_validator("api_key")
    @classmethod
    def _key_is_usable(cls, value: SecretStr) -> SecretStr:
        return SecretStr(checked_key(value.get_secret_value()))

    @field_validator("base_url", "files_url", check_fields=False)
    @classmethod
    def _is_address(cls, value: str) -> str:
        return checked_address(value)

    @classmethod
    def __pydantic_init_subclass__(cls, **options: Any) -> None:
        super().__pydantic_init_subclass__(**options)
        _register(cls.provider, cls)

    @classmethod
    def environment(cls) -> dict[str, str]:
        """Return the environment variable that the command line reads for each field, e.g. `SUDASHUI_API_KEY`."""
        prefix = re.sub(r"\W", "_", cls.provider).upper()
        return {name: f"{prefix}_{name.upper()}" for name in cls.model_fields}

    def _arguments(self) -> dict[str, Any]:
        settings = get_settings()
        stated = read_model_rules(settings.model_rules).get(self.provider) if settings.model_rules else None
        prices = read_price_tables(settings.prices).get(self.provider) if settings.prices else None
        return {
            "api_key": self.api_key.get_secret_value(),
            "stall_timeout": settings.stall_timeout,
            "allow_private": settings.allow_private,
            "max_video_size": int(settings.max_video_gib * 1024**3),
            **{name: getattr(self, name) for name in self._urls},
            **({"model_rules": stated} if stated else {}),
            **({"prices": prices} if prices else {}),
        }

    def get_client(self) -> VideoClient:
        """Return a new client of the provider; use it as an async context manager.

        Returns:
            The client: `upload`, `create`, `get`, `models`, `validate`, `open_video`.
        """
        return get_provider(self.provider)(**self._arguments())

    @property
    def account(self) -> str:
        """Fingerprint of provider, address and key (16 hex digits); safe to show and to use in cache keys."""
        return self.get_client().account

    @asynccontextmanager
    async def lease(self) -> AsyncGenerator[VideoClient]:
        """Share one client with everybody on this event loop who holds equal credentials.

        The last one to leave closes it. Connections are kept for the length of a flow, not of a call.
        """
        loop = asyncio.get_running_loop()
        clients = _SHARED.setdefault(loop, {})
        arguments = self._arguments()
        key = (self.provider, *sorted(arguments.items()))
        shared = clients.get(key) or clients.setdefault(key, _Shared(get_provider(self.provider)(**arguments)))
        shared.users += 1
        try:
            yield shared.client
        finally:
            shared.users -= 1
            if shared.users == 0:
                clients.pop(key, None)
                await shared.client.aclose()


class SudashuiCredentials(ProviderCredentials):
    """Key and addresses of a Sudashui account.

    Example:
        Load stored credentials and generate a video:
        ```python
        import asyncio

        from prefect_genvideo import SudashuiCredentials, S3Destination, generate_video

        credentials = SudashuiCredentials.load("BLOCK_NAME")
        destination = S3Destination.load("BLOCK_NAME")
        video = asyncio.run(generate_video("a cat, cinematic", "sd-2-fast-720p", credentials, destination))
        ```
        In an async flow it is `await SudashuiCredentials.aload("BLOCK_NAME")` and `await generate_video(…)`.
    """

    _block_type_name = "Sudashui Credentials"
    _block_type_slug = "sudashui-credentials"
    _logo_url = logo("sudashui")
    _documentation_url = DOCS
    _urls: ClassVar[tuple[str, ...]] = ("base_url", "files_url")
    provider: ClassVar[str] = SudashuiClient.name

    base_url: str = Field(
        default=SudashuiClient.default_base_url,
        title="API address",
        description="Address of the API without `/v1`. Change it for an own gateway or the simulator.",
    )
    files_url: str = Field(
        default=SudashuiClient.default_files_url,
        title="Upload address",
        description="Address that reference files are uploaded to.",
    )


class SenseAudioCredentials(ProviderCredentials):
    """Key and address of a SenseAudio account.

    Example:
        Load stored credentials and generate a video:
        ```python
        import asyncio

        from prefect_genvideo import SenseAudioCredentials, S3Destination, generate_video

        credentials = SenseAudioCredentials.load("BLOCK_NAME")
        destination = S3Destination.load("BLOCK_NAME")
        video = asyncio.run(generate_video("a cat, cinematic", "Seedance-2.0", credentials, destination))
        ```
        In an async flow it is `await SenseAudioCredentials.aload("BLOCK_NAME")` and `await generate_video(…)`.
    """

    _block_type_name = "SenseAudio Credentials"
    _block_type_slug = "senseaudio-credentials"
    _logo_url = logo("senseaudio")
    _documentation_url = DOCS
    provider: ClassVar[str] = SenseAudioClient.name

    base_url: str = Field(
        default=SenseAudioClient.default_base_url,
        title="API address",
        description="Address of the API without `/v1`. Change it for the simulator.",
    )


class ArkCredentials(ProviderCredentials):
    """Key and address of a Volcengine Ark account, or of a BytePlus ModelArk account.

    Example:
        Load stored credentials and generate a video:
        ```python
        import asyncio

        from prefect_genvideo import ArkCredentials, S3Destination, generate_video

        credentials = ArkCredentials.load("BLOCK_NAME")
        destination = S3Destination.load("BLOCK_NAME")
        video = asyncio.run(generate_video("a cat", "doubao-seedance-2-0-fast-260128", credentials, destination))
        ```
        In an async flow it is `await ArkCredentials.aload("BLOCK_NAME")` and `await generate_video(…)`.
    """

    _block_type_name = "Ark Credentials"
    _block_type_slug = "ark-credentials"
    _logo_url = logo("ark")
    _documentation_url = DOCS
    provider: ClassVar[str] = ArkClient.name

    base_url: str = Field(
        default=ArkClient.default_base_url,
        title="API address",
        description="Address of the API with `/api/v3`. BytePlus: `https://ark.ap-southeast.bytepluses.com/api/v3`.",
    )
