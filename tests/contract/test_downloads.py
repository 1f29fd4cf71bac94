"""The rules of conduct of a download: where the key goes, which addresses are reached, which bytes are believed."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from typing import Any

import anyio
import httpx
import pytest

from prefect_genvideo.errors import DownloadError, LinkExpiredError
from prefect_genvideo.providers import SudashuiClient, VideoClient, http
from tests.contract import cases
from tests.contract.cases import CLIENTS, KEY, Case, verdict_of
from tests.contract.server import Answer, HostMap, Received, ScriptedServer, mp4

FILE = mp4(200_000)
ETAG = '"abc"'
GZIP = {"Content-Encoding": "gzip"}


async def fetch(client: VideoClient, url: str, **options: Any) -> bytes:
    async with client.open_video(url, **options) as stream:
        return b"".join([chunk async for chunk in stream])


async def failure(client: VideoClient, url: str, **options: Any) -> DownloadError:
    with pytest.raises(DownloadError) as caught:
        await fetch(client, url, **options)
    return caught.value


def serving(answer: Answer) -> Callable[[Received], Answer]:
    return lambda _: answer


# The recorded pairs


@pytest.mark.parametrize("case", cases.playable("download"))
async def test_recorded_downloads(case: Case, server: ScriptedServer, network: HostMap) -> None:
    """A redirect in a case leads on to a file, so that following it can be seen."""
    first = cases.answer_of(case)
    target: str = case["request"]["path"]

    def handle(request: Received) -> Answer:
        return first if request.target == target else Answer(200, {}, FILE)

    server.handler = handle
    async with CLIENTS[case["provider"]](KEY, transport=network) as client:
        try:
            body = await fetch(client, f"https://{case['request']['host']}{target}")
        except DownloadError as error:
            got, name = verdict_of(error), type(error).__name__
        else:
            got, name = ("succeeded", False), None
            assert body == (cases.plain_body(case) or FILE)
    assert got == (case["expected"]["kind"], case["expected"]["retryable"])
    assert name == case["expected"].get("error", name)
    with_key = [request for request in server.received if "authorization" in request.headers]
    assert all(request.host == "api.sudashuiapi.com" for request in with_key)
    assert len(with_key) == (1 if "Authorization" in case["request"]["headers"] else 0)


# Bytes


async def test_a_whole_file_arrives_with_its_size_and_etag(client: VideoClient, server: ScriptedServer) -> None:
    """What the saver needs to prove and to resume."""
    server.handler = serving(Answer(200, {"ETag": ETAG, "Accept-Ranges": "bytes"}, FILE))
    async with client.open_video(f"{server.url}/v.mp4") as stream:
        assert (stream.size, stream.etag, stream.offset, stream.resumable) == (len(FILE), ETAG, 0, True)
        assert b"".join([chunk async for chunk in stream]) == FILE
    assert server.received[0].headers["accept-encoding"] == "identity"


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, {}, FILE, chunked=True),
        Answer(200, {}, FILE, close_delimited=True),
        Answer(200, {"Content-Type": "text/html"}, FILE),
        Answer(200, {"Content-Type": ""}, FILE),
        Answer(201, {}, FILE),
        Answer(203, {}, FILE),
    ],
    ids=["chunked", "until-close", "wrong-type", "no-type", "created", "not-authoritative"],
)
async def test_bytes_count_not_headers(answer: Answer, client: VideoClient, server: ScriptedServer) -> None:
    """A file without a length or with a wrong type is still a file."""
    server.handler = serving(answer)
    assert await fetch(client, f"{server.url}/v.mp4") == FILE


def deflated(wbits: int) -> bytes:
    packer = zlib.compressobj(wbits=wbits)
    return packer.compress(FILE) + packer.flush()


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        ("gzip", gzip.compress(FILE)),
        ("x-gzip", gzip.compress(FILE)),
        ("GZip", gzip.compress(FILE[:70_000]) + gzip.compress(FILE[70_000:]) + b"\0" * 512),
        ("deflate", deflated(zlib.MAX_WBITS)),
        ("deflate", deflated(-zlib.MAX_WBITS)),
        ("gzip", FILE),
        ("identity", FILE),
        ("none", FILE),
    ],
    ids=["gzip", "x-gzip", "members", "zlib", "raw-deflate", "only-named", "identity", "none"],
)
@pytest.mark.parametrize("chunked", [False, True])
async def test_a_compressed_body_is_unpacked(
    coding: str, body: bytes, chunked: bool, client: VideoClient, server: ScriptedServer
) -> None:
    """Some send it although identity was asked for; the announced length is then that of the packed bytes."""
    headers = {"Content-Encoding": coding, "ETag": ETAG, "Accept-Ranges": "bytes"}
    server.handler = serving(Answer(200, headers, body, chunked=chunked))
    async with client.open_video(f"{server.url}/v.mp4") as stream:
        known = coding in {"identity", "none"} and not chunked
        assert (stream.size, stream.resumable) == ((len(FILE), True) if known else (None, False))
        assert b"".join([chunk async for chunk in stream]) == FILE
    assert server.received[0].headers["accept-encoding"] == "identity"


async def test_a_body_that_unpacks_for_ever_is_stopped(client: VideoClient, server: ScriptedServer) -> None:
    """A megabyte of gzip makes a gigabyte; pieces are small, and the largest size holds for what comes out."""
    bomb = zlib.compressobj(wbits=31)
    zeros = FILE[:60] + (2**32 - 1).to_bytes(4, "big") + b"mdat"
    body = bomb.compress(zeros) + bomb.compress(bytes(64_000_000)) + bomb.flush()
    server.handler = serving(Answer(200, GZIP, body))
    sizes: list[int] = []

    async def measure() -> None:
        async with client.open_video(f"{server.url}/v.mp4", max_size=5_000_000) as stream:
            async for chunk in stream:
                sizes.append(len(chunk))

    with pytest.raises(DownloadError) as caught:
        await measure()
    assert (caught.value.reason, caught.value.retryable) == ("too large", False)
    assert max(sizes) <= 512 * 1024


@pytest.mark.parametrize(
    "surplus",
    [b"\0" * 9, b"\r\n", b"TAG" + b"title".ljust(125, b"\0"), b"<?xpacket begin=''?><x:xmpmeta/>"],
    ids=["zeros", "crlf", "id3v1", "xmp"],
)
async def test_bytes_behind_the_last_box_are_kept(surplus: bytes, client: VideoClient, server: ScriptedServer) -> None:
    """The video before them is whole, and what was paid for is saved as it came."""
    server.handler = serving(Answer(200, {}, FILE + surplus))
    assert await fetch(client, f"{server.url}/v.mp4") == FILE + surplus


@pytest.mark.parametrize("head", [b"\0\0\0\x08free", b"\0\0\0\x08wide", b"\0\0\0\x0cskip\0\0\0\0"])
async def test_an_empty_box_may_come_first(head: bytes, client: VideoClient, server: ScriptedServer) -> None:
    """As QuickTime's writers leave it: players pass over it."""
    server.handler = serving(Answer(200, {}, head + FILE))
    assert await fetch(client, f"{server.url}/v.mp4") == head + FILE


