"""What a user downloads: the wheel, the source archive, the lock and the words about them."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

import pytest
import tomli
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.packaging.sources import PACKAGE, ROOT, built, tracked_files

PROJECT: dict[str, Any] = tomli.loads((ROOT / "pyproject.toml").read_text())
LOCKS = {name: (ROOT / name).read_text() for name in ("requirements.lock", "requirements-3.9.lock")}
TEXT = {".py", ".md", ".toml", ".yaml", ".yml", ".json", ".cfg", ".lock", ".txt", ".sh", ""}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zipfile.ZipFile]:
    """The wheel of this checkout."""
    with zipfile.ZipFile(built("wheel", tmp_path_factory.mktemp("wheel"))) as archive:
        yield archive


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source archive of this checkout."""
    return built("sdist", tmp_path_factory.mktemp("sdist"))


def metadata_file(wheel: zipfile.ZipFile, name: str) -> str:
    """A file of the wheel's `.dist-info`."""
    return next(wheel.read(path).decode() for path in wheel.namelist() if path.endswith(f".dist-info/{name}"))


def test_the_wheel_is_one_package_with_its_types(wheel: zipfile.ZipFile) -> None:
    """Everything installed lies under one import name: top-level `flows` or `tests` would clash with a user's."""
    names = wheel.namelist()
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {PACKAGE}
    assert f"{PACKAGE}/py.typed" in names
    assert not [name for name in names if "__pycache__" in name or "test" in Path(name).stem]


def test_the_wheel_has_every_source_file(wheel: zipfile.ZipFile) -> None:
    """Data beside the code, such as pictures of the simulator, is installed too."""
    sources = {path.relative_to(ROOT / "src").as_posix() for path in tracked_files() if ROOT / "src" in path.parents}
    assert sources <= set(wheel.namelist())


def test_the_wheel_declares_its_entry_points(wheel: zipfile.ZipFile) -> None:
    """Prefect finds the collection, the registry finds the providers, a shell finds the command."""
    declared = configparser.ConfigParser()
    declared.read_string(metadata_file(wheel, "entry_points.txt"))
    assert declared["prefect.collections"][PACKAGE] == PACKAGE
    for group in ("providers", "credentials"):
        assert set(declared[f"prefect_genvideo.{group}"]) == {"sudashui", "senseaudio", "ark"}
    assert "genvideo" in declared["console_scripts"]
    assert wheel.read(next(name for name in wheel.namelist() if name.endswith("/LICENSE"))).strip()


def test_the_source_archive_is_enough_to_test_and_rebuild(sdist: Path) -> None:
    """A distributor gets sources, tests, lock and licence, and nothing that a build left behind."""
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "Makefile", "requirements.lock"}
    assert wanted | {f"src/{PACKAGE}/__init__.py", "tests/conftest.py"} <= names
    assert not [name for name in names if name.startswith((".venv", "dist", ".git/")) or "__pycache__" in name]


def test_the_wheel_is_found_where_nothing_else_is(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    """Importing the package needs none of its dependencies, and what it registers is found beside it."""
    wheel.extractall(tmp_path)
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from importlib.metadata import distributions; import prefect_genvideo\n"
        "(found,) = distributions(path=[sys.argv[1]])\n"
        "print(prefect_genvideo.__file__, found.version, *sorted({point.group for point in found.entry_points}))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", program, str(tmp_path)], check=True, capture_output=True, text=True
    )
    groups = ("console_scripts", "prefect.collections", "prefect_genvideo.credentials", "prefect_genvideo.providers")
    where = tmp_path / PACKAGE / "__init__.py"
    assert done.stdout.split() == [str(where), PROJECT["project"]["version"], *groups]


def test_the_source_archive_builds_the_same_wheel(wheel: zipfile.ZipFile, sdist: Path, tmp_path: Path) -> None:
    """A distributor who builds from it ships the same files."""
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (unpacked,) = (path for path in tmp_path.iterdir() if path.is_dir())
    with zipfile.ZipFile(built("wheel", tmp_path, unpacked)) as rebuilt:
        assert sorted(rebuilt.namelist()) == sorted(wheel.namelist())


