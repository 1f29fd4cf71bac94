"""`genvideo approve`: say yes or no to a run that waits before it spends money."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from prefect_genvideo.cli.console import command, give
from prefect_genvideo.errors import InvalidRequestError
from prefect_genvideo.models import Problem


@command
async def approve(
    flow_run: str,
    /,
    *,
    yes: Annotated[bool, Parameter(negative=())] = False,
    no: Annotated[bool, Parameter(negative=())] = False,
    rows: str = "",
    by: str = "",
    note: str = "",
) -> None:
    """Answer a run that waits for an approval; without --yes or --no, print what it asks.

    Args:
        flow_run: Id or name of the flow run.
        yes: Pay for what the plan says.
        no: End the run; nothing is sent.
        rows: Only these rows of the plan, e.g. 1-20,25; all without it.
        by: Who says so, for the ledger; user and host of this machine without it.
        note: Anything else that should stand there.
    """
    from prefect.client.orchestration import get_client

    from prefect_genvideo.finance.approvals import spans_of
    from prefect_genvideo.flows.approval_form import Approval, find_waiting, respond, told, whoami

    if yes and no:
        raise InvalidRequestError("One answer.", problems=[Problem("answer", "--yes --no", "one of them")])
    spans_of(rows)
    async with get_client() as client:
        waiting, key = await find_waiting(client, flow_run)
        facts = {"flow_run": str(waiting.id), "name": waiting.name}
        if not yes and not no:
            question = await told(client, waiting, key)
            give(question, {**facts, "question": question}, markdown=True)
            return
        form = Approval(answer="yes" if yes else "no", rows=rows, by=by or whoami(), note=note)
        await respond(client, waiting, key, form)
        what = "the run goes on" if yes else "it ends Cancelled"
        give(f"{waiting.name}: {form.answer}; {what}.", {**facts, "answer": form.answer, "rows": rows, "by": form.by})
