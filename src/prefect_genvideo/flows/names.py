"""Names of flow runs, so that people find theirs: what it makes, and when it was due."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, cast

from prefect.runtime import flow_run

from prefect_genvideo.errors import counted, shorten

# Characters of one part of a name; lists of runs show two or three of them.
_LONGEST = 60


def parameters() -> dict[str, Any]:
    """The run's parameters."""
    return flow_run.parameters or {}


def place_name(value: object) -> str:
    """What people call a manifest or a saved block: its last part, without a link's signature.

    Args:
        value: A link, an `s3://` URI, a path, `block-type-slug/name`, or a block.
    """
    if not isinstance(value, str):
        return str(getattr(value, "_block_document_name", None) or "")
    text = value.strip()
    if "\n" in text or text[:1] in "[{":
        return "inline list"
    return re.split(r"[?#]", text, maxsplit=1)[0].rstrip("/").rpartition("/")[2]


def batch_name() -> str:
    """Of a batch or its plan: the manifest's name or the first prompt, and which rows or which key."""
    given = parameters()
    wanted = given.get("requests", given.get("manifest", ""))
    rows = f"rows {given['rows']}" if given.get("rows") else ""
    return run_name(_wanted(wanted), rows, str(given.get("idempotency_key") or "")) or "videos"


def upkeep_name() -> str:
    """Of a reconciliation: for whom and where."""
    given = parameters()
    return run_name("reconcile", place_name(given.get("credentials")), place_name(given.get("destination")))


def film_name() -> str:
    """Of a film: its key, or its first shot."""
    given = parameters()
    shots = given.get("shots") or ()
    key = str(given.get("idempotency_key") or "")
    first = _prompt(shots[0]) if shots else ""
    return run_name("film", key or first, counted(len(shots), "shot"))


def scheduled_name() -> str:
    """Of a scheduled pipeline: the file it reads and when it was due."""
    due = flow_run.scheduled_start_time
    return run_name(place_name(parameters().get("manifest", "")), f"{due:%Y-%m-%d %H:%M}" if due else "") or "calendar"


def _wanted(requests: object) -> str:
    if isinstance(requests, str):
        return place_name(requests)
    listed = cast("Sequence[Any]", requests) if isinstance(requests, list | tuple) else ()
    count = counted(len(listed), "video")
    return run_name(count, _prompt(listed[0]) if listed else "")


def _prompt(one: object) -> str:
    prompt = cast("Mapping[str, Any]", one).get("prompt") if isinstance(one, Mapping) else getattr(one, "prompt", None)
    return str(prompt or "")


def run_name(*parts: str) -> str:
    """Join the parts of a name that are there."""
    return " · ".join(shorten(part, _LONGEST) for part in parts if part)
