"""Sends queued events to the Prefect API, in order, until each has been seen there."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from uuid import UUID

import anyio
import anyio.to_thread
import httpx
from prefect.client.orchestration import PrefectClient, get_client
from prefect.events.filters import EventFilter
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings

from prefect_genvideo.listen.metrics import Metrics
from prefect_genvideo.listen.queue import DeliveryQueue, Queued

logger = logging.getLogger(__name__)

BATCH = 50
"""Most events of one call; also as many as the API shows in one answer."""
# Answers that speak of the event itself. All others speak of the server, the address or the login, and pass.
_ABOUT_THE_EVENT = (400, 413, 422)
# The server writes events to its database every 5 s by default, and later when it is busy.
_FIRST_LOOK_S = 2.0
_LOOK_EVERY_S = 2.0
# Longest waits: for a lost event's next sending, and while the API is away.
_LONGEST_GAP_S, _LONGEST_BACKOFF_S = 900.0, 30.0
# How long to rest where nothing moves, and for one call.
_IDLE_S, _CALL_TIMEOUT_S = 1.0, 30.0
# How often old ids are forgotten, and whether the API is there is asked.
_PRUNE_EVERY_S, _TOUCH_EVERY_S = 600.0, 10.0
# An event's time may lie this far from the server's clock and is found nevertheless.
_CLOCKS_DIFFER_S = 86_400.0


@dataclass
class Sender:
    """Takes events from a queue to the Prefect API.

    A server answers before it has written an event down, and forgets what it had not written when it dies. So an event
    is delivered when it has been read back; one that is not seen is sent again with the same id, which the server's
    database and, behind `request_trigger`, the ledger know as the same.

    Attributes:
        queue: Where they come from.
        metrics: Counted here.
        remember: Seconds for which delivered ids are kept.
        give_up: Seconds after which an event that the API takes and never shows is set aside.
        lost_after: Seconds after which an event that the API does not show is sent again; each time twice as long.
        wake: Set when there is something new.
        up: Whether the API took the last call.
    """

    queue: DeliveryQueue
    metrics: Metrics
    remember: float
    give_up: float
    lost_after: float = 30.0

    def __post_init__(self) -> None:
        self.wake, self.up = anyio.Event(), False
        self._pruned = self._touched = 0.0

    async def run(self) -> None:
        """Deliver until cancelled. While the API is away, ask again with growing gaps, for ever."""
        failures = 0
        while True:
            try:
                # The gaps are decided here; Prefect's client would add its own, unseen.
                with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
                    async with get_client(httpx_settings={"timeout": _CALL_TIMEOUT_S}) as client:
                        while True:
                            moved = await self._step(client)
                            if failures:
                                logger.info("Events are delivered again.")
                            failures = 0
                            self._note_api(up=True)
                            if not moved:
                                await self._rest(_IDLE_S)
            except Exception as error:  # whatever it is: a door that takes and no longer delivers would be the worst
                failures += 1
                self._note_api(up=False)
                if failures == 1:
                    logger.warning("Events cannot be delivered (%s); they wait on disk.", _plain(error))
                pause = min(_LONGEST_BACKOFF_S, 0.5 * 2 ** min(failures, 10))
                await anyio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - spreads calls, guards nothing

    def _note_api(self, *, up: bool) -> None:
        self.up = up
        self.metrics.api_up.set(up)

    async def _rest(self, seconds: float) -> None:
        with anyio.move_on_after(seconds):
            await self.wake.wait()
        self.wake = anyio.Event()

    async def _step(self, client: PrefectClient) -> bool:
        """Send a batch and look for what was sent before; whether anything moved."""
        queue, now = self.queue, time.time()
        due = await anyio.to_thread.run_sync(queue.due, BATCH, now)
        if due:
            await self._send(client, due)
        else:
            await self._touch(client)
        delivered = await self._look(client)
        if now - self._pruned > _PRUNE_EVERY_S:
            self._pruned = now
            await anyio.to_thread.run_sync(queue.prune, now - self.remember)
        return bool(due) or delivered

    async def _touch(self, client: PrefectClient) -> None:
        """Know whether the API is there, also while nothing comes."""
        if time.time() - self._touched > _TOUCH_EVERY_S:
            await client.hello()
            self._touched = time.time()

    async def _send(self, client: PrefectClient, due: Sequence[Queued]) -> None:
        events = [{"id": str(each.id), "occurred": _moment(each.received).isoformat(), **each.body} for each in due]
        try:
            await client.request("POST", "/events", json=events)
        except httpx.HTTPStatusError as error:
            if error.response.status_code not in _ABOUT_THE_EVENT:
                raise
            if len(due) > 1:
                for each in due:  # which of them it is
                    await self._send(client, [each])
                return
            logger.error("The Prefect API refuses event %s (%s); it is set aside.", due[0].id, _plain(error))
            await anyio.to_thread.run_sync(self.queue.set_aside, [due[0].id], f"refused: {error.response.status_code}")
            self.metrics.events.labels("dead").inc()
            return
        now = time.time()
        await anyio.to_thread.run_sync(self.queue.sent, [each.id for each in due], now, now + _FIRST_LOOK_S)
        self.metrics.events.labels("sent").inc(len(due))

    async def _look(self, client: PrefectClient) -> bool:
        """Look for events that were sent; what is there is delivered. Whether there was any."""
        now = time.time()
        sent = await anyio.to_thread.run_sync(self.queue.due, BATCH, now, "sent")
        if not sent:
            return False
        seen = await _seen(client, sent)
        fates: dict[str, list[UUID]] = {"confirmed": [], "later": [], "resent": [], "dead": []}
        for each in sent:
            fates["confirmed" if each.id in seen else self._fate(each, now)].append(each.id)
        await anyio.to_thread.run_sync(self._note, fates, now)
        for outcome in ("confirmed", "resent", "dead"):
            self.metrics.events.labels(outcome).inc(len(fates[outcome]))
        for lost in fates["dead"]:
            logger.error("The Prefect API took event %s and never showed it; it is set aside.", lost)
        return bool(fates["confirmed"])

    def _fate(self, event: Queued, now: float) -> str:
        """What becomes of an event that the API does not show."""
        gap = min(_LONGEST_GAP_S, self.lost_after * 2 ** min(event.sends - 1, 10))
        if now - event.sent < gap:
            return "later"
        return "dead" if now - event.received > self.give_up else "resent"

    def _note(self, fates: Mapping[str, Sequence[UUID]], now: float) -> None:
        self.queue.confirm(fates["confirmed"])
        self.queue.look_again(fates["later"], now + _LOOK_EVERY_S)
        self.queue.send_again(fates["resent"])
        self.queue.set_aside(fates["dead"], "never shown by the API")


async def _seen(client: PrefectClient, sent: Sequence[Queued]) -> set[UUID]:
    """Those that the API shows."""
    occurred = {
        "since": _moment(min(each.received for each in sent) - _CLOCKS_DIFFER_S),
        "until": _moment(time.time() + _CLOCKS_DIFFER_S),
    }
    wanted = EventFilter.model_validate({"occurred": occurred, "id": {"id": [each.id for each in sent]}})
    found = await client.read_events(wanted, limit=BATCH)
    return {event.id for event in found.events}


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, timezone.utc)


def _plain(error: Exception) -> str:
    """An error without its texts, which may quote an address with a password, or an event."""
    response = getattr(error, "response", None)
    return f"{type(error).__name__} {response.status_code}" if response is not None else type(error).__name__
