"""Resolves what a command line names: provider, credentials, destination and the key of a batch."""

from __future__ import annotations

import functools
import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

from prefect_genvideo.batch.model import closest_name
from prefect_genvideo.errors import AuthenticationError, GenVideoError, InvalidRequestError
from prefect_genvideo.models import Problem
from prefect_genvideo.providers.answers import url_parts

if TYPE_CHECKING:
    from prefect_genvideo.storage import ObjectStore


def provider_of(model: str, block: str | None = None) -> str:
    """Name of the one provider that documents this model, or of those that do, of the one whose account is at hand.

    Args:
        model: As a provider lists it.
        block: Saved credentials block that was named; else the environment's keys tell.

    Raises:
        InvalidRequestError: None or several of them do; the caller has to say which one is meant.
    """
    from prefect_genvideo.providers import get_provider, provider_names

    found = [name for name in provider_names() if model in get_provider(name).documented_models]
    if len(found) > 1:
        at_hand = [name for name in found if _is_of(block, name)] if block else providers_with_keys(found)
        found = at_hand or found
    if len(found) == 1:
        return found[0]
    limit = f"several providers document it: set the key of one, or name it with --provider: {', '.join(found)}"
    problem = Problem("model", model or "(none)", limit if found else _nobodys(model), "genvideo")
    raise InvalidRequestError("The provider is not known from the model's name.", problems=[problem])


def _nobodys(model: str) -> str:
    """What to say of a model that no provider documents."""
    from prefect_genvideo.providers import get_provider, provider_names

    names = provider_names()
    meant = closest_name(model, [one for name in names for one in get_provider(name).documented_models], 0.8)
    hint = f" (did you mean {meant}?)" if meant else ""
    return f"no provider documents it{hint}; a new one needs --provider, or `provider` in its row: {', '.join(names)}"


def providers_with_keys(names: Iterable[str]) -> list[str]:
    """Those of the providers whose key the environment has."""
    from prefect_genvideo.blocks import credentials_type

    found: list[str] = []
    for name in names:
        try:
            variable = credentials_type(name).environment()["api_key"]
        except (GenVideoError, KeyError):
            continue
        if os.environ.get(variable):
            found.append(name)
    return found


def _is_of(block: str, provider: str) -> bool:
    """Whether the name of a saved block, `block-type-slug/name`, is that of a provider's credentials."""
    from prefect_genvideo.blocks import credentials_type

    return block.partition("/")[0] == credentials_type(provider).get_block_type_slug()


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
    path = unquote(url_parts(to).path) if to.startswith("file://") else to
    if not path and to:
        problem = Problem("uri", to, "a folder's path behind file://, e.g. file:///videos", "genvideo")
        raise InvalidRequestError("This is no place for videos.", problems=[problem])
    return LocalDestination(path=path)


def _known_or_not(model: str, block: str | None) -> tuple[str | None, tuple[Problem, ...]]:
    """The provider of a model, or why it is not known."""
    try:
        return provider_of(model, block), ()
    except InvalidRequestError as error:
        return None, tuple(error.problems)


async def providers_of(manifest: str, home: ObjectStore, provider: str | None, block: str | None = None) -> list[str]:
    """The providers that a manifest's rows and fallbacks are of; the one that was named, or the first row's, first.

    Args:
        manifest: Its place.
        home: The destination's store.
        provider: Of rows that name none and whose model no provider documents.
        block: Saved credentials block that was named.

    Raises:
        InvalidRequestError: The manifest cannot be read, or it is not known of which provider a row is.
    """
    from prefect_genvideo.batch import load_manifest
    from prefect_genvideo.providers import provider_names
    from prefect_genvideo.runtime import get_settings

    found = await load_manifest(manifest, home=home, allow_private=get_settings().allow_private)
    of_model = functools.cache(functools.partial(_known_or_not, block=block))
    named, problems = [provider] if provider else [], list[Problem]()
    for row in found.rows:
        for number, one in enumerate(row.alternatives()):
            said, faults = (one.provider or provider, ()) if one.provider or provider else of_model(one.request.model)
            named += [said] if said else []
            problems += found.of_row(row, number, faults)
    if problems:
        found.check(problems)  # with all else that is wrong
    if not named:  # whatever is wrong with the rows is told by the flow, all of it
        named = (providers_with_keys(provider_names()) or provider_names())[:1]
    return list(dict.fromkeys(named))


def batch_key_of(manifest: str) -> str:
    """The key of a batch that was given none: its manifest's place, so that the same command resumes."""
    place = manifest if "://" in manifest else str(Path(manifest).absolute())
    stem = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(manifest).stem)[:40].strip("-._") or "manifest"
    return f"batch-{stem}-{hashlib.sha256(place.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}"
