"""A generation as the simulator keeps it, whichever side accepted it."""

from __future__ import annotations

import secrets
import string
import uuid
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any

from prefect_genvideo.simulator import clock

STAGE_NAMES = ("stored", "submitted", "queued", "running", "done")
"""Words for the stages of `clock`, by number."""
_LETTERS = string.ascii_letters + string.digits
# Ark's ids tell the time in China.
_CHINA = timezone(timedelta(hours=8))


def _drawn(letters: str, count: int) -> str:
    return "".join(secrets.choice(letters) for _ in range(count))


TASK_IDS: Mapping[str, Callable[[], str]] = {
    "sudashui": lambda: f"task_{_drawn(_LETTERS, 32)}",
    "senseaudio": lambda: str(uuid.uuid4()),
    "ark": lambda: f"cgt-{datetime.now(_CHINA):%Y%m%d%H%M%S}-{_drawn(string.ascii_lowercase + string.digits, 5)}",
}
"""How each side names a new task."""


@dataclass(frozen=True)
class Wanted:
    """One generation in terms that all sides share.

    Attributes:
        seconds: Asked length of the clip.
        ratio: e.g. `16:9` or `adaptive`.
        resolution: e.g. `720p`.
        images: Links of the pictures, the first frame or `@image1` being first.
        request: The body as it came, inline data shortened.
        tokens: What a success is billed, where tokens are billed.
        patience_s: Simulated seconds after which a task that is not over expires; None = never.
    """

    model: str
    prompt: str
    seconds: float
    ratio: str
    resolution: str
    images: tuple[str, ...] = ()
    request: Mapping[str, Any] = field(default_factory=dict[str, Any])
    tokens: int = 0
    patience_s: float | None = None


@dataclass
class Task:
    """One generation that was accepted, and so is paid.

    Attributes:
        created: Unix time.
        run_s: Seconds it takes with the `time` clock.
        stage: See `clock`: 0 stored … 4 done.
        reason: Why it failed, in the provider's words; only meaningful when `failed`.
        message: The longer text that goes with the reason.
        started_at: Unix time when it began to run; None before that.
        done_at: Unix time when it was over; None while it is not.
        seen_done_at: Unix time of the first query that reported the end.
        end_polls: Queries that reported the end.
        ended_as: `cancelled` or `expired`, where that is the end and neither success nor failure.
        since_mono: Monotonic time when it was made, or got its place.
        seated: Whether it has got a place, where places are few.
        polls_before: Queries before that.
        expires_mono: Monotonic time when it expires, with the `time` clock; None = never.
        deleted: Whether the provider has forgotten it.
    """

    task_id: str
    provider: str
    account: str
    wanted: Wanted
    row_id: int
    record_id: str
    file_id: str
    created: float
    since_mono: float
    run_s: float
    stage: int = clock.STORED
    failed: bool = False
    reason: str = ""
    message: str = ""
    polls: int = 0
    downloads: int = 0
    started_at: float | None = None
    done_at: float | None = None
    seen_done_at: float | None = None
    end_polls: int = 0
    ended_as: str = ""
    seated: bool = False
    polls_before: int = 0
    expires_mono: float | None = None
    deleted: bool = False

    @property
    def done(self) -> bool:
        """Whether the provider has said its last word."""
        return self.stage == clock.DONE

    @property
    def turn(self) -> tuple[int, int]:
        """Whose turn comes first among those that wait: by priority, then by age."""
        return -int(self.wanted.request.get("priority", 0)), self.row_id

    @property
    def has_film(self) -> bool:
        """Whether there is a clip to be fetched."""
        return self.done and not (self.failed or self.deleted)

    @property
    def state(self) -> str:
        """`stored`, `submitted`, `queued`, `running`, `succeeded` or `failed`."""
        return ("failed" if self.failed else "succeeded") if self.done else STAGE_NAMES[self.stage]

    def to_json(self) -> dict[str, Any]:
        """All facts as JSON types."""
        facts = asdict(self)
        return {**facts.pop("wanted"), **facts, "state": self.state}
