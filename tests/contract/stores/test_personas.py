"""One whole video on every kind of store: what is billed, what is saved, and what is said where it cannot be."""

from __future__ import annotations

import hashlib

import pytest

from prefect_genvideo.errors import DestinationError
from prefect_genvideo.simulator import Simulator
from tests.contract.stores.conftest import Pipelines, Serve, destination
from tests.contract.stores.personas import BUCKET
from tests.fixtures import money_child
from tests.fixtures.expected import failing

STRICT = ("aws", "r2", "ks3", "ceph", "random-etags", "no-token", "token-ignored", "no-delete", "complete-409")
UNGUARDED = (
    "oss",
    "oss-versioned",
    "oss-cname",
    "cos",
    "cos-racy",
    "tos",
    "racy",
    "ignores-conditions",
    "refuses-with-400",
    "refuses-with-403",
    "no-etags",
)


@pytest.mark.parametrize("name", STRICT)
async def test_a_video_is_billed_and_saved_once(name: str, serve: Serve, pipelines: Pipelines, sim: Simulator) -> None:
    """Strict mode, twice the same key: one bill, one video, byte for byte; nothing of the probes stays."""
    server = serve(name)
    for reused in (False, True):
        row = await money_child.run(pipelines(destination(server)), "k")
        assert "error" not in row, row
        assert row["reused"] is reused
        (video,) = [stored for key, stored in server.objects.items() if key.endswith(".mp4")]
        assert hashlib.sha256(video.data).hexdigest() == row["sha256"]
    assert sim.billed == 1
    assert server.uploads == {} or name == "no-delete"
    assert not [key for key in server.objects if "/.probe-" in key] or name == "no-delete"


@pytest.mark.parametrize("name", UNGUARDED)
async def test_a_store_without_guards_is_refused_before_paying(
    name: str, serve: Serve, pipelines: Pipelines, sim: Simulator
) -> None:
    """In strict mode the reason says what is missing, and nothing is billed."""
    server = serve(name)
    pipeline = pipelines(destination(server))
    with pytest.raises(DestinationError) as caught:
        await pipeline.create(money_child.REQUEST, pipeline.draft("k", money_child.REQUEST, {}))
    assert caught.value.reason == "no conditional writes"
    assert sim.billed == 0


@pytest.mark.parametrize("name", UNGUARDED)
async def test_the_weak_mode_works_where_it_is_offered(
    name: str, serve: Serve, pipelines: Pipelines, sim: Simulator
) -> None:
    """Chosen as the message advises, it pays once and saves, and a rerun finds what it saved."""
    server = serve(name)
    for _ in range(2):
        row = await money_child.run(pipelines(destination(server, ledger_mode="weak")), "k")
        assert "error" not in row, row
    assert sim.billed == 1
    assert [stored for key, stored in server.objects.items() if key.endswith(".mp4")]


@pytest.mark.parametrize(
    ("name", "action"),
    [
        ("no-put", "s3:PutObject"),
        ("no-get", "s3:GetObject"),
        ("no-list", "s3:ListBucket"),
        ("no-parts", "s3:PutObject"),
    ],
)
@pytest.mark.parametrize("mode", ["strict", "weak"])
async def test_a_missing_permission_is_named_before_paying(
    name: str, action: str, mode: str, serve: Serve, pipelines: Pipelines, sim: Simulator
) -> None:
    """What saving will need is tried first, in both modes; what was written for that is removed, and no more."""
    server = serve(name)
    row = await money_child.run(pipelines(destination(server, ledger_mode=mode)), "k")
    assert row["error"] == "DestinationError"
    assert action in row["message"]
    assert sim.billed == 0
    written = name not in ("no-put", "no-get")  # the record is read before anything is tried
    assert (server.seen["DELETE", "DeleteObject"] > 0) is written


@pytest.mark.parametrize(
    ("name", "settings", "named"),
    [
        ("one-class", {"storage_class": "STANDARD_IA"}, "storage_class"),
        ("plain-bytes", {"encryption": "aws:kms"}, "encryption=aws:kms"),
    ],
)
async def test_what_a_store_cannot_do_to_videos_is_told_before_paying(
    name: str, settings: dict[str, str], named: str, serve: Serve, pipelines: Pipelines, sim: Simulator
) -> None:
    """A storage class is the videos' alone, so that no record and no probe would show it."""
    row = await money_child.run(pipelines(destination(serve(name), **settings)), "k")
    assert row["error"] == "DestinationError"
    assert named in row["message"]
    assert sim.billed == 0


async def test_encryption_that_is_not_confirmed_is_told_once(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """A store that ignores what it is asked for keeps the videos readable."""
    server = serve("aws")
    for _ in range(2):
        await destination(server, encryption="AES256").get_store().conditional_writes()
    told = [record for record in caplog.records if record.levelname == "WARNING"]
    assert ["AES256" in record.getMessage() for record in told] == [True]


async def test_a_delete_marker_ends_in_a_word(serve: Serve, pipelines: Pipelines, sim: Simulator) -> None:
    """A key that writes find occupied and reads do not find is refused after a few tries, not asked for ever."""
    server = serve("delete-marker")
    pipeline = pipelines(destination(server))
    with failing(DestinationError, "DeleteMarker"):
        await pipeline.create(money_child.REQUEST, pipeline.draft("k", money_child.REQUEST, {}))
    assert sim.billed == 0
    assert sum(server.seen.values()) < 80


@pytest.mark.parametrize(
    ("name", "host"),
    [
        ("oss", f"{BUCKET}.oss-cn-hangzhou.aliyuncs.com"),
        ("cos", f"{BUCKET}.cos.ap-guangzhou.myqcloud.com"),
        ("tos", f"{BUCKET}.tos-s3-cn-beijing.volces.com"),
        ("ks3", f"{BUCKET}.ks3-cn-beijing.ksyuncs.com"),
        ("oss-cname", "videos.shop.example.cn"),
        ("ceph", "ceph.shop.example.com"),
    ],
)
async def test_requests_go_where_the_store_wants_them(name: str, host: str, serve: Serve) -> None:
    """By a table for known host names, by a question for others; keys are the same everywhere."""
    server = serve(name)
    store = destination(server).get_store()
    await store.put("a b/ü.json", b"{}")
    assert list(server.objects) == ["clips/a b/ü.json"]
    assert host in server.hosts
