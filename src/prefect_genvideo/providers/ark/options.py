"""Ark's vendor fields: which values each takes, by the document; the models' tables say which model knows which."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, cast

from prefect_genvideo.providers import rules as r
from prefect_genvideo.providers.answers import is_link
from prefect_genvideo.providers.rules import Broken, Rule, Wanted

_SOURCE = "Ark API: 创建视频生成任务"

DRAFT = "draft_task_id"
"""Names the draft that a final video is made of. The API has it as an item of `content`."""
TASK_TYPE = "omni_reference_task_type"
"""What Seedance 2.5 does with its references."""

OF_ALL = frozenset({"watermark", "return_last_frame", "callback_url", "safety_identifier"})
"""Fields that every model knows."""

_ID = re.compile(r"[A-Za-z0-9_-]{1,200}")
# Characters of `safety_identifier`.
_LONGEST_IDENTIFIER = 64


def _whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _is_frames(value: object) -> bool:
    return _whole(value, 29, 289) and cast(int, value) % 4 == 1


def _is_identifier(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST_IDENTIFIER and value.isascii() and value.isprintable()


def _are_tools(value: object) -> bool:
    tools = cast("list[Any]", value) if isinstance(value, list) else []
    return bool(tools) and all(tool == {"type": "web_search"} for tool in tools)


def _one_of(*allowed: str) -> tuple[Callable[[object], bool], str]:
    return lambda value: isinstance(value, str) and value in allowed, " or ".join(allowed)


_FLAG: tuple[Callable[[object], bool], str] = (lambda value: isinstance(value, bool), "true or false")

FIELDS: dict[str, tuple[Callable[[object], bool], str]] = {
    "generate_audio": _FLAG,
    "watermark": _FLAG,
    "camera_fixed": _FLAG,
    "return_last_frame": _FLAG,
    "draft": _FLAG,
    # An older edition ends at 4294967295.
    "seed": (lambda value: _whole(value, -1, 2**31 - 1), "a whole number from -1 to 2147483647"),
    "frames": (_is_frames, "25 + 4n, a whole number from 29 to 289"),
    "priority": (lambda value: _whole(value, 0, 9), "a whole number from 0 to 9"),
    "service_tier": _one_of("default", "flex"),
    "output_format": _one_of("mp4", "mov"),
    TASK_TYPE: _one_of("auto", "reference", "edit", "extend"),
    "callback_url": (lambda value: isinstance(value, str) and is_link(value), "an http(s) link with a host"),
    "safety_identifier": (_is_identifier, f"1 to {_LONGEST_IDENTIFIER} ASCII characters"),
    "tools": (_are_tools, 'a list of {"type": "web_search"}'),
    DRAFT: (lambda value: isinstance(value, str) and _ID.fullmatch(value) is not None, "the id of a draft's task"),
}
"""What each field takes, and the same in words."""


def only(known: frozenset[str]) -> Rule:
    """Return the rule that no option but these is given."""
    return Rule(r.options_of(known), f"left out: this model knows only {', '.join(sorted(known))}", _SOURCE)


def _value_of(name: str) -> Rule:
    fine, words = FIELDS[name]

    def check(wanted: Wanted) -> Iterator[Broken]:
        options = wanted.request.options
        if name in options and not fine(options[name]):
            yield f"options.{name}", options[name]

    return Rule(check, words, _SOURCE)


VALUES: tuple[Rule, ...] = tuple(map(_value_of, FIELDS))
"""The values of all fields, as rules."""
