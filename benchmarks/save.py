"""What saving a video costs: seconds, and memory at the peak, against the ways people do it otherwise.

`python -m benchmarks.save [--mb 500] [--apart] [--with-prefect-aws]`. The video comes from a local HTTP server and goes
to a local S3 server (`rclone serve s3`, which checks signatures and MD5 and writes to disk; else moto), each in a
process of its own. Every contender runs in a fresh process; memory is the peak above what its imports and a first
request took. Seconds and CPU are medians, memory the maximum of the rounds. The contenders take turns, so that a slow
moment of the machine meets them all. One of them is ours with eight videos at once. The last line is `RESULT {…}`.

On a small machine the servers' own work decides: they take more CPU than any contender, of the same cores. With
`--apart` they have one half of the cores and the contenders the other, as if they were elsewhere.

Only ours proves what it stores; the others would store a cut or broken file just as well.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

if __package__ in (None, ""):
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.saving_child import ACCESS_KEY_ID, AT_ONCE, CONTENDERS, MIB, SECRET_ACCESS_KEY, Task, client_of
from benchmarks.servers import halves

ROOT = Path(__file__).resolve().parents[1]
CHILD = Path(__file__).with_name("saving_child.py")
PREFECT_AWS = "prefect-aws==0.7.12"
BUCKET = "benchmark"
WORDS = {
    "ours": "prefect-genvideo save",
    "ours_at_once": f"prefect-genvideo save, {AT_ONCE} at once",
    "boto3_raw": "boto3 upload_fileobj, HTTP stream",
    "boto3_buffered": "boto3 upload_fileobj, whole body",
    "prefect_aws": "prefect-aws S3Bucket.write_path",
}


def main() -> None:
    """Run all contenders and print a table and the result line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mb", type=int, default=500, help="size of the video in MiB")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--apart", action="store_true", help="servers and contenders on different cores")
    parser.add_argument("--with-prefect-aws", action="store_true", help="install it in an environment of its own")
    args = parser.parse_args()
    interpreters: dict[str, str] = {name: sys.executable for name in CONTENDERS if name != "prefect_aws"}
    skipped = ""
    try:
        interpreters["prefect_aws"] = prefect_aws_python(install=args.with_prefect_aws)
    except RuntimeError as error:
        skipped = str(error)
    figures = run(interpreters, args.mb, args.rounds, halves() if args.apart else None)
    show(figures, args.mb, skipped)
    print(
        "RESULT", json.dumps({"mb": args.mb, "apart": args.apart, **{name: figures.get(name) for name in CONTENDERS}})
    )


def run(
    interpreters: dict[str, str], mb: int, rounds: int, cores: tuple[set[int], set[int]] | None = None
) -> dict[str, dict[str, float]]:
    """Seconds (median) and extra MiB (maximum) by contender.

    Args:
        interpreters: Python of each contender.
        mb: Size of the video, MiB.
        rounds: Turns of each contender.
        cores: Of the servers and of the contenders, where they are kept apart.
    """
    found: dict[str, list[dict[str, float]]] = {name: [] for name in interpreters}
    if cores:
        os.sched_setaffinity(0, cores[0])  # the servers' processes have it from this one
    with (
        tempfile.TemporaryDirectory(prefix="genvideo-save-") as folder,
        s3_server(Path(folder)) as endpoint,
        process([sys.executable, str(CHILD), "serve", str(mb * MIB)], stdout=subprocess.PIPE) as server,
    ):
        url = server.stdout.readline().strip()
        if cores:
            os.sched_setaffinity(0, cores[1])
        for number in range(rounds):
            for name, python in interpreters.items():
                task = Task(url, endpoint, BUCKET, f"{name}/{number}.mp4")
                found[name].append(one(python, name, task, mb * MIB))
    return {
        name: {
            "seconds": statistics.median(each["seconds"] for each in figures),
            "cpu": statistics.median(each["cpu"] for each in figures),
            "extra_mb": max(each["extra_mb"] for each in figures),
        }
        for name, figures in found.items()
    }


