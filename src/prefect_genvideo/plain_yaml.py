"""Reader of YAML that people write. It takes event by event, so that no file can grow, call anything or be misread.

Plain words mean what YAML 1.2 says. To YAML 1.1, as PyYAML reads it, `aspect_ratio: 16:9` is the number 969 and the
name `on` in a fallback is `true`; here both are texts, and only `true` and `false` are truth values. Dates stay texts.
Anchors, aliases and `<<` work; what they expand to is counted. Tags other than `!!str` are refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
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
# What an alias may stand for beside a value: nothing at all, and what has not ended where the alias stands.
_NOTHING, _UNFINISHED = object(), object()
# What PyYAML's own parser reads in some ten seconds.
_SLOW_CHARS = 256 * 1024
_SLOW_BRACKETS = 500


def parse_yaml(text: str) -> Any:
    """Return the value of a YAML document.

    Raises:
        ValueError: It is none, or does what is not taken; the message names the line.
    """
    parse = cast("Callable[..., Iterator[yaml.Event]]", getattr(yaml, "parse"))  # noqa: B009 -- its stub has no types
    loader = getattr(yaml, "CBaseLoader", None)
    # PyYAML's own parser, all there is where it was built without libyaml, takes quadratic time over open brackets.
    if loader is None and (len(text) > _SLOW_CHARS or text.count("[") + text.count("{") > _SLOW_BRACKETS):
        raise ValueError("this machine's PyYAML lacks libyaml and takes small files only; write JSON or JSONL")
    try:
        return _Reader(parse(text, Loader=loader or yaml.BaseLoader)).document()
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())[:300]) from None


class _Reader:
    """Makes plain values of events. It goes no deeper than `MAX_DEPTH`, so Python's own stack is enough."""

    def __init__(self, events: Iterator[yaml.Event]) -> None:
        self._events = events
        self._anchors: dict[str, Any] = {}
        self._nodes = 0

    def document(self) -> Any:
        documents, value = 0, None
        for event in self._events:
            documents += isinstance(event, yaml.DocumentStartEvent)
            if documents > 1:
                _refuse("the file holds more than one YAML document", event)
            if isinstance(event, yaml.NodeEvent):
                value = self._node(event, 0)
        return value

    def _node(self, event: yaml.Event, around: int) -> Any:
        """The value that begins with an event, within so many lists and mappings."""
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event, around)
        if isinstance(event, yaml.ScalarEvent):
            self._count(1, 0, event)
            text = _text(event)
            value = _resolved(text) if event.tag is None and event.implicit[0] else text
        else:
            value = self._collection(cast("yaml.CollectionStartEvent", event), around + 1)
        self._anchors[cast("yaml.NodeEvent", event).anchor] = value  # None in most cases, which no alias names
        return value

    def _alias(self, event: yaml.AliasEvent, around: int) -> Any:
        value = self._anchors.get(event.anchor, _NOTHING)
        if value is _NOTHING or value is _UNFINISHED:
            what = "names nothing" if value is _NOTHING else "names itself"
            _refuse(f"the alias *{event.anchor[:80]} {what}", event)
        nodes, depth = _size(value)
        self._count(nodes, around + depth, event)
        return value

    def _collection(self, event: yaml.CollectionStartEvent, depth: int) -> Any:
        if event.tag is not None:
            _refuse(f"the tag {event.tag!a} is not taken", event)
        self._count(1, depth, event)
        self._anchors[event.anchor] = _UNFINISHED
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(depth)
        return [self._node(part, depth) for part in self._parts()]

    def _mapping(self, depth: int) -> dict[str, Any]:
        values, merged = dict[str, Any](), list[Any]()
        for event in self._parts():
            name = self._name(event)
            if name in values:
                _refuse(f"the name {name[:80]!a} stands twice in one mapping", event)
            value = self._node(next(self._events), depth)
            if name == _MERGE:
                merged += value if isinstance(value, list) else [value]
            else:
                values[name] = value
        for part in merged:
            if not isinstance(part, dict):
                raise ValueError("`<<` takes a mapping or a list of mappings")
            for name, value in cast("dict[str, Any]", part).items():
                values.setdefault(name, value)
        return values

    def _parts(self) -> Iterator[yaml.Event]:
        """The events with which the parts of a list or mapping begin, up to its end."""
        for event in self._events:
            if isinstance(event, yaml.CollectionEndEvent):
                return
            yield event

    def _name(self, event: yaml.Event) -> str:
        if not isinstance(event, yaml.ScalarEvent):
            _refuse(f"a name {'cannot be an alias' if isinstance(event, yaml.AliasEvent) else 'must be a text'}", event)
        text = self._anchors[event.anchor] = _text(event)
        return text

    def _count(self, nodes: int, depth: int, event: yaml.Event) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            _refuse(f"the file expands to more than {MAX_NODES} values", event)
        if depth > MAX_DEPTH:
            _refuse(f"the file is nested deeper than {MAX_DEPTH}", event)


def _text(event: yaml.ScalarEvent) -> str:
    if event.tag not in {None, "!", "tag:yaml.org,2002:str"}:
        _refuse(f"the tag {event.tag!a} is not taken", event)
    return str(event.value)


def _size(value: Any) -> tuple[int, int]:
    """Values in a value, itself among them, and how deep it is nested."""
    if not isinstance(value, dict | list):
        return 1, 0
    parts = cast("Iterable[Any]", value.values() if isinstance(value, dict) else value)
    sizes = [_size(part) for part in parts]
    return 1 + sum(nodes for nodes, _ in sizes), 1 + max((depth for _, depth in sizes), default=0)


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
