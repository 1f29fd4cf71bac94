"""What all commands share: the two consoles, and blocks made from the command line and the environment."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any
from urllib.parse import unquote, urlsplit

from rich.console import Console

from prefect_genvideo.errors import GenVideoError

# Keys and reasons are shown as they are: `a:100:b` holds no emoji, and `[x]` is no markup.
err = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False, markup=False)
out = Console(highlight=False, soft_wrap=True, emoji=False, markup=False)

# Environment variables of each provider's key; the addresses are for own gateways and the simulator.
_ENVIRONMENT = {
    "sudashui": {"api_key": "SUDASHUI_API_KEY", "base_url": "SUDASHUI_BASE_URL", "files_url": "SUDASHUI_FILES_URL"},
    "senseaudio": {"api_key": "SENSEAUDIO_API_KEY", "base_url": "SENSEAUDIO_BASE_URL"},
}


def provider_of(model: str) -> str:
    """Name of the provider that documents this model.

    Raises:
        InvalidRequestError: None of them does; the caller has to say which one is meant.
    """
    from prefect_genvideo.errors import InvalidRequestError
    from prefect_genvideo.models import Problem
    from prefect_genvideo.providers import SenseAudioClient, SudashuiClient

    for client in (SudashuiClient, SenseAudioClient):
        if model in client.documented_models:
            return client.name
    problem = Problem("model", model, "not documented: add --provider sudashui or senseaudio", "genvideo")
    raise InvalidRequestError("The provider is not known from the model's name.", problems=[problem])


def credentials_from(provider: str, block: str | None) -> Any:
    """A credentials block: the saved one, or one made from the environment.

    Raises:
        AuthenticationError: The environment has no key for the provider.
    """
    if block:
        return block
    from prefect_genvideo.blocks import SenseAudioCredentials, SudashuiCredentials
    from prefect_genvideo.errors import AuthenticationError

    names = _ENVIRONMENT[provider]
    values: dict[str, Any] = {field: os.environ[name] for field, name in names.items() if os.environ.get(name)}
    if "api_key" not in values:
        raise AuthenticationError(f"No key: set {names['api_key']}, or name a saved block with --credentials.")
    return (SudashuiCredentials if provider == "sudashui" else SenseAudioCredentials)(**values)


def destination_from(to: str) -> Any:
    """A destination for `s3://bucket/prefix`, a folder, or the name of a saved block (`block-type-slug/name`).

    S3 credentials come from boto3's default chain; `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL` name another server.
    """
    from prefect_genvideo.blocks import LocalDestination, S3Destination

    if to.startswith("s3://"):
        bucket, _, prefix = to.removeprefix("s3://").partition("/")
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
        return S3Destination(bucket=bucket, prefix=prefix.strip("/"), endpoint_url=endpoint)
    if to.split("/", maxsplit=1)[0].endswith(("-destination", "s3-bucket")):
        return to
    path = unquote(urlsplit(to).path) if to.startswith("file://") else to
    return LocalDestination(path=path)


def run(work: Any) -> Any:
    """Run a coroutine; what the package raises is shown as one readable message and exit code 1."""
    # A private server for one command takes longer to start on a busy machine than Prefect's default of 20 s.
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
    try:
        return asyncio.run(work)
    except GenVideoError as error:
        err.print(f"{type(error).__name__}: {error}", style="red", markup=False)
        sys.exit(1)
