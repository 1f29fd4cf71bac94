"""What the gateway's log says of a create whose answer was lost.

The create's charge stores the id of the call, which its answer carried in a header: with it a row is exact. Without
it only elimination is left, and only where nothing else uses the key. A missing row proves little: the log may be late,
cut at a thousand rows, cleaned or switched off. Nothing here frees a key; only a task that is certain is taken up.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from prefect_genvideo.prices.facts import Candidate
from prefect_genvideo.providers.lost import FoundCreate, LostCreate, Span
from prefect_genvideo.providers.money import CHARGE, AccountLog, LogRow, TaskMoney, is_first
from prefect_genvideo.providers.sudashui.log import time_in, time_of

SETTLE_TIME = timedelta(minutes=10)
"""How long after giving up a row may still appear: the gateway goes on when its client has gone."""
_SLOW_ROW = timedelta(minutes=5)  # between a call and its row, where only the row's own time is known
_SHOWN = 5  # candidates that the evidence names


@dataclass(frozen=True)
class _Looked:
    """A log, looked through for one create."""

    log: AccountLog
    lost: LostCreate
    span: Span

    @property
    def charges(self) -> list[LogRow]:
        """First charges of creates of the model; a row that does not say what it is counts, for caution."""
        model = self.lost.request.model
        return [row for row in self.log.rows if is_first(row) and row.is_task is not False and row.model == model]

    @property
    def unclaimed(self) -> list[LogRow]:
        """Those of them that belong to no create that the ledger knows."""
        ids, tasks = self.lost.known_request_ids, self.lost.known_task_ids
        return [row for row in self.charges if row.request_id not in ids and row.task_id not in tasks]

    @property
    def candidates(self) -> list[LogRow]:
        """Those of them that were received while the create was under way."""
        return [row for row in self.unclaimed if _fits(row, self.span)]

    @property
    def is_alone(self) -> bool:
        """Whether one charge alone can be this create's, and this create alone can be the charge's.

        Every other charge that nobody knows must be some other lost create's; else somebody else uses the key.
        """
        rivals, fitting = self.lost.rivals, self.candidates
        others = [row for row in self.unclaimed if row not in fitting]
        return (
            self.lost.key_is_ours
            and len(fitting) == 1 == self.lost.lost_alike
            and not any(_fits(fitting[0], rival) for rival in rivals)
            and all(any(_fits(row, rival) for rival in rivals) for row in others)
        )

    @property
    def strange_tasks(self) -> list[str]:
        """Tasks of the model that the log names and the ledger does not know."""
        named = dict.fromkeys(row.task_id for row in self.log.rows if row.model == self.lost.request.model)
        return [task_id for task_id in named if task_id and task_id not in self.lost.known_task_ids]

    @property
    def is_cut(self) -> bool:
        """Whether rows of the time when the create was sent may be missing at the log's end."""
        times = [moment for row in self.log.rows if (moment := time_of(row)) is not None]
        return not times or (self.log.truncated and min(times) > self.span.opens)

    def as_candidates(self, rows: list[LogRow]) -> tuple[Candidate, ...]:
        """Charges as a person weighs them, those nearest to the create first."""
        sent = self.span.opens + timedelta(seconds=self.lost.clock_doubt)
        told = [self._candidate(row, sent) for row in rows]
        told.sort(key=lambda one: abs(one.seconds) if one.seconds is not None else float("inf"))
        return tuple(told[:_SHOWN])

    def _candidate(self, row: LogRow, sent: datetime) -> Candidate:
        moment = time_of(row)
        return Candidate(
            at=moment,
            seconds=None if moment is None else round((moment - sent).total_seconds(), 1),
            model=row.model[:300],
            quota=row.quota,
            request_id=row.request_id and row.request_id[:200],
            task_id=row.task_id and row.task_id[:1024],
            doubt=self._doubt(row),
        )

    def _doubt(self, row: LogRow) -> str:
        """Why a charge is not surely this create's, or its task not surely this charge's."""
        lost = self.lost
        reasons = {
            "its task is in another record": row.task_id is not None and row.task_id in lost.known_task_ids,
            "it names no task": row.task_id is None,
            "others may use this key": not lost.key_is_ours and row.request_id != lost.request_id,
            f"{lost.lost_alike} lost creates fit it": lost.lost_alike > 1,
            "other creates fit it": lost.lost_alike == 1 and any(_fits(row, rival) for rival in lost.rivals),
            "other charges fit as well": len(self.candidates) > 1,
            "the log is cut": self.is_cut,
        }
        return ", ".join(reason for reason, holds in reasons.items() if holds)

    @property
    def silence(self) -> str:
        """Why a missing row proves nothing; empty where it is evidence."""
        if not _has_charges(self.log):
            return "log proves nothing"
        if self.is_cut:
            return "window not covered"
        if self.log.unread:
            return "rows cannot be read"
        if lacks_charges(self.log, self.lost.known_request_ids):
            return "consume rows missing"
        if self.log.read_at < (self.lost.gave_up_at or self.log.read_at) + SETTLE_TIME:
            return "too early"
        return ""


