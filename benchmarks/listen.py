"""The event door under repeats, forgeries, replays, a dead API and a dead listener: `python benchmarks/listen.py`.

A Prefect server and `genvideo listen` run as processes of their own. A thousand wanted deliveries and their repeats
come over HTTP, mixed with forged, replayed, unreadable and oversized ones. A third of the way the server is killed,
half of the way the listener is, both by SIGKILL; at two thirds the server comes back on its old database. Senders
repeat what was not answered with success. In the end the server is asked for every event it has. The last line is
`RESULT {…}`.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import hmac
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.servers import free_port, wait_for

SECRET, OLD_SECRET, TOKEN = "benchmark-secret-new-1", "benchmark-secret-old-1", "benchmark-token-0001"
LEAK = "stranger-words-that-nobody-asked-for"
"""Stands in fields that are not on the list, in every body."""
SENDERS = 8
PATIENCE_S = 180.0


def signed(body: bytes, delivery_id: str, secret: str = SECRET, age: float = 0) -> dict[str, str]:
    """Headers of Standard Webhooks, made without the package's own code.

    Args:
        body: What is sent.
        delivery_id: The sender's id.
        secret: What it signs with.
        age: Seconds that the signature is old.
    """
    stamp = str(int(time.time() - age))
    digest = hmac.new(secret.encode(), f"{delivery_id}.{stamp}.".encode() + body, hashlib.sha256).digest()
    return {
        "content-type": "application/json",
        "webhook-id": delivery_id,
        "webhook-timestamp": stamp,
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


@dataclass
class Listener:
    """`genvideo listen` in a process of its own.

    Attributes:
        folder: Where its queue, configuration and log are.
        api_url: The Prefect API.
        config: Text of its configuration; empty: the senders whose secrets are set.
        environment: Further variables.
    """

    folder: Path
    api_url: str
    config: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """What it has said."""
        return (self.folder / "listen.log").read_text(errors="replace")

    def launch(self, *options: str) -> subprocess.Popen[bytes]:
        """Start it without waiting.

        Args:
            options: Further words of the command line.
        """
        command = [sys.executable, "-c", "from prefect_genvideo.cli import main; main()", "listen"]
        if self.config:
            (self.folder / "listen.yaml").write_text(self.config, encoding="utf-8")
            command.append(str(self.folder / "listen.yaml"))
        command += ["--port", str(self.port), "--queue", str(self.folder / "queue.sqlite"), *options]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "AWS_"))}
        variables = {
            "PREFECT_API_URL": self.api_url,
            "PREFECT_HOME": str(self.folder),
            "PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED": "false",
            "DO_NOT_TRACK": "1",
            **self.environment,
        }
        with (self.folder / "listen.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, env=kept | variables, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        return self.process

    def start(self, *options: str) -> None:
        """Start it and wait until it answers.

        Args:
            options: Further words of the command line.
        """
        self.launch(*options)
        wait_for(lambda: self.ended or httpx.get(f"{self.url}/healthz").status_code == 200, "listener", 60)
        if self.ended:
            raise RuntimeError(f"the listener ended: {self.log[-2000:]}")

    @property
    def ended(self) -> bool:
        """Whether its process is no more."""
        return self.process is None or self.process.poll() is not None

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End it by a signal and return its exit code.

        Args:
            number: The signal.
        """
        assert self.process
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)
        return self.process.wait(30)

    def metrics(self) -> dict[str, float]:
        """Its metrics by name with labels."""
        lines = httpx.get(f"{self.url}/metrics").text.splitlines()
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if not line.startswith("#")}


@dataclass
class Delivery:
    """A request, and what becomes of it.

    Attributes:
        kind: What it is.
        path: Where it goes.
        body: Its bytes.
        headers: Made anew for each try, as a sender signs each try anew.
        good: Answers with which its sender is content.
        prompt: What marks its event; empty when there may be none.
    """

    kind: str
    path: str
    body: bytes
    headers: Callable[[], dict[str, str]]
    good: tuple[int, ...]
    prompt: str = ""


