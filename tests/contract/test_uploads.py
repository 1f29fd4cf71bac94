"""Uploads: checked before they are sent, streamed from disk, harmless to repeat."""

from __future__ import annotations

import base64
import tracemalloc
from datetime import datetime, timedelta, timezone
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest

from benchmarks.servers import free_port
from prefect_genvideo import errors
from prefect_genvideo.providers import SenseAudioClient, SudashuiClient
from prefect_genvideo.providers.sudashui.rules import UPLOAD_LIMITS
from prefect_genvideo.providers.sudashui.upload import opened
from tests.contract.cases import KEY
from tests.contract.server import Answer, Received, ScriptedServer, mp4
from tests.fixtures.expected import refusing

LINK = "https://files.sudashuiapi.com/proxy/1/1-a.jpg?sig=1"
STORED = Answer(200, {}, b'{"url": "%s"}' % LINK.encode())

CONTENT = {
    "image/jpeg": b"\xff\xd8\xff\xe0" + b"\0" * 60,
    "image/png": b"\x89PNG\r\n\x1a\n" + b"\0" * 60,
    "image/webp": b"RIFF\x40\0\0\0WEBPVP8 " + b"\0" * 60,
    "video/mp4": mp4(),
    "video/quicktime": b"\0\0\0\x14ftypqt  " + b"\0" * 60,
    "audio/mpeg": b"ID3\x04" + b"\0" * 60,
    "audio/wav": b"RIFF\x40\0\0\0WAVEfmt " + b"\0" * 60,
}


def part(request: Received) -> Any:
    """The one part of a multipart request."""
    head = f"Content-Type: {request.headers['content-type']}\r\n\r\n".encode()
    message: Any = message_from_bytes(head + request.body)
    (only,) = message.get_payload()
    return only


@pytest.mark.parametrize("media_type", CONTENT)
async def test_every_documented_kind(media_type: str, sudashui: SudashuiClient, server: ScriptedServer) -> None:
    """Told from the content, and named so that a file host agrees."""
    server.handler = lambda _: STORED
    asset = await sudashui.upload(CONTENT[media_type], "my cat №1.exe")
    (request,) = server.received
    sent = part(request)
    assert asset.url == LINK
    assert (request.method, request.target) == ("POST", "/")
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert sent.get_param("name", header="content-disposition") == "file"
    assert sent.get_filename() == f"my_cat_1{UPLOAD_LIMITS[media_type].extensions[-1]}"
    assert sent.get_content_type() == media_type
    assert sent.get_payload(decode=True) == CONTENT[media_type]


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("004.jpg", "004.jpg"),
        ("a.JPEG", "a.JPEG"),
        ("../../etc/x.jpg", "x.jpg"),
        ('a"\r\nX: y.jpg', "a_X_y.jpg"),
        ("猫.jpg", "asset.jpg"),
        ("noextension", "noextension.jpg"),
        ("." * 9, "asset.jpg"),
        ("x" * 500 + ".jpg", "x" * 80 + ".jpg"),
        (None, "asset.jpg"),
    ],
)
async def test_names_are_made_plain(
    given: str | None, name: str, sudashui: SudashuiClient, server: ScriptedServer
) -> None:
    """The name becomes part of a link."""
    server.handler = lambda _: STORED
    await sudashui.upload(CONTENT["image/jpeg"], given)
    assert part(server.received[0]).get_filename() == name


async def test_files_and_data_urls(sudashui: SudashuiClient, server: ScriptedServer, tmp_path: Path) -> None:
    """A path, a string path and a data URL are all uploaded."""
    server.handler = lambda _: STORED
    path = tmp_path / "cat.jpg"
    path.write_bytes(CONTENT["image/jpeg"])
    encoded = base64.b64encode(CONTENT["image/jpeg"]).decode()
    for source in (path, str(path), f"data:image/jpeg;base64,{encoded}"):
        await sudashui.upload(source)
    assert [part(request).get_payload(decode=True) for request in server.received] == [CONTENT["image/jpeg"]] * 3
    assert part(server.received[0]).get_filename() == "cat.jpg"


async def test_a_large_file_is_not_read_into_memory(
    sudashui: SudashuiClient, server: ScriptedServer, tmp_path: Path
) -> None:
    """Streamed in small pieces; the server's own copy is taken off the count."""
    size = 24 * 1024 * 1024
    path = tmp_path / "big.jpg"
    with path.open("wb") as file:
        file.write(CONTENT["image/jpeg"])
        file.truncate(size)
    seen: list[int] = []

    def handle(request: Received) -> Answer:
        seen.append(len(request.body))
        return STORED

    async with ScriptedServer(handle) as remote, SudashuiClient(KEY, remote.url, remote.url) as client:
        tracemalloc.start()
        await client.upload(path)
        held_by_client = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, "*httpx*")])
        tracemalloc.stop()
    assert seen[0] > size
    assert sum(stat.size for stat in held_by_client.statistics("filename")) < 4 * 1024 * 1024


