"""A pull step for deployments whose flows are files: where the folder with `flows/` is on this worker."""

from __future__ import annotations

import os
from pathlib import Path

#: Names the folder that holds `flows/` on a worker that does not run from a clone.
VARIABLE = "GENVIDEO_HOME"


def enter_flows_home() -> dict[str, str]:
    """Enter the folder that holds `flows/`: `$GENVIDEO_HOME`, else the clone that the package is linked from.

    In a `prefect.yaml`: `pull: [{prefect_genvideo.pulling.enter_flows_home: {}}]`. The deployer's own folder is never
    pinned, so the same deployment runs in a container, on another machine and in a clone.

    Returns:
        `directory`, which Prefect takes as the run's working directory.

    Raises:
        FileNotFoundError: There is no such folder on this worker.
    """
    named = os.environ.get(VARIABLE)
    home = Path(named).expanduser() if named else Path(__file__).resolve().parents[2]
    if not (home / "flows").is_dir():
        where = f"{VARIABLE}={named} has" if named else "the package was installed from a wheel, which has"
        raise FileNotFoundError(
            f"This worker cannot find the deployed flows: {where} no folder flows/. Set {VARIABLE} on the worker to a "
            "folder that holds it, e.g. a clone."
        )
    os.chdir(home)
    return {"directory": str(home)}
