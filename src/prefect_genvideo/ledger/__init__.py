"""The record of every create, so that nothing is paid for twice."""

from prefect_genvideo.ledger.budget import Budget
from prefect_genvideo.ledger.create import CreatePolicy, Creator
from prefect_genvideo.ledger.record import LedgerRecord
from prefect_genvideo.ledger.store import Ledger, LedgerConflictError

__all__ = [
    "Budget",
    "CreatePolicy",
    "Creator",
    "Ledger",
    "LedgerConflictError",
    "LedgerRecord",
]
