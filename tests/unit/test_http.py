"""One exchange ends in one reply, which says what came and whether the request can have been sent."""

from __future__ import annotations

import asyncio
import json
import logging
import math
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timezone
from typing import Any
from urllib.parse import unquote

import anyio
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.servers import free_port
from prefect_genvideo.providers import SudashuiClient, answers, http, network, waits
from prefect_genvideo.providers.http import Client, Reply, exchange
from prefect_genvideo.providers.ssrf import Guard

NOW = datetime(2026, 1, 1, tzinfo=timezone.utc)


async def reply_to(
    handler: Callable[[httpx.Request], httpx.Response], url: str = "https://e.com/", **options: Any
) -> Reply:
    async with Client(transport=httpx.MockTransport(handler)) as client:
        return await exchange(client, "POST", url, headers={}, **options)


def raising(error: Exception) -> Callable[[httpx.Request], httpx.Response]:
    def handle(_: httpx.Request) -> httpx.Response:
        raise error

    return handle


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (httpx.ConnectError("x"), http.NOT_SENT),
        (httpx.ConnectTimeout("x"), http.NOT_SENT),
        (httpx.PoolTimeout("x"), http.NOT_SENT),
        (httpx.ProxyError("x"), http.NOT_SENT),
        (httpx.UnsupportedProtocol("x"), http.NOT_SENT),
        (httpx.ReadTimeout("x"), http.TIMED_OUT),
        (httpx.WriteTimeout("x"), http.TIMED_OUT),
        (httpx.ReadError("x"), http.LOST),
        (httpx.WriteError("x"), http.LOST),
        (httpx.CloseError("x"), http.LOST),
        (httpx.RemoteProtocolError("x"), http.LOST),
        (httpx.LocalProtocolError("x"), http.LOST),
        (OSError("x"), http.LOST),
    ],
)
async def test_only_what_failed_before_sending_counts_as_not_sent(error: Exception, failure: str) -> None:
    """Everything later may have arrived."""
    assert await reply_to(raising(error)) == Reply(failure=failure)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (httpx.ConnectError("x"), "no connection to e.com"),
        (httpx.ConnectTimeout("x"), "in time"),
        (httpx.PoolTimeout("x"), "in use"),
        (httpx.ProxyError("http://me:secret@proxy"), "proxy"),
    ],
)
async def test_what_kept_a_request_from_being_sent_is_said(error: Exception, words: str) -> None:
    """In words of ours."""
    cause = (await reply_to(raising(error))).cause
    assert words in cause
    assert "secret" not in cause


async def test_a_name_that_does_not_resolve_and_a_closed_port_are_told_apart() -> None:
    """An operator mends DNS for the one, and starts a server for the other."""
    async with Client() as client:
        nobody = await exchange(client, "GET", f"http://127.0.0.1:{free_port()}/?signed=1", headers={})
        unknown = await exchange(client, "GET", "https://api.invalid/", headers={})
    assert (nobody.failure, nobody.cause) == (http.NOT_SENT, "127.0.0.1 refuses the connection")
    assert (unknown.failure, unknown.cause) == (http.NOT_SENT, "the name api.invalid does not resolve")


@pytest.mark.parametrize("url", ["https://e.com:port/", "https://e.com/\0", "https://" + "x" * 70_000])
async def test_a_url_that_is_none_is_not_sent(url: str) -> None:
    """And raises nothing."""
    assert (await reply_to(lambda _: httpx.Response(200), url)).failure == http.NOT_SENT


async def test_a_whole_answer() -> None:
    """Status, JSON, type and the wish to wait."""
    headers = {"Retry-After": "3"}
    reply = await reply_to(lambda _: httpx.Response(429, json={"a": 1}, headers=headers))
    assert (reply.status, reply.json, reply.retry_after, reply.failure) == (429, {"a": 1}, 3.0, "")
    assert reply.content_type == "application/json"


