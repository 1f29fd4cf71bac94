"""The ledger's cost in the FinOps format FOCUS: version 1.2, with the provider columns of 1.3 beside the older ones.

Source of columns and rules: https://focus.finops.org/focus-specification/v1-2/. A row of unknown cost cannot be
expressed, since `BilledCost` must not be null; such rows are left out and counted.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from importlib import import_module
from typing import Any, cast

from prefect_genvideo.errors import InvalidRequestError
from prefect_genvideo.finance.bill import sent_at
from prefect_genvideo.ledger.record import LedgerRecord
from prefect_genvideo.prices.amounts import Money, places, plain


@dataclass(frozen=True, kw_only=True)
class FocusRow:
    """One charge: the standard's columns by name, with the same value in each row or one of its own, then ours."""

    BilledCost: Decimal
    BillingAccountId: str
    BillingAccountName: str
    BillingAccountType: str = "API key"
    BillingCurrency: str
    BillingPeriodEnd: datetime
    BillingPeriodStart: datetime
    ChargeCategory: str = "Usage"
    ChargeClass: str | None = None
    ChargeDescription: str
    ChargeFrequency: str = "Usage-Based"
    ChargePeriodEnd: datetime
    ChargePeriodStart: datetime
    ContractedCost: Decimal
    ContractedUnitPrice: Decimal
    EffectiveCost: Decimal
    HostProviderName: str
    InvoiceId: str | None = None
    InvoiceIssuerName: str
    ListCost: Decimal
    ListUnitPrice: Decimal
    PricingCategory: str = "Standard"
    PricingQuantity: Decimal
    PricingUnit: str = "Videos"
    ProviderName: str
    PublisherName: str
    ResourceId: str | None
    ResourceName: str | None
    ResourceType: str = "Video"
    ServiceCategory: str = "AI and Machine Learning"
    ServiceName: str = "Video generation"
    ServiceProviderName: str
    ServiceSubcategory: str = "Generative AI"
    SkuId: str
    SkuMeter: str = "Generated videos"
    SkuPriceDetails: str
    SkuPriceId: str
    Tags: str
    x_CostBasis: str | None
    x_IdempotencyKey: str
    x_VideoSeconds: Decimal | None


COLUMNS: Mapping[str, str] = {field.name: str(field.type).removesuffix(" | None") for field in fields(FocusRow)}
"""Columns with what they hold, in the file's order."""

# Decimal places of amounts: what a Parquet reader takes for money.
_PLACES = 6
_ISO = re.compile(r"[A-Z]{3}")


@dataclass(frozen=True)
class FocusRows:
    """What can be expressed, and what cannot.

    Attributes:
        rows: One charge each.
        unknown: Paid tasks whose cost is not known; they are in no row.
    """

    rows: tuple[FocusRow, ...]
    unknown: int


def focus_rows(records: Iterable[LedgerRecord], *, titles: Mapping[str, str], month: str) -> FocusRows:
    """Return a month's charges.

    Args:
        records: Of the month.
        titles: Names of the providers for people, by their short ones.
        month: The billing period, e.g. `2026-11`.
    """
    rows, unknown = list[FocusRow](), 0
    for record in records:
        if record.task_id is None:
            continue
        spent = record.money.spent if record.money is not None else None
        if spent is None:
            unknown += 1
            continue
        rows += [_row(record, amount, at, titles, month) for amount, at in _movements(record, spent)]
    return FocusRows(tuple(rows), unknown)


def _movements(record: LedgerRecord, spent: Money) -> Iterator[tuple[Money, datetime]]:
    """What was taken and given back, each with its time where the parts add up; else the sum at once."""
    facts, at = record.money, sent_at(record)
    parts = list[tuple[Money, datetime]]()
    for posting, sign in ((facts.charge, 1), (facts.supplement, 1), (facts.refund, -1)) if facts else ():
        if posting is not None and posting.amount is not None and posting.amount.amount:
            amount = posting.amount.model_copy(update={"amount": posting.amount.amount * sign})
            parts.append((amount, posting.at or at))
    whole = sum((amount.amount for amount, _ in parts), Decimal(0)) == spent.amount
    same = all(amount.currency == spent.currency for amount, _ in parts)
    # A refund is a negative row of usage; `Credit` is for credit that was granted.
    yield from parts if parts and whole and same else [(spent, at)]


