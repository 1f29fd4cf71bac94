"""AI video generation as Prefect tasks, blocks and flows: never paid for twice, never lost, proved before it lands.

Prefect imports this package whenever it loads its collections, so names are loaded when they are first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefect_genvideo.blocks import (
        ArkCredentials,
        LocalDestination,
        S3Destination,
        SenseAudioCredentials,
        SudashuiCredentials,
        VideoJob,
    )
    from prefect_genvideo.events import request_trigger
    from prefect_genvideo.flows import (
        bill_videos,
        generate_video,
        generate_videos,
        generate_videos_sharded,
        plan_videos,
        reconcile_videos,
    )
    from prefect_genvideo.flows.storyboard import storyboard  # for mypy, `flows.storyboard` is the module
    from prefect_genvideo.models import Generation, StoredVideo, VideoRequest
    from prefect_genvideo.tasks import create_video, save_video, upload_asset, wait_for_video

__all__ = [
    "ArkCredentials",
    "Generation",
    "LocalDestination",
    "S3Destination",
    "SenseAudioCredentials",
    "StoredVideo",
    "SudashuiCredentials",
    "VideoJob",
    "VideoRequest",
    "bill_videos",
    "create_video",
    "generate_video",
    "generate_videos",
    "generate_videos_sharded",
    "plan_videos",
    "reconcile_videos",
    "request_trigger",
    "save_video",
    "storyboard",
    "upload_asset",
    "wait_for_video",
]

_HOMES = {
    "blocks": (
        "ArkCredentials",
        "LocalDestination",
        "S3Destination",
        "SenseAudioCredentials",
        "SudashuiCredentials",
        "VideoJob",
    ),
    "models": ("Generation", "StoredVideo", "VideoRequest"),
    "tasks": ("create_video", "save_video", "upload_asset", "wait_for_video"),
    "events": ("request_trigger",),
}
# All others are flows.
_MODULE_OF = dict.fromkeys(__all__, "flows") | {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Load a public name from the module that defines it."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    """Names for people and for `prefect block register -m`, which looks at the module's members."""
    return sorted({*globals(), *__all__})
