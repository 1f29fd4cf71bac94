"""What only an S3 store can get wrong: lost answers, collisions, leftover parts, words for errors."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import anyio
import httpx
import pytest
from botocore.exceptions import EndpointConnectionError, MissingDependencyException

from benchmarks.leaks import leaks
from prefect_genvideo.errors import DestinationError, InvalidRequestError
from prefect_genvideo.storage import PreconditionFailedError, S3Store, UploadLostError
from prefect_genvideo.storage.s3.errors import explain
from tests.fixtures.expected import failing
from tests.fixtures.lossy_proxy import Fault, LossyProxy
from tests.fixtures.prefect import child_env
from tests.fixtures.s3 import S3Server

MIB = 1024 * 1024
CONFLICT = b"<Error><Code>ConditionalRequestConflict</Code><Message>two writers</Message></Error>"
NOT_IMPLEMENTED = b"<Error><Code>NotImplemented</Code><Message>a header you provided</Message></Error>"

Lossy = tuple[LossyProxy, S3Server]


# Lost answers


async def test_a_claim_whose_answer_was_lost_is_still_ours(lossy: Lossy) -> None:
    """boto3 sends the PUT again and meets our own object: the claim is won, not lost."""
    proxy, server = lossy
    store = server.store()
    proxy.faults.append(Fault("PUT", "/k.json"))
    etag = await store.put("k.json", b"mine", if_absent=True)
    assert await store.get("k.json") == (b"mine", etag)
    assert sum(path.endswith("/k.json") for method, path in proxy.seen if method == "PUT") == 2


async def test_an_update_whose_answer_was_lost_is_still_ours(lossy: Lossy) -> None:
    """The same for `if_match`: the object has changed since, by ourselves."""
    proxy, server = lossy
    store = server.store()
    first = await store.put("k.json", b"1")
    proxy.faults.append(Fault("PUT", "/k.json"))
    second = await store.put("k.json", b"2", if_match=first)
    assert await store.get("k.json") == (b"2", second)


async def test_equal_bytes_do_not_make_a_claim_ours(lossy: Lossy) -> None:
    """Two writers of the same bytes are two writers: the mark decides, not the content."""
    proxy, server = lossy
    store = server.store()
    await store.put("k.json", b"same", if_absent=True)
    proxy.faults.append(Fault("PUT", "/k.json"))
    with pytest.raises(PreconditionFailedError):
        await store.put("k.json", b"same", if_absent=True)


async def test_a_completed_upload_whose_answer_was_lost_is_committed(lossy: Lossy) -> None:
    """Completing again finds the object that the first try made."""
    proxy, server = lossy
    store = server.store(part_size=5 * MIB)
    proxy.faults.append(Fault("POST", "uploadId="))
    async with store.upload("v.mp4", content_type="video/mp4", if_absent=True) as upload:
        await upload.write(b"x" * (11 * MIB))
        info = await upload.commit()
    assert info.size == 11 * MIB
    assert server.open_uploads(store.bucket) == []


# Collisions


async def test_a_collision_of_two_writers_is_tried_again(lossy: Lossy) -> None:
    """409 says that somebody is writing at this moment; a moment later it is settled."""
    proxy, server = lossy
    proxy.faults.append(Fault("PUT", "/k.json", status=409, body=CONFLICT))
    store = server.store()
    etag = await store.put("k.json", b"mine", if_absent=True)
    assert await store.get("k.json") == (b"mine", etag)


async def test_a_lasting_collision_is_told_and_may_be_tried_later(lossy: Lossy) -> None:
    """After a few tries the caller has to look again, which the error says."""
    proxy, server = lossy
    proxy.faults.append(Fault("PUT", "/k.json", times=99, status=409, body=CONFLICT))
    with pytest.raises(PreconditionFailedError) as caught:
        await server.store().put("k.json", b"mine", if_absent=True)
    assert caught.value.retryable
    assert caught.value.reason == "ConditionalRequestConflict"


async def test_a_store_that_refuses_the_header_has_no_conditional_writes(lossy: Lossy) -> None:
    """501 to `If-None-Match` is an answer, not a failure."""
    proxy, server = lossy
    proxy.faults.append(Fault("PUT", ".probe-", times=99, status=501, body=NOT_IMPLEMENTED))
    assert await server.store().conditional_writes() is False


# Integrity


async def test_bytes_that_changed_on_the_way_are_refused(strict_s3: S3Server) -> None:
    """The server compares the body with its MD5, so a bit that flips in between is found."""
    with LossyProxy(strict_s3.endpoint_url) as proxy:
        store = replace(strict_s3, endpoint_url=proxy.url).store()
        proxy.faults.append(Fault("PUT", "/v.mp4", times=99, corrupt=True))
        with failing(DestinationError, "BadDigest") as caught:
            await store.put("v.mp4", b"video")
    assert caught.value.retryable
    assert await store_without_proxy(strict_s3, store.bucket).head("v.mp4") is None


async def test_a_part_that_changed_on_the_way_is_found_before_anything_is_visible(strict_s3: S3Server) -> None:
    """It came without its MD5, so that the server had nothing to compare; its ETag gives it away."""
    with LossyProxy(strict_s3.endpoint_url) as proxy:
        store = replace(strict_s3, endpoint_url=proxy.url).store(part_size=5 * MIB)
        proxy.faults.append(Fault("PUT", "partNumber=2", corrupt=True))
        with failing(UploadLostError, "other bytes"):
            async with store.upload("v.mp4", content_type="video/mp4") as upload:
                await upload.write(b"x" * (11 * MIB))
                await upload.commit()
    assert proxy.faults[0].met == 1
    assert await store_without_proxy(strict_s3, store.bucket).head("v.mp4") is None


def store_without_proxy(server: S3Server, bucket: str) -> S3Store:
    """The same bucket, seen directly."""
    return server.store(bucket=bucket)


async def test_a_store_that_confirms_other_bytes_is_not_believed(s3: S3Server) -> None:
    """A plain ETag is the MD5 of what the store has; moto does not check ours, so the answer gives it away."""
    with LossyProxy(s3.endpoint_url) as proxy:
        store = replace(s3, endpoint_url=proxy.url).store()
        proxy.faults.append(Fault("PUT", "/v.mp4", times=99, corrupt=True))
        with failing(DestinationError, "other bytes"):
            await store.put("v.mp4", b"video")


# Leftovers


async def test_no_parts_stay_behind(s3: S3Server) -> None:
    """Error, cancellation and restart all abort the multipart upload, which would cost storage for ever."""
    store = s3.store(part_size=5 * MIB)

    async def broken() -> None:
        async with store.upload("a.mp4", content_type="video/mp4") as upload:
            await upload.write(b"x" * (11 * MIB))
            raise LookupError

    with pytest.raises(LookupError):
        await broken()
    with anyio.CancelScope() as scope:
        async with store.upload("b.mp4", content_type="video/mp4") as upload:
            await upload.write(b"x" * (11 * MIB))
            scope.cancel()
            await anyio.sleep(1)
    async with store.upload("c.mp4", content_type="video/mp4") as upload:
        await upload.write(b"x" * (11 * MIB))
        await upload.restart()
        await upload.write(b"x")
        await upload.commit()
    assert s3.open_uploads(store.bucket) == []


async def test_asyncio_cancellation_aborts_too(s3: S3Server) -> None:
    """`task.cancel()`, as Prefect and `asyncio.timeout` use it, while a part is on its way."""
    store = s3.store(part_size=5 * MIB)
    begun = asyncio.Event()

    async def stream() -> None:
        async with store.upload("a.mp4", content_type="video/mp4") as upload:
            begun.set()
            while True:
                await upload.write(b"x" * MIB)

    task = asyncio.create_task(stream())
    await begun.wait()
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert s3.open_uploads(store.bucket) == []


async def test_a_failing_abort_is_logged_and_hides_nothing(lossy: Lossy, caplog: pytest.LogCaptureFixture) -> None:
    """The first error is the one to see; the log names the upload that somebody has to abort."""
    proxy, server = lossy
    store = server.store(part_size=5 * MIB)
    proxy.faults.append(Fault("DELETE", "uploadId=", times=99, status=403, body=b""))

    async def broken() -> None:
        async with store.upload("a.mp4", content_type="video/mp4") as upload:
            await upload.write(b"x" * (6 * MIB))
            raise LookupError

    with caplog.at_level(logging.WARNING), pytest.raises(LookupError):
        await broken()
    assert server.open_uploads(store.bucket)[0] in caplog.text


# Errors


async def test_a_missing_bucket_is_not_a_missing_object(s3: S3Server) -> None:
    """Only "no such key" reads as None; a ledger that took a lost bucket for an empty one would pay twice."""
    store = s3.store(bucket="no-such-bucket")
    for look in (store.get, store.head, store.delete):
        with failing(DestinationError, "NoSuchBucket") as caught:
            await look("k.json")
        assert not caught.value.retryable
    with failing(DestinationError, "NoSuchBucket"):
        assert [info async for info in store.list()] == []


async def test_a_bucket_that_is_not_there_keeps_no_probe(s3: S3Server, caplog: pytest.LogCaptureFixture) -> None:
    """The error says what is wrong; that there is nothing to remove is no news."""
    with pytest.raises(DestinationError):
        await s3.store(bucket="no-such-bucket").conditional_writes()
    assert caplog.records == []


async def test_a_wrong_secret_is_named_and_not_shown(strict_s3: S3Server) -> None:
    """The text says which credentials to check and holds none of them."""
    store = strict_s3.store(secret_access_key="very-secret-value")
    with failing(DestinationError, "SignatureDoesNotMatch") as caught:
        await store.put("k.json", b"x")
    assert caught.value.status_code == 403
    assert "very-secret-value" not in str(caught.value)


async def test_a_store_that_is_down_may_be_tried_again(s3: S3Server) -> None:
    """No connection is worth another try, and the endpoint is named."""
    store = s3.store(bucket="bucket", endpoint_url="http://127.0.0.1:9")
    with failing(DestinationError, "EndpointConnectionError") as caught:
        await store.get("k.json")
    assert caught.value.retryable
    assert "http://127.0.0.1:9 " in str(caught.value)


async def test_without_credentials_the_ways_to_give_them_are_named(s3: S3Server) -> None:
    """Nothing configured anywhere: the error lists where credentials may come from."""
    store = S3Store("bucket", endpoint_url=s3.endpoint_url, region="us-east-1")
    with failing(DestinationError, "NoCredentialsError") as caught:
        await store.get("k.json")
    assert "AWS_*" in str(caught.value)


class AnsweredError(Exception):
    """Shaped like botocore's `ClientError`."""

    def __init__(self, code: str, status: int) -> None:
        super().__init__(code)
        self.response: dict[str, dict[str, Any]] = {
            "Error": {"Code": code, "Message": "said"},
            "ResponseMetadata": {"HTTPStatusCode": status},
        }


