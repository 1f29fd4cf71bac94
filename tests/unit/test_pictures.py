"""Covers and moving previews: small, bounded, and without a request to the store for what was saved just now."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from prefect_genvideo.errors import DownloadError, InvalidRequestError
from prefect_genvideo.media import moving_preview
from prefect_genvideo.media.preview import PREVIEW_LIMIT
from prefect_genvideo.models import StoredVideo
from prefect_genvideo.pipeline.pictures import MEMORY, CopyingUpload, Pictures
from prefect_genvideo.pipeline.save import save_generation
from tests.fixtures.film_clips import make_clip, number_of
from tests.fixtures.money import MemoryStore
from tests.fixtures.scripted_source import Answer, ScriptedSource
from tests.unit.test_saving import job


class CountingStore(MemoryStore):
    """Counts what is read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads = list[str]()

    async def get(self, key: str) -> tuple[bytes, str] | None:
        """Read, and say so."""
        self.reads.append(key)
        return await super().get(key)

    async def download(self, key: str, path: Path) -> None:
        """Read, and say so."""
        self.reads.append(key)
        await super().download(key, path)


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


async def saved(clip: bytes, pictures: Pictures, *answers: Answer) -> tuple[CountingStore, StoredVideo]:
    """A clip that was saved just now."""
    store = CountingStore()
    source = ScriptedSource(list(answers) or [Answer(clip)])

    async def no_cover(link: str) -> None:
        del link

    stored = await save_generation(source, store, job(), fetch_cover=no_cover, pictures=pictures, sleep=_no_sleep)
    store.reads.clear()
    return store, stored


async def _no_sleep(seconds: float) -> None:
    del seconds


def test_a_preview_moves_as_the_clip_does(tmp_path: Path) -> None:
    """Its pictures are the clip's, in their order and at their speed; small, and for ever."""
    clip = make_clip(tmp_path / "clip.mp4", range(48))
    data = moving_preview(clip)
    assert data is not None
    assert len(data) <= PREVIEW_LIMIT
    picture: Any = opened(data)
    assert (picture.format, picture.is_animated, picture.info["loop"]) == ("WEBP", True, 0)
    assert max(picture.size) <= 320
    numbers = list[int]()
    for frame in range(picture.n_frames):
        picture.seek(frame)
        numbers.append(number_of(picture.convert("RGB")))
    assert numbers == sorted(numbers)
    assert numbers[0] == 0
    assert numbers[-1] >= 40


def test_a_preview_fits_or_is_left_out(tmp_path: Path) -> None:
    """It is made coarser before it is given up."""
    clip = make_clip(tmp_path / "clip.mp4", range(48))
    whole = moving_preview(clip)
    assert whole is not None
    small = moving_preview(clip, limit=len(whole) * 2 // 3)
    assert small is not None
    assert len(small) <= len(whole) * 2 // 3
    assert moving_preview(clip, limit=100) is None
    assert moving_preview(make_clip(tmp_path / "still.mp4", range(1))) is None


def test_what_is_no_clip_has_no_preview(tmp_path: Path) -> None:
    """By the errors of the room."""
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"no video")
    with pytest.raises(InvalidRequestError):
        moving_preview(path)
    data = make_clip(tmp_path / "cut.mp4", range(24)).read_bytes()
    path.write_bytes(data[: len(data) // 3])
    with pytest.raises((DownloadError, InvalidRequestError)):
        moving_preview(path)


async def test_a_saved_video_is_shown_without_a_request(tmp_path: Path) -> None:
    """Neither its cover nor its preview is read back, and the video itself is not either."""
    clip = make_clip(tmp_path / "clip.mp4", range(48)).read_bytes()
    pictures = Pictures(moving=True)
    store, stored = await saved(clip, pictures)
    cover, preview = await pictures.cover(store, stored), pictures.preview(stored)
    assert (opened(cover or b"").format, opened(preview or b"").format) == ("JPEG", "WEBP")
    assert store.reads == []
    there = await store.get(store.relative_key(stored.key).removesuffix(".mp4") + ".cover.jpg")
    assert there is not None
    assert there[0] == cover


async def test_the_preview_is_of_the_bytes_that_count(tmp_path: Path) -> None:
    """A download that began anew begins its copy anew as well."""
    clip = make_clip(tmp_path / "clip.mp4", range(48)).read_bytes()
    pictures = Pictures(moving=True)
    _, stored = await saved(clip, pictures, Answer(clip, stop=len(clip) // 2), Answer(clip))
    assert pictures.preview(stored) is not None


async def test_a_later_run_reads_the_cover(tmp_path: Path) -> None:
    """What is not in memory is in the store."""
    store, stored = await saved(make_clip(tmp_path / "clip.mp4").read_bytes(), Pictures())
    pictures = Pictures()
    assert pictures.preview(stored) is None
    assert opened(await pictures.cover(store, stored) or b"").format == "JPEG"
    assert len(store.reads) == 1


async def test_memory_is_bounded() -> None:
    """The oldest pictures are forgotten; one that is too large is not taken."""
    pictures, store = Pictures(), CountingStore()
    part = MEMORY // 100
    video = {f"s3://b/{number}.mp4": _video(f"s3://b/{number}.mp4") for number in range(5)}
    for uri in video:
        pictures.keep(uri, "preview", b"x" * 40 * part)
    pictures.keep("s3://b/4.mp4", "preview", b"y" * 50 * part)
    pictures.keep("s3://b/9.mp4", "preview", b"z" * 101 * part)
    kept = [pictures.preview(one) for one in video.values()]
    assert [len(data) // part if data else 0 for data in kept] == [0, 0, 0, 40, 50]
    assert pictures.preview(_video("s3://b/9.mp4")) is None
    assert await pictures.cover(store, _video("s3://b/9.mp4")) is None
    assert store.reads == []


async def test_a_full_disk_costs_the_preview_alone(tmp_path: Path) -> None:
    """The upload goes on."""

    class Full(io.BytesIO):
        def write(self, data: Any) -> int:
            raise OSError(28, "No space left on device")

    store = MemoryStore()
    async with store.upload("a.mp4", content_type="video/mp4") as upload:
        copying = CopyingUpload(upload, Full())
        await copying.write(b"one")
        await copying.write(b"two")
        await copying.commit()
    found = await store.get("a.mp4")
    assert found is not None
    assert found[0] == b"onetwo"


def _video(uri: str) -> StoredVideo:
    key = uri.removeprefix("s3://b/")
    return StoredVideo(
        uri=uri, key=key, size=1, sha256="0", manifest_uri=f"{uri}.json", task_id="t", provider="p", model="m"
    )
