"""The shape that the README promises a contributor: imports go downwards, and small pieces."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter

import pytest

from benchmarks.house import FLOORS, PICTURE, WITHOUT_PREFECT, measured, picture
from tests.packaging.sources import PACKAGE, ROOT, SRC, imports, modules, reach, tracked_files

ROOMS = tuple(tuple(name for name, _ in floor) for floor in FLOORS)
"""Lowest first; a room imports from its own row of the house and from those below it."""

ANNEXES = ("simulator", "pulling")
"""Beside the house: the simulator knows only `SIMULATOR_MAY_USE`, `pulling` is an old address."""

BELOW_PREFECT = tuple(name for floor in ROOMS[:WITHOUT_PREFECT] for name in floor)
LISTEN_MAY_USE = ("errors", "models", "events", "listen")
SIMULATOR_MAY_USE = ("errors", "models", "media", "simulator")
MOST_COMPLEX = 12
"""Cyclomatic complexity of a function."""

HEAVY = ("prefect", "boto3", "botocore", "httpx", "av", "PIL", "pydantic", "rich")


def room_of(module: str) -> str:
    """The room, or the plain file of the top, that a module of the plugin is in."""
    return module.removeprefix(PACKAGE).lstrip(".").partition(".")[0]


def members(room: str) -> list[str]:
    """The modules of a room."""
    return [module for module in modules() if room_of(module) == room]


def test_every_module_is_in_a_room() -> None:
    """A new file goes into a room, never flat into the package."""
    rooms = {room for floor in ROOMS for room in floor} | set(ANNEXES) | {""}
    assert {room_of(module) for module in modules()} - rooms == set()


@pytest.mark.parametrize("room", [name for floor in ROOMS for name in floor])
def test_imports_go_downwards(room: str) -> None:
    """A module imports nothing of a higher room, not even inside a function."""
    height = next(height for height, floor in enumerate(ROOMS) if room in floor)
    allowed = [name for floor in ROOMS[: height + 1] for name in floor] + ["simulator"] * (room == "cli")
    upwards = [
        f"{module} -> {found}"
        for module in members(room)
        for found in imports(module)
        if found in modules() and found != PACKAGE and room_of(found) not in allowed
    ]
    assert members(room), f"there is no room {room}"
    assert upwards == []


@pytest.mark.parametrize("room", [*BELOW_PREFECT])
def test_the_root_is_for_users_alone(room: str) -> None:
    """The package's root loads whatever is asked of it; a room below Prefect that used it could reach anything."""
    assert [module for module in members(room) if PACKAGE in imports(module)] == []


@pytest.mark.parametrize("room", [name for floor in ROOMS for name in floor if (SRC / PACKAGE / name).is_dir()])
def test_every_room_says_what_it_is_for(room: str) -> None:
    """A room's `__init__` has its purpose and the names that others take from it."""
    found = importlib.import_module(f"{PACKAGE}.{room}")
    assert found.__doc__
    assert found.__all__


def test_no_module_needs_itself() -> None:
    """The modules can be read one after the other, from the bottom."""
    graph = {name: {other for other in imports(name) if other in modules()} - {name} for name in modules()}
    graph[PACKAGE] = set()  # its names are loaded on demand
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"modules import each other: {' -> '.join(error.args[1])}")


@pytest.mark.parametrize("room", BELOW_PREFECT)
def test_nothing_below_the_runtime_knows_prefect(room: str) -> None:
    """Clients, ledger and stores are usable, and testable, without Prefect."""
    users = {
        found
        for module in members(room)
        for found in reach(module)
        for imported in imports(found)
        if imported.partition(".")[0] == "prefect"
    }
    assert users == set()


@pytest.mark.parametrize(("annex", "allowed"), [("simulator", SIMULATOR_MAY_USE), ("listen", LISTEN_MAY_USE)])
def test_an_annex_stands_apart(annex: str, allowed: tuple[str, ...]) -> None:
    """What imitates the providers shares no code with what talks to them, else both could be wrong alike.

    What is open to strangers' requests reaches neither money nor stores.
    """
    used = {found for module in members(annex) for found in imports(module) if found.startswith(PACKAGE)}
    assert [name for name in used if room_of(name) not in allowed] == []


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


def test_every_public_name_exists() -> None:
    """What `__all__` promises can be imported from its module."""
    loaded = [importlib.import_module(name) for name in modules() if not name.endswith("__main__")]
    promised = [(module, public) for module in loaded for public in getattr(module, "__all__", ())]
    assert [(module.__name__, public) for module, public in promised if not hasattr(module, public)] == []


def test_modules_are_short() -> None:
    """One idea a module: at most 400 lines."""
    lengths = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in modules().items()}
    assert {name: length for name, length in lengths.items() if length > 400} == {}


def test_the_picture_shows_the_rooms() -> None:
    """`python benchmarks/house.py --draw` draws it anew."""
    assert PICTURE.read_text(encoding="utf-8") == picture()


def test_functions_are_short() -> None:
    """A function fits on a page: at most 60 lines."""
    assert [(one.name, one.lines) for one in measured() if one.lines > 60] == []


def test_functions_are_simple() -> None:
    """Few ways through each; `benchmarks/house.py` prints the most complex ones."""
    assert [(one.name, one.complexity) for one in measured() if one.complexity > MOST_COMPLEX] == []


def test_parameters_are_described() -> None:
    """A public function of two or more parameters says what they are."""
    assert [one.name for one in measured() if one.undescribed and room_of(one.name) not in ANNEXES] == []


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
