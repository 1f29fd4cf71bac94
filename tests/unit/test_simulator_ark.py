"""The Ark side of the simulator says what the documents and the recordings say."""

from __future__ import annotations

import re

import httpx
import pytest

from prefect_genvideo.simulator import Simulator
from tests.fixtures.simulator_calls import Calls

RUNNING = {
    "id", "model", "status", "created_at", "updated_at", "service_tier", "execution_expires_after", "generate_audio",
    "draft", "priority",
}  # fmt: skip
SUCCEEDED = RUNNING | {"content", "usage", "seed", "resolution", "ratio", "duration", "framespersecond"}


def test_create_answers_with_the_id_alone(sim: Simulator, calls: Calls) -> None:
    """An id that tells the time, one generation billed; a `safety_identifier` is given back."""
    answer = calls.ark_create()
    assert answer.status_code == 200
    assert list(answer.json()) == ["id"]
    assert re.fullmatch(r"cgt-\d{14}-[a-z0-9]{5}", answer.json()["id"])
    assert sim.billed == 1
    assert calls.ark_create(safety_identifier="0123abcd").json()["safety_identifier"] == "0123abcd"


def test_a_task_goes_from_queued_to_a_film(sim: Simulator, calls: Calls) -> None:
    """Flat objects; prompt and media are never told; `updated_at` moves at the end; the link opens without the key."""
    sim.configure(polls_to_finish=5)
    task_id = calls.ark_id()
    records = [calls.ark_status(task_id).json() for _ in range(5)]
    assert [record["status"] for record in records] == ["queued", "queued", "queued", "running", "succeeded"]
    assert [set(record) for record in records] == [RUNNING] * 4 + [SUCCEEDED]
    assert {record["id"] for record in records} == {task_id}
    assert all(record["updated_at"] == record["created_at"] for record in records[:4])
    film = records[-1]
    assert (film["resolution"], film["ratio"], film["duration"], film["framespersecond"]) == ("720p", "16:9", 5, 24)
    assert film["usage"] == {"completion_tokens": 108_900, "total_tokens": 108_900}
    assert list(film["content"]) == ["video_url"]
    assert "X-Tos-Expires=86400" in film["content"]["video_url"]
    assert httpx.get(film["content"]["video_url"]).content[4:8] == b"ftyp"


@pytest.mark.parametrize(
    ("tokens", "changes"),
    [
        (108_900, {}),
        (246_840, {"model": "doubao-seedance-1-0-pro-250528", "resolution": "1080p", "frames": 121, "duration": None}),
        (218_266, {"ratio": "3:4", "duration": 10}),
        (245_025, {"model": "doubao-seedance-2-5-260628", "resolution": "1080p"}),
    ],
)
def test_tokens_are_those_that_were_recorded(
    tokens: int, changes: dict[str, object], sim: Simulator, calls: Calls
) -> None:
    """By pixels and frames; with `frames` asked, the answer has them instead of a duration."""
    film = calls.ark_done(calls.ark_id(**changes))
    assert film["usage"]["completion_tokens"] == tokens
    assert ("frames" in film, "duration" in film) == ("frames" in changes, "frames" not in changes)
    assert sim.tokens == {sim.key: tokens}
