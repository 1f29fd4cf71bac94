"""Blocks: what they accept, what they keep secret, how they are saved, loaded and shared."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Mapping
from typing import Any

import anyio
import pytest
from prefect import get_client
from prefect.blocks.core import Block
from pydantic import ValidationError

from prefect_genvideo import LocalDestination, S3Destination, SenseAudioCredentials, SudashuiCredentials
from prefect_genvideo.blocks import as_destination
from prefect_genvideo.providers import SenseAudioClient, SudashuiClient
from prefect_genvideo.storage import LocalStore, S3Store
from tests.fixtures.prefect import child_env
from tests.flows.conftest import Place

KEY = "sk-sim-only-in-the-block"


@pytest.mark.parametrize(
    ("block", "values", "kind"),
    [
        (SudashuiCredentials, {"api_key": " "}, "value_error"),
        (SudashuiCredentials, {"api_key": "sk one two"}, "value_error"),
        (SudashuiCredentials, {"base_url": "api.sudashuiapi.com"}, "value_error"),
        (SudashuiCredentials, {"base_url": "https://key@api.sudashuiapi.com"}, "value_error"),
        (SudashuiCredentials, {"files_url": "http://files.sudashuiapi.com"}, "value_error"),
        (SenseAudioCredentials, {"base_url": "https://api.senseaudio.cn/?key=1"}, "value_error"),
        (S3Destination, {"bucket": "s3://videos"}, "value_error"),
        (S3Destination, {"bucket": "videos/2026"}, "value_error"),
        (S3Destination, {"endpoint_url": "minio:9000"}, "value_error"),
        (S3Destination, {"key_template": "{dat}/{task_id}.mp4"}, "value_error"),
        (LocalDestination, {"key_template": "../{task_id}.mp4"}, "value_error"),
        (LocalDestination, {"ledger_mode": "none"}, "literal_error"),
        (S3Destination, {"bukcet": "my-videos"}, "extra_forbidden"),
        (LocalDestination, {"pth": "videos"}, "extra_forbidden"),
    ],
)
def test_a_wrong_value_has_one_clear_error(block: type[Block], values: Mapping[str, str], kind: str) -> None:
    """One problem, at the field that has it; the key is nowhere in it."""
    base: dict[type[Block], dict[str, str]] = {S3Destination: {"bucket": "my-videos"}, LocalDestination: {}}
    with pytest.raises(ValidationError) as caught:
        block.model_validate({**base.get(block, {"api_key": KEY}), **values})
    (problem,) = caught.value.errors()
    assert (problem["loc"], problem["type"]) == ((next(iter(values)),), kind)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:8787/sudashui/", "http://gateway", "http://gateway.internal:1"])
def test_plain_http_is_for_machines_nearby(url: str) -> None:
    """The simulator and a gateway beside us may be spoken to without TLS; a trailing slash does not matter."""
    assert SudashuiCredentials.model_validate({"api_key": KEY, "base_url": url}).base_url == url.rstrip("/")


def test_keys_are_shown_nowhere() -> None:
    """Not by repr, str or dumps; the account's fingerprint stands for the key."""
    block = SudashuiCredentials.model_validate({"api_key": f" {KEY}\n"})
    assert block.api_key.get_secret_value() == KEY
    other = SudashuiCredentials.model_validate({"api_key": KEY + "2"})
    shown = [repr(block), str(block), str(block.model_dump()), block.model_dump_json(), block.account]
    assert not any(KEY in text for text in shown)
    assert block.account == block.model_copy().account != other.account


async def test_blocks_come_back_as_they_were_saved(place: Place) -> None:
    """Through the server, where secrets are masked for everybody who does not ask for them."""
    s3 = place.bucket(prefix="campaigns/spring", storage_class="STANDARD_IA", key_template="{year}/{task_id}.{ext}")
    for block in (place.sudashui, place.senseaudio, s3, LocalDestination(path="~/videos", ledger_mode="weak")):
        await block.asave(place.name)
        slug = block.get_block_type_slug()
        loaded = await Block.aload(f"{slug}/{place.name}")
        assert loaded == block
        assert type(loaded) is type(block)
        async with get_client() as client:
            masked = await client.read_block_document_by_name(place.name, slug, include_secrets=False)
        for name, value in block.model_dump(context={"include_secrets": True}).items():
            if name in ("api_key", "secret_access_key"):
                assert str(value).strip("*") not in ("", masked.data[name])
                assert set(masked.data[name]) == {"*"}


