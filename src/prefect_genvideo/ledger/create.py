"""Create under the ledger: claim the key, send once, record the id. The only place that spends money."""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import count
from typing import TYPE_CHECKING, Any

import anyio

from prefect_genvideo.errors import (
    DestinationError,
    GenerationFailedError,
    GenVideoError,
    InvalidRequestError,
    RateLimitedError,
    RejectedError,
    TransientError,
    UnknownOutcomeError,
)
from prefect_genvideo.ledger.account import AccountStoppedError, AccountThrottle, too_long_a_wait
from prefect_genvideo.ledger.budget import BudgetGuard
from prefect_genvideo.ledger.lost import lost_create, settle_intent, take_up, told_of
from prefect_genvideo.ledger.record import LedgerRecord
from prefect_genvideo.ledger.store import Entry, Ledger, LedgerConflictError
from prefect_genvideo.models import Problem
from prefect_genvideo.polling import Backoff, Sleep
from prefect_genvideo.providers.trace import Trace, traced

if TYPE_CHECKING:
    from prefect_genvideo.models import VideoRequest
    from prefect_genvideo.providers.base import VideoClient

# For so long a create shows that it lives: no body takes an hour, and who hangs must not hold a key for ever. Seconds.
_LONGEST_POST = 3600.0


@dataclass(frozen=True)
class CreatePolicy:
    """How patiently a create is tried. All times in seconds.

    Attributes:
        attempts: Creates sent at most after proven refusals that may pass (a 5xx that made nothing, no connection).
        patience: How long "too many requests" and "too many running tasks" are waited out.
        stale_after: Age from which an intent without an id counts as crashed.
        look_every: How often a run that lost the claim looks for the winner's task id.
        heartbeat: How often a claim that waits to resend, or whose create takes so long, shows that it lives.
        cancel_grace: How long a cancelled run waits for the answer of a create that is already under way.
    """

    attempts: int = 3
    patience: float = 900
    stale_after: float = 180
    look_every: float = 0.5
    heartbeat: float = 60
    cancel_grace: float = 5


@dataclass(frozen=True)
class Submission:
    """A task id that is safely in the ledger.

    Attributes:
        entry: The ledger's record.
        reused: Whether it was there before, paid for by an earlier or another run.
    """

    entry: Entry
    reused: bool


def ways_out(ledger: Ledger, record: LedgerRecord) -> str:
    """What a person can do about a create whose fate is not known, as sentences with commands.

    Args:
        ledger: Where it is recorded.
        record: The record.
    """
    task_id = record.task_id or "TASK_ID"
    return (
        f"Look for the task in the provider's console. Found: {_command(ledger, 'adopt', record.key, task_id)}. "
        f"Surely not there: {_command(ledger, 'release', record.key)}. Record: {ledger.uri(record.key)}"
    )


def _command(ledger: Ledger, verb: str, key: str, *more: str) -> str:
    """A command line that can be copied as it stands."""
    quoted = shlex.quote(key) if "'" in key else f"'{key}'"
    return f"`{' '.join(('genvideo ledger', verb, quoted, *more))} --at {shlex.quote(ledger.store.place)}`"


