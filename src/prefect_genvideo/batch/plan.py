"""Plans a batch: reads a manifest or a list, checks and keys every row. Nothing is sent here."""

from __future__ import annotations

import hashlib
import os.path
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import anyio
import anyio.lowlevel
import anyio.to_thread
from pydantic import Field

from prefect_genvideo.batch.manifest import load_manifest, rows_from
from prefect_genvideo.batch.model import Alternative, Manifest, ManifestRow
from prefect_genvideo.errors import DestinationError, InvalidRequestError, shorten, shown
from prefect_genvideo.ledger.record import check_key
from prefect_genvideo.ledger.spent import Expected, labels_in
from prefect_genvideo.ledger.store import FOLDER, Ledger
from prefect_genvideo.media.inspect import MediaInfo
from prefect_genvideo.models import Problem, VideoRequest
from prefect_genvideo.pipeline.assets import reference_assets
from prefect_genvideo.pipeline.make import Attempt, KeyOf
from prefect_genvideo.pipeline.pipeline import Pipeline
from prefect_genvideo.prices.amounts import Estimate

Requests = str | Sequence[VideoRequest | Mapping[str, Any]] | Manifest
# As a parameter of a flow: any sequence for a type checker, and at run time what Prefect's form can show. What was read
# already goes to a flow's `fn` alone.
if TYPE_CHECKING:
    RequestsGiven = Requests
else:
    RequestsGiven = (
        Annotated[str, Field(title="Manifest")]
        | Annotated[list[VideoRequest | dict[str, Any]], Field(title="List of requests")]
    )

# Problems shown in the error; the rest is counted.
_SHOWN = 200
# Characters that the names of a batch's records must share for a listing to be worth while.
_SHARED = 4
# Rows that are checked before others of the event loop have their turn, some 10 ms.
_BETWEEN_PAUSES = 50
_UNKNOWN = Estimate()
_SPAN = re.compile(r"([0-9]{1,9})-([0-9]{1,9})")


@dataclass(frozen=True)
class Judged:
    """What checking a request has found out.

    Attributes:
        fingerprint: SHA-256 (hex) of the request and its files; empty where rules are broken.
        estimate: What it will cost.
    """

    fingerprint: str = ""
    estimate: Estimate = _UNKNOWN


@dataclass(frozen=True)
class Item:
    """One row, ready to be made.

    Attributes:
        number: Row as people count it.
        label: What the UI shows for it.
        alternatives: The wanted attempt first.
        judged: What was found out of each alternative, in the same order.
        tags: The row's own.
    """

    number: int
    label: str
    alternatives: tuple[Attempt, ...]
    judged: tuple[Judged, ...] = ()
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Batch:
    """All rows of a run.

    Attributes:
        key: Key of the batch.
        items: The rows, in the order of the list.
    """

    key: str
    items: tuple[Item, ...]


