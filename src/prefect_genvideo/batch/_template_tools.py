"""What templates can do: their filters, methods and tests, and the meter that holds each of them to a bound."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date
from operator import itemgetter, methodcaller
from typing import Any, Final, NoReturn, cast

from jinja2 import Undefined, pass_context
from jinja2.runtime import Context

MAX_TEXT: Final = 20_000
"""Most characters of a template, of any value while it is rendered, and of what comes out."""
MAX_ITEMS: Final = 1_000
"""Most items of a `range` or list while a template is rendered."""
MAX_WORK: Final = 20_000
"""Steps that the templates of one row may take together; some 0.2 seconds at worst."""
METER: Final = "*meter"
"""Where a rendering keeps its meter: no name that a template could write."""
# 77 digits: beyond any count or id, and quick to multiply.
_MAX_BITS: Final = 256
# What one step pays for, so that steps of all kinds take about as long.
_CHARS_PER_STEP: Final = 100
_ITEMS_PER_STEP: Final = 10
# Without widths such as `%1000000000d`, which the C library would honour.
_STRFTIME: Final = re.compile(r"(?:[^%]|%-?[aAbBdHIjmMpSuVwWyYGUZ%]){0,100}")

Function = Callable[..., Any]


class RefusedError(ValueError):
    """The template does what none may do; the message says what."""


def refuse(why: str) -> NoReturn:
    """Raise `RefusedError`."""
    raise RefusedError(why)


class Meter:
    """Counts the steps of a row's templates, and holds their values small."""

    def __init__(self) -> None:
        self._left = MAX_WORK

    def spend(self, steps: int) -> None:
        """Take steps off what is left."""
        self._left -= steps
        if self._left < 0:
            refuse("it does too much work; make its loops shorter, or give the row fewer templates")

    def weigh(self, value: Any) -> Any:
        """Return the value after it has been found small enough."""
        steps = 1
        if isinstance(value, str):
            steps += fits(len(value)) // _CHARS_PER_STEP
        elif isinstance(value, list | tuple | dict):
            size = len(cast("list[Any]", value))
            if size > MAX_ITEMS:
                refuse(f"a list becomes longer than {MAX_ITEMS} items")
            steps += size // _ITEMS_PER_STEP
        elif isinstance(value, int) and value.bit_length() > _MAX_BITS:
            refuse("a number becomes too large")
        self.spend(steps)
        return cast("Any", value)


def meter_of(context: Context) -> Meter:
    """The meter of the rendering that a context belongs to."""
    return cast("Meter", context[METER])


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


def _mapping(value: Any) -> dict[Any, Any]:
    return cast("dict[Any, Any]", value) if isinstance(value, dict) else refuse("this is no mapping")


def _date(value: Any) -> date:
    return value if isinstance(value, date) else refuse("this is no date; strftime and isoformat are for dates")


def _of(taken: Function, function: Function) -> Function:
    """A function of a value that is taken as something first, e.g. as a text."""

    def run(value: Any, *args: Any) -> Any:
        return function(taken(value), *args)

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


def _replace(text: str, old: str, new: str) -> str:
    fits(len(text) + text.count(old) * len(new))
    return text.replace(old, new)


def _truncate(text: str, length: int = 255, end: str = "…") -> str:
    return text if len(text) <= length else text[: max(0, length - len(end))] + end


def _default(value: Any, other: Any = "", empty_too: bool = False) -> Any:
    missing = isinstance(value, Undefined) or value is None
    return other if missing or (empty_too and not value) else value


def _round(value: float, digits: int = 0) -> float:
    return round(value, digits) if digits else round(value)


def _strftime(value: date, form: str) -> str:
    if not _STRFTIME.fullmatch(form):
        refuse("this date format is not taken; e.g. %d %B %Y")
    return value.strftime(form)


# In place of Jinja2's own, whose results may have any length, take a failed conversion for 0 and null for a text.
_BOTH: Final[dict[str, Function]] = {
    "capitalize": _of(as_text, str.capitalize),
    "lower": _of(as_text, str.lower),
    "replace": _of(as_text, _replace),
    "strftime": _of(_date, _strftime),
    "title": _of(as_text, str.title),
    "upper": _of(as_text, str.upper),
}
FILTERS: Final[dict[str, Function]] = {
    **_BOTH,
    "abs": abs,
    "count": _of(_items, len),
    "d": _default,
    "default": _default,
    "first": _of(_items, itemgetter(0)),
    "float": float,
    "int": int,
    "join": _join,
    "last": _of(_items, itemgetter(-1)),
    "length": _of(_items, len),
    "list": _items,
    "reverse": _of(_items, itemgetter(slice(None, None, -1))),
    "round": _round,
    "sort": _of(_items, sorted),
    "trim": _of(as_text, str.strip),
    "truncate": _of(as_text, _truncate),
    "unique": _of(_of(_items, dict.fromkeys), list),
}
"""What may stand behind `|`."""
METHODS: Final[dict[str, Function]] = {
    **_BOTH,
    "endswith": _of(as_text, str.endswith),
    "get": _of(_mapping, dict[Any, Any].get),
    "isoformat": _of(_date, methodcaller("isoformat")),
    "items": _of(_of(_mapping, dict[Any, Any].items), list),
    "keys": _of(_mapping, list),
    "split": _of(as_text, str.split),
    "startswith": _of(as_text, str.startswith),
    "strip": _of(as_text, str.strip),
    "values": _of(_of(_mapping, dict[Any, Any].values), list),
}
"""What may be called on a value."""
TESTS: Final = (
    *("defined", "undefined", "none", "boolean", "number", "integer", "float", "string"),
    *("odd", "even", "divisibleby", "in", "==", "!=", "<", "<=", ">", ">="),
)
"""What may stand behind `is`; Jinja2's own."""
# Names that only a rewritten tree uses; no template can write them.
_INNER: Final[dict[str, Function]] = {"range()": _range, "[]": _flat, "~": _join}


def _metered(function: Function) -> Function:
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
    """The items of a loop; each counts as a step of the meter."""
    meter = meter_of(context)
    for item in meter.weigh(_items(value)):
        meter.spend(weight)
        yield item


def metered_filters() -> dict[str, Function]:
    """Everything that is led through the meter: filters by name, methods by `.name`, loops, lists and `~`."""
    methods = {f".{name}": function for name, function in METHODS.items()}
    functions = {**FILTERS, **methods, **_INNER}
    return {**{name: _metered(function) for name, function in functions.items()}, "for": _turns}


def calculate(meter: Meter, operator: str, function: Callable[[Any, Any], Any], left: Any, right: Any) -> Any:
    """Return what an operator makes of numbers; `+` and `*` also take texts.

    Args:
        meter: Weighs both sides and the result.
        operator: As it is written.
        function: What it does.
        left: What stands before it.
        right: What stands behind it.

    Raises:
        RefusedError: It does not go with these, or makes too much of them.
    """
    both = [meter.weigh(left), meter.weigh(right)]
    numbers = [isinstance(side, int | float) for side in both]
    texts = [isinstance(side, str) for side in both]
    if operator == "*" and any(texts) and any(numbers):
        fits(len(both[texts.index(True)]) * max(0, int(both[numbers.index(True)])))
    elif not all(numbers) and not (operator == "+" and all(texts)):
        # The text of an undefined variable is an error that names it.
        kinds = " and ".join(str(side) if isinstance(side, Undefined) else type(side).__name__ for side in both)
        refuse(f"{operator} does not go with {kinds}; join texts and numbers with ~")
    return meter.weigh(function(left, right))
