"""The SenseAudio side of the simulator says what the document and the recordings say."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from prefect_genvideo.simulator import Simulator
from tests.fixtures.pictures import jpeg_url
from tests.fixtures.simulator_calls import Calls

LINK = "https://example.com/a.jpg"


def image(role: str, url: str = LINK) -> dict[str, Any]:
    return {"type": "image", "url": url, "role": role}


def test_create_answers_with_the_id_alone(sim: Simulator, calls: Calls) -> None:
    """One key in the answer, a UUID, and one generation billed."""
    answer = calls.sense_create()
    assert list(answer.json()) == ["task_id"]
    assert len(answer.json()["task_id"]) == 36
    assert sim.billed == 1


def test_the_record_goes_from_pending_to_completed(sim: Simulator, calls: Calls) -> None:
    """`pending` at 0, `pending` at 50, `completed`: "processing" is never said."""
    sim.configure(polls_to_finish=3)
    task_id = calls.sense_create(watermark=False).json()["task_id"]
    records = [calls.sense_status(task_id).json() for _ in range(3)]
    assert [(r["status"], r["progress"]) for r in records] == [("pending", 0), ("pending", 50), ("completed", 100)]
    assert set(records[0]) == {
        "id", "model", "task_id", "status", "progress", "duration", "is_new", "created_at", "prompt", "resolution",
        "content", "ratio", "provider_specific",
    }  # fmt: skip
    assert set(records[2]) - set(records[0]) == {"video_url", "completed_at"}
    assert records[2]["task_id"] == task_id != records[2]["id"]
    assert "." not in records[2]["video_url"].rsplit("/", 1)[1]
    assert httpx.get(records[2]["video_url"]).content[4:8] == b"ftyp"


def test_a_watermark_is_the_default_and_changes_the_link(sim: Simulator, calls: Calls) -> None:
    """Unless switched off, the newer models mark their videos; the record then names the mark's image."""
    task_id = calls.sense_create().json()["task_id"]
    sim.finish(task_id)
    record = calls.sense_status(task_id).json()
    assert "/video_add_watermark/" in record["video_url"]
    assert record["provider_specific"]["watermark_url"].endswith("logo2.png")
    assert httpx.get(record["video_url"]).status_code == 200


def test_a_failure_may_have_no_message(sim: Simulator, calls: Calls) -> None:
    """`error_message` is there when there is something to say."""
    first, second = (calls.sense_create().json()["task_id"] for _ in range(2))
    sim.fail(first, "内容审核未通过")
    sim.fail(second, "x", "")
    told, silent = calls.sense_status(first).json(), calls.sense_status(second).json()
    assert (told["status"], told["error_message"]) == ("failed", "内容审核未通过")
    assert silent["status"] == "failed"
    assert "error_message" not in silent


BROKEN: list[tuple[str, list[dict[str, Any]], dict[str, Any]]] = [
    ("内容不能为空", [], {"content": []}),
    ("内容不能为空", [], {"content": [{"type": "text", "text": " "}]}),
    ("不支持的视频时长", [], {"duration": 3}),
    ("不支持的视频时长", [], {"duration": 4.5}),
    ("不支持的视频时长", [], {"model": "SenseAudio-Video-1.0", "resolution": "720p", "duration": 11}),
    ("参数错误：resolution", [], {"resolution": "2k"}),
    ("参数错误：resolution", [], {"model": "Seedance-Pro-1.5", "resolution": "480p"}),
    ("参数错误：ratio", [], {"ratio": "21:9"}),
    ("不支持的超时时间", [], {"timeout": 3599}),
    ("参数错误：role", [image("last_frame")], {}),
    ("参数错误：role", [image("reference"), image("first_frame")], {}),
    ("参数错误：role", [image("reference")] * 10, {}),
    ("参数错误：content", [{"type": "audio", "audio_url": LINK}], {}),
    ("参数错误：content", [{"type": "text", "text": "again"}], {}),
    ("参数错误：content", [{"type": "smell", "url": LINK}], {}),
    ("图片链接无效", [image("first_frame", "ftp://x/y")], {}),
    ("图片链接无效", [image("first_frame", "https://[")], {}),
    ("图片链接无效", [image("first_frame", "data:image/png;base64,%%%")], {}),
]


@pytest.mark.parametrize(("words", "content", "changes"), BROKEN)
def test_broken_rules_are_refused_in_the_providers_words(
    sim: Simulator, calls: Calls, words: str, content: list[dict[str, Any]], changes: dict[str, Any]
) -> None:
    """A refusal carries its prose in both fields, 400000, and costs nothing."""
    answer = calls.sense_create(*content, **changes)
    assert answer.status_code == 400
    assert answer.json() == {"code": words, "message": words, "ref_code": 400000}
    assert sim.billed == 0


def test_other_refusals(sim: Simulator, calls: Calls) -> None:
    """An unknown model looks like a busy server; a bad key, an unknown id and no money have words of their own."""
    busy = calls.sense_create(model="invalid-video-model")
    assert (busy.status_code, busy.json()["ref_code"]) == (500, 500000)
    lost = calls.sense_status("nobody")
    assert (lost.status_code, lost.json()["ref_code"]) == (404, 404000)
    no_json = calls.http.post(f"{sim.senseaudio_url}/v1/video/create", content=b"{")
    assert no_json.status_code == 400
    with Calls(sim, "sk-sim-broke") as broke:
        assert broke.sense_create().json()["ref_code"] == 400001
    with Calls(sim, "sk-sim-expired") as bad:
        assert bad.sense_create().json() == {
            "code": "authentication_error",
            "message": "incorrect API key provided",
        }
    assert sim.billed == 0


def test_every_model_is_listed(sim: Simulator, calls: Calls) -> None:
    """The list is asked by mode."""
    body = calls.http.get(f"{sim.senseaudio_url}/v1/models", params={"mode": "video"}).json()
    assert (body["object"], body["has_more"]) == ("list", False)
    assert set(body["data"][0]) == {"id", "display_name", "mode", "owned_by"}
    assert calls.http.get(f"{sim.senseaudio_url}/v1/models", params={"mode": "chat"}).json()["data"] == []


def test_inline_pictures_come_back_as_links(sim: Simulator, calls: Calls) -> None:
    """A data URL is stored by the provider; the record shows a link, and the clip shows the picture."""
    task_id = calls.sense_create(image("first_frame", jpeg_url(320, 320)), ratio="1:1").json()["task_id"]
    item = calls.sense_status(task_id).json()["content"][1]
    assert item["role"] == "first_frame"
    assert httpx.get(item["url"]).content.startswith(b"\xff\xd8\xff")
    sim.finish(task_id)
    assert httpx.get(calls.sense_status(task_id).json()["video_url"]).status_code == 200


def test_an_account_can_be_full(sim: Simulator, calls: Calls) -> None:
    """With a limit on running tasks the next create is told to wait, and goes through when one has ended."""
    sim.configure(clock="manual", max_concurrency=2)
    first = calls.sense_create().json()["task_id"]
    calls.sense_create()
    full = calls.sense_create()
    assert (full.status_code, full.json()["ref_code"]) == (400, 400015)
    with Calls(sim, "sk-sim-other") as other:
        assert other.sense_create().status_code == 200
    sim.finish(first)
    assert calls.sense_create().status_code == 200
    assert sim.billed == 4
