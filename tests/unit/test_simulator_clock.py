"""The three clocks of the simulator, and steering it over HTTP."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import httpx
import pytest

from prefect_genvideo.simulator import Fault, Simulator, SimulatorConfig
from prefect_genvideo.simulator import clock as stages
from prefect_genvideo.simulator.clock import draw_duration, last_refresh, stage_after_polls, stage_at
from prefect_genvideo.simulator.config import changed
from prefect_genvideo.simulator.state import SimulatorState
from prefect_genvideo.simulator.tasks import Wanted
from tests.fixtures.simulator_calls import Calls

WANTED = Wanted("sd-2-720p", "a cat", 4, "16:9", "720p")


class FakeTime:
    """A clock that a test sets."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_immediate_ends_at_the_asked_poll() -> None:
    """However many polls are asked for, the last one and no earlier one reports the end."""
    for polls in range(1, 9):
        seen = [stage_after_polls(number, polls) for number in range(1, polls + 1)]
        assert seen[-1] == stages.DONE
        assert stages.DONE not in seen[:-1]
        assert seen == sorted(seen)
    assert stage_after_polls(0, 3) == stages.STORED


def test_time_goes_through_all_stages() -> None:
    """Waiting is the small first part of a run."""
    assert [stage_at(share * 100, 100) for share in (0, 0.02, 0.05, 0.5, 1)] == [0, 1, 2, 3, 4]


def test_rows_are_seen_as_of_the_last_refresh() -> None:
    """Sudashui's loop writes all rows every 15 s; asking between two refreshes shows the old row."""
    time = FakeTime()
    config = SimulatorConfig(clock="time", duration_kind="fixed", duration_median_s=20)
    state = SimulatorState(config, monotonic=time)
    time.now += 1
    task, other = state.accept("sudashui", "a", WANTED), state.accept("senseaudio", "a", WANTED)
    seen: list[tuple[int, int]] = []
    for now in (1002, 1016, 1021, 1029, 1030):
        time.now = float(now)
        seen.append((state.poll(task).stage, state.poll(other).stage))
    assert seen == [
        (stages.STORED, stages.QUEUED),
        (stages.RUNNING, stages.RUNNING),
        (stages.RUNNING, stages.DONE),
        (stages.RUNNING, stages.DONE),
        (stages.DONE, stages.DONE),
    ]
    assert last_refresh(1029, 1000, 15) == 1015


def test_what_waits_for_a_place_runs_its_whole_time() -> None:
    """From when the place was free; a task that nobody asks about gives its place up all the same, or expires."""
    time = FakeTime()
    config = SimulatorConfig(clock="time", duration_kind="fixed", duration_median_s=100, max_concurrency=1)
    state = SimulatorState(config, monotonic=time)
    forgotten, waits = state.accept("ark", "a", WANTED), state.accept("ark", "a", WANTED)
    late = state.accept("ark", "a", replace(WANTED, patience_s=180))
    seen: list[int] = []
    for now in (1000, 1090, 1100, 1150, 1199, 1200):
        time.now = float(now)
        seen.append(state.poll(waits).stage)
        state.poll(late)
    assert seen == [*[stages.QUEUED] * 3, stages.RUNNING, stages.RUNNING, stages.DONE]
    assert (forgotten.state, forgotten.polls) == ("succeeded", 0)
    assert (late.state, late.ended_as) == ("failed", "expired")


def test_durations_are_drawn_from_the_chosen_distribution() -> None:
    """Seeded, around the median, scaled to real time."""
    rng = random.Random(1)
    for kind in ("lognormal", "fixed"):
        config = SimulatorConfig(clock="time", duration_kind=kind, duration_median_s=100, scale=0.5)
        drawn = sorted(draw_duration(config, rng) for _ in range(501))
        assert drawn[250] == pytest.approx(50, rel=0.1)
        assert (drawn[0] == drawn[-1]) == (kind == "fixed")


def test_scale_zero_is_done_at_the_first_poll(sim: Simulator, calls: Calls) -> None:
    """No waiting at all, for either side."""
    sim.configure(clock="time", scale=0)
    assert calls.sudashui_status(calls.sudashui_id()).json()["data"]["status"] == "SUCCESS"
    assert calls.sense_status(calls.sense_create().json()["task_id"]).json()["status"] == "completed"