@pytest.mark.parametrize(
    "range_header",
    [f"bytes 0-{len(FILE) - 1}/{len(FILE)}", f"bytes 0-{len(FILE) - 1}/*", None],
    ids=["whole", "total-unknown", "no-range"],
)
async def test_an_unasked_206_may_be_the_whole_file(
    range_header: str | None, client: VideoClient, server: ScriptedServer
) -> None:
    """Its own bytes prove it."""
    server.handler = serving(Answer(206, {"Content-Range": range_header} if range_header else {}, FILE))
    assert await fetch(client, f"{server.url}/v.mp4") == FILE


@pytest.mark.parametrize("range_header", ["bytes 9-99/200000", "bytes 0-99999/200000", "bytes */200000", "pages 0-1/2"])
async def test_an_unasked_206_that_is_a_part_is_not_used(
    range_header: str, client: VideoClient, server: ScriptedServer
) -> None:
    """Nobody knows what the rest is."""
    server.handler = serving(Answer(206, {"Content-Range": range_header}, FILE[:100_000]))
    assert (await failure(client, f"{server.url}/v.mp4")).retryable


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(200, {}, b""), "empty body"),
        (Answer(204, {}, b""), "HTTP 204"),
        (Answer(200, {"Content-Type": "video/mp4"}, b"<html>denied</html>"), "not a video"),
        (Answer(200, {}, b'{"code":"artifact_error"}'), "not a video"),
        (Answer(200, {}, FILE[:6]), "not a video"),
        (Answer(200, {}, FILE, length=len(FILE), cut_after=100_000), "connection lost"),
        (Answer(200, {}, FILE, chunked=True, cut_after=100_000), "connection lost"),
        (Answer(200, {}, FILE[:100_000], chunked=True), "not a whole MP4"),
        (Answer(200, {}, FILE[:100_000], close_delimited=True), "not a whole MP4"),
        (Answer(200, {}, FILE[:100_000]), "not a whole MP4"),
        (Answer(200, GZIP, gzip.compress(FILE)[:-9]), "broken compression"),
        (Answer(200, GZIP, b"\x1f\x8b" + b"\0" * 999), "broken compression"),
        (Answer(200, GZIP, gzip.compress(FILE), length=len(FILE), cut_after=900), "connection lost"),
        (Answer(200, GZIP, gzip.compress(b"<html>denied</html>")), "not a video"),
        (Answer(200, {"Content-Encoding": "br"}, b"\x8b\x02\x80" + b"x" * 99), "not a video"),
        (Answer(200, {}, FILE, length=len(FILE), stall_after=100_000), "stalled"),
        (Answer(reset=True), "connection lost"),
        (Answer(silent=True), "timeout"),
    ],
)
async def test_what_is_not_a_whole_video_never_ends_well(answer: Answer, reason: str, server: ScriptedServer) -> None:
    """Each is worth another try, and none is mistaken for a video."""
    server.handler = serving(answer)
    async with SudashuiClient(KEY, server.url, stall_timeout=0.2) as client:
        error = await failure(client, f"{server.url}/v.mp4")
    assert (error.reason, error.retryable) == (reason, True)


