"""The simulator's money: what keys have, what is charged and given back when, and the log of it, as the gateway has it.

The full amount is taken before the supplier is asked; success and failure show first, the money moves after. Everything
can be absent, late or of an older tree: see `MoneyManner`.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Literal

import pydantic.dataclasses
from pydantic import ConfigDict

from prefect_genvideo.simulator.config import changed
from prefect_genvideo.simulator.rates import Rates

if TYPE_CHECKING:
    from prefect_genvideo.simulator.tasks import Task

Endpoint = Literal["usage", "log", "dashboard", "pricing", "status"]
"""What can be absent."""
CONSUME, REFUND = 2, 6
"""Types of rows."""
_PREFIX = "8268d9d6"
# Seconds in which the questions of a bucket are counted.
_BUCKET_S = 1200.0


@pydantic.dataclasses.dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class MoneyManner:
    """How the gateway handles money; each default is that of the trees of 2026-08.

    Attributes:
        absent: Addresses that are not there; see `Endpoint`.
        granted: Quota of every key; None is without limit.
        price: Units for a second of models that are not in `prices`.
        prices: The same by model.
        settles_at: Final price as a share of what was taken at first, for models billed by tokens; None: a fixed price,
            and nothing moves after a success.
        settle_delay_s: Seconds between the end of a task and its settlement or refund.
        quota_per_unit: Whole figures that make a unit; 0 tells none.
        display: `USD`, `CNY`, `TOKENS` or `CUSTOM`.
        rate: Dashboard figures of a unit, with `CNY`.
        group_ratio: Of the group `default`; multiplies every price.
        log_delay_s: Seconds until a row shows in the log.
        log_rows: Rows that the log shows at most.
        consume_log: Whether charges are logged at all.
        row_ids: Whether rows carry the id of their call: trees since 2026-02-04.
        refund_rows: Whether refunds and settlements are rows of the key: trees since 2026-02-22.
        task_ids: Whether a charge's row names its task: newer trees and several forks.
        local_ids: Hours that ids are ahead of UTC: trees before 2026-01-22 write the server's local time.
        zeroes_quota: Whether a failed task's own figure goes back to 0: trees since 2026-07-20.
        bucket: Questions about balance and log in 20 minutes; 0 is without limit.
        retry_after: Whether a refusal says how long to wait: trees since 2026-07-21.
        clock_ahead_s: Seconds that the gateway's clock is ahead of the real one.
    """

    absent: tuple[Endpoint, ...] = ()
    granted: int | None = None
    price: float = 0.828  # recorded: 1,656,000 for 4 seconds, by the usual size of a unit
    prices: Mapping[str, float] = field(default_factory=dict[str, float])
    settles_at: float | None = None
    settle_delay_s: float = 0.0
    quota_per_unit: int = 500_000
    display: Literal["USD", "CNY", "TOKENS", "CUSTOM"] = "USD"
    rate: float = 7.3
    group_ratio: float = 1.0
    log_delay_s: float = 0.0
    log_rows: int = 1000
    consume_log: bool = True
    row_ids: bool = True
    refund_rows: bool = True
    task_ids: bool = False
    local_ids: int = 0
    zeroes_quota: bool = True
    bucket: int = 20
    retry_after: bool = True
    clock_ahead_s: float = 0.0


@dataclass
class Bill:
    """The money of one task.

    Attributes:
        pre_charged: Taken when it was accepted.
        quota: The task's own figure, as its row shows it.
        moved: What was taken later; negative where it was given back.
        settled: Whether nothing moves any more.
    """

    account: str
    pre_charged: int
    quota: int
    request_id: str
    moved: int = 0
    settled: bool = False


class Purse:
    """Balances, bills and logs of all keys."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        with self._lock:
            self.manner = MoneyManner()
            self._own: dict[str, MoneyManner] = {}
            self.used: dict[str, int] = {}
            self.logs: dict[str, list[tuple[float, dict[str, Any]]]] = {}  # with the moment from which each row shows
            self.bills: dict[str, Bill] = {}
            self._calls = Rates()

    def choose(self, changes: Mapping[str, Any], account: str | None = None) -> MoneyManner:
        """Change how money is handled while running; what has happened stays.

        Args:
            changes: Attributes of `MoneyManner`.
            account: The only key that is handled so: prices, settlements, balance and log; clock, bucket, site and
                price list are those of all.

        Raises:
            ValueError: A name or a value is not known.
        """
        with self._lock:
            if account is not None:
                self._own[account] = changed(self.manner_of(account), changes)
                return self._own[account]
            self.manner = changed(self.manner, changes)
            return self.manner

    def manner_of(self, account: str) -> MoneyManner:
        """Return how a key's money is handled."""
        return self._own.get(account, self.manner)

    @property
    def now(self) -> float:
        """The gateway's clock."""
        return time.time() + self.manner.clock_ahead_s

    def new_id(self) -> str:
        """Id of a call that has just been received: its time in 14 digits, then digits and letters of its own."""
        now = self.now
        at = datetime.fromtimestamp(now + self.manner.local_ids * 3600, tz=timezone.utc)
        return f"{at:%Y%m%d%H%M%S}{int(now % 1 * 1e9):09d}{_PREFIX}{secrets.token_hex(4)}"

    def price_of(self, model: str, seconds: float, account: str = "") -> int:
        """What a create costs at first, cut to a whole figure after each step.

        Args:
            model: Name of the model.
            seconds: Length of the clip.
            account: The key that pays.
        """
        manner = self.manner_of(account)
        once = int(manner.prices.get(model, manner.price) * (manner.quota_per_unit or 500_000) * manner.group_ratio)
        return int(once * seconds)

    def left(self, account: str) -> int | None:
        """What is left on a key; None where it has no limit."""
        granted = self.manner_of(account).granted
        return None if granted is None else granted - self.used.get(account, 0)

    def lacks(self, account: str, price: int) -> bool:
        """Whether a key cannot pay.

        Args:
            account: The key.
            price: What is to be taken.
        """
        left = self.left(account)
        return left is not None and left < price

    def charge(self, task: Task, request_id: str) -> None:
        """Take the full amount for a task that was accepted, and write its row.

        Args:
            task: What was made.
            request_id: Id of the create's call.
        """
        with self._lock:
            manner = self.manner_of(task.account)
            price = self.price_of(task.wanted.model, task.wanted.seconds, task.account)
            self.bills[task.task_id] = Bill(task.account, price, price, request_id)
            other: dict[str, Any] = {
                "is_task": True,
                "request_path": "/v1/video/generations",
                **self._price_facts(task),
            }
            if manner.task_ids:
                other["task_id"] = task.task_id
            action = "referenceGenerate" if task.wanted.images else "textGenerate"
            if manner.consume_log:
                self._write(task.account, CONSUME, price, task.wanted.model, f"操作 {action}", request_id, other)
            self.used[task.account] = self.used.get(task.account, 0) + price

    def settle(self, tasks: Iterable[Task]) -> None:
        """Move the money of tasks that ended long enough ago.

        Args:
            tasks: All tasks.
        """
        with self._lock:
            for task in tasks:
                bill = self.bills.get(task.task_id)
                if bill is None or bill.settled or not task.done or task.done_at is None:
                    continue
                if time.time() >= task.done_at + self.manner_of(task.account).settle_delay_s:
                    bill.settled = True
                    self._settle(task, bill)

    def _settle(self, task: Task, bill: Bill) -> None:
        manner = self.manner_of(task.account)
        share = 0.0 if task.failed else manner.settles_at
        if share is None:
            return
        actual = int(bill.pre_charged * share)
        difference = actual - bill.pre_charged
        if not task.failed or manner.zeroes_quota:
            bill.quota = actual
        if difference == 0:
            return
        bill.moved = difference
        self.used[task.account] += difference
        if not manner.refund_rows:
            return
        other: dict[str, Any] = {**self._price_facts(task), "task_id": task.task_id}
        if task.failed:
            content, more = "", {"reason": task.reason}
        else:
            content = f"token重算：tokens={actual}, modelRatio=1.00, groupRatio=1.00, otherMultiplier=1.0000"
            more = {"pre_consumed_quota": bill.pre_charged, "actual_quota": actual}
        kind = CONSUME if difference > 0 else REFUND
        self._write(task.account, kind, abs(difference), task.wanted.model, content, self.new_id(), {**other, **more})

    def _price_facts(self, task: Task) -> dict[str, Any]:
        manner = self.manner_of(task.account)
        price = manner.prices.get(task.wanted.model, manner.price)
        by_tokens = manner.settles_at is not None
        return {"group_ratio": manner.group_ratio, "model_price": -1 if by_tokens else price}

    def add_call(self, account: str, model: str, quota: int) -> None:
        """Log a call that made no video: text, for instance.

        Args:
            account: The key.
            model: Name of the model.
            quota: What it cost.
        """
        with self._lock:
            self.used[account] = self.used.get(account, 0) + quota
            self._write(account, CONSUME, quota, model, "", self.new_id(), {"group_ratio": 1, "model_ratio": 1})

    def _write(
        self, account: str, kind: int, quota: int, model: str, content: str, request_id: str, other: dict[str, Any]
    ) -> None:
        row = {
            "user_id": 7,
            "created_at": int(self.now),
            "type": kind,
            "content": content,
            "username": "user-a",
            "token_name": "key-a",
            "model_name": model,
            "quota": quota,
            "prompt_tokens": 0,
            "completion_tokens": 0,
            "use_time": 0,
            "is_stream": False,
            "channel": 3,
            "channel_name": "",
            "token_id": 11,
            "group": "default",
            "ip": "",
            "other": json.dumps(other, ensure_ascii=False, sort_keys=True),
            "request_id": request_id,
        }
        shows_at = self.now + self.manner_of(account).log_delay_s
        self.logs.setdefault(account, []).append((shows_at, row))

    def rows(self, account: str) -> list[dict[str, Any]]:
        """The rows that a key's log shows, newest first."""
        with self._lock:
            now, manner = self.now, self.manner_of(account)
            shown = [row for shows_at, row in reversed(self.logs.get(account, [])) if shows_at <= now]
            hidden = () if manner.row_ids else ("request_id",)
            return [
                {"id": place} | {name: value for name, value in row.items() if name not in hidden}
                for place, row in enumerate(shown[: manner.log_rows], 1)
            ]

    def refused_for(self, host: str) -> float | None:
        """Take a call of the bucket; the seconds to wait where it is empty, else None.

        Args:
            host: Who asks.
        """
        with self._lock:
            return self._calls.wait(host, self.manner.bucket, _BUCKET_S, time.time())

    def snapshot(self) -> dict[str, Any]:
        """Everything worth asserting, as JSON types; `bills` by task, with what was taken first and moved later."""
        with self._lock:
            bills = {task_id: asdict(bill) for task_id, bill in self.bills.items()}
            return {"used": dict(self.used), "bills": bills, "manner": asdict(self.manner)}
