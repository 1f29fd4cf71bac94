"""What an answer shows about a task, whatever it is wrapped in: the task's own object, its ids and its times.

Gateways pass on what their upstreams say: flat, in `data`, in a list, as JSON text inside a string. Every function here
takes any JSON value, looks at a bounded part of it and never raises.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from functools import cached_property, lru_cache
from itertools import islice
from typing import Any, NamedTuple

from prefect_genvideo.providers.answers import (
    JsonObject,
    as_id,
    as_list,
    as_object,
    as_percent,
    as_text,
    as_time,
    as_word,
    is_moment,
    names,
    parse_json,
)

# Levels, values and fields of one object that are looked at; real answers have a tenth of that.
_MAX_DEPTH = 8
_MAX_NODES = 4000
_MAX_FIELDS = 1000
_SEPARATORS = re.compile(r"[\W_]+")

# What a task may be wrapped in. Requests that are echoed (`input`, `request`, `properties` …) are none of these.
_WRAPPERS = frozenset(
    names(
        "data result results response resp task tasks output outputs item items job jobs video videos generation"
        " generations body info taskinfo taskdetail jobinfo taskresult prediction operation list payload choices"
        " message content"
    )
)
# Text of these is what was said to people; JSON inside it speaks of another exchange.
_SAID = frozenset(("message", "msg", "error", "detail"))

# The more specific first: beside `task_status`, a `status` may be the call's.
_WORD_KEYS = ("taskstatus", "taskstate", "jobstatus", "jobstate", "generationstatus", "videostatus", "status", "state")
_INNER_WORD_KEYS = ("state", "status", "name", "value")
# Fields of ids and times, without case and separators.
_ID_KEYS = ("taskid", "generationid", "videoid", "jobid")
_CREATED = ("createdat", "submittime", "submittedat", "createtime", "createdtime", "created")
_STARTED = ("starttime", "startedat", "begintime")
_ENDED = ("finishtime", "finishedat", "completedat", "completetime", "completedtime", "endtime", "endedat", "finishat")
# What belongs to a task and not to the call that asked for it.
_TASK_FACTS = frozenset(
    (*_ID_KEYS, *_CREATED, *_STARTED, *_ENDED, "id", "done", "progress", "model", "videourl", "resulturl")
)


@lru_cache(maxsize=2048)
def key_of(name: str) -> str:
    """Return a field's name without case and separators: `taskId`, `task_id` and `Task-ID` are one."""
    return _SEPARATORS.sub("", name[:100]).lower()


def keyed(value: Any) -> JsonObject:
    """Return an object with its names as `key_of` has them; of two that become one the first that says something.

    Empty for the rest.
    """
    fields: JsonObject = {}
    for name, inner in islice(as_object(value).items(), _MAX_FIELDS):
        key = key_of(name)
        known = fields.get(key)
        if known is None or known == "":
            fields[key] = inner
    return fields


def opened(value: Any) -> Any:
    """Return what JSON text holds; anything else as it is."""
    text = value.strip() if isinstance(value, str) else ""
    if text[:1] not in ("{", "["):
        return value
    inner = parse_json(text.encode("utf-8", "replace"))
    return value if inner is None else inner


class Node(NamedTuple):
    """A value, the way to it (the fields' names, positions in lists left out), and the object or list that holds it."""

    path: tuple[str, ...]
    value: Any
    holder: Any = None


def walk(answer: Any, closed: Iterable[str] = ()) -> Iterator[Node]:
    """Yield an answer's values breadth first, with JSON text opened.

    Args:
        answer: Any JSON value.
        closed: Fields that are not looked into, as `key_of` names them.
    """
    shut = frozenset(closed)
    queue = deque([Node((), opened(answer))])
    for _ in range(_MAX_NODES):
        if not queue:
            return
        node = queue.popleft()
        yield node
        if not node.value or isinstance(node.value, str | int | float):
            continue
        room = _MAX_NODES - len(queue) if len(node.path) < _MAX_DEPTH else 0
        for name, inner in islice(as_object(node.value).items(), room):
            if (key := key_of(name)) not in shut:
                queue.append(Node((*node.path, key), opened(inner), node.value))
        queue.extend(Node(node.path, opened(inner), node.value) for inner in islice(as_list(node.value), room))


# The task's own object


