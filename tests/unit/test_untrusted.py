"""What strangers may send: nothing of it reads files, reaches inner hosts or breaks anything."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prefect_genvideo.errors import InvalidRequestError
from prefect_genvideo.events import OPEN_FIELDS, event_key, request_from_event
from prefect_genvideo.ledger.record import check_key
from prefect_genvideo.models import VideoRequest

DEFAULTS: dict[str, Any] = {"model": "sd-2-fast-720p", "prompt": "a shoe", "duration": 4}
OPEN_BUCKET = ("s3://shop-photos/new/",)


async def build(payload: Any, defaults: dict[str, Any] = DEFAULTS, **options: Any) -> VideoRequest:
    given: dict[str, Any] = {"s3_prefixes": OPEN_BUCKET, "resolve": False, **options}
    return await request_from_event(payload, defaults, **given)


async def refused(payload: Any, **options: Any) -> list[str]:
    with pytest.raises(InvalidRequestError) as caught:
        await build(payload, **options)
    assert len(str(caught.value)) < 20_000
    assert all(len(problem.value) <= 80 for problem in caught.value.problems)
    return [problem.field for problem in caught.value.problems]


async def test_the_payload_fills_in_what_is_open() -> None:
    """Prompt, duration, ratio and pictures come from the sender, everything else from the deployment."""
    payload = {"prompt": "a red shoe", "duration": 6, "images": ["https://example.com/shoe.jpg"]}
    request = await build(payload)
    assert (request.model, request.prompt, request.duration) == ("sd-2-fast-720p", "a red shoe", 6)
    assert request.images == ("https://example.com/shoe.jpg",)


async def test_what_is_not_open_is_ignored() -> None:
    """A webhook's whole body can be passed on: a sender cannot choose the model, the options or inner fields."""
    payload = {"model": "dear-model", "options": {"n": 10}, "videos": ["/etc/passwd"], "id": 7, "nested": {"a": [1]}}
    assert await build(payload) == await build({})
    request = await build({"model": "other"}, open_fields=OPEN_FIELDS | {"model"})
    assert request.model == "other"


async def test_empty_values_are_not_given() -> None:
    """A null leaves the deployment's default alone."""
    assert await build({"prompt": None, "images": None}) == await build({})


async def test_no_sender_asks_for_longer_than_the_deployment_allows() -> None:
    """The ceiling holds for what the payload says and for the deployment's own default."""
    assert await refused({"duration": 9}, max_duration=8) == ["duration"]
    assert await refused({}, max_duration=3) == ["duration"]
    for open_length in (-1, -0.5, math.nan):  # -1 leaves the length to the model
        assert await refused({"duration": open_length}, max_duration=8) == ["duration"]
    assert (await build({"duration": 8}, max_duration=8)).duration == 8
    assert (await build({"duration": 9})).duration == 9


HOSTILE = [
    "http://localhost/a.jpg",
    "http://LOCALHOST./a.jpg",
    "http://metadata.localhost/a.jpg",
    "http://127.0.0.1/a.jpg",
    "http://127.1/a.jpg",
    "http://2130706433/a.jpg",
    "http://0x7f000001/a.jpg",
    "http://017700000001/a.jpg",
    "http://0/a.jpg",
    "http://169.254.169.254/latest/meta-data/",
    "http://2852039166/latest/meta-data/",
    "http://[::1]/a.jpg",
    "http://[::ffff:169.254.169.254]/a.jpg",
    "http://[fd00:ec2::254]/a.jpg",
    "http://10.0.0.1:8080/a.jpg",
    "https://192.168.1.1/a.jpg",
    "HTTP://127.0.0.1/a.jpg",
    "http://user@127.0.0.1/a.jpg",
    "http://127.0.0.1\\@example.com/a.jpg",
    "http://example.com\\@127.0.0.1/a.jpg",
    "http://example.com@127.0.0.1/a.jpg",
    "http://exam\nple.com/a.jpg",
    "http://example.com /a.jpg",
    "http:///a.jpg",
    "http://",
    "http://[::1/a.jpg",
    "http://example.com:99999/a.jpg",
    "file:///etc/passwd",
    "/etc/passwd",
    "~/.aws/credentials",
    "../secret.jpg",
    " http://example.com/a.jpg",
    "ftp://example.com/a.jpg",
    "gopher://example.com/",
    "data:image/png;base64,iVBORw0KGgo=",
    "s3://other-bucket/a.jpg",
    "s3://shop-photos/old/a.jpg",
    "s3://shop-photos/new",
    "s3://shop-photos/newer/a.jpg",
    "s3://shop-photos/new/../old/a.jpg",
    "S3://shop-photos/new/a.jpg",
    "https://example.com/" + "a" * 3000,
]


