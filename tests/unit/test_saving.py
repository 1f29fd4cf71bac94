"""What a save leaves behind: one proved video, one manifest, and never anything in place of somebody else's file."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from prefect_genvideo.errors import DestinationError
from prefect_genvideo.models import StoredVideo
from prefect_genvideo.pipeline.pictures import Pictures
from prefect_genvideo.pipeline.provenance import is_unchanged, manifest_key, marks_of, read_manifest
from prefect_genvideo.pipeline.save import MAX_COVER, SaveJob, save_generation
from prefect_genvideo.providers import SudashuiClient
from prefect_genvideo.storage import LocalStore, ObjectInfo, ObjectStore
from tests.fixtures.expected import failing
from tests.fixtures.file_server import FileServer, running_file_server
from tests.fixtures.mp4 import mp4
from tests.fixtures.s3 import S3Server
from tests.fixtures.scripted_source import Answer, ScriptedSource, Stream, generation

VIDEO = mp4(10_000)
SHA256 = hashlib.sha256(VIDEO).hexdigest()
KEY = "2026-11-22/sd-2/task_1.mp4"
JPEG = b"\xff\xd8\xff\xe0picture"


def job(task_id: str = "task_1", **facts: Any) -> SaveJob:
    return SaveJob(generation(task_id, **facts), KEY, "sd-2", request={"prompt": "a cat"}, idempotency_key="daily")


async def save(store: ObjectStore, *answers: Answer, task_id: str = "task_1") -> tuple[StoredVideo, ScriptedSource]:
    source = ScriptedSource(list(answers) or [Answer(VIDEO)])
    return await save_generation(source, store, job(task_id)), source


@pytest.fixture(params=["local", "moto", "rclone"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ObjectStore:
    """A fresh store of each kind."""
    if request.param == "local":
        return LocalStore(tmp_path / "videos")
    return cast(S3Server, request.getfixturevalue("s3" if request.param == "moto" else "strict_s3")).store("videos")


async def test_a_save_leaves_a_video_and_its_manifest(store: ObjectStore) -> None:
    """The result names both, and the manifest holds what anybody may want to know later."""
    finished = datetime(2026, 11, 22, 1, 2, 3, tzinfo=timezone.utc)
    source = ScriptedSource([Answer(VIDEO)])
    stored = await save_generation(source, store, replace(job(finished_at=finished, cost=12.5), flow_run="run-1"))
    assert [info.key async for info in store.list()] == [manifest_key(KEY), KEY]
    assert (stored.uri, stored.manifest_uri) == (store.uri(KEY), store.uri(manifest_key(KEY)))
    assert (stored.bucket, stored.key) == (store.bucket, store.full_key(KEY))
    assert (stored.size, stored.sha256, stored.duration, stored.width) == (len(VIDEO), SHA256, 5.0, 1280)
    found = await store.get(manifest_key(KEY))
    assert found is not None
    manifest = json.loads(found[0])
    assert list(manifest) == sorted(manifest)
    assert manifest["video"] | {"etag": None} == {
        "codec": "avc1",
        "surplus": 0,
        "etag": None,
        "height": 720,
        "key": KEY,
        "media_type": "video/mp4",
        "seconds": 5.0,
        "sha256": SHA256,
        "size": 10_000,
        "width": 1280,
    }
    wanted = {"task_id": "task_1", "provider": "sudashui", "model": "sd-2", "idempotency_key": "daily", "cost": 12.5}
    assert wanted.items() <= manifest.items()
    assert manifest["request"] == {"prompt": "a cat"}
    assert (manifest["flow_run"], manifest["source_host"]) == ("run-1", "files.example.com")
    assert manifest["finished_at"] == "2026-11-22T01:02:03Z"


async def test_saving_again_moves_no_byte(store: ObjectStore) -> None:
    """The manifest and the object agree, so the second save only looks; its answer is the same."""
    first, _ = await save(store)
    second, source = await save(store)
    assert second == first
    assert source.opened == []


async def test_another_tasks_video_is_never_replaced(store: ObjectStore) -> None:
    """The error names both tasks and the way out; nothing is downloaded for it."""
    await save(store)
    source = ScriptedSource([Answer(mp4(9000))])
    with failing(DestinationError, "key in use by the video of task task_1 (sudashui)") as caught:
        await save_generation(source, store, job("task_2"))
    assert "{task_id}" in str(caught.value)
    assert not caught.value.retryable
    assert source.opened == []
    assert b"".join([chunk async for chunk in store.read(KEY)]) == VIDEO


async def test_a_foreign_file_is_never_replaced(store: ObjectStore) -> None:
    """An object without manifest and marks may be anybody's: it is compared and left."""
    await store.put(KEY, b"somebody's holiday")
    with failing(DestinationError, "key in use by another file"):
        await save(store)
    assert b"".join([chunk async for chunk in store.read(KEY)]) == b"somebody's holiday"
    assert await store.get(manifest_key(KEY)) is None


