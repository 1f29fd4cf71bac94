"""Block documents: what is missing is told at once, saving is idempotent, and no secret is ever shown."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from prefect import get_client
from pydantic import SecretStr

from blocks.production import Production, documents
from prefect_genvideo import ArkCredentials, SudashuiCredentials, VideoJob
from prefect_genvideo.deployments import Document, EnvironmentProblem, main, read_values, save_documents
from prefect_genvideo.providers import ArkClient
from tests.fixtures.prefect import PrefectServer

SECRET = "sk-never-to-be-shown"
GIVEN = {"SUDASHUI_API_KEY": SECRET, "GENVIDEO_BUCKET": "films", "GENVIDEO_S3_SECRET_ACCESS_KEY": "s3-hidden"}


def renamed(found: list[Document], name: str) -> list[Document]:
    """The documents under a name of the test's own; the session's server is shared."""
    return [Document(name, document.block) for document in found]


def test_everything_that_is_missing_is_told_at_once_and_with_its_meaning() -> None:
    """An empty variable counts as missing: that is what an unset secret looks like in most deployment tools."""
    with pytest.raises(EnvironmentProblem) as caught:
        read_values(Production, {"SUDASHUI_API_KEY": ""})
    assert "SUDASHUI_API_KEY is not set: API key from Sudashui's console." in str(caught.value)
    assert "GENVIDEO_BUCKET is not set: Bucket that takes the videos." in str(caught.value)


def test_values_are_read_with_their_defaults_and_what_is_optional_is_left_out() -> None:
    """Without a SenseAudio key there is no SenseAudio document."""
    found = documents(read_values(Production, GIVEN))
    assert [document.slug for document in found] == [
        "sudashui-credentials/production",
        "s3-video-destination/production",
        "video-job/product-teaser",
    ]
    more = documents(read_values(Production, {**GIVEN, "SENSEAUDIO_API_KEY": "sk-other"}))
    assert more[-1].slug == "senseaudio-credentials/production"


def test_the_address_of_ark_is_volcengines_unless_another_is_given() -> None:
    """BytePlus sells the same API at another address."""
    (volcengine,) = documents(read_values(Production, {**GIVEN, "ARK_API_KEY": "ark-key"}))[3:]
    address = "https://ark.ap-southeast.bytepluses.com/api/v3"
    (byteplus,) = documents(read_values(Production, {**GIVEN, "ARK_API_KEY": "ark-key", "ARK_BASE_URL": address}))[3:]
    assert (volcengine.slug, byteplus.slug) == ("ark-credentials/production",) * 2
    assert isinstance(volcengine.block, ArkCredentials)
    assert isinstance(byteplus.block, ArkCredentials)
    assert (volcengine.block.base_url, byteplus.block.base_url) == (ArkClient.default_base_url, address)


def test_a_value_that_a_block_refuses_is_named_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pydantic's own message would repeat the key."""
    monkeypatch.setenv("SUDASHUI_API_KEY", "sk with a space that is secret")
    monkeypatch.setenv("GENVIDEO_BUCKET", "films")
    with pytest.raises(SystemExit) as caught:
        main(Production, documents, [])
    told = f"{caught.value}{capsys.readouterr()}"
    assert "SudashuiCredentials.api_key" in told
    assert "that is secret" not in told


@pytest.mark.parametrize(("words", "status"), [(["--help"], 0), (["-h"], 0), (["production"], 2)])
def test_asking_for_help_saves_nothing(
    words: list[str], status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The variables are listed, and what they hold is not."""
    for name, value in GIVEN.items():
        monkeypatch.setenv(name, value)

    def unexpected(values: Production) -> list[Document]:
        raise AssertionError(f"{values} were read")

    with pytest.raises(SystemExit) as ended:
        main(Production, unexpected, words)
    assert ended.value.code == status
    printed = capsys.readouterr()
    assert SECRET not in printed.out + printed.err
    if status == 0:
        assert {name.upper() for name in Production.model_fields} <= set(printed.out.split())


@pytest.mark.prefect
async def test_saving_again_keeps_and_a_new_secret_is_a_change_that_names_only_its_field(
    prefect_server: PrefectServer,
) -> None:
    """Created, kept, changed: told by fingerprints, so that nothing needs to be shown to be compared."""
    name = f"test-{uuid4().hex[:8]}"
    values = read_values(Production, GIVEN)
    first = await save_documents(renamed(documents(values), name))
    assert [saved.outcome for saved in first] == ["created"] * 3
    second = await save_documents(renamed(documents(values), name))
    assert [saved.outcome for saved in second] == ["kept"] * 3
    rotated = values.model_copy(update={"sudashui_api_key": SecretStr("sk-rotated"), "genvideo_prefix": "new"})
    third = await save_documents(renamed(documents(rotated), name))
    assert [str(saved) for saved in third] == [
        f"changed  sudashui-credentials/{name} (api_key)",
        f"changed  s3-video-destination/{name} (prefix)",
        f"kept     video-job/{name}",
    ]
    assert SECRET not in repr([first, second, third])

    stored = await SudashuiCredentials.aload(name)
    assert stored.api_key.get_secret_value() == "sk-rotated"
    job = await VideoJob.aload(name)
    assert job.credentials.api_key.get_secret_value() == "sk-rotated", "the preset refers to the document"


@pytest.mark.prefect
async def test_the_server_shows_no_secret_of_a_saved_document(prefect_server: PrefectServer) -> None:
    """Neither the credentials' own document nor the preset that holds them."""
    name = f"test-{uuid4().hex[:8]}"
    await save_documents(renamed(documents(read_values(Production, GIVEN)), name))
    async with get_client() as client:
        for slug in ("sudashui-credentials", "s3-video-destination", "video-job"):
            shown: Any = await client.read_block_document_by_name(name, slug, include_secrets=False)
            assert SECRET not in str(shown.data)
            assert "s3-hidden" not in str(shown.data)


def test_no_file_of_ours_hides_an_installed_module() -> None:
    """Prefect puts a flow's folder on the path: `flows/json.py` would be imported instead of `json`."""
    root = Path(__file__).resolve().parents[2]
    installed = {path.stem for entry in sys.path if "site-packages" in entry for path in Path(entry).iterdir()}
    for file in [*root.glob("flows/*.py"), *root.glob("blocks/*.py")]:
        assert file.stem not in installed | set(sys.stdlib_module_names)
