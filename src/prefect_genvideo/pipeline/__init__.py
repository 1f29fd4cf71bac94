"""One request to one stored video, resumable at every step."""

from prefect_genvideo.ledger.record import generation_of
from prefect_genvideo.pipeline.assets import ReferenceAssets, make_fetchable, reference_assets
from prefect_genvideo.pipeline.make import Attempt, BoundedSteps, Made, Maker, RowOutcome, Steps, make_video, submit
from prefect_genvideo.pipeline.pipeline import Pipeline
from prefect_genvideo.pipeline.reconcile import Reconciled, ReconciledRow, reconcile
from prefect_genvideo.pipeline.storyboard import Shot, StoredFilm

__all__ = [
    "Attempt",
    "BoundedSteps",
    "Made",
    "Maker",
    "Pipeline",
    "Reconciled",
    "ReconciledRow",
    "ReferenceAssets",
    "RowOutcome",
    "Shot",
    "Steps",
    "StoredFilm",
    "generation_of",
    "make_fetchable",
    "make_video",
    "reconcile",
    "reference_assets",
    "submit",
]