def one(python: str, name: str, task: Task, size: int) -> dict[str, float]:
    """Run one contender once; what it stored has to have the video's size."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PREFECT_LOGGING_LEVEL": "ERROR"}
    command = [python, str(CHILD), name, task.url, task.endpoint, task.bucket, task.key]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-2000:]}")
    client = client_of(task)
    # A manifest lies beside ours, and the task's id is in the name where the store cannot guard an upload.
    found = client.list_objects_v2(Bucket=task.bucket, Prefix=task.key.removesuffix(".mp4")).get("Contents", [])
    stored = [each["Size"] for each in found if each["Key"].endswith(".mp4")]
    for each in found:
        client.delete_object(Bucket=task.bucket, Key=each["Key"])
    if stored != [size] * (AT_ONCE if name == "ours_at_once" else 1):
        raise SystemExit(f"{name} stored {stored} of {size} bytes")
    return json.loads(done.stdout.splitlines()[-1])


def show(figures: dict[str, dict[str, float]], mb: int, skipped: str) -> None:
    """Print the table."""
    print(f"\nSaving {mb} MiB from HTTP to S3, both local\n")
    print(f"{'':36}{'seconds':>9}{'MiB/s':>8}{'CPU s':>8}{'extra MiB':>11}")
    for name, figure in figures.items():
        speed = mb * (AT_ONCE if name == "ours_at_once" else 1) / figure["seconds"]
        line = f"{figure['seconds']:>9.2f}{speed:>8.0f}{figure['cpu']:>8.2f}{figure['extra_mb']:>11.1f}"
        print(f"{WORDS[name]:36}{line}")
    if skipped:
        print(f"{WORDS['prefect_aws']:36}  skipped: {skipped}")


@contextmanager
def process(command: list[str], **options: Any) -> Generator[Any, None, None]:
    """A process that ends with the block."""
    running = subprocess.Popen(command, text=True, **options)
    try:
        yield running
    finally:
        running.terminate()
        running.wait(10)
        if running.stdout:
            running.stdout.close()


@contextmanager
def s3_server(folder: Path) -> Generator[str, None, None]:
    """A local S3 server with the bucket in it."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    rclone = shutil.which("rclone") or shutil.which("rclone", path=str(Path(sys.executable).parent))
    command = [sys.executable, "-m", "prefect_genvideo.simulator.object_store", port]
    if rclone:
        (folder / BUCKET).mkdir()
        command = [rclone, "serve", "s3", str(folder), "--addr", f"127.0.0.1:{port}", "--config", "/dev/null"]
        command += ["--auth-key", f"{ACCESS_KEY_ID},{SECRET_ACCESS_KEY}"]
    endpoint = f"http://127.0.0.1:{port}"
    with process(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
        wait_for(int(port))
        if not rclone:
            subprocess.run([sys.executable, "-c", MAKE_BUCKET, endpoint, BUCKET], check=True)
        yield endpoint


MAKE_BUCKET = f"""
import sys, boto3
boto3.client("s3", endpoint_url=sys.argv[1], aws_access_key_id="{ACCESS_KEY_ID}", region_name="us-east-1",
    aws_secret_access_key="{SECRET_ACCESS_KEY}").create_bucket(Bucket=sys.argv[2])
"""


def wait_for(port: int) -> None:
    """Wait until something listens."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit("the S3 server does not start")


def prefect_aws_python(*, install: bool) -> str:
    """A Python that has prefect-aws: its pins of boto3 and ours do not fit into one environment.

    Raises:
        RuntimeError: There is none; the message says why.
    """
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "prefect-genvideo"
    mark = hashlib.sha256(f"{PREFECT_AWS} {sys.version}".encode()).hexdigest()[:12]
    folder = root / f"save-{mark}"
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if (folder / "installed").exists():
        return str(python)
    if not install:
        raise RuntimeError("run with --with-prefect-aws to install it in an environment of its own")
    shutil.rmtree(folder, ignore_errors=True)
    for command in (
        [sys.executable, "-m", "venv", str(folder)],
        [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", PREFECT_AWS],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError((done.stderr.strip().splitlines() or ["cannot be installed"])[-1][:200])
    (folder / "installed").write_text(PREFECT_AWS)
    return str(python)


if __name__ == "__main__":
    main()