class Relation(IntEnum):
    """Whose task an object speaks of. The lower, the more it is to be believed."""

    OURS = 0
    WITHIN_OURS = 1
    UNNAMED = 2
    OTHER = 3
    CALL = 4  # may speak of the call instead of a task


@dataclass(frozen=True)
class Task:
    """The object that speaks of a task.

    Attributes:
        row: The object itself.
        word: Its status word; empty when only its facts speak.
        relation: Whose task it is.
        answer: The whole answer.
    """

    row: JsonObject
    word: str
    relation: Relation
    answer: Any = field(default=None, repr=False)

    @cached_property
    def fields(self) -> JsonObject:
        """The object's fields as `key_of` names them."""
        return keyed(self.row)

    @property
    def beside(self) -> JsonObject:
        """What stands around the object, without lists: they may hold other tasks."""
        return {name: value for name, value in as_object(self.answer).items() if not isinstance(value, list)}

    @property
    def progress(self) -> int | None:
        """Per cent, where it is told."""
        return as_percent(self.fields.get("progress", self.fields.get("progresspercent")))

    @property
    def created_at(self) -> datetime | None:
        """When it was submitted."""
        return _time(self.fields, _CREATED)

    @property
    def started_at(self) -> datetime | None:
        """When work began."""
        return _time(self.fields, _STARTED)

    @property
    def finished_at(self) -> datetime | None:
        """When it ended."""
        return _time(self.fields, _ENDED)

    @property
    def inner_words(self) -> list[str]:
        """Status words of what the object wraps, e.g. of a supplier's own answer."""
        nodes = (node for node in walk(self.row) if node.path and set(node.path) <= _WRAPPERS)
        return [word for node in nodes if (word := _word(keyed(node.value)))]

    @property
    def has_end_time(self) -> bool:
        """Whether an end is told, be it in an unknown time zone."""
        return any(is_moment(self.fields.get(key)) for key in _ENDED)

    @property
    def is_over(self) -> bool:
        """Whether an end time or 100 % says so."""
        return self.has_end_time or self.progress == 100


def find_task(answer: Any, task_id: str, *, plain_ids: bool) -> Task | None:
    """Return the object that speaks of our task, or of whichever task the answer names.

    Args:
        answer: Any JSON value.
        task_id: Ours.
        plain_ids: Whether `id` alone is a task's id here, rather than a record's.

    Returns:
        The outermost object that names our id and holds a status word; else the one nearest to that. None where no
        object holds a status word or an end.
    """
    # Who says a word comes before who does not; `min` keeps the outer before the inner.
    return min(_speakers(answer, task_id, plain_ids), key=lambda task: (task.relation, not task.word), default=None)


_Wrapped = tuple[Any, Relation, int]  # a value, whose task what wraps it speaks of, how deep it stands


def _speakers(answer: Any, task_id: str, plain_ids: bool) -> Iterator[Task]:
    """Yield the objects that speak of a task, the outer before the inner."""
    queue: deque[_Wrapped] = deque([(opened(answer), Relation.UNNAMED, 0)])
    for _ in range(_MAX_NODES):
        if not queue:
            return
        value, above, depth = queue.popleft()
        if not value or not isinstance(value, dict | list):
            continue
        fields = keyed(value)
        relation = _relation(fields, task_id, above, plain_ids)
        if _speaks(fields):
            of_a_call = relation is Relation.UNNAMED and depth == 0 and _TASK_FACTS.isdisjoint(fields)
            yield Task(as_object(value), _word(fields), Relation.CALL if of_a_call else relation, answer)
        within = above if isinstance(value, list) else relation
        queue.extend(islice(_wrapped(value, fields, within, depth), _MAX_NODES - len(queue)))


def _wrapped(value: Any, fields: JsonObject, relation: Relation, depth: int) -> Iterator[_Wrapped]:
    yield from ((opened(inner), relation, depth) for inner in as_list(value))
    if depth < _MAX_DEPTH:
        for key in (key for key in fields if key in _WRAPPERS):
            yield (fields[key] if key in _SAID else opened(fields[key])), relation, depth + 1


def _speaks(fields: JsonObject) -> bool:
    """Whether there is a status word, or an end time where no status is named at all."""
    named = any(fields.get(key) not in (None, "") for key in _WORD_KEYS)
    return bool(_word(fields)) or (not named and any(is_moment(fields.get(key)) for key in _ENDED))


