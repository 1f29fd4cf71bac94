"""The plan of a batch: what each row will cost and how long it takes, under a hash that every change of it changes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, timezone
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from prefect_genvideo.batch.plan import Batch, Item, unclaimed
from prefect_genvideo.errors import DestinationError, GenVideoError, counted, shorten
from prefect_genvideo.finance.balance import AccountBalance, balances_of
from prefect_genvideo.ledger.history import Durations
from prefect_genvideo.ledger.listing import Found, records_of
from prefect_genvideo.ledger.record import KEPT
from prefect_genvideo.ledger.store import Ledger
from prefect_genvideo.pipeline.pipeline import Pipeline
from prefect_genvideo.polling import history_key
from prefect_genvideo.prices.amounts import Estimate, Money, plain, sum_of

VERSION = 1
"""Version of the plan file that this release writes."""
VALID_FOR = timedelta(hours=72)
"""How long a plan may be applied: prices and people's minds change."""
# Characters of a prompt that a plan repeats.
_PROMPT = 200
# Rows that a plan's warnings name by number.
_NAMED = 10

RowStanding = Literal["new", "reused", "held"]
"""Of a row when it was planned: to be paid; paid for by an earlier run; its key is held, so that nothing is sent."""


class PlannedAttempt(BaseModel):
    """One alternative of a row.

    Attributes:
        key: Idempotency key.
        provider: Name of the provider.
        account: Fingerprint of the account that pays.
        model: Name of the model.
        fingerprint: SHA-256 (hex) of the request and its files.
        estimate: What it costs.
    """

    model_config = ConfigDict(frozen=True)

    key: str
    provider: str
    account: str
    model: str
    fingerprint: str
    estimate: Estimate = Estimate()


class PlannedRow(BaseModel):
    """One wanted video.

    Attributes:
        number: Row as people count it.
        prompt: Its beginning.
        attempts: The wanted alternative first. One of them is paid at most.
        standing: See `RowStanding`. No part of the hash: it changes while the plan is applied.
        why: Of a held row: how its key stands.
        elapsed: Seconds that comparable generations have taken.
        tags: The row's own.
    """

    model_config = ConfigDict(frozen=True)

    number: int
    prompt: str = ""
    attempts: tuple[PlannedAttempt, ...]
    standing: RowStanding = "new"
    why: str = ""
    elapsed: float = 0.0
    tags: tuple[str, ...] = ()

    @property
    def expected(self) -> Estimate:
        """What the wanted alternative costs."""
        return self.attempts[0].estimate

    @property
    def worst(self) -> tuple[Money, ...] | None:
        """The most that the row costs, by currency, whichever alternative it takes; None: nobody knows."""
        most = dict[str, Money]()
        for attempt in self.attempts:
            high = attempt.estimate.most
            if high is None:
                return None
            if high.currency not in most or most[high.currency].amount < high.amount:
                most[high.currency] = high
        return tuple(most[name] for name in sorted(most))

    @property
    def facts(self) -> list[object]:
        """What the plan's hash is over: requests, prices, keys and who pays."""
        return [self.number, *(_facts(attempt) for attempt in self.attempts)]


def _facts(attempt: PlannedAttempt) -> list[object]:
    told = attempt.estimate
    prices = [None if value is None else plain(value) for value in (told.low, told.expected, told.high)]
    return [attempt.key, attempt.provider, attempt.account, attempt.model, attempt.fingerprint, *prices, told.currency]


class Sums(BaseModel):
    """The money of many rows. Currencies are never mixed; what is unknown is counted beside the sums.

    Attributes:
        expected: By currency, over rows whose expected cost is known.
        worst: The most, by currency, over rows whose upper end is known.
        unknown: Rows without an expected cost.
        unbounded: Rows without an upper end.
    """

    model_config = ConfigDict(frozen=True)

    expected: tuple[Money, ...] = ()
    worst: tuple[Money, ...] = ()
    unknown: int = 0
    unbounded: int = 0

    def __str__(self) -> str:
        if not self.expected and not self.worst:
            return "cost unknown" if self.unknown else "nothing to pay"
        told = f"expected {_together(self.expected)}, at most {_together(self.worst)}"
        return told + (f" ({counted(self.unbounded, 'video')} of unknown cost)" if self.unbounded else "")


def _together(amounts: Sequence[Money]) -> str:
    return " and ".join(map(str, amounts)) or "unknown"


