"""The report of a batch: as a table, as a sheet of covers, and as files beside the videos."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import anyio
import anyio.to_thread
from prefect.artifacts import acreate_image_artifact, acreate_table_artifact

from prefect_genvideo.artifacts.markdown import Table, artifact_key, cells, plain
from prefect_genvideo.artifacts.video import thumbnail
from prefect_genvideo.batch.report import BatchReport, BatchRow
from prefect_genvideo.errors import DestinationError, InvalidRequestError, shorten
from prefect_genvideo.ledger.record import file_name
from prefect_genvideo.pipeline.pipeline import Pipeline
from prefect_genvideo.runtime import run_logger

# Rows of a table in the UI; the files beside the ledger have all of them.
_ROWS_SHOWN = 1_000


async def show_table(table: Table, key: str, description: str) -> None:
    """Create a table artifact. Its failure is logged, and nothing more.

    Args:
        table: The rows; those beyond the first thousand are left to the files.
        key: See `artifact_key`.
        description: What the table says, in a line.
    """
    more = len(table) - _ROWS_SHOWN
    told = f"{description} (the first {_ROWS_SHOWN} of {len(table)} rows)" if more > 0 else description
    shown = cells(table[:_ROWS_SHOWN]) or [{"row": "none"}]
    await _try(acreate_table_artifact(table=shown, key=key, description=plain(told)), "shown")


# Covers on one sheet; more cannot be told apart on a screen.
_ON_SHEET = 60


def _folder(name: str) -> str:
    return f"_reports/{file_name(name).removesuffix('.json')}"


async def read_report(pipeline: Pipeline, name: str) -> BatchReport | None:
    """Return a stored report, or None when there is none.

    Args:
        pipeline: Whose store has it.
        name: Name of the report.
    """
    found = await pipeline.ledger.store.get(f"{_folder(name)}/report.json")
    return BatchReport.model_validate_json(found[0]) if found else None


async def publish(pipeline: Pipeline, report: BatchReport, name: str | None = None) -> BatchReport:
    """Store `report.json` and the contact sheet beside the videos, and make their artifacts.

    Args:
        pipeline: Whose store takes them.
        report: What became of the rows.
        name: Name of the report; the batch's key when not given.

    Returns:
        The report, with its URI if it was stored. A store or server that fails here costs the report, not the batch.
    """
    name = name or report.key
    stored = report.model_copy(update={"report_uri": pipeline.ledger.store.uri(f"{_folder(name)}/report.json")})
    data = stored.model_dump_json(indent=2, exclude_none=True).encode()
    path = f"{_folder(name)}/report.json"
    if await _try(pipeline.ledger.store.put(path, data, content_type="application/json"), "stored"):
        report = stored
    table = acreate_table_artifact(
        table=cells(report.table()), key=artifact_key("batch", name), description=report.summary()
    )
    await _try(table, "shown")
    await _try(_show_covers(pipeline, report, name), "shown with its covers")
    return report


async def _try(step: Coroutine[Any, Any, object], done: str) -> bool:
    """Do one step of publishing; whether it worked. One that fails leaves the others their chance."""
    try:
        await step
    except Exception as error:
        told = str(error) if isinstance(error, DestinationError) else type(error).__name__
        run_logger().warning("The report could not be %s: %s", done, told)
        return False
    return True


async def _show_covers(pipeline: Pipeline, report: BatchReport, name: str) -> None:
    sheet = await _contact_sheet(pipeline, report)
    if sheet is None:
        return
    await pipeline.ledger.store.put(f"{_folder(name)}/contact-sheet.jpg", sheet, content_type="image/jpeg")
    shown = await anyio.to_thread.run_sync(thumbnail, sheet, 1280)
    if shown is not None:
        await acreate_image_artifact(
            image_url=shown, key=artifact_key("contact-sheet", name), description=report.summary()
        )


async def _contact_sheet(pipeline: Pipeline, report: BatchReport) -> bytes | None:
    """A JPEG of the covers, or None without the extra `media`."""
    from prefect_genvideo.media import contact_sheet

    rows = report.rows[:_ON_SHEET]
    places = anyio.CapacityLimiter(8)

    async def cover(row: BatchRow) -> tuple[bytes | None, str]:
        async with places:
            picture = await pipeline.pictures.cover(pipeline.ledger.store, row.video) if row.video else None
        return picture, f"{row.number} · {row.state}\n{shorten(row.reason, 80)}"

    pictures = await asyncio.gather(*(cover(row) for row in rows))
    try:
        return await anyio.to_thread.run_sync(contact_sheet, pictures)
    except InvalidRequestError as error:
        run_logger().info("No contact sheet: %s", error)
        return None
