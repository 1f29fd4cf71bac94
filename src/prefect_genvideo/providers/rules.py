"""Documented limits as data: a rule is a check, its limit in words and the section of the document it comes from.

A check yields every (field, value) that breaks it. Providers put rules into tables; nothing here knows a provider.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
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


def is_finite_number(value: object) -> bool:
    """Whether a value is a real number: no bool, no NaN, no infinity."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _list_of(field: str) -> str:
    return "frames" if field.endswith("_frame") else field.partition("[")[0]


# Duration, ratio, resolution


def whole_seconds(allowed: Container[int]) -> Check:
    """Duration is given and one of the allowed whole numbers."""
    return _duration(lambda value: value == int(value) and int(value) in allowed)


def _duration(allowed: Callable[[float], bool]) -> Check:
    def check(wanted: Wanted) -> Iterator[Broken]:
        value = wanted.request.duration
        if value is None or not is_finite_number(value) or not allowed(value):
            yield "duration", "(none)" if value is None else value

    return check


def one_of(field: str, allowed: Container[str], *, required: bool = True) -> Check:
    """A text field has one of the allowed values.

    Args:
        field: `aspect_ratio` or `resolution`.
        allowed: The values, as the provider spells them.
        required: Whether it must be given.
    """

    def check(wanted: Wanted) -> Iterator[Broken]:
        value: str | None = getattr(wanted.request, field)
        if (value is None and required) or (value is not None and value not in allowed):
            yield field, "(none)" if value is None else value

    return check


def ratio_formed() -> Check:
    """The aspect ratio, when given, reads `n:m`."""

    def check(wanted: Wanted) -> Iterator[Broken]:
        value = wanted.request.aspect_ratio
        if value is not None and not _RATIO.fullmatch(value):
            yield "aspect_ratio", value

    return check


def timeout_between(low: int, high: int) -> Check:
    """The provider's own timeout, when given, is within both ends.

    Args:
        low: Seconds.
        high: Seconds.
    """

    def check(wanted: Wanted) -> Iterator[Broken]:
        value = wanted.request.timeout
        if value is not None and (isinstance(value, bool) or not low <= value <= high):
            yield "timeout", value

    return check


# Prompt


def prompt_given() -> Check:
    """The prompt is not blank."""

    def check(wanted: Wanted) -> Iterator[Broken]:
        if not wanted.request.prompt.strip():
            yield "prompt", wanted.request.prompt

    return check


def content_given() -> Check:
    """There is a prompt or an asset."""

    def check(wanted: Wanted) -> Iterator[Broken]:
        if not wanted.request.prompt.strip() and not wanted.request.assets():
            yield "prompt", wanted.request.prompt

    return check


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

    def check(wanted: Wanted) -> Iterator[Broken]:
        count = len(getattr(wanted.request, field))
        if count > limit:
            yield field, f"{count} given"

    return check


def at_most_together(limit: int) -> Check:
    """All reference lists together are no longer than the limit."""

    def check(wanted: Wanted) -> Iterator[Broken]:
        request = wanted.request
        count = len(request.images) + len(request.videos) + len(request.audios)
        if count > limit:
            yield "images + videos + audios", f"{count} given"

    return check


def both_frames() -> Check:
    """A first and a last frame are given together."""

    def check(wanted: Wanted) -> Iterator[Broken]:
        request = wanted.request
        if request.mode == "frames":
            yield from ((field, "(none)") for field in _missing_frames(request))

    return check


def first_with_last() -> Check:
    """A last frame comes only with a first one."""

    def check(wanted: Wanted) -> Iterator[Broken]:
        if wanted.request.last_frame and not wanted.request.first_frame:
            yield "first_frame", "(none)"

    return check


def _missing_frames(request: VideoRequest) -> list[str]:
    return [field for field in ("first_frame", "last_frame") if not getattr(request, field)]


def frames_alone(*fields: str) -> Check:
    """With a first or last frame, these reference lists are empty."""

    def check(wanted: Wanted) -> Iterator[Broken]:
        if wanted.request.mode == "frames":
            yield from absent(*fields)(wanted)

    return check


def audio_accompanied() -> Check:
    """Audio comes with an image or a video."""

    def check(wanted: Wanted) -> Iterator[Broken]:
        request = wanted.request
        if request.audios and not (request.images or request.videos or request.mode == "frames"):
            yield "audios", "alone"

    return check


# Options


def options_not(names: Container[str]) -> Check:
    """None of these vendor fields is given."""
    return _options(lambda name, _: name not in names)


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
