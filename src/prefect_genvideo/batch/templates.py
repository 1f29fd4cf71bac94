"""Templates in a batch's texts: Jinja2 in a sandbox that also bounds time and memory.

```
{{ city }} at dawn, {{ weekday }}, {{ date.strftime('%d %B') }}{% if mood is defined %}, {{ mood | lower }}{% endif %}
```

A text without `{{` or `{%` is no template and is never touched. A variable that is not there is an error, not an
empty string. There is `if`, `for`, `set`, arithmetic, comparison, `~`, `range`, and the filters, methods and tests
of `template_tools`. Nothing reads files, the clock or chance, so that a rerun renders the same text.

Jinja2's own sandbox keeps a template away from Python's insides, yet lets it fill the memory
(`'a'.ljust(10**10)`) or count for years (nested loops). Here only known syntax passes; operators, filters and methods
are metered; and every turn of a loop costs as much as its body has nodes.
"""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any, cast

from jinja2 import StrictUndefined, Template, Undefined, UndefinedError, nodes
from jinja2.exceptions import TemplateError
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import SandboxedEnvironment

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
    meter_of,
    metered_filters,
    refuse,
)
from prefect_genvideo.errors import InvalidRequestError

_MAX_DEPTH = 40
_SYNTAX = frozenset(
    {
        *("Template", "Output", "TemplateData", "Name", "Const", "Getattr", "Getitem", "Slice", "Call", "Keyword"),
        *("Filter", "Test", "If", "For", "Assign", "CondExpr", "Compare", "Operand", "And", "Or", "Not"),
        *("Add", "Sub", "Mul", "Div", "FloorDiv", "Mod", "Neg", "Pos", "Concat", "List", "Tuple"),
    }
)
_ATTRIBUTES: Mapping[type, frozenset[str]] = {
    datetime: frozenset({"year", "month", "day", "hour", "minute", "second"}),
    date: frozenset({"year", "month", "day"}),
    LoopContext: frozenset({"index", "index0", "revindex", "first", "last", "length"}),
}


def is_template(text: str) -> bool:
    """Whether a text has template syntax; a lone brace is none."""
    return "{{" in text or "{%" in text


def render(text: str, variables: Mapping[str, Any]) -> str:
    """Return the text of a template.

    Args:
        text: The template, at most 20,000 characters; a text without template syntax is returned as it is.
        variables: Plain data by name: texts, numbers, dates, lists and mappings of these.

    Raises:
        InvalidRequestError: The template is broken, uses a variable that is not there, or does too much.
    """
    if not is_template(text):
        return text
    try:
        return _joined(_compiled(text), variables)
    except UndefinedError as error:
        message = f"{error.message}{_hint(str(error.message), variables)}"
    except (TemplateError, RefusedError) as error:
        message = str(error)
    except Exception as error:
        # A hostile template may raise whatever Python can: a deep one RecursionError, `1 / 0` ZeroDivisionError.
        message = f"it cannot be rendered ({type(error).__name__}: {error})"
    raise InvalidRequestError(f"this template cannot be used: {message[:300]}")


def _joined(template: Template, variables: Mapping[str, Any]) -> str:
    pieces, size = list[str](), 0
    for piece in template.generate({**variables, METER: Meter()}):
        pieces.append(piece)
        size += len(piece)
        if size > MAX_TEXT:
            refuse(f"it becomes longer than {MAX_TEXT} characters")
    return "".join(pieces)


@functools.lru_cache(maxsize=256)
def _compiled(text: str) -> Template:
    if len(text) > MAX_TEXT:
        refuse(f"it is longer than {MAX_TEXT} characters")
    return _ENVIRONMENT.from_string(cast("nodes.Template", _caged(_ENVIRONMENT.parse(text), 0)))


def _hint(message: str, variables: Mapping[str, Any]) -> str:
    named = re.match(r"'([^']+)' is undefined", message)
    if named is None:
        return ""
    names = sorted(name for name in variables if name.isidentifier())
    near = difflib.get_close_matches(named[1], names, n=1)
    return f"; did you mean {near[0]}?" if near else f"; there are {', '.join(names)[:150]}"


