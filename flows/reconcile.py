"""What was left behind, fetched on a schedule; a copy of its module, put here, is one of your own."""

from prefect_genvideo.ready import reconcile

__all__ = ["reconcile"]
