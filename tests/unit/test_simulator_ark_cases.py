"""The recorded answers of Ark come from the simulator too, wherever a request or a fault brings them about."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import httpx
import pytest

from prefect_genvideo.simulator import Fault, Simulator
from tests.contract.cases import ARK
from tests.fixtures.simulator_calls import Calls

RECORDED = {case["id"]: case for case in ARK}
SEEDANCE_25 = "doubao-seedance-2-5-260628"
PICTURE = {"type": "image_url", "image_url": {"url": "https://media.example.invalid/in/a.jpg"}, "role": "first_frame"}
# What differs from one task to the next.
_VARYING = ("id", "created_at", "updated_at", "seed", "message", "video_url", "last_frame_url", "draft_task_id")


def _fault(kind: str, op: str, **params: Any) -> Callable[[Simulator], object]:
    return lambda sim: sim.faults.add(Fault(kind, op, params=params))


def _speaks(**chosen: str) -> Callable[[Simulator], object]:
    return lambda sim: sim.speak(**chosen)


def _limited(code: str, op: str = "create") -> Callable[[Simulator], object]:
    return _fault("429", op, code=code)


# Creates whose request alone does not bring the answer about. Those that no rule and no fault of the simulator knows
# are left out: media are not fetched, and models are always open.
PREPARED: Mapping[str, Callable[[Simulator], object]] = {
    "ark-create-real-face": _speaks(create="moderated_face"),
    "ark-create-overdue": _fault("quota", "create"),
    "ark-create-free-trial-over": _speaks(create="trial_over"),
    "ark-create-rpm-endpoint": _limited("RateLimitExceeded.EndpointRPMExceeded"),
    "ark-create-rpm-account-model": _limited("ModelAccountRpmRateLimitExceeded"),
    "ark-create-queue-full": _fault("concurrency", "create"),
    "ark-create-overloaded": _limited("ServerOverloaded"),
    "ark-create-burst": _limited("RequestBurstTooFast"),
    "ark-create-500-internal": _fault("500_e1", "create"),
    "ark-create-502-html": _fault("502_html", "create"),
}
BY_REQUEST = (
    "ark-create-references-on-15-pro",
    "ark-create-resolution-on-fast",
    "ark-create-frames-and-references",
    "ark-create-flex-on-20",
    "ark-create-type-breach-at-once",
    "ark-create-missing-content",
    "ark-create-model-unknown",
)
ACCEPTED = tuple(name for name in RECORDED if name.startswith("ark-create-ok-"))


@dataclass(frozen=True)
class Way:
    """How a task comes to look as recorded.

    Attributes:
        asked: Fields of its create.
        content: Further items of it.
        then: What happens to it.
        before: What the simulator is told first.
    """

    asked: Mapping[str, Any] = field(default_factory=dict[str, Any])
    content: tuple[dict[str, Any], ...] = ()
    then: Callable[[Simulator, str], object] = lambda sim, task_id: sim.finish(task_id)
    before: Callable[[Simulator], object] = lambda _: None


def _waits(_: Simulator, task_id: str) -> None:
    del task_id


def _runs(sim: Simulator, task_id: str) -> None:
    for _ in range(3):
        sim.advance(task_id)


def _fails(reason: str, message: str) -> Callable[[Simulator, str], object]:
    return lambda sim, task_id: sim.fail(task_id, reason, message)


FLEX = {"model": "doubao-seedance-1-0-pro-250528", "service_tier": "flex"}
FINAL = {"model": SEEDANCE_25, "content": [{"type": "draft_task", "draft_task": {"id": "cgt-1"}}]}
STATUSES: Mapping[str, Way] = {
    "ark-status-queued": Way(then=_waits),
    "ark-status-running-15": Way({"model": "doubao-seedance-1-5-pro-251215"}, then=_runs),
    "ark-status-running-flex": Way({**FLEX, "execution_expires_after": 3600}, then=_runs),
    "ark-status-gateway-word-processing": Way(then=_runs, before=_fault("unknown_word", "status")),
    "ark-status-unknown-word": Way(then=_runs, before=_fault("unknown_word", "status", word="paused")),
    "ark-status-succeeded-20": Way(),
    "ark-status-succeeded-last-frame": Way({"return_last_frame": True}),
    "ark-status-succeeded-frames-flex": Way({**FLEX, "resolution": "1080p", "frames": 121, "duration": None}),
    "ark-status-succeeded-final-of-draft": Way({**FINAL, "resolution": "1080p", "ratio": None, "duration": None}),
    "ark-status-succeeded-no-url": Way(before=_fault("empty_creations", "status")),
    "ark-status-failed-output-copyright": Way(
        then=_fails("OutputVideoSensitiveContentDetected.PolicyViolation", "The request failed.")
    ),
    "ark-status-failed-task-type": Way({"model": SEEDANCE_25}, (PICTURE,)),
    "ark-status-failed-internal": Way(then=_fails("InternalServiceError", "The service encountered an error.")),
    "ark-status-failed-no-error": Way(then=_fails("", "")),
    "ark-status-failed-message-only": Way(then=_fails("", "raw message")),
    "ark-status-cancelled": Way(then=lambda sim, task_id: sim.take_back(sim.by_id[task_id])),
    "ark-status-429-qps": Way(before=_fault("429", "status")),
    "ark-status-500-internal": Way(before=_fault("500_e1", "status")),
    "ark-status-200-html": Way(before=_fault("html_200", "status")),
}


def facts(body: Any) -> Any:
    """A body without what differs from one task to the next; a text as it stands."""
    if isinstance(body, dict):
        named = cast("dict[str, Any]", body).items()
        return {name: type(value).__name__ if name in _VARYING else facts(value) for name, value in named}
    return [facts(item) for item in cast("list[Any]", body)] if isinstance(body, list) else body


def said(answer: httpx.Response) -> tuple[int, Any]:
    """Status and facts of an answer."""
    is_json = "json" in answer.headers["content-type"]
    return answer.status_code, facts(answer.json()) if is_json else answer.text


def recorded(name: str) -> tuple[int, Any]:
    """Status and facts of a recording."""
    response = RECORDED[name]["response"]
    return response["http_status"], facts(response["body"])


def create(calls: Calls, name: str) -> httpx.Response:
    """Send a recorded request, with a picture where the recording is cut short."""
    body = json.dumps(RECORDED[name]["request"]["body"])
    return calls.http.post(calls.ark_tasks, content=body, headers={"Content-Type": "application/json"})


@pytest.mark.parametrize("name", [*ACCEPTED, *BY_REQUEST, *PREPARED])
def test_creates_are_answered_as_recorded(name: str, sim: Simulator, calls: Calls) -> None:
    """The same status, code, type and field; what is refused bills nothing."""
    PREPARED.get(name, lambda _: None)(sim)
    answer = create(calls, name)
    assert said(answer) == recorded(name)
    assert sim.billed == (name in ACCEPTED)


def test_a_bad_key_and_a_wrong_address_are_told_as_recorded(sim: Simulator) -> None:
    """By every call, and by every other path."""
    with Calls(sim, "sk-sim-expired") as bad:
        assert said(create(bad, "ark-create-bad-key")) == recorded("ark-create-bad-key")
        assert said(bad.ark_status("cgt-1")) == recorded("ark-status-401-lone")
        assert said(bad.http.post(f"{sim.url}/ark/tasks")) == recorded("ark-create-wrong-base-url")


@pytest.mark.parametrize("name", STATUSES)
def test_tasks_are_told_as_recorded(name: str, sim: Simulator, calls: Calls) -> None:
    """The same names, values and types, but for ids, times, links and prose."""
    way = STATUSES[name]
    sim.configure(clock="manual")
    task_id = calls.ark_id(*way.content, **way.asked)
    way.before(sim)
    way.then(sim, task_id)
    assert said(calls.ark_status(task_id)) == recorded(name)


def test_lists_are_told_as_recorded(sim: Simulator, calls: Calls) -> None:
    """Newest first, filtered, past the last page, empty, and once a second."""
    sim.configure(clock="manual")
    assert said(calls.ark_list(page_num=1)) == recorded("ark-list-empty")
    assert said(calls.ark_list(page_num=1)) == recorded("ark-list-1-qps")
    sim.configure(list_every_s=0)
    sim.finish(calls.ark_id())
    assert said(calls.ark_list(**{"filter.status": "succeeded"})) == recorded("ark-list-filtered")
    _runs(sim, calls.ark_id())
    assert said(calls.ark_list(page_size=20)) == recorded("ark-list-two")
    assert said(calls.ark_list(page_num=2)) == recorded("ark-list-last-page")


def test_deletes_are_answered_as_recorded(sim: Simulator, calls: Calls) -> None:
    """Of a task that waits, of one that runs, of none, too often, and without an answer."""
    sim.configure(clock="manual")
    waits, runs = calls.ark_id(), calls.ark_id()
    _runs(sim, runs)
    assert said(calls.ark_delete(waits)) == recorded("ark-delete-queued")
    assert said(calls.ark_delete(runs)) == recorded("ark-delete-running")
    assert said(calls.ark_delete("cgt-1")) == recorded("ark-delete-404")
    sim.faults.add(Fault("429", "delete", times=1), Fault("lost_before", "delete", times=1))
    assert said(calls.ark_delete(runs)) == recorded("ark-delete-429")
    with pytest.raises(httpx.TransportError):
        calls.ark_delete(runs)


def test_a_dead_link_is_told_as_recorded(sim: Simulator, calls: Calls) -> None:
    """By the object store, in JSON."""
    link = calls.ark_done(calls.ark_id())["content"]["video_url"]
    sim.expire_links()
    body = httpx.get(link).json()
    told = RECORDED["ark-download-403-expired"]["response"]
    assert (set(body), body["Code"], body["Message"]) == (set(told["body"]), "AccessDenied", "Request has expired")
    assert httpx.get(link).status_code == told["http_status"]
