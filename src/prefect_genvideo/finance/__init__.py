"""Money around a batch: plans with a hash before it is spent, and bills held against the ledger afterwards."""

from prefect_genvideo.finance.balance import AccountBalance, balances_of, shortfalls
from prefect_genvideo.finance.plan import Plan, PlannedAttempt, PlannedRow, Sums, learn_prices, make_plan
from prefect_genvideo.finance.plan_file import PlanDriftError, check_plan, read_plan, save_plan

__all__ = [
    "AccountBalance",
    "Plan",
    "PlanDriftError",
    "PlannedAttempt",
    "PlannedRow",
    "Sums",
    "balances_of",
    "check_plan",
    "learn_prices",
    "make_plan",
    "read_plan",
    "save_plan",
    "shortfalls",
]
