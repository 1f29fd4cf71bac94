"""Pictures and tables in the UI: one video, its progress, and the report of a batch."""

from __future__ import annotations

import asyncio
import base64
import io
import logging
import re
from collections.abc import Coroutine
from types import TracebackType
from typing import Any
from urllib.parse import quote
from uuid import UUID

import anyio
import anyio.to_thread
from prefect.artifacts import (
    acreate_image_artifact,
    acreate_markdown_artifact,
    acreate_progress_artifact,
    acreate_table_artifact,
    aupdate_progress_artifact,
)

from prefect_genvideo.batch.report import BatchReport, BatchRow
from prefect_genvideo.errors import DestinationError, InvalidRequestError, printable, shorten
from prefect_genvideo.ledger.record import LedgerRecord, file_name
from prefect_genvideo.models import StoredVideo, VideoRequest
from prefect_genvideo.pipeline.pipeline import Pipeline
from prefect_genvideo.pipeline.wait import Look
from prefect_genvideo.runtime import run_logger, task_run_id

# What GitHub's Markdown, which Prefect's UI reads, makes a link of without being asked.
_ADDRESS = re.compile(r"://|www\.|@|mailto:|xmpp:", re.IGNORECASE)
_MARKUP = re.compile(r"([\\`*_{}\[\]()<>#|!~&$])")
# At the beginning of a line: lists and underlined headings.
_BLOCK = re.compile(r"\A(\d*)([-+=.)])")
_COVER_WIDTH = 480
_COVER_LIMIT = 4 * 1024 * 1024


async def show_video(pipeline: Pipeline, video: StoredVideo, request: VideoRequest) -> None:
    """Create the video's artifact. Its failure is logged, and nothing more: the video is safe already.

    Args:
        pipeline: Whose store has the cover.
        video: The saved video.
        request: What was asked for.
    """
    try:
        # A small picture inside the text needs no signed link and never dies.
        cover = await cover_bytes(pipeline, video)
        small = await anyio.to_thread.run_sync(thumbnail, cover) if cover else None
        await acreate_markdown_artifact(
            markdown=video_markdown(video, request, small),
            key=artifact_key("video", video.task_id),
            description=plain(shorten(f"{video.model}: {request.prompt}", 140)),
        )
    except Exception as error:
        run_logger().warning("The artifact could not be made: %s", type(error).__name__)


async def show_reuse(record: LedgerRecord) -> None:
    """Say in the run's artifacts that nothing was paid, since its key had a task already."""
    try:
        await acreate_markdown_artifact(
            markdown=f"Nothing was paid: task {_code(record.task_id or '')} of {_code(record.key)} is used again.\n",
            key=artifact_key("reused", record.task_id or record.key),
            description="An earlier run has paid for this generation.",
        )
    except Exception as error:
        run_logger().warning("The artifact could not be made: %s", type(error).__name__)


def artifact_key(kind: str, name: str) -> str:
    """Return a key as Prefect wants it: lower-case letters, digits and dashes.

    Args:
        kind: What the artifact shows, e.g. `video`.
        name: Which one; runs of other characters become one dash.
    """
    return f"{kind}-{re.sub(r'[^a-z0-9]+', '-', name.lower()).strip('-')}"


async def cover_bytes(pipeline: Pipeline, video: StoredVideo) -> bytes | None:
    """Return the cover that lies beside the video; None when there is none or the store cannot be read now.

    Args:
        pipeline: Whose store has it.
        video: The saved video.
    """
    if video.cover_uri is None:
        return None
    store = pipeline.ledger.store
    name = store.relative_key(video.key).removesuffix(".mp4") + ".cover." + video.cover_uri.rpartition(".")[2]
    try:
        found = await store.get(name)
    except DestinationError:
        return None
    return found[0] if found and len(found[0]) <= _COVER_LIMIT else None


def thumbnail(picture: bytes, width: int = _COVER_WIDTH) -> str | None:
    """Scale a picture, for a text that carries it.

    Args:
        picture: JPEG, PNG, GIF or WebP.
        width: Pixels; the result is at most as wide and as high.

    Returns:
        A JPEG as data URL; None for what is no picture or too large to open, or without Pillow.
    """
    from prefect_genvideo import media

    image = media.thumbnail(picture, (width, width))
    if image is None:
        return None
    small = io.BytesIO()
    image.save(small, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(small.getvalue()).decode()}"


def video_markdown(video: StoredVideo, request: VideoRequest, cover: str | None) -> str:
    """The artifact's text.

    Args:
        video: The saved video.
        request: What was asked for.
        cover: Image URL or data URL of the cover.
    """
    pixels = f"{video.width}×{video.height} pixels" if video.width and video.height else "size unknown"
    seconds = f"{video.duration:g} s" if video.duration else "length unknown"
    facts = {
        "Model": f"{plain(video.model)} ({video.provider})",
        "Video": f"{seconds}, {pixels}, {video.size:,} bytes",
        "Paid": "earlier; this run used it again" if video.reused else "by this run",
        "Cost": "unknown" if video.cost is None else f"{_number(video.cost)}, as the provider counts",
        "Task id": _code(video.task_id),
        "Key": _code(video.idempotency_key or "none"),
        "SHA-256": _code(video.sha256),
    }
    # The first fact is the table's head: an empty one would be shown as a bar. Addresses are too long for cells.
    first, *others = (f"| {name} | {value} |" for name, value in facts.items())
    picture = f"![cover]({cover})\n\n" if cover else ""
    prompt = "> " + (plain(request.prompt) or "(no prompt)")
    places = f"{_link(video.uri)}\n\nManifest: {_link(video.manifest_uri)}"
    return f"{picture}{prompt}\n\n{places}\n\n" + "\n".join([first, "|---|---|", *others]) + "\n"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value.is_integer() else f"{value:,.6g}"


