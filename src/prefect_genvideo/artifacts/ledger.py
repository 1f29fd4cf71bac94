"""Pages about records of the ledger: what became of unfinished generations, and what waits for a person."""

from __future__ import annotations

from collections.abc import Sequence

from prefect_genvideo.artifacts.markdown import code, grid, lives, plain, play
from prefect_genvideo.artifacts.pages import attempt, show_page
from prefect_genvideo.errors import counted, shorten
from prefect_genvideo.finance.plan import minutes
from prefect_genvideo.pipeline.pipeline import Pipeline
from prefect_genvideo.pipeline.play import PlayLink
from prefect_genvideo.pipeline.reconcile import ReconciledRow
from prefect_genvideo.prices.facts import Candidate

# Rows on a page; more are slow to read and to open.
_LISTED = 200
# What people look for first comes first; other outcomes follow.
_ORDER = ("unknown", "trouble", "saved", "failed", "rejected", "waiting")
_BY_HAND = ("unknown", "trouble")
_WAYS = (
    "Look for each in the provider's console. If its task is there, run `adopt-task` with the key and the task's id; "
    "if nothing was made, run `release-key`."
)


async def show_reconciled(pipeline: Pipeline, rows: Sequence[ReconciledRow], counts: str) -> None:
    """Show what a reconciliation found. A failure is logged, and nothing more.

    Args:
        pipeline: Whose destination has the videos.
        rows: The unfinished records.
        counts: How many of them ended how, in words.
    """
    with attempt("What was reconciled could not be shown"):
        shown = in_order(rows)[:_LISTED]
        links = await pipeline.links.of(pipeline.ledger.store, [row.object_key for row in shown])
        told = f"{counted(len(rows), 'unfinished generation')}: {counts}" if rows else "Nothing was left behind"
        await show_page(reconciled_markdown(shown, links, len(rows)), "reconciled-videos", told)


async def show_decisions(rows: Sequence[ReconciledRow]) -> None:
    """Show what waits for a person. A failure is logged, and nothing more.

    Args:
        rows: Records of unknown fate.
    """
    waiting = counted(len(rows), "generation waits", "generations wait") if rows else "Nothing waits"
    with attempt("What waits for a person could not be shown"):
        await show_page(decisions_markdown(rows), "generations-to-decide", f"{waiting} for a person")


def reconciled_markdown(rows: Sequence[ReconciledRow], links: Sequence[PlayLink | None], total: int) -> str:
    """The page of a reconciliation.

    Args:
        rows: The records that are shown.
        links: What plays each one's video.
        total: How many there are.
    """
    if not rows:
        return "Nothing was left behind."
    table = [
        [
            row.outcome,
            _name(row),
            play(link),
            "see below" if row.outcome in _BY_HAND else plain(shorten(row.detail, 160)),
        ]
        for row, link in zip(rows, links, strict=True)
    ]
    head = ("Outcome", "Prompt", "Video", "Detail")
    by_hand = [row for row in rows if row.outcome in _BY_HAND]
    more = f"The ledger has {total - len(rows)} more." if total > len(rows) else ""
    return "\n\n".join(filter(None, (grid(head, table), more, lives(*links), *_by_hand(by_hand))))


def decisions_markdown(rows: Sequence[ReconciledRow]) -> str:
    """The page of what waits for a person: each with its prompt and the key that is to be copied.

    Args:
        rows: Records of unknown fate.
    """
    if not rows:
        return "Nothing waits for a person."
    more = f"The ledger has {len(rows) - _LISTED} more." if len(rows) > _LISTED else ""
    return "\n\n".join(filter(None, (*_by_hand(rows[:_LISTED]), more)))


def _by_hand(rows: Sequence[ReconciledRow]) -> list[str]:
    """Records with their keys. Not in a table: a column of keys would leave none for the rest."""
    lines: list[str] = []
    for number, row in enumerate(rows, start=1):
        lines += [
            f"**{number}\\.** {_name(row)} · {plain(row.model)} · {minutes(row.age)} old",
            f"Key: {code(row.key)}" + (f" · task: {code(row.task_id)}" if row.task_id else ""),
            "\n".join(map(_charge, row.candidates)) or plain(shorten(row.detail, 1000)),
        ]
    return [_WAYS, *lines] if lines else []


def _charge(one: Candidate) -> str:
    """A charge in the provider's log, or a task in its list, that may be that of a lost create: a line of a list."""
    facts = (
        f"{one.at:%Y-%m-%d %H:%M:%S} UTC" if one.at else "at an unknown time",
        f"{one.seconds:+g} s from the create" if one.seconds is not None else "",
        plain(one.model),
        f"charged {one.quota:,}" if one.quota is not None else "",
        f"task {code(one.task_id)}" if one.task_id else "",
        f"request {code(one.request_id)}" if one.request_id else "",
        f"not certain: {plain(one.doubt)}" if one.doubt else "",
    )
    return f"- Fits: {' · '.join(filter(None, facts))}"


def _name(row: ReconciledRow) -> str:
    return plain(shorten(row.prompt, 160)) or "(no prompt)"


def in_order(rows: Sequence[ReconciledRow]) -> list[ReconciledRow]:
    """Rows as people look for them: what they have to decide first."""
    ranks = {outcome: rank for rank, outcome in enumerate(_ORDER)}
    return sorted(rows, key=lambda row: ranks.get(row.outcome, len(ranks)))
