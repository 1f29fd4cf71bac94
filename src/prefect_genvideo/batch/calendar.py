"""A content calendar: the rows of a manifest that are wanted now, each keyed by its slot."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta, timezone
from functools import partial

from prefect_genvideo.batch.manifest import due_rows, load_manifest
from prefect_genvideo.batch.model import Manifest, ManifestRow
from prefect_genvideo.storage import ObjectStore


@dataclass(frozen=True)
class DueSlots:
    """What a calendar wants now.

    Attributes:
        due: Its rows that are wanted, each with a key that says its slot.
        manifest: The whole calendar; `manifest.check()` raises what is wrong with its other rows.
    """

    due: Manifest
    manifest: Manifest


async def due_slots(
    source: str,
    store: ObjectStore,
    window: timedelta,
    *,
    allow_local: bool = True,
    allow_private: bool = False,
    now: datetime | None = None,
) -> DueSlots:
    """Read a calendar and return the rows that are due, keyed so that a late or repeated run makes none twice.

    A row keeps its own `key`. Others get `slot-<due in UTC>-<12 hex of the request>`, and a number behind it where one
    slot wants equal videos. `today` in a row's templates is the day of its slot, whenever the run comes.

    Args:
        source: Manifest: a path, http(s) link or `s3://` URI.
        store: The destination's; its account reads `s3://` URIs.
        window: How far to look back; longer than the schedule's interval, so that missed runs are caught up.
        allow_local: Whether the manifest may be a path of this machine.
        allow_private: Whether it may be a link to a private address.
        now: The present moment, with time zone; a seam for tests and backfills.

    Raises:
        InvalidRequestError: The manifest cannot be read as a whole, or `now` and `window` make no sense.
        DestinationError: The store did not deliver it.
        DownloadError: The link did not deliver it.
    """
    read = partial(load_manifest, source, home=store, allow_local=allow_local, allow_private=allow_private)
    moment = now or datetime.now(timezone.utc)
    whole, found = await read(), list[ManifestRow]()
    for day in sorted({_day(row) for row in due_rows(whole, moment, window)}):
        # Read again for each day: what a row renders to must not depend on when the run comes.
        manifest = whole if day == datetime.now(timezone.utc).date() else await read(today=day)
        found += [row for row in due_rows(manifest, moment, window) if _day(row) == day]
    seen = Counter[str]()
    rows = [replace(row, key=row.key or _slot(row, seen)) for row in found]
    return DueSlots(Manifest(whole.name, rows, [], whole.numbering), whole)


def _day(row: ManifestRow) -> date:
    return row.due.date() if row.due else date.min


def _slot(row: ManifestRow, seen: Counter[str]) -> str:
    moment = row.due.astimezone(timezone.utc).strftime("%Y%m%dT%H%M%SZ") if row.due else "any"
    wanted = hashlib.sha256(f"{row.provider or ''}:{row.request.fingerprint()}".encode()).hexdigest()
    key = f"slot-{moment}-{wanted[:12]}"
    seen[key] += 1
    return key if seen[key] == 1 else f"{key}-{seen[key]}"
