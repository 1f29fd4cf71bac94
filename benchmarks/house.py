"""How the code is built, in figures: `python benchmarks/house.py`. Reads the source, runs nothing of it.

What is printed is held by `tests/packaging/test_architecture.py`. With `--draw` it draws the rooms for the
documentation, `docs/img/rooms.svg`.
"""

from __future__ import annotations

import argparse
import ast
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "prefect_genvideo"
PICTURE = PACKAGE.parents[1] / "docs" / "img" / "rooms.svg"
MOST_COMPLEX = 10

FLOORS: tuple[tuple[tuple[str, str], ...], ...] = (
    (
        ("errors", "what the caller must do"),
        ("models", "plain data"),
        ("settings", "what operators set"),
        ("polling", "when to ask next"),
        ("stated", "what users write"),
        ("plain_yaml", "YAML, safely"),
    ),
    (
        ("media", "what a file is; frames; films"),
        ("storage", "objects in S3 or a folder"),
        ("prices", "what a generation costs"),
    ),
    (("providers", "each vendor's HTTP API, and what its answers mean"),),
    (("ledger", "the record of every create: never pay twice"),),
    (("pipeline", "one request to one stored video, resumable"),),
    (("batch", "from a manifest to checked rows and a report"),),
    (("finance", "plans before money is spent, bills after it"),),
    (("runtime", "keys of runs, limits, logs and events of Prefect"),),
    (("blocks", "who pays, and where videos go"),),
    (
        ("artifacts", "pictures and tables"),
        ("events", "strangers' requests"),
        ("deployments", "block documents"),
    ),
    (("tasks", "the four steps as task runs"),),
    (("flows", "one video, a batch, its plan, shards, a film, reconcile"),),
    (("ready", "pipelines ready to deploy, and what brings them up"),),
    (("listen", "the event door: webhooks and stores"), ("cli", "the command line")),
)
"""Rooms with what each is for, lowest floor first. A room imports from its own floor and from those below it."""

WITHOUT_PREFECT = 7
"""So many of the lowest floors know nothing of Prefect."""

Function = ast.FunctionDef | ast.AsyncFunctionDef

BRANCHES = (
    ast.If,
    ast.IfExp,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.ExceptHandler,
    ast.comprehension,
    ast.Assert,
)
"""Each adds a way through a function; `and`, `or`, a comprehension's `if` and a `case` are counted apart."""


BASES: dict[str, ast.ClassDef] = {}
"""Classes of the package by name, whose methods' descriptions count for their overrides."""


@dataclass(frozen=True)
class Measured:
    """A function.

    Attributes:
        name: Module and qualified name, `pipeline.save._Saver.fetched`.
        lines: Lines of code, less the docstring.
        complexity: Ways through it, 1 and more.
        undescribed: Public, of two or more parameters, and without an `Args:` section.
    """

    name: str
    lines: int
    complexity: int
    undescribed: bool


def complexity(function: Function) -> int:
    """Cyclomatic complexity (McCabe 1976): 1, and 1 for every place where the way divides; inner functions apart."""
    ways = 1
    for node in own(function):
        if isinstance(node, BRANCHES):
            ways += 1
        if isinstance(node, ast.BoolOp):
            ways += len(node.values) - 1
        if isinstance(node, ast.comprehension):
            ways += len(node.ifs)
        if isinstance(node, ast.Match):
            ways += len(node.cases)
    return ways


def own(function: ast.AST) -> Iterator[ast.AST]:
    """Every node of a function, without those of functions and classes inside it."""
    for child in ast.iter_child_nodes(function):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            yield child
            yield from own(child)


def lines_of_code(function: Function) -> int:
    """Lines of a function less its docstring, which for a flow is also the text of its form in the UI."""
    lines = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is not None:
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def lacks_arguments(function: Function) -> bool:
    """Whether a function of two or more parameters says nothing of them."""
    given = function.args
    names = {argument.arg for argument in (*given.posonlyargs, *given.args, *given.kwonlyargs)} - {"self", "cls"}
    return len(names) >= 2 and "Args:" not in (ast.get_docstring(function) or "")


def functions(node: ast.AST, path: str, told: frozenset[str] | None = frozenset()) -> Iterator[Measured]:
    """Every function below a node, inner ones and methods too.

    Args:
        node: A module, class or function.
        path: Its dotted name.
        told: Names that a base of the class describes already; None: nothing here is public.
    """
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            name = f"{path}.{child.name}"
            public = told is not None and child.name not in told and not child.name.startswith("_")
            yield Measured(name, lines_of_code(child), complexity(child), public and lacks_arguments(child))
            yield from functions(child, name, None)
        elif isinstance(child, ast.ClassDef):
            inherited = None if told is None or child.name.startswith("_") else inherited_methods(child)
            yield from functions(child, f"{path}.{child.name}", inherited)
        else:
            yield from functions(child, path, told)