@pytest.mark.parametrize(
    ("code", "status", "named", "retryable"),
    [
        ("AccessDenied", 403, "s3:GetObject", False),
        ("403", 403, "s3:ListBucket", False),
        ("SlowDown", 503, "", True),
        ("InternalError", 500, "", True),
        ("SomethingNew", 500, "", True),
        ("SomethingNew", 418, "", False),
        ("XAmzContentChecksumMismatch", 400, "request_checksum_calculation", False),
        ("SecondLevelDomainForbidden", 403, "addressing", False),
        ("InvalidPathAccess", 403, "addressing", False),
    ],
)
def test_codes_become_words(code: str, status: int, named: str, retryable: bool) -> None:
    """The setting or permission to look at, and whether a machine may try again."""
    error = explain(AnsweredError(code, status), "get_object", "s3://bucket/key", None)
    assert named in str(error)
    assert (error.retryable, error.status_code, error.reason) == (retryable, status, code)


@pytest.mark.parametrize(
    ("codes", "status"),
    [
        (("ExpiredToken", "SecurityTokenExpired"), 400),
        (("InvalidToken", "InvalidSecurityToken", "InvalidTokenId"), 400),
        (("KeyTooLongError",), 400),
        (("AuthorizationHeaderMalformed",), 400),
        (("RequestTimeTooSkewed",), 403),
        (("KMS.DisabledException",), 400),
        (("InvalidObjectState",), 403),
        (("NoSuchBucket",), 404),
        (("FileAlreadyExists", "ObjectAlreadyExists"), 409),
    ],
)
def test_a_known_code_says_more_than_its_status(codes: tuple[str, ...], status: int) -> None:
    """And the stores' names of one cause say the same."""

    def told(code: str) -> str:
        return str(explain(AnsweredError(code, status), "get_object", "s3://bucket/key", None)).replace(code, "CODE")

    said = {told(code) for code in codes}
    assert len(said) == 1
    assert told("Unheard") not in said


