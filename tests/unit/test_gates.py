"""One gate an account: its users wait together after a rate limit, and stop together when money or knowledge ends."""

from __future__ import annotations

import asyncio

import pytest

from prefect_genvideo.errors import (
    AuthenticationError,
    GenVideoError,
    ModelUnavailableError,
    QuotaError,
    RateLimitedError,
    RejectedError,
    TransientError,
    UnknownOutcomeError,
)
from prefect_genvideo.ledger.account import AccountGate, AccountStoppedError, gate_of
from tests.fixtures.money import VirtualTime


def gate_on(time: VirtualTime) -> AccountGate:
    return AccountGate(clock=time.clock, sleep=time.sleep)


async def test_an_open_gate_costs_nothing() -> None:
    """No wait before the first create."""
    time = VirtualTime()
    await gate_on(time).enter()
    assert time.naps == []


@pytest.mark.parametrize(("retry_after", "pause"), [(12.0, 12.0), (None, 5.0), (0.0, 0.0)])
async def test_all_wait_out_one_rate_limit(retry_after: float | None, pause: float) -> None:
    """What one create was told holds for all of the account."""
    time = VirtualTime()
    gate = gate_on(time)
    gate.learn(RateLimitedError("429", retry_after=retry_after))
    begin = time.now
    await gate.enter()
    assert time.now - begin == pause
    await gate.enter()
    assert time.now - begin == pause


async def test_a_longer_limit_that_comes_while_one_waits_is_waited_out() -> None:
    """The later the better: whoever wakes looks again."""
    time = VirtualTime()
    gate = gate_on(time)
    gate.learn(RateLimitedError("429", retry_after=10))
    begin, waiting = time.now, asyncio.create_task(gate.enter())
    await asyncio.sleep(0)
    gate.learn(RateLimitedError("429", retry_after=30))
    await waiting
    assert time.now - begin >= 30


async def test_a_shorter_limit_does_not_open_the_gate_earlier() -> None:
    """Answers may overtake one another."""
    time = VirtualTime()
    gate = gate_on(time)
    gate.learn(RateLimitedError("429", retry_after=30))
    gate.learn(RateLimitedError("429", retry_after=1))
    begin = time.now
    await gate.enter()
    assert time.now - begin == 30


@pytest.mark.parametrize("error", [QuotaError("no money", reason="balance"), UnknownOutcomeError("?", reason="lost")])
async def test_money_and_unknown_fates_stop_the_account(error: GenVideoError) -> None:
    """Nothing more is sent in this run; the error says why, and that nothing was sent."""
    gate = AccountGate()
    gate.learn(error)
    with pytest.raises(AccountStoppedError, match=f"Not sent.*{error.reason}") as stopped:
        await gate.enter()
    assert not stopped.value.retryable


@pytest.mark.parametrize(
    "error", [RejectedError("400"), AuthenticationError("401"), ModelUnavailableError("503"), TransientError("500")]
)
async def test_what_concerns_one_request_stops_nobody_else(error: GenVideoError) -> None:
    """A moderated prompt is no reason to stop a batch."""
    gate = AccountGate()
    gate.learn(error)
    await gate.enter()
    assert gate.stopped is None


async def test_those_who_wait_stop_as_well() -> None:
    """A limit is being waited out when another create finds the account empty."""
    gate = AccountGate(sleep=lambda seconds: asyncio.sleep(0.01))
    gate.learn(RateLimitedError("429", retry_after=100))
    waiting = asyncio.create_task(gate.enter())
    await asyncio.sleep(0)
    gate.learn(QuotaError("no money"))
    with pytest.raises(AccountStoppedError):
        await waiting


async def test_a_stop_does_not_become_its_own_reason() -> None:
    """What the gate itself raised teaches it nothing."""
    gate = AccountGate()
    gate.learn(QuotaError("no money", reason="first"))
    reason = gate.stopped
    gate.learn(AccountStoppedError("Not sent", reason="second"))
    assert gate.stopped == reason


async def test_a_run_has_one_gate_for_an_account() -> None:
    """Another run, or another account, begins with an open one."""
    assert gate_of("run-1", "acc") is gate_of("run-1", "acc")
    assert gate_of("run-1", "acc") is not gate_of("run-2", "acc")
    assert gate_of("run-1", "acc") is not gate_of("run-1", "other")


def test_every_event_loop_has_its_own_gates() -> None:
    """Waiting is bound to a loop; Prefect runs several in one process."""

    async def look() -> AccountGate:
        return gate_of("run", "acc")

    assert asyncio.run(look()) is not asyncio.run(look())