class Plan(BaseModel):
    """What a batch will do and cost, before anything is sent.

    Attributes:
        hash: SHA-256 (hex) over requests, prices, keys and accounts of all rows.
        key: Key of the batch.
        created_at: When it was made.
        expires_at: Until when it may be applied.
        rows: In the order of the list.
        sums: Of the rows that are to be paid.
        balances: What is left on each account, where it is told.
        elapsed: Seconds that the whole will take about.
        warnings: What a person should know before saying yes.
    """

    version: int = Field(default=VERSION, le=VERSION)
    hash: str = Field(pattern=r"^[0-9a-f]{64}$")
    key: str
    created_at: datetime
    expires_at: datetime
    rows: tuple[PlannedRow, ...]
    sums: Sums = Sums()
    balances: tuple[AccountBalance, ...] = ()
    elapsed: float = 0.0
    warnings: tuple[str, ...] = ()

    def of(self, standing: RowStanding) -> list[PlannedRow]:
        """Return the rows that stand so."""
        return [row for row in self.rows if row.standing == standing]

    def is_expired(self, now: datetime | None = None) -> bool:
        """Whether it may not be applied any more."""
        return self.expires_at <= (now or datetime.now(timezone.utc))

    def summary(self) -> str:
        """One line for people, e.g. `10 videos: 8 new, 2 reused; expected 40 CNY, at most 48 CNY; about 12 min`."""
        counts = ", ".join(f"{len(rows)} {name}" for name in _STANDINGS if (rows := self.of(name)))
        told = f"{counted(len(self.rows), 'video')}: {counts}; {self.sums}"
        return f"{told}; about {minutes(self.elapsed)}" if self.elapsed else told

    def table(self) -> list[dict[str, str | int | float]]:
        """Rows for a table artifact."""
        return [
            {
                "row": row.number,
                "prompt": shorten(row.prompt, 60),
                "standing": row.standing,
                "expected": str(row.expected) if row.standing == "new" else "0",
                "at most": _at_most(row) if row.standing == "new" else "0",
                "minutes": round(row.elapsed / 60, 1),
                "model": row.attempts[0].model,
                "fallbacks": ", ".join(attempt.model for attempt in row.attempts[1:]),
                "note": row.why or row.expected.note,
                "key": row.attempts[0].key,
            }
            for row in self.rows
        ]


_STANDINGS: tuple[RowStanding, ...] = ("new", "reused", "held")


def _at_most(row: PlannedRow) -> str:
    worst = row.worst
    return "unknown" if worst is None else " or ".join(map(str, worst))


