"""The money side of a client: what requests will cost, and what the provider tells an account of its money.

Every question has a default of "not told", so that a provider which tells nothing needs nothing of this.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime, timezone
from decimal import Decimal
from typing import ClassVar

from prefect_genvideo.media.inspect import MediaInfo
from prefect_genvideo.models import Generation, VideoRequest
from prefect_genvideo.prices.amounts import Estimate, Money
from prefect_genvideo.prices.estimate import Billable, billable_of, estimate
from prefect_genvideo.prices.table import PriceTable
from prefect_genvideo.providers.knowledge import ModelKnowledge
from prefect_genvideo.providers.lost import FoundCreate, LostCreate
from prefect_genvideo.providers.money import AccountLog, Balance, NotTold, PriceList, Site, ToldClip, ToldCost
from prefect_genvideo.storage import ObjectStore

_NOTHING = PriceTable()
# Estimates that are remembered of a day.
_KEPT_ESTIMATES = 1000


class Billing(ModelKnowledge):
    """The part of a client that knows prices and the account's money.

    Attributes:
        tells_money: Whether answers about tasks show what they cost.
        price_table: The prices that a user states; empty where none are.
        listed: The provider's own list, once `price_list` has brought it. What the user states goes before it.
    """

    tells_money: ClassVar[bool] = False
    price_table: PriceTable = _NOTHING
    listed: PriceList | None = None
    _estimates: tuple[date, PriceTable, dict[Billable, Estimate]] | None = None

    def estimate(self, request: VideoRequest, media: Mapping[str, MediaInfo] | None = None) -> Estimate:
        """Return what a request will cost. Uses no network, and never raises.

        Args:
            request: What is wanted; the model's defaults are filled in first.
            media: Facts of assets, keyed as in `request.assets()`: lengths of reference videos count at some prices.

        Returns:
            By the user's table, `how="calculated"`; else by the list that `price_list` has brought, `how="catalogue"`;
            else unknown, with every figure None.
        """
        wanted = self.billable(request, media)
        found = self._by_table(wanted)
        if found.how != "unknown" or self.listed is None:
            return found
        listed = self._by_list(wanted, self.listed)
        return found if listed is None else listed

    def _by_table(self, wanted: Billable) -> Estimate:
        """By the user's table; rows of a batch are much alike, so that the answers are kept."""
        today = datetime.now(timezone.utc).date()
        known, table = self._estimates, self.price_table
        if known is None or known[0] != today or known[1] is not table or len(known[2]) >= _KEPT_ESTIMATES:
            known = self._estimates = (today, table, {})
        kept = known[2]
        if wanted not in kept:
            kept[wanted] = estimate(table, wanted, on=today)
        return kept[wanted]

    def billable(self, request: VideoRequest, media: Mapping[str, MediaInfo] | None = None) -> Billable:
        """Return what of a request its price depends on.

        Args:
            request: What is wanted.
            media: Facts of assets, keyed as in `request.assets()`.
        """
        full = self.effective(request)
        known = [info.seconds for field, info in (media or {}).items() if field.startswith("videos[")]
        told = [seconds for seconds in known if seconds is not None]
        whole = len(told) == len(full.videos) and bool(told)
        limits = self.model_rules.of(full.model).over(self.known_limits(full.model)[0])
        return billable_of(full, lengths=limits.seconds or (), input_seconds=sum(told) if whole else None)

    def longest(self, request: VideoRequest) -> float | None:
        """Return the most seconds that a video may have, also where the model chooses; None where nobody knows.

        Args:
            request: What is wanted; the model's defaults are filled in first.
        """
        asked = self.effective(request).duration
        if asked is not None and asked > 0:
            return asked
        lengths = self.billable(request).seconds
        return float(max(lengths)) if lengths else None

    def _by_list(self, wanted: Billable, listed: PriceList) -> Estimate | None:
        """What a request costs by the provider's own list; None where the list does not tell."""
        del wanted, listed
        return None

    def share_calls(self, store: ObjectStore | None, calls: int) -> None:
        """Say where rare questions are counted together with other processes.

        Args:
            store: One that keeps conditional writes; None where the ledger's does not.
            calls: At most in the provider's window, for all of them; 0 is no limit of our own.
        """
        del store, calls

    # What the provider tells. Read rarely: these addresses share a small budget of calls.

    async def price_list(self) -> PriceList | NotTold:
        """Return the provider's own list of prices, and keep it in `listed` for `estimate`.

        Raises:
            RejectedError: The provider refused.
            TransientError: It could not be asked now.
        """
        return NotTold()

    async def site(self) -> Site | NotTold:
        """Return how the provider counts: how many of its figures make a unit; raises as `price_list`."""
        return NotTold()

    async def balance(self) -> Balance | NotTold:
        """Return what is left on the key or the account; raises as `price_list`."""
        return NotTold()

    async def account_log(self, *, max_age: float = 0.0) -> AccountLog | NotTold:
        """Return the newest rows of the account's log; raises as `price_list`.

        Args:
            max_age: Seconds; a log that was read not longer ago is good enough, which saves a call.
        """
        del max_age
        return NotTold()

    def cost_told(self, generation: Generation, *, per_call: bool | None = None) -> ToldCost:
        """Return what a task's own answer says of its cost.

        Args:
            generation: The provider's last word on it.
            per_call: Whether its price is fixed, so that no settlement follows; None: not known.
        """
        del generation, per_call
        return ToldCost()

    def clip_told(self, generation: Generation) -> ToldClip:
        """Return what a task's own answer says of the clip, as far as a price depends on it."""
        del generation
        return ToldClip()

    @property
    def unit(self) -> Money | None:
        """What one unit of the provider costs the user, where the user states it; it is not assumed to be a dollar."""
        return self.price_table.unit

    def marked(self, request: VideoRequest, claim: str) -> VideoRequest:
        """Return the request with a mark by which `find_created` knows its task, where the API has a field for one.

        Args:
            request: What is to be sent.
            claim: Random id of the ledger's claim that it is sent under; the mark follows from it alone.
        """
        del claim
        return request

    async def find_created(self, lost: LostCreate) -> FoundCreate:
        """Look for the task that a create with a lost answer may have made. Asked before a person is.

        Args:
            lost: What is known of it.

        Returns:
            With the outcome `found` the one task that the provider ties to this very create; it is taken up as paid
            for, so nothing may be guessed. Everything else is evidence for a person, and frees no key.

        Raises:
            GenVideoError: The provider could not be asked.
        """
        del lost
        return FoundCreate()

    def cost_of(self, generation: Generation, request: VideoRequest, seconds: float | None = None) -> Estimate:
        """Return what a finished generation has cost by the user's table, where the provider shows no money.

        Args:
            generation: The provider's last word.
            request: What was wanted.
            seconds: Length of the saved film, where it was measured.

        Returns:
            A failed generation is unknown unless the table says what it costs.
        """
        told = self.clip_told(generation)
        known = {"duration": told.seconds or seconds, "resolution": told.resolution}
        clip = request.model_copy(update={name: value for name, value in known.items() if value is not None})
        on = generation.created_at.date() if generation.created_at else None
        billed = replace(self.billable(clip), tokens=None if told.tokens is None else Decimal(told.tokens))
        if told.sound is not None:
            billed = replace(billed, sound=told.sound)
        cost = estimate(self.price_table, billed, on=on)
        if generation.state != "failed" or self.price_table.failed == "charged":
            return cost
        if self.price_table.failed is None:
            return Estimate(note="what a failed generation costs is not stated")
        free = {end: Decimal(0) for end in ("low", "expected", "high") if getattr(cost, end) is not None}
        return cost.model_copy(update={**free, "note": "failed generations are free by the price table"})