async def test_the_same_file_copied_there_by_hand_is_accepted(store: ObjectStore) -> None:
    """Byte for byte the same video needs no second copy; it gets its manifest."""
    await store.put(KEY, VIDEO)
    stored, _ = await save(store)
    assert stored.sha256 == SHA256
    assert await read_manifest(store, KEY) is not None


async def test_a_removed_video_is_saved_again(store: ObjectStore) -> None:
    """A manifest alone is no video."""
    await save(store)
    await store.delete(KEY)
    _, source = await save(store)
    assert len(source.opened) == 1
    assert await store.head(KEY) is not None


async def test_a_changed_video_is_told(store: ObjectStore) -> None:
    """Somebody edited the file: it is not the proved one any more, and it is not ours to replace."""
    await save(store)
    await store.put(KEY, VIDEO[:-1] + b"!")
    with failing(DestinationError, "key in use by another file than its manifest describes"):
        await save(store)


class FailingManifest(LocalStore):
    """Dies when the manifest is written."""

    async def put(self, key: str, data: bytes, **conditions: Any) -> str:
        raise DestinationError("the disk is full")


class Unmarked(LocalStore):
    """Keeps no metadata, like a file system without extended attributes."""

    async def head(self, key: str) -> ObjectInfo | None:
        info = await super().head(key)
        return info and replace(info, metadata={})


async def test_dying_before_the_manifest_costs_no_second_download(tmp_path: Path) -> None:
    """The video's own mark says whose it is; it is proved where it lies, even when the link has died since."""
    with pytest.raises(DestinationError):
        await save(FailingManifest(tmp_path))
    info = await LocalStore(tmp_path).head(KEY)
    assert info is not None
    if "task-id" not in info.metadata:
        pytest.skip("this file system has no extended attributes; the next test is about such")
    stored, source = await save(LocalStore(tmp_path))
    assert (stored.sha256, stored.duration) == (SHA256, 5.0)
    assert source.opened == []


async def test_dying_before_the_manifest_on_s3(s3: S3Server) -> None:
    """The same with object metadata, also when the object was a multipart upload."""
    store = s3.store(part_size=5 * 1024 * 1024)
    video = mp4(6 * 1024 * 1024)
    await save(store, Answer(video))
    await store.delete(manifest_key(KEY))
    stored, source = await save(store)
    assert stored.sha256 == hashlib.sha256(video).hexdigest()
    assert source.opened == []


async def test_without_marks_the_bytes_decide(tmp_path: Path) -> None:
    """Where no mark can be kept the video is fetched once more, compared and accepted."""
    with pytest.raises(DestinationError):
        await save(FailingManifest(tmp_path))
    stored, source = await save(Unmarked(tmp_path))
    assert stored.sha256 == SHA256
    assert len(source.opened) == 1


async def test_another_tasks_video_without_a_manifest_is_known_by_its_mark(s3: S3Server) -> None:
    """Nothing needs to be downloaded to see that the key is taken."""
    store = s3.store()
    await save(store)
    await store.delete(manifest_key(KEY))
    source = ScriptedSource([Answer(VIDEO)])
    with failing(DestinationError, "key in use by the video of task task_1 (sudashui)"):
        await save_generation(source, store, job("task_2"))
    assert source.opened == []


async def test_a_damaged_video_of_ours_is_told(s3: S3Server) -> None:
    """Marked as ours but no whole MP4: a person has to look."""
    store = s3.store()
    await save(store)
    await store.delete(manifest_key(KEY))
    head = s3.client.head_object(Bucket=store.bucket, Key=KEY)
    s3.client.put_object(Bucket=store.bucket, Key=KEY, Body=VIDEO[:-5], Metadata=head["Metadata"])
    with failing(DestinationError, "key in use by a damaged copy of this video"):
        await save(store)


async def test_a_copied_bucket_is_still_verified(s3: S3Server) -> None:
    """Copying changes the ETag of a multipart object and not its bytes; the manifest learns the new one."""
    store = s3.store(part_size=5 * 1024 * 1024)
    video = mp4(6 * 1024 * 1024)
    first, _ = await save(store, Answer(video))
    copy = s3.store()
    for key in (KEY, manifest_key(KEY)):
        found = await store.get(key)
        assert found is not None
        await copy.put(key, found[0])
    second, source = await save(copy)
    assert source.opened == []
    assert second.etag != first.etag
    assert (await copy.head(KEY) or pytest.fail("gone")).etag == second.etag


