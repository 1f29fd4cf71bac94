"""One wanted video as the ledger knows it: the record, its states, and its name in the store.

```
            ┌────────── release ──────────┐
            ▼                             │
(nothing) → intent → submitted → succeeded → saved
              │  ▲        └────→ failed
              │  └── rejected (nothing was made: the key is free)
              └────→ unknown  (a person decides: adopt or release)
```

Who saves at once goes from `submitted` to `saved` in one write.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import socket
import unicodedata
import uuid
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_validator

from prefect_genvideo.errors import DestinationError, InvalidRequestError, counted, redact
from prefect_genvideo.models import Generation, Moment, Problem, StoredVideo
from prefect_genvideo.polling import history_key
from prefect_genvideo.prices.amounts import Money
from prefect_genvideo.prices.facts import MoneyFacts

VERSION = 1
"""Version of the record that this release writes. A newer one is refused: its states may mean something else."""

LedgerState = Literal["intent", "submitted", "succeeded", "saved", "rejected", "failed", "unknown"]

MOVES: dict[LedgerState, frozenset[LedgerState]] = {
    "intent": frozenset({"submitted", "rejected", "unknown"}),
    "submitted": frozenset({"succeeded", "saved", "failed", "rejected"}),
    "succeeded": frozenset({"saved", "submitted"}),
    "saved": frozenset(),
    "rejected": frozenset({"intent", "submitted"}),
    "failed": frozenset({"rejected", "submitted"}),
    "unknown": frozenset({"submitted", "rejected"}),
}
"""Where a record may go from each state. A state may always be rewritten as itself (heartbeat, new facts)."""

SETTLED: frozenset[LedgerState] = frozenset({"saved", "failed", "rejected"})
"""Records that reconciling has nothing to do with any more."""

PAID: frozenset[LedgerState] = frozenset({"submitted", "succeeded"})
"""Records with a task that is paid for and whose video is not stored yet."""
KEPT: frozenset[LedgerState] = frozenset({*PAID, "saved"})
"""Records with a task that is paid for."""

# For so long after its end the cost of a generation is read again.
_MONEY_MOVES = timedelta(days=7)
# Characters that no key may have: by category controls, halves and ends of lines, by direction those that turn it.
_UNTYPED = frozenset({"Cc", "Cs", "Zl", "Zp"})
_TURNS = frozenset({"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"})
_PLAIN_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,119}")


@functools.lru_cache(maxsize=1)
def this_machine() -> str | None:
    """Return what stands for this boot of this machine and, on it, for this container; None where nothing tells.

    Containers with the host's network share its name, and cloned machines one another's; process ids are their own.
    """
    told = list[str]()
    with suppress(OSError):
        told.append(Path("/proc/sys/kernel/random/boot_id").read_text())
        told.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.sha256(" ".join(told).encode()).hexdigest()[:16] if told else None


class LedgerRecord(BaseModel):
    """All that is known of one wanted video. Readable by a person; holds no secret.

    Attributes:
        key: The idempotency key as the caller gave it.
        claim: Random id of the claim that owns the key; a new one after each release.
        holder: `host:pid` of the process that sent (or sends) the create.
        machine: What tells machines and containers of one host name apart; None where nothing does.
        account: Fingerprint of provider, address and API key; not the key.
        fingerprint: SHA-256 of the request.
        posts: How many times a create was sent under this claim.
        moderation: Whether the provider ended it for what the video shows or would show.
        refused: Whether the last of them is proven to have made nothing, and the next has not left yet.
        cost: The provider's own figure; None is unknown, never 0.
        seconds: Of video that were asked for; the most that it may have where the model chooses.
        no_video_since: When the provider was first seen to report the task as done without giving a link.
        asked_at: When such a task was last asked about by reconciling.
        told_at: When people were last told that they have to decide about it.
        stored: The saved video, once there is one.
        request_id: The provider's own id of the create's call, which its log goes by; kept from the answer's headers.
        sent_at: When a create was sent whose answer was lost or took long; with `gave_up_at` the time to look in.
        gave_up_at: When its answer was given up.
        clock_ahead: Seconds that the provider's clock was ahead of ours then.
        money: What it was expected to cost, what was charged and given back.
        tags: Free words of its row and its run.
        cost_center: Who bears the cost, as the run says.
        taken: What was taken for it out of caps of tags and cost centers, by `tag:NAME` or `cost_center:NAME`.
        flow_name: Name of the flow that paid for it.
    """

    # A mixed fleet during an upgrade: what a newer version has added is kept when an older one rewrites the record.
    model_config = ConfigDict(extra="allow")

    version: int = VERSION
    key: str
    state: LedgerState = "intent"
    claim: str = Field(default_factory=lambda: uuid.uuid4().hex)
    holder: str = Field(default_factory=lambda: f"{socket.gethostname()}:{os.getpid()}")
    machine: str | None = Field(default_factory=this_machine)
    provider: str
    model: str
    account: str
    fingerprint: str
    request: dict[str, JsonValue] = Field(default_factory=dict)
    video_key: str | None = None
    task_id: str | None = None
    reason: str | None = None
    moderation: bool = False
    link: str | None = None
    posts: int = 0
    refused: bool = False
    cost: float | None = None
    seconds: float | None = None
    resolution: str | None = None
    flow_run_id: str | None = None
    task_run_id: str | None = None
    created_at: Moment = Field(default_factory=lambda: datetime.now(timezone.utc))
    updated_at: Moment = Field(default_factory=lambda: datetime.now(timezone.utc))
    submitted_at: Moment | None = None
    finished_at: Moment | None = None
    no_video_since: Moment | None = None
    asked_at: Moment | None = None
    told_at: Moment | None = None
    stored: StoredVideo | None = None
    request_id: str | None = None
    sent_at: Moment | None = None
    gave_up_at: Moment | None = None
    clock_ahead: float | None = None
    money: MoneyFacts | None = None
    tags: tuple[str, ...] = ()
    cost_center: str | None = None
    taken: dict[str, Money] | None = None
    flow_name: str | None = None

    @field_validator("version")
    @classmethod
    def _is_known(cls, version: int) -> int:
        if version > VERSION:
            raise ValueError(f"it is of version {version}; this release knows versions up to {VERSION}")
        return version

    def is_of(self, generation: Generation) -> bool:
        """Whether this is the record of that task: two providers may give one id."""
        return (self.provider, self.task_id) == (generation.provider, generation.task_id)

    @property
    def was_given_up(self) -> bool:
        """Whether a person gave its task up, which is paid for all the same."""
        return self.state == "rejected" and self.task_id is not None and self.submitted_at is not None

    @property
    def money_is_open(self) -> bool:
        """Whether its real cost has been read and may still change; for a week after its end.

        What a task costs that was given up is still to be read.
        """
        was_read = self.money is not None and self.money.reads > 0
        if not (was_read or self.was_given_up) or (self.money is not None and self.money.final):
            return False
        return datetime.now(timezone.utc) - (self.finished_at or self.created_at) < _MONEY_MOVES

    @property
    def final_cost(self) -> Money | None:
        """What it has cost in the end; None while that is not known."""
        return self.money.spent if self.money is not None and self.money.final else None

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to do for it."""
        return self.state in SETTLED and not self.money_is_open

    @property
    def ahead(self) -> float:
        """Seconds that it is dated into the future of this machine's clock; below 0 for the past."""
        return (self.updated_at - datetime.now(timezone.utc)).total_seconds()

    @property
    def dated_ahead(self) -> str:
        """What to tell of a record from the future, as the end of a sentence; empty where it is from the past."""
        told = f"; its record is dated {self.ahead:,.0f} s ahead of this machine's clock: check both clocks"
        return told if self.ahead > 1 else ""

    def to_bytes(self) -> bytes:
        """The record as indented JSON, ending in a newline."""
        return (self.model_dump_json(indent=2, exclude_none=True) + "\n").encode()