@pytest.mark.parametrize(("length", "reason"), [(len(FILE) + 1, "incomplete"), (len(FILE) - 1, "too long")])
async def test_the_announced_length_is_held_against_the_bytes(length: int, reason: str) -> None:
    """Also where the transport does not do so."""

    def handle(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=FILE, headers={"Content-Length": str(length)})

    async with SudashuiClient(KEY, transport=httpx.MockTransport(handle)) as client:
        assert (await failure(client, "https://e.com/v.mp4")).reason == reason


async def test_a_stream_that_only_drips_is_given_up(server: ScriptedServer) -> None:
    """A hundred bytes now and then would hold a download's place for hours; another try may be faster."""
    server.handler = serving(Answer(200, {}, FILE, drip=0.15))
    async with SudashuiClient(KEY, server.url, stall_timeout=0.4) as client:
        error = await failure(client, f"{server.url}/v.mp4")
    assert (error.reason, error.retryable) == ("stalled", True)


async def test_only_the_stall_timeout_says_how_slow_a_file_may_come(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bound of an API's answers is none of a video's."""
    monkeypatch.setattr(http, "RATE_WINDOW", 0.01)
    small = mp4(200)
    server.handler = serving(Answer(200, {}, small, drip=0.15))
    async with SudashuiClient(KEY, server.url, stall_timeout=5) as client, client.open_video(server.url) as stream:
        assert b"".join([chunk async for chunk in stream]) == small


async def test_a_slow_store_is_no_slow_stream(server: ScriptedServer) -> None:
    """Only waiting for the network counts: what the bytes' consumer takes is its own time."""
    small = mp4(2000)
    server.handler = serving(Answer(200, {}, small, drip=0))
    async with SudashuiClient(KEY, server.url, stall_timeout=0.2) as client, client.open_video(server.url) as stream:
        received = 0
        async for chunk in stream:
            received += len(chunk)
            await anyio.sleep(0.06)
    assert received == len(small)


@pytest.mark.parametrize(
    ("status", "said", "expected"),
    [
        (400, "The provided token has expired.", LinkExpiredError),
        (403, "Request has expired", LinkExpiredError),
        (400, "Invalid argument.", DownloadError),
    ],
)
async def test_a_store_s_xml_says_why(
    status: int, said: str, expected: type[DownloadError], client: VideoClient, server: ScriptedServer
) -> None:
    """Google's and Amazon's answer 400 to a link whose time has passed."""
    body = f"<?xml version='1.0'?><Error><Code>X</Code><Message>{said}</Message></Error>"
    server.handler = serving(Answer(status, {}, body.encode()))
    error = await failure(client, f"{server.url}/v.mp4")
    assert (type(error), error.reason, error.retryable) == (expected, said, True)


async def test_a_cut_error_page_is_still_that_error(client: VideoClient, server: ScriptedServer) -> None:
    """What it says is decoration."""
    server.handler = serving(Answer(403, {}, b'{"message": "x', length=99, cut_after=9))
    error = await failure(client, f"{server.url}/v.mp4")
    assert (error.status_code, error.reason) == (403, "link refused")


async def test_no_video_is_known_on_entering(client: VideoClient, server: ScriptedServer) -> None:
    """So that nothing is opened in the store for a page of HTML."""
    server.handler = serving(Answer(200, {}, b"<html>denied</html>"))
    with pytest.raises(DownloadError):
        await client.open_video(f"{server.url}/v.mp4").__aenter__()


@pytest.mark.parametrize("chunked", [False, True])
async def test_files_have_a_largest_size(chunked: bool, client: VideoClient, server: ScriptedServer) -> None:
    """Announced or not; again would not help."""
    server.handler = serving(Answer(200, {}, FILE, chunked=chunked))
    error = await failure(client, f"{server.url}/v.mp4", max_size=100_000)
    assert (error.reason, error.retryable) == ("too large", False)


async def test_an_error_of_the_consumer_stays_its_own(client: VideoClient, server: ScriptedServer) -> None:
    """A store that fails while it is written to is no download error."""
    server.handler = serving(Answer(200, {}, FILE))

    async def store() -> None:
        async with client.open_video(f"{server.url}/v.mp4") as stream:
            async for _ in stream:
                raise KeyError

    with pytest.raises(KeyError):
        await store()


# Statuses


@pytest.mark.parametrize(
    ("status", "expected", "retryable"),
    [
        (401, LinkExpiredError, True),
        (403, LinkExpiredError, True),
        (404, LinkExpiredError, True),
        (410, DownloadError, False),
        (451, DownloadError, False),
        (400, DownloadError, True),
        (408, DownloadError, True),
        (416, DownloadError, True),
        (429, DownloadError, True),
        (500, DownloadError, True),
        (503, DownloadError, True),
        (206, DownloadError, True),
    ],
)
async def test_statuses(
    status: int, expected: type[DownloadError], retryable: bool, client: VideoClient, server: ScriptedServer
) -> None:
    """Refused links ask for a fresh one, 410 is final, the rest may pass."""
    body = b'{"error": {"message": "sorry"}}'
    server.handler = serving(Answer(status, {"Retry-After": "9"}, body))
    error = await failure(client, f"{server.url}/v.mp4?signature=SECRET")
    assert type(error) is expected
    assert (error.retryable, error.status_code, error.reason) == (retryable, status, "sorry")
    assert "SECRET" not in str(error)
    assert error.retry_after == (9.0 if expected is DownloadError else None)


# Resuming


def ranged(total: int = len(FILE), start: int | None = None, etag: str = ETAG) -> Callable[[Received], Answer]:
    """A server that honours ranges, more or less."""

    def handle(request: Received) -> Answer:
        wanted = request.headers.get("range")
        if wanted is None:
            return Answer(200, {"ETag": etag}, FILE)
        first = int(wanted.removeprefix("bytes=").removesuffix("-"))
        shown = first if start is None else start
        headers = {"ETag": etag, "Content-Range": f"bytes {shown}-{total - 1}/{total}"}
        return Answer(206, headers, FILE[first:])

    return handle


async def test_a_cut_download_goes_on_where_it_stopped(client: VideoClient, server: ScriptedServer) -> None:
    """206 with the same ETag and the announced range."""
    server.handler = ranged()
    async with client.open_video(f"{server.url}/v.mp4", offset=150_000, if_range=ETAG) as stream:
        assert (stream.offset, stream.size, stream.resumable) == (150_000, len(FILE), True)
        assert b"".join([chunk async for chunk in stream]) == FILE[150_000:]
    assert server.received[0].headers["if-range"] == ETAG


def to_ranges(answer: Answer) -> Callable[[Received], Answer]:
    """A server that answers this to a range, and the file to anything else."""
    return lambda request: answer if "range" in request.headers else Answer(200, {}, FILE)


@pytest.mark.parametrize(
    "handler",
    [
        ranged(etag='"other"'),
        ranged(start=0),
        ranged(total=len(FILE) + 5, start=149_995),
        to_ranges(Answer(416)),
        to_ranges(Answer(206, {"ETag": ETAG}, FILE)),
        serving(Answer(200, {"ETag": '"other"'}, FILE)),
    ],
    ids=["other-etag", "other-start", "other-range", "416", "no-content-range", "whole-file"],
)
async def test_anything_else_starts_over(
    handler: Callable[[Received], Answer], client: VideoClient, server: ScriptedServer
) -> None:
    """A part that is not proved to belong to the earlier bytes is not used."""
    server.handler = handler
    async with client.open_video(f"{server.url}/v.mp4", offset=150_000, if_range=ETAG) as stream:
        assert stream.offset == 0
        assert b"".join([chunk async for chunk in stream]) == FILE


async def test_without_an_etag_nothing_is_resumed(client: VideoClient, server: ScriptedServer) -> None:
    """A weak one proves nothing about bytes either."""
    server.handler = serving(Answer(200, {"ETag": 'W/"abc"', "Accept-Ranges": "bytes"}, FILE))
    async with client.open_video(f"{server.url}/v.mp4", offset=150_000) as stream:
        assert (stream.offset, stream.etag, stream.resumable) == (0, None, False)
    assert "range" not in server.received[0].headers


# The key


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("https://api.sudashuiapi.com/v1/videos/task_x/content", True),
        ("https://API.sudashuiapi.com:443/v1/videos/task_x/content", True),
        ("http://api.sudashuiapi.com/v1/videos/task_x/content", False),
        ("https://api.sudashuiapi.com:8443/v1/videos/task_x/content", False),
        ("https://api.sudashuiapi.com/other/file.mp4", False),
        ("https://files.sudashuiapi.com/v1/videos/task_x/content", False),
        ("https://api.sudashuiapi.com.evil.example/v1/videos/task_x/content", False),
        ("https://evil.example/v1/videos/task_x/content", False),
    ],
)
async def test_the_key_goes_to_the_content_path_of_the_api_only(
    url: str, sent: bool, server: ScriptedServer, network: HostMap
) -> None:
    """Scheme, host and port all count."""
    server.handler = serving(Answer(200, {}, FILE))
    async with SudashuiClient(KEY, transport=network) as client:
        await fetch(client, url)
    assert ("authorization" in server.received[0].headers) == sent


