"""A cover for a video whose provider gave none: decoration that never fails anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from prefect_genvideo.pipeline import save as covers
from prefect_genvideo.pipeline.save import cover_from_video
from prefect_genvideo.storage import LocalStore
from tests.fixtures.film_clips import make_clip
from tests.fixtures.money import MemoryStore


async def test_a_saved_video_is_read_back_for_its_picture(tmp_path: Path) -> None:
    """The first picture that shows something, as a JPEG; nothing is left in the store."""
    clip = make_clip(tmp_path / "clip.mp4").read_bytes()
    store = LocalStore(tmp_path / "videos")
    await store.put("a/clip.mp4", clip)
    cover = await cover_from_video(store, "a/clip.mp4", len(clip))
    assert cover is not None
    assert cover.startswith(b"\xff\xd8\xff")
    assert [info.key async for info in store.list()] == ["a/clip.mp4"]


@pytest.mark.parametrize("data", [b"", b"no video", b"\x00\x00\x00\x18ftypisom" + b"\x00" * 500])
async def test_what_is_no_video_has_no_cover(data: bytes) -> None:
    """Damaged or of another kind: the video stays saved, only without a picture."""
    store = MemoryStore()
    await store.put("clip.mp4", data)
    assert await cover_from_video(store, "clip.mp4", len(data)) is None


async def test_a_video_that_is_gone_has_no_cover(tmp_path: Path) -> None:
    """The store's failure is not the video's."""
    assert await cover_from_video(LocalStore(tmp_path), "gone.mp4", 10) is None


async def test_large_videos_are_not_read_back() -> None:
    """Reading gigabytes for a picture is not worth it; the store is not even asked."""
    assert await cover_from_video(MemoryStore(), "gone.mp4", 64 * 1024 * 1024 + 1) is None


async def test_a_full_disk_costs_the_cover_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Scratch space that cannot be written ends as no cover."""
    store = MemoryStore()
    await store.put("clip.mp4", b"x")
    monkeypatch.setattr(covers.tempfile, "tempdir", str(tmp_path / "gone"))
    assert await cover_from_video(store, "clip.mp4", 1) is None
