"""Blocks for trying everything out, saved by running this file. `genvideo init` writes one of your own."""

from prefect_genvideo.deployments import main
from prefect_genvideo.ready.project.simulator import SimulatedEnvironment, documents

__all__ = ["SimulatedEnvironment", "documents"]

if __name__ == "__main__":
    main(SimulatedEnvironment, documents)
