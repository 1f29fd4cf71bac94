"""What the pipeline takes from Prefect: keys of runs, account limits, settings, logs, events, assets."""

from prefect_genvideo.runtime.announcements import announce, announce_budget, observed
from prefect_genvideo.runtime.assets import asset_key, asset_teller
from prefect_genvideo.runtime.limits import account_slot, ensure_limit, limit_name
from prefect_genvideo.runtime.logs import cancellation_notice, run_logger, say, warn
from prefect_genvideo.runtime.runs import (
    derive_key,
    flow_attempt,
    flow_run,
    flow_run_id,
    flow_run_of_process,
    is_first_attempt,
    run_ids,
    task_run_id,
)
from prefect_genvideo.runtime.settings import get_settings

__all__ = [
    "account_slot",
    "announce",
    "announce_budget",
    "asset_key",
    "asset_teller",
    "cancellation_notice",
    "derive_key",
    "ensure_limit",
    "flow_attempt",
    "flow_run",
    "flow_run_id",
    "flow_run_of_process",
    "get_settings",
    "is_first_attempt",
    "limit_name",
    "observed",
    "run_ids",
    "run_logger",
    "say",
    "task_run_id",
    "warn",
]
