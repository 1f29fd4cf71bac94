"""Names of videos: a template whose fields cannot leave the destination's prefix."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Mapping
from datetime import timezone
from string import Formatter

from prefect_genvideo.errors import InvalidRequestError
from prefect_genvideo.ledger.record import LedgerRecord
from prefect_genvideo.models import Generation, Problem
from prefect_genvideo.storage.keys import clean_key

DEFAULT_TEMPLATE = "{date}/{model}/{task_id}.mp4"
"""Template of names where a destination states none."""
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
CONTAINERS: Mapping[str, str] = {"mp4": "video/mp4", "mov": "video/quicktime"}
"""Media type by the name that a request's option `output_format` and a file's ending have for a container."""
# Bytes in UTF-8 of a field's value, and of a prompt's.
_MAX_VALUE_BYTES = 120
_MAX_PROMPT_BYTES = 60
_EXTENSION = "mp4"
# Bytes of one segment: file systems, those below object stores too, take 255, and a cover's ending is longer.
_LONGEST_SEGMENT = 240
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


def stem_of(key: str) -> str:
    """Return a video's key without its ending: what lies beside it begins so."""
    stem, _, ending = key.rpartition(".")
    return stem if ending in CONTAINERS else key


def media_type_of(key: str) -> str:
    """Return the media type that a video's key tells."""
    return CONTAINERS.get(key.rpartition(".")[2], CONTAINERS[_EXTENSION])


def _ending_of(record: LedgerRecord) -> str:
    """The ending of the container that was asked for."""
    options = record.request.get("options")
    asked = options.get("output_format") if isinstance(options, dict) else None
    return asked if isinstance(asked, str) and asked in CONTAINERS else _EXTENSION


def name_task(key: str, task_id: str) -> str:
    """Return a video's key with its task's id in the name, where it is not there already: no two tasks share it.

    Args:
        key: Ending in `.mp4` or `.mov`.
        task_id: The provider's id.
    """
    mark, stem = slug(task_id, identity=True), stem_of(key)
    return key if mark in stem else clean_key(_fitting(stem, f".{mark}{key[len(stem) :]}"))


def object_key_of(template: str, record: LedgerRecord, generation: Generation) -> str:
    """Return the object key of a record's video, from facts that are the same when it is saved again later.

    A value that is missing, or of which nothing can stand in a name, becomes `none`. A request for another container
    than MP4 has the ending of that in place of the template's.

    Args:
        template: See `check_template`.
        record: The ledger's record.
        generation: The finished task.

    Raises:
        InvalidRequestError: The template cannot be used, or the key becomes too long.
    """
    problems = check_template(template)
    if problems:
        raise InvalidRequestError(
            "this key template cannot be used",
            problems=[Problem("key_template", template, problem, _SOURCE) for problem in problems],
        )
    asked = record.created_at.astimezone(timezone.utc)
    values = {
        "date": f"{asked:%Y-%m-%d}",
        "year": f"{asked:%Y}",
        "month": f"{asked:%m}",
        "day": f"{asked:%d}",
        "provider": slug(generation.provider),
        "model": slug(record.model),
        "task_id": slug(generation.task_id, identity=True),
        "prompt_slug": slug(str(record.request.get("prompt", "")).lower(), limit=_MAX_PROMPT_BYTES),
        "idempotency_key": slug(record.key, identity=True),
        "flow_run": slug(record.flow_run_id or "", identity=True),
        "ext": _EXTENSION,
    }
    stem = template.format(**values).removesuffix(f".{_EXTENSION}")
    return clean_key(_fitting(stem, f".{_ending_of(record)}"))


def _fitting(path: str, end: str) -> str:
    """The path and its end, each segment as long as file systems take; one that is cut is told apart by a hash."""
    *folders, name = path.split("/")
    return "/".join((*map(_cut, folders), _cut(name, end)))


def _cut(segment: str, end: str = "") -> str:
    if len(f"{segment}{end}".encode()) <= _LONGEST_SEGMENT:
        return segment + end
    mark = hashlib.sha256(segment.encode()).hexdigest()[:8]
    room = _LONGEST_SEGMENT - len(f"-{mark}{end}".encode())
    return f"{segment.encode()[:room].decode(errors='ignore').rstrip('-._')}-{mark}{end}"


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
