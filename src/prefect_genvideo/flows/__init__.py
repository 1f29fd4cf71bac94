"""Flows that can be deployed as they are or called from other flows."""

from prefect_genvideo.flows.batch import generate_videos
from prefect_genvideo.flows.bill import bill_videos
from prefect_genvideo.flows.decide import adopt_task, release_key
from prefect_genvideo.flows.generate import AspectRatio, Resolution, generate_video
from prefect_genvideo.flows.plan import plan_videos
from prefect_genvideo.flows.preset import run_preset
from prefect_genvideo.flows.reconcile import reconcile_videos
from prefect_genvideo.flows.shards import generate_videos_sharded
from prefect_genvideo.flows.storyboard import storyboard

__all__ = [
    "AspectRatio",
    "Resolution",
    "adopt_task",
    "bill_videos",
    "generate_video",
    "generate_videos",
    "generate_videos_sharded",
    "plan_videos",
    "reconcile_videos",
    "release_key",
    "run_preset",
    "storyboard",
]
