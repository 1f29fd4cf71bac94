"""What a local store needs of the operating system: checked paths, locks, exclusive names, words for errors."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import sys
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import BinaryIO, cast
from uuid import uuid4

from prefect_genvideo.errors import DestinationError, InvalidRequestError
from prefect_genvideo.models import Problem
from prefect_genvideo.storage.base import CHUNK, DAY, ObjectInfo, PreconditionFailedError
from prefect_genvideo.storage.keys import clean_key

OWN_NAMES = ".genvideo-"
"""Files that begin so are the store's own: uploads in progress and locks."""
CONTAINER_LAYERS = frozenset({"overlay", "aufs", "fuse.fuse-overlayfs"})
"""File systems of containers' own layers, which nothing but a container has."""
_PASSING_MOUNTS = CONTAINER_LAYERS | {"tmpfs", "ramfs"}
# Folders of a disk that live no longer than a pod or a container, by what is mounted of the disk: an emptyDir volume of
# Kubernetes, and a volume that was given no name, which `docker run --rm` removes.
_PASSING_FOLDERS = (
    (re.compile(r"/kubernetes\.io~empty-dir/"), "emptyDir"),
    (re.compile(r"/volumes/[0-9a-f]{64}/_data(/|$)"), "anonymous volume"),
)
_ATTRIBUTE = "user.genvideo"
_NO_LINKS = {errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV}
_WORDS: Mapping[int, tuple[str, bool]] = {
    errno.ENOSPC: ("the disk is full", False),
    errno.EDQUOT: ("the disk quota is used up", False),
    errno.EACCES: ("access denied: this user may not write or read here", False),
    errno.EPERM: ("access denied: this user may not write or read here", False),
    errno.EROFS: ("the file system is read-only", False),
    errno.ENAMETOOLONG: ("a name in the path is longer than the file system allows", False),
    errno.ENOTDIR: ("a file stands where a directory is needed", False),
    errno.EEXIST: ("a file stands where a directory is needed", False),
    errno.EISDIR: ("a directory stands where a file is needed", False),
    errno.ENOENT: ("there is no such file", False),
    errno.ENOLCK: ("the file system has no locks; use another directory or S3", False),
    errno.EMFILE: ("too many open files", True),
    errno.ENFILE: ("too many open files", True),
    errno.ESTALE: ("the network file system lost the file for a moment", True),
    errno.EIO: ("the disk failed", True),
}


class Directory:
    """Checked paths below one root, and the two ways a finished file gets its name.

    Args:
        root: The directory; made with the first write.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._swept: set[Path] = set()

    def target(self, key: str) -> Path:
        """Path of a key.

        Raises:
            InvalidRequestError: The key breaks a rule or names a file of the store itself.
            DestinationError: A symbolic link leads out of the root.
        """
        root = self.root.resolve()
        target = root / clean_key(key)
        if any(segment.startswith(OWN_NAMES) for segment in key.split("/")):
            raise InvalidRequestError(
                "this key names a file that the store keeps for itself",
                problems=[Problem("key", ascii(key), f"must not begin a name with {OWN_NAMES}", "local destination")],
            )
        if not target.resolve().is_relative_to(root):
            raise DestinationError(
                f"{target}: a symbolic link leads out of the destination {root}; remove the link",
                reason="symbolic link",
            )
        return target

    def temporary(self, key: str) -> Path:
        """A new hidden name beside the key's path, so that a rename never crosses file systems."""
        folder = self.target(key).parent
        folder.mkdir(parents=True, exist_ok=True)
        if folder not in self._swept:
            self._swept.add(folder)
            self._sweep(folder, DAY)
        return folder / f"{OWN_NAMES}{uuid4().hex}.part"

    def publish(self, temporary: Path, key: str, *, if_absent: bool = False, if_match: str | None = None) -> None:
        """Give a finished file its name.

        Raises:
            PreconditionFailedError: The condition does not hold.
        """
        target = self.target(key)
        with self._locked(key):
            if if_match is not None and not (target.exists() and digest_of(target)[0] == if_match):
                raise PreconditionFailedError(f"{target}: the file has changed since it was read")
            if not if_absent:
                temporary.replace(target)
            elif not _place_exclusively(temporary, target):
                raise PreconditionFailedError(f"{target}: there is a file already")
        _sync_directory(target.parent)

    def remove(self, key: str) -> None:
        """Remove a file; no error when there is none."""
        target = self.target(key)
        if target.parent.is_dir():
            with self._locked(key):
                target.unlink(missing_ok=True)

    def walk(self, folder: str) -> Iterator[ObjectInfo]:
        """Every file below a folder (empty: the root) but the store's own and symbolic links."""
        root = self.root.resolve()
        for current, folders, names in os.walk(self.target(folder) if folder else root):
            folders[:] = [name for name in folders if not name.startswith(OWN_NAMES)]
            for name in names:
                path = Path(current, name)
                if name.startswith(OWN_NAMES) or path.is_symlink():
                    continue
                with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                    facts = path.stat()
                    written = datetime.fromtimestamp(facts.st_mtime, timezone.utc)
                    yield ObjectInfo(path.relative_to(root).as_posix(), facts.st_size, "", modified=written)

    def sweep(self, older_than: float) -> int:
        """Remove temporary files below the root that have not been touched for so many seconds; returns how many."""
        return sum(self._sweep(Path(current), older_than) for current, _, _ in os.walk(self.root))

    def _sweep(self, folder: Path, older_than: float) -> int:
        removed, leftovers = 0, list(folder.glob(f"{OWN_NAMES}*.part"))
        now = self._now(folder) if leftovers else 0.0
        for leftover in leftovers:
            with contextlib.suppress(OSError):  # another process may be at it as well
                if now - leftover.stat().st_mtime > older_than:
                    leftover.unlink()
                    removed += 1
        return removed

    def age(self, key: str) -> float:
        """Seconds since a file was written; both times are the file system's, which may be another machine's."""
        target = self.target(key)
        return self._now(target.parent) - target.stat().st_mtime

    def _now(self, folder: Path) -> float:
        """What time it is for the file system."""
        probe = folder / f"{OWN_NAMES}{uuid4().hex}.part"
        try:
            probe.touch()
            return probe.stat().st_mtime
        finally:
            probe.unlink(missing_ok=True)

    @contextmanager
    def _locked(self, key: str) -> Generator[None, None, None]:
        # Lock files stay: deleting one while another process waits for it would split the lock in two.
        folder = self.root / f"{OWN_NAMES}locks"
        folder.mkdir(parents=True, exist_ok=True)
        with _file_lock(folder / hashlib.sha256(key.encode()).hexdigest()[:2]):
            yield