# What may be written: every node is looked at before anything is compiled.


def _caged(node: nodes.Node, depth: int) -> nodes.Node:
    """Return the tree with every loop, list and call led through the meter."""
    kind = type(node).__name__
    if kind not in _SYNTAX:
        refuse(f"{kind} is not taken in templates (line {node.lineno})")
    if depth > _MAX_DEPTH:
        refuse("it is nested too deeply")
    for name, value in node.iter_fields():
        if isinstance(value, nodes.Node):
            setattr(node, name, _caged(value, depth + 1))
        elif isinstance(value, list):
            items = cast("list[Any]", value)
            setattr(node, name, [_caged(item, depth + 1) if isinstance(item, nodes.Node) else item for item in items])
    rewrite = _REWRITES.get(kind)
    return rewrite(node) if rewrite else node


def _through(name: str, value: nodes.Expr, args: list[nodes.Expr], like: nodes.Node) -> nodes.Filter:
    return nodes.Filter(value, name, args, [], None, None, lineno=like.lineno)


def _no_spread(node: Any) -> None:
    if node.dyn_args is not None or node.dyn_kwargs is not None:
        refuse(f"only plain arguments are taken (line {node.lineno})")


def _cage_filter(node: Any) -> nodes.Node:
    _no_spread(node)
    if node.node is None or node.name not in FILTERS:
        refuse(f"there is no filter {node.name!r}; there are {', '.join(FILTERS)}")
    return node


def _cage_test(node: Any) -> nodes.Node:
    _no_spread(node)
    if node.name not in TESTS:
        refuse(f"there is no test {node.name!r}; there are {', '.join(TESTS)}")
    return node


def _cage_call(node: Any) -> nodes.Node:
    """`text.upper()` becomes the metered method, and so does `range(3)`. Nothing else can be called."""
    _no_spread(node)
    called = node.node
    if isinstance(called, nodes.Getattr) and called.attr in METHODS and not node.kwargs:
        return _through(f".{called.attr}", called.node, node.args, node)
    if isinstance(called, nodes.Name) and called.name == "range" and not node.kwargs:
        return _through("range()", nodes.List(node.args, lineno=node.lineno), [], node)
    refuse(f"only range and these methods can be called: {', '.join(METHODS)} (line {node.lineno})")


def _cage_loop(node: Any) -> nodes.Node:
    if node.recursive:
        refuse("loops cannot be recursive")
    weight = 1 + sum(1 for part in node.body for _ in part.find_all(nodes.Node))
    node.iter = _through("for", node.iter, [nodes.Const(weight)], node)
    return node


def _cage_list(node: Any) -> nodes.Node:
    return node if getattr(node, "ctx", "load") == "store" else _through("[]", node, [], node)


def _cage_concat(node: Any) -> nodes.Node:
    return _through("~", nodes.List(node.nodes, lineno=node.lineno), [], node)


_REWRITES: Mapping[str, Callable[[Any], nodes.Node]] = {
    "Filter": _cage_filter,
    "Test": _cage_test,
    "Call": _cage_call,
    "For": _cage_loop,
    "List": _cage_list,
    "Tuple": _cage_list,
    "Concat": _cage_concat,
}


class _Cage(SandboxedEnvironment):
    """The sandbox: data has parts and no methods, operators are metered."""

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
        """An operator under the meter."""
        return calculate(meter_of(context), operator, self.binop_table[operator], left, right)


def _new_environment() -> _Cage:
    cage: Any = _Cage(undefined=StrictUndefined, keep_trailing_newline=True, finalize=as_text, optimized=False)
    cage.globals = {}
    known = cage.tests
    cage.tests = {name: known[name] for name in TESTS}
    cage.filters = metered_filters()
    return cage


_ENVIRONMENT = _new_environment()
