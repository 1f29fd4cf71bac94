"""The shape that the README promises a contributor: imports go downwards, and small pieces."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter

import pytest

from tests.packaging.sources import PACKAGE, ROOT, imports, modules, reach, tracked_files, tree

LAYERS = (
    ("errors", "models"),
    ("media", "mp4", "polling"),
    ("providers", "storage"),
    ("ledger",),
    ("saving",),
    ("blocks",),
    ("tasks",),
    ("flows",),
    ("cli",),
)
"""Lowest first. A module between two of them is held by what it reaches."""

BELOW_PREFECT = tuple(name for layer in LAYERS[:5] for name in layer)
SIMULATOR_MAY_USE = ("errors", "models", "media", "lettering", "simulator")
HEAVY = ("prefect", "boto3", "httpx", "av", "PIL", "pydantic", "rich")


def belongs(module: str, layer: str) -> bool:
    """Whether a module is a layer or inside it."""
    return f"{module}.".startswith(f"{PACKAGE}.{layer}.")


def members(layer: str) -> list[str]:
    """The modules of a layer."""
    return [module for module in modules() if belongs(module, layer)]


@pytest.mark.parametrize("layer", [name for names in LAYERS for name in names])
def test_imports_go_downwards(layer: str) -> None:
    """A module reaches nothing of a higher layer, not even through a third one or inside a function."""
    height = next(height for height, names in enumerate(LAYERS) if layer in names)
    higher = [name for names in LAYERS[height + 1 :] for name in names]
    upwards = [
        f"{module} -> {found}"
        for module in members(layer)
        for found in reach(module)
        for name in higher
        if belongs(found, name)
    ]
    assert members(layer), f"there is no module {layer}"
    assert upwards == []


def test_no_module_needs_itself() -> None:
    """The modules can be read one after the other, from the bottom."""
    graph = {name: {other for other in imports(name) if other in modules()} - {name} for name in modules()}
    graph[PACKAGE] = set()  # its names are loaded on demand
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"modules import each other: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("layer", BELOW_PREFECT)
def test_nothing_below_the_blocks_knows_prefect(layer: str) -> None:
    """Clients, ledger and stores are usable, and testable, without Prefect."""
    users = {
        found
        for module in members(layer)
        for found in reach(module)
        for imported in imports(found)
        if imported.partition(".")[0] == "prefect"
    }
    assert users == set()


def test_the_simulator_stands_apart() -> None:
    """What imitates the providers shares no code with what talks to them, else both could be wrong alike."""
    used = {found for module in members("simulator") for found in imports(module) if found.startswith(PACKAGE)}
    strangers = [name for name in used if not any(belongs(name, allowed) for allowed in SIMULATOR_MAY_USE)]
    assert strangers == []


def test_only_the_s3_store_knows_boto() -> None:
    """Another object store is another file."""
    users = [
        name
        for name in modules()
        if not name.startswith(f"{PACKAGE}.storage.s3")
        and any(re.match(r"(aio)?boto|mypy_boto|s3transfer", imported) for imported in imports(name))
    ]
    assert users == []


def test_importing_the_package_is_cheap() -> None:
    """Prefect imports the package whenever it loads its collections; nothing heavy may come with it."""
    program = f"import sys, {PACKAGE}; print(*(name for name in {HEAVY!r} if name in sys.modules))"
    result = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert result.stdout.split() == []


@pytest.mark.parametrize("name", [name for name in modules() if not name.endswith("__main__")])
def test_every_public_name_exists(name: str) -> None:
    """What `__all__` promises can be imported from its module."""
    module = importlib.import_module(name)
    assert [public for public in getattr(module, "__all__", ()) if not hasattr(module, public)] == []


def test_modules_are_short() -> None:
    """One idea a module: at most 400 lines."""
    lengths = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in modules().items()}
    assert {name: length for name, length in lengths.items() if length > 400} == {}


def lines_of_code(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function less its docstring, which for a flow is also the text of its form in the UI."""
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    first = node.body[0]
    if ast.get_docstring(node) is not None:
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def test_functions_are_short() -> None:
    """A function fits on a page: at most 60 lines."""
    long = [
        f"{name}.{node.name}: {lines}"
        for name, path in modules().items()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (lines := lines_of_code(node)) > 60
    ]
    assert long == []


def test_no_unfinished_work_is_marked_in_the_files() -> None:
    """What is not done is not promised in a comment."""
    marks = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X", "NotImplemented" + "Error")) + r")\b")
    marked = [
        f"{path.relative_to(ROOT)}: {found.group()}"
        for path in tracked_files()
        if path.suffix in {".py", ".md", ".toml", ".yaml", ".yml", ".sh", ""}
        for found in marks.finditer(path.read_text(encoding="utf-8"))
    ]
    assert marked == []
