"""What a video costs Prefect's server: requests, log lines, events and artifacts, counted in front of the server.

`python -m benchmarks.api_calls --rows 20` runs one video and one batch, and prints a table and a RESULT line. Task runs
and flow runs are Prefect's own (bare ones are counted beside ours); what is left is what this package sends.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import httpx

from benchmarks.servers import BUCKET, S3_KEY, running

_Message = MutableMapping[str, Any]
_COUNTS = "/_counts"
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{32}")
# Characters of a name or a slug in a path, which would make each request a kind of its own.
_NAME = re.compile(r"(?<=/name/)[^/]+|(?<=/slug/)[^/]+|(?<=/get_by_name/)[^/]+")
_RUN = """
import asyncio, sys
from prefect import flow, task
from prefect_genvideo import S3Destination, SudashuiCredentials, generate_video, generate_videos

simulator, s3, bucket, key, what, count = sys.argv[1:]
payer = SudashuiCredentials(
    api_key="sk-sim-demo", base_url=simulator + "/sudashui", files_url=simulator + "/sudashui-files"
)
target = S3Destination(bucket=bucket, endpoint_url=s3, region="us-east-1", access_key_id=key, secret_access_key=key)

@task
async def step(number):
    await asyncio.sleep(0.01)

@flow
async def bare(steps):
    await asyncio.gather(*(step(number) for number in range(steps)))

async def main():
    if what == "bare":
        await bare(int(count))
    elif what == "single":
        await generate_video("A cat discovers the sea", "sd-2-fast-720p", payer, target, duration=4)
    else:
        rows = [{"model": "sd-2-fast-720p", "prompt": f"A cat, take {n}", "duration": 4} for n in range(int(count))]
        await generate_videos(rows, payer, target, max_in_flight=int(count))

asyncio.run(main())
"""


class CountingApp:
    """Prefect's server with a counter in front.

    Args:
        app: The server.
    """

    def __init__(self, app: Any) -> None:
        self._app = app
        self._counts: Counter[str] = Counter()

    async def __call__(
        self,
        scope: _Message,
        receive: Callable[[], Awaitable[_Message]],
        send: Callable[[_Message], Awaitable[None]],
    ) -> None:
        """Serve one connection."""
        kind, path = scope["type"], str(scope.get("path", ""))
        if kind == "http" and path == _COUNTS:
            await self._tell(scope["method"], send)
            return
        told = _NAME.sub("NAME", _ID.sub("ID", path))
        if kind == "http" and not path.endswith("/health"):
            self._counts[f"{scope['method']} {told}"] += 1

        async def counted() -> _Message:
            message = await receive()
            if kind == "http" and path.endswith("/logs/") and message.get("body"):
                self._counts["log lines"] += message["body"].count(b'"message"')
            if kind == "websocket" and message["type"] == "websocket.receive":
                self._counts[f"event {_event(message)}"] += 1
            return message

        await self._app(scope, counted, send)

    async def _tell(self, method: str, send: Callable[[_Message], Awaitable[None]]) -> None:
        body = json.dumps(self._counts).encode()
        if method == "DELETE":
            self._counts.clear()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": body})


def _event(message: _Message) -> str:
    try:
        return str(json.loads(message.get("text") or message.get("bytes") or "{}").get("event", "(auth)"))
    except ValueError:
        return "(unreadable)"


def counting_app() -> CountingApp:
    """Factory for uvicorn."""
    from prefect.server.api.server import create_app

    return CountingApp(create_app())


@dataclass
class Sent:
    """What one run sent.

    Attributes:
        counts: By kind.
    """

    counts: Counter[str] = field(default_factory=Counter[str])

    @property
    def requests(self) -> int:
        """HTTP requests."""
        return sum(count for kind, count in self.counts.items() if kind.split(" ")[0] in _METHODS)

    @property
    def events(self) -> int:
        """Events of ours; those of task runs are Prefect's."""
        return sum(count for kind, count in self.counts.items() if kind.startswith("event genvideo."))

    @property
    def artifacts(self) -> int:
        """Artifacts made."""
        return self.counts["POST /api/artifacts/"]


_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20, help="rows of the batch")
    rows = parser.parse_args().rows
    found = dict[str, Sent]()
    with running('{"polls_to_finish": 2}', api="benchmarks.api_calls:counting_app") as servers:
        front = servers.prefect.removesuffix("/api") + _COUNTS
        env = servers.environment() | {
            "PREFECT_INTEGRATIONS_GENVIDEO_POLL_INTERVAL": "1",
            "PREFECT_LOGGING_LEVEL": "INFO",
        }
        for what, count in (("bare", 1), ("bare", 3), ("single", 1), ("bare", rows), ("batch", rows)):
            servers.settle()
            httpx.delete(front, timeout=30)
            arguments = [servers.simulator, servers.s3, BUCKET, S3_KEY, what, str(count)]
            subprocess.run(
                [sys.executable, "-c", _RUN, *arguments], env=env, check=True, capture_output=True, timeout=300
            )
            found[f"{what} {count}"] = Sent(Counter(httpx.get(front, timeout=30).json()))
    for name, sent in found.items():
        lines = sent.counts["log lines"]
        print(
            f"\n{name}: {sent.requests} requests, {lines} log lines, {sent.events} events, {sent.artifacts} artifacts"
        )
        for kind, times in sent.counts.most_common():
            print(f"  {times:5} {kind}")
    single, batch = found["single 1"], found[f"batch {rows}"]
    result = {
        "single_beside_task_runs": single.requests - found["bare 3"].requests,
        "batch_a_row": round((batch.requests - found[f"bare {rows}"].requests) / rows, 2),
        "single_log_lines": single.counts["log lines"],
        "batch_log_lines_a_row": round(batch.counts["log lines"] / rows, 2),
        "single_events": single.events,
        "batch_events_a_row": round(batch.events / rows, 2),
        "artifacts": [single.artifacts, batch.artifacts],
    }
    print("\nRESULT", json.dumps(result))


if __name__ == "__main__":
    main()