async def test_the_key_does_not_survive_a_redirect(server: ScriptedServer, network: HostMap) -> None:
    """Not even one that leads back to the API."""
    start = "/v1/videos/task_x/content"

    def handle(request: Received) -> Answer:
        hops = {start: "https://evil.example/a", "/a": f"https://api.sudashuiapi.com{start}?again"}
        return Answer(302, {"Location": hops[request.target]}) if request.target in hops else Answer(200, {}, FILE)

    server.handler = handle
    async with SudashuiClient(KEY, transport=network) as client:
        await fetch(client, f"https://api.sudashuiapi.com{start}")
    assert ["authorization" in request.headers for request in server.received] == [True, False, False]


async def test_a_user_in_the_link_is_not_sent(server: ScriptedServer, network: HostMap) -> None:
    """Links carry signatures in their query, never a login."""
    server.handler = serving(Answer(200, {}, FILE))
    async with SudashuiClient(KEY, transport=network) as client:
        await fetch(client, "https://user:word@files.example/v.mp4#part")
    assert "authorization" not in server.received[0].headers
    assert server.received[0].target == "/v.mp4"


# Redirects


@pytest.mark.parametrize(("hops", "allowed"), [(1, True), (5, True), (6, False)])
async def test_five_redirects_and_no_more(
    hops: int, allowed: bool, client: VideoClient, server: ScriptedServer
) -> None:
    """Relative ones count like any other."""

    def handle(request: Received) -> Answer:
        hop = int(request.target.strip("/"))
        return Answer(307, {"Location": f"/{hop + 1}"}) if hop < hops else Answer(200, {}, FILE)

    server.handler = handle
    if allowed:
        assert await fetch(client, f"{server.url}/0") == FILE
    else:
        error = await failure(client, f"{server.url}/0")
        assert (error.reason, error.retryable) == ("too many redirects", False)


