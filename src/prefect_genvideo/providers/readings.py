"""What a query's answer says about our task: the one reading that every provider's client shares.

A whole-word status decides. A word nobody knows decides nothing, unless a final fact stands beside it: a link and an
end, or the text of an error and an end time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from prefect_genvideo.errors import TransientError, redact
from prefect_genvideo.models import NO_REASON, Generation, GenerationState
from prefect_genvideo.providers.answers import as_figure, as_object
from prefect_genvideo.providers.evidence import Relation, Task, find_task
from prefect_genvideo.providers.http import Reply
from prefect_genvideo.providers.links import LinkPlaces
from prefect_genvideo.providers.moderation import refused_for_content
from prefect_genvideo.providers.reasons import said_in
from prefect_genvideo.providers.refusals import has_failed, is_refusal
from prefect_genvideo.providers.words import normalised, state_of

NO_LINK = "reported done, without an http(s) link yet"
"""Reason of a generation that is reported as done and cannot be fetched."""

# Words of failure that begin so tell no cause.
_ONLY_FAILED = ("fail", "error", "失", *(f"{what}失" for what in ("任务", "任務", "生成", "处理", "處理", "已")))
# Beside nothing else, these speak of the call rather than of a task.
_OF_A_CALL = frozenset(map(normalised, ("error", "fail", "exception", "invalid", "denied", "refused", "ready")))


@dataclass(frozen=True)
class Manners:
    """How one provider's answers differ from all others'.

    Attributes:
        plain_ids: Whether `id` alone is a task's id, rather than a record's.
        video_links: Where its documents put the result's link, the best first; see `LinkPlaces`.
        states: Status words of its own, normalised.
    """

    plain_ids: bool = True
    video_links: tuple[tuple[str, ...], ...] = ()
    states: Mapping[str, GenerationState] = field(default_factory=dict[str, GenerationState])


def read_generation(reply: Reply, task_id: str, provider: str, manners: Manners, base_url: str) -> Generation | None:
    """Return what an answer says about our task; None when it says nothing.

    Args:
        reply: What came. Only a 2xx speaks of a task.
        task_id: Ours.
        provider: The provider's name.
        manners: The provider's.
        base_url: The API's address.

    Raises:
        TransientError: The answer is about another task.
    """
    answer = reply.json if 200 <= reply.status < 300 else None
    task = find_task(answer, task_id, plain_ids=manners.plain_ids)
    if task is None:
        return None
    if task.relation is Relation.OTHER:
        raise TransientError(
            f"{provider} answered about another task than {task_id}.",
            provider=provider,
            task_id=task_id,
            status_code=reply.status,
            reason="task_id mismatch",
        )
    places = LinkPlaces(base_url, task_id, manners.video_links)
    verdict = _judge(task, places, manners.states)
    if verdict is None:
        return None
    return Generation(
        provider=provider,
        task_id=task_id,
        state=verdict.state,
        progress=task.progress,
        video_url=verdict.link,
        cover_url=places.cover(task) if verdict.link else None,  # an answer is asked for often before there is one
        reason=redact(verdict.reason) if verdict.reason else None,
        moderation=verdict.moderation,
        unfamiliar=verdict.unfamiliar,
        created_at=task.created_at,
        started_at=task.started_at,
        finished_at=task.finished_at,
        answered_at=reply.answered_at,
        cost=as_figure(task.fields.get("quota")),
        raw=as_object(answer),
    )


@dataclass(frozen=True)
class _Verdict:
    state: GenerationState
    link: str | None = None
    reason: str | None = None
    moderation: bool = False
    unfamiliar: str | None = None


# What must stand beside a link for it to be the result, by the status; None is a word nobody knows, or none.
_ENDED: Mapping[GenerationState | None, Callable[[Task], bool]] = {
    "succeeded": lambda _: True,
    # A word that was not kept up to date: nobody writes down the end of what goes on.
    "queued": lambda task: task.has_end_time,
    "running": lambda task: task.has_end_time,
    None: lambda task: task.is_over,
}


def _judge(task: Task, places: LinkPlaces, more: Mapping[str, GenerationState]) -> _Verdict | None:
    state = state_of(task.word, more) if task.word else None
    if state == "failed":
        return None if _is_about_the_call(task) else _failed(task)
    # Most answers come while a task is under way: no link counts there, so that none is looked for.
    if _ENDED[state](task) and (link := places.video(task)) is not None:
        return _Verdict("succeeded", link)
    if state == "succeeded":
        return None if task.relation is Relation.CALL else _without_link(task, more)
    return _unfamiliar(task) if state is None else _Verdict(state)


def _unfamiliar(task: Task) -> _Verdict | None:
    """Without a known word, an error's text beside an end time is a failure; an unknown word is passed on."""
    if task.relation is Relation.CALL and task.word.isdigit():
        return None  # the status of the call
    if task.has_end_time and said_in(task.row).is_error:
        return _failed(task)
    return _Verdict("running", unfamiliar=redact(task.word, 100)) if task.word else None


def _is_about_the_call(task: Task) -> bool:
    """Whether a word of failure may mean that the question was refused, rather than that the task ended."""
    if task.relation is not Relation.CALL:
        return False
    return normalised(task.word) in _OF_A_CALL or has_failed(task.answer) or is_refusal(task.answer)


def _failed(task: Task) -> _Verdict:
    said = said_in(task.row, task.beside)
    reason = said.reason()
    about_content = refused_for_content(f"{task.word} {reason} {' '.join(said.texts)}", said.codes)
    return _Verdict("failed", reason=reason or _cause(task.word) or NO_REASON, moderation=about_content)


def _cause(word: str) -> str:
    """What a word of failure says beyond that it failed: `expired`, `cancelled`."""
    plain = word.strip().lower()
    return "" if normalised(word).startswith(_ONLY_FAILED) else plain


def _without_link(task: Task, more: Mapping[str, GenerationState]) -> _Verdict:
    """Reported done, and no link: it may be late. What is said beside it is told.

    Where the supplier is still at work, the word of success was about the question.
    """
    for word in task.inner_words:
        if (state := state_of(word, more)) == "queued" or state == "running":
            return _Verdict(state)
    said = said_in(task.row)
    reason = said.reason()
    text = f"{NO_LINK}: {reason}" if reason else NO_LINK
    return _Verdict("running", reason=text, moderation=refused_for_content(" ".join(said.texts), said.codes))
