"""The form that people fill in to run `generate_video`, which Prefect draws from the parameters' schema."""

from __future__ import annotations

from typing import Any

import pytest
from prefect.blocks.core import Block
from prefect.utilities.callables import parameter_schema

from prefect_genvideo import LocalDestination, S3Destination, generate_video, generate_videos, reconcile_videos
from prefect_genvideo.flows import plan_videos

REQUIRED = ["prompt", "model", "credentials", "destination"]
CHOICES = ["duration", "aspect_ratio", "resolution", "images", "videos", "audios", "first_frame", "last_frame"]
ORDER = [*REQUIRED, *CHOICES, "options", "idempotency_key", "reuse_hours", "timeout"]


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    """As the server keeps it."""
    return parameter_schema(generate_video).model_dump()


def test_fields_come_in_the_order_people_think(schema: dict[str, Any]) -> None:
    """What is shown, who pays, where it goes; then the attempts; then what only experts need."""
    fields = schema["properties"]
    assert sorted(fields, key=lambda name: fields[name]["position"])[: len(ORDER)] == ORDER
    assert schema["required"] == REQUIRED


@pytest.mark.parametrize("run", [generate_video, reconcile_videos])
def test_every_field_is_described(run: Any) -> None:
    """A sentence for each, in words that need no look at the code."""
    for name, field in parameter_schema(run).model_dump()["properties"].items():
        assert len(str(field.get("description", ""))) > 10, name
        assert field["description"].rstrip().endswith("."), name


def test_choices_are_selects(schema: dict[str, Any]) -> None:
    """Ratios and resolutions are picked, not typed."""
    assert schema["properties"]["aspect_ratio"]["enum"][0] == schema["properties"]["aspect_ratio"]["default"] == "16:9"
    assert schema["properties"]["resolution"]["enum"] == ["default", "480p", "720p", "1080p", "4k"]


def test_blocks_are_picked_or_named(schema: dict[str, Any]) -> None:
    """A picker with Add for each kind of block, and a tab for the name of any other."""
    for field, slugs in {
        "credentials": ["sudashui-credentials", "senseaudio-credentials", "ark-credentials"],
        "destination": ["s3-video-destination", "local-video-destination"],
    }.items():
        *pickers, name = schema["properties"][field]["anyOf"]
        definitions = [schema["definitions"][picker["$ref"].rpartition("/")[2]] for picker in pickers]
        assert [definition["block_type_slug"] for definition in definitions] == slugs
        assert (name["type"], name["title"]) == ("string", "Name of a saved block")


def test_no_other_field_needs_a_choice_of_types(schema: dict[str, Any]) -> None:
    """Optionals and unions become tabs; empty values stand for "not given" instead."""
    for name in set(ORDER) - {"credentials", "destination"}:
        assert "anyOf" not in schema["properties"][name], name
        assert schema["properties"][name]["type"] in ("string", "number", "array", "object"), name


@pytest.mark.parametrize("batch", [generate_videos, plan_videos])
def test_a_batch_is_a_manifest_or_a_list_in_words(batch: Any) -> None:
    """A tab without a title is called `str`."""
    choices = parameter_schema(batch).model_dump()["properties"]["requests"]["anyOf"]
    assert [choice["title"] for choice in choices] == ["Manifest", "List of requests"]


def test_secrets_are_secret_in_forms(schema: dict[str, Any]) -> None:
    """A key typed into the Add dialog is drawn as a password."""
    assert schema["definitions"]["SudashuiCredentials"]["properties"]["api_key"]["format"] == "password"
    assert schema["definitions"]["S3Destination"]["properties"]["secret_access_key"]["format"] == "password"


@pytest.mark.parametrize(("block", "first"), [(S3Destination, "bucket"), (LocalDestination, "path")])
def test_forms_ask_for_the_place_first(block: type[Block], first: str) -> None:
    """The bucket or folder comes first, then the ledger, then how videos are named, shown and opened."""
    fields = block.model_json_schema()["properties"]
    order = sorted(fields, key=lambda name: fields[name]["position"])
    shared = order[order.index("ledger") :]
    assert (order[0], shared[:4]) == (first, ["ledger", "key_template", "ledger_mode", "covers"])
    assert set(shared[4:]) <= {"link_template", "link", "link_hours"}


def test_a_budget_s_caps_are_fields_of_one_type_each() -> None:
    """Numbers, texts, a choice, and names with amounts; nothing that the form can only take as free JSON."""
    fields = parameter_schema(generate_videos).model_dump()["definitions"]["Budget"]["properties"]
    assert not [name for name, field in fields.items() if "anyOf" in field or "description" not in field]
    for name in ("tag_month_money", "cost_center_month_money"):
        assert (fields[name]["type"], fields[name]["additionalProperties"]) == ("object", {"type": "string"})
