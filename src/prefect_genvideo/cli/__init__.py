"""The command line, `genvideo`."""

from prefect_genvideo.cli.app import main

__all__ = ["main"]
