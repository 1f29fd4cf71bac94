"""What a record keeps of one generation's money: what was expected, charged, given back and asked for later."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from prefect_genvideo.models import Moment
from prefect_genvideo.prices.amounts import Amount, Currency, Estimate, Money

Basis = Literal["log", "task", "calculated"]
"""How a figure is known: from the account's log, from the task's own answer, or from the user's price table."""


class Posting(BaseModel):
    """One movement of money, as the provider's log has it.

    Attributes:
        quota: The gateway's whole figure, always positive; None where the provider counts in money only.
        amount: The same as money; None while the size or the price of a unit is not known.
        at: When it was booked, by the provider's clock.
        identity: What tells this row from every other one: the provider's request id, or a hash of the row.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    quota: int | None = None
    amount: Money | None = None
    at: Moment | None = None
    identity: str | None = Field(default=None, max_length=200)


class Candidate(BaseModel):
    """A charge or a task that the provider shows and that may be that of a lost create, for the person who decides.

    Attributes:
        at: When its call was received or it was made, by the provider's clock.
        seconds: After the create was sent, by the same clock; negative before it.
        model: As the provider shows it.
        quota: The gateway's whole figure; None where it shows no money.
        request_id: The provider's id of the call, where the row has one.
        task_id: The task that it names.
        doubt: Why it is not certain.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    at: Moment | None = None
    seconds: float | None = None
    model: str = Field(default="", max_length=300)
    quota: int | None = None
    request_id: str | None = Field(default=None, max_length=200)
    task_id: str | None = Field(default=None, max_length=1024)
    doubt: str = Field(default="", max_length=300)


class MoneyFacts(BaseModel):
    """The money of one generation. Everything that is not known is None, never 0.

    Attributes:
        estimate: What it was expected to cost when it was sent.
        charge: Taken when the provider accepted it.
        refund: Given back: after a failure, or what a settlement lowered.
        supplement: Taken later, by a settlement upward.
        cost: What it really cost: charge and supplement less refund, as money.
        currency: Of `cost`.
        quota: The same in the gateway's whole figures.
        basis: How `cost` is known.
        final: Whether nothing more is expected to move. Until then the figures are read again.
        evidence: What the provider's log says of a create whose answer was lost, for the person who decides.
        candidates: The charges or tasks that fit it best, where none of them is certain.
        read_at: When the figures were read last.
        reads: How often they were.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    estimate: Estimate | None = None
    charge: Posting | None = None
    refund: Posting | None = None
    supplement: Posting | None = None
    cost: Amount | None = None
    currency: Currency | None = None
    quota: int | None = None
    basis: Basis | None = None
    final: bool = False
    evidence: str | None = Field(default=None, max_length=2000)
    candidates: tuple[Candidate, ...] = ()
    read_at: Moment | None = None
    reads: int = Field(default=0, ge=0)

    @classmethod
    def expecting(cls, estimate: Estimate) -> MoneyFacts | None:
        """Return the facts of a create that is about to be sent; None where nothing is known of its price."""
        return None if estimate.how == "unknown" else cls(estimate=estimate)

    @property
    def spent(self) -> Money | None:
        """The real cost as money; None while it is unknown."""
        if self.cost is None or self.currency is None:
            return None
        return Money(amount=self.cost, currency=self.currency)
