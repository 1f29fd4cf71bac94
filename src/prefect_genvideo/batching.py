"""From a manifest or a list to rows that are checked, keyed and ready to be made. Nothing is sent here."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import anyio
import anyio.to_thread

from prefect_genvideo.errors import InvalidRequestError
from prefect_genvideo.manifest_model import Manifest, ManifestRow
from prefect_genvideo.manifests import load_manifest, rows_from
from prefect_genvideo.models import Problem, VideoRequest
from prefect_genvideo.producing import Choice
from prefect_genvideo.staging import stage
from prefect_genvideo.steps import Studio

Requests = str | Sequence[VideoRequest | Mapping[str, Any]]
DeriveKey = Callable[[str], Awaitable[str]]

#: Problems shown in the error; the rest is counted.
_SHOWN = 200
_SOURCE = "prefect-genvideo"


@dataclass(frozen=True)
class Item:
    """One row, ready to be made.

    Attributes:
        number: Row as people count it.
        label: What the UI shows for it.
        choices: Ways to make it, the wanted one first.
    """

    number: int
    label: str
    choices: tuple[Choice, ...]


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
    studios: Sequence[Studio],
    *,
    derive: DeriveKey,
    key: str | None = None,
    rows: str = "",
    allow_local: bool = True,
    allow_private: bool = False,
) -> Batch:
    """Read, check and key all rows, so that nothing is paid for before everything is known to be right.

    A row without a key of its own gets one from the batch's key, its request and, among equal requests, its place.
    So it keeps its key when other rows are added, removed or moved.

    Args:
        requests: A manifest's place, or requests and rows in memory.
        studios: Accounts, the default one first; one per provider.
        derive: Makes the batch's key from a fingerprint of all rows when `key` is not given.
        key: Key of the batch.
        rows: Only these, e.g. `201-400`, counted from 1 in the order of the list; empty: all.
        allow_local: Whether files on this machine may be read.
        allow_private: Whether a manifest may be fetched from a private address.

    Raises:
        InvalidRequestError: Everything that is wrong with any row, or with the list as a whole.
    """
    manifest = await _read(requests, studios[0], allow_local, allow_private)
    planned = [(row, _ways(row, studios)) for row in manifest.rows]
    checked, problems = await _check(manifest, planned, allow_local)
    _refuse(manifest, problems)
    if not checked:
        raise InvalidRequestError("No video is wanted: the list is empty; nothing was sent.")
    whole = hashlib.sha256("".join(prints[0] for _, _, prints in checked).encode()).hexdigest()
    batch_key = key or await derive(whole)
    items, seen = list[Item](), Counter[str]()
    for row, ways, prints in checked:
        own = row.key or f"{batch_key}-{prints[0][:12]}-{seen[prints[0]]}"
        seen[prints[0]] += 1
        choices = (replace(way, key=own if index == 0 else f"{own}.alt{index}") for index, way in enumerate(ways))
        items.append(Item(row.number, _label(row), tuple(choices)))
    return Batch(batch_key, tuple(_slice(items, rows)))


async def _read(requests: Requests, studio: Studio, allow_local: bool, allow_private: bool) -> Manifest:
    if not isinstance(requests, str):
        return rows_from(requests)
    store = studio.ledger.store
    return await load_manifest(requests, home=store, allow_local=allow_local, allow_private=allow_private)


def _ways(row: ManifestRow, studios: Sequence[Studio]) -> tuple[Choice, ...]:
    wanted = [(row.request, row.provider, frozenset[str]())]
    wanted += [(other.request, other.provider or row.provider, frozenset(other.on)) for other in row.fallback]
    return tuple(
        Choice(_studio_for(request, provider, studios), request, key="", on=on) for request, provider, on in wanted
    )


def _studio_for(request: VideoRequest, provider: str | None, studios: Sequence[Studio]) -> Studio:
    """The account of the named provider, else of the one that documents the model, else the default one."""
    if provider is not None:
        named = [studio for studio in studios if studio.client.name == provider]
        if not named:
            have = ", ".join(studio.client.name for studio in studios)
            problem = Problem("provider", provider, f"one whose credentials were given: {have}", _SOURCE)
            raise InvalidRequestError("There are no credentials for a provider.", problems=[problem])
        return named[0]
    documented = [studio for studio in studios if request.model in studio.client.documented_models]
    return (documented or list(studios))[0]


_Checked = tuple[ManifestRow, tuple[Choice, ...], tuple[str, ...]]


async def _check(
    manifest: Manifest, planned: Sequence[tuple[ManifestRow, tuple[Choice, ...]]], allow_local: bool
) -> tuple[list[_Checked], list[Problem]]:
    """Hold every way of every row against the rules of its model; gives their fingerprints too."""
    limiter, results = anyio.CapacityLimiter(8), dict[int, tuple[list[str], list[Problem]]]()

    async def one(index: int, row: ManifestRow, ways: tuple[Choice, ...]) -> None:
        async with limiter:
            prints, problems = list[str](), list[Problem]()
            for number, way in enumerate(ways):
                fingerprint, broken = await _check_way(way, allow_local)
                place = f"{manifest.numbering} {row.number}" + (f", fallback {number}" if number else "")
                problems += [replace(problem, field=f"{place}: {problem.field}") for problem in broken]
                prints.append(fingerprint)
            results[index] = (prints, problems)

    async with anyio.create_task_group() as group:
        for index, (row, ways) in enumerate(planned):
            group.start_soon(one, index, row, ways)
    checked = [(row, ways, tuple(results[index][0])) for index, (row, ways) in enumerate(planned)]
    return checked, [problem for index in sorted(results) for problem in results[index][1]]


async def _check_way(way: Choice, allow_local: bool) -> tuple[str, list[Problem]]:
    studio, request = way.studio, way.request
    if not request.assets():
        return studio.fingerprint(request, {}), studio.problems(request)
    async with stage(request, studio.ledger.store, allow_local=allow_local) as staged:
        problems = await anyio.to_thread.run_sync(studio.problems, request, staged)
        return studio.fingerprint(request, staged.identities), problems


def _refuse(manifest: Manifest, problems: Sequence[Problem]) -> None:
    in_file = [replace(row.problem, field=f"{manifest.where(row)}: {row.problem.field}") for row in manifest.problems]
    everything, name = [*in_file, *problems], manifest.name or "the list"
    if everything:
        more = len(everything) - _SHOWN + manifest.unlisted
        raise InvalidRequestError(
            f"{len(everything) + manifest.unlisted} rules are broken in {name}; nothing was sent."
            + (f" The first {_SHOWN} of them:" if more > 0 else ""),
            problems=everything[:_SHOWN],
        )


def _label(row: ManifestRow) -> str:
    prompt = " ".join(row.request.prompt.split())
    return f"{row.number}: {prompt[:60]}{'…' if len(prompt) > 60 else ''}"


def _slice(items: Sequence[Item], rows: str) -> Sequence[Item]:
    if not rows:
        return items
    first, _, last = rows.partition("-")
    if not (first.isdigit() and last.isdigit() and 1 <= int(first) <= int(last)):
        problem = Problem("rows", rows, "FIRST-LAST, counted from 1, e.g. 201-400", _SOURCE)
        raise InvalidRequestError("The rows cannot be picked.", problems=[problem])
    return items[int(first) - 1 : int(last)]