def _relation(fields: JsonObject, task_id: str, above: Relation, plain_ids: bool) -> Relation:
    if task_id in (as_id(fields.get(key)) for key in (*_ID_KEYS, "id")):
        return Relation.OURS
    if above in (Relation.OURS, Relation.WITHIN_OURS):
        return Relation.WITHIN_OURS  # an upstream has ids of its own
    # Only a task's id can contradict; a row's number and a record's id say nothing.
    named = as_id(fields.get("taskid")) or (plain_ids and as_text(fields.get("id")))
    return Relation.OTHER if named or above is Relation.OTHER else Relation.UNNAMED


def _word(fields: JsonObject) -> str:
    for key in _WORD_KEYS:
        said = fields.get(key)
        inner = keyed(said)  # some wrap the word itself: `{"status": {"state": "failed"}}`
        if word := as_text(said) or next(filter(None, (as_text(inner.get(name)) for name in _INNER_WORD_KEYS)), ""):
            return word
    done = fields.get("done")
    if not isinstance(done, bool):
        return ""
    return "running" if not done else "failed" if as_object(fields.get("error")) else "done"


def _time(fields: JsonObject, keys: tuple[str, ...]) -> datetime | None:
    return next(filter(None, (as_time(fields.get(key)) for key in keys)), None)


# The id of a created task


@dataclass(frozen=True)
class CreatedIds:
    """Ids in a create's answer.

    Attributes:
        task_id: What stands where a task's id stands; None when nothing does.
        suspect: Anything else that may be one, for a person to go by.
        is_named: Whether a field of its own names it, e.g. `task_id`: an `id` may be that of a call.
    """

    task_id: str | None = None
    suspect: str | None = None
    is_named: bool = False


# Ranks of ids: of one under a task's own name, and of none.
_OWN_NAME, _NO_RANK = 0, 9
# A number of fewer digits in `id` is a row's, not a task's.
_TASK_DIGITS = 10
# Fields that may hold a task's id, or what it is found by.
_OTHER_IDS = (*_ID_KEYS, "uuid", "name", "operation", "operationid", "predictionid")


def created_ids(answer: Any) -> CreatedIds:
    """Find the id of a new task: `task_id` before `id`, the outer before the inner, texts before numbers."""
    standing: list[tuple[int, str | None]] = []
    suspects: list[str | None] = []
    for node in walk(answer, closed=_SAID):
        if not set(node.path) <= _WRAPPERS:
            suspects += [as_id(node.value)] if node.path[-1] in ("taskid", "taskids") else []
        elif isinstance(node.value, str) and node.path[-1:] in (("data",), ("result",)):
            bare = _bare_id(node.value)
            standing += [(1, bare)] if bare and bare.startswith("task_") else []
            suspects += [bare]
        else:
            fields = keyed(node.value)
            standing += _standing(fields)
            suspects += [as_id(fields.get(key)) for key in _OTHER_IDS if isinstance(fields.get(key), str)]
            suspects += [as_id(fields.get("id"))]
    suspects += _named_in_errors(answer)
    named = [(rank, task_id) for rank, task_id in standing if task_id]
    # Of equals the first: it stands farther outside.
    best = min(named, key=lambda each: each[0], default=(_NO_RANK, None))
    return CreatedIds(best[1], next(filter(None, suspects), None), best[0] == _OWN_NAME)


def _named_in_errors(answer: Any) -> list[str | None]:
    """Ids that an error's object names; texts in its place speak of another exchange."""
    return [as_id(keyed(said).get("taskid")) for name, said in keyed(answer).items() if name in _SAID]


def _standing(fields: JsonObject) -> Iterator[tuple[int, str | None]]:
    """Ids where a task's id stands, with their ranks."""
    yield _OWN_NAME, as_id(fields.get("taskid"))
    plain = fields.get("id")
    if isinstance(plain, str) or len(as_word(plain)) >= _TASK_DIGITS:
        yield (1 if isinstance(plain, str) else 2), as_id(plain)


def _bare_id(text: str) -> str | None:
    """An id that stands alone where an object would: one word of some length."""
    found = as_id(text)
    return found if found and " " not in found and (found.startswith("task_") or len(found) >= 8) else None