def test_the_version_is_the_newest_of_the_changelog() -> None:
    """One version in three places: project, changelog, installation."""
    newest = re.search(r"^## \[?(\d[\w.]*)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert PROJECT["project"]["version"] == newest.group(1) == metadata("prefect-genvideo")["Version"]


def locked(lock: str) -> dict[str, list[Version]]:
    """Pinned versions of a lock by canonical name; more than one where Python versions differ."""
    pins: dict[str, list[Version]] = {}
    for name, version in re.findall(r"^([\w.-]+)==([^\s;]+)", LOCKS[lock], re.MULTILINE):
        pins.setdefault(canonicalize_name(name), []).append(Version(version))
    return pins


def declared() -> list[Requirement]:
    """Every requirement that the lock has to satisfy."""
    project = PROJECT["project"]
    extras: list[str] = [*project["optional-dependencies"]["media"], *project["optional-dependencies"]["simulator"]]
    texts: list[str] = [*project["dependencies"], *extras, *PROJECT["dependency-groups"]["dev"]]
    return [requirement for requirement in map(Requirement, texts) if requirement.name != "prefect-genvideo"]


def overrides() -> dict[str, Requirement]:
    """What stands in the place of the bounds for Prefect 3.8 in the other lock."""
    lines = (ROOT / "requirements-3.9.in").read_text().splitlines()
    return {one.name: one for one in (Requirement(line) for line in lines if not line.startswith("#"))}


@pytest.mark.parametrize("requirement", declared(), ids=str)
@pytest.mark.parametrize("lock", LOCKS)
def test_the_locks_satisfy_the_project(lock: str, requirement: Requirement) -> None:
    """`make lock` was run after the last change of a dependency; tools for older Pythons are not in every lock."""
    wanted = overrides().get(requirement.name, requirement) if "3.9" in lock else requirement
    pins = locked(lock).get(canonicalize_name(wanted.name), [])
    assert pins, f"{wanted.name} is not in {lock}"
    assert [str(pin) for pin in pins if pin not in wanted.specifier] == []


@pytest.mark.parametrize("lock", LOCKS.values(), ids=LOCKS)
def test_a_lock_pins_and_hashes_everything(lock: str) -> None:
    """Any index or mirror can serve it, and none can serve something else."""
    entries = [line for line in lock.splitlines() if line and not line.startswith(("#", " "))]
    assert [entry for entry in entries if not re.match(r"[\w.-]+==\S+( ;.*)? \\$", entry)] == []
    assert "://" not in lock
    assert lock.count("--hash=sha256:") >= len(entries)


def test_no_file_names_a_package_registry_or_a_folder_of_one_machine() -> None:
    """A clone works wherever it lies, with whatever index its machine is set up to use."""
    # In halves, so that this file names none either.
    halves = (("pypi", ".org"), ("python", "hosted"), ("npm", "js"), ("index", "-url"), (str(ROOT.parent), "/"))
    index = re.compile("|".join(re.escape("".join(pair)) for pair in halves))
    places = [
        f"{path.relative_to(ROOT)}: {found.group()}"
        for path in tracked_files()
        if path.suffix in TEXT
        for found in index.finditer(path.read_text(encoding="utf-8"))
    ]
    assert places == []


@pytest.mark.parametrize("extra", ["simulator", "demo", "listen"])
def test_what_a_command_looks_for_is_what_its_extra_brings(extra: str) -> None:
    """A module that no extra brings any more would be reported as missing for ever."""
    from prefect_genvideo.cli.demo import DEMO, SIMULATOR
    from prefect_genvideo.cli.listen import LISTEN

    # Where a distribution's module has another name than the distribution.
    modules = {"pillow": "PIL", "python-multipart": "python_multipart", "flask-cors": "flask_cors"}
    modules |= {"prometheus-client": "prometheus_client"}
    optional: dict[str, list[str]] = PROJECT["project"]["optional-dependencies"]

    def brought(name: str) -> set[str]:
        own = [Requirement(text) for text in optional[name]]
        nested = [
            inner for requirement in own if requirement.name == "prefect-genvideo" for inner in requirement.extras
        ]
        direct = {modules.get(each.name, each.name) for each in own if each.name != "prefect-genvideo"}
        return direct.union(*(brought(inner) for inner in nested))

    assert set({"simulator": SIMULATOR, "demo": DEMO, "listen": LISTEN}[extra]) == brought(extra)
