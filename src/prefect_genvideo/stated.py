"""What a user states in a file or in a setting's text: read within bounds, and every fault of it named at once."""

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


def read_stated(stated: str, name: str) -> tuple[Any, str]:
    """Return the value that a text or a file holds, as JSON or YAML, and where it was stated.

    Args:
        stated: An object as JSON (it begins with a brace), several lines of YAML, or the path of a file with either.
        name: The setting, for problems.

    Raises:
        InvalidRequestError: It cannot be read, is too large, or is neither.
    """
    inline = stated.lstrip().startswith("{") or "\n" in stated.strip()
    source = name if inline else f"{name} in {Path(stated).name}"
    try:
        content = (stated.encode() if inline else _file(stated)).removeprefix(b"\xef\xbb\xbf")
        if len(content) > MAX_BYTES:
            raise OSError(27, f"larger than {MAX_BYTES} bytes")
        text = content.decode()
        return (json.loads(text) if text.lstrip().startswith("{") else parse_yaml(text)), source
    except (OSError, ValueError, RecursionError, RuntimeError) as error:
        why = error.strerror if isinstance(error, OSError) else f"no JSON or YAML object: {error}"
        problem = Problem(name, shown(stated), f"a JSON or YAML object or the path of a file with one: {why}")
        raise InvalidRequestError(f"What is stated in {name} cannot be read:", problems=[problem]) from None


def stated_by_provider(stated: str, name: str, kind: TypeAdapter[dict[str, T]]) -> tuple[dict[str, T], str]:
    """Return what is stated of each provider, and where it was stated.

    Args:
        stated: As for `read_stated`.
        name: The setting, for problems.
        kind: The type of it.

    Raises:
        InvalidRequestError: It cannot be read or breaks the form; every broken field is named.
    """
    value, source = read_stated(stated, name)
    try:
        return kind.validate_python(value), source
    except ValidationError as error:
        raise _unusable(error, name, source) from None


def _unusable(error: ValidationError, name: str, source: str) -> InvalidRequestError:
    problems = [
        Problem(".".join(map(str, fault["loc"])) or name, shown(fault["input"]), _said(fault["msg"]), source)
        for fault in error.errors(include_url=False)[:_MAX_PROBLEMS]
    ]
    return InvalidRequestError(f"What is stated in {name} cannot be used:", problems=problems)


def _said(message: str) -> str:
    return message.removeprefix("Value error, ")


def _file(path: str) -> bytes:
    found = Path(path).expanduser()
    if not found.is_file():
        raise FileNotFoundError(2, "there is no such file")
    with found.open("rb") as file:
        return file.read(MAX_BYTES + 1)
