"""Links that play videos: each opens what it names, and the one that is a secret is told to nobody who keeps it."""

from __future__ import annotations

from typing import Any, cast

import boto3.session
import httpx
import pytest
from botocore.config import Config
from pydantic import ValidationError

from prefect_genvideo import LocalDestination, S3Destination
from prefect_genvideo.pipeline.play import PlayLink, PlayLinks, check_link_template
from prefect_genvideo.storage import LocalStore, S3Store
from tests.fixtures.s3 import S3Server

KEY = "2026-11-27/sd 2/春节 #1 100%.mp4"
QUOTED = "2026-11-27/sd%202/%E6%98%A5%E8%8A%82%20%231%20100%25.mp4"


def amazon(region: str) -> S3Store:
    """A store of Amazon's, which is never asked: links are worked out here."""
    session = cast("Any", boto3.session.Session())
    client = session.client(
        "s3",
        region_name=region,
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="secret",
        config=Config(signature_version="s3v4"),
    )
    return S3Store.from_client(client, "my-videos", "spring")


async def link_of(links: PlayLinks, store: Any, key: str = KEY) -> PlayLink | None:
    """The link to one video."""
    [link] = await links.of(store, [key])
    return link


@pytest.mark.parametrize(
    ("region", "host"),
    [("eu-central-1", "eu-central-1.console.aws.amazon.com"), ("cn-north-1", "cn-north-1.console.amazonaws.cn")],
)
async def test_on_aws_the_console_has_a_page_for_each_object(region: str, host: str) -> None:
    """Without any setting; whoever may see the bucket can play it there."""
    link = await link_of(PlayLinks("console"), amazon(region))
    assert link == PlayLink(f"https://{host}/s3/object/my-videos?region={region}&prefix=spring/{QUOTED}")


async def test_elsewhere_there_is_no_console(s3: S3Server) -> None:
    """Unless its address is given."""
    store = s3.store("spring")
    assert await link_of(PlayLinks("console"), store) is None
    template = "https://minio.example/browser/{bucket}/{key}"
    link = await link_of(PlayLinks("console", template), store)
    assert link is not None
    assert link.url == f"https://minio.example/browser/{store.bucket}/spring/{QUOTED}"


async def test_a_public_link_is_where_the_store_has_the_object(s3: S3Server) -> None:
    """No signature is left in it; with a base address it is below that."""
    store = s3.store("spring")
    link = await link_of(PlayLinks("public"), store)
    assert link == PlayLink(f"{s3.endpoint_url}/{store.bucket}/spring/{QUOTED}")
    link = await link_of(PlayLinks("public", "https://cdn.example/films/"), store)
    assert link == PlayLink(f"https://cdn.example/films/spring/{QUOTED}")


async def test_a_presigned_link_plays_and_is_not_shown(s3: S3Server) -> None:
    """It is fetched without any credentials; its text form keeps the signature to itself."""
    store = s3.store("spring")
    await store.put(KEY, b"video", content_type="video/mp4")
    link = await link_of(PlayLinks("presigned", hours=1), store)
    assert link is not None
    async with httpx.AsyncClient() as browser:
        answer = await browser.get(link.url)
    assert (answer.content, answer.headers["content-type"], link.hours) == (b"video", "video/mp4", 1)
    assert "X-Amz-Expires=3600" in link.url
    assert "Signature" not in f"{link} {link!r} {[link]}"


def test_links_that_die_or_are_secret_are_not_kept() -> None:
    """Reports and events take lasting ones alone."""
    assert [PlayLinks(kind).lasting for kind in ("console", "public", "presigned", "none")] == [
        True,
        True,
        False,
        False,
    ]


async def test_a_folder_has_links_where_something_serves_it(tmp_path: Any) -> None:
    """A web server over the folder, e.g.; `file://` is for the machine that has it."""
    store = LocalStore(tmp_path)
    for kind in ("console", "public", "presigned", "none"):
        assert await link_of(PlayLinks(kind), store) is None
    links = LocalDestination(path=str(tmp_path), link_template="http://nas.local/videos").get_links()
    link = await link_of(links, store)
    assert link == PlayLink(f"http://nas.local/videos/{QUOTED}")


@pytest.mark.parametrize(
    "template",
    [
        "javascript:alert(1)",
        "ftp://a.example/",
        "https://",
        "https://user:pass@a.example/",
        "https://a.example/{bucket}",
        "https://a.example/{key}/{secret}",
        "https://a.example/{key.__class__}",
        "https://a.example/{",
        "https://a.example/ {key}",
        "http://[::1",
    ],
)
def test_what_is_no_address_is_refused_in_the_form(template: str) -> None:
    """Before anything is made with it."""
    assert check_link_template(template)
    with pytest.raises(ValidationError) as caught:
        LocalDestination(path="/videos", link_template=template)
    assert [error["loc"] for error in caught.value.errors()] == [("link_template",)]


@pytest.mark.parametrize("hours", [0, -1, 169])
def test_presigned_links_live_for_seven_days_at_most(hours: float) -> None:
    """As Signature Version 4 has it."""
    with pytest.raises(ValidationError) as caught:
        S3Destination(bucket="my-videos", link_hours=hours)
    assert [error["loc"] for error in caught.value.errors()] == [("link_hours",)]


def test_the_destination_says_which_links_there_are() -> None:
    """Pages of the console unless it is set otherwise."""
    assert S3Destination(bucket="my-videos").get_links() == PlayLinks("console")
    chosen = S3Destination(bucket="my-videos", link="presigned", link_hours=2)
    assert chosen.get_links() == PlayLinks("presigned", hours=2)
