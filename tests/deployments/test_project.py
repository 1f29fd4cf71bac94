"""`genvideo init` and `genvideo deploy`: what they write, and what they refuse."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from prefect_genvideo.batch import load_manifest
from prefect_genvideo.cli.app import app
from prefect_genvideo.deployments import Document, read_values
from prefect_genvideo.errors import InvalidRequestError
from prefect_genvideo.ready.project import Project
from prefect_genvideo.ready.project.simulator import SimulatedEnvironment, documents
from prefect_genvideo.storage import LocalStore
from tests.fixtures.prefect import child_env

FILES = {"prefect.yaml", "blocks.py", "calendar.yaml", "README.md"}


def named_blocks(deployments: dict[str, Any]) -> set[str]:
    """The blocks that deployments name in their parameters."""
    given = [each.get("parameters", {}) for each in deployments["deployments"]]
    return {each[name] for each in given for name in ("credentials", "destination") if name in each}


def test_four_files_are_written_and_a_second_time_refused_as_a_whole(tmp_path: Path) -> None:
    """Whoever has changed one of them loses nothing; `overwrite` is said by a person."""
    project = Project(tmp_path / "new")
    assert {path.name for path in project.write()} == FILES
    changed = tmp_path / "new" / "calendar.yaml"
    changed.write_text("mine")
    (tmp_path / "new" / "blocks.py").unlink()
    with pytest.raises(InvalidRequestError) as refused:
        project.write()
    assert [problem.field for problem in refused.value.problems] == ["prefect.yaml", "calendar.yaml", "README.md"]
    assert changed.read_text() == "mine"
    assert not (tmp_path / "new" / "blocks.py").exists()
    project.write(overwrite=True)
    assert changed.read_text() != "mine"


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    """Values and files together; nothing is written."""
    (tmp_path / "README.md").write_text("mine")
    wrong: Any = "staging"
    with pytest.raises(InvalidRequestError) as refused:
        Project(tmp_path, wrong, "s3://films/", "two words", "Mars").write()
    assert [problem.field for problem in refused.value.problems] == ["env", "bucket", "pool", "zone", "README.md"]
    with pytest.raises(InvalidRequestError) as refused:
        Project(tmp_path / "new", "production").write()
    assert [problem.field for problem in refused.value.problems] == ["bucket"]
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


@pytest.mark.parametrize("bucket", ["", "films"])
def test_the_blocks_that_deployments_name_are_those_that_the_blocks_file_saves(bucket: str, tmp_path: Path) -> None:
    """With a bucket and without one."""
    texts = Project(tmp_path, bucket=bucket).texts()
    saved: list[Document] = documents(read_values(SimulatedEnvironment, {"GENVIDEO_BUCKET": bucket}))
    assert named_blocks(yaml.safe_load(texts["prefect.yaml"])) <= {document.slug for document in saved}
    assert ("s3://" in texts["prefect.yaml"]) == bool(bucket), "nothing waits for photos of a bucket that nobody named"


@pytest.mark.parametrize("folder", ["plain", "with a space: and 'quotes' #1", "ü"])
async def test_the_calendar_is_found_where_the_deployment_says_and_has_a_row_for_today(
    folder: str, tmp_path: Path
) -> None:
    """Whatever the folder is called."""
    project = Project(tmp_path / folder)
    project.write()
    deployments = yaml.safe_load((tmp_path / folder / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
    (calendar,) = (each["parameters"]["manifest"] for each in deployments if "manifest" in each["parameters"])
    manifest = await load_manifest(calendar, home=LocalStore(tmp_path), allow_local=True)
    manifest.check()
    assert len({row.due for row in manifest.rows}) == 2


@pytest.mark.parametrize("environment", ["simulator", "production"])
def test_the_readme_of_a_project_is_ten_lines(environment: Any, tmp_path: Path) -> None:
    """A person reads it once, from top to bottom."""
    text = Project(tmp_path, environment, "films").texts()["README.md"]
    assert len(text.splitlines()) <= 10
    assert "[[" not in text


def test_the_blocks_file_stands_by_itself(tmp_path: Path) -> None:
    """It imports nothing of the folder it was made from."""
    tree = ast.parse(Project(tmp_path).texts()["blocks.py"])
    imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not [name for name in imported if name and "ready" in name]


@pytest.mark.parametrize(
    ("content", "fields"),
    [(None, ["prefect.yaml", "blocks.py"]), ("deployments: {", ["prefect.yaml"]), ("- 1", ["prefect.yaml"])],
)
def test_deploying_what_is_no_project_is_one_message(
    content: str | None, fields: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before any server is asked and any block is saved."""
    if content is not None:
        (tmp_path / "prefect.yaml").write_text(content)
        (tmp_path / "blocks.py").write_text("raise SystemExit('was run')")
    with pytest.raises(SystemExit) as ended:
        app(["deploy", str(tmp_path)])
    assert ended.value.code == 1
    told = capsys.readouterr().err
    assert [line.split()[1] for line in told.splitlines() if line.startswith("- ")] == fields
    assert "was run" not in told


def test_without_a_server_nothing_is_deployed(tmp_path: Path) -> None:
    """A temporary server would take the deployments with it when the command ends."""
    Project(tmp_path).write()
    program = "import sys; from prefect_genvideo.cli import main; sys.argv[1:] = ['deploy']; main()"
    env = child_env(PREFECT_API_URL="", PREFECT_HOME=str(tmp_path / "home"))
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "PREFECT_API_URL" in done.stderr
    assert "Traceback" not in done.stderr
