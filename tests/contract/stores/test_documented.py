"""The table of stores in the documentation says what the personas have shown."""

from __future__ import annotations

import pytest

from tests.contract.stores.personas import PERSONAS
from tests.contract.stores.test_ledger_modes import CREATE_ONLY
from tests.contract.stores.test_personas import STRICT, UNGUARDED
from tests.packaging.markdown import codes, table
from tests.packaging.sources import ROOT

PAGE = (ROOT / "docs" / "stores.md").read_text(encoding="utf-8")
NAMED = {name: row for row in table(PAGE, "stores") for name in codes(row["tried with"])}


@pytest.mark.parametrize("name", sorted(NAMED))
def test_the_mode_is_the_one_that_was_shown(name: str) -> None:
    """Strict where a video was made in strict mode; else create-only where that was; else the ledger lies elsewhere."""
    assert name in PERSONAS
    mode, row = NAMED[name]["ledger"], NAMED[name]
    if name in STRICT:
        assert mode == "`strict`"
    elif name in CREATE_ONLY:
        assert mode == "`create-only`"
    else:
        assert name in UNGUARDED
        assert mode == "a ledger elsewhere"
    if PERSONAS[name].path_refusal:
        assert row["addressing"].startswith("virtual")
