"""Where the bucket's name goes, however the endpoint was given."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import boto3.session
import httpx
import pytest
from pydantic import ValidationError

from prefect_genvideo import S3Destination
from prefect_genvideo.blocks import as_destination
from prefect_genvideo.cli.targets import destination_from
from prefect_genvideo.errors import DestinationError, InvalidRequestError
from prefect_genvideo.storage import S3Store, find_object, split_uri
from tests.contract.stores.conftest import Serve, destination
from tests.contract.stores.personas import BUCKET, KEY_ID, SECRET
from tests.contract.stores.server import PAGE, PersonaServer, Stored
from tests.fixtures.expected import failing


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"])
@pytest.mark.parametrize("name", ["ceph", "oss-cname", "oss", "tos"])
async def test_the_environment_s_endpoint_is_addressed_like_a_given_one(
    name: str, variable: str, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--to s3://bucket/prefix` on a machine whose variables name the store."""
    server = serve(name)
    monkeypatch.setenv(variable, server.persona.endpoint_url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY_ID)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    # The region tells this server's client from those of other tests.
    place = destination_from(f"S3://{BUCKET}/clips?region=r-{server.url.rpartition(':')[2]}")
    await place.get_store().put("k", b"x")
    assert list(server.objects) == ["clips/k"]


@dataclass(frozen=True)
class Parameters:
    """Of the client of a prefect-aws block."""

    endpoint_url: str

    def get_params_override(self) -> dict[str, Any]:
        return {"endpoint_url": self.endpoint_url, "verify": True}


@dataclass(frozen=True)
class AwsCredentials:
    """What prefect-aws's credentials lend: a session, and parameters of the client."""

    aws_client_parameters: Parameters
    key_id: str
    region_name: str = "eu-central-1"
    asked: list[int] = field(default_factory=list[int], compare=False)

    def get_boto3_session(self) -> Any:
        self.asked.append(1)
        return boto3.session.Session(self.key_id, SECRET, region_name=self.region_name)


class S3Bucket:
    """A stand-in for the block of prefect-aws, which cannot be installed beside a current boto3."""

    def __init__(self, server: PersonaServer) -> None:
        key_id = f"{KEY_ID}-{server.url.rpartition(':')[2]}"
        self.credentials = AwsCredentials(Parameters(server.persona.endpoint_url), key_id)
        self.bucket_name, self.bucket_folder = BUCKET, "aws"


S3Bucket.__module__ = "prefect_aws.s3"


@pytest.mark.parametrize("name", ["ceph", "oss", "oss-cname"])
async def test_a_borrowed_bucket_is_addressed_as_the_store_wants_it(name: str, serve: Serve) -> None:
    """With the block's session and our client; one session serves many stores."""
    server = serve(name)
    block = S3Bucket(server)
    for key in ("a", "b"):
        await as_destination(block).get_store().put(key, b"x")
    assert sorted(server.objects) == ["aws/a", "aws/b"]
    assert len(block.credentials.asked) <= 2  # one for asking how the bucket is named, where that must be asked


async def test_expired_borrowed_credentials_are_borrowed_anew(serve: Serve) -> None:
    """A session with an assumed role lives for an hour; a worker lives longer."""
    server = serve("expires-once")
    block = S3Bucket(server)
    await as_destination(block).get_store().put("a", b"x")
    assert list(server.objects) == ["aws/a"]


@pytest.mark.parametrize(
    ("bucket", "endpoint_url"),
    [
        (BUCKET, f"http://{BUCKET}.oss-cn-hangzhou.aliyuncs.com"),
        (BUCKET, f"http://{BUCKET}.s3.oss-cn-hangzhou.aliyuncs.com"),
    ],
)
async def test_an_endpoint_with_the_bucket_in_front_is_understood(bucket: str, endpoint_url: str, serve: Serve) -> None:
    """As consoles show it."""
    server = serve("oss")
    place = destination(server, endpoint_url=endpoint_url)
    if ".s3." in endpoint_url:  # another host name of the same store, which this server does not have
        with pytest.raises(DestinationError):
            await place.get_store().put("k", b"x")
        assert f"{bucket}.s3.oss-cn-hangzhou.aliyuncs.com" in server.hosts
        return
    await place.get_store().put("k", b"x")
    assert list(server.objects) == ["clips/k"]


