"""A ledger never stands on sand: relative folders, disks that pass, fields that were mistyped, dicts without a type."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from prefect_genvideo import LocalDestination, S3Destination, SudashuiCredentials
from prefect_genvideo.blocks import destinations
from prefect_genvideo.blocks.session import Credentials, Destination
from prefect_genvideo.storage import LocalStore
from prefect_genvideo.storage._local_files import passing_mount

TABLE = """
22 1 0:20 / / rw - overlay overlay rw
23 22 0:21 / /tmp rw shared:1 - tmpfs tmpfs rw
24 22 8:1 / /data rw - ext4 /dev/sda1 rw
25 22 0:22 / /data/scratch rw - tmpfs tmpfs rw
26 22 8:1 /var/lib/kubelet/pods/1b/volumes/kubernetes.io~empty-dir/pod /pod rw - ext4 /dev/sda1 rw
27 22 8:1 /var/lib/docker/volumes/%s/_data /nameless rw - ext4 /dev/sda1 rw
28 22 8:1 /var/lib/docker/volumes/videos/_data /named rw - ext4 /dev/sda1 rw
29 22 8:1 /var/lib/kubelet/pods/1b/volumes/kubernetes.io~csi/pvc-1/mount /claimed rw - ext4 /dev/sdb rw
30 22 0:23 / /rootless rw - fuse.fuse-overlayfs fuse-overlayfs rw
a broken line
""" % ("0f" * 32)


@pytest.mark.parametrize("given", [{}, {"path": "clips"}])
def test_a_person_s_folder_becomes_whole(
    given: Mapping[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a person makes the block, the working folder is the one that is meant."""
    monkeypatch.chdir(tmp_path)
    place = LocalDestination.model_validate(given)
    assert Path(place.path) == tmp_path / given.get("path", "videos")


@pytest.mark.parametrize("given", [{}, {"path": "clips"}, {"path": "./clips"}])
def test_a_run_s_process_takes_no_relative_folder(given: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its working folder is removed after the run, and the ledger with it."""
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", "a-run")
    with pytest.raises(ValidationError) as caught:
        LocalDestination.model_validate(given)
    assert [fault["loc"] for fault in caught.value.errors()] == [("path",)]


def test_a_run_s_process_takes_a_whole_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And one below its home."""
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", "a-run")
    assert LocalDestination(path=str(tmp_path)).path == str(tmp_path)
    assert LocalDestination(path="~/videos").path == "~/videos"


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/videos", "overlay"),
        ("/tmp/videos", "tmpfs"),
        ("/data/videos", None),
        ("/data/scratch/x", "tmpfs"),
        ("/pod/videos", "emptyDir"),
        ("/nameless", "anonymous volume"),
        ("/named", None),
        ("/claimed/videos", None),
        ("/rootless/videos", "fuse.fuse-overlayfs"),
    ],
)
def test_a_disk_that_passes_is_known(path: str, kind: str | None, tmp_path: Path) -> None:
    """A container's own layer, memory, a pod's emptyDir and a volume without a name end; other volumes do not."""
    (tmp_path / "mounts").write_text(TABLE)
    assert passing_mount(Path(path), tmp_path / "mounts") == kind


@pytest.mark.parametrize(
    ("kind", "in_a_run", "warned"),
    [
        ("overlay", False, True),
        ("tmpfs", False, False),
        ("tmpfs", True, True),
        ("emptyDir", True, True),
        (None, True, False),
    ],
)
def test_a_ledger_on_a_disk_that_passes_is_warned_of(
    kind: str | None,
    in_a_run: bool,
    warned: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In a run always; outside of one where it can only be a container's own layer."""
    told = list[str]()
    monkeypatch.setattr(LocalStore, "passing_mount", kind)
    monkeypatch.setattr(destinations, "warn", told.append)
    if in_a_run:
        monkeypatch.setenv("PREFECT__FLOW_RUN_ID", "a-run")
    LocalDestination(path=str(tmp_path)).get_ledger()
    assert [str(tmp_path) in line and str(kind) in line for line in told] == [True] * warned


@pytest.mark.parametrize(
    ("values", "loc", "kind"),
    [
        ({}, (), "block_type"),
        ({"path": "/videos"}, (), "block_type"),
        ({"bucket": "my-videos"}, (), "block_type"),
        ({"api_key": "sk-very-secret"}, (), "block_type"),
        ({"block_type_slug": "no-such-type", "path": "/videos"}, (), "block_type"),
        ({"block_type_slug": "s3-video-destination", "bukcet": "my-videos"}, ("bucket",), "missing"),
        (
            {"block_type_slug": "s3-video-destination", "bucket": "b"},
            ("bucket",),
            "string_too_short",
        ),
        ({"block_type_slug": "local-video-destination", "pth": "/videos"}, ("pth",), "extra_forbidden"),
    ],
)
def test_a_dict_names_its_type_or_is_refused(values: Mapping[str, str], loc: tuple[str, ...], kind: str) -> None:
    """One error at the field that is wrong; nothing becomes another block because its fields happen to fit."""
    with pytest.raises(ValidationError) as caught:
        TypeAdapter[Any](Destination).validate_python(values)
    assert (loc, kind) in [(fault["loc"], fault["type"]) for fault in caught.value.errors()]
    assert "sk-very-secret" not in str(caught.value)


@pytest.mark.parametrize(
    "block",
    [
        S3Destination(bucket="my-videos", prefix="a"),
        LocalDestination(path="/videos"),
        SudashuiCredentials.model_validate({"api_key": "sk-sim-demo"}),
    ],
)
def test_a_dumped_block_is_taken_back(block: Any) -> None:
    """What Prefect writes of a block names its type."""
    kind: Any = Destination if not isinstance(block, SudashuiCredentials) else Credentials
    dumped = block.model_dump(context={"include_secrets": True})
    assert type(TypeAdapter[Any](kind).validate_python(dumped)) is type(block)


def test_a_folder_is_never_kept_by_creating_only() -> None:
    """It keeps every promise; a bucket for its ledger may not."""
    with pytest.raises(ValidationError):
        LocalDestination(path="/videos", ledger_mode="create-only")
    ledger: Any = {"bucket": "money"}
    assert LocalDestination(path="/videos", ledger_mode="create-only", ledger=ledger).ledger is not None
