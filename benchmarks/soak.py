"""Hours of bad weather in minutes: does every wanted video come out paid once, stored once, and nothing left behind?

    python benchmarks/soak.py [--minutes 5] [--seed N] [--workers 3] [--keep DIR]

Workers are processes that make videos of both providers into an S3 server and into a folder. They are killed, told to
stop, cut off from the provider and from the store, answered in every manner of the field, and their clocks are wrong by
up to weeks and jump. Then the weather clears: unfinished wishes are asked for again, ledgers are reconciled, and for
each unknown outcome a person is played who looks into the provider's console and adopts the task or frees the key.

At the end everything that was written is searched: each wish must be paid once and delivered, or refused; reconciling
must have left nothing that no record names; and no key, secret or signature may stand in any file, object or log.
Exits with 1 when a promise was broken. The last line is `RESULT {…}`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import json
import random
import secrets
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import soak_child
from benchmarks.leaks import leaks
from benchmarks.processes import Answer, Console, Fork, Forks
from benchmarks.servers import BUCKET, Servers, running
from benchmarks.soak_child import Place, Weather, Wish, written
from prefect_genvideo.ledger.listing import every_record, unfinished
from prefect_genvideo.ledger.record import SETTLED, LedgerRecord
from prefect_genvideo.ledger.store import Ledger
from prefect_genvideo.simulator.dialects import dialects
from prefect_genvideo.storage.s3.orphans import NOTES
from prefect_genvideo.storage.s3.promises import PROBES

SIMULATOR = {"polls_to_finish": 3, "clip_bytes": 65_536, "link_lifetime_s": 3600}
REFUSED, DOOMED = "[refused]", "[doomed]"
"""Words in a prompt that the provider refuses before it is paid, and after."""
STUCK_SECONDS = 90.0
DAY = 24 * 3600.0
ROUNDS = 8
# One of them is due every quarter of a second or so: operation and fault, and what is told to it.
FAULTS: tuple[dict[str, Any], ...] = (
    {"kind": "lost_before", "op": "create"},
    {"kind": "lost_after", "op": "create"},
    {"kind": "timeout", "op": "create", "params": {"seconds": 3}},
    {"kind": "timeout", "op": "create", "params": {"seconds": 3, "accepted": False}},
    {"kind": "502_html", "op": "create"},
    {"kind": "502_html", "op": "create", "params": {"accepted": True}},
    {"kind": "html_200", "op": "create"},
    {"kind": "500_e1", "op": "create"},
    {"kind": "429", "op": "create", "params": {"retry_after": 1}},
    {"kind": "429", "op": "create", "params": {"retry_after": 3600}},
    {"kind": "quota", "op": "create"},
    {"kind": "concurrency", "op": "create"},
    {"kind": "lost_before", "op": "status"},
    {"kind": "502_html", "op": "status", "times": 3},
    {"kind": "not_found", "op": "status"},
    {"kind": "empty_creations", "op": "status", "times": 2},
    {"kind": "unknown_word", "op": "status", "params": {"word": "PONDERING"}},
    {"kind": "429", "op": "status", "params": {"retry_after": 1}},
    {"kind": "expired_link", "op": "download"},
    {"kind": "cut", "op": "download"},
    {"kind": "stall", "op": "download", "params": {"seconds": 2}},
    {"kind": "502_html", "op": "download"},
)
ALWAYS: tuple[dict[str, Any], ...] = (
    {
        "kind": "answer",
        "op": "create",
        "match": REFUSED,
        "params": {
            "status": 400,
            "body": {
                "error": {"code": "invalid_request", "message": "prompt is not allowed"},
                "code": "invalid_request",
            },
        },
    },
    {"kind": "moderation", "op": "create", "match": DOOMED},
)
SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


@dataclass
class Worker:
    """A process that is under way.

    Attributes:
        fork: The process.
        dies_at: When it is sent a signal; never when infinite.
        ends_at: When it counts as stuck.
    """

    fork: Fork
    dies_at: float
    ends_at: float


@dataclass
class Tally:
    """How the wishes ended.

    Attributes:
        delivered: Wishes with a record that names a whole, proved video of a task that was paid for them.
        refused: Wishes that the provider refused before they were paid.
        failed: Wishes that it accepted and ended without a video.
        broken: Promises that were not kept, in words.
    """

    delivered: int = 0
    refused: int = 0
    failed: int = 0
    broken: list[str] = field(default_factory=list[str])


class Soak:
    """The bad weather, and what comes of it.

    Args:
        servers: Simulator and S3 server.
        seed: Of everything that is left to chance here; processes race all the same.
        workers: Processes at one time.
    """

    def __init__(self, servers: Servers, seed: int, workers: int) -> None:
        self.rng, self.servers, self.workers = random.Random(seed), servers, workers
        self.console, self.forks = Console(servers.simulator), Forks("benchmarks.soak_child")
        # With characters that JSON, links and base64 write in other ways.
        self.secrets = [f"sk-sim-soak-{secrets.token_hex(8)}/+{name}=Z" for name in "abcdef"]
        self.s3_secret = f"s3/{secrets.token_hex(16)}+x="
        self.places = self._places()
        self.wishes: dict[Place, list[Wish]] = {place: [] for place in self.places}
        self.logs = servers.folder / "logs"
        self.logs.mkdir()
        self.happened: Counter[str] = Counter()
        self.number, self.settled = 0, list[str]()
        self.processes = count(1)
        self.running: list[Worker] = []
        for fault in ALWAYS:
            self.console.tell("faults", fault)

    def _places(self) -> list[Place]:
        s3: dict[str, Any] = {
            "bucket": BUCKET,
            "endpoint_url": self.servers.s3,
            "access_key_id": "SOAKACCESSKEYID",
            "secret_access_key": self.s3_secret,
            "region": "us-east-1",
            "part_size": 5 * soak_child.MIB,
        }
        places, keys = list[Place](), iter(self.secrets)
        for provider, path in soak_child.PATHS.items():
            url = f"{self.servers.simulator}{path}"
            places.append(Place(provider, url, next(keys), {**s3, "prefix": f"soak/{provider}"}))
            places.append(Place(provider, url, next(keys), folder=str(self.servers.folder / "videos" / provider)))
        return places

    # Bad weather

    def storm(self, seconds: float) -> None:
        """Let workers make videos while everything goes wrong."""
        end, next_trouble = time.monotonic() + seconds, 0.0
        while (now := time.monotonic()) < end:
            self._look_after(now)
            while len(self.running) < self.workers:
                self._begin(now)
            if now >= next_trouble:
                self._trouble()
                next_trouble = now + self.rng.uniform(0.1, 0.6)
            time.sleep(0.02)
        self.clear()
        for worker in self.running:
            self._ended(worker.fork.result(STUCK_SECONDS))
        self.running = []

    def clear(self) -> None:
        """Let nothing go wrong any more but what the provider refuses for good."""
        self.console.clear_faults()
        self.console.tell("dialect", dict.fromkeys(("create", "status", "download"), "documented"))
        self.console.tell("config", {"clip_bytes": SIMULATOR["clip_bytes"]})
        for fault in ALWAYS:
            self.console.tell("faults", fault)

    def _look_after(self, now: float) -> None:
        for worker in list(self.running):
            if now > worker.dies_at:
                number = self.rng.choice(SIGNALS)
                self.happened[number.name] += worker.fork.alive
                worker.fork.signal(number)
                # Some are told once more, before they have tidied up.
                worker.dies_at = now + self.rng.choice((0.3, float("inf")))
            if not worker.fork.alive or now > worker.ends_at:
                self.running.remove(worker)
                self._ended(worker.fork.result(0.5))

    def _begin(self, now: float) -> None:
        place = self.rng.choice(self.places)
        if self.rng.random() < 0.1:
            fork = self.forks.start(soak_child.tidy, place, self._weather())
        else:
            fork = self.forks.start(soak_child.make, place, self._weather(), self._wanted(place))
        dies_at = now + self.rng.uniform(0.1, 4) if self.rng.random() < 0.6 else float("inf")
        self.running.append(Worker(fork, dies_at, now + STUCK_SECONDS))

    def _wanted(self, place: Place) -> tuple[Wish, ...]:
        """A few new wishes, and some that were had before: lost results, events delivered twice, reruns."""
        wishes = self.wishes[place]
        again = self.rng.sample(wishes, min(len(wishes), self.rng.choice((0, 0, 1, 3))))
        for _ in range(self.rng.choice((1, 2, 4))):
            self.number += 1
            fate = self.rng.choices(("", REFUSED, DOOMED), (0.9, 0.05, 0.05))[0]
            wishes.append(Wish(f"wish {self.number}/{place.provider}", f"({self.number}) a cat {fate}"))
            again.append(wishes[-1])
        return tuple(again)

    def _weather(self, *, fair: bool = False, days: float = 0.0) -> Weather:
        number = next(self.processes)
        name, log = f"host-{number}", str(self.logs / f"{number}.log")
        if fair:
            return Weather(clock=(days * DAY, days * DAY), host=name, log=log)
        off = [self.rng.choice((0.0, 0.0, -90.0, 300.0, -3600.0, 86_400.0, -30 * DAY)) for _ in range(2)]
        self.happened["clock jumps"] += off[0] != off[1]
        return Weather(
            seed=self.rng.randrange(2**31),
            trouble=self.rng.choice((0.0, 0.02, 0.1)),
            clock=(off[0], off[1]),
            jump=self.rng.uniform(0, 2),
            host=name,
            log=log,
            loud=self.rng.random() < 0.1,
        )

    def _trouble(self) -> None:
        kind = self.rng.random()
        if kind < 0.75:
            self.console.tell("faults", {"times": 1, **self.rng.choice(FAULTS)})
        elif kind < 0.9:
            # No provider tells of a success and then of a failure, as a change of these in mid-flight would.
            steady = [(op, name) for op, name, kind in dialects() if op != "upload" and kind.ends != "failed"]
            op, name = self.rng.choice(steady)
            self.console.tell("dialect", {op: self.rng.choice((name, "documented"))})
        else:  # a video of more than one part now and then
            big = self.rng.random() < 0.4
            self.console.tell("config", {"clip_bytes": 6 * soak_child.MIB if big else SIMULATOR["clip_bytes"]})
        self.happened["troubles"] += 1

    def _ended(self, answer: Answer) -> None:
        error = str(answer.get("error", ""))
        if "killed" not in answer and error:
            self.happened[error[:60]] += 1
        for state in answer.get("ended", {}).values():
            self.happened[f"a wish ended as {state}"] += 1

    def hidden(self) -> list[str]:
        """Unfinished records that reconciling would not find."""

        async def looked(place: Place) -> list[str]:
            ledger = Ledger(place.store())
            found = {entry.record.key async for entry in unfinished(ledger) if not isinstance(entry, Exception)}
            records = [entry.record async for entry in every_record(ledger) if not isinstance(entry, Exception)]
            left = [record for record in records if record.state not in SETTLED and record.key not in found]
            self.happened["left unfinished"] += len(found)
            return [f"hidden: {record.key} is {record.state} ({record.task_id})" for record in left]

        return [text for place in self.places for text in asyncio.run(looked(place))]

    # Fair weather

    def settle(self) -> None:
        """Ask again for what is unfinished, reconcile, and play the person, until nothing is left to do."""
        for _ in range(ROUNDS):
            left = [place for place in self.places if self._unfinished(place)]
            self._side_by_side(self._settle, left)
            if not left:
                break
        self._side_by_side(self._tidy_at_last, self.places)

    def _side_by_side(self, work: Callable[[Place], None], places: Sequence[Place]) -> None:
        with ThreadPoolExecutor(len(self.places)) as pool:
            list(pool.map(work, places))

    def _settle(self, place: Place) -> None:
        wishes = self._unfinished(place)
        for some in (tuple(wishes[at : at + 20]) for at in range(0, len(wishes), 20)):
            self._ended(self._calmly(soak_child.make, place, self._weather(fair=True), some))
        self._ended(self._calmly(soak_child.tidy, place, self._weather(fair=True)))
        self._play_the_person(place)

    def _tidy_at_last(self, place: Place) -> None:
        self._ended(self._calmly(soak_child.tidy, place, self._weather(fair=True, days=3), True))

    def _calmly(self, *order: Any) -> Answer:
        return self.forks.start(*order).result(STUCK_SECONDS)

    def _unfinished(self, place: Place) -> list[Wish]:
        records = self.records(place)
        return [wish for wish in self.wishes[place] if not self._is_over(wish, records.get(wish.idempotency_key))]

    def _is_over(self, wish: Wish, record: LedgerRecord | None) -> bool:
        if record is None:
            return False
        return record.state in ("saved", "failed") or (record.state == "rejected" and REFUSED in wish.prompt)

    def _play_the_person(self, place: Place) -> None:
        records = self.records(place)
        for wish in self.wishes[place]:
            record = records.get(wish.idempotency_key)
            if record is None or record.state != "unknown":
                continue
            tasks = self.console.tasks(wish.prompt)
            task_id = tasks[-1]["task_id"] if tasks else ""
            self._ended(self._calmly(soak_child.decide, place, self._weather(fair=True), wish.idempotency_key, task_id))
            self.settled.append(wish.idempotency_key)

    def records(self, place: Place) -> dict[str, LedgerRecord]:
        """Every record of a place by its idempotency key."""

        async def read() -> dict[str, LedgerRecord]:
            found = [entry async for entry in every_record(Ledger(place.store()))]
            return {entry.record.key: entry.record for entry in found if not isinstance(entry, Exception)}

        return asyncio.run(read())

    # What came of it

    def tally(self) -> Tally:
        """Hold every wish against the provider's console and the store."""
        tally, paid = Tally(), Counter(task["prompt"] for task in self.console.tasks())
        for place in self.places:
            records = self.records(place)
            for wish in self.wishes[place]:
                self._judge(place, wish, records.get(wish.idempotency_key), paid[wish.prompt], tally)
        return tally

    def _judge(self, place: Place, wish: Wish, record: LedgerRecord | None, paid: int, tally: Tally) -> None:
        state = record.state if record else "nothing"
        kept = asyncio.run(_is_kept(place, record)) if record else False
        if state == "saved" and kept and paid == 1:
            tally.delivered += 1
        elif state == "rejected" and paid == 0:
            tally.refused += 1
        elif state == "failed" and paid == 1:
            tally.failed += 1
        else:
            reason = record.reason if record else None
            tally.broken.append(f"{wish} at {place}: {state} ({reason}), paid {paid} times, kept: {kept}")

    def orphans(self) -> list[str]:
        """What no record names and nobody will use: broken uploads, probes, markers, files."""
        found = list[str]()
        for place in self.places:
            records = self.records(place)
            found += asyncio.run(_orphans(place, list(records.values())))
            if place.folder:
                found += [str(path) for path in Path(place.folder).rglob(".genvideo-*.part")]
        client = _s3_client(self.places[0])
        uploads: list[dict[str, Any]] = client.list_multipart_uploads(Bucket=BUCKET).get("Uploads", [])
        return found + [f"upload {upload['Key']}" for upload in uploads]

    def leaks(self) -> list[str]:
        """Where a key, a secret or a signature stands: files, logs of all processes, objects."""
        everything = written(self.servers.folder)
        client = _s3_client(self.places[0])
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
            for item in page.get("Contents", []):
                everything[item["Key"]] = client.get_object(Bucket=BUCKET, Key=item["Key"])["Body"].read()
        self.happened["MB searched"] = sum(map(len, everything.values())) // 1_000_000
        return leaks(everything, [*self.secrets, self.s3_secret])