class Endless(httpx.AsyncByteStream):
    """A body without end."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            yield b"[" * 1024 * 1024


async def test_an_endless_answer_is_cut() -> None:
    """Its status is kept."""
    reply = await reply_to(lambda _: httpx.Response(200, stream=Endless()))
    assert (reply.status, reply.failure, len(reply.body)) == (200, http.TOO_LARGE, http.ANSWER_LIMIT)
    assert reply.json is None


async def test_the_key_is_blanked_out_of_answers() -> None:
    """Some gateways echo it, in whatever field."""
    reply = await reply_to(lambda _: httpx.Response(200, json={"m": "bad sk-1"}), secret="sk-1")
    assert reply.json == {"m": "bad ***"}


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": [{"m": "bad \\u0073\\u006b-\\u0031"}]}',
        b'{"a": ["https://e.com/?k=%73k%2D1"]}',
        b'"sk-1"',
        b'["\\u0073k-1", 1, null]',
    ],
)
async def test_an_escaped_key_is_blanked_out_after_parsing(body: bytes) -> None:
    """Wherever it stands."""
    reply = await reply_to(lambda _: httpx.Response(200, content=body), secret="sk-1")
    assert "sk-1" not in unquote(json.dumps(reply.json))
    assert "***" in json.dumps(reply.json)


async def test_an_exchange_has_a_deadline() -> None:
    """For an answer that drips, byte by byte, below every other timeout."""

    async def hang(_: httpx.Request) -> httpx.Response:
        await anyio.sleep(60)
        return httpx.Response(200)

    async with Client(transport=httpx.MockTransport(hang)) as client:
        reply = await exchange(client, "GET", "https://e.com/", headers={}, deadline=0.05)
    assert reply == Reply(failure=http.TIMED_OUT)


@pytest.mark.parametrize(
    ("body", "content_type", "html"),
    [
        ("<!DOCTYPE html><p>", "", True),
        ("\ufeff \n<html>", "text/plain", True),
        ("<p>gone</p>", "text/html; charset=utf-8", True),
        ("<p>gone</p>", "", False),
        ("", "text/html", False),
        ("{}", "text/html", False),
        ("plain", "text/html", False),
    ],
)
async def test_a_web_page_is_known_by_its_beginning(body: str, content_type: str, html: bool) -> None:
    """The declared type alone proves nothing."""
    headers = {"Content-Type": content_type}
    assert (await reply_to(lambda _: httpx.Response(200, content=body, headers=headers))).is_html == html


async def test_clients_carry_no_key_and_follow_nothing() -> None:
    """A redirect of an API call is an answer like any other."""
    sent: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(302, headers={"Location": "https://evil.example/"})

    assert (await reply_to(handle)).status == 302
    assert len(sent) == 1
    assert "authorization" not in sent[0].headers
    assert sent[0].headers["user-agent"].startswith("prefect-genvideo")
    assert sent[0].headers["accept-encoding"] == "identity"


async def test_a_client_does_not_close_a_transport_it_was_lent() -> None:
    """Several clients may share one."""

    class Owned(httpx.MockTransport):
        closed = False

        async def aclose(self) -> None:
            self.closed = True

    transport = Owned(lambda _: httpx.Response(200))
    async with Client(transport=transport):
        pass
    assert not transport.closed


def test_tls_is_set_up_once() -> None:
    """It costs 80 ms of CPU."""
    assert network.tls_context() is network.tls_context()


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("120", 120.0),
        (" 1.5 ", 1.5),
        ("0", 0.0),
        ("-3", 0.0),
        ("86400", 3600.0),
        ("1" * 400, None),
        ("Thu, 01 Jan 2026 00:01:00 GMT", 60.0),
        ("Thu, 01 Jan 2026 00:01:00", 60.0),
        ("Thu, 01 Jan 2026 02:01:00 +0200", 60.0),
        ("Wed, 31 Dec 2025 00:00:00 GMT", 0.0),
        ("Thu, 01 Jan 2099 00:00:00 GMT", 3600.0),
        ("Thu, 99 Jan 2026 99:99:99 GMT", None),
        ("soon", None),
        ("nan", None),
        ("inf", None),
        ("１２", None),
        ("", None),
    ],
)
def test_retry_after(header: str, seconds: float | None) -> None:
    """Seconds or an HTTP date, at most an hour."""
    assert waits.retry_after({"retry-after": header}, NOW) == seconds
    assert waits.retry_after({}, NOW) is None


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a": NaN, "b": -Infinity, "c": 1e999}', {"a": None, "b": None, "c": None}),
        (b'{"a": ' + b"9" * 5000 + b"}", {"a": None}),
        (b'\xef\xbb\xbf{"a": "\xff"}', {"a": "\ufffd"}),
        (b'{"a": "\\ud800", "b": "\\ud83d\\ude00"}', {"a": "?", "b": "😀"}),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b"[" * 200_000, None),
        (b"{", None),
        (b"", None),
    ],
)
def test_json_of_any_kind(body: bytes, value: Any) -> None:
    """Never an exception, and nothing that could not be written down again."""
    assert answers.parse_json(body) == value


@given(body=st.binary(max_size=200))
def test_random_bytes_are_no_json_or_clean_json(body: bytes) -> None:
    """What comes out can be encoded."""
    json.dumps(answers.parse_json(body), ensure_ascii=False, allow_nan=False).encode()


@given(value=st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers())))
def test_readers_take_anything(value: Any) -> None:
    """And give their own type or nothing."""
    assert isinstance(answers.as_text(value), str)
    assert answers.as_id(value) is None or answers.as_id(value)
    number = answers.as_number(value)
    assert number is None or (math.isfinite(number) and number >= 0)
    percent = answers.as_percent(value)
    assert percent is None or 0 <= percent <= 100
    moment = answers.as_time(value)
    assert moment is None or 2000 <= moment.year <= 2100
    link = answers.as_link(value)
    assert link is None or link.startswith("http")


@pytest.mark.parametrize(
    "text",
    [
        "http://",
        "https://:80",
        "https://e.com:0/",
        "https://e.com:99999/",
        "ftp://e.com",
        "//e.com",
        "https://e.com/a b",
        "https://e.com/\n",
        "https://[::1",
        "HTTPS//e.com",
        "https://e.com/" + "x" * 9000,
    ],
)
def test_links_that_are_none(text: str) -> None:
    """No host, a bad port, blanks, or endless."""
    assert not answers.is_link(text)


@pytest.mark.parametrize("text", ["http://e.com", "https://e.com:8443/a?b#c", "https://例え.jp/猫", "http://[::1]/a"])
def test_links(text: str) -> None:
    """Whether they may be reached is another question."""
    assert answers.is_link(text)


def test_an_id_is_salvaged_only_whole() -> None:
    """From a body that was cut."""
    assert answers.salvage_id(b'{"code":"success","data":{"task_id": "task_x", "st') == "task_x"
    assert answers.salvage_id(b'{"task_id": "task_') is None
    assert answers.salvage_id(b"\xff") is None


async def test_who_waits_for_a_connection_waits_as_long_as_it_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand generations ask through few connections; none of them fails for that, and none is asked too much."""
    monkeypatch.setattr(http, "POOL_TIMEOUT", 0.05)
    under_way = peak = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal under_way, peak
        while (await reader.readline()).strip():
            pass
        under_way += 1
        peak = max(peak, under_way)
        await asyncio.sleep(0.05)
        under_way -= 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, SudashuiClient("sk-test", f"http://127.0.0.1:{port}") as client:
        ends = await asyncio.gather(*(client.get("task_1") for _ in range(100)), return_exceptions=True)
    assert peak == http.KEPT_CONNECTIONS
    assert http.NOT_SENT not in [getattr(end, "reason", None) for end in ends]