def key_of_task(provider: str, task_id: str) -> str:
    """Idempotency key of a task that was created elsewhere; a long id stands in it by its hash.

    Args:
        provider: Name of the provider.
        task_id: The provider's id, up to 1,024 characters.
    """
    known = task_id if len(task_id) <= 200 else hashlib.sha256(task_id.encode()).hexdigest()
    return f"task-{provider}-{known}"


def given_up(record: LedgerRecord) -> LedgerRecord:
    """Return the record of its own that a paid task gets when its key is given to another one."""
    key = key_of_task(record.provider, record.task_id or "")
    reason = f"given up for another task of key {record.key!r}; {record.reason}"
    state = "failed" if record.state == "failed" else "rejected"
    facts = {"key": key, "state": state, "claim": uuid.uuid4().hex, "reason": redact(reason, 1000)}
    return record.model_copy(update=facts)


def file_name(key: str) -> str:
    """Name of a key's record: the key itself where it is plain, else a readable slug and a hash of it."""
    if _PLAIN_KEY.fullmatch(key):
        return f"{key}.json"
    slug = re.sub(r"[^A-Za-z0-9._-]+", "-", key).strip("-._")[:60] or "key"
    return f"{slug}~{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"


def check_key(key: str) -> None:
    """Refuse keys that nobody can name or type.

    Raises:
        InvalidRequestError: Empty, longer than 300 characters, or holding half characters, or such as control a
            terminal, break a line or turn the direction of writing.
    """
    odd = any(unicodedata.category(char) in _UNTYPED or unicodedata.bidirectional(char) in _TURNS for char in key)
    if not key.strip() or len(key) > 300 or odd:
        problem = Problem("idempotency_key", repr(key[:40]), "1 to 300 printable characters")
        raise InvalidRequestError("The idempotency key cannot be used.", problems=[problem])