def _s3_client(place: Place) -> Any:
    import boto3

    keys = {name: place.s3[f"{name}"] for name in ("access_key_id", "secret_access_key")}
    named = {f"aws_{name}": value for name, value in keys.items()}
    return boto3.client("s3", endpoint_url=place.s3["endpoint_url"], region_name="us-east-1", **named)


async def _is_kept(place: Place, record: LedgerRecord) -> bool:
    """Whether the bytes that a record names are in the store, with the hash that was proved."""
    if record.stored is None:
        return False
    store = place.store()
    with contextlib.suppress(Exception):
        digest = hashlib.sha256()
        async for chunk in store.read(store.relative_key(record.stored.key)):
            digest.update(chunk)
        return digest.hexdigest() == record.stored.sha256
    return False


async def _orphans(place: Place, records: list[LedgerRecord]) -> list[str]:
    store = place.store()
    named = {store.relative_key(record.stored.key).rpartition(".")[0] for record in records if record.stored}
    states = {record.key: record.state for record in records}
    found = [info.key async for info in store.list() if not info.key.startswith("_ledger/")]
    orphans = [key for key in found if not any(key.startswith(f"{stem}.") for stem in named)]
    for prefix in (PROBES, NOTES):
        orphans += [info.key async for info in store.list(prefix)]
    # A reservation with a key that was refused or never claimed stays for a day: its run may live, and claim it.
    async for held in Ledger(store).reservations.open():
        if isinstance(held, Exception) or {states.get(key) for key in held.creates} <= {"saved", "failed"}:
            orphans.append(f"_ledger/_reserved {held}")
    return [f"{place.provider}: {store.uri(key)}" for key in orphans]


