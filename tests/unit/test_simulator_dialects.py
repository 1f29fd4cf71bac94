"""Dialects change how an answer looks and nothing else; the controls obey nobody's pages."""

from __future__ import annotations

from typing import Any, cast

import httpx
import pytest

from prefect_genvideo.simulator import Simulator, dialects
from prefect_genvideo.simulator.manners import Dialect
from tests.fixtures.simulator_calls import Calls

CONTROLS = ["state", "config", "faults", "dialect", "reset", "expire-links", "tasks/x/finish"]
ANSWERS = [(op, name, dialect) for op, name, dialect in dialects() if isinstance(dialect, Dialect)]


def asked(calls: Calls, op: str, provider: str) -> httpx.Response:
    """One call of an operation; a query is about a task that has ended."""
    if op == "upload":
        return calls.upload()
    create, status = {
        "sudashui": (calls.sudashui_create, calls.sudashui_status),
        "senseaudio": (calls.sense_create, calls.sense_status),
        "ark": (calls.ark_create, calls.ark_status),
    }[provider]
    made = create()
    if op == "create":
        return made
    task_id = made.json()["id" if provider == "ark" else "task_id"]
    calls.sim.finish(task_id)
    return status(task_id)


@pytest.mark.parametrize(
    ("op", "name", "provider", "dialect"),
    [
        pytest.param(op, name, provider, dialect, id=f"{op}-{name}-{provider}")
        for op, name, dialect in ANSWERS
        for provider in dialect.providers
    ],
)
def test_a_dialect_is_another_answer_about_the_same_facts(
    op: str, name: str, provider: str, dialect: Dialect, sim: Simulator, calls: Calls
) -> None:
    """It differs from the documented one; what is refused bills nothing, what is done bills once."""
    sim.speak(**{op: name})
    assert sim.snapshot()["dialect"] == {op: name}
    try:
        answer = asked(calls, op, provider)
        told: Any = (answer.status_code, answer.headers["content-type"], _shape(answer))
    except httpx.RemoteProtocolError:
        told = None
    assert sim.billed == (op != "upload" and dialect.makes)
    sim.speak(**{op: "documented"})
    usual = asked(calls, op, provider)
    assert told != (usual.status_code, usual.headers["content-type"], _shape(usual))


def _shape(answer: httpx.Response) -> Any:
    """Names and types of what stands in an answer, and its words; ids, links and times differ anyway."""
    if "json" not in answer.headers["content-type"]:
        return None
    packed = answer.headers.get("content-encoding", "") + ("bom" if answer.content[:3] == b"\xef\xbb\xbf" else "")
    body: Any = answer.json() if not packed.endswith("bom") else None
    return packed, _kinds(body)


def _kinds(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _kinds(inner) for name, inner in cast("dict[str, Any]", value).items()}
    if isinstance(value, list):
        return [_kinds(inner) for inner in cast("list[Any]", value)]
    if isinstance(value, str):
        return value if len(value) < 20 else value[:22]
    return len(str(value)) if isinstance(value, int) and value > 10**6 else type(value).__name__


@pytest.mark.parametrize("name", [name for op, name, _ in dialects() if op == "download"])
def test_a_clip_is_whole_however_it_is_sent(name: str, sim: Simulator, calls: Calls) -> None:
    """The documented file is its beginning."""
    row = calls.sudashui_done(calls.sudashui_id())
    plain = calls.http.get(row["result_url"])
    sim.speak(download=name)
    other = calls.http.get(row["result_url"])
    assert other.content.startswith(plain.content)
    assert (other.content, dict(other.headers), other.status_code) != (
        plain.content,
        dict(plain.headers),
        plain.status_code,
    )
    assert calls.http.get(row["data"]["creations"][0]["cover_url"]).headers["content-type"] == "image/jpeg"


def test_dialects_are_chosen_over_http_and_end_with_a_reset(sim: Simulator, calls: Calls) -> None:
    """By operation and name; several at once; what is not known is said and changes nothing."""
    url = f"{sim.url}/_sim/dialect"
    assert calls.http.post(url, json={"create": "wrapped", "status": "flat"}).json() == {
        "create": "wrapped",
        "status": "flat",
    }
    for wrong in (b'{"create": "nonsense"}', b'{"nonsense": "wrapped"}', b'{"create": ["wrapped"]}', b"[]", b"{"):
        assert calls.http.post(url, content=wrong).status_code == 400
    listed = calls.http.get(url).json()
    assert listed["on"] == {"create": "wrapped", "status": "flat"}
    assert {(op, name) for op, named in listed["known"].items() for name in named} == {
        (op, name) for op, name, _ in dialects()
    }
    assert calls.http.post(url, json={"create": "documented"}).json() == {"status": "flat"}
    calls.http.post(f"{sim.url}/_sim/reset")
    assert calls.http.get(url).json()["on"] == {}


def test_a_late_link_comes_with_the_third_answer(sim: Simulator, calls: Calls) -> None:
    """Success is said from the beginning."""
    sim.speak(status="link_late")
    task_id = calls.sudashui_id()
    sim.finish(task_id)
    rows = [calls.sudashui_status(task_id).json()["data"] for _ in range(4)]
    assert [row["status"] for row in rows] == ["SUCCESS"] * 4
    assert ["result_url" in row for row in rows] == [False, False, True, True]


@pytest.mark.parametrize("path", CONTROLS)
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Host": "evil.example"},
        {"Host": "evil.example", "Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"},
    ],
)
def test_pages_of_other_sites_steer_nothing(path: str, headers: dict[str, str], sim: Simulator, calls: Calls) -> None:
    """Neither by a form nor through a name that a stranger lets point to this machine."""
    calls.sudashui_create()
    for method in ("GET", "POST", "DELETE"):
        answer = calls.http.request(method, f"{sim.url}/_sim/{path}", headers=headers, content=b"{}")
        assert answer.status_code in (403, 405)
    assert sim.billed == 1
    assert calls.http.get(sim.url, headers=headers).status_code == 403


@pytest.mark.parametrize(
    "headers", [{}, {"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}, {"Host": "simulator:8787"}]
)
def test_its_own_page_and_programs_do(headers: dict[str, str], sim: Simulator, calls: Calls) -> None:
    """A browser at its own page, curl, a container beside it."""
    assert calls.http.get(f"{sim.url}/_sim/state", headers=headers).status_code == 200
    own = {**headers, "Origin": f"http://{headers.get('Host', sim.url.removeprefix('http://'))}"}
    assert calls.http.post(f"{sim.url}/_sim/reset", headers=own).status_code == 200
