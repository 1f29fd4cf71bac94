"""Waits by an SDK's own helper. Runs inside the SDK's environment, so it imports nothing else.

Usage: `python waiting_peers.py PEER BASE_URL SPEED AT_ONCE JOB…`. A job is `SECONDS/DISTRIBUTION`; it travels in the
prompt. The default interval of the helper is divided by SPEED, nothing else is changed.
"""

# pyright: reportMissingImports=false
# The SDKs are in environments of their own.
from __future__ import annotations

import asyncio
import os
import sys
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

Wait = Callable[[str], Awaitable[Any]]


def openai(base: str, speed: float) -> Wait:
    """`create_and_poll`: every second unless the server says otherwise."""
    from openai import AsyncOpenAI

    warnings.simplefilter("ignore", DeprecationWarning)
    client = AsyncOpenAI(api_key="key", base_url=f"{base}/v1")
    interval = round(1000 / speed)
    return lambda prompt: client.videos.create_and_poll(model="sora-2", prompt=prompt, poll_interval_ms=interval)


def runwayml(base: str, speed: float) -> Wait:
    """`wait_for_task_output`: every 4.5 to 7.5 s, by constants of its module."""
    import runwayml.lib.polling as polling
    from runwayml import AsyncRunwayML

    polling.POLL_TIME /= speed
    polling.POLL_JITTER /= speed
    client = AsyncRunwayML(api_key="key", base_url=base)

    async def wait(prompt: str) -> None:
        task = await client.text_to_video.create(model="veo3.1", prompt_text=prompt, ratio="1280:720", duration=4)
        await task.wait_for_task_output()

    return wait


def fal_client(base: str, speed: float) -> Wait:
    """`subscribe`: every 0.1 s. Its queue host is a constant with https in front."""
    os.environ["FAL_KEY"] = "key"
    import fal_client.client as module

    module.QUEUE_URL_FORMAT = f"{base}/"
    client = module.AsyncClient(key="key")
    interval = module.DEFAULT_QUEUE_POLL_INTERVAL / speed
    return lambda prompt: client.subscribe("fal-ai/veo3", {"prompt": prompt}, interval=interval)


HELPERS = {"openai": openai, "runwayml": runwayml, "fal-client": fal_client}


async def main(peer: str, base: str, speed: str, at_once: str, *jobs: str) -> None:
    """Waits for all jobs, some at a time."""
    wait, limit = HELPERS[peer](base, float(speed)), asyncio.Semaphore(int(at_once))

    async def one(job: str) -> None:
        async with limit:
            await wait(f"wait={job}")

    await asyncio.gather(*(one(job) for job in jobs))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
