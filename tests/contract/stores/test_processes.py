"""Twenty wishes for one video from several processes: one bill, twenty results, or none where a store cannot keep that.

`TESTS_PROCESSES=20 pytest -n 0 -s tests/contract/stores/test_processes.py` gives each wish a process of its own and
prints what came of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from typing import Any

import pytest

from prefect_genvideo.simulator import Simulator
from tests.contract.stores.conftest import Serve, destination
from tests.fixtures import money_child
from tests.fixtures.prefect import child_env
from tests.packaging.sources import ROOT

WISHES = 20
# Each takes a second of a core.
PROCESSES = int(os.environ.get("TESTS_PROCESSES", "2"))
SECONDS = 60 + 30 * PROCESSES

pytestmark = pytest.mark.timeout(SECONDS + 60)


def wish(serve: Serve, sim: Simulator, name: str, mode: str) -> list[dict[str, Any]]:
    """What all wishes came to."""
    sim.configure(polls_to_finish=1, clip_bytes=4096)
    server = serve(name)
    place = destination(server).model_dump(mode="json", exclude_defaults=True, context={"include_secrets": True})
    fields = ("bucket", "prefix", "region", "endpoint_url", "access_key_id", "secret_access_key")
    options = {
        "provider": {"api_key": sim.key, "base_url": sim.sudashui_url},
        "store": {name: place[name] for name in fields},
        "create_only": mode == "create-only",
        "key": "k",
        "runs": WISHES // PROCESSES,
    }
    environment = child_env({"HTTP_PROXY": server.url, "NO_PROXY": "127.0.0.1,localhost"})
    command = [sys.executable, "-m", money_child.__name__, json.dumps(options)]
    with ExitStack() as stack:
        processes: list[subprocess.Popen[str]] = []
        for _ in range(PROCESSES):
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=ROOT)
            processes.append(stack.enter_context(process))
            stack.callback(process.kill)  # of no effect on one that has ended
        said = [process.communicate(timeout=SECONDS)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * PROCESSES
    rows = [json.loads(line) for text in said for line in text.splitlines()]
    made = {row["task_id"] for row in rows if "task_id" in row}
    refused = sum("error" in row for row in rows)
    print(
        f"{name}: {PROCESSES} processes, {sim.billed} billed, {len(made)} tasks, {len(rows)} answers, {refused} refused"
    )
    return rows


@pytest.mark.parametrize(
    ("name", "mode"),
    [("aws", "strict"), ("r2", "strict"), ("ks3", "strict"), ("ceph", "strict"), ("oss", "create-only")],
)
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
