"""What a command line makes of what was typed: `--to` and `--at`, and whose account a model is of."""

from __future__ import annotations

from typing import Any

import pytest

from prefect_genvideo import S3Destination
from prefect_genvideo.cli.targets import destination_from, provider_of
from prefect_genvideo.errors import InvalidRequestError


@pytest.mark.parametrize(
    ("typed", "fields"),
    [
        ("s3://my-videos/clips/", {"bucket": "my-videos", "prefix": "clips", "ledger_mode": "strict"}),
        ("S3://my-videos", {"bucket": "my-videos", "prefix": ""}),
        ("s3://my-videos/a?ledger_mode=create-only", {"prefix": "a", "ledger_mode": "create-only"}),
        ("s3://my-videos/a?addressing=virtual&ledger_mode=weak", {"addressing": "virtual", "ledger_mode": "weak"}),
        ("s3://my-videos/what?", {"prefix": "what?"}),
        ("s3://my-videos/a?secret_access_key=x", {"prefix": "a?secret_access_key=x"}),
    ],
)
def test_a_bucket_is_named_with_its_fields(typed: str, fields: dict[str, Any]) -> None:
    """Fields of the destination follow the URI; anything else behind a question mark is a name."""
    place = destination_from(typed)
    assert isinstance(place, S3Destination)
    assert {name: getattr(place, name) for name in fields} == fields


@pytest.mark.parametrize("typed", ["s3://", "s3:///clips", "s3://a b/clips", "file://", "file://[/clips"])
def test_a_uri_that_names_no_place_is_no_destination(typed: str) -> None:
    """One error that says how it is written."""
    with pytest.raises(InvalidRequestError) as caught:
        destination_from(typed)
    assert [problem.field for problem in caught.value.problems] == ["uri"]


SHARED = "doubao-seedance-2-0-260128"
"""A model that two providers document."""


@pytest.mark.parametrize(
    ("keys", "block", "provider"),
    [
        ({"SENSEAUDIO_API_KEY"}, None, "senseaudio"),
        ({"ARK_API_KEY", "SUDASHUI_API_KEY"}, None, "ark"),
        ({"SENSEAUDIO_API_KEY"}, "ark-credentials/production", "ark"),
        (set[str](), "senseaudio-credentials/production", "senseaudio"),
    ],
)
def test_a_model_of_two_providers_is_of_the_one_whose_account_is_at_hand(
    keys: set[str], block: str | None, provider: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block that is named says it before the environment does."""
    for name in ("SENSEAUDIO_API_KEY", "ARK_API_KEY", "SUDASHUI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name in keys:
        monkeypatch.setenv(name, "sk-1")
    assert provider_of(SHARED, block) == provider


@pytest.mark.parametrize("keys", [set[str](), {"SENSEAUDIO_API_KEY", "ARK_API_KEY"}])
def test_who_is_to_be_paid_is_never_guessed(keys: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """No key, or both: the caller says which provider is meant."""
    for name in ("SENSEAUDIO_API_KEY", "ARK_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    for name in keys:
        monkeypatch.setenv(name, "sk-1")
    with pytest.raises(InvalidRequestError) as caught:
        provider_of(SHARED)
    (problem,) = caught.value.problems
    assert problem.field == "model"
    assert problem.limit.endswith("ark, senseaudio")


def test_a_model_that_nobody_documents_is_not_taken_for_a_matter_of_providers() -> None:
    """The likelier mistake is the name."""
    with pytest.raises(InvalidRequestError) as caught:
        provider_of("sd-2-fast-720")
    (problem,) = caught.value.problems
    assert "sd-2-fast-720p?" in problem.limit
