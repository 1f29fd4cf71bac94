"""The rows of a manifest that are due, on a schedule; a copy of its module, put here, is one of your own."""

from prefect_genvideo.ready import content_calendar

__all__ = ["content_calendar"]
