"""Results of the simulator are real videos behind links that behave like an object store's."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import av
import httpx
import pytest
from PIL import Image

from prefect_genvideo.simulator import Simulator
from prefect_genvideo.simulator.render import ClipCache, ClipSpec, Content, frame_size, padded, render_clip
from tests.fixtures.simulator_calls import Calls
from tests.media.recipes import image as picture

SPEC = ClipSpec("a cat", "sd-2-720p", 0.5, 64, 36)


@pytest.fixture
def link(calls: Calls) -> str:
    return calls.sudashui_done(calls.sudashui_id())["result_url"]


def boxes(data: bytes) -> list[tuple[str, int]]:
    found: list[tuple[str, int]] = []
    at = 0
    while at < len(data):
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8].decode()
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        found.append((kind, size))
        at += size
    assert at == len(data)
    return found


def facts(data: bytes) -> tuple[str, float, int, int]:
    pyav: Any = av  # its types are incomplete
    with pyav.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        frames = sum(1 for _ in container.decode(video=0))
        return stream.codec_context.name, frames / 8, stream.width, stream.height


@pytest.mark.parametrize(("ratio", "size"), [("16:9", (568, 320)), ("9:16", (320, 568)), ("1:1", (320, 320))])
def test_clips_play_and_have_what_was_asked(calls: Calls, ratio: str, size: tuple[int, int]) -> None:
    """H.264, the asked seconds, the asked ratio, `moov` before the media, a Chinese prompt included."""
    task_id = calls.sudashui_id({"aspectRatio": ratio}, prompt="一只可爱的小猫,电影感镜头", duration=5)
    data = httpx.get(calls.sudashui_done(task_id)["result_url"]).content
    assert facts(data) == ("h264", 5.0, *size)
    kinds = [kind for kind, _ in boxes(data)]
    assert kinds[0] == "ftyp"
    assert kinds.index("moov") < kinds.index("mdat")
    assert data[:11].hex() == "00000020667479706d7034"


def test_a_reference_picture_is_the_background_and_gives_the_adaptive_ratio(sim: Simulator, calls: Calls) -> None:
    """The first uploaded picture shows through, and `adaptive` means its shape."""
    target = io.BytesIO()
    Image.new("RGB", (400, 100), (255, 0, 0)).save(target, "PNG")
    link = calls.upload("red.png", target.getvalue()).json()["url"]
    task_id = calls.sudashui_id({"aspectRatio": "adaptive", "imageUrls": [link]})
    row = calls.sudashui_done(task_id)
    cover = Image.open(io.BytesIO(httpx.get(row["data"]["creations"][0]["cover_url"]).content))
    assert cover.size == (1280, 320)
    red, green, blue = cast("tuple[int, int, int]", cover.getpixel((640, 110)))
    assert red > 200 > 80 > max(green, blue)
    assert sim.snapshot()["uploads"][0]["size"] == len(target.getvalue())


@pytest.mark.parametrize(
    ("resolution", "ratio", "size"),
    [
        ("720p", "16:9", (1280, 720)),
        ("1080p", "9:16", (1080, 1920)),
        ("480p", "4:3", (640, 480)),
        ("720p", "adaptive", (1280, 720)),
        ("?", "x:0", (1280, 720)),
        ("720p", "99:1", (2880, 720)),
    ],
)
def test_full_size_is_the_named_resolution(resolution: str, ratio: str, size: tuple[int, int]) -> None:
    """The name gives the short side; odd wishes fall back instead of failing."""
    assert frame_size(resolution, ratio, None, full_size=True) == size


@pytest.mark.parametrize("ratio", ["adaptive", "16:9"])
def test_a_broken_reference_does_not_take_the_clip_away(tmp_path: Path, ratio: str) -> None:
    """An animated PNG whose second frame is out of order, half a picture, none: the background is plain."""
    whole = picture("PNG", (40, 30))
    second = b"\0\0\0\x1afcTL" + (7).to_bytes(4, "big") + b"\xff" * 22 + b"\0\0\0\0"
    path = tmp_path / "broken.png"
    for content in (whole[:-12] + second + whole[-12:], whole[:80], b"no picture", b""):
        path.write_bytes(content)
        assert min(frame_size("720p", ratio, path, True)) > 0
        assert render_clip(replace(SPEC, picture="a picture", picture_path=path))


def test_ranges(link: str) -> None:
    """Parts, open ends, suffixes and heads are served; `If-Range` with another tag gives everything."""
    whole = httpx.get(link)
    data, tag = whole.content, whole.headers["etag"]
    size = len(data)
    assert (whole.headers["accept-ranges"], whole.headers["content-length"]) == ("bytes", str(size))
    for wanted, part in {
        "bytes=0-99": data[:100],
        "bytes=100-": data[100:],
        "bytes=-10": data[-10:],
        f"bytes={size - 5}-{size + 100}": data[-5:],
    }.items():
        answer = httpx.get(link, headers={"Range": wanted, "If-Range": tag})
        assert (answer.status_code, answer.content) == (206, part)
        assert answer.headers["content-range"].endswith(f"/{size}")
    assert httpx.get(link, headers={"Range": "bytes=0-9", "If-Range": '"other"'}).status_code == 200
    beyond = httpx.get(link, headers={"Range": f"bytes={size}-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{size}")
    head = httpx.head(link)
    assert (head.headers["content-length"], head.content) == (str(size), b"")


def test_links_end(sim: Simulator, calls: Calls, link: str) -> None:
    """A spoiled or expired link is refused as an object store does; a query gives a fresh one."""
    assert httpx.get(link[:-1] + ("0" if link[-1] != "0" else "1")).status_code == 403
    sim.expire_links()
    refused = httpx.get(link)
    assert (refused.status_code, refused.headers["content-type"]) == (403, "application/xml")
    assert "<Message>Request has expired</Message>" in refused.text
    fresh = calls.sudashui_status(sim.tasks[0].task_id).json()["data"]["result_url"]
    assert httpx.get(fresh).status_code == 200
    sim.configure(link_lifetime_s=0)
    dead = calls.sudashui_status(sim.tasks[0].task_id).json()["data"]["result_url"]
    assert httpx.get(dead).status_code == 403


@pytest.mark.parametrize("size", [4096, 1_000_000])
def test_clips_of_an_exact_size(sim: Simulator, calls: Calls, size: int) -> None:
    """For measurements a clip is filled up to the byte and still is a whole MP4 that plays."""
    sim.configure(clip_bytes=size)
    link = calls.sudashui_done(calls.sudashui_id())["result_url"]
    answer = httpx.get(link)
    assert len(answer.content) == size
    assert boxes(answer.content)[-1][0] in ("free", "mdat")
    assert facts(answer.content)[0] == "h264"
    assert httpx.get(link).headers["etag"] == answer.headers["etag"]
    tail = httpx.get(link, headers={"Range": f"bytes={size // 2}-"})
    assert tail.content == answer.content[size // 2 :]


def test_filler_takes_no_memory_and_boxes_may_be_huge() -> None:
    """More than 4 GiB get the long box header; the bytes are made while they are sent."""
    clip = render_clip(SPEC)
    content = padded(clip, 5 * 2**30)
    assert content is not None
    assert content.size == 5 * 2**30
    assert len(content.head) == len(clip) + 16
    ends = b"".join(content.chunks(content.size - 300_000, content.size))
    assert len(ends) == 300_000
    assert padded(clip, len(clip) + 3) is None
    exact = padded(clip, len(clip))
    assert exact is not None
    assert exact.head == clip


def test_clips_are_rendered_once_and_forgotten_in_order() -> None:
    """Equal wishes share a clip; beyond its bound the cache drops what was used longest ago."""
    cache = ClipCache(limit=10**6)
    first = cache.clip(SPEC)
    assert cache.clip(ClipSpec("a cat", "sd-2-720p", 0.5, 64, 36)) == first
    assert cache.rendered == 1
    small = ClipCache(limit=1)
    small.clip(SPEC)
    small.cover(SPEC)
    small.clip(SPEC)
    assert small.rendered == 3
    assert b"".join(Content(b"abc", 0, "").chunks(1, 3)) == b"bc"