@pytest.mark.parametrize(("media_type", "limit"), [(kind, row.below) for kind, row in UPLOAD_LIMITS.items()])
async def test_sizes_are_strictly_below_the_limit(
    media_type: str, limit: int, sudashui: SudashuiClient, server: ScriptedServer, tmp_path: Path
) -> None:
    """小于: the figure itself is too large. Nothing is sent."""
    path = tmp_path / "x"
    with path.open("wb") as file:
        file.write(CONTENT[media_type])
        file.truncate(limit)
    with pytest.raises(errors.InvalidRequestError) as caught:
        await sudashui.upload(path)
    assert caught.value.problems[0].limit.startswith(f"less than {limit} bytes")
    assert server.received == []


@pytest.mark.parametrize(
    "source",
    [
        b"",
        b"hello",
        b"GIF89a" + b"\0" * 60,
        b"\x1aE\xdf\xa3" + b"\0" * 60,
        "/no/such/file.jpg",
        "/",
        "https://e.com/a.jpg",
        "s3://bucket/a.jpg",
        "data:image/png;base64,!!!",
        "~no-such-user/x",
        "a\0b",
    ],
)
async def test_what_cannot_be_uploaded_is_not_sent(
    source: Any, sudashui: SudashuiClient, server: ScriptedServer
) -> None:
    """Missing, unreadable or of another kind."""
    with pytest.raises(errors.InvalidRequestError):
        await sudashui.upload(source)
    assert server.received == []


async def test_a_media_type_helps_where_the_content_does_not(sudashui: SudashuiClient, server: ScriptedServer) -> None:
    """Some MP3 files begin with junk."""
    server.handler = lambda _: STORED
    await sudashui.upload(b"junk" * 30, "a.mp3", "audio/mpeg")
    assert part(server.received[0]).get_content_type() == "audio/mpeg"


async def test_a_file_that_went_away_is_an_invalid_request(tmp_path: Path) -> None:
    """Should it go between the check and the sending."""

    def open_gone() -> None:
        with opened(tmp_path / "gone.jpg"):
            pass

    with refusing(reason="unreadable file"):
        open_gone()


@pytest.mark.parametrize(
    ("field", "query", "seconds"),
    [
        ('"expires": {epoch}', "", 600),
        ('"expires_at": "{iso}"', "", 600),
        ('"expireTime": {epoch}000', "", 600),
        ("", "X-Tos-Date={signed}&X-Tos-Expires=600", 600),
        ("", "X-Amz-Date={signed}&X-Amz-Expires=600", 600),
        ("", "X-Amz-Date={signed}&X-Amz-Expires=604800", 5400),
        ("", "Expires={epoch}&Signature=x", 600),
        ('"expires": 7200', "x-oss-date={signed}&x-oss-expires=600", 600),
        ('"expires": 60', "x-oss-date={signed}&x-oss-expires=600", 60),
        ("", "Expires=1600000000", 5400),
        ("", "X-Amz-Date=yesterday&X-Amz-Expires=600", 5400),
        ("", "X-Amz-Date={signed}&X-Amz-Expires=1e9", 5400),
    ],
)
async def test_a_link_that_dies_sooner_is_not_relied_on(
    field: str, query: str, seconds: int, sudashui: SudashuiClient, server: ScriptedServer
) -> None:
    """By the moment that is told, and by the link's own signature; a past moment is told by another clock."""
    now = datetime.now(timezone.utc)
    end = now + timedelta(seconds=600)
    words = {"epoch": int(end.timestamp()), "iso": end.isoformat(), "signed": f"{now:%Y%m%dT%H%M%SZ}"}
    more = f", {field.format(**words)}" if field else ""
    body = f'{{"url": "{LINK.partition("?")[0]}?{query.format(**words)}"{more}}}'
    server.handler = lambda _: Answer(200, {}, body.encode())
    asset = await sudashui.upload(CONTENT["image/jpeg"])
    assert asset.expires_at
    assert abs(asset.expires_at - now - timedelta(seconds=seconds)) < timedelta(seconds=30)


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        (b'{"url": "%s", "expires": 7200}', 7200),
        (b'{"data": {"url": "%s", "expires": 60}}', 60),
        (b'{"url": "%s"}', 5400),
        (b'{"url": "%s", "expires": "soon"}', 5400),
        (b'{"url": "%s", "expires": 1e300}', 5400),
        (b'{"url": "%s", "expires": -1}', 5400),
        (b'{"url": "%s", "expires": "600"}', 600),
        (b'{"url": "%s", "expires_in": 600}', 600),
        (b'{"data": {"url": "%s", "ttl": 600}}', 600),
        (b'{"url": "%s", "expiresAt": 1600000000}', 5400),
        (b'{"url": "%s", "expires": {"seconds": 1}}', 5400),
    ],
)
async def test_links_expire(body: bytes, seconds: int, sudashui: SudashuiClient, server: ScriptedServer) -> None:
    """When the answer says so, else after 90 minutes."""
    server.handler = lambda _: Answer(200, {}, body % LINK.encode())
    asset = await sudashui.upload(CONTENT["image/jpeg"])
    assert asset.expires_at
    left = asset.expires_at - datetime.now(timezone.utc)
    assert abs(left - timedelta(seconds=seconds)) < timedelta(seconds=30)