async def plan_batch(
    requests: Requests,
    pipelines: Sequence[Pipeline],
    *,
    derive: KeyOf,
    key: str | None = None,
    rows: str = "",
    allow_private: bool = False,
) -> Batch:
    """Read, check and key all rows, so that nothing is paid for before everything is known to be right.

    A row without a key of its own gets one from the batch's key, its request and, among equal requests, its place.
    So it keeps its key when other rows are added, removed or moved.

    Args:
        requests: A manifest or its place, or requests and rows in memory.
        pipelines: Accounts, the default one first; one per provider.
        derive: Makes the batch's key when `key` is not given, from a fingerprint of the manifest's place or of all
            requests.
        key: Key of the batch.
        rows: Only these, e.g. `201-400`, counted from 1 in the order of the list; empty: all.
        allow_private: Whether a manifest may be fetched from a private address.

    Raises:
        InvalidRequestError: Everything that is wrong with any row, or with the list as a whole.
    """
    manifest = await _read(requests, pipelines[0], allow_private)
    checked, problems = await _check(manifest, pipelines)
    manifest.check(problems, _SHOWN)
    if not checked:
        nothing = Problem("requests", "(empty)", "at least one video")
        raise InvalidRequestError("No video is wanted; nothing was sent.", problems=[nothing])
    # A manifest is known by its place: mended and retried, it keeps its key, and only the mended rows are paid for.
    known_by = (
        f"manifest {requests}"
        if isinstance(requests, str)
        else "".join(judged[0].fingerprint for *_, judged in checked)
    )
    batch_key = key or await derive(hashlib.sha256(known_by.encode()).hexdigest())
    check_key(f"{batch_key}-{'0' * 20}")  # room for what the rows add to it
    items, seen = list[Item](), Counter[str]()
    for row, attempts, judged in checked:
        wanted = judged[0].fingerprint
        own = row.key or f"{batch_key}-{wanted[:12]}-{seen[wanted]}"
        seen[wanted] += 1
        keys = (own if index == 0 else f"{own}.alt{index}" for index in range(len(attempts)))
        keyed = (replace(one, idempotency_key=key) for one, key in zip(attempts, keys, strict=True))
        label = f"{row.number}: {shorten(row.request.prompt)}"
        items.append(Item(row.number, label, tuple(keyed), tuple(judged), row.tags))
    return Batch(batch_key, tuple(_slice(items, rows)))


async def unclaimed(ledger: Ledger, items: Sequence[Item]) -> frozenset[str]:
    """Return the keys of a batch that have no record yet, found by one listing instead of a look at each.

    Args:
        ledger: Where the records are.
        items: The batch's rows.

    Returns:
        A hint that may be incomplete, and be overtaken: a claim is conditional all the same.
    """
    keys = (attempt.idempotency_key for item in items for attempt in item.alternatives)
    paths = {ledger.path(key): key for key in keys}
    shared, seen = os.path.commonprefix(list(paths)), 0  # noqa: RUF071 - characters are what a listing goes by
    if len(paths) < 2 or len(shared) < len(FOLDER) + 1 + _SHARED:
        return frozenset()
    try:
        async for info in ledger.store.list(shared):
            paths.pop(info.key, None)
            seen += 1
            if seen > 5_000 + 10 * len(items):  # keys of many other batches begin alike: looking is cheaper
                return frozenset()
    except DestinationError:
        return frozenset()
    return frozenset(paths.values())


def expect(items: Sequence[Item], free: frozenset[str]) -> None:
    """Tell the ledger which creates are to come, so that it reserves many at once.

    Args:
        items: The batch's rows.
        free: Keys that have no record yet, see `unclaimed`; empty where that is not known.
    """
    expected = dict[int, tuple[Pipeline, dict[str, Expected]]]()
    for item in items:
        first = item.alternatives[0]
        key, pipeline = first.idempotency_key, first.pipeline
        if free and key not in free:
            continue
        seconds = pipeline.client.longest(first.request) or 0.0
        price = item.judged[0].estimate.most if item.judged else None
        create = Expected(seconds, price, labels_in(*pipeline.labels.beside(item.tags)))
        expected.setdefault(id(pipeline), (pipeline, {}))[1][key] = create
    for pipeline, creates in expected.values():
        pipeline.ledger.reservations.expect(pipeline.client.account, creates)


async def _read(requests: Requests, pipeline: Pipeline, allow_private: bool) -> Manifest:
    if isinstance(requests, Manifest):
        return requests
    if not isinstance(requests, str):
        return await anyio.to_thread.run_sync(rows_from, requests)  # many rows take seconds of CPU
    return await load_manifest(
        requests, home=pipeline.ledger.store, allow_local=pipeline.allow_local, allow_private=allow_private
    )


