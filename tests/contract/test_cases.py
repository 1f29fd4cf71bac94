"""Every recorded pair, played by a real server: the clients make of it what the case says."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import pytest

from benchmarks.servers import free_port
from prefect_genvideo import errors
from prefect_genvideo.errors import InvalidRequestError
from prefect_genvideo.models import Generation, VideoRequest
from prefect_genvideo.providers import VideoClient
from tests.contract import cases
from tests.contract.cases import CLIENTS, KEEPS_THE_RULES, KEY, Case, case_id, verdict_of
from tests.contract.server import HostMap, ScriptedServer

JPEG = b"\xff\xd8\xff\xe0" + b"\0" * 60

CALLS = [case for case in cases.ARK + cases.FIELD if case["direction"] in {"create", "status"}]

# Reasons in cases.json that tell the waiter or the saver what to do, rather than what was said.
ADVICE = {"sud-status-success-result-url-text", "sense-status-completed-blank-url", "ark-status-succeeded-no-url"}


def client_of(case: Case, server: ScriptedServer) -> tuple[VideoClient, HostMap]:
    network = HostMap(free_port() if "refused" in case["response"].get("transport", "") else server.port)
    timeout = 0.2 if "timeout" in case["response"].get("transport", "") else 5
    path, call, _ = case["request"]["path"].partition("/contents/generations/tasks")
    base_url = f"https://{case['request']['host']}{path}" if call else None
    return CLIENTS[case["provider"]](KEY, base_url, transport=network, timeout=timeout), network


@dataclass(frozen=True)
class Outcome:
    """What a client made of an answer, in the words of the cases."""

    kind: str
    retryable: bool
    said: str | None = None
    error: errors.GenVideoError | None = None
    generation: Generation | None = None

    @property
    def task_id(self) -> str | None:
        return self.error.task_id if self.error else self.said

    @property
    def reason(self) -> str | None:
        return self.error.reason if self.error else self.generation.reason if self.generation else None


async def outcome(case: Case, client: VideoClient) -> Outcome:
    """Ask once, as the case does."""
    try:
        if case["direction"] == "create":
            return Outcome("accepted", False, await client.create(sendable(case, client)))
        if case["direction"] == "upload":
            return Outcome("accepted", False, (await client.upload(JPEG, "004.jpg")).url)
        path: str = case["request"]["path"]
        quoted = path.rpartition("id=")[2] if "id=" in path else path.rpartition("/")[2]
        generation = await client.get(unquote(quoted))
    except errors.GenVideoError as error:
        return Outcome(*verdict_of(error), error.reason, error)
    waiting = generation.state in {"queued", "running"}
    return Outcome(generation.state, waiting, generation.video_url or generation.reason, generation=generation)


def sendable(case: Case, client: VideoClient) -> VideoRequest:
    request = cases.request_of(case["provider"], case["request"]["body"])
    return KEEPS_THE_RULES[case["provider"]] if client.validate(request) else request


@pytest.mark.parametrize("case", cases.playable("create", "status", "upload"))
async def test_answers_mean_what_was_recorded(case: Case, server: ScriptedServer) -> None:
    """Kind and retryable decide about money; task ids, links and reasons come out to the letter."""
    server.handler = cases.playing(case)
    client, network = client_of(case, server)
    async with client:
        got = await outcome(case, client)
    await network.aclose()
    expected = case["expected"]
    if got.kind in expected.get("also_ok", ()):
        return
    if case in cases.CASES + cases.ARK or expected.get("strict_state") or got.kind not in WAITING:
        assert got.kind == expected["kind"]
    else:
        assert expected["kind"] in WAITING
    assert got.retryable == expected["retryable"]
    if case["id"] not in ADVICE:
        check_words(got, expected, client.base_url)
    check_figures(got, expected)


# A state that is no end and starts no purchase; telling the two apart matters where a case says so.
WAITING = {"queued", "running"}


def check_words(got: Outcome, expected: dict[str, Any], base_url: str) -> None:
    """Ids, links and reasons."""
    if "task_id" in expected:
        assert got.task_id == expected["task_id"]
    for name in ("video_url", "asset_url"):
        if name in expected:
            assert got.said == expected[name].replace("{base}", base_url)
    if "reason" in expected:
        assert got.reason == expected["reason"]
    assert expected.get("reason_has", "") in (got.reason or "")
    assert "reason_not" not in expected or expected["reason_not"] not in (got.reason or "")


def check_figures(got: Outcome, expected: dict[str, Any]) -> None:
    """Class of the error, waits, progress and times, where a case names them."""
    if "error" in expected:
        assert type(got.error).__name__ == expected["error"]
    if "retry_after_s" in expected:
        assert got.error
        assert got.error.retry_after == expected["retry_after_s"]
    if "progress" in expected:
        assert got.generation
        assert got.generation.progress == expected["progress"]
    if "started_at" in expected:
        assert got.generation
        assert got.generation.started_at is not None


@pytest.mark.parametrize("case", [*cases.of("create"), *cases.of("status"), *CALLS], ids=case_id)
async def test_one_call_is_one_request(case: Case, server: ScriptedServer) -> None:
    """A client is single-shot: whatever comes back, the POST went out once, to the right place, with the key."""
    server.handler = cases.playing(case)
    client, network = client_of(case, server)
    async with client:
        await outcome(case, client)
    await network.aclose()
    sent = [request for request in server.received if not request.target.startswith("/v1/models")]
    if "refused" in case["response"].get("transport", ""):
        assert sent == []
        return
    (request,) = sent
    assert (request.method, request.target) == (case["request"]["method"], case["request"]["path"])
    assert request.host == case["request"]["host"]
    assert request.headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("case", [c for c in cases.of("create") if c["expected"]["kind"] == "accepted"], ids=case_id)
async def test_accepted_requests_are_sent_as_recorded(case: Case, server: ScriptedServer) -> None:
    """The body on the wire equals the recorded one in meaning, `metadata.payload` being a JSON string."""
    server.handler = cases.playing(case)
    client, network = client_of(case, server)
    async with client:
        await client.create(cases.request_of(case["provider"], case["request"]["body"]))
    await network.aclose()
    assert server.received[0].headers["content-type"] == "application/json"
    assert opened(json.loads(server.received[0].body)) == opened(case["request"]["body"])


@pytest.mark.parametrize("case", cases.of("create"), ids=case_id)
async def test_requests_that_break_a_rule_are_never_sent(case: Case, server: ScriptedServer) -> None:
    """What the provider was recorded to refuse for its parameters is refused here, before any money is at stake."""
    request = cases.request_of(case["provider"], case["request"]["body"])
    client, network = client_of(case, server)
    async with client:
        problems = client.validate(request)
        if problems:
            with pytest.raises(InvalidRequestError) as caught:
                await client.create(request)
            assert caught.value.problems == problems
            assert server.received == []
    await network.aclose()
    assert bool(problems) == (case["id"] in REFUSED_HERE)


# Parameters that a portable request can express wrongly. The others are wrong in ways that our bodies cannot be.
REFUSED_HERE = {
    "sud-create-bad-aspect",
    "sud-create-bad-duration",
    "sud-create-bad-duration-http200",
    "sud-create-400-empty-prompt",
    "sense-create-400-empty-content",
    "sense-create-400-timeout",
}


def opened(body: dict[str, Any]) -> dict[str, Any]:
    """A body with the payload string replaced by what it says."""
    if "metadata" not in body:
        return body
    payload = body["metadata"]["payload"]
    assert isinstance(payload, str)
    return {**body, "metadata": json.loads(payload)}
