"""Flows that can be deployed as they are or called from other flows.

A run of a deployment is a process of its own and needs one flow. Each costs some 30 ms to define, since Prefect makes
its form then, so each is loaded when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

# A flow that is called like its module is loaded at once, or the module would stand in its place.
from prefect_genvideo.flows.storyboard import storyboard

if TYPE_CHECKING:
    from prefect_genvideo.flows.batch import generate_videos
    from prefect_genvideo.flows.bill import bill_videos
    from prefect_genvideo.flows.decide import adopt_task, cancel_task, release_key
    from prefect_genvideo.flows.generate import AspectRatio, Resolution, generate_video
    from prefect_genvideo.flows.plan import plan_videos
    from prefect_genvideo.flows.preset import run_preset
    from prefect_genvideo.flows.reconcile import reconcile_videos
    from prefect_genvideo.flows.shards import generate_videos_sharded

__all__ = [
    "AspectRatio",
    "Resolution",
    "adopt_task",
    "bill_videos",
    "cancel_task",
    "generate_video",
    "generate_videos",
    "generate_videos_sharded",
    "plan_videos",
    "reconcile_videos",
    "release_key",
    "run_preset",
    "storyboard",
]

_MODULE_OF = {
    "AspectRatio": "generate",
    "Resolution": "generate",
    "adopt_task": "decide",
    "bill_videos": "bill",
    "cancel_task": "decide",
    "generate_video": "generate",
    "generate_videos": "batch",
    "generate_videos_sharded": "shards",
    "plan_videos": "plan",
    "reconcile_videos": "reconcile",
    "release_key": "decide",
    "run_preset": "preset",
}


def __getattr__(name: str) -> Any:
    """Load a flow from the module that defines it."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    """Names for people."""
    return sorted({*globals(), *__all__})
