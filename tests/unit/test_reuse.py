"""What counts as the same request: across runs, and when files are uploaded again."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from pathlib import Path

from prefect_genvideo.ledger.record import LedgerRecord
from prefect_genvideo.ledger.reuse import content_key
from prefect_genvideo.ledger.store import Ledger
from prefect_genvideo.models import VideoRequest
from prefect_genvideo.pipeline.pipeline import Pipeline
from prefect_genvideo.providers import SudashuiClient
from prefect_genvideo.storage import LocalStore

PRINT = "ab" * 32
BEGIN = datetime(2026, 11, 22, tzinfo=timezone.utc)


async def _key(ledger: Ledger, after: timedelta, hours: float = 6) -> str:
    return await content_key(ledger, PRINT, hours, now=BEGIN + after)


async def _made(ledger: Ledger, key: str, after: timedelta) -> None:
    made = LedgerRecord(
        key=key,
        provider="sudashui",
        model="m",
        account="a",
        fingerprint=PRINT,
        created_at=BEGIN + after,
    )
    entry = await ledger.claim(made)
    assert entry is not None
    await ledger.move(entry, "submitted", task_id="task_1")


async def test_runs_within_one_window_share_a_key(tmp_path: Path) -> None:
    """So the ledger lets one of them pay, however many start at once."""
    ledger = Ledger(LocalStore(tmp_path))
    assert await _key(ledger, timedelta()) == await _key(ledger, timedelta(hours=5, minutes=59))


async def test_a_video_of_the_window_before_counts_while_it_is_young_enough(tmp_path: Path) -> None:
    """A window's edge does not make a minute-old video too old; the age limit does."""
    ledger = Ledger(LocalStore(tmp_path))
    made = timedelta(hours=5)
    key = await _key(ledger, made)
    await _made(ledger, key, made)
    assert await _key(ledger, timedelta(hours=6, minutes=30)) == key
    assert await _key(ledger, timedelta(hours=11, minutes=1)) != key


async def test_a_failed_video_of_the_window_before_is_no_video(tmp_path: Path) -> None:
    """What failed before is tried anew in the next window."""
    ledger = Ledger(LocalStore(tmp_path))
    made = timedelta(hours=5)
    key = await _key(ledger, made)
    await _made(ledger, key, made)
    entry = await ledger.read(key)
    assert entry is not None
    await ledger.move(entry, "failed", reason="moderation")
    assert await _key(ledger, timedelta(hours=6, minutes=30)) != key


async def test_another_age_limit_is_another_key(tmp_path: Path) -> None:
    """Runs that accept older videos do not decide for those that do not."""
    ledger = Ledger(LocalStore(tmp_path))
    assert await _key(ledger, timedelta(), hours=6) != await _key(ledger, timedelta(), hours=12)


def test_a_file_uploaded_again_is_still_the_same_request(tmp_path: Path) -> None:
    """Another link to the same upload must not make a rerun pay again; another file's link must."""
    pipeline = Pipeline(SudashuiClient("sk-x"), Ledger(LocalStore(tmp_path)), "{task_id}.mp4")

    def fingerprint(link: str) -> str:
        return pipeline.fingerprint(VideoRequest(model="sd-2-720p", prompt="@image1", images=(link,)), {})

    host = "https://files.sudashuiapi.com/proxy"
    first = fingerprint(f"{host}/1781054530419/1781054530419-cat.jpg?sig=a")
    assert first == fingerprint(f"{host}/1791054530419/1791054530419-cat.jpg?sig=b")
    assert first != fingerprint(f"{host}/1781054530419/1781054530419-dog.jpg?sig=a")
