"""Where a batch's file comes from: this machine, a web server, S3; and whole batches of anything."""

from __future__ import annotations

import gzip
import os
from collections.abc import Iterator
from datetime import date
from functools import lru_cache, partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_genvideo.batch.formats import RawRow, Table
from prefect_genvideo.batch.manifest import load_manifest
from prefect_genvideo.batch.model import ManifestLimits
from prefect_genvideo.batch.rows import read_rows
from prefect_genvideo.batch.source import fetch
from prefect_genvideo.cli.targets import providers_of
from prefect_genvideo.errors import DestinationError, DownloadError, InvalidRequestError
from prefect_genvideo.storage import LocalStore
from prefect_genvideo.storage.s3 import client
from tests.fixtures.expected import failing, refusing
from tests.fixtures.s3 import S3Server
from tests.fixtures.served import served

BODY = b'{"model": "m", "key": "k"}\n'


leave = Event()


class Pages(BaseHTTPRequestHandler):
    """What the web server of these tests answers, by path."""

    def do_GET(self) -> None:
        """Answer one page."""
        path, _, number = self.path.partition("?")
        if path == "/hops":
            self.answer(302, {"Location": f"/hops?{int(number) - 1}" if int(number) else "/batch.jsonl"})
        elif path == "/packed":
            self.answer(200, {"Content-Encoding": "gzip"}, gzip.compress(BODY * 1000 if number else BODY))
        elif path == "/cut":
            self.answer(200, {"Content-Length": "100"}, BODY)
        elif path == "/silent":
            leave.wait(60)
        elif path == "/endless":
            self.answer(200, {}, BODY * 1000)
        elif path.startswith("/status/"):
            self.answer(int(path.rpartition("/")[2]), {})
        else:
            self.answer(200, {}, BODY)

    def answer(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        """Send everything and close."""
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        try:
            self.wfile.write(body)
        except ConnectionError:
            self.close_connection = True  # the client had enough of `/endless`

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def web() -> Iterator[str]:
    """Address of a web server."""
    with served(ThreadingHTTPServer(("127.0.0.1", 0), Pages)) as server:
        yield f"http://127.0.0.1:{server.server_port}"
        leave.set()


# This machine


async def test_a_file_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By path, text or `~`."""
    path = tmp_path / "batch.jsonl"
    path.write_bytes(BODY)
    monkeypatch.setenv("HOME", str(tmp_path))
    for source in (path, str(path), "~/batch.jsonl"):
        manifest = await load_manifest(source)
        assert [row.key for row in manifest.rows] == ["k"]
        assert manifest.name == "batch.jsonl"


async def test_files_that_are_none(tmp_path: Path) -> None:
    """A folder, a pipe (which would block for ever), a device, a bad name, nothing."""
    os.mkfifo(tmp_path / "pipe.csv")
    for source in (tmp_path, tmp_path / "pipe.csv", "/dev/zero", "a\0b", "~nobody-here/x", "", "file:///etc/hosts"):
        with pytest.raises(InvalidRequestError):
            await load_manifest(source)


async def test_a_file_of_this_machine_where_that_is_not_allowed(tmp_path: Path) -> None:
    """Whether it exists is not told."""
    for source in (tmp_path, tmp_path / "nothing", "data:text/csv,model"):
        with refusing("manifest"):
            await load_manifest(source, allow_local=False)


# A web server


async def test_a_link(web: str) -> None:
    """The name is the last part of the path, whatever redirects say; what comes packed is unpacked."""
    manifest = await load_manifest(f"{web}/batch%2Ejsonl?token=x", allow_private=True)
    assert (manifest.name, [row.key for row in manifest.rows]) == ("batch.jsonl", ["k"])
    manifest = await load_manifest(f"{web}/hops?4", allow_private=True, allow_local=False)
    assert (manifest.name, len(manifest.rows)) == ("hops", 1)
    assert len((await load_manifest(f"{web}/packed", allow_private=True)).rows) == 1


@pytest.mark.parametrize(
    ("path", "reason", "retryable"),
    [
        ("hops?5", "too many redirects", False),
        ("cut", "connection lost", True),
        ("status/404", "HTTP 404", False),
        ("status/429", "HTTP 429", True),
        ("status/503", "HTTP 503", True),
    ],
)
async def test_links_that_do_not_deliver(web: str, path: str, reason: str, retryable: bool) -> None:
    """Each says whether again helps."""
    with pytest.raises(DownloadError) as caught:
        await load_manifest(f"{web}/{path}", allow_private=True)
    assert (caught.value.reason, caught.value.retryable) == (reason, retryable)


async def test_a_download_is_bounded(web: str) -> None:
    """In bytes and in seconds."""
    fetching = partial(fetch, home=None, allow_local=False, allow_private=True)
    for path in ("endless", "packed?large"):
        with refusing("manifest", limit="1000 bytes"):
            await fetching(f"{web}/{path}", limits=ManifestLimits(max_bytes=1000))
    with failing(DownloadError, "timeout"):
        await fetching(f"{web}/silent", limits=ManifestLimits(download_seconds=0.05))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "169.254.169.254", "[::1]", "2130706433", "10.0.0.1"])
async def test_private_addresses_are_refused(web: str, host: str) -> None:
    """A link from a stranger does not read what only this machine can reach."""
    with failing(DownloadError, "private address refused") as caught:
        await load_manifest(f"http://{host}:{web.rpartition(':')[2]}/batch.jsonl")
    assert not caught.value.retryable


async def test_a_command_reads_what_the_setting_allows(
    web: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks into the manifest for providers before the flow reads it, by the same setting."""
    wanted = partial(providers_of, f"{web}/batch.jsonl", LocalStore(tmp_path), "sudashui")
    with failing(DownloadError, "private address refused"):
        await wanted()
    monkeypatch.setenv("PREFECT_INTEGRATIONS_GENVIDEO_ALLOW_PRIVATE", "true")
    assert await wanted() == ["sudashui"]


async def test_links_that_are_none() -> None:
    """Refused before anything is asked."""
    for link in ("http://", "https://[", "http://a b/", "http://host:99999/"):
        with pytest.raises(DownloadError):
            await load_manifest(link)


# S3


async def test_an_object_in_s3(s3: S3Server) -> None:
    """The destination's store lends its account, also to another bucket."""
    bucket = s3.new_bucket()
    s3.client.put_object(Bucket=bucket, Key="in/calendar.jsonl", Body=BODY)
    manifest = await load_manifest(f"s3://{bucket}/in/calendar.jsonl", home=s3.store("videos"), allow_local=False)
    assert (manifest.name, [row.key for row in manifest.rows]) == ("calendar.jsonl", ["k"])


async def test_an_object_in_s3_without_a_home(s3: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Then the environment says how to reach S3."""
    bucket = s3.new_bucket()
    s3.client.put_object(Bucket=bucket, Key="a.jsonl", Body=BODY)
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.endpoint_url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.secret_access_key)
    anew = lru_cache(client._new_connection.__wrapped__)  # pyright: ignore[reportPrivateUsage]  # no client of before
    monkeypatch.setattr(client, "_new_connection", anew)
    manifest = await load_manifest(f"s3://{bucket}/a.jsonl", home=LocalStore(tmp_path))
    assert len(manifest.rows) == 1


async def test_objects_that_are_none(s3: S3Server) -> None:
    """Missing, too large, or no name of an object."""
    bucket, home = s3.new_bucket(), s3.store()
    s3.client.put_object(Bucket=bucket, Key="a.jsonl", Body=BODY)
    for key in ("nothing.csv", "a/", "../x"):
        with failing(DestinationError, "NoSuchKey"):
            await load_manifest(f"s3://{bucket}/{key}", home=home)
    with refusing("manifest", limit="5 bytes"):
        await fetch(
            f"s3://{bucket}/a.jsonl",
            home=home,
            allow_local=False,
            allow_private=False,
            limits=ManifestLimits(max_bytes=5),
        )
    for source in ("s3://", f"s3://{bucket}", f"s3://{bucket}/", "s3:///x"):
        with pytest.raises(InvalidRequestError):
            await load_manifest(source, home=home)


# Anything at all

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just("{{ row }}"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    [
        "model",
        "prompt",
        "duration",
        "images",
        "first_frame",
        "options",
        "timeout",
        "key",
        "due",
        "fallback",
        "tags",
        "vars",
    ]
)
ROWS = st.lists(JSON | st.dictionaries(FIELDS, JSON, max_size=5), max_size=4)


@settings(max_examples=100)
@given(ROWS, st.dictionaries(FIELDS, JSON, max_size=3))
def test_any_values_are_rows_or_problems(rows: list[Any], defaults: dict[str, Any]) -> None:
    """Every row is good or has a problem; a good one has a fingerprint; what is shown can be written."""
    table = Table([RawRow(number, row) for number, row in enumerate(rows, 1)], defaults=defaults)
    manifest = read_rows("", table, today=date(2026, 11, 22), limits=ManifestLimits())
    numbers = {row.number for row in manifest.rows} | {found.row for found in manifest.problems}
    assert 0 in numbers or numbers == set(range(1, len(rows) + 1))
    for row in manifest.rows:
        assert row.request.fingerprint()
        assert all(alternative.request.fingerprint() for alternative in row.fallback)
    for found in manifest.problems:
        assert str(found.problem).encode()
