"""Names of videos: a template whose fields cannot leave the destination's prefix."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping
from datetime import date, datetime, timezone
from string import Formatter

from prefect_genvideo.errors import InvalidRequestError
from prefect_genvideo.ledger.record import LedgerRecord
from prefect_genvideo.models import Generation, Problem
from prefect_genvideo.storage.keys import clean_key

DEFAULT_TEMPLATE = "{date}/{model}/{task_id}.mp4"
FIELDS: Mapping[str, str] = {
    "date": "day the generation was asked for, UTC, 2026-11-22",
    "year": "2026",
    "month": "11",
    "day": "22",
    "provider": "sudashui",
    "model": "name of the model",
    "task_id": "the provider's id, the only field that never repeats",
    "prompt_slug": "the first words of the prompt",
    "idempotency_key": "key of the ledger's record",
    "flow_run": "id of the flow run",
    "ext": "mp4",
}
"""What a template may use, with what it becomes."""
_IDENTITIES = frozenset({"task_id", "idempotency_key", "flow_run"})
_MAX_VALUE_BYTES = 120
_MAX_PROMPT_BYTES = 60
_EXTENSION = "mp4"
_SOURCE = "key templates"


def check_template(template: str) -> list[str]:
    """Return what is wrong with a template, in words; nothing when it can be used.

    A field must be one of `FIELDS`, without conversions, formats or attributes. The name must end in `.mp4` or
    `.{ext}` and obey the rules of `storage.clean_key`.
    """
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        return [f"the braces do not match ({error})"]
    problems: list[str] = []
    for _, name, spec, conversion in parts:
        if name is None:
            continue
        if name not in FIELDS:
            problems.append(f"{{{name}}} is no field; the fields are {', '.join(f'{{{field}}}' for field in FIELDS)}")
        if spec or conversion:
            problems.append(f"{{{name}}} takes no format or conversion")
    if not problems:
        problems = _shape_problems(template)
    return problems


def render_key(template: str, facts: Mapping[str, str | date | None]) -> str:
    """Return the key of a video.

    Args:
        template: e.g. `{date}/{model}/{task_id}.mp4`.
        facts: Values by field. `date` is a `datetime`, which also gives `year`, `month` and `day`; give one that
            is the same when the video is saved again. `prompt` is the whole prompt. A missing value becomes `none`.

    Raises:
        InvalidRequestError: The template cannot be used, or the key becomes too long.
    """
    problems = check_template(template)
    if problems:
        raise InvalidRequestError(
            "this key template cannot be used",
            problems=[Problem("key_template", template, problem, _SOURCE) for problem in problems],
        )
    return clean_key(template.format(**_values(facts)))


def name_task(key: str, task_id: str) -> str:
    """Return a video's key with its task's id in the name, where it is not there already: no two tasks share it.

    Args:
        key: Ending in `.mp4`.
        task_id: The provider's id.
    """
    mark, stem = slug(task_id, identity=True), key.removesuffix(f".{_EXTENSION}")
    return key if mark in stem else clean_key(f"{stem}.{mark}.{_EXTENSION}")


def object_key_of(template: str, record: LedgerRecord, generation: Generation) -> str:
    """Return the object key of a record's video, from facts that are the same when it is saved again later.

    Args:
        template: See `check_template`.
        record: The ledger's record.
        generation: The finished task.

    Raises:
        InvalidRequestError: As `render_key`.
    """
    return render_key(
        template,
        {
            "date": record.created_at,
            "provider": generation.provider,
            "model": record.model,
            "task_id": generation.task_id,
            "prompt": str(record.request.get("prompt", "")),
            "idempotency_key": record.key,
            "flow_run": record.flow_run_id,
        },
    )


def slug(text: str, *, limit: int = _MAX_VALUE_BYTES, identity: bool = False) -> str:
    """Return `text` as one harmless path segment: letters and digits of any script, `-`, `_` and `.`.

    Args:
        text: Any text.
        limit: Most bytes in UTF-8.
        identity: Mark a text that loses characters with a hash, so that two ids never become one name.
    """
    kept = re.sub(r"[^\w.\-]+", "-", unicodedata.normalize("NFKC", text))
    kept = re.sub(r"\.{2,}", ".", kept).strip("-._")
    cut = kept.encode(errors="ignore")[:limit].decode(errors="ignore").strip("-._")
    if identity and cut != text:
        mark = hashlib.sha256(text.encode(errors="replace")).hexdigest()[:8]
        return f"{cut}-{mark}" if cut else mark
    return cut or "none"


def _values(facts: Mapping[str, str | date | None]) -> dict[str, str]:
    when = facts.get("date")
    if isinstance(when, datetime):
        # A naive time is taken for UTC: the name must not depend on the machine's time zone.
        when = (when if when.tzinfo else when.replace(tzinfo=timezone.utc)).astimezone(timezone.utc).date()
    elif not isinstance(when, date):
        when = datetime.now(timezone.utc).date()
    values = {
        name: slug(str(facts[name]), identity=name in _IDENTITIES) if facts.get(name) else "none" for name in FIELDS
    }
    prompt = slug(str(facts.get("prompt") or "").lower(), limit=_MAX_PROMPT_BYTES)
    year, month, day = when.isoformat().split("-")
    return values | {
        "date": when.isoformat(),
        "year": year,
        "month": month,
        "day": day,
        "prompt_slug": prompt,
        "ext": _EXTENSION,
    }


def _shape_problems(template: str) -> list[str]:
    sample = template.format(**dict.fromkeys(FIELDS, "x") | {"ext": _EXTENSION})
    if not sample.endswith(f".{_EXTENSION}") or sample.endswith(f"/.{_EXTENSION}"):
        return ["the name must end in .mp4 or .{ext}"]
    if sample.startswith("_"):
        return ["names that begin with _ are the ledger's"]
    try:
        clean_key(sample)
    except InvalidRequestError as error:
        return [f"the key must be {error.problems[0].limit.removeprefix('must be ')}"]
    return []
