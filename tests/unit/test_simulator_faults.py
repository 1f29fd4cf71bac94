"""Faults do on the wire what their names say, as often as they were told, and money is counted."""

from __future__ import annotations

import time
from collections.abc import Callable

import httpx
import pytest

from prefect_genvideo.simulator import Fault, Simulator, SimulatorConfig, running_simulator
from prefect_genvideo.simulator.faults import FaultSet
from tests.fixtures.simulator_calls import Calls

BROKEN_WIRE = (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError)


@pytest.mark.parametrize("reset", [True, False])
@pytest.mark.parametrize(("kind", "billed"), [("lost_before", 0), ("lost_after", 1)])
def test_a_lost_create_differs_only_in_the_bill(
    sim: Simulator, calls: Calls, kind: str, billed: int, reset: bool
) -> None:
    """The caller sees a broken connection and no byte either way; only the provider knows what it did."""
    sim.faults.add(Fault(kind, "create", times=1, params={"reset": reset}))
    with pytest.raises(httpx.ReadError if reset else httpx.RemoteProtocolError):
        calls.sudashui_create()
    assert sim.billed == billed
    assert calls.sudashui_create().status_code == 200
    assert sim.billed == billed + 1
    assert sim.faults.hits == {kind: 1}


def test_every_operation_can_lose_its_connection(sim: Simulator, calls: Calls) -> None:
    """`*` covers create, status, upload, download, cover and the list of models."""
    task_id = calls.sudashui_id()
    row = calls.sudashui_done(task_id)
    creation = row["data"]["creations"][0]
    attempts: list[Callable[[], object]] = [
        calls.sudashui_create,
        lambda: calls.sudashui_status(task_id),
        lambda: calls.upload(data=b"x" * 2_000_000),
        lambda: calls.http.get(creation["url"]),
        lambda: calls.http.get(creation["cover_url"]),
        lambda: calls.http.get(f"{sim.sudashui_url}/v1/models"),
    ]
    sim.faults.add(Fault("lost_before"))
    for attempt in attempts:
        with pytest.raises(BROKEN_WIRE):
            attempt()
    assert sim.faults.hits == {"lost_before": len(attempts)}
    assert (sim.billed, sim.downloads, len(sim.uploads)) == (1, 0, 0)


def test_an_answer_can_be_late_or_never_come(sim: Simulator, calls: Calls) -> None:
    """`late` waits, then answers; `timeout` accepts, bills and says nothing until the client gives up."""
    sim.faults.add(Fault("late", "create", times=1, params={"seconds": 0.2}))
    begun = time.monotonic()
    assert calls.sudashui_create().status_code == 200
    assert time.monotonic() - begun >= 0.2
    calls.http.timeout = httpx.Timeout(0.2)
    sim.faults.add(Fault("timeout", "create", times=1))
    with pytest.raises(httpx.ReadTimeout):
        calls.sudashui_create()
    assert sim.billed == 2
    sim.faults.add(Fault("timeout", "create", times=1, params={"accepted": False, "seconds": 0.05}))
    with pytest.raises(BROKEN_WIRE):
        calls.sudashui_create()
    assert sim.billed == 2


def test_gateway_troubles_have_their_shapes(sim: Simulator, calls: Calls) -> None:
    """Proven refusals, HTML, rate limits and money, each in its provider's envelope; nothing is billed."""
    task_id = calls.sudashui_id()
    sim.faults.add(*[Fault(kind, "create", times=1) for kind in ("500_e1", "502_html", "html_200", "quota")])
    answers = [calls.sudashui_create() for _ in range(4)]
    assert [answer.status_code for answer in answers] == [500, 502, 200, 403]
    assert answers[0].json()["code"] == "do_request_failed"
    assert "<html>" in answers[1].text
    assert "<title>New API</title>" in answers[2].text
    sim.faults.add(Fault("500_e1", "status", times=1), Fault("429", "status", times=1, params={"retry_after": 7}))
    assert calls.sudashui_status(task_id).json()["code"] == "get_task_failed"
    limited = calls.sudashui_status(task_id)
    assert (limited.status_code, limited.headers["retry-after"]) == (429, "7")
    assert limited.json()["error"]["type"] == "new_api_error"
    sim.faults.add(Fault("500_e1", "create", times=1, params={"code": "get_channel_failed"}))
    assert calls.sudashui_create().json()["code"] == "get_channel_failed"
    assert sim.billed == 1


def test_senseaudio_has_words_of_its_own(sim: Simulator, calls: Calls) -> None:
    """The same kinds carry `ref_code` there."""
    kinds = {"500_e1": 500000, "429": 429000, "quota": 400001, "concurrency": 400015}
    sim.faults.add(*[Fault(kind, "create", times=1, provider="senseaudio") for kind in kinds])
    assert calls.sudashui_create().status_code == 200
    assert [calls.sense_create().json()["ref_code"] for _ in kinds] == list(kinds.values())
    assert sim.billed == 1


def test_an_unclear_answer_may_hide_a_bill(sim: Simulator, calls: Calls) -> None:
    """A 502 says nothing about the task; `accepted` decides what really happened."""
    sim.faults.add(Fault("502_html", "create", times=1, params={"accepted": True}))
    assert calls.sudashui_create().status_code == 502
    assert sim.billed == 1


