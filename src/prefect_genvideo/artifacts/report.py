"""The report of a batch: as a table, as a sheet of covers, and as files beside the videos."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import compress

import anyio
import anyio.to_thread

from prefect_genvideo.artifacts.markdown import Table, artifact_key, code, grid, lives, plain, play
from prefect_genvideo.artifacts.pages import attempt, show_page, show_table
from prefect_genvideo.artifacts.video import data_url
from prefect_genvideo.batch.report import BatchReport, BatchRow
from prefect_genvideo.errors import InvalidRequestError, counted, shorten
from prefect_genvideo.ledger.budget import BudgetGuard
from prefect_genvideo.ledger.record import file_name
from prefect_genvideo.pipeline.lineage import tell_report
from prefect_genvideo.pipeline.pipeline import Pipeline
from prefect_genvideo.pipeline.play import PlayLink
from prefect_genvideo.runtime import run_logger


async def show_budgets(guards: Sequence[BudgetGuard], name: str) -> None:
    """Show how far caps are spent of which a share is reached; nothing while there are none.

    Args:
        guards: Of a run's accounts.
        name: Of the batch, for the artifact's key.
    """
    table: Table = [
        {
            "provider": one.provider,
            "cap": one.cap,
            "of": one.label,
            "period": one.period or "this run",
            "spent": one.spent,
            "limit": one.limit,
        }
        for guard in guards
        for one in guard.near.values()
    ]
    if table:
        told = f"{counted(len(table), 'cap')} of the budget nearly or wholly spent"
        await show_table(table, artifact_key("budget", name), told)


# A batch's key that nobody has chosen, as `runtime.derive_key` makes it.
_DERIVED = re.compile(r"run-[0-9a-f]{8}-[0-9a-f]{4}-")
# Rows on a batch's page; a page of more is slow to read and to open.
_LISTED = 200
# Covers on one sheet; more cannot be told apart on a screen.
_ON_SHEET = 60
# Seconds after the begin of a batch in which there is more urgent work.
_CREATES_FIRST = 2.0
# Columns of a sheet and pixels of a cell, by the covers up to which they hold: as wide as a page shows it unscaled.
_SHEETS = ((20, 5, 240), (_ON_SHEET, 8, 160))


def _folder(name: str) -> str:
    return f"_reports/{file_name(name).removesuffix('.json')}"


@asynccontextmanager
async def pictures_prepared() -> AsyncGenerator[None]:
    """Load what draws the contact sheet while a batch waits for its provider, not when it has ended."""

    async def load() -> None:
        await anyio.sleep(_CREATES_FIRST)
        with suppress(Exception):  # whoever draws the sheet says what is wrong
            await anyio.to_thread.run_sync(_drawn, [(None, "")])

    loading = asyncio.create_task(load())
    try:
        yield
    finally:
        loading.cancel()


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
    links = await _links(pipeline, report)
    if pipeline.links.lasting:
        rows = [
            row.model_copy(update={"link": link.url if link else None})
            for row, link in zip(report.rows, links, strict=True)
        ]
        report = report.model_copy(update={"rows": rows})
    store, path = pipeline.ledger.store, f"{_folder(name)}/report.json"
    stored = report.model_copy(update={"report_uri": store.uri(path)})
    data = stored.model_dump_json(indent=2, exclude_none=True).encode()
    with attempt("The report could not be stored"):
        await store.put(path, data, content_type="application/json")
        report = stored
    if report is stored:
        tell_report(pipeline, str(stored.report_uri), name, report.summary(), [video.uri for video in report.saved])
    table = show_table(report.table(), artifact_key("batch", name), _headline(report, name))
    await asyncio.gather(table, _show_covers(pipeline, report, name, links))
    return report


async def _links(pipeline: Pipeline, report: BatchReport) -> list[PlayLink | None]:
    """What plays each row's video; presigned ones only for the rows that are shown."""
    shown = report.rows if pipeline.links.lasting else report.rows[:_LISTED]
    links = await pipeline.links.to(pipeline.ledger.store, [row.video for row in shown])
    return [*links, *[None] * (len(report.rows) - len(shown))]


async def _show_covers(pipeline: Pipeline, report: BatchReport, name: str, links: list[PlayLink | None]) -> None:
    """One page for the batch: its covers, and each row with its prompt and a link that plays it."""
    with attempt("The report could not be shown with its covers"):
        sheet = await _contact_sheet(pipeline, report)
        if sheet is not None:
            await pipeline.ledger.store.put(f"{_folder(name)}/contact-sheet.jpg", sheet, content_type="image/jpeg")
        page = batch_markdown(report, links, data_url("image/jpeg", sheet) if sheet else None)
        await show_page(page, artifact_key("videos", name), _headline(report, name))


def _headline(report: BatchReport, name: str) -> str:
    """What a batch is called and how it ended. A key that was derived from the run says less than the first prompt."""
    prompt = report.rows[0].prompt if report.rows and _DERIVED.match(name) else ""
    return f"{shorten(prompt or name, 100)} · {report.summary()}"


def batch_markdown(report: BatchReport, links: list[PlayLink | None], sheet: str | None) -> str:
    """The page of a batch.

    Args:
        report: What became of the rows.
        links: What plays each row's video.
        sheet: Data URL of the covers.
    """
    kept = list(zip(report.rows, links, strict=True))[:_LISTED]
    rows = [[str(row.number), row.state, plain(shorten(row.prompt, 160)), play(link), _why(row)] for row, link in kept]
    # A column of nothing takes the room of the others.
    told = {"Row": True, "State": True, "Prompt": True, "Video": any(links), "What to do": any(row[-1] for row in rows)}
    head = [title for title, shown in told.items() if shown]
    more = len(report.rows) - len(kept)
    parts = (
        f"![covers]({sheet})" if sheet else "",
        f"{report.summary()}. {plain(report.advice())}".strip(),
        grid(head, [list(compress(row, told.values())) for row in rows], right=("Row",)),
        lives(*links),
        f"The report has {more} more rows." if more > 0 else "",
        f"Report: {code(report.report_uri)}" if report.report_uri else "",
    )
    return "\n\n".join(filter(None, parts))


def _why(row: BatchRow) -> str:
    step = row.next_step[:1].upper() + row.next_step[1:]
    return plain(". ".join(filter(None, (shorten(row.reason, 160).rstrip("."), step))))


async def _contact_sheet(pipeline: Pipeline, report: BatchReport) -> bytes | None:
    """A JPEG of the covers, or None without the extra `media`."""
    rows = report.rows[:_ON_SHEET]
    places = anyio.CapacityLimiter(8)

    async def cover(row: BatchRow) -> tuple[bytes | None, str]:
        async with places:
            picture = await pipeline.pictures.cover(pipeline.ledger.store, row.video) if row.video else None
        return picture, f"{row.number} · {row.state}\n{shorten(row.reason or row.prompt, 80)}"

    pictures = await asyncio.gather(*(cover(row) for row in rows))
    try:
        return await anyio.to_thread.run_sync(_drawn, pictures)
    except InvalidRequestError as error:
        run_logger().info("No contact sheet: %s", error)
        return None


def _drawn(pictures: Sequence[tuple[bytes | None, str]]) -> bytes:
    from prefect_genvideo.media import contact_sheet

    columns, cell = next((columns, cell) for most, columns, cell in _SHEETS if len(pictures) <= most)
    return contact_sheet(pictures, columns=columns, cell=cell)
