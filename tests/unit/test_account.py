"""One throttle an account: its users wait together after a rate limit, and stop together when money ends."""

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
from prefect_genvideo.ledger.account import AccountStoppedError, AccountThrottle, throttle_of
from tests.fixtures.money import VirtualTime


def gate_on(time: VirtualTime) -> AccountThrottle:
    return AccountThrottle(clock=time.clock, sleep=time.sleep)


async def test_an_open_gate_costs_nothing() -> None:
    """No wait before the first create."""
    time = VirtualTime()
    await gate_on(time).enter()
    assert time.naps == []


@pytest.mark.parametrize(("retry_after", "pause"), [(12.0, 12.0), (None, 5.0), (0.0, 0.0)])
async def test_all_wait_out_one_rate_limit(retry_after: float | None, pause: float) -> None:
    """What one create was told holds for all of the account."""
    time = VirtualTime()
    throttle = gate_on(time)
    throttle.learn(RateLimitedError("429", retry_after=retry_after))
    begin = time.now
    await throttle.enter()
    assert time.now - begin == pause
    await throttle.enter()
    assert time.now - begin == pause


async def test_a_longer_limit_that_comes_while_one_waits_is_waited_out() -> None:
    """The later the better: whoever wakes looks again."""
    time = VirtualTime()
    throttle = gate_on(time)
    throttle.learn(RateLimitedError("429", retry_after=10))
    begin, waiting = time.now, asyncio.create_task(throttle.enter())
    await asyncio.sleep(0)
    throttle.learn(RateLimitedError("429", retry_after=30))
    await waiting
    assert time.now - begin >= 30


async def test_a_shorter_limit_does_not_open_the_gate_earlier() -> None:
    """Answers may overtake one another."""
    time = VirtualTime()
    throttle = gate_on(time)
    throttle.learn(RateLimitedError("429", retry_after=30))
    throttle.learn(RateLimitedError("429", retry_after=1))
    begin = time.now
    await throttle.enter()
    assert time.now - begin == 30


@pytest.mark.parametrize("error", [QuotaError("no money", reason="balance"), UnknownOutcomeError("?", reason="lost")])
async def test_money_and_unknown_fates_stop_the_account(error: GenVideoError) -> None:
    """Nothing more is sent in this run; the error says why, and that nothing was sent."""
    throttle = AccountThrottle()
    throttle.learn(error)
    with pytest.raises(AccountStoppedError) as stopped:
        await throttle.enter()
    assert f"({error.reason})" in (stopped.value.reason or "")
    assert not stopped.value.retryable


@pytest.mark.parametrize(
    "error", [RejectedError("400"), AuthenticationError("401"), ModelUnavailableError("503"), TransientError("500")]
)
async def test_what_concerns_one_request_stops_nobody_else(error: GenVideoError) -> None:
    """A moderated prompt is no reason to stop a batch."""
    throttle = AccountThrottle()
    throttle.learn(error)
    await throttle.enter()
    assert throttle.stopped is None


async def test_those_who_wait_stop_as_well() -> None:
    """A limit is being waited out when another create finds the account empty."""
    throttle = AccountThrottle(sleep=lambda seconds: asyncio.sleep(0.01))
    throttle.learn(RateLimitedError("429", retry_after=100))
    waiting = asyncio.create_task(throttle.enter())
    await asyncio.sleep(0)
    throttle.learn(QuotaError("no money"))
    with pytest.raises(AccountStoppedError):
        await waiting


async def test_a_stop_does_not_become_its_own_reason() -> None:
    """What the throttle itself raised teaches it nothing."""
    throttle = AccountThrottle()
    throttle.learn(QuotaError("no money", reason="first"))
    reason = throttle.stopped
    throttle.learn(AccountStoppedError("Not sent", reason="second"))
    assert throttle.stopped == reason


async def test_a_run_has_one_throttle_for_an_account() -> None:
    """Another run, or another account, begins with an open one."""
    assert throttle_of("run-1", "acc") is throttle_of("run-1", "acc")
    assert throttle_of("run-1", "acc") is not throttle_of("run-2", "acc")
    assert throttle_of("run-1", "acc") is not throttle_of("run-1", "other")
