"""Links to references that a provider could never fetch are refused before a create is paid."""

from __future__ import annotations

from pathlib import Path

import pytest

from prefect_genvideo.errors import InvalidRequestError
from prefect_genvideo.media.inspect import MediaInfo
from prefect_genvideo.models import VideoRequest
from prefect_genvideo.pipeline.assets import ReferenceAssets, make_fetchable
from prefect_genvideo.providers import ArkClient, SenseAudioClient, SudashuiClient
from prefect_genvideo.storage import LocalStore, S3Store


async def upload(source: str) -> str:
    raise AssertionError(f"SenseAudio takes no uploads: {source}")


@pytest.mark.parametrize("endpoint", ["http://10.0.0.5:9000", "http://minio:9000", "http://127.0.0.1:9000"])
async def test_a_link_to_a_private_store_is_refused(endpoint: str, tmp_path: Path) -> None:
    """The provider is out on the internet; the error names field and host."""
    path = tmp_path / "dance.mp4"
    path.write_bytes(b"a video")
    info = MediaInfo("video", "video/mp4", 7, sha256="0" * 64)
    request = VideoRequest(model="seedance-2", prompt="a cat", videos=(str(path),))
    references = ReferenceAssets({"videos[0]": path}, {"videos[0]": info}, {})
    store = S3Store("my-videos", endpoint_url=endpoint, access_key_id="a", secret_access_key="b", addressing="path")
    async with SenseAudioClient("sk-test") as client:
        with pytest.raises(InvalidRequestError) as caught:
            await make_fetchable(client, store, request, references, upload)
    assert [problem.field for problem in caught.value.problems] == ["videos[0]"]


@pytest.mark.parametrize(
    "link", ["https://[", "https://\u2100.invalid/proxy/1/1-a.png", "https://e.com/proxy/1/1-a.png", ""]
)
async def test_what_is_no_link_of_ours_has_no_identity(link: str) -> None:
    """Whatever text stands where a link should: the rules refuse it later, and name its field."""
    async with SudashuiClient("sk-test") as client:
        assert client.link_identity(link) is None


async def test_what_a_provider_takes_inside_a_request_needs_no_store(tmp_path: Path) -> None:
    """Ark takes sounds as they are, and ids of its own library; a store is asked for what it must fetch."""
    path = tmp_path / "voice.wav"
    path.write_bytes(b"a sound")
    info = MediaInfo("audio", "audio/wav", 7, sha256="0" * 64)
    asset = "asset://asset-20261101120000-aaaaa"
    request = VideoRequest(model="m", prompt="a cat", images=(asset,), audios=(str(path),))
    references = ReferenceAssets({"audios[0]": path}, {"audios[0]": info}, {})
    store = LocalStore(tmp_path / "videos")
    async with ArkClient("sk-test") as client:
        assert await make_fetchable(client, store, request, references, upload) == request
    async with SenseAudioClient("sk-test") as client:
        with pytest.raises(InvalidRequestError) as caught:
            await make_fetchable(client, store, request, references, upload)
    assert [problem.field for problem in caught.value.problems] == ["audios[0]"]
