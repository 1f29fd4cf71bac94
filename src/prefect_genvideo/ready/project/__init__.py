"""A folder with all that brings the ready deployments up: `genvideo init` writes it, `genvideo deploy` uses it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from importlib.resources import files
from pathlib import Path
from typing import Literal, get_args
from zoneinfo import ZoneInfo

from jinja2 import Environment, StrictUndefined

from prefect_genvideo.errors import InvalidRequestError, shown
from prefect_genvideo.models import Problem
from prefect_genvideo.storage import bucket_fault

__all__ = ["BLOCKS", "DEPLOYMENTS", "EnvironmentName", "Project"]

EnvironmentName = Literal["simulator", "production"]
DEPLOYMENTS, BLOCKS = "prefect.yaml", "blocks.py"
"""Names of the file with the deployments and of the one with the block documents."""
# Files that are made of templates.
_MADE = (DEPLOYMENTS, "calendar.yaml", "README.md")

# Prefect's own templates are full of `{{ … }}`.
_TEMPLATES = Environment(
    undefined=StrictUndefined,
    variable_start_string="[[",
    variable_end_string="]]",
    block_start_string="[%",
    block_end_string="%]",
    comment_start_string="[##",
    comment_end_string="##]",
    line_statement_prefix="#%",
    keep_trailing_newline=True,
    autoescape=False,  # noqa: S701 - YAML and Markdown, made of values that were checked
)
# What Prefect takes as a work pool's name and what needs no quotes in YAML.
_POOL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Project:
    """A folder to be written.

    Attributes:
        folder: Where; made when missing.
        environment: `simulator` costs nothing; `production` is what the keys of the environment pay for.
        bucket: Takes the videos. Empty: the simulator's go into the folder; production has to have one.
        pool: Name of the work pool.
        zone: Time zone of the schedules, as the IANA database names it.
    """

    folder: Path
    environment: EnvironmentName = "simulator"
    bucket: str = ""
    pool: str = "genvideo"
    zone: str = "UTC"

    def write(self, *, overwrite: bool = False) -> list[Path]:
        """Write the files.

        Args:
            overwrite: Replace files that are there.

        Returns:
            What was written.

        Raises:
            InvalidRequestError: All that stands against it at once; nothing was written.
            OSError: The folder cannot be written.
        """
        problems = list(self._faults())
        there = [] if overwrite else [path for name in (*_MADE, BLOCKS) if (path := self.folder / name).exists()]
        problems += [_problem(path.name, str(path), "is there already; --force replaces it") for path in there]
        if problems:
            raise InvalidRequestError("Nothing was written.", problems=problems)
        texts = self.texts()
        self.folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (self.folder / name).write_text(text, encoding="utf-8")
        return [self.folder / name for name in texts]

    def texts(self) -> dict[str, str]:
        """The files by name."""
        sources = files(__package__ or __name__)
        values = self._values()
        found = {
            name: _TEMPLATES.from_string((sources / name).read_text(encoding="utf-8")).render(values) for name in _MADE
        }
        # No template: it is a module of the package as well.
        return found | {BLOCKS: (sources / f"{self.environment}.py").read_text(encoding="utf-8")}

    def _values(self) -> dict[str, str]:
        today = datetime.now(timezone.utc)
        home = self.folder.expanduser().absolute()
        return {
            "environment": self.environment,
            "bucket": self.bucket,
            "pool": self.pool,
            "zone": self.zone,
            "destination": f"{'s3' if self.bucket else 'local'}-video-destination/{self.environment}",
            "calendar": f"s3://{self.bucket}/calendar.yaml" if self.bucket else str(home / "calendar.yaml"),
            "place": f"s3://{self.bucket}/videos" if self.bucket else "videos",
            "today": f"{today:%Y-%m-%d}",
            "tomorrow": f"{today + timedelta(days=1):%Y-%m-%d}",
        }

    def _faults(self) -> Iterator[Problem]:
        if self.environment not in get_args(EnvironmentName):
            yield _problem("env", self.environment, f"must be {' or '.join(get_args(EnvironmentName))}")
        if self.environment == "production" and not self.bucket:
            yield _problem("bucket", "(none)", "must be given with --bucket, or as GENVIDEO_BUCKET")
        if self.bucket and (limit := bucket_fault(self.bucket)):
            yield _problem("bucket", self.bucket, f"must {limit}")
        if not _POOL.fullmatch(self.pool):
            yield _problem("pool", self.pool, "must be 1 to 100 letters, digits, `.`, `-`, `_`")
        try:
            ZoneInfo(self.zone)
        except (KeyError, OSError, ValueError):
            yield _problem("zone", self.zone, "must be a time zone's name, e.g. Europe/Berlin")
        if any(not char.isprintable() for char in str(self.folder)):
            yield _problem("folder", str(self.folder), "must be a path without control characters")


def _problem(field: str, value: str, limit: str) -> Problem:
    return Problem(field, shown(value), limit, "genvideo init")
