"""Ark's callbacks: the task object at each change, and again where the last word was not taken."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from prefect_genvideo.simulator import Simulator
from tests.fixtures.hook import Hook, running_hook
from tests.fixtures.simulator_calls import Calls


@pytest.fixture
def hook() -> Iterator[Hook]:
    with running_hook() as hook:
        yield hook


def test_each_change_is_told(sim: Simulator, calls: Calls, hook: Hook) -> None:
    """The bodies are those of a query; the address stands in none of them."""
    sim.configure(clock="manual")
    task_id = calls.ark_id(callback_url=hook.url)
    assert (hook.next()["status"], sim.by_id[task_id].polls) == ("queued", 0)
    for _ in range(3):
        sim.advance(task_id)
    assert hook.next()["status"] == "running"
    film = calls.ark_done(task_id)
    assert hook.next() == film
    assert "callback_url" not in film


def test_the_last_word_is_said_again(sim: Simulator, calls: Calls, hook: Hook) -> None:
    """Four times at most; other words once, and of a task that was cancelled nothing is told."""
    sim.configure(clock="manual")
    hook.refusals = [500] * 5
    failed = calls.ark_id(callback_url=hook.url)
    assert hook.next()["status"] == "queued"
    sim.fail(failed, "InternalServiceError")
    assert [hook.next()["error"]["code"] for _ in range(4)] == ["InternalServiceError"] * 4
    cancelled = calls.ark_id(callback_url=hook.url)
    assert hook.next()["id"] == cancelled
    calls.ark_delete(cancelled)
    after = calls.ark_id(callback_url=hook.url)
    assert hook.next()["id"] == after
    assert hook.refusals == []