@pytest.mark.parametrize("location", ["", "ftp://e.com/x", "file:///etc/passwd", "http://", "http://[bad", "//:0/"])
async def test_a_redirect_leads_to_http_or_nowhere(location: str, client: VideoClient, server: ScriptedServer) -> None:
    """Anything else is refused for good."""
    server.handler = serving(Answer(302, {"Location": location}))
    assert (await failure(client, f"{server.url}/v.mp4")).retryable is False
    assert len(server.received) == 1


@pytest.mark.parametrize(
    "url", ["", "v.mp4", "ftp://e.com/v.mp4", "https:///v.mp4", "data:video/mp4,x", "https://e.com:x/"]
)
async def test_a_link_is_http_or_nothing(url: str, client: VideoClient) -> None:
    """A bad link is refused before anything is sent."""
    error = await failure(client, url)
    assert (error.reason, error.retryable) == ("bad link", False)


# Pictures


async def test_a_cover_picture_is_fetched_under_the_same_rules(client: VideoClient, server: ScriptedServer) -> None:
    """No key, a size cap, a whole body or an error."""
    server.handler = serving(Answer(200, {}, b"picture" * 100, chunked=True))
    assert await client.fetch_picture(f"{server.url}/c.jpg") == b"picture" * 100
    server.handler = serving(Answer(200, GZIP, gzip.compress(b"picture" * 100)))
    assert await client.fetch_picture(f"{server.url}/c.jpg") == b"picture" * 100
    assert "authorization" not in server.received[0].headers