def _link(uri: str) -> str:
    # Prefect's UI shows the text of links as it is, escapes and all: what could be markup is percent-encoded instead.
    text = "".join(char if char.isalnum() or char in ":/._-" else quote(char) for char in uri)
    return f"[{text}]({quote(uri, safe=':/')})"


def plain(text: str) -> str:
    """Return a stranger's text as Markdown that shows it and nothing else: no markup, link, picture or second line.

    Addresses become code, since GitHub's Markdown makes links even of those whose punctuation is escaped.
    """
    words = printable(" ".join(text.split())).split(" ")
    told = " ".join(_code(word) if _ADDRESS.search(word) else _MARKUP.sub(r"\\\1", word) for word in words)
    return _BLOCK.sub(r"\1\\\2", told)


def _code(text: str) -> str:
    return "`" + printable(text).replace("`", "'").replace("|", "¦") + "`"


def _cells(table: list[dict[str, str | int | float]]) -> list[dict[str, str | int | float]]:
    """Rows whose texts are printable and no links: one of Prefect's two UIs reads Markdown in cells."""
    return [
        {
            name: printable(value).replace("](", "] (") if isinstance(value, str) else value
            for name, value in row.items()
        }
        for row in table
    ]


# An artifact update costs the server 12 ms of CPU; more often than this nobody reads it.
_ARTIFACT_EVERY = 20.0
_LOG_EVERY = 60.0
# Characters of a provider's own words in one line of a log.
_LONGEST_WORDS = 500


class ProgressArtifact:
    """Shows one wait. Nothing that goes wrong here disturbs the wait itself.

    Args:
        task_id: The provider's id.
        logger: The run's logger.
    """

    def __init__(self, task_id: str, logger: logging.Logger | logging.LoggerAdapter[Any]) -> None:
        self._task_id = task_id
        self._logger = logger
        self._artifact: UUID | None = None
        self._shown_at = self._logged_at = float("-inf")
        self._seen: tuple[str, str | None] | None = None
        self._last = Look()

    async def __aenter__(self) -> ProgressArtifact:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._artifact is not None:
            await self._show(100.0 if error is None else float(self._last.progress), plain(_words(self._last, error)))

    async def look(self, look: Look) -> None:
        """Take what the waiter has seen; updates sparingly."""
        self._last = look
        self._log(look)
        if look.waited - self._shown_at >= _ARTIFACT_EVERY:
            self._shown_at = look.waited
            await self._show(float(look.progress), plain(_words(look, None)))

    def _log(self, look: Look) -> None:
        state = look.generation.state if look.generation else ("unknown" if look.asked else "not asked yet")
        now = (state, look.trouble)
        if now == self._seen and look.waited - self._logged_at < _LOG_EVERY:
            return
        self._seen, self._logged_at = now, look.waited
        level = logging.WARNING if look.trouble else logging.INFO
        self._logger.log(level, "Task %s: %s", self._task_id, _words(look, None))

    async def _show(self, progress: float, words: str) -> None:
        if task_run_id() is None:
            return
        try:
            if self._artifact is None:
                self._artifact = await acreate_progress_artifact(progress=progress, description=words)
            else:
                await aupdate_progress_artifact(self._artifact, progress=progress, description=words)
        except Exception as error:
            # The UI may be down for a while; the generation is paid for and goes on.
            self._logger.debug("Progress could not be shown: %s", type(error).__name__)


def _words(look: Look, error: BaseException | None) -> str:
    if look.first_in is not None:
        return f"submitted, first check in {look.first_in:.0f} s"
    state = look.generation.state if look.generation else "not asked yet"
    words = f"{state}, {look.waited:.0f} s waited, {look.asked} question{'' if look.asked == 1 else 's'}"
    if look.generation is not None and look.generation.reason:
        words += f"; {shorten(look.generation.reason, _LONGEST_WORDS)}"
    if look.trouble:
        words += f"; the last one said nothing: {shorten(look.trouble, _LONGEST_WORDS)}"
    return f"{words}; ended: {shorten(str(error), _LONGEST_WORDS)}" if error is not None else words


# Rows of a table in the UI; the files beside the ledger have all of them.
_ROWS_SHOWN = 1_000


async def show_table(table: list[dict[str, str | int | float]], key: str, description: str) -> None:
    """Create a table artifact. Its failure is logged, and nothing more.

    Args:
        table: The rows; those beyond the first thousand are left to the files.
        key: See `artifact_key`.
        description: What the table says, in a line.
    """
    more = len(table) - _ROWS_SHOWN
    told = f"{description} (the first {_ROWS_SHOWN} of {len(table)} rows)" if more > 0 else description
    shown = _cells(table[:_ROWS_SHOWN]) or [{"row": "none"}]
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
        table=_cells(report.table()), key=artifact_key("batch", name), description=report.summary()
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
            picture = await cover_bytes(pipeline, row.video) if row.video else None
        return picture, f"{row.number} · {row.state}\n{shorten(row.reason, 80)}"

    pictures = await asyncio.gather(*(cover(row) for row in rows))
    try:
        return await anyio.to_thread.run_sync(contact_sheet, pictures)
    except InvalidRequestError as error:
        run_logger().info("No contact sheet: %s", error)
        return None