async def test_a_video_whose_etag_comes_later_is_known_by_its_marks(strict_s3: S3Server) -> None:
    """rclone takes the MD5 of a whole object when it is asked: once read back, that is enough, and is noted."""
    store = strict_s3.store(part_size=5 * 1024 * 1024)
    video = mp4(6 * 1024 * 1024)
    first, _ = await save(store, Answer(video))
    assert first.etag is None
    second, source = await save(store, Answer(video))
    assert (source.opened, second.sha256) == ([], first.sha256)
    key = first.key.removeprefix("videos/")
    there = await store.head(key) or pytest.fail("gone")
    assert there.etag == second.etag
    assert not await is_unchanged(store, replace(there, size=1), first, marks_of("sudashui", "task_1"))
    # Without its marks, which a server forgets that is started anew, the bytes tell; they are other ones here.
    await store.put(key, video[:-1] + b"?", content_type="video/mp4")
    other = await store.head(key) or pytest.fail("gone")
    assert not await is_unchanged(store, other, first, marks_of("sudashui", "task_1"))
    await store.put(key, video, content_type="video/mp4")
    assert await is_unchanged(store, replace(there, metadata={}), first, marks_of("sudashui", "task_1"))


async def test_something_else_at_the_manifests_key(tmp_path: Path) -> None:
    """A JSON file that is no manifest is nobody's to replace."""
    store = LocalStore(tmp_path)
    await store.put(manifest_key(KEY), b'{"scenes": 3}')
    with failing(DestinationError, "no manifest"):
        await save(store)
    assert await store.head(KEY) is None


