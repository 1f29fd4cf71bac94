"""What a provider tells an account of its money: balance, prices, units and the log, as plain data.

Any of it may be absent, switched off or unreadable. That is `NotTold`: a feature that is off, said once. It is no error
that stops a run, and never 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from decimal import ROUND_DOWN, Decimal
from typing import Literal, TypeVar

from prefect_genvideo.prices.amounts import EXACT, Money, money_of

CHARGE, REFUND, ERROR = 2, 6, 5
"""Types of a log's row that say something of a generation: a charge or supplement, money given back, a failed call."""

T = TypeVar("T")


@dataclass(frozen=True)
class NotTold:
    """The provider does not tell this.

    Attributes:
        reason: Why: `not offered`, `not JSON`, or the provider's own words.
        for_now: Whether it may tell later: it could not be asked.
    """

    reason: str = "not offered"
    for_now: bool = False


@dataclass(frozen=True)
class Site:
    """How a gateway counts.

    Attributes:
        quota_per_unit: Its whole figures that make one unit; None where it does not say so usably. What a unit costs
            is the operator's choice: it is not assumed to be a dollar.
        display: `USD`, `CNY`, `TOKENS` or `CUSTOM`: how its dashboard figures are to be read; None where not told.
        rate: Dashboard figures of one unit; None for tokens and where not told.
        version: Of the gateway's software.
    """

    quota_per_unit: Decimal | None = None
    display: str | None = None
    rate: Decimal | None = None
    version: str | None = None

    def quota_of(self, shown: Decimal) -> Decimal | None:
        """Return a dashboard figure in the gateway's whole figures; None where the site does not say how."""
        if self.display == "TOKENS":
            return shown
        if self.quota_per_unit is None or not self.rate:
            return None
        return EXACT.divide(EXACT.multiply(shown, self.quota_per_unit), self.rate)


@dataclass(frozen=True)
class Balance:
    """What is left on a key or an account. A create needs both a key and a wallet with money; a key tells its own.

    Attributes:
        remaining: What is left; None for an unlimited key, whose own remainder means nothing.
        used: What was used; up to a minute old.
        counted_in: `quota`, the gateway's whole figures, or `display`, the figures of its dashboard.
        scope: `key` or `account`.
        unlimited: Whether the key has no limit of its own; the wallet decides, and is not shown.
        expires_at: When the key ends; None: never, or not told.
        models: The only models that the key may call; None: all.
        read_at: When it was read.
    """

    remaining: Decimal | None = None
    used: Decimal | None = None
    counted_in: Literal["quota", "display"] = "quota"
    scope: Literal["key", "account"] = "key"
    unlimited: bool = False
    expires_at: datetime | None = None
    models: tuple[str, ...] | None = None
    read_at: datetime = field(default_factory=lambda: datetime.now(timezone.utc))

    def is_expired(self, now: datetime | None = None) -> bool:
        """Whether no create will pass any more because the key has ended."""
        return self.expires_at is not None and self.expires_at <= (now or datetime.now(timezone.utc))

    def remaining_quota(self, site: Site | NotTold) -> Decimal | None:
        """Return what is left in the gateway's whole figures; None where it is unlimited or cannot be told."""
        if self.remaining is None or self.counted_in == "quota":
            return self.remaining
        return site.quota_of(self.remaining) if isinstance(site, Site) else None

    def money(self, site: Site | NotTold, unit: Money | None = None) -> Money | None:
        """Return what is left as money; None where it is unlimited or cannot be told.

        Args:
            site: How the gateway counts.
            unit: What one unit costs the user; without it the amount is in `unit`.
        """
        left = self.remaining_quota(site)
        per_unit = site.quota_per_unit if isinstance(site, Site) else None
        return None if left is None else money_of(int(left), per_unit, unit)