def lacks_charges(log: AccountLog, known: Iterable[str]) -> bool:
    """Whether a create that is known to be paid has no row where one should be: rows are late, or switched off.

    Args:
        log: The log.
        known: Request ids of creates that were accepted.
    """
    if _has_charges(log) and not log.has_request_ids:
        return False
    begins = log.oldest if log.truncated else None
    times = ((request_id, time_in(request_id)) for request_id in known)
    covered = (name for name, moment in times if moment is not None and (begins is None or moment > begins))
    return any(log.charge_of(name) is None for name in covered)


def _has_charges(log: AccountLog) -> bool:
    return any(row.type == CHARGE for row in log.rows)


def _fits(row: LogRow, span: Span) -> bool:
    moment = time_of(row)
    if moment is None:
        return True  # it may be any time
    return span.holds(moment, timedelta(0) if time_in(row.request_id) else _SLOW_ROW)


def resolve(log: AccountLog, lost: LostCreate) -> FoundCreate:
    """Return what a log says of a lost create.

    Args:
        log: As it was read, with the gateway's clock beside ours.
        lost: What is known of the create.
    """
    looked = _Looked(log, lost, lost.span(log.read_at, log.clock_ahead))
    if lost.request_id is not None:
        return _by_id(looked, lost.request_id)
    return _by_elimination(looked)


def _can_be_told(row: LogRow) -> bool:
    """Whether a charge says whose it is: one that names neither its call nor its task may be any known create's."""
    return row.request_id is not None or row.task_id is not None


def _by_id(looked: _Looked, request_id: str) -> FoundCreate:
    row = looked.log.charge_of(request_id)
    if row is not None:
        return _charged(looked, row, "exact")
    if not looked.log.has_request_ids and looked.charges:
        return _by_elimination(looked)  # a tree whose rows have no ids
    if why := looked.silence:
        return FoundCreate("unknown", why, request_id=request_id, evidence=_nothing(why, request_id))
    told = f"no charge with the request id {request_id}, read {looked.log.read_at:%Y-%m-%d %H:%M} UTC"
    advice = "most likely nothing was made. Look once more before releasing the key."
    return FoundCreate("not_charged", "exact", request_id=request_id, evidence=f"{told}: {advice}")


def _by_elimination(looked: _Looked) -> FoundCreate:
    fitting, lost = looked.candidates, looked.lost
    if not fitting:
        if why := looked.silence:
            return FoundCreate("unknown", why, evidence=_nothing(why))
        told = f"no unclaimed charge of {lost.request.model} {looked.span}"
        return FoundCreate("not_charged", "by elimination", evidence=f"{told}: most likely nothing was made.")
    rows, count = looked.as_candidates(fitting), len(fitting)
    if not lost.key_is_ours or count != lost.lost_alike or not all(map(_can_be_told, fitting)):
        told = f"charges that fit ({count} for {lost.lost_alike} lost): {'; '.join(map(_in_words, rows))}."
        return FoundCreate("ambiguous", "candidates", candidates=count, evidence=told, rows=rows)
    if count == 1:
        return _charged(looked, fitting[0], "by elimination")
    whole = sum(row.quota for row in fitting)
    told = f"{count} lost creates of {lost.request.model} were all charged, {whole} together; whose is whose is open"
    return FoundCreate("charged", "by count", candidates=count, evidence=told, rows=rows)


