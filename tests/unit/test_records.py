"""Records are named so that a person finds them, moved as one table says, and hold nothing secret."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from datetime import datetime, timezone
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from prefect_genvideo.errors import InvalidRequestError
from prefect_genvideo.ledger.record import (
    MOVES,
    SETTLED,
    LedgerRecord,
    LedgerState,
    check_key,
    file_name,
    holder_is_gone,
    shown,
)
from prefect_genvideo.models import StoredVideo
from prefect_genvideo.storage.keys import clean_key
from tests.fixtures.money import draft

PLAIN = re.compile(r"[A-Za-z0-9._~-]+\.json")


@pytest.mark.parametrize("key", ["slot-2026-11-22", "a", "run-1f.x_2", "9" * 120])
def test_a_plain_key_is_its_own_file_name(key: str) -> None:
    """What a person types is what a person finds in the bucket."""
    assert file_name(key) == f"{key}.json"


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300))
def test_every_key_has_a_harmless_file_name(key: str) -> None:
    """Slashes, dots, spaces, emoji: nothing leaves the ledger's folder, and every store accepts the name."""
    name = file_name(key)
    assert PLAIN.fullmatch(name)
    assert clean_key(f"_ledger/{name}") == f"_ledger/{name}"


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20), min_size=2, unique=True))
def test_different_keys_have_different_files(keys: list[str]) -> None:
    """Two keys that are alike once they are cleaned still have records of their own."""
    assert len({file_name(key) for key in keys}) == len(keys)


@pytest.mark.parametrize("key", ["", "  ", "a\nb", "a\x00", "a\u2028b", "gpj\u202eexe", "x" * 301])
def test_keys_that_nobody_can_type_are_refused(key: str) -> None:
    """Before anything is sent; the field is named."""
    with pytest.raises(InvalidRequestError) as refusal:
        check_key(key)
    assert refusal.value.problems[0].field == "idempotency_key"


@pytest.mark.parametrize("key", ["Grüße 42", "a/b:c", "👩‍🚀", "سلام\u200f", "x" * 300])
def test_any_printable_key_is_accepted(key: str) -> None:
    """An event's id may look like anything."""
    check_key(key)


def test_every_state_is_in_the_table_and_can_be_left_or_is_an_end() -> None:
    """Only a saved video is final for good; a person can free or adopt everything else."""
    assert set(MOVES) == set(get_args(LedgerState))
    assert {state for state, following in MOVES.items() if not following} == {"saved"}
    assert all("rejected" in MOVES[state] for state in ("intent", "unknown", "failed", "submitted"))


def test_no_state_leads_back_to_an_intent_but_a_free_one() -> None:
    """An intent is what allows a create: it is reached from nothing and from `rejected` only."""
    assert [state for state, following in MOVES.items() if "intent" in following] == ["rejected"]
    assert frozenset({"saved", "failed", "rejected"}) == SETTLED


def test_a_record_survives_the_store() -> None:
    """Written as indented JSON for people, read back equal."""
    now = datetime.now(timezone.utc)
    video = StoredVideo(
        uri="s3://b/v.mp4", key="v.mp4", size=3, sha256="0" * 64, manifest_uri="s3://b/v.json", task_id="t",
        provider="sudashui", model="m",
    )  # fmt: skip
    record = draft(task_id="t", state="saved", stored=video, submitted_at=now, cost=1.5, request={"prompt": "猫"})
    data = record.to_bytes()
    assert LedgerRecord.model_validate_json(data) == record
    assert data.startswith(b'{\n  "version": 1,\n  "key": "k",')
    assert data.endswith(b"}\n")


def test_an_unknown_cost_is_left_out_and_never_zero() -> None:
    """0 would say that it was free."""
    assert draft().cost is None
    assert b"cost" not in draft().to_bytes()


def test_this_process_is_not_gone() -> None:
    """A claim by a living process on this host is never taken for a crashed one."""
    assert not holder_is_gone(draft())
    assert draft().holder == f"{socket.gethostname()}:{os.getpid()}"


def test_a_process_that_has_ended_is_gone() -> None:
    """Its pid is known on this host, so nobody has to wait."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    assert holder_is_gone(draft(holder=f"{socket.gethostname()}:{process.pid}"))


def test_a_process_of_another_container_is_not_gone() -> None:
    """Containers with the host's network have its name, and process ids of their own: ours say nothing of theirs."""
    assert not holder_is_gone(draft(holder=f"{socket.gethostname()}:{2**22 + 1}", machine="another"))
    assert holder_is_gone(draft(holder=f"{socket.gethostname()}:{2**22 + 1}", machine=None))


@pytest.mark.parametrize("holder", ["another-host:1", f"{socket.gethostname()}:x", socket.gethostname(), "", ":"])
def test_a_process_that_cannot_be_looked_up_is_not_gone(holder: str) -> None:
    """Another machine's processes are invisible: only time can tell."""
    assert not holder_is_gone(draft(holder=holder))


def test_a_shown_request_holds_no_signatures_and_no_files() -> None:
    """Ledger and manifests are read by many; links in them must not open anything."""
    data_url = "data:image/png;base64," + "iVBORw0KGgo" * 10
    request = {
        "images": ["https://files.example.com/a.png?expires=1&sig=secret", data_url],
        "options": {"deep": [{"key": "sk-secret123"}], "n": 4, "b": True, "none": None},
    }
    text = str(shown(request))
    assert "secret" not in text
    assert "iVBORw0KGgo" not in text
    assert shown(request)["options"] == {"deep": [{"key": "sk-***"}], "n": 4, "b": True, "none": None}


def test_a_record_of_a_newer_release_is_refused_by_its_version() -> None:
    """Its states may mean something else; a guess could pay twice."""
    newer = draft().model_dump(mode="json") | {"version": 2}
    with pytest.raises(ValidationError) as refused:
        LedgerRecord.model_validate(newer)
    assert [fault["loc"] for fault in refused.value.errors()] == [("version",)]


def test_a_rewrite_keeps_what_a_newer_release_has_added() -> None:
    """A mixed fleet during an upgrade loses nothing."""
    read = LedgerRecord.model_validate(draft().model_dump(mode="json") | {"invoice": {"id": 7}})
    moved = LedgerRecord.model_validate(read.model_dump() | {"state": "submitted", "task_id": "t"})
    assert LedgerRecord.model_validate_json(moved.to_bytes()).model_dump()["invoice"] == {"id": 7}
