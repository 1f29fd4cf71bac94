"""One video an event; a copy of its module, put here, is one of your own."""

from prefect_genvideo.ready import on_request

__all__ = ["on_request"]
