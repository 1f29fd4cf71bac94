"""The project's own files as the packaging tests see them: tracked paths, modules, and what imports what."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib.util import resolve_name
from pathlib import Path

import pytest

from benchmarks.house import tree

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src"
PACKAGE = "prefect_genvideo"


BUILD = "import sys, hatchling.build as build; print(getattr(build, 'build_' + sys.argv[1])(sys.argv[2]))"


def built(kind: str, folder: Path, source: Path = ROOT) -> Path:
    """Build the wheel or the sdist with the installed backend, as a front end does, and return its file.

    Args:
        kind: `wheel` or `sdist`.
        folder: Where the file goes.
        source: What is built.
    """
    command = [sys.executable, "-c", BUILD, kind, str(folder)]
    result = subprocess.run(command, cwd=source, check=True, capture_output=True, text=True)
    return folder / result.stdout.split()[-1]


def tracked_files() -> list[Path]:
    """Every file git knows or would add; without git or a clone, as in an unpacked archive, the test is skipped."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("only a clone knows which files are tracked")
    listing = subprocess.run(
        [git, "-c", f"safe.directory={ROOT}", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    ).stdout.decode()
    return [ROOT / name for name in listing.split("\0") if name and (ROOT / name).is_file()]


@cache
def modules() -> dict[str, Path]:
    """Module name to file, of the plugin."""
    return {module_name(path): path for path in sorted((SRC / PACKAGE).rglob("*.py"))}


def module_name(path: Path) -> str:
    """`src/a/b/__init__.py` is `a.b`."""
    parts = path.relative_to(SRC).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def for_types_only(node: ast.AST) -> bool:
    """Whether a node is an `if TYPE_CHECKING:` block, which never runs."""
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def running(node: ast.AST) -> Iterator[ast.AST]:
    """Every node below `node` that can run, inside functions too."""
    for child in ast.iter_child_nodes(node):
        if for_types_only(child):
            continue
        yield child
        yield from running(child)


@cache
def imports(name: str) -> frozenset[str]:
    """Absolute names of the modules that a module of the plugin imports, at any depth, other than for types."""
    path = modules()[name]
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found: set[str] = set()
    for node in running(tree(path)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package)
            members = {f"{base}.{alias.name}" for alias in node.names}
            submodules = members & modules().keys()
            found.update(submodules)
            if len(submodules) < len(members):
                found.add(base)
    return frozenset(found)


@cache
def reach(name: str) -> frozenset[str]:
    """Modules of the plugin that a module needs, directly or through others, itself included.

    A lookup in the package root stands for everything, so the root's own lazy imports are not followed.
    """
    seen: set[str] = set()
    waiting = [name]
    while waiting:
        current = waiting.pop()
        if current in seen or current not in modules():
            continue
        seen.add(current)
        waiting.extend(imports(current))
    return frozenset(seen)
