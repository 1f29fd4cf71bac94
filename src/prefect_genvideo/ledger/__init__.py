"""The record of every create, so that nothing is paid for twice."""

from prefect_genvideo.ledger.account import AccountThrottle, throttle_of
from prefect_genvideo.ledger.budget import Budget, BudgetGuard
from prefect_genvideo.ledger.create import CreatePolicy, Creator, Submission
from prefect_genvideo.ledger.record import LedgerRecord, LedgerState
from prefect_genvideo.ledger.reuse import content_key
from prefect_genvideo.ledger.store import Entry, Ledger, LedgerConflictError

__all__ = [
    "AccountThrottle",
    "Budget",
    "BudgetGuard",
    "CreatePolicy",
    "Creator",
    "Entry",
    "Ledger",
    "LedgerConflictError",
    "LedgerRecord",
    "LedgerState",
    "Submission",
    "content_key",
    "throttle_of",
]
