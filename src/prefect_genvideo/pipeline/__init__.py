"""One request to one stored video, resumable at every step."""

from prefect_genvideo.pipeline.assets import Staged, make_fetchable, stage
from prefect_genvideo.pipeline.make import Choice, Produced, Producer
from prefect_genvideo.pipeline.pipeline import Studio
from prefect_genvideo.pipeline.reconcile import Reconciled, ReconciledRow, reconcile
from prefect_genvideo.pipeline.storyboard import Shot, StoredFilm

__all__ = [
    "Choice",
    "Produced",
    "Producer",
    "Reconciled",
    "ReconciledRow",
    "Shot",
    "Staged",
    "StoredFilm",
    "Studio",
    "make_fetchable",
    "reconcile",
    "stage",
]
