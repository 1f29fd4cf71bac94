"""Every Python snippet of the documentation is fully typed: a reader who checks strictly sees no error in it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.packaging.markdown import fences
from tests.packaging.sources import ROOT, SRC

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def test_snippets_pass_pyright_strict(tmp_path: Path) -> None:
    """Blocks take their secrets as text, flows take a budget as a dict, and nothing is of an unknown type."""
    for page in PAGES:
        for fence in fences(page, "python"):
            folder = "_".join(page.relative_to(ROOT).with_suffix("").parts).replace("-", "_")
            (tmp_path / f"{folder}_line_{fence.line}.py").write_text(fence.text, encoding="utf-8")
    settings = {"include": ["."], "strict": ["."], "pythonVersion": "3.10", "extraPaths": [str(SRC)]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "--outputjson", "-p", str(tmp_path)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=300)
    answer = json.loads(done.stdout)
    assert answer["summary"]["filesAnalyzed"] == len(list(tmp_path.glob("*.py"))) > 10
    found = answer["generalDiagnostics"]
    assert [f"{Path(one['file']).name}:{one['range']['start']['line'] + 1} {one['message']}" for one in found] == []
