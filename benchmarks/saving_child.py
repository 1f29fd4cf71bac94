"""One contender of `benchmarks/save.py` in a process of its own, so that its memory is its own.

Also the file server that the video comes from. Needs no more than the contender itself: it runs in other environments.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import inspect
import io
import json
import resource
import struct
import sys
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

MIB = 1024 * 1024
#: Videos of the contender `ours_at_once`.
AT_ONCE = 8
ACCESS_KEY_ID, SECRET_ACCESS_KEY = "benchmark-access", "benchmark-secret"


@dataclass(frozen=True)
class Task:
    """What to move: from a URL into a bucket of an S3 server."""

    url: str
    endpoint: str
    bucket: str
    key: str


Move = Callable[[], None]


def client_of(task: Task) -> Any:
    """A boto3 client with its defaults, warmed up by one request."""
    import boto3.session
    from botocore.config import Config

    session: Any = boto3.session.Session()
    client = session.client(
        "s3",
        endpoint_url=task.endpoint,
        aws_access_key_id=ACCESS_KEY_ID,
        aws_secret_access_key=SECRET_ACCESS_KEY,
        region_name="us-east-1",
        config=Config(s3={"addressing_style": "path"}),
    )
    client.head_bucket(Bucket=task.bucket)
    return client


def ours(task: Task, count: int = 1) -> Move:
    """This plugin: streamed, proved, with a manifest.

    Args:
        task: What to move.
        count: Videos at once, each under a key of its own.
    """
    import anyio

    from prefect_genvideo.models import Generation
    from prefect_genvideo.pipeline.save import SaveJob, save_generation
    from prefect_genvideo.providers import SudashuiClient
    from prefect_genvideo.storage import S3Store

    store = S3Store(
        task.bucket,
        region="us-east-1",
        endpoint_url=task.endpoint,
        access_key_id=ACCESS_KEY_ID,
        secret_access_key=SECRET_ACCESS_KEY,
    )

    async def save() -> None:
        async with (
            SudashuiClient("sk-benchmark", task.url.rpartition("/")[0]) as client,
            anyio.create_task_group() as saving,
        ):
            for number in range(count):
                made = Generation(provider="sudashui", task_id=f"task_{number}", state="succeeded", video_url=task.url)
                key = task.key if count == 1 else task.key.replace(".mp4", f"-{number}.mp4")
                saving.start_soon(save_generation, client, store, SaveJob(made, key, "sd-2"))

    anyio.run(store.exclusive_uploads)  # a process asks once what the store keeps
    return lambda: anyio.run(save)


def ours_at_once(task: Task) -> Move:
    """This plugin, eight videos at once."""
    return ours(task, AT_ONCE)


def boto3_raw(task: Task) -> Move:
    """`upload_fileobj` of the open HTTP answer: streamed, nothing proved, cut files included."""
    client = client_of(task)

    def move() -> None:
        with urllib.request.urlopen(task.url) as answer:
            client.upload_fileobj(answer, task.bucket, task.key)

    return move


def boto3_buffered(task: Task) -> Move:
    """The whole body in memory, then `upload_fileobj`."""
    import httpx

    client = client_of(task)

    def move() -> None:
        body = httpx.get(task.url, timeout=600).content
        client.upload_fileobj(io.BytesIO(body), task.bucket, task.key)

    return move


def prefect_aws(task: Task) -> Move:
    """`S3Bucket.write_path` of prefect-aws, which takes the content as bytes."""
    import httpx

    blocks: Any = importlib.import_module("prefect_aws")
    credentials = blocks.AwsCredentials(
        aws_access_key_id=ACCESS_KEY_ID,
        aws_secret_access_key=SECRET_ACCESS_KEY,
        region_name="us-east-1",
        aws_client_parameters=blocks.AwsClientParameters(endpoint_url=task.endpoint),
    )
    bucket = blocks.S3Bucket(bucket_name=task.bucket, credentials=credentials)

    async def write(content: bytes) -> None:
        answer: Any = bucket.write_path(task.key, content)
        if inspect.isawaitable(answer):
            await answer

    asyncio.run(write(b"warm"))
    return lambda: asyncio.run(write(httpx.get(task.url, timeout=600).content))


CONTENDERS: dict[str, Callable[[Task], Move]] = {
    "ours": ours,
    "ours_at_once": ours_at_once,
    "boto3_raw": boto3_raw,
    "boto3_buffered": boto3_buffered,
    "prefect_aws": prefect_aws,
}


def measure(move: Move) -> dict[str, float]:
    """Seconds, CPU seconds of this process, and MiB at the peak above what was there before."""
    before = _start_watching()
    began, cpu = time.perf_counter(), time.process_time()
    move()
    seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    return {"seconds": round(seconds, 2), "cpu": round(cpu, 2), "extra_mb": round((_peak() - before) / 1024, 1)}


def _start_watching() -> int:
    """Forget the peak so far and return KiB in use."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return _peak()
    return _status("VmRSS")


def _peak() -> int:
    if Path("/proc/self/status").exists():
        return _status("VmHWM")
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used // 1024 if sys.platform == "darwin" else used


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(field)).split()[1])


class Video(BaseHTTPRequestHandler):
    """Serves a whole MP4 of the server's size, made up as it goes."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Send the video."""
        size = cast("VideoServer", self.server).size
        head = struct.pack(">I4s16s", 24, b"ftyp", b"isom\0\0\2\0isomiso2") + struct.pack(">I4s", 8, b"moov")
        head += struct.pack(">I4sQ", 1, b"mdat", size - len(head))
        self.send_response(200)
        for name, value in (("Content-Length", size), ("ETag", '"v1"'), ("Accept-Ranges", "bytes")):
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(head)
        block, left = bytes(range(256)) * (MIB // 256), size - len(head)
        while left > 0:
            self.wfile.write(block[:left])
            left -= MIB

    def log_message(self, format: str, *args: Any) -> None:
        """Be silent."""


class VideoServer(ThreadingHTTPServer):
    """Knows how many bytes its video has."""

    def __init__(self, size: int) -> None:
        super().__init__(("127.0.0.1", 0), Video)
        self.size = size


def serve(size: int) -> None:
    """Serve the video until killed; the first line printed is the address."""
    server = VideoServer(size)
    print(f"http://127.0.0.1:{server.server_address[1]}/video.mp4", flush=True)
    server.serve_forever()


def main() -> None:
    """`serve BYTES`, or `NAME URL ENDPOINT BUCKET KEY`."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("name", choices=["serve", *CONTENDERS])
    parser.add_argument("rest", nargs="+")
    args = parser.parse_args()
    if args.name == "serve":
        serve(int(args.rest[0]))
    else:
        print(json.dumps(measure(CONTENDERS[args.name](Task(*args.rest)))))


if __name__ == "__main__":
    main()
