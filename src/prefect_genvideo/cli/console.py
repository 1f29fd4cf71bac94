"""What all commands share: the two consoles, and blocks made from the command line and the environment."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any
from urllib.parse import parse_qsl, unquote

from rich.console import Console
from rich.table import Table

from prefect_genvideo.errors import AuthenticationError, GenVideoError, InvalidRequestError, printable
from prefect_genvideo.models import Problem
from prefect_genvideo.providers.answers import url_parts

# Keys and reasons are shown as they are: `a:100:b` holds no emoji, and `[x]` is no markup.
err = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False, markup=False)
out = Console(highlight=False, soft_wrap=True, emoji=False, markup=False)


def provider_of(model: str) -> str:
    """Name of the one provider that documents this model.

    Raises:
        InvalidRequestError: None or several of them do; the caller has to say which one is meant.
    """
    from prefect_genvideo.providers import get_provider, provider_names

    found = [name for name in provider_names() if model in get_provider(name).documented_models]
    if len(found) == 1:
        return found[0]
    limit = f"with --provider, one of {', '.join(found or provider_names())}"
    problem = Problem("model", model or "(none)", limit, "genvideo")
    raise InvalidRequestError("The provider is not known from the model's name.", problems=[problem])


def credentials_from(provider: str, block: str | None) -> Any:
    """A credentials block: the saved one, or one made from the environment.

    Args:
        provider: Name of the provider; its plug-in may be another package's.
        block: Name of a saved block; the environment is not read then.

    Raises:
        AuthenticationError: The environment has no key for the provider.
        InvalidRequestError: There is no such provider, or a value cannot be used; values are not repeated.
    """
    if block:
        return block
    from pydantic import ValidationError

    from prefect_genvideo.blocks import credentials_type

    kind = credentials_type(provider)
    names: dict[str, str] = kind.environment()
    values = {field: os.environ[name] for field, name in names.items() if os.environ.get(name)}
    if "api_key" not in values:
        raise AuthenticationError(
            f"No key: set {names['api_key']}, or name a saved block with --credentials.", provider=provider
        )
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        problems = [
            Problem(names.get(str(fault["loc"][0]), str(fault["loc"][0])), "(not shown)", fault["msg"], "environment")
            for fault in error.errors(include_url=False, include_input=False, include_context=False)
        ]
        raise InvalidRequestError("The environment's values cannot be used.", problems=problems) from None


# Fields that the URI itself gives, and those that a shell's history must not keep.
_NOT_ON_A_LINE = {"bucket", "prefix", "ledger", "access_key_id", "secret_access_key", "session_token"}


def _split_options(to: str, fields: set[str]) -> tuple[str, dict[str, str]]:
    """Part `?field=value&…` from a URI; a question mark without fields behind it belongs to the prefix."""
    place, mark, query = to.rpartition("?")
    options = dict(parse_qsl(query, keep_blank_values=True))
    return (place, options) if mark and options and options.keys() <= fields else (to, {})


def destination_from(to: str) -> Any:
    """A destination for `s3://bucket/prefix`, a folder, or the name of a saved block (`block-type-slug/name`).

    S3 credentials come from boto3's default chain; `AWS_ENDPOINT_URL_S3` or `AWS_ENDPOINT_URL` name another server.
    Fields of the destination may follow, e.g. `s3://bucket/prefix?ledger_mode=create-only&addressing=virtual`.
    """
    from prefect_genvideo.blocks import LocalDestination, S3Destination
    from prefect_genvideo.storage import split_uri

    if to[:5].lower() == "s3://":
        place, options = _split_options(to, set(S3Destination.model_fields) - _NOT_ON_A_LINE)
        bucket, prefix = split_uri(place)
        return S3Destination.model_validate({"bucket": bucket, "prefix": prefix.strip("/"), **options})
    if to.split("/", maxsplit=1)[0].endswith(("-destination", "s3-bucket")):
        return to
    return LocalDestination(path=_path_of(to) if to.startswith("file://") else to)


def _path_of(uri: str) -> str:
    path = unquote(url_parts(uri).path)
    if not path:
        problem = Problem("uri", uri, "a folder's path behind file://, e.g. file:///videos", "genvideo")
        raise InvalidRequestError("This is no place for videos.", problems=[problem])
    return path


def say(text: object) -> None:
    """Print lines, with visible escapes for what would drive the terminal: names and reasons are others' texts."""
    out.print("\n".join(printable(line) for line in str(text).split("\n")))


def complain(text: object, style: str = "red") -> None:
    """Print lines to stderr as `say` does.

    Args:
        text: What is wrong.
        style: Colour, as rich names it.
    """
    err.print("\n".join(printable(line) for line in str(text).split("\n")), style=style)


def say_json(facts: Mapping[str, Any], indent: int | None = None) -> None:
    """Print an object as JSON, readable and harmless: characters that are not printable are escaped as JSON does.

    Args:
        facts: The object.
        indent: Blanks a level; None: one line.
    """
    text = json.dumps(facts, ensure_ascii=False, indent=indent)
    out.print("".join(char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text))


def add_row(table: Table, *cells: str) -> None:
    """Add a row whose texts may be others'.

    Args:
        table: The table.
        cells: One text a column.
    """
    table.add_row(*(printable(cell) for cell in cells))


def print_whole(table: Table) -> None:
    """Print a table with nothing cut, however narrow the terminal is: keys and task ids are there to be copied."""
    table.width = out.measure(table, options=out.options.update(max_width=10_000)).maximum
    out.print(table)


@contextmanager
def plain_errors() -> Generator[None]:
    """Show what is known to go wrong as one message, with exit code 1. The rest is a fault of ours, with its stack."""
    from pydantic import ValidationError

    try:
        yield
    except (GenVideoError, OSError) as error:
        complain(f"{type(error).__name__}: {error}")
        sys.exit(1)
    except ValidationError as error:
        complain(f"{error.title} cannot be made of what was given:")
        for fault in error.errors(include_url=False, include_input=False, include_context=False):
            complain(f"- {'.'.join(map(str, fault['loc']))}: {fault['msg']}")
        sys.exit(1)


def needs(extra: str, *modules: str) -> None:
    """Check that an extra of the package is installed.

    Args:
        extra: Its name.
        modules: What it brings.

    Raises:
        InvalidRequestError: Some of it is missing; the message has the line that installs it.
    """
    missing = [name for name in modules if find_spec(name) is None]
    if missing:
        line = f'pip install "prefect-genvideo[{extra}]"'
        raise InvalidRequestError(f"This command needs more than is installed ({', '.join(missing)} missing): {line}")


def run(work: Any) -> Any:
    """Run a coroutine; see `plain_errors` for what becomes of errors."""
    # A private server for one command takes longer to start on a busy machine than Prefect's default of 20 s.
    os.environ.setdefault("PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS", "120")
    with plain_errors(), _engine_without_errors():
        return asyncio.run(work)


@contextmanager
def _engine_without_errors() -> Generator[None]:
    """Leave out what Prefect says of a run that failed: the command itself says it, once."""

    def is_no_error(record: logging.LogRecord) -> bool:
        return record.levelno < logging.ERROR

    loggers = [logging.getLogger(name) for name in ("prefect.flow_runs", "prefect.task_runs")]
    for logger in loggers:
        logger.addFilter(is_no_error)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(is_no_error)