@pytest.mark.parametrize("kind", ["local", "moto"])
async def test_two_savers_of_one_task_agree(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Both finish, with one object and one manifest."""
    store = LocalStore(tmp_path) if kind == "local" else cast(S3Server, request.getfixturevalue("s3")).store()
    results: list[StoredVideo] = []

    async def one() -> None:
        results.append((await save(store))[0])

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(one)
    assert {stored.sha256 for stored in results} == {SHA256}
    assert [info.key async for info in store.list()] == [manifest_key(KEY), KEY]


class Endless(ScriptedSource):
    """A stream that stands still in the middle."""

    def __init__(self) -> None:
        super().__init__([Answer(VIDEO)])
        self.begun = asyncio.Event()

    def open_video(self, url: str, *, offset: int = 0, if_range: str | None = None) -> Any:
        source = self

        class Standing(Stream):
            async def __aiter__(self) -> AsyncIterator[bytes]:
                yield self.data[:5000]
                source.begun.set()
                await anyio.sleep_forever()

        class Opened:
            async def __aenter__(self) -> Stream:
                return Standing(VIDEO, 0, len(VIDEO), '"e"', True, False)

            async def __aexit__(self, *_: object) -> None:
                return None

        return Opened()


async def test_a_cancelled_save_leaves_nothing(store: ObjectStore) -> None:
    """A flow run that is cancelled leaves no half video and no manifest."""
    source = Endless()
    task = asyncio.create_task(save_generation(source, store, job()))
    await source.begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [info.key async for info in store.list()] == []


async def test_the_manifest_holds_no_secret(tmp_path: Path) -> None:
    """Signed links and data URLs are shortened; the link to the video appears as its host only."""
    wanted = {
        "images": ["https://cdn.example.com/a.png?X-Amz-Signature=feedbeef", "data:image/png;base64," + "A" * 400],
        "prompt": "a cat",
    }
    await save_generation(ScriptedSource([Answer(VIDEO)]), LocalStore(tmp_path), replace(job(), request=wanted))
    text = (tmp_path / manifest_key(KEY)).read_text()
    assert "feedbeef" not in text
    assert "AAAA" not in text
    assert "signature" not in text
    assert "https://cdn.example.com/a.png" in text


# Covers


@pytest.mark.parametrize("data", [JPEG, b"\x89PNG\r\n\x1a\n", b"RIFF....WEBP"])
async def test_a_cover_is_kept_beside_the_video(tmp_path: Path, data: bytes) -> None:
    """Its kind is read from its bytes, not from its name."""
    stored = await saved_with_cover(tmp_path, data)
    assert stored.cover_uri is not None
    manifest = await read_manifest(LocalStore(tmp_path), KEY)
    assert manifest is not None
    assert manifest.cover is not None
    assert (tmp_path / manifest.cover.key).read_bytes() == data


@pytest.mark.parametrize(
    "data", [None, b"", b"<html>gone</html>", JPEG + b"x" * MAX_COVER, b"RIFF....WAVE", ValueError("boom")]
)
async def test_a_bad_cover_never_fails_the_save(tmp_path: Path, data: bytes | Exception | None) -> None:
    """The video is what was paid for."""
    stored = await saved_with_cover(tmp_path, data)
    assert stored.cover_uri is None
    assert stored.sha256 == SHA256


async def test_a_cover_that_is_not_wanted_beside_the_video_is_there_for_pages(tmp_path: Path) -> None:
    """It takes no object in the store, and whoever shows the video now has its picture."""
    pictures = Pictures()
    stored = await saved_with_cover(tmp_path, JPEG, covered=False, pictures=pictures)
    assert stored.cover_uri is None
    folder = LocalStore(tmp_path)
    assert [info.key async for info in folder.list()] == [manifest_key(KEY), KEY]
    assert await pictures.cover(folder, stored) == JPEG


async def saved_with_cover(
    folder: Path, data: bytes | Exception | None, *, covered: bool = True, pictures: Pictures | None = None
) -> StoredVideo:
    async def fetch(url: str) -> bytes | None:
        assert url == "https://files.example.com/1.jpg?signature=c"
        if isinstance(data, Exception):
            raise data
        return data

    wanted = job(cover_url="https://files.example.com/1.jpg?signature=c")
    return await save_generation(
        ScriptedSource([Answer(VIDEO)]),
        LocalStore(folder),
        replace(wanted, covered=covered),
        fetch_cover=fetch,
        pictures=pictures,
    )


# The real client


@pytest.fixture
def file_server() -> Iterator[FileServer]:
    """A file server that cuts twice."""
    with running_file_server(mp4(12 * 1024 * 1024), [3_000_000, 9_000_000]) as server:
        yield server


async def test_the_real_client_resumes_into_a_multipart_upload(s3: S3Server, file_server: FileServer) -> None:
    """From a socket that breaks twice into an S3 object, whole."""
    store = s3.store("videos", part_size=5 * 1024 * 1024)
    url = file_server.url

    async def sleep(seconds: float) -> None:
        assert seconds <= 1.25

    async with SudashuiClient("sk-test", url) as client:
        wanted = SaveJob(generation(link=f"{url}/v.mp4?signature=s"), KEY, "sd-2")
        stored = await save_generation(client, store, wanted, sleep=sleep)
    assert stored.sha256 == hashlib.sha256(file_server.video).hexdigest()
    assert file_server.ranges == [None, "bytes=3000000-", "bytes=9000000-"]
    assert s3.open_uploads(store.bucket) == []


async def test_a_manifest_of_a_newer_release_is_told_as_such(tmp_path: Path) -> None:
    """It is neither believed nor replaced."""
    store = LocalStore(tmp_path)
    stored, _ = await save(store)
    name = manifest_key(stored.key)
    found = await store.get(name)
    assert found is not None
    newer = json.dumps(json.loads(found[0]) | {"schema_version": 2}).encode()
    await store.put(name, newer, content_type="application/json")
    with failing(DestinationError, "newer manifest"):
        await save(store)
    assert await store.get(name) == (newer, (await store.get(name) or (b"", ""))[1])


@pytest.mark.parametrize("fresh", [True, False])
async def test_nobody_elses_manifest_is_replaced(fresh: bool, store: ObjectStore) -> None:
    """Another file where the manifest is to go stays as it is, also when nothing was looked for before."""
    await store.put(manifest_key(KEY), b'{"theirs": true}')
    with pytest.raises(DestinationError):
        await save_generation(ScriptedSource([Answer(VIDEO)]), store, replace(job(), fresh=fresh))
    found = await store.get(manifest_key(KEY))
    assert found is not None
    assert found[0] == b'{"theirs": true}'


async def test_nobody_elses_cover_is_replaced(store: ObjectStore) -> None:
    """A picture that was there stays, and the video is saved without one."""
    theirs = KEY.replace(".mp4", ".cover.jpg")
    await store.put(theirs, b"theirs")

    async def fetch_cover(link: str) -> bytes | None:
        return JPEG

    await save_generation(
        ScriptedSource([Answer(VIDEO)]), store, job(cover_url="https://x.example.com/c.jpg"), fetch_cover=fetch_cover
    )
    found = await store.get(theirs)
    assert found is not None
    assert found[0] == b"theirs"