class Creator:
    """Sends creates for one provider account under one ledger.

    Args:
        client: The provider's client.
        ledger: Where intents and ids are recorded.
        policy: How patiently.
        throttle: Shared by all who send for the account, so that they wait and stop together.
        budget: Caps that are checked before each claim.
        say: Called with a message for people each time something worth knowing happens.
        sleep: Seam for tests.
    """

    def __init__(
        self,
        client: VideoClient,
        ledger: Ledger,
        *,
        policy: CreatePolicy | None = None,
        throttle: AccountThrottle | None = None,
        budget: BudgetGuard | None = None,
        say: Callable[[str], None] | None = None,
        sleep: Sleep = anyio.sleep,
    ) -> None:
        self.client = client
        self.ledger = ledger
        self.policy = policy or CreatePolicy()
        self._throttle = throttle or AccountThrottle()
        self._budget = budget
        self._say: Callable[[str], None] = say or (lambda message: None)
        self._sleep = sleep

    async def submit(self, request: VideoRequest, draft: LedgerRecord, *, looked: bool = False) -> Submission:
        """Return the one task of `draft.key`: the recorded one, or a new one sent now.

        Args:
            request: What to create; its assets are links that the provider can fetch.
            draft: The intent to write. Its fingerprint guards the key against another request.
            looked: The key is free as far as the caller knows; saves a look. A wrong word only costs one.

        Returns:
            The record with its task id, and whether it was there before.

        Raises:
            InvalidRequestError: A rule is broken, or the key belongs to another request. Nothing was sent.
            RejectedError: The provider refused. The key is free again.
            TransientError: It could not be sent within the policy's bounds. The key is free again.
            UnknownOutcomeError: A create went out and its fate is not known. The key is held.
            GenerationFailedError: This key's task ended without a video. The key is held.
            DestinationError: The ledger cannot be written. Nothing was sent, or the message names the task id.
        """
        seen, watched = "", 0.0
        while True:
            # Where nothing may be sent any more, what was paid for before is still to be found.
            held = None if looked and self._throttle.stopped is None else await self.ledger.read(draft.key)
            looked = False
            if held is not None and held.record.state != "rejected":
                settled = await self.resume(held, draft, watched=watched if held.etag == seen else 0.0)
                if settled is not None:
                    return settled
                if not seen:
                    self._say(
                        f"Another run is sending the create of key {draft.key!r} ({held.record.holder}); its "
                        f"task is used as soon as it is known{held.record.dated_ahead}."
                    )
                watched = watched + self.policy.look_every if held.etag == seen else 0.0
                seen = held.etag
                await self._sleep(self.policy.look_every)
                continue
            await self._throttle.enter(self.policy.patience)
            claimed = await self._claim(draft, held)
            if claimed is not None:
                return Submission(await self._send(request, claimed), reused=False)

    async def _claim(self, draft: LedgerRecord, held: Entry | None) -> Entry | None:
        if self._budget is None:
            return await self.ledger.claim(draft, looked=True, over=held)
        draft = await self._budget.reserve(draft)
        claimed = None
        try:
            claimed = await self.ledger.claim(draft, looked=True, over=held)
            return claimed
        finally:
            if claimed is None:
                self._budget.refund(draft)

    async def resume(self, held: Entry, draft: LedgerRecord, *, watched: float = 0.0) -> Submission | None:
        """What a held key means for a run that wants it: its task, an error, or None while its holder is sending.

        Args:
            held: The record of the key.
            draft: What the run wants.
            watched: Seconds for which this run has seen the very same record.

        Raises:
            InvalidRequestError: The key belongs to another request.
            GenerationFailedError: The key's task ended without a video.
            UnknownOutcomeError: A create went out and its fate is not known.
        """
        record = held.record
        if record.fingerprint != draft.fingerprint:
            limit = f"this key belongs to another request (made {record.created_at:%Y-%m-%d %H:%M} UTC, {record.model})"
            problem = Problem("idempotency_key", record.key, limit, "prefect-genvideo ledger")
            raise InvalidRequestError("One key stands for one request.", problems=[problem])
        if record.task_id and record.state in ("submitted", "succeeded", "saved"):
            return Submission(held, reused=True)
        if record.state == "failed":
            raise GenerationFailedError(
                f"This key's task ended without a video: {record.reason}. A new try costs again: give another key, or "
                f"{_command(self.ledger, 'release', record.key)}.",
                moderation=record.moderation,
                **_said(record),
            )
        if record.state == "intent":
            held = await settle_intent(self.ledger, held, self.policy.stale_after, watched=watched)
            if held.record.state != "unknown":
                return None
        raise self._unknown(held.record)

    async def _hold(self, entry: Entry, reason: str, **facts: Any) -> Entry:
        """Mark an outcome as unknown. If its holder wrote an id meanwhile, that record is returned instead."""
        try:
            return await self.ledger.move(entry, "unknown", reason=reason, **facts)
        except LedgerConflictError:
            return await self.ledger.read(entry.record.key) or entry

    def _unknown(self, record: LedgerRecord, told: str = "") -> UnknownOutcomeError:
        why = (told or record.reason or "").rstrip(".")
        return UnknownOutcomeError(
            f"A create for key {record.key!r} went out and its fate is not known: {why}. It is never sent "
            f"again by a machine. {told_of(record)}{ways_out(self.ledger, record)}",
            request_id=record.request_id,
            **_said(record),
        )

    async def _send(self, request: VideoRequest, entry: Entry) -> Entry:
        """Send until an answer settles it: an id, a refusal, an unknown outcome, or the end of patience."""
        backoff, began = Backoff(), time.monotonic()
        for attempt in count(1):
            try:
                return await self._send_once(request, entry)
            except TransientError as error:
                waited = time.monotonic() - began
                limited = isinstance(error, RateLimitedError)
                if (error.retry_after or 0.0) > self.policy.patience - waited > 0:
                    await self._free(entry, error)
                    raise too_long_a_wait(error, self.policy.patience) from error
                if waited > self.policy.patience or (not limited and attempt >= self.policy.attempts):
                    await self._free(entry, error)
                    raise
                delay = backoff.delay(attempt, error.retry_after, task_id=entry.record.claim)
                self._say(f"Nothing was made ({error}); sending again in {delay:.0f} s.")
                entry = await self._prepare(entry, attempt + 1, delay, error)
        raise AssertionError("unreachable: patience ends first")

    async def _send_once(self, request: VideoRequest, entry: Entry) -> Entry:
        work = asyncio.ensure_future(self._post_and_record(request, entry))
        try:
            await self._outlast(work, entry)
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            with anyio.CancelScope(shield=True):  # a cancelled scope would cancel the clean-up as well
                await self._let_finish(work, entry)
            raise

    async def _outlast(self, work: asyncio.Future[Entry], entry: Entry) -> None:
        """Show now and then that a create is still being sent: a large body on a slow line takes minutes.

        Without it another run would take the intent for left behind. Where no condition guards a write, one that comes
        late could undo what it made, so nothing is shown there.
        """
        sent_at, began = datetime.now(timezone.utc), time.monotonic()
        while not self.ledger.weak and time.monotonic() - began < _LONGEST_POST:
            if (await asyncio.wait({work}, timeout=self.policy.heartbeat))[0]:
                return
            try:
                with anyio.move_on_after(self.policy.cancel_grace):
                    entry = await self.ledger.move(entry, "intent", sent_at=entry.record.sent_at or sent_at)
            except DestinationError:  # the store is down, or the record has moved on: the answer settles it
                continue

    async def _post_and_record(self, request: VideoRequest, entry: Entry) -> Entry:
        sent_at, head = datetime.now(timezone.utc), Trace()
        marked = self.client.marked(request, entry.record.claim)
        try:
            with traced(head):
                task_id = await self.client.create(marked)
        except TransientError as error:
            self._throttle.learn(error)
            raise
        except (RejectedError, InvalidRequestError) as error:
            self._throttle.learn(error)
            await self._free(entry, error)
            raise
        except asyncio.CancelledError:
            if head.request_id:  # all that will ever be known of it
                with anyio.CancelScope(shield=True), anyio.move_on_after(self.policy.cancel_grace):
                    await self.ledger.move(entry, "intent", **_lost(sent_at, head))
            raise
        except Exception as error:
            # Whatever else happens after a request may have left is treated as "it may have been accepted".
            reason = error.reason or str(error) if isinstance(error, GenVideoError) else type(error).__name__
            # An answer that could not be trusted may have named a task all the same.
            suspect = error.task_id if isinstance(error, GenVideoError) else None
            # Held first: whatever happens while it is looked for, nobody sends again.
            held = await self._hold(entry, reason, task_id=suspect, **_lost(sent_at, head))
            held = await self._look_for(request, held)
            if (held.record.state, held.record.claim) == ("submitted", entry.record.claim):
                return held
            unknown = self._unknown(held.record, str(error) if isinstance(error, GenVideoError) else "")
            self._throttle.learn(unknown)
            raise unknown from None
        self._say(f"{self.client.title} accepted task {task_id} for key {entry.record.key!r}.")
        now = datetime.now(timezone.utc)
        try:
            return await self.ledger.move(
                entry, "submitted", task_id=task_id, submitted_at=now, reason=None, request_id=head.request_id
            )
        except DestinationError as error:
            way = f"It is paid for: {_command(self.ledger, 'adopt', entry.record.key, task_id)} keeps it."
            raise DestinationError(
                f"Task {task_id} was accepted and could not be recorded. {way} {error}",
                provider=self.client.name,
                task_id=task_id,
                reason=error.reason,
            ) from None

    async def _look_for(self, request: VideoRequest, held: Entry) -> Entry:
        """Ask the provider for the task of a lost answer before a person is asked; one that it names is taken up."""
        if held.record.state != "unknown":
            return held
        try:
            return await take_up(self.client, self.ledger, held, lost_create(held.record, request), self._say)
        except Exception as error:
            self._say(f"Whether the create of key {held.record.key!r} was accepted could not be asked: {error}")
            return held

    async def _let_finish(self, work: asyncio.Future[Entry], entry: Entry) -> None:
        """A cancelled run gives an answer that is under way a few seconds to be recorded, then leaves."""
        await asyncio.wait({work}, timeout=self.policy.cancel_grace)
        if not work.done():
            work.cancel()
            await asyncio.wait({work}, timeout=self.policy.cancel_grace)
            self._say(
                f"Cancelled while a create was under way: its fate is not known. {ways_out(self.ledger, entry.record)}"
            )
        elif isinstance(error := work.exception(), TransientError):
            await self._free(entry, error)
        elif error is None:
            self._say(f"Cancelled after the create: task {work.result().record.task_id} goes on at the provider.")

    async def _free(self, entry: Entry, error: GenVideoError) -> None:
        if self._budget is not None:
            self._budget.refund(entry.record)
        named = f"; the answer names task {error.task_id}" if error.task_id else ""
        try:
            await self.ledger.move(entry, "rejected", unpaid=True, reason=f"{error.reason or error}{named}")
        except LedgerConflictError as conflict:
            # A person has adopted a task for the key meanwhile, or released it and another run has claimed it.
            self._say(f"Nothing was made, and the key is not ours to free: {conflict}")

    async def _prepare(self, entry: Entry, attempt: int, seconds: float, error: GenVideoError) -> Entry:
        """Wait for a resend, showing now and then that the claim lives. Giving up frees the key: nothing was made."""
        try:
            entry = await self.ledger.move(entry, "intent", refused=True, reason=error.reason or str(error))
            while seconds > 0:
                step = min(seconds, self.policy.heartbeat)
                await self._sleep(step)
                seconds -= step
                if seconds > 0:
                    entry = await self.ledger.move(entry, "intent")
            await self._throttle.enter(self.policy.patience)
            return await self.ledger.move(entry, "intent", posts=attempt, refused=False)
        except (AccountStoppedError, RateLimitedError) as stopped:
            await self._free(entry, stopped)
            raise
        except asyncio.CancelledError:
            with anyio.CancelScope(shield=True), anyio.move_on_after(self.policy.cancel_grace):
                await self._free(entry, error)
            raise


def _said(record: LedgerRecord) -> dict[str, Any]:
    """What an error carries of the record that it is about."""
    return {"provider": record.provider, "task_id": record.task_id, "reason": record.reason}


def _lost(sent_at: datetime, head: Trace) -> dict[str, Any]:
    """What a record keeps of a create whose answer was lost."""
    times = {"sent_at": sent_at, "gave_up_at": datetime.now(timezone.utc)}
    return {**times, "request_id": head.request_id, "clock_ahead": head.clock_ahead}
