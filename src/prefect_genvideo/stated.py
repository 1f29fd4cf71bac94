"""Reads what a user states in a file or in a setting's text: within bounds, and every fault of it named at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from prefect_genvideo.errors import InvalidRequestError, shown
from prefect_genvideo.models import Problem
from prefect_genvideo.plain_yaml import parse_yaml

MAX_BYTES = 1024 * 1024
"""Bytes of a statement; some thousand models or prices."""
T = TypeVar("T")

# Problems that one error names; the rest of a broken file is likely of the same kind.
_MAX_PROBLEMS = 50
# What pydantic puts before the words of a validator.
_RAISED = "Value error, "


def _read(stated: str, name: str) -> tuple[Any, str]:
    inline = stated.lstrip().startswith("{") or "\n" in stated.strip()
    source = name if inline else f"{name} in {Path(stated).name}"
    try:
        content = (stated.encode() if inline else _file(stated)).removeprefix(b"\xef\xbb\xbf")
        if len(content) > MAX_BYTES:
            raise OSError(27, f"larger than {MAX_BYTES} bytes")
        text = content.decode()
        return (json.loads(text) if text.lstrip().startswith("{") else parse_yaml(text)), source
    except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: too deep, or no such user after `~`
        why = error.strerror if isinstance(error, OSError) else f"no JSON or YAML object: {error}"
        problem = Problem(name, shown(stated), f"a JSON or YAML object or the path of a file with one: {why}")
        raise InvalidRequestError(f"What is stated in {name} cannot be read:", problems=[problem]) from None


def problems_of(error: ValidationError, whole: str, source: str = "prefect-genvideo") -> list[Problem]:
    """Return what pydantic has found wrong with given values: so many problems that one error can name them.

    Args:
        error: What it raised.
        whole: Name of what the fields are of, for faults of no field.
        source: Where the rules come from.
    """
    return [
        Problem(".".join(map(str, one["loc"])) or whole, shown(one["input"]), one["msg"].removeprefix(_RAISED), source)
        for one in error.errors(include_url=False)[:_MAX_PROBLEMS]
    ]


def stated_by_provider(stated: str, name: str, kind: TypeAdapter[dict[str, T]]) -> tuple[dict[str, T], str]:
    """Return what is stated of each provider, and where it was stated.

    Args:
        stated: An object as JSON (it begins with a brace), several lines of YAML, or the path of a file with either.
        name: The setting, for problems.
        kind: The type of it.

    Raises:
        InvalidRequestError: It cannot be read, is too large, or breaks the form; every broken field is named.
    """
    value, source = _read(stated, name)
    try:
        return kind.validate_python(value), source
    except ValidationError as error:
        problems = problems_of(error, name, source)
        raise InvalidRequestError(f"What is stated in {name} cannot be used:", problems=problems) from None


def _file(path: str) -> bytes:
    found = Path(path).expanduser()
    if not found.is_file():
        raise FileNotFoundError(2, "there is no such file")
    with found.open("rb") as file:
        return file.read(MAX_BYTES + 1)
