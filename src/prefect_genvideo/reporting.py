"""Show and store what became of a batch: report, table and contact sheet."""

from __future__ import annotations

import asyncio

import anyio
import anyio.to_thread
from prefect.artifacts import acreate_image_artifact, acreate_table_artifact

from prefect_genvideo.errors import DestinationError, InvalidRequestError
from prefect_genvideo.records import file_name
from prefect_genvideo.reports import BatchReport, BatchRow
from prefect_genvideo.showing import artifact_key, cover_bytes, thumbnail
from prefect_genvideo.steps import Studio
from prefect_genvideo.studio import run_logger

#: Covers on one sheet; more cannot be told apart on a screen.
_ON_SHEET = 60


def _folder(name: str) -> str:
    return f"_reports/{file_name(name).removesuffix('.json')}"


async def read_report(studio: Studio, name: str) -> BatchReport | None:
    """The stored report of that name, or None when there is none."""
    found = await studio.ledger.store.get(f"{_folder(name)}/report.json")
    return BatchReport.model_validate_json(found[0]) if found else None


async def publish(studio: Studio, report: BatchReport, name: str | None = None) -> BatchReport:
    """Store `report.json` and the contact sheet beside the videos, and make their artifacts.

    Args:
        studio: Whose store takes them.
        report: What became of the rows.
        name: Name of the report; the batch's key when not given.

    Returns:
        The report with its URI. A store or server that fails here costs the pictures, not the batch.
    """
    name = name or report.key
    folder = _folder(name)
    store, logger = studio.ledger.store, run_logger()
    report = report.model_copy(update={"report_uri": store.uri(f"{folder}/report.json")})
    try:
        data = report.model_dump_json(indent=2, exclude_none=True).encode()
        await store.put(f"{folder}/report.json", data, content_type="application/json")
        await acreate_table_artifact(
            table=report.table(), key=artifact_key("batch", name), description=report.summary()
        )
        sheet = await _contact_sheet(studio, report)
        if sheet is not None:
            await store.put(f"{folder}/contact-sheet.jpg", sheet, content_type="image/jpeg")
            shown = await anyio.to_thread.run_sync(thumbnail, sheet, 1280)
            if shown is not None:
                await acreate_image_artifact(
                    image_url=shown, key=artifact_key("contact-sheet", name), description=report.summary()
                )
    except DestinationError as error:
        logger.warning("The report could not be stored: %s", error)
    except Exception as error:
        logger.warning("The report could not be shown: %s", type(error).__name__)
    return report


async def _contact_sheet(studio: Studio, report: BatchReport) -> bytes | None:
    """A JPEG of the covers, or None without the extra `media`."""
    from prefect_genvideo.film import contact_sheet

    rows = report.rows[:_ON_SHEET]
    places = anyio.CapacityLimiter(8)

    async def cover(row: BatchRow) -> tuple[bytes | None, str]:
        async with places:
            picture = await cover_bytes(studio, row.video) if row.video else None
        return picture, f"{row.number} · {row.state}\n{row.reason[:80]}"

    pictures = await asyncio.gather(*(cover(row) for row in rows))
    try:
        return await anyio.to_thread.run_sync(contact_sheet, pictures)
    except InvalidRequestError as error:
        run_logger().info("No contact sheet: %s", error)
        return None
