"""Block documents from typed Python: read the environment, save what is new or changed, say what was done."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from prefect.blocks.core import Block
from pydantic import BaseModel, SecretStr, ValidationError

from prefect_genvideo.blocks import LocalDestination, S3Destination, VideoJob, known_credentials
from prefect_genvideo.errors import redact

ValuesT = TypeVar("ValuesT", bound=BaseModel)


class EnvironmentProblem(ValueError):
    """Values are missing or cannot be used: all of them, one a line, without the values."""


@dataclass(frozen=True)
class Document:
    """A block to be saved.

    Attributes:
        name: Name of the document; lower-case letters, digits and dashes.
        block: Its values.
    """

    name: str
    block: Block

    @property
    def slug(self) -> str:
        """How deployments and flows name it: `block-type-slug/name`."""
        return f"{self.block.get_block_type_slug()}/{self.name}"


@dataclass(frozen=True)
class Saved:
    """What became of a document.

    Attributes:
        fields: Names of the fields that changed.
    """

    slug: str
    outcome: Literal["created", "changed", "kept"]
    fields: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.outcome:<8} {self.slug}" + (f" ({', '.join(self.fields)})" if self.fields else "")


def read_values(shape: type[ValuesT], environment: Mapping[str, str] | None = None) -> ValuesT:
    """Read an environment's values: the field `api_key` from the variable `API_KEY`; empty ones count as not given.

    Args:
        shape: Its fields, with types and descriptions.
        environment: Variables; the process's own by default.

    Raises:
        EnvironmentProblem: All that is missing or unusable at once.
    """
    variables = os.environ if environment is None else environment
    given = {name: variables[name.upper()] for name in shape.model_fields if variables.get(name.upper())}
    try:
        return shape.model_validate(given)
    except ValidationError as error:
        lines: list[str] = []
        for fault in error.errors(include_url=False, include_input=False):
            field = str(fault["loc"][0]) if fault["loc"] else ""
            known = shape.model_fields.get(field)
            told = "is not set" if fault["type"] == "missing" else fault["msg"]
            lines.append(
                f"  {field.upper()} {told}" + (f": {known.description}" if known and known.description else "")
            )
        raise EnvironmentProblem("The environment lacks what the blocks need:\n" + "\n".join(lines)) from None


async def save_documents(documents: Sequence[Document]) -> list[Saved]:
    """Register the block types and save the documents. Idempotent: equal ones are left alone.

    Blocks that others hold come before these, so that the others refer to them instead of copying their secrets.

    Args:
        documents: In the order of their references.

    Returns:
        What became of each.
    """
    for kind in (*known_credentials(), S3Destination, LocalDestination, VideoJob):
        await kind.aregister_type_and_schema()  # pyright: ignore[reportUnknownMemberType] - Prefect injects its client
    return [await _save(document) for document in documents]


async def _save(document: Document) -> Saved:
    block = document.block
    try:
        stored = await type(block).aload(document.name)
    except ValueError:  # Prefect's word for: no such document
        saved = Saved(document.slug, "created")
    except RuntimeError:  # saved by a release with other fields, which cannot be read any more
        saved = Saved(document.slug, "changed", ("schema",))
    else:
        before, now = fingerprints(stored), fingerprints(block)
        changed = tuple(name for name in now if before.get(name) != now[name])
        if not changed:
            # Blocks that hold this one refer to the stored document.
            block._block_document_id = stored._block_document_id  # pyright: ignore[reportPrivateUsage] - as `save` does
            block._block_document_name = stored._block_document_name  # pyright: ignore[reportPrivateUsage] - likewise
            return Saved(document.slug, "kept")
        saved = Saved(document.slug, "changed", changed)
    await block.asave(document.name, overwrite=True)  # pyright: ignore[reportUnknownMemberType] - as above
    return saved


def fingerprints(block: Block) -> dict[str, str]:
    """SHA-256 of each field, secrets included, so that values can be compared and never shown.

    A block inside stands for the document it is saved as.
    """
    found: dict[str, str] = {}
    for name in type(block).model_fields:
        text = json.dumps(_plain(getattr(block, name)), sort_keys=True, default=str)
        found[name] = hashlib.sha256(text.encode()).hexdigest()
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, Block):
        saved = value._block_document_id  # pyright: ignore[reportPrivateUsage] - the only place where a block keeps it
        return {"document": str(saved)} if saved else fingerprints(value)
    # A default of 24 comes back from the server as 24.0.
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def main(
    shape: type[ValuesT],
    documents: Callable[[ValuesT], Sequence[Document]],
    arguments: Sequence[str] | None = None,
) -> None:
    """Run a file of block documents: read the environment, save, print a line a document. Never prints a value.

    Args:
        shape: What the environment must give.
        documents: Makes the documents of it.
        arguments: Of the command line; there are none but `--help`. The process's own by default.
    """
    _parser(shape).parse_args(arguments)
    try:
        wanted = documents(read_values(shape))
    except EnvironmentProblem as problem:
        sys.exit(str(problem))
    except ValidationError as error:
        faults = error.errors(include_url=False, include_input=False, include_context=False)
        lines = [f"  {error.title}.{'.'.join(map(str, fault['loc']))}: {redact(fault['msg'])}" for fault in faults]
        sys.exit("Values cannot be used:\n" + "\n".join(lines))
    for saved in asyncio.run(save_documents(wanted)):
        print(saved)


def _parser(shape: type[BaseModel]) -> ArgumentParser:
    """Takes nothing but `--help`, which lists the environment variables: a look must not save blocks."""
    lines = [
        f"  {name.upper():<32} {field.description or ''}{' Must be set.' if field.is_required() else ''}"
        for name, field in shape.model_fields.items()
    ]
    return ArgumentParser(
        description="Saves block documents; what is equal is left alone.",
        epilog="environment variables:\n" + "\n".join(lines),
        formatter_class=RawDescriptionHelpFormatter,
    )


VARIABLE = "GENVIDEO_HOME"
"""Names the folder that holds `flows/` on a worker that does not run from a clone."""


def enter_flows_home() -> dict[str, str]:
    """Enter the folder that holds `flows/`: `$GENVIDEO_HOME`, else the clone that the package is linked from.

    In a `prefect.yaml`: `pull: [{prefect_genvideo.pulling.enter_flows_home: {}}]`. The deployer's own folder is never
    pinned, so the same deployment runs in a container, on another machine and in a clone.

    Returns:
        `directory`, which Prefect takes as the run's working directory.

    Raises:
        FileNotFoundError: There is no such folder on this worker.
    """
    named = os.environ.get(VARIABLE)
    home = Path(named).expanduser() if named else Path(__file__).resolve().parents[2]
    if not (home / "flows").is_dir():
        where = f"{VARIABLE}={named} has" if named else "the package was installed from a wheel, which has"
        raise FileNotFoundError(
            f"This worker cannot find the deployed flows: {where} no folder flows/. Set {VARIABLE} on the worker to a "
            "folder that holds it, e.g. a clone."
        )
    os.chdir(home)
    return {"directory": str(home)}