def _pipeline_for(wanted: Alternative, pipelines: Sequence[Pipeline]) -> Pipeline | Problem:
    """The account of the named provider, else of the one that documents the model, else the default one."""
    if wanted.provider is not None:
        named = [pipeline for pipeline in pipelines if pipeline.client.name == wanted.provider]
        have = ", ".join(pipeline.client.name for pipeline in pipelines)
        return named[0] if named else Problem("provider", wanted.provider, f"one whose credentials were given: {have}")
    documented = [pipeline for pipeline in pipelines if wanted.request.model in pipeline.client.documented_models]
    return (documented or list(pipelines))[0]


_Checked = tuple[ManifestRow, list[Attempt], list[Judged]]


async def _check(manifest: Manifest, pipelines: Sequence[Pipeline]) -> tuple[list[_Checked], list[Problem]]:
    """Hold every alternative of every row against the rules of its model; gives what was found out of them too."""
    limiter, results = anyio.CapacityLimiter(8), dict[int, tuple[_Checked, list[Problem]]]()

    async def one(index: int, row: ManifestRow) -> None:
        async with limiter:
            results[index] = await _check_row(manifest, row, pipelines)

    async with anyio.create_task_group() as group:
        for index, row in enumerate(manifest.rows):
            if any(other.request.assets() for other in row.alternatives()):
                group.start_soon(one, index, row)
                continue
            # Nothing is waited for: a task for each of many rows would cost more than the check.
            results[index] = await _check_row(manifest, row, pipelines)
            if index % _BETWEEN_PAUSES == 0:
                await anyio.lowlevel.checkpoint()
    ordered = [results[index] for index in sorted(results)]
    return [checked for checked, _ in ordered], [problem for _, problems in ordered for problem in problems]


async def _check_row(
    manifest: Manifest, row: ManifestRow, pipelines: Sequence[Pipeline]
) -> tuple[_Checked, list[Problem]]:
    attempts, judged, problems = list[Attempt](), list[Judged](), list[Problem]()
    for number, wanted in enumerate(row.alternatives()):
        pipeline, broken = _pipeline_for(wanted, pipelines), list[Problem]()
        if isinstance(pipeline, Problem):
            broken.append(pipeline)
        else:
            attempts.append(Attempt(pipeline, wanted.request, idempotency_key="", on=wanted.on, tags=row.tags))
            found, broken = await _check_attempt(attempts[-1])
            judged.append(found)
        problems += manifest.of_row(row, number, broken)
    return (row, attempts, judged), problems


async def _check_attempt(attempt: Attempt) -> tuple[Judged, list[Problem]]:
    """What is found out of a request, or what is wrong with it."""
    pipeline, request = attempt.pipeline, attempt.request
    try:
        if not request.assets():
            problems = pipeline.problems(request)
            return Judged() if problems else _judge(attempt, {}, {}), problems
        async with reference_assets(request, pipeline.ledger.store, allow_local=pipeline.allow_local) as references:
            problems = await anyio.to_thread.run_sync(pipeline.problems, request, references)
            return Judged() if problems else _judge(attempt, references.identities, references.media), problems
    except Exception as error:
        # A fault of our own in one row must not hide what is wrong with the others; nothing is paid after it.
        return Judged(), [Problem("(row)", type(error).__name__, f"cannot be checked, please report this: {error}")]


def _judge(attempt: Attempt, identities: Mapping[str, str], media: Mapping[str, MediaInfo]) -> Judged:
    client, request = attempt.pipeline.client, attempt.request
    return Judged(attempt.pipeline.fingerprint(request, identities), client.estimate(request, media))


def _slice(items: Sequence[Item], rows: str) -> Sequence[Item]:
    if not rows:
        return items
    span = _SPAN.fullmatch(rows.strip())
    first, last = (int(span[1]), int(span[2])) if span else (0, 0)
    if not 1 <= first <= min(last, len(items)):
        limit = f"FIRST-LAST, counted from 1, e.g. 201-400; the list has {len(items)}"
        raise InvalidRequestError("The rows cannot be picked.", problems=[Problem("rows", shown(rows), limit)])
    return items[first - 1 : last]
