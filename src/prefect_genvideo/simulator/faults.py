"""Faults for tests: what goes wrong, where, how often. Thread-safe and repeatable."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import field
from typing import Annotated, Any

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

_MONEY = ("usage", "log", "billing", "pricing", "site")
OPERATIONS = ("create", "status", "list", "delete", "upload", "download", "cover", "asset", "models", *_MONEY)
"""What a call is; `download` is a clip, `asset` an upload that is read back, `billing` the dashboard."""

KINDS: dict[str, tuple[str, ...]] = {
    # The wire breaks.
    "lost_before": OPERATIONS,  # connection cut before anything was done; params: reset (true: RST, false: FIN)
    "lost_after": ("create", "upload", "delete"),  # done and billed, then cut without an answer; params: reset
    "cut_answer": ("create",),  # done and billed, then the answer's head without its body
    "timeout": OPERATIONS,  # no answer until the client gives up; params: accepted, seconds
    "late": OPERATIONS,  # the right answer after params: seconds (0.5)
    # The gateway answers something else.
    "500_e1": OPERATIONS,  # proven refusal, but for Ark, whose 500 proves nothing; params: code, message
    "502_html": OPERATIONS,  # params: accepted
    "html_200": OPERATIONS,
    "429": OPERATIONS,  # params: retry_after
    "answer": OPERATIONS,  # any answer; params: status, body (object or text), headers, accepted
    # The provider refuses.
    "quota": ("create",),
    "concurrency": ("create",),
    "not_found": ("status", "delete"),
    # The task goes another way.
    "moderation": ("create",),  # the task ends as failed; params: reason, message
    "empty_creations": ("status",),  # success without a link; only answers that report success are hit
    "proxy_link": ("status",),  # Sudashui: success with the gateway's own `/content` link only
    "unknown_word": ("status",),  # params: word
    # The file does.
    "expired_link": ("download",),
    "cut": ("download",),  # params: fraction (0.5) of the bytes that were asked for
    "stall": ("download",),  # params: fraction (0.5), seconds (3600)
}
"""The operations that each kind of fault can strike."""

ON_SUCCESS_ONLY = frozenset({"empty_creations", "proxy_link"})
"""Kinds that the handlers take themselves, when the answer they spoil is due."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Fault:
    """One thing that goes wrong.

    Attributes:
        kind: A key of `KINDS`, e.g. `lost_after`.
        op: One of `OPERATIONS`, or `*` for all that the kind knows.
        times: How many calls are hit before it is over; None = until it is removed.
        rate: Probability from 0 to 1 that a matching call is hit.
        provider: `sudashui`, `senseaudio` or `ark`; None = all.
        match: Only calls that mention this text: part of the prompt, of the task id, of the path.
        params: Facts of the kind, see the comments in `KINDS`.
    """

    kind: str
    op: str = "*"
    times: Annotated[int, Field(ge=1)] | None = None
    rate: Annotated[float, Field(ge=0, le=1)] = 1.0
    provider: str | None = None
    match: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown fault {self.kind!r}; known: {', '.join(KINDS)}")
        if self.op != "*" and self.op not in KINDS[self.kind]:
            raise ValueError(f"{self.kind!r} can happen on {', '.join(KINDS[self.kind])}, not on {self.op!r}")

    def fits(self, op: str, provider: str, text: str) -> bool:
        """Whether a call is one that this fault may hit.

        Args:
            op: What is asked.
            provider: `sudashui`, `senseaudio` or `ark`.
            text: What `match` looks into.
        """
        return (
            op in (KINDS[self.kind] if self.op == "*" else (self.op,))
            and self.provider in (None, provider)
            and (self.match is None or self.match in text)
        )


class FaultSet:
    """The faults that are on, with how often each kind has struck."""

    def __init__(self, faults: Collection[Fault] = (), seed: int = 0) -> None:
        self._lock = threading.Lock()
        self.reset(faults, seed)

    def reset(self, faults: Collection[Fault] = (), seed: int = 0) -> None:
        """Start over with these faults, a fresh seed and no hits.

        Args:
            faults: Those that are on from now.
            seed: Of their chances.
        """
        with self._lock:
            self._rng = random.Random(seed)  # noqa: S311 - chance for tests, not a secret
            self._left: list[tuple[Fault, int | None]] = [(fault, fault.times) for fault in faults]
            self.hits: Counter[str] = Counter()

    def add(self, *faults: Fault) -> None:
        """Switch faults on, after those that are on already."""
        with self._lock:
            self._left.extend((fault, fault.times) for fault in faults)

    def clear(self) -> None:
        """Switch all faults off; the hits stay counted."""
        with self._lock:
            self._left.clear()

    @property
    def on(self) -> bool:
        """Whether anything can still strike; costs nothing."""
        return bool(self._left)

    @property
    def active(self) -> list[Fault]:
        """The faults that can still strike."""
        with self._lock:
            return [fault for fault, _ in self._left]

    def take(
        self, op: str, provider: str, text: str, only: Collection[str] | None = None
    ) -> tuple[float, Fault | None]:
        """Decide what happens to one call.

        Args:
            op: What the call is, one of `OPERATIONS`.
            provider: The side that is asked.
            text: What `Fault.match` looks into.
            only: Kinds that are due; None = all but `ON_SUCCESS_ONLY`.

        Returns:
            Seconds to wait first, and the first fault that strikes, if one does.
        """
        delay = 0.0
        if not self._left:  # the usual case costs no lock
            return delay, None
        with self._lock:
            for fault, _ in list(self._left):
                due = fault.kind not in ON_SUCCESS_ONLY if only is None else fault.kind in only
                if not (due and fault.fits(op, provider, text)):
                    continue
                if fault.rate < 1 and self._rng.random() >= fault.rate:
                    continue
                self._count(fault)
                if fault.kind != "late":
                    return delay, fault
                delay += float(fault.params.get("seconds", 0.5))
        return delay, None

    def _count(self, fault: Fault) -> None:
        self.hits[fault.kind] += 1
        for i, (candidate, left) in enumerate(self._left):
            if candidate is fault and left is not None:
                if left <= 1:
                    del self._left[i]
                else:
                    self._left[i] = (fault, left - 1)
                return
