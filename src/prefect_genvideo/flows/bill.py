"""A month's bill held against the ledger, and what was spent on what: tables in the UI, files beside the ledger."""

from typing import Any

from prefect import flow

from prefect_genvideo.artifacts import artifact_key, show_table
from prefect_genvideo.blocks.session import Credentials, Destination, open_pipeline
from prefect_genvideo.errors import GenVideoError, counted
from prefect_genvideo.finance.bill import Bill, SpendBy, is_of, month_of, sent_at, spend_by
from prefect_genvideo.finance.focus import as_csv, focus_rows
from prefect_genvideo.finance.sources import account_records, bill_of
from prefect_genvideo.runtime import run_logger


@flow(name="bill-videos", persist_result=False)
async def bill_videos(
    credentials: Credentials,
    destination: Destination,
    month: str = "",
    bill_file: str = "",
    currency: str = "",
    by: SpendBy = "model",
    fail_on_difference: bool = False,
) -> Bill:
    """Hold a month's bill of one account against the ledger, and add up what was spent. Costs nothing.

    Args:
        credentials: Whose bill.
        destination: Where the ledger is; bill and FOCUS file are stored in _bills beside it.
        month: e.g. 2026-11, UTC; empty: the current one.
        bill_file: Bill that a person has exported, CSV or JSON; empty: the account's own log, where there is one.
        currency: Of rows of the file that name none, e.g. CNY.
        by: What spending is added up by.
        fail_on_difference: End as Failed when bill and ledger disagree, so that alerts fire.

    Returns:
        The bill: charges without a video, videos without a charge, differences, and what agrees.

    Raises:
        GenVideoError: With `fail_on_difference`, when they disagree.
        InvalidRequestError: Month or file cannot be read.
    """
    logger, wanted = run_logger(), month_of(month)
    async with open_pipeline(credentials, destination) as pipeline:
        records, troubles = await account_records(pipeline)
        for trouble in troubles:
            logger.warning("%s", trouble)
        bill = await bill_of(pipeline, records, wanted, bill_file=bill_file, currency=currency)
        own = [record for record in records if is_of(sent_at(record), wanted)]
        focus = focus_rows(own, titles={pipeline.client.name: pipeline.client.title}, month=wanted)
        place = f"_bills/{wanted}-{pipeline.client.account}"
        store = pipeline.ledger.store
        await store.put(f"{place}.json", bill.model_dump_json(indent=1).encode(), content_type="application/json")
        await store.put(f"{place}.focus.csv", as_csv(focus.rows), content_type="text/csv")
    charges, without = counted(len(focus.rows), "charge"), counted(focus.unknown, "video")
    told = "%s. %s.focus.csv has %s; %s of unknown cost not in it."
    logger.info(told, bill.summary(), place, charges, without)
    await show_table(bill.table(), artifact_key("bill", f"{bill.provider}-{wanted}"), bill.summary())
    spent: list[dict[str, Any]] = [
        {
            "name": row.name,
            "videos": row.videos,
            "cost": " and ".join(map(str, row.cost)) or "unknown",
            "of unknown cost": row.unknown,
        }
        for row in spend_by(own, by)
    ]
    await show_table(spent, artifact_key("spend", f"{bill.provider}-{by}"), f"Spent in {wanted} by {by}")
    wrong = sum(line.kind not in ("agrees", "not covered") for line in bill.lines)
    if wrong and fail_on_difference:
        raise GenVideoError(f"Bill and ledger disagree about {wanted}: {bill.summary()}", reason="bill differs")
    return bill
