"""Balances of the accounts that are to pay, and whether they cover a batch."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from prefect_genvideo.batch.plan import Item
from prefect_genvideo.errors import GenVideoError, shorten
from prefect_genvideo.models import Problem
from prefect_genvideo.pipeline.pipeline import Pipeline
from prefect_genvideo.prices.amounts import Money, sum_of
from prefect_genvideo.providers.base import VideoClient
from prefect_genvideo.providers.money import NotTold, Site

Standing = Literal["told", "unlimited", "not told"]
"""Of a balance: a figure; a key without a limit of its own, whose wallet is not shown; nothing."""


class AccountBalance(BaseModel):
    """What one account has left.

    Attributes:
        provider: Name of the provider.
        account: Fingerprint of the account.
        standing: Whether it is told.
        remaining: What is left; None where it is not told, or in no unit that is known.
        scope: `key` or `account`: a create needs both a key and a wallet with money, and a key tells its own.
        expired: Whether the key has ended.
        models: The only models that the key may call; None: all.
        note: Why it is not told.
    """

    model_config = ConfigDict(frozen=True)

    provider: str
    account: str
    standing: Standing = "not told"
    remaining: Money | None = None
    scope: Literal["key", "account"] = "key"
    expired: bool = False
    models: tuple[str, ...] | None = None
    note: str = ""

    def lacks(self, worst: Sequence[Money]) -> Money | None:
        """Return what a batch may cost where that is more than is left; None where it can be paid, or nobody knows.

        Args:
            worst: The most that it costs, by currency.
        """
        left = self.remaining
        needed = next((cost for cost in worst if left is not None and cost.currency == left.currency), None)
        return needed if needed is not None and left is not None and needed.amount > left.amount else None

    def warnings(self, worst: Sequence[Money], models: Collection[str]) -> Iterator[str]:
        """Say why a batch will not get to its end on this account.

        Args:
            worst: The most that it costs, by currency.
            models: Models that it wants of this account.
        """
        if self.expired:
            yield f"The key at {self.provider} has expired."
        barred = sorted(set(models) - set(self.models)) if self.models is not None else []
        if barred:
            yield f"The key at {self.provider} may not call {', '.join(barred)}."
        if needed := self.lacks(worst):
            yield f"{self.provider} has {self.remaining} left on this {self.scope}, the batch may cost {needed}."

    def __str__(self) -> str:
        if self.standing == "told":
            return f"{self.provider}: {self.remaining} left on this {self.scope}"
        if self.standing == "unlimited":
            return f"{self.provider}: this {self.scope} has no limit of its own; its wallet is not told"
        return f"{self.provider}: what is left is not told" + (f" ({self.note})" if self.note else "")


async def balances_of(pipelines: Sequence[Pipeline]) -> tuple[AccountBalance, ...]:
    """Ask what is left on each account, once each: these addresses share a small bucket of calls. Never raises.

    Args:
        pipelines: Accounts.
    """
    return tuple([await _balance(pipeline) for pipeline in {one.client.account: one for one in pipelines}.values()])


async def _balance(pipeline: Pipeline) -> AccountBalance:
    client = pipeline.client
    base = AccountBalance(provider=client.name, account=client.account)
    try:
        told = await client.balance()
    except GenVideoError as error:
        return base.model_copy(update={"note": shorten(str(error), 200)})
    if isinstance(told, NotTold):
        return base.model_copy(update={"note": told.reason})
    left = told.money(await _site(client), client.unit)
    facts = {"expired": told.is_expired(), "models": told.models, "scope": told.scope, "remaining": left}
    standing: Standing = "unlimited" if told.unlimited else "not told" if left is None else "told"
    return base.model_copy(update={**facts, "standing": standing})


async def _site(client: VideoClient) -> Site | NotTold:
    """How the provider counts; that it cannot be asked now hides no balance, which stays in its own figures."""
    try:
        return await client.site()
    except GenVideoError as error:
        stated = client.price_table.quota_per_unit
        return NotTold(error.reason or str(error)) if stated is None else Site(quota_per_unit=stated)


async def shortfalls(pipelines: Sequence[Pipeline], items: Sequence[Item], free: Collection[str]) -> list[Problem]:
    """Return a problem for each account that may not pay a batch to its end. Asks only where prices are known.

    Args:
        pipelines: Accounts.
        items: The batch's rows.
        free: Keys that have no record yet, which are to be paid; empty where that is not known.
    """
    needed = dict[str, list[Money]]()
    for item in items:
        first, most = item.alternatives[0], item.judged[0].estimate.most
        if most is not None and (not free or first.idempotency_key in free):
            needed.setdefault(first.pipeline.client.account, []).append(most)
    problems = list[Problem]()
    for balance in await balances_of([one for one in pipelines if one.client.account in needed]):
        if lacking := balance.lacks(sum_of(needed[balance.account])):
            limit = f"at least {lacking}, what the batch may cost"
            problems.append(Problem(f"balance.{balance.provider}", str(balance.remaining), limit, "balance"))
    return problems