@pytest.mark.parametrize(
    "body",
    [
        *('{"file": {"url": "%s"}}', '{"data": {"urls": ["%s"]}}', '{"download_url": "%s"}', "%s\n"),
        *('"%s"', '{"data": {"imageUrl": "%s"}}', '{"response": {"uri": "%s"}}'),
    ],
)
async def test_a_link_is_found_where_file_hosts_put_it(
    body: str, sudashui: SudashuiClient, server: ScriptedServer
) -> None:
    """Also where the answer is nothing but the link."""
    server.handler = lambda _: Answer(200, {}, (body % LINK).encode())
    assert (await sudashui.upload(CONTENT["image/jpeg"])).url == LINK


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Answer(200, {}, b"{}"), errors.TransientError),
        (Answer(200, {}, b'{"code": "file_too_large", "message": "m"}'), errors.RejectedError),
        (Answer(200, {}, b'{"url": "not a link"}'), errors.RejectedError),
        (Answer(200, {}, b'{"url": 7}'), errors.RejectedError),
        (Answer(200, {}, b'{"url": null}'), errors.TransientError),
        (Answer(200, {}, b'{"url": ""}'), errors.TransientError),
        (Answer(200, {}, b'{"url": "https://e.com/x"', length=99, cut_after=25), errors.TransientError),
        (Answer(200, {}, b"<html></html>"), errors.RejectedError),
        (Answer(200, {}, b"<html><title>502 Bad Gateway</title></html>"), errors.TransientError),
        (Answer(200, {}, '{"message": "文件过大"}'.encode()), errors.RejectedError),
        (Answer(200, {}, '{"message": "檔案過大"}'.encode()), errors.RejectedError),
        (Answer(200, {}, '{"success": false, "message": "上傳失敗，請稍後重試"}'.encode()), errors.TransientError),
        (Answer(499), errors.TransientError),
        (Answer(200, {}, b'{"success": true, "message": "ok"}'), errors.TransientError),
        (Answer(200, {}, '{"success": false, "message": "上传失败，请稍后重试"}'.encode()), errors.TransientError),
        (Answer(500, {}, b'{"url": "https://e.com/x"}'), errors.TransientError),
        (Answer(502, {}, b"<html></html>"), errors.TransientError),
        (Answer(429, {"Retry-After": "3"}), errors.RateLimitedError),
        (Answer(408), errors.TransientError),
        (Answer(401, {}, b'{"error": "unauthorized"}'), errors.AuthenticationError),
        (Answer(402), errors.QuotaError),
        (Answer(403), errors.RejectedError),
        (Answer(413), errors.RejectedError),
        (Answer(415), errors.RejectedError),
        (Answer(302, {"Location": "https://evil.example/"}), errors.RejectedError),
        (Answer(reset=True), errors.TransientError),
    ],
)
async def test_what_an_upload_without_a_link_means(
    answer: Answer, expected: type[Exception], sudashui: SudashuiClient, server: ScriptedServer
) -> None:
    """Never an unknown outcome: repeating an upload costs nothing."""
    server.handler = lambda _: answer
    with pytest.raises(errors.GenVideoError) as caught:
        await sudashui.upload(CONTENT["image/jpeg"])
    assert type(caught.value) is expected


async def test_a_refused_connection_is_tried_again() -> None:
    """As is everything else that may pass."""
    async with SudashuiClient(KEY, files_url=f"http://127.0.0.1:{free_port()}") as client:
        with pytest.raises(errors.TransientError):
            await client.upload(CONTENT["image/jpeg"])


async def test_senseaudio_says_what_to_do_instead(senseaudio: SenseAudioClient) -> None:
    """It has no upload."""
    assert not senseaudio.uploads
    with pytest.raises(errors.InvalidRequestError):
        await senseaudio.upload(CONTENT["image/jpeg"])
