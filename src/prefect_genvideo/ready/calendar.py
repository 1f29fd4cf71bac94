"""Scheduled: the rows of a manifest that are due, keyed by slot, so that a late or repeated run makes none twice."""

from datetime import timedelta
from typing import Literal

from prefect import flow

from prefect_genvideo.batch import BatchReport, due_slots
from prefect_genvideo.blocks import resolve_destination
from prefect_genvideo.flows import generate_videos
from prefect_genvideo.flows.names import scheduled_name
from prefect_genvideo.runtime import get_settings


@flow(name="content-calendar", flow_run_name=scheduled_name)
async def content_calendar(
    manifest: str,
    credentials: str = "sudashui-credentials/production",
    destination: str = "s3-video-destination/production",
    look_back_hours: float = 48,
    max_in_flight: int = 20,
    account_slots: int = 0,
    wait: Literal["finish", "collect"] = "finish",
) -> BatchReport | None:
    """Make the videos that the calendar wants now.

    Args:
        manifest: The calendar: a link, an s3:// URI or a path on the worker. Rows without due are never made.
        credentials: Saved credentials block.
        destination: Saved destination block.
        look_back_hours: How far to look back; longer than the schedule's interval, so that missed runs are caught up.
        max_in_flight: Generations under way at most in this run.
        account_slots: Generations under way at most for the account over all runs; 0 is no shared limit.
        wait: collect submits and ends; the scheduled reconcile fetches the videos.

    Returns:
        The batch's report; None when nothing was due.

    Raises:
        InvalidRequestError: Rows of the calendar break rules of its format; the good ones that are due were made.
        BatchFailedError: Videos failed; the next run makes only those again that can be.
    """
    target, settings = await resolve_destination(destination), get_settings()
    slots = await due_slots(
        manifest,
        target.get_store(),
        timedelta(hours=look_back_hours),
        allow_local=settings.allow_local_files,
        allow_private=settings.allow_private,
    )
    report = None
    if slots.due.rows:
        # Not as a run of its own: Prefect's server keeps the parameters of runs, and rows may hold signed links.
        report = await generate_videos.fn(
            slots.due,
            credentials,
            destination,
            max_in_flight=max_in_flight,
            account_slots=account_slots,
            wait=wait,
        )
    slots.manifest.check()
    return report