def test_manual_waits_for_a_control_call(sim: Simulator, calls: Calls) -> None:
    """Queries change nothing; `advance`, `finish` and `fail` do, over HTTP as well."""
    sim.configure(clock="manual")
    task_id = calls.sudashui_id()

    def status() -> str:
        return calls.sudashui_status(task_id).json()["data"]["status"]

    assert [status(), status()] == ["NOT_START", "NOT_START"]
    assert sim.advance(task_id).state == "submitted"
    assert status() == "SUBMITTED"
    assert httpx.post(f"{sim.url}/_sim/tasks/{task_id}/finish").json()["state"] == "succeeded"
    assert status() == "SUCCESS"
    other = calls.sudashui_id()
    answer = httpx.post(f"{sim.url}/_sim/tasks/{other}/fail", json={"reason": "Bad Request"})
    assert (answer.json()["state"], answer.json()["reason"]) == ("failed", "Bad Request")
    assert httpx.post(f"{sim.url}/_sim/tasks/nobody/finish").status_code == 404
    assert httpx.post(f"{sim.url}/_sim/tasks/{other}/eat").status_code == 404


def test_the_report_tells_everything(sim: Simulator, calls: Calls) -> None:
    """Bills, calls, tasks, uploads, downloads and faults are there as JSON."""
    calls.upload()
    task_id = calls.sudashui_id(prompt="一只猫")
    httpx.get(calls.sudashui_done(task_id)["result_url"])
    sim.faults.add(Fault("429", "status", times=2))
    calls.sudashui_status(task_id)
    report = httpx.get(f"{sim.url}/_sim/state").json()
    assert (report["billed"], report["by_account"]) == (1, {sim.key: 1})
    assert report["calls"] == {"upload": 1, "create": 1, "status": 2, "download": 1}
    assert (report["downloads"], report["tasks"][0]["downloads"]) == (1, 1)
    assert report["bytes_sent"] > 1000
    assert report["faults"]["hits"] == {"429": 1}
    (task,) = report["tasks"]
    assert (task["task_id"], task["state"], task["prompt"], task["polls"]) == (task_id, "succeeded", "一只猫", 1)
    assert task["request"]["duration"] == 4
    assert task["created"] <= task["done_at"] <= task["seen_done_at"]


def test_control_calls_change_settings_and_faults(sim: Simulator, calls: Calls) -> None:
    """Settings and faults come as JSON; nonsense is refused and changes nothing."""
    settings = httpx.post(f"{sim.url}/_sim/config", json={"clock": "time", "scale": 0}).json()
    assert (settings["clock"], settings["polls_to_finish"]) == ("time", 2)
    for wrong in ({"clock": "warp"}, {"colour": 1}, {"fps": "x"}, [1], {"faults": [{"kind": "x"}]}):
        assert httpx.post(f"{sim.url}/_sim/config", json=wrong).status_code == 400
    added = httpx.post(f"{sim.url}/_sim/faults", json={"kind": "quota", "times": 1}).json()
    assert added["active"][0]["kind"] == "quota"
    for wrong in ({"kind": "rain"}, "x", {"kind": "cut", "op": "create"}, {"colour": 1}):
        assert httpx.post(f"{sim.url}/_sim/faults", json=wrong).status_code == 400
    assert httpx.delete(f"{sim.url}/_sim/faults").json()["active"] == []
    assert calls.sudashui_create().status_code == 200
    assert httpx.post(f"{sim.url}/_sim/reset").json() == {"billed": 0}
    assert (sim.billed, sim.config.clock) == (0, "immediate")


def test_the_front_page_shows_tasks_to_people(sim: Simulator, calls: Calls) -> None:
    """Prompts are escaped, finished clips are linked."""
    calls.sudashui_done(calls.sudashui_id(prompt="<script>cat</script>"))
    page = httpx.get(sim.url).text
    assert "&lt;script&gt;cat" in page
    assert "output.mp4?expires=" in page


@pytest.mark.parametrize(
    "wrong", [{"clock": "x"}, {"polls_to_finish": 0}, {"scale": -1}, {"clip_bytes": 100}, {"fps": True}]
)
def test_settings_are_checked(wrong: dict[str, object]) -> None:
    """A wrong setting fails where it is made."""
    with pytest.raises(ValueError):
        changed(SimulatorConfig(), wrong)


@pytest.mark.parametrize("wrong", [{"rate": 2.0}, {"times": 0}, {"op": "upload"}])
def test_faults_are_checked(wrong: dict[str, Any]) -> None:
    """A fault that could never strike fails where it is made."""
    with pytest.raises(ValueError):
        Fault("cut", **wrong)