@dataclass(frozen=True)
class ListedPrice:
    """A model's price as the provider lists it.

    Attributes:
        basis: `per_call`: a fixed price a create. `per_token`: a part is taken first, the true cost follows the tokens.
        unit_price: Units for one create, before the group's ratio; None with tokens.
        ratio: Of a model that is billed by tokens; None else.
        groups: Groups of accounts that may call it; empty where the list does not say.
    """

    basis: Literal["per_call", "per_token"]
    unit_price: Decimal | None = None
    ratio: Decimal | None = None
    groups: tuple[str, ...] = ()

    def quota(self, quota_per_unit: Decimal | None, group_ratio: Decimal) -> int | None:
        """Return what is taken for one create before anything multiplies it; None where it cannot be told.

        Args:
            quota_per_unit: The gateway's whole figures that make one unit.
            group_ratio: Of the account's group.
        """
        each = self.unit_price if self.basis == "per_call" else None if self.ratio is None else self.ratio / 2
        if each is None or quota_per_unit is None:
            return None
        product = EXACT.multiply(EXACT.multiply(each, quota_per_unit), group_ratio)
        return int(product.to_integral_value(ROUND_DOWN))  # as the gateway does it, see `QuotaFromFloat` there


@dataclass(frozen=True)
class PriceList:
    """A provider's own list of prices.

    Attributes:
        models: By name. A model that is not in it has an unknown price.
        group_ratios: What multiplies prices, by group of accounts. Which one a key is in, the list does not say.
    """

    models: Mapping[str, ListedPrice] = field(default_factory=dict[str, ListedPrice])
    group_ratios: Mapping[str, Decimal] = field(default_factory=dict[str, Decimal])

    def ratio_of(self, group: str | None) -> Decimal | None:
        """Return the ratio of a group: the stated one's, else that of `default`, else the only one there is."""
        if group is not None:
            return self.group_ratios.get(group)
        if "default" in self.group_ratios or not self.group_ratios:
            return self.group_ratios.get("default", Decimal(1))
        return next(iter(self.group_ratios.values())) if len(set(self.group_ratios.values())) == 1 else None


@dataclass(frozen=True)
class LogRow:
    """One row of an account's log, without the names and addresses of people that stand in it.

    Attributes:
        type: `CHARGE`, `REFUND` or another of the gateway's numbers.
        quota: As it stands there; forks write negative ones.
        at: When the row was written, by the gateway's clock.
        model: The requested model.
        request_id: Of the call that wrote the row: a create's charge has the create's own.
        task_id: Of the task, where the row names one: refunds and settlements do, creates only in newer trees.
        is_task: Whether it is of a video's create; None where the row does not say.
        reason: Why money was given back.
        pre_charged: Of a settlement: what was taken first.
        actual: Of a settlement: what the task costs in the end.
        settles: Whether anything else says that it moves the price of a task after its end.
    """

    type: int
    quota: int
    at: datetime | None = None
    model: str = ""
    request_id: str | None = None
    task_id: str | None = None
    is_task: bool | None = None
    reason: str | None = None
    pre_charged: int | None = None
    actual: int | None = None
    settles: bool = False

    @property
    def net(self) -> int:
        """What it adds to the account's cost: charges as they are, refunds as less, all else nothing."""
        return self.quota if self.type == CHARGE else -abs(self.quota) if self.type == REFUND else 0

    @property
    def identity(self) -> tuple[object, ...]:
        """What tells the row from every other one. Its number in the answer does not."""
        if self.request_id is not None:
            return (self.request_id, self.type, self.quota, self.task_id)
        return (self.at, self.type, self.model, self.quota, self.task_id, self.pre_charged, self.actual)

    @property
    def is_video(self) -> bool:
        """Whether it is of a video: it says so, or names a task."""
        return self.is_task is True or self.task_id is not None

    @property
    def is_settlement(self) -> bool:
        """Whether it moves the price of a task after its end, up or down."""
        return self.settles or self.actual is not None or self.pre_charged is not None


@dataclass(frozen=True)
class TaskMoney:
    """What a log says of one task.

    Attributes:
        charged: Taken at first, where the log ties it to the task.
        refunded: Given back altogether.
        supplement: Taken later.
        actual: The final figure of the last settlement; None where there was none.
        since: What was moved after that settlement.
        reason: Of a refund.
        rows: The rows, oldest first.
    """

    charged: int | None = None
    refunded: int = 0
    supplement: int = 0
    actual: int | None = None
    since: int = 0
    reason: str | None = None
    rows: tuple[LogRow, ...] = ()

    @property
    def cost(self) -> int | None:
        """What the task costs by what is known; None while the first charge is not tied to it."""
        if self.actual is not None:
            return self.actual + self.since
        return None if self.charged is None else self.charged + self.supplement - self.refunded