def _charged(looked: _Looked, row: LogRow, certainty: str) -> FoundCreate:
    """A charge that is this create's. Its task is the one that the row names, or the only one nobody knows."""
    if row.task_id is not None and row.task_id in looked.lost.known_task_ids:
        # Another record has it: whatever that means, it is not ours to take.
        told = f"task {row.task_id} of this charge is in another record"
        rows = looked.as_candidates([row])
        return FoundCreate("ambiguous", "candidates", candidates=1, evidence=told, rows=rows)
    task_id = _task_of(looked, row, exact=certainty == "exact")
    money = looked.log.task(task_id, row.request_id) if task_id is not None else TaskMoney()
    named = "its task is not named" if task_id is None else f"task {task_id}"
    return FoundCreate(
        "charged" if task_id is None else "found",
        certainty,
        task_ids=() if task_id is None else (task_id,),
        quota=row.quota,
        refunded=money.refunded or None,
        request_id=row.request_id,
        candidates=1,
        price_differs=looked.lost.expected_quota not in (None, row.quota),
        evidence=f"{_said(row)}; {named} ({certainty})",
        rows=() if task_id is not None else looked.as_candidates([row]),
    )


def _task_of(looked: _Looked, row: LogRow, *, exact: bool) -> str | None:
    """The task of a charge that is this create's; None where it is not certain.

    What the row itself names is certain where the row is. All else is certain only on a key that is the ledger's alone,
    in a log that is not cut, and where nothing else could be this create: a task that a refund or a settlement names
    and nobody knows.
    """
    if exact and row.task_id is not None:
        return row.task_id
    if looked.is_cut:
        return None
    if row.task_id is not None:
        return row.task_id if looked.is_alone else None
    # The row names none: the only task that nobody knows, if this is the only charge that nobody knows, and no other
    # create is open whose charge may be cut off.
    lost = looked.lost
    alone = lost.key_is_ours and not lost.rivals and all(other is row for other in looked.unclaimed)
    strange = looked.strange_tasks if alone else []
    return strange[0] if len(strange) == 1 else None


def _said(row: LogRow) -> str:
    at = time_of(row)
    parts = [
        f"charged {row.quota}",
        f"call of {at:%Y-%m-%d %H:%M:%S} UTC" if at else "",
        f"request id {row.request_id}" if row.request_id else "",
    ]
    return ", ".join(filter(None, parts))


def _nothing(why: str, request_id: str | None = None) -> str:
    words = {
        "log proves nothing": "the log has no charge at all: it may be empty, cleaned or switched off",
        "window not covered": "the log is cut, and its oldest row is younger than the create",
        "consume rows missing": "the log lacks charges that are known to have been made; it is late or switched off",
        "rows cannot be read": "the log has rows that cannot be read, of which one may be its charge",
        "too early": f"no charge yet; it may still come until {SETTLE_TIME.seconds // 60} minutes after giving up",
    }
    return f"{words[why]}{f' (request id {request_id})' if request_id else ''}. Nothing can be concluded."


def _in_words(one: Candidate) -> str:
    at = f"{one.at:%H:%M:%S} UTC" if one.at else "at no known time"
    off = f", {one.seconds:+g} s" if one.seconds is not None else ""
    task = f", task {one.task_id}" if one.task_id else ""
    return f"{one.quota} for {one.model} {at}{off}, {one.request_id or 'without id'}{task} ({one.doubt})"
