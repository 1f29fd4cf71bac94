"""`genvideo ledger …` as people and scripts use it."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import anyio
import httpx
import pytest

from prefect_genvideo.cli import console
from prefect_genvideo.cli.app import app
from prefect_genvideo.ledger.record import LedgerRecord, LedgerState
from prefect_genvideo.ledger.store import Entry, Ledger
from prefect_genvideo.models import StoredVideo
from prefect_genvideo.prices.facts import MoneyFacts
from prefect_genvideo.providers import ArkClient, SudashuiClient
from prefect_genvideo.simulator import Simulator
from prefect_genvideo.storage import LocalStore
from tests.fixtures.accounts import REQUESTS
from tests.fixtures.money import REQUEST, draft
from tests.fixtures.prefect import PrefectServer, child_env
from tests.fixtures.s3 import S3Server

TWO_WAYS = (("--everything",), ("--state", "failed"))
LONG_KEY = "run-5e0f2f0e-1111-2222-3333-444455556666-abcdef01-0"
LONG_TASK = "task_abcdefghijklmnopqrstuvwxyz012345"


class Shell:
    """The command line on one folder."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capsys = folder, capsys
        self.ledger = Ledger(LocalStore(folder))
        self.err = ""
        self.status: object = 0

    def __call__(self, *words: str, at: str | None = None) -> str:
        """Run `genvideo ledger <words> --at <folder>` and return what it prints."""
        self.status = 0
        self._capsys.readouterr()
        try:
            app(["ledger", *words, "--at", at or str(self.folder)], result_action="return_value", exit_on_error=False)
        except SystemExit as ended:
            self.status = ended.code
        printed = self._capsys.readouterr()
        self.err = printed.err
        return printed.out

    def write(self, key: str, state: LedgerState = "intent", **facts: Any) -> LedgerRecord:
        """Put a record there, as a run would have left it."""

        async def work() -> LedgerRecord:
            path: dict[LedgerState, tuple[LedgerState, ...]] = {
                "intent": (),
                "failed": ("submitted", "failed"),
                "saved": ("submitted", "succeeded", "saved"),
            }
            entry = await self.ledger.claim(draft(key))
            assert entry is not None
            for step in path.get(state, (state,)):
                given: dict[str, Any] = {"task_id": "t"} if step == "submitted" else {}
                entry = await self.ledger.move(entry, step, **given | (facts if step == state else {}))
            return entry.record

        return anyio.run(work)

    def state(self, key: str) -> str:
        async def work() -> Entry:
            return await self.ledger.existing(key)

        return anyio.run(work).record.state


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    """A command line on an empty folder."""
    return Shell(tmp_path / "videos", capsys)


def test_a_place_without_a_ledger_is_an_error(shell: Shell) -> None:
    """A misspelt place would look like one where nothing is wrong."""
    for words in (("list",), ("list", "--json"), ("show", "a"), ("adopt", "a", "t"), ("release", "a")):
        assert (shell(*words), shell.status) == ("", 1)
        assert shell.folder.as_uri() in shell.err
    assert not shell.folder.exists()


def test_a_ledger_without_unfinished_records_is_no_error(shell: Shell) -> None:
    """And says so to people, not to programs."""
    shell.write("a", "failed", reason="moderation")
    assert len(shell("list").splitlines()) == 1
    assert (shell("list", "--json"), shell("list", "--quiet"), shell.status, shell.err) == ("", "", 0, "")


def test_unfinished_records_are_listed_with_what_people_ask_for(shell: Shell) -> None:
    """Key, state in words, prompt, model, task, age, cost and why, within 80 columns; unknown costs are unknown."""
    shell.write("a", "submitted", task_id="task_9", request={"prompt": "a cat"})
    shell.write("b", "unknown", reason="connection lost")
    shell.write("c", "failed", reason="moderation")
    printed = shell("list")
    *cards, counts = re.split(r"\n(?! )", printed.rstrip("\n"))
    first, second = (card.split("\n  ") for card in sorted(cards))
    assert [card[0].split()[:2] for card in (first, second)] == [["a", "submitted:"], ["b", "unknown:"]]
    assert first[1] == "a cat"
    assert "sd-2-720p" in first[2]
    assert "cost unknown" in first[2]
    assert first[3:] == ["task task_9"]
    assert second[-1] == "connection lost"
    assert max(map(len, printed.splitlines())) <= 80
    assert counts == "1 submitted, 1 unknown"


