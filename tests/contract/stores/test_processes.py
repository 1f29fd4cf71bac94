"""Twenty wishes for one video from several processes: one bill, twenty results, or none where a store cannot keep that.

`TESTS_PROCESSES=20` gives each wish a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from prefect_genvideo.simulator import Simulator
from tests.contract.stores import child
from tests.contract.stores.conftest import Serve, destination
from tests.fixtures.prefect import child_env
from tests.packaging.sources import ROOT

WISHES = 20
PROCESSES = int(os.environ.get("TESTS_PROCESSES", "4"))


def wish(serve: Serve, sim: Simulator, name: str, mode: str) -> list[dict[str, Any]]:
    """What all wishes came to."""
    sim.configure(polls_to_finish=1, clip_bytes=4096)
    server = serve(name)
    options = {
        "provider": {"api_key": sim.key, "base_url": sim.sudashui_url},
        "destination": destination(server, ledger_mode=mode).model_dump(
            mode="json", exclude_defaults=True, context={"include_secrets": True}
        ),
        "runs": WISHES // PROCESSES,
    }
    environment = child_env({"HTTP_PROXY": server.url, "NO_PROXY": "127.0.0.1,localhost"})
    command = [sys.executable, "-m", child.__name__, json.dumps(options)]
    processes = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT)
        for _ in range(PROCESSES)
    ]
    said = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * PROCESSES
    return [json.loads(line) for text in said for line in text.splitlines()]


@pytest.mark.parametrize(("name", "mode"), [("ceph", "strict"), ("oss", "create-only")])
def test_twenty_wishes_are_one_bill(name: str, mode: str, serve: Serve, sim: Simulator) -> None:
    """On every store that keeps its promises."""
    rows = wish(serve, sim, name, mode)
    assert [row for row in rows if "error" in row] == []
    assert (len(rows), sim.billed) == (WISHES, 1)
    assert len({row["task_id"] for row in rows}) == 1


@pytest.mark.parametrize(("name", "mode"), [("racy", "strict"), ("cos-racy", "create-only")])
def test_twenty_wishes_are_no_bill_on_a_racy_store(name: str, mode: str, serve: Serve, sim: Simulator) -> None:
    """Refused before paying, by every process."""
    rows = wish(serve, sim, name, mode)
    assert {row.get("error") for row in rows} == {"DestinationError"}
    assert (len(rows), sim.billed) == (WISHES, 0)