def minutes(seconds: float) -> str:
    """Return a time in words that fit its length: `45 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


async def make_plan(batch: Batch, pipelines: Sequence[Pipeline], *, max_in_flight: int = 20) -> Plan:
    """Plan a batch that has been checked: costs, standing in the ledger, time and balances. Sends no create.

    Args:
        batch: All rows, as `plan_batch` has them.
        pipelines: Accounts, the default one first.
        max_in_flight: Generations under way at most.

    Raises:
        DestinationError: The ledger cannot be read.
    """
    ledger = pipelines[0].ledger
    standing = await _standing(ledger, batch.items)
    rows, known = list[PlannedRow](), dict[str, float]()
    for item in batch.items:
        row = _row(item, standing)
        elapsed = await _elapsed(item, ledger.durations, known) if row.standing == "new" else 0.0
        rows.append(row.model_copy(update={"elapsed": elapsed}))
    new = [row for row in rows if row.standing == "new"]
    sums = _sums_of(new)
    told = await balances_of(pipelines)
    now = datetime.now(timezone.utc)
    return Plan(
        hash=hash_of(rows),
        key=batch.key,
        created_at=now,
        expires_at=now + VALID_FOR,
        rows=tuple(rows),
        sums=sums,
        balances=told,
        elapsed=max(sum(row.elapsed for row in new) / max_in_flight, max((row.elapsed for row in new), default=0.0)),
        warnings=tuple(_warnings(rows, sums, told)),
    )


def hash_of(rows: Iterable[PlannedRow]) -> str:
    """Return the SHA-256 (hex) of requests, prices, keys and accounts of all rows."""
    found = hashlib.sha256()
    for row in rows:
        found.update(json.dumps(row.facts, ensure_ascii=True, separators=(",", ":")).encode())
        found.update(b"\n")
    return found.hexdigest()


def _sums_of(rows: Sequence[PlannedRow]) -> Sums:
    told = [row.expected for row in rows]
    worst = [row.worst for row in rows]
    return Sums(
        expected=sum_of(
            Money(amount=one.expected, currency=one.currency)
            for one in told
            if one.expected is not None and one.currency is not None
        ),
        worst=sum_of(money for most in worst for money in most or ()),
        unknown=sum(not one.is_known for one in told),
        unbounded=worst.count(None),
    )


def _worst_at(rows: Iterable[PlannedRow], account: str) -> tuple[Money, ...]:
    """The most that rows cost one account, by currency, as far as upper ends are known."""
    found = list[Money]()
    for row in rows:
        own = row.model_copy(update={"attempts": tuple(one for one in row.attempts if one.account == account)})
        found += own.worst or ()
    return sum_of(found)


async def _standing(ledger: Ledger, items: Sequence[Item]) -> dict[str, Found]:
    """The records of all keys that may have one: one listing says of most that they have none."""
    free = await unclaimed(ledger, items)
    keys = [attempt.idempotency_key for item in items for attempt in item.alternatives]
    return await records_of(ledger, [key for key in keys if key not in free])


async def _elapsed(item: Item, durations: Durations, known: dict[str, float]) -> float:
    """How long a row takes, with one look a bucket of comparable generations."""
    wanted = item.alternatives[0]
    client = wanted.pipeline.client
    full = client.effective(wanted.request)
    bucket = history_key(client.name, full.model, full.duration, full.resolution)
    if bucket not in known:
        known[bucket] = (await durations.of(bucket)).typical
    return known[bucket]


def _row(item: Item, records: dict[str, Found]) -> PlannedRow:
    standing, why = _stands([records.get(attempt.idempotency_key) for attempt in item.alternatives])
    return PlannedRow(
        number=item.number,
        prompt=shorten(item.alternatives[0].request.prompt, _PROMPT),
        attempts=tuple(
            PlannedAttempt(
                key=attempt.idempotency_key,
                provider=attempt.pipeline.client.name,
                account=attempt.pipeline.client.account,
                model=attempt.request.model,
                fingerprint=judged.fingerprint,
                estimate=judged.estimate,
            )
            for attempt, judged in zip(item.alternatives, item.judged, strict=True)
        ),
        standing=standing,
        why=why,
        tags=item.tags,
    )


def _stands(records: Sequence[Found | None]) -> tuple[RowStanding, str]:
    """How a row stands by the records of its alternatives; the first that is held decides, as when it is made."""
    for found in records:
        if isinstance(found, DestinationError):
            return "held", shorten(str(found), _PROMPT)
        if found is None or found.record.state == "rejected":
            continue
        record = found.record
        if record.state in KEPT:
            return "reused", f"task {record.task_id} is paid for"
        return "held", f"its key is {record.state}: {shorten(record.reason or '', 100)}".rstrip(": ")
    return "new", ""


def _warnings(rows: Sequence[PlannedRow], sums: Sums, balances: Sequence[AccountBalance]) -> Iterable[str]:
    held = [str(row.number) for row in rows if row.standing == "held"]
    if held:
        more = f" and {len(held) - _NAMED} more" if len(held) > _NAMED else ""
        yield f"Nothing is sent for row {', '.join(held[:_NAMED])}{more}: genvideo ledger show KEY says why."
    if sums.unbounded:
        yield f"{counted(sums.unbounded, 'video')} to be paid may cost nobody knows how much: state prices to know it."
    new = [row for row in rows if row.standing == "new"]
    for balance in balances:
        models = {attempt.model for row in new for attempt in row.attempts if attempt.account == balance.account}
        yield from balance.warnings(_worst_at(new, balance.account), models)


async def learn_prices(pipelines: Sequence[Pipeline]) -> list[str]:
    """Ask each provider for its price list where the user states none, so that `estimate` knows it.

    Args:
        pipelines: Accounts.

    Returns:
        What could not be asked, in words. A list that is not offered is no trouble: its prices stay unknown.
    """
    troubles = list[str]()
    for pipeline in pipelines:
        client = pipeline.client
        if client.price_table.prices or client.listed is not None:
            continue
        try:
            await client.price_list()
        except GenVideoError as error:
            troubles.append(f"{client.title}: the price list could not be asked: {error}")
    return troubles
