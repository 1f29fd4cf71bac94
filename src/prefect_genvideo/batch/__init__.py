"""Batches of videos: manifests read and checked, plans, and reports."""

from prefect_genvideo.batch.calendar import due_slots
from prefect_genvideo.batch.manifest import load_manifest
from prefect_genvideo.batch.model import Manifest
from prefect_genvideo.batch.plan import Batch
from prefect_genvideo.batch.report import BatchFailedError, BatchReport, BatchRow

__all__ = [
    "Batch",
    "BatchFailedError",
    "BatchReport",
    "BatchRow",
    "Manifest",
    "due_slots",
    "load_manifest",
]
