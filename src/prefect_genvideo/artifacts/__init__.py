"""Artifacts in Prefect's UI: videos, progress, reports of batches, films."""

from prefect_genvideo.artifacts.ledger import show_decisions, show_reconciled
from prefect_genvideo.artifacts.markdown import artifact_key, plain
from prefect_genvideo.artifacts.pages import show_table
from prefect_genvideo.artifacts.progress import ProgressArtifact
from prefect_genvideo.artifacts.report import pictures_prepared, publish, read_report, show_budgets
from prefect_genvideo.artifacts.video import show_film, show_reuse, show_video, video_markdown

__all__ = [
    "ProgressArtifact",
    "artifact_key",
    "pictures_prepared",
    "plain",
    "publish",
    "read_report",
    "show_budgets",
    "show_decisions",
    "show_film",
    "show_reconciled",
    "show_reuse",
    "show_table",
    "show_video",
    "video_markdown",
]