@dataclass(frozen=True)
class ToldCost:
    """What a task's own answer says of its cost.

    Attributes:
        quota: In the gateway's whole figures; None where it does not say, or says what proves nothing.
        final: Whether no settlement follows any more.
    """

    quota: int | None = None
    final: bool = False


@dataclass(frozen=True)
class ToldClip:
    """What a task's own answer says of the clip, as far as a price depends on it.

    Attributes:
        seconds: Its length; None where it does not say, or says something odd.
        resolution: e.g. `720p`.
        sound: Whether it has sound.
        tokens: That the provider bills it by.
    """

    seconds: float | None = None
    resolution: str | None = None
    sound: bool | None = None
    tokens: int | None = None


@dataclass(frozen=True)
class AccountLog:
    """The rows of an account's log, newest first.

    Attributes:
        rows: As many as the provider gives.
        truncated: Whether older rows may be missing: the list is as long as it ever is.
        clock_ahead: Seconds that the provider's clock is ahead of ours; None where not told.
        read_at: When it was read, by our clock.
        unread: Entries that cannot be read, e.g. a charge without its figure; they are in no sum.
    """

    rows: tuple[LogRow, ...] = ()
    truncated: bool = False
    clock_ahead: float | None = None
    read_at: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    unread: int = 0

    @property
    def has_request_ids(self) -> bool:
        """Whether charges carry the id of their call: without it nothing is exact."""
        return any(row.request_id for row in self.rows if row.type == CHARGE)

    @property
    def oldest(self) -> datetime | None:
        """When the oldest row was written."""
        return min((row.at for row in self.rows if row.at is not None), default=None)

    def charge_of(self, request_id: str) -> LogRow | None:
        """Return the charge of a create, by the id of its answer; the oldest where a fork writes more with that id."""
        return next((row for row in reversed(self.rows) if is_first(row) and row.request_id == request_id), None)

    def task(self, task_id: str, request_id: str | None = None) -> TaskMoney:
        """Return what the log says of a task.

        Args:
            task_id: The provider's id.
            request_id: Of its create's answer, which ties the first charge to it.
        """
        rows = [row for row in reversed(self.rows) if _is_of(row, task_id, request_id)]  # oldest first
        tied = self.charge_of(request_id) if request_id else None
        first = tied if tied in rows else next(filter(is_first, rows), None)
        return _summed(first, sorted(rows, key=lambda row: row.at or self.read_at))

    def tasks(self) -> dict[str, TaskMoney]:
        """Return what the log says of every task that it names."""
        return {task_id: self.task(task_id) for task_id in dict.fromkeys(row.task_id for row in self.rows) if task_id}


def _is_of(row: LogRow, task_id: str, request_id: str | None) -> bool:
    """Whether a row is of a task: it names the task, or else its create's call."""
    return row.task_id == task_id or (row.task_id is None and request_id is not None and row.request_id == request_id)


def is_first(row: LogRow) -> bool:
    """Whether a row is what a create was charged at first."""
    return row.type == CHARGE and not row.is_settlement


def _summed(first: LogRow | None, rows: list[LogRow]) -> TaskMoney:
    """The money of one task, from its rows, oldest first."""
    later = [row for row in rows if row is not first]
    pre_charged = next((row.pre_charged for row in later if row.pre_charged is not None), None)
    return TaskMoney(
        charged=pre_charged if first is None else first.quota,
        # A fork lowers by a negative charge what upstream lowers by a refund.
        refunded=sum(max(-row.net, 0) for row in later),
        supplement=sum(max(row.net, 0) for row in later),
        actual=_last(row.actual for row in later),
        since=_since_settled(later),
        reason=_last(row.reason or None for row in later),
        rows=tuple(rows),
    )


def _since_settled(rows: list[LogRow]) -> int:
    """What was moved after the last settlement."""
    settled = max((place for place, row in enumerate(rows) if row.actual is not None), default=len(rows))
    return sum(row.net for row in rows[settled + 1 :])


def _last(values: Iterable[T | None]) -> T | None:
    """The last one that is told."""
    told = [value for value in values if value is not None]
    return told[-1] if told else None
