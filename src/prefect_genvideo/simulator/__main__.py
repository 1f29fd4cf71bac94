"""`python -m prefect_genvideo.simulator`: the simulator in the foreground."""

from __future__ import annotations

import argparse

from prefect_genvideo.simulator.config import SimulatorConfig
from prefect_genvideo.simulator.server import serve


def main() -> None:
    """Read the command line and serve."""
    parser = argparse.ArgumentParser(prog="python -m prefect_genvideo.simulator", description="Local video providers.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8787)
    parser.add_argument("--clock", choices=("immediate", "manual", "time"), default="time")
    parser.add_argument("--scale", type=float, default=0.1, help="real seconds per simulated second")
    parser.add_argument("--full-size", action="store_true", help="render in the asked resolution")
    options = parser.parse_args()
    config = SimulatorConfig(clock=options.clock, scale=options.scale, full_size=options.full_size)
    serve(options.host, options.port, config)


if __name__ == "__main__":
    main()
