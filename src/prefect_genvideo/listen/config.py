"""Which senders are heard, and within which bounds: a YAML file, or the environment alone."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from prefect_genvideo.errors import InvalidRequestError, shown
from prefect_genvideo.listen.reading import MAX_TEXT, at
from prefect_genvideo.listen.shapes import PLACEHOLDER, SHAPES, Auth, Fact, Shape
from prefect_genvideo.models import Problem

MIN_SECRET = 16
"""Shortest secret in characters: a shorter one can be guessed."""
_NAME = r"[a-z0-9][a-z0-9-]{0,39}"
_PATH = r"[A-Za-z0-9_-]{1,64}(\.[A-Za-z0-9_-]{1,64}){0,5}"
# What Prefect and this package say of themselves; a stranger could start or stop others' flows with such an event.
_RESERVED = ("prefect.", "prefect-cloud.", "genvideo.")
_MAX_FILE = 256 * 1024
_SOURCE = "genvideo listen"

Name = Annotated[str, Field(pattern=f"^{_NAME}$")]
FieldPath = Annotated[str, Field(pattern=f"^{_PATH}$")]


class SourceConfig(BaseModel):
    """One sender, as the file has it."""

    model_config = ConfigDict(extra="forbid")

    shape: str = Field(description="How it writes: one of the shapes.")
    auth: Auth | None = Field(default=None, description="How it proves itself; the shape's own way by default.")
    event: str = Field(default="", max_length=200, pattern=r"^[A-Za-z0-9._-]*$", description="Name of its events.")
    resource: str = Field(default="", max_length=400, description="Id of their resource; `{name}` is a fact.")
    fields: dict[FieldPath, FieldPath] = Field(
        default_factory=dict, max_length=40, description="What is passed on: place in the payload, place in the body."
    )
    when: dict[FieldPath, Annotated[str, Field(max_length=MAX_TEXT)]] = Field(
        default_factory=dict, max_length=10, description="What a record must say to be passed on."
    )


class ListenConfig(BaseModel):
    """What `genvideo listen` hears, and its bounds."""

    model_config = ConfigDict(extra="forbid")

    sources: dict[Name, SourceConfig] = Field(default_factory=dict, max_length=100, description="Senders by name.")
    body_kib: int = Field(default=256, ge=1, le=4096, description="Largest body in KiB.")
    replay_seconds: float = Field(
        default=300, ge=1, le=3600, description="Seconds that a signature's time may be off, either way."
    )
    queue_events: int = Field(default=10_000, ge=1, le=1_000_000, description="Most events that wait.")
    queue_mib: int = Field(default=64, ge=1, le=4096, description="Most MiB that waiting events take.")
    remember_days: float = Field(
        default=7, gt=0, le=365, description="Days for which a delivery is known to be a repeat."
    )
    give_up_hours: float = Field(
        default=24,
        gt=0,
        le=720,
        description="Hours after which an event that the server took and never showed is set aside.",
    )


@dataclass(frozen=True)
class Source:
    """A sender that is heard.

    Attributes:
        name: In the address, `/hooks/<name>`.
        shape: How it writes.
        secrets: What it proves itself with; all of them are valid.
    """

    name: str
    shape: Shape
    secrets: tuple[str, ...]


def variable(name: str) -> str:
    """The environment variable that holds the secrets of a sender; with `_FILE` behind it, the path of their file."""
    return f"GENVIDEO_LISTEN_{name.upper().replace('-', '_')}_SECRETS"


def read_config(
    file: Path | None, environment: Mapping[str, str] = os.environ
) -> tuple[ListenConfig, dict[str, Source]]:
    """Return the bounds and the senders by name.

    Without a file, every shape whose secrets are set is a sender of its name.

    Args:
        file: A YAML file.
        environment: Where secrets, or the paths of their files, are.

    Raises:
        InvalidRequestError: All problems at once; no secret is repeated.
    """
    problems: list[Problem] = []
    config = _parsed(file) if file else ListenConfig()
    wanted = config.sources or {
        name: SourceConfig(shape=name)
        for name in SHAPES
        if any(environment.get(variable(name) + end) for end in ("", "_FILE"))
    }
    sources: dict[str, Source] = {}
    for name, given in wanted.items():
        secrets = _secrets(name, environment, problems)
        shape = _shape(name, given, problems)
        if shape:
            sources[name] = Source(name, shape, secrets)
    if not wanted:
        limit = f"secrets in one of {', '.join(map(variable, SHAPES))}, or a file with sources"
        problems.append(Problem("sources", "(none)", limit, _SOURCE))
    if problems:
        raise InvalidRequestError("The event door cannot open.", problems=problems)
    return config, sources


def _parsed(file: Path) -> ListenConfig:
    try:
        with file.open("rb") as opened:
            content = opened.read(_MAX_FILE + 1)
        if len(content) > _MAX_FILE:
            raise ValueError(f"at most {_MAX_FILE} bytes")
        return ListenConfig.model_validate(yaml.safe_load(content) or {})
    except ValidationError as error:
        problems = list[Problem]()
        for fault in error.errors(include_url=False):
            # What stands under an unknown name may be a secret.
            given = "(not shown)" if fault["type"] == "extra_forbidden" else shown(fault["input"])
            problems.append(Problem(".".join(map(str, fault["loc"])) or "file", given, fault["msg"], str(file)))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        problems = [Problem("file", str(file), f"YAML that can be read ({type(error).__name__})", _SOURCE)]
    raise InvalidRequestError("The event door cannot open.", problems=problems) from None


def _secrets(name: str, environment: Mapping[str, str], problems: list[Problem]) -> tuple[str, ...]:
    here = variable(name)
    file = environment.get(f"{here}_FILE", "")
    try:
        text = environment.get(here, "")
        if file:
            with Path(file).open(encoding="utf-8") as opened:
                text = opened.read(_MAX_FILE)
    except (OSError, ValueError) as error:
        problems.append(Problem(f"{here}_FILE", file, f"a readable file ({type(error).__name__})", _SOURCE))
        return ()
    secrets = tuple(text.split())
    if not secrets:
        limit = f"at least one secret, in {here} or in the file that {here}_FILE names"
        problems.append(Problem(f"sources.{name}", "(no secret)", limit, _SOURCE))
    if any(len(secret) < MIN_SECRET for secret in secrets):
        problems.append(Problem(here, "(not shown)", f"secrets of at least {MIN_SECRET} characters", _SOURCE))
    return secrets


def _shape(name: str, given: SourceConfig, problems: list[Problem]) -> Shape | None:
    """The shape with what the file says instead."""
    shape = SHAPES.get(given.shape)
    if shape is None:
        problems.append(Problem(f"sources.{name}.shape", given.shape, f"one of {', '.join(SHAPES)}", _SOURCE))
        return None
    if given.event.startswith(_RESERVED) and given.event != shape.event:
        problems.append(Problem(f"sources.{name}.event", given.event, f"no name below {', '.join(_RESERVED)}", _SOURCE))
    changes: dict[str, Any] = {
        field: value for field in ("auth", "event", "resource") if (value := getattr(given, field))
    }
    if given.fields:
        changes["facts"] = {place: Fact(at(path)) for place, path in given.fields.items()}
        changes.setdefault("resource", SHAPES["webhook"].resource)
        problems += _overlaps(name, given.fields)
    if given.when:
        changes["wanted"] = {path: re.compile(re.escape(said)) for path, said in given.when.items()}
    shape = replace(shape, **changes)
    if unknown := set(PLACEHOLDER.findall(shape.resource)) - {*shape.facts, "source"}:
        limit = f"only {', '.join(sorted({*shape.facts, 'source'}))} in braces"
        problems.append(Problem(f"sources.{name}.resource", ", ".join(sorted(unknown)), limit, _SOURCE))
    return shape


def _overlaps(name: str, fields: Mapping[str, str]) -> list[Problem]:
    """Places of the payload that would be a value and hold others at once."""
    return [
        Problem(f"sources.{name}.fields", outer, f"no place that also holds {inner}", _SOURCE)
        for outer in fields
        for inner in fields
        if inner.startswith(f"{outer}.")
    ]