def test_a_store_that_says_nothing_is_quoted_with_nothing() -> None:
    """Ceph leaves the message of its errors empty."""
    error = AnsweredError("NoSuchBucket", 404)
    cast("Any", error.response["Error"])["Message"] = None
    assert "None" not in str(explain(error, "put_object", "s3://bucket/key", None))


def test_the_store_that_cannot_be_reached_is_named_as_the_environment_names_it() -> None:
    """`AWS_ENDPOINT_URL` and profiles name another than Amazon; keys of the request are not told."""
    url = "http://me:secret@minio:9000/bucket?list-type=2"
    said = str(explain(EndpointConnectionError(endpoint_url=url), "put_object", "s3://bucket/key", None))
    assert "http://minio:9000 cannot be reached" in said
    assert "secret" not in said


async def test_where_nothing_can_be_sent_nothing_is_said_to_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without credentials no probe was ever written; a warning of one sends people to look for it."""
    keys = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_PROFILE")
    for name in (*keys, "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    store = S3Store("bucket", region="us-east-1")  # Amazon's; without a key no request is made
    with failing(DestinationError, "NoCredentialsError"):
        await store.conditional_writes()
    assert [one for one in caplog.records if one.levelno >= logging.WARNING] == []


def test_a_404_in_no_words_of_s3_sends_one_to_the_endpoint() -> None:
    """Any web server answers so to a path that it does not know."""
    assert "endpoint" in str(explain(AnsweredError("404", 404), "put_object", "s3://bucket/key", None))


@pytest.mark.parametrize(
    ("code", "status", "named"),
    [
        ("InvalidRequest", 400, True),  # Ceph without TLS, to encryption
        ("InvalidArgument", 400, True),  # Ceph, to a storage class
        ("NotImplemented", 501, True),  # JuiceFS, to encryption
        ("InternalError", 500, True),  # SeaweedFS and LocalStack without a key service
        ("AccessDenied", 403, True),
        ("SlowDown", 503, False),
        ("NoSuchBucket", 404, False),
        ("PreconditionFailed", 412, False),
    ],
)
def test_what_a_refused_write_asked_for_is_named(code: str, status: int, named: bool) -> None:
    """As the fields of the destination, where the store's answer may mean one of them."""
    asked = {"ServerSideEncryption": "aws:kms", "StorageClass": "GLACIER_IR", "Tagging": "a=b", "Body": b"1"}
    said = str(explain(AnsweredError(code, status), "put_object", "s3://bucket/key", None, asked))
    for field in ("encryption=aws:kms", "storage_class=GLACIER_IR", "object_tags"):
        assert (field in said) is named


