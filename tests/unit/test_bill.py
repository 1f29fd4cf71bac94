"""The bill agrees with the ledger to the last unit, or says row by row where it does not; FOCUS files hold no guess."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from prefect_genvideo.cli.bill import lines_of
from prefect_genvideo.errors import InvalidRequestError
from prefect_genvideo.finance.bill import Bill, Charge, SpendBy, charges_of, make_bill, month_of, spend_by
from prefect_genvideo.finance.focus import COLUMNS, as_csv, as_parquet, focus_rows, odd_currencies
from prefect_genvideo.finance.sources import read_bill_file
from prefect_genvideo.ledger.record import LedgerRecord
from prefect_genvideo.prices import Money, MoneyFacts, Posting
from prefect_genvideo.providers.money import CHARGE, REFUND, AccountLog, LogRow
from tests.fixtures.money import draft

NOON = datetime(2026, 11, 22, 12, tzinfo=timezone.utc)
PER_UNIT, UNIT = Decimal(500_000), Money(amount=Decimal("1"), currency="CNY")


def cny(amount: str) -> Money:
    return Money(amount=Decimal(amount), currency="CNY")


def paid(number: int, quota: int | None, **facts: Any) -> LedgerRecord:
    """A task of the account that the ledger knows to have cost so much."""
    money = None
    if quota is not None:
        cost = Decimal(quota) / PER_UNIT
        money = MoneyFacts(cost=cost, currency="CNY", quota=quota, basis="log", final=True)
    usual: dict[str, Any] = {
        "state": "saved",
        "task_id": f"task_{number}",
        "submitted_at": NOON,
        "request_id": f"request-{number}",
    }
    return draft(f"key-{number}", **{**usual, "money": money, **facts})


def row(number: int, quota: int, kind: int = CHARGE, **facts: Any) -> LogRow:
    """A row of the log."""
    usual: dict[str, Any] = {"at": NOON, "model": "sd-2-720p", "is_task": True}
    names: dict[str, Any] = {"request_id": f"request-{number}"} if kind == CHARGE else {"task_id": f"task_{number}"}
    return LogRow(type=kind, quota=quota, **{**usual, **names, **facts})


def billed(records: list[LedgerRecord], *rows: LogRow, **facts: Any) -> Bill:
    charges = charges_of(AccountLog(rows), records, PER_UNIT, UNIT)
    usual: dict[str, Any] = {"month": "2026-11", "provider": "sudashui", "account": "a", "source": "log"}
    return make_bill(records, charges, **{**usual, **facts})


def kinds(bill: Bill) -> dict[str | None, str]:
    return {line.task_id: line.kind for line in bill.lines}


def test_every_way_to_disagree_is_named() -> None:
    """One of each kind, and the sums of both sides to the last unit."""
    records = [paid(1, 1_000_000), paid(2, 0), paid(3, 250_000), paid(4, 500_000), paid(5, None)]
    bill = billed(
        records,
        row(1, 1_000_000),
        row(2, 700_000),
        row(2, 700_000, REFUND),
        row(3, 300_000),
        row(5, 100_000),
        row(99, 400_000),
    )
    assert kinds(bill) == {
        "task_1": "agrees",
        "task_2": "agrees",
        "task_3": "difference",
        "task_4": "video without charge",
        "task_5": "difference",
        None: "charge without video",
    }
    assert bill.lines[-1].kind == "agrees"
    assert (bill.sums("billed"), bill.sums("recorded")) == ((cny("3.6"),), (cny("3.5"),))
    assert bill.unknown == 1


def test_a_lost_create_with_a_charge_has_no_video() -> None:
    """The id in a lost answer is a hint; nobody has decided whose task it is."""
    lost = paid(1, None, state="unknown", submitted_at=None)
    (line,) = billed([lost], row(1, 300_000)).lines
    assert (line.kind, line.task_id, line.billed) == ("charge without video", "task_1", cny("0.6"))


def test_what_was_calculated_free_needs_no_charge() -> None:
    """A failed task that costs nothing has no row in a bill."""
    assert kinds(billed([paid(1, 0, state="failed"), paid(2, 5)], row(2, 5))) == {
        "task_1": "agrees",
        "task_2": "agrees",
    }


def test_a_month_is_its_own() -> None:
    """A task of the month before claims its rows, and is no line of this one; a foreign row of then is neither."""
    before = NOON - timedelta(days=40)
    bill = billed([paid(1, 5, submitted_at=before), paid(2, 7)], row(1, 5, at=before), row(2, 7), row(9, 1, at=before))
    assert kinds(bill) == {"task_2": "agrees"}


def test_a_cut_log_accuses_nobody() -> None:
    """What is older than its oldest row is not covered; nor is anything without a log."""
    bill = billed([paid(1, 5)], row(2, 5), covers_from=NOON + timedelta(hours=1))
    assert (kinds(bill)["task_1"], bill.truncated) == ("not covered", True)
    assert kinds(billed([paid(1, 5)])) == {"task_1": "not covered"}


@pytest.mark.parametrize("month", ["2026-13", "26-11", "2026-11-01", "x", "１２３４-05"])
def test_months_that_are_none(month: str) -> None:
    """Named by field."""
    with pytest.raises(InvalidRequestError) as refused:
        month_of(month)
    assert [problem.field for problem in refused.value.problems] == ["month"]


# Files that people export.


def test_an_exported_bill_is_held_against_calculated_costs(tmp_path: Path) -> None:
    """By task id, in the currency that is given, with the names that consoles use."""
    file = tmp_path / "bill.csv"
    file.write_text('﻿Task ID,Cost,Time\ntask_1,"1,002.50",2026-11-22T12:00:00Z\ntask_9,3,2026-11-22 13:00\n')
    charges = read_bill_file(str(file), "CNY")
    assert [(charge.task_id, charge.amount) for charge in charges] == [("task_1", cny("1002.5")), ("task_9", cny("3"))]
    record = paid(1, None, money=MoneyFacts(cost=Decimal("1002.50"), currency="CNY", basis="calculated", final=True))
    usual: dict[str, Any] = {"month": "2026-11", "provider": "senseaudio", "account": "a", "source": "bill.csv"}
    assert kinds(make_bill([record], charges, **usual)) == {"task_1": "agrees", "task_9": "charge without video"}
    as_json = tmp_path / "bill.json"
    as_json.write_text(json.dumps([{"id": "task_1", "amount": "1002.5", "currency": "USD", "time": "2026-11-22"}]))
    (other,) = read_bill_file(str(as_json))
    assert kinds(make_bill([record], [other], **usual)) == {"task_1": "difference"}


@pytest.mark.parametrize(
    ("content", "fields"),
    [
        ("task_id,cost\n,5\nt,x\nt,5", ["row 1", "row 2: amount"]),
        ("task_id,cost,time\nt,5,noon", ["row 1: at"]),
        ("[1]", ["file"]),
        ('[{"task_id": "t"', ["file"]),
        ("[" * 100_000, ["file"]),
    ],
)
def test_files_that_are_no_bill(tmp_path: Path, content: str, fields: list[str]) -> None:
    """All broken rows at once."""
    file = tmp_path / "bill"
    file.write_text(content)
    with pytest.raises(InvalidRequestError) as refused:
        read_bill_file(str(file), "CNY")
    assert [problem.field for problem in refused.value.problems] == fields
    with pytest.raises(InvalidRequestError):
        read_bill_file(str(tmp_path / "none"))


# Spending.


@pytest.mark.parametrize(
    ("by", "rows"),
    [
        ("tag", {"(none)": 1, "ads": 2, "spring": 1}),
        ("day", {"2026-11-22": 3}),
        ("model", {"sd-2-720p": 3}),
        ("flow", {"(none)": 2, "generate-videos": 1}),
        ("cost_center", {"(none)": 2, "c1": 1}),
    ],
)
def test_spending_is_added_up(by: SpendBy, rows: dict[str, int]) -> None:
    """A task with two tags counts to both; what is not known is counted beside the sum."""
    records = [
        paid(1, 500_000, tags=("ads", "spring"), flow_name="generate-videos"),
        paid(2, None, tags=("ads",), cost_center="c1"),
        paid(3, 250_000),
        draft("unpaid"),
    ]
    found = spend_by(records, by)
    assert {row.name: row.videos for row in found} == rows
    assert sum(row.unknown for row in found) == 1


# FOCUS: what its validator does not see.


def focus(*records: LedgerRecord) -> list[dict[str, str]]:
    """The rows of the CSV file, as they are read."""
    made = focus_rows(records, titles={"sudashui": "Sudashui"}, month="2026-11")
    return list(csv.DictReader(io.StringIO(as_csv(made.rows).decode())))


def refunded() -> LedgerRecord:
    """A charge of 2 that was lowered by 0.5."""
    facts = MoneyFacts(
        cost=Decimal("1.5"),
        currency="CNY",
        final=True,
        charge=Posting(amount=cny("2"), at=NOON),
        refund=Posting(amount=cny("0.5"), at=NOON + timedelta(minutes=5)),
    )
    return paid(7, None, money=facts, tags=("ads",), cost_center="c1")


def test_a_parquet_file_has_the_rows_of_the_csv_file() -> None:
    """Money as decimals, times in UTC, every column of the standard in its order."""
    rows = focus_rows([refunded(), paid(2, None, money=None)], titles={"sudashui": "Sudashui"}, month="2026-11").rows
    parquet: Any = import_module("pyarrow.parquet")  # it has no types
    table = parquet.read_table(io.BytesIO(as_parquet(rows)))
    assert table.column_names == list(COLUMNS)
    read, plain = table.to_pylist(), focus(refunded())
    assert [row["BilledCost"] for row in read] == [Decimal(row["BilledCost"]) for row in plain]
    assert {str(row["ChargePeriodStart"].tzinfo) for row in read} == {"UTC"}
    assert [row["Tags"] for row in read] == [row["Tags"] for row in plain]


def test_a_refund_is_a_negative_row_of_usage() -> None:
    """The rows add up to the cost; each is quantity times unit price."""
    rows = focus(refunded())
    assert [(row["BilledCost"], row["ChargeCategory"], row["PricingQuantity"]) for row in rows] == [
        ("2.0", "Usage", "1.0"),
        ("-0.5", "Usage", "-1.0"),
    ]
    for found in rows:
        assert Decimal(found["BilledCost"]) == Decimal(found["PricingQuantity"]) * Decimal(found["ListUnitPrice"])
        costs = {found[name] for name in ("BilledCost", "ContractedCost", "EffectiveCost", "ListCost")}
        assert len(costs) == 1


def test_parts_that_do_not_add_up_are_one_row() -> None:
    """The sum counts."""
    facts = MoneyFacts(cost=Decimal(9), currency="CNY", final=True, charge=Posting(amount=cny("2"), at=NOON))
    assert [row["BilledCost"] for row in focus(paid(1, None, money=facts))] == ["9.0"]


def test_times_numbers_and_tags_have_the_only_right_form() -> None:
    """UTC with Z, no exponents, a decimal point in every number, tags with scalar values; no empty mandatory value."""
    zone = timezone(timedelta(hours=8))
    tiny = MoneyFacts(cost=Decimal("1E-6"), currency="CNY", final=True)
    (found,) = focus(paid(1, None, money=tiny, submitted_at=NOON.astimezone(zone), tags=("广告",), cost_center="c1"))
    assert (found["ChargePeriodStart"], found["ChargePeriodEnd"]) == ("2026-11-22T12:00:00Z", "2026-11-22T12:00:01Z")
    assert (found["BillingPeriodStart"], found["BillingPeriodEnd"]) == ("2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z")
    assert found["BilledCost"] == "0.000001"
    assert json.loads(found["Tags"]) == {"广告": True, "cost_center": "c1"}
    assert list(found) == list(COLUMNS)
    empty = {name for name, value in found.items() if not value}
    assert empty == {"ChargeClass", "InvoiceId", "x_CostBasis"}
    assert found["ServiceProviderName"] == found["ProviderName"] == "Sudashui"


def test_an_unknown_cost_is_counted_and_not_written() -> None:
    """It cannot be expressed: the cost must not be null, and is never 0."""
    made = focus_rows([paid(1, None), paid(2, 5), draft("unpaid")], titles={}, month="2026-11")
    assert (len(made.rows), made.unknown) == (1, 1)


def test_virtual_currencies_are_told() -> None:
    """A unit is not assumed to be a dollar."""
    unit = MoneyFacts(cost=Decimal(1), currency="unit", final=True)
    made = focus_rows([paid(1, None, money=unit), paid(2, 5)], titles={}, month="2026-11")
    assert odd_currencies(made.rows) == ["unit"]


@pytest.mark.parametrize(
    ("rows", "charges"),
    [
        pytest.param("t,4.5,\nt,-4.5,\n", {("t", "CNY"): "0"}, id="charged and given back"),
        pytest.param("t,4.5,\nu,1,\nt,0.25,\n", {("t", "CNY"): "4.75", ("u", "CNY"): "1"}, id="a supplement"),
        pytest.param("t,4.5,CNY\nt,2,USD\n", {("t", "CNY"): "4.5", ("t", "USD"): "2"}, id="two currencies"),
        pytest.param('t,"1,234.50",\n', {("t", "CNY"): "1234.5"}, id="thousands"),
        pytest.param("t,0.1234567890123456,\n", {("t", "CNY"): "0.1234567890123456"}, id="many places"),
    ],
)
def test_rows_of_a_bill_file_are_added_up(tmp_path: Path, rows: str, charges: dict[tuple[str, str], str]) -> None:
    """One charge a task and currency, to the last digit."""
    file = tmp_path / "bill.csv"
    file.write_bytes(f"任务ID,金额,币种\n{rows}".encode("gb18030"))
    found = read_bill_file(str(file), "CNY")
    assert {(charge.task_id, charge.amount.currency): charge.amount.amount for charge in found} == {
        name: Decimal(amount) for name, amount in charges.items()
    }


def test_a_comma_that_may_be_a_decimal_point_is_refused(tmp_path: Path) -> None:
    """`1,5` is not fifteen."""
    file = tmp_path / "bill.csv"
    file.write_text('task_id,amount\nt,"1,5"\n')
    with pytest.raises(InvalidRequestError) as refused:
        read_bill_file(str(file), "CNY")
    assert [problem.field for problem in refused.value.problems] == ["row 1: amount"]


def test_numbers_in_a_bill_as_json_are_kept_as_they_are_written(tmp_path: Path) -> None:
    """Not as binary fractions of them."""
    file = tmp_path / "bill.json"
    file.write_text('[{"task_id": 7, "amount": 12345678901234567.89, "currency": "CNY"}]')
    (charge,) = read_bill_file(str(file))
    assert (charge.task_id, charge.amount.amount) == ("7", Decimal("12345678901234567.89"))


def test_charges_without_a_time_stand_in_the_bill() -> None:
    """A file that was exported for a month need not say when; a charge that nobody knows is not hidden."""
    stray = Charge(Money(amount=Decimal(3), currency="CNY"), None, "m", "task_x")
    bill = make_bill([], [stray], month="2026-11", provider="senseaudio", account="a", source="bill.csv")
    assert bill.counts == {"charge without video": 1}


def test_a_task_stands_in_the_month_in_which_the_provider_charged_it() -> None:
    """Sent in the last seconds of a month by our clock, charged in the first of the next by the provider's."""
    end = datetime(2026, 11, 30, 23, 59, 58, tzinfo=timezone.utc)
    record = paid(1, 1).model_copy(update={"created_at": end, "submitted_at": end})
    charge = Charge(Money(amount=Decimal(1), currency="CNY"), end + timedelta(seconds=4), "m", record.task_id, quota=1)
    bills = {
        month: make_bill([record], [charge], month=month, provider="sudashui", account="a", source="log")
        for month in ("2026-11", "2026-12")
    }
    assert (bills["2026-11"].lines, len(bills["2026-12"].lines)) == ((), 1)
    of_a_file = make_bill(
        [record], [replace(charge, quota=None)], month="2026-11", provider="sudashui", account="a", source="bill.csv"
    )
    assert len(of_a_file.lines) == 1, "its times may be those of another zone"


def test_a_prompt_in_a_file_is_no_formula() -> None:
    """Spreadsheets compute what begins like one; a negative amount stays a number."""
    row = {"kind": "agrees", "prompt": '=HYPERLINK("https://evil.example")', "billed": "-2 CNY"}
    (read,) = csv.DictReader(io.StringIO(lines_of([row]).decode()))
    assert read == row | {"prompt": '\'=HYPERLINK("https://evil.example")'}
