"""In whatever manner an answer is given, one wanted video is billed once and saved once, or refused as it was said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import anyio
import pytest
from PIL import Image

from prefect_genvideo.errors import GenerationFailedError, GenVideoError, RejectedError, UnknownOutcomeError
from prefect_genvideo.pipeline.make import Attempt, Maker
from prefect_genvideo.simulator import Dialect, Fault, FileManner, Simulator, dialects
from tests.fixtures.accounts import REQUESTS
from tests.fixtures.pipelines import Pipelines

SPOKEN = [
    pytest.param(op, name, provider, dialect.ends, id=f"{op}-{name}-{provider}")
    for op, name, dialect in dialects()
    for provider in dialect.providers
]


async def outcome(attempt: Attempt) -> str:
    """How one run ends, in the words of a dialect."""
    ends: dict[type[GenVideoError], str] = {
        UnknownOutcomeError: "unknown",
        GenerationFailedError: "failed",
        RejectedError: "refused",
    }
    with anyio.fail_after(10):
        row = await Maker().make([attempt])
    if row.error is not None:
        return next((end for kind, end in ends.items() if isinstance(row.error, kind)), repr(row.error))
    assert row.made is not None
    return "saved" if row.made.video else "nothing"


@pytest.mark.parametrize(("op", "name", "provider", "ends"), SPOKEN)
async def test_money_is_safe_in_every_dialect(
    op: str, name: str, provider: str, ends: str, sim: Simulator, pipelines: Pipelines, tmp_path: Path
) -> None:
    """Two runs with one key: the first ends as the dialect says, the second bills and saves nothing more."""
    sim.speak(**{op: name})
    sim.faults.add(Fault("502_html", "list"))  # else Ark's list shows what became of a create
    request = REQUESTS[provider]
    if op == "upload":
        picture = tmp_path / "cat.jpg"
        Image.new("RGB", (640, 480)).save(picture)
        request = request.model_copy(update={"images": (str(picture),)})
    attempt = Attempt(getattr(pipelines, provider), request, "one")
    for run in range(2):
        assert await outcome(replace(attempt)) == ends, f"run {run + 1}"
        assert sim.billed == (ends != "refused"), f"run {run + 1}"
    saved = [path for path in (tmp_path / "videos").rglob("*.mp4") if "_ledger" not in path.parts]
    assert len(saved) == (ends == "saved")
    assert {type(dialect) for _, _, dialect in dialects()} == {Dialect, FileManner}