@pytest.mark.parametrize(("code", "status"), [("PreconditionFailed", 412), ("FileAlreadyExists", 409)])
def test_a_lost_condition_has_a_class_of_its_own(code: str, status: int) -> None:
    """Whatever the store calls it."""
    error = explain(AnsweredError(code, status), "put_object", "s3://bucket/key", None)
    assert isinstance(error, PreconditionFailedError)
    assert error.reason == code


@pytest.mark.parametrize(
    ("operation_name", "code", "said", "named"),
    [
        ("AssumeRole", "AccessDenied", "not authorized", "sts:AssumeRole"),
        ("AssumeRoleWithWebIdentity", "AccessDenied", "not authorized", "role_arn"),
        ("PutObject", "InvalidArgument", "aws-chunked encoding is not supported", "request_checksum_calculation"),
        ("PutObject", "AccessDenied", "Please use virtual hosted style", "addressing='virtual'"),
        ("PutObject", "InvalidAccessKeyId", "Failed to retrieve the actual key, kms-keyid: k", "kms_key_id"),  # Ceph
    ],
)
def test_the_cause_is_named_where_the_code_hides_it(operation_name: str, code: str, said: str, named: str) -> None:
    """A refusal of another service, or words in the store's message, say more than the code."""
    error = AnsweredError(code, 403)
    error.response["Error"]["Message"] = said
    cast("Any", error).operation_name = operation_name
    assert named in str(explain(error, "put_object", "s3://bucket/key", None))


