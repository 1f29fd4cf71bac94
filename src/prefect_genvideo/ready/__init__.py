"""Pipelines that are ready to deploy, each by its module path: `prefect_genvideo.ready.on_request`."""

from prefect_genvideo.ready.calendar import content_calendar
from prefect_genvideo.ready.film import storyboard_film
from prefect_genvideo.ready.request import on_request
from prefect_genvideo.ready.upkeep import reconcile

__all__ = ["content_calendar", "on_request", "reconcile", "storyboard_film"]