@pytest.mark.parametrize(
    "endpoint_url",
    ["http://other.oss-cn-hangzhou.aliyuncs.com", "http://other.cos.ap-guangzhou.myqcloud.com"],
)
def test_an_endpoint_with_another_bucket_in_front_is_refused(endpoint_url: str) -> None:
    """One error that names both."""
    with pytest.raises(InvalidRequestError) as caught:
        S3Store(BUCKET, endpoint_url=endpoint_url, access_key_id=KEY_ID, secret_access_key=SECRET)
    assert [problem.field for problem in caught.value.problems] == ["endpoint_url"]


@pytest.mark.parametrize(
    "endpoint_url", [f"http://minio:9000/{BUCKET}", f"https://s3.example.com/{BUCKET}/", "https://a:b@s3.example.com"]
)
def test_an_endpoint_with_more_than_an_address_is_refused(endpoint_url: str) -> None:
    """Before anything is sent, at the field, without a password in the text."""
    with pytest.raises(ValidationError) as caught:
        S3Destination(bucket=BUCKET, endpoint_url=endpoint_url)
    assert [error["loc"] for error in caught.value.errors()] == [("endpoint_url",)]
    assert "a:b" not in str(caught.value)


async def test_a_chosen_style_is_kept(serve: Serve) -> None:
    """What the user says is not second-guessed: the store's refusal names the way out."""
    server = serve("tos")
    with failing(DestinationError, "InvalidPathAccess") as caught:
        await destination(server, addressing="path").get_store().put("k", b"x")
    assert "addressing='virtual'" in str(caught.value)
    virtual = serve("aws")
    await destination(virtual, addressing="virtual").get_store().put("k", b"x")
    assert virtual.hosts == {f"{BUCKET}.s3.eu-central-1.amazonaws.com"}


@pytest.mark.parametrize("name", ["oss", "oss-cname", "ceph"])
async def test_a_presigned_link_leads_where_requests_go(name: str, serve: Serve) -> None:
    """Also where the endpoint is the bucket."""
    server = serve(name)
    store = destination(server).get_store()
    await store.put("a b.png", b"picture")
    link = await store.presign("a b.png", 60)
    assert link is not None
    async with httpx.AsyncClient(proxy=server.url) as client:
        answer = await client.get(link)
    assert (answer.status_code, answer.content) == (200, b"picture")


async def test_a_listing_shows_in_passing_how_a_bucket_is_named(serve: Serve) -> None:
    """A store of no known host name, which takes the bucket in the path as nearly all do, is asked nothing more."""
    server = serve("ceph")
    store = destination(server, region="asked-in-passing").get_store()
    server.objects |= {f"clips/{number}": Stored(b"x", "1", {}) for number in range(2 * PAGE)}
    assert [info.key async for info in store.list()] == sorted(str(number) for number in range(2 * PAGE))
    assert server.seen.total() == 2  # pages


async def test_an_object_with_the_bucket_s_name_is_no_listing(serve: Serve) -> None:
    """Below an endpoint that is the bucket itself, the path style reads an object."""
    server = serve("oss-cname")
    server.objects |= {BUCKET: Stored(b"\x00 video", "1", {}), "clips/a": Stored(b"x", "1", {})}
    store = destination(server, region="with-a-namesake").get_store()
    assert [info.key async for info in store.list()] == ["a"]


@pytest.mark.parametrize("key", ["photos//cat.jpg", "/cat.jpg", "a\\b.jpg"])
async def test_keys_that_exist_are_read(key: str, serve: Serve) -> None:
    """Other people's keys follow other rules than ours."""
    server = serve("aws")
    server.answer("PUT", f"{server.persona.endpoint_url}/{BUCKET}/{key}", {"authorization": KEY_ID}, b"cat")
    home = destination(server).get_store()
    store, found = find_object(f"S3://{BUCKET}/{key}", home)
    assert await store.get(found) is not None


@pytest.mark.parametrize(
    ("uri", "parts"),
    [
        ("s3://my-videos/a/b.mp4", ("my-videos", "a/b.mp4")),
        ("S3://my-videos", ("my-videos", "")),
        ("s3://my-videos//a", ("my-videos", "/a")),
        (
            "s3://arn:aws:s3:eu-west-1:123456789012:accesspoint/shop/photos/cat.jpg",
            ("arn:aws:s3:eu-west-1:123456789012:accesspoint/shop", "photos/cat.jpg"),
        ),
    ],
)
def test_uris_are_read_in_one_way(uri: str, parts: tuple[str, str]) -> None:
    """The scheme in any case; an access point's ARN has slashes of its own."""
    assert split_uri(uri) == parts