@pytest.mark.parametrize("asset", HOSTILE)
async def test_hostile_assets_are_refused(asset: str) -> None:
    """Loopback and inner addresses in every spelling, files, inline data, and S3 outside the named places."""
    assert await refused({"images": ["https://example.com/fine.jpg", asset]}) == ["images[1]"]
    assert await refused({"first_frame": asset}) == ["first_frame"]


@pytest.mark.parametrize(
    "asset", ["https://example.com/a.jpg?w=1#x", "http://93.184.216.34/a.jpg", "s3://shop-photos/new/a/b..jpg"]
)
async def test_public_links_and_open_places_pass(asset: str) -> None:
    """A public address, or an object below a prefix that the deployment names."""
    assert (await build({"images": [asset]})).images == (asset,)


async def test_no_place_in_s3_is_open_unless_it_is_named() -> None:
    """Without prefixes, no object can be read, also not by an empty prefix."""
    for prefixes in ((), ("",)):
        assert await refused({"images": ["s3://shop-photos/new/a.jpg"]}, s3_prefixes=prefixes) == ["images[0]"]


async def test_names_that_lead_inside_are_refused_by_what_they_resolve_to() -> None:
    """With `resolve`, the host is looked up; one that leads nowhere is refused too."""
    assert await refused({"images": ["http://nowhere.invalid/a.jpg"]}, resolve=True) == ["images[0]"]


async def test_assets_of_the_deployment_are_trusted() -> None:
    """Its own defaults may be files or inner hosts; a payload that repeats one may use it, no other."""
    own = {**DEFAULTS, "images": ["/srv/logo.png"]}
    assert (await build({}, own)).images == ("/srv/logo.png",)
    assert (await build({"images": ["/srv/logo.png"]}, own)).images == ("/srv/logo.png",)
    assert await refused({"images": ["/srv/other.png"]}, defaults=own) == ["images[0]"]


async def test_sizes_are_bounded() -> None:
    """A prompt has 4,000 characters, a request 12 assets; more is not even looked up."""
    assert await refused({"prompt": "x" * 4_001}) == ["prompt"]
    assert await refused({"prompt": "x" * 1_000_000}) == ["prompt"]
    many = ["https://example.com/a.jpg"] * 13
    assert await refused({"images": many}) == ["assets"]
    assert (await build({"prompt": "x" * 4_000, "images": many[:12]})).duration == 4


@pytest.mark.parametrize("payload", [[], "text", 7, None, [["prompt", "x"]]])
async def test_a_payload_that_is_no_object_is_refused(payload: Any) -> None:
    """Senders do not read types."""
    assert await refused(payload) == ["payload"]


def nest(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("depth", [10, 1_000, 20_000])
async def test_deep_nests_are_refused(depth: int) -> None:
    """Wrong where they stand, and the error can be shown."""
    assert (await refused({"prompt": nest(depth)}))[0].startswith("prompt")
    opened = OPEN_FIELDS | {"options"}
    if depth > 10:
        assert await refused({"options": {"a": nest(depth)}}, open_fields=opened)


async def test_all_problems_are_told_at_once_and_without_signatures() -> None:
    """The sender mends once; what a link is signed with stays out of the error."""
    payload = {"prompt": "x" * 5_000, "images": ["http://127.0.0.1/a.jpg?X-Amz-Signature=secret", "/etc/passwd"]}
    with pytest.raises(InvalidRequestError) as caught:
        await build(payload)
    assert [problem.field for problem in caught.value.problems] == ["prompt", "images[0]", "images[1]"]
    assert "secret" not in str(caught.value.problems)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=50) | st.sampled_from(HOSTILE),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
PAYLOADS = st.dictionaries(st.sampled_from([*VideoRequest.model_fields, "key", "rows", "__class__"]), JSON, max_size=8)


@settings(max_examples=80)
@given(payload=PAYLOADS | JSON, all_open=st.booleans())
async def test_whatever_comes_is_a_request_or_one_error_of_the_tree(payload: Any, all_open: bool) -> None:
    """Nothing but `InvalidRequestError` escapes; what passes holds no file, inner host or inline data."""
    fields = frozenset(VideoRequest.model_fields) if all_open else OPEN_FIELDS
    try:
        request = await build(payload, open_fields=fields)
    except InvalidRequestError:
        return
    assert all(asset.lower().startswith(("http", "s3://shop-photos/new/")) for asset in request.assets().values())
    assert not set(request.assets().values()) & set(HOSTILE)


@given(event_id=st.text(min_size=1, max_size=2000))
def test_every_event_has_a_key_of_its_own(event_id: str) -> None:
    """Keys are short and printable, begin with `event-`, and differ where ids differ by as much as a space."""
    key = event_key(event_id)
    check_key(key)
    assert key.startswith("event-")
    assert key != event_key(event_id + " ")
    assert event_key("42") == "event-42"
