"""The installation that the tests of deployments share."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from prefect_genvideo.simulator import running_simulator
from tests.deployments.fleet import Fleet, running_fleet
from tests.fixtures.prefect import PrefectServer
from tests.fixtures.s3 import S3Server

# Read by the session's server, which starts after collection: a schedule needs a few runs ahead here, not a hundred.
os.environ.update(PREFECT_SERVER_SERVICES_SCHEDULER_MAX_RUNS="3", PREFECT_SERVER_SERVICES_SCHEDULER_MIN_RUNS="1")


@pytest.fixture(scope="module")
def fleet(prefect_server: PrefectServer, s3: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Blocks, deployments and a worker, on a simulator of their own."""
    with (
        running_simulator() as simulator,
        running_fleet(prefect_server, simulator, s3, tmp_path_factory.mktemp("fleet")) as fleet,
    ):
        yield fleet
