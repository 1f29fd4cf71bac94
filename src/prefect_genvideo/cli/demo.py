"""`genvideo demo`: a video of each provider through Prefect, with a local simulator and S3 server."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shlex
import shutil
import signal
import sys
import time
from importlib.metadata import version
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
from rich.console import Console

from prefect_genvideo.cli.console import needs, plain_errors
from prefect_genvideo.errors import counted

if TYPE_CHECKING:
    from prefect_genvideo.models import StoredVideo
    from prefect_genvideo.simulator import Simulator

SIMULATOR = ("av", "PIL", "starlette", "uvicorn", "python_multipart")
"""Modules that the local simulator needs, which the package alone does not bring."""
DEMO = (*SIMULATOR, "moto", "flask", "flask_cors", "waitress")
"""Modules that the demo needs."""
_BUCKET = "genvideo-demo"
_S3_KEY = "DEMOKEYDEMOKEYDEMO"
_SETTINGS = {
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "DO_NOT_TRACK": "1",
}


@plain_errors()
def demo(*, folder: str = "demo-output", keep: bool = False) -> None:
    """Generate a clip with each provider through Prefect into a local S3 server: no key, no costs.

    Args:
        folder: Where local copies and Prefect's database go.
        keep: Leave simulator and S3 server running until Ctrl-C.
    """
    needs("demo", *DEMO)
    home = Path(folder).resolve()
    home.mkdir(parents=True, exist_ok=True)
    # An own Prefect home: the demo neither needs nor touches the profile of whoever tries it. One for each version: no
    # Prefect opens the database of a newer one.
    prefect_home = home / f"prefect-{version('prefect')}"
    os.environ.update({**_SETTINGS, "PREFECT_HOME": str(prefect_home)})
    for name in ("PREFECT_API_URL", "PREFECT_PROFILE"):
        os.environ.pop(name, None)
    console = Console(highlight=False, soft_wrap=True)
    from prefect_genvideo.simulator import SimulatorConfig, running_simulator
    from prefect_genvideo.simulator.object_store import running_object_store

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    with running_simulator(SimulatorConfig(polls_to_finish=3)) as simulator, running_object_store() as endpoint:
        httpx.put(f"{endpoint}/{_BUCKET}").raise_for_status()
        console.print(f"Simulator of the providers: {simulator.url}\nS3 server: {endpoint}, bucket {_BUCKET}\n")
        began = time.monotonic()
        made = asyncio.run(_generate(simulator, endpoint, home))
        console.print(
            f"\n[bold]{counted(len(made), 'video')} in {time.monotonic() - began:.0f} s, "
            f"{simulator.billed} paid for.[/bold]"
        )
        for copy, video in made.items():
            console.print(f"  {video.provider:<10} {video.uri}\n             local copy to open: {copy}", markup=False)
        console.print(_next_steps(prefect_home), markup=False)
        if keep:
            console.print("Servers are running; Ctrl-C ends them.")
            with contextlib.suppress(KeyboardInterrupt):
                signal.pause()


async def _generate(simulator: Simulator, endpoint: str, home: Path) -> dict[Path, StoredVideo]:
    """The videos, by where their copies are."""
    from prefect_genvideo import (
        ArkCredentials,
        S3Destination,
        SenseAudioCredentials,
        SudashuiCredentials,
        generate_video,
    )

    destination = S3Destination(
        bucket=_BUCKET,
        prefix="videos",
        region="us-east-1",
        endpoint_url=endpoint,
        access_key_id=_S3_KEY,
        secret_access_key=_S3_KEY,
    )
    key = simulator.key
    with as_file(files("prefect_genvideo.simulator") / "cat.jpg") as picture:
        videos = [
            await generate_video(
                "Let the cat in @image1 look up and blink, cinematic",
                model="sd-2-fast-720p",
                credentials=SudashuiCredentials(
                    api_key=key, base_url=simulator.sudashui_url, files_url=simulator.sudashui_files_url
                ),
                destination=destination,
                duration=4,
                images=[str(picture)],
            ),
            await generate_video(
                "The cat turns its head, slow zoom in",
                model="doubao-seedance-2-0-260128",
                credentials=SenseAudioCredentials(api_key=key, base_url=simulator.senseaudio_url),
                destination=destination,
                duration=4,
                resolution="480p",
                aspect_ratio="1:1",
                first_frame=str(picture),
            ),
            await generate_video(
                "Rain sets in, the cat does not mind",
                model="doubao-seedance-2-0-fast-260128",
                credentials=ArkCredentials(api_key=key, base_url=simulator.ark_url),
                destination=destination,
                duration=4,
                resolution="480p",
            ),
        ]
    store, made = destination.get_store(), {home / f"{video.provider}.mp4": video for video in videos}
    for copy, video in made.items():
        await store.download(store.relative_key(video.key), copy)
    return made


def _next_steps(prefect_home: Path) -> str:
    home, prefect, genvideo = shlex.quote(str(prefect_home)), called("prefect"), called("genvideo")
    return f"""
See the runs, covers and progress in Prefect's UI:
  PREFECT_HOME={home} {prefect} server start

With a real key, the same for real:
  export SUDASHUI_API_KEY=sk-...
  {genvideo} generate "a cat in the rain, cinematic" --model sd-2-fast-720p --to videos
"""


def called(program: str) -> str:
    """Return how a shell calls a program of this environment: by its name where that finds it, else by its path."""
    own, found = Path(sys.executable).with_name(program), shutil.which(program)
    if found and Path(found).parent.absolute() == own.parent.absolute():
        return program
    near = own.absolute().is_relative_to(Path.cwd())
    return shlex.quote(str(own.absolute().relative_to(Path.cwd()) if near else own))
