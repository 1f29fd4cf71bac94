"""What `--to` and `--at` make of what was typed."""

from __future__ import annotations

from typing import Any

import pytest

from prefect_genvideo import S3Destination
from prefect_genvideo.cli.targets import destination_from
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
