"""Blocks for real videos, saved by running this file. `genvideo init --env production` writes one of your own."""

from prefect_genvideo.deployments import main
from prefect_genvideo.ready.project.production import Production, documents

__all__ = ["Production", "documents"]

if __name__ == "__main__":
    main(Production, documents)
