"""Reader of YAML that people write. It takes event by event, so that no file can grow, call anything or be misread.

Plain words mean what YAML 1.2 says. To YAML 1.1, as PyYAML reads it, `aspect_ratio: 16:9` is the number 969 and the
name `on` in a fallback is `true`; here both are texts, and only `true` and `false` are truth values. Dates stay texts.
Anchors, aliases and `<<` work; what they expand to is counted. Tags other than `!!str` are refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NoReturn, cast

import yaml

MAX_NODES = 1_000_000
"""Most values of a file, its aliases expanded."""
MAX_DEPTH = 32
"""Deepest nesting."""
# Plain words of YAML 1.2's core schema that are no texts.
_CONSTANTS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
# A number with leading zeros is somebody's id; it stays a text.
_INT = re.compile(r"[-+]?(?:0|[1-9][0-9]{0,39})")
_FLOAT = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
# YAML 1.1's key that takes over another mapping's names; people know it from compose files.
_MERGE = "<<"
# What PyYAML's own parser reads in some ten seconds.
_SLOW_CHARS = 256 * 1024
_SLOW_BRACKETS = 500


def parse_yaml(text: str) -> Any:
    """Return the value of a YAML document.

    Raises:
        ValueError: It is none, or does what is not taken; the message names the line.
    """
    builder = _Builder()
    parse = cast("Callable[..., Iterable[yaml.Event]]", getattr(yaml, "parse"))  # noqa: B009 -- its stub has no types
    loader = getattr(yaml, "CBaseLoader", None)
    # PyYAML's own parser, all there is where it was built without libyaml, takes quadratic time over open brackets.
    if loader is None and (len(text) > _SLOW_CHARS or text.count("[") + text.count("{") > _SLOW_BRACKETS):
        raise ValueError("this machine's PyYAML lacks libyaml and takes small files only; write JSON or JSONL")
    try:
        for event in parse(text, Loader=loader or yaml.BaseLoader):
            builder.take(event)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())[:300]) from None
    return builder.result


@dataclass
class _Made:
    """A value, and what an alias to it adds to the size."""

    value: Any
    nodes: int = 1
    depth: int = 0


@dataclass
class _Open:
    """A list or mapping that has not ended yet."""

    value: list[Any] | dict[str, Any]
    anchor: str | None
    nodes: int = 1
    depth: int = 1
    key: str | None = None
    merged: list[Any] = field(default_factory=list[Any])

    def add(self, made: _Made) -> None:
        self.nodes += made.nodes
        self.depth = max(self.depth, made.depth + 1)
        if isinstance(self.value, list):
            self.value.append(made.value)
            return
        if self.key == _MERGE:
            self.merged.append(made.value)
        else:
            self.value[str(self.key)] = made.value
        self.key = None

    def finished(self) -> _Made:
        for source in self.merged:
            parts = cast("list[Any]", source if isinstance(source, list) else [source])
            for part in parts:
                if not isinstance(part, dict):
                    raise ValueError("`<<` takes a mapping or a list of mappings")
                own = cast("dict[str, Any]", self.value)
                own.update({name: value for name, value in cast("dict[str, Any]", part).items() if name not in own})
        return _Made(self.value, self.nodes, self.depth)


class _Builder:
    """Makes plain values of events, on a stack of its own instead of Python's."""

    def __init__(self) -> None:
        self.result: Any = None
        self._stack: list[_Open] = []
        self._anchors: dict[str, _Made | None] = {}
        self._nodes = 0
        self._documents = 0

    def take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                _refuse("the file holds more than one YAML document", event)
        elif isinstance(event, yaml.ScalarEvent):
            self._scalar(event)
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event)
        elif isinstance(event, yaml.CollectionStartEvent):
            self._start(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            ended = self._stack.pop()
            self._add(self._anchored(ended.anchor, ended.finished()))

    def _start(self, event: yaml.CollectionStartEvent) -> None:
        if event.tag is not None:
            _refuse(f"the tag {event.tag!a} is not taken", event)
        if self._awaits_key():
            _refuse("a name must be a text", event)
        if event.anchor:
            self._anchors[event.anchor] = None  # known, not finished: an alias in itself would have no end
        self._count(1, len(self._stack) + 1, event)
        self._stack.append(_Open({} if isinstance(event, yaml.MappingStartEvent) else [], event.anchor))

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        if event.tag not in {None, "!", "tag:yaml.org,2002:str"}:
            _refuse(f"the tag {event.tag!a} is not taken", event)
        text = str(event.value)
        if self._awaits_key():
            top = self._stack[-1]
            if text in top.value and text != _MERGE:
                _refuse(f"the name {text[:80]!a} stands twice in one mapping", event)
            top.key = text
            self._anchored(event.anchor, _Made(text))
            return
        plain = event.tag is None and event.implicit[0]
        self._count(1, 0, event)
        self._add(self._anchored(event.anchor, _Made(_resolved(text) if plain else text)))

    def _alias(self, event: yaml.AliasEvent) -> None:
        made = self._anchors.get(event.anchor)
        if made is None:
            what = "names itself" if event.anchor in self._anchors else "names nothing"
            _refuse(f"the alias *{event.anchor[:80]} {what}", event)
        if self._awaits_key():
            _refuse("a name cannot be an alias", event)
        self._count(made.nodes, len(self._stack) + made.depth, event)
        self._add(made)

    def _awaits_key(self) -> bool:
        return bool(self._stack) and isinstance(self._stack[-1].value, dict) and self._stack[-1].key is None

    def _anchored(self, anchor: str | None, made: _Made) -> _Made:
        if anchor:
            self._anchors[anchor] = made
        return made

    def _count(self, nodes: int, depth: int, event: yaml.Event) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            _refuse(f"the file expands to more than {MAX_NODES} values", event)
        if depth > MAX_DEPTH:
            _refuse(f"the file is nested deeper than {MAX_DEPTH}", event)

    def _add(self, made: _Made) -> None:
        if self._stack:
            self._stack[-1].add(made)
        else:
            self.result = made.value


def _resolved(text: str) -> Any:
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INT.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text):
        return float(text)
    return float("nan") if _NOT_FINITE.fullmatch(text) else text


def _refuse(why: str, event: yaml.Event) -> NoReturn:
    raise ValueError(f"{why} (line {event.start_mark.line + 1})")
