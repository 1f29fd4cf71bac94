"""`genvideo init` and `genvideo deploy`: from an empty folder to deployments that run."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import httpx
import yaml
from cyclopts import Parameter

from prefect_genvideo.cli.console import command, complain, give, say
from prefect_genvideo.errors import InvalidRequestError, redact
from prefect_genvideo.models import Problem

# Names as in `ready.project`, which is not loaded for every command: it brings Prefect.
_DEPLOYMENTS, _BLOCKS = "prefect.yaml", "blocks.py"

# Prefect's own command deploys nine deployments in about half a minute of a busy machine.
_DEPLOY_S = 600
# A server that was started a moment ago answers after this long on a slow machine.
_START_S = 90


@command
def init(
    folder: Path = Path(),
    /,
    *,
    env: Literal["simulator", "production"] = "simulator",
    bucket: Annotated[str, Parameter(env_var="GENVIDEO_BUCKET")] = "",
    pool: str = "genvideo",
    zone: str = "UTC",
    force: bool = False,
) -> None:
    """Write what brings the ready deployments up: prefect.yaml, blocks.py, a sample calendar and a README.

    Args:
        folder: Where; made when missing.
        env: `simulator` costs nothing and needs no key; `production` is for real videos.
        bucket: S3 bucket that takes the videos; without one the simulator's go into the folder.
        pool: Name of the work pool.
        zone: Time zone of the schedules, e.g. Europe/Berlin.
        force: Replace files that are there.
    """
    from prefect_genvideo.ready.project import Project

    for path in Project(folder, env, bucket, pool, zone).write(overwrite=force):
        give(f"wrote {path}", {"wrote": str(path)})
    say(f"Next: the steps of {folder / 'README.md'}")


@command
def deploy(folder: Path = Path(), /) -> None:
    """Bring up what `genvideo init` wrote: save the blocks, make the work pool, deploy. May be run again at any time.

    Args:
        folder: Where the files are.
    """
    pools = _read(folder)
    server = _server()
    _run(folder, _BLOCKS)
    for pool in sorted(pools):
        asyncio.run(_ensure_pool(pool))
    _run(folder, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", _DEPLOYMENTS)
    asyncio.run(_list_deployments(sorted(pools), server))


def _read(folder: Path) -> set[str]:
    """The work pools that the folder's deployments name."""
    missing = [name for name in (_DEPLOYMENTS, _BLOCKS) if not (folder / name).is_file()]
    if missing:
        problems = [Problem(name, str(folder / name), "is not there", "genvideo deploy") for name in missing]
        raise InvalidRequestError("Nothing to deploy here; `genvideo init` writes it.", problems=problems)
    try:
        found: Any = yaml.safe_load((folder / _DEPLOYMENTS).read_text(encoding="utf-8"))
        deployments = cast("list[dict[str, Any]]", found["deployments"])
        return {str(each["work_pool"]["name"]) for each in deployments if each.get("work_pool")}
    except (yaml.YAMLError, UnicodeDecodeError, TypeError, KeyError, AttributeError) as error:
        told = f"is no file of deployments: {type(error).__name__} {error}"
        problem = Problem(_DEPLOYMENTS, str(folder / _DEPLOYMENTS), told, "genvideo deploy")
        raise InvalidRequestError("The deployments cannot be read.", problems=[problem]) from None


def _server() -> str:
    """Address of Prefect's API; deployments on a temporary server would be gone with it.

    Raises:
        InvalidRequestError: None is named, or it does not answer.
    """
    from prefect.settings import get_current_settings

    named = get_current_settings().api.url
    way = "start one with `prefect server start` and export PREFECT_API_URL=http://127.0.0.1:4200/api"
    if not named:
        raise InvalidRequestError(f"No Prefect server is named: {way}")
    deadline, told = time.monotonic() + _START_S, False
    while fault := _fault_of(named):
        if time.monotonic() > deadline:
            raise InvalidRequestError(f"The Prefect server {named} does not answer ({fault}): {way}")
        if not told:
            complain(f"Waiting for the Prefect server {named} ({fault}), {_START_S} s at most", "yellow")
        told = True
        time.sleep(0.5)
    return named


def _fault_of(server: str) -> str:
    """Why a server cannot be used; empty when it can. Any refusal is an answer too: a key may be asked for."""
    try:
        status = httpx.get(f"{server}/health", timeout=10).status_code
    except httpx.HTTPError as error:
        return type(error).__name__
    return "" if status < 500 else f"HTTP {status}"


def _run(folder: Path, *command: str) -> None:
    """Run Python in the folder; what it prints is shown when it fails, or when it is of interest."""
    done = subprocess.run(  # noqa: S603 - the files of whoever runs this command
        [sys.executable, *command], cwd=folder, capture_output=True, text=True, timeout=_DEPLOY_S, check=False
    )
    if done.returncode:
        raise InvalidRequestError(f"{' '.join(command)} failed:\n{(done.stderr + done.stdout).strip()[-4000:]}")
    if command == (_BLOCKS,):
        for outcome, what in (line.split(maxsplit=1) for line in done.stdout.splitlines() if " " in line):
            give(f"{outcome:<8} {what}", {outcome: what})


async def _ensure_pool(name: str) -> None:
    """Make the work pool; one that is there is left as it is, of whatever type."""
    from prefect import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists
    from prefect.workers.process import ProcessWorker

    template = ProcessWorker.get_default_base_job_template()
    async with get_client() as client:
        try:
            await client.create_work_pool(WorkPoolCreate(name=name, type="process", base_job_template=template))
            give(f"created  work pool {name}", {"created": f"work pool {name}"})
        except ObjectAlreadyExists:
            give(f"kept     work pool {name}", {"kept": f"work pool {name}"})


async def _list_deployments(pools: list[str], server: str) -> None:
    from prefect import get_client
    from prefect.client.schemas.filters import WorkPoolFilter, WorkPoolFilterName

    async with get_client() as client:
        theirs = WorkPoolFilter(name=WorkPoolFilterName(any_=pools))
        deployments = await client.read_deployments(work_pool_filter=theirs)
        flows = {flow.id: flow.name for flow in await client.read_flows()}
    for name in sorted(f"{flows.get(each.flow_id, '?')}/{each.name}" for each in deployments):
        give(f"deployed {name}", {"deployed": name})
    say(f"Server: {redact(server)}. Next: prefect worker start --pool {pools[0] if pools else 'NAME'}")