def test_a_saved_video_whose_cost_may_still_change_is_no_unfinished_one(shell: Shell) -> None:
    """Reconciling looks at it again; a person has nothing to do."""
    shell.write("a", "saved", money=MoneyFacts(reads=1), finished_at=datetime.now(timezone.utc))
    assert len(shell("list").splitlines()) == 1
    assert shell("list", "--json") == ""
    assert len(shell("list", "--json", "--everything").splitlines()) == 1


def test_finished_records_are_listed_on_request(shell: Shell) -> None:
    """Everything, or one state."""
    shell.write("a", "submitted")
    shell.write("b", "failed", reason="moderation")
    keys = {words: [line[0] for line in shell("list", *words).splitlines() if line[0] in "ab"] for words in TWO_WAYS}
    assert list(keys.values()) == [["a", "b"], ["b"]]


def test_json_is_one_record_a_line(shell: Shell) -> None:
    """For scripts: nothing wrapped, nothing cut, every value as it is in the record."""
    keys = [LONG_KEY, "slot:100:x", "[bold]:cat:[/x]"]
    for key in keys:
        shell.write(key, "submitted", task_id=LONG_TASK, reason="[/nothing] " + "x" * 300)
    records = [LedgerRecord.model_validate_json(line) for line in shell("list", "--json").splitlines()]
    assert sorted(record.key for record in records) == sorted(keys)
    assert {record.reason for record in records} == {"[/nothing] " + "x" * 300}


def test_keys_and_task_ids_are_never_cut_in_a_table(shell: Shell) -> None:
    """They are there to be copied, in a terminal of 80 columns and in a pipe."""
    for key in (LONG_KEY, "slot:100:x", "[bold]:cat:[/x]"):
        shell.write(key, "submitted", task_id=LONG_TASK)
    printed = shell("list")
    assert printed.count(LONG_TASK) == 3
    assert all(key in printed for key in (LONG_KEY, "slot:100:x", "[bold]:cat:[/x]"))


def test_a_record_that_cannot_be_read_is_reported_beside_the_others(shell: Shell) -> None:
    """On standard error; the list goes on."""
    shell.write("a", "submitted")
    (shell.folder / "_ledger" / "b.json").write_bytes(b"{")
    assert "a" in shell("list", "--everything")
    assert "_ledger/b.json" in shell.err


def test_one_record_is_shown_as_json(shell: Shell) -> None:
    """All that is known of it."""
    video = StoredVideo(
        uri="file:///v.mp4", key="v.mp4", size=1, sha256="0" * 64, manifest_uri="file:///v.json", task_id="t",
        provider="sudashui", model="m",
    )  # fmt: skip
    record = shell.write("a", "saved", stored=video)
    assert LedgerRecord.model_validate(json.loads(shell("show", "a"))) == record


def test_a_key_that_is_not_there_is_one_readable_line(shell: Shell) -> None:
    """Exit code 1, no traceback."""
    shell.write("another", "submitted")
    for words in (("show", "nope"), ("adopt", "nope", "t"), ("release", "nope")):
        assert shell(*words) == ""
        assert shell.status == 1
        assert "'nope'" in shell.err
        assert len(shell.err.splitlines()) == 1


def test_a_task_is_adopted(shell: Shell) -> None:
    """And the next step is named."""
    shell.write("a[1]", "unknown", reason="connection lost")
    assert "`genvideo ledger reconcile`" in shell("adopt", "a[1]", "task_9")
    assert json.loads(shell("show", "a[1]"))["task_id"] == "task_9"
    assert shell.state("a[1]") == "submitted"


def test_adopting_over_a_paid_task_needs_force(shell: Shell) -> None:
    """The refusal names it."""
    shell.write("a", "submitted", task_id="task_1")
    shell("adopt", "a", "task_2")
    assert (shell.status, shell.state("a")) == (1, "submitted")
    assert "task_1" in shell.err
    shell("adopt", "a", "task_2", "--force")
    assert json.loads(shell("show", "a"))["task_id"] == "task_2"