@pytest.mark.parametrize(
    ("answer", "expected", "retryable"),
    [
        (Answer(404), LinkExpiredError, True),
        (Answer(410), DownloadError, False),
        (Answer(500), DownloadError, True),
        (Answer(200, {}, b"x" * 2000), DownloadError, False),
        (Answer(200, GZIP, gzip.compress(b"x" * 2000)), DownloadError, False),
        (Answer(200, GZIP, gzip.compress(b"x" * 900)[:-4]), DownloadError, True),
        (Answer(200, {}, b"x" * 900, length=999, cut_after=500), DownloadError, True),
        (Answer(302, {"Location": "http://10.0.0.1/c.jpg"}), DownloadError, False),
    ],
)
async def test_a_cover_picture_that_does_not_come(
    answer: Answer, expected: type[DownloadError], retryable: bool, client: VideoClient, server: ScriptedServer
) -> None:
    """The saver goes on without it."""
    server.handler = serving(answer)
    with pytest.raises(DownloadError) as caught:
        await client.fetch_picture(f"{server.url}/c.jpg", max_size=1000)
    assert (type(caught.value), caught.value.retryable) == (expected, retryable)


async def test_a_key_that_a_file_server_echoes_is_not_shown(server: ScriptedServer) -> None:
    """Only the content address of the API gets it; what that answers may hold it, escaped or not."""
    key = "plain-key-of-no-known-form"
    escaped = "".join(f"\\u{ord(letter):04x}" for letter in key)
    for body in (f'{{"message": "bad {key}"}}', f'{{"error": {{"message": "bad {escaped}"}}}}'):
        server.handler = lambda _, body=body: Answer(500, {}, body.encode())
        async with SudashuiClient(key, server.url) as client:
            error = await failure(client, f"{server.url}/v1/videos/task_1/content")
        assert server.received[-1].headers["authorization"] == f"Bearer {key}"
        assert error.reason == "bad ***"
        assert key not in str(error)
