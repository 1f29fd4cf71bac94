"""The money side of Sudashui's client: it asks rarely, shares one bucket of calls, and finds creates by the log."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timezone
from decimal import Decimal
from functools import cached_property
from typing import Any, ClassVar, TypeVar
from urllib.parse import urlsplit

import anyio

from prefect_genvideo.errors import DestinationError, GenVideoError, RateLimitedError
from prefect_genvideo.models import Generation
from prefect_genvideo.prices.amounts import EXACT, Estimate, Money, money_of, places, plain
from prefect_genvideo.prices.estimate import Billable
from prefect_genvideo.providers.answers import JsonObject, as_object, as_text
from prefect_genvideo.providers.base import VideoClient
from prefect_genvideo.providers.budgets import CallBudget, SharedCalls, budget_of
from prefect_genvideo.providers.http import Reply
from prefect_genvideo.providers.lost import FoundCreate, LostCreate
from prefect_genvideo.providers.money import AccountLog, Balance, ListedPrice, NotTold, PriceList, Site, ToldCost
from prefect_genvideo.providers.sudashui import money
from prefect_genvideo.providers.sudashui.log import log_of
from prefect_genvideo.providers.sudashui.lost import resolve
from prefect_genvideo.storage import ObjectStore

CALLS = 16
"""Of the 20 calls that a host allows in `money.WINDOW` seconds, those that we take: its console shares the bucket."""
# Those that a process takes which cannot count together with others, though there are some.
_ALONE = 4
# Seconds for which an address that is not offered is not asked again, and for which the site's units are believed.
_REMEMBERED = 3600.0
# A full log has a megabyte; in forks whose rows tell the whole request several. Times the limit of other answers.
_LOG_SIZE = 6
# Addresses that take from the bucket.
_RARE = frozenset({money.USAGE, money.LOG})
# Seconds for which one reading of the log serves all who look for lost creates.
_SHARED_LOG = 20.0

T = TypeVar("T")

logger = logging.getLogger(__name__)


class SudashuiAccount(VideoClient):
    """What the gateway tells of an account's money. Everything may be absent; nothing here stops a run by itself."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._absent: dict[str, tuple[float, NotTold]] = {}
        self._reading = anyio.Lock()

    tells_money: ClassVar[bool] = True

    _shared_calls: SharedCalls | None = None
    _calls: int = CALLS
    _counts_alone: bool = False
    _log: tuple[float, AccountLog] | None = None
    _site: tuple[float, Site] | None = None

    @cached_property
    def call_budget(self) -> CallBudget:
        """The bucket of calls for balance and log, shared with all clients of the process that ask the same host."""
        return budget_of(self._host, self._calls, money.WINDOW)

    def share_calls(self, store: ObjectStore | None, calls: int) -> None:
        """Count questions about balance and log together with all that keep their ledger in this store.

        Args:
            store: The ledger's; without one, or while it fails, a process takes a few calls and no more.
            calls: At most in `money.WINDOW` seconds; 0 is no limit of our own.
        """
        self._calls, self._counts_alone = calls, store is None
        known = self._shared_calls
        if store is not None and (known is None or known.store is not store or known.calls != calls):
            self._shared_calls = SharedCalls(store, self._host, calls, money.WINDOW)

    @property
    def _host(self) -> str:
        return urlsplit(self.base_url).netloc

    async def _take_call(self) -> None:
        if self._calls == 0:
            return
        self.call_budget.take(self.name)
        if self._shared_calls is not None:
            try:
                await self._shared_calls.take(self.name)
                return
            except DestinationError as error:
                logger.warning("Questions about money are counted in this process alone: %s", error)
        if self._shared_calls is not None or self._counts_alone:
            budget_of(self._host, min(_ALONE, self._calls), money.WINDOW).take(self.name)

    async def _close_calls(self, seconds: float) -> None:
        self.call_budget.close(seconds)
        if self._shared_calls is not None:
            try:
                await self._shared_calls.close(seconds)
            except DestinationError as error:
                logger.warning("That %s takes no questions now was not told to others: %s", self._host, error)

    async def balance(self) -> Balance | NotTold:
        """Return what is left on the key; by the dashboard's figures where the gateway is too old to tell it."""
        found = await self._ask(money.USAGE, money.balance_of)
        if isinstance(found, Balance):
            return found
        limit = await self.shown_limit()
        used = NotTold() if isinstance(limit, NotTold) else await self.shown_use()
        if isinstance(limit, NotTold) or isinstance(used, NotTold):
            return found
        left = None if limit.remaining is None else limit.remaining - used
        return Balance(remaining=left, used=used, counted_in="display", unlimited=limit.unlimited)

    async def shown_limit(self) -> Balance | NotTold:
        """Return the dashboard's limit: all that was ever granted, in its figures; raises as `balance`."""
        return await self._ask(money.SUBSCRIPTION, money.shown_limit)

    async def shown_use(self) -> Decimal | NotTold:
        """Return what the dashboard shows as used, in its figures; raises as `balance`."""
        return await self._ask(money.USED, money.shown_use)

    async def site(self) -> Site | NotTold:
        """Return how the gateway counts; what the user states of the size of a unit goes before what it says."""
        now, stated = time.monotonic(), self.price_table.quota_per_unit
        if self._site is None or now - self._site[0] > _REMEMBERED:
            found = await self._ask(money.STATUS, money.site_of, with_key=False)
            if isinstance(found, NotTold):
                return found if stated is None else Site(quota_per_unit=stated)
            self._site = (now, found)
        return self._site[1] if stated is None else replace(self._site[1], quota_per_unit=stated)

    async def price_list(self) -> PriceList | NotTold:
        """Return the gateway's price list, and keep it in `listed`. Seconds and sizes may multiply its figures."""
        found = await self._ask(money.PRICING, money.prices_of, with_key=False)
        if isinstance(found, PriceList):
            self.listed = found
            with suppress(GenVideoError):  # without it amounts stay in units
                await self.site()
        return found

    async def prices(self) -> dict[str, str]:
        """Return the gateway's price list by model, in its own unit; empty where it shows none.

        Seconds and sizes multiply these figures, which the list does not tell.
        """
        try:
            found = await self.price_list()
        except GenVideoError:
            return {}
        return {} if isinstance(found, NotTold) else {name: _in_words(price) for name, price in found.models.items()}

    async def account_log(self, *, max_age: float = 0.0) -> AccountLog | NotTold:
        """Return the newest thousand rows of the key's log; see `Billing.account_log`."""
        asked = time.monotonic()
        async with self._reading:
            if self._log is not None and self._log[0] >= asked - max_age:
                return self._log[1]
            return await self._read_log()

    async def _read_log(self) -> AccountLog | NotTold:
        began = time.monotonic()
        answer, reply = await self._answer(money.LOG)
        if isinstance(answer, NotTold):
            return answer
        now = datetime.now(timezone.utc)
        ahead = None if reply.answered_at is None else (reply.answered_at - now).total_seconds()
        found = log_of(answer, ahead, now)
        if isinstance(found, AccountLog):
            self._log = (began, found)
        return found

    async def find_created(self, lost: LostCreate) -> FoundCreate:
        """Look for a lost create in the key's log; see `sudashui.lost`."""
        log = lost.log or await self.account_log(max_age=self._good_for(lost))
        if isinstance(log, NotTold):
            return FoundCreate(certainty=f"the log is not told: {log.reason}")
        return resolve(log, lost)

    def _good_for(self, lost: LostCreate) -> float:
        """Seconds for which the log that was read last serves this create too: without end where its row is in it."""
        if lost.request_id is None:
            return _SHARED_LOG
        there = self._log is not None and self._log[1].charge_of(lost.request_id) is not None
        return _REMEMBERED if there else 0.0

    def cost_told(self, generation: Generation, *, per_call: bool | None = None) -> ToldCost:
        """Return what the task's row says: final on success for a fixed price, and on failure where it is back to 0.

        Args:
            generation: The provider's last word on it.
            per_call: Whether its price is fixed; by the gateway's list where not given.
        """
        quota = None if generation.cost is None else money.whole_number(generation.cost)
        if quota is None or generation.state not in ("succeeded", "failed"):
            return ToldCost()
        if generation.state == "failed":
            # Older trees leave the charge here though it was given back, and one sweep takes it away without doing so.
            kept = quota != 0 or money.says_no_refund(generation.reason or "")
            return ToldCost() if kept else ToldCost(0, final=True)
        listed = self.listed.models.get(self._model_of(generation)) if self.listed else None
        fixed = per_call if per_call is not None else listed is not None and listed.basis == "per_call"
        return ToldCost(quota, final=fixed)

    def _model_of(self, generation: Generation) -> str:
        row = as_object(generation.raw.get("data")) or generation.raw
        return as_text(as_object(row.get("properties")).get("origin_model_name"))

    def _by_list(self, wanted: Billable, listed: PriceList) -> Estimate | None:
        price = listed.models.get(wanted.model)
        if price is None:
            return None
        if price.basis == "per_token":
            return Estimate(note="billed by tokens, which the list does not tell beforehand")
        ratios = self._ratios(price, listed)
        if not ratios:
            return Estimate(note=f"the price list has no ratio of the group {self.price_table.group}")
        figures = [self._listed_money(price, ratio) for ratio in ratios]
        low = min(figure.amount for figure in figures)
        return Estimate(
            low=low,
            expected=figures[0].amount,
            high=low
            if not price.unit_price
            else None,  # seconds and sizes may multiply it, which the list does not tell
            currency=figures[0].currency,
            how="catalogue",
            note=f"{_in_words(price)}, by the gateway's list",
        )

    def _ratios(self, price: ListedPrice, listed: PriceList) -> list[Decimal]:
        """Ratios that may hold for the key, the likeliest first: which group it is in, nobody tells a key."""
        stated = self.price_table.group
        likely = listed.ratio_of(stated)
        if stated is not None:
            return [] if likely is None else [likely]
        others = [ratio for name, ratio in listed.group_ratios.items() if not price.groups or name in price.groups]
        return [*([] if likely is None else [likely]), *others]

    def _listed_money(self, price: ListedPrice, ratio: Decimal) -> Money:
        site = self._site[1] if self._site is not None else Site()
        per_unit = self.price_table.quota_per_unit or site.quota_per_unit
        quota = price.quota(per_unit, ratio)
        if quota is not None:
            return money_of(quota, per_unit, self.unit)
        return self.price_table.exchanged(places(EXACT.multiply(price.unit_price or Decimal(0), ratio)), "unit")

    async def _ask(self, path: str, read: Callable[[JsonObject], T | NotTold], *, with_key: bool = True) -> T | NotTold:
        answer, _ = await self._answer(path, with_key=with_key)
        return answer if isinstance(answer, NotTold) else read(answer)

    async def _answer(self, path: str, *, with_key: bool = True) -> tuple[JsonObject | NotTold, Reply]:
        """Ask one address. One that is not there is not asked again for an hour."""
        absent = self._absent.get(path)
        if absent is not None and time.monotonic() - absent[0] <= _REMEMBERED:
            return absent[1], Reply()
        if path in _RARE:
            await self._take_call()
        reply = await self._exchange("GET", path, with_key=with_key, size=_LOG_SIZE if path == money.LOG else 1)
        try:
            answer = money.object_of(reply, self.title, self.name, with_key=with_key)
        except RateLimitedError as error:
            if path in _RARE:
                await self._close_calls(error.retry_after or money.WINDOW)
            raise
        if isinstance(answer, NotTold) and (reply.status >= 400 or reply.json is None):
            self._absent[path] = (time.monotonic(), answer)
        return answer, reply


def _in_words(price: ListedPrice) -> str:
    if price.unit_price is not None:
        return f"{plain(price.unit_price)} a video"
    return f"ratio {plain(price.ratio or Decimal(0))}"
