"""The account's tasks, a page at a time: what is asked, and how the answer is read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from prefect_genvideo.models import Generation
from prefect_genvideo.providers.answers import JsonObject, as_figure, as_id, as_list, as_object, as_text, parse_json
from prefect_genvideo.providers.evidence import find_task, keyed, opened
from prefect_genvideo.providers.http import Reply
from prefect_genvideo.providers.words import normalised

# Names of a page's entries; gateways before the API have others.
_LISTS = ("items", "tasks", "list", "data")
# Bytes; a task object has one or two thousand.
# Tokens; a clip has some hundred thousand.
_MOST_TOKENS = 1e12
_LARGEST_CALLBACK = 1024 * 1024
LARGEST_PAGE = 500
"""Tasks of a page, and the last page's number."""


@dataclass(frozen=True)
class TaskPage:
    """One page of the tasks of the last seven days.

    Attributes:
        total: Tasks on all pages; None where the answer does not say.
        generations: The tasks of this page, in the order of the answer, which no document states.
        unread: Entries of the page that name no task.
    """

    total: int | None = None
    generations: tuple[Generation, ...] = ()
    unread: int = 0


def query(
    page: int, page_size: int, status: str | None, model: str | None, task_ids: Iterable[str], service_tier: str | None
) -> str:
    """Return the query of a list.

    Args:
        page: From 1 on.
        page_size: Tasks.
        status: Only tasks with this status word.
        model: Only tasks that were sent with this model or endpoint id.
        task_ids: Only these.
        service_tier: `default` or `flex`.
    """
    pairs = [("page_num", str(page)), ("page_size", str(page_size))]
    filters = (("status", status), ("model", model), ("service_tier", service_tier))
    pairs += [(f"filter.{name}", value) for name, value in filters if value]
    pairs += [("filter.task_ids", task_id) for task_id in task_ids]  # a list with commas is refused
    return urlencode(pairs)


def items_of(reply: Reply) -> Sequence[Any] | None:
    """Return the entries of a page; None where the answer holds no list of tasks."""
    answer: Any = reply.json if 200 <= reply.status < 300 else None
    if isinstance(answer, list):
        return as_list(answer)
    fields = keyed(answer)
    for place in (fields, keyed(fields.get("data")), keyed(fields.get("result"))):
        listed = next((place[name] for name in _LISTS if isinstance(place.get(name), list)), None)
        if listed is not None:
            return as_list(listed)
        # A list without entries is nothing at all where Go writes it.
        if "total" in place and as_figure(place["total"]) == 0:
            return ()
    return None


def total_of(reply: Reply) -> int | None:
    """Return how many tasks all pages hold; None where the answer does not say."""
    fields = keyed(reply.json)
    places = (fields, keyed(fields.get("data")), keyed(fields.get("result")))
    told = (as_figure(place.get("total")) for place in places)
    return next((int(number) for number in told if number is not None), None)


def named(reply: Reply, items: Sequence[Any]) -> list[tuple[str, Reply]]:
    """Return each entry with its id, as if it were the whole answer about that task.

    Args:
        reply: The page.
        items: Its entries.
    """
    found = ((_id_in(keyed(item)), item) for item in items)
    return [(task_id, replace(reply, json=as_object(item))) for task_id, item in found if task_id]


def row_of(answer: JsonObject) -> JsonObject:
    """Return the fields of the task's own object, be it wrapped, with their names as `evidence.key_of` has them."""
    fields = keyed(answer)
    if "status" in fields and _id_in(fields):
        return fields
    task = find_task(answer, "", plain_ids=True)
    return task.fields if task is not None else fields


def is_cancelled(generation: Generation) -> bool:
    """Whether a task was cancelled, as far as it says."""
    return normalised(as_text(row_of(generation.raw).get("status"))) in ("cancelled", "canceled")


def tokens_of(row: JsonObject) -> int | None:
    """Return the tokens that a task is billed for; None where it does not say. Both figures are the same.

    Args:
        row: As from `row_of`.
    """
    usage = keyed(opened(row.get("usage")))
    told = (as_figure(usage.get(name)) or 0.0 for name in ("completiontokens", "totaltokens"))
    return next((int(tokens) for tokens in told if 0 < tokens <= _MOST_TOKENS), None)


def _id_in(fields: JsonObject) -> str | None:
    """A task's id; a gateway's row has one of its own beside it."""
    return as_id(fields.get("taskid")) or as_id(fields.get("id"))


def as_reply(body: bytes) -> Reply:
    """Return a callback's body as if it had been asked for."""
    return Reply(status=200, body=body, json=parse_json(body[:_LARGEST_CALLBACK]))


def named_in(answer: Any) -> str | None:
    """Return the id of the task that an answer speaks of; None where it names none."""
    return _id_in(row_of(as_object(answer)))
