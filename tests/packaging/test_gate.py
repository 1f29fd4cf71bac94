"""The gate's second try: what failed once is named and counted, what fails twice ends it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.prefect import child_env
from tests.packaging.sources import ROOT

MAKEFILE = """
test:
\t{python} -m pytest -q -p no:cacheprovider -p tests.fixtures.failures --rootdir . $(ARGS)
"""
TESTS = """
import pytest
from pathlib import Path

def test_good():
    pass

@pytest.mark.parametrize("name", ["a b [c]", "d's"])
def test_unsteady(name, pytestconfig):
    seen = Path(pytestconfig.rootpath, "seen-" + name)
    if not seen.exists():
        seen.touch()
        raise AssertionError(name)

def test_bad():
    assert {bad}
"""


def gate(folder: Path, *, bad: str = "True", tests: str = TESTS) -> tuple[int, str]:
    """Run the gate's tests in a folder with a Makefile like ours; its status and what it printed."""
    if shutil.which("make") is None:
        pytest.skip("the gate runs make")
    (folder / "Makefile").write_text(MAKEFILE.format(python=sys.executable))
    (folder / "test_it.py").write_text(tests.replace("{bad}", bad))
    command = ["bash", str(ROOT / ".ci" / "twice"), "make", "test"]
    done = subprocess.run(
        command, cwd=folder, env=child_env(PYTHONPATH=str(ROOT)), capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr


def test_what_failed_and_then_passed_is_named_and_counted(tmp_path: Path) -> None:
    """Whatever is in their names; without pytest's cache, which is switched off there."""
    status, printed = gate(tmp_path)
    assert status == 0, printed
    told = printed[printed.index("Failed and then passed: 2") :].splitlines()
    assert [line.strip() for line in told[1:3]] == [
        "test_it.py::test_unsteady[a b [c]]",
        "test_it.py::test_unsteady[d's]",
    ]
    assert "2 passed" in printed


def test_what_fails_twice_ends_the_gate(tmp_path: Path) -> None:
    """And is not among those that passed then."""
    status, printed = gate(tmp_path, bad="False")
    assert status == 1
    assert "test_bad" not in printed[printed.index("Failed and then passed: 2") :]


def test_a_run_without_a_failed_test_is_not_tried_again(tmp_path: Path) -> None:
    """Coverage below its bound, or no test at all: another run would say the same."""
    status, printed = gate(tmp_path, tests="")
    assert status == 1
    assert "Once more" not in printed
