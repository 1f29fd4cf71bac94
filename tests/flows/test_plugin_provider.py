"""A provider of another package works in every command, form and preset: nothing outside `providers/` names vendors."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest

from tests.fixtures.plugin import ENTRY_POINTS, install_plugin
from tests.fixtures.prefect import child_env
from tests.flows.conftest import SETTINGS, Place

COMMANDS = """
import sys
from prefect_genvideo.cli.app import app
for words in {commands!r}:
    print(">", *words)
    try:
        app(words, result_action="return_value", exit_on_error=False)
    except SystemExit as ended:
        print("exit", ended.code)
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with the plugin installed."""
    return install_plugin(tmp_path / "site")


async def python(program: str, site: Path, **variables: str) -> tuple[str, str]:
    """Run a program with the plugin installed; what it printed on both channels."""
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
    env = child_env(SETTINGS, variables, PYTHONPATH=path)
    done = await anyio.run_process([sys.executable, "-c", program], env=env, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode(), done.stderr.decode()


async def commands(lines: Sequence[list[str]], site: Path, **variables: str) -> tuple[dict[str, list[str]], str]:
    """Run commands in one process; the lines that each printed, by command, and everything on stderr."""
    printed, said = await python(COMMANDS.format(commands=list(lines)), site, **variables)
    answers: dict[str, list[str]] = {}
    for line in printed.splitlines():
        if line.startswith("> "):
            answers[line[2:]] = []
        else:
            answers[list(answers)[-1]].append(line)
    return answers, said


async def test_commands_take_it(place: Place, site: Path, tmp_path: Path) -> None:
    """Listed, asked for its models, generating with its default model, reconciled; set up by variables of its name."""
    folder = str(tmp_path / "videos")
    key = f"sk-sim-{place.name}"
    answers, said = await commands(
        [
            ["providers"],
            ["models", "--provider", "acme"],
            ["generate", "a cat", "--provider", "acme", "--to", folder],
            ["generate", "a dog", "--model", "acme-1", "--to", folder],
            ["ledger", "reconcile", "--provider", "acme", "--at", folder],
        ],
        site,
        ACME_API_KEY=key,
        ACME_BASE_URL=place.sim.sudashui_url,
    )
    listed, offered, first, second, reconciled = answers.values()
    (acme,) = [words for line in listed if (words := line.split())[0] == "acme"]
    assert acme == ["acme", "Acme", "acme-1", "ACME_API_KEY", "ACME_BASE_URL", "ACME_WORKSPACE"]
    assert "sd-2-fast-720p" in [line.split()[0] for line in offered]
    assert all(lines[-1].startswith(Path(folder).as_uri()) for lines in (first, second)), said
    assert reconciled[-1] == "nothing was left behind"
    assert [task.wanted.prompt for task in place.sim.tasks] == ["a cat", "a dog"]
    assert key not in said


async def test_a_form_offers_it_and_a_preset_keeps_it(place: Place, site: Path) -> None:
    """The picker has its block type, a saved block of it pays by its name, and a preset does.

    The preset is saved in one process and run in another, which imports nothing of the plugin by itself.
    """
    await place.destination.asave(place.name)
    save = f"""
import asyncio, json
from prefect.utilities.callables import parameter_schema
from prefect_genvideo import S3Destination, VideoJob, generate_video
from prefect_genvideo.blocks import credentials_type

async def main():
    block = credentials_type("acme")(api_key="sk-sim-{place.name}", base_url="{place.sim.sudashui_url}", workspace="a")
    await block.asave("{place.name}")
    video = await generate_video("a cat", "acme-1", "acme-credentials/{place.name}",
        "s3-video-destination/{place.name}")
    schema = parameter_schema(generate_video).model_dump()
    offered = [schema["definitions"][kind["$ref"].rpartition("/")[2]]["block_type_slug"]
        for kind in schema["properties"]["credentials"]["anyOf"] if "$ref" in kind]
    destination = await S3Destination.aload("{place.name}")
    await VideoJob(credentials=block, destination=destination, prompt="{{prompt}}, teaser").asave("{place.name}")
    print(json.dumps([video.provider, *offered]))

asyncio.run(main())
"""
    run = f"""
import asyncio, json
from prefect_genvideo import VideoJob

async def main():
    preset = await VideoJob.aload("{place.name}")
    run = await preset.trigger("a dog")
    await run.wait_for_completion()
    video = await run.fetch_result()
    print(json.dumps([type(preset.credentials).__name__, preset.credentials.workspace, video.provider, video.model]))

asyncio.run(main())
"""
    printed, _ = await python(save, site)
    assert json.loads(printed.splitlines()[-1]) == [
        "acme", "sudashui-credentials", "senseaudio-credentials", "ark-credentials", "acme-credentials"
    ]  # fmt: skip
    assert len(place.videos()) == 1
    printed, _ = await python(run, site)
    assert json.loads(printed.splitlines()[-1]) == ["AcmeCredentials", "a", "acme", "acme-1"]
    assert [task.wanted.prompt for task in place.sim.tasks] == ["a cat", "a dog, teaser"]


async def test_what_a_plugin_lacks_is_one_message(tmp_path: Path) -> None:
    """No block, a broken module, an unknown name: named, with exit code 1 and no stack."""
    bare = install_plugin(tmp_path / "bare", {"prefect_genvideo.providers": ENTRY_POINTS["prefect_genvideo.providers"]})
    answers, said = await commands(
        [
            ["models", "--provider", "acme"],
            ["models", "--provider", "nobody"],
            ["generate", "a cat", "--provider", "nobody", "--to", str(tmp_path / "videos")],
            ["generate", "a cat", "--model", "unheard-of", "--to", str(tmp_path / "videos")],
        ],
        bare,
        ACME_API_KEY="sk-1",
    )
    assert list(answers.values()) == [["exit 1"]] * 4
    assert "Traceback" not in said
    refusals = [line for line in said.splitlines() if line.startswith("InvalidRequestError")]
    assert len(refusals) == 4
    assert "prefect_genvideo.credentials" in refusals[0]
    assert all("acme, ark, senseaudio, sudashui" in text for text in said.split("InvalidRequestError")[2:])


async def test_a_broken_plugin_does_not_stop_the_others(tmp_path: Path) -> None:
    """It is named, and the built-in providers go on."""
    site = install_plugin(tmp_path / "broken")
    (site / "acme_genvideo.py").write_text("raise RuntimeError('half installed')", encoding="utf-8")
    answers, said = await commands([["providers"], ["models", "--provider", "acme"]], site)
    listed, _ = answers.values()
    assert {line.split()[0] for line in listed} >= {"provider", "senseaudio", "sudashui"}
    assert "acme-genvideo (acme_genvideo:AcmeClient) cannot be loaded" in said
    assert "Traceback" not in said