def read_record(data: bytes, path: str, uri: str) -> LedgerRecord:
    """What a record's bytes say. A record that cannot be trusted is an error, never an absence.

    Args:
        data: As they were stored.
        path: Object key of the record, which the idempotency key decides.
        uri: The same for messages.

    Raises:
        DestinationError: It cannot be read, a newer release has written it, or it belongs to another key.
    """
    try:
        record = LedgerRecord.model_validate_json(data)
    except ValidationError as error:
        what = f"The ledger record {uri} cannot be read"
        for fault in error.errors():
            if fault["loc"] == ("version",):
                told = str(fault["msg"]).removeprefix("Value error, ")
                raise DestinationError(
                    f"{what}: {told}. Upgrade prefect-genvideo here; nothing was sent.", reason=told
                ) from None
        told = f"{what} ({counted(error.error_count(), 'fault')}); mend or remove it by hand, nothing was sent."
        raise DestinationError(told, reason="unreadable record") from None
    if file_name(record.key) != path.rpartition("/")[2]:
        raise DestinationError(
            f"The ledger record {uri} is that of another key, {record.key!r}: it was copied or renamed. Put it back "
            "by hand; nothing was sent.",
            reason="idempotency key mismatch",
        )
    return record


@dataclass(frozen=True)
class Move:
    """A step of a record to a state.

    Attributes:
        state: Where to.
        facts: Attributes to set.
        give_up: Whether a person wants a paid task to be given up; no run may.
        exact: Only onto the record as it was seen; else wherever the move is still allowed.
        unpaid: Whether it is proven that the create made nothing, so that it does not count to its day.
    """

    state: LedgerState
    facts: dict[str, Any]
    give_up: bool = False
    exact: bool = False
    unpaid: bool = False

    def refused_by(self, record: LedgerRecord) -> str | None:
        """Why the record cannot make the move, in words that follow its name; None when it can."""
        if self.state != record.state and self.state not in MOVES[record.state]:
            return f"is {record.state}, not to be made {self.state}"
        if record.state not in KEPT:
            return None
        if self.state == "rejected":
            return None if self.give_up else f"has the paid task {record.task_id}, not to be given up"
        other = self.facts.get("task_id")
        if other not in (None, record.task_id):
            return f"has the paid task {record.task_id}, not to be replaced by {other}"
        return None

    def applied_to(self, record: LedgerRecord) -> LedgerRecord:
        """The record after the move."""
        update = {"state": self.state, "updated_at": datetime.now(timezone.utc), **self.facts}
        return LedgerRecord.model_validate(record.model_dump() | update)

    def is_made_by(self, record: LedgerRecord) -> bool:
        """Whether the record stands where the move leads: another run made it, or we did and its answer was lost."""
        return record.state == self.state and self.facts.get("task_id") in (None, record.task_id)


def holder_is_gone(record: LedgerRecord) -> bool:
    """Whether the process that sent the create is known to have ended (only knowable where it ran)."""
    host, _, pid = record.holder.rpartition(":")
    if host != socket.gethostname() or record.machine not in (None, this_machine()) or not pid.isdigit():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def shown(value: Any) -> dict[str, JsonValue]:
    """A request as the ledger and manifests show it: no data URLs, no signatures."""

    def clean(item: JsonValue) -> JsonValue:
        if isinstance(item, str):
            return redact(item, 4000)
        if isinstance(item, dict):
            return {key: clean(value) for key, value in item.items()}
        return [clean(value) for value in item] if isinstance(item, list) else item

    cleaned = clean(json.loads(json.dumps(value)))
    return cleaned if isinstance(cleaned, dict) else {"value": cleaned}


def generation_of(record: LedgerRecord) -> Generation:
    """What the ledger knows of a task, as plain data to hand on: `succeeded` once its video is saved, else `queued`."""
    return Generation(
        provider=record.provider,
        task_id=record.task_id or "",
        state="succeeded" if record.stored else "queued",
        progress=100 if record.stored else None,
        created_at=record.submitted_at,
        finished_at=record.finished_at,
        cost=record.cost,
        idempotency_key=record.key,
    )


def bucket_of(record: LedgerRecord) -> str:
    """Name of the history that the record's generation belongs to: comparable ones take comparable times."""
    return history_key(record.provider, record.model, record.seconds, record.resolution)