def passing_mount(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> str | None:
    """Say on what kind of mount a path is that ends with its container or machine; None where it is none.

    Args:
        path: An absolute path, which need not exist.
        mounts: Table of the mounts (proc(5), "mountinfo").
    """
    try:
        rows = [line.split() for line in mounts.read_text(errors="replace").splitlines()]
        found = [
            (row[4], _kind_of(row[3], row[row.index("-") + 1]))
            for row in rows
            if "-" in row and len(row) > row.index("-") + 1
        ]
    except (OSError, IndexError):
        return None  # another system, which tells nothing
    # The last of several mounts at one place hides the others.
    holding = [(len(Path(place).parts), kind) for place, kind in found if path.resolve().is_relative_to(place)]
    return max(enumerate(holding), key=lambda item: (item[1][0], item[0]), default=(0, (0, None)))[1][1]


def _kind_of(folder: str, file_system: str) -> str | None:
    """What passes about a mount, by what is mounted of which file system; None where nothing does."""
    named = next((name for pattern, name in _PASSING_FOLDERS if pattern.search(folder)), None)
    return named or (file_system if file_system in _PASSING_MOUNTS else None)


def explain_os_error(error: OSError, path: Path) -> DestinationError:
    """Say what is wrong with `path` and whether again may help."""
    words, retryable = _WORDS.get(error.errno or 0, (error.strerror or type(error).__name__, False))
    return DestinationError(f"{path}: {words}", retryable=retryable, reason=errno.errorcode.get(error.errno or 0))


def digest_of(path: Path) -> tuple[str, int]:
    """SHA-256 (hex) and size in bytes of a file."""
    digest = hashlib.sha256()
    size = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return digest.hexdigest(), size


def _place_exclusively(temporary: Path, target: Path) -> bool:
    """Give a finished file its name unless that is taken; the caller holds the key's lock.

    Returns:
        Whether the name was free.
    """
    try:
        os.link(temporary, target)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        # No hard links here (FAT, some network shares): the lock alone keeps our own writers apart.
        if target.exists():
            return False
        temporary.replace(target)
    return True


def _sync_directory(folder: Path) -> None:
    """Make a new name survive a power cut, where the system can sync a directory."""
    if sys.platform == "win32":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _file_lock(path: Path) -> Generator[None, None, None]:
    """Hold an exclusive lock between threads and processes; the system frees it when a process dies."""
    with path.open("a+b") as handle:
        _lock(handle)
        try:
            yield
        finally:
            _unlock(handle)


if sys.platform == "win32":
    import msvcrt

    def _lock(handle: BinaryIO) -> None:
        handle.seek(0)
        msvcrt.locking(handle.fileno(), msvcrt.LK_LOCK, 1)

    def _unlock(handle: BinaryIO) -> None:
        handle.seek(0)
        msvcrt.locking(handle.fileno(), msvcrt.LK_UNLCK, 1)
else:
    import fcntl

    def _lock(handle: BinaryIO) -> None:
        fcntl.flock(handle, fcntl.LOCK_EX)

    def _unlock(handle: BinaryIO) -> None:
        fcntl.flock(handle, fcntl.LOCK_UN)


def store_metadata(path: Path, metadata: Mapping[str, str]) -> None:
    """Keep facts with a file, where system and file system have extended attributes."""
    if metadata and sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setxattr(path, _ATTRIBUTE, json.dumps(dict(metadata)).encode())


def load_metadata(path: Path) -> dict[str, str]:
    """The facts that `store_metadata` kept; empty where there are none."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, ValueError):
            loaded: object = json.loads(os.getxattr(path, _ATTRIBUTE))
            if isinstance(loaded, dict):
                return {str(k): str(v) for k, v in cast("dict[object, object]", loaded).items()}
    return {}
