"""Templates in a batch's texts: Jinja2's sandbox, held to a list of what may be written and to a bound on work.

```
{{ city }} at dawn, {{ weekday }}, {{ date.strftime('%d %B') }}{% if mood is defined %}, {{ mood | lower }}{% endif %}
```

A text without `{{` or `{%` is no template and is never touched. A variable that is not there is an error, not an
empty string. There is `if`, `for`, `set`, arithmetic, comparison, `~`, `range`, and some filters, methods and tests;
an error about another one lists them. Nothing reads files, the clock or chance, so that a rerun renders the same text.

Jinja2's sandbox keeps a template away from Python's insides, yet lets it fill the memory (`'a'.ljust(10**10)`) or count
for years (nested loops). So the syntax is looked through before anything is compiled, and operators, filters, methods
and the turns of loops are paid from one meter for all templates of a row.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import date, datetime
from typing import Any, Final, cast

from jinja2 import StrictUndefined, Template, Undefined, UndefinedError, nodes
from jinja2.exceptions import TemplateError
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from prefect_genvideo.batch._template_tools import (
    FILTERS,
    MAX_TEXT,
    METER,
    METHODS,
    TESTS,
    Meter,
    RefusedError,
    as_text,
    calculate,
    fits,
    meter_of,
    metered_filters,
    refuse,
)
from prefect_genvideo.batch.model import closest_name
from prefect_genvideo.errors import InvalidRequestError

__all__ = ["Meter", "is_template", "render"]

# Nested expressions; Python's own parser gives up at some ninety.
_MAX_DEPTH: Final = 40
# Reading a template takes some 3 µs a character and compiling it some 40 µs a node.
_CHARS_PER_STEP: Final = 10
_STEPS_PER_NODE: Final = 5
_SYNTAX: Final = frozenset(
    {
        *("Template", "Output", "TemplateData", "Name", "Const", "Getattr", "Getitem", "Slice", "Call", "Keyword"),
        *("Filter", "Test", "If", "For", "Assign", "CondExpr", "Compare", "Operand", "And", "Or", "Not"),
        *("Add", "Sub", "Mul", "Div", "FloorDiv", "Mod", "Neg", "Pos", "Concat", "List", "Tuple"),
    }
)
_ATTRIBUTES: Final[Mapping[type, frozenset[str]]] = {
    datetime: frozenset({"year", "month", "day", "hour", "minute", "second"}),
    date: frozenset({"year", "month", "day"}),
    LoopContext: frozenset({"index", "index0", "revindex", "first", "last", "length"}),
}


def is_template(text: str) -> bool:
    """Whether a text has template syntax; a lone brace is none."""
    return "{{" in text or "{%" in text


def render(text: str, variables: Mapping[str, Any], meter: Meter | None = None) -> str:
    """Return the text of a template.

    Args:
        text: The template, at most 20,000 characters; a text without template syntax is returned as it is.
        variables: Plain data by name: texts, numbers, dates, lists and mappings of these.
        meter: What the templates of one row share; None gives this one a meter of its own.

    Raises:
        InvalidRequestError: The template is broken, uses a variable that is not there, or does too much.
    """
    if not is_template(text):
        return text
    meter = meter or Meter()
    try:
        return _joined(text, variables, meter)
    except UndefinedError as error:
        message = str(error.message)
        with suppress(RefusedError):  # a row of very many mistakes has hints for the first ones
            meter.spend(len(variables))
            message += _hint(message, variables)
    except (TemplateError, RefusedError) as error:
        message = str(error)
    except Exception as error:
        # A hostile template may raise whatever Python can: a deep one RecursionError, `1 / 0` ZeroDivisionError.
        message = f"it cannot be rendered ({type(error).__name__}: {error})"
    raise InvalidRequestError(f"this template cannot be used: {message[:300]}", reason=message[:300])


def _joined(text: str, variables: Mapping[str, Any], meter: Meter) -> str:
    # Reading it is paid for before, also where it turns out to be none; compiling it after, also where that was done
    # for an earlier row: a row is refused or not whatever came before it.
    meter.spend(fits(len(text)) // _CHARS_PER_STEP)
    template, weight = _compiled(text)
    meter.spend(weight)
    pieces, size = list[str](), 0
    for piece in template.generate({**variables, METER: meter}):
        pieces.append(piece)
        size += len(piece)
        if size > MAX_TEXT:
            refuse(f"it becomes longer than {MAX_TEXT} characters")
    return "".join(pieces)


@functools.lru_cache(maxsize=64)
def _compiled(text: str) -> tuple[Template, int]:
    """A template and the steps that compiling it costs, which no meter could pay if it were too long."""
    guard = _Guard()
    tree = cast("nodes.Template", guard.visit(_ENVIRONMENT.parse(text)))
    weight = guard.nodes * _STEPS_PER_NODE
    Meter().spend(weight)
    return _ENVIRONMENT.from_string(tree), weight


def _hint(message: str, variables: Mapping[str, Any]) -> str:
    named = re.match(r"'([^']+)' is undefined", message)
    if named is None:
        return ""
    names = sorted(name for name in variables if name.isidentifier())
    meant = closest_name(named[1], names)
    return f"; did you mean {meant}?" if meant else f"; there are {', '.join(names[:100])[:150]}"


class _Guard(NodeTransformer):
    """Refuses what may not be written, and leads every loop, list and call through a metered filter."""

    def __init__(self) -> None:
        self.nodes = 0
        self._depth = 0

    def visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> Any:
        """Look at a node before anything below it."""
        kind = type(node).__name__
        if kind not in _SYNTAX:
            refuse(f"{kind} is not taken in templates (line {node.lineno})")
        if self._depth > _MAX_DEPTH:
            refuse("it is nested too deeply")
        if getattr(node, "dyn_args", None) is not None or getattr(node, "dyn_kwargs", None) is not None:
            refuse(f"only plain arguments are taken (line {node.lineno})")
        self.nodes += 1
        self._depth += 1
        made = super().visit(node, *args, **kwargs)
        self._depth -= 1
        return made

    def visit_Filter(self, node: nodes.Filter) -> nodes.Node:
        """Refuse filters that are not on the list."""
        if node.node is None or node.name not in FILTERS:
            refuse(f"there is no filter {node.name!r}; there are {', '.join(FILTERS)}")
        return self.generic_visit(node)

    def visit_Test(self, node: nodes.Test) -> nodes.Node:
        """Refuse tests that are not on the list."""
        if node.name not in TESTS:
            refuse(f"there is no test {node.name!r}; there are {', '.join(TESTS)}")
        return self.generic_visit(node)

    def visit_Call(self, node: nodes.Call) -> nodes.Node:
        """`text.upper()` becomes the metered method, and so does `range(3)`. Nothing else can be called."""
        called = node.node
        if isinstance(called, nodes.Getattr) and called.attr in METHODS and not node.kwargs:
            self.generic_visit(node)
            return _through(f".{called.attr}", called.node, node.args)
        if isinstance(called, nodes.Name) and called.name == "range" and not node.kwargs:
            self.generic_visit(node)
            return _through("range()", nodes.List(node.args, lineno=node.lineno), [])
        refuse(f"only range and these methods can be called: {', '.join(METHODS)} (line {node.lineno})")

    def visit_For(self, node: nodes.For) -> nodes.Node:
        if node.recursive:
            refuse("loops cannot be recursive")
        before = self.nodes
        self.generic_visit(node)
        node.iter = _through("for", cast("nodes.Expr", node.iter), [nodes.Const(self.nodes - before)])
        return node

    def visit_List(self, node: nodes.List) -> nodes.Node:
        return _through("[]", cast("nodes.Expr", self.generic_visit(node)), [])

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:
        self.generic_visit(node)
        return node if node.ctx == "store" else _through("[]", node, [])

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _through("~", nodes.List(node.nodes, lineno=node.lineno), [])


def _through(name: str, value: nodes.Expr, args: list[nodes.Expr]) -> nodes.Filter:
    return nodes.Filter(value, name, args, [], None, None, lineno=value.lineno)


class _Environment(ImmutableSandboxedEnvironment):
    """The sandbox in which data has parts and no methods, and operators are metered."""

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "%"})

    def getattr(self, obj: Any, attribute: str) -> Any:
        """A key of a mapping, or one of the few attributes that are data."""
        if isinstance(obj, dict):
            found = cast("dict[str, Any]", obj)
            return found[attribute] if attribute in found else self.undefined(obj=found, name=attribute)
        if isinstance(obj, Undefined):
            return obj[attribute]  # raises, naming the variable
        known = next((names for kind, names in _ATTRIBUTES.items() if isinstance(obj, kind)), frozenset[str]())
        return getattr(obj, attribute) if attribute in known else self.undefined(obj=obj, name=attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        """An item, a slice, or what `getattr` gives."""
        if isinstance(obj, str | list | tuple) and isinstance(argument, int | slice):
            row = cast("list[Any]", obj)
            try:
                return row[argument]
            except LookupError:
                return self.undefined(f"there is no item {argument}")
        return self.getattr(obj, argument if isinstance(argument, str) else as_text(argument))

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Apply an operator; the meter counts the step and bounds the result."""
        return calculate(meter_of(context), operator, self.binop_table[operator], left, right)


def _new_environment() -> _Environment:
    made: Any = _Environment(undefined=StrictUndefined, keep_trailing_newline=True, finalize=as_text, optimized=False)
    made.globals = {}
    made.tests = {name: made.tests[name] for name in TESTS}
    made.filters = metered_filters()
    return made


_ENVIRONMENT: Final = _new_environment()
