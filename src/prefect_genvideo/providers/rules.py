"""Documented limits as data: a rule is a check, its limit in words and the section of the document it comes from.

A check yields every (field, value) that breaks it. Providers put rules into tables; nothing here knows a provider.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from prefect_genvideo.errors import shown
from prefect_genvideo.media.inspect import MediaInfo
from prefect_genvideo.models import Problem, VideoRequest

Broken = tuple[str, object]

_RATIO = re.compile(r"[1-9][0-9]{0,3}:[1-9][0-9]{0,3}")


@dataclass(frozen=True)
class Wanted:
    """What the rules look at: the request with its defaults filled in, and the facts of its assets."""

    request: VideoRequest
    media: Mapping[str, MediaInfo]

    def of(self, *kinds: str) -> dict[str, MediaInfo]:
        """Facts by field of the assets in `images`, `videos`, `audios` or `frames`."""
        return {field: info for field, info in self.media.items() if _list_of(field) in kinds}


Check = Callable[[Wanted], Iterator[Broken]]


@dataclass(frozen=True)
class Rule:
    """One documented limit.

    Attributes:
        check: Yields each field that breaks the limit, with its value.
        limit: What is allowed, in words and numbers.
        source: Section of the provider's document.
        states: Name of the fact that it states, if a narrower table may state it anew: a field of `ModelLimits`, or a
            name of the provider's own. See `layered`.
    """

    check: Check
    limit: str
    source: str
    states: str = ""


def problems_of(rules: Sequence[Rule], wanted: Wanted) -> list[Problem]:
    """Return every broken rule, in the order of the table.

    Args:
        rules: The table.
        wanted: The request and the facts of its assets.
    """
    return [
        Problem(field, shown(value), rule.limit, rule.source) for rule in rules for field, value in rule.check(wanted)
    ]


def layered(*tables: Sequence[Rule]) -> tuple[Rule, ...]:
    """Return the rules of all tables; where several state the same fact, those of the last one that does."""
    last = {rule.states: table for table in tables for rule in table if rule.states}
    return tuple(rule for table in tables for rule in table if last.get(rule.states, table) is table)


def of_others(rules: Sequence[Rule]) -> tuple[Rule, ...]:
    """Return rules of some models as what is likely of others."""
    return tuple(replace(rule, source=f"{rule.source}, of other models") for rule in rules)


def _list_of(field: str) -> str:
    return "frames" if field.endswith("_frame") else field.partition("[")[0]


def _field(field: str, fine: Callable[[VideoRequest], object], shown_as: str | None = None) -> Check:
    """A field of the request is fine; where it is not, its value is shown, or `shown_as` instead."""

    def check(wanted: Wanted) -> Iterator[Broken]:
        if not fine(wanted.request):
            value = shown_as or getattr(wanted.request, field)
            yield field, "(none)" if value is None else value

    return check


# Duration, ratio, resolution


def whole_seconds(allowed: Container[int], *, required: bool = True) -> Check:
    """Duration is one of the allowed whole numbers.

    Args:
        allowed: Seconds.
        required: Whether it must be given.
    """

    def fine(seconds: object) -> bool:
        if seconds is None:
            return not required
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not math.isfinite(seconds):
            return False
        return seconds == int(seconds) and int(seconds) in allowed

    return _field("duration", lambda request: fine(request.duration))


def one_of(field: str, allowed: Container[str], *, required: bool = True) -> Check:
    """A text field has one of the allowed values.

    Args:
        field: `aspect_ratio` or `resolution`.
        allowed: The values, as the provider spells them.
        required: Whether it must be given.
    """

    def fine(value: str | None) -> bool:
        return not required if value is None else value in allowed

    return _field(field, lambda request: fine(getattr(request, field)))


def ratio_formed() -> Check:
    """The aspect ratio, when given, reads `n:m`."""
    return _field("aspect_ratio", lambda asked: asked.aspect_ratio is None or _RATIO.fullmatch(asked.aspect_ratio))


def timeout_between(low: int, high: int) -> Check:
    """The provider's own timeout, when given, is within both ends.

    Args:
        low: Seconds.
        high: Seconds.
    """

    def fine(seconds: int | None) -> bool:
        return seconds is None or (not isinstance(seconds, bool) and low <= seconds <= high)

    return _field("timeout", lambda request: fine(request.timeout))


# Prompt


def prompt_given() -> Check:
    """The prompt is not blank."""
    return _field("prompt", lambda request: request.prompt.strip())


def content_given() -> Check:
    """There is a prompt or an asset."""
    return _field("prompt", lambda request: request.prompt.strip() or request.assets())


# Assets


def absent(*fields: str) -> Check:
    """The fields are not given."""

    def check(wanted: Wanted) -> Iterator[Broken]:
        for field in fields:
            value = getattr(wanted.request, field)
            if value not in (None, (), ""):
                yield field, value

    return check


def at_most(field: str, limit: int) -> Check:
    """A list of assets is no longer than the limit.

    Args:
        field: `images`, `videos` or `audios`.
        limit: How many.
    """
    return _together((field,), limit)


def at_most_together(limit: int) -> Check:
    """All reference lists together are no longer than the limit."""
    return _together(("images", "videos", "audios"), limit)


def _together(fields: Sequence[str], limit: int) -> Check:
    def check(wanted: Wanted) -> Iterator[Broken]:
        count = sum(len(getattr(wanted.request, field)) for field in fields)
        if count > limit:
            yield " + ".join(fields), f"{count} given"

    return check


def both_frames() -> Check:
    """A first and a last frame are given together."""

    def check(wanted: Wanted) -> Iterator[Broken]:
        for field in ("first_frame", "last_frame") if wanted.request.mode == "frames" else ():
            if not getattr(wanted.request, field):
                yield field, "(none)"

    return check


def first_with_last() -> Check:
    """A last frame comes only with a first one."""
    return _field("first_frame", lambda request: request.first_frame or not request.last_frame, "(none)")


def frames_alone(*fields: str) -> Check:
    """With a first or last frame, these reference lists are empty."""

    def check(wanted: Wanted) -> Iterator[Broken]:
        if wanted.request.mode == "frames":
            yield from absent(*fields)(wanted)

    return check


def audio_accompanied() -> Check:
    """Audio comes with an image or a video."""
    return _field(
        "audios", lambda asked: not asked.audios or asked.images or asked.videos or asked.mode == "frames", "alone"
    )


# Options


def options_not(names: Container[str]) -> Check:
    """None of these vendor fields is given."""
    return _options(lambda name, _: name not in names)


def options_of(names: Container[str]) -> Check:
    """Only these vendor fields are given."""
    return _options(lambda name, _: name in names)


def options_only(known: Mapping[str, type]) -> Check:
    """Only known vendor fields are given, each of its type."""

    def fine(name: str, value: object) -> bool:
        wanted = known.get(name)
        return wanted is not None and isinstance(value, wanted)

    return _options(fine)


def options_writable() -> Check:
    """Every vendor field can be written as JSON."""

    def fine(_: str, value: object) -> bool:
        try:
            json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
        except (ValueError, TypeError, RecursionError):
            return False
        return True

    return _options(fine)


def _options(fine: Callable[[str, Any], bool]) -> Check:
    def check(wanted: Wanted) -> Iterator[Broken]:
        for name, value in wanted.request.options.items():
            if not fine(name, value):
                yield f"options.{name}", value

    return check