def inherited_methods(kind: ast.ClassDef) -> frozenset[str]:
    """Names of the methods of a class's bases, as far as they are classes of the package."""
    names = {base.id for base in kind.bases if isinstance(base, ast.Name)} - {kind.name}
    bases = [BASES[name] for name in names if name in BASES]
    own = {
        member.name
        for base in bases
        for member in base.body
        if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    return frozenset(own).union(*map(inherited_methods, bases))


@cache
def tree(file: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(file.read_text(encoding="utf-8"))


def trees(package: Path = PACKAGE) -> dict[str, ast.Module]:
    """The syntax tree of every module, by its name below the package."""
    return {
        ".".join(file.relative_to(package).with_suffix("").parts): tree(file) for file in sorted(package.rglob("*.py"))
    }


def _is_private(module: str) -> bool:
    last = module.rpartition(".")[2]
    return last.startswith("_") and not last.startswith("__")


@cache
def measured(package: Path = PACKAGE) -> list[Measured]:
    """Every function of the package."""
    parsed = trees(package)
    BASES.update((node.name, node) for tree in parsed.values() for node in tree.body if isinstance(node, ast.ClassDef))
    # A file whose name begins with an underscore is its room's own: nothing in it is public.
    return [
        found
        for name, tree in parsed.items()
        for found in functions(tree, name, None if _is_private(name) else frozenset())
    ]


def spread(values: Sequence[int]) -> str:
    """Median, the value that nine of ten stay below, and the largest."""
    ordered = sorted(values)
    return f"median {median(ordered):g}, p90 {ordered[int(0.9 * (len(ordered) - 1))]}, max {ordered[-1]}"


def report(package: Path = PACKAGE) -> str:
    """All figures, one a line."""
    files = {file: len(file.read_text(encoding="utf-8").splitlines()) for file in package.rglob("*.py")}
    simulator = sum(lines for file, lines in files.items() if "simulator" in file.parts)
    top = [file for file in files if file.parent == package]
    folders = sorted({file.relative_to(package).parts[0] for file in files if file.parent != package})
    found = measured(package)
    complex_ones = sorted(found, key=lambda one: (-one.complexity, one.name))[:MOST_COMPLEX]
    undescribed = [one.name for one in found if one.undescribed and not one.name.startswith("simulator")]
    return "\n".join(
        [
            f"at the top of the package: {len(top)} modules, {len(folders)} folders ({', '.join(folders)})",
            f"lines: {sum(files.values()) - simulator:,}, and {simulator:,} of the simulator",
            f"lines of a module ({len(files)}): {spread(list(files.values()))}",
            f"lines of a function ({len(found)}): {spread([one.lines for one in found])}",
            f"public functions of two or more parameters without `Args:`: {len(undescribed)}",
            *(f"  {name}" for name in undescribed),
            "most complex functions:",
            *(f"  {one.complexity:>2}  {one.name} ({one.lines} lines)" for one in complex_ones),
        ]
    )


_WIDTH, _ROW, _GAP, _LEFT = 880, 46, 8, 130
# Attributes, not a style sheet: some programs that draw SVG read none.
_FONT = 'font-family="sans-serif" font-size="13"'
_PLAIN, _PREFECT = 'fill="#eef2ff" stroke="#8c9eff"', 'fill="#fff4e5" stroke="#ffb74d"'


def picture() -> str:
    """The rooms as SVG, the highest floor on top."""
    height = len(FLOORS) * (_ROW + _GAP) + 2 * _GAP
    shapes = [f'<rect fill="#ffffff" width="{_WIDTH}" height="{height}"/>']
    for floor, rooms in enumerate(reversed(FLOORS)):
        top = _GAP + floor * (_ROW + _GAP)
        width = (_WIDTH - _LEFT - _GAP * len(rooms)) / len(rooms)
        colour = _PREFECT if floor < len(FLOORS) - WITHOUT_PREFECT else _PLAIN
        for number, (name, what) in enumerate(rooms):
            left = _LEFT + number * (width + _GAP)
            shapes += [
                f'<rect {colour} x="{left:.0f}" y="{top}" width="{width:.0f}" height="{_ROW}" rx="6"/>',
                f'<text fill="#222222" font-weight="bold" x="{left + 12:.0f}" y="{top + 19}">{name}</text>',
                f'<text fill="#555555" x="{left + 12:.0f}" y="{top + 36}">{what}</text>',
            ]
    border = _GAP / 2 + (len(FLOORS) - WITHOUT_PREFECT) * (_ROW + _GAP)
    shapes += [
        f'<line stroke="#888888" stroke-dasharray="5 4" x1="0" x2="{_WIDTH}" y1="{border:.0f}" y2="{border:.0f}"/>',
        f'<text fill="#555555" x="8" y="{border - 10:.0f}">knows Prefect</text>',
        f'<text fill="#555555" x="8" y="{border + 20:.0f}">plain Python</text>',
        f'<text fill="#555555" x="8" y="{_GAP + 27}">imports go down ↓</text>',
    ]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="The rooms">'
    return "\n".join([head, f"<g {_FONT}>", *shapes, "</g>", "</svg>"]) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="How the package is built, in figures.")
    parser.add_argument("package", nargs="?", type=Path, help="another tree of the package, to compare with")
    parser.add_argument("--draw", action="store_true", help="draw the rooms into docs/img/rooms.svg instead")
    given = parser.parse_args()
    if given.draw:
        PICTURE.write_text(picture(), encoding="utf-8")
    else:
        sys.stdout.write(report(*filter(None, [given.package])) + "\n")