def test_a_key_is_released(shell: Shell) -> None:
    """With a word about what it will cost."""
    shell.write("a", "unknown", reason="connection lost")
    assert "pays" in shell("release", "a")
    assert shell.state("a") == "rejected"


def test_releasing_a_paid_task_needs_force(shell: Shell) -> None:
    """It would be given up."""
    shell.write("a", "submitted", task_id="task_1")
    shell("release", "a")
    assert (shell.status, shell.state("a")) == (1, "submitted")
    shell("release", "a", "--force")
    assert (shell.status, shell.state("a")) == (0, "rejected")


def test_the_uri_in_a_message_is_understood_as_a_destination(shell: Shell) -> None:
    """`--at file:///…` is what the errors of a run name."""
    shell.write("a b", "unknown", reason="r")
    assert "a b" in shell("list", at=shell.folder.as_uri())


def test_records_in_s3_are_reached_by_the_environment(s3: S3Server, capsys: pytest.CaptureFixture[str]) -> None:
    """boto3's own variables name another server and its keys."""
    names = ("endpoint_url", "access_key_id", "secret_access_key")
    bucket = s3.new_bucket()
    with pytest.MonkeyPatch.context() as patch:
        for name in names:
            patch.setenv(f"AWS_{name.upper()}", s3.settings[name])
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        anyio.run(Ledger(s3.store("clips", bucket=bucket)).claim, draft("a"))
        app(["ledger", "list", "--at", f"s3://{bucket}/clips", "--json"], result_action="return_value")
    assert json.loads(capsys.readouterr().out)["key"] == "a"