def deliveries(wanted: int, run: str, seed: int = 1) -> list[Delivery]:
    """Wanted deliveries, 30 % of them repeated, and every tenth beside them one that must leave nothing.

    Args:
        wanted: How many different ones.
        run: A word of this run alone.
        seed: Of their order.
    """
    rng = random.Random(seed)
    plan: list[Delivery] = []
    for number in range(wanted):
        delivery = photo(number, run) if number % 5 == 0 else request(number, run)
        plan += [delivery] * (2 if rng.random() < 0.3 else 1)
    plan += [hostile(number, run) for number in range(wanted // 10)]
    rng.shuffle(plan)
    return plan


def request(number: int, run: str) -> Delivery:
    """A signed webhook; every seventh is signed with the secret that is being replaced."""
    prompt, delivery_id = f"{run} teapot {number}", f"{run}-{number}"
    body = json.dumps({"prompt": prompt, "duration": 5, "model": LEAK, "note": {"deep": LEAK}}).encode()
    secret = OLD_SECRET if number % 7 == 0 else SECRET
    return Delivery("webhook", "/hooks/webhook", body, lambda: signed(body, delivery_id, secret), (200, 202), prompt)


def photo(number: int, run: str) -> Delivery:
    """A notification of a store."""
    key = f"{run}/cup {number}.jpg"
    stored = {"key": key.replace(" ", "+").replace("/", "%2F"), "size": 9, "eTag": "e1", "sequencer": f"{run}{number}"}
    record = {
        "eventSource": "minio:s3",
        "eventName": "s3:ObjectCreated:Put",
        "eventTime": "2026-01-01T00:00:00Z",
        "userIdentity": {"principalId": LEAK},
        "s3": {"bucket": {"name": "photos"}, "object": {**stored, "userMetadata": {"x": LEAK}}},
    }
    body = json.dumps({"Records": [record], "Key": LEAK}).encode()
    headers = {"content-type": "application/json", "authorization": f"Bearer {TOKEN}"}
    return Delivery("s3", "/hooks/s3", body, lambda: headers, (200, 202), key)


def hostile(number: int, run: str) -> Delivery:
    """A delivery that must leave nothing behind."""
    name = f"{run}-hostile-{number}"
    body = json.dumps({"prompt": f"{name} {LEAK}"}).encode()
    kinds: list[tuple[str, bytes, Callable[[], dict[str, str]], int]] = [
        ("forged", body, lambda: signed(body, name, "benchmark-secret-wrong"), 401),
        ("altered", body + b" ", lambda: signed(body, name), 401),
        ("replayed", body, lambda: signed(body, name, age=3600), 401),
        ("unsigned", body, lambda: {"content-type": "application/json"}, 401),
        ("no json", b"{" * 50, lambda: signed(b"{" * 50, name), 400),
        ("too large", b" " * 300_000, lambda: signed(b" " * 300_000, name), 413),
        ("form", body, lambda: signed(body, name) | {"content-type": "application/x-www-form-urlencoded"}, 415),
    ]
    kind, content, headers, answer = kinds[number % len(kinds)]
    return Delivery(kind, "/hooks/webhook", content, headers, (answer,))


def send(listener: Listener, plan: Sequence[Delivery], reached: Callable[[int], None]) -> Counter[str]:
    """Send all deliveries as senders do, each until it is answered for good; answers by kind.

    Args:
        listener: Who hears them.
        plan: What is sent.
        reached: Called with the number of finished ones.
    """
    answers: Counter[str] = Counter()
    lock, finished = threading.Lock(), 0

    def deliver(client: httpx.Client, delivery: Delivery) -> None:
        nonlocal finished
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                said = str(
                    client.post(
                        f"{listener.url}{delivery.path}", content=delivery.body, headers=delivery.headers()
                    ).status_code
                )
            except httpx.TransportError:
                said = "unanswered"
            with lock:
                answers[f"{delivery.kind} {said}"] += 1
            if said in map(str, delivery.good):
                break
            if time.monotonic() > deadline:
                raise RuntimeError(f"{delivery.kind} was answered {said}, not {delivery.good}")
            time.sleep(0.2)
        with lock:
            finished += 1
            now = finished
        reached(now)

    with httpx.Client(timeout=30, trust_env=False) as client, ThreadPoolExecutor(SENDERS) as pool:
        for done in [pool.submit(deliver, client, delivery) for delivery in plan]:
            done.result()
    return answers


def events_of(api_url: str, names: Sequence[str], run: str) -> list[dict[str, Any]]:
    """Every event of these names that the API has, if it tells of this run.

    Args:
        api_url: Address of the API.
        names: Of events.
        run: The run's word.
    """
    found: list[dict[str, Any]] = []
    page = httpx.post(
        f"{api_url}/events/filter", json={"filter": {"event": {"name": list(names)}}, "limit": 50}, timeout=60
    ).json()
    while True:
        found += page["events"]
        if not page["next_page"]:
            break
        page = httpx.get(page["next_page"], timeout=60).json()
    return [event for event in found if run in json.dumps(event)]


def judged(plan: Sequence[Delivery], events: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How the events that are there compare with those that should be.

    Args:
        plan: What was sent.
        events: What the API has.
    """
    wanted = {delivery.prompt for delivery in plan if delivery.prompt}
    marks = Counter(
        event["payload"]["prompt"] if "prompt" in event["payload"] else event["payload"]["object"]["key"]
        for event in events
    )
    return {
        "wanted": len(wanted),
        "once": sum(marks[mark] == 1 for mark in wanted),
        "lost": sum(marks[mark] == 0 for mark in wanted),
        "twice": sum(count > 1 for count in marks.values()),
        "unwanted": sum(mark not in wanted for mark in marks),
        "with_strangers_fields": sum(LEAK in json.dumps(event) for event in events),
    }


@dataclass
class Api:
    """A Prefect server that can be killed and started again on its database."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Address of the API."""
        return f"http://127.0.0.1:{self.port}/api"

    def start(self) -> None:
        """Start it, without waiting."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "AWS_"))}
        settings = {
            "PREFECT_HOME": str(self.folder / "server"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_UI_ENABLED": "false",
            "PREFECT__SERVER_FINAL": "1",
            "PREFECT_LOGGING_LEVEL": "ERROR",
        }
        command = [sys.executable, "-m", "uvicorn", "--factory", "prefect.server.api.server:create_app"]
        command += ["--host", "127.0.0.1", "--port", str(self.port), "--log-level", "warning"]
        with (self.folder / "api.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, env=kept | settings, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def wait(self) -> None:
        """Return when it answers."""
        wait_for(lambda: httpx.get(f"{self.url}/health").status_code == 200, "Prefect server")

    def kill(self) -> None:
        """End it by SIGKILL: what it has answered and not written is gone."""
        assert self.process
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


SECRETS = {"GENVIDEO_LISTEN_WEBHOOK_SECRETS": f"{SECRET} {OLD_SECRET}", "GENVIDEO_LISTEN_S3_SECRETS": TOKEN}
"""Variables of the listener's environment."""
EVENTS = ("video.requested", "aws.s3.object-created")
"""Names of the events that come of it."""


def drained(listener: Listener) -> None:
    """Return when everything that the listener took has been seen at the API.

    Args:
        listener: Whose queue is watched.
    """

    def empty() -> bool:
        counts: Mapping[str, int] = httpx.get(f"{listener.url}/healthz").json()["events"]
        return not counts.get("waiting") and not counts.get("sent")

    wait_for(empty, "queue's end", PATIENCE_S)


@contextmanager
def _servers() -> Generator[tuple[Api, Listener]]:
    with tempfile.TemporaryDirectory(prefix="genvideo-listen-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        api = Api(folder)
        listener = Listener(folder, api.url, environment=SECRETS)
        try:
            api.start()
            api.wait()
            listener.start()
            yield api, listener
        finally:
            for each in (api, listener):
                if each.process and each.process.poll() is None:
                    os.killpg(each.process.pid, signal.SIGKILL)
                    each.process.wait()


def main(wanted: int) -> dict[str, Any]:
    """Run it all; the figures of RESULT.

    Args:
        wanted: Deliveries that shall become events.
    """
    run = f"run{int(time.time())}"
    plan = deliveries(wanted, run)
    with _servers() as (api, listener):
        taken = 'genvideo_listen_events_total{outcome="sent"}'
        steps: dict[int, Callable[[], object]] = {
            # In the moment in which it has events that it has answered for and not written down.
            len(plan) // 3: lambda: (wait_for(lambda: listener.metrics().get(taken, 0) > 0, "first event"), api.kill()),
            len(plan) // 2: lambda: (listener.stop(signal.SIGKILL), listener.start()),
            len(plan) * 2 // 3: api.start,
        }

        def reached(number: int) -> None:
            if step := steps.get(number):
                step()

        began = time.monotonic()
        answers = send(listener, plan, reached)
        sent_s = time.monotonic() - began
        api.wait()
        drained(listener)
        metrics, log = listener.metrics(), listener.log
        code = listener.stop()
        events = events_of(api.url, EVENTS, run)
    leaks = [word for word in (SECRET, OLD_SECRET, TOKEN, LEAK, f"{run} teapot") if word in log]
    return {
        "deliveries": len(plan),
        "repeats": sum(1 for delivery in plan if delivery.prompt) - wanted,
        **judged(plan, events),
        "answers": dict(sorted(answers.items())),
        "sent_s": round(sent_s, 1),
        "drained_s": round(time.monotonic() - began, 1),
        "resent": int(metrics.get('genvideo_listen_events_total{outcome="resent"}', 0)),
        "set_aside": int(metrics.get('genvideo_listen_events_total{outcome="dead"}', 0)),
        "leaks_in_log": len(leaks),
        "exit_code": code,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="The event door under a thousand deliveries and three deaths.")
    parser.add_argument(
        "--wanted", type=int, default=1000, help="deliveries that shall become events, repeats not counted"
    )
    result = main(parser.parse_args().wanted)
    print("RESULT " + json.dumps(result))
    sys.exit(0 if result["once"] == result["wanted"] and not result["with_strangers_fields"] else 1)