def test_any_recorded_answer_can_be_played(sim: Simulator, calls: Calls) -> None:
    """`answer` sends what it is given, so that a recording can be put into a running flow."""
    body = {"code": "fail_to_fetch_task", "message": "upstream busy", "data": None}
    sim.faults.add(Fault("answer", "status", times=1, params={"body": body, "headers": {"X-Oneapi": "1"}}))
    sim.faults.add(Fault("answer", "status", times=1, params={"status": 520, "body": ""}))
    task_id = calls.sudashui_id()
    played = calls.sudashui_status(task_id)
    assert (played.status_code, played.json(), played.headers["x-oneapi"]) == (200, body, "1")
    assert (calls.sudashui_status(task_id).status_code, sim.by_id[task_id].polls) == (520, 0)


def test_a_success_can_come_without_a_link(sim: Simulator, calls: Calls) -> None:
    """Only answers that report success are hit: the count is of empty successes, not of polls."""
    sim.faults.add(Fault("empty_creations", times=2))
    task_id = calls.sudashui_id()
    assert calls.sudashui_status(task_id).json()["data"]["status"] == "IN_PROGRESS"
    empty = [calls.sudashui_status(task_id).json()["data"] for _ in range(2)]
    assert [(row["status"], row["result_url"], row["data"]["creations"]) for row in empty] == [("SUCCESS", "", [])] * 2
    assert calls.sudashui_status(task_id).json()["data"]["data"]["creations"]
    sim.faults.add(Fault("empty_creations", times=1), Fault("proxy_link", times=1, provider="sudashui"))
    sense = calls.sense_create().json()["task_id"]
    sim.finish(sense)
    assert calls.sense_status(sense).json()["video_url"] == ""
    proxied = calls.sudashui_status(task_id).json()["data"]["result_url"]
    assert proxied == f"{sim.sudashui_url}/v1/videos/{task_id}/content"


def test_tasks_can_fail_get_lost_and_speak_strangely(sim: Simulator, calls: Calls) -> None:
    """Moderation ends a paid task; a forgotten id comes back; unknown words pass by."""
    sim.faults.add(Fault("moderation", times=1, match="face", params={"reason": "content_policy_violation"}))
    good, bad = calls.sudashui_id(), calls.sudashui_id(prompt="a face")
    assert calls.sudashui_done(good)["status"] == "SUCCESS"
    assert calls.sudashui_done(bad)["fail_reason"] == "content_policy_violation"
    assert sim.billed == 2
    sim.faults.add(Fault("not_found", times=1, match=good), Fault("unknown_word", times=1))
    assert calls.sudashui_status(bad).json()["data"]["status"] == "PAUSED_BY_OPERATOR"
    assert calls.sudashui_status(good).json()["code"] == "task_not_exist"
    assert calls.sudashui_status(good).json()["data"]["status"] == "SUCCESS"
    sim.faults.add(Fault("unknown_word", times=1), Fault("moderation", times=1, provider="senseaudio"))
    sense = calls.sense_create().json()["task_id"]
    sim.finish(sense)
    assert calls.sense_status(sense).json()["status"] == "moderating"
    assert calls.sense_status(sense).json()["status"] == "failed"


def test_downloads_can_be_cut_stall_and_expire(sim: Simulator, calls: Calls) -> None:
    """A cut body ends early with its full length promised; the rest can be fetched as a range."""
    link = calls.sudashui_done(calls.sudashui_id())["result_url"]
    whole = httpx.get(link)
    sim.faults.add(Fault("cut", times=1, params={"fraction": 0.25}))
    got = b""
    with httpx.stream("GET", link) as answer, pytest.raises(httpx.RemoteProtocolError):  # noqa: PT012 - what came before counts
        for chunk in answer.iter_raw():
            got += chunk
    assert got == whole.content[: len(whole.content) // 4]
    rest = httpx.get(link, headers={"Range": f"bytes={len(got)}-", "If-Range": whole.headers["etag"]})
    assert got + rest.content == whole.content
    sim.faults.add(Fault("stall", times=1))
    with pytest.raises(httpx.ReadTimeout):
        httpx.get(link, timeout=0.2)
    sim.faults.add(Fault("stall", times=1, params={"seconds": 0.1}))
    assert httpx.get(link).content == whole.content
    sim.faults.add(Fault("expired_link", times=1))
    assert httpx.get(link).status_code == 403
    assert httpx.get(link).status_code == 200


def test_rates_are_repeatable() -> None:
    """The same seed hits the same calls; a rate of 0 never strikes, without a count it never ends."""

    def hits(seed: int) -> list[bool]:
        faults = FaultSet([Fault("500_e1", rate=0.3)], seed)
        return [faults.take("create", "sudashui", "")[1] is not None for _ in range(200)]

    assert hits(1) == hits(1) != hits(2)
    assert 30 < sum(hits(1)) < 90
    assert FaultSet([Fault("500_e1", rate=0.0)]).take("create", "sudashui", "") == (0.0, None)


def test_faults_can_be_on_from_the_start_and_hanging_calls_do_not_hold_the_end() -> None:
    """A simulator of its own starts with its faults, and stops at once although a call hangs."""
    config = SimulatorConfig(faults=(Fault("timeout", "models"),))
    with running_simulator(config) as sim, Calls(sim) as calls, calls.http.stream("GET", sim.url):
        calls.http.timeout = httpx.Timeout(0.1)
        with pytest.raises(httpx.ReadTimeout):
            calls.http.get(f"{sim.sudashui_url}/v1/models")
        sim.reset()
        assert len(sim.faults.active) == 1
        begun = time.monotonic()
    assert time.monotonic() - begun < 2
