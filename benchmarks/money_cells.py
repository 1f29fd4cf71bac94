"""What goes wrong, when, and in which combinations: the cells of the money matrix as data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import combinations_with_replacement, cycle
from typing import Any

from prefect_genvideo.simulator.dialects import dialects


@dataclass(frozen=True)
class Fault:
    """Something the provider's side does.

    Attributes:
        meaning: In words.
        kind: Kind of the simulator's fault; empty for one that is made here.
        op: What it hits: `create`, `status` or `download`.
        times: How often.
        params: Of the simulator's fault.
        ends_run: Whether the run that meets it ends with an error.
        unknown: Whether it takes an answer off the wire, so that a person may have to decide.
        fails: Whether the task that it hits ends without a video, and is paid back.
    """

    meaning: str
    kind: str = ""
    op: str = "create"
    times: int = 1
    params: dict[str, Any] = field(default_factory=dict[str, Any], hash=False)
    ends_run: bool = False
    unknown: bool = False
    fails: bool = False


FAULTS: dict[str, Fault] = {
    "none": Fault("nothing goes wrong"),
    "lost before": Fault("connection cut, nothing accepted", "lost_before", ends_run=True, unknown=True),
    "lost after": Fault("accepted, connection cut before the answer", "lost_after", ends_run=True, unknown=True),
    "timeout": Fault("accepted, no answer until we give up", "timeout", ends_run=True, unknown=True),
    "502 before": Fault("502 page, nothing accepted", "502_html", ends_run=True, unknown=True),
    "502 after": Fault(
        "502 page although accepted", "502_html", params={"accepted": True}, ends_run=True, unknown=True
    ),
    "500 E1": Fault("refused by the gateway, refunded", "500_e1"),
    "429": Fault("too many requests, Retry-After 1", "429", times=2, params={"retry_after": 1}),
    "refused": Fault("no connection at all", ends_run=True),
    "poll 502": Fault("three queries answered with a web page", "502_html", "status", times=3),
    "cut": Fault("the download ends half way", "cut", "download"),
    "expired": Fault("the video's link is refused once", "expired_link", "download"),
}
ENDS_BADLY: dict[str, Fault] = {"moderation": Fault("accepted, ended without a video", "moderation", fails=True)}
"""Faults that leave nothing to deliver: their cells are of the table `ends badly`."""

#: How a cell's money is handled: price and settlement by a manner of the gateway, its log by the age of its tree.
PURSES: dict[str, dict[str, Any]] = {
    "fixed": {},
    "dearer": {"settles_at": 1.25},
    "cheaper": {"settles_at": 0.37},
    "the same": {"settles_at": 1.0},
    "no log": {"settles_at": 1.1, "absent": ["log"]},
}
#: Whether a charge's row names its task: no tree of upstream did up to 2026-08, newer ones and forks do.
TREES: dict[str, dict[str, Any]] = {"of 2026-08": {}, "newer": {"task_ids": True}, "none: Ark": {}}
#: A price that is no round figure, and seconds until money moves after a task's end.
HANDLED: dict[str, Any] = {"price": 0.8283331, "settle_delay_s": 0.3}

#: Moments of `kill -9`, in the order of a run. Only in three of them may a create be on the wire.
KILLS: dict[str, str] = {
    "reserving": "before anything is written",
    "claiming": "reserved, and the intent not written",
    "before post": "intent written, request not sent",
    "after post": "the answer has arrived at the socket",
    "before record": "the task id is read, its record not written",
    "recorded": "the task id's record is written, its confirmation not read",
    "polling": "while the state is asked for",
    "saving": "a part of the video has arrived",
    "video there": "the video is in the bucket, its manifest is not",
    "before saved": "the manifest is there, the record does not say so",
    "closing": "the record says so, and its reservation is still open",
    "before return": "all is recorded, the caller has not heard of it",
}
UNKNOWN_KILLS = frozenset({"before post", "after post", "before record"})

#: Writes of one run, by what they write.
WRITES: tuple[str, ...] = (
    "reservation", "record intent", "record submitted", "record succeeded", "history", "video", "manifest",
    "record saved", "closing",
)  # fmt: skip


@dataclass(frozen=True)
class Order:
    """One run of one process.

    Attributes:
        fault: Name in `FAULTS`, which this run meets.
        kill: Name in `KILLS`, where it dies.
        down: Name in `WRITES`: the store fails there.
        after: Whether the write is done and only its answer is lost.
        times: How often that write fails; 0 is for good.
        dialect: `operation name`: a manner of the field in which the provider answers this run.
        freed: Whether a person frees the key before it, so that it may pay again.
    """

    fault: str = "none"
    kill: str = ""
    down: str = ""
    after: bool = False
    times: int = 1
    dialect: str = ""
    freed: bool = False


@dataclass(frozen=True)
class Cell:
    """One wanted video and what happens on its way.

    Attributes:
        table: Which table it belongs to.
        row: Its row there.
        column: Its column there.
        orders: Runs, one after the other; more follow until the video is delivered.
        unknown: Whether it may need a person.
        fails: Whether its last task ends without a video.
        purse: Name in `PURSES`.
        tree: Name in `TREES`.
        provider: Whose side of the simulator is asked.
    """

    table: str
    row: str
    column: str
    orders: tuple[Order, ...]
    unknown: bool = False
    fails: bool = False
    purse: str = "fixed"
    tree: str = "of 2026-08"
    provider: str = "sudashui"

    @property
    def name(self) -> str:
        """What happens in it."""
        return f"{self.table} | {self.row} | {self.column}"

    @property
    def paid(self) -> int:
        """Creates that may be accepted: one, and one more for every time that a person frees the key."""
        return 1 + sum(order.freed for order in self.orders)

    @property
    def closes(self) -> bool:
        """Whether a run dies while it closes its reservation."""
        return any(order.kill == "closing" or order.down == "closing" for order in self.orders)

    @property
    def handled(self) -> dict[str, Any]:
        """How its money is handled."""
        return {**HANDLED, **TREES[self.tree], **PURSES[self.purse]}


def all_cells() -> list[Cell]:
    """The whole matrix."""
    return [*_first_run(), *_rerun(), *_killed_twice(), *_store_down(), *_repeated(), *_ended_badly()]


def dealt(cells: Iterable[Cell]) -> list[Cell]:
    """Deal the purses to cells in turn; what may need a person is played under both trees.

    A run closes its reservation itself only where its cost is final at once, so that this moment needs a fixed price.

    Args:
        cells: What is to be played.
    """
    known = list(cells)
    lost = [replace(cell, tree="newer", table=f"{cell.table}, newer tree") for cell in known if cell.unknown]
    turns = [turn for some in (known, lost) for turn in zip(some, cycle(PURSES), strict=False)]
    return [replace(cell, purse="fixed" if cell.closes else purse) for cell, purse in turns]


def quick_cells() -> list[Cell]:
    """Each fault, each kill and each failing write once, and the worst combinations."""
    plain = [cell for cell in _first_run() if cell.column == "no kill" or cell.row == "none"]
    worst = {("lost after", "polling"), ("lost after", "claiming"), ("cut", "saving"), ("timeout", "before saved")}
    chosen = [cell for cell in _rerun() if (cell.row, cell.column) in worst]
    down = [cell for cell in _store_down() if cell.column in ("once", "answer lost") or cell.row == "record submitted"]
    return [*plain, *chosen, *down, *_repeated(), *_ended_badly()]


def ark_cells() -> list[Cell]:
    """What is asked of Ark, which has no log and lists its tasks: faults, kills, and lost answers after a kill."""
    plain = [cell for cell in _first_run() if cell.column == "no kill" or cell.row == "none"]
    lost = [cell for cell in _rerun() if cell.row in ("lost after", "timeout", "502 after") and cell.unknown]
    chosen = [*plain, *lost, *_repeated(), *_ended_badly()]
    # Its 500 proves nothing, and so is no refusal.
    known = [cell for cell in chosen if cell.row != "500 E1"]
    return [replace(cell, table=f"Ark: {cell.table}", tree="none: Ark", provider="ark") for cell in known]


def _first_run() -> Iterator[Cell]:
    """The first run meets the fault, and dies where it still can."""
    table = "first run"
    for row, fault in FAULTS.items():
        runs = (Order(row), Order())
        yield Cell(table, row, "no kill", runs if row != "none" else (Order(),), fault.unknown)
        if not fault.ends_run:
            for kill in KILLS:
                yield Cell(table, row, kill, (Order(row, kill), Order()), kill in UNKNOWN_KILLS)


def _rerun() -> Iterator[Cell]:
    """The first run dies; its rerun meets the fault; a third run goes well."""
    for row, fault in FAULTS.items():
        for kill in KILLS if row != "none" else ():
            # Killed any later, the rerun sends no create, and a fault of creates has nothing to strike.
            unknown = kill in UNKNOWN_KILLS or (fault.unknown and kill in ("reserving", "claiming"))
            yield Cell("rerun", row, kill, (Order(kill=kill), Order(row), Order()), unknown)


def _killed_twice() -> Iterator[Cell]:
    """The rerun dies as well, at the same moment or later."""
    for first, second in combinations_with_replacement(KILLS, 2):
        if first != second or first in ("polling", "saving"):
            unknown = bool({first, second} & UNKNOWN_KILLS)
            yield Cell("killed twice", first, second, (Order(kill=first), Order(kill=second), Order()), unknown)


def _store_down() -> Iterator[Cell]:
    """S3 fails at one write, shortly or for good."""
    table = "S3 down"
    for write in WRITES:
        once = Order(down=write, times=2)
        yield Cell(table, write, "once", (once, Order()))
        yield Cell(table, write, "answer lost", (replace(once, after=True), Order()))
        # Nobody but the log knows the task id then, so a person has to bring it.
        yield Cell(table, write, "for good", (replace(once, times=0), Order()), write == "record submitted")


def field_cells() -> list[Cell]:
    """Every manner in which the field answers, met by the first run, by all of them, and by one that dies.

    A dialect holds for the whole simulator, so these are played one after the other.
    """
    cells = list[Cell]()
    for op, name, dialect in dialects():
        if (
            op not in ("create", "status", "download")
            or "sudashui" not in dialect.providers
            or dialect.ends == "failed"
        ):
            continue
        said, unknown = Order(dialect=f"{op} {name}"), dialect.ends == "unknown"
        row = f"{op} {name}"
        cells.append(Cell("field", row, "first run", (said, Order()), unknown))
        if dialect.ends == "saved":
            cells.append(Cell("field", row, "all runs", (said, said)))
            cells.append(
                Cell("field", row, "before record", (replace(said, kill="before record"), said, Order()), True)
            )
    return cells


def _ended_badly() -> Iterator[Cell]:
    """The task ends without a video and is paid back; then a person frees the key, and it is made again."""
    table, failing = "ends badly", Order("moderation")
    for kill in ("", "before record", "recorded", "polling"):
        orders = (replace(failing, kill=kill), Order())
        yield Cell(table, "moderation", kill or "no kill", orders, kill in UNKNOWN_KILLS, fails=True)
    yield Cell(table, "moderation", "freed", (failing, Order(freed=True)))
    yield Cell(table, "none", "freed while it runs", (Order(kill="polling"), Order(freed=True)))
    yield Cell(table, "none", "freed, and lost", (Order(kill="polling"), Order("lost after", freed=True)), unknown=True)


def _repeated() -> Iterator[Cell]:
    """Nothing goes wrong, but what was wanted once is asked for again: lost results, an event delivered twice."""
    for times in (2, 4):
        yield Cell("asked again", "new run, same key", f"{times} times", (Order(),) * times)