@pytest.fixture
def in_s3(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """A saved video and a failed one in a bucket that boto3's own variables reach; the place for `--at`."""
    for name in ("endpoint_url", "access_key_id", "secret_access_key"):
        monkeypatch.setenv(f"AWS_{name.upper()}", s3.settings[name])
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    store = s3.store("clips", bucket=s3.new_bucket())

    async def work() -> None:
        ledger = Ledger(store)
        await store.put("a.mp4", b"moving", content_type="video/mp4")
        video = StoredVideo(
            uri=store.uri("a.mp4"), bucket=store.bucket, key=store.full_key("a.mp4"), size=6, sha256="0",
            manifest_uri=store.uri("a.json"), task_id="t", provider="sudashui", model="m",
        )  # fmt: skip
        for key in ("a", "b"):
            entry = await ledger.claim(draft(key))
            assert entry is not None
            entry = await ledger.move(entry, "submitted", task_id="t")
            await (
                ledger.move(entry, "saved", stored=video)
                if key == "a"
                else ledger.move(entry, "failed", reason="moderation")
            )

    anyio.run(work)
    return f"s3://{store.bucket}/clips"


def test_a_link_that_lasts_is_told_wherever_the_video_is(shell: Shell, in_s3: str) -> None:
    """To people and to programs; what has no video has no link."""
    at = f"{in_s3}?link=public"
    records = {
        fact["key"]: fact for fact in map(json.loads, shell("list", "--everything", "--json", at=at).splitlines())
    }
    assert "link" not in records["b"]
    link = records["a"]["link"]
    assert httpx.get(link.partition("?")[0]).status_code in (200, 403)
    assert link.endswith("/clips/a.mp4")
    assert f"play {link}" in shell("list", "--everything", at=at)
    assert json.loads(shell("show", "a", at=at))["link"] == link
    assert shell("link", "a", at=at) == f"{link}\n"


def test_a_link_that_is_a_secret_is_told_when_asked_for_alone(shell: Shell, in_s3: str) -> None:
    """It plays, says how long, and is in no list, no record and nothing that is piped unasked."""
    at = f"{in_s3}?link=presigned&link_hours=2"
    url = shell("link", "a", at=at).strip()
    assert httpx.get(url).content == b"moving"
    assert "2 h" in shell.err
    assert json.loads(shell("link", "a", "--json", at=at)) == {"key": "a", "link": ANY, "link_hours": 2}
    others = [
        shell(*words, at=at) for words in (("list", "--everything"), ("list", "--everything", "--json"), ("show", "a"))
    ]
    assert [text for text in others if "Signature" in text] == []


def test_at_a_terminal_a_record_shows_its_secret_link(
    shell: Shell, in_s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody looks, and nothing keeps it."""
    monkeypatch.setattr(console.out, "_force_terminal", True)
    shown = shell("show", "a", at=f"{in_s3}?link=presigned")
    assert "X-Amz-Signature" in shown


@pytest.mark.parametrize(("key", "link", "field"), [("b", "presigned", "key"), ("a", "none", "link")])
def test_what_cannot_be_played_is_said(shell: Shell, in_s3: str, key: str, link: str, field: str) -> None:
    """No video, or no links of the wanted kind: which field it is, and what it has to be."""
    assert (shell("link", key, "--json", at=f"{in_s3}?link={link}"), shell.status) == ("", 1)
    assert [problem["field"] for problem in json.loads(shell.err.splitlines()[-1])["problems"]] == [field]


def test_the_installed_command_lists(shell: Shell) -> None:
    """The real program in a process of its own, without a Prefect server."""
    shell.write(LONG_KEY, "unknown", reason="r")
    command = [str(Path(sys.executable).parent / "genvideo"), "ledger", "list", "--at", str(shell.folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=child_env(), check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert LONG_KEY in done.stdout


@pytest.fixture
def provider(sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> Simulator:
    """The simulator as the environment's provider."""
    sim.configure(polls_to_finish=1, clip_bytes=4096)
    monkeypatch.setenv("SUDASHUI_API_KEY", sim.key)
    monkeypatch.setenv("SUDASHUI_BASE_URL", sim.sudashui_url)
    return sim


@pytest.mark.prefect
def test_reconciling_fetches_what_is_ready(shell: Shell, provider: Simulator, prefect_server: PrefectServer) -> None:
    """Saved, waiting and unknown in one table; as JSON for scripts."""

    async def work() -> None:
        async with SudashuiClient(provider.key, provider.sudashui_url) as client:
            ready = await client.create(REQUEST)
            facts: dict[str, Any] = {"account": client.account}
        entry = await shell.ledger.claim(draft("ready", **facts))
        assert entry is not None
        await shell.ledger.move(entry, "submitted", task_id=ready)
        await shell.ledger.claim(draft("crashed", holder=f"{socket.gethostname()}:{2**22 + 1}", **facts))

    anyio.run(work)
    rows = [json.loads(line) for line in shell("reconcile", "--provider", "sudashui", "--json").splitlines()]
    assert {row["key"]: row["outcome"] for row in rows} == {"ready": "saved", "crashed": "unknown"}
    assert rows[-1]["uri"].startswith("file://")
    printed = shell("reconcile", "--provider", "sudashui")
    # As `list` shows them: a table of this was 300 columns wide.
    assert "crashed  unknown" in printed.splitlines()
    assert printed.splitlines()[-1] == "1 unknown"
    assert provider.billed == 1


def test_a_waiting_task_is_cancelled(shell: Shell, sim: Simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the account of its own provider, which the record names; its key is free then."""
    sim.configure(clock="manual")
    monkeypatch.setenv("ARK_API_KEY", sim.key)
    monkeypatch.setenv("ARK_BASE_URL", sim.ark_url)

    async def work() -> None:
        async with ArkClient(sim.key, sim.ark_url) as client:
            task_id = await client.create(REQUESTS["ark"])
            entry = await shell.ledger.claim(draft("k", provider="ark", account=client.account))
        assert entry is not None
        await shell.ledger.move(entry, "submitted", task_id=task_id)

    anyio.run(work)
    assert json.loads(shell("cancel", "k", "--json"))["state"] == "rejected"
    assert (sim.billed, shell.state("k")) == (0, "rejected")
    shell("cancel", "k")
    assert (shell.status, "task that is on its way" in shell.err) == (1, True)


def test_reconciling_without_a_key_says_which_variable_to_set(shell: Shell) -> None:
    """Or to name a saved block."""
    shell("reconcile", "--provider", "sudashui")
    assert shell.status == 1
    assert "SUDASHUI_API_KEY" in shell.err
