"""The form by which a person says yes or no to a plan: what it shows, and filling it in without Prefect's UI."""

import getpass
import json
import socket
from typing import Literal
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, FlowRunFilterName
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.responses import SetStateStatus
from prefect.input import RunInput
from prefect.settings import get_current_settings
from pydantic import Field

from prefect_genvideo.artifacts.markdown import artifact_key, grid, plain
from prefect_genvideo.errors import InvalidRequestError, shorten, shown
from prefect_genvideo.finance import Plan
from prefect_genvideo.finance.approvals import ROWS_PATTERN, ApprovalRecord
from prefect_genvideo.models import Problem

# Rows above the form, so few that its first field is seen without scrolling. The table artifact has a thousand.
_ROWS = 6
# Characters of a prompt in a row.
_PROMPT = 50


class Approval(RunInput):
    """Shall the videos be paid for?"""

    answer: Literal["yes", "no"] = Field(description="yes pays for what the plan says, no ends the run.")
    rows: str = Field(
        default="", pattern=ROWS_PATTERN, description="Only these rows of the plan, e.g. 1-20, 25; empty: all."
    )
    by: str = Field(default="", max_length=200, title="Your name", description="It stands in the ledger.")
    note: str = Field(default="", max_length=2000, description="Anything else that should stand there.")


def table_key(plan: Plan) -> str:
    """Return the key of the table artifact that shows a plan."""
    return artifact_key("plan", plan.hash[:12])


def question(record: ApprovalRecord, plan: Plan, trouble: InvalidRequestError | None = None) -> str:
    """Return what a person sees above the form, as Markdown: the sums, the rows that are to be paid, and warnings.

    Args:
        record: The approval.
        plan: What is asked about.
        trouble: Why the answer before this one could not be used.
    """
    table = [row for row in plan.table() if row["standing"] == "new"]
    first = table[:_ROWS]
    alike = all(row["expected"] == row["at most"] for row in first)
    columns = ("row", "prompt", "model", "expected") if alike else ("row", "prompt", "model", "expected", "at most")
    again = [f"**Once more: {plain(str(problem))}**" for problem in trouble.problems] if trouble is not None else []
    told = ({**row, "prompt": shorten(str(row["prompt"]), _PROMPT)} for row in first)
    cells = [[plain(str(row[name])) for name in columns] for row in told]
    lines = [*again, f"**{plain(record.told)}**", "", grid(columns, cells)]
    if len(table) > _ROWS:
        lines.append(f"- {len(table) - _ROWS:,} more in the table {table_key(plan)} among the run's artifacts")
    lines += [f"- {plain(str(line))}" for line in (*plan.balances, *plan.warnings)]
    lines.append(f"- Plan {record.plan[:12]}, answer before {record.deadline:%Y-%m-%d %H:%M} UTC")
    return "\n".join(lines)


async def find_waiting(client: PrefectClient, named: str) -> tuple[FlowRun, str]:
    """Return a flow run that waits for an approval, and the key of its form.

    Args:
        client: Prefect's client.
        named: Id or name of the run.

    Raises:
        InvalidRequestError: There is none of that name, several, or it waits for no approval.
    """
    try:
        wanted = FlowRunFilter(id=FlowRunFilterId(any_=[UUID(named)]))
    except ValueError:
        wanted = FlowRunFilter(name=FlowRunFilterName(any_=[named]))
    runs = await client.read_flow_runs(flow_run_filter=wanted, limit=20)
    waiting = [
        (run, keyset["response"].removesuffix("-response"))
        for run in runs
        if run.state is not None and run.state.is_paused() and (keyset := run.state.state_details.run_input_keyset)
    ]
    found = [(run, key) for run, key in waiting if "-approval-" in key]
    if len(found) != 1:
        where = get_current_settings().api.url or "a server of this command's own, as PREFECT_API_URL is not set"
        states = ", ".join(f"{run.id} {run.state_name}" for run in runs[:5]) or f"no such run at {where}"
        problem = Problem("run", shown(named), f"one run that waits for an approval; there is: {states}", "genvideo")
        raise InvalidRequestError("This run waits for no approval.", problems=[problem])
    return found[0]


async def read_question(client: PrefectClient, run: FlowRun, key: str) -> str:
    """Return what a run asks.

    Args:
        client: Prefect's client.
        run: The run.
        key: Of its form.
    """
    for found in await client.filter_flow_run_input(run.id, f"{key}-description", 1, set()):
        return str(found.decoded_value)
    return "(the run did not get as far as saying what it asks)"


async def respond(client: PrefectClient, run: FlowRun, key: str, form: Approval) -> None:
    """Answer a run that waits, which resumes it.

    Args:
        client: Prefect's client.
        run: The run.
        key: Of its form.
        form: The answer.

    Raises:
        InvalidRequestError: Prefect refuses it.
    """
    if not await client.filter_flow_run_input(run.id, f"{key}-schema", 1, set()):
        # The run was killed between its state and its form; without one Prefect takes no answer.
        schema = json.dumps(Approval.model_json_schema())
        await client.create_flow_run_input(run.id, f"{key}-schema", schema)
    result = await client.resume_flow_run(run.id, run_input=form.model_dump())
    if result.status is not SetStateStatus.ACCEPT:
        reason = str(getattr(result.details, "reason", "") or result.status.value)
        problem = Problem("run", run.name, f"a run that takes this answer: {reason}", "Prefect")
        raise InvalidRequestError("The answer was not taken.", problems=[problem])


def whoami() -> str:
    """Return who answers at this command line: user and host."""
    return f"{getpass.getuser()}@{socket.gethostname()}"
