"""Flows that can be deployed as they are or called from other flows."""

from prefect_genvideo.flows.generate import generate_video
from prefect_genvideo.flows.reconcile import reconcile_videos

__all__ = ["generate_video", "reconcile_videos"]
