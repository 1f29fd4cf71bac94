"""State of the simulator: tasks, money, uploads, links. One lock, no I/O but the upload folder."""

from __future__ import annotations

import hashlib
import random
import shutil
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

from prefect_genvideo.simulator import clock
from prefect_genvideo.simulator.config import SimulatorConfig, changed
from prefect_genvideo.simulator.dialects import Spoken
from prefect_genvideo.simulator.faults import FaultSet
from prefect_genvideo.simulator.links import LinkKind, Links
from prefect_genvideo.simulator.purse import Purse
from prefect_genvideo.simulator.rates import Rates
from prefect_genvideo.simulator.tasks import TASK_IDS, Task, Wanted

_COPY_CHUNK = 1024 * 1024
# Seconds that result links live.
_LINK_LIVES = {"sudashui": 3600.0, "ark": 86_400.0}


@dataclass(frozen=True)
class Upload:
    """One reference file that was handed in."""

    name: str
    path: Path
    media_type: str
    size: int
    sha256: str


class SimulatorState:
    """Tasks, bills, uploads and counters of one simulator; safe to use from any thread.

    Args:
        config: How it behaves.
        monotonic: The clock that durations are measured with.

    Attributes:
        by_account: Generations that were accepted, by key.
        tokens: What successes were billed, by key, where tokens are billed.
        calls: HTTP calls so far by operation: `create`, `status`, `download` …
        downloads: Clips that began to be sent.
    """

    def __init__(self, config: SimulatorConfig, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._lock = threading.RLock()
        self._monotonic = monotonic
        self.faults = FaultSet()
        self.spoken = Spoken()
        self.purse = Purse()
        self._folder: Path | None = None
        self._initial = config
        self.reset()

    def reset(self) -> None:
        """Forget everything and start over with the first configuration."""
        with self._lock:
            self.config = self._initial
            self.faults.reset(self.config.faults, self.config.seed)
            self.spoken.clear()
            self.purse.reset()
            self._rng = random.Random(self.config.seed)  # noqa: S311 - durations, not secrets
            self._started = self._monotonic()
            self.links = Links()
            self._upload_ms = 0
            self.by_id: dict[str, Task] = {}
            self.files: dict[str, Task] = {}
            self.uploads: dict[str, Upload] = {}
            self.calls: Counter[str] = Counter()
            self.by_account: Counter[str] = Counter()
            self.tokens: Counter[str] = Counter()
            self._asked = Rates()
            self._open: dict[str, set[str]] = {}
            self.downloads = 0
            self.bytes_sent = 0
            self.close()

    def close(self) -> None:
        """Delete the uploaded files."""
        with self._lock:
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)
                self._folder = None

    def configure(self, **changes: Any) -> SimulatorConfig:
        """Change some values while running, e.g. `configure(clock="manual")`; tasks, bills and other faults stay.

        Raises:
            ValueError: A name or a value is not known.
        """
        with self._lock:
            self.config = changed(self.config, changes)
            if "faults" in changes:
                self.faults.clear()
                self.faults.add(*self.config.faults)
            return self.config

    # Tasks and money

    @property
    def tasks(self) -> list[Task]:
        """All tasks, oldest first."""
        return list(self.by_id.values())

    @property
    def billed(self) -> int:
        """Generations that were accepted. Each is paid, whether or not its id reached anybody."""
        return sum(self.by_account.values())

    def accept(self, provider: str, account: str, wanted: Wanted) -> Task:
        """Make and bill one task.

        Args:
            provider: One of `TASK_IDS`.
            account: The key that pays.
            wanted: What was asked for.
        """
        with self._lock:
            number, now = len(self.by_id), self._monotonic()
            record, file_id = str(uuid.uuid4()), str(uuid.uuid4())
            task = Task(
                task_id=TASK_IDS[provider](),
                provider=provider,
                account=account,
                wanted=wanted,
                row_id=690_033 + number,
                record_id=record,
                file_id=file_id,
                created=time.time(),
                since_mono=now,
                run_s=clock.draw_duration(self.config, self._rng),
                expires_mono=wanted.patience_s and now + wanted.patience_s * self.config.scale,
            )
            self.by_id[task.task_id] = self.files[file_id] = task
            self.by_account[account] += 1
            self._open.setdefault(account, set()).add(task.task_id)
            return task

    def settle(self) -> None:
        """Move the money of all tasks that have ended."""
        with self._lock:
            for task in self.by_id.values():
                if self.config.clock == "time":
                    self._move(task)
            self.purse.settle(self.by_id.values())

    def find(self, task_id: str, account: str) -> Task | None:
        """The task, if it is of this account.

        Args:
            task_id: The provider's id.
            account: The key that asks.
        """
        task = self.by_id.get(task_id)
        return task if task is not None and task.account == account and self._is_known(task) else None

    def of(self, provider: str, account: str) -> list[Task]:
        """What a key may see at one side, newest first, as it stands now.

        Args:
            provider: One of `TASK_IDS`.
            account: The key that asks.
        """
        with self._lock:
            found = [task for task in self.by_id.values() if (task.provider, task.account) == (provider, account)]
            for task in found:
                self._move(task)
            return [task for task in reversed(found) if self._is_known(task)]

    def asks_too_often(self, op: str, account: str) -> bool:
        """Whether Ark refuses a key's call; else it counts.

        Args:
            op: `list`, `status` or `delete`, each with a window of its own.
            account: The key that asks.
        """
        config = self.config
        most, seconds = (1, config.list_every_s) if op == "list" else (config.queries_per_s, 1.0)
        with self._lock:
            return self._asked.wait(f"{op} {account}", most, seconds, self._monotonic()) is not None

    def _is_known(self, task: Task) -> bool:
        if task.provider != "ark":
            return True
        life = self.config.record_lifetime_s / (7 if task.ended_as == "cancelled" else 1)
        return not task.deleted and time.time() < task.created + life

    def take_back(self, task: Task) -> bool:
        """Cancel a task that waits, or forget one that is over; False where neither is possible.

        What is cancelled costs nothing. What is forgotten is paid, and its file is gone.
        """
        with self._lock:
            self._move(task)
            if task.stage == clock.RUNNING or task.ended_as == "cancelled":
                return False
            if task.done:
                task.deleted = True
            else:
                self.by_account[task.account] -= 1
                self._end(task, "cancelled")
            return True

    def expire(self, task_id: str) -> Task:
        """End a task as one that waited or ran too long. Raises `KeyError` for an unknown id."""
        with self._lock:
            return self._end(self.by_id[task_id], "expired")

    def _end(self, task: Task, word: str) -> Task:
        task.ended_as = word
        self.doom(task, word)
        return self._set(task, clock.DONE)

    def poll(self, task: Task) -> Task:
        """Count one query and move the task on as the clock says."""
        with self._lock:
            self._give_places(task)  # what waits until now counts its queries from here
            task.polls += 1
            self._move(task)
            task.end_polls += task.done
            if task.done and task.seen_done_at is None:
                task.seen_done_at = time.time()
            return task

    def look(self, task: Task) -> Task:
        """Move the task on as the clock says, without a query."""
        with self._lock:
            self._move(task)
            return task

    def open_tasks(self, account: str) -> int:
        """Tasks of the account that are not over."""
        with self._lock:
            for task_id in list(self._open.get(account, ())):
                self._move(self.by_id[task_id])
            return len(self._open.get(account, ()))

    def advance(self, task_id: str) -> Task:
        """Move a task one stage on. Raises `KeyError` for an unknown id."""
        with self._lock:
            task = self.by_id[task_id]
            return self._set(task, min(task.stage + 1, clock.DONE))

    def finish(self, task_id: str) -> Task:
        """End a task well. Raises `KeyError` for an unknown id."""
        with self._lock:
            return self._set(self.by_id[task_id], clock.DONE)

    def fail(self, task_id: str, reason: str = "content_policy_violation", message: str | None = None) -> Task:
        """End a task badly. Raises `KeyError` for an unknown id.

        Args:
            task_id: The provider's id.
            reason: Why, in the provider's words.
            message: A longer text; the reason by default.
        """
        with self._lock:
            self.doom(self.by_id[task_id], reason, message)
            return self._set(self.by_id[task_id], clock.DONE)

    def doom(self, task: Task, reason: str, message: str | None = None) -> None:
        """Let a task fail when it ends.

        Args:
            task: The task.
            reason: Why, in the provider's words.
            message: A longer text; the reason by default.
        """
        task.failed, task.reason, task.message = True, reason, reason if message is None else message

    def _move(self, task: Task) -> None:
        if task.done or self.config.clock == "manual":
            return
        if self._give_places(task):
            self._go_on(task)
        else:
            self._set(task, clock.QUEUED)
        late = task.expires_mono is not None and self._monotonic() >= task.expires_mono
        if late and not task.done and self.config.clock == "time":
            self._end(task, "expired")

    def _give_places(self, asked: Task) -> bool:
        """Give the places that are free to the tasks whose turn it is; each goes on from the head of the queue.

        Returns:
            Whether the task that is asked for has one; only Ark lets tasks wait.
        """
        places = self.config.max_concurrency
        if asked.provider != "ark" or places is None or self.config.clock == "manual":
            return True
        waiting = list[Task]()
        for task in [self.by_id[task_id] for task_id in self._open.get(asked.account, ())]:
            if task.seated:
                self._go_on(task)
                places -= not task.done
            elif task.provider == "ark":
                waiting.append(task)
        for task in sorted(waiting, key=lambda one: one.turn)[: max(0, places)]:
            task.seated, task.polls_before, task.since_mono = True, task.polls, self._monotonic()
        return asked.seated

    def _go_on(self, task: Task) -> None:
        if self.config.clock == "immediate":
            stage = clock.stage_after_polls(task.polls - task.polls_before, self.config.polls_to_finish)
        else:
            every = self.config.refresh_s * self.config.scale if task.provider == "sudashui" else 0.0
            seen = clock.last_refresh(self._monotonic(), self._started, every)
            stage = clock.stage_at(seen - task.since_mono, task.run_s) if task.run_s else clock.DONE
        self._set(task, max(stage, task.stage))

    def _set(self, task: Task, stage: int) -> Task:
        now, since = time.time(), self._monotonic() - task.since_mono
        timed = self.config.clock == "time"
        if stage >= clock.RUNNING and task.started_at is None:
            task.started_at = now - max(0.0, since - clock.WAITING_SHARE * task.run_s) if timed else now
        if stage == clock.DONE and not task.done:
            task.done_at = now - max(0.0, since - task.run_s) if timed else now
            self._open.get(task.account, set[str]()).discard(task.task_id)
            if task.wanted.tokens and not task.failed:
                self.tokens[task.account] += task.wanted.tokens
        task.stage = stage
        return task

    # Links

    def expire_links(self, kind: LinkKind = "result") -> None:
        """Let every link that was given out so far be refused from now on."""
        with self._lock:
            self.links.expire(kind)

    def result_lifetime(self, provider: str) -> float:
        """Seconds that a side's result links live."""
        chosen = self.config.link_lifetime_s
        return _LINK_LIVES[provider] if chosen is None else chosen

    # Uploads

    def keep(self, name: str, media_type: str, source: BinaryIO, folder: str | None = None) -> Upload:
        """Store one file as `<folder>/<name>`, or as `<ms>/<ms>-<name>` without a folder. Blocks on the disk.

        Args:
            name: File name.
            media_type: MIME type.
            source: Its content.
            folder: Where it is listed; None = a number of its own.
        """
        with self._lock:
            self._folder = self._folder or Path(tempfile.mkdtemp(prefix="genvideo-simulator-"))
            self._upload_ms = max(int(time.time() * 1000), self._upload_ms + 1)
            number, disk = self._upload_ms, self._folder
        target, digest, size = disk / str(number), hashlib.sha256(), 0
        with target.open("wb") as out:
            while chunk := source.read(_COPY_CHUNK):
                digest.update(chunk)
                size += out.write(chunk)
        full_name = f"{folder}/{name}" if folder else f"{number}/{number}-{name}"
        upload = Upload(full_name, target, media_type, size, digest.hexdigest())
        with self._lock:
            self.uploads[upload.name] = upload
        return upload

    # Report

    def snapshot(self) -> dict[str, Any]:
        """Everything worth asserting, as JSON types."""
        with self._lock:
            if self.config.clock == "time":
                for task in self.by_id.values():
                    self._move(task)
            return {
                "billed": self.billed,
                "by_account": dict(self.by_account),
                "tokens": dict(self.tokens),
                "calls": dict(self.calls),
                "downloads": self.downloads,
                "bytes_sent": self.bytes_sent,
                "uploads": [
                    {"name": u.name, "media_type": u.media_type, "size": u.size, "sha256": u.sha256}
                    for u in self.uploads.values()
                ],
                "faults": {"active": [asdict(f) for f in self.faults.active], "hits": dict(self.faults.hits)},
                "dialect": self.spoken.on,
                "money": self.purse.snapshot(),
                "config": asdict(self.config),
                "tasks": [task.to_json() for task in self.by_id.values()],
            }