def test_a_login_profile_without_the_runtime_names_the_package() -> None:
    """boto3's own text does not say what to install for which credentials."""
    error = MissingDependencyException(msg="missing")
    assert "botocore[crt]" in str(explain(error, "put_object", "s3://bucket/key", None))


# Settings


@pytest.mark.parametrize(
    ("field", "settings"),
    [
        ("bucket", {"bucket": ""}),
        ("bucket", {"bucket": "s3://bucket"}),
        ("bucket", {"bucket": "bucket/prefix"}),
        ("endpoint_url", {"endpoint_url": "minio:9000"}),
        ("access_key_id", {"access_key_id": "id-only"}),
        ("access_key_id", {"secret_access_key": "secret-only"}),
        ("sse_kms_key_id", {"sse_kms_key_id": "key", "sse": "AES256"}),
        ("part_size", {"part_size": MIB}),
        ("prefix", {"prefix": "a/../b"}),
    ],
)
def test_settings_that_cannot_be_right_are_refused(field: str, settings: dict[str, Any]) -> None:
    """Before any request, naming the setting; secrets are not repeated."""
    with pytest.raises(InvalidRequestError) as caught:
        S3Store(**cast("Any", {"bucket": "bucket", **settings}))
    assert [problem.field for problem in caught.value.problems] == [field]
    assert "secret-only" not in str(caught.value)


def test_uris_name_bucket_prefix_and_key() -> None:
    """The empty key stands for the store itself."""
    store = S3Store("bucket", "/videos/2026/")
    assert store.uri("a/b.mp4") == "s3://bucket/videos/2026/a/b.mp4"
    assert store.uri("") == "s3://bucket/videos/2026"
    assert (store.bucket, store.prefix, store.full_key("a.mp4")) == ("bucket", "videos/2026", "videos/2026/a.mp4")


async def test_encryption_and_storage_class_reach_the_store(s3: S3Server) -> None:
    """Videos have the class, in one PUT and in parts; everything is encrypted, records have the standard class."""
    store = s3.store(sse="AES256", storage_class="STANDARD_IA", part_size=5 * MIB)
    await store.put("k.json", b"x")
    for name, size in (("small.mp4", 3), ("large.mp4", 6 * MIB)):
        async with store.upload(name, content_type="video/mp4") as upload:
            await upload.write(b"x" * size)
            await upload.commit()
    for name, storage_class in (("k.json", None), ("small.mp4", "STANDARD_IA"), ("large.mp4", "STANDARD_IA")):
        head = s3.client.head_object(Bucket=store.bucket, Key=name)
        assert (head["ServerSideEncryption"], head.get("StorageClass")) == ("AES256", storage_class)


async def test_a_presigned_link_reads_without_keys(strict_s3: S3Server) -> None:
    """Also on a server that checks signatures."""
    store = strict_s3.store("videos")
    await store.put("a b.png", b"picture")
    link = await store.presign("a b.png", 60)
    async with httpx.AsyncClient() as client:
        answer = await client.get(link)
    assert (answer.status_code, answer.content) == (200, b"picture")
    assert strict_s3.secret_access_key not in link


