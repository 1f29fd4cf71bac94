"""Types of the dialects: a dialect is another manner of giving the right answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast

from starlette.responses import Response

if TYPE_CHECKING:
    from prefect_genvideo.simulator.tasks import Task

Json = dict[str, Any]
End = Literal["saved", "refused", "failed", "unknown"]

ALL = ("sudashui", "senseaudio", "ark")
"""The sides of the simulator."""
_STATES = {"stored": "queued", "submitted": "queued", "queued": "queued"}


@dataclass(frozen=True)
class Told:
    """The right answer, and what it is about.

    Attributes:
        provider: One of `ALL`.
        origin: Scheme and host as the client wrote them.
        right: The right answer's body; empty for a create or an upload that is refused.
        task: The task; None for an upload and before anything was made.
    """

    provider: str
    origin: str
    right: Json = field(default_factory=dict[str, Any])
    task: Task | None = None

    @property
    def task_id(self) -> str:
        """The provider's id."""
        return self.task.task_id if self.task else ""

    @property
    def state(self) -> str:
        """`queued`, `running`, `succeeded` or `failed`."""
        return _STATES.get(self.task.state, self.task.state) if self.task else ""

    @property
    def row(self) -> Json:
        """The part of a query's answer that is about the task."""
        return cast("Json", self.right["data"]) if self.provider == "sudashui" else self.right

    @property
    def says(self) -> tuple[str, ...]:
        """Names under which a query's answer may have its link, its reason and its bill."""
        usual = ("result_url", "video_url", "fail_reason", "error_message")
        return ("content", "error", "usage") if self.provider == "ark" else usual

    @property
    def link(self) -> str:
        """The clip's link; empty while there is none."""
        row = cast("Json", self.row.get("content") or {}) if self.provider == "ark" else self.row
        return str(row.get("result_url" if self.provider == "sudashui" else "video_url") or "")

    def wrapped(self, row: Json) -> Json:
        """A query's answer around another row."""
        return {**self.right, "data": row} if self.provider == "sudashui" else row

    def bare(self) -> Json:
        """The row without link, reason and inner object."""
        hidden = (*self.says, "data")
        return {name: value for name, value in self.row.items() if name not in hidden}


@dataclass(frozen=True)
class Dialect:
    """One manner of answering one operation.

    Attributes:
        note: What it looks like.
        shape: Makes the answer.
        providers: Whose answers it changes; the others' stay as documented.
        ends: What a user's run should come to: a saved video, a refusal, a failed generation, or an outcome that a
            person has to look up.
        makes: Whether the operation is done; a refusal does nothing and bills nothing.
    """

    note: str
    shape: Callable[[Told], Response]
    providers: tuple[str, ...] = ALL
    ends: End = "saved"
    makes: bool = True


@dataclass(frozen=True)
class FileManner:
    """One manner of sending a clip.

    Attributes:
        note: What it looks like.
        content: Changes the bytes.
        headers: Further headers, or other values of the usual ones.
        without: Headers that are left out.
        status: Answers a request for the whole file.
    """

    note: str
    content: Callable[[bytes], bytes] | None = None
    headers: Mapping[str, str] = field(default_factory=dict[str, str])
    without: tuple[str, ...] = ()
    status: int = 200
    ends: End = "saved"
    providers: tuple[str, ...] = ALL
