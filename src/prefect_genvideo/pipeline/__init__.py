"""One request to one stored video, resumable at every step."""

from prefect_genvideo.pipeline.pipeline import Pipeline
from prefect_genvideo.pipeline.reconcile import ReconciledRow
from prefect_genvideo.pipeline.storyboard import Shot, StoredFilm

__all__ = [
    "Pipeline",
    "ReconciledRow",
    "Shot",
    "StoredFilm",
]