async def test_a_ready_client_can_be_used(s3: S3Server) -> None:
    """As a saved block of another integration gives one."""
    store = S3Store.from_client(s3.client, s3.new_bucket(), "videos")
    await store.put("k.json", b"x")
    assert await store.conditional_writes() is True
    assert [info.key async for info in store.list("k")] == ["k.json"]


async def test_another_bucket_of_the_same_account(s3: S3Server) -> None:
    """It has the same settings and nothing of the prefix."""
    home = s3.store("videos")
    other = home.other_bucket(s3.new_bucket())
    await other.put("k.json", b"x")
    assert other.uri("k.json") == f"s3://{other.bucket}/k.json"
    assert await home.get("k.json") is None


async def test_folder_markers_of_consoles_are_not_listed(s3: S3Server) -> None:
    """An empty object that stands for a folder is nobody's video."""
    store = s3.store("videos")
    for key in ("videos/", "videos/2026/", "videos/2026/a.mp4", "videosque"):
        s3.client.put_object(Bucket=store.bucket, Key=key, Body=b"")
    assert [info.key async for info in store.list()] == ["2026/a.mp4"]


def test_one_store_serves_several_event_loops(s3: S3Server) -> None:
    """Prefect runs sync flows in threads with loops of their own; limits and clients must not tie a store to one."""
    store = s3.store()
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            anyio.run(store.put, f"k{number}", b"x")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


async def test_an_upload_whose_process_died_before_its_id_was_noted_is_swept(s3: S3Server) -> None:
    """It is noted before it is begun, so it is found by its object; a probe by its name; uploads of others stay."""
    store = s3.store("videos")
    ours, theirs = store.full_key("2026-11-27/v.mp4"), store.full_key("2026-11-27/v.mp4.part")
    for key in (ours, theirs):
        s3.client.create_multipart_upload(Bucket=store.bucket, Key=key)
    await store.put("_ledger/_uploads/1700000000-0.json", b'{"key": "2026-11-27/v.mp4"}')
    s3.client.create_multipart_upload(Bucket=store.bucket, Key=store.full_key(f"_ledger/.probe-{int(time.time())}-0"))
    assert await store.sweep() == 0
    assert await store.sweep(older_than=-1) == 2
    found = s3.client.list_multipart_uploads(Bucket=store.bucket).get("Uploads", [])
    assert [upload.get("Key") for upload in found] == [theirs]
    assert [info.key async for info in store.list("_ledger/")] == []


async def test_what_is_old_by_our_clock_alone_is_not_swept(s3: S3Server) -> None:
    """A machine whose clock is days ahead reconciles: uploads and probes that others have just begun go on."""
    store = s3.store("videos")
    async with store.upload("v.mp4", content_type="video/mp4") as upload:
        await upload.write(b"x" * (9 * 1024 * 1024))
        (note,) = [info.key async for info in store.list("_ledger/_uploads/")]
        told = await store.get(note)
        assert told is not None
        await store.put("_ledger/_uploads/1700000000-0.json", told[0])
        await store.put("_ledger/.probe-1700000000-0", b"1")
        assert await store.sweep() == 0
        assert len(s3.open_uploads(store.bucket)) == 1
        await upload.commit()


TELLING = """
import asyncio, logging, sys
logging.basicConfig(level=logging.DEBUG, stream=sys.stdout)
from prefect_genvideo.storage import S3Store
store = S3Store(sys.argv[1], endpoint_url=sys.argv[2], access_key_id="AKID", secret_access_key="hidden0123456789")
async def both():
    await asyncio.gather(*(store.put(f"{n}", b"x", if_absent=True) for n in range(8)))
    logging.getLogger("botocore.endpoint").debug("told outside of a request")
asyncio.run(both())
"""


def test_the_first_requests_of_a_process_tell_no_signature_either(s3: S3Server) -> None:
    """The client library, and with it its loggers, comes with the first request; several threads make one at once."""
    command = [sys.executable, "-c", TELLING, s3.new_bucket(), s3.endpoint_url]
    done = subprocess.run(command, env=child_env(), capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "told outside of a request" in done.stdout
    assert leaks({"log": done.stdout.encode() + done.stderr.encode()}, ["hidden0123456789"]) == []
