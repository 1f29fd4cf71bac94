"""From a manifest to checked rows and a report."""

from prefect_genvideo.batch.calendar import DueSlots, due_slots
from prefect_genvideo.batch.manifest import due_rows, load_manifest, rows_from
from prefect_genvideo.batch.model import Manifest, ManifestRow, RowProblem
from prefect_genvideo.batch.plan import Batch, Item, plan_batch
from prefect_genvideo.batch.report import BatchFailedError, BatchReport, BatchRow

__all__ = [
    "Batch",
    "BatchFailedError",
    "BatchReport",
    "BatchRow",
    "DueSlots",
    "Item",
    "Manifest",
    "ManifestRow",
    "RowProblem",
    "due_rows",
    "due_slots",
    "load_manifest",
    "plan_batch",
    "rows_from",
]
