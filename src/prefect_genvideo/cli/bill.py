"""`genvideo bill` and `genvideo spend`: does the provider's bill agree, and what was the money spent on."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from typing import Any

import anyio

from prefect_genvideo.cli.console import command, complain, give, is_json, say, show
from prefect_genvideo.cli.targets import credentials_from, destination_from
from prefect_genvideo.errors import InvalidRequestError, counted, shown
from prefect_genvideo.finance.bill import Bill, SpendBy, SpendRow, is_of, month_of, sent_at, spend_by
from prefect_genvideo.finance.focus import FocusRows, as_csv, as_parquet, focus_rows, odd_currencies
from prefect_genvideo.finance.sources import account_records, bill_of, records_in
from prefect_genvideo.ledger.allowances import taken_in
from prefect_genvideo.models import Problem
from prefect_genvideo.prices import Money


@command
async def bill(
    *,
    at: str,
    provider: str,
    credentials: str | None = None,
    month: str = "",
    file: str = "",
    currency: str = "",
    export: str = "",
) -> None:
    """Hold a month's bill of one account against the ledger: charges without a video, videos without a charge.

    Args:
        at: Destination whose ledger it is: s3://bucket/prefix, a folder, or a saved block as block-type-slug/name.
        provider: Name of the provider, see `genvideo providers`.
        credentials: Saved credentials block; else the key comes from the environment.
        month: e.g. 2026-11, UTC; the current one without it.
        file: Bill exported by hand, CSV or JSON; without it the account's own log is asked.
        currency: Of rows of the file that name none, e.g. CNY.
        export: Write a file too: NAME.json or NAME.csv (the lines), NAME.focus.csv or NAME.parquet (FOCUS).
    """
    from prefect_genvideo.blocks.session import open_pipeline

    wanted, kind = month_of(month), _kind(export)
    async with open_pipeline(credentials_from(provider, credentials), destination_from(at)) as pipeline:
        records, troubles = await account_records(pipeline)
        for trouble in troubles:
            complain(trouble, "yellow")
        found = await bill_of(pipeline, records, wanted, bill_file=file, currency=currency)
        own = [record for record in records if is_of(sent_at(record), wanted)]
        focus = focus_rows(own, titles={pipeline.client.name: pipeline.client.title}, month=wanted)
    if export:
        await anyio.Path(export).write_bytes(_CONTENTS[kind](found, focus))
    if is_json():
        give("", found.model_dump(mode="json", exclude_none=True))
        return
    columns = ("kind", "billed", "ledger", "model", "at", "task id", "key")
    show(columns, ([row[name] for name in columns] for row in found.table()))
    say(found.summary())
    if export:
        without = counted(focus.unknown, "video")
        told = f"{counted(len(focus.rows), 'charge')}; {without} of unknown cost not in a FOCUS file"
        complain(f"{export}: {told}.", "yellow")
        if odd := odd_currencies(focus.rows):
            complain(f"No currency of ISO 4217, so that readers take it for a virtual one: {', '.join(odd)}", "yellow")


# What a file holds, by the end of its name; the first that fits.
_CONTENTS: dict[str, Callable[[Bill, FocusRows], bytes]] = {
    ".focus.csv": lambda _, focus: as_csv(focus.rows),
    ".parquet": lambda _, focus: as_parquet(focus.rows),
    ".json": lambda found, _: found.model_dump_json(indent=1).encode(),
    ".csv": lambda found, _: lines_of(found.table()),
}


def _kind(export: str) -> str:
    """The kind of a file by its name; empty where none is wanted."""
    kind = next((kind for kind in _CONTENTS if export.endswith(kind)), "")
    if export and not kind:
        problem = Problem("export", shown(export), f"a name that ends in one of {', '.join(_CONTENTS)}")
        raise InvalidRequestError("There is no such format.", problems=[problem])
    return kind


# What makes a spreadsheet compute a cell; prompts are others' texts. Amounts may be negative, and are ours.
_FORMULA, _OURS = ("=", "+", "-", "@", "\t", "\r"), ("billed", "ledger")


def lines_of(table: list[dict[str, Any]]) -> bytes:
    """The rows as a CSV file, whose texts no spreadsheet takes for formulas.

    Args:
        table: Rows of a bill.
    """
    file = io.StringIO()
    writer = csv.DictWriter(file, list(table[0]) if table else ["kind"], lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(
        {
            name: f"'{cell}" if name not in _OURS and str(cell).startswith(_FORMULA) else cell
            for name, cell in row.items()
        }
        for row in table
    )
    return file.getvalue().encode()


@command
async def spend(*, at: str, by: SpendBy = "model", month: str = "") -> None:
    """Add up what paid generations have cost, by the ledger alone.

    Args:
        at: Destination: s3://bucket/prefix, a folder, or a saved block as block-type-slug/name.
        by: What to add it up by.
        month: e.g. 2026-11, UTC; the current one without it.
    """
    from prefect_genvideo.blocks import VideoDestination
    from prefect_genvideo.blocks.session import resolve

    wanted = month_of(month)
    target = await resolve(destination_from(at), VideoDestination, "at")
    ledger = target.get_ledger()
    # Written since then is all that was sent in the month, whatever clocks say.
    begin = datetime.strptime(wanted, "%Y-%m").replace(tzinfo=timezone.utc) - timedelta(days=2)
    records, troubles = await records_in(ledger, since=begin)
    for trouble in troubles:
        complain(trouble, "yellow")
    caps = await taken_in(ledger.store, wanted) if by in ("tag", "cost_center") else {}
    taken = {label.name: money for label, money in caps.items() if label.kind == by}
    own = [record for record in records if is_of(sent_at(record), wanted)]
    _show_spent(by, spend_by(own, by), taken)


def _show_spent(by: str, rows: Sequence[SpendRow], taken: Mapping[str, Sequence[Money]]) -> None:
    """What each group has cost, and what was taken out of its cap where any has one."""
    lines: list[tuple[object, ...]] = []
    facts: list[dict[str, Any]] = []
    for row in rows:
        own = taken.get(row.name, ())
        cost = " and ".join(map(str, row.cost)) or "unknown"
        lines.append((row.name, row.videos, cost, row.unknown, *([" and ".join(map(str, own))] if taken else [])))
        more = {"taken": [money.model_dump(mode="json") for money in own]} if own else {}
        facts.append(row.model_dump(mode="json") | more)
    show((by, "videos", "cost", "of unknown cost", *(["taken from its cap"] if taken else [])), lines, facts)