async def test_downloads_use_connections_again_and_never_for_another_host() -> None:
    """Two names of one address are two hosts: what is proved of one says nothing of the other."""
    connections = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while line := await reader.readline():
            if not line.strip():
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, SudashuiClient("sk-test", f"http://127.0.0.1:{port}", allow_private=True) as client:
        for host, expected in (("127.0.0.1", 1), ("127.0.0.1", 1), ("localhost", 2), ("localhost", 2)):
            assert await client.fetch_picture(f"http://{host}:{port}/cover.jpg") == b"ok"
            assert connections == expected


async def test_no_link_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """Not by httpx at INFO, not by what is below it at DEBUG; other clients of the process log as before."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while (await reader.readline()).strip():
            pass
        writer.write(b"HTTP/1.1 302 X\r\nLocation: /v?sig=s3cret\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v?sig=s3cret"
    caplog.set_level(logging.DEBUG)
    async with server:
        for guard in (None, Guard(allow_private=True)):
            async with Client(guard=guard) as client:
                assert (await exchange(client, "GET", url, headers={})).status == 302
        assert "s3cret" not in caplog.text
        async with httpx.AsyncClient(trust_env=False) as other:
            await other.get(url)
        assert "s3cret" in caplog.text


async def test_no_cookie_is_kept() -> None:
    """What a host sets is its own affair, and no answer has a say in the next request."""
    sent = list[str | None]()

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request.headers.get("cookie"))
        return httpx.Response(200, headers={"Set-Cookie": "session=1; Path=/"})

    async with Client(transport=httpx.MockTransport(answer)) as client:
        for _ in range(2):
            await exchange(client, "GET", "https://e.com/", headers={})
    assert sent == [None, None]
