"""Plan files beside the ledger, and what has changed since one was made."""

from __future__ import annotations

import re
from collections.abc import Iterator

from prefect_genvideo.errors import DestinationError, InvalidRequestError, counted
from prefect_genvideo.finance.plan import Plan, PlannedAttempt, PlannedRow
from prefect_genvideo.models import Problem
from prefect_genvideo.storage import ObjectStore

FOLDER = "_plans"
"""Folder of the plans below the store's prefix: `<hash>.json`, and `approvals/<flow run>.json`."""
# Bytes of a plan file: a hundred thousand rows with fallbacks take some 60 MB.
_LARGEST = 256 * 1024 * 1024
# Changes that an error names; the rest is counted.
_SHOWN = 50
_HASH = re.compile(r"[0-9a-f]{64}")


class PlanDriftError(InvalidRequestError):
    """The batch is not the one that was planned any more. Nothing was sent; the problems say what has changed."""


def path_of(plan_hash: str) -> str:
    """Return the object key of a plan file.

    Raises:
        InvalidRequestError: It is no hash of a plan.
    """
    if not _HASH.fullmatch(plan_hash):
        problem = Problem("plan", plan_hash[:80], "64 hex digits, as `genvideo plan` prints them")
        raise InvalidRequestError("This is no plan.", problems=[problem])
    return f"{FOLDER}/{plan_hash}.json"


async def save_plan(store: ObjectStore, plan: Plan) -> Plan:
    """Store a plan file.

    Args:
        store: Where the ledger is.
        plan: The plan.

    Returns:
        The plan, with the dates of one of the same hash that lies there already and may still be applied.

    Raises:
        DestinationError: The store failed.
    """
    held = await read_plan(store, plan.hash)
    if held is not None and not held.is_expired():
        return plan.model_copy(update={"created_at": held.created_at, "expires_at": held.expires_at})
    await store.put(path_of(plan.hash), plan.model_dump_json().encode(), content_type="application/json")
    return plan


async def read_plan(store: ObjectStore, plan_hash: str) -> Plan | None:
    """Return a stored plan, or None when there is none.

    Args:
        store: Where the ledger is.
        plan_hash: Its hash.

    Raises:
        InvalidRequestError: It is no hash of a plan.
        DestinationError: The store failed, or the file cannot be read.
    """
    path = path_of(plan_hash)
    found = await store.get(path)
    if found is None:
        return None
    try:
        if len(found[0]) > _LARGEST:
            raise ValueError("too large")
        plan = Plan.model_validate_json(found[0])
    except ValueError:  # also what pydantic raises
        raise DestinationError(
            f"The plan {store.uri(path)} cannot be read; make it again, or upgrade prefect-genvideo here.",
            reason="unreadable plan",
        ) from None
    if plan.hash != plan_hash:
        raise DestinationError(f"The plan {store.uri(path)} is another one: it was copied.", reason="another plan")
    return plan


def check_plan(planned: Plan, now: Plan) -> None:
    """Refuse to apply a plan that is not the batch's any more.

    Args:
        planned: As it was approved, or is to be applied.
        now: As the batch stands now.

    Raises:
        PlanDriftError: Rows, prices, keys or accounts have changed, or the plan has expired.
    """
    problems = list(changes(planned, now)) if planned.hash != now.hash else []
    if planned.is_expired(now.created_at) and now.of("new"):
        limit = f"before {planned.expires_at:%Y-%m-%d %H:%M} UTC; plan it again"
        problems.append(Problem("plan.expires_at", f"{now.created_at:%Y-%m-%d %H:%M} UTC", limit))
    if problems:
        shown = problems[:_SHOWN]
        raise PlanDriftError(
            f"The batch is not the one that was planned ({planned.hash[:12]}): "
            f"{counted(len(problems), 'change')}; nothing was sent. Plan it again, and start a new run.",
            problems=shown,
        )


def changes(planned: Plan, now: Plan) -> Iterator[Problem]:
    """Yield what has changed between two plans, row by row.

    Args:
        planned: The earlier one.
        now: The later one.
    """
    before = {row.attempts[0].key: row for row in planned.rows}
    after = {row.attempts[0].key: row for row in now.rows}
    for key in before.keys() - after.keys():
        yield Problem(f"row {before[key].number}", "(gone)", f"as planned: key {key}")
    for row in now.rows:
        held = before.get(row.attempts[0].key)
        if held is None:
            yield Problem(f"row {row.number}", row.prompt or "(new)", "one of the planned rows")
        elif held.facts != row.facts:
            yield from _changed(held, row)


def _changed(held: PlannedRow, row: PlannedRow) -> Iterator[Problem]:
    place = f"row {row.number}"
    if held.number != row.number:
        yield Problem(place, str(row.number), f"as planned: row {held.number}")
    if len(held.attempts) != len(row.attempts):
        yield Problem(f"{place}: fallback", str(len(row.attempts) - 1), f"as planned: {len(held.attempts) - 1}")
    if held.prompt != row.prompt:
        yield Problem(f"{place}: prompt", row.prompt, f"as planned: {held.prompt}")
    for number, (old, new) in enumerate(zip(held.attempts, row.attempts, strict=False)):
        where = f"{place}, fallback {number}" if number else place
        for name, was, found in _fields(old, new):
            if was != found and not (name == "request" and held.prompt != row.prompt):
                yield Problem(f"{where}: {name}", found, f"as planned: {was}")


def _fields(old: PlannedAttempt, new: PlannedAttempt) -> Iterator[tuple[str, str, str]]:
    yield "price", str(old.estimate), str(new.estimate)
    yield "request", old.fingerprint[:12], new.fingerprint[:12]
    for name in ("key", "provider", "account", "model"):
        yield name, str(getattr(old, name)), str(getattr(new, name))
