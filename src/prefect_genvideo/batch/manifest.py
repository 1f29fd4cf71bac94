"""Reads a batch of wanted videos from a file or a list.

A row sets any field of a `VideoRequest` and

- `key`: idempotency key; one key stands for one paid video.
- `provider`: name of the provider, where a batch uses several.
- `due`: when it is wanted, `2026-11-22` (00:00 UTC) or `2026-11-22T09:00+01:00`.
- `fallback`: alternatives, tried in order. Each is a model's name, or an object with the fields that differ and `on`, a
  list of `quota`, `model_unavailable`, `provider_down` (these three by default) and `rejected`. Nothing is tried
  elsewhere after a moderation refusal.
- `tags`: list of words.
- `vars`: variables of your own for the templates.

JSONL has one row a line; JSON and YAML a list of rows, or `defaults` and `rows`:

```yaml
defaults:
  model: sd-2-fast-720p
  aspect_ratio: 9:16
  prompt: "{{ city }} at dawn, a {{ weekday }} in {{ date.strftime('%B') }}, slow drone shot"
  key: "cities-{{ date }}-{{ city | lower }}"
rows:
  - {due: 2026-11-22, vars: {city: Lisbon}}
  - {due: 2026-11-23, vars: {city: Oslo}, duration: 8, fallback: [{model: sd-2-720p, on: [quota, provider_down]}]}
```

CSV has a header; a column that is no field is a variable, `options.NAME` and `vars.NAME` set one value:

```csv
model,prompt,duration,images,options.camera_fixed,city
sd-2-fast-720p,"{{ city }} at dawn",5,https://example.com/a.jpg|https://example.com/b.jpg,true,Lisbon
```

- An empty CSV cell and a `null` are "not given": the default applies. In an alternative `null` takes the row's value
  away. `vars` and `options` are merged with the defaults name by name, those of an alternative replace the row's.
- Lists in CSV: parts separated by `|`, or a JSON list. Commas, semicolons and tabs separate columns.
- Unknown fields of JSON and YAML are errors. In CSV a column that looks like a misspelt field is one too.
- YAML is read by the rules of version 1.2: `16:9` and `on` are texts, truth values are `true` and `false`.
- Templates (see `templates`) may stand in `prompt`, `key` and assets. They know the fields of the row but those three,
  `vars` and each of them by its own name, `row` (1, 2, …), `today`, `date` (the day of `due`, else `today`) and
  `weekday` (of `date`, in English). A variable of your own hides one of these.
- Values that come from variables are never templates themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import anyio.to_thread

from prefect_genvideo.batch.formats import RawRow, Table, read_table
from prefect_genvideo.batch.model import Manifest, ManifestLimits, ManifestRow, unusable
from prefect_genvideo.batch.rows import read_rows
from prefect_genvideo.batch.source import fetch
from prefect_genvideo.errors import InvalidRequestError
from prefect_genvideo.models import VideoRequest
from prefect_genvideo.storage.base import ObjectStore

# Whoever needs more than this shards: see `generate_videos_sharded`.
_LIMITS = ManifestLimits()


async def load_manifest(
    source: str | Path,
    *,
    home: ObjectStore | None = None,
    allow_local: bool = True,
    allow_private: bool = False,
    today: date | None = None,
) -> Manifest:
    """Read a batch's file and check every row. The problems are in the result; `Manifest.check()` raises them.

    Args:
        source: Path, http(s) link or `s3://bucket/key`. `.jsonl`, `.ndjson`, `.json`, `.csv`, `.tsv`, `.yaml`,
            `.yml`; without such an extension the content decides. Text in UTF-8.
        home: The destination's store; when it is an S3 store, its account and endpoint read `s3://` sources.
        allow_local: Whether a path on this machine may be read. Off where parameters come from strangers.
        allow_private: Whether a link may lead to a private or loopback address.
        today: Day of the templates' `today`; the present day in UTC by default.

    Raises:
        InvalidRequestError: The file is not there, not allowed, too large, or cannot be read as a whole.
        DownloadError: The link did not deliver.
        DestinationError: The S3 store did not deliver.
    """
    name, data = await fetch(source, home=home, allow_local=allow_local, allow_private=allow_private, limits=_LIMITS)

    def read() -> Manifest:
        return read_rows(name, read_table(name, data, _LIMITS), today=today or _today(), limits=_LIMITS)

    # A large file takes seconds of CPU; the loop goes on meanwhile.
    return await anyio.to_thread.run_sync(read)


def rows_from(requests: Sequence[VideoRequest | Mapping[str, Any]]) -> Manifest:
    """Do for a list in memory what `load_manifest` does for a file: the same fields, templates and checks.

    Args:
        requests: Rows; of a `VideoRequest` the fields that were set count.

    Raises:
        InvalidRequestError: There are too many rows, or they become too large.
    """
    if len(requests) > _LIMITS.max_rows:
        raise unusable("", f"has more than the allowed {_LIMITS.max_rows} rows; split it")
    given = (one.model_dump(exclude_unset=True) if isinstance(one, VideoRequest) else one for one in requests)
    rows = [RawRow(number, fields) for number, fields in enumerate(given, 1)]
    return read_rows("", Table(rows), today=_today(), limits=_LIMITS)


def due_rows(manifest: Manifest, now: datetime, window: timedelta) -> list[ManifestRow]:
    """Return the rows of a content calendar that are wanted now: due after `now - window` and not after `now`.

    Runs of a schedule with the window as its interval meet every row once; a longer window catches up on missed runs,
    and the rows' keys keep what was made already from being paid again. A row without `due` is in no calendar and never
    returned.

    Args:
        manifest: The calendar.
        now: The present moment, with time zone.
        window: How far to look back.

    Raises:
        InvalidRequestError: `now` has no time zone, or the window is not positive.
    """
    if now.tzinfo is None or window <= timedelta(0):
        text = "A calendar needs the present moment with its time zone, and a positive window."
        raise InvalidRequestError(text, reason="no moment" if now.tzinfo is None else "no window")
    return [row for row in manifest.rows if row.due is not None and timedelta(0) <= now - row.due < window]


def _today() -> date:
    return datetime.now(timezone.utc).date()