async def test_a_name_is_enough_in_a_fresh_process(place: Place) -> None:
    """Whatever was imported first: the collection's entry points make all block types known."""
    await place.saved()
    program = f"""
import prefect_genvideo, sys
assert "prefect" not in sys.modules
import asyncio
from prefect.blocks.core import Block
block = asyncio.run(Block.aload("sudashui-credentials/{place.name}"))
print(type(block).__name__, type(block.get_client()).__name__, block.account)
"""
    command = [sys.executable, "-c", program]
    done = await anyio.run_process(command, env=child_env(), check=False)
    assert done.stdout.decode().split() == ["SudashuiCredentials", "SudashuiClient", place.sudashui.account], (
        done.stderr
    )


async def test_clients_and_stores_are_those_of_the_block(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """`get_client()` makes a client to use as a context manager; destinations give their store."""
    async with place.sudashui.get_client() as client:
        assert isinstance(client, SudashuiClient)
        assert await client.models()
    async with place.senseaudio.get_client() as client:
        assert isinstance(client, SenseAudioClient)
    assert isinstance(place.destination.get_store(), S3Store)
    assert isinstance(LocalDestination(path="x").get_store(), LocalStore)


async def test_one_client_for_equal_credentials_on_a_loop(place: Place) -> None:
    """Everybody on the loop shares a client while it is in use; the last one to leave closes it."""
    again = place.account("sudashui")
    async with place.sudashui.lease() as first:
        async with again.lease() as second, place.account("other").lease() as other:
            assert first is second
            assert first is not other
        assert await first.models()
    gc.collect()  # a connection left open would warn here
    async with place.sudashui.lease() as fresh:
        assert fresh is not first
        assert await fresh.models()

    async def leased() -> int:
        async with place.sudashui.lease() as client:
            await client.models()
            return id(client)

    async with place.sudashui.lease() as mine:
        assert await asyncio.to_thread(asyncio.run, leased()) != id(mine)


class S3Bucket(Block):
    """A stand-in for the block of prefect-aws, which cannot be installed beside a current boto3."""

    bucket_name: str
    credentials: Any
    bucket_folder: str = ""


S3Bucket.__module__ = "prefect_aws.s3"


class AwsCredentials:
    """What an `S3Bucket` holds."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def get_s3_client(self) -> Any:
        """The client of the block."""
        return self.client


@pytest.fixture
def s3_bucket(place: Place) -> S3Bucket:
    """A folder in the place's bucket, as prefect-aws would have it."""
    credentials = AwsCredentials(place.s3.client)
    return S3Bucket(bucket_name=place.destination.bucket, bucket_folder="aws", credentials=credentials)


async def test_an_s3_bucket_of_prefect_aws_is_a_destination(place: Place, s3_bucket: S3Bucket) -> None:
    """The block itself is taken by the flow and by tasks; videos and ledger go into its folder."""

    wanted: dict[str, Any] = place.request | {"destination": s3_bucket}
    video = await place.make(**wanted)
    assert video.uri.startswith(f"s3://{place.destination.bucket}/aws/2")
    assert {key.partition("/")[0] for key in place.objects()} == {"aws"}
    assert any(key.startswith("aws/_ledger/") for key in place.objects())


def test_other_blocks_are_not_taken_for_buckets(place: Place) -> None:
    """A block is known by its class's name and package, not by its looks."""

    class Bucket(Block):
        """Looks alike."""

        bucket_name: str = "x"

    other = Bucket()
    assert as_destination(other) is other
    assert as_destination(place.destination) is place.destination
    assert as_destination("s3-bucket/x") == "s3-bucket/x"
