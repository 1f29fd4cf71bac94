"""Twenty wishes for one video from several processes: one bill, twenty results, or none where a store cannot keep that.

`TESTS_PROCESSES=20 pytest -n 0 -s tests/contract/stores/test_processes.py` gives each wish a process of its own and
prints what came of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from prefect_genvideo.simulator import Simulator
from tests.contract.stores.conftest import Serve, destination
from tests.fixtures import money_child
from tests.fixtures.prefect import child_env
from tests.packaging.sources import ROOT

WISHES = 20
PROCESSES = int(os.environ.get("TESTS_PROCESSES", "2"))

pytestmark = pytest.mark.timeout(120 + 30 * PROCESSES)


@dataclass(frozen=True)
class People:
    """Processes that want videos, each of them one store after another.

    Attributes:
        processes: Each takes a line of JSON and answers with a line a wish.
    """

    processes: list[subprocess.Popen[str]]

    def want(self, options: dict[str, Any]) -> list[dict[str, Any]]:
        """Have all of them want a video at once; what all wishes came to."""
        for process in self.processes:
            print(json.dumps(options), file=process.stdin, flush=True)
        said = [process.stdout for process in self.processes if process.stdout]
        return [json.loads(answers.readline()) for answers in said for _ in range(options["runs"])]


@pytest.fixture(scope="module")
def people() -> Iterator[People]:
    """They start once, as that takes a second of a core each."""
    command = [sys.executable, "-m", money_child.__name__]
    with ExitStack() as stack:
        processes: list[subprocess.Popen[str]] = []
        for _ in range(PROCESSES):
            process = subprocess.Popen(
                command, text=True, env=child_env(), cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            processes.append(stack.enter_context(process))
            stack.callback(process.kill)
        yield People(processes)


def wish(people: People, serve: Serve, sim: Simulator, name: str, mode: str) -> list[dict[str, Any]]:
    """What all wishes came to."""
    sim.configure(polls_to_finish=1, clip_bytes=4096)
    server = serve(name)
    place = destination(server).model_dump(mode="json", exclude_defaults=True, context={"include_secrets": True})
    fields = ("bucket", "prefix", "region", "endpoint_url", "access_key_id", "secret_access_key")
    rows = people.want(
        {
            "environment": {"HTTP_PROXY": server.url, "NO_PROXY": "127.0.0.1,localhost"},
            "provider": {"api_key": sim.key, "base_url": sim.sudashui_url},
            "store": {name: place[name] for name in fields},
            "create_only": mode == "create-only",
            "key": "k",
            "runs": WISHES // PROCESSES,
        }
    )
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
def test_twenty_wishes_are_one_bill(name: str, mode: str, people: People, serve: Serve, sim: Simulator) -> None:
    """On every store that keeps its promises."""
    rows = wish(people, serve, sim, name, mode)
    assert [row for row in rows if "error" in row] == []
    assert (len(rows), sim.billed) == (WISHES, 1)
    assert len({row["task_id"] for row in rows}) == 1


@pytest.mark.parametrize(("name", "mode"), [("racy", "strict"), ("cos-racy", "create-only")])
def test_twenty_wishes_are_no_bill_on_a_racy_store(
    name: str, mode: str, people: People, serve: Serve, sim: Simulator
) -> None:
    """Refused before paying, by every process."""
    rows = wish(people, serve, sim, name, mode)
    assert {row.get("error") for row in rows} == {"DestinationError"}
    assert (len(rows), sim.billed) == (WISHES, 0)
