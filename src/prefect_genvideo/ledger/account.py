"""The throttle of an account: all who send for it in one run wait together and stop together."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import lru_cache

import anyio

from prefect_genvideo.errors import GenVideoError, QuotaError, RateLimitedError, TransientError, UnknownOutcomeError
from prefect_genvideo.polling import Sleep

# How long the others hold back when the provider limits one of us and does not say for how long.
_DEFAULT_PAUSE = 5.0


class AccountStoppedError(QuotaError):
    """This run sends no more creates for the account: money is short, or an outcome is unknown. Nothing was sent."""


@dataclass
class AccountThrottle:
    """Decides whether a create may go out now.

    Attributes:
        stopped: Why nothing more is sent; None while all is well.
        clock: Monotonic clock, a seam for tests.
        sleep: Seam for tests.
    """

    stopped: str | None = None
    clock: Callable[[], float] = time.monotonic
    sleep: Sleep = field(default=anyio.sleep)
    _open_at: float = float("-inf")

    async def enter(self, patience: float = math.inf) -> None:
        """Wait until a create may go out.

        Args:
            patience: Seconds; a longer wait is not begun.

        Raises:
            AccountStoppedError: Nothing more is sent in this run.
            RateLimitedError: The provider has asked for a wait that is longer than the patience. Nothing was sent.
        """
        while self.stopped is None and (left := self._open_at - self.clock()) > 0:
            if left > patience:
                raise too_long_a_wait(RateLimitedError("The account is limited.", retry_after=left), patience)
            await self.sleep(left)
        if self.stopped is not None:
            raise AccountStoppedError(f"Not sent: {self.stopped}.", reason=self.stopped)

    def learn(self, error: GenVideoError) -> None:
        """Take in how a create ended: pause after a rate limit, stop when money is short or a fate is not known."""
        if isinstance(error, AccountStoppedError):
            return
        if isinstance(error, RateLimitedError):
            pause = _DEFAULT_PAUSE if error.retry_after is None else error.retry_after
            self._open_at = max(self._open_at, self.clock() + pause)
        elif isinstance(error, QuotaError):
            self.stopped = f"the account's money or limits ended earlier in this run ({error.reason or error})"
        elif isinstance(error, UnknownOutcomeError):
            self.stopped = f"an earlier create of this run has an unknown outcome ({error.reason or error})"


def too_long_a_wait(error: TransientError, patience: float) -> TransientError:
    """Return the error of a create that is not sent again, because the provider asks for more time than there is.

    Args:
        error: What the provider said, with the wait in `retry_after`.
        patience: Seconds that would have been waited.
    """
    asked = error.retry_after or 0.0
    free = datetime.now(timezone.utc) + timedelta(seconds=asked)
    return type(error)(
        f"{error} Nothing was made and nothing is waited for: the provider asks for {asked:,.0f} s and the patience is "
        f"{patience:,.0f} s. Run again after {free:%Y-%m-%d %H:%M} UTC, which resumes what is paid for, or raise "
        "create_patience (PREFECT_INTEGRATIONS_GENVIDEO_CREATE_PATIENCE).",
        provider=error.provider,
        status_code=error.status_code,
        reason=error.reason,
        retry_after=asked,
    )


# Bounded, since a served process sees any number of runs; one that is forgotten begins with an open throttle again.
@lru_cache(maxsize=512)
def throttle_of(run: str, account: str) -> AccountThrottle:
    """The throttle that all creates of one run share for one account.

    Args:
        run: Flow run id and attempt; another run begins with an open throttle.
        account: Fingerprint of the account.
    """
    del run, account
    return AccountThrottle()
