"""Money around a batch: plans with a hash before it is spent, and bills held against the ledger afterwards."""

from prefect_genvideo.finance.balance import shortfalls
from prefect_genvideo.finance.plan import Plan, learn_prices, make_plan
from prefect_genvideo.finance.plan_file import PlanDriftError, check_plan, read_plan, save_plan

__all__ = [
    "Plan",
    "PlanDriftError",
    "check_plan",
    "learn_prices",
    "make_plan",
    "read_plan",
    "save_plan",
    "shortfalls",
]
