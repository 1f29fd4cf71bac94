"""What every test shares: nothing of the user's machine, and the servers of `tests.fixtures`.

The environment is replaced while this file is imported, because Prefect and boto3 read theirs on import.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import certifi
import pytest
from hypothesis import settings

from benchmarks.servers import free_port

pytest_plugins = [
    "tests.fixtures.collecting",  # before what takes long to import
    "tests.fixtures.failures",
    "tests.fixtures.prefect",
    "tests.fixtures.s3",
    "tests.fixtures.simulator",
    "tests.fixtures.untraced",
]

SCRATCH = Path(tempfile.mkdtemp(prefix="genvideo-tests-"))
IS_WORKER = "PYTEST_XDIST_WORKER" in os.environ
"""Whether this is one of several processes that a session runs in; they have what is in `TESTS_SHARED` in common."""

FOREIGN_PREFIXES = ("PREFECT_", "AWS_", "GENVIDEO_", "SUDASHUI_", "SENSEAUDIO_")
"""Variables of the user that would change what a test sees."""

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


def isolate() -> None:
    """Give the session a home, a Prefect profile and an AWS configuration of its own, all empty."""
    if not IS_WORKER:
        os.environ["TESTS_SHARED"] = str(SCRATCH)
        os.environ["TESTS_PREFECT_API_URL"] = f"http://127.0.0.1:{free_port()}/api"
    for name in list(os.environ):
        if name.upper().startswith(FOREIGN_PREFIXES) or name.upper() in PROXIES:
            del os.environ[name]
    certificate = str(one_certificate(SCRATCH / "ca.pem"))
    os.environ.update(
        HOME=str(SCRATCH / "home"),
        AWS_CONFIG_FILE=str(SCRATCH / "no-aws-config"),
        AWS_SHARED_CREDENTIALS_FILE=str(SCRATCH / "no-aws-credentials"),
        AWS_EC2_METADATA_DISABLED="true",  # without it, boto3 asks the network for credentials
        DO_NOT_TRACK="1",
        PREFECT_HOME=str(SCRATCH / "prefect"),
        # The address is settled before the server runs: settings read early are right in every thread and process.
        PREFECT_API_URL=os.environ["TESTS_PREFECT_API_URL"],
        PREFECT_SERVER_ALLOW_EPHEMERAL_MODE="false",
        PREFECT_SERVER_ANALYTICS_ENABLED="false",
        PREFECT_CLIENT_CSRF_SUPPORT_ENABLED="false",
        PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED="false",
        # Every client of httpx reads all public certificates, 30 ms of CPU; here they call plain HTTP.
        SSL_CERT_FILE=certificate,
        PREFECT_API_SSL_CERT_FILE=certificate,
    )
    (SCRATCH / "home").mkdir()


def one_certificate(path: Path) -> Path:
    """Write the first of the public certificates to a file: a flow run costs a quarter of the CPU with it."""
    end = "-----END CERTIFICATE-----\n"
    path.write_text(certifi.contents().partition(end)[0] + end)
    return path


isolate()

settings.register_profile("dev", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")


@pytest.hookimpl(trylast=True)
def pytest_unconfigure() -> None:
    """Remove what the session wrote, after its servers have stopped."""
    shutil.rmtree(SCRATCH, ignore_errors=True)
