"""What only a directory can get wrong: links that lead out, half files, other processes, leftovers."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from prefect_genvideo.errors import DestinationError
from prefect_genvideo.storage import LocalStore, PreconditionFailedError
from tests.fixtures.expected import failing, refusing
from tests.fixtures.prefect import child_env

CLAIM = """
import sys, anyio
from prefect_genvideo.storage import LocalStore, PreconditionFailedError

async def main():
    sys.stdin.readline()
    try:
        await LocalStore(sys.argv[1]).put("_ledger/k.json", sys.argv[2].encode(), if_absent=True)
    except PreconditionFailedError:
        return
    print("won")

anyio.run(main)
"""


async def test_a_link_that_leads_out_is_refused(tmp_path: Path) -> None:
    """Neither reading nor writing follows a symbolic link out of the destination."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"x")
    home = tmp_path / "videos"
    home.mkdir()
    (home / "door").symlink_to(outside)
    (home / "file").symlink_to(outside / "secret")
    store = LocalStore(home)
    for key in ("door/secret", "door/new/deep", "file"):
        with failing(DestinationError, "symbolic link"):
            await store.put(key, b"y")
        with failing(DestinationError, "symbolic link"):
            await store.get(key)
    assert sorted(path.name for path in outside.iterdir()) == ["secret"]
    assert [info.key async for info in store.list()] == []


async def test_a_link_that_stays_inside_is_followed(tmp_path: Path) -> None:
    """And the destination itself may be a link, as on machines with mounted disks."""
    disk = tmp_path / "disk"
    (disk / "2026").mkdir(parents=True)
    (disk / "now").symlink_to(disk / "2026")
    (tmp_path / "videos").symlink_to(disk)
    store = LocalStore(tmp_path / "videos")
    await store.put("now/a.mp4", b"x")
    assert (disk / "2026" / "a.mp4").read_bytes() == b"x"
    assert store.uri("now/a.mp4") == (tmp_path / "videos" / "now" / "a.mp4").as_uri()


def test_of_several_processes_one_wins(tmp_path: Path) -> None:
    """The claim is atomic between processes, not only between tasks."""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", CLAIM, str(tmp_path), str(number)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=child_env(PYTHONPATH=os.pathsep.join(path for path in sys.path if path)),
        )
        for number in range(4)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate()[0].strip() for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    assert sorted(said) == ["", "", "", "won"]
    assert (tmp_path / "_ledger" / "k.json").read_text() == str(said.index("won"))


async def test_nothing_half_is_ever_visible(tmp_path: Path) -> None:
    """While an upload is written there is only a hidden file, which listings leave out."""
    store = LocalStore(tmp_path)
    async with store.upload("v/x.mp4", content_type="video/mp4") as upload:
        await upload.write(b"x" * 3_000_000)
        assert [path.name for path in (tmp_path / "v").iterdir() if not path.name.startswith(".")] == []
        assert [info.key async for info in store.list()] == []
        await upload.commit()
    assert [path.name for path in (tmp_path / "v").iterdir()] == ["x.mp4"]


async def test_leftovers_of_dead_processes_are_swept(tmp_path: Path) -> None:
    """A hidden file that nobody has touched for a day is removed with the next write beside it; younger ones stay."""
    old, young = tmp_path / ".genvideo-old.part", tmp_path / ".genvideo-young.part"
    old.write_bytes(b"x")
    young.write_bytes(b"x")
    day_before = time.time() - 25 * 3600
    os.utime(old, (day_before, day_before))
    await LocalStore(tmp_path).put("a.json", b"x")
    assert not old.exists()
    assert young.exists()


async def test_reconciling_sweeps_every_folder(tmp_path: Path) -> None:
    """A killed save's file of a gigabyte lies where no later video is written: yesterday's folder."""
    store = LocalStore(tmp_path)
    old, young = tmp_path / "2026-11-25" / ".genvideo-old.part", tmp_path / ".genvideo-young.part"
    await store.put("2026-11-25/a.mp4", b"x")
    for leftover in (old, young):
        leftover.write_bytes(b"x")
    day_before = time.time() - 25 * 3600
    os.utime(old, (day_before, day_before))
    os.utime(tmp_path / "2026-11-25" / "a.mp4", (day_before, day_before))
    assert await store.sweep() == 1
    assert (old.exists(), young.exists(), await store.head("2026-11-25/a.mp4") is not None) == (False, True, True)


async def test_the_stores_own_files_cannot_be_named(tmp_path: Path) -> None:
    """A key must not reach uploads in progress or locks."""
    with refusing("key", limit=".genvideo-"):
        await LocalStore(tmp_path).put("a/.genvideo-locks/00", b"x")


async def test_without_hard_links_claims_still_exclude(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FAT and some network shares have no links; there the lock does it."""

    def no_links(source: object, target: object) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", no_links)
    store = LocalStore(tmp_path)
    await store.put("k.json", b"1", if_absent=True)
    with pytest.raises(PreconditionFailedError):
        await store.put("k.json", b"2", if_absent=True)
    assert (tmp_path / "k.json").read_bytes() == b"1"


async def test_file_system_errors_say_what_is_wrong(tmp_path: Path) -> None:
    """A file where a folder is needed, a folder where a file is, a name too long: each by its code, with the path."""
    store = LocalStore(tmp_path)
    await store.put("file", b"x")
    (tmp_path / "folder").mkdir()
    for key, reason in (("file/a", "EEXIST"), ("folder", "EISDIR"), ("n" * 300, "ENAMETOOLONG")):
        with failing(DestinationError, reason) as caught:
            await store.put(key, b"x")
        assert not caught.value.retryable
        assert str(tmp_path) in str(caught.value)
    assert await store.head("folder") is None


async def test_facts_travel_with_the_file_where_the_system_can(tmp_path: Path) -> None:
    """Metadata lies in an extended attribute: nothing is strewn beside the video."""
    try:
        os.setxattr(tmp_path, "user.probe", b"x")
    except (OSError, AttributeError):
        pytest.skip("this file system has no extended attributes; saving then compares bytes instead")
    store = LocalStore(tmp_path)
    async with store.upload("x.mp4", content_type="video/mp4", metadata={"task-id": "t1"}) as upload:
        await upload.write(b"x")
        await upload.commit()
    info = await store.head("x.mp4")
    assert info is not None
    assert info.metadata == {"task-id": "t1"}


async def test_there_is_nothing_to_presign(tmp_path: Path) -> None:
    """A file has no link that others could read, and no bucket."""
    store = LocalStore(tmp_path)
    assert await store.presign("a", 60) is None
    assert store.bucket is None
    assert store.uri("") == tmp_path.as_uri()
