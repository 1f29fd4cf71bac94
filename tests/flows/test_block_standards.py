"""Prefect's own standards for block types, and what `prefect block register` finds."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import pytest
from prefect import get_client
from prefect.blocks.core import Block
from prefect.testing.standard_test_suites.blocks import BlockStandardTestSuite
from prefect.utilities.dispatch import get_registry_for_type

import prefect_genvideo
from prefect_genvideo import (
    ArkCredentials,
    LocalDestination,
    S3Destination,
    SenseAudioCredentials,
    SudashuiCredentials,
    VideoJob,
)
from tests.fixtures.prefect import PrefectServer, child_env

BLOCKS = (ArkCredentials, LocalDestination, S3Destination, SenseAudioCredentials, SudashuiCredentials, VideoJob)
PICTURES = Path(__file__).parents[2] / "docs" / "img"


@pytest.mark.parametrize("block", BLOCKS)
class TestStandards(BlockStandardTestSuite):
    """Descriptions, documentation, code examples and logos."""

    @pytest.fixture
    def block(self, request: pytest.FixtureRequest) -> type[Block]:
        """Replaced by the parameter."""
        return request.param

    def test_has_a_valid_image(self, block: type[Block]) -> None:
        """The suite fetches the logo from the internet; here it is the file that will be published there."""
        from PIL import Image

        url = urlsplit(str(block._logo_url))  # pyright: ignore[reportPrivateUsage]  # as the suite does
        assert (url.scheme, url.path.rpartition("/")[0][-9:]) == ("https", "/docs/img")
        image = Image.open(io.BytesIO((PICTURES / Path(url.path).name).read_bytes()))
        assert image.width == image.height
        assert 45 < image.width < 1000

    def test_every_field_has_a_title_that_people_write(self, block: type[Block]) -> None:
        """Forms show titles: "API key", not "Api Key"."""
        for name, field in block.model_json_schema()["properties"].items():
            words = str(field.get("title", name)).split()
            assert not {"Api", "Url", "Kms", "Id"} & set(words), name


def test_every_block_type_is_a_member_of_the_package() -> None:
    """`prefect block register -m` looks at members; the bases of our blocks are none."""
    members = [getattr(prefect_genvideo, name) for name in dir(prefect_genvideo)]
    assert {member for member in members if Block.is_block_class(member)} == set(BLOCKS)


async def test_registering_the_package_registers_its_types(prefect_server: PrefectServer) -> None:
    """The command of the README, in a process that has nothing of ours loaded."""
    command = [sys.executable, "-m", "prefect", "block", "register", "-m", "prefect_genvideo"]
    done = await anyio.run_process(command, env=child_env(), check=False)
    assert f"Successfully registered {len(BLOCKS)} blocks".encode() in done.stdout, done.stdout + done.stderr
    async with get_client() as client:
        for block in BLOCKS:
            known = await client.read_block_type_by_slug(block.get_block_type_slug())
            assert known.description == block.get_description()
            assert f'= {block.__name__}.load("BLOCK_NAME")' in str(known.code_example)


def test_bases_are_no_block_types() -> None:
    """A server that has the plugin installed registers every class in Prefect's registry when it starts."""
    registry = get_registry_for_type(Block) or {}
    assert {known for known in registry.values() if known.__module__.startswith("prefect_genvideo")} == set(BLOCKS)
    assert not [known for known in registry.values() if known.__name__.startswith("JobBlock")]