def _row(record: LedgerRecord, amount: Money, at: datetime, titles: Mapping[str, str], month: str) -> FocusRow:
    title = titles.get(record.provider, record.provider)
    begin = datetime.strptime(month, "%Y-%m").replace(tzinfo=timezone.utc)
    start = at.astimezone(timezone.utc).replace(microsecond=0)
    value, sign = places(amount.amount, _PLACES), -1 if amount.amount < 0 else 1
    # What the price depends on, under names of our own as the standard wants them.
    seconds = _seconds_of(record)
    facts = {"x_Model": record.model, "x_Seconds": seconds, "x_Resolution": record.resolution}
    details = {name: fact for name, fact in facts.items() if fact is not None}
    tags = {tag: True for tag in record.tags} | ({"cost_center": record.cost_center} if record.cost_center else {})
    tags |= {"flow": record.flow_name} if record.flow_name else {}
    return FocusRow(
        BilledCost=value,
        ContractedCost=value,
        EffectiveCost=value,
        ListCost=value,
        ContractedUnitPrice=abs(value),
        ListUnitPrice=abs(value),
        HostProviderName=title,
        InvoiceIssuerName=title,
        ProviderName=title,
        PublisherName=title,
        ServiceProviderName=title,
        BillingAccountId=record.account,
        BillingAccountName=f"{title} {record.account[:8]}",
        BillingCurrency=amount.currency,
        BillingPeriodStart=begin,
        BillingPeriodEnd=(begin + timedelta(days=32)).replace(day=1),
        ChargeDescription=f"{'Refund of one' if sign < 0 else 'One'} video by {record.model}",
        ChargePeriodStart=start,
        ChargePeriodEnd=start + timedelta(seconds=1),
        PricingQuantity=Decimal(sign),
        ResourceId=record.task_id,
        ResourceName=record.task_id,
        SkuId=record.model,
        SkuPriceDetails=json.dumps(details, ensure_ascii=False, sort_keys=True),
        SkuPriceId=f"{record.model}/video",
        Tags=json.dumps(tags, ensure_ascii=False, sort_keys=True),
        x_CostBasis=record.money.basis if record.money is not None else None,
        x_IdempotencyKey=record.key,
        x_VideoSeconds=None if seconds is None else places(Decimal(str(seconds)), _PLACES),
    )


def _seconds_of(record: LedgerRecord) -> float | None:
    """The length that was asked for; what the model has made where it chose."""
    made = record.stored.duration if record.stored is not None else None
    return made if made and record.request.get("duration") in (None, -1) else record.seconds


def as_csv(rows: Iterable[FocusRow]) -> bytes:
    """Return rows as a CSV file: UTC times, plain decimals with a point, nothing where there is nothing."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    writer.writerows([_text(getattr(row, name)) for name in COLUMNS] for row in rows)
    return file.getvalue().encode()


def _text(value: str | Decimal | datetime | None) -> str:
    if isinstance(value, datetime):
        return f"{value.astimezone(timezone.utc):%Y-%m-%dT%H:%M:%SZ}"
    if isinstance(value, Decimal):
        told = plain(value)
        return told if "." in told else f"{told}.0"  # a column of whole numbers alone is taken for no decimals
    return value or ""


def as_parquet(rows: Iterable[FocusRow]) -> bytes:
    """Return rows as a Parquet file: decimals of 18 digits with six places, times in UTC.

    Raises:
        InvalidRequestError: The extra `finops` is not installed.
    """
    try:
        pa, pq = (cast("Any", import_module(name)) for name in ("pyarrow", "pyarrow.parquet"))  # they have no types
    except ImportError:
        line = 'pip install "prefect-genvideo[finops]"'
        raise InvalidRequestError(f"Parquet needs more than is installed: {line}", reason="extra finops") from None
    kinds = {"str": pa.string(), "datetime": pa.timestamp("us", tz="UTC"), "Decimal": pa.decimal128(18, _PLACES)}
    schema = pa.schema([(name, kinds[kind]) for name, kind in COLUMNS.items()])
    table = pa.Table.from_pylist([vars(row) for row in rows], schema=schema)
    file = io.BytesIO()
    pq.write_table(table, file)
    return file.getvalue()


def odd_currencies(rows: Iterable[FocusRow]) -> list[str]:
    """Return the currencies of rows that are none of ISO 4217's form: readers take them for virtual ones."""
    return sorted({row.BillingCurrency for row in rows if not _ISO.fullmatch(row.BillingCurrency)})
