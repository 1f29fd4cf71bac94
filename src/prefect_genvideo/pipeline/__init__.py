"""One request to one stored video, resumable at every step."""

from prefect_genvideo.pipeline.assets import Staged, make_fetchable, stage
from prefect_genvideo.pipeline.make import Attempt, Made, Maker
from prefect_genvideo.pipeline.pipeline import Pipeline
from prefect_genvideo.pipeline.reconcile import Reconciled, ReconciledRow, reconcile
from prefect_genvideo.pipeline.storyboard import Shot, StoredFilm

__all__ = [
    "Attempt",
    "Made",
    "Maker",
    "Pipeline",
    "Reconciled",
    "ReconciledRow",
    "Shot",
    "Staged",
    "StoredFilm",
    "make_fetchable",
    "reconcile",
    "stage",
]