def main() -> int:
    """Soak."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--minutes", type=float, default=5, help="how long the bad weather lasts")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6), help="of the weather")
    parser.add_argument("--workers", type=int, default=3, help="processes at one time")
    parser.add_argument("--keep", type=Path, help="copy logs and folders there")
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    with running(json.dumps(SIMULATOR), prefect=False) as servers:
        soak = Soak(servers, given.seed, given.workers)
        with contextlib.closing(soak.console):
            soak.storm(given.minutes * 60)
            hidden = soak.hidden()
            soak.settle()
            tally, orphans, leaked = soak.tally(), soak.orphans(), soak.leaks()
            billed = len(soak.console.tasks())
        broken = [
            *tally.broken,
            *hidden,
            *(f"orphan: {name}" for name in orphans),
            *(f"leak: {name}" for name in leaked),
        ]
        if given.keep:
            shutil.copytree(servers.folder, given.keep, dirs_exist_ok=True)
    for what, times in sorted(soak.happened.items()):
        print(f"{times:6} {what}")
    print(f"{tally.refused:6} refused before they were paid\n{tally.failed:6} paid, and ended without a video")
    for problem in broken:
        print(f"BROKEN {problem}")
    print(f"{next(soak.processes) - 1:6} processes")
    wanted = sum(map(len, soak.wishes.values()))
    figures = {
        "wanted": wanted,
        "billed": billed,
        "delivered": tally.delivered,
        "refused": tally.refused + tally.failed,
        "unknown_settled": len(soak.settled),
        "orphans": len(orphans),
        "leaks": len(leaked),
    }
    print("RESULT " + json.dumps(figures))
    sound = billed == wanted - tally.refused and tally.delivered + tally.refused + tally.failed == wanted
    return 0 if sound and not broken else 1


if __name__ == "__main__":
    sys.exit(main())
