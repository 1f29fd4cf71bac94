"""What the unit tests share beside the servers of `tests.fixtures`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from prefect_genvideo.simulator import Simulator
from prefect_genvideo.storage.local import LocalStore
from tests.fixtures.pipelines import Pipelines, open_pipelines


@pytest.fixture
async def pipelines(sim: Simulator, tmp_path: Path) -> AsyncIterator[Pipelines]:
    """An account of each provider over one folder, `videos`."""
    async with open_pipelines(sim, LocalStore(tmp_path / "videos")) as opened:
        yield opened
