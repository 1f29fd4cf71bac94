"""Artifacts on the server: pages of Markdown and tables, whose failure costs nothing but themselves."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from prefect.artifacts import acreate_markdown_artifact, acreate_table_artifact

from prefect_genvideo.artifacts.markdown import Table, cells, plain
from prefect_genvideo.errors import DestinationError, shorten
from prefect_genvideo.runtime import run_logger

# Rows of a table in the UI; the files beside the ledger have all of them.
_ROWS_SHOWN = 1_000
# Characters of a description: about three lines of a card in the list of artifacts.
_LONGEST_DESCRIPTION = 200


@contextmanager
def attempt(what: str) -> Generator[None]:
    """Let showing something fail without harm: it is logged, and others have their chance.

    Args:
        what: What is missing then, e.g. `The report could not be stored`.
    """
    try:
        yield
    except Exception as error:
        told = str(error) if isinstance(error, DestinationError) else type(error).__name__
        run_logger().warning("%s: %s", what, told)


async def show_page(markdown: str, key: str, description: str) -> None:
    """Create a page.

    Args:
        markdown: Its text; others' words in it are plain already.
        key: See `artifact_key`.
        description: What it shows, in a line; may hold others' words. Prefect's pages read Markdown there too.
    """
    told = plain(shorten(description, _LONGEST_DESCRIPTION))
    await acreate_markdown_artifact(markdown=markdown, key=key, description=told)


async def show_table(table: Table, key: str, description: str) -> None:
    """Create a table. Its failure is logged, and nothing more.

    Args:
        table: The rows; those beyond the first thousand are left to the files.
        key: See `artifact_key`.
        description: What the table says, in a line; may hold others' words.
    """
    more = len(table) - _ROWS_SHOWN
    told = shorten(description, _LONGEST_DESCRIPTION)
    told = f"{told} (the first {_ROWS_SHOWN} of {len(table)} rows)" if more > 0 else told
    shown = cells(_without_empty(table[:_ROWS_SHOWN])) or [{"row": "none"}]
    with attempt("The table could not be shown"):
        await acreate_table_artifact(table=shown, key=key, description=plain(told))


def _without_empty(table: Table) -> Table:
    """The rows without the columns that say nothing in any of them: a page has room for some six."""
    said = {name for row in table for name, value in row.items() if value != ""}
    return [{name: value for name, value in row.items() if name in said} for row in table]
