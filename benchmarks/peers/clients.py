"""One wanted video by each SDK, the way its own documentation does it. Runs inside the SDK's environment.

The functions are the scripts that an orchestrator runs, and runs again after a failure: they keep nothing between two
runs. `python clients.py PEER` imports the SDK, then runs its script in a new process for each order on standard
input: it answers with the process id, waits for a line, lets the script go, and answers with the exit code.
"""

# pyright: reportMissingImports=false
# The SDKs are in environments of their own.
from __future__ import annotations

import importlib
import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

PROMPT = "A cat walks over a wet roof at dawn."
POLL_SECONDS = 0.2

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # its import would fetch a price list


def _save_link(url: str, out: Path, timeout: float) -> None:
    """Downloads a link: these SDKs leave that to their user. A body that ends early raises in httpx."""
    import httpx

    response = httpx.get(url, timeout=timeout, follow_redirects=True)
    response.raise_for_status()
    out.write_bytes(response.content)


def openai(base: str, out: Path, timeout: float) -> None:
    """Create, ask until it is completed, download."""
    from openai import OpenAI

    client = OpenAI(api_key="key", base_url=f"{base}/v1", timeout=timeout)
    video = client.videos.create(model="sora-2", prompt=PROMPT, seconds="4")
    while video.status in ("queued", "in_progress"):
        time.sleep(POLL_SECONDS)
        video = client.videos.retrieve(video.id)
    if video.status != "completed":
        raise RuntimeError(f"video is {video.status}")
    client.videos.download_content(video.id).write_to_file(out)


def runwayml(base: str, out: Path, timeout: float) -> None:
    """The helper of the SDK waits; the link is the user's."""
    from runwayml import RunwayML

    client = RunwayML(api_key="key", base_url=base, timeout=timeout)
    created = client.text_to_video.create(model="veo3.1", prompt_text=PROMPT, ratio="1280:720", duration=4)
    task: Any = created.wait_for_task_output()
    _save_link(task.output[0], out, timeout)


def fal_client(base: str, out: Path, timeout: float) -> None:
    """`subscribe` submits to the queue and waits; the link is the user's."""
    os.environ["FAL_RUN_HOST"] = os.environ["FAL_QUEUE_RUN_HOST"] = base.removeprefix("https://")
    from fal_client import SyncClient

    client = SyncClient(key="key", default_timeout=timeout)
    result = client.subscribe("fal-ai/veo3", arguments={"prompt": PROMPT})
    _save_link(result["video"]["url"], out, timeout)


def replicate(base: str, out: Path, timeout: float) -> None:
    """`run` creates and waits; its output reads itself."""
    from replicate import Client

    client = Client(api_token="key", base_url=base)
    output = client.run("google/veo-3", input={"prompt": PROMPT}, wait=int(timeout))
    with out.open("wb") as file:
        file.write(output.read())


def litellm(base: str, out: Path, timeout: float) -> None:
    """Create, ask until it is completed, download."""
    import litellm as sdk

    options: dict[str, Any] = {"api_base": f"{base}/v1", "api_key": "key", "timeout": timeout}
    video = sdk.video_generation(model="openai/sora-2", prompt=PROMPT, seconds="4", **options)
    video_id = video.id
    while video.status in ("queued", "in_progress"):
        time.sleep(POLL_SECONDS)
        video = sdk.video_status(video_id=video_id, **options)
    if video.status != "completed":
        raise RuntimeError(f"video is {video.status}")
    out.write_bytes(sdk.video_content(video_id=video_id, **options))


CLIENTS = {
    "openai": openai,
    "runwayml": runwayml,
    "fal-client": fal_client,
    "replicate": replicate,
    "litellm": litellm,
}

# fal-client reads its host, which is another one in each cell, when it is imported: its script does that.
IMPORTS = {"openai": "openai", "runwayml": "runwayml", "replicate": "replicate", "litellm": "litellm"}


def _script(peer: str, order: dict[str, Any], go: int) -> None:
    """The forked process: waits for its go, runs the script, and leaves without the host's clean-up."""
    log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    code = 1
    try:
        os.read(go, 1)
        CLIENTS[peer](order["base"], Path(order["out"]), float(order["timeout"]))
        code = 0
    except BaseException:  # whatever ends a script is what an orchestrator sees of it
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def serve(peer: str) -> None:
    """Runs scripts until standard input ends."""
    if peer in IMPORTS:
        importlib.import_module(IMPORTS[peer])
    while line := sys.stdin.readline():
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            _script(peer, json.loads(line), reader)
        print(pid, flush=True)
        sys.stdin.readline()
        os.write(writer, b"!")
        status = os.waitpid(pid, 0)[1]
        os.close(reader)
        os.close(writer)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    serve(sys.argv[1])
