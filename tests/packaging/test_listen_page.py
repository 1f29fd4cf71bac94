"""The event door's page: its tables are what the code does, its configuration is read."""

from __future__ import annotations

from pathlib import Path

import pytest

from prefect_genvideo.listen import SHAPES, ListenConfig, read_config
from prefect_genvideo.listen.config import variable
from tests.packaging.markdown import Fence, fences, table
from tests.packaging.sources import ROOT

PAGE = ROOT / "docs" / "listen.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_the_shapes_are_all_there() -> None:
    """In the order of the code."""
    rows = [list(row.values()) for row in table(TEXT, "shapes")]
    assert rows == [[f"`{name}`", shape.about, f"`{shape.auth}`", f"`{shape.event}`"] for name, shape in SHAPES.items()]


def test_the_bounds_are_all_there() -> None:
    """With their defaults."""
    rows = [list(row.values()) for row in table(TEXT, "bounds")]
    assert rows == [
        [
            f"`{name}`",
            f"{field.default:,}",
            (field.description or "").removesuffix(".")[0].lower() + (field.description or "")[1:-1],
        ]
        for name, field in ListenConfig.model_fields.items()
        if name != "sources"
    ]


@pytest.mark.parametrize("fence", fences(PAGE, "yaml"), ids=str)
def test_the_configuration_is_read(fence: Fence, tmp_path: Path) -> None:
    """With a secret for each sender."""
    file = tmp_path / "listen.yaml"
    file.write_text(fence.text, encoding="utf-8")
    _, sources = read_config(file, {variable(name): "a-secret-of-a-test" for name in ("shop", "photos")})
    assert set(sources) == {"shop", "photos"}
