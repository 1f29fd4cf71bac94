"""What templates can do: the filters, methods and tests, and the meter that every one of them runs under."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from typing import Any, NoReturn, cast

from jinja2 import Undefined, pass_context
from jinja2.runtime import Context

MAX_TEXT = 20_000
"""Most characters of a template, of any value while it is rendered, and of what comes out."""
MAX_ITEMS = 1_000
"""Most items of a `range` or list while a template is rendered."""
MAX_WORK = 20_000
"""Steps that one rendering may take."""
METER = "*meter"
"""Where a rendering keeps its meter: no name that a template could write."""
_MAX_BITS = 256
_CHARS_PER_STEP = 100
_STRFTIME = re.compile(r"(?:[^%]|%-?[aAbBdHIjmMpSuVwWyYGUZ%]){0,100}")


class RefusedError(ValueError):
    """The template does what none may do; the message says what."""


def refuse(why: str) -> NoReturn:
    """Raise `RefusedError`."""
    raise RefusedError(why)


class Meter:
    """Counts the steps of one rendering, and holds its values small."""

    def __init__(self) -> None:
        self._left = MAX_WORK

    def spend(self, steps: int) -> None:
        """Take steps off what is left."""
        self._left -= steps
        if self._left < 0:
            refuse("it does too much work; make its loops shorter")

    def weigh(self, value: Any) -> Any:
        """Return the value after it has been found small enough."""
        self.spend(1 + _size(value) // _CHARS_PER_STEP)
        return value


def _size(value: Any) -> int:
    if isinstance(value, str):
        return fits(len(value))
    if isinstance(value, list | tuple | dict):
        size = len(cast("list[Any]", value))
        return size if size <= MAX_ITEMS else refuse(f"a list becomes longer than {MAX_ITEMS} items")
    if isinstance(value, int) and value.bit_length() > _MAX_BITS:
        refuse("a number becomes too large")
    return 1


def fits(size: int) -> int:
    """Return the length of a text that is about to be made, or refuse it."""
    if size > MAX_TEXT:
        refuse(f"a value becomes longer than {MAX_TEXT} characters")
    return size


def as_text(value: Any) -> str:
    """A value as it stands in a text."""
    if isinstance(value, Undefined | str | bool | int | float | date):
        return str(value)  # of an undefined one this raises, naming the variable
    if value is None:
        refuse("a value in it is empty (null); use `if` or `default`")
    refuse("a list or mapping cannot stand in a text; use `| join(', ')` or name a part of it")


def _items(value: Any) -> list[Any]:
    if isinstance(value, Undefined | str | list | tuple | dict):
        return list(cast("list[Any]", value))
    refuse(f"{type(value).__name__} is no list")


def _mapping(value: Any) -> Mapping[Any, Any]:
    return cast("Mapping[Any, Any]", value) if isinstance(value, dict) else refuse("this is no mapping")


def _on_text(function: Callable[[str], Any]) -> Callable[..., Any]:
    def run(value: Any) -> Any:
        return function(as_text(value))

    return run


def _on_items(function: Callable[[list[Any]], Any]) -> Callable[..., Any]:
    def run(value: Any) -> Any:
        return function(_items(value))

    return run


def _on_mapping(function: Callable[[Mapping[Any, Any]], Any]) -> Callable[..., Any]:
    def run(value: Any) -> Any:
        return function(_mapping(value))

    return run


def _range(bounds: Any) -> list[int]:
    numbers = range(*bounds)
    if len(numbers) > MAX_ITEMS:
        refuse(f"a range is longer than {MAX_ITEMS}")
    return list(numbers)


def _flat(value: Any) -> Any:
    # Lists of lists could grow without bound, each naming the last one twice; one level cannot.
    if any(isinstance(item, list | tuple | dict) for item in value):
        refuse("a list written in a template cannot hold lists")
    return value


def _join(value: Any, separator: str = "") -> str:
    texts = [as_text(item) for item in _items(value)]
    fits(sum(map(len, texts)) + len(texts) * len(separator))
    return separator.join(texts)


def _replace(value: Any, old: str, new: str) -> str:
    text = as_text(value)
    fits(len(text) + text.count(old) * len(new))
    return text.replace(old, new)


def _truncate(value: Any, length: int = 255, end: str = "…") -> str:
    text = as_text(value)
    return text if len(text) <= length else text[: max(0, length - len(end))] + end


def _default(value: Any, other: Any = "", empty_too: bool = False) -> Any:
    missing = isinstance(value, Undefined) or value is None
    return other if missing or (empty_too and not value) else value


def _round(value: float, digits: int = 0) -> float:
    return round(value, digits) if digits else round(value)


def _strftime(value: Any, form: str) -> str:
    if not isinstance(value, date):
        refuse("strftime is for dates")
    if not _STRFTIME.fullmatch(form):
        refuse("this date format is not taken; e.g. %d %B %Y")
    return value.strftime(form)


def _isoformat(value: Any) -> str:
    return value.isoformat() if isinstance(value, date) else refuse("isoformat is for dates")


def _get(value: Any, name: Any, other: Any = None) -> Any:
    return _mapping(value).get(name, other)


def _split(value: Any, by: str | None = None) -> list[str]:
    return as_text(value).split(by)


def _startswith(value: Any, start: str) -> bool:
    return as_text(value).startswith(start)


def _endswith(value: Any, end: str) -> bool:
    return as_text(value).endswith(end)


FILTERS: dict[str, Callable[..., Any]] = {
    "abs": abs,
    "capitalize": _on_text(str.capitalize),
    "count": _on_items(len),
    "d": _default,
    "default": _default,
    "first": _on_items(lambda items: items[0]),
    "float": float,
    "int": int,
    "join": _join,
    "last": _on_items(lambda items: items[-1]),
    "length": _on_items(len),
    "list": _items,
    "lower": _on_text(str.lower),
    "replace": _replace,
    "reverse": _on_items(lambda items: items[::-1]),
    "round": _round,
    "sort": _on_items(sorted),
    "strftime": _strftime,
    "title": _on_text(str.title),
    "trim": _on_text(str.strip),
    "truncate": _truncate,
    "unique": _on_items(lambda items: list(dict.fromkeys(items))),
    "upper": _on_text(str.upper),
}
METHODS: dict[str, Callable[..., Any]] = {
    "capitalize": _on_text(str.capitalize),
    "endswith": _endswith,
    "get": _get,
    "isoformat": _isoformat,
    "items": _on_mapping(lambda mapping: list(mapping.items())),
    "keys": _on_mapping(list),
    "lower": _on_text(str.lower),
    "replace": _replace,
    "split": _split,
    "startswith": _startswith,
    "strftime": _strftime,
    "strip": _on_text(str.strip),
    "title": _on_text(str.title),
    "upper": _on_text(str.upper),
    "values": _on_mapping(lambda mapping: list(mapping.values())),
}
TESTS = (
    *("defined", "undefined", "none", "boolean", "number", "integer", "float", "string"),
    *("odd", "even", "divisibleby", "in", "==", "!=", "<", "<=", ">", ">="),
)
# Names that only a rewritten tree uses; no template can write them.
_INNER: dict[str, Callable[..., Any]] = {"range()": _range, "[]": _flat, "~": _join}


def meter_of(context: Context) -> Meter:
    """The meter of the rendering that a context belongs to."""
    return cast("Meter", context[METER])


def _metered(function: Callable[..., Any]) -> Callable[..., Any]:
    # Since it takes the context, Jinja2 never calls it early, while it compiles.
    @pass_context
    def run(context: Context, value: Any, *args: Any, **kwargs: Any) -> Any:
        meter = meter_of(context)
        for given in (value, *args, *kwargs.values()):
            meter.weigh(given)
        return meter.weigh(function(value, *args, **kwargs))

    return run


@pass_context
def _turns(context: Context, value: Any, weight: int) -> Iterator[Any]:
    """The items of a loop, each paid for."""
    meter = meter_of(context)
    for item in meter.weigh(_items(value)):
        meter.spend(weight)
        yield item


def metered_filters() -> dict[str, Callable[..., Any]]:
    """Everything that is led through the meter: filters by name, methods by `.name`, loops, lists and `~`."""
    methods = {f".{name}": function for name, function in METHODS.items()}
    functions = {**FILTERS, **methods, **_INNER}
    return {**{name: _metered(function) for name, function in functions.items()}, "for": _turns}


def calculate(meter: Meter, operator: str, function: Callable[[Any, Any], Any], left: Any, right: Any) -> Any:
    """Numbers with numbers; text also with `+` and `*`."""
    both = [meter.weigh(left), meter.weigh(right)]
    numbers = [isinstance(side, int | float) for side in both]
    texts = [isinstance(side, str) for side in both]
    if operator == "*" and any(texts) and any(numbers):
        fits(len(both[texts.index(True)]) * max(0, int(both[numbers.index(True)])))
    elif not all(numbers) and not (operator == "+" and all(texts)):
        kinds = " and ".join(_kind(side) for side in both)
        refuse(f"{operator} does not go with {kinds}; join texts and numbers with ~")
    return meter.weigh(function(left, right))


def _kind(value: Any) -> str:
    # The text of an undefined variable is an error that names it.
    return str(value) if isinstance(value, Undefined) else type(value).__name__
